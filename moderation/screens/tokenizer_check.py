"""tokenizer.json: bounds on its tables, steps that are known, and patterns that end (pattern_check).

A tokenizer runs on every text of every user; its normalizer can exchange words before any model or filter sees them."""

import json
import re
from collections.abc import Iterator
from typing import Any

from moderation.screens.findings import Finding, quote
from moderation.screens.limits import Deadline
from moderation.screens.pattern_check import endless

MAX_TOKENIZER_BYTES = 64 << 20  # Gemma's has 33 MB
MAX_TOKENS = 2_000_000  # the largest vocabularies have 260,000
MAX_MERGES = 4_000_000
MAX_ADDED = 100_000
MAX_TOKEN_CHARACTERS = 4_096
MAX_STEPS_DEEP = 8
MAX_STEPS = 64
MAX_CHARSMAP = 4 << 20
STEPS = {
    "normalizer": set(
        "Sequence NFC NFD NFKC NFKD Nmt BertNormalizer Lowercase Strip StripAccents Replace Prepend Precompiled"
        " ByteLevel".split()
    ),
    "pre_tokenizer": set(
        "Sequence BertPreTokenizer ByteLevel CharDelimiterSplit Metaspace Whitespace WhitespaceSplit Punctuation Digits"
        " UnicodeScripts Split FixedLength".split()
    ),
    "post_processor": set("Sequence BertProcessing RobertaProcessing ByteLevel TemplateProcessing".split()),
    "decoder": set(
        "Sequence ByteLevel WordPiece ByteFallback Fuse Strip Metaspace BPEDecoder CTC Replace DecodeStream".split()
    ),
}
MODELS = {"BPE", "WordPiece", "WordLevel", "Unigram"}
HIDDEN = re.compile("[\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff\U000e0000-\U000e007f]")
MEND = "save it again with a current tokenizers, or ask a moderator"


def check_tokenizer(name: str, data: bytes, deadline: Deadline) -> Iterator[Finding]:
    """Findings about a tokenizer.json; `data` has at most MAX_TOKENIZER_BYTES. Raises OutOfTime."""
    try:
        tokenizer = json.loads(data)
    except (ValueError, RecursionError):
        what = f"{name} is not JSON that can be read"
        yield Finding("unsafe_files", "broken_config", "info", name, "not JSON", f"{what}; no loader will take it.")
        return
    if not isinstance(tokenizer, dict) or not isinstance(tokenizer.get("model"), dict):
        return
    for rule, excerpt, what in (*_table_problems(tokenizer), *_step_problems(tokenizer, deadline)):
        yield Finding("unsafe_files", rule, "hold", name, quote(excerpt), f"{name} {what}; {MEND}.")


Problem = tuple[str, str, str]  # rule, excerpt, half sentence


def _table_problems(tokenizer: dict[str, Any]) -> Iterator[Problem]:
    model = tokenizer["model"]
    vocab, merges, added = model.get("vocab") or {}, model.get("merges") or [], tokenizer.get("added_tokens") or []
    if model.get("type", "BPE") not in MODELS:
        yield "odd_tokenizer", str(model.get("type")), "has a model of an unknown type"
    for label, table, most in (
        ("tokens", vocab, MAX_TOKENS),
        ("merges", merges, MAX_MERGES),
        ("added tokens", added, MAX_ADDED),
    ):
        if not isinstance(table, dict | list) or len(table) > most:
            size = len(table) if isinstance(table, dict | list) else 0
            yield "huge_tokenizer", f"{size:,} {label}", f"has {size:,} {label}, more than {most:,} or no table at all"
            return
    if isinstance(vocab, dict):
        yield from _vocabulary_problems(vocab)
    for token in added:
        content = token.get("content") if isinstance(token, dict) else None
        if not isinstance(content, str) or not content:
            yield "odd_tokenizer", str(token)[:60], "has an added token without a text"
            return
        if HIDDEN.search(content) and not HIDDEN.sub("", content).strip():
            continue  # a token for such a character alone hides nothing
        if HIDDEN.search(content) or len(content) > MAX_TOKEN_CHARACTERS:
            yield "hidden_token", content, "has an added token with invisible characters, or one too long to be read"
            return


def _vocabulary_problems(vocab: dict[str, Any]) -> Iterator[Problem]:
    numbers = vocab.values()
    if not all(type(number) is int and 0 <= number < 2**31 for number in numbers):
        yield "odd_tokenizer", "vocab", "gives a token a number that is none"
    elif len(set(numbers)) != len(vocab):
        yield "odd_tokenizer", "vocab", "gives two tokens the same number"
    elif vocab and max(map(len, vocab)) > MAX_TOKEN_CHARACTERS:
        yield "huge_tokenizer", "vocab", f"has a token of more than {MAX_TOKEN_CHARACTERS:,} characters"


def _step_problems(tokenizer: dict[str, Any], deadline: Deadline) -> Iterator[Problem]:
    for part, known in STEPS.items():
        steps = list(_steps(tokenizer.get(part)))
        if len(steps) > MAX_STEPS:
            yield "odd_tokenizer", part, f"has more than {MAX_STEPS} steps in its {part}"
            return
        for step in steps:
            kind = str(step.get("type"))
            if kind not in known:
                yield "odd_tokenizer", kind, f"has a step {kind[:40]} in its {part}, which is unknown"
            charsmap = step.get("precompiled_charsmap")
            if isinstance(charsmap, str) and len(charsmap) > MAX_CHARSMAP:
                yield "huge_tokenizer", part, f"has a table of {len(charsmap):,} characters in its {part}"
            yield from _pattern_problems(part, step, deadline)


def _steps(part: Any, depth: int = 0) -> Iterator[dict[str, Any]]:
    if not isinstance(part, dict):
        return
    if depth > MAX_STEPS_DEEP:
        yield {"type": "(nested too deep)"}  # known to no part, so it is named as such
        return
    yield part
    for key in ("normalizers", "pretokenizers", "processors", "decoders"):
        inner = part.get(key)
        for step in inner[: MAX_STEPS + 1] if isinstance(inner, list) else ():
            yield from _steps(step, depth + 1)


def _pattern_problems(part: str, step: dict[str, Any], deadline: Deadline) -> Iterator[Problem]:
    pattern = step.get("pattern")
    plain, regex = (pattern.get("String"), pattern.get("Regex")) if isinstance(pattern, dict) else (pattern, None)
    if isinstance(regex, str) and (why := endless(regex, deadline)):
        yield "endless_pattern", regex, f"has a pattern in its {part} that {why}"
    if step.get("type") == "Replace":
        content = step.get("content")
        put_in = content if isinstance(content, str) else ""
        taken = plain if isinstance(plain, str) else regex if isinstance(regex, str) else ""
        if any(letter.isalnum() for letter in put_in) or (plain and any(letter.isalnum() for letter in taken)):
            yield "odd_normalizer", f"{taken} -> {put_in}", f"exchanges words in its {part}"
    elif step.get("type") == "Prepend" and any(letter.isalnum() for letter in str(step.get("prepend", ""))):
        yield "odd_normalizer", str(step.get("prepend")), f"puts words before every text in its {part}"
