"""A proposal in plain words: what it should learn, from which data, how thoroughly. Out of it comes a recipe."""

from dataclasses import dataclass, field, replace
from typing import Any

from hub.accounts.permissions import refuse_files
from hub.common.errors import HubError, RevisionNotFound
from hub.community.contributions import reader_for
from hub.repos.find import find_repo
from hub.repos.models import Repo
from hub.repos.reader import RepoReader
from training.drafting import faults as fault_rules
from training.drafting.choices import data_for, suites_for
from training.drafting.drafts import COLUMN_ROLES, MAX_DATASETS, Draft, goal_of
from training.drafting.estimates import choose_length, method_for
from training.drafting.faults import Fault
from training.drafting.previews import How, Preview, preview
from training.drafting.starts import Start, newest_name
from training.engine.recipe import (
    Columns,
    Contribution,
    EvaluateSuite,
    Prepare,
    Recipe,
    RepoRef,
    Train,
    format_recipe,
)
from training.engine.recipe_schema import MENDS

MORE_DATA = 3  # datasets that are looked at as company for very little data


@dataclass
class Chosen:
    """A dataset of the draft with what is to be seen of it."""

    repo: Repo
    preview: Preview
    problem: str = ""  # nothing can be seen of it
    faults: list[Fault] = field(default_factory=list)
    mended: list[str] = field(default_factory=list)  # what was agreed to, in words

    @property
    def refusal(self) -> str:
        """Why nothing can be proposed with it, or "": what nobody has looked at yet is looked at by the run."""
        if self.preview.is_for_now:
            return ""
        return self.problem or next((fault.sentence for fault in self.faults if fault.blocks), "")


@dataclass
class Look:
    """All datasets of a draft."""

    rows: list[Chosen] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)  # of the proposal as a whole

    @property
    def tokens(self) -> int:
        return sum(row.preview.tokens for row in self.rows)

    @property
    def is_good(self) -> bool:
        return bool(self.rows) and not self.refusal

    @property
    def refusal(self) -> str:
        """Why nothing can be proposed, in a sentence; or ""."""
        whole = [fault.sentence for fault in self.faults if fault.blocks]
        return next(iter([row.refusal for row in self.rows if row.refusal] + whole), "")

    @property
    def open_faults(self) -> list[Fault]:
        """All that was seen and not mended."""
        return [fault for row in self.rows for fault in row.faults] + self.faults


def look_at(draft: Draft, user: Any, start: Start) -> Look:
    """Everything that was chosen, and what is wrong with it."""
    goal = goal_of(draft)
    look = Look([look_at_one(name, draft, user, start) for name in draft.data])
    more = find_company(draft, user, start) if fault_rules.is_tiny(draft, look, goal, start) else []
    look.faults = fault_rules.find_faults_of_all(draft, look, goal, start, more)
    return look


def look_at_one(name: str, draft: Draft, user: Any, start: Start | None) -> Chosen:
    goal = goal_of(draft)
    repo = find_repo("dataset", name, user)
    reader = reader_for(repo, user)
    if not reader.may_read_files:
        return Chosen(repo, Preview(), refuse_files(user, repo).message)
    try:
        commit = reader.resolve(None)
    except RevisionNotFound:
        return Chosen(repo, Preview(), f"Nothing of {repo.full_name} can be read yet; it may still be screened.")
    found = preview(
        reader,
        commit,
        format=goal.format,
        model=start.model if start else None,
        model_commit=start.commit if start else "",
        how=describe_how(repo, draft, user, start),
    )
    chosen = Chosen(repo, found, found.problem)
    if not found.problem:
        chosen.faults = fault_rules.find_faults(draft, chosen, goal, start, user)
        chosen.mended = fault_rules.list_mended(draft, chosen)
    if found.format != goal.format and not found.is_for_now and not chosen.refusal:
        chosen.problem = f"Nothing of {repo.full_name} can be read for this goal; {goal.needs} need {found.accepted}."
    return chosen


def find_company(draft: Draft, user: Any, start: Start) -> list[Chosen]:
    """The largest of the first other datasets that fit the goal as they are."""
    goal = goal_of(draft)
    others = data_for(user).order_by("-likes", "-updated_at")
    names = [repo.full_name for repo in others[: MAX_DATASETS + MORE_DATA] if repo.full_name not in draft.data]
    plain = Draft(base=draft.base, goal=goal.name)
    looked = [look_at_one(name, plain, user, start) for name in names[:MORE_DATA]]
    fitting = [row for row in looked if not row.refusal and row.preview.rows_kept]
    return sorted(fitting, key=lambda row: -row.preview.rows_kept)[:1]


def describe_how(repo: Repo, draft: Draft, user: Any, start: Start | None) -> How:
    """What the recipe will say of how these rows are read."""
    prepare = start.recipe.prepare if start and start.recipe else Prepare()
    limit = fault_rules.whole_limit(draft, start)
    reading = read_as(known_contribution(repo, start), draft)
    return How(
        columns=tuple((role, name) for role, names in column_names(reading.columns).items() for name in names),
        language=reading.language or "",
        mend=reading.mend or (),
        deduplicate="minhash" if prepare.deduplicate == "minhash" else "exact",
        clean=prepare.clean,
        personal_data=prepare.personal_data,
        limit=limit,
        max_row_tokens=draft.max_row_tokens or prepare.max_row_tokens,
        suites=open_suites(draft, start, user) if start else (),
    )


def known_contribution(repo: Repo, start: Start | None) -> Contribution | None:
    """The line of the recipe that brings this dataset already."""
    rows = start.recipe.contributions if start and start.recipe else ()
    return next((row for row in rows if row.repo.repo.lower() == repo.full_name.lower()), None)


def column_names(columns: Columns | None) -> dict[str, tuple[str, ...]]:
    return {role: getattr(columns, role) for role in COLUMN_ROLES if columns and getattr(columns, role)}


def read_as(before: Contribution | None, draft: Draft) -> Contribution:
    """How the rows are read by the draft, on top of what the recipe says of them."""
    row = before or Contribution(kind="data", repo=RepoRef("", ""))
    named: dict[str, tuple[str, ...]] = {}
    for role, name in draft.columns:
        named[role] = (*named.get(role, ()), name)
    named = {**column_names(row.columns), **named}
    mend = tuple(name for name in MENDS if name in draft.mends or name in (row.mend or ()))
    return replace(
        row,
        columns=Columns(**named) if named else None,
        language=draft.language or row.language,
        mend=mend or None,
    )


def open_suites(draft: Draft, start: Start, user: Any) -> tuple[tuple[RepoReader, str], ...]:
    """The suites that will judge, as this person may read them."""
    found = []
    for row in choose_suites(draft, start, user):
        try:
            reader = reader_for(find_repo("dataset", row.suite.repo, user), user)
            found.append((reader, reader.resolve(row.suite.revision)))
        except HubError:  # the check of the proposal says what is wrong with it
            continue
    return tuple(found)


def list_suites(user: Any) -> list[Repo]:
    """Datasets that hold an evaluation suite, those of the hub's commons first."""
    return list(suites_for(user).order_by("pk")[:20])


def choose_suites(draft: Draft, start: Start, user: Any) -> tuple[EvaluateSuite, ...]:
    """What the draft says; else the suites of the recipe, else the first one that is there."""
    before = {row.suite.repo.lower(): row for row in start.recipe.evaluate} if start.recipe else {}
    if draft.suites is None:
        usual = list_suites(user)[:1]
        return tuple(before.values()) or tuple(
            EvaluateSuite(RepoRef(repo.full_name, newest_name(repo))) for repo in usual
        )
    chosen = []
    for name in draft.suites:
        repo = find_repo("dataset", name, user)
        usual_row = EvaluateSuite(RepoRef(repo.full_name, newest_name(repo)))
        chosen.append(before.get(repo.full_name.lower(), usual_row))
    return tuple(chosen)


def compose(draft: Draft, start: Start, look: Look, user: Any) -> str:
    """The recipe as YAML: what there was, and the new data as further contributions."""
    recipe = start.recipe or Recipe(version=1, base=start.base)
    objective = "dpo" if goal_of(draft).format == "preference" else "likelihood"
    train = recipe.train or Train(method=method_for(start), objective=objective)
    settings = choose_length(draft.size, start, look.tokens)
    settings |= {"context_tokens": draft.context} if draft.context else {}
    settings |= {"learning_rate": "auto"} if "rate" in draft.mends else {}
    return format_recipe(
        replace(
            recipe,
            contributions=choose_contributions(draft, recipe, look),
            prepare=choose_preparation(draft, recipe.prepare),
            train=replace(train, **settings),
            evaluate=choose_suites(draft, start, user),
        )
    )


def choose_contributions(draft: Draft, recipe: Recipe, look: Look) -> tuple[Contribution, ...]:
    """What was there, read as the draft says where it was chosen again, and the new data."""
    chosen = {row.repo.full_name.lower(): row.repo for row in look.rows}
    before = [read_as(row, draft) if row.repo.repo.lower() in chosen else row for row in recipe.contributions]
    known = {row.repo.repo.lower() for row in before}
    fresh = [
        read_as(Contribution("data", RepoRef(repo.full_name, repo.default_branch), format=goal_of(draft).format), draft)
        for name, repo in chosen.items()
        if name not in known
    ]
    return (*before, *fresh)


def choose_preparation(draft: Draft, prepare: Prepare) -> Prepare:
    changes: dict[str, Any] = {}
    if "duplicates" in draft.mends and prepare.deduplicate == "none":
        changes["deduplicate"] = "minhash"
    if "leak" in draft.mends:
        changes["decontaminate"] = True
    if draft.max_row_tokens:
        changes["max_row_tokens"] = draft.max_row_tokens
    return replace(prepare, **changes)
