"""Models, rows and recipes small enough for seconds, made on the spot."""

from __future__ import annotations

import io
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch

from training.engine import attention, events
from training.engine.batches import IGNORED
from training.engine.hf_format import draw_weights
from training.engine.tokenizer import train_tokenizer

DEVICE = os.environ.get("ENGINE_TEST_DEVICE", "cpu")
ROOT = Path(__file__).resolve().parents[3]
WORDS = (
    "sea wind tide harbour moon boat rope sail reef sand gull storm quay buoy pier mast anchor net fish lamp".split()
)

TINY: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}


def make_sentences(count: int, *, words: int = 8, seed: int = 1) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=words)) for _ in range(count)]


def make_chat_rows(count: int, *, seed: int = 1) -> list[dict[str, str]]:
    questions, answers = make_sentences(count, seed=seed), make_sentences(count, words=6, seed=seed + 1000)
    return [{"question": f"What of {q}?", "answer": a} for q, a in zip(questions, answers, strict=True)]


def make_pairs(count: int) -> list[dict[str, str]]:
    """The better answer speaks of ships, the worse one of the weather."""
    questions = make_sentences(count, seed=3)
    ships, weather = make_sentences(count, words=5, seed=4), make_sentences(count, words=5, seed=5)
    return [
        {"prompt": f"What of {q}?", "chosen": f"boat {s}", "rejected": f"storm {w}"}
        for q, s, w in zip(questions, ships, weather, strict=True)
    ]


def make_tokenizer() -> Any:
    tokenizer = train_tokenizer(iter(make_sentences(200)), vocabulary=330)
    tokenizer.eos_token = "<|im_end|>"
    return tokenizer


def make_config(model_type: str, vocabulary: int, **changes: Any) -> Any:
    from transformers import AutoConfig

    settings = {**TINY, "vocab_size": vocabulary, "tie_word_embeddings": True, "sliding_window": None, **changes}
    settings |= {"pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0}
    return AutoConfig.for_model(model_type, **settings)


def make_model(model_type: str = "llama", *, attention_name: str = attention.NAME, **changes: Any) -> Any:
    """Random weights large enough that every neighbour's influence would show."""
    from transformers import AutoModelForCausalLM

    attention.register()
    config = make_config(model_type, 330, **changes)
    model = AutoModelForCausalLM.from_config(config, attn_implementation=attention_name)
    draw_weights(model, seed=5, deviation=0.2)
    return model.to(DEVICE)


# What a family needs beside TINY to be small and whole.
FAMILY_SETTINGS: dict[str, dict[str, Any]] = {
    "gemma": {"head_dim": 8},
    "gemma2": {"head_dim": 8, "query_pre_attn_scalar": 12, "sliding_window": 256},
    "gemma3_text": {
        "head_dim": 8, "query_pre_attn_scalar": 12, "layer_types": ["sliding_attention", "full_attention"]
    },
    "gpt_neox": {"num_key_value_heads": None, "tie_word_embeddings": False},
    "gpt_oss": {
        "head_dim": 8, "num_local_experts": 4, "num_experts_per_tok": 2, "tie_word_embeddings": False,
        "sliding_window": 256,
    },
    "lfm2": {"layer_types": ["conv", "full_attention"], "block_auto_adjust_ff_dim": False},
    "mamba": {"intermediate_size": 64, "state_size": 4, "time_step_rank": 2},
    "mamba2": {"state_size": 4, "num_heads": 8, "head_dim": 8, "n_groups": 2, "chunk_size": 16},
    "olmo3": {"layer_types": ["sliding_attention", "full_attention"]},
    "phi": {"tie_word_embeddings": False},
}  # fmt: skip


def make_family(model_type: str, *, attention_name: str = attention.NAME, **changes: Any) -> Any:
    """A tiny model of any listed architecture. Its vectors differ from one, so that biases and gains are told apart."""
    settings = {**FAMILY_SETTINGS.get(model_type, {}), **changes}
    model = make_model(model_type, attention_name=attention_name, **settings)
    generator = torch.Generator().manual_seed(6)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim < 2:
                centre = 0.0 if name.endswith("bias") else 1.0
                parameter.copy_(torch.empty(parameter.shape).normal_(centre, 0.2, generator=generator))
    return model


def make_documents(lengths: list[int], seed: int = 3) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Inputs and targets; about a third of the targets is not learnt."""
    rng = np.random.default_rng(seed)
    documents = [rng.integers(3, 330, n + 1) for n in lengths]
    targets = [np.where(rng.random(len(d) - 1) < 0.33, IGNORED, d[1:]) for d in documents]
    return [d[:-1] for d in documents], targets


def save_base(folder: Path, *, model_type: str = "llama", seed: int = 5, dtype: torch.dtype = torch.float32) -> Path:
    """A tiny model with tokenizer and chat template, as a contributor would upload it."""
    from transformers import AutoModelForCausalLM

    tokenizer = make_tokenizer()
    config = make_config(model_type, len(tokenizer), **FAMILY_SETTINGS.get(model_type, {}))
    model = AutoModelForCausalLM.from_config(config)
    draw_weights(model, seed=seed, deviation=0.05)
    folder.mkdir(parents=True, exist_ok=True)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.to(dtype).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


class Bench:
    """An inputs folder with a base and a dataset, and runs over it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.inputs = folder, folder / "inputs"
        self.rows_file = self.inputs / "datasets" / "bob" / "tides" / "train.jsonl"

    @property
    def base(self) -> Path:
        return self.inputs / "models" / "alice" / "tiny"

    def write_recipe(self, *, train: str, start: str | None = None, extra: str = "", format: str = "chat") -> Path:
        start = start or "base: alice/tiny@main"
        path = self.folder / "recipe.yaml"
        mix = f"contributions:\n  - data: bob/tides@main\n    format: {format}\n"
        path.write_text(f"version: 1\n{start}\n{mix}train: {{{train}}}\n{extra}\n", encoding="utf-8")
        return path

    def arguments(self, out: str, *more: str) -> list[str]:
        return [
            str(self.folder / "recipe.yaml"), "--inputs", str(self.inputs), "--out", str(self.folder / out),
            "--device", DEVICE, *more,
        ]  # fmt: skip

    def run(self, out: str = "out", *more: str) -> tuple[int, list[dict[str, Any]]]:
        """Exit code and events of a run in this process."""
        from training.engine import run

        said = io.StringIO()
        with redirect_stdout(said):
            code = events.report_failures(lambda: run.main(self.arguments(out, *more)))
        return code, [json.loads(line) for line in said.getvalue().splitlines()]

    def start(self, out: str = "out", *more: str, **settings: str) -> subprocess.Popen[str]:
        """The same as a process of its own."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **settings}
        command = [sys.executable, "-m", "training.engine", "run", *self.arguments(out, *more)]
        return subprocess.Popen(
            command, cwd=self.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def read_result(self, out: str = "out") -> dict[str, Any]:
        result: dict[str, Any] = json.loads((self.folder / out / "result.json").read_text())
        return result

    def read_metrics(self, out: str = "out") -> list[dict[str, Any]]:
        lines = (self.folder / out / "metrics.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]


def make_bench(folder: Path, rows: list[dict[str, Any]] | None = None) -> Bench:
    bench = Bench(folder)
    save_base(bench.base)
    write_rows(bench.rows_file, rows if rows is not None else make_chat_rows(40))
    return bench


def refusal(events: list[dict[str, Any]]) -> tuple[str, str]:
    """(code, message) of the error event, which must be the last and the only one."""
    errors = [e for e in events if e["event"] == "error"]
    assert len(errors) == 1 and events[-1] == errors[0], events[-3:]
    return errors[0]["code"], errors[0]["message"]
