"""Layers compiled by torch, each as a whole but for its attention: where documents end changes with every batch, and a
compiler that saw it would compile anew each time.

All layers of a kind share one compilation, with the number of positions left open; a few more for the kinds of layers a
network has. What cannot be compiled runs as it is written, and a warning says so."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from training.engine import attention
from training.engine.events import emit
from training.engine.sharding import find_layers

MOST_COMPILATIONS = 16  # of one piece of code; beyond, it runs as it is written
DOCUMENTS = ("document_lengths", "document_ends")


def keep_compiled(folder: Path) -> None:
    """Where compilers may write: the sandbox has no other place. Before the first compilation."""
    for name in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):
        os.environ.setdefault(name, str(folder / name.lower()))


@contextmanager
def compile_layers(
    model: Any, *, is_wanted: bool, try_out: Callable[[], None], backend: str | Callable[..., Any] = "inductor"
) -> Iterator[bool]:
    """While it lasts, the layers of the model are compiled where gradients are wanted. Gives whether they are.

    `try_out` takes a forward and a backward pass and leaves nothing behind; where it fails, no layer is compiled."""
    if not is_wanted:
        yield False
        return
    import torch._dynamo as dynamo

    layers = list(find_layers(model))
    before = [layer.__dict__.get("forward") for layer in layers]
    with dynamo.config.patch(recompile_limit=MOST_COMPILATIONS, fail_on_recompile_limit_hit=False):
        attention.register(dynamo.disable(attention.attend))  # type: ignore[no-untyped-call]
        for layer in layers:
            layer.__dict__["forward"] = _Compiled(layer.forward, backend)
        is_compiled = False
        try:
            is_compiled = _works(try_out)
            if not is_compiled:
                _put_back(layers, before)
            yield is_compiled
        finally:
            if is_compiled:
                _put_back(layers, before)


def _works(try_out: Callable[[], None]) -> bool:
    """A compiler fails in many ways, each with an exception of its own."""
    try:
        try_out()
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        why = (str(error).strip().splitlines() or [""])[0][:300]
        emit("warning", code="compile_failed", message=f"The layers could not be compiled ({type(error).__name__}: {why}); "
             "they run as they are written, to the same result but slower.")  # fmt: skip
        return False
    return True


def _put_back(layers: list[Any], before: list[Any]) -> None:
    attention.register()
    for layer, forward in zip(layers, before, strict=True):
        layer.__dict__.pop("forward", None)
        if forward is not None:
            layer.__dict__["forward"] = forward


class _Compiled:
    def __init__(self, forward: Callable[..., Any], backend: str | Callable[..., Any]) -> None:
        self.slow = forward
        compile_: Any = torch.compile
        self.fast = compile_(forward, dynamic=True, backend=backend)

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        if not torch.is_grad_enabled():
            return self.slow(*inputs, **named)
        documents = {name: named.pop(name) for name in DOCUMENTS if name in named}
        with attention.documents_of_layer(documents):
            return self.fast(*inputs, **named)
