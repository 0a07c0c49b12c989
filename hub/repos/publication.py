"""The public half: which commits of the members' repository strangers may have, and moving them there.

A commit is public when its own text and that of all its ancestors is cleared. Large files stay pointers in it and are
given or refused one by one (hub.repos.reader). Private and disabled repositories have no public half."""

import logging
from collections.abc import Iterable

from django.db import transaction
from django.db.models import Q

from hub.repos.events import public_half_moved
from hub.repos.models import Content, Repo, RepoRelease, Revision, RevisionContent
from hub.repos.places import pair
from hub.storage.git import GitRepo

log = logging.getLogger(__name__)

SHOWN_PREFIXES = ("refs/heads/", "refs/tags/", "refs/pr/")  # refs/convert/* are candidates: never public
SQL_BATCH = 500  # values in one IN (...), well under SQLite's limit


@transaction.atomic
def publish(repo: Repo, *, is_withdrawal: bool = False) -> None:
    """Bring the public half in line with clearance. Idempotent; the row lock keeps two publishers apart.

    What is public already is not judged again, unless `is_withdrawal` says that something may have lost its clearance
    or its place: then the public half also forgets all that its references do not reach."""
    row = Repo.everything.select_for_update().get(pk=repo.pk)
    both = pair(row)
    wanted = {} if row.is_private or row.is_disabled else wanted_refs(row, both.members, is_withdrawal=is_withdrawal)
    current = public_refs(row)
    moves_back = [
        ref for ref, oid in current.items() if ref not in wanted or not is_forward(both.members, oid, wanted[ref])
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
    tell_of_moves(row, current, wanted)


def tell_of_moves(repo: Repo, old: dict[str, str], new: dict[str, str]) -> None:
    """What strangers see stands, whatever becomes of a listener."""
    moves = [(ref, old.get(ref), new.get(ref)) for ref in sorted(old | new) if old.get(ref) != new.get(ref)]
    if not moves:
        return
    for receiver, answer in public_half_moved.send_robust(Repo, repo=repo, moves=moves):
        if isinstance(answer, Exception):
            log.error("A listener of the public half failed: %s", receiver, exc_info=answer)


def public_refs(repo: Repo) -> dict[str, str]:
    """ref -> object as strangers see them now."""
    return {ref: oid for ref, oid in pair(repo).public.refs().items() if ref.startswith(SHOWN_PREFIXES)}


def is_forward(members: GitRepo, old: str, new: str) -> bool:
    """Whether nothing becomes unreachable when a reference moves; an annotated tag counts as the commit it names."""
    return old == new or members.is_ancestor(members.peel(old), members.peel(new))


def wanted_refs(repo: Repo, members: GitRepo, *, is_withdrawal: bool) -> dict[str, str]:
    """ref -> object (a commit, or a tag of one) as strangers should see them."""
    floor = [] if is_withdrawal else [members.peel(oid) for oid in public_refs(repo).values()]
    line = ClearLine(repo, members, floor)
    main = f"refs/heads/{repo.default_branch}"
    releases = released_commits(repo)
    wanted: dict[str, str] = {}
    floor_only = repo.shows == Repo.Shows.RELEASES
    for ref, oid in members.refs().items():
        if not ref.startswith(SHOWN_PREFIXES):
            continue
        if ref.startswith("refs/tags/"):
            tag, head = ref.removeprefix("refs/tags/"), members.peel(oid)
            if tag in releases:
                if releases[tag] is not None and line.is_clear(head):
                    wanted[ref] = oid
            elif line.is_clear(head) and (not floor_only or is_under_floor(repo, members, head)):
                wanted[ref] = oid
        elif not floor_only:
            shown = line.find_newest(oid)
            if shown:
                wanted[ref] = shown
        elif ref == main:
            shown = newest_release(repo) or repo.public_floor
            if shown and line.is_clear(shown):
                wanted[ref] = shown
        elif ref.startswith("refs/pr/"):
            shown = line.find_newest(oid)
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
    bases = [base for base in (repo.public_floor, newest_release(repo)) if base]
    hidden = members.ancestors_not_in(main, bases)
    return set(members.ancestors_not_in(commit, bases)).isdisjoint(hidden)


def uncleared_commits(repo: Repo, commits: Iterable[str]) -> set[str]:
    """Those of `commits` that are unknown to the hub or brought text that is not cleared."""
    commits = list(commits)
    known: set[str] = set()
    unclear: set[str] = set()
    for start in range(0, len(commits), SQL_BATCH):
        batch = commits[start : start + SQL_BATCH]
        known |= set(Revision.objects.filter(repo=repo, commit__in=batch).values_list("commit", flat=True))
        # A large file is given or refused by itself, its name is part of the commit.
        of_text = Q(content__digest__startswith="git:") | Q(content__digest__contains="#")
        text = of_text & ~Q(content__clearance=Content.Clearance.CLEARED)
        brought = RevisionContent.objects.filter(text, revision__repo=repo, revision__commit__in=batch)
        unclear |= set(brought.values_list("revision__commit", flat=True))
    return unclear | (set(commits) - known)


class ClearLine:
    """Judges commits: clear are those whose own text and whose ancestors' text is cleared.

    Commits that `floor` reaches are clear without a look; each other commit is judged once."""

    def __init__(self, repo: Repo, members: GitRepo, floor: Iterable[str]) -> None:
        self._repo = repo
        self._members = members
        self._seen = set(floor)  # commits whose ancestors are all judged
        self._verdicts: dict[str, bool] = {}

    def is_clear(self, commit: str) -> bool:
        self._judge(commit)
        return self._verdicts.get(commit, True)  # not judged: the floor reaches it

    def find_newest(self, head: str) -> str | None:
        """The newest clear commit on the first-parent line of `head`, or None."""
        current: str | None = head
        while current is not None and not self.is_clear(current):
            parents = self._members.commit_info(current).parents
            current = parents[0] if parents else None
        return current

    def _judge(self, head: str) -> None:
        if head in self._seen or head in self._verdicts:
            return
        commits = self._members.ancestors_not_in(head, self._seen)  # oldest first
        unclear = uncleared_commits(self._repo, commits)
        for oid in commits:
            parents = self._members.commit_info(oid).parents
            self._verdicts[oid] = oid not in unclear and all(self._verdicts.get(parent, True) for parent in parents)
        self._seen.add(head)
