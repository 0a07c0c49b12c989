"""Conversations with one loaded model: JSON lines in, tokens out as they come.

In:  {"id", "messages", "temperature", "top_p", "max_new_tokens", "seed"} or {"id", "cancel": true}
Out: {"id", "token"} ..., then {"id", "done": true, "text", "tokens", "seconds", "cancelled"}; or {"id", "error"}.
Questions wait in a short queue and are answered one after another; the program ends when its input does."""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from training.engine.decoding import Settings, decode
from training.engine.errors import EngineError
from training.engine.events import emit
from training.engine.generate import Messages, Prompt, check_messages, encode_prompt
from training.engine.serving import Served, open_model

MAX_LINE_BYTES = 1 << 20
MAX_WAITING = 8  # questions; more would wait longer than people do
MAX_ID_CHARACTERS = 200
SETTINGS = ("temperature", "top_p", "max_new_tokens", "seed")


@dataclass(frozen=True)
class Question:
    id: str
    messages: Messages
    settings: Settings


class Cancelled(Exception):
    """Ends the answer that is being written."""


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="chat", description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    options = parser.parse_args(argv)
    served = open_model(options.model, options.device)
    emit("stage", stage="chat", state="ready", context_tokens=served.context_tokens)
    # A copy that is never closed: a thread that still waits on sys.stdin when the program ends makes Python abort.
    serve(served, os.fdopen(os.dup(sys.stdin.fileno()), "rb"), sys.stdout)
    _leave_quietly()
    return 0


def serve(served: Served, source: BinaryIO, out: TextIO) -> None:
    """Answer until `source` ends; what waits then is still answered. Ends early when nobody reads `out`."""
    desk = Desk(out)
    reader = threading.Thread(target=desk.read_lines, args=(source,), daemon=True)
    reader.start()
    try:
        # Here and not in the reader: only the main thread can interrupt a chat template that runs too long.
        while (question := desk.take()) is not None:
            _answer(served, question, desk)
    except BrokenPipeError:
        return


def _leave_quietly() -> None:
    """Python writes what is left in stdout when it ends, and fails when nobody reads it any more."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Desk:
    """Between the thread that reads and the one that answers: a bounded queue, and what was cancelled."""

    def __init__(self, out: TextIO) -> None:
        self.out = out
        self.changed = threading.Condition()
        self.waiting: deque[Question] = deque()
        self.current: str | None = None
        self.cancelled: set[str] = set()
        self.closed = False

    def read_lines(self, source: BinaryIO) -> None:
        try:
            for line in _split_lines(source):
                self._accept(line)
        except (BrokenPipeError, ValueError):  # nobody reads the answers, or the input was closed under us
            pass
        finally:
            with self.changed:
                self.closed = True
                self.changed.notify()

    def take(self) -> Question | None:
        """The next question, waiting for it; None when there will be none."""
        with self.changed:
            self.current = None
            self.changed.wait_for(lambda: self.waiting or self.closed)
            question = self.waiting.popleft() if self.waiting else None
            self.current = question.id if question else None
            self.cancelled.clear()
            return question

    def is_cancelled(self, id: str) -> bool:
        return id in self.cancelled

    def send(self, id: str | None, **fields: Any) -> None:
        with self.changed:  # two threads write; a line must not fall into another
            self.out.write(json.dumps({"id": id, **fields}, ensure_ascii=False) + "\n")
            self.out.flush()

    def send_error(self, id: str | None, error: EngineError) -> None:
        self.send(id, error={"code": error.code, "message": error.message, "hint": error.hint})

    def _accept(self, line: bytes) -> None:
        id: str | None = None
        try:
            record = _read_record(line)
            id = record["id"]
            if record.get("cancel") is True:
                self._cancel(record["id"])
            else:
                self._queue(_read_question(record))
        except EngineError as error:
            self.send_error(id, error)

    def _queue(self, question: Question) -> None:
        with self.changed:
            if question.id == self.current or any(q.id == question.id for q in self.waiting):
                raise EngineError(f"Question {question.id} is being answered already.", code="duplicate")
            if len(self.waiting) >= MAX_WAITING:
                raise EngineError("Too many questions wait already; try again in a moment.", code="busy")
            self.waiting.append(question)
            self.changed.notify()

    def _cancel(self, id: str) -> None:
        with self.changed:
            kept = [question for question in self.waiting if question.id != id]
            was_waiting = len(kept) < len(self.waiting)
            self.waiting = deque(kept)
            if id == self.current:
                self.cancelled.add(id)
        if was_waiting:
            self.send(id, done=True, text="", tokens=0, seconds=0.0, cancelled=True)


def _answer(served: Served, question: Question, desk: Desk) -> None:
    started = time.monotonic()
    tokens: list[int] = []
    speech = Speech(served.tokenizer)

    def say(row: int, token: int) -> None:
        if desk.is_cancelled(question.id):
            raise Cancelled
        tokens.append(token)
        if piece := speech.add(token):
            desk.send(question.id, token=piece)

    try:
        prompt = Prompt(question.id, messages=question.messages)
        encoded = encode_prompt(served, prompt, question.settings)
        decode(served.model, [encoded], question.settings, stop_ids=served.stop_ids, on_token=say)
    except Cancelled:
        pass
    except EngineError as error:
        desk.send_error(question.id, error)
        return
    if rest := speech.finish():
        desk.send(question.id, token=rest)
    desk.send(
        question.id,
        done=True,
        text=speech.text,
        tokens=len(tokens),
        seconds=round(time.monotonic() - started, 3),
        cancelled=desk.is_cancelled(question.id),
    )


class Speech:
    """Tokens as text, piece by piece. A letter may need several tokens: it is held back until it is whole."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.text = ""
        self.tokens: list[int] = []
        self.start = 0  # what is decoded again: some tokenizers join a word to the one before
        self.said = 0

    def add(self, token: int) -> str:
        self.tokens.append(token)
        before, after = self._decode(self.said), self._decode(len(self.tokens))
        if after.endswith("\ufffd") or len(after) <= len(before):
            return ""
        self.start, self.said = self.said, len(self.tokens)
        self.text += after[len(before) :]
        return after[len(before) :]

    def finish(self) -> str:
        """What was held back and never became whole."""
        rest = self._decode(len(self.tokens))[len(self._decode(self.said)) :]
        self.text += rest
        return rest

    def _decode(self, end: int) -> str:
        return str(self.tokenizer.decode(self.tokens[self.start : end], skip_special_tokens=True))


def _split_lines(source: BinaryIO) -> Iterator[bytes]:
    """Lines; one that is too long comes cut, and the rest of it is left out."""
    while line := source.readline(MAX_LINE_BYTES + 1):
        yield line
        while len(line) > MAX_LINE_BYTES and not line.endswith(b"\n"):
            line = source.readline(MAX_LINE_BYTES + 1)


def _read_record(line: bytes) -> dict[str, Any]:
    if len(line) > MAX_LINE_BYTES:
        raise EngineError(f"The line is longer than {MAX_LINE_BYTES >> 10} KiB; shorten it.", code="too_large")
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        raise EngineError("This line is not JSON.", code="bad_request") from None
    id = record.get("id") if isinstance(record, dict) else None
    if not isinstance(id, str) or not 1 <= len(id) <= MAX_ID_CHARACTERS:
        raise EngineError("A question needs an 'id', a text of up to 200 characters.", code="bad_request")
    assert isinstance(record, dict)
    return record


def _read_question(record: dict[str, Any]) -> Question:
    unknown = sorted(record.keys() - {"id", "messages", *SETTINGS})
    if unknown:
        hint = f"known are messages, {', '.join(SETTINGS)}"
        raise EngineError(f"Unknown key '{unknown[0][:60]}'; {hint}.", code="bad_request", hint=hint)
    settings = Settings(**{name: record[name] for name in SETTINGS if name in record})
    settings.check()
    return Question(record["id"], check_messages(record.get("messages")), settings)
