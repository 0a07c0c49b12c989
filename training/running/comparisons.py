"""Runs side by side: their curves on one pair of axes, the settings in which they differ, and what came out."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any

from hub.common.errors import InvalidInput
from hub.common.paging import read_number
from training.engine.config import FINAL_LOSS_STEPS
from training.engine.errors import EngineError
from training.engine.lock import Lock
from training.engine.recipe import RepoRef, parse_recipe
from training.models import Evaluation, Run
from training.running.overview import read_lock_of
from training.running.records import read_curve

MOST_RUNS = 4  # as many as there are kinds of lines in a plot


@dataclass(frozen=True)
class Row:
    """One line of a table: what it is, and its value for each run; None where a run has none."""

    name: str
    values: list[Any]


@dataclass(frozen=True)
class Comparison:
    runs: list[Run]
    curves: list[dict[str, Any]]  # loss of the data that is learnt from
    held_out: list[dict[str, Any]]  # loss of rows kept aside
    settings: list[Row]  # those that differ
    results: list[Row]

    @property
    def numbers(self) -> list[int]:
        return [run.pk for run in self.runs]


def read_choice(texts: list[str]) -> list[int]:
    """Numbers of runs, each once. Raises InvalidInput."""
    numbers = list(dict.fromkeys(read_number(text) for text in texts))
    chosen = [number for number in numbers if number is not None]
    if None in numbers or not 2 <= len(chosen) <= MOST_RUNS:
        raise InvalidInput(
            f"Choose two to {MOST_RUNS} runs to compare: tick them in the list of runs, or name them as in ?run=3&run=5."
        )
    return chosen


def compare(runs: list[Run]) -> Comparison:
    """`runs` are those that the reader may see, at most MOST_RUNS."""
    curves = [(f"run {run.pk}", read_curve(run)) for run in runs]
    settings = [read_settings(read_lock_of(run)) for run in runs]
    return Comparison(
        runs,
        [{"name": name, "points": curve.loss} for name, curve in curves if curve.loss],
        [{"name": name, "points": curve.held_out} for name, curve in curves if curve.held_out],
        [row for row in line_up(settings) if any(value != row.values[0] for value in row.values)],
        line_up([read_results(run) for run in runs]),
    )


def line_up(tables: list[dict[str, Any]]) -> list[Row]:
    """One row for each key of any table, in the order in which they come."""
    keys = dict.fromkeys(key for table in tables for key in table)
    return [Row(key, [table.get(key) for table in tables]) for key in keys]


def read_settings(lock: Lock | None) -> dict[str, Any]:
    """Every value of the recipe by its key as in the file, what "auto" became, and the pinned commits."""
    if lock is None:
        return {}
    try:
        found = dict(flatten(parse_recipe(lock.recipe), ""))
    except EngineError:
        found = {}
    found |= dict(lock.resolved)
    found |= {f"{row.type} {row.id}": row.commit[:7] for row in lock.repositories}
    return found | ({"computed on": lock.device} if lock.device else {})


def flatten(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    """("train.steps", 60) and so on; entries of a list are numbered from 1."""
    if isinstance(value, RepoRef):
        yield key, f"{value.repo}@{value.revision}"
    elif is_dataclass(value) and not isinstance(value, type):
        for name in asdict(value):
            if name == "pull_request":
                continue  # who brought it, which is no setting
            yield from flatten(getattr(value, name), f"{key}.{name}" if key else name)
    elif isinstance(value, tuple):
        for number, item in enumerate(value, start=1):
            yield from flatten(item, f"{key} {number}")
    elif value is not None:
        yield key, value


def read_results(run: Run) -> dict[str, Any]:
    result = run.result
    rows = {
        "Rows": run.corpus.rows if run.corpus else None,
        "Tokens learnt from": result.get("tokens"),
        "Steps": result.get("steps"),
        "Seconds in its steps, without waiting, loading and saving": round_to(result.get("seconds"), 1),
        f"Loss, mean of the last {FINAL_LOSS_STEPS} steps": round_to(result.get("final_loss"), 4),
    }
    if preference := result.get("preference"):
        rows["Better answers preferred, of pairs kept aside"] = round_to(preference["accuracy"]["value"], 3)
    rows |= {f"{row.suite_name}: score": round_to(score_of(row, "score"), 3) for row in finished_evaluations(run)}
    rows |= {
        f"{row.suite_name}: against its parent": round_to(score_of(row, "difference"), 3)
        for row in finished_evaluations(run)
    }
    return rows


def finished_evaluations(run: Run) -> list[Evaluation]:
    rows = Evaluation.objects.filter(
        pull_request=run.pull_request, model_digest=run.model_digest, finished_at__isnull=False
    )
    return list({row.suite_name: row for row in rows.order_by("pk")}.values()) if run.model_digest else []


def score_of(evaluation: Evaluation, key: str) -> float | None:
    value = (evaluation.results.get("overall") or {}).get(key)
    return float(value) if value is not None else None


def round_to(value: Any, digits: int) -> float | None:
    return None if value is None else round(float(value), digits)
