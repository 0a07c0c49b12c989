"""The records of recipe.yaml: every key with its kind, default and meaning.

One table for the parser, the writer and the documentation; what an entry means in the end is in docs/recipe.md."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from training.engine.networks import FAMILIES, SIZES
from training.engine.recipe_fields import (
    INVALID,
    Auto,
    Choice,
    Flag,
    ListOf,
    Number,
    Record,
    Reference,
    RepoRef,
    Text,
    Unsupported,
    key,
)
from training.engine.yaml_document import Node, Problem

VERSION = 1

DATA_FORMATS = Choice("chat", "instruction", "text", "classification", "preference")
PLANNED_CONTRIBUTION = "use data: NAMESPACE/NAME@REVISION"


@dataclass(frozen=True)
class Architecture:
    family: str = key(Choice(*FAMILIES), "Kind of network; random weights are drawn for it.")
    layers: int = key(Number(1, 256, whole=True), "Layers. With width and heads, or size instead of the three.", 0)
    width: int = key(Number(8, 32768, whole=True), "Size of the hidden state; a multiple of heads.", 0)
    heads: int = key(Number(1, 256, whole=True), "Attention heads; 1 for mamba, which has none.", 0)
    kv_heads: int | Auto = key(
        Number(1, 256, whole=True, auto=True), "Key and value heads; divides heads. auto: as many as heads.", "auto"
    )
    context_tokens: int = key(Number(8, 1 << 20, whole=True), "Longest text the model can read.", 1024)
    init_seed: int | Auto = key(Number(0, 2**31 - 1, whole=True, auto=True), "Seed of the random weights.", 17)
    size: str | None = key(Choice(*SIZES), "Instead of layers, width, heads and kv_heads: a size by its name.", None)


@dataclass(frozen=True)
class TrainTokenizer:
    type: str = key(Choice("bpe"), "Kind of tokenizer: byte-level BPE.", "bpe")
    vocabulary: int = key(Number(260, 1 << 18, whole=True), "Number of tokens, special ones included.", 8192)


@dataclass(frozen=True)
class ExtendTokenizer:
    extend: tuple[str, ...] = key(ListOf(Text(r"\S{1,64}", "a token"), most=256), "Tokens to add to the base's.")


class TokenizerKind:
    name = '"inherit", {train: {...}} or {extend: [...]}'

    def read(self, node: Node, problems: list[Problem]) -> Any:
        if node.value == "inherit":
            return "inherit"
        if node.is_mapping and list(node.value) == ["train"]:
            return Record(TrainTokenizer, "the tokenizer's settings").read(node.value["train"][1], problems)
        if node.is_mapping and list(node.value) == ["extend"]:
            hint = "use tokenizer: inherit"
            problems.append(Unsupported(node.line, node.column, "extend is not supported yet", hint))
            return Record(ExtendTokenizer, "a list of tokens").read(node, problems)
        problems.append(node.problem("the tokenizer is not one of the known kinds", f"write {self.name}"))
        return INVALID


@dataclass(frozen=True)
class MergeModel:
    model: RepoRef = key(Reference(), "A model to add.")
    weight: float = key(Number(-10, 10, zero=False), "Factor of its difference from the base.", 1.0)


@dataclass(frozen=True)
class Merge:
    method: str = key(Choice("task_arithmetic"), "How the models are joined.")
    base: RepoRef = key(Reference(), "The model whose differences are added up.")
    models: tuple[MergeModel, ...] = key(ListOf(Record(MergeModel, "a model"), most=64), "What is joined.")


MENDS = {
    "unwrap": "marks of another model's chat template are taken out of the texts",
    "fold_system": "a system message goes before the first question",
    "learn_all": "everything in a conversation is learnt, not the answers alone",
    "fitting_only": "rows of another kind are left out, even a whole file of them",
}


def _names(meaning: str) -> Any:
    return key(ListOf(Text(r"[^\x00-\x1f]{1,80}", "the name of a column"), most=8), meaning, None)


@dataclass(frozen=True)
class Columns:
    question: tuple[str, ...] | None = _names("Where the question stands; the first of these that a row has.")
    answer: tuple[str, ...] | None = _names("Where the answer stands.")
    text: tuple[str, ...] | None = _names("Where the text stands.")
    label: tuple[str, ...] | None = _names("Where the label stands.")
    messages: tuple[str, ...] | None = _names("Where the conversation stands.")
    chosen: tuple[str, ...] | None = _names("Where the better of two answers stands.")
    rejected: tuple[str, ...] | None = _names("Where the worse one stands.")


@dataclass(frozen=True)
class Contribution:
    """One line of the mix. `kind` is the key that names the repository."""

    kind: str  # data | adapter | model
    repo: RepoRef
    split: str = key(Text(r"[A-Za-z0-9_.-]{1,64}", "the name of a split"), "Part of the dataset to read.", "train")
    format: str = key(DATA_FORMATS, "What a row looks like.", "chat")
    weight: float = key(Number(-1000, 1000, zero=False), "Data: relative share of the mix, above 0.", 1.0)
    pull_request: int | None = key(
        Number(1, 2**31 - 1, whole=True), "Pull request that brought it; written by the hub.", None
    )
    columns: Columns | None = key(Record(Columns, "names of columns"), "Data: columns with names of their own.", None)
    language: str | None = key(
        Text(r"[a-z]{2}", "a language code of two letters"), "Data: rows in another language are left out.", None
    )
    mend: tuple[str, ...] | None = key(ListOf(Choice(*MENDS), most=8), "Data: repairs while it is read.", None)


FOREIGN_TO_WEIGHTS = frozenset({"split", "format", "columns", "language", "mend"})
CONTRIBUTION_KINDS = {
    "data": "A dataset; all of them form one mix, trained once.",
    "adapter": "An adapter trained elsewhere, added after training.",
    "model": "A model trained elsewhere, added as its difference from the base.",
}


def _read_contribution_kind(node: Node, entries: dict[str, Any], problems: list[Problem]) -> dict[str, Any]:
    present = [kind for kind in CONTRIBUTION_KINDS if kind in entries]
    if len(present) != 1:
        what = "names no repository" if not present else "names more than one repository"
        problems.append(node.problem(f"this contribution {what}", "write exactly one of data, adapter, model"))
        for kind in present:
            entries.pop(kind)
        return {"kind": INVALID}
    kind = present[0]
    key_node, value_node = entries.pop(kind)
    if kind != "data":
        message = f"contributions of kind '{kind}' are not supported yet"
        problems.append(Unsupported(key_node.line, key_node.column, message, PLANNED_CONTRIBUTION))
        for name in FOREIGN_TO_WEIGHTS & entries.keys():
            problems.append(entries.pop(name)[0].problem(f"'{name}' belongs to data", "remove the line"))
    weight = entries["weight"][1] if "weight" in entries else None
    if kind == "data" and weight and isinstance(weight.value, int | float) and weight.value < 0:
        problems.append(weight.problem("the weight of data must be above 0", "leave the line out to drop the data"))
    return {"kind": kind, "repo": Reference().read(value_node, problems)}


@dataclass(frozen=True)
class Prepare:
    clean: str = key(Choice("default", "none"), "Quality filters for documents.", "default")
    deduplicate: str = key(Choice("minhash", "exact", "none"), "Which repetitions are dropped.", "minhash")
    decontaminate: bool = key(Flag(), "Drop rows that hold questions of the evaluation suites.", True)
    personal_data: str = key(Choice("mask", "drop", "keep"), "What happens to found personal data.", "mask")
    max_row_tokens: int | None = key(
        Number(8, 1 << 20, whole=True), "Longer rows are left out; without it they are split.", None
    )


def _whole(low: int, high: int) -> Number:
    return Number(low, high, whole=True, auto=True)


@dataclass(frozen=True)
class Train:
    method: str = key(
        Choice(
            "pretrain", "full", "lora", elsewhere=dict.fromkeys(("dpo", "simpo"), "write method: lora, objective: dpo")
        ),
        "What is trained.",
    )
    objective: str = key(
        Choice("likelihood", "dpo", "simpo"),
        "What is asked of it. likelihood: to say what the rows say; dpo, simpo: to prefer the better of two answers.",
        "likelihood",
    )
    beta: float | Auto = key(
        Number(0.001, 100, auto=True),
        "How sharply answers are told apart (dpo, simpo). auto: 0.1 for dpo, 2 for simpo.",
        "auto",
    )
    target_margin: float | Auto = key(
        Number(0, 100, auto=True),
        "By how much the better answer's reward should lead (simpo only). auto: half of beta.",
        "auto",
    )
    rank: int | Auto = key(_whole(1, 1024), "Rank of the adapter (lora only).", 16)
    alpha: float | Auto = key(
        Number(0.001, 4096, auto=True), "Scale of the adapter (lora only). auto: twice the rank.", "auto"
    )
    variant: str = key(
        Choice("plain", "rslora", "dora"),
        "Kind of adapter (lora only). rslora: scaled by the root of the rank; dora: direction and size learn apart.",
        "plain",
    )
    context_tokens: int | Auto = key(
        _whole(8, 1 << 20), "Length of a training row. auto: fits the longest document.", "auto"
    )
    epochs: float | Auto | None = key(
        Number(0.001, 10000, auto=True), "Passes over the mix; 1 where neither steps nor tokens are given.", None
    )
    steps: int | Auto | None = key(_whole(1, 10**9), "Optimizer steps, instead of epochs.", None)
    tokens: int | Auto | None = key(_whole(1, 10**15), "Training tokens, instead of epochs.", None)
    batch_tokens: int | Auto = key(_whole(8, 1 << 26), "Tokens of one optimizer step.", "auto")
    optimizer: str = key(
        Choice("adamw", "adam", "sgd", "muon"),
        "Rule that moves the weights. muon: the matrices inside the layers, adamw for the rest.",
        "adamw",
    )
    learning_rate: float | Auto = key(Number(1e-9, 10, auto=True), "Size of a step at its largest.", "auto")
    schedule: str = key(
        Choice("cosine", "linear", "wsd", "constant"),
        "How the learning rate falls after warmup. wsd: stays, and falls in the last steps.",
        "cosine",
    )
    warmup_steps: int | Auto = key(_whole(0, 10**7), "Steps in which the learning rate rises.", "auto")
    decay_steps: int | Auto = key(
        _whole(1, 10**9), "Steps in which it falls at the end (wsd only). auto: a fifth of all.", "auto"
    )
    precision: str = key(
        Choice("auto", "fp32", "bf16", "bf16_products"),
        "Number format of the arithmetic; bf16_products, on a CPU: only the factors of matrix products are rounded.",
        "auto",
    )
    seed: int | Auto = key(_whole(0, 2**31 - 1), "Seed of order, adapter weights and dropout.", 17)
    compile: str = key(
        Choice("auto", "off", "on"), "Layers compiled before the first step. auto: on a card, where it can be.", "auto"
    )


@dataclass(frozen=True)
class EvaluateSuite:
    suite: RepoRef = key(Reference(), "An evaluation suite.")
    margin: float | None = key(
        Number(0, 1), "Loss that counts as none, in the metric's unit; else what the suite says, else 0.01.", None
    )


@dataclass(frozen=True)
class Recipe:
    version: int = key(Number(1, VERSION, whole=True), "Version of this language.")
    train: Train | None = key(Record(Train, "the training settings"), "How weights are trained.", None)
    base: RepoRef | None = key(Reference(), "Model to start from. Exactly one of base, architecture, merge.", None)
    architecture: Architecture | None = key(
        Record(Architecture, "the shape of a network"), "Start from random weights of this shape.", None
    )
    merge: Merge | None = key(Record(Merge, "the settings of a merge"), "Start by joining models.", None)
    tokenizer: str | TrainTokenizer | ExtendTokenizer = key(
        TokenizerKind(), "Where the tokenizer comes from.", "inherit"
    )
    contributions: tuple[Contribution, ...] = key(
        ListOf(Record(Contribution, "a contribution", _read_contribution_kind), most=500),
        "What people brought; leaving a line out leaves it out of the model.",
        (),
    )
    prepare: Prepare = key(Record(Prepare, "the preparation settings"), "How data becomes a corpus.", Prepare())
    evaluate: tuple[EvaluateSuite, ...] = key(
        ListOf(Record(EvaluateSuite, "a suite"), most=32), "Suites the result is judged by.", ()
    )
    output: str = key(Choice("merged", "adapter"), "Publish whole weights, or the adapter alone (lora only).", "merged")


# The order in which a recipe is written and documented.
ORDER = (
    "version", "base", "architecture", "merge", "tokenizer",
    "contributions", "prepare", "train", "evaluate", "output",
)  # fmt: skip
