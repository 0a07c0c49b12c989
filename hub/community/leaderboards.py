"""Leaderboards: what models say of themselves (eval_results), gathered by the dataset that they were tested on.

Values are claims of the model's authors, and pages say so. What the hub measured itself, a room above tells
(`measures_results`): with interval and run, so that a tie is called one."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import F, Q, Window
from django.db.models.functions import RowNumber

from hub.community.models import Discussion
from hub.community.social_models import EvalResult
from hub.repos.models import Content, Repo, RepoAlias

WEIGHT_ENDINGS = (".safetensors", ".gguf", ".bin", ".pt", ".pth", ".onnx", ".h5", ".msgpack")
MAX_ROWS = 1000  # of one dataset, the best ones, that are looked at


@dataclass(frozen=True)
class Measure:
    """How the hub came to a value: what it ran, and how sure that is."""

    low: float  # of the 95% interval
    high: float
    items: int
    metric: str
    address: str  # of the page that tells of it
    model_commit: str
    suite_commit: str
    judges: tuple[str, ...] = ()  # NAME@COMMIT of models that compared its answers
    contaminated: float | None = None  # share of the items that stand in what the model learnt from; None: not known


Measurer = Callable[[Repo, Sequence[EvalResult]], dict[int, Measure]]
_measurers: list[Measurer] = []


def measures_results(measurer: Measurer) -> None:
    """Register what knows, by the key of a result on a dataset, how it was measured."""
    if measurer not in _measurers:
        _measurers.append(measurer)


def measures_of(dataset: Repo, rows: Sequence[EvalResult]) -> dict[int, Measure]:
    return {key: found for measurer in _measurers for key, found in measurer(dataset, rows).items()} if rows else {}


@dataclass(frozen=True)
class Place:
    """One model on a leaderboard. Only a model whose whole interval lies above another's stands before it; without
    intervals equal values share a rank."""

    rank: int
    result: EvalResult
    measure: Measure | None = None
    is_tied: bool = False
    dispute: Discussion | None = None  # that nobody has settled

    @property
    def repo(self) -> Repo:
        return self.result.repo

    @property
    def is_share(self) -> bool:
        """Whether it can be on the scale of what the hub measures. Else it may be a percentage, or no such value at all."""
        return 0 <= self.result.value <= 1


def rows_of(dataset: Repo, user: Any) -> list[EvalResult]:
    """Results on this dataset, under its name of now or a former one, of models that `user` may read; the best first."""
    if dataset.type != Repo.Type.DATASET:
        return []
    shown = Q(repo__is_private=False, commit=F("repo__public_head")) | Q(repo__is_private=True, commit=F("repo__head"))
    models = (
        Repo.objects.visible_to(user).filter(type=Repo.Type.MODEL, is_disabled=False, gated="").order_by().values("pk")
    )
    rows = EvalResult.objects.filter(shown, dataset__in=names_of(dataset), repo__in=models)
    # The best of each model and task: however many entries a model has, it takes no place from others.
    best = Window(RowNumber(), partition_by=[F("repo"), F("task")], order_by=[F("value").desc(), F("pk").asc()])
    rows = rows.annotate(number=best, base_model=F("repo__card__base_model")).filter(number=1)
    rows = rows.select_related("repo__owner_user", "repo__owner_organization")
    rows = rows.defer("repo__card", "repo__card_problem", "repo__tags")  # a thousand cards for one key of each
    return list(rows.order_by("-value", "pk")[:MAX_ROWS])


def with_weights(rows: Iterable[EvalResult]) -> set[int]:
    """Keys of those models that hold weights: without any nobody can measure a value again."""
    return holding_weights({row.repo_id for row in rows})


def holding_weights(repos: set[int]) -> set[int]:
    """Those of these models, by their keys, that hold weights which their readers may have."""
    endings = Q()
    for ending in WEIGHT_ENDINGS:
        endings |= Q(path__endswith=ending)
    known = Content.objects.filter(endings, repo__in=repos)
    shown = known.filter(Q(clearance=Content.Clearance.CLEARED) | Q(repo__is_private=True))
    return set(shown.values_list("repo_id", flat=True).distinct())


def names_of(dataset: Repo) -> list[str]:
    owners = dataset.owner.names.values_list("name", flat=True)
    former = RepoAlias.objects.filter(repo=dataset).values_list("full_name", flat=True)
    return [name.lower() for name in [*(f"{owner}/{dataset.name}" for owner in owners), *former]]


def make_boards(
    rows: list[EvalResult],
    *,
    base_only: bool = False,
    measures: Mapping[int, Measure] = {},  # noqa: B006  never written
    disputes: Mapping[tuple[int, str], Discussion] = {},  # noqa: B006
) -> dict[str, list[Place]]:
    """Task -> its places, the tasks with most models first. A model stands on each with its best value; `base_only`
    leaves out those whose card names a `base_model`."""
    by_task: dict[str, dict[int, EvalResult]] = {}
    for row in rows:
        if not (base_only and has_base(row)):
            by_task.setdefault(row.task, {}).setdefault(row.repo_id, row)
    order = sorted(by_task, key=lambda task: (-len(by_task[task]), task))
    return {task: rank(by_task[task].values(), measures, disputes) for task in order}


def has_base(row: EvalResult) -> bool:
    return bool(getattr(row, "base_model", None))  # rows_of asks for it


def rank(
    rows: Iterable[EvalResult],
    measures: Mapping[int, Measure] = {},  # noqa: B006  never written
    disputes: Mapping[tuple[int, str], Discussion] = {},  # noqa: B006
) -> list[Place]:
    """1, 2, 2, 4: behind a model are those whose interval ends below its beginning; the others are tied with it. `rows` come
    best first and stay in this order."""
    rows = list(rows)
    spans = [span_of(row, measures.get(row.pk)) for row in rows]
    lows, highs = sorted(low for low, _ in spans), sorted(high for _, high in spans)
    places = []
    for row, (low, high) in zip(rows, spans, strict=True):
        above = len(rows) - bisect_right(lows, high)
        below = bisect_left(highs, low)
        is_tied = len(rows) - above - below > 1
        places.append(Place(above + 1, row, measures.get(row.pk), is_tied, disputes.get((row.repo_id, row.task))))
    return places


def span_of(row: EvalResult, measure: Measure | None) -> tuple[float, float]:
    return (measure.low, measure.high) if measure is not None else (row.value, row.value)
