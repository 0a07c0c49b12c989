"""Checkpoints: everything a run needs to go on to the same bits. No pickle: tensors as safetensors, the rest as JSON.

A checkpoint is one folder that appears by a rename, so a half-written one is never seen. The last two are kept.
Several ranks write their slices into one folder, and any number of ranks goes on from it: all must see the same disk."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from training.engine.devices import get_random_states, set_random_states
from training.engine.ranks import ALONE, Ranks
from training.engine.sharding import wait_for_all

KEEP = 2
NAME = re.compile(r"step-(\d+)")


@dataclass
class Progress:
    """Where a run stands: after `step` steps. With seed and plan this is the whole position in the data."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0  # of training, over all attempts
    losses: list[float] = field(default_factory=list)  # of the last steps, newest last
    first_loss: float | None = None
    held_out_start: float | None = None


def save_checkpoint(
    folder: Path,
    *,
    parameters: Mapping[str, torch.nn.Parameter],
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    device: torch.device,
    ranks: Ranks = ALONE,
) -> Path:
    """Write folder/step-N and drop all but the last two."""
    final = folder / f"step-{progress.step}"
    draft = folder / f".{final.name}.{os.getpid() if ranks.is_alone else 'ranks'}"
    if ranks.is_first:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
    weights = {name: p.detach().contiguous() for name, p in parameters.items()}
    memory = _flatten(optimizer, parameters)
    if ranks.is_alone:
        save_file(weights, draft / "weights.safetensors")
        save_file(memory, draft / "optimizer.safetensors")
    else:
        from training.engine.slices import write_slices

        wait_for_all(ranks)  # the folder is there
        write_slices(draft, weights | memory)
    if ranks.is_first:
        _finish(draft, final, progress, device)
    wait_for_all(ranks)
    return final


def _finish(draft: Path, final: Path, progress: Progress, device: torch.device) -> None:
    """Add what is no weight, and let the checkpoint appear. The random state of the first rank is that of all: each is
    seeded alike, and none draws a number that the others do not."""
    random_tensors, random_values = get_random_states(device)
    save_file(random_tensors, draft / "random.safetensors")
    state = {"progress": asdict(progress), "random": random_values}
    (draft / "state.json").write_text(json.dumps(state), encoding="utf-8")
    for path in [*draft.iterdir(), draft]:
        _sync(path)
    shutil.rmtree(final, ignore_errors=True)
    draft.rename(final)
    _sync(final.parent)
    for _, old in list_checkpoints(final.parent)[:-KEEP]:
        shutil.rmtree(old, ignore_errors=True)


def load_checkpoint(
    folder: Path,
    *,
    parameters: Mapping[str, torch.nn.Parameter],
    optimizer: torch.optim.Optimizer,
    device: torch.device,
    ranks: Ranks = ALONE,
) -> Progress | None:
    """Go back to the newest checkpoint that is whole; None when there is none."""
    for stale in folder.glob(".step-*") if ranks.is_first else ():
        shutil.rmtree(stale, ignore_errors=True)  # a writer that was killed left it
    for _, path in reversed(list_checkpoints(folder)):
        found: tuple[Any, ...] = ()
        try:
            state = json.loads((path / "state.json").read_text(encoding="utf-8"))
            found = (state, *_read_tensors(path, parameters, ranks), load_file(path / "random.safetensors"))
        except (OSError, ValueError, KeyError, SafetensorError):
            pass  # a damaged disk; the one before it costs a few steps
        (is_damaged,) = ranks.agree(not found)
        if is_damaged:
            continue
        state, weights, memory, random_tensors = found
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(weights[name])
        _restore(optimizer, parameters, memory)
        set_random_states(random_tensors, state["random"], device)
        return Progress(**state["progress"])
    return None


def _read_tensors(
    path: Path, parameters: Mapping[str, torch.nn.Parameter], ranks: Ranks
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Weights and what the optimizer remembers, written by one rank or by several."""
    if ranks.is_alone and (path / "weights.safetensors").is_file():
        return load_file(path / "weights.safetensors"), load_file(path / "optimizer.safetensors")
    from training.engine.slices import read_slices

    tensors = read_slices(path, parameters)
    weights = {name: tensors[name] for name in parameters}
    return weights, {name: tensor for name, tensor in tensors.items() if "|" in name}


def list_checkpoints(folder: Path) -> list[tuple[int, Path]]:
    """(step, folder), oldest first."""
    if not folder.is_dir():
        return []
    found = [(int(match.group(1)), p) for p in folder.iterdir() if (match := NAME.fullmatch(p.name))]
    return sorted(found)


def _flatten(optimizer: torch.optim.Optimizer, parameters: Mapping[str, torch.nn.Parameter]) -> dict[str, torch.Tensor]:
    """{"NAME|exp_avg": tensor}: what the optimizer remembers of each parameter."""
    names = {id(p): name for name, p in parameters.items()}
    flat = {}
    for parameter, values in optimizer.state.items():
        for key, value in values.items():
            if value is not None:
                flat[f"{names[id(parameter)]}|{key}"] = torch.as_tensor(value).detach().contiguous()
    return flat


def _restore(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, torch.nn.Parameter], flat: Mapping[str, torch.Tensor]
) -> None:
    optimizer.state.clear()
    for entry, value in flat.items():
        name, key = entry.rsplit("|", 1)
        parameter = parameters[name]
        # The step counter stays on the CPU unless the optimizer is fused: load it where a fresh one would be.
        fused = any(group.get("fused") for group in optimizer.param_groups)
        at = parameter.device if key != "step" or fused else torch.device("cpu")
        optimizer.state[parameter][key] = value.to(at)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl; a torn last line (power cut) is dropped."""
    records = []
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                records.append(json.loads(line))
            except ValueError:
                break
    return records


def cut_metrics(path: Path, *, step: int) -> None:
    """Forget what was measured after a step, for it will be measured again."""
    kept = [r for r in read_metrics(path) if r["step"] <= step]
    draft = path.with_suffix(".draft")
    draft.write_text("".join(json.dumps(r) + "\n" for r in kept), encoding="utf-8")
    draft.replace(path)
