"""A configuration beside its weights: the sizes that it states are those of the tensors.

A loader allocates by the configuration and fills by the weights. Where they disagree, it fails late at best, and at worst
takes the memory of whoever tries it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from moderation.screens.findings import Finding, quote

FLOATS = {"F16", "BF16", "F32", "F64"}  # packed and quantized tensors have sizes of their own
EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight", "embed_in.weight", "tok_embeddings.weight")
NORMS = ("model.norm.weight", "transformer.ln_f.weight", "gpt_neox.final_layer_norm.weight")
HIDDEN = ("hidden_size", "n_embd", "d_model", "dim")
OWN_WIDTHS = ("embedding_size", "word_embed_proj_dim", "d_embed", "vocab_size_per_layer_input")
MAX_CONFIG_BYTES = 8 << 20


def check_dimensions(name: str, config: bytes, tensors: Mapping[str, Any]) -> Iterator[Finding]:
    """One finding at most. `tensors`: a safetensors header, {name: {"dtype", "shape", ...}}; what cannot be compared,
    for another name or layout, says nothing."""
    stated = _sizes(config)
    if stated is None:
        return
    vocab, width = stated
    for tensor, entry in tensors.items():
        if tensor == "__metadata__" or "lora_" in tensor or entry["dtype"] not in FLOATS:
            continue
        expected = _expected(tensor, vocab, width)
        if expected and list(entry["shape"]) != expected:
            shape = "x".join(map(str, entry["shape"]))
            what = f"{name} and config.json disagree: tensor {quote(tensor)[:60]} is {shape}"
            mend = f"the configuration says {'x'.join(map(str, expected))}; save both again together."
            yield Finding("unsafe_files", "dimensions", "hold", name, quote(f"{tensor} {shape}"), f"{what}, {mend}")
            return


def _sizes(config: bytes) -> tuple[int, int] | None:
    """(tokens, width) as stated, or None where the file states none or a layout with more of them."""
    try:
        stated = json.loads(config)
    except (ValueError, RecursionError):
        return None
    if isinstance(stated, dict) and isinstance(stated.get("text_config"), dict):
        stated = stated["text_config"]
    if not isinstance(stated, dict) or any(key in stated for key in OWN_WIDTHS) or "decoder_vocab_size" in stated:
        return None
    vocab, width = stated.get("vocab_size"), next((stated[key] for key in HIDDEN if key in stated), None)
    return (vocab, width) if type(vocab) is int and type(width) is int else None


def _expected(tensor: str, vocab: int, width: int) -> Sequence[int] | None:
    if tensor.endswith(EMBEDDINGS) and "vision" not in tensor and "audio" not in tensor:
        return [vocab, width]
    return [width] if tensor.endswith(NORMS) and "vision" not in tensor and "audio" not in tensor else None
