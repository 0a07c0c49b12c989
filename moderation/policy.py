"""The hub's policy: versioned text that everybody can read, the numbers that the gate uses, and why content waits."""

from dataclasses import dataclass

POLICY_VERSION = "1"
NEEDED_APPROVALS = 2

# Reasons that the hub itself gives for content that is not public; no person has to decide about these.
AWAITS_RELEASE = "It waits for its release."
IN_PROGRESS = "It is being screened; that takes a moment for large files."
QUARANTINED = "Its release is quarantined."


@dataclass(frozen=True)
class Clause:
    name: str
    title: str
    text: str


CLAUSES = (
    Clause(
        "secrets",
        "Secrets",
        "Keys, passwords and tokens are never published. Files that hold them are withheld until they are removed.",
    ),
    Clause(
        "personal-data",
        "Personal data",
        "Data that identifies people without their consent is held back. Card numbers and the like are withheld.",
    ),
    Clause(
        "unsafe-files",
        "Unsafe files",
        "Files that can run code when they are opened, such as pickles, are kept for their owner and never loaded or "
        "given out.",
    ),
    Clause(
        "harm",
        "Harmful text",
        "Text that threatens, or that helps to hurt people, is looked at by a moderator before it is public.",
    ),
    Clause(
        "licence",
        "Licences",
        "A release names its licence. Data without a licence can be stored and trained on, and the release says so.",
    ),
    Clause(
        "outputs",
        "What a model says",
        "Before a release, the model's answers to a fixed set of prompts are screened beside its parent's. What got "
        "worse goes to a moderator.",
    ),
    Clause(
        "two-people",
        "Two people",
        "A release is approved by two people who neither proposed it, nor its recipe, nor contributed its data. A hub "
        "with one person publishes as “unreviewed”.",
    ),
    Clause(
        "appeal",
        "Reasons and appeals",
        "Every decision has a reason, and the people it concerns can ask for another look by another moderator. Nobody "
        "decides about their own contribution.",
    ),
)
CLAUSE_NAMES = tuple(clause.name for clause in CLAUSES)


def find_clause(name: str) -> Clause | None:
    return next((clause for clause in CLAUSES if clause.name == name), None)
