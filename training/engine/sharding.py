"""A model shared out over ranks: each keeps a slice of every weight, of its gradient and of the optimizer's memory.

FSDP2 gathers the weights of a layer when its forward begins and lets them go behind it.
Source: https://arxiv.org/abs/2304.11277"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import distributed

from training.engine.documents import get_body
from training.engine.ranks import Ranks

T = TypeVar("T")


class Whole(torch.nn.Module):
    """A model and what is done with it as one forward.

    Weights outside of the layers are gathered when this forward begins. The loss reads the head's without a call of the
    head, and samples enter by another door than the loss, so each is handed in as `work`."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, work: Callable[[Any], T]) -> T:
        return work(self.model)


def share_out(model: Any, ranks: Ranks) -> Whole:
    """The model as a whole; over several ranks its parameters become slices, in place, on the device of the ranks.

    Gradients are summed, not averaged: a loss is divided by the targets of the whole step already."""
    whole = Whole(model)
    if ranks.is_alone:
        return whole
    # Here, for one rank alone never needs them and they take half a second to load.
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, fully_shard

    mesh = init_device_mesh(ranks.device, (ranks.count,))
    for layer in find_layers(model):
        fully_shard(layer, mesh=mesh)
    fully_shard(whole, mesh=mesh)
    for module in whole.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)  # gloo knows no other
    return whole


def find_layers(model: Any) -> torch.nn.ModuleList:
    body = get_body(model)
    count = body.config.num_hidden_layers
    return next(m for m in body.modules() if isinstance(m, torch.nn.ModuleList) and len(m) == count)


def gather_into(plain: Any | None, model: Any) -> None:
    """Copy what was trained into `plain`, a model of the same shape on the first rank; every rank must call this."""
    places = dict(plain.named_parameters()) if plain is not None else {}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                full = get_full(parameter)
                if plain is not None:
                    places[name].copy_(full)


def get_full(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor with the slices of every rank; all ranks must ask for the same one at the same time."""
    full: torch.Tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return full


def wait_for_all(ranks: Ranks) -> None:
    if not ranks.is_alone:
        distributed.barrier()
