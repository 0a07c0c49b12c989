"""Patterns of tokenizers: whether one ends on every text.

They are regular expressions with back-tracking, so one can make a word cost hours."""

import re
from dataclasses import dataclass

from moderation.screens.limits import Deadline, OutOfTime
from moderation.screens.pattern_trial import try_pattern

MAX_PATTERN = 4_096  # characters; GPT-4o's has 400
MAX_OPEN_REPEATS = 8  # of one alternative; GPT-4o's has 4
MAX_WAYS = 1_000  # to read a part of a pattern, beyond which it is tried; GPT-4o's has 40
MAX_ALIKE = 8  # times that alternatives may be repeated of which one begins another: two ways each time
MAX_ROW = 2  # open repeats in a row, beyond which they are tried; GPT-4o's has 2
MANY = 10**9  # beyond it nobody counts
QUANTIFIER = re.compile(r"[*+?]|\{\d*,?\d*\}")
GROUP = re.compile(r"\((?:\?(?:[imsx-]*:|<?[=!]|>|P?<\w+>|[imsx-]+\)))?")
PLAIN_CHOICE = re.compile(r"\((?:\?(?:[imsx-]*:|P?<\w+>))?(?=[\w '|,;-]*\)$)")


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
