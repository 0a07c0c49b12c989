"""What no single key can tell: keys of a recipe that contradict each other."""

from __future__ import annotations

from collections.abc import Iterator

from training.engine.networks import NETWORKS
from training.engine.recipe_fields import Unsupported
from training.engine.recipe_schema import Architecture, Recipe, Train, TrainTokenizer
from training.engine.yaml_document import Node, Problem

ADAPTER_KEYS = ("rank", "alpha", "variant")


def find_conflicts(root: Node) -> Iterator[Problem]:
    """Keys that stand beside keys they exclude; needs no valid values, so it is told together with wrong ones."""
    starts = [name for name in ("base", "architecture", "merge") if name in root.value]
    if not starts:
        yield root.problem("the recipe has no start", "add one of base, architecture, merge")
    yield from _keep_first(root, starts, "keep exactly one of base, architecture, merge")
    yield from _find_sizes(place(root, "architecture"), root)
    train = place(root, "train")
    if train is root or not train.is_mapping:
        return
    lengths = [name for name in ("epochs", "steps", "tokens") if name in train.value]
    yield from _keep_first(train, lengths, "keep one of epochs, steps, tokens")
    if place(train, "method").value in ("pretrain", "full"):
        for name in ADAPTER_KEYS:
            if name in train.value:
                yield train.value[name][0].problem(f"'{name}' belongs to method lora", "remove the line")
    objective = place(train, "objective").value if "objective" in train.value else "likelihood"
    if "beta" in train.value and objective == "likelihood":
        yield train.value["beta"][0].problem("'beta' belongs to objective dpo or simpo", "remove the line")
    if "target_margin" in train.value and objective != "simpo":
        yield train.value["target_margin"][0].problem("'target_margin' belongs to objective simpo", "remove the line")
    if "decay_steps" in train.value and place(train, "schedule").value != "wsd":
        yield train.value["decay_steps"][0].problem("'decay_steps' belongs to schedule wsd", "remove the line")


def _find_sizes(shape: Node, root: Node) -> Iterator[Problem]:
    """An architecture has a size, or numbers of its own."""
    if shape is root or not shape.is_mapping:
        return
    for name in ("layers", "width", "heads", "kv_heads"):
        if name in shape.value and "size" in shape.value:
            yield shape.value[name][0].problem(
                f"'{name}' stands beside 'size'", "keep the size, or numbers of your own"
            )
        elif name not in shape.value and "size" not in shape.value and name != "kv_heads":
            yield shape.problem(f"'{name}' is missing", f"add {name}, or write size: 30m instead of the numbers")


def _keep_first(node: Node, names: list[str], hint: str) -> Iterator[Problem]:
    for extra in names[1:]:
        yield node.value[extra][0].problem(f"'{extra}' stands beside '{names[0]}'", hint)


def find_contradictions(recipe: Recipe, root: Node) -> Iterator[Problem]:
    """Values that do not go together, in a recipe whose every single value is valid."""
    if recipe.merge:
        node = place(root, "merge")
        yield Unsupported(node.line, node.column, "merge is not supported yet", "use base: NAMESPACE/NAME@REVISION")
    yield from _check_tokenizer(recipe, root)
    if recipe.architecture:
        yield from _check_architecture(recipe.architecture, place(root, "architecture"))
    if recipe.train:
        yield from _check_train(recipe, recipe.train, root)
    elif not recipe.merge:
        yield root.problem("'train' is missing", "add train: {method: lora}")
    yield from _check_mix(recipe, root)


def _check_tokenizer(recipe: Recipe, root: Node) -> Iterator[Problem]:
    node = place(root, "tokenizer")
    if recipe.architecture and recipe.tokenizer == "inherit":
        hint = "write tokenizer: {train: {vocabulary: 8192}}"
        yield node.problem("random weights have no tokenizer to inherit", hint)
    if recipe.base and isinstance(recipe.tokenizer, TrainTokenizer):
        yield node.problem("the base's weights belong to the base's tokenizer", "write tokenizer: inherit")


def _check_architecture(shape: Architecture, node: Node) -> Iterator[Problem]:
    if not (shape.layers and shape.width and shape.heads):
        return  # said already
    network = NETWORKS[shape.family]
    if not network.shares_keys and shape.kv_heads not in ("auto", shape.heads):
        hint = "remove the line"
        yield place(node, "kv_heads").problem(f"in {shape.family} each head has a key of its own", hint)
    if shape.width % (2 * shape.heads):
        hint = "make width a multiple of twice the heads"
        yield place(node, "width").problem(f"width {shape.width} does not divide into {shape.heads} heads", hint)
    if shape.kv_heads != "auto" and shape.heads % shape.kv_heads:
        yield place(node, "kv_heads").problem(f"kv_heads {shape.kv_heads} does not divide heads", "use heads itself")


def _check_train(recipe: Recipe, train: Train, root: Node) -> Iterator[Problem]:
    node = place(root, "train")
    if recipe.architecture and train.method != "pretrain":
        hint = "write method: pretrain, or start from a base"
        yield place(node, "method").problem(f"method {train.method} needs a model to start from", hint)
    if train.method == "pretrain" and train.objective != "likelihood":
        hint = "write method: lora or full"
        yield place(node, "method").problem(f"objective {train.objective} needs a model that answers already", hint)
    yield from _check_objective(recipe, train, root)
    if train.method != "lora" and recipe.output == "adapter":
        yield place(root, "output").problem("only method lora makes an adapter", "write output: merged")
    numbers = (train.batch_tokens, train.context_tokens)
    least = numbers[1] * (1 if train.objective == "likelihood" else 2) if isinstance(numbers[1], int) else 0
    if isinstance(numbers[0], int) and numbers[0] < least:
        hint = f"write at least {least}"
        yield place(node, "batch_tokens").problem("a batch is smaller than one row of context_tokens", hint)
    if recipe.architecture and isinstance(numbers[1], int) and numbers[1] > recipe.architecture.context_tokens:
        hint = f"write at most {recipe.architecture.context_tokens}"
        yield place(node, "context_tokens").problem("this is longer than the architecture's context", hint)


def _check_objective(recipe: Recipe, train: Train, root: Node) -> Iterator[Problem]:
    """Rows with two answers and an objective that prefers one of them go together."""
    prefers = train.objective != "likelihood"
    node = place(root, "contributions")
    for contribution, item in zip(recipe.contributions, node.value if node.is_sequence else [], strict=False):
        if contribution.kind == "data" and prefers != (contribution.format == "preference"):
            what = (
                f"objective {train.objective} learns from rows with two answers"
                if prefers
                else ("rows with two answers need an objective that prefers one")
            )
            hint = "write format: preference" if prefers else "write train: {objective: dpo}"
            yield place(item, "format").problem(what, hint)


def _check_mix(recipe: Recipe, root: Node) -> Iterator[Problem]:
    node = place(root, "contributions")
    if recipe.train and not any(c.kind == "data" for c in recipe.contributions):
        yield node.problem("there is no data to train on", "add contributions: [{data: NAMESPACE/NAME@main}]")
    seen: dict[tuple[str, str, str, str], int] = {}
    for contribution, item in zip(recipe.contributions, node.value if node.is_sequence else [], strict=False):
        ref = contribution.repo
        line = seen.setdefault((contribution.kind, ref.repo, ref.revision, contribution.split), item.line)
        if line != item.line:
            yield item.problem(f"{ref} is listed twice (first in line {line})", "raise its weight instead")


def place(node: Node, name: str) -> Node:
    """Where the value of a key stands; the whole mapping where it is not written."""
    if node.is_mapping and name in node.value:
        value: Node = node.value[name][1]
        return value
    return node
