"""What the benchmarks share: a line of the table, rounds in changing order, and the section in docs/experiments.md."""

import argparse
import os
import platform
import random
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

EXPERIMENTS = Path(__file__).resolve().parents[2] / "docs/experiments.md"
HEAD = "| what | ours | peer | ratio | target | met |\n|---|---|---|---|---|---|"


@dataclass(frozen=True)
class Row:
    """`is_met` is None where nothing was promised or nothing could be measured."""

    what: str
    ours: str
    peer: str = ""
    ratio: float | None = None
    target: str = ""
    is_met: bool | None = None

    def __str__(self) -> str:
        met = {True: "yes", False: "**no**", None: ""}[self.is_met]
        ratio = "" if self.ratio is None else f"{self.ratio:.2f}"
        return f"| {self.what} | {self.ours} | {self.peer} | {ratio} | {self.target} | {met} |"


def at_most(what: str, ours: float, peer: float, limit: float, *, unit: str, named: str) -> Row:
    """Ours against a named peer, where less is better."""
    ratio = ours / peer
    return Row(what, f"{ours:.3g} {unit}", f"{peer:.3g} {unit}, {named}", ratio, f"at most {limit:.2f}", ratio <= limit)


def under(what: str, value: float, limit: float, unit: str) -> Row:
    return Row(what, f"{value:.3g} {unit}", target=f"under {limit:g} {unit}", is_met=value < limit)


def interleave(acts: Mapping[str, Callable[[], float]], rounds: int, rng: random.Random) -> dict[str, list[float]]:
    """What each act measured in each round. The order changes, so that a busy moment does not always hit the same one."""
    found: dict[str, list[float]] = {name: [] for name in acts}
    for _ in range(rounds):
        for name in rng.sample(sorted(acts), len(acts)):
            found[name].append(acts[name]())
            print(f"  {name:<44} {found[name][-1]:10.4f}", flush=True)
    return found


def median_ratio(ours: Sequence[float], peer: Sequence[float]) -> float:
    """Of the rounds' ratios: a round is compared with itself."""
    return statistics.median(a / b for a, b in zip(ours, peer, strict=True))


def seconds_of(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def describe_machine() -> str:
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()}, Python {platform.python_version()}, load {load}"


def format_section(title: str, rows: Sequence[Row], machine: str, command: str) -> str:
    day = datetime.now(UTC).strftime("%d %B %Y")
    table = "\n".join([HEAD, *map(str, rows)])
    return f"## {title} ({day})\n\n`{command}`, {machine}.\n\n{table}\n"


def read_arguments(parser: argparse.ArgumentParser) -> argparse.Namespace:
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help="append the table to docs/experiments.md")
    return parser.parse_args()


def publish(title: str, rows: Sequence[Row], *, machine: str, write: bool) -> None:
    """Print the section; with `write`, append it to docs/experiments.md too. `machine` was described before the load."""
    module = sys.modules["__main__"].__spec__
    name = module.name if module else Path(sys.argv[0]).name
    command = shlex.join(["python", "-m", name, *sys.argv[1:]])
    section = format_section(title, rows, machine, command)
    print(f"\n{section}")
    if write:
        with open(EXPERIMENTS, "a") as file:
            file.write(f"\n{section}")
