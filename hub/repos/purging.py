"""Purging: an admin takes files out of every commit of a repository, and their bytes out of the store.

For what should never have been committed, above all leaked secrets. Order: git first (hub.storage.git.purging, which
completes itself after a crash), then the rows in one transaction, then what follows from them. A Purge row remembers
how far it came, and its job goes on from there."""

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from django.db import transaction
from django.utils import timezone

from hub.accounts.models import User
from hub.accounts.permissions import require
from hub.common.errors import Conflict, InvalidInput, NotFound, TooLarge
from hub.common.jobs import enqueue
from hub.common.models import Job
from hub.repos.models import Content, Repo, RepoRelease
from hub.repos.places import pair
from hub.repos.purge_models import Purge, PurgedContent
from hub.repos.purge_rows import bring_rows_in_line, drop_files, follow_up
from hub.storage.git import RepositoryPair, check_path
from hub.storage.git.operations import FULL_SHA
from hub.storage.git.purging import forget_journal, purge, read_journal
from hub.storage.git.refs import queue
from hub.storage.git.rewriting import EMPTY_BLOB, Rewriter, find_pointers, find_versions

KIND = "repos.purge"
MAX_NAMED = 1000  # paths and digests of one purge
SOON_COMMITS = 500  # as many are rewritten within a request; more is left to the job
SECOND_LOOK_S = 60  # who was writing at that moment may have brought an object again
LOCK = "purging.lock"


@dataclass(frozen=True)
class Preview:
    """What a purge would do."""

    blobs: list[str] = field(default_factory=list)  # git's ids, pointers included
    files: list[str] = field(default_factory=list)  # SHA-256 of large files
    paths: list[str] = field(default_factory=list)  # where they stand in any commit
    holding: int = 0  # commits that hold one of them
    commits: dict[str, str] = field(default_factory=dict)  # old -> new, all that get another id
    refs: list[str] = field(default_factory=list)  # that move
    is_public: bool = False  # strangers may have had it
    why_not: str = ""  # what stands against it, in a sentence

    @property
    def branches(self) -> list[str]:
        return [ref.removeprefix("refs/heads/") for ref in self.refs if ref.startswith("refs/heads/")]

    @property
    def tags(self) -> list[str]:
        return [ref.removeprefix("refs/tags/") for ref in self.refs if ref.startswith("refs/tags/")]

    @property
    def pull_requests(self) -> list[int]:
        numbers = (ref.removeprefix("refs/pr/") for ref in self.refs if ref.startswith("refs/pr/"))
        return sorted(int(number) for number in numbers if number.isdecimal())


def preview_purge(*, repo: Repo, by: User, paths: Sequence[str] = (), digests: Sequence[str] = ()) -> Preview:
    """Every version of the files at `paths`, and the contents named by `digests` ("git:<sha1>", "sha256:<hex>") wherever
    they stand. Raises InvalidInput, NotFound when no commit holds one of them, TooLarge."""
    require(by, "admin", repo)
    both = pair(repo)
    blobs, files = find_doomed(repo, both, paths, digests)
    found = Rewriter(both.members, blobs, is_rehearsal=True).run()
    refs = [ref for ref, oid in both.members.refs().items() if oid in found.commits or oid in found.tags]
    return Preview(
        blobs=sorted(blobs),
        files=sorted(files),
        paths=sorted(found.paths),
        holding=len(found.holding),
        commits=found.commits,
        refs=refs,
        is_public=any(both.public.handle.odb.exists(oid) for oid in blobs),
        why_not=why_not_purge(repo, found.commits),
    )


def find_doomed(
    repo: Repo, both: RepositoryPair, paths: Sequence[str], digests: Sequence[str]
) -> tuple[set[str], set[str]]:
    """(blobs, SHA-256 of large files): a large file goes with every pointer to it, a pointer with its file."""
    if not paths and not digests:
        raise InvalidInput("Name what has to go: the path of a file, or one of the findings.")
    if len(paths) + len(digests) > MAX_NAMED:
        raise TooLarge(f"A purge takes at most {MAX_NAMED:,} files; do the rest with a second one.")
    blobs: set[str] = set()
    files: set[str] = set()
    for path in paths:
        versions = find_versions(both.members, check_path(path.strip().removeprefix("/")))
        if not versions:
            raise NotFound(f"No commit of {repo.full_name} holds a file at {path[:200]!r} that could be purged.")
        blobs |= versions
    for digest in digests:
        kind, _, oid = digest.partition("#")[0].partition(":")
        if kind == "sha256" and Content.objects.filter(repo=repo, digest=f"sha256:{oid}").exists():
            files.add(oid)
        elif kind == "git" and FULL_SHA.fullmatch(oid) and oid != EMPTY_BLOB and both.members.handle.odb.exists(oid):
            blobs.add(oid)
        else:
            raise NotFound(f"{repo.full_name} holds no content {digest[:80]!r}; look at its files again.")
    pointers = find_pointers(both.members)
    files |= {pointers[oid] for oid in blobs if oid in pointers}
    return blobs | {oid for oid, sha256 in pointers.items() if sha256 in files}, files


def why_not_purge(repo: Repo, commits: Container[str]) -> str:
    """A release never changes; what it holds or stands on can be purged only when nobody is given it any more."""
    if repo.is_policy:
        return f"Verdicts name the commits of {repo.full_name}, so its history stays; take the text out by a proposal."
    rows = RepoRelease.objects.filter(repo=repo).exclude(state=RepoRelease.State.QUARANTINED).order_by("-published_at")
    names = [row.tag for row in rows if row.commit in commits]
    if names:
        return (
            f"The release {names[0]} of {repo.full_name} holds it or stands on a commit that does, and a release never "
            "changes; yank it, ask a moderator to quarantine it, and purge then."
        )
    return ""


def start_purge(
    *,
    repo: Repo,
    by: User,
    paths: Sequence[str] = (),
    digests: Sequence[str] = (),
    is_kept_out: bool = True,
) -> tuple[Purge, bool]:
    """Write the decision down; `carry_out` or its job does the rest. From now on no door takes these contents here, unless
    `is_kept_out` is False (large files that only go to make room). Also returns whether it is short.

    Raises Conflict where a release or another purge stands against it, and what `preview_purge` raises."""
    # Outside the transaction: a long history takes seconds to look through.
    found = preview_purge(repo=repo, by=by, paths=paths, digests=digests)
    if found.why_not:
        raise Conflict(found.why_not)
    with transaction.atomic():
        hold_still(repo)
        if problem := why_not_purge(repo, found.commits):  # published a moment ago
            raise Conflict(problem)
        row = Purge.objects.create(
            repo=repo, by=by, paths=found.paths, blobs=found.blobs, files=found.files, is_kept_out=is_kept_out
        )
        keep_out(row)
        is_short = len(found.commits) <= SOON_COMMITS
        enqueue_purge(row, delay_s=SECOND_LOOK_S if is_short else 0)
    return row, is_short


def hold_still(repo: Repo) -> None:
    """Until the end of the caller's transaction nobody begins a purge here, or gives out a release. Raises Conflict while
    a purge is not finished: the commits of today are not there tomorrow."""
    Repo.everything.select_for_update().get(pk=repo.pk)
    if Purge.objects.filter(repo=repo, state__in=Purge.UNFINISHED).exists():
        raise Conflict(f"A purge of {repo.full_name} is not finished yet; look at it in a minute.")


def enqueue_purge(row: Purge, *, delay_s: float = 0) -> None:
    enqueue(KIND, subject=f"repo:{row.repo_id}", charged_to=row.by, delay_s=delay_s, purge_id=row.pk)


def keep_out(row: Purge) -> None:
    digests = [*(f"git:{oid}" for oid in row.blobs), *(f"sha256:{sha256}" for sha256 in row.files)]
    rows = [PurgedContent(repo=row.repo, purge=row, digest=digest, is_kept_out=row.is_kept_out) for digest in digests]
    PurgedContent.objects.bulk_create(rows, ignore_conflicts=True, batch_size=400)
    if row.is_kept_out:
        for batch in batches(digests):
            PurgedContent.objects.filter(repo=row.repo, digest__in=batch).update(is_kept_out=True)


def delete_files(*, repo: Repo, by: User, shas: Sequence[str]) -> None:
    """Take the bytes of large files away for good and leave the history as it is: their pointers lead nowhere then.

    Raises Conflict for a file of a release."""
    require(by, "admin", repo)
    both = pair(repo)
    blobs, files = find_doomed(repo, both, [], [f"sha256:{sha256}" for sha256 in shas])
    found = Rewriter(both.members, blobs, is_rehearsal=True).run()
    with transaction.atomic():
        hold_still(repo)
        if problem := why_not_purge(repo, found.holding):
            raise Conflict(problem)
        row = Purge.objects.create(
            repo=repo, by=by, paths=sorted(found.paths), files=sorted(files), is_kept_out=False, state=Purge.State.DONE,
            finished_at=timezone.now(),
        )  # fmt: skip
        keep_out(row)
        bring_rows_in_line(row, {}, set())
    row.result = {"commits": 0, "refs": {}, **drop_files(row)}
    row.save(update_fields=["result"])
    follow_up(row, {}, {})


def purge_files(
    *, repo: Repo, by: User, paths: Sequence[str] = (), digests: Sequence[str] = (), is_kept_out: bool = True
) -> Purge:
    """`start_purge`, and at once where it is short; the job is there for what takes longer, and after a crash."""
    row, is_short = start_purge(repo=repo, by=by, paths=paths, digests=digests, is_kept_out=is_kept_out)
    if is_short:
        carry_out(row)
    return row


def purge_now(*, repo: Repo, by: User, digests: Sequence[str], is_kept_out: bool) -> Purge:
    """For a client that takes the answer for the end of it."""
    row, _ = start_purge(repo=repo, by=by, digests=digests, is_kept_out=is_kept_out)
    carry_out(row)
    return row


def carry_out(row: Purge) -> None:
    """Do what is left of it. Safe to repeat, and after a crash at any step."""
    both = pair(row.repo)
    with queue(both.folder, LOCK):
        row.refresh_from_db()
        if row.state == Purge.State.WAITING:
            journal = purge(both, row.key, row.blobs)
            with transaction.atomic():
                bring_rows_in_line(row, journal["commits"], set(journal["holding"]))
                row.result = {"commits": len(journal["commits"]), "refs": journal["refs"]}
                row.state = Purge.State.SETTLING
                row.save(update_fields=["result", "state"])
        if row.state == Purge.State.SETTLING:
            forget_journal(both, row.key)
            row.result |= drop_files(row)
            commits = dict(row.commits.values_list("old", "new"))
            follow_up(row, commits, row.result["refs"])
            row.state, row.finished_at = Purge.State.DONE, timezone.now()
            row.save(update_fields=["result", "state", "finished_at"])
        elif row.state == Purge.State.DONE:
            look_again(both, row)


def look_again(both: RepositoryPair, row: Purge) -> None:
    """Who hashed such a file before the purge may have written it after; no reference names it, but its id would."""
    key, journal = f"{row.key}-again", read_journal(both)
    back = [oid for oid in row.blobs if both.members.handle.odb.exists(oid)] if row.is_kept_out else []
    if back or (journal is not None and journal["key"] == key):
        purge(both, key, back)
        forget_journal(both, key)


def find_purge(repo: Repo, key: str) -> Purge:
    row = Purge.objects.filter(repo=repo, key=key[:32]).select_related("by").first()
    if row is None:
        raise NotFound(f"There is no purge {key[:40]!r} of {repo.full_name}.")
    row.repo = repo
    return row


def finish_forgotten() -> int:
    """Purges whose job ended before they did: they are begun, so they are completed. Returns how many."""
    living = Job.objects.filter(kind=KIND).exclude(state__in=Job.ENDED)
    known = {job.payload.get("purge_id") for job in living}
    rows = [row for row in Purge.objects.filter(state__in=Purge.UNFINISHED) if row.pk not in known]
    for row in rows:
        enqueue_purge(row)
    return len(rows)


def batches(names: Iterable[str], size: int = 500) -> Iterator[list[str]]:
    rows = list(names)
    return (rows[start : start + size] for start in range(0, len(rows), size))
