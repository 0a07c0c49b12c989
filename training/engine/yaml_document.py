"""YAML as a tree that remembers where everything stood, read within bounds.

Only plain data is accepted: mappings with text keys, sequences, and the scalars of the YAML 1.2 core schema.
Anchors, aliases, tags, duplicate keys and further documents are refused, so the tree is never larger than the text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamStartEvent,
)

MAX_BYTES = 64 * 1024  # a recipe with 500 contributions has about 50 KiB
MAX_DEPTH = 16  # the schema itself is 4 deep

# YAML 1.2 core schema (https://yaml.org/spec/1.2.2/#103-core-schema), decimal only: `no` and `0x1f` stay text.
_NULL = re.compile(r"~|null|Null|NULL|")
_TRUE = re.compile(r"true|True|TRUE")
_FALSE = re.compile(r"false|False|FALSE")
_INTEGER = re.compile(r"[-+]?[0-9]{1,40}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]{1,40}|[0-9]{1,40}(\.[0-9]{0,40})?)([eE][-+]?[0-9]{1,3})?")


@dataclass(eq=False)
class Problem(Exception):
    """What is wrong at one place, and how to mend it; line and column count from 1."""

    line: int
    column: int
    message: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.line}:{self.column}: {self.message}" + (f"; {self.hint}" if self.hint else "")


Scalar = str | int | float | bool | None


@dataclass(frozen=True)
class Node:
    """A value and its place. `value` is a scalar, a list of nodes, or a dict from key to (key's node, value's node)."""

    value: Any
    line: int
    column: int
    quoted: bool = False

    @property
    def is_mapping(self) -> bool:
        return isinstance(self.value, dict)

    @property
    def is_sequence(self) -> bool:
        return isinstance(self.value, list)

    def problem(self, message: str, hint: str = "") -> Problem:
        return Problem(self.line, self.column, message, hint)

    def plain(self) -> Any:
        """The same without places: dicts, lists and scalars."""
        if isinstance(self.value, dict):
            return {key: value.plain() for key, (_, value) in self.value.items()}
        if isinstance(self.value, list):
            return [item.plain() for item in self.value]
        return self.value


def decode(data: bytes) -> str:
    """Raises Problem."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise Problem(1, 1, "this is not UTF-8 text", "save it as UTF-8") from None


def read_yaml(text: str) -> tuple[Node, list[Problem]]:
    """Read one document; the problems are those the text can be read in spite of (duplicate keys, tags, anchors).

    Raises Problem where reading cannot go on: too large, too deep, an alias, a syntax error."""
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise Problem(1, 1, f"the file is larger than {MAX_BYTES // 1024} KiB", "keep only the recipe in it")
    yaml = YAML(typ="safe", pure=True)
    reader = _Reader(yaml.parse(text))
    try:
        return reader.read_document(), reader.problems
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise Problem(line, column, f"this is not YAML: {error.problem or error.context}") from None
    except (YAMLError, ValueError, UnicodeError) as error:
        # ruamel's reader names characters that YAML forbids; keep its first sentence only.
        raise Problem(1, 1, f"this is not YAML: {str(error).splitlines()[0]}", "save it as UTF-8 text") from None


class _Reader:
    def __init__(self, events: Iterator[Any]) -> None:
        self.events = events
        self.problems: list[Problem] = []

    def read_document(self) -> Node:
        event = next(self.events)
        assert isinstance(event, StreamStartEvent)
        event = next(self.events)
        if not isinstance(event, DocumentStartEvent):
            raise Problem(1, 1, "the file is empty", "start it with: version: 1")
        root = self.read_node(next(self.events), depth=1)
        assert isinstance(next(self.events), DocumentEndEvent)
        event = next(self.events)
        if isinstance(event, DocumentStartEvent):
            raise Problem(event.start_mark.line + 1, 1, "a second document starts here", "remove the line ---")
        return root

    def read_node(self, event: Any, depth: int) -> Node:
        line, column = event.start_mark.line + 1, event.start_mark.column + 1
        if depth > MAX_DEPTH:
            raise Problem(line, column, f"this is nested deeper than {MAX_DEPTH} levels", "no key needs that")
        if isinstance(event, AliasEvent):
            raise Problem(line, column, f"the alias *{event.anchor} is not allowed", "write the value out")
        self.refuse_decoration(event, line, column)
        if isinstance(event, ScalarEvent):
            quoted = event.style in ("'", '"', "|", ">")
            return Node(event.value if quoted else resolve_scalar(event.value), line, column, quoted)
        if isinstance(event, SequenceStartEvent):
            items = []
            while not isinstance(event := next(self.events), SequenceEndEvent):
                items.append(self.read_node(event, depth + 1))
            return Node(items, line, column)
        assert isinstance(event, MappingStartEvent)
        return Node(self.read_mapping(depth), line, column)

    def read_mapping(self, depth: int) -> dict[str, tuple[Node, Node]]:
        entries: dict[str, tuple[Node, Node]] = {}
        while not isinstance(event := next(self.events), MappingEndEvent):
            key = self.read_node(event, depth + 1)
            value = self.read_node(next(self.events), depth + 1)
            if not isinstance(key.value, str):
                self.problems.append(key.problem("a key must be a word", "write it as: key: value"))
            elif key.value in entries:
                first = entries[key.value][0].line
                self.problems.append(key.problem(f"'{key.value}' appears twice (first in line {first})", "keep one"))
            else:
                entries[key.value] = (key, value)
        return entries

    def refuse_decoration(self, event: NodeEvent, line: int, column: int) -> None:
        if event.anchor is not None:
            self.problems.append(Problem(line, column, f"the anchor &{event.anchor} is not allowed", "remove it"))
        tag = getattr(event, "tag", None)  # an alias has none
        if tag is not None:
            self.problems.append(Problem(line, column, f"the tag {tag} is not allowed", "remove it"))


def resolve_scalar(text: str) -> Scalar:
    """The value of an unquoted word."""
    if _NULL.fullmatch(text):
        return None
    if _TRUE.fullmatch(text):
        return True
    if _FALSE.fullmatch(text):
        return False
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text


def format_scalar(value: Scalar) -> str:
    """YAML for one scalar, quoted only where it would else be read as something different."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if re.fullmatch(r"[A-Za-z][A-Za-z0-9._/@-]*", value) and resolve_scalar(value) == value:
        return value
    return _quote(value)


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() and ord(c) < 0x10000 else _escape(c) for c in escaped) + '"'


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\U{code:08x}" if code > 0xFFFF else f"\\u{code:04x}"
