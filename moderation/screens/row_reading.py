"""Rows of a training file as what goes in and what should come out: chat, instruction, preference, classification."""

import json
from collections.abc import Iterator
from typing import Any

from moderation.screens.text_reading import PARSED_LINE_BYTES, parse_csv_line

TURNS = ("messages", "conversations", "conversation")
SPEAKERS = ("assistant", "gpt", "model", "bot")
INPUTS = ("prompt", "instruction", "input", "question", "context", "text", "sentence", "query")
OUTPUTS = ("chosen", "completion", "response", "output", "answer", "label", "target")
ROW_COLUMNS = (*TURNS, *INPUTS, *OUTPUTS)


def read_rows(data: bytes, layout: str, header: list[str], name: str) -> Iterator[tuple[int, str, str]]:
    """(line from 0, input, output) of every line that is a row; longer ones than `PARSED_LINE_BYTES` are left out."""
    for number, line in enumerate(data.split(b"\n")):
        if line.strip() and len(line) <= PARSED_LINE_BYTES:
            given, wanted = split_row(_parse(line, layout, header, name))
            if given and wanted:
                yield number, given, wanted


def split_row(row: Any) -> tuple[str, str]:
    """What the model is given and what it learns to say; ("", "") for what is no such row. System prompts are left out."""
    if not isinstance(row, dict):
        return "", ""
    for key in (*TURNS, "chosen"):
        if isinstance(row.get(key), list):
            given, wanted = _split_turns(row[key])
            return (given or _text(row.get("prompt")), wanted)
    wanted = next((text for key in OUTPUTS if (text := _text(row.get(key)))), "")
    return "\n".join(text for key in INPUTS if (text := _text(row.get(key)))), wanted


def _split_turns(turns: list[Any]) -> tuple[str, str]:
    said = [turn for turn in turns if isinstance(turn, dict)]
    last = max((at for at, turn in enumerate(said) if _role(turn) in SPEAKERS), default=-1)
    if last < 0:
        return "", ""
    given = [_content(turn) for turn in said[:last] if _role(turn) not in (*SPEAKERS, "system", "developer")]
    return "\n".join(given), _content(said[last])


def _role(turn: dict[str, Any]) -> str:
    return str(turn.get("role", turn.get("from", "")))[:20].lower()


def _content(turn: dict[str, Any]) -> str:
    content = turn.get("content", turn.get("value"))
    if isinstance(content, list):
        return "\n".join(_text(part.get("text")) for part in content if isinstance(part, dict))
    return _text(content)


def _text(value: Any) -> str:
    """Labels are often numbers or truth values; a huge integer is no label."""
    if isinstance(value, int) and not -(10**9) < value < 10**9:
        return ""
    return str(value) if isinstance(value, str | int | float) else ""


def _parse(line: bytes, layout: str, header: list[str], name: str) -> Any:
    try:
        if layout == "jsonl":
            return json.loads(line)
        return dict(zip((column.strip().lower() for column in header), parse_csv_line(line, name), strict=False))
    except (ValueError, RecursionError):
        return None
