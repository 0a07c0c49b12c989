"""What this hub measured of the values on its leaderboards: the evaluation of a merged proposal that came to the same number."""

from collections.abc import Sequence
from typing import Any

from hub.community.leaderboards import Measure, measures_results
from hub.community.social_models import EvalResult
from hub.repos.models import Repo
from training.models import Evaluation, Run

DIGITS = 6  # of the values that are written
WHOLE = "overall"  # the task under which the whole suite stands


def list_parts(results: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """(task, part) of what is written: the whole and its slices, where more is better."""
    parts = [(WHOLE, results["overall"]), *((part["slice"], part) for part in results["slices"])] if results else []
    return [(name, part) for name, part in parts if part.get("higher_is_better") and part.get("score") is not None]


def measure(dataset: Repo, rows: Sequence[EvalResult]) -> dict[int, Measure]:
    """Two queries. Whoever writes the same number by hand gets the run that found it: that is what it shows."""
    known = Evaluation.objects.filter(
        suite_repo=dataset,
        repo__in={row.repo_id for row in rows},
        finished_at__isnull=False,
        pull_request__discussion__status="merged",
    )
    evaluations = list(known.select_related("pull_request").order_by("pk"))
    made = Run.objects.filter(pull_request__in=[row.pull_request_id for row in evaluations], is_superseded=False)
    runs = {(run.pull_request_id, run.model_digest): run.pk for run in made.only("pull_request", "model_digest")}
    found: dict[tuple[int, str, float], Measure] = {}
    for row in evaluations if runs else ():
        run = runs.get((row.pull_request_id, row.model_digest))
        for task, part in list_parts(row.results) if run is not None else ():
            assert row.pull_request is not None
            found[row.repo_id, task[:100], round(part["score"], DIGITS)] = Measure(
                low=part["low"],
                high=part["high"],
                items=part["n"],
                metric=str(part["metric"]),
                address=f"/runs/{run}",
                model_commit=row.pull_request.merge_commit,
                suite_commit=row.suite_commit,
                judges=tuple(row.results.get("judges") or ()),
                contaminated=part.get("contaminated"),
            )
    keys = {row.pk: (row.repo_id, row.task, round(row.value, DIGITS)) for row in rows}
    return {pk: found[key] for pk, key in keys.items() if key in found}


measures_results(measure)
