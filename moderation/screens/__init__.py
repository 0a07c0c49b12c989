"""Screens: what stands in a file, a text, an answer or a card that the public should not get without a look.

A plain engine: no Django, no network, no database. Content is read under bounds on size, depth, ratio and time;
nothing is unpickled, imported, unpacked to disk or executed.

    findings = screen_file("train.jsonl", reader, size, quick=True, budget_s=2.0)
    worst(findings)      # "clear" | "hold" | "block"

Severity: `block` = never public, `hold` = a moderator or the owner decides first, `info` = shown beside the content.
A quick screen covers format, unsafe files, secrets and checksummed personal data; what it had no time for is the
finding `unfinished` (hold), which a full screen (`quick=False`) replaces."""

from typing import BinaryIO

from moderation.screens.answers import compare_answers, compare_judgements, read_prompts, screen_answer
from moderation.screens.findings import Finding, worst
from moderation.screens.licences import licence_findings
from moderation.screens.limits import Deadline
from moderation.screens.screening import FileScreen
from moderation.screens.text_screening import screen_text

__all__ = [
    "Finding",
    "compare_answers",
    "compare_judgements",
    "licence_findings",
    "read_prompts",
    "screen_answer",
    "screen_file",
    "screen_text",
    "worst",
]

SCREENS_VERSION = (
    3  # raised when rules change enough that cleared content deserves another look (moderation.screening.renewing)
)


def screen_file(name: str, reader: BinaryIO, size: int, *, quick: bool, budget_s: float) -> list[Finding]:
    """Findings about one file, the severest first. `reader` is seekable; `name` is its path in the repository;
    `budget_s` is wall time. Never raises for what the content is; errors of `reader` itself pass through."""
    return FileScreen(name, quick, Deadline(budget_s, is_request=quick)).screen(reader, size)
