"""The first rows of a table file, read within bounds: JSON lines, CSV, TSV. Nothing here trusts the file."""

import csv
import io
import json
from dataclasses import dataclass, field
from typing import Any

MAX_BYTES = 512 * 1024  # of the file's beginning
MAX_ROWS = 50
MAX_COLUMNS = 40
MAX_CELL = 600  # characters
MAX_TURNS = 30
MAX_CHATS = 12  # rows shown as bubbles take more room than lines of a table
ENDINGS = (".jsonl", ".ndjson", ".csv", ".tsv")
CHAT_COLUMNS = ("messages", "conversations", "conversation")
ROLES = {"human": "user", "gpt": "assistant", "bot": "assistant"}


@dataclass(frozen=True)
class Turn:
    role: str  # user | assistant | system
    text: str


@dataclass(frozen=True)
class Row:
    number: int  # from 1, as lines of data are counted
    cells: list[str]
    turns: list[Turn] = field(default_factory=list)


@dataclass(frozen=True)
class Table:
    columns: list[str]
    rows: list[Row]
    is_cut: bool  # the file goes on
    problem: str = ""  # why reading stopped, with the line

    @property
    def is_chat(self) -> bool:
        return bool(self.rows) and all(row.turns for row in self.rows)


def has_preview(path: str) -> bool:
    return path.lower().endswith(ENDINGS)


def read_table(path: str, data: bytes, *, is_whole: bool) -> Table:
    """`data` is the file's beginning; `is_whole` when it is all of it."""
    text = data.decode("utf-8", errors="replace").removeprefix("\ufeff")
    if not is_whole:
        text = text[: text.rfind("\n") + 1] or text
    lower = path.lower()
    if lower.endswith((".jsonl", ".ndjson")):
        return read_json_lines(text, is_whole=is_whole)
    return read_delimited(text, "\t" if lower.endswith(".tsv") else ",", is_whole=is_whole)


def read_json_lines(text: str, *, is_whole: bool) -> Table:
    records: list[tuple[int, dict[str, Any]]] = []
    problem = ""
    lines = text.splitlines()
    for number, line in enumerate(lines, start=1):
        if len(records) == MAX_ROWS:
            break
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as wrong:
            problem = f"Line {number} is not JSON ({str(wrong)[:120]}); mend it, then every row can be read."
            break
        records.append((number, value if isinstance(value, dict) else {"value": value}))
    columns = list(dict.fromkeys(str(key) for _, record in records for key in record))[:MAX_COLUMNS]
    rows = [
        Row(number, [show(record.get(column)) for column in columns], read_turns(record)) for number, record in records
    ]
    columns = [show(column) for column in columns]
    is_cut = not is_whole or len(lines) > len(records)
    if rows and all(row.turns for row in rows[:MAX_CHATS]):
        return Table(columns, rows[:MAX_CHATS], is_cut or len(rows) > MAX_CHATS, problem)
    return Table(columns, rows, is_cut, problem)


def read_delimited(text: str, delimiter: str, *, is_whole: bool) -> Table:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    rows: list[Row] = []
    columns: list[str] = []
    is_cut = not is_whole
    try:
        columns = [show(name) for name in next(reader, [])[:MAX_COLUMNS]]
        for cells in reader:
            if len(rows) == MAX_ROWS:
                is_cut = True
                break
            if cells:
                rows.append(Row(len(rows) + 1, [show(cell) for cell in cells[:MAX_COLUMNS]]))
    except csv.Error as wrong:
        return Table(columns, rows, is_cut, f"Line {reader.line_num} cannot be read as a table ({wrong}).")
    return Table(columns, rows, is_cut)


def show(value: Any) -> str:
    """A cell as text. JSON can write half of a character, which no page can."""
    text = value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)
    text = text.encode("utf-8", "replace").decode()
    return text if len(text) <= MAX_CELL else text[:MAX_CELL] + "…"


def read_turns(record: dict[str, Any]) -> list[Turn]:
    """The turns of a row in one of the usual chat shapes, else nothing."""
    for column in CHAT_COLUMNS:
        value = record.get(column)
        if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            turns = [read_turn(item) for item in value[:MAX_TURNS]]
            return turns if all(turn.text for turn in turns) else []
    return []


def read_turn(item: dict[str, Any]) -> Turn:
    role = str(item.get("role", item.get("from", "user"))).lower()
    text = item.get("content", item.get("value", ""))
    role = ROLES.get(role, role)
    return Turn(role if role in ("user", "assistant", "system") else "assistant", show(text))
