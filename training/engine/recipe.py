"""recipe.yaml: how a model's weights are made, as data. Parsed whole: every problem is reported, with line and column.

`parse_recipe` reads, `format_recipe` writes what it reads, `describe_schema` feeds the documentation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from typing import Any

from training.engine.errors import RecipeError, RecipeErrors
from training.engine.networks import find_preset
from training.engine.recipe_fields import INVALID, ListOf, Record, Reference, RepoRef, Unsupported, is_required
from training.engine.recipe_rules import ADAPTER_KEYS, find_conflicts, find_contradictions
from training.engine.recipe_schema import (
    CONTRIBUTION_KINDS,
    FOREIGN_TO_WEIGHTS,
    ORDER,
    VERSION,
    Architecture,
    Columns,
    Contribution,
    EvaluateSuite,
    ExtendTokenizer,
    Merge,
    MergeModel,
    Prepare,
    Recipe,
    TokenizerKind,
    Train,
    TrainTokenizer,
)
from training.engine.yaml_document import Node, Problem, format_scalar, read_yaml

__all__ = [
    "Architecture",
    "Columns",
    "Contribution",
    "EvaluateSuite",
    "ExtendTokenizer",
    "Merge",
    "MergeModel",
    "Prepare",
    "Recipe",
    "RepoRef",
    "Train",
    "TrainTokenizer",
    "describe_schema",
    "format_recipe",
    "parse_recipe",
    "referenced_repos",
]

MAX_PROBLEMS = 50  # a wrong file is wrong in every line

# From version n to n + 1: takes and returns the root node, so places still point into the person's file.
UPGRADES: dict[int, Callable[[Node], Node]] = {}


def parse_recipe(text: str, *, allow_planned: bool = False) -> Recipe:
    """The recipe, or RecipeErrors with its problems in the order of the file, the first MAX_PROBLEMS of them.

    `allow_planned` accepts what the language has and this program cannot do yet: for showing, never for running."""
    problems: list[Problem] = []
    recipe: Any = INVALID
    try:
        root, problems = read_yaml(text)
        root = upgrade(root)
        recipe = _fill_size(Record(Recipe, "a recipe").read(root, problems))
        problems.extend(find_conflicts(root))
        if recipe is not INVALID:
            problems.extend(find_contradictions(recipe, root))
    except Problem as problem:
        problems = [*problems, problem]
    if allow_planned:
        problems = [p for p in problems if not isinstance(p, Unsupported)]
    if problems:
        ordered = sorted(problems, key=lambda p: (p.line, p.column))
        raise RecipeErrors([RecipeError(p.line, p.column, p.message, p.hint) for p in ordered[:MAX_PROBLEMS]])
    assert isinstance(recipe, Recipe)
    return _fill_length(recipe)


def upgrade(root: Node) -> Node:
    """Bring an older recipe to the present version; Problem when it is newer than this program."""
    if not root.is_mapping:
        raise root.problem("a recipe is a mapping", "start it with: version: 1")
    _, version = root.value.get("version", (None, None))
    if version is None or not isinstance(version.value, int) or isinstance(version.value, bool):
        return root  # the schema says what is wrong with it
    if version.value > VERSION:
        raise version.problem(f"version {version.value} is newer than this program", f"write version: {VERSION}")
    for old in range(version.value, VERSION):
        root = UPGRADES[old](root) if old in UPGRADES else root
    return root


def _fill_size(recipe: Any) -> Any:
    """The numbers that the size of an architecture stands for."""
    shape = recipe.architecture if isinstance(recipe, Recipe) else None
    if shape is None or shape.size is None:
        return recipe
    preset = find_preset(shape.family, shape.size)
    numbers = {name: getattr(preset, name) for name in ("layers", "width", "heads", "kv_heads")}
    return replace(recipe, architecture=replace(shape, **numbers, size=None))


def _fill_length(recipe: Recipe) -> Recipe:
    """One epoch when neither epochs, steps nor tokens is written."""
    train = recipe.train
    if train is None or (train.epochs, train.steps, train.tokens) != (None, None, None):
        return recipe
    return replace(recipe, train=replace(train, epochs=1.0))


def referenced_repos(recipe: Recipe) -> list[tuple[str, RepoRef]]:
    """Every repository the recipe needs, once each: ("model" | "dataset", reference). Suites are datasets."""
    found: list[tuple[str, RepoRef]] = []
    if recipe.base:
        found.append(("model", recipe.base))
    if recipe.merge:
        found += [("model", recipe.merge.base), *(("model", m.model) for m in recipe.merge.models)]
    found += [("dataset" if c.kind == "data" else "model", c.repo) for c in recipe.contributions]
    found += [("dataset", e.suite) for e in recipe.evaluate]
    return list(dict.fromkeys(found))


def format_recipe(recipe: Recipe) -> str:
    """YAML that parse_recipe reads back into an equal recipe."""
    lines: list[str] = []
    for name in ORDER:
        value = getattr(recipe, name)
        if value is None or value == ():
            continue
        if isinstance(value, tuple):
            lines.append(f"{name}:")
            lines += [line for item in value for line in _format_item(item)]
        elif isinstance(value, TrainTokenizer):
            lines.append(f"{name}: {{train: {_format_value(value)}}}")
        elif isinstance(value, Train | Merge):
            lines.append(f"{name}:")
            lines += [f"  {key_name}: {item}" for key_name, item in _format_pairs(value)]
        else:
            lines.append(f"{name}: {_format_value(value)}")
    return "\n".join(lines) + "\n"


def _format_item(item: Any) -> list[str]:
    first, *rest = list(_format_pairs(item))
    return [f"  - {first[0]}: {first[1]}", *(f"    {name}: {value}" for name, value in rest)]


def _format_pairs(record: Any) -> Iterator[tuple[str, str]]:
    if isinstance(record, Contribution):
        yield record.kind, _format_value(record.repo)
    for known in fields(record):
        value = getattr(record, known.name)
        if known.name in _find_foreign_keys(record):
            continue
        if "kind" in known.metadata and value is not None:
            yield known.name, _format_value(value)


def _find_foreign_keys(record: Any) -> tuple[str, ...]:
    """Keys that belong to another kind of the same record; written, they would be refused."""
    if isinstance(record, Contribution) and record.kind != "data":
        return tuple(FOREIGN_TO_WEIGHTS)
    if isinstance(record, Train):
        adapter = ADAPTER_KEYS if record.method in ("pretrain", "full") else ()
        decay = ("decay_steps",) if record.schedule != "wsd" else ()
        # Written only where they say something: a recipe of a time before them keeps its digest.
        preference = ("objective", "beta") if record.objective == "likelihood" else ()
        compiling = ("compile",) if record.compile == "auto" else ()
        return (*adapter, *decay, *preference, *compiling, *(("target_margin",) if record.objective != "simpo" else ()))
    return ()


def _format_value(value: Any) -> str:
    if isinstance(value, RepoRef):
        return format_scalar(str(value))
    if isinstance(value, tuple):
        return "[" + ", ".join(_format_value(item) for item in value) + "]"
    if hasattr(value, "__dataclass_fields__"):
        return "{" + ", ".join(f"{name}: {text}" for name, text in _format_pairs(value)) + "}"
    return format_scalar(value)


def describe_schema() -> list[tuple[str, str, str, str]]:
    """(key, type, default, meaning) of every key, in the order of the file; default "required" where there is none."""
    rows: list[tuple[str, str, str, str]] = []
    known = {f.name: f for f in fields(Recipe)}
    for name in ORDER:
        rows += _describe(name, known[name])
    return rows


def _describe(path: str, known: Any) -> Iterator[tuple[str, str, str, str]]:
    kind = known.metadata["kind"]
    yield path, kind.name, _describe_default(known), known.metadata["meaning"]
    inner: Any = kind.kind if isinstance(kind, ListOf) else kind
    suffix = "[]" if isinstance(kind, ListOf) else ""
    if isinstance(kind, TokenizerKind):
        inner, suffix = Record(TrainTokenizer, ""), ".train"
    if not isinstance(inner, Record):
        return
    if inner.record is Contribution:
        for word, meaning in CONTRIBUTION_KINDS.items():
            yield f"{path}[].{word}", Reference.name, "one of the three", meaning
    for field in fields(inner.record):
        if "kind" in field.metadata:
            yield from _describe(f"{path}{suffix}.{field.name}", field)


def _describe_default(known: Any) -> str:
    if is_required(known):
        return "required"
    default = known.default
    if default is None or default == ():
        return "none"
    return "see below" if hasattr(default, "__dataclass_fields__") else format_scalar(default)
