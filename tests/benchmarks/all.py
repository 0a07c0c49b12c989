"""All benchmarks in one run, one section in docs/experiments.md: `python -m tests.benchmarks.all [--minutes 12] [--dry]`.

Sizes are chosen so that all of it fits into the minutes on two quiet cores; 60 and more are the full sizes (files of 1 GB,
100,000 repositories, 5,000 commits, ten fine-tunes). A part alone takes sizes of its own: `python -m tests.benchmarks.NAME
--help`. What fails is said in the table and stops nothing else."""

import argparse
import random
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass

from tests.benchmarks import histories, metadata, revisions, streams, transfers
from tests.benchmarks.report import Row, describe_machine, publish

FULL_MINUTES = 60.0


@dataclass(frozen=True)
class Sizes:
    rounds: int
    megabytes: int
    again_mb: int
    stream_mb: int
    small_files: int
    repos: int
    seconds: float
    entries: int
    commits: int
    commit_files: int
    tunes: int
    table_rows: int
    tiny_weights: bool


def choose_sizes(minutes: float) -> Sizes:
    """Numbers of the targets stay where they decide the outcome (100,000 rows, 10,000 files); what only takes longer shrinks."""
    share = min(1.0, minutes / FULL_MINUTES)
    is_glance = minutes < 5
    return Sizes(
        rounds=1 if is_glance else 3,
        megabytes=max(10, int(1000 * share)),
        again_mb=20 if is_glance else 300,
        stream_mb=20 if is_glance else 130,
        small_files=50 if is_glance else 1000,
        repos=2000 if is_glance else 100_000,
        seconds=1.0 if is_glance else max(5.0, 10 * share),
        entries=500 if is_glance else 10_000,
        commits=50 if is_glance else max(1000, int(5000 * share)),
        commit_files=200 if is_glance else 10_000,
        tunes=2 if is_glance else max(4, int(10 * share)),
        table_rows=2000 if is_glance else max(20_000, int(100_000 * share)),
        tiny_weights=is_glance,
    )


def parts(sizes: Sizes, seed: int) -> dict[str, Callable[[], list[Row]]]:
    rounds, rng = sizes.rounds, random.Random(seed)
    return {
        "transfers": lambda: transfers.run(
            megabytes=sizes.megabytes, again_mb=sizes.again_mb, files=sizes.small_files, rounds=rounds, rng=rng
        ),
        "streams": lambda: streams.run(megabytes=sizes.stream_mb, streams=16, rounds=rounds, rng=rng),
        "metadata": lambda: metadata.run(
            repos=sizes.repos, seconds=sizes.seconds, rounds=rounds, rate=200.0, rng=rng
        ),
        "histories": lambda: histories.run(
            entries=sizes.entries, commits=sizes.commits, files=sizes.commit_files, rounds=rounds, rng=rng
        ),
        "revisions": lambda: revisions.run(
            tunes=sizes.tunes, rows=sizes.table_rows, tiny=sizes.tiny_weights, seed=seed
        ),
    }  # fmt: skip


def run_part(name: str, part: Callable[[], list[Row]]) -> list[Row]:
    print(f"\n{name}", flush=True)
    began = time.monotonic()
    try:
        rows = part()
    except Exception as problem:
        traceback.print_exc()
        rows = [Row(f"{name} failed", str(problem)[:200].replace("\n", " ").replace("|", "/"), is_met=False)]
    print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=12.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dry", action="store_true", help="print the section, leave docs/experiments.md as it is")
    asked = parser.parse_args()
    machine = describe_machine()
    rows = [
        row for name, part in parts(choose_sizes(asked.minutes), asked.seed).items() for row in run_part(name, part)
    ]
    publish("Targets of the stock clients", rows, machine=machine, write=not asked.dry)


if __name__ == "__main__":
    main()
