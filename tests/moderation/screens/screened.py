"""Short cuts of the screens' tests: bytes in, findings out; fake keys are put together here, none stands in a file."""

import io
import random

from moderation.screens import Finding, screen_file
from moderation.screens.benchmark import Values

VALUES = Values(random.Random(7))


def screen(name: str, data: bytes, *, quick: bool = True, budget_s: float = 60.0) -> list[Finding]:
    return screen_file(name, io.BytesIO(data), len(data), quick=quick, budget_s=budget_s)


def rules(findings: list[Finding]) -> set[str]:
    return {finding.rule for finding in findings}


def only(findings: list[Finding]) -> Finding:
    assert len(findings) == 1, findings
    return findings[0]
