"""Who has a stake in a release and so does not approve it: its proposer, who proposed its recipe, who brought its data."""

from typing import Any

from hub.accounts.models import User
from hub.community.candidates import people_behind
from moderation.gate import find_run
from moderation.manifests import BROUGHT_DATA
from moderation.models import Release
from training.models import Run


def why_has_stake(release: Release, user: User) -> str:
    """The stake in a sentence, or "". Pressing "run" for somebody else's proposal is none."""
    if release.proposed_by_id == user.pk:
        return "You proposed this release; others have to approve it."
    if user.pk in proposers_of(find_run(release.repo, release.commit)):
        return "You proposed what this release holds; others have to approve it."
    roles = roles_of(release, user.username)
    if any(role.startswith(BROUGHT_DATA) for role in roles):
        return "You contributed data of this release; others have to approve it."
    return ""


def proposers_of(run: Run | None) -> set[int]:
    if run is None:
        return set()
    behind = people_behind(run.pull_request) if run.pull_request else set()
    return behind | ({run.proposed_by_id} if run.proposed_by_id is not None else set())


def roles_of(release: Release, name: str) -> list[str]:
    rows: list[dict[str, Any]] = release.manifest.get("contributors", [])
    return [role for row in rows if row["name"] == name for role in row["roles"]]
