"""How far the default learning rate lands from the best of a sweep: `python -m tests.benchmarks.defaults [--model smollm2] [--rows 60]`.

Three tasks of real text (answers about Python's functions, their modules as labels, the language reference as plain text). Each is
trained at the default rate of its method and at fractions and multiples of it, from the same weights with the same seed; what is
compared is the loss on 40 rows that are not learnt from. Reported as found."""

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hub.site.bootstrap.assets import ensure_smollm2
from tests.training.line import as_jsonl
from tests.training.python_help import read_entries, read_topics
from training.engine.batches import IGNORED, make_batch
from training.engine.config import fit_learning_rate
from training.engine.corpus.formats import read_document
from training.engine.corpus.rendering import Renderer
from training.engine.hf_format import load_model, read_shape
from training.engine.recipe import Train
from training.engine.samples import measure_held_out
from training.engine.tokenizer import load_tokenizer

HELD_OUT = 40  # rows of each task
ROOT = Path(__file__).resolve().parents[2]
RECIPE = """\
version: 1
base: local/base@main
contributions: [{{data: local/{task}@main, format: {format}}}]
train: {{method: {method}, epochs: {epochs}, learning_rate: {rate:g}, seed: 17}}
"""


@dataclass(frozen=True)
class Task:
    name: str
    format: str
    rows: list[dict[str, Any]]
    held_out: list[dict[str, Any]]


def list_tasks(rows: int) -> list[Task]:
    entries = read_entries()
    pieces = [piece for text in read_topics() for piece in textwrap.wrap(" ".join(text.split()), 400)]
    made = [
        ("answers", "chat", [{"question": entry.question, "answer": entry.text} for entry in entries]),
        ("labels", "classification", [{"text": entry.text, "label": entry.module} for entry in entries]),
        ("reference", "text", [{"text": piece} for piece in pieces]),
    ]
    return [Task(name, format, *split(all_rows, rows)) for name, format, all_rows in made]


def split(rows: list[dict[str, Any]], count: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """`count` rows from all over, and as many as are held out from between them."""
    spread = rows[:: max(1, len(rows) // (count + HELD_OUT))][: count + HELD_OUT]
    judging = spread[:: len(spread) // HELD_OUT][:HELD_OUT]
    return [row for row in spread if row not in judging], judging


@dataclass(frozen=True)
class Point:
    factor: float
    rate: float
    loss: float  # nats a token, on held-out rows; infinite where the run was stopped
    seconds: float


def sweep(task: Task, folder: Path, options: argparse.Namespace, method: str, usual: float) -> Iterator[Point]:
    inputs = folder / "inputs"
    data = inputs / f"datasets/local/{task.name}"
    data.mkdir(parents=True)
    (data / "train.jsonl").write_bytes(as_jsonl(task.rows))
    for factor in options.factors:
        yield run(task, inputs, folder / f"{task.name}-{factor:g}", options, method, factor, usual)


def run(
    task: Task, inputs: Path, out: Path, options: argparse.Namespace, method: str, factor: float, usual: float
) -> Point:
    recipe = out.with_name(f"{out.name}.yaml")
    rate = factor * usual
    recipe.write_text(
        RECIPE.format(task=task.name, format=task.format, method=method, epochs=options.epochs, rate=rate)
    )
    command = [sys.executable, "-m", "training.engine", "run", str(recipe), "--inputs", str(inputs), "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        last = json.loads(done.stdout.splitlines()[-1])
        if last.get("code") != "diverged":
            raise SystemExit(done.stdout[-2000:] + done.stderr[-2000:])
        return Point(factor, rate, math.inf, math.nan)
    seconds = json.loads((out / "result.json").read_text())["seconds"]
    return Point(factor, rate, measure(task, out / "model"), seconds)


def measure(task: Task, folder: Path) -> float:
    """Mean loss of a learnt token of the held-out rows, in nats."""
    renderer = Renderer(load_tokenizer(folder, name="the model"))
    encoded = renderer.encode([renderer.render(read_document(row, task.format)) for row in task.held_out])
    model = load_model(folder, "the model", dtype=torch.float32, device=torch.device("cpu")).eval()
    batches = []
    for row in encoded:
        tokens, learnt = np.array(row.tokens), np.array(row.learnt)
        targets = np.where(learnt[1:], tokens[1:], IGNORED)
        batches.append(make_batch([tokens[:-1]], [targets], torch.device("cpu")))
    found = measure_held_out(model, batches, dtype=torch.float32)
    assert found is not None
    return found


def describe(task: Task, points: list[Point], start: float) -> str:
    best = min(points, key=lambda point: point.loss)
    usual = next(point for point in points if point.factor == 1)
    gained = (start - usual.loss) / (start - best.loss) if best.loss < start else math.nan
    losses = ", ".join(f"x{point.factor:g}: {point.loss:.4f}" for point in points)
    return (f"| {task.name} | {len(task.rows)} | {usual.rate:g} | {start:.4f} | {usual.loss:.4f} | x{best.factor:g}: "
            f"{best.loss:.4f} | {usual.loss / best.loss - 1:+.1%} | {gained:.0%} | {losses} |")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2", help="smollm2, or a folder with a model of your own")
    parser.add_argument("--rows", type=int, default=160, help="rows of each task")
    parser.add_argument("--epochs", type=float, default=1.0)
    parser.add_argument("--method", choices=("full", "lora"), default="lora")
    parser.add_argument(
        "--factors", type=float, nargs="+", default=[0.2, 0.5, 1, 2, 5], help="times the default rate; 1 among them"
    )
    options = parser.parse_args()
    if 1 not in options.factors:
        parser.error("--factors needs 1, the default rate itself")
    base = ensure_smollm2() if options.model == "smollm2" else Path(options.model).resolve()
    usual = fit_learning_rate(Train(method=options.method), read_shape(base, "the base").parameters)
    print(f"{base.name}, {options.method}, {options.epochs:g} passes, load {os.getloadavg()[0]:.1f}")
    print(
        "| task | rows | default rate | before | default | best of the sweep | default above best | share of its gain | all |"
    )
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory(prefix="defaults-") as place:
        shutil.copytree(base, Path(place) / "inputs/models/local/base")  # the engine follows no link out of its inputs
        for task in list_tasks(options.rows):
            points = list(sweep(task, Path(place), options, options.method, usual))
            print(describe(task, points, measure(task, base)), flush=True)


if __name__ == "__main__":
    main()
