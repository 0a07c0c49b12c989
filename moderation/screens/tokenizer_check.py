"""tokenizer.json: bounds on its tables, steps that are known, and patterns that end.

A tokenizer runs on every text of every user. Its patterns are regular expressions with back-tracking, so one can make
a word cost hours; its normalizer can exchange words before any model or filter sees them."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from moderation.screens.findings import Finding, quote
from moderation.screens.limits import Deadline, OutOfTime
from moderation.screens.pattern_trial import try_pattern

MAX_TOKENIZER_BYTES = 64 << 20  # Gemma's has 33 MB
MAX_TOKENS = 2_000_000  # the largest vocabularies have 260,000
MAX_MERGES = 4_000_000
MAX_ADDED = 100_000
MAX_TOKEN_CHARACTERS = 4_096
MAX_PATTERN = 4_096  # characters; GPT-4o's has 400
MAX_OPEN_REPEATS = 8  # of one alternative; GPT-4o's has 4
MAX_WAYS = 1_000  # to read a part of a pattern, beyond which it is tried; GPT-4o's has 40
MAX_ALIKE = 8  # times that alternatives may be repeated of which one begins another: two ways each time
MAX_ROW = 2  # open repeats in a row, beyond which they are tried; GPT-4o's has 2
MANY = 10**9  # beyond it nobody counts
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
QUANTIFIER = re.compile(r"[*+?]|\{\d*,?\d*\}")
GROUP = re.compile(r"\((?:\?(?:[imsx-]*:|<?[=!]|>|P?<\w+>|[imsx-]+\)))?")
PLAIN_CHOICE = re.compile(r"\((?:\?(?:[imsx-]*:|P?<\w+>))?(?=[\w '|,;-]*\)$)")
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


def endless(pattern: str, deadline: Deadline) -> str:
    """Why a pattern may take time that grows beyond all bounds with the text, or "".

    Looked for: an open repeat of something that itself repeats openly or offers alternatives, many open repeats in a
    row, references back, recursion. What tokenizers use has none of these. What can be read in many ways, but not in
    endlessly many, is tried (pattern_trial). Raises OutOfTime where a request should not wait for that."""
    if len(pattern) > MAX_PATTERN:
        return f"has {len(pattern):,} characters"
    if re.search(r"\\[1-9]|\\k<|\\g<|\(\?(?:R|P>|P=|&|\d|C)", pattern):
        return "refers back to what it matched, or to itself"
    plain = pattern.replace(r"\r?\n", r"\n")  # a line's end, which can be read in one way only
    parts: list[str] = []
    why = _walk_pattern(plain, parts)
    if why or not parts:
        return why
    deadline.check()
    if deadline.is_request:
        raise OutOfTime("not done with trying a pattern")
    return try_pattern(plain, tuple(dict.fromkeys(parts)))


@dataclass
class Group:
    """What is open: repeats without end and ways to read it, of this alternative and of those before."""

    start: int  # of the group
    begin: int  # of this alternative
    repeats: int = 0
    has_ways: bool = False
    row: int = 0  # open repeats of this alternative alone
    longest_row: int = 0
    ways: int = 1
    ways_before: int = 0
    is_tried: bool = False  # a part inside is on the list already

    def close(self, pattern: str, at: int, parts: list[str]) -> int:
        """The end of an alternative; returns how many ways there are through all so far."""
        if (self.ways > MAX_WAYS or self.row > MAX_ROW) and not self.is_tried:
            parts.append(pattern[self.begin : at])
            self.is_tried = True
        self.ways_before = min(self.ways_before + self.ways, MANY)
        self.longest_row = max(self.longest_row, self.row)
        self.ways, self.row, self.begin = 1, 0, at + 1
        return self.ways_before


def _walk_pattern(pattern: str, parts: list[str]) -> str:
    """One pass with a stack of open groups. What can be read in too many ways to be sure of is added to `parts`."""
    groups = [Group(0, 0)]
    at, atom = 0, False
    closed: Group | None = None  # what stood in the group that ended just before
    while at < len(pattern):
        letter = pattern[at]
        group = groups[-1]
        repeat = QUANTIFIER.match(pattern, at) if atom else None
        if repeat:
            if _is_open(repeat.group()):
                if closed and closed.repeats:
                    return "repeats without end what repeats without end"
                if closed and closed.has_ways:
                    return "repeats alternatives without end"
                group.repeats += 1
                group.row += 1
                if group.repeats > MAX_OPEN_REPEATS:
                    return f"has more than {MAX_OPEN_REPEATS} open repeats in a row"
            else:
                low, high = _bounds(repeat.group())
                if closed and high > MAX_ALIKE and _begin_alike(pattern[closed.start : at]):
                    return f"repeats alternatives that begin alike {high:,} times"
                ways = _ways_of_repeat(closed.ways_before if closed else 1, low, high)
                # What repeats without end, repeated: a power of the text's length for each time.
                is_steep = closed is not None and closed.longest_row * high > MAX_ROW
                if closed and (ways > MAX_WAYS or is_steep) and not closed.is_tried:
                    parts.append(pattern[closed.start : repeat.end()])
                    group.is_tried = True
                group.ways = min(group.ways * ways, MANY)
                group.has_ways |= low != high  # there or not there: two ways, as an alternative
            at = repeat.end()
            if pattern[at : at + 1] in ("?", "+"):
                at += 1  # lazy or possessive
            atom, closed = False, None
            continue
        if closed:
            group.ways = min(group.ways * closed.ways_before, MANY)
        closed = None
        if letter == "\\":
            at, atom = at + 2, True
            if pattern[at - 1] in "pPx" and pattern[at : at + 1] == "{":
                at = pattern.find("}", at) + 1 or len(pattern)
        elif letter == "[":
            at, atom = _end_of_class(pattern, at), True
        elif letter == "(":
            head = GROUP.match(pattern, at)
            start, at = at, head.end() if head else at + 1
            if head and head.group().endswith(")"):
                continue  # only switches flags
            groups.append(Group(start, at))
            atom = False
            if len(groups) > 40:
                return "is nested more than 40 deep"
        elif letter == ")" and len(groups) > 1:
            closed = groups.pop()
            closed.close(pattern, at, parts)
            above = groups[-1]
            above.repeats += closed.repeats
            above.row += closed.longest_row
            above.has_ways |= closed.has_ways
            above.is_tried |= closed.is_tried
            at, atom = at + 1, True
        elif letter == "|":
            group.close(pattern, at, parts)
            # The number of repeats counts for one way through; whether there are any counts for the group.
            group.repeats, group.has_ways = min(group.repeats, 1), True
            at, atom = at + 1, False
        else:
            at, atom = at + 1, letter not in "^$"
    if closed:
        groups[-1].ways = min(groups[-1].ways * closed.ways_before, MANY)
    for group in groups:
        group.close(pattern, len(pattern), parts)
    return ""


def _begin_alike(group: str) -> bool:
    """Whether a group is a choice of plain words, one of which begins another."""
    words = sorted(PLAIN_CHOICE.sub("", group).removesuffix(")").split("|")) if PLAIN_CHOICE.match(group) else []
    return any(after.startswith(before) for before, after in zip(words, words[1:], strict=False))


def _bounds(quantifier: str) -> tuple[int, int]:
    """(least, most) of a repeat that is not open."""
    if quantifier == "?":
        return 0, 1
    low, comma, high = quantifier[1:-1].partition(",")
    return int(low or 0), int(high if comma else low or 0)


def _ways_of_repeat(ways: int, low: int, high: int) -> int:
    """In how many ways something with so many ways of its own can be read when it is repeated."""
    if ways <= 1:
        return max(high - low + 1, 1)
    total, power = 0, 1
    for count in range(high + 1):
        total += power if count >= low else 0
        power *= ways
        if power > MANY:
            return MANY
    return max(total, 1)


def _is_open(quantifier: str) -> bool:
    """Whether it repeats without a bound, or with one so high that it is none."""
    if quantifier in ("*", "+"):
        return True
    if quantifier == "?":
        return False
    low, comma, high = quantifier[1:-1].partition(",")
    return (comma == "," and not high) or int(high or low or 0) > 1_000


def _end_of_class(pattern: str, at: int) -> int:
    """Behind the "]" of the class that begins here; classes can hold classes."""
    depth, at = 0, at
    while at < len(pattern):
        if pattern[at] == "\\":
            at += 1
        elif pattern[at] == "[":
            depth += 1
            if pattern[at + 1 : at + 2] == "^":
                at += 1
            if pattern[at + 1 : at + 2] == "]":
                at += 1
        elif pattern[at] == "]":
            depth -= 1
            if depth == 0:
                return at + 1
        at += 1
    return len(pattern)
