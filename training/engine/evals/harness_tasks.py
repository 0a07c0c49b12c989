"""A task file of lm-evaluation-harness and its rows, as questions ready to be put: the contexts, continuations and answers
are those that the harness builds (ConfigurableTask.fewshot_context and construct_requests of 0.4.13, without chat templates)."""

from __future__ import annotations

import ast
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from training.engine.corpus.readers import READERS
from training.engine.errors import EngineError
from training.engine.evals.harness_file import Expression, HarnessFile, read_harness_file
from training.engine.evals.harness_templates import TemplateProblem
from training.engine.tokenizer import time_limit

FEWSHOT_SEED = 1234  # the harness' default
TEMPLATES_TIMEOUT_S = 120.0  # for all rows of a task; 100,000 plain ones take ten seconds
MAX_CHARACTERS = 256 << 20  # of all questions together
MAX_FILE_BYTES = 256 << 20
MAX_ROWS = 100_000
MAX_CHOICES = 64
MAX_PROBLEMS = 50

Doc = dict[str, Any]
Row = dict[str, Any]


class Refusal(Exception):
    """Why a row cannot be asked."""


def read_harness_task(folder: Path, name: str, slice: str | None) -> tuple[HarnessFile | None, list[Row], list[str]]:
    """(the file, its rows, problems). A row holds "context" with "choices" and "answer", or with "answers", or "text" alone;
    and "slice" where a column is told apart."""
    found, problems = read_harness_file(folder / name, name)
    if found is None:
        return None, [], problems
    splits: dict[str, list[Doc]] = {}
    for split in dict.fromkeys(filter(None, (found.asked_split, found.num_fewshot and found.shown_split))):
        path = found.dataset_kwargs.data_files[str(split)]
        splits[str(split)] = _read_docs(folder, path, f"{name}: data_files {split}", problems)
        found = replace(found, files=(*found.files, path))
    if problems:
        return None, [], problems
    rows: list[Row] = []
    try:
        with time_limit(TEMPLATES_TIMEOUT_S):
            _make_rows(found, splits, slice, rows, problems)
    except TimeoutError:
        problems.append(f"{name}: the templates take longer than {TEMPLATES_TIMEOUT_S:g} seconds; simplify them")
    return found, rows, problems


def _read_docs(folder: Path, path: str, place: str, problems: list[str]) -> list[Doc]:
    file = folder / path
    if not file.is_file() or not file.resolve().is_relative_to(folder.resolve()):
        problems.append(f"{place}: {path} is missing; add it to the suite (paths start at the folder of suite.yaml)")
        return []
    if file.stat().st_size > MAX_FILE_BYTES:
        problems.append(f"{path}: larger than {MAX_FILE_BYTES >> 20} MiB; keep a sample of it")
        return []
    try:
        docs = list(islice(READERS[file.suffix](file, path), MAX_ROWS + 1))
    except EngineError as error:
        problems.append(error.message)
        return []
    if not 0 < len(docs) <= MAX_ROWS:
        problems.append(f"{path}: {'more than 100,000 rows; keep a sample' if docs else 'there are no rows; add some'}")
    return docs


def _make_rows(
    found: HarnessFile, splits: dict[str, list[Doc]], slice: str | None, rows: list[Row], problems: list[str]
) -> None:
    docs = splits[found.asked_split]
    path = found.dataset_kwargs.data_files[found.asked_split]
    try:
        writer = Writer(found, docs, splits.get(found.shown_split or "", []))
    except Refusal as refusal:
        problems.append(f"{found.dataset_kwargs.data_files[found.shown_split or '']}: {refusal}")
        return
    written = 0
    for number, doc in enumerate(docs, start=1):
        try:
            row = writer.write_row(doc)
            if slice:
                row["slice"] = _read_slice(doc, slice)
        except (Refusal, TemplateProblem) as problem:
            problems.append(f"{path}: row {number}: {problem}")
            if len(problems) >= MAX_PROBLEMS:
                return
            continue
        written += len(row.get("context", "")) + len(row.get("text", ""))
        if written > MAX_CHARACTERS:
            problems.append(f"{path}: the questions are longer than {MAX_CHARACTERS >> 20} MiB together; keep a sample")
            return
        rows.append(row)


def _read_slice(doc: Doc, slice: str) -> str:
    if not isinstance(doc.get(slice), str | int):
        raise Refusal(f"the column '{slice}' is missing; the task is sliced by it")
    return str(doc[slice])


class Writer:
    """Writes the questions of one task in the order of its rows: the sampled examples depend on that order."""

    def __init__(self, found: HarnessFile, docs: Sequence[Doc], shown: Sequence[Doc]) -> None:
        self.found, self.shown = found, list(shown)
        self.columns = {name for doc in docs for name in doc}
        self.random = random.Random(FEWSHOT_SEED)
        self.leaves_itself_out = found.shown_split == found.test_split
        needed = found.num_fewshot + self.leaves_itself_out
        if found.num_fewshot and len(self.shown) < needed:
            raise Refusal(f"{found.num_fewshot} solved examples need {needed} rows, there are {len(self.shown)}")
        self.has_many_answers: bool | None = None

    def write_row(self, doc: Doc) -> Row:
        kind = self.found.output_type
        if kind == "loglikelihood_rolling":
            return {"text": self._read_text_to_score(doc)}
        context = self._write_context(doc)
        if context and not context.strip():
            raise Refusal("the question is blank")
        if kind == "multiple_choice":
            choices = self._read_choices(doc)
            return {"context": context, "choices": choices, "answer": self._read_gold(doc, choices)}
        if kind == "loglikelihood":
            return {"context": context, "answer": self._read_text_to_score(doc)}
        return {"context": context, "answers": self._read_answers(doc)}

    def _write_context(self, doc: Doc) -> str:
        description = self.found.description
        start = "" if description is None else _as_text(self._read(description, doc), "description")
        examples = self._choose_examples(doc) if self.found.num_fewshot else []
        return start + "".join(map(self._write_example, examples)) + self._write_question(doc)

    def _write_question(self, doc: Doc) -> str:
        assert self.found.doc_to_text is not None
        question = self._read(self.found.doc_to_text, doc)
        if self.found.doc_to_choice is not None and isinstance(question, str) and question.isdigit():
            raise Refusal(
                "doc_to_text gives a number: a question that differs by choice is outside of what is accepted"
            )
        return _as_text(question, "doc_to_text")

    def _write_example(self, doc: Doc) -> str:
        answer = self._read_target(doc)
        if self.found.doc_to_choice is not None and type(answer) is int:
            answer = _pick(self._read_choices(doc), answer)
        answer = answer[0] if isinstance(answer, list) and answer else answer
        if not isinstance(answer, str) or not answer:
            raise Refusal("doc_to_target gives no text for one of the solved examples")
        return self._write_question(doc) + self.found.target_delimiter + answer + self.found.fewshot_delimiter

    def _choose_examples(self, doc: Doc) -> list[Doc]:
        """As the harness does: the first ones, or sampled anew for each row, never the row itself of the same split."""
        n, own = self.found.num_fewshot, self.leaves_itself_out
        if self.found.fewshot_config.sampler == "first_n":
            chosen = list(islice((d for d in self.shown if not own or d != doc), n))
        else:
            drawn = self.random.sample(self.shown, n + own)
            chosen = [d for d in drawn if not own or d != doc][:n]
        if len(chosen) < n:  # the row stands several times in its split
            others = [d for d in self.shown if d != doc]
            if len(others) < n:
                raise Refusal(f"fewer than {n} other rows are left as solved examples")
            chosen = self.random.sample(others, n)
        return chosen

    def _read_choices(self, doc: Doc) -> list[str]:
        wanted = self.found.doc_to_choice
        assert wanted is not None
        choices = list(wanted) if isinstance(wanted, tuple) else self._read(wanted, doc)
        if isinstance(choices, str) and isinstance(wanted, Expression) and wanted.source not in self.columns:
            choices = _read_literal(choices)
        texts = isinstance(choices, list | tuple) and all(isinstance(choice, str) and choice for choice in choices)
        if not texts or not 2 <= len(choices) <= MAX_CHOICES:
            raise Refusal(f"doc_to_choice must give a list of 2 to {MAX_CHOICES} texts")
        return list(choices)

    def _read_gold(self, doc: Doc, choices: list[str]) -> int:
        gold = self._read_target(doc)
        if isinstance(gold, str) and gold in choices:
            return choices.index(gold)
        if type(gold) is not int or not 0 <= gold < len(choices):
            raise Refusal(f"doc_to_target must give one of the choices or its number, 0 to {len(choices) - 1}")
        return gold

    def _read_answers(self, doc: Doc) -> list[str]:
        target = self._read_target(doc)
        has_many = isinstance(target, list)
        if self.has_many_answers is None:
            self.has_many_answers = has_many
        if has_many != self.has_many_answers:
            raise Refusal("doc_to_target gives a list for some rows and a text for others; give lists for all")
        answers = target if isinstance(target, list) else [str(target)]
        if not answers or not all(isinstance(answer, str) for answer in answers):
            raise Refusal("doc_to_target must give a text or a list of texts")
        return list(answers)

    def _read_text_to_score(self, doc: Doc) -> str:
        text = self._read_target(doc)
        if not isinstance(text, str) or not text.strip():
            raise Refusal("doc_to_target must give some text")
        return _as_text(text, "doc_to_target")

    def _read_target(self, doc: Doc) -> Any:
        target = self.found.doc_to_target
        if isinstance(target, int):
            return target
        value = self._read(target, doc)
        if target.source in self.columns:
            return value
        if value.isdigit() and self.found.doc_to_choice is not None:
            return _read_literal(value)
        if len(value) >= 2 and value[0] == "[" and value[-1] == "]":
            try:
                return _read_literal(value)
            except Refusal:
                return value
        return value

    def _read(self, expression: Expression, doc: Doc) -> Any:
        if expression.source not in self.columns:
            return expression.template.render(doc)
        if expression.source not in doc:
            raise Refusal(f"the column '{expression.source}' is missing")
        return doc[expression.source]


def _as_text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise Refusal(f"{name} must give a text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Refusal(f"{name} gives half a character; mend the text") from None
    return value


def _pick(choices: list[str], number: int) -> str:
    if not 0 <= number < len(choices):
        raise Refusal("doc_to_target names no choice of a solved example")
    return choices[number]


def _read_literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise Refusal("the template does not write a list as Python does") from None


def iterate_pairs(found: HarnessFile, row: Row) -> Iterator[tuple[str, str]]:
    """(context, continuation) of each log-likelihood that a row needs."""
    if found.output_type == "multiple_choice":
        yield from ((row["context"], found.target_delimiter + choice) for choice in row["choices"])
    else:
        yield row["context"], row["answer"]
