"""A tiny model with random weights and a byte-level tokenizer, made on the spot."""

from pathlib import Path
from typing import Any

import torch

from training.engine.serving import Served, open_model
from training.engine.tokenizer import train_tokenizer

TEXTS = ["the tide rises and falls", "boats lie in the harbour", "wind and rain over the sea"] * 4


def make_tiny_folder(folder: Path, *, seed: int = 0, context_tokens: int = 256, **changes: Any) -> Path:
    """A llama of 2 layers and 32 channels in the layout of transformers."""
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = train_tokenizer(iter(TEXTS), vocabulary=300)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=context_tokens,
        initializer_range=0.3,  # at the usual 0.02 all tokens would be about equally likely
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        **changes,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def open_tiny(folder: Path, *, seed: int = 0, context_tokens: int = 256) -> Served:
    return open_model(make_tiny_folder(folder, seed=seed, context_tokens=context_tokens), "cpu")
