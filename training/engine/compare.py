"""`compare --recorded DIR --remade DIR --out FILE`: two models tensor by tensor, as a replay is judged.

Every tensor has a digest over its bytes; where two differ, the largest and the mean distance of their values are measured
in pieces, so that a model larger than the memory can be compared. Measures only; what they mean is for who asked."""

from __future__ import annotations

import argparse
import hashlib
import json
import math
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from training.engine.digests import digest_file, digest_folder, digest_listing, list_files
from training.engine.errors import EngineError
from training.engine.events import emit

PIECE = 1 << 22  # numbers that are measured at once
SHOWN = 20  # names told of each kind
CARD = "README.md"  # words about a model: nothing is loaded from them
WRITER = "transformers_version"  # a line of a config.json that says which program wrote it
MAX_JSON_BYTES = 64 << 20


@dataclass
class Distance:
    """Of the values of tensors that have different bytes."""

    largest: float = 0.0
    largest_in: str = ""
    total: float = 0.0
    numbers: int = 0
    is_finite: bool = True
    differing: list[dict[str, Any]] = field(default_factory=list)

    def add(self, name: str, recorded: torch.Tensor, remade: torch.Tensor) -> None:
        largest, total = measure(recorded, remade)
        if not math.isfinite(largest):
            self.is_finite = False
        elif largest > self.largest or not self.largest_in:
            self.largest, self.largest_in = largest, name
        self.total += total if math.isfinite(total) else 0.0
        row = {"name": name, "largest": largest, "mean": total / max(1, recorded.numel())}
        self.differing.append(row if math.isfinite(largest) else {"name": name, "largest": None, "mean": None})


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="compare", description="Compare two models tensor by tensor.")
    parser.add_argument("--recorded", type=Path, required=True, help="folder with the weights that were recorded")
    parser.add_argument("--remade", type=Path, required=True, help="folder with the weights that were made again")
    parser.add_argument("--out", type=Path, required=True, help="JSON file with what was found")
    options = parser.parse_args(argv)
    found = compare_models(options.recorded, options.remade)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    draft = options.out.with_suffix(".draft")
    draft.write_text(json.dumps(found, indent=1, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")
    draft.replace(options.out)
    emit("done", stage="compare", equal=found["equal"], tensors=found["tensors"])
    return 0


def compare_models(recorded: Path, remade: Path) -> dict[str, Any]:
    """What is equal and what is not, for JSON.

    {"tensors", "equal": counts; "missing", "added", "reshaped": names; "largest", "largest_in", "mean", "is_finite": over all
    tensors that both have; "differing": the furthest ones; "recorded_tensors", "remade_tensors": digests over names, types,
    shapes and bytes; "recorded_model", "remade_model": digests of the folders; "other_files": that differ}"""
    distance, equal, numbers = Distance(), 0, 0
    reshaped: list[str] = []
    digests: dict[str, list[tuple[str, str]]] = {"recorded": [], "remade": []}
    with ExitStack() as stack:
        before, after = open_tensors(recorded, stack), open_tensors(remade, stack)
        for name in sorted(before.keys() | after.keys()):
            tensors = {
                side: files[name].get_tensor(name)
                for side, files in (("recorded", before), ("remade", after))
                if name in files
            }
            for side, tensor in tensors.items():
                digests[side].append((describe(name, tensor), digest_tensor(tensor)))
            if len(tensors) < 2:
                continue
            one, two = tensors["recorded"], tensors["remade"]
            if one.shape != two.shape or one.dtype != two.dtype:
                reshaped.append(name)
                continue
            numbers += one.numel()
            if digests["recorded"][-1] == digests["remade"][-1]:
                equal += 1
            else:
                distance.add(name, one, two)
    return {
        "tensors": len(before),
        "equal": equal,
        "missing": sorted(before.keys() - after.keys())[:SHOWN],
        "added": sorted(after.keys() - before.keys())[:SHOWN],
        "reshaped": reshaped[:SHOWN],
        "largest": distance.largest,
        "largest_in": distance.largest_in,
        "mean": distance.total / max(1, numbers),
        "is_finite": distance.is_finite,
        "differing": sorted(distance.differing, key=lambda row: -(row["largest"] or math.inf))[:SHOWN],
        "recorded_tensors": digest_listing(digests["recorded"]),
        "remade_tensors": digest_listing(digests["remade"]),
        "recorded_model": digest_folder(recorded),
        "remade_model": digest_folder(remade),
        "other_files": list_other_differences(recorded, remade)[:SHOWN],
    }


def open_tensors(folder: Path, stack: ExitStack) -> dict[str, Any]:
    """Tensor -> the open file that holds it. EngineError for a folder without weights, or one that names a tensor twice."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*.safetensors")):
        try:
            file = stack.enter_context(safe_open(path, framework="pt"))
        except (SafetensorError, OSError) as problem:
            raise EngineError(f"{path.name} cannot be read as safetensors ({problem})", code="bad_weights") from problem
        for name in file.keys():  # noqa: SIM118  not a dict
            if name in found:
                raise EngineError(f"The tensor {name} stands in two files; keep one of them", code="bad_weights")
            found[name] = file
    if not found:
        raise EngineError(f"{folder.name} holds no safetensors weights to compare", code="bad_weights")
    return found


def describe(name: str, tensor: torch.Tensor) -> str:
    return f"{name} {tensor.dtype} {list(tensor.shape)}"


def digest_tensor(tensor: torch.Tensor) -> str:
    """sha256 of the values as they lie in the file, 64 hex digits."""
    raw = tensor.contiguous().reshape(-1).view(torch.uint8)
    return hashlib.sha256(raw.numpy().data).hexdigest()


def pieces(tensor: torch.Tensor) -> Iterator[torch.Tensor]:
    flat = tensor.reshape(-1)
    return (flat[start : start + PIECE] for start in range(0, flat.numel(), PIECE))


def measure(recorded: torch.Tensor, remade: torch.Tensor) -> tuple[float, float]:
    """The largest distance of two values, and the sum of all distances; infinite where one is no number."""
    largest, total = 0.0, 0.0
    for one, two in zip(pieces(recorded), pieces(remade), strict=True):
        distances = (one.double() - two.double()).abs()
        if not bool(torch.isfinite(distances).all()):
            return math.inf, math.inf
        largest = max(largest, float(distances.max()))
        total += float(distances.sum())
    return largest, total


def list_other_differences(recorded: Path, remade: Path) -> list[str]:
    """Files beside the weights that are not the same, but for words and for who wrote a JSON file."""
    names = {
        path
        for path in [*list_files(recorded), *list_files(remade)]
        if not path.endswith(".safetensors") and not path.endswith(".safetensors.index.json") and path != CARD
    }
    return sorted(name for name in names if read_sameness(recorded / name) != read_sameness(remade / name))


def read_sameness(path: Path) -> Any:
    """Something that is equal for equal files."""
    if not path.is_file():
        return None
    if path.suffix == ".json" and path.stat().st_size <= MAX_JSON_BYTES:
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError):
            return digest_file(path)
        return {key: item for key, item in value.items() if key != WRITER} if isinstance(value, dict) else value
    return digest_file(path)
