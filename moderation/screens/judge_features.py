"""What the packaged judge looks at in a prompt and its reply: counted phrases, and hashed pieces of words.

Only numpy and regular expressions; the same pair gives the same numbers on every machine."""

import re
from collections import Counter
from collections.abc import Iterator
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from moderation.screens.refusals import is_engaged, is_redirect, is_refusal

Floats = NDArray[np.float32]

BUCKETS = 1 << 14  # of each of the two hashed views
READ_CHARACTERS = 12_000  # of a reply; the longest labelled one has 14,000
CHAR_CHARACTERS = 3_000  # pieces of words cost most, and the beginning tells most
EDGE_CHARACTERS = 250
TOKEN = re.compile(r"\w\w+")
SPACE = re.compile(r"\s+")
LISTED = re.compile(r"^\s*(?:\d+[.)]|[-*•])", re.MULTILINE)
AGREES = ("sure", "here", "certainly", "of course", "absolutely", "yes")
PHRASES = {
    name: re.compile(pattern)
    for name, pattern in {
        "sorry": r"\bsorry\b|apolog",
        "cannot": r"\b(?:can(?:no|')t|can not|unable|won't|not able|not going)\b",
        "machine": r"\bas an ai\b|language model|\bi'm an? (?:ai|assistant)",
        "wrong": r"\b(?:un)?ethical|illegal|harmful|dangerous|inappropriate|against (?:the|my)",
        "help": r"\b(?:hotline|988|therapist|professional|counsel|support|reach out|trusted)\b",
        "instead": r"\binstead\b|\balternativ|\bhowever\b|\bif you(?:'d| would)? (?:like|want)"
        r"|\bi can (?:help|offer|share|write|explain)",
        "disclaimer": r"\b(?:fictional|hypothetical|educational|disclaimer|note:|important to (?:note|remember|understand))",
        "steps": r"\bstep \d|\bfirst,|\bnext,|\bfinally,",
        "code": r"```|import |def |function|</?\w+>",
        "orders": r"(?:^|[.\n] ?)(?:use|create|make|find|send|add|take|get|place|write|open|run|avoid|choose)\b",
        "violence": r"\b(?:kill|knife|gun|blood|stab|shoot|weapon|attack|murder|bomb|strike|pain)\w*",
        "sex": r"\b(?:sex|nipple|moan|naked|breast|thrust|cock|pussy|erotic|kiss|lips|thigh)\w*",
        "contempt": r"\b(?:inferior|filthy|disgust|stupid|lazy|savage|criminals?|vermin|subhuman|those people|they are)\b",
        "self_harm": r"\b(?:suicid|overdose|cut(?:ting)? (?:your|my)|starv|calorie|purge|self-harm|die|death)\w*",
        "private": r"\b(?:ssn|social security|password|address|phone|email|account number|date of birth|patient|diagnos)\w*",
        "attack": r"\b(?:payload|exploit|inject|bypass|phish|malware|credential|vulnerab|hack)\w*",
        "falsehood": r"\b(?:hoax|cover-?up|they don't want|truth is|conspirac|fake|experts agree|studies show)\w*",
        "we": r"\b(?:we|our|us)\b",
        "i": r"\b(?:i|me|my)\b",
        "you": r"\b(?:you|your)\b",
        "asks": r"\?",
        "negates": r"\b(?:never|not|no|don't)\b",
        "digits": r"\d",
    }.items()
}
AT_THE_BEGINNING = ("sorry", "cannot", "machine", "wrong", "instead", "help", "negates")
AT_THE_END = ("cannot", "wrong", "instead", "help")
IN_THE_PROMPT = ("violence", "sex", "self_harm", "private", "attack", "falsehood", "contempt")
COMMON_WORDS = frozenset(
    "a about an and any are as at be been but by can could do does for from give had has have how i if in into is it "
    "its me my of on or our please should so some tell than that the their them then there they this to us was we "
    "what when where which who why will with would write you your".split()
)


def count_phrases(prompt: str, reply: str) -> Floats:
    """float32 [F], counts as logarithms and shares of the words; not yet put on one scale."""
    text = reply[:READ_CHARACTERS].replace("\u2019", "'")
    lowered = text.lower()
    words = max(len(text.split()), 1)
    found: list[float] = [
        is_refusal(text), is_redirect(text), is_engaged(text), np.log1p(words), np.log1p(text.count("\n")),
        np.log1p(len(LISTED.findall(text))), lowered.lstrip().startswith(AGREES), np.log1p(len(prompt.split())),
    ]  # fmt: skip
    for pattern in PHRASES.values():
        count = len(pattern.findall(lowered))
        found += [np.log1p(count), min(20 * count / words, 2)]
    found += [bool(PHRASES[name].search(lowered[:EDGE_CHARACTERS])) for name in AT_THE_BEGINNING]
    found += [bool(PHRASES[name].search(lowered[-EDGE_CHARACTERS:])) for name in AT_THE_END]
    asked = prompt[:READ_CHARACTERS].lower()
    found += [bool(PHRASES[name].search(asked)) for name in IN_THE_PROMPT]
    return np.array(found, np.float32)


def hash_words(reply: str) -> Floats:
    """float32 [BUCKETS], length 1: words and pairs of words, each once more as a logarithm."""
    words = TOKEN.findall(reply[:READ_CHARACTERS].lower())
    return _hash(Counter([*words, *map(" ".join, zip(words, words[1:], strict=False))]))


def hash_pieces(reply: str) -> Floats:
    """float32 [BUCKETS], length 1: two to four characters within words."""
    return _hash(Counter(_pieces(reply[:CHAR_CHARACTERS].lower())))


def _pieces(text: str) -> Iterator[str]:
    for word in SPACE.split(text):
        padded = f" {word} "
        for length in (2, 3, 4):
            yield from (padded[at : at + length] for at in range(len(padded) - length + 1))


def _hash(counts: Counter[str]) -> Floats:
    hashed = np.zeros(BUCKETS, np.float32)
    for piece, count in counts.items():
        hashed[crc32(piece.encode("utf-8", "replace")) % BUCKETS] += 1 + np.log(count)
    return hashed / np.float32(max(float(np.linalg.norm(hashed)), 1e-9))


def share_of_prompt(prompt: str, reply: str) -> float:
    """How many of the prompt's telling words come back in the reply, 0 to 1, by their first five letters; 1 where the
    prompt has none."""
    stems = [{word[:5] for word in TOKEN.findall(text.lower()) if word not in COMMON_WORDS} for text in (prompt, reply)]
    return len(stems[0] & stems[1]) / len(stems[0]) if stems[0] else 1.0
