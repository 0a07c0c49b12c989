"""Models in the layout that transformers reads: what is accepted, how it is loaded, saved and checked again.

Nothing of a contributor runs here: safetensors only, known architectures only, no remote code."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from training.engine import attention
from training.engine.architectures import MODEL_TYPES, find_context
from training.engine.batches import Batch
from training.engine.digests import list_files
from training.engine.documents import compute_logits
from training.engine.errors import EngineError
from training.engine.networks import describe_network
from training.engine.recipe import Architecture
from training.engine.tokenizer import read_json_object

UNSAFE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".h5", ".msgpack")
MAX_SHAPE = {
    "num_hidden_layers": 512,
    "hidden_size": 1 << 15,
    "intermediate_size": 1 << 18,
    "vocab_size": 1 << 20,
    "num_attention_heads": 1 << 10,
    "head_dim": 1 << 12,
    "state_size": 1 << 12,
    "conv_kernel": 1 << 8,
    "num_local_experts": 1 << 10,
}
DEVIATION = 0.02  # of random matrices, as in GPT-2 and Llama
OWN_START = re.compile(r"A_log|dt_proj")  # matrices of a state space that must not begin as noise
MAX_RELOAD_DIFFERENCE = 1e-3  # of logits, between what was trained and what the files say, at equal precision


@dataclass(frozen=True)
class Shape:
    """What a config says before any weight is read."""

    parameters: int
    context_tokens: int
    dtype: torch.dtype  # of the stored weights
    config: Any


def check_model_folder(folder: Path, name: str, types: Sequence[str] = MODEL_TYPES) -> None:
    """Refuse what must not or cannot be loaded, before any of it is."""
    config = read_json_object(folder / "config.json", name)
    if not config:
        adapter = (folder / "adapter_config.json").is_file()
        advice = "it is an adapter; name the model it belongs to" if adapter else "add the model's config.json"
        raise EngineError(f"{name} has no config.json; {advice}", code="config_missing")
    if "auto_map" in config:
        raise EngineError(
            f"config.json of {name} asks to run its own code (auto_map), which is never done; remove that key",
            code="remote_code",
        )
    if config.get("model_type") not in types:
        raise EngineError(
            f"{name} is of type {str(config.get('model_type'))[:40]!r}; known are {', '.join(types)}",
            code="model_type_unknown",
        )
    if config.get("quantization_config"):
        raise EngineError(f"{name} is quantized; name the original weights", code="quantized")
    if config.get("use_bidirectional_attention"):
        raise EngineError(f"{name} reads to both sides, so it cannot be asked to go on", code="model_type_unknown")
    _check_size(config, name)
    _check_weights(folder, name)


def _check_size(config: Mapping[str, Any], name: str) -> None:
    for key, most in MAX_SHAPE.items():
        value = config.get(key, 1)
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
            raise EngineError(f"config.json of {name}: {key} must be 1 to {most}", code="config_invalid")


def _check_weights(folder: Path, name: str) -> None:
    files = os.listdir(folder)
    weights = [f for f in files if f.endswith(".safetensors")]
    if not weights:
        pickled = sorted(f for f in files if f.endswith(UNSAFE_SUFFIXES))
        found = f" ({pickled[0]} may hold code and is never loaded)" if pickled else ""
        raise EngineError(f"{name} has no safetensors weights{found}; save it as safetensors", code="weights_unsafe")
    index = read_json_object(folder / "model.safetensors.index.json", name)
    named = set((index.get("weight_map") or {}).values()) if index else {"model.safetensors"}
    missing = sorted(str(f) for f in named if not isinstance(f, str) or "/" in f or f not in weights)
    if missing:
        raise EngineError(f"{name} lacks its weight file {missing[0][:80]}; upload it", code="weights_missing")


def read_shape(folder: Path, name: str) -> Shape:
    """Counts parameters on the meta device: no memory is taken."""
    config = _load_config(folder, name)
    from transformers import AutoModelForCausalLM

    make: Any = AutoModelForCausalLM.from_config
    try:
        with torch.device("meta"):
            model = make(config)
    except Exception as error:
        raise EngineError(f"config.json of {name} describes no model: {error}", code="config_invalid") from error
    dtype = config.dtype if isinstance(config.dtype, torch.dtype) else torch.float32
    return Shape(sum(p.numel() for p in model.parameters()), find_context(config), dtype, config)


def _load_config(folder: Path, name: str) -> Any:
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        raise EngineError(f"config.json of {name} cannot be read: {error}", code="config_invalid") from error
    # Again: some families know their sizes by a second name, which the file may use.
    _check_size({key: value for key in MAX_SHAPE if (value := getattr(config, key, None)) is not None}, name)
    return config


def load_model(folder: Path, name: str, *, dtype: torch.dtype, device: torch.device) -> Any:
    """The model with every weight read from safetensors; EngineError when one is missing or has another shape."""
    from transformers import AutoModelForCausalLM

    check_model_folder(folder, name)
    attention.register()
    load: Any = AutoModelForCausalLM.from_pretrained
    try:
        model, report = load(
            folder,
            dtype=dtype,
            attn_implementation=attention.NAME,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )
    except Exception as error:
        raise EngineError(f"The weights of {name} cannot be read: {error}", code="weights_invalid") from error
    lacking = [*report["missing_keys"], *(str(k) for k in report.get("mismatched_keys", ()))]
    if lacking:
        raise EngineError(f"The weights of {name} lack {sorted(lacking)[0]}; upload them whole", code="weights_invalid")
    model.config.attention_dropout = 0.0  # packed attention has none, and a run must not depend on it
    return model.to(device)


def describe_architecture(shape: Architecture, tokenizer: Any) -> Any:
    """The config of an architecture, as transformers knows it."""
    from transformers import AutoConfig

    settings = describe_network(shape, len(tokenizer))
    ends = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    return AutoConfig.for_model(settings.pop("model_type"), **settings, **ends)


def make_model(shape: Architecture, *, tokenizer: Any, seed: int, device: torch.device) -> Any:
    """A network with random weights. Each matrix is drawn from its own generator, seeded by `seed` and its name: the bits
    depend on neither the order of modules nor the machine's device. Norms, biases and what drives a state begin as
    transformers has it, its own draws from `seed`."""
    from transformers import AutoModelForCausalLM

    attention.register()
    make: Any = AutoModelForCausalLM.from_config
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = make(describe_architecture(shape, tokenizer), attn_implementation=attention.NAME, dtype=torch.float32)
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2 and not OWN_START.search(name):
            draw_matrix(parameter, name, seed=seed, deviation=DEVIATION)
    model.generation_config.eos_token_id = list_end_tokens(tokenizer)
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model.to(device)


def list_end_tokens(tokenizer: Any) -> list[int]:
    turn_end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    return sorted({tokenizer.eos_token_id, turn_end} - {None, tokenizer.unk_token_id})


def draw_weights(model: torch.nn.Module, *, seed: int, deviation: float) -> None:
    """Matrices from a normal distribution, vectors (norms) to one."""
    for name, parameter in model.named_parameters():
        if parameter.ndim < 2:
            torch.nn.init.ones_(parameter)
        else:
            draw_matrix(parameter, name, seed=seed, deviation=deviation)


def draw_matrix(parameter: torch.nn.Parameter, name: str, *, seed: int, deviation: float) -> None:
    """From a normal distribution, the numbers of this name alone."""
    own = int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:8], "little") >> 1
    generator = torch.Generator().manual_seed(own)
    with torch.no_grad():
        parameter.copy_(torch.empty(parameter.shape).normal_(0.0, deviation, generator=generator))


def save_model(model: Any, folder: Path, *, dtype: torch.dtype) -> Any:
    """Write weights, config.json and generation_config.json; returns the model in the stored precision."""
    for parameter in model.parameters():
        # Not model.to: that would round the rotary frequencies too, which are no weights and stay fp32 when loaded.
        parameter.data = parameter.data.to(dtype)
    model.config.use_cache = True
    model.save_pretrained(folder, max_shard_size="4GB")
    return model


def measure_difference(model: Any, reloaded: Any, batch: Batch) -> float:
    """Greatest difference of logits; EngineError when the files do not say what was trained."""
    difference = float((compute_logits(model, batch) - compute_logits(reloaded, batch)).abs().max())
    if not difference <= MAX_RELOAD_DIFFERENCE:
        raise EngineError(
            f"The saved model differs from the trained one by {difference:g} in its logits", code="save_differs"
        )
    return difference


def replace_folder(draft: Path, final: Path) -> None:
    """Put a finished folder in its place; `final` is whole at every moment but the rename itself."""
    for name in list_files(draft):
        with (draft / name).open("rb") as file:
            os.fsync(file.fileno())
    shutil.rmtree(final, ignore_errors=True)
    draft.rename(final)
