"""The engine's training loop beside the trainer of transformers on the same samples:
`python -m tests.benchmarks.training [--device cpu|cuda] [--methods lora full pretrain] [--write]`.

Fine-tuning by adapter and of all weights reads samples of very different lengths (mean 450 tokens, at most 2,048; a quarter
of that on a CPU); pretraining reads rows that are full. Every variant starts from the same weights and reads each sample
once, in a fork of its own; batches hold 8 rows of at most the same length. Only positions that teach something count:
filling is work, but no use. Compiling and the first steps are not counted. On CUDA a 1.24B Llama is tuned and one of 340M
pretrained, in bf16; on a CPU both have 12.6M weights, in fp32. Memory: on CUDA what torch reserved; on a CPU the
process' own greatest size."""

import argparse
import importlib.util
import os
import random
import statistics
from collections.abc import Iterator, Sequence

import torch

from tests.benchmarks.report import Row, describe_machine, median_ratio, publish, read_arguments
from tests.benchmarks.trainer_peers import OURS, PEERS, Measured, Work, measure
from tests.benchmarks.trainer_work import H100_FLOPS, SIZES, draw_samples

METHODS = ("lora", "full", "pretrain")
NAMES = {"lora": "LoRA", "full": "full", "pretrain": "pretraining"}
# Times a peer, shared/reference/training.md: on a CPU the two that people run, on CUDA every one of them.
CPU_TARGETS = {"padded": 3.0, "padded, checkpointing": 4.5}
CUDA_TARGETS = {"lora": 1.6, "full": 1.6, "pretrain": 1.4}
MFU_TARGETS = {"lora": 0.55, "full": 0.60, "pretrain": 0.52}
COUNTS = {"cpu": {"lora": 96, "full": 96, "pretrain": 24}, "cuda": {"lora": 1024, "full": 1024, "pretrain": 512}}


def choose_peers(method: str, device: str, *, compiled: bool) -> list[str]:
    """Full rows leave nothing to group; flex_attention has no backward on a CPU, and Liger no kernels."""
    if method == "pretrain":
        return ["packed, sdpa"] + (["packed, compiled"] if compiled or device == "cuda" else [])
    found = ["padded", "padded, checkpointing", "grouped by length", "packed, sdpa"]
    if device == "cuda":
        found.append("packed, flex_attention")
        if importlib.util.find_spec("liger_kernel"):
            found.append("packed, Liger")
    return found


def run(
    *, methods: Sequence[str], device: str, rounds: int, samples: int | None, peers: Sequence[str], compiled: bool,
    precision: str, rng: random.Random,
) -> list[Row]:  # fmt: skip
    found: list[Row] = []
    for method in methods:
        size = SIZES[device, "pretrain" if method == "pretrain" else "tune"]
        drawn = draw_samples(samples or COUNTS[device][method], size, rng.randrange(2**31))
        work = Work(method, size, device, drawn, seed=17, precision=precision)
        chosen = [p for p in choose_peers(method, device, compiled=compiled) if not peers or p in peers]
        found += compare(work, chosen, rounds, rng)
    return found


def compare(work: Work, peers: Sequence[str], rounds: int, rng: random.Random) -> Iterator[Row]:
    variants = [OURS, *peers]
    found: dict[str, list[Measured]] = {variant: [] for variant in variants}
    print(f"{NAMES[work.method]}: {len(work.samples)} samples, {work.positions} positions", flush=True)
    for _ in range(rounds):
        for variant in rng.sample(variants, len(variants)):
            last = measure(variant, work)
            found[variant].append(last)
            speed = f"{work.positions / last.seconds:10.0f} tokens/s" if not last.problem else last.problem
            print(f"  {variant:<26}{speed}, {last.peak_gib:.2f} GiB, loss {last.loss:.3f}", flush=True)
    ours = found[OURS]
    if ours[0].problem:
        yield Row(f"{NAMES[work.method]}, ours", ours[0].problem, is_met=False)
        return
    for peer in peers:
        yield compare_one(work, ours, peer, found[peer])
    if work.device == "cuda":
        yield from describe_use(work, found)


def compare_one(work: Work, ours: list[Measured], peer: str, theirs: list[Measured]) -> Row:
    what = f"{NAMES[work.method]}, {peer}"
    if problem := next((m.problem for m in theirs if m.problem), ""):
        return Row(what, describe_speed(work, ours), problem)
    ratio = median_ratio([m.seconds for m in theirs], [m.seconds for m in ours])
    target = CUDA_TARGETS[work.method] if work.device == "cuda" else CPU_TARGETS.get(peer)
    return Row(
        what, describe_speed(work, ours), describe_speed(work, theirs), ratio,
        f"at least {target:.2f}" if target else "", ratio >= target if target else None,
    )  # fmt: skip


def describe_speed(work: Work, measured: list[Measured]) -> str:
    speed = work.positions / statistics.median(m.seconds for m in measured)
    return f"{speed:,.0f} tokens/s, {max(m.peak_gib for m in measured):.2f} GiB"


def describe_use(work: Work, found: dict[str, list[Measured]]) -> Iterator[Row]:
    """Model FLOPs utilisation, against the dense bf16 peak of an H100."""
    for variant, measured in found.items():
        if any(m.problem for m in measured):
            continue
        speed = work.positions / statistics.median(m.seconds for m in measured)
        use = speed * measured[0].operations / H100_FLOPS
        target = MFU_TARGETS[work.method] if variant == OURS else None
        yield Row(
            f"{NAMES[work.method]}, MFU, {variant}", f"{use:.1%}", target=f"at least {target:.0%}" if target else "",
            is_met=use >= target if target else None,
        )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--peers", nargs="+", choices=tuple(PEERS), default=[], help="only these")
    parser.add_argument("--samples", type=int, help="of each method; by default enough for steady figures")
    parser.add_argument("--compiled", action="store_true", help="also the trainer's torch_compile on a CPU")
    parser.add_argument("--precision", choices=("fp32", "bf16"), help="of all; by default fp32 on a CPU, bf16 on CUDA")
    asked = read_arguments(parser)
    os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    import transformers
    from peft import LoraConfig  # noqa: F401  before the forks, once for all

    transformers.Trainer, transformers.LlamaForCausalLM  # noqa: B018  the same
    transformers.logging.set_verbosity_error()
    machine, rng = describe_machine(), random.Random(asked.seed)
    found = run(
        methods=asked.methods, device=asked.device, rounds=asked.rounds, samples=asked.samples, peers=asked.peers,
        compiled=asked.compiled, precision=asked.precision or ("bf16" if asked.device == "cuda" else "fp32"), rng=rng,
    )  # fmt: skip
    machine = f"{machine}, torch {torch.__version__}, transformers {transformers.__version__}"
    publish("Training beside the trainer of transformers", found, machine=machine, write=asked.write)


if __name__ == "__main__":
    main()
