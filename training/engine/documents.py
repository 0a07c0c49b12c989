"""A forward pass over the documents of a batch, none of which sees another, on the path that its architecture needs.

Legend: N positions of a batch, S documents in it, L positions of a padded row, D width, V vocabulary."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from training.engine import attention
from training.engine.architectures import PADDED, get_family, get_soft_cap
from training.engine.batches import Batch


def get_plain(model: Any) -> Any:
    """The model of transformers under an adapter, or itself."""
    return model.get_base_model() if hasattr(model, "peft_config") else model


def get_body(model: Any) -> Any:
    """All of a model but its head."""
    plain = get_plain(model)
    return getattr(plain, plain.base_model_prefix)


def read_hidden(model: Any, batch: Batch, *, dtype: torch.dtype) -> torch.Tensor:
    """[N, D]: what the head makes logits of. `dtype` is that of the matrix products."""
    body = get_body(model)
    return _read(body.config, lambda **inputs: body(**inputs).last_hidden_state, batch, dtype)


@torch.no_grad()
def compute_logits(model: Any, batch: Batch) -> torch.Tensor:
    """fp32 [N, V] of a small batch, by the model's own head."""
    config = get_plain(model).config
    return _read(config, lambda **inputs: model(**inputs).logits, batch, torch.float32).float()


def apply_head(model: Any, hidden: torch.Tensor) -> torch.Tensor:
    """Logits [..., V] as the model's own forward makes them."""
    plain = get_plain(model)
    return bend(plain.get_output_embeddings()(hidden), get_soft_cap(plain.config))


def bend(logits: torch.Tensor, cap: float | None) -> torch.Tensor:
    """Logits kept within -cap .. cap."""
    return logits if cap is None else cap * torch.tanh(logits / cap)


def _read(config: Any, run: Callable[..., torch.Tensor], batch: Batch, dtype: torch.dtype) -> torch.Tensor:
    if get_family(config).packing == PADDED:
        return read_apart(lambda rows: run(input_ids=rows, use_cache=False), batch.tokens[0], batch.lengths)
    precision = dtype if dtype != torch.float32 else None
    described = attention.describe_documents(batch.lengths, batch.tokens.device, precision)
    return run(input_ids=batch.tokens, position_ids=batch.positions, use_cache=False, **described)[0]


def read_apart(
    run: Callable[[torch.Tensor], torch.Tensor], tokens_N: torch.Tensor, lengths: Sequence[int]
) -> torch.Tensor:
    """[N, ...]: `run` of int64 [rows, L], one document a row.

    The filling needs no mask: it stands to the right, and no layer that is listed looks there."""
    documents = torch.split(tokens_N, list(lengths))
    found: dict[int, torch.Tensor] = {}
    for group in group_by_length(lengths):
        rows = pad_sequence([documents[i] for i in group], batch_first=True)
        out = run(rows)
        # split, not slices: its backward is one concatenation, a slice's is a whole-size zero tensor for each document.
        sizes = [size for i in group for size in (lengths[i], rows.shape[1] - lengths[i])]
        found |= zip(group, torch.split(out.flatten(0, 1), sizes)[::2], strict=True)
    return torch.cat([found[i] for i in range(len(documents))])


def group_by_length(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Document numbers in groups within a factor of two: filling at most doubles what is read."""
    groups: dict[int, list[int]] = {}
    for number, length in enumerate(lengths):
        groups.setdefault(max(0, length - 1).bit_length(), []).append(number)
    yield from (groups[size] for size in sorted(groups))
