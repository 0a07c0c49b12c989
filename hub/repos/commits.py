"""Commits: the one way in which content enters a repository, whatever door it came through.

Order of truth: git moves first (compare-and-swap), then rows, then screens, then the public half. A crash in between
leaves a PendingWrite, and `reconcile` finishes the work; until then the content is simply not public."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.dispatch import Signal
from django.utils import timezone

from hub.accounts.models import User
from hub.common.bulk import insert_rows
from hub.common.errors import Conflict, EntryNotFound, HubError, InvalidInput, RevisionNotFound, StaleCommit
from hub.repos.events import branch_moved, revision_created
from hub.repos.models import Content, LastCommit, PendingWrite, Repo, Revision, RevisionContent
from hub.repos.naming import digest_under, kind_of_name
from hub.repos.places import pair
from hub.repos.publication import publish
from hub.storage.errors import InvalidOperation, StaleParent, StorageError, UnknownPath, UnknownRevision
from hub.storage.git import ANY, Author, CommitInfo, GitRepo, NewBlob
from hub.storage.git.stamps import read_stamp

log = logging.getLogger(__name__)

NOREPLY_DOMAIN = "users.noreply.model-commons.org"
MAX_LAST_COMMIT_PATHS = 100_000
MAX_LINE = 20_000  # commits of one push whose changes are told apart
SQL_BATCH = 500  # values in one IN (...)


def author_of(user: User) -> Author:
    """Who git names. Credit goes by the Revision row, which holds the authenticated person."""
    return Author(name=user.title, email=f"{user.username}@{NOREPLY_DOMAIN}", when=timezone.now())


def create_commit(
    *,
    repo: Repo,
    by: User,
    ref: str,
    operations: Sequence[Any],
    title: str,
    description: str = "",
    expected_parent: Any = ANY,
    door: str,
    trailers: dict[str, str] | None = None,
    base: str | None = None,
    credit: User | None = None,
) -> Revision:
    """Commit to `ref` and register it. No permission is checked here: hub.community.contributions does.

    Raises StaleCommit (412) when a stated parent is not the head, EntryNotFound for deleting a missing file."""
    title = " ".join(title.split())[:300] or "Update"
    message = title if not description else f"{title}\n\n{description}"
    members = pair(repo).members
    pending = PendingWrite.objects.create(repo=repo, ref=ref, by=credit or by, door=door)
    stamp = read_stamp(members.path)
    try:
        new = members.commit(
            ref,
            operations,
            author=author_of(by),
            message=message,
            expected_parent=expected_parent,
            trailers=trailers,
            base=base,
        )
    except StaleParent:
        pending.delete()
        raise StaleCommit(
            f"{ref.removeprefix('refs/heads/')} of {repo.full_name} has moved since {str(expected_parent)[:12]}; "
            "fetch the new head, look at what changed and send the commit again with it as parent."
        ) from None
    except UnknownPath as problem:
        pending.delete()
        raise EntryNotFound(f"A file with this name doesn't exist: {problem}") from None
    except UnknownRevision as problem:
        pending.delete()
        raise RevisionNotFound(str(problem)) from None
    except InvalidOperation as problem:
        pending.delete()
        raise InvalidInput(str(problem)) from None
    except StorageError:
        pending.delete()
        raise
    # After any other failure the note stays: the ref may have moved, and `reconcile` looks.
    # The commit it stands on, not the head that we saw before: others may have committed in between, for themselves.
    try:
        old = next(iter(members.commit_info(new).parents), None)
        register_commits(repo=repo, ref=ref, old=old, new=new, by=credit or by, door=door)
        pending.delete()
        return Revision.objects.get(repo=repo, commit=new)
    except (StorageError, Revision.DoesNotExist):
        if read_stamp(members.path) == stamp:
            raise
    raise Conflict(
        f"The commit is in, but files were purged from the history of {repo.full_name} at this moment and it has another id "
        "now; look at the newest commit."
    )


def register_commits(
    *,
    repo: Repo,
    ref: str,
    old: str | None,
    new: str | None,
    by: User | None,
    door: str,
    held: Iterable[str] | None = None,
) -> None:
    """Rows, screens and publication for the commits that `new` adds to `old` and that have no row yet. Safe to repeat.

    Both are what the ref pointed to: commits, or annotated tags of them. What `held` (else `old`) reaches was in the
    repository before: its own writers register it, and are credited, even if they have not got to it."""
    members = pair(repo).members
    old, new = (oid and members.peel(oid) for oid in (old, new))
    if new is not None:
        others = [oid for oid in ([old] if held is None else held) if oid and members.has_commit(oid)]
        made = record_revisions(repo=repo, members=members, ref=ref, others=others, new=new, by=by, door=door)
        for revision, contents in made:
            tell(revision_created, Revision, revision=revision, contents=contents)
        if ref == f"refs/heads/{repo.default_branch}":
            remember_last_commits(repo, members, old, new)
    publish(repo, is_withdrawal=old is not None and (new is None or not members.is_ancestor(old, new)))
    Repo.everything.filter(pk=repo.pk).update(updated_at=timezone.now())
    tell(branch_moved, Repo, repo=repo, ref=ref, old=old, new=new, by=by)


def tell(signal: Signal, sender: type, **what: Any) -> None:
    """The commit stands, whatever becomes of a listener: content stays pending, which is safe, until somebody looks again."""
    for receiver, answer in signal.send_robust(sender, **what):
        if isinstance(answer, Exception):
            log.error("A listener of a commit failed: %s", receiver, exc_info=answer)


@transaction.atomic
def record_revisions(
    *, repo: Repo, members: GitRepo, ref: str, others: list[str], new: str, by: User | None, door: str
) -> list[tuple[Revision, list[Content]]]:
    """A Revision for each unknown commit, oldest first, with the Content rows that are new to the repository.

    Below `others` nothing is looked at: what is unknown there is somebody else's, and theirs to register."""
    Repo.everything.select_for_update().get(pk=repo.pk)  # two may register the same commits, on two branches
    made: list[tuple[Revision, list[Content]]] = []
    unknown = unknown_commits(repo, members.ancestors_not_in(new, others))
    for oid, blobs in members.blobs_of_each(unknown):
        info = members.commit_info(oid)
        revision = Revision.objects.create(
            repo=repo,
            commit=oid,
            parents=list(info.parents),
            author=by,
            door=door,
            title=plain_title(info.title),
            ref=ref,
            created_at=timezone.now(),
        )
        made.append((revision, record_contents(repo, blobs, revision, by)))
    return made


def unknown_commits(repo: Repo, commits: list[str]) -> list[str]:
    """Those of `commits` that have no row, in the same order."""
    known: set[str] = set()
    for start in range(0, len(commits), SQL_BATCH):
        rows = Revision.objects.filter(repo=repo, commit__in=commits[start : start + SQL_BATCH])
        known.update(rows.values_list("commit", flat=True))
    return [oid for oid in commits if oid not in known]


def record_contents(repo: Repo, blobs: list[NewBlob], revision: Revision, by: User | None) -> list[Content]:
    """Link every blob that this commit adds to its parents; return the contents nobody has seen here before."""
    brought: list[tuple[str, str, int]] = []
    for path, oid, size, pointer in blobs:
        brought.append((f"git:{oid}", path, size))
        if pointer is not None:
            brought.append((f"sha256:{pointer.sha256}", path, pointer.size))
    found: dict[str, tuple[str, int]] = {}
    for digest, path, size in brought:
        found.setdefault(digest, (path, size))
    known = {content.digest: content for content in contents_named(repo, list(found))}
    for digest, path, size in brought:
        first = known[digest].path if digest in known else found[digest][0]
        if path != first and kind_of_name(path) != kind_of_name(
            first
        ):  # what was judged under another kind of name is judged anew
            found.setdefault(digest_under(digest, path), (path, size))
    known |= {content.digest: content for content in contents_named(repo, [name for name in found if "#" in name])}
    add_contents(repo, {name: what for name, what in found.items() if name not in known}, by)
    contents = contents_named(repo, list(found))
    insert_rows(RevisionContent, ["revision_id", "content_id"], [(revision.pk, content.pk) for content in contents])
    return [content for content in contents if content.digest not in known]


def add_contents(repo: Repo, found: dict[str, tuple[str, int]], by: User | None) -> None:
    """Facts about new content, (path, bytes) by digest: it waits until it is screened."""
    waiting, who, now = Content.Clearance.PENDING.value, by.pk if by else None, timezone.now()
    columns = ["repo_id", "digest", "size", "path", "clearance", "reason", "added_by_id", "created_at"]
    rows = ((repo.pk, digest, size, path, waiting, "", who, now) for digest, (path, size) in found.items())
    insert_rows(Content, columns, rows)


def contents_named(repo: Repo, digests: list[str]) -> list[Content]:
    rows: list[Content] = []
    for start in range(0, len(digests), 500):
        rows += Content.objects.filter(repo=repo, digest__in=digests[start : start + 500])
    return rows


def plain_title(title: str) -> str:
    """A pushed commit may hold any bytes; a database takes no NUL."""
    return title.replace("\0", "")[:300]


def remember_last_commits(repo: Repo, members: GitRepo, old: str | None, new: str) -> None:
    """Keep the last commit of each path that changed on the line from `old` to `new`, and of the folders above it.

    Where the line is too long or does not come from `old`, the table starts anew; the reader walks for what it lacks."""
    line, is_whole = first_parent_line(members, old, new)
    last: dict[str, CommitInfo] = {}
    gone: set[str] = set()
    by_oid = {info.oid: info for info in line}
    for oid, changed in members.changes_along([(info.oid, next(iter(info.parents), None)) for info in line]):
        last |= dict.fromkeys((path for path, _ in changed), by_oid[oid])
        there = {path for path, is_there in changed if is_there}
        gone = (gone | {path for path, _ in changed}) - there
    is_too_much = len(last) > MAX_LAST_COMMIT_PATHS
    with transaction.atomic():
        Repo.everything.select_for_update().get(pk=repo.pk)
        if is_too_much or not is_whole:
            LastCommit.objects.filter(repo=repo).delete()
        if not is_too_much:
            write_last_commits(repo, members, new, last, gone)


def first_parent_line(members: GitRepo, old: str | None, new: str) -> tuple[list[CommitInfo], bool]:
    """The commits from `old` (without it) to `new`, oldest first, and whether the line reaches `old` or its root."""
    line = members.first_parents(new, until=old, limit=MAX_LINE)
    end = next(iter(line[-1].parents), None) if line else new
    return line[::-1], end == old


def write_last_commits(repo: Repo, members: GitRepo, new: str, last: dict[str, CommitInfo], gone: set[str]) -> None:
    if members.read_ref(f"refs/heads/{repo.default_branch}") != new:
        # Somebody built on this already and may have been registered first: theirs is the later word.
        later = paths_changed_later(repo, members, new, list(last))
        last = {path: info for path, info in last.items() if path not in later}
        gone = gone - later
    kept = ((path, info) for path, info in last.items() if path not in gone)
    rows = ((repo.pk, path, info.oid, plain_title(info.title), info.date) for path, info in kept)
    doomed = sorted(gone)
    for start in range(0, len(doomed), SQL_BATCH):
        LastCommit.objects.filter(repo=repo, path__in=doomed[start : start + SQL_BATCH]).delete()
    changing = ["commit", "title", "date"]
    insert_rows(LastCommit, ["repo_id", "path", *changing], rows, update=changing)


def paths_changed_later(repo: Repo, members: GitRepo, commit: str, paths: list[str]) -> set[str]:
    """Those of `paths` that a descendant of `commit` is known to have changed."""
    found: dict[str, str] = {}
    for start in range(0, len(paths), SQL_BATCH):
        rows = LastCommit.objects.filter(repo=repo, path__in=paths[start : start + SQL_BATCH])
        found.update(rows.values_list("path", "commit"))
    later = {
        oid
        for oid in set(found.values())
        if oid != commit and members.has_commit(oid) and members.is_ancestor(commit, oid)
    }
    return {path for path, oid in found.items() if oid in later}


def move_ref(*, repo: Repo, ref: str, new: str | None, expected: Any, by: User | None, door: str) -> None:
    """Point a ref to a commit that the repository holds, or delete it, by compare-and-swap; pages and the public half
    follow. Raises Conflict when somebody was faster."""
    members = pair(repo).members
    pending = PendingWrite.objects.create(repo=repo, ref=ref, by=by, door=door)
    old = members.read_ref(ref)
    try:
        members.move_ref(ref, new, expected)
    except StaleParent:
        pending.delete()
        raise Conflict(f"{ref} of {repo.full_name} was moved by somebody else a moment ago; look again.") from None
    except StorageError:
        pending.delete()
        raise
    held = [new] if new else []
    register_commits(repo=repo, ref=ref, old=old, new=new, by=by, door=door, held=held)
    pending.delete()


@contextmanager
def noted(*, repo: Repo, ref: str, by: User | None, door: str) -> Iterator[None]:
    """Leave a note for `reconcile` while rows follow what happens to a ref. A refusal moved nothing; after any other
    failure, and after a crash, the note stays."""
    note = PendingWrite.objects.create(repo=repo, ref=ref, by=by, door=door)
    try:
        yield
    except HubError:
        note.delete()
        raise
    note.delete()


def reconcile(*, older_than_s: float = 60) -> list[PendingWrite]:
    """Finish writes whose process died between git and the rows. Returns the notes of what was finished; they are
    deleted, and say where the rooms above may have to finish something, too."""
    limit = timezone.now() - timedelta(seconds=older_than_s)
    finished: list[PendingWrite] = []
    for pending in PendingWrite.objects.filter(at__lt=limit).select_related("repo", "by").order_by("id"):
        members = pair(pending.repo).members
        new = members.read_ref(pending.ref)
        if new is not None:
            register_forgotten(pending, members, members.peel(new))
        register_commits(repo=pending.repo, ref=pending.ref, old=None, new=new, by=pending.by, door=pending.door)
        publish(pending.repo, is_withdrawal=True)  # what died may have been a withdrawal
        PendingWrite.objects.filter(pk=pending.pk).delete()
        finished.append(pending)
    return finished


def register_forgotten(pending: PendingWrite, members: GitRepo, head: str) -> None:
    """Register the unknown commits of a ref one by one, each for its own author: several writers may have died there.
    Our own commits name the account that was signed in; others (pushed ones) count for who pushed."""
    waiting = PendingWrite.objects.filter(repo=pending.repo, by__isnull=False).select_related("by")
    by_email = {author_of(row.by).email: row for row in waiting if row.by is not None}
    for oid in unknown_commits(pending.repo, members.ancestors_not_in(head, [])):
        info = members.commit_info(oid)
        note = by_email.get(info.author.email, pending)
        parent = info.parents[0] if info.parents else None
        register_commits(repo=pending.repo, ref=pending.ref, old=parent, new=oid, by=note.by, door=note.door)
