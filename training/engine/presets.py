"""`presets`: networks that can be made from nothing, with what they hold, need and are worth training on."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import Any

from training.engine.config import BATCH_TOKENS, fit_learning_rate
from training.engine.fitting import like_rows
from training.engine.footprint import Sizes, Training, estimate_step, read_sizes
from training.engine.networks import Preset, describe_network, list_presets
from training.engine.recipe_schema import Train

NOTE = """\
memory: of one step of method pretrain with adamw, in the passes that a device likes (cpu: fp32, card: bf16 over fp32
weights); with less the engine reads fewer rows at once, or makes activations twice. tokens: 20 a parameter.
In recipe.yaml: architecture: {family: FAMILY, size: SIZE}, tokenizer: {train: {vocabulary: VOCABULARY}}."""


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.engine presets", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one object a line")
    rows = [describe_preset(preset) for preset in list_presets()]
    if parser.parse_args(argv).json:
        for row in rows:
            print(json.dumps(row))
    else:
        print(format_table(rows))
    return 0


def describe_preset(preset: Preset) -> dict[str, Any]:
    """Sizes, exact parameters, bytes of a step on either device, suggested tokens and learning rate."""
    return {
        **asdict(preset),
        "parameters": preset.parameters,
        "cpu_bytes": estimate_memory(preset, "cpu"),
        "cuda_bytes": estimate_memory(preset, "cuda"),
        "tokens": preset.tokens,
        "learning_rate": fit_learning_rate(Train(method="pretrain"), preset.parameters),
    }


def estimate_memory(preset: Preset, device: str) -> int:
    """Bytes of a step in the passes that the device likes."""
    training = Training("pretrain", "adamw", "fp32" if device == "cpu" else "bf16", device)
    sizes, context = sizes_of(preset), preset.context_tokens
    liked = context * like_rows(sizes, training, context_tokens=context, longest=context)
    positions = max(context, min(BATCH_TOKENS["pretrain", device], liked))
    return estimate_step(sizes, training, positions=positions, longest=context).total


def sizes_of(preset: Preset) -> Sizes:
    return read_sizes(describe_network(preset, preset.vocabulary), preset.parameters)


def format_table(rows: list[dict[str, Any]]) -> str:
    head = (
        "family",
        "size",
        "layers",
        "width",
        "heads",
        "vocabulary",
        "parameters",
        "memory cpu",
        "card",
        "tokens",
        "rate",
    )
    cells = [
        (
            row["family"], row["size"], str(row["layers"]), str(row["width"]), f"{row['heads']}/{row['kv_heads']}",
            f"{row['vocabulary']:,}", f"{row['parameters']:,}", f"{row['cpu_bytes'] / 1e9:.1f} GB",
            f"{row['cuda_bytes'] / 1e9:.1f} GB", f"{row['tokens']:,}", f"{row['learning_rate']:g}",
        )
        for row in rows
    ]  # fmt: skip
    widths = [max(len(line[i]) for line in [head, *cells]) for i in range(len(head))]
    lines = [
        "  ".join(
            text.ljust(width) if i < 2 else text.rjust(width)
            for i, (text, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in [head, *cells]
    ]
    return "\n".join([*lines, "", NOTE])
