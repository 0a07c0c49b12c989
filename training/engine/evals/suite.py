"""An evaluation suite: suite.yaml and the jsonl files it names, checked row by row before any model is loaded."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.engine.digests import digest_file, digest_listing
from training.engine.errors import EngineError
from training.engine.recipe_fields import Choice, Flag, ListOf, Number, Record, Text, key, read_record
from training.engine.yaml_document import Node, Problem

if TYPE_CHECKING:
    from training.engine.evals.harness_file import HarnessFile

MAX_FILE_BYTES = 256 << 20
MAX_LINE_BYTES = 1 << 20
MAX_ROWS = 100_000
MAX_CHOICES = 64
MAX_CHECKS = 5_000  # rows of a task of kind checks: an evaluation says of each whether it passed
MAX_SLICES = 100  # of one task: each is a line of every report of the suite
MAX_SLICE_CHARACTERS = 64
MAX_WORDINGS = 20  # that an answer of such a row must hold, or must not
MAX_PROBLEMS = 50  # a wrong file is wrong in every line
DEFAULT_MARGIN = 0.01

METRICS = {
    "multiple_choice": ("accuracy",),
    "generation": ("exact_match", "f1", "chrf", "rouge_l"),
    "perplexity": ("bits_per_byte",),
    "checks": ("passed",),
    "pairwise": ("win_rate",),
    "harness": ("acc", "acc_norm", "acc_bytes", "exact_match", "bits_per_byte"),  # one that its file lists
}
LOWER_IS_BETTER = {"bits_per_byte"}

Row = dict[str, Any]


@dataclass(frozen=True)
class Task:
    name: str = key(Text(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", "a short name"), "How pages call it.")
    kind: str = key(Choice(*METRICS), "What is asked of the model.")
    file: str = key(
        Text(r"[A-Za-z0-9][A-Za-z0-9_./-]{0,199}\.(?:jsonl|ya?ml)", "the name of a .jsonl file (harness: .yaml)"),
        "Its rows, or the task file of lm-evaluation-harness that names them.",
    )
    metric: str | None = key(
        Choice(*dict.fromkeys(m for ms in METRICS.values() for m in ms)), "How it is scored.", None
    )
    slice: str | None = key(Text(r"\S{1,64}", "the name of a column"), "Column whose values are told apart.", None)
    margin: float | None = key(Number(0, 10), "Loss that counts as none.", None)
    length_normalised: bool = key(Flag(), "Compare choices by log-likelihood per byte.", False)
    max_new_tokens: int = key(Number(1, 4096, whole=True), "Longest answer of a generation task.", 64)
    filter: str | None = key(Text(r"\S{1,64}", "the name of a filter"), "Of a harness file; else its first.", None)
    judge: str | None = key(
        Text(
            r"[A-Za-z0-9][A-Za-z0-9_.-]{0,95}/[A-Za-z0-9][A-Za-z0-9_.-]{0,95}@[0-9a-f]{40}",
            "NAMESPACE/NAME@COMMIT with all 40 digits, so that it stays the same judge",
        ),
        "The model that compares the answers of a pairwise task.",
        None,
    )
    rows: tuple[Row, ...] = ()
    harness: HarnessFile | None = None

    def name_slice(self, row: Row) -> str:
        return str(row[self.slice]) if self.slice else self.name


@dataclass(frozen=True)
class Suite:
    version: int = key(Number(1, 1, whole=True), "Version of this format.")
    name: str = key(Text(r".{1,120}", "a name"), "How pages call it.")
    tasks: tuple[Task, ...] = key(ListOf(Record(Task, "a task"), most=100), "What is measured.")
    margin: float = key(Number(0, 1), "Margin of the whole suite, and of tasks that state none.", DEFAULT_MARGIN)
    digest: str = ""


class SuiteError(EngineError):
    """Everything that is wrong with a suite, one `file:line: what` a line."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems), code="suite_invalid", hint="mend these lines in the suite")


def read_suite(folder: Path) -> Suite:
    """Raises SuiteError naming file and line of every problem, the first fifty of them."""
    suite = _read_description(folder / "suite.yaml")
    problems: list[str] = []
    tasks = [_with_rows(task, folder, problems) for task in suite.tasks]
    if problems:
        raise SuiteError(problems[:MAX_PROBLEMS])
    data = [name for task in tasks if task.harness for name in task.harness.files]
    names = ["suite.yaml", *sorted({*data, *(task.file for task in tasks)})]
    digest = digest_listing((name, digest_file(folder / name)) for name in names)
    return replace(suite, tasks=tuple(tasks), digest=digest)


def check_task_file(task: Task, folder: Path) -> list[str]:
    """What is wrong with the file that a task names, cheaply: every row of a .jsonl file, and of the harness what its
    file says, without writing out its templates."""
    problems: list[str] = []
    if task.kind != "harness" or not (folder / task.file).is_file():
        _with_rows(task, folder, problems)
        return problems[:MAX_PROBLEMS]
    from training.engine.evals.harness_file import read_harness_file

    return read_harness_file(folder / task.file, task.file)[1][:MAX_PROBLEMS]


def _read_description(path: Path) -> Suite:
    if not path.is_file():
        raise SuiteError([f"{path.name}: the suite has none; add a suite.yaml that lists its tasks"])
    with path.open("rb") as reader:
        return parse_description(reader.read(MAX_LINE_BYTES))


def parse_description(data: bytes) -> Suite:
    """The suite of a suite.yaml, without rows. Raises SuiteError naming every problem with its place."""
    suite, problems = read_record(data[:MAX_LINE_BYTES], Record(Suite, "a suite"), _find_contradictions)
    if problems:
        raise SuiteError([f"suite.yaml:{problem}" for problem in problems])
    assert isinstance(suite, Suite)
    return suite


def _find_contradictions(suite: Suite, root: Node) -> Iterator[Problem]:
    seen: set[str] = set()
    for task, node in zip(suite.tasks, root.value["tasks"][1].value, strict=True):
        if task.name in seen:
            yield node.problem(f"a second task is called '{task.name}'", "give it another name")
        seen.add(task.name)
        if task.metric is not None and task.metric not in METRICS[task.kind]:
            yield node.problem(f"{task.kind} has no metric {task.metric}", f"use {' or '.join(METRICS[task.kind])}")
        if (task.kind == "harness") == task.file.endswith(".jsonl"):
            hint = "name its .yaml file" if task.kind == "harness" else "name a .jsonl file, or write kind: harness"
            yield node.problem(f"{task.file} is no file of kind {task.kind}", hint)
        for name in ("length_normalised", "max_new_tokens") if task.kind == "harness" else ("filter",):
            if name in node.value:
                hint = "its file says that" if task.kind == "harness" else "it belongs to kind: harness"
                yield node.value[name][0].problem(f"{task.kind} has no {name}", hint)
        if task.kind == "pairwise" and task.judge is None:
            yield node.problem("pairwise needs a judge", "write judge: NAMESPACE/NAME@COMMIT")
        if task.kind != "pairwise" and task.judge is not None:
            yield node.value["judge"][0].problem(f"{task.kind} has no judge", "it belongs to kind: pairwise")
        if ".." in task.file:
            yield node.problem(f"{task.file} leads out of the suite", "keep its files in its folder")
    if not suite.tasks:
        yield root.value["tasks"][0].problem("there are no tasks", "add one")


def _with_rows(task: Task, folder: Path, problems: list[str]) -> Task:
    path = folder / task.file
    metric = task.metric or METRICS[task.kind][0]
    if not path.is_file() or not path.resolve().is_relative_to(folder.resolve()):
        problems.append(f"{task.file}: this file is missing; add it or take the task '{task.name}' out")
        return task
    if path.stat().st_size > MAX_FILE_BYTES:
        problems.append(f"{task.file}: larger than {MAX_FILE_BYTES >> 20} MiB; keep a sample of it")
        return task
    if task.kind == "harness":
        return _with_harness_rows(task, folder, problems)
    rows: list[Row] = []
    for number, line in _read_lines(path):
        row, problem = _read_row(task, line)
        if row is None or len(problems) >= MAX_PROBLEMS:
            problems.append(f"{task.file}:{number}: {problem}")
        else:
            rows.append(row)
        if len(problems) > MAX_PROBLEMS:
            break
        most = MAX_CHECKS if task.kind == "checks" else MAX_ROWS
        if len(rows) > most:
            problems.append(f"{task.file}:{number}: more than {most:,} rows; keep a sample of them")
            break
    if not rows and not problems:
        problems.append(f"{task.file}: there are no rows; add one JSON object a line")
    found = replace(task, metric=metric, rows=tuple(rows))
    problems += _check_slices(found)
    return found


def _check_slices(task: Task) -> list[str]:
    """A slice has a name to print in a table, and there are not as many of them as rows."""
    names = dict.fromkeys(map(task.name_slice, task.rows)) if task.slice else {}
    if len(names) > MAX_SLICES:
        return [f"{task.file}: the column '{task.slice}' tells {len(names):,} slices apart; {MAX_SLICES} are the most"]
    wrong = next((name for name in names if not is_slice_name(name)), None)
    if wrong is None:
        return []
    most = f"at most {MAX_SLICE_CHARACTERS} printable characters without '|'"
    return [f"{task.file}: the slice {wrong[:MAX_SLICE_CHARACTERS]!a} needs a name of {most}"]


def is_slice_name(name: str) -> bool:
    return 0 < len(name.strip()) and len(name) <= MAX_SLICE_CHARACTERS and name.isprintable() and "|" not in name


def _with_harness_rows(task: Task, folder: Path, problems: list[str]) -> Task:
    from training.engine.evals.harness_tasks import read_harness_task  # jinja2 is not among what the site needs

    found, rows, wrong = read_harness_task(folder, task.file, task.slice)
    problems += wrong
    if found is None or wrong:
        return task
    metrics, filters = found.list_metrics(), [one.name for one in found.filter_list]
    if task.metric is not None and task.metric not in metrics:
        problems.append(f"{task.file}: metric_list has no {task.metric}; it can be scored by {' or '.join(metrics)}")
    if task.filter is not None and task.filter not in filters:
        problems.append(f"{task.file}: filter_list has no '{task.filter}'; known there: {', '.join(filters) or 'none'}")
    problems += _check_slices(replace(task, slice="slice", rows=tuple(rows))) if task.slice else []
    told_apart = "slice" if task.slice else None
    return replace(task, metric=task.metric or metrics[0], slice=told_apart, rows=tuple(rows), harness=found)


def _read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Numbered lines that are not blank; a line is never longer than just above the limit."""
    with path.open("rb") as reader:
        number = 0
        while line := reader.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(line) > MAX_LINE_BYTES:
                yield number, line
                return
            if line.strip():
                yield number, line


def _read_row(task: Task, line: bytes) -> tuple[Row | None, str]:
    if len(line) > MAX_LINE_BYTES:
        return None, f"the line is longer than {MAX_LINE_BYTES >> 10} KiB; shorten it"
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None, "this is not JSON; write one object a line"
    if not isinstance(row, dict):
        return None, "this is not an object; write {...}"
    problem = CHECKS[task.kind](row)
    if not problem and task.slice and not isinstance(row.get(task.slice), str | int):
        problem = f"the column '{task.slice}' is missing; the task '{task.name}' is sliced by it"
    return (None, problem) if problem else (row, "")


def _check_choice(row: Row) -> str:
    choices, answer = row.get("choices"), row.get("answer")
    if not _is_text(row.get("question")):
        return "'question' must be text"
    if not isinstance(choices, list) or not 2 <= len(choices) <= MAX_CHOICES or not all(map(_is_text, choices)):
        return f"'choices' must be a list of 2 to {MAX_CHOICES} texts"
    if len(set(choices)) != len(choices):
        return "two choices are the same; make them differ"
    if type(answer) is not int or not 0 <= answer < len(choices):
        return f"'answer' must be the number of a choice, 0 to {len(choices) - 1}"
    return ""


def _check_generation(row: Row) -> str:
    answers = row.get("answers", [row.get("answer")])
    if not _is_text(row.get("prompt")):
        return "'prompt' must be text"
    if not isinstance(answers, list) or not answers or not all(map(_is_text, answers)):
        return "'answer' must be text, or 'answers' a list of texts"
    return ""


def _check_perplexity(row: Row) -> str:
    return "" if _is_text(row.get("text")) else "'text' must be text"


def check_wordings(row: Row) -> str:
    """What is wrong with a row of kind checks; "" for nothing."""
    must, must_not, answer = row.get("must", []), row.get("must_not", []), row.get("answer")
    share = row.get("at_least", 0.5)
    if not isinstance(row.get("id"), str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", row["id"]):
        return "'id' must be a short name of letters, digits, '-', '_' and '.'"
    if not _is_text(row.get("prompt")):
        return "'prompt' must be text"
    for name, words in (("must", must), ("must_not", must_not)):
        if not isinstance(words, list) or len(words) > MAX_WORDINGS or not all(map(_is_text, words)):
            return f"'{name}' must be a list of at most {MAX_WORDINGS} texts"
    if answer is not None and not _is_text(answer):
        return "'answer' must be text"
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
        return "'at_least' must be a number above 0, at most 1"
    return "" if must or must_not or answer else "it asks for nothing; give 'must', 'must_not' or 'answer'"


def _check_duel(row: Row) -> str:
    if not _is_text(row.get("prompt")):
        return "'prompt' must be text"
    return "" if row.get("answer") is None or _is_text(row["answer"]) else "'answer' must be text, or left out"


CHECKS = {
    "multiple_choice": _check_choice,
    "generation": _check_generation,
    "perplexity": _check_perplexity,
    "checks": check_wordings,
    "pairwise": _check_duel,
}


def _is_text(value: object) -> bool:
    """Some text that UTF-8 can hold: a tokenizer refuses lone surrogates."""
    return isinstance(value, str) and bool(value.strip()) and not re.search("[\ud800-\udfff]", value)
