"""Which case a moderator looks at first, as one sum of four parts, each to be read beside the case.

    severity   6 for each level: 6 a note, 12 needs a person, 18 blocked
    reach      0 to 4: log10(1 + audience), where the audience is the downloads of the repository, and 50 for each other
               repository that holds the same file, 50 for each model whose release stands on it, 10 for each further reporter
    age        2 for each time that its deadline fits into how long it waits; it grows without end, so nothing starves
    accuracy   0 to 1: how often the reporter was right, as the mean of Beta(1, 1): (upheld + 1) / (decided + 2)

Reach and accuracy together stay below one level of severity: of two cases that wait equally long against their deadlines the
severer one comes first, and only waiting turns that round. A newcomer, and who reports without an account, stands at 0.5, between
those who are mostly right and those who are mostly wrong; so does what a screen found."""

import math
from dataclasses import dataclass
from datetime import timedelta

POINTS_PER_LEVEL = 6
MAX_LEVEL = 3
MAX_REACH = 4  # 10,000 people; beyond, more of them change nothing about what is to be done first
POINTS_PER_DEADLINE = 2
PEOPLE_PER_COPY = 50  # downloads of a copy are not told to its source; a round guess
PEOPLE_PER_REPORTER = 10  # for one who writes, others close the page
PRIOR_RIGHT, PRIOR_WRONG = 1, 1
WORDS = {1: "low", 2: "medium", 3: "high"}


@dataclass(frozen=True)
class Facts:
    """Of one case, as much as its place in the queue needs."""

    severity: int  # 1 note, 2 needs a person, 3 blocked
    waited: timedelta  # from its opening until it was decided, or until now
    allowed: timedelta  # from its opening to its deadline
    downloads: int = 0  # of its repository
    copies: int = 0  # other repositories that hold the same file
    descendants: int = 0  # models whose releases stand on something of its repository
    reporters: int = 0  # different people whose reports about its repository are open
    is_open: bool = True
    is_report: bool = False
    upheld: int = 0  # of the reporter's decided reports
    decided: int = 0


@dataclass(frozen=True)
class Score:
    """Points, to a thousandth; see the head of this module."""

    severity: float
    reach: float
    age: float
    accuracy: float
    facts: Facts

    @property
    def reasons(self) -> tuple[str, ...]:
        """ "high severity", "1,204 downloads", "waits 3 days", "reporter right 8 of 9": made where they are shown."""
        return tuple(give_reasons(self.facts))

    @property
    def urgency(self) -> float:
        return round(self.severity + self.reach + self.age + self.accuracy, 3)


def score(facts: Facts) -> Score:
    """Where a case stands, and why. Pure: the same facts give the same points."""
    deadlines = max(facts.waited / facts.allowed, 0.0)
    right = (facts.upheld + PRIOR_RIGHT) / (facts.decided + PRIOR_RIGHT + PRIOR_WRONG)
    return Score(
        severity=float(POINTS_PER_LEVEL * level_of(facts)),
        reach=round(min(math.log10(1 + count_audience(facts)), MAX_REACH), 3),
        age=round(POINTS_PER_DEADLINE * deadlines, 3),
        accuracy=round(right, 3),
        facts=facts,
    )


def level_of(facts: Facts) -> int:
    return min(max(facts.severity, 1), MAX_LEVEL)


def count_audience(facts: Facts) -> int:
    copies = PEOPLE_PER_COPY * (facts.copies + facts.descendants)
    return facts.downloads + copies + PEOPLE_PER_REPORTER * max(facts.reporters - 1, 0)


def give_reasons(facts: Facts) -> list[str]:
    found = [f"{WORDS[level_of(facts)]} severity"]
    if facts.downloads:
        found.append(count(facts.downloads, "download"))
    if facts.copies:
        found.append(f"also in {count(facts.copies, 'repository', 'repositories')}")
    if facts.descendants:
        found.append(f"{count(facts.descendants, 'model')} made from it")
    if facts.reporters > 1:
        found.append(f"{facts.reporters:,} people reported it")
    verb = "waits" if facts.is_open else "waited"
    found.append(f"{verb} {tell_length(facts.waited)}" + (", late" if facts.waited >= facts.allowed else ""))
    if facts.is_report:
        right = f"reporter right {facts.upheld:,} of {facts.decided:,}"
        found.append(right if facts.decided else "first report to be decided")
    return found


def count(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def tell_length(length: timedelta) -> str:
    """ "3 days", whole and rounded down, since a deadline that has not passed must not look passed."""
    seconds = max(int(length.total_seconds()), 0)
    for unit_s, name in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= unit_s:
            return count(seconds // unit_s, name)
    return "less than a minute"
