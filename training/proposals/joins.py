"""A proposal's recipe and the target's: joined for the candidate, and brought together where they clash."""

from typing import Any

from hub.accounts.models import User
from hub.common.errors import HubError, InvalidInput
from hub.community.candidates import RECIPE, members_of, target_head
from hub.community.contributions import commit
from hub.community.models import PullRequest
from hub.repos.models import Content, Repo
from hub.repos.places import pair
from hub.repos.reader import digest_of, facts_of
from hub.storage.git import AddFile
from training.engine.recipe import Recipe, format_recipe
from training.engine.recipe_changes import RecipeConflict, merge_recipes, number_contributions
from training.proposals.recipes import RecipeRefused, decode, pin, read_recipe, recipe_at


def candidate_recipe(pull_request: PullRequest, merged: str, target: str) -> str:
    """What the candidate trains: the recipe of the merge, each new contribution with the number of this pull request.

    Raises RecipeRefused."""
    repo = pull_request.discussion.repo
    text = recipe_at(repo, merged)
    read_recipe(text)
    known = read_known(repo, target)
    return number_contributions(text, known, pull_request.discussion.number)


def read_known(repo: Repo, commit: str) -> Recipe | None:
    """The recipe of a commit; None where it has none that can be read."""
    try:
        return read_recipe(recipe_at(repo, commit))
    except RecipeRefused:
        return None


def prefers(recipe: Recipe) -> bool:
    """Whether it learns which of two answers is better."""
    return any(row.format == "preference" for row in recipe.contributions)


def refuse_mixing(model: str, target: str, ours: Recipe, theirs: Recipe) -> str:
    """Why a preference step is not joined with the step before it; "" where there is nothing against it."""
    if prefers(ours) == prefers(theirs):
        return ""
    return (
        f"One of the two learns from rows with two answers and the other does not: a preference step begins from this "
        f"model. Open a new proposal from {target} whose {RECIPE} says base: {model}@{target} and names the rows of that "
        "step alone."
    )


class RecipeMerger:
    """Joins two changes of recipe.yaml that clash as lines. `problem` says what clashes in truth."""

    def __init__(self, model: str, target: str) -> None:
        self.model, self.target, self.problem = model, target, ""

    def __call__(self, path: str, base: bytes | None, ours: bytes, theirs: bytes) -> bytes | None:
        if path != RECIPE:
            return None
        try:
            before = read_recipe(decode(base)) if base is not None else None
            sides = read_recipe(decode(ours)), read_recipe(decode(theirs))
            if before is None and (problem := refuse_mixing(self.model, self.target, *sides)):
                self.problem = problem
                return None
            joined = merge_recipes(before, *sides)
            text = format_recipe(joined)
            read_recipe(text)  # two changes may be right each and not together
            return text.encode()
        except RecipeRefused as refused:
            self.problem = f"It cannot be joined with the target's {RECIPE}: {refused}"
        except RecipeConflict as conflict:
            keys = ", ".join(conflict.keys)
            self.problem = (
                f"It and the target both change {keys} in {RECIPE}; take over the target's values, here or in a push."
            )
        return None


def recipe_of_target(repo: Repo, user: Any, branch: str | None = None) -> Recipe | None:
    """How the model of a branch is made, for people who propose: also before its weights are released, when it is
    cleared and names nothing that this person may not use. A proposal that did not know it would clash with it."""
    members = pair(repo).members
    head = members.read_ref(f"refs/heads/{branch or repo.default_branch}")
    entry = members.entry(head, RECIPE) if head else None
    if entry is None or not is_cleared(repo, facts_of(entry), digest_of(entry)):
        return None
    recipe = read_known(repo, head or "")
    try:
        if recipe is not None:
            pin(recipe, user)
    except HubError:
        return None
    return recipe


def is_cleared(repo: Repo, facts: tuple[str, ...], needed: str) -> bool:
    rows = {row.digest: row.is_cleared for row in Content.objects.filter(repo=repo, digest__in=facts)}
    return needed in rows and all(rows.values())


def may_take_over(pull_request: PullRequest, user: Any) -> bool:
    """Whether the only thing in the way is a recipe that says other things than the target's, which this person may read."""
    clashes = pull_request.conflict_paths == [RECIPE]
    return clashes and recipe_of_target(pull_request.discussion.repo, user, pull_request.target) is not None


def take_over(*, pull_request: PullRequest, by: User) -> None:
    """Commit the target's values to the proposal where both changed the same, and keep all else that it brings.

    Raises Forbidden, InvalidInput."""
    repo = pull_request.discussion.repo
    ours = recipe_of_target(repo, by, pull_request.target)
    if ours is None:
        raise InvalidInput(f"The {RECIPE} of {pull_request.target} is not open to you; wait for its release.")
    members = members_of(pull_request)
    base = members.merge_base(target_head(pull_request), pull_request.head)
    before = read_known(repo, base) if base else None
    theirs = read_recipe(recipe_at(repo, pull_request.head))
    if problem := refuse_mixing(repo.full_name, pull_request.target, ours, theirs):
        raise InvalidInput(problem)
    text = format_recipe(merge_recipes(before, ours, theirs, prefer_ours=True))
    read_recipe(text)
    commit(
        repo=repo,
        by=by,
        revision=pull_request.ref,
        operations=[AddFile(RECIPE, text.encode())],
        title=f"Take over the settings of {pull_request.target}",
        expected_parent=pull_request.head,
        door="browser",
    )
