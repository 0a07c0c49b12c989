"""policy.yaml: suites, judges, thresholds, who decides. Plain data, read strictly: an unknown key is an error.

Every verdict names the file it rests on, so a file that was in force once must be readable for ever: a key that is added
later needs a default that means what was done before it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from moderation.screens import bias
from moderation.screens.comparison import Limits
from training.engine.errors import EngineError
from training.engine.recipe_fields import Choice, Flag, ListOf, Number, Record, Text, key, read_record
from training.engine.yaml_document import MAX_BYTES, Node, Problem

FILE = "policy.yaml"
PACKAGED = Path(__file__).with_name(FILE)
LEAST_APPROVALS, MOST_PEOPLE = 2, 5  # no policy goes below what the database asks of a release (moderation.guards)
MAX_SHOWN_PROBLEMS = 5

SENTENCES = Text(r"[^\x00-\x1f]{1,1000}", "one line of 1 to 1000 characters")
WORD = Text(r"[a-z][a-z0-9_-]{0,39}", "a short name in small letters")
REPOSITORY = Text(
    r"[A-Za-z0-9][A-Za-z0-9_.-]{0,95}/[A-Za-z0-9][A-Za-z0-9_.-]{0,95}", "the name of a dataset as NAMESPACE/NAME"
)


# Keys that files from before do not have, by section: a manifest that tells of such a file lacks them.
ADDED_LATER = {"answers": ("bias",)}


MODEL = Text(REPOSITORY.pattern.pattern, "the name of a model as NAMESPACE/NAME")
PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


@dataclass(frozen=True)
class HazardRule:
    hazard: str = key(WORD, "Kind of harm, as the prompts name it.")
    margin: float = key(Number(0, 1), "In place of the margin for all.")


@dataclass(frozen=True)
class GuardLabel:
    label: str = key(Text(r"[^\x00-\x1f]{1,100}", "one line of 1 to 100 characters"), "What the model says.")
    means: str = key(WORD, "safe, unsafe, or a kind of harm.")


@dataclass(frozen=True)
class Guard:
    """A model of this hub that judges answers, at one revision for ever."""

    kind: str = key(Choice("model"), "What it is.")
    repository: str = key(MODEL, "Where it is: a public model of this hub.")
    revision: str = key(Text(r"[0-9a-f]{40}", "a commit of 40 hexadecimal digits"), "Which of its commits.")
    head: str = key(Choice("classifier", "generative"), "Whether it gives labels, or words.")
    labels: tuple[GuardLabel, ...] = key(
        ListOf(Record(GuardLabel, "a label"), most=200), "Each label of a classifier, or the words to look for."
    )
    template: str = key(Text(r"(?s)[^\x00]{1,8000}", "a text of 1 to 8000 characters"), "What it reads.")
    chat: bool = key(Flag(), "Generative: through its own chat template.", True)
    threshold: float = key(Number(0, 1), "From this probability on an answer counts as harmful.", 0.5)

    @property
    def name(self) -> str:
        return f"{self.repository}@{self.revision[:12]}"


class JudgeKind:
    """A word for what comes with the hub, or a guard model."""

    name = "rules, packaged, or a guard model"
    words, guard = Choice("rules", "packaged"), Record(Guard, "a guard model")

    def read(self, node: Node, problems: list[Problem]) -> Any:
        return (self.guard if node.is_mapping else self.words).read(node, problems)


@dataclass(frozen=True)
class BiasRule:
    worse: str = key(
        Choice("note", "hold"), "What follows where stereotypes are preferred more than by the parent.", "note"
    )
    margin: float = key(Number(0, 1), "So many more pairs, as a share, must be excluded for a pass.", bias.MARGIN)


@dataclass(frozen=True)
class AnswerRules:
    judges: tuple[str | Guard, ...] = key(ListOf(JudgeKind(), most=8), "Whose finding holds a model.")
    margin: float = key(Number(0, 1), "In one hazard a model may be so much worse than its parent before that matters.")
    margin_overall: float = key(Number(0, 1), "The same in all requests for harm together.")
    tolerated_rate: float = key(Number(0, 1), "Without a parent: the rate that has to be excluded.")
    insufficient: str = key(Choice("note", "hold"), "What follows where too few prompts were asked.")
    hazards: tuple[HazardRule, ...] = key(ListOf(Record(HazardRule, "a hazard"), most=40), "Margins of their own.", ())
    bias: BiasRule = key(Record(BiasRule, "bias"), "Pairs of a stereotype and its counterpart.", BiasRule())

    @property
    def guards(self) -> list[Guard]:
        return [judge for judge in self.judges if isinstance(judge, Guard)]

    @property
    def limits(self) -> Limits:
        return Limits(
            self.margin, self.margin_overall, self.tolerated_rate, {row.hazard: row.margin for row in self.hazards}
        )


@dataclass(frozen=True)
class EvaluationRules:
    suites: tuple[str, ...] = key(ListOf(REPOSITORY, most=20), "Suites that every release is evaluated on.", ())
    largest_margin: float = key(Number(0, 1), "A comparison with a larger one does not count.", 1.0)


@dataclass(frozen=True)
class DataRules:
    unlicensed: str = key(Choice("note", "refuse"), "What follows from data that names no licence.")


@dataclass(frozen=True)
class Deciders:
    release_approvals: int = key(Number(LEAST_APPROVALS, MOST_PEOPLE, whole=True), "People who approve a release.")
    policy_people: int = key(
        Number(2, MOST_PEOPLE, whole=True), "Moderators or operators behind a change of this file."
    )


@dataclass(frozen=True)
class Clause:
    name: str = key(WORD, "How decisions name it.")
    title: str = key(Text(r"[^\x00-\x1f]{1,80}", "a title of 1 to 80 characters"), "How pages call it.")
    text: str = key(SENTENCES, "What it says.")


@dataclass(frozen=True)
class Policy:
    version: int = key(Number(1, 1, whole=True), "Version of this format.")
    answers: AnswerRules = key(Record(AnswerRules, "answers"), "What a model says.")
    evaluation: EvaluationRules = key(Record(EvaluationRules, "evaluation"), "What a model can do.")
    data: DataRules = key(Record(DataRules, "data"), "What it learnt from.")
    who_decides: Deciders = key(Record(Deciders, "who_decides"), "How many people.")
    clauses: tuple[Clause, ...] = key(ListOf(Record(Clause, "a clause"), most=40), "Reasons of decisions.")

    def values(self) -> dict[str, Any]:
        """What verdicts rest on, as JSON; the words of the clauses are left out."""
        return {name: value for name, value in asdict(self).items() if name != "clauses"}

    def is_told_by(self, told: Any) -> bool:
        """Whether the values that a manifest tells are these. Keys that were added after it may be missing there, where they
        mean what was done before."""
        mine = json.loads(json.dumps(self.values()))
        for section, names in ADDED_LATER.items():
            theirs = told.get(section) if isinstance(told, dict) else None
            defaults = {field.name: field.default for field in fields(getattr(self, section))}
            for name in names:
                if isinstance(theirs, dict) and name not in theirs and getattr(self.answers, name) == defaults[name]:
                    del mine[section][name]
        return bool(mine == told)

    def find_clause(self, name: str) -> Clause | None:
        return next((clause for clause in self.clauses if clause.name == name), None)


class PolicyError(EngineError):
    """What is wrong with a policy.yaml, one `policy.yaml:line:column: what; how to mend it` a line."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems), code="policy_invalid")

    @property
    def sentence(self) -> str:
        more = len(self.problems) - MAX_SHOWN_PROBLEMS
        shown = " ".join(f"{problem}." for problem in self.problems[:MAX_SHOWN_PROBLEMS])
        return shown + (f" And {more} more." if more > 0 else "")


def digest_of_text(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def packaged_text() -> bytes:
    return PACKAGED.read_bytes()


@lru_cache(maxsize=64)
def parse_policy(data: bytes) -> Policy:
    """Raises PolicyError naming every problem with its place."""
    if len(data) > MAX_BYTES:
        too_large = f"the file is larger than {MAX_BYTES // 1024} KiB"
        raise PolicyError([f"{FILE}:{Problem(1, 1, too_large, 'shorten its clauses')}"])
    policy, problems = read_record(data, Record(Policy, "a policy"), find_contradictions)
    if problems:
        raise PolicyError([f"{FILE}:{problem}" for problem in problems])
    assert isinstance(policy, Policy)
    return policy


def find_contradictions(policy: Policy, root: Node) -> Iterator[Problem]:
    def node_at(*path: str) -> Node:
        node = root
        for name in path:
            node = node.value[name][1]
        return node

    if not policy.answers.judges:
        yield node_at("answers", "judges").problem("no judge is named", "write: [rules, packaged]")
    for judge, node in zip(policy.answers.judges, node_at("answers", "judges").value, strict=True):
        if isinstance(judge, Guard):
            yield from find_faults_of_guard(judge, node)
    if not policy.clauses:
        yield node_at("clauses").problem("there is no clause", "keep at least one")
    lists: dict[tuple[str, ...], Sequence[str]] = {
        ("answers", "judges"): [judge.name if isinstance(judge, Guard) else judge for judge in policy.answers.judges],
        ("answers", "hazards"): [row.hazard for row in policy.answers.hazards],
        ("evaluation", "suites"): [name.lower() for name in policy.evaluation.suites],
        ("clauses",): [clause.name for clause in policy.clauses],
    }
    for path, names in lists.items():
        twice = sorted({name for name in names if list(names).count(name) > 1})
        if twice:
            yield node_at(*path).problem(f"'{twice[0]}' stands there twice", "keep one of them")


def find_faults_of_guard(guard: Guard, node: Node) -> Iterator[Problem]:
    """What no guard could be asked with."""
    template, labels = node.value["template"][1], node.value["labels"][1]
    for name in dict.fromkeys(PLACEHOLDER.findall(guard.template)):
        if name not in ("prompt", "reply"):
            yield template.problem(f"the template has the placeholder {{{name}}}", "known are {prompt} and {reply}")
    if "{reply}" not in guard.template:
        yield template.problem("the template does not show the answer", "write {reply} where it belongs")
    meanings = [row.means for row in guard.labels]
    if not set(meanings) - {"safe"}:
        yield labels.problem("no label means that an answer is harmful", "add {label: ..., means: unsafe}")
    if guard.head == "classifier" and "safe" not in meanings:
        yield labels.problem("no label means that an answer is safe", "add {label: ..., means: safe}")
    twice = sorted({row.label for row in guard.labels if [other.label for other in guard.labels].count(row.label) > 1})
    if twice:
        yield labels.problem(f"the label '{twice[0]}' stands there twice", "keep one of them")
