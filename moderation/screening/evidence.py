"""What a moderator has in front of them, and what members read beside their files: findings, hazards, answers, passages."""

import re
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from hub.repos.models import Content
from moderation.models import Case, Finding, Screening
from moderation.screening.opening import open_content
from moderation.screens.answers import is_violation
from moderation.screens.bias import WHOLE, prefers_stereotype
from moderation.screens.prompts import OTHERS
from training.models import Sampling

LINE = re.compile(r":(\d{1,9})$")
MAX_PASSAGES = 8
MAX_PASSAGE_CHARACTERS = 600
MAX_READ_BYTES = 8 * 1024 * 1024  # of a file, to show the lines that a finding names
# Screens whose finding is about what the text says; the others find values that a page must not repeat.
SHOWN_SCREENS = ("harmful_text", "licence", "planted_triggers", "prompt_injection")
HAZARD_WORDS = {
    "overall": "All harmful requests",
    "benign": "Harmless requests refused",
    "injection": "Orders hidden in a text, followed",
    "extraction": "Personal data and secrets said by heart",
}


@dataclass(frozen=True)
class Hazard:
    """Violations of one kind: of the candidate, and of its parent on the same prompts."""

    name: str
    n: int
    violations: int
    rate: float
    low: float
    high: float
    parent_rate: float | None
    parent_low: float | None
    parent_high: float | None
    difference: float | None
    diff_low: float | None
    diff_high: float | None
    noticeable: float | None  # the smallest rise that 95 of 100 such comparisons would have called worse
    verdict: str  # pass | fail | insufficient


@dataclass(frozen=True)
class Answer:
    """One prompt with both models' answers; `is_flagged` ones come first, `is_veiled` ones open by a click."""

    id: str
    hazard: str
    prompt: str
    text: str
    parent_text: str | None
    is_violation: bool
    is_parent_violation: bool
    findings: list[Finding] = field(default_factory=list)

    @property
    def is_flagged(self) -> bool:
        is_serious = any(finding.severity != Finding.Severity.INFO for finding in self.findings)
        return is_serious or (self.is_violation and not self.is_parent_violation)

    @property
    def is_veiled(self) -> bool:
        return self.is_flagged or self.is_violation or self.is_parent_violation


@dataclass(frozen=True)
class Passage:
    where: str
    text: str


def list_hazards(screening: Screening) -> list[Hazard]:
    """The whole first, then hazard by hazard; what is no request for harm comes last."""
    report: dict[str, dict[str, Any]] = screening.report.get("hazards", {})
    names = sorted(report, key=lambda name: (name != "overall", name in OTHERS, name))
    keys = Hazard.__dataclass_fields__.keys() - {"name"}
    return [
        Hazard(
            name=HAZARD_WORDS.get(name, name.replace("_", " ").capitalize()),
            **{key: report[name].get(key) for key in keys},
        )
        for name in names
    ]


def list_bias(screening: Screening) -> list[Hazard]:
    """The pairs that prefer the stereotype: of all first, then by dimension. Empty for a screening from before."""
    entries: dict[str, dict[str, Any]] = screening.report.get("bias", {}).get("dimensions", {})
    keys = Hazard.__dataclass_fields__.keys() - {"name"}
    return [
        Hazard(
            name="All pairs" if name == WHOLE else name.capitalize(), **{key: entries[name].get(key) for key in keys}
        )
        for name in sorted(entries, key=lambda name: (name != WHOLE, name))
    ]


@dataclass(frozen=True)
class Pair:
    """A stereotype and its counterpart, and which of the two each model finds likelier."""

    dimension: str
    stereotype: str
    counterpart: str
    is_preferred: bool
    is_preferred_by_parent: bool | None


def list_pairs(screening: Screening) -> list[Pair]:
    """Those first in which candidate and parent differ."""
    if not screening.report.get("bias"):
        return []
    sampling = Sampling.objects.filter(pk=screening.report.get("sampling") or 0).only("settings").first()
    rows = sampling.settings.get("likelihoods", []) if sampling is not None else []
    pairs = [
        Pair(
            row["dimension"].capitalize(),
            *row["texts"],
            is_preferred=prefers_stereotype(row["logprobs"], row["tokens"]),
            is_preferred_by_parent=prefers_stereotype(row["parent_logprobs"], row["parent_tokens"])
            if "parent_logprobs" in row
            else None,
        )
        for row in rows
    ]
    return sorted(pairs, key=lambda pair: pair.is_preferred_by_parent in (None, pair.is_preferred))


@dataclass(frozen=True)
class JudgeWord:
    """What the packaged judge says of all harmful requests, with its own errors beside it."""

    name: str
    why: str  # the sentence model was not used, where it was not
    sensitivity: float
    specificity: float
    positives: int
    negatives: int
    kinds: dict[str, int]  # what harm a guard model saw, and in how many answers
    reply_words: int  # the scored replies were cut to so many, as answers of a sample are; 0: they were whole
    rate: float
    parent_rate: float | None
    corrected: dict[str, float] | None
    verdict: str


def read_judge(screening: Screening) -> JudgeWord | None:
    """None for a screening from before there was a judge."""
    return read_word(screening.report)


def list_guards(screening: Screening) -> list[JudgeWord]:
    """What the guard models say that the policy names."""
    return [word for row in screening.report.get("guards", []) if (word := read_word(row)) is not None]


def read_word(report: dict[str, Any]) -> JudgeWord | None:
    who, whole = report.get("judge"), report.get("judged", {}).get("overall")
    if not who or not whole:
        return None
    named = {key: who[key] for key in ("name", "why", "sensitivity", "specificity", "positives", "negatives")}
    named["reply_words"] = who.get("reply_words", 0)
    named["kinds"] = {name.replace("_", " "): count for name, count in report.get("kinds", {}).items()}
    return JudgeWord(**named, **{key: whole[key] for key in ("rate", "parent_rate", "corrected", "verdict")})


def list_answers(screening: Screening) -> list[Answer]:
    """Every answer that was screened, the flagged ones first."""
    sampling = Sampling.objects.filter(pk=screening.report.get("sampling") or 0).first()
    found: dict[str, list[Finding]] = {}
    for finding in screening.findings.filter(content=None):
        found.setdefault(finding.where.removeprefix("prompt "), []).append(finding)
    answers = [
        Answer(
            id=str(row["id"]),
            hazard=str(row.get("hazard", "")),
            prompt=row["prompt"],
            text=row["text"],
            parent_text=row.get("parent_text"),
            is_violation=is_violation(str(row.get("expect", "")), row["text"], row.get("marker", "")),
            is_parent_violation=is_violation(
                str(row.get("expect", "")), row.get("parent_text") or "", row.get("marker", "")
            ),
            findings=found.get(str(row["id"]), []),
        )
        for row in (sampling.answers if sampling else [])
    ]
    return sorted(answers, key=lambda answer: (not answer.is_flagged, not answer.is_veiled))


def list_passages(case: Case, findings: list[Finding]) -> list[Passage]:
    """The lines that findings about harm or licence name. Secrets and personal data are not repeated."""
    if case.content is None:
        return []
    lines: dict[int, str] = {}
    for finding in findings:
        match = LINE.search(finding.where)
        if finding.screen in SHOWN_SCREENS and match and len(lines) < MAX_PASSAGES:
            lines[int(match.group(1))] = finding.where
    if not lines:
        return []
    return [Passage(where, text) for number, where in lines.items() if (text := read_line(case.content, number))]


def read_line(content: Content, number: int) -> str:
    """One line of a file, cut; "" where it lies further in than a page reads."""
    with open_content(content) as reader:
        data = reader.read(MAX_READ_BYTES)
    line = next(islice(data.split(b"\n"), number - 1, None), b"")
    return line.decode("utf-8", errors="replace")[:MAX_PASSAGE_CHARACTERS]


def findings_of(content: Content) -> list[Finding]:
    """The severest first."""
    rank = {Finding.Severity.BLOCK: 0, Finding.Severity.HOLD: 1, Finding.Severity.INFO: 2}
    rows = Finding.objects.filter(content=content).order_by("pk")
    return sorted(rows, key=lambda finding: rank[Finding.Severity(finding.severity)])


def open_case_of(content: Content) -> Case | None:
    return Case.objects.filter(content=content, state=Case.State.OPEN).order_by("pk").last()


def newest_screening(pull_request: Any) -> Screening | None:
    """Of what the candidate says."""
    rows = Screening.objects.filter(subject=Screening.Subject.OUTPUT, pull_request=pull_request)
    return rows.filter(finished_at__isnull=False).order_by("-pk").first()


def newest_case(screening: Screening) -> Case | None:
    return screening.cases.select_related("decided_by").order_by("-pk").first()
