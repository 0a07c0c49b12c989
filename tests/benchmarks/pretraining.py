"""A language model of about 10M weights from text that ships with Python, by the engine and by the trainer of transformers:
`python -m tests.benchmarks.pretraining [--tokens N] [--write]`.

Text: the language reference and the docstrings of the standard library. All read the same documents once, from the same
weights, with one optimizer, schedule and number of steps: the engine's loop and the packed trainer the same rows in the same
order, the padded trainer (how a library for chat data would read them) each document in a row of its own; once more with
activation checkpointing, which the trainer for chat data of `trl` does unless it is told not to. With `--precision bf16` all
compute in bf16, and the padded ones also in fp32, as they do unless they are told otherwise. Judged by the bits
that a byte of documents costs that nobody read. The time is that of the steps alone. 300,000 tokens take about half an hour on
two quiet cores."""

import argparse
import ast
import dataclasses
import math
import multiprocessing
import os
import random
import statistics
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tests.benchmarks.report import Row, describe_machine, median_ratio, publish, read_arguments
from tests.benchmarks.trainer_peers import PEERS, OurTrainer, TheirTrainer, Work, make_work_model, make_work_plan
from tests.benchmarks.trainer_work import Size
from training.engine import attention, devices
from training.engine.batches import make_batch
from training.engine.config import Plan
from training.engine.losses import compute_loss_sum
from training.engine.tokenizer import train_tokenizer

SIZE = Size(6, 384, 1024, 6, 2, 4096, mean_tokens=0, most_tokens=1024)  # 11.0M; rows as a recipe has them by default
HELD_OUT_EVERY = 25
HELD_OUT_MOST = 100
SHORTEST = 120  # characters of a document
PADDED_BATCH = 8
CLOSE = 0.005  # of the bits per byte
PADDED_SHARE = 1 / 3
VARIANTS = ["ours", "packed", "padded", "padded, checkpointing"]
AS_THEY_ARE = ", fp32"  # behind a variant that computes so in a run of bf16


@dataclasses.dataclass(frozen=True)
class Material:
    samples: list[NDArray[np.int64]]
    held_out: list[NDArray[np.int64]]
    held_out_bytes: int


def read_texts() -> list[str]:
    """Each document once, sorted, so that every machine with this Python reads the same."""
    from pydoc_data.topics import topics

    library = Path(sysconfig.get_path("stdlib"))
    skipped = {"site-packages", "test", "tests", "idlelib", "lib2to3", "pydoc_data"}
    paths = [p for p in library.rglob("*.py") if not skipped & set(p.relative_to(library).parts)]
    found = {text for path in paths for text in read_docstrings(path)} | set(topics.values())
    return sorted(text for text in found if len(text) >= SHORTEST)


def read_docstrings(path: Path) -> Iterator[str]:
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError, RecursionError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if text := ast.get_docstring(node):
                yield text


def prepare(tokens: int, context: int, rng: random.Random) -> Material:
    """Documents of about so many tokens, each with an end token before and behind it, and those that are held out."""
    texts = read_texts()
    rng.shuffle(texts)
    held_out, learnt = texts[::HELD_OUT_EVERY][:HELD_OUT_MOST], [t for i, t in enumerate(texts) if i % HELD_OUT_EVERY]
    tokenizer = train_tokenizer(iter(learnt), vocabulary=SIZE.vocabulary)
    end = tokenizer.eos_token_id

    def encode(text: str) -> NDArray[np.int64]:
        return np.array([end, *tokenizer(text, add_special_tokens=False)["input_ids"], end], dtype=np.int64)

    samples: list[NDArray[np.int64]] = []
    for text in learnt:
        # In parts of a row: the padded trainer would cut the rest off.
        whole = encode(text)
        samples += [whole[at : at + context + 1] for at in range(0, len(whole) - 1, context)]
        tokens -= len(whole)
        if tokens <= 0:
            break
    kept = [encode(text)[: context + 1] for text in held_out]
    size = sum(len(tokenizer.decode(ids[1:], skip_special_tokens=True).encode()) for ids in kept)
    return Material(samples, kept, size)


def train(variant: str, work: Work, plan: Plan, material: Material, sender: Any) -> None:
    """Sends (seconds, bits per byte). In a fork, like the variants of the benchmark of speed."""
    devices.seed_everything(work.seed)
    devices.make_deterministic(threads=plan.threads)
    is_ours = variant == "ours"
    model = make_work_model(work, plan, attention.NAME if is_ours else "sdpa")
    with tempfile.TemporaryDirectory() as place, open(os.devnull, "w") as nowhere:
        sys.stdout = nowhere
        trainer = (
            OurTrainer(model, plan, Path(place)) if is_ours else make_peer(variant, model, plan, work, Path(place))
        )
        seconds, _ = trainer(work.samples)
    if not is_ours:
        model.set_attn_implementation(attention.NAME)
    sender.send((seconds, measure_bits(model.eval(), material, work.device)))


def make_peer(variant: str, model: Any, plan: Plan, work: Work, folder: Path) -> TheirTrainer:
    settings: dict[str, Any] = {"adam_beta2": 0.95, "train_sampling_strategy": "sequential"}
    if variant == "packed":
        rows, settings["rows"] = plan.rows_per_step, "packed"
    else:
        settings |= PEERS[variant]
        # As many steps as the others take: a step is split, for so many padded rows would not fit a small machine.
        rows = PADDED_BATCH
        settings["gradient_accumulation_steps"] = max(1, round(len(work.samples) / plan.steps / rows))
    return TheirTrainer(model, plan, folder, rows, settings)


@torch.no_grad()
def measure_bits(model: Any, material: Material, device: str) -> float:
    """Bits that a byte of the documents held out costs."""
    nats = 0.0
    for ids in material.held_out:
        batch = make_batch([ids[:-1]], [ids[1:]], torch.device(device))
        nats += float(compute_loss_sum(model, batch, dtype=torch.float32))
    return nats / math.log(2) / material.held_out_bytes


def run(
    *, tokens: int, device: str, batch_rows: int, context: int, precision: str, rounds: int, rng: random.Random
) -> list[Row]:  # fmt: skip
    material = prepare(tokens, context, rng)
    size = dataclasses.replace(SIZE, batch_rows=batch_rows, most_tokens=context)
    work = Work("pretrain", size, device, material.samples, seed=17, precision=precision)
    plan = make_work_plan(work)
    print(f"{len(work.samples)} documents, {work.positions} positions, {plan.steps} steps", flush=True)
    found: dict[str, list[tuple[float, float]]] = {}
    variants = VARIANTS + [f"{name}{AS_THEY_ARE}" for name in VARIANTS[2:] if precision != "fp32"]
    for variant in (v for _ in range(rounds) for v in rng.sample(variants, len(variants))):
        name = variant.removesuffix(AS_THEY_ARE)
        its = work if name == variant else dataclasses.replace(work, precision="fp32")
        seconds, bits = measure(name, its, material)
        found.setdefault(variant, []).append((seconds, bits))
        print(f"  {variant:<28}{seconds:8.1f} s{bits:8.4f} bits per byte", flush=True)
    return list(judge(found, work.positions))


def measure(variant: str, work: Work, material: Material) -> tuple[float, float]:
    """(seconds, bits per byte) of a fork, so that each begins with the memory of a fresh process."""
    forking = multiprocessing.get_context("fork")
    receiver, sender = forking.Pipe(duplex=False)
    process = forking.Process(target=train, args=(variant, work, make_work_plan(work), material, sender))
    process.start()
    sender.close()
    found: tuple[float, float] = receiver.recv()
    process.join()
    return found


def judge(found: dict[str, list[tuple[float, float]]], positions: int) -> Iterator[Row]:
    """Seconds as medians, ratios as the median of the rounds' ratios."""
    ours, bits = [seconds for seconds, _ in found["ours"]], found["ours"][0][1]
    for peer in [name for name in found if name != "ours"]:
        theirs = [seconds for seconds, _ in found[peer]]
        limit, ratio = 1.0 if peer == "packed" else PADDED_SHARE, median_ratio(ours, theirs)
        yield Row(
            f"time of {positions:,} positions", f"{statistics.median(ours):.1f} s",
            f"{statistics.median(theirs):.1f} s, trainer, {peer}", ratio, f"at most {limit:.2f}", ratio <= limit,
        )  # fmt: skip
    packed, padded = found["packed"][0][1], found["padded"][0][1]
    difference = bits / packed - 1
    yield Row(
        "bits per byte, documents held out", f"{bits:.4f}", f"{packed:.4f} packed, {padded:.4f} padded", 1 + difference,
        f"within {CLOSE:.1%} of packed", abs(difference) <= CLOSE,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=300_000)
    parser.add_argument("--batch-rows", type=int, default=4, help="full rows of an optimizer step")
    parser.add_argument(
        "--context", type=int, default=SIZE.most_tokens, help="positions of a row, at which texts are cut"
    )
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    asked = read_arguments(parser)
    os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    import transformers

    transformers.Trainer, transformers.LlamaForCausalLM  # noqa: B018  before the forks, once for all
    transformers.logging.set_verbosity_error()
    machine, rng = describe_machine(), random.Random(asked.seed)
    found = run(
        tokens=asked.tokens, device=asked.device, batch_rows=asked.batch_rows, context=asked.context,
        precision=asked.precision, rounds=asked.rounds, rng=rng,
    )  # fmt: skip
    publish("Pretraining beside the trainer of transformers", found, machine=machine, write=asked.write)


if __name__ == "__main__":
    main()
