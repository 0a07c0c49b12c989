"""Publishing against a verdict of the evaluation, worse or insufficient: asked for with a reason, and granted by two
moderators who have no part in the model. What they set aside is exactly these evaluations; a new one asks again."""

from typing import Any

from django.db import transaction

from hub.accounts.models import User
from hub.accounts.permissions import can, require
from hub.common.errors import Conflict, Forbidden, InvalidInput
from hub.community.checks import set_check
from hub.community.listeners import notify
from hub.community.models import Check, PullRequest
from hub.repos.models import Repo
from moderation import audit
from moderation.cases.consequences import followers
from moderation.cases.queue import MAX_REASON_CHARACTERS, SEVERITY_OF_BLOCK, is_for_all, path_of
from moderation.cases.voices import name_reasons
from moderation.gate.evidence import find_exception, list_against
from moderation.models import Case
from moderation.people import moderators
from training.models import Evaluation, Run


def run_of(pull_request: PullRequest) -> Run | None:
    return Run.objects.filter(pull_request=pull_request, is_superseded=False, state=Run.State.SUCCEEDED).last()


def find_open(run: Run) -> Case | None:
    rows = Case.objects.filter(kind=Case.Kind.EXEMPT, repo=run.repo, state=Case.State.OPEN)
    return rows.filter(subject__run=run.pk).first()


def why_not_ask(run: Run | None, user: Any) -> str:
    """ "" when this person may ask for an exception for what the run made, else the reason in a sentence."""
    if run is None:
        return "No finished run made this, so no evaluation speaks against it."
    author = run.pull_request.discussion.author_id if run.pull_request else None
    if not can(user, "write", run.repo) and author != getattr(user, "pk", None):
        return "Who proposed it and the maintainers of the repository ask for an exception."
    against = list_against(run)
    if not against:
        return "No evaluation speaks against it."
    if find_exception(run, against) is not None:
        return "Two moderators have granted it already."
    known = find_open(run)
    return f"Somebody asked already: case {known.pk}." if known is not None else ""


@transaction.atomic
def ask(*, run: Run | None, by: User, reason: str) -> Case:
    """A case for two moderators. Raises Forbidden, Conflict, InvalidInput in a sentence."""
    if run is None:
        raise Conflict(why_not_ask(run, by))
    require(by, "answer", run.repo)
    Repo.objects.select_for_update(of=("self",)).get(pk=run.repo_id)  # two who ask at once make one case
    problem = why_not_ask(run, by)
    if problem:
        raise (Forbidden if problem.startswith("Who proposed") else Conflict)(problem)
    if not reason.strip():
        raise InvalidInput("Say in a sentence why it should be published all the same.")
    against = list_against(run)
    sentence = " ".join(describe(row) for row in against)
    case = Case.objects.create(
        kind=Case.Kind.EXEMPT,
        severity=SEVERITY_OF_BLOCK,
        repo=run.repo,
        title=f"Exception for {run.repo}: {sentence}"[:300],
        subject={
            "run": run.pk,
            "model_digest": run.model_digest,
            "evaluations": sorted(row.pk for row in against),
            "verdict": sentence,
            "text": reason.strip()[:MAX_REASON_CHARACTERS],
        },
        opened_by=by,
    )
    audit.record("exception.asked", str(run.repo), by=by, is_public=is_for_all(case), case=case.pk, verdict=sentence)
    notify(list(moderators()), f"To decide by two: {case.title}", path_of(case), actor=by)
    return case


def describe(evaluation: Evaluation) -> str:
    verdict = "worse" if evaluation.verdict == "worse" else "insufficient"
    words = "it is worse than its parent" if verdict == "worse" else "too few items to say that it is not worse"
    return f"{evaluation.suite_name}: {words}."


def settle_check(case: Case) -> None:
    """Decided: the check of the proposal, where it is still the same evaluation, says so."""
    run = Run.objects.select_related("pull_request").filter(pk=case.subject.get("run") or 0).first()
    if run is None or run.pull_request is None or case.state != Case.State.ALLOWED or run.is_superseded:
        return
    check = run.pull_request.checks.filter(name="evaluate", state=Check.State.FAILED).first()
    if check is None or check.evidence.get("run") != run.pk or find_exception(run, list_against(run)) != case:
        return
    summary = f"{case.subject.get('verdict', '')} Allowed by two moderators. {name_reasons(case)}"
    set_check(run.pull_request, "evaluate", state=Check.State.PASSED, summary=summary, evidence={"exception": case.pk})


followers[Case.Kind.EXEMPT] = settle_check
