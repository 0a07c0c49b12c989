"""The declarative part of a task file of lm-evaluation-harness 0.4, read with places: what is not understood is refused by
name, because a task scored in another way than its file says would bear the name of a known benchmark and not be it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from training.engine.evals.harness_templates import BoundedTemplate, TemplateProblem
from training.engine.recipe_fields import INVALID, Choice, Flag, Kind, ListOf, Number, Record, Text, describe, key
from training.engine.yaml_document import MAX_BYTES, Node, Problem, read_yaml

SCORED = {
    "multiple_choice": ("acc", "acc_norm", "acc_bytes"),
    "loglikelihood": ("acc",),
    "loglikelihood_rolling": ("bits_per_byte",),
    "generate_until": ("exact_match",),
}
# Named in many files beside a scored one. They order models as bits_per_byte does, or are no mean over rows.
PASSED_OVER = {
    "multiple_choice": (),
    "loglikelihood": ("perplexity",),
    "loglikelihood_rolling": ("word_perplexity", "byte_perplexity"),
    "generate_until": (),
}
AGGREGATIONS = {
    "bits_per_byte": "bits_per_byte",
    "word_perplexity": "weighted_perplexity",
    "byte_perplexity": "weighted_perplexity",
    "perplexity": "perplexity",
}
KNOWN_METRICS = tuple(
    dict.fromkeys(name for table in (SCORED, PASSED_OVER) for names in table.values() for name in names)
)
FUNCTION_HINT = "functions of Python are not run; write a template, or prepare the rows before they enter the suite"
ADVICE = {
    "process_docs": FUNCTION_HINT,
    "process_results": "use a metric of metric_list",
    "custom_dataset": "put the rows into the suite",
    "dataset_name": "put the rows of that configuration into the suite",
    "include": "write the keys of that file here",
    "use_prompt": "write the prompt as doc_to_text",
    "group": "list each of its tasks in suite.yaml",
    "doc_to_image": "only text is asked here",
    "doc_to_audio": "only text is asked here",
    "unsafe_code": "answers are never run here",
    "gen_prefix": "write it at the end of doc_to_text",
    "repeats": "each row is asked once",
}
HARMLESS = {"unsafe_code": False, "repeats": 1}  # values that say what is done anyway


@dataclass(frozen=True)
class Expression:
    """What the harness takes for text: the name of a column, or a template."""

    source: str
    template: BoundedTemplate


class Template:
    name = "a Jinja template or the name of a column"

    def read(self, node: Node, problems: list[Problem]) -> Any:
        if not isinstance(node.value, str):
            problems.append(
                node.problem(f"{describe(node)} stands where {self.name} is expected", "write it in quotes")
            )
            return INVALID
        try:
            return Expression(node.value, BoundedTemplate(node.value))
        except TemplateProblem as problem:
            problems.append(node.problem(str(problem), "write it with conditions, loops and methods of text"))
            return INVALID


class Target(Template):
    def read(self, node: Node, problems: list[Problem]) -> Any:
        return node.value if type(node.value) is int else super().read(node, problems)


class Choices(Template):
    """A template that writes a list, a list, or a mapping whose values are the list."""

    def read(self, node: Node, problems: list[Problem]) -> Any:
        items = [value for _, value in node.value.values()] if node.is_mapping else node.value
        if not isinstance(items, list):
            return super().read(node, problems)
        wrong = [item for item in items if not isinstance(item.value, str)]
        problems += [item.problem(f"the choice {describe(item)} is no text", "write it in quotes") for item in wrong]
        return INVALID if wrong else tuple(item.value for item in items)


class Regex(Text):
    """A pattern of Python's `re`; it runs within a time limit."""

    def __init__(self) -> None:
        super().__init__(r"(?s).{1,1000}", "a regular expression of at most 1000 characters")

    def read(self, node: Node, problems: list[Problem]) -> Any:
        found = super().read(node, problems)
        try:
            return found if found is INVALID else re.compile(found)
        except (re.error, RecursionError, OverflowError) as error:
            problems.append(node.problem(f"this is no regular expression: {error}", "mend it"))
            return INVALID


class OneOrMany:
    """Some texts; one may stand without a list."""

    def __init__(self, kind: Kind, *, most: int) -> None:
        self.kind, self.many = kind, ListOf(kind, most=most)
        self.name = f"{kind.name}, or a list"

    def read(self, node: Node, problems: list[Problem]) -> Any:
        if node.is_sequence:
            return self.many.read(node, problems)
        found = self.kind.read(node, problems)
        return found if found is INVALID else (found,)


class Files:
    """split -> path in the suite's folder."""

    name = "a mapping from split to file"
    path = OneOrMany(
        Text(r"[A-Za-z0-9][A-Za-z0-9_./-]{0,199}\.(?:jsonl|parquet)", "the name of a .jsonl or .parquet file"), most=1
    )

    def read(self, node: Node, problems: list[Problem]) -> Any:
        if not node.is_mapping:
            hint = "write {test: rows.jsonl}: a file without a split would be called train"
            problems.append(node.problem(f"{describe(node)} stands where {self.name} is expected", hint))
            return INVALID
        found = {split: self.path.read(value, problems) for split, (_, value) in node.value.items()}
        for split, (_, value) in node.value.items():
            if found[split] is not INVALID and ".." in found[split][0]:
                problems.append(
                    value.problem(f"{found[split][0]} leads out of the suite", "keep its files in its folder")
                )
        return INVALID if INVALID in found.values() else {split: path for split, (path,) in found.items()}


class Anything:
    """Read by others, with no bearing on a score."""

    name = "anything"

    def read(self, node: Node, problems: list[Problem]) -> Any:
        return None


SPLIT = Text(r"[A-Za-z0-9_.-]{1,64}", "the name of a split")
DELIMITER = Text(r"(?s).{0,100}", "a text of at most 100 characters")


@dataclass(frozen=True)
class Data:
    data_files: dict[str, str] = key(Files(), "Where the rows of each split lie.")


@dataclass(frozen=True)
class Metric:
    metric: str = key(Choice(*KNOWN_METRICS), "Name.")
    aggregation: str | None = key(Choice("mean", *dict.fromkeys(AGGREGATIONS.values())), "How rows become one.", None)
    higher_is_better: bool | None = key(Flag(), "Direction.", None)
    ignore_case: bool = key(Flag(), "Of exact_match.", False)
    ignore_punctuation: bool = key(Flag(), "Of exact_match.", False)
    ignore_numbers: bool = key(Flag(), "Of exact_match.", False)
    regexes_to_ignore: tuple[re.Pattern[str], ...] = key(ListOf(Regex(), most=20), "Taken out before comparing.", ())


@dataclass(frozen=True)
class Fewshot:
    sampler: str = key(Choice("default", "first_n"), "Which solved examples are shown.", "default")
    split: str | None = key(SPLIT, "Where they are taken from, as fewshot_split.", None)


@dataclass(frozen=True)
class Generation:
    until: tuple[str, ...] | None = key(
        OneOrMany(Text(r"(?s).{1,200}", "a text"), most=20), "Where an answer ends.", None
    )
    max_gen_toks: int = key(Number(1, 4096, whole=True), "Longest answer.", 256)
    do_sample: bool = key(Flag(), "Only false.", False)
    temperature: float = key(Number(0, 0), "Only 0.", 0.0)


@dataclass(frozen=True)
class FilterStep:
    function: str = key(Choice("regex", "remove_whitespace", "lowercase", "uppercase", "take_first"), "What is done.")
    regex_pattern: re.Pattern[str] = key(Regex(), "Of regex.", re.compile(r"#### (\-?[0-9\.\,]+)"))
    group_select: int = key(Number(-100, 100, whole=True), "Of regex: which match.", 0)
    fallback: str = key(Text(r"(?s).{0,200}", "a text"), "Of regex: what stands for no match.", "[invalid]")


@dataclass(frozen=True)
class Filter:
    name: str = key(Text(r"\S{1,64}", "a short name"), "Name.")
    filter: tuple[FilterStep, ...] = key(ListOf(Record(FilterStep, "a step"), most=10), "Steps, one after another.")


@dataclass(frozen=True)
class HarnessFile:
    task: str = key(Text(r".{1,120}", "a name"), "Name.")
    dataset_path: str = key(Choice("json", "parquet"), "Kind of the files.")
    dataset_kwargs: Data = key(Record(Data, "a mapping with data_files"), "Where the rows lie.")
    doc_to_target: Expression | int = key(Target(), "The right answer.")
    output_type: str = key(Choice(*SCORED), "What is asked of the model.", "generate_until")
    doc_to_text: Expression | None = key(Template(), "The question.", None)
    doc_to_choice: Expression | tuple[str, ...] | None = key(Choices(), "The choices.", None)
    training_split: str | None = key(SPLIT, "Split of data_files.", None)
    validation_split: str | None = key(SPLIT, "Split of data_files; asked where there is no test_split.", None)
    test_split: str | None = key(SPLIT, "Split of data_files that is asked.", None)
    fewshot_split: str | None = key(SPLIT, "Split of data_files that solved examples are taken from.", None)
    num_fewshot: int = key(Number(0, 64, whole=True), "Solved examples before each question.", 0)
    fewshot_config: Fewshot = key(Record(Fewshot, "a mapping"), "How they are chosen.", Fewshot())
    description: Expression | None = key(Template(), "Stands before everything.", None)
    target_delimiter: str = key(DELIMITER, "Between question and answer.", " ")
    fewshot_delimiter: str = key(DELIMITER, "After each solved example.", "\n\n")
    metric_list: tuple[Metric, ...] = key(ListOf(Record(Metric, "a metric"), most=20), "What is measured.", ())
    generation_kwargs: Generation = key(Record(Generation, "a mapping"), "How answers are written.", Generation())
    filter_list: tuple[Filter, ...] = key(
        ListOf(Record(Filter, "a filter"), most=10), "What is taken from an answer.", ()
    )
    tag: None = key(Anything(), "Not used.", None)
    task_alias: None = key(Anything(), "Not used.", None)
    metadata: None = key(Anything(), "Not used.", None)
    should_decontaminate: None = key(Anything(), "Not used: training leaves out rows that hold questions.", None)
    doc_to_decontamination_query: None = key(Anything(), "Not used.", None)
    files: tuple[str, ...] = field(default=())

    @property
    def asked_split(self) -> str:
        return self.test_split or self.validation_split or ""

    @property
    def shown_split(self) -> str | None:
        return self.fewshot_config.split or self.fewshot_split

    def list_metrics(self) -> list[str]:
        """Those that can be scored, in the file's order."""
        scored = SCORED[self.output_type]
        return [m.metric for m in self.metric_list if m.metric in scored] if self.metric_list else list(scored[:2])

    def stop_texts(self) -> tuple[str, ...]:
        return (self.fewshot_delimiter,) if self.generation_kwargs.until is None else self.generation_kwargs.until


def read_harness_file(path: Path, name: str) -> tuple[HarnessFile | None, list[str]]:
    """The file, or None with every problem as `name:line:column: what`."""
    problems: list[Problem] = []
    found: Any = INVALID
    try:
        with path.open("rb") as reader:
            data = reader.read(MAX_BYTES + 1)
        root, problems = read_yaml(data.decode("utf-8"))
        found = Record(HarnessFile, "a task of lm-evaluation-harness", _refuse_by_name).read(root, problems)
        if found is not INVALID:
            problems += _find_contradictions(found, root)
    except Problem as problem:
        problems = [*problems, problem]
    except UnicodeDecodeError:
        problems = [Problem(1, 1, "this is not UTF-8 text", "save it as UTF-8")]
    for one in problems:
        if one.message.startswith("the tag !"):
            one.hint = FUNCTION_HINT
    places = [f"{name}:{one}" for one in sorted(problems, key=lambda p: (p.line, p.column))]
    return (None, places) if places else (found, [])


def _refuse_by_name(node: Node, entries: dict[str, tuple[Node, Node]], problems: list[Problem]) -> dict[str, Any]:
    for name, (place, value) in list(entries.items()):
        says_nothing = value.value is None and not value.quoted
        if says_nothing or (name in HARMLESS and value.value == HARMLESS[name]):
            del entries[name]
        elif name in ADVICE:
            problems.append(place.problem(f"'{name}' is outside of what is accepted", ADVICE[name]))
            del entries[name]
    return {}


def _find_contradictions(found: HarnessFile, root: Node) -> Iterator[Problem]:
    def at(name: str) -> Node:
        place: Node = root.value[name][0] if name in root.value else root
        return place

    kind, splits = found.output_type, found.dataset_kwargs.data_files
    for name in ("training_split", "validation_split", "test_split", "fewshot_split"):
        split = getattr(found, name)
        if split is not None and name in ("test_split", "fewshot_split", "validation_split") and split not in splits:
            yield at(name).problem(f"data_files has no split '{split}'", f"known there: {', '.join(splits)}")
    if not found.asked_split:
        yield root.problem("no split is asked", "add test_split: and a split of data_files")
    suffix = ".parquet" if found.dataset_path == "parquet" else ".jsonl"
    if not all(path.endswith(suffix) for path in splits.values()):
        yield at("dataset_path").problem(f"{found.dataset_path} reads {suffix} files", "name such files in data_files")
    if (kind == "multiple_choice") != (found.doc_to_choice is not None):
        hint = "add it" if kind == "multiple_choice" else "take it out"
        yield at("output_type").problem(f"doc_to_choice belongs to multiple_choice, and this is {kind}", hint)
    if kind != "loglikelihood_rolling" and found.doc_to_text is None:
        yield root.problem("'doc_to_text' is missing", "add the question as a template")
    if kind != "generate_until":
        for name in sorted({"generation_kwargs", "filter_list"} & root.value.keys()):
            yield at(name).problem(f"'{name}' belongs to generate_until, and this is {kind}", "take it out")
    yield from _check_fewshot(found, at("num_fewshot"))
    yield from _check_metrics(found, at("metric_list"))
    if found.generation_kwargs.do_sample:
        yield at("generation_kwargs").problem("answers are greedy here", "write do_sample: false")
    for one in found.filter_list:
        steps = [step.function for step in one.filter]
        if steps.count("take_first") != 1 or steps[-1] != "take_first":
            yield at("filter_list").problem(f"the filter '{one.name}' does not end with take_first", "end it with that")


def _check_fewshot(found: HarnessFile, place: Node) -> Iterator[Problem]:
    if not found.num_fewshot:
        return
    if found.output_type == "loglikelihood_rolling":
        yield place.problem("a text is scored without examples", "write num_fewshot: 0")
    elif found.shown_split is None:
        yield place.problem("'fewshot_split' is missing", "name the split of data_files that solved examples come from")
    elif found.shown_split not in found.dataset_kwargs.data_files:
        yield place.problem(f"data_files has no split '{found.shown_split}'", "add it, or change fewshot_split")
    elif found.test_split is None and found.shown_split == found.validation_split:
        yield place.problem(
            "a question could stand among its own solved examples", "call the split that is asked test_split"
        )


def _check_metrics(found: HarnessFile, place: Node) -> Iterator[Problem]:
    kind = found.output_type
    for metric in found.metric_list:
        name = metric.metric
        if name not in SCORED[kind] + PASSED_OVER[kind]:
            yield place.problem(f"{kind} has no metric {name} here", f"use {' or '.join(SCORED[kind])}")
        if metric.aggregation not in (None, AGGREGATIONS.get(name, "mean")):
            yield place.problem(
                f"{name} is not put together by {metric.aggregation}", f"use {AGGREGATIONS.get(name, 'mean')}"
            )
        if metric.higher_is_better not in (None, name not in AGGREGATIONS):
            yield place.problem(f"the direction of {name} is the other one", "mend higher_is_better")
        options = (metric.ignore_case, metric.ignore_punctuation, metric.ignore_numbers, metric.regexes_to_ignore)
        if name != "exact_match" and any(options):
            yield place.problem(f"{name} takes no options", "they belong to exact_match")
    if not found.list_metrics():
        yield place.problem("no metric of metric_list can be scored", f"add {' or '.join(SCORED[kind])}")
