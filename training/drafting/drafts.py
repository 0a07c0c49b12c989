"""The answers that the wizard was given so far: a goal in words, data, repairs, a size. They are read from an address and written into one."""

from dataclasses import dataclass, fields
from urllib.parse import urlencode

from django.http import QueryDict

from training.drafting import faults as fault_rules
from training.drafting.estimates import SIZES
from training.engine.corpus.languages import NAMES as LANGUAGES
from training.engine.recipe import Columns
from training.engine.recipe_schema import MENDS

STEPS = ("goal", "data", "preview", "size", "send")
MAX_DATASETS = 8  # of one proposal made here; a recipe takes more
MAX_MENDS = 24  # of each kind in one address
MAX_TOKENS = 32_768  # of a row
COLUMN_ROLES = tuple(item.name for item in fields(Columns))
KNOWN_MENDS = frozenset({*MENDS, *fault_rules.LEFT_OUT, "tiny_data", "rate"})


@dataclass(frozen=True)
class Goal:
    name: str
    title: str
    text: str
    format: str  # of recipe.yaml
    needs: str  # what the data must look like, in words


GOALS = (
    Goal("chat", "Answer questions and follow instructions", "It learns from questions with their answers, or from whole "
         "conversations. Only the answers are learnt.", "chat", "questions with answers, or conversations"),
    Goal("text", "Know a subject or a way of writing", "It reads texts and learns to go on as they do: books, articles, "
         "notes, a language.", "text", "texts"),
    Goal("classification", "Sort texts into kinds", "It learns from texts that carry a label, and answers with the label.",
         "classification", "texts with a label each"),
    Goal("preference", "Tell the better answer from the worse", "It learns from questions with two answers, of which somebody "
         "said which one is better, to give such answers.", "preference", "questions with a better and a worse answer"),
)  # fmt: skip


@dataclass(frozen=True)
class Draft:
    """The answers given so far; they travel in the address, so every step can be linked and gone back to."""

    base: str = ""
    goal: str = ""
    data: tuple[str, ...] = ()
    size: str = "normal"
    mends: tuple[
        str, ...
    ] = ()  # what was agreed to: repairs of training.engine.recipe_schema.MENDS, and of training.drafting.faults
    columns: tuple[tuple[str, str], ...] = ()  # (question | answer | text | label | messages, name of the column)
    language: str = ""  # rows in others are left out
    context: int = 0  # tokens of a row that is learnt as a whole; 0: the hub decides
    max_row_tokens: int = 0  # longer rows are left out
    suites: tuple[str, ...] | None = None  # None: not asked yet, the usual ones are proposed
    title: str = ""
    text: str = ""

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """As fields of a form."""
        pairs = [("base", self.base), ("goal", self.goal), *(("data", name) for name in self.data), ("size", self.size)]
        pairs += [*(("mend", name) for name in self.mends), *(("col", f"{role}:{name}") for role, name in self.columns)]
        pairs += [
            ("lang", self.language),
            ("context", str(self.context or "")),
            ("most", str(self.max_row_tokens or "")),
        ]
        if self.suites is not None:
            pairs += [("suites", "chosen"), *(("suite", name) for name in self.suites)]
        return [(key, value) for key, value in pairs if value]

    def address(self, step: str, **more: str) -> str:
        return "?" + urlencode([("step", step), *self.pairs, *more.items()])


def read_draft(query: QueryDict) -> Draft:
    goal, size = query.get("goal", ""), query.get("size", "normal")
    columns = (text.partition(":") for text in query.getlist("col")[:MAX_MENDS])
    language = query.get("lang", "")
    return Draft(
        mends=tuple(name for name in dict.fromkeys(query.getlist("mend")[:MAX_MENDS]) if name in KNOWN_MENDS),
        columns=tuple((role, name) for role, _, name in columns if role in COLUMN_ROLES and 0 < len(name) <= 80),
        language=language if language in LANGUAGES else "",
        context=read_tokens(query.get("context", "")),
        max_row_tokens=read_tokens(query.get("most", "")),
        base=query.get("base", "")[:200],
        goal=goal if goal in {row.name for row in GOALS} else "",
        data=tuple(dict.fromkeys(query.getlist("data")))[:MAX_DATASETS],
        size=size if size in {row.name for row in SIZES} else "normal",
        suites=tuple(dict.fromkeys(query.getlist("suite")))[:8] if "suites" in query else None,
        title=query.get("title", "").strip(),
        text=query.get("text", ""),
    )


def read_tokens(text: str) -> int:
    """A number of tokens that a wizard's run may read at once; 0 for anything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 6 and 8 <= int(text) <= MAX_TOKENS else 0


def goal_of(draft: Draft) -> Goal:
    return next(row for row in GOALS if row.name == draft.goal)
