"""How many bytes a training step needs, by arithmetic from the sizes that a config.json names: before anything is loaded.

    weights, gradients, optimizer   by the number of parameters and of those that learn
    activations                     what the layers keep for the backward pass, by family and precision
    loss                            a chunk of logits and the gradients that are made with it
    scratch                         what one layer or one parameter needs for a moment
    program                         torch itself

What a family keeps was measured (saved tensors counted, every size varied alone) and is linear in its sizes; the tests
measure it again for all families. No torch here: the wizard asks too.
Legend: D width, A all attention heads together, K all key heads together, I inner width, S state, H heads, n tokens of a
document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

PROGRAM_BYTES = 600_000_000  # torch, transformers and the corpus' index; 400 MB were measured before any model
MAX_SIZE = 1 << 20  # of anything that a config names
MAX_LAYERS = 512  # more the engine refuses to load; a plan tries their number one by one
CHUNK_BYTES = {"cpu": 8 << 20, "cuda": 512 << 20}  # of fp32 logits; on a CPU they stay in its cache
OPTIMIZER_BYTES = {
    "adamw": 8,
    "adam": 8,
    "sgd": 4,
    "muon": 4,
}  # a parameter; muon: of its matrices, the rest is adamw's


@dataclass(frozen=True)
class Kept:
    """Bytes that a layer keeps for each position, as factors of its sizes."""

    width: float
    heads: float = 0.0  # of A
    keys: float = 0.0  # of K
    inner: float = 0.0
    scores: float = 0.0  # of H n: scores that are kept whole
    state: float = 0.0  # of I S
    blocks: float = 0.0  # of H chunk, of a state space read in blocks
    block_state: float = 0.0  # of H S


# (fp32, bf16): the same families as architectures.FAMILIES. fp32 as one process on a CPU keeps it (training.engine.quicken).
_LLAMA = Kept(16, 12.25, 8, 12), Kept(26, 6.25, 4, 8)
_OLMO = Kept(16, 16.25, 12, 12), Kept(26, 14.25, 12, 8)
KEPT: dict[str, tuple[Kept, Kept]] = {
    "gemma": (Kept(24, 12.25, 8, 16), Kept(26, 6.25, 4, 8)),
    "gemma2": (Kept(40, 15.5, 0, 16, scores=8.25), Kept(42, 8, 0, 8, scores=8.25)),
    "gemma3_text": (Kept(40, 20.5, 16.25, 16), Kept(42, 14.5, 12.25, 8)),
    "gpt_neox": (Kept(20, 20.25, 0, 8), Kept(16, 10.25, 0, 4)),
    "gpt_oss": (Kept(40, 17, 0, 28, scores=4.25), Kept(40, 8, 0, 28, scores=6.4)),
    "lfm2": (Kept(32, 14, 8, 16), Kept(30, 8, 5, 8)),
    "llama": _LLAMA,
    "mamba": (Kept(12, inner=37, state=12.25), Kept(10, inner=27, state=14.25)),
    "mamba2": (Kept(12, inner=50, blocks=11, block_state=19), Kept(10, inner=41, blocks=10, block_state=15)),
    "mistral": _LLAMA,
    "olmo2": _OLMO,
    "olmo3": _OLMO,
    "phi": (Kept(8, 12.25, 8, 20), Kept(12, 6.25, 4, 10)),
    "qwen2": _LLAMA,
    "qwen3": (Kept(16, 16.5, 12.25, 12), Kept(26, 12.5, 10.25, 8)),
    "smollm3": _LLAMA,
    "starcoder2": (Kept(16, 12.25, 8, 8), Kept(16, 6.25, 4, 4)),
}  # fmt: skip
# Of these, layers that are quickened keep a tensor of I fewer.
GATES = frozenset({"llama", "mistral", "olmo2", "olmo3", "qwen2", "qwen3", "smollm3"})
WINDOW_MASK = 5.0  # bytes of n for each position and layer, where a sliding window is shorter than a document


@dataclass(frozen=True)
class Sizes:
    """A network in numbers."""

    family: str
    parameters: int
    layers: int
    width: int
    heads: int
    attended: int  # A
    keys: int  # K
    inner: int
    vocabulary: int
    is_tied: bool
    window: int = 0  # tokens; 0: none
    state: int = 0
    chunk: int = 0
    experts: int = 1
    experts_a_token: int = 1


def read_sizes(config: Mapping[str, Any], parameters: int) -> Sizes:
    """From what a config.json says; what is missing or absurd there is taken as its usual value. KeyError for a family
    that is not listed."""
    family = str(config.get("model_type"))
    KEPT[family]
    width, heads = _whole(config, "hidden_size", 1), _whole(config, "num_attention_heads", 1)
    if family == "mamba2":
        heads = _whole(config, "num_heads", 1)
    head = _whole(config, "head_dim", max(1, width // heads))
    is_mamba2 = family == "mamba2"
    return Sizes(
        family=family,
        parameters=parameters,
        layers=min(MAX_LAYERS, _whole(config, "num_hidden_layers", 1)),
        width=width,
        heads=heads,
        attended=heads * head,
        keys=_whole(config, "num_key_value_heads", heads) * head,
        inner=heads * head if is_mamba2 else _whole(config, "intermediate_size", 4 * width),
        vocabulary=_whole(config, "vocab_size", 1),
        is_tied=bool(config.get("tie_word_embeddings", True)),
        window=_whole(config, "sliding_window", 0),
        state=_whole(config, "state_size", 0),
        chunk=_whole(config, "chunk_size", 0),
        experts=_whole(config, "num_local_experts", 1),
        experts_a_token=_whole(config, "num_experts_per_tok", 1),
    )


def _whole(config: Mapping[str, Any], name: str, usual: int) -> int:
    value = config.get(name)
    is_good = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_SIZE
    return int(value) if is_good else usual  # type: ignore[arg-type]


@dataclass(frozen=True)
class Training:
    """What is done with the network."""

    method: str  # pretrain | full | lora
    optimizer: str
    precision: str  # fp32 | bf16 | bf16_products
    device: str  # cpu | cuda
    rank: int = 16  # of the adapter
    ranks: int = 1  # processes that share weights, gradients and optimizer


@dataclass(frozen=True)
class Footprint:
    """Bytes of one process while it takes a step."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    loss: int
    scratch: int
    program: int

    @property
    def total(self) -> int:
        held = self.weights + self.gradients + self.optimizer
        return held + self.activations + self.loss + self.scratch + self.program


def estimate_step(
    sizes: Sizes, training: Training, *, positions: int, longest: int, recomputed_layers: int = 0
) -> Footprint:
    """`positions` of one forward and backward pass, in documents of at most `longest` tokens; the activations of
    `recomputed_layers` are made twice instead of kept."""
    learnt = count_learnt(sizes, training)
    frozen = sizes.parameters if training.method == "lora" else 0
    is_bf16, share = training.precision == "bf16", max(1, training.ranks)
    frozen_bytes = 2 if is_bf16 and training.device == "cuda" else 4
    # Under bf16, products read a copy of the weights that autocast keeps for the length of a pass.
    copies = 2 * sizes.parameters if is_bf16 and (not frozen or training.device == "cpu") else 0
    largest = sizes.vocabulary * sizes.width
    layer = keep_of_layer(sizes, training, longest)
    kept_layers = max(0, sizes.layers - recomputed_layers)
    # A layer that is made again keeps its input, and one of them at a time everything.
    again = recomputed_layers * 4 * sizes.width + (layer if recomputed_layers else 0)
    chunk = min(CHUNK_BYTES[training.device], 4 * sizes.vocabulary * max(16, positions))
    head_gradients = 0 if frozen else (2 if sizes.is_tied else 1) * 4 * largest
    flow = 4 * (3 * sizes.inner * sizes.experts_a_token + 2 * sizes.attended + 4 * sizes.width)
    moments = 0 if frozen else 8 * largest  # of the optimizer, while it turns the largest matrix
    return Footprint(
        weights=(frozen * frozen_bytes + learnt * 4) // share + copies,
        gradients=4 * learnt // share,
        optimizer=_optimizer_bytes(sizes, training, learnt) // share,
        activations=int(positions * (kept_layers * layer + again)),
        loss=3 * chunk + head_gradients + positions * 20 * sizes.width,
        scratch=max(positions * flow + 4 * sizes.inner * sizes.width, moments - head_gradients),
        program=PROGRAM_BYTES,
    )


def estimate_keeping(sizes: Sizes) -> int:
    """Bytes while the result is read back beside the model that was trained."""
    return 2 * 4 * sizes.parameters + PROGRAM_BYTES


def keep_of_layer(sizes: Sizes, training: Training, longest: int) -> float:
    """Bytes that a layer keeps for each position."""
    kept = KEPT[sizes.family][training.precision == "bf16"]
    mask = WINDOW_MASK * longest if 0 < sizes.window < longest else 0.0
    is_quick = training.device == "cpu" and training.ranks == 1
    gates = 4.0 if training.precision != "bf16" and sizes.family in GATES and not is_quick else 0.0
    return (
        kept.width * sizes.width
        + kept.heads * sizes.attended
        + kept.keys * sizes.keys
        + (kept.inner + gates) * sizes.inner * sizes.experts_a_token
        + kept.scores * sizes.heads * longest
        + kept.state * sizes.inner * sizes.state
        + kept.blocks * sizes.heads * sizes.chunk
        + kept.block_state * sizes.heads * sizes.state
        + mask
    )


def count_learnt(sizes: Sizes, training: Training) -> int:
    """Parameters that learn: all, or those of an adapter on every linear layer."""
    if training.method != "lora":
        return sizes.parameters
    if sizes.family.startswith("mamba"):
        return training.rank * sizes.layers * (sizes.width + 2 * sizes.inner)
    attention = 4 * sizes.width + 2 * sizes.attended + 2 * sizes.keys
    return training.rank * sizes.layers * (attention + 3 * (sizes.width + sizes.inner))


def _optimizer_bytes(sizes: Sizes, training: Training, learnt: int) -> int:
    bytes_each = OPTIMIZER_BYTES[training.optimizer]
    if training.optimizer != "muon" or training.method == "lora":
        return bytes_each * learnt
    outside = sizes.vocabulary * sizes.width * (1 if sizes.is_tied else 2)
    return bytes_each * max(0, learnt - outside) + OPTIMIZER_BYTES["adamw"] * min(outside, learnt)
