"""Text that a reader does not see, or sees as something else: what a model reads and a person cannot judge.

What counts is what honest writing never does, so that emoji, Persian and Indic joiners, ideographic variants and
languages written from right to left pass:

- tag characters (U+E0000 and on) outside a flag, runs of different variation selectors, and runs of different
  zero-width characters carry messages: `hold`, with the message where it can be read.
- controls that turn the order of letters round: `hold` where Latin letters stand under them.
- words whose letters are joined by invisible characters, and words that mix Latin with letters of another script that
  look Latin: `info` in texts, `hold` in names of files and in chat templates, which have no use for either.

Source: Unicode TR36, TR39 and UTS51; "Trojan Source", https://arxiv.org/abs/2111.00169."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from moderation.screens.findings import FINDINGS_PER_RULE, Finding, Severity, quote
from moderation.screens.text_reading import Place, TextBlock

TAGS = "\U000e0000-\U000e00ff\U000e01f0-\U000e0fff"
SELECTORS = "\ufe00-\ufe0f\U000e0100-\U000e01ef"
ZERO_WIDTH = "\u200b-\u200d\u2060-\u2064\u206a-\u206f\ufeff\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u3164\uffa0"
# The flag of a part of a country: a black flag, its code in tag characters, and the tag that ends it (cut ones, too).
TAG_RUN = re.compile(f"(\U0001f3f4?)([{TAGS}]+)")
SUBDIVISION = re.compile("[a-z]{2}[a-z0-9]{0,4}\x7f?|\x7f?")
SELECTOR_RUN = re.compile(f"[{SELECTORS}]{{4,}}")
# Pairs of a letter and a selector, where the base has no variants; those of digits and signs make emoji.
SELECTED = re.compile("([^\\W_]|[ ,.])([\ufe00-\ufe0f\U000e0100-\U000e01ef])")
SPREAD = 4  # such pairs in one line; one or two are what copying leaves behind
ZERO_WIDTH_RUN = re.compile(f"[{ZERO_WIDTH}\u200e\u200f]{{8,}}")
LATIN = "A-Za-z\u00c0-\u024f"
SPLIT_WORD = re.compile(f"[{LATIN}]+(?:[\u200b\u200d\u2060-\u2064\ufeff\u180e\u3164\uffa0]+[{LATIN}]+)+")
RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefe\U00010800-\U00010fff\U0001e800-\U0001efff]")
TURNED = re.compile("[\u202b\u202d\u202e\u2067]")
CLOSED_BY = {"\u202b": "\u202c", "\u202d": "\u202c", "\u202e": "\u202c", "\u2067": "\u2069"}
TURNED_CHARACTERS = 400  # looked at behind such a control
LINE_ENDS = re.compile(r"\n|\\n|\u2029")
# Letters of other scripts that look Latin, and the Latin letters for which another script has no double.
CYRILLIC_DOUBLES = "асеорхуіјѕһԁԛԝАВЕКМНОРСТХЅІЈԌԜ"
GREEK_DOUBLES = "ονΑΒΕΖΗΙΚΜΝΟΡΤΥΧ"
DOUBLES = CYRILLIC_DOUBLES + GREEK_DOUBLES
MIXED_WORD = re.compile(f"[A-Za-z{DOUBLES}]*(?:[A-Za-z][{DOUBLES}]|[{DOUBLES}][A-Za-z])[A-Za-z{DOUBLES}]*")
ONLY_LATIN = re.compile("[bfgklqrtuvwzDFGLQRUVW]")
MIXED_LETTERS = 4  # shorter ones are units, formulas and abbreviations
ESCAPE = re.compile(rb"(?<!\\)((?:\\\\)*)\\u([0-9a-fA-F]{4})(?:\\u([dD][c-fC-F][0-9a-fA-F]{2}))?")
UNSEEN_IN_CODE = re.compile(f"[{TAGS}{ZERO_WIDTH}\u200e\u200f\u202a-\u202e\u2066-\u2069\U000e0100-\U000e01ef]")


# Tables of tokens: pieces of words, bytes and joiners of every language. What is added to them is read by tokenizer_check.
VOCABULARIES = {"tokenizer.json", "vocab.json", "vocab.txt", "merges.txt", "added_tokens.json"}


def holds_vocabulary(name: str) -> bool:
    lowered = name.lower()
    return PurePosixPath(lowered).name in VOCABULARIES or lowered.endswith(".gguf (metadata)")


@dataclass(frozen=True)
class Hidden:
    rule: str
    severity: Severity
    start: int
    end: int
    excerpt: str
    what: str  # half sentence behind "Text in PLACE …"
    mend: str


@dataclass
class HiddenText:
    """Reads one file's blocks in order; only lines with letters beyond ASCII cost anything."""

    name: str
    placed: Counter[str] = field(default_factory=Counter)

    def find(self, block: TextBlock) -> Iterator[tuple[Finding, str]]:
        """(finding, the hidden text) as they stand in the block, JSON's escapes read as what they mean."""
        fresh = block.data[block.fresh :]
        if not fresh.isascii():
            yield from self._judge(fresh, block)
        if b"\\u" in fresh and (plain := unescape(fresh)) != fresh:
            yield from self._judge(plain, block)

    def _judge(self, data: bytes, block: TextBlock) -> Iterator[tuple[Finding, str]]:
        text = data.decode("utf-8", "replace")
        for found in find_hidden(text):
            place = self._place(block, data, text, found)
            message = f"Text in {place.where} {found.what}; {found.mend}"
            yield (
                Finding("hidden_text", found.rule, found.severity, place.where, found.excerpt, message),
                text[found.start : found.end],
            )

    def _place(self, block: TextBlock, data: bytes, text: str, found: Hidden) -> Place:
        """To count the lines before it costs most, so it is done for those that are shown."""
        self.placed[found.rule] += 1
        if self.placed[found.rule] > FINDINGS_PER_RULE:
            return Place(self.name)
        start = len(text[: found.start].encode())
        before = block.data[: block.fresh]
        end = start + len(text[found.start : found.end].encode())
        return block.locate(before + data, len(before) + start, len(before) + end)


def unescape(data: bytes) -> bytes:
    r"""JSON with \u202e and its like as the characters that they mean; ASCII and broken pairs stay as they are."""
    return ESCAPE.sub(_unescape, data)


def _unescape(match: re.Match[bytes]) -> bytes:
    slashes, first, second = match.groups()
    code = int(first, 16)
    if 0xD800 <= code < 0xDC00 and second:
        return bytes(slashes) + chr(0x10000 + ((code - 0xD800) << 10) + int(second, 16) - 0xDC00).encode()
    if code < 0x80 or 0xD800 <= code < 0xE000:
        return match.group()
    rest = _unescape_one(second) if second else b""
    return bytes(slashes) + chr(code).encode() + rest


def _unescape_one(digits: bytes) -> bytes:
    return b"\\u" + digits  # the second half of a pair without its first


def find_hidden(text: str) -> Iterator[Hidden]:
    """What is hidden in a text of any length, rule by rule."""
    yield from _find_tags(text)
    yield from _find_selectors(text)
    yield from _find_zero_width(text)
    yield from _find_turned(text)
    yield from _find_mixed(text)


def _find_tags(text: str) -> Iterator[Hidden]:
    for match in TAG_RUN.finditer(text):
        message = "".join(chr(ord(letter) & 0x7F) for letter in match[2] if ord(letter) < 0xE0080)
        if match[1] and SUBDIVISION.fullmatch(message):
            continue
        yield _message("tag_characters", match, message, "tag characters, which no screen shows")


def _find_selectors(text: str) -> Iterator[Hidden]:
    for match in SELECTOR_RUN.finditer(text):
        if len(set(match.group())) > 1:
            carried = bytes(byte_of(letter) for letter in match.group()).decode("utf-8", "replace")
            yield _message("variation_selectors", match, carried, "variation selectors, which change no letter")
    line = -1
    spread: list[re.Match[str]] = []
    for match in SELECTED.finditer(text):
        if has_variants(match[1], match[2]):
            continue
        if not spread or LINE_ENDS.search(text, line, match.start()):
            spread = []
        line = match.end()
        spread.append(match)
        if len(spread) == SPREAD:
            yield _message("variation_selectors", match, "", "variation selectors behind plain letters")


def byte_of(selector: str) -> int:
    """The byte that a variation selector stands for where it carries bytes: 0 to 15, then 16 to 255."""
    code = ord(selector)
    return code - 0xFE00 if code < 0xFE10 else min(code - 0xE0100 + 16, 255)


def has_variants(base: str, selector: str) -> bool:
    """Whether Unicode knows variants of such a letter: ideographs, and scripts and signs that have some."""
    if base.isascii():
        return selector in "\ufe0e\ufe0f"  # of digits, with which emoji begin
    return not re.match(f"[{LATIN}\u0370-\u052f]", base)


def _find_zero_width(text: str) -> Iterator[Hidden]:
    for match in ZERO_WIDTH_RUN.finditer(text):
        if len(set(match.group())) > 1:
            yield _message("zero_width", match, "", "characters without width")
    for match in SPLIT_WORD.finditer(text):
        word = re.sub(f"[{ZERO_WIDTH}]", "", match.group())
        what = f"holds the word “{quote(word)[:60]}” with invisible characters between its letters"
        yield Hidden("split_word", "info", *match.span(), quote(word), what, "write it without them.")


def _find_turned(text: str) -> Iterator[Hidden]:
    """Where Latin letters are shown from right to left, or a line that holds nothing else is left turned round."""
    for match in TURNED.finditer(text):
        control = match.group()
        rest = text[match.end() : match.end() + TURNED_CHARACTERS]
        line_end = LINE_ENDS.search(rest)
        line = rest[: line_end.start()] if line_end else rest
        closed = line.find(CLOSED_BY[control])
        under = line[:closed] if closed >= 0 else line
        if control == "\u202d":
            is_turned = len(RIGHT_TO_LEFT.findall(under)) > 1
        else:
            is_latin = len(re.findall(f"[{LATIN}]", under)) > 1 and not RIGHT_TO_LEFT.search(under)
            is_turned = is_latin and (control == "\u202e" or closed < 0)
        if is_turned:
            what = "turns the order of its letters round, so that people read something else than models do"
            end = match.end() + len(under)
            yield Hidden("turned_text", "hold", match.start(), end, quote(under), what, "write it in its true order.")


def _find_mixed(text: str) -> Iterator[Hidden]:
    """Words that read as Latin ones and are not. Words of other scripts with a Latin letter or two are typing errors."""
    for match in MIXED_WORD.finditer(text):
        word = match.group()
        if len(word) < MIXED_LETTERS or not ONLY_LATIN.search(word) or _goes_on(text, *match.span()):
            continue
        if sum(letter.isascii() for letter in word) * 2 >= len(word):
            codes = ", ".join(sorted({f"U+{ord(letter):04X}" for letter in word if not letter.isascii()}))
            what = f"holds the word “{quote(word)[:60]}”, in which {codes} only look like Latin letters"
            mend = "write it with letters of one alphabet."
            yield Hidden("mixed_scripts", "info", *match.span(), quote(f"{word} ({codes})"), what, mend)


def _goes_on(text: str, start: int, end: int) -> bool:
    """Whether letters of the other script that look like nothing Latin belong to the word."""
    before, after = text[start - 1 : start] if start else "", text[end : end + 1]
    return any(letter.isalpha() for letter in (before, after))


def _message(rule: str, match: re.Match[str], carried: str, how: str) -> Hidden:
    seen = quote(carried)
    says = f", which say “{seen[:80]}”" if sum(letter.isalnum() for letter in seen) > 3 else ""
    count = match.end() - match.start()
    what = f"hides {count:,} {how}{says}" if not says else f"hides a message in {how}{says.replace(', which say', ':')}"
    mend = "take them out, or a moderator reads it."
    return Hidden(rule, "hold", *match.span(), seen or f"{count} characters", what, mend)


def check_name(name: str) -> Iterator[Finding]:
    """Names of files are read by people in lists: nothing in them may be hidden or look like something else."""
    for found in find_hidden(name):
        message = f"The name of {quote(name)} {found.what}; {found.mend}"
        yield Finding("hidden_text", found.rule, "hold", quote(name), found.excerpt, message)


def check_hidden_in_template(where: str, template: str) -> Iterator[Finding]:
    """A chat template is code: what a reviewer cannot see has no place in it."""
    unescaped = unescape(template.encode("utf-8", "replace")).decode("utf-8", "replace")
    found = next((found for found in find_hidden(unescaped)), None)
    unseen = UNSEEN_IN_CODE.search(unescaped)
    if found is None and unseen is None:
        return
    excerpt = found.excerpt if found else f"U+{ord(unseen.group()):04X}" if unseen else ""
    rule = found.rule if found else "unseen_character"
    what = found.what if found else f"holds the invisible character {excerpt}"
    mend = found.mend if found else "take it out."
    yield Finding("hidden_text", rule, "hold", where, excerpt, f"The chat template in {where} {what}; {mend}")
