"""Rows of a harness task as scores: tokens, windows, filters and metrics are those of lm-evaluation-harness 0.4.13 with its
Hugging Face model, so a score here is the score there."""

from __future__ import annotations

import math
import string
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from training.engine.decoding import Settings, decode
from training.engine.errors import EngineError
from training.engine.evals.harness_file import Filter, FilterStep, HarnessFile, Metric
from training.engine.evals.harness_tasks import Row, iterate_pairs
from training.engine.evals.likelihood import Likelihood, Request
from training.engine.generate import BATCH_TOKENS, plan_batches
from training.engine.serving import Served
from training.engine.tokenizer import time_limit

REGEX_TIMEOUT_S = 60.0  # for the filters and metrics of all rows of a task

Result = tuple[float, float, dict[str, Any]]
Score = Callable[[list[Request]], list[Likelihood]]


def score_pairs(found: HarnessFile, rows: Sequence[Row], metric: str, served: Served, score: Score) -> Iterator[Result]:
    """Rows of multiple_choice and loglikelihood."""
    encoder = Encoder(served.tokenizer)
    pairs = [list(iterate_pairs(found, row)) for row in rows]
    likelihoods = iter(score([encoder.encode_pair(*pair) for row in pairs for pair in row]))
    for row, asked in zip(rows, pairs, strict=True):
        answered = [next(likelihoods) for _ in asked]
        log = {"logprobs": [round(one.logprob, 4) for one in answered]}
        if found.output_type == "loglikelihood":
            yield float(answered[0].is_greedy), 1.0, log
        else:
            chosen = choose(row["choices"], answered, metric)
            yield float(chosen == row["answer"]), 1.0, log | {"chosen": chosen}


def choose(choices: Sequence[str], answered: Sequence[Likelihood], metric: str) -> int:
    """The likeliest choice, the first among equals: by itself, per character (acc_norm) or per byte (acc_bytes)."""
    measure: Callable[[str], int] = {
        "acc": lambda choice: 1,
        "acc_norm": len,
        "acc_bytes": lambda choice: len(choice.encode()),
    }[metric]
    values = [one.logprob / measure(choice) for choice, one in zip(choices, answered, strict=True)]
    return values.index(max(values))


def score_rolling(rows: Sequence[Row], served: Served, score: Score) -> Iterator[Result]:
    """Bits of each text and its bytes."""
    encoder = Encoder(served.tokenizer)
    windows = [list(roll_windows(encoder.encode(r["text"]), encoder.prefix, served.context_tokens)) for r in rows]
    likelihoods = iter(score([window for row in windows for window in row]))
    for row, asked in zip(rows, windows, strict=True):
        bits = -math.fsum(next(likelihoods).logprob for _ in asked) / math.log(2)
        length = len(row["text"].encode())
        yield bits, float(length), {"bits": round(bits, 3), "bytes": length, "bits_per_byte": round(bits / length, 5)}


def roll_windows(tokens: Sequence[int], prefix: int, limit: int) -> Iterator[Request]:
    """Every token is predicted once; the last window reads back as far as the model can."""
    known = (prefix, *tokens)
    for start in range(0, len(tokens), limit):
        end = min(start + limit, len(tokens))
        first = max(0, end - limit)  # in `known`, which is one token ahead
        yield Request(known[first : start + 1], tuple(tokens[start:end]))


def score_generation(
    found: HarnessFile, rows: Sequence[Row], filter_name: str | None, served: Served, tell: Callable[[int], None]
) -> Iterator[Result]:
    texts = generate(found, rows, served, tell)
    try:
        with time_limit(REGEX_TIMEOUT_S):
            results = [_rate(found, filter_name, text, row) for text, row in zip(texts, rows, strict=True)]
    except TimeoutError:
        message = f"{found.task}: its regular expressions take longer than {REGEX_TIMEOUT_S:g} seconds; simplify them."
        raise EngineError(message, code="regex_timeout") from None
    yield from results


def _rate(found: HarnessFile, filter_name: str | None, text: str, row: Row) -> Result:
    chosen = find_filter(found, filter_name)
    taken = text if chosen is None else apply_filter(chosen, text)
    metric = next((m for m in found.metric_list if m.metric == "exact_match"), Metric("exact_match"))
    is_right = any(matches(metric, taken, answer) for answer in row["answers"])
    return float(is_right), 1.0, {"text": text} | ({} if chosen is None else {"filtered": taken})


def find_filter(found: HarnessFile, name: str | None) -> Filter | None:
    """The one of that name, else the first; None where the file has none."""
    return next((one for one in found.filter_list if name in (None, one.name)), None)


def apply_filter(chosen: Filter, text: str) -> str:
    for step in chosen.filter:
        text = _apply_step(step, text)
    return text


def _apply_step(step: FilterStep, text: str) -> str:
    if step.function == "regex":
        return _extract(step, text)
    return {"remove_whitespace": text.strip, "lowercase": text.lower, "uppercase": text.upper}.get(
        step.function, lambda: text
    )()


def _extract(step: FilterStep, text: str) -> str:
    matches = step.regex_pattern.findall(text)
    if not -len(matches) <= step.group_select < len(matches):
        return step.fallback  # the harness fails where there are some, but not so many
    match = matches[step.group_select]
    if isinstance(match, tuple):
        match = next((group for group in match if group), step.fallback)
    return str(match).strip()


def matches(metric: Metric, text: str, right: str) -> bool:
    return _simplify(metric, text) == _simplify(metric, right)


def _simplify(metric: Metric, text: str) -> str:
    for pattern in metric.regexes_to_ignore:
        text = pattern.sub("", text)
    text = text.lower() if metric.ignore_case else text
    dropped = string.punctuation * metric.ignore_punctuation + string.digits * metric.ignore_numbers
    return text.translate(str.maketrans("", "", dropped))


def generate(found: HarnessFile, rows: Sequence[Row], served: Served, tell: Callable[[int], None]) -> list[str]:
    """Greedy answers to the bare contexts, cut where a stop text begins. Prompts of like length share a batch."""
    most = found.generation_kwargs.max_gen_toks
    room = served.context_tokens - most
    if room < 1:
        hint = "lower max_gen_toks"
        message = f"{found.task} asks for {most} tokens, the model reads {served.context_tokens}; {hint}."
        raise EngineError(message, code="context_exceeded", hint=hint)
    encoder = Encoder(served.tokenizer)
    prompts = [encoder.encode(row["context"])[-room:] or [encoder.prefix] for row in rows]
    settings = Settings(max_new_tokens=most)
    is_over = watch_for(served.tokenizer, found.stop_texts())
    texts = [""] * len(rows)
    done = 0
    for batch in plan_batches([len(prompt) for prompt in prompts], most, BATCH_TOKENS):
        answers = decode(served.model, [prompts[i] for i in batch], settings, stop_ids=served.stop_ids, is_over=is_over)
        for i, tokens in zip(batch, answers, strict=True):
            texts[i] = cut(served.tokenizer.decode(tokens, skip_special_tokens=True), found.stop_texts())
        tell(done := done + len(batch))
    return texts


def watch_for(tokenizer: Any, stops: Sequence[str]) -> Callable[[Sequence[int]], bool]:
    """Whether an answer holds a stop text, so that nothing is written that would be cut off again. A token holds a byte at
    least: only as many of the last ones as the longest stop text has bytes, and one more, are read before the whole is."""
    reach = max((len(stop.encode()) for stop in stops), default=0) + 1

    def holds(tokens: Sequence[int]) -> bool:
        text = tokenizer.decode(tokens, skip_special_tokens=True)
        return any(stop in text for stop in stops)

    return lambda tokens: bool(stops) and holds(tokens[-reach:]) and holds(tokens)


def cut(text: str, stops: Sequence[str]) -> str:
    for stop in stops:
        text = text.split(stop)[0]
    return text


class Encoder:
    """Texts as tokens, with the marks that the tokenizer itself puts around a text."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        bos = tokenizer.bos_token_id
        self.prefix: int = bos if bos is not None else tokenizer.eos_token_id
        self.prefix_text: str = tokenizer.decode(self.prefix)

    def encode(self, text: str) -> list[int]:
        marked = bool(self.prefix_text) and text.startswith(self.prefix_text)
        return list(self.tokenizer(text, add_special_tokens=not marked)["input_ids"])

    def encode_bare(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def encode_pair(self, context: str, continuation: str) -> Request:
        """Both encoded together and cut where the context ends; its last blanks go to the continuation."""
        if not context:
            tokens = self.encode_bare(continuation)
            if tokens[0] == self.prefix and len(tokens) > 1:
                return Request((tokens[0],), tuple(tokens[1:]))
            return Request((self.prefix,), tuple(tokens))
        bare = context.rstrip()
        before, whole = self.encode(bare), self.encode(bare + context[len(bare) :] + continuation)
        return Request(tuple(before), tuple(whole[len(before) :] or self.encode_bare(continuation)))
