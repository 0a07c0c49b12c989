"""Who has a stake in a release and so does not approve it: its proposer, who proposed its recipe, who brought its data,
and who changed files after the merge."""

from typing import Any

from hub.accounts.models import User
from hub.community.candidates import people_behind
from hub.repos.models import Revision
from hub.repos.places import pair
from moderation.gate import SQL_BATCH, find_run
from moderation.manifests import BROUGHT_DATA
from moderation.models import Release
from training.models import Run


def why_has_stake(release: Release, user: User) -> str:
    """The stake in a sentence, or "". Pressing "run" for somebody else's proposal is none."""
    if release.proposed_by_id == user.pk:
        return "You proposed this release; others have to approve it."
    if user.pk in proposers_of(find_run(release.repo, release.commit)):
        return "You proposed what this release holds; others have to approve it."
    if user.pk in changed_after_merge(release):
        return "You changed files of this release after the merge; others have to approve it."
    roles = roles_of(release, user.username)
    if any(role.startswith(BROUGHT_DATA) for role in roles):
        return "You contributed data of this release; others have to approve it."
    return ""


def proposers_of(run: Run | None) -> set[int]:
    if run is None:
        return set()
    behind = people_behind(run.pull_request) if run.pull_request else set()
    return behind | ({run.proposed_by_id} if run.proposed_by_id is not None else set())


def changed_after_merge(release: Release) -> set[int]:
    """Keys of the people whose commits came between the merge of the weights and the release: no review saw them."""
    run = find_run(release.repo, release.commit)
    merge_commit = run.pull_request.merge_commit if run is not None and run.pull_request is not None else ""
    commits = pair(release.repo).members.ancestors_not_in(release.commit, [merge_commit]) if merge_commit else []
    people: set[int] = set()
    for start in range(0, len(commits), SQL_BATCH):
        rows = Revision.objects.filter(
            repo=release.repo, commit__in=commits[start : start + SQL_BATCH], author__is_system=False
        )
        people |= {key for key in rows.values_list("author_id", flat=True) if key is not None}
    return people


def roles_of(release: Release, name: str) -> list[str]:
    rows: list[dict[str, Any]] = release.manifest.get("contributors", [])
    return [role for row in rows if row["name"] == name for role in row["roles"]]
