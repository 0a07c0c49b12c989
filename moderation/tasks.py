"""Bodies of moderation's jobs."""

from hub.common.errors import HubError
from hub.common.jobs import JobRefused, Lease, job_body
from hub.repos.models import Revision
from moderation.cases import deadlines, quarantines
from moderation.releasing import publishing, withdrawals
from moderation.rules import policy_changes, policy_repository
from moderation.screening.renewing import screen_again
from moderation.screening.screening import SCREEN_KIND, give_up, screen_forgotten, screen_fully


@job_body(SCREEN_KIND, queue="default", on_end=give_up)
def screen_data(lease: Lease) -> None:
    """The whole content of what a commit brought."""
    revision = Revision.objects.filter(pk=lease.payload["revision_id"]).first()
    if revision is None:
        raise JobRefused("The repository was deleted.")
    screen_fully(lease, revision)


@job_body("moderation.screen_forgotten", queue="quick", every_s=60)
def look_for_forgotten(lease: Lease) -> None:
    lease.report("log", line=f"{screen_forgotten()} commits were screened late")


@job_body("moderation.screen_again", queue="quick", every_s=300)
def look_again(lease: Lease) -> None:
    """What older screens cleared, after an update of the hub brought others."""
    lease.report("log", line=f"{screen_again()} commits are screened again, by newer rules")


@job_body(policy_changes.KIND, queue="default", on_end=policy_changes.give_up)
def try_policy(lease: Lease) -> None:
    """What a proposed policy would have meant for the last releases."""
    policy_changes.try_candidate(lease)


@job_body("moderation.found_policy", queue="quick", every_s=24 * 3600)
def found_policy(lease: Lease) -> None:
    """The repository with the rules of this hub, on its first day or when somebody freed its name."""
    try:
        lease.report("log", line=f"The rules are in {policy_repository.found()}")
    except HubError as problem:
        raise JobRefused(problem.message) from None


@job_body("moderation.finish_interrupted", queue="quick", every_s=60)
def finish_interrupted(lease: Lease) -> None:
    """Releases whose publishing or quarantine a crash cut off."""
    lease.report("log", line=f"{publishing.finish_interrupted()} releases were brought in line")


@job_body("moderation.renew_withdrawn", queue="quick", every_s=3600)
def renew_withdrawn(lease: Lease) -> None:
    """What releases contain that was withdrawn: deletions, and whatever was missed."""
    lease.report("log", line=f"{withdrawals.renew_all()} releases say something else now")


@job_body("moderation.lapse_quarantines", queue="quick", every_s=300)
def lapse_quarantines(lease: Lease) -> None:
    lease.report("log", line=f"{quarantines.lapse_due()} quarantines lapsed")


@job_body("moderation.escalate_overdue", queue="quick", every_s=600)
def escalate_overdue(lease: Lease) -> None:
    lease.report("log", line=f"{deadlines.escalate_overdue()} cases are late")
