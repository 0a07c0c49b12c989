"""Where new weights start from: the recipe of a repository, its weights, or another model."""

import json
from dataclasses import dataclass, field
from typing import Any

from hub.common.errors import EntryNotFound, HubError, InvalidInput, RevisionNotFound
from hub.community.contributions import reader_for
from hub.repos.find import find_repo
from hub.repos.models import Repo, RepoRelease
from hub.repos.reader import RepoReader
from hub.web.repos import measure_model
from training.engine.errors import EngineError
from training.engine.recipe import Recipe, RepoRef, parse_recipe
from training.models import Run
from training.proposals.joins import recipe_of_target

RECIPE = "recipe.yaml"


@dataclass
class Start:
    """Where the new weights start from: the repository's recipe, its weights, or another model."""

    recipe: Recipe | None
    base: RepoRef | None
    model: RepoReader | None  # holds the tokenizer and the size
    commit: str
    parameters: int = 0
    trained_tokens: int = 0  # of the data that is in the recipe already
    config: dict[str, Any] = field(default_factory=dict)  # config.json of the model; {} where it cannot be read

    @property
    def follows_branch(self) -> bool:
        """Whether a new commit in the model's repository is what a proposal starts from."""
        if self.model is None or self.base is None:
            return False
        return self.base.revision in (self.model.repo.default_branch, self.model.repo.head)


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
    refusal = InvalidInput(f"{other.full_name} holds no model yet either; choose another one to start from.")
    try:
        start = open_base(None, RepoRef(other.full_name, newest_name(other)), repo, user)
    except RevisionNotFound:
        raise refusal from None
    if not start.config:
        raise refusal
    return start


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
    start.config = read_config(start.model, start.commit)
    return start


def read_config(reader: RepoReader, commit: str) -> dict[str, Any]:
    try:
        config = json.loads(reader.read_text(commit, "config.json"))
    except (HubError, ValueError, RecursionError):
        return {}
    return config if isinstance(config, dict) else {}


def last_corpus_tokens(repo: Repo) -> int:
    run = Run.objects.filter(repo=repo, state=Run.State.SUCCEEDED, corpus__isnull=False).select_related("corpus").last()
    return run.corpus.tokens if run and run.corpus else 0
