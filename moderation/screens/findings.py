"""What a screen says about a piece of content, and the bag that collects it.

Severity: `block` = never public (secrets, pickles, card numbers); `hold` = not public until a moderator or the owner
decides; `info` = shown beside the content, hinders nothing."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

Screen = Literal[
    "secrets",
    "personal_data",
    "unsafe_files",
    "licence",
    "harmful_text",
    "hidden_text",
    "prompt_injection",
    "planted_triggers",
    "contamination",
]
Severity = Literal["info", "hold", "block"]
Verdict = Literal["clear", "hold", "block"]

EXCERPT_CHARACTERS = 120
SHOWN_CHARACTERS = 4
FINDINGS_PER_RULE = 20  # a page shows the first ones; the rest is a number
RANK: dict[Severity, int] = {"info": 0, "hold": 1, "block": 2}


@dataclass(frozen=True)
class Finding:
    screen: Screen
    rule: str
    severity: Severity
    where: str  # "notes.md:12", "row 12, column answer" or "answer"
    excerpt: str  # redacted, at most 120 characters
    message: str  # one sentence: what, where, how to mend it


def worst(findings: Iterable[Finding]) -> Verdict:
    """The severest of the findings; "clear" when nothing is worse than an info."""
    verdicts: tuple[Verdict, ...] = ("clear", "hold", "block")
    return verdicts[max((RANK[finding.severity] for finding in findings), default=0)]


def redact(value: bytes | str, shown: int = SHOWN_CHARACTERS) -> str:
    """The first characters and the length; short values show fewer, so that at least three quarters stay hidden."""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    shown = min(shown, len(text) // 4)
    return f"{make_printable(text[:shown])}… ({len(text)} characters)"


def quote(text: str) -> str:
    """A bounded, printable quotation for what is not itself secret."""
    text = make_printable(text).strip()
    return text if len(text) <= EXCERPT_CHARACTERS else text[: EXCERPT_CHARACTERS - 1] + "…"


def make_printable(text: str) -> str:
    """Control and format characters (bidi overrides, escapes) become spaces: an excerpt is shown to people."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


@dataclass
class FindingBag:
    """Collects the findings of one file: each identity once, at most `FINDINGS_PER_RULE` a rule and severity."""

    kept: list[Finding] = field(default_factory=list)
    counts: dict[tuple[Screen, str, Severity], int] = field(default_factory=dict)
    seen: set[tuple[str, int]] = field(default_factory=set)

    def add(self, finding: Finding, identity: bytes | str | None = None) -> None:
        """`identity`: the matched value; the same value under the same rule is reported where it stood first."""
        key = (finding.screen, finding.rule, finding.severity)
        if identity is not None:
            mark = (finding.rule, hash(identity))
            if mark in self.seen:
                return
            # Beyond the shown ones only the count matters, so what is remembered stays bounded.
            if len(self.seen) < 100_000:
                self.seen.add(mark)
        self.counts[key] = self.counts.get(key, 0) + 1
        if self.counts[key] <= FINDINGS_PER_RULE:
            self.kept.append(finding)

    def extend(self, findings: Iterable[Finding]) -> None:
        for finding in findings:
            self.add(finding)

    def close(self) -> list[Finding]:
        """All findings, the severest first, with one line for what was left off."""
        return sorted([*self.kept, *self._left_off()], key=lambda finding: -RANK[finding.severity])

    def _left_off(self) -> Iterator[Finding]:
        for (screen, rule, severity), count in self.counts.items():
            left_off = count - FINDINGS_PER_RULE
            if left_off > 0:
                what = f"{left_off:,} more of the kind {rule} stand further on; mend them like the ones shown."
                yield Finding(screen, rule, severity, "further on", f"+{left_off:,} more", what)
