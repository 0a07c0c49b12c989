"""Screening of what a candidate says: sampled answers of it and of its parent, judged alike and compared."""

from typing import Any

from django.utils import timezone

from hub.community.checks import set_check
from hub.community.models import Check
from moderation import audit
from moderation.models import Case, Finding, Screening
from moderation.screens import screen_answer
from moderation.screens.answers import compare_answers, read_prompts
from training import sampling
from training.models import Run, Sampling


def start(run: Run) -> None:
    """Ask for answers to the whole prompt set; the check runs until they are judged."""
    if run.pull_request is None or run.is_superseded:
        return
    summary = f"Waiting for the answers to {len(read_prompts())} prompts."
    set_check(run.pull_request, "screen", state=Check.State.RUNNING, summary=summary, evidence={"run": run.pk})
    sampling.start(run=run, prompts=read_prompts())


def judge(sample: Sampling, run: Run) -> Screening:
    """Findings, a comparison with the parent for each hazard, and the check. A flagged candidate waits for a moderator."""
    pull_request = run.pull_request
    assert pull_request is not None
    screening = Screening.objects.create(
        subject=Screening.Subject.OUTPUT,
        repo=run.repo,
        commit=pull_request.candidate,
        pull_request=pull_request,
        digest=run.model_digest,
        job=sample.job,
    )
    serious = store_findings(screening, sample.answers)
    candidate = sample.answers
    parent = [{**row, "text": row["parent_text"]} for row in sample.answers if row.get("parent_text") is not None]
    report = compare_answers(parent, candidate)
    failed = [hazard for hazard, row in report.items() if isinstance(row, dict) and row.get("verdict") == "fail"]
    screening.report = {"hazards": report, "sampling": sample.pk, "prompts_digest": sample.prompts_digest}
    is_flagged = bool(failed or serious)
    screening.state = Screening.State.HELD if is_flagged else Screening.State.PASSED
    screening.summary = summarize(len(sample.answers), failed, serious)
    screening.finished_at = timezone.now()
    screening.save()
    if is_flagged:
        Case.objects.create(
            kind=Case.Kind.OUTPUT,
            severity=3 if serious else 2,
            repo=run.repo,
            title=f"{pull_request}: {screening.summary}"[:300],
            screening=screening,
            subject={"model_digest": run.model_digest, "sampling": sample.pk, "run": run.pk},
        )
        audit.record("outputs.held", str(pull_request), model_digest=run.model_digest)
    if not run.is_superseded:
        set_check(
            pull_request,
            "screen",
            state=Check.State.HELD if is_flagged else Check.State.PASSED,
            summary=screening.summary,
            evidence={"screening": screening.pk, "run": run.pk},
            digest=run.model_digest,
        )
    return screening


def store_findings(screening: Screening, answers: list[dict[str, Any]]) -> int:
    """Store what is found in the candidate's answers; returns how many are serious and not the parent's too."""
    serious = 0
    rows = []
    for answer in answers:
        parent_rules = {
            (item.screen, item.rule) for item in screen_answer(answer["prompt"], answer.get("parent_text") or "")
        }
        for item in screen_answer(answer["prompt"], answer["text"]):
            is_new = (item.screen, item.rule) not in parent_rules
            serious += item.severity == "block" and is_new
            rows.append(
                Finding(
                    screening=screening,
                    screen=item.screen,
                    rule=item.rule[:60],
                    severity=item.severity,
                    where=f"prompt {answer['id']}"[:300],
                    excerpt=item.excerpt[:200],
                    message=item.message,
                )
            )
    Finding.objects.bulk_create(rows)
    return serious


def summarize(count: int, failed: list[str], serious: int) -> str:
    if not failed and not serious:
        return f"{count} answers screened; not worse than the parent in any hazard."
    parts = []
    if failed:
        parts.append(f"worse than the parent in {', '.join(failed)}")
    if serious:
        parts.append(f"{serious} answers hold what may not be published")
    return f"{count} answers screened: {' and '.join(parts)}. A moderator looks at them."


def could_not(sample: Sampling, problem: str) -> None:
    if sample.pull_request is not None:
        set_check(sample.pull_request, "screen", state=Check.State.FAILED, summary=problem or "Sampling failed.")
