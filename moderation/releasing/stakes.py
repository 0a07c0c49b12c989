"""Who has a stake in a release and so does not approve it: its proposer, who proposed its recipe, who brought its data,
and who changed files after the merge."""

from typing import Any

from hub.accounts.models import User
from hub.accounts.people import count_active_people
from hub.common.errors import Conflict
from hub.community.candidates import people_behind
from hub.repos.models import Revision
from hub.repos.places import pair
from moderation.cases.voices import EXCEPTIONAL, NEEDED_MODERATORS, list_allowing
from moderation.gate import SQL_BATCH, find_run, list_basis
from moderation.models import Case, Release, ReleaseBasis, ReleaseStake
from moderation.releasing.manifests import BROUGHT_DATA, data_roles
from training.models import Run


def why_has_stake(release: Release, user: User) -> str:
    """The stake in a sentence, or "". Pressing "run" for somebody else's proposal is none."""
    if release.stakes.exists():
        return release.stakes.filter(user=user).values_list("reason", flat=True).first() or ""
    return list_stakes(release).get(user.pk, "")  # proposed before stakes were written down


def list_stakes(release: Release) -> dict[int, str]:
    """key of a person -> their stake, in a sentence. All of it is settled when the release is proposed."""
    found: dict[int, str] = {}
    if release.proposed_by_id is not None:
        found[release.proposed_by_id] = "You proposed this release; others have to approve it."
    for key in proposers_of(find_run(release.repo, release.commit)):
        found.setdefault(key, "You proposed what this release holds; others have to approve it.")
    for key in changed_after_merge(release):
        found.setdefault(key, "You changed files of this release after the merge; others have to approve it.")
    for key in User.objects.filter(username__in=data_contributors(release)).values_list("pk", flat=True):
        found.setdefault(key, "You contributed data of this release; others have to approve it.")
    return found


def write_down(release: Release) -> None:
    """Keep who has a stake in a proposed release and what it stands on, where the database asks before it is published
    (moderation.guards). Nothing where that is done; runs in the transaction that proposes or publishes."""
    if not release.stakes.exists():
        rows = [ReleaseStake(release=release, user_id=key, reason=text) for key, text in list_stakes(release).items()]
        ReleaseStake.objects.bulk_create(rows)
    if not release.basis.exists():
        pairs = sorted(list_basis(release.repo, release.commit))
        parts = [ReleaseBasis(release=release, repo_id=key, digest=digest) for key, digest in pairs]
        ReleaseBasis.objects.bulk_create(parts, batch_size=SQL_BATCH)


def refuse_own_exceptions(release: Release) -> None:
    """Raises Conflict where a verdict against this release was set aside by somebody with a stake in it, once that is
    written down. The database asks the same (moderation.guards)."""
    if count_active_people() == 1:
        return
    reasons = dict(release.stakes.values_list("user_id", "reason"))
    cases = [row["evidence"]["exception"] for row in release.gate if "exception" in row.get("evidence", {})]
    for case in Case.objects.filter(pk__in=cases, kind__in=EXCEPTIONAL):
        allowing = list_allowing(case)
        own = [voice.by for voice in allowing if voice.by_id in reasons]
        if own and len(allowing) - len(own) < NEEDED_MODERATORS:
            named = own[0]
            part = "proposed this release" if named.pk == release.proposed_by_id else "has a stake in this release"
            raise Conflict(
                f"{named} {part} and is one of the moderators who allowed it against a verdict (case {case.pk}); "
                "let somebody else propose it, of a commit that none of these moderators changed."
            )


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


def data_people(run: Run) -> set[str]:
    """Names of who brought rows that a run learnt from, or that the models learnt from which it starts."""
    return {name for name, role in data_roles(run) if role.startswith(BROUGHT_DATA)}


def data_contributors(release: Release) -> list[str]:
    rows: list[dict[str, Any]] = release.manifest.get("contributors", [])
    return [row["name"] for row in rows if any(role.startswith(BROUGHT_DATA) for role in row["roles"])]
