"""A model folder made ready to answer: weights, tokenizer, and how much it can read."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from training.engine.architectures import find_context, get_family
from training.engine.devices import choose_device, count_threads
from training.engine.errors import EngineError
from training.engine.hf_format import load_model
from training.engine.tokenizer import load_tokenizer

MAX_TEMPLATE_BYTES = 64 << 10  # the longest template of a known model has 12 KiB


@dataclass(frozen=True)
class Served:
    model: Any
    tokenizer: Any
    context_tokens: int  # prompt and answer together

    @property
    def stop_ids(self) -> frozenset[int]:
        """Tokens that end an answer: the tokenizer's and those of the model's generation settings."""
        configured = getattr(self.model.generation_config, "eos_token_id", None)
        found = configured if isinstance(configured, list) else [configured]
        return frozenset(token for token in [*found, self.tokenizer.eos_token_id] if token is not None)


def open_model(folder: Path, device: str = "auto") -> Served:
    """Load a folder for reading only, in fp32: a measurement must not depend on the precision it was stored in.

    Raises EngineError when it is not a model that may be loaded."""
    name = folder.name
    if not folder.is_dir():
        raise EngineError(f"There is no model folder {folder}.", code="missing_model")
    torch.set_num_threads(count_threads())
    tokenizer = load_tokenizer(folder, name=name)
    check_template(tokenizer)
    model = load_model(folder, name, dtype=torch.float32, device=choose_device(device))
    # Training's packed attention knows neither padding nor a mask, and both are needed here.
    model.set_attn_implementation(get_family(model.config).attention)
    return Served(model.eval(), tokenizer, find_context(model.config))


def check_template(tokenizer: Any) -> None:
    template = tokenizer.chat_template
    if template is not None and len(json.dumps(template)) > MAX_TEMPLATE_BYTES:
        limit = MAX_TEMPLATE_BYTES >> 10
        message = f"The chat template is larger than {limit} KiB; shorten chat_template.jinja."
        raise EngineError(message, code="template_too_large")
