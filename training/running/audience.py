"""Who may see a run: everybody who may read the files of its repository, once the recipe that it was made from is cleared."""

from collections.abc import Iterable
from typing import Any

from hub.accounts.permissions import can
from hub.community.candidates import RECIPE
from hub.repos.models import Content
from hub.repos.places import pair
from hub.repos.reader import digest_of, facts_of
from hub.storage.errors import StorageError
from hub.storage.git import TreeEntry
from training.models import Run


def may_see(user: Any, run: Run) -> bool:
    return not hidden_from(user, [run])


def hidden_from(user: Any, runs: Iterable[Run]) -> set[int]:
    """Keys of the runs that were made from what this person may not read. Members, moderators and the proposer see
    theirs at once. One query, and three looks into git for each run of somebody else."""
    files = {run: find_recipes(run) for run in runs if not is_insider(user, run)}
    names = {name for entries in files.values() for entry in entries for name in facts_of(entry)}
    rows = Content.objects.filter(digest__in=names) if names else Content.objects.none()
    facts = {(repo, name): clearance for repo, name, clearance in rows.values_list("repo_id", "digest", "clearance")}
    return {
        run.pk
        for run, entries in files.items()
        if not are_cleared(run, entries, facts) or not can(user, "read_files", run.repo)
    }


def are_cleared(run: Run, entries: list[TreeEntry], facts: dict[tuple[int, str], str]) -> bool:
    """Every fact that there is about these files says so, and there is one about each."""
    found = [facts.get((run.repo_id, name)) for entry in entries for name in facts_of(entry)]
    is_known = bool(entries) and all((run.repo_id, digest_of(entry)) in facts for entry in entries)
    return is_known and set(found) <= {Content.Clearance.CLEARED, None}


def veil(user: Any, runs: Iterable[Run]) -> None:
    """Make a list of runs fit for this reader: a reason may quote the recipe, and a digest confirms a guess at it."""
    runs = list(runs)
    hidden = hidden_from(user, runs)
    for run in runs:
        if run.pk in hidden:
            run.reason = run.recipe_digest = ""
            run.is_veiled = True  # type: ignore[attr-defined]


def is_insider(user: Any, run: Run) -> bool:
    is_proposer = run.proposed_by_id is not None and run.proposed_by_id == getattr(user, "pk", None)
    return is_proposer or can(user, "read_members", run.repo)


def find_recipes(run: Run) -> list[TreeEntry]:
    """The recipe as it was proposed and as the hub joined it with the target; none when git holds them no more."""
    members = pair(run.repo).members
    try:
        merge = members.commit_info(run.input_commit).parents[0]
        proposed = members.commit_info(merge).parents[1:]
        entries = [members.entry(commit, RECIPE) for commit in (run.input_commit, *proposed)]
    except (StorageError, IndexError):
        return []
    return [entry for entry in entries if entry is not None]
