"""How likely a model finds texts: the sum of the logarithms of every token's probability, each text read from its start mark.

The texts stand as they are, without a chat template. How many are read at once changes no sum (within rounding)."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.engine.errors import EngineError
from training.engine.evals.likelihood import score_requests
from training.engine.evals.scoring import split_text
from training.engine.events import emit
from training.engine.serving import Served, open_model

MAX_ROWS = 10_000
MAX_LINE_BYTES = 1 << 20
DIGITS = 4  # of a sum, as it is written down
WORTH_PACKING = 16  # rows; as in generate


@dataclass(frozen=True)
class TextRow:
    id: str
    texts: tuple[str, ...]


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="likelihoods", description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--texts", type=Path, required=True, help='jsonl of {"id", "texts": [...]}')
    parser.add_argument("--out", type=Path, required=True, help='jsonl of {"id", "logprobs", "tokens"}')
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    options = parser.parse_args(argv)
    from training.engine.evals.packed_linear import pack_weights

    rows = read_rows(options.texts)
    served = open_model(options.model, options.device)
    if len(rows) >= WORTH_PACKING:
        pack_weights(served.model)
    write_likelihoods(served, rows, options.out)
    emit("done", out=str(options.out))
    return 0


def write_likelihoods(served: Served, rows: Sequence[TextRow], out: Path) -> None:
    """One line a row, in their order; the file appears as a whole."""
    emit("stage", stage="likelihoods", state="started", texts=sum(len(row.texts) for row in rows))
    draft = out.with_name(f".{out.name}.{os.getpid()}")
    draft.write_text("".join(json.dumps(found) + "\n" for found in score_rows(served, rows)), encoding="utf-8")
    os.replace(draft, out)


def score_rows(served: Served, rows: Sequence[TextRow]) -> list[dict[str, Any]]:
    """{"id", "logprobs", "tokens"} a row: of each of its texts the sum, and how many tokens it is over."""
    tokenizer = served.tokenizer
    if tokenizer.bos_token_id is None and tokenizer.eos_token_id is None:
        hint = "give its tokenizer a bos_token or an eos_token"
        raise EngineError(f"The model has no mark that a text starts with; {hint}.", code="no_start", hint=hint)
    owners, requests = [], []
    for number, text in enumerate(text for row in rows for text in row.texts):
        for request in split_text(tokenizer, text, served.context_tokens):
            owners.append(number)
            requests.append(request)
    sums = [0.0] * sum(len(row.texts) for row in rows)
    tokens = [0] * len(sums)
    found = score_requests(served.model, requests, context_tokens=served.context_tokens)
    for owner, request, likelihood in zip(owners, requests, found, strict=True):
        sums[owner] += likelihood.logprob
        tokens[owner] += len(request.continuation)
    scored = iter(zip(sums, tokens, strict=True))
    return [describe(row, [next(scored) for _ in row.texts]) for row in rows]


def describe(row: TextRow, scored: list[tuple[float, int]]) -> dict[str, Any]:
    return {
        "id": row.id,
        "logprobs": [round(logprob, DIGITS) for logprob, _ in scored],
        "tokens": [count for _, count in scored],
    }


def read_rows(path: Path) -> list[TextRow]:
    """Raises EngineError with the line of the first malformed row. Further keys are passed over."""
    if not path.is_file():
        raise EngineError(f"{path} does not exist.", code="missing_file")
    return list(_read_lines(path))


def _read_lines(path: Path) -> Iterator[TextRow]:
    with path.open("rb") as reader:
        for number, line in enumerate(iter(lambda: reader.readline(MAX_LINE_BYTES + 1), b""), start=1):
            if number > MAX_ROWS or len(line) > MAX_LINE_BYTES:
                most = f"{MAX_ROWS:,} lines of {MAX_LINE_BYTES >> 10} KiB"
                raise EngineError(f"{path.name}:{number}: it holds more than {most}; split it.", code="too_large")
            if line.strip():
                yield _read_row(line, f"{path.name}:{number}")


def _read_row(line: bytes, where: str) -> TextRow:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        row = None
    texts = row.get("texts") if isinstance(row, dict) else None
    is_listed = isinstance(texts, list) and texts and all(isinstance(text, str) and text for text in texts)
    if not isinstance(row, dict) or not isinstance(row.get("id"), str) or not is_listed:
        hint = 'write {"id": ..., "texts": ["...", ...]} on one line'
        raise EngineError(f"{where}: a row needs an 'id' and 'texts'; {hint}.", code="bad_texts", hint=hint)
    return TextRow(row["id"], tuple(texts or ()))
