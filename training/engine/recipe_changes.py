"""Changes of a recipe, understood by what they mean: lines of text clash where two people each add a contribution.

`merge_recipes` joins two changes record by record; lists entry by entry, known by the repository they name.
`number_contributions` writes beside each contribution the pull request that brought it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

from training.engine.errors import EngineError
from training.engine.recipe import format_recipe, parse_recipe
from training.engine.recipe_schema import Contribution, EvaluateSuite, Recipe, Train
from training.engine.yaml_document import Node, read_yaml

LENGTHS = ("epochs", "steps", "tokens")  # one thing said in three ways
MISSING: Any = object()


class RecipeConflict(EngineError):
    """Both sides changed the same keys differently; `keys` names them as in the file, for example train.epochs."""

    def __init__(self, keys: list[str]) -> None:
        self.keys = keys
        super().__init__(f"Both sides change {', '.join(keys)}.")


def merge_recipes(base: Recipe | None, ours: Recipe, theirs: Recipe, *, prefer_ours: bool = False) -> Recipe:
    """What both sides want, ours first where order matters. `base` is None when git knows no start that both share: then
    theirs is a change of ours where it holds all that ours learns from, else each side wrote the recipe anew.

    Where both changed the same differently: RecipeConflict, or with `prefer_ours` our value."""
    merge = _ThreeWay()
    old = base or (ours if _builds_on(theirs, ours) else Recipe(version=1))
    values: dict[str, Any] = {}
    for known in fields(Recipe):
        name = known.name
        sides = getattr(old, name), getattr(ours, name), getattr(theirs, name)
        if name == "contributions":
            values[name] = merge.lists(name, *sides, identify=identify_contribution)
        elif name == "evaluate":
            values[name] = merge.lists(name, *sides, identify=identify_suite)
        elif name == "train" and sides[1] is not None and sides[2] is not None:
            values[name] = merge.train(*sides)
        else:
            values[name] = merge.pick(name, *sides)
    if merge.clashes and not prefer_ours:
        raise RecipeConflict(merge.clashes)
    return Recipe(**values)


def _builds_on(theirs: Recipe, ours: Recipe) -> bool:
    known = {identify_contribution(row) for row in ours.contributions}
    return bool(known) and known <= {identify_contribution(row) for row in theirs.contributions}


def identify_contribution(row: Contribution) -> tuple[str, ...]:
    """One line of the mix: the same dataset may come in with two splits."""
    return row.kind, row.repo.repo.lower(), row.split


def identify_suite(row: EvaluateSuite) -> tuple[str, ...]:
    return "suite", row.suite.repo.lower()


def number_contributions(text: str, known: Recipe | None, number: int) -> str:
    """The recipe with `pull_request: number` beside each contribution that `known` (the target's recipe) does not hold;
    the others keep the number that they have there, whatever the text claims. Comments stay where only lines are added.

    Raises RecipeErrors where `text` is no recipe."""
    recipe = parse_recipe(text)
    numbers = {identify_contribution(row): row.pull_request for row in known.contributions} if known else {}
    wanted = tuple(
        replace(row, pull_request=numbers.get(identify_contribution(row), number)) for row in recipe.contributions
    )
    if wanted == recipe.contributions:
        return text
    numbered = replace(recipe, contributions=wanted)
    edited = _insert_numbers(text, recipe, wanted)
    if edited is not None and parse_recipe(edited) == numbered:
        return edited
    return format_recipe(numbered)


def _insert_numbers(text: str, recipe: Recipe, wanted: tuple[Contribution, ...]) -> str | None:
    """The text with a line more for each number; None where lines alone do not do it."""
    root, _ = read_yaml(text)
    nodes: list[Node] = root.value["contributions"][1].value
    lines = text.splitlines(keepends=True)
    for node, old, new in reversed(list(zip(nodes, recipe.contributions, wanted, strict=True))):
        if old == new:
            continue
        name, value = node.value[new.kind]
        is_block = lines[name.line - 1][: name.column - 1].strip() in ("", "-") and value.line == name.line
        if old.pull_request is not None or not is_block or not lines[name.line - 1].endswith("\n"):
            return None
        lines.insert(name.line, f"{' ' * (name.column - 1)}pull_request: {new.pull_request}\n")
    return "".join(lines)


class _ThreeWay:
    def __init__(self) -> None:
        self.clashes: list[str] = []

    def pick(self, name: str, old: Any, ours: Any, theirs: Any) -> Any:
        """The side that changed; equal changes are one."""
        if ours == theirs or theirs == old:
            return ours
        if ours == old:
            return theirs
        self.clashes.append(name)
        return ours

    def train(self, old: Train | None, ours: Train, theirs: Train) -> Train:
        values: dict[str, Any] = {}
        for known in fields(Train):
            if known.name in LENGTHS:
                continue
            before = getattr(old, known.name) if old is not None else known.default
            sides = before, getattr(ours, known.name), getattr(theirs, known.name)
            values[known.name] = self.pick(f"train.{known.name}", *sides)
        length = self.pick("train." + _length_name(ours), _length(old), _length(ours), _length(theirs))
        return replace(ours, **values, **dict(zip(LENGTHS, length, strict=True)))

    def lists(
        self,
        name: str,
        old: tuple[Any, ...],
        ours: tuple[Any, ...],
        theirs: tuple[Any, ...],
        *,
        identify: Callable[[Any], tuple[str, ...]],
    ) -> tuple[Any, ...]:
        """Entries of ours in their order, then what theirs adds; a line left out by one side stays out."""
        left = {identify(row): row for row in ours}
        before, right = (
            {identify(row): _numbered_as(row, left.get(identify(row))) for row in rows} for rows in (old, theirs)
        )
        joined = []
        for key in dict.fromkeys([*left, *right]):
            sides = before.get(key, MISSING), left.get(key, MISSING), right.get(key, MISSING)
            row = self.pick(f"{name} ({key[1]})", *sides)
            if row is not MISSING:
                joined.append(row)
        return tuple(joined)


def _numbered_as(row: Any, other: Any) -> Any:
    """Numbers of pull requests are the hub's; whether a side wrote one is no change."""
    return replace(row, pull_request=other.pull_request) if isinstance(other, Contribution) else row


def _length(train: Train | None) -> tuple[Any, ...]:
    return tuple(getattr(train, name) for name in LENGTHS) if train is not None else (None, None, None)


def _length_name(train: Train) -> str:
    return next((name for name in LENGTHS if getattr(train, name) is not None), LENGTHS[0])
