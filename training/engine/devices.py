"""The machine: which device computes, in which precision, and how it is made to give the same bits twice."""

from __future__ import annotations

import contextlib
import os
import platform
import random
from contextlib import AbstractContextManager
from typing import Any

# Read by cuBLAS when the first handle is made: without it, matrix products on CUDA may differ from run to run.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

import numpy as np
import torch

from training.engine.errors import EngineError
from training.engine.fitting import find_cpu_room
from training.engine.products import rounds_fast
from training.engine.threads import count_threads as count_threads


def choose_device(name: str) -> torch.device:
    """`name` is cpu, cuda or auto (CUDA where there is one)."""
    if name == "cuda" and not torch.cuda.is_available():
        raise EngineError("There is no CUDA device here; use --device cpu", code="no_device")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def describe_device(device: torch.device) -> str:
    if device.type == "cuda":
        return f"cuda: {torch.cuda.get_device_name(device)}"
    return f"cpu: {platform.machine()}"


def find_room(device: torch.device, *, processes: int) -> int:
    """Bytes that this process may take, one of so many on the machine: free on the card, or its share of the memory."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])  # each has a card of its own
    return find_cpu_room() // max(1, processes)


def make_deterministic(*, threads: int) -> None:
    """Fixed thread count and deterministic kernels: the order of every sum is the same in each run."""
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    # Would write NaN into every new tensor before its values: 2% of a step, to find faults that gradients compared show.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


def seed_everything(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def choose_precision(name: str, device: torch.device, *, ranks: int = 1) -> str:
    """fp32, bf16 or bf16_products. auto: bf16 on CUDA, where it is four times as fast; on a CPU bf16_products where its
    hardware has them, else fp32. bf16_products are made by such a CPU and one process that trains: elsewhere it is bf16 on
    CUDA and fp32 on CPUs."""
    if name == "auto":
        name = "bf16" if device.type == "cuda" else "bf16_products" if rounds_fast() else "fp32"
    if name != "bf16_products":
        return name
    if device.type == "cuda":
        return "bf16"
    return name if ranks == 1 and rounds_fast() else "fp32"


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """bf16: matrix products and what is kept of them in bf16, over fp32 weights. Otherwise nothing: the products of
    bf16_products are those of training.engine.products."""
    if precision == "bf16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return contextlib.nullcontext()


def get_random_states(device: torch.device) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """All generators: torch's as tensors, Python's and numpy's as JSON values."""
    tensors = {"torch": torch.get_rng_state()}
    if device.type == "cuda":
        tensors["cuda"] = torch.cuda.get_rng_state(device)
    version, words, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    return tensors, {
        "python": [version, list(words), gauss],
        "numpy": [name, [int(k) for k in keys], position, has_gauss, cached],
    }


def set_random_states(tensors: dict[str, torch.Tensor], values: dict[str, Any], device: torch.device) -> None:
    torch.set_rng_state(tensors["torch"])
    if device.type == "cuda" and "cuda" in tensors:
        torch.cuda.set_rng_state(tensors["cuda"], device)
    version, words, gauss = values["python"]
    random.setstate((version, tuple(words), gauss))
    name, keys, position, has_gauss, cached = values["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), position, has_gauss, cached))


def list_versions() -> dict[str, str]:
    """What the bits may depend on."""
    import peft
    import safetensors
    import tokenizers
    import transformers

    versions = {
        module.__name__: str(module.__version__) for module in (torch, transformers, tokenizers, safetensors, peft)
    }
    versions["python"] = platform.python_version()
    versions["numpy"] = np.__version__
    if torch.version.cuda:
        versions["cuda"] = torch.version.cuda
    return versions
