"""Leaderboards: what models say of themselves in `.eval_results/*.yaml`, gathered by the dataset that they were tested on.

The files are the truth and the rows an index of them, written anew whenever the head that a model shows moves. The format
is that of the stock client (huggingface_hub.EvalResultEntry). Values are claims of the model's authors, and pages say so. What
the hub measured itself, a room above tells (`measures_results`): with interval and run, so that a tie is called one."""

import math
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from django.db import transaction
from django.db.models import F, Q, Window
from django.db.models.functions import RowNumber
from django.dispatch import receiver

from hub.common.errors import HubError
from hub.common.markdown import YamlProblem, read_yaml
from hub.community.models import Discussion
from hub.community.social_models import EvalResult
from hub.repos.events import branch_moved, clearance_changed, public_half_moved
from hub.repos.models import Repo, RepoAlias
from hub.repos.places import pair
from hub.storage.errors import StorageError
from hub.storage.git import TreeEntry

FOLDER = ".eval_results"
MAX_FILES = 20
MAX_BYTES = 32 * 1024  # of all files of a model: a fifth of a second within a commit
MAX_ENTRIES = 200  # of one model
MAX_TASKS = 20  # of one dataset, of one model
MAX_ROWS = 1000  # of one dataset, the best ones, that are looked at


@dataclass(frozen=True)
class Result:
    """An entry of a file as it was written, checked; or what is wrong with the file."""

    filename: str
    data: dict[str, Any] = field(default_factory=dict)
    problem: str = ""


class Readable(Protocol):
    """A git repository, or what one reader may see of it."""

    def tree(self, commit: str, path: str = "", *, recursive: bool = False) -> list[TreeEntry]: ...


def read_results(source: Any, commit: str) -> list[Result]:
    """All entries at a commit, from a RepoReader. A broken file is one Result with its problem."""
    return parse_files(source, commit, lambda path: source.read_bytes(commit, path, limit=MAX_BYTES))


def parse_files(source: Readable, commit: str, read: Any) -> list[Result]:
    try:
        entries = source.tree(commit, FOLDER)
    except (StorageError, HubError):
        return []
    found: list[Result] = []
    room = MAX_BYTES
    files = [row for row in entries if row.type == "file" and row.path.endswith((".yaml", ".yml")) and not row.lfs]
    for entry in files[:MAX_FILES]:
        room -= entry.size
        if room < 0:
            found.append(Result(entry.path, problem=f"The files of {FOLDER} hold more than {MAX_BYTES:,} bytes."))
            break
        try:
            text = read(entry.path).decode("utf-8", errors="replace")
        except (StorageError, HubError):
            continue
        found += parse_file(entry.path, text)
    return found[:MAX_ENTRIES]


def parse_file(filename: str, text: str) -> list[Result]:
    try:
        data = read_yaml(text)
    except YamlProblem as problem:
        return [Result(filename, problem=f"{filename}{problem}")]
    if not isinstance(data, list):
        return [Result(filename, problem=f"{filename}: it must be a list of '- dataset: ... value: ...' entries.")]
    found = []
    for number, entry in enumerate(data[:MAX_ENTRIES], start=1):
        try:
            found.append(Result(filename, check_entry(entry)))
        except ValueError as problem:
            return [Result(filename, problem=f"{filename} entry {number}: {problem}")]
    return found


def check_entry(entry: Any) -> dict[str, Any]:
    """The known parts of an entry as JSON keeps them. Raises ValueError that says what is missing or odd."""
    dataset = entry.get("dataset") if isinstance(entry, dict) else None
    if not isinstance(dataset, dict):
        raise ValueError("'dataset' must hold 'id' and 'task_id'.")
    for key, most in (("id", 200), ("task_id", 100)):
        if not is_text(dataset.get(key), most):
            raise ValueError(f"'dataset.{key}' must be a text of at most {most} characters.")
    value = entry.get("value")
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("'value' must be a number.")
    source = entry.get("source") or {}
    if not isinstance(source, dict) or not all(is_text(item, 500) for item in source.values()):
        raise ValueError("'source' must hold texts: 'url', 'name', 'user', 'org'.")
    if source and not source.get("url", "").startswith(("https://", "http://")):
        raise ValueError("'source.url' must be an address that begins with https:// or http://.")
    checked: dict[str, Any] = {"dataset": {"id": dataset["id"], "task_id": dataset["task_id"]}, "value": value}
    if dataset.get("revision") is not None:
        checked["dataset"]["revision"] = str(dataset["revision"])[:100]
    if source:
        checked["source"] = {key: source[key] for key in ("url", "name", "user", "org") if key in source}
    for key in ("verifyToken", "date", "notes"):
        if entry.get(key) is not None:
            checked[key] = plain(str(entry[key]))[:4000]
    return checked


def is_text(value: Any, most: int) -> bool:
    return isinstance(value, str) and 0 < len(value) <= most and plain(value) == value


def plain(text: str) -> str:
    """Without what no database keeps: NUL and halves of characters."""
    return text.replace("\0", "").encode("utf-8", "ignore").decode()


def index_results(repo: Repo) -> None:
    """Write the rows of the head that this model shows. Idempotent: another call at the same head changes nothing."""
    if repo.type != Repo.Type.MODEL:
        return
    row = Repo.everything.filter(pk=repo.pk).first()
    if row is None or (head := head_of(row)) and EvalResult.objects.filter(repo=row, commit=head).exists():
        return
    members = pair(row).members
    found = parse_files(members, head, lambda path: members.read(head, path, limit=MAX_BYTES)) if head else []
    if not found and not EvalResult.objects.filter(repo=row).exists():
        return  # as in nearly every commit: nothing to write, nothing to wait for
    with transaction.atomic():
        # Not FOR UPDATE: those around us may have written rows that name this repository, and would wait for each other.
        locked = Repo.everything.select_for_update(no_key=True).filter(pk=row.pk).first()
        if locked is None or head_of(locked) != head:
            return  # whoever moved it reads it again
        EvalResult.objects.filter(repo=locked).delete()
        rows = [make_row(locked, head, result) for result in found if not result.problem]
        EvalResult.objects.bulk_create(take_best(rows))


def take_best(rows: list[EvalResult]) -> list[EvalResult]:
    """One row, the best, for each dataset and task, and at most MAX_TASKS tasks of a dataset, those named first."""
    best: dict[tuple[str, str], EvalResult] = {}
    tasks: Counter[str] = Counter()
    for row in rows:
        key = (row.dataset, row.task)
        if key not in best:
            tasks[row.dataset] += 1
            if tasks[row.dataset] > MAX_TASKS:
                continue
        if key not in best or row.value > best[key].value:
            best[key] = row
    return list(best.values())


def head_of(repo: Repo) -> str:
    """What people see: everybody, or the members of a private model."""
    return repo.head if repo.is_private else repo.public_head


def make_row(repo: Repo, commit: str, result: Result) -> EvalResult:
    data = result.data
    return EvalResult(
        repo=repo,
        commit=commit,
        filename=result.filename[:300],
        dataset=data["dataset"]["id"].lower(),
        task=data["dataset"]["task_id"],
        value=float(data["value"]),
        source={key: data["source"][key] for key in ("url", "name") if key in data.get("source", {})},
        notes=data.get("notes", "")[:300],
    )


@receiver(branch_moved)
def index_after_push(sender: type, repo: Repo, ref: str, **_: Any) -> None:
    if ref == f"refs/heads/{repo.default_branch}":
        index_results(repo)


@receiver(clearance_changed)
@receiver(public_half_moved)
def index_after_decision(sender: type, repo: Repo, **_: Any) -> None:
    index_results(repo)


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
