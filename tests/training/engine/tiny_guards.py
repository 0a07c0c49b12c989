"""Guard models made on the spot: a classifier trained a few steps to tell two words apart, and a tiny model that writes."""

from pathlib import Path
from typing import Any

import torch

from tests.training.engine.tiny_served import TEXTS
from training.engine.tokenizer import train_tokenizer

BAD, GOOD = "the storm sinks every boat", "the boats lie in the harbour"


def make_classifier(folder: Path, *, family: str = "bert", labels: tuple[str, ...] = ("safe", "unsafe")) -> Path:
    """Two layers; trained until the storm has the last label and the harbour the first."""
    from transformers import (
        BertConfig,
        BertForSequenceClassification,
        LlamaConfig,
        LlamaForSequenceClassification,
    )

    tokenizer = train_tokenizer(iter([*TEXTS, BAD, GOOD]), vocabulary=300)
    torch.manual_seed(5)
    sizes: dict[str, Any] = {
        "vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "max_position_embeddings": 512,
    }  # fmt: skip
    named = {"id2label": dict(enumerate(labels)), "label2id": {label: at for at, label in enumerate(labels)}}
    made: Any = {
        "bert": lambda: BertForSequenceClassification(BertConfig(**sizes, **named)),
        "llama": lambda: LlamaForSequenceClassification(LlamaConfig(**sizes, **named)),
    }
    model = made[family]()
    teach(model, tokenizer, classes=(0, len(labels) - 1))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def teach(model: Any, tokenizer: Any, *, classes: tuple[int, int]) -> None:
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    model.train()
    for _ in range(30):
        for text, target in ((GOOD, classes[0]), (BAD, classes[1])):
            ids = torch.tensor([tokenizer(text)["input_ids"]])
            loss = torch.nn.functional.cross_entropy(model(input_ids=ids).logits, torch.tensor([target]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    model.eval()
