"""Whether the model was evaluated and is not worse, its answers were screened, and how far it can be made again."""

from typing import Any

from moderation.cases.voices import count_missing, list_spent, name_reasons, name_spent
from moderation.gate.origins import read_lock
from moderation.gate.requirements import FAILED, PASSED, WARNING, Requirement
from moderation.models import Case, Screening
from moderation.rules.policy_file import EvaluationRules
from training.engine.errors import EngineError
from training.evaluating.suites import most_margin, newest_evaluations, pinned_suites, target_recipe
from training.models import Evaluation, Replay, Run
from training.running.replays import newest_compared

TOLD_OF_BIAS = (
    "n",
    "violations",
    "rate",
    "low",
    "high",
    "parent_rate",
    "difference",
    "diff_low",
    "diff_high",
    "p_holm",
    "verdict",
)
TOLD_OF_GUARD = ("found", "positives", "cleared", "negatives")


def check_evaluation(run: Run | None, rules: EvaluationRules) -> Requirement:
    """Not worse over the whole suite than the parent, on every suite that the policy names."""
    if run is None:
        return Requirement("evaluation", WARNING, "Brought weights: no run of this hub evaluated them.")
    newest = finished_evaluations(run)
    if not newest:
        return Requirement("evaluation", FAILED, "No suite was run; add 'evaluate:' to the recipe and propose again.")
    evidence: dict[str, Any] = {"evaluations": [row.pk for row in newest]}
    against = [row for row in newest if verdict_against(row)]
    exception = find_exception(run, against) if against else None
    if against and exception is None:
        return Requirement("evaluation", FAILED, say_against(against[0]) + say_spent(run, against), evidence)
    problem = why_not_believe(run, newest) or why_not_enough(newest, rules)
    if problem:
        return Requirement("evaluation", FAILED, problem, evidence)
    if exception is not None:
        verdict = exception.subject.get("verdict", "")
        sentence = f"{verdict} Two moderators allowed it all the same. {name_reasons(exception)}"
        return Requirement("evaluation", WARNING, sentence, {**evidence, "exception": exception.pk})
    names = ", ".join(row.suite_name for row in newest)
    if not any(row.parent_name for row in newest):
        return Requirement("evaluation", PASSED, f"Evaluated on {names}; it has no parent.", evidence)
    return Requirement("evaluation", PASSED, f"Not worse than its parent on {names}.", evidence)


def verdict_against(row: Evaluation) -> str:
    """worse | insufficient, or "" for neither; a model without a parent is compared with nothing."""
    whole = (row.results.get("overall") or {}).get("verdict") or row.verdict
    if not row.parent_name:
        return ""
    if "worse" in (whole, row.verdict):
        return "worse"
    return "insufficient" if whole == "insufficient" else ""


def say_against(row: Evaluation) -> str:
    if verdict_against(row) == "worse":
        return f"It is worse than its parent on {row.suite_name}; improve the recipe and propose again."
    return f"{row.suite_name} has too few items to say that it is not worse; use a larger suite or margin."


def list_against(run: Run) -> list[Evaluation]:
    """The finished evaluations whose verdict keeps it from being released."""
    return [row for row in finished_evaluations(run) if verdict_against(row)]


def find_exception(run: Run, against: list[Evaluation]) -> Case | None:
    """The case in which two moderators set exactly these verdicts aside."""
    case = find_granted(run, against)
    return case if case is not None and count_missing(case) == 0 else None


def say_spent(run: Run, against: list[Evaluation]) -> str:
    """Of an exception that was granted, whose voice counts no more, and the way out; "" where there is none."""
    case = find_granted(run, against)
    return f" {name_spent(case)}" if case is not None and list_spent(case) else ""


def find_granted(run: Run, against: list[Evaluation]) -> Case | None:
    """The newest exception for exactly these verdicts that was granted, whether or not its voices still count."""
    rows = Case.objects.filter(kind=Case.Kind.EXEMPT, repo=run.repo, state=Case.State.ALLOWED, subject__run=run.pk)
    for case in rows.order_by("-pk"):
        named = set(case.subject.get("evaluations", []))
        if case.subject.get("model_digest") == run.model_digest and {row.pk for row in against} <= named:
            return case
    return None


def finished_evaluations(run: Run) -> list[Evaluation]:
    try:
        lock = read_lock(run)
        return [row for row in newest_evaluations(run, lock) if row.finished_at is not None] if lock is not None else []
    except EngineError:  # a recipe that this version does not read any more
        return []


def why_not_believe(run: Run, newest: list[Evaluation]) -> str:
    """A suite of the recipe that was not run, or a comparison more lenient than is allowed; "" for neither."""
    lock = read_lock(run)
    known = target_recipe(run.pull_request) if run.pull_request is not None else None
    rows = {(row.suite_name, row.suite_commit): row for row in newest}
    for entry, pin in pinned_suites(lock) if lock is not None else []:
        row, most = rows.get((pin.id, pin.commit)), most_margin((entry, pin), known)
        if row is None:
            return f"The suite {entry.suite} was not run; propose again."
        if row.margin > most:
            return f"{pin.id} was compared with a margin of {row.margin:g}, and {most:g} is allowed; propose again."
    return ""


def why_not_enough(newest: list[Evaluation], rules: EvaluationRules) -> str:
    """What the policy of the hub asks for and was not done; "" where it was."""
    for row in newest:
        if row.parent_name and row.margin > rules.largest_margin:
            return (
                f"{row.suite_name} was compared with a margin of {row.margin:g}, and the rules of the hub allow "
                f"{rules.largest_margin:g}; propose again."
            )
    done = {row.suite_name.lower() for row in newest}
    missing = [name for name in rules.suites if name.lower() not in done]
    if missing:
        return f"The rules of the hub ask for the suite {missing[0]}; add it under 'evaluate:' and propose again."
    return ""


def check_outputs(run: Run | None) -> Requirement:
    if run is None:
        return Requirement("outputs", FAILED, "Its outputs were not screened here; propose it through a recipe.")
    screening = (
        Screening.objects.filter(
            subject=Screening.Subject.OUTPUT, repo=run.repo, digest=run.model_digest, finished_at__isnull=False
        )
        .order_by("pk")
        .last()
    )
    if screening is None:
        return Requirement("outputs", FAILED, "Its outputs are not screened yet; wait for the check 'screen'.")
    evidence = {"screening": screening.pk, "policy": screening.report.get("policy"), **describe_bias(screening)}
    evidence |= describe_guards(screening)
    if screening.state != Screening.State.PASSED:
        return Requirement("outputs", FAILED, f"Output screening: {screening.summary}", evidence)
    case = screening.cases.filter(state="allowed").order_by("pk").last()
    if case is not None and count_missing(case):
        why = (
            name_spent(case)
            if list_spent(case)
            else f"One moderator allowed it; another has to agree (case {case.pk})."
        )
        sentence = f"Output screening: {screening.summary} {why}"
        return Requirement("outputs", FAILED, sentence, {**evidence, "case": case.pk})
    if case is not None:
        sentence = f"Output screening: {screening.summary} Allowed all the same. {name_reasons(case)}"
        return Requirement("outputs", WARNING, sentence, {**evidence, "case": case.pk, "exception": case.pk})
    return Requirement("outputs", PASSED, screening.summary, evidence)


def describe_bias(screening: Screening) -> dict[str, Any]:
    """What the signed manifest says of stereotypes; nothing for a screening that measured none."""
    report = screening.report.get("bias")
    if not report:
        return {}
    told = {
        name: {key: round(entry[key], 4) if isinstance(entry[key], float) else entry[key] for key in TOLD_OF_BIAS}
        for name, entry in report["dimensions"].items()
    }
    return {"bias": {**report, "dimensions": told}}


def describe_guards(screening: Screening) -> dict[str, Any]:
    """What the signed manifest says of each guard model: its errors, and its word on all requests for harm."""
    told = []
    for row in screening.report.get("guards", []):
        whole = row["judged"].get("overall", {})
        errors = {key: row["judge"][key] for key in ("name", "version", "threshold", *TOLD_OF_GUARD)}
        told.append({**errors, **{key: whole.get(key) for key in ("n", "rate", "parent_rate", "corrected", "verdict")}})
    return {"guards": told} if told else {}


def check_reproducibility(run: Run | None) -> Requirement:
    """Stated, whatever it is: what nobody has made again is no worse for it, but who approves knows."""
    name = "reproducibility"
    if run is None:
        return Requirement(name, WARNING, "Brought weights: nothing here says how they could be made again.")
    lock = read_lock(run)
    if lock is None:
        return Requirement(name, FAILED, f"Run {run.pk} kept no lock, so nobody could make it again; propose it anew.")
    evidence = {"run": run.pk}
    replay = newest_compared(run)
    if replay is None:
        count = len(lock.repositories)
        pins = f"{count} input" if count == 1 else f"{count} inputs"
        sentence = f"The lock of run {run.pk} pins {pins}, but nobody has had it made again yet; replay it on its page."
        return Requirement(name, WARNING, sentence, evidence)
    evidence["replay"] = replay.pk
    sentence = f"Made again: {replay.get_state_display().lower()}. {replay.sentence}"
    is_good = replay.state in (Replay.State.EQUAL, Replay.State.CLOSE)
    return Requirement(name, PASSED if is_good else WARNING, sentence, evidence)
