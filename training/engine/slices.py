"""Tensors that ranks hold in slices, on the disk: each rank writes its own, and any number of ranks reads them back.

By torch.distributed.checkpoint, in safetensors: the header of each file says which part of a tensor it holds, a file
without such a header holds it whole."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.distributed import checkpoint
from torch.distributed.checkpoint.api import CheckpointException


class Unreadable(ValueError):
    """The files are damaged, or some are missing."""


def write_slices(folder: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Every rank must call this with the same names."""
    writer = checkpoint.HuggingFaceStorageWriter(str(folder), save_distributed=True)
    checkpoint.save(dict(tensors), storage_writer=writer)


def read_slices(folder: Path, like: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """All tensors of a folder: sliced as the parameter of `like` that they belong to, else whole.

    A tensor belongs to the parameter whose name it has before a "|"; Unreadable where that has another shape."""
    with _as_unreadable():
        reader = checkpoint.HuggingFaceStorageReader(str(folder))
        found = reader.read_metadata().state_dict_metadata
        tensors = {name: _make_place(name, entry, like) for name, entry in found.items()}
        # Alone: each rank reads what it holds, and whether all could is asked afterwards.
        checkpoint.load(tensors, storage_reader=reader, no_dist=True)
    return tensors


def _make_place(name: str, entry: Any, like: Mapping[str, torch.Tensor]) -> torch.Tensor:
    owner = like.get(name.rsplit("|", 1)[0])
    dtype = entry.properties.dtype
    if owner is None or not entry.size:
        return torch.zeros(entry.size, dtype=dtype)
    if entry.size != owner.shape or sum(chunk.sizes.numel() for chunk in entry.chunks) != owner.numel():
        raise Unreadable(f"{name} is not whole")
    return torch.zeros_like(owner.detach(), dtype=dtype)


@contextmanager
def _as_unreadable() -> Iterator[None]:
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="torch.distributed is disabled")
            yield
    except CheckpointException as error:  # no Exception by its class
        raise Unreadable(str(error)) from error
