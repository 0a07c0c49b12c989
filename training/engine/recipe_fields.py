"""The kinds of value a recipe may hold: each reads a node, or says what is wrong with it and where.

A record is a frozen dataclass whose fields carry their kind and meaning (`key(...)`), so the parser, the writer and the
documentation share one source."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, Literal, Protocol

from training.engine.yaml_document import Node, Problem, decode, read_yaml

Auto = Literal["auto"]
REPO_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?")
REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/+-]{0,199}")


class Kind(Protocol):
    name: str  # how the documentation calls it

    def read(self, node: Node, problems: list[Problem]) -> Any:
        """The value; or INVALID after saying why in `problems`."""


class _Invalid:
    def __bool__(self) -> bool:
        return False


INVALID = _Invalid()


@dataclass(frozen=True)
class RepoRef:
    """A repository at a revision: a branch, a tag, a commit or refs/pr/N."""

    repo: str
    revision: str

    def __str__(self) -> str:
        return f"{self.repo}@{self.revision}"


def key(kind: Kind, meaning: str, default: Any = MISSING) -> Any:
    """A field of a record. Without a default it must be written."""
    metadata = {"kind": kind, "meaning": meaning}
    return field(metadata=metadata) if default is MISSING else field(default=default, metadata=metadata)


class Number:
    """An integer or a float within bounds (both included)."""

    def __init__(self, low: float, high: float, *, whole: bool = False, auto: bool = False, zero: bool = True) -> None:
        self.low, self.high, self.whole, self.auto, self.zero = low, high, whole, auto, zero
        bounds = f"{low:,} to {high:,}".replace(",", " ") if whole else f"{low:g} to {high:g}"
        self.name = f"{'whole number' if whole else 'number'} {bounds}{'' if zero else ', not 0'}"
        if auto:
            self.name += ' or "auto"'

    def read(self, node: Node, problems: list[Problem]) -> Any:
        value = node.value
        if self.auto and value == "auto":
            return "auto"
        if isinstance(value, bool) or not isinstance(value, int | float) or (self.whole and isinstance(value, float)):
            wanted = ("a whole number" if self.whole else "a number") + (' or "auto"' if self.auto else "")
            problems.append(node.problem(f"{describe(node)} stands where {wanted} is expected", "write it plain"))
            return INVALID
        if not (math.isfinite(value) and self.low <= value <= self.high) or (value == 0 and not self.zero):
            problems.append(node.problem(f"{value} is out of range", f"choose {self.name}"))
            return INVALID
        return value if self.whole else float(value)


class Flag:
    name = "true or false"

    def read(self, node: Node, problems: list[Problem]) -> Any:
        if isinstance(node.value, bool):
            return node.value
        problems.append(node.problem(f"{describe(node)} stands where true or false is expected", "write true or false"))
        return INVALID


class Choice:
    """One of some words. `elsewhere` are words that people look for here: word -> where they stand."""

    def __init__(self, *options: str, elsewhere: Mapping[str, str] | None = None) -> None:
        self.options, self.elsewhere = options, dict(elsewhere or {})
        self.name = ", ".join(options)

    def read(self, node: Node, problems: list[Problem]) -> Any:
        value = node.value
        if isinstance(value, str) and value in self.options:
            return value
        hint = self.elsewhere.get(str(value)) or suggest(value, self.options)
        problems.append(node.problem(f"{describe(node)} is not one of {self.name}", hint))
        return INVALID


class Reference:
    name = "NAMESPACE/NAME@REVISION"

    def read(self, node: Node, problems: list[Problem]) -> Any:
        ref = parse_reference(node.value) if isinstance(node.value, str) else None
        if ref is not None:
            return ref
        hint = "write NAMESPACE/NAME@REVISION, such as commons/tides@main"
        problems.append(node.problem(f"{describe(node)} does not name a repository", hint))
        return INVALID


class Text:
    def __init__(self, pattern: str, name: str) -> None:
        self.pattern, self.name = re.compile(pattern), name

    def read(self, node: Node, problems: list[Problem]) -> Any:
        if isinstance(node.value, str) and self.pattern.fullmatch(node.value):
            return node.value
        problems.append(node.problem(f"{describe(node)} is not {self.name}", f"write {self.name}"))
        return INVALID


class ListOf:
    def __init__(self, kind: Kind, *, most: int) -> None:
        self.kind, self.most = kind, most
        self.name = f"list of {kind.name}"

    def read(self, node: Node, problems: list[Problem]) -> Any:
        if not node.is_sequence:
            problems.append(node.problem(f"{describe(node)} stands where a list is expected", "start each line with -"))
            return INVALID
        if len(node.value) > self.most:
            problems.append(node.problem(f"this list has {len(node.value)} entries", f"keep at most {self.most}"))
            return INVALID
        items = [self.kind.read(item, problems) for item in node.value]
        return INVALID if INVALID in items else tuple(items)


class Record:
    """A mapping read into a dataclass. `read_special(entries, problems)` may take keys out of it first."""

    def __init__(self, record: type[Any], name: str, read_special: Callable[..., dict[str, Any]] | None = None) -> None:
        self.record, self.name, self.read_special = record, name, read_special

    def read(self, node: Node, problems: list[Problem]) -> Any:
        if not node.is_mapping:
            problems.append(node.problem(f"{describe(node)} stands where {self.name} is expected", "write key: value"))
            return INVALID
        entries = dict(node.value)
        values = self.read_special(node, entries, problems) if self.read_special else {}
        known = {f.name: f for f in fields(self.record) if "kind" in f.metadata}
        for name, (key_node, value_node) in entries.items():
            if name not in known:
                problems.append(key_node.problem(f"unknown key '{name}'", suggest(name, list(known))))
            elif value_node.value is None and not value_node.quoted:
                problems.append(value_node.problem(f"'{name}' has no value", "give it one or remove the line"))
                values[name] = INVALID
            else:
                values[name] = known[name].metadata["kind"].read(value_node, problems)
        for name, known_field in known.items():
            if name not in values and is_required(known_field):
                hint = f"add {name}: {known_field.metadata['kind'].name}"
                problems.append(node.problem(f"'{name}' is missing", hint))
                values[name] = INVALID
        return INVALID if any(v is INVALID for v in values.values()) else self.record(**values)


def read_record(
    data: bytes, record: Record, find_contradictions: Callable[[Any, Node], Iterable[Problem]]
) -> tuple[Any, list[Problem]]:
    """A YAML file as a record: the value, INVALID where it cannot be made, and all problems in the order of the file."""
    problems: list[Problem] = []
    value: Any = INVALID
    try:
        root, problems = read_yaml(decode(data))
        value = record.read(root, problems)
        if value is not INVALID:
            problems += list(find_contradictions(value, root))
    except Problem as problem:
        problems = [*problems, problem]
    return value, sorted(problems, key=lambda problem: (problem.line, problem.column))


class Unsupported(Problem):
    """Well written, but this program cannot carry it out yet."""


def is_required(known: Field[Any]) -> bool:
    return known.default is MISSING and known.default_factory is MISSING


def parse_reference(text: str) -> RepoRef | None:
    """`NAMESPACE/NAME@REVISION`; without a revision it is main. None when it is malformed."""
    repo, at, revision = text.partition("@")
    parts = repo.split("/")
    if len(parts) != 2 or not all(REPO_NAME.fullmatch(p) and ".." not in p and "--" not in p for p in parts):
        return None
    if not at:
        return RepoRef(repo, "main")
    bad = ("..", "//", "/.", "./", ".lock/")
    if not REVISION.fullmatch(revision) or any(b in revision for b in bad) or revision.endswith(("/", ".", ".lock")):
        return None
    return RepoRef(repo, revision)


def suggest(word: object, options: list[str] | tuple[str, ...]) -> str:
    close = difflib.get_close_matches(str(word), options, n=1, cutoff=0.6)
    return f"did you mean '{close[0]}'?" if close else f"known here: {', '.join(options)}"


def describe(node: Node) -> str:
    """The value in words short enough for an error message."""
    if node.is_mapping:
        return "a mapping"
    if node.is_sequence:
        return "a list"
    if node.value is None:
        return "nothing"
    text = str(node.value).lower() if isinstance(node.value, bool) else str(node.value)
    return f"'{text[:60]}…'" if len(text) > 60 else f"'{text}'"
