"""A proposal in plain words: what it should learn, from which data, how thoroughly. Out of it comes a recipe."""

from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlencode

from django.http import QueryDict

from hub.accounts.permissions import refuse_files
from hub.common.errors import EntryNotFound, InvalidInput, RevisionNotFound
from hub.community.contributions import reader_for
from hub.repos.find import find_repo
from hub.repos.models import LastCommit, Repo, RepoRelease
from hub.repos.reader import RepoReader
from hub.web.listings import listed_repos
from hub.web.repos import measure_model
from training.engine.errors import EngineError
from training.engine.recipe import (
    Contribution,
    EvaluateSuite,
    Recipe,
    RepoRef,
    Train,
    format_recipe,
    parse_recipe,
)
from training.estimates import SIZES, choose_length, method_for
from training.joins import recipe_of_target
from training.models import Run
from training.previews import Preview, preview

RECIPE = "recipe.yaml"
STEPS = ("goal", "data", "preview", "size", "send")
MAX_DATASETS = 8  # of one proposal made here; a recipe takes more


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
)  # fmt: skip


@dataclass(frozen=True)
class Draft:
    """The answers given so far; they travel in the address, so every step can be linked and gone back to."""

    base: str = ""
    goal: str = ""
    data: tuple[str, ...] = ()
    size: str = "normal"
    suites: tuple[str, ...] | None = None  # None: not asked yet, the usual ones are proposed
    title: str = ""
    text: str = ""

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """As fields of a form."""
        pairs = [("base", self.base), ("goal", self.goal), *(("data", name) for name in self.data), ("size", self.size)]
        if self.suites is not None:
            pairs += [("suites", "chosen"), *(("suite", name) for name in self.suites)]
        return [(key, value) for key, value in pairs if value]

    def address(self, step: str, **more: str) -> str:
        return "?" + urlencode([("step", step), *self.pairs, *more.items()])


def read_draft(query: QueryDict) -> Draft:
    goal, size = query.get("goal", ""), query.get("size", "normal")
    return Draft(
        base=query.get("base", "")[:200],
        goal=goal if goal in {row.name for row in GOALS} else "",
        data=tuple(dict.fromkeys(query.getlist("data")))[:MAX_DATASETS],
        size=size if size in {row.name for row in SIZES} else "normal",
        suites=tuple(dict.fromkeys(query.getlist("suite")))[:8] if "suites" in query else None,
        title=query.get("title", "").strip(),
        text=query.get("text", ""),
    )


def goal_of(draft: Draft) -> Goal:
    return next(row for row in GOALS if row.name == draft.goal)


@dataclass
class Start:
    """Where the new weights start from: the repository's recipe, its weights, or another model."""

    recipe: Recipe | None
    base: RepoRef | None
    model: RepoReader | None  # holds the tokenizer and the size
    commit: str
    parameters: int = 0
    trained_tokens: int = 0  # of the data that is in the recipe already


def find_start(repo: Repo, reader: RepoReader, user: Any, base: str) -> Start:
    """Raises InvalidInput when there is nothing to start from."""
    try:
        head = reader.resolve(None)
        recipe = read_existing(reader, head)
    except RevisionNotFound:
        head, recipe = "", None
    if recipe is None and not reader.is_member:
        recipe = recipe_of_target(repo, user)
    if recipe is not None and recipe.base is not None:
        return open_base(recipe, recipe.base, repo, user)
    if recipe is not None:
        return Start(recipe, None, None, "", trained_tokens=last_corpus_tokens(repo))
    if head and any(entry.path == "config.json" for entry in reader.tree(head)):
        return describe_start(Start(None, RepoRef(repo.full_name, head), reader, head))
    if not base:
        raise InvalidInput(f"{repo.full_name} holds no model yet; choose which model it should start from.")
    other = find_repo("model", base, user, action="read_files")
    return open_base(None, RepoRef(other.full_name, newest_name(other)), repo, user)


def read_existing(reader: RepoReader, commit: str) -> Recipe | None:
    try:
        text = reader.read_text(commit, RECIPE)
    except EntryNotFound:
        return None
    try:
        return parse_recipe(text)
    except EngineError as problem:
        raise InvalidInput(
            f"The recipe of this model cannot be read, so nothing can be added to it: {problem}"
        ) from None


def newest_name(repo: Repo) -> str:
    newest = repo.public_releases.filter(state=RepoRelease.State.PUBLISHED).order_by("-published_at").first()
    return newest.tag if newest else repo.default_branch


def open_base(recipe: Recipe | None, base: RepoRef, repo: Repo, user: Any) -> Start:
    other = reader_for(find_repo("model", base.repo, user, action="read_files"), user)
    start = Start(
        recipe, base, other, other.resolve(base.revision), trained_tokens=last_corpus_tokens(repo) if recipe else 0
    )
    return describe_start(start)


def describe_start(start: Start) -> Start:
    assert start.model is not None
    measured = measure_model(start.model, start.model.tree(start.commit))
    start.parameters = measured["total"] if measured else 0
    return start


def last_corpus_tokens(repo: Repo) -> int:
    run = Run.objects.filter(repo=repo, state=Run.State.SUCCEEDED, corpus__isnull=False).select_related("corpus").last()
    return run.corpus.tokens if run and run.corpus else 0


@dataclass
class Chosen:
    """A dataset of the draft with what is to be seen of it."""

    repo: Repo
    preview: Preview
    problem: str = ""


@dataclass
class Look:
    """All datasets of a draft."""

    rows: list[Chosen] = field(default_factory=list)

    @property
    def tokens(self) -> int:
        return sum(row.preview.tokens for row in self.rows)

    @property
    def is_good(self) -> bool:
        return bool(self.rows) and not any(row.problem for row in self.rows)


def look_at(names: tuple[str, ...], goal: Goal, user: Any, start: Start | None) -> Look:
    return Look([look_at_one(name, goal, user, start) for name in names])


def look_at_one(name: str, goal: Goal, user: Any, start: Start | None) -> Chosen:
    repo = find_repo("dataset", name, user)
    reader = reader_for(repo, user)
    if not reader.may_read_files:
        return Chosen(repo, Preview(), refuse_files(user, repo).message)
    try:
        commit = reader.resolve(None)
    except RevisionNotFound:
        return Chosen(repo, Preview(), f"Nothing of {repo.full_name} can be read yet; it may still be screened.")
    model = start.model if start else None
    found = preview(reader, commit, format=goal.format, model=model, model_commit=start.commit if start else "")
    if found.problem:
        return Chosen(repo, found, found.problem)
    if found.format != goal.format:
        columns = ", ".join(found.columns[:12]) or "none"
        return Chosen(repo, found, f"{repo.full_name} does not fit this goal: it has the columns {columns}, and "
                      f"{goal.needs} need {found.accepted}.")  # fmt: skip
    return Chosen(repo, found)


def list_suites(user: Any) -> list[Repo]:
    """Datasets that hold an evaluation suite, those of the hub's commons first."""
    holders = LastCommit.objects.filter(path="suite.yaml", repo__type=Repo.Type.DATASET).values("repo")
    return list(listed_repos(user).filter(type=Repo.Type.DATASET, pk__in=holders).order_by("pk")[:20])


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
    goal = goal_of(draft)
    known = {row.repo.repo.lower() for row in start.recipe.contributions} if start.recipe else set()
    fresh = tuple(
        Contribution(kind="data", repo=RepoRef(row.repo.full_name, row.repo.default_branch), format=goal.format)
        for row in look.rows
        if row.repo.full_name.lower() not in known
    )
    length = choose_length(draft.size, start, look.tokens)
    suites = choose_suites(draft, start, user)
    if start.recipe is not None:
        train = start.recipe.train or Train(method="full")
        return format_recipe(
            replace(
                start.recipe,
                contributions=start.recipe.contributions + fresh,
                train=replace(train, **length),
                evaluate=suites,
            )
        )
    train = Train(method=method_for(start), **length)
    return format_recipe(Recipe(version=1, base=start.base, contributions=fresh, train=train, evaluate=suites))
