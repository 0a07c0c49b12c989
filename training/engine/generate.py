"""Answers to a file of prompts, in batches. Greedy by default; sampling is seeded per row."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.engine.decoding import Settings, decode
from training.engine.errors import EngineError
from training.engine.events import emit
from training.engine.serving import Served, open_model
from training.engine.tokenizer import render_chat

__all__ = ["Answer", "Prompt", "Settings", "answer_prompts", "check_messages", "encode_prompt", "generate", "main"]

MAX_ROWS = 100_000
MAX_LINE_BYTES = 1 << 20
MAX_RENDERED_CHARACTERS = 1 << 20
BATCH_TOKENS = 4096  # prompt and answer tokens of one batch, at least: products of so many rows keep a processor busy
WORTH_PACKING = 16  # prompts; laying out the weights costs about as much as answering a few
MOST_BATCH_TOKENS = 1 << 16
CACHE_BYTES = 128 << 20  # of keys and values of a batch: small models take all prompts at once
ROLES = ("system", "user", "assistant")

Messages = tuple[dict[str, str], ...]


@dataclass(frozen=True)
class Prompt:
    """A question: a text, or a conversation so far."""

    id: str
    text: str = ""
    messages: Messages = ()

    def as_messages(self) -> Messages:
        return self.messages or ({"role": "user", "content": self.text},)


@dataclass(frozen=True)
class Answer:
    id: str
    text: str
    tokens: int
    seconds: float  # share of its batch's time


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="generate", description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--prompts", type=Path, required=True, help='jsonl of {"id", "prompt" or "messages"}')
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--max-new-tokens", type=int, default=256)
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--top-p", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--leave-long", action="store_true", help="leave out prompts that the model cannot read")
    parser.add_argument("--texts", type=Path, help="also tell how likely it finds these texts, as `likelihoods` does")
    parser.add_argument("--likelihoods", type=Path, help="where that is written")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    options = parser.parse_args(argv)
    settings = Settings(options.max_new_tokens, options.temperature, options.top_p, options.seed)
    generate(
        model_folder=options.model, prompts=options.prompts, out=options.out, settings=settings, device=options.device,
        leave_long=options.leave_long,
        texts=(options.texts, options.likelihoods) if options.texts and options.likelihoods else None,
    )  # fmt: skip
    return 0


def generate(
    *,
    model_folder: Path,
    prompts: Path,
    out: Path,
    settings: Settings,
    device: str = "auto",
    leave_long: bool = False,
    texts: tuple[Path, Path] | None = None,
) -> None:
    """Answer every row of `prompts` and write `out` as a whole. With `leave_long`, rows that leave no room for an answer are
    missing there; else they are refused. `texts`: a file of texts, and where their likelihoods go; the model is loaded once."""
    from training.engine.evals.packed_linear import pack_weights
    from training.engine.likelihoods import read_rows, write_likelihoods

    settings.check()
    rows = list(read_prompts(prompts))
    read = read_rows(texts[0]) if texts else []
    emit("stage", stage="generate", state="started", prompts=len(rows))
    served = open_model(model_folder, device)
    if len(rows) >= WORTH_PACKING:
        pack_weights(served.model)
    if leave_long:
        rows = [row for row in rows if fits(served, row, settings)]
    if texts:
        write_likelihoods(served, read, texts[1])
    started = time.monotonic()
    answers = answer_prompts(served, rows, settings, tell=lambda done: _report(done, len(rows)))
    draft = out.with_name(f".{out.name}.{os.getpid()}")
    with draft.open("w", encoding="utf-8") as writer:
        for row, answer in zip(rows, answers, strict=True):
            writer.write(json.dumps(_describe(row, answer), ensure_ascii=False) + "\n")
    os.replace(draft, out)
    emit("done", out=str(out), tokens=sum(a.tokens for a in answers), seconds=round(time.monotonic() - started, 2))


def answer_prompts(
    served: Served,
    prompts: Sequence[Prompt],
    settings: Settings,
    *,
    tell: Callable[[int], None] = lambda done: None,
    batch_tokens: int | None = None,
) -> list[Answer]:
    """One answer per prompt, in their order; prompts of like length share a batch."""
    batch_tokens = batch_tokens or choose_batch_tokens(served.model.config)
    encoded = [encode_prompt(served, prompt, settings) for prompt in prompts]
    stop_ids = served.stop_ids
    answers: dict[int, Answer] = {}
    for batch in plan_batches([len(tokens) for tokens in encoded], settings.max_new_tokens, batch_tokens):
        started = time.monotonic()
        seeds = [_row_seed(prompts[i].id) for i in batch]
        given = decode(served.model, [encoded[i] for i in batch], settings, stop_ids=stop_ids, row_seeds=seeds)
        seconds = (time.monotonic() - started) / len(batch)
        for i, tokens in zip(batch, given, strict=True):
            text = served.tokenizer.decode(tokens, skip_special_tokens=True)
            answers[i] = Answer(prompts[i].id, text, len(tokens), round(seconds, 4))
        tell(len(answers))
    return [answers[i] for i in range(len(prompts))]


def choose_batch_tokens(config: Any) -> int:
    """How many tokens a batch may hold, by what a token leaves in the cache."""
    layers, width = getattr(config, "num_hidden_layers", 0), getattr(config, "hidden_size", 0)
    heads = getattr(config, "num_attention_heads", 0) or 1
    keys = getattr(config, "num_key_value_heads", None) or heads
    bytes_per_token = max(8 * layers * width * keys // heads, 1)
    return min(max(BATCH_TOKENS, CACHE_BYTES // bytes_per_token), MOST_BATCH_TOKENS)


def plan_batches(lengths: Sequence[int], new_tokens: int, batch_tokens: int) -> Iterator[list[int]]:
    """Row numbers per batch, longest first: what does not fit in memory shows at once."""
    batch: list[int] = []
    longest = 0
    for row in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        longest = max(longest, lengths[row])
        if batch and (len(batch) + 1) * (longest + new_tokens) > batch_tokens:
            yield batch
            batch, longest = [], lengths[row]
        batch.append(row)
    if batch:
        yield batch


def encode_prompt(served: Served, prompt: Prompt, settings: Settings) -> list[int]:
    """Token ids through the model's chat template. Refuses what leaves no room for the answer."""
    rendered = render_chat(served.tokenizer, prompt.as_messages(), open_answer=True)
    if len(rendered) > MAX_RENDERED_CHARACTERS:
        raise EngineError(f"Prompt {prompt.id}: the chat template makes too long a text.", code="template_too_long")
    tokens: list[int] = list(served.tokenizer(rendered, add_special_tokens=False)["input_ids"])
    limit = served.context_tokens
    if len(tokens) + settings.max_new_tokens > limit:
        hint = "shorten the conversation or lower max_new_tokens"
        message = (
            f"Prompt {prompt.id} has {len(tokens)} tokens and asks for {settings.max_new_tokens} more, "
            f"the model reads {limit}; {hint}."
        )
        raise EngineError(message, code="context_exceeded", hint=hint)
    return tokens


def fits(served: Served, prompt: Prompt, settings: Settings) -> bool:
    try:
        encode_prompt(served, prompt, settings)
    except EngineError as error:
        if error.code != "context_exceeded":
            raise
        return False
    return True


def check_messages(value: object) -> Messages:
    """A conversation as untrusted JSON gives it; EngineError says what is wrong with it."""
    if not isinstance(value, list) or not 1 <= len(value) <= 1000:
        raise EngineError("'messages' must be a list of 1 to 1000 messages.", code="bad_messages")
    for message in value:
        plain = isinstance(message, dict) and set(message) == {"role", "content"}
        if not plain or message["role"] not in ROLES or not isinstance(message["content"], str):
            hint = f'write {{"role": one of {", ".join(ROLES)}, "content": text}}'
            raise EngineError(f"A message is malformed; {hint}.", code="bad_messages", hint=hint)
    return tuple(value)


def read_prompts(path: Path) -> Iterator[Prompt]:
    """Raises EngineError with the line of the first malformed row."""
    if not path.is_file():
        raise EngineError(f"{path} does not exist.", code="missing_file")
    with path.open("rb") as reader:
        for number, line in enumerate(iter(lambda: reader.readline(MAX_LINE_BYTES + 1), b""), start=1):
            if number > MAX_ROWS:
                raise EngineError(f"{path.name} has more than {MAX_ROWS:,} rows; split it.", code="too_large")
            if line.strip():
                yield _read_prompt(line, f"{path.name}:{number}")


def _read_prompt(line: bytes, where: str) -> Prompt:
    if len(line) > MAX_LINE_BYTES:
        raise EngineError(f"{where}: the line is longer than {MAX_LINE_BYTES >> 10} KiB; shorten it.", code="too_large")
    try:
        row = json.loads(line)
        line.decode("utf-8")
    except (ValueError, RecursionError):
        raise EngineError(f"{where}: this is not JSON; write one object a line.", code="bad_prompt") from None
    if not isinstance(row, dict) or not isinstance(row.get("id"), str | int):
        raise EngineError(f'{where}: a row needs an \'id\'; write {{"id": ..., "prompt": ...}}.', code="bad_prompt")
    try:
        if "messages" in row:
            return Prompt(str(row["id"]), messages=check_messages(row["messages"]))
    except EngineError as error:
        raise EngineError(f"{where}: {error}", code=error.code, hint=error.hint) from None
    if not isinstance(row.get("prompt"), str) or not row["prompt"]:
        raise EngineError(f"{where}: a row needs a 'prompt' or 'messages'.", code="bad_prompt")
    return Prompt(str(row["id"]), text=row["prompt"])


def _describe(prompt: Prompt, answer: Answer) -> dict[str, Any]:
    asked = {"messages": list(prompt.messages)} if prompt.messages else {"prompt": prompt.text}
    return {"id": prompt.id, **asked, "text": answer.text, "tokens": answer.tokens, "seconds": answer.seconds}


def _row_seed(id: str) -> int:
    """From the row's name: the same row draws the same tokens in whatever file and batch it stands."""
    return int.from_bytes(hashlib.sha256(id.encode("utf-8", "surrogatepass")).digest()[:6], "big")


def _report(done: int, total: int) -> None:
    emit("progress", stage="generate", done=done, total=total)
