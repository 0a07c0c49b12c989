"""What models say of themselves in `.eval_results/*.yaml`: the files are the truth, the rows an index of them.

The index is written anew whenever the head that a model shows moves. The format is that of the stock client
(huggingface_hub.EvalResultEntry)."""

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Protocol

from django.db import transaction
from django.dispatch import receiver

from hub.common.errors import HubError
from hub.common.markdown import YamlProblem, read_yaml
from hub.community.social_models import EvalResult
from hub.repos.events import branch_moved, clearance_changed, public_half_moved
from hub.repos.models import Repo
from hub.repos.places import pair
from hub.storage.errors import StorageError
from hub.storage.git import TreeEntry

FOLDER = ".eval_results"
MAX_FILES = 20
MAX_BYTES = 32 * 1024  # of all files of a model: a fifth of a second within a commit
MAX_ENTRIES = 200  # of one model
MAX_TASKS = 20  # of one dataset, of one model


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
