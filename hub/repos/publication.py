"""The public half: which commits of the members' repository strangers may have, and moving them there.

A commit is public when its own text and that of all its ancestors is cleared. Large files stay pointers in it and are
given or refused one by one (hub.repos.reader). Private and disabled repositories have no public half."""

from collections.abc import Iterable

from django.db import transaction
from django.db.models import Q

from hub.repos.models import Content, Repo, RepoRelease, Revision, RevisionContent
from hub.repos.places import pair
from hub.storage.git import GitRepo

SHOWN_PREFIXES = ("refs/heads/", "refs/tags/", "refs/pr/")  # refs/convert/* are candidates: never public
SQL_BATCH = 500  # values in one IN (...), well under SQLite's limit


@transaction.atomic
def publish(repo: Repo, *, is_withdrawal: bool = False) -> None:
    """Bring the public half in line with clearance. Idempotent; the row lock keeps two publishers apart."""
    row = Repo.objects.select_for_update().get(pk=repo.pk)
    both = pair(row)
    wanted = {} if row.is_private or row.is_disabled else wanted_refs(row, both.members, is_withdrawal=is_withdrawal)
    current = {ref: oid for ref, oid in both.public.refs().items() if ref.startswith(SHOWN_PREFIXES)}
    moves_back = [
        ref for ref, oid in current.items() if ref not in wanted or not both.members.is_ancestor(oid, wanted[ref])
    ]
    for ref, oid in wanted.items():
        if current.get(ref) != oid and ref not in moves_back:
            both.publish(ref, oid)
    if moves_back or is_withdrawal:
        for ref in moves_back:
            if ref in wanted:
                both.publish(ref, wanted[ref])
        both.retract(wanted)
    row.head = both.members.read_ref(f"refs/heads/{row.default_branch}") or ""
    row.public_head = wanted.get(f"refs/heads/{row.default_branch}", "")
    row.save(update_fields=["head", "public_head"])
    repo.head, repo.public_head = row.head, row.public_head


def wanted_refs(repo: Repo, members: GitRepo, *, is_withdrawal: bool) -> dict[str, str]:
    """ref -> commit as strangers should see them."""
    main = f"refs/heads/{repo.default_branch}"
    releases = released_commits(repo)
    wanted: dict[str, str] = {}
    floor_only = repo.shows == Repo.Shows.RELEASES
    for ref, head in members.refs().items():
        if not ref.startswith(SHOWN_PREFIXES):
            continue
        if ref.startswith("refs/tags/"):
            tag = ref.removeprefix("refs/tags/")
            if tag in releases:
                if releases[tag] is not None and is_clear(repo, members, head):
                    wanted[ref] = head
            elif is_clear(repo, members, head) and (not floor_only or is_under_floor(repo, members, head)):
                wanted[ref] = head
        elif not floor_only:
            shown = newest_clear(repo, members, head)
            if shown:
                wanted[ref] = shown
        elif ref == main:
            shown = newest_release(repo) or repo.public_floor
            if shown and is_clear(repo, members, shown):
                wanted[ref] = shown
        elif ref.startswith("refs/pr/"):
            shown = newest_clear(repo, members, head)
            if shown and is_under_floor_or_proposal(repo, members, shown):
                wanted[ref] = shown
    return wanted


def released_commits(repo: Repo) -> dict[str, str | None]:
    """tag -> commit for what the gate made; None while it is quarantined."""
    hidden = RepoRelease.State.QUARANTINED
    rows = RepoRelease.objects.filter(repo=repo).values_list("tag", "commit", "state")
    return {tag: None if state == hidden else commit for tag, commit, state in rows}


def newest_release(repo: Repo) -> str:
    row = repo.public_releases.filter(state=RepoRelease.State.PUBLISHED).order_by("-published_at").first()
    return row.commit if row else ""


def is_under_floor(repo: Repo, members: GitRepo, commit: str) -> bool:
    """Part of what was public before the repository showed releases only, or of a release."""
    bases = [base for base in (repo.public_floor, newest_release(repo)) if base]
    return any(commit == base or members.is_ancestor(commit, base) for base in bases)


def is_under_floor_or_proposal(repo: Repo, members: GitRepo, commit: str) -> bool:
    """A pull request is shown when all it stands on is public: it must not carry unreleased merges of main along."""
    main = members.read_ref(f"refs/heads/{repo.default_branch}")
    if main is None:
        return True
    hidden = members.ancestors_not_in(main, [base for base in (repo.public_floor, newest_release(repo)) if base])
    return not any(members.is_ancestor(oid, commit) for oid in hidden[:50])


def uncleared_commits(repo: Repo, commits: Iterable[str]) -> set[str]:
    """Those of `commits` that are unknown to the hub or brought text that is not cleared."""
    commits = list(commits)
    known: set[str] = set()
    unclear: set[str] = set()
    for start in range(0, len(commits), SQL_BATCH):
        batch = commits[start : start + SQL_BATCH]
        known |= set(Revision.objects.filter(repo=repo, commit__in=batch).values_list("commit", flat=True))
        text = Q(content__digest__startswith="git:") & ~Q(content__clearance=Content.Clearance.CLEARED)
        brought = RevisionContent.objects.filter(text, revision__repo=repo, revision__commit__in=batch)
        unclear |= set(brought.values_list("revision__commit", flat=True))
    return unclear | (set(commits) - known)


def clear_part(repo: Repo, members: GitRepo, head: str) -> set[str]:
    """All commits reachable from `head` whose own text and whose ancestors' text is cleared."""
    history = members.ancestors_not_in(head, [])
    unclear = uncleared_commits(repo, history)
    clear: set[str] = set()
    for oid in history:  # oldest first
        if oid not in unclear and all(parent in clear for parent in members.commit_info(oid).parents):
            clear.add(oid)
    return clear


def is_clear(repo: Repo, members: GitRepo, head: str) -> bool:
    return head in clear_part(repo, members, head)


def newest_clear(repo: Repo, members: GitRepo, head: str) -> str | None:
    """The newest commit on the first-parent line of `head` that is clear, or None."""
    clear = clear_part(repo, members, head)
    current: str | None = head
    while current is not None and current not in clear:
        parents = members.commit_info(current).parents
        current = parents[0] if parents else None
    return current
