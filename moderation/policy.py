"""The hub's policy: versioned text that everybody can read, and the numbers that the gate uses."""

POLICY_VERSION = "1"
NEEDED_APPROVALS = 2

CLAUSES = (
    (
        "secrets",
        "Keys, passwords and tokens are never published. Files that hold them are withheld until they are removed.",
    ),
    (
        "personal-data",
        "Data that identifies people without their consent is held back. Card numbers and the like are withheld.",
    ),
    (
        "unsafe-files",
        "Files that can run code when they are opened, such as pickles, are kept for their owner and never loaded or given out.",
    ),
    ("harm", "Text that threatens, or that helps to hurt people, is looked at by a moderator before it is public."),
    ("licence", "A release names its licence. Data without a licence can be stored, and not be released upon."),
    (
        "outputs",
        "Before a release, the model's answers to a fixed set of prompts are screened beside its parent's. What got worse goes to a moderator.",
    ),
    (
        "two-people",
        "A release is approved by two people who neither proposed it nor contributed its data. A hub with one person publishes as “unreviewed”.",
    ),
    (
        "appeal",
        "Every decision has a reason, and its people can answer it. Nobody decides about their own contribution.",
    ),
)
