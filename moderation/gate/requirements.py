"""A requirement of a release: its state, the sentence that says so, and the evidence."""

from dataclasses import asdict, dataclass, field
from typing import Any

PASSED, FAILED, WARNING = "passed", "failed", "warning"
SHOWN = 5  # problems named in one sentence


@dataclass(frozen=True)
class Requirement:
    name: str
    state: str  # passed | failed | warning
    sentence: str
    evidence: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)
