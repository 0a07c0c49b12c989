"""What may go wrong with a fine-tune, said in a sentence before anything is spent, with a button that mends it.

The facts come from the preview (training.drafting.preview_checks); a mend is an answer of the draft, so it travels in the address and
ends in recipe.yaml."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from hub.accounts.permissions import can
from training.engine.config import MAX_CONTEXT, fit_learning_rate
from training.engine.corpus.languages import NAMES as LANGUAGES

if TYPE_CHECKING:
    from training.drafting.drafts import Draft, Goal
    from training.drafting.starts import Start
    from training.drafting.wizard import Chosen, Look

TINY_ROWS = 50  # fewer are learnt by heart before they teach anything
TINY_TOKENS = 2_000  # the same of plain texts
MOST_CONTEXT = 4096  # tokens of a row that a wizard's run keeps whole
TOO_FAST = 20.0  # times the hub's own learning rate, where the loss explodes
FEW_FOREIGN = 0.01  # share of rows in another language that is no more than a quotation
LEFT_OUT = {  # mend -> what was done, said when it is done
    "empty_answers": "rows without an answer are left out",
    "no_choice": "rows without two different answers to one question are left out",
    "duplicates": "repetitions are left out",
    "leak": "rows with questions of the tests are left out",
}


@dataclass(frozen=True)
class Fix:
    """A button. `address` is the next look at the same data; with `act` it is sent to the wizard instead."""

    label: str
    address: str
    act: str = ""


@dataclass(frozen=True)
class Fault:
    name: str
    title: str
    sentence: str
    fixes: tuple[Fix, ...]
    blocks: bool = False  # nothing can be proposed as it is


def find_faults(draft: "Draft", row: "Chosen", goal: "Goal", start: "Start | None", user: Any) -> list[Fault]:
    """Of one dataset."""
    teller = Teller(draft, row, goal, start, user)
    return [fault for finding in row.preview.findings for fault in teller.tell(finding)]


def list_mended(draft: "Draft", row: "Chosen") -> list[str]:
    """What was left out or repaired on this person's word, with numbers where there are some."""
    counts = {finding["name"]: finding["count"] for finding in row.preview.findings}
    return [f"{counts[name]} {words}" for name, words in LEFT_OUT.items() if name in draft.mends and counts.get(name)]


@dataclass(frozen=True)
class Teller:
    """Findings of a dataset as sentences and buttons."""

    draft: "Draft"
    row: "Chosen"
    goal: "Goal"
    start: "Start | None"
    user: Any

    def tell(self, finding: dict[str, Any]) -> Iterator[Fault]:
        if finding["name"] not in self.draft.mends:
            yield from getattr(self, f"tell_{finding['name']}")(finding)

    def fix(self, label: str, mend: str = "", **changes: Any) -> Fix:
        mends = (*self.draft.mends, mend) if mend else self.draft.mends
        return Fix(label, replace(self.draft, **{"mends": mends, **changes}).address("preview"))

    def how_many(self, finding: dict[str, Any]) -> str:
        count, checked = finding["count"], self.row.preview.checked
        place = f" (the first: {finding['place']})" if finding["place"] else ""
        return f"{count:,} of {checked:,} rows{place}"

    def other_data(self) -> Fix:
        rest = tuple(name for name in self.draft.data if name != self.row.repo.full_name)
        return Fix("Choose other data", replace(self.draft, data=rest).address("data"))

    def other_model(self) -> Fix:
        return Fix("Start from another model", "/propose")

    def tell_wrong_column(self, finding: dict[str, Any]) -> Iterator[Fault]:
        columns = ", ".join(self.row.preview.columns[:12]) or "none"
        sentence = (
            f"{self.row.repo.full_name} does not fit this goal: it has the columns {columns}, and "
            f"{self.goal.needs} need {self.row.preview.accepted}."
        )
        if finding["guess"]:
            sentence = (
                f"{self.row.repo.full_name} has the columns {columns}: it does not say by the usual names which of them "
                "is what."
            )
        fixes = [*self.read_as(finding["guess"]), *self.other_goals()]
        if self.goal.format != "preference" and "preference" in self.row.preview.formats:
            fixes = [*self.other_goals(), *self.read_as(finding["guess"])]
        yield Fault("wrong_column", "The columns have other names", sentence, (*fixes, self.other_data()), blocks=True)

    def read_as(self, guess: dict[str, str]) -> Iterator[Fix]:
        if guess:
            named = " and ".join(
                f"“{column}” as the {role.replace('messages', 'conversation')}" for role, column in guess.items()
            )
            yield self.fix(f"Read {named}", columns=(*self.draft.columns, *guess.items()))

    def other_goals(self) -> Iterator[Fix]:
        from training.drafting.drafts import GOALS

        formats = self.row.preview.formats  # two answers first: whoever wrote them means them
        fitting = [goal for goal in GOALS if goal.format in formats and goal.name != self.goal.name]
        fitting.sort(key=lambda goal: goal.format != "preference")
        for goal in fitting:
            yield self.fix(f"Make the goal “{goal.title}”", goal=goal.name)

    def tell_mixed_formats(self, finding: dict[str, Any]) -> Iterator[Fault]:
        columns = ", ".join(finding["columns"][:8])
        sentence = (
            f"{self.how_many(finding)} are of another kind, with the columns {columns}: they would silently be missing."
        )
        fixes = (*self.read_as(finding["guess"]), self.fix("Leave them out", "fitting_only"))
        yield Fault("mixed_formats", "Rows of several kinds", sentence, fixes, blocks=True)

    def tell_masked(self, finding: dict[str, Any]) -> Iterator[Fault]:
        sentence = f"In {self.how_many(finding)} there is nothing that the model would learn to say: nobody answers."
        fixes = (self.fix("Learn from everything in them", "learn_all"), self.other_data())
        yield Fault("masked", "Nothing is learnt", sentence, fixes, blocks=not self.row.preview.share_kept)

    def tell_wrong_template(self, finding: dict[str, Any]) -> Iterator[Fault]:
        many = self.how_many(finding)
        if finding["how"] == "unwrap":
            sentence = (f"{many} carry the marks of another model's chat template ({finding['template']}); this model would "
                        "learn to write them into its answers.")  # fmt: skip
            changes = {"goal": "chat"} if self.goal.format == "text" else {}
            fixes: tuple[Fix, ...] = (self.fix("Take the marks out", "unwrap", **changes),)
        elif finding["how"] == "fold_system":
            sentence = f"The chat template of this model takes no system messages, and {many} begin with one."
            fixes = (self.fix("Put them before the first question", "fold_system"), self.other_model())
        else:
            sentence = f"The chat template of this model does not take {many}."
            fixes = (self.other_model(), self.other_data())
        yield Fault("wrong_template", "The wrong chat template", sentence, fixes, blocks=True)

    def tell_truncation(self, finding: dict[str, Any]) -> Iterator[Fault]:
        longest, limit = finding["longest"], finding["limit"]
        sentence = (f"{self.how_many(finding)} are longer than {limit:,} tokens, the longest has {longest:,}: they would be cut "
                    "into pieces, and an answer would lose its question.")  # fmt: skip
        if finding.get("is_left_out"):
            sentence = (f"In {self.how_many(finding)} an answer with its question is longer than {limit:,} tokens, the longest has "
                        f"{longest:,}: such pairs are left out.")  # fmt: skip
        wanted = 1 << (longest - 1).bit_length()
        fixes = [self.fix("Leave the long rows out", max_row_tokens=limit)]
        if limit < wanted <= min(MOST_CONTEXT, self.row.preview.model_context):
            fixes.insert(0, self.fix(f"Read {wanted:,} tokens at once (takes more memory and time)", context=wanted))
        yield Fault("truncation", "Rows are too long", sentence, tuple(fixes))

    def tell_duplicates(self, finding: dict[str, Any]) -> Iterator[Fault]:
        sentence = (
            f"{self.how_many(finding)} say what an earlier row says already; the model would learn them by heart."
        )
        yield Fault("duplicates", "Repetitions", sentence, (self.fix("Leave the repetitions out", "duplicates"),))

    def tell_empty_answers(self, finding: dict[str, Any]) -> Iterator[Fault]:
        sentence = f"{self.how_many(finding)} have no question or no answer, so there is nothing to learn from them."
        fixes = (self.fix("Leave them out", "empty_answers"), self.other_data())
        yield Fault("empty_answers", "Empty answers", sentence, fixes, blocks=not self.row.preview.share_kept)

    def tell_no_choice(self, finding: dict[str, Any]) -> Iterator[Fault]:
        sentence = (f"{self.how_many(finding)} have the same answer twice, or two answers without one question, so neither is "
                    "the better one.")  # fmt: skip
        fixes = (self.fix("Leave them out", "no_choice"), self.other_data())
        yield Fault("no_choice", "Nothing to choose between", sentence, fixes, blocks=not self.row.preview.share_kept)

    def tell_leak(self, finding: dict[str, Any]) -> Iterator[Fault]:
        sentence = (f"{self.how_many(finding)} hold questions of the tests that will judge the model; its result would look "
                    "better than it is.")  # fmt: skip
        yield Fault("leak", "The test is among the data", sentence, (self.fix("Leave them out", "leak"),))

    def tell_languages(self, finding: dict[str, Any]) -> Iterator[Fault]:
        counts, expected = finding["counts"], expected_languages(self.start)
        if self.draft.language or not counts:
            return
        main = max(counts, key=lambda code: counts[code])
        all_rows = sum(counts.values())
        if expected and main not in expected:
            speaks = " and ".join(LANGUAGES.get(code, code) for code in expected)
            sentence = f"Most rows are in {LANGUAGES[main]}, and the model speaks {speaks} by its card."
            fixes = [self.fix(f"Teach it {LANGUAGES[main]}: take the {LANGUAGES[main]} rows", language=main)]
            fixes += [
                self.fix(f"Take only the {LANGUAGES[code]} rows", language=code)
                for code in expected
                if counts.get(code)
            ]
            yield Fault("wrong_language", "Another language", sentence, (*fixes, self.other_data()))
            return
        foreign = {code: count for code, count in counts.items() if code != main and code not in expected}
        if sum(foreign.values()) > FEW_FOREIGN * all_rows:
            names = ", ".join(
                f"{count:,} in {LANGUAGES[code]}" for code, count in sorted(foreign.items(), key=lambda item: -item[1])
            )
            place = finding["places"][max(foreign, key=lambda code: foreign[code])]
            sentence = (
                f"Of {self.row.preview.checked:,} rows most are in {LANGUAGES[main]}, but {names} (the first: {place})."
            )
            fixes = [self.fix(f"Take only the {LANGUAGES[main]} rows", language=main)]
            yield Fault("wrong_language", "Several languages", sentence, tuple(fixes))

    def tell_no_eos(self, finding: dict[str, Any]) -> Iterator[Fault]:
        mark, start = finding["mark"], self.start
        sentence = "The tokenizer of this model names no end mark: the model would never learn where an answer ends, and talk on."
        fixes: tuple[Fix, ...] = (self.other_model(),)
        if mark and start and start.model and start.follows_branch and can(self.user, "write", start.model.repo):
            fixes = (Fix(f"Make {mark} its end mark", self.draft.address("preview"), act="end-mark"), *fixes)
        yield Fault("no_eos", "Answers have no end", sentence, fixes, blocks=True)


def expected_languages(start: "Start | None") -> list[str]:
    """Codes that the card of the model names, of languages that are known here."""
    card = start.model.repo.card if start and start.model and isinstance(start.model.repo.card, dict) else {}
    named = card.get("language")
    return [
        code for code in (named if isinstance(named, list) else [named]) if isinstance(code, str) and code in LANGUAGES
    ]


def find_faults_of_all(
    draft: "Draft", look: "Look", goal: "Goal", start: "Start", more: Sequence["Chosen"]
) -> list[Fault]:
    """What concerns the whole proposal. `more` are further datasets that fit the goal."""
    return [*tell_tiny(draft, look, goal, start, more), *tell_exploding(draft, start), *tell_other_kind(goal, start)]


def tell_tiny(draft: "Draft", look: "Look", goal: "Goal", start: "Start", more: Sequence["Chosen"]) -> Iterator[Fault]:
    if not is_tiny(draft, look, goal, start):
        return
    rows = sum(row.preview.rows_kept for row in look.rows)
    size = f"{look.tokens:,} tokens" if goal.format == "text" else f"{rows:,} row{'' if rows == 1 else 's'}"
    sentence = f"There are only {size} to learn from: the model would learn them by heart and nothing beyond."
    fixes = [
        Fix(f"Mix in {row.repo.full_name} ({row.preview.rows_kept:,} rows)",
            replace(draft, data=(*draft.data, row.repo.full_name)).address("preview"))
        for row in more
    ]  # fmt: skip
    fixes.append(Fix("Choose more data", draft.address("data")))
    trial = replace(draft, mends=(*draft.mends, "tiny_data"), size="quick")
    fixes.append(Fix("Go on, as a short trial", trial.address("preview")))
    yield Fault("tiny_data", "Very little data", sentence, tuple(fixes))


def tell_other_kind(goal: "Goal", start: "Start") -> Iterator[Fault]:
    """A run either says what rows say or prefers the better of two answers: one recipe cannot ask for both."""
    train = start.recipe.train if start.recipe else None
    if train is None or (train.objective != "likelihood") == (goal.format == "preference"):
        return
    before = "answers themselves" if train.objective == "likelihood" else "which of two answers is better"
    now = "which of two answers is better" if goal.format == "preference" else "what to say"
    sentence = (f"The recipe of this model learns {before}, and this goal teaches {now}: that is a run of its own, in a model "
                "that starts from this one.")  # fmt: skip
    yield Fault(
        "other_kind",
        "Another kind of learning",
        sentence,
        (Fix("Make a model that starts from it", "/propose"),),
        blocks=True,
    )


def is_tiny(draft: "Draft", look: "Look", goal: "Goal", start: "Start") -> bool:
    if "tiny_data" in draft.mends or start.trained_tokens or not any(row.preview.rows_kept for row in look.rows):
        return False
    if goal.format == "text":
        return 0 < look.tokens < TINY_TOKENS
    return sum(row.preview.rows_kept for row in look.rows) < TINY_ROWS


def tell_exploding(draft: "Draft", start: "Start") -> Iterator[Fault]:
    """A recipe that was written by hand with steps so large that the loss explodes."""
    train = start.recipe.train if start.recipe else None
    if train is None or not isinstance(train.learning_rate, float) or "rate" in draft.mends:
        return
    usual = fit_learning_rate(train, start.parameters)
    if train.learning_rate > TOO_FAST * usual:
        sentence = (f"The recipe of this model learns at a rate of {train.learning_rate:g}; the hub would choose {usual:g}. With steps "
                    "so large the loss explodes, and the run is lost.")  # fmt: skip
        fix = Fix("Let the hub choose the rate", replace(draft, mends=(*draft.mends, "rate")).address("preview"))
        yield Fault("exploding_loss", "The loss would explode", sentence, (fix,), blocks=True)


def whole_limit(draft: "Draft", start: "Start | None") -> int:
    """Tokens of a row that is learnt as a whole."""
    written = start.recipe.train.context_tokens if start and start.recipe and start.recipe.train else "auto"
    return draft.context or (written if isinstance(written, int) else MAX_CONTEXT)
