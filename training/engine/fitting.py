"""How a step is cut so that it fits into memory: rows of a pass, passes of a step, layers whose activations are made again.

The rows of a step and its loss stay what the recipe says; only how many rows are read at once changes, and what is kept
between forward and backward. Fewer rows cost little while a pass is still large, so they come first; then layers are
made again, as many as it takes (a third more arithmetic where it is all of them); then rows down to one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from training.engine.footprint import Sizes, Training, estimate_step

MICRO_TOKENS = {"cpu": 1024, "cuda": 16384}  # of a pass where memory is no matter; more gains nothing
# Small networks read more at once: the fixed cost of each operation is as long as its work. In passes of 4,096 an 11M Llama
# took 5% less time on two cores; what a pass keeps must stay below this, so that nobody's laptop fills up for that.
SMALL_TOKENS = 4096
SMALL_BYTES = 1 << 30
FEW_TOKENS = {"cpu": 256, "cuda": 4096}  # below, smaller passes cost more than layers made again
CPU_SHARE = 0.8  # of the machine or the container: the site, the database and the page cache need the rest
SPARE = 0.9  # of the room that a plan may fill: what estimates miss, and holes between tensors
GROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # version 2, 1


def find_container_bytes(files: tuple[str, ...] = GROUPS) -> int:
    """Memory of the machine, or of the container where it may have less."""
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for file in files:
        try:
            whole = min(whole, int(Path(file).read_text()))
        except (OSError, ValueError):
            continue  # no container, or "max"
    return whole


def find_cpu_room() -> int:
    """ENGINE_MEMORY_BYTES, which the hub sets, else the engine's share of what there is."""
    said = os.environ.get("ENGINE_MEMORY_BYTES", "")
    return int(said) if said.isdigit() and int(said) else int(find_container_bytes() * CPU_SHARE)


@dataclass(frozen=True)
class Cut:
    """How a step is read."""

    rows_per_pass: int
    recomputed_layers: int
    needed_bytes: int  # by the estimate; 0 where nothing is known of the network
    room_bytes: int  # 0: not known

    @property
    def fits(self) -> bool:
        return not self.room_bytes or self.needed_bytes <= SPARE * self.room_bytes


def like_rows(sizes: Sizes | None, training: Training, *, context_tokens: int, longest: int, filling: int = 1) -> int:
    """Rows of a pass that the device likes where memory is no matter."""
    liked = max(1, MICRO_TOKENS[training.device] // context_tokens)
    if sizes is None or training.device != "cpu":
        return liked
    more = max(liked, SMALL_TOKENS // context_tokens)
    positions, longest = more * context_tokens * filling, min(longest, context_tokens)
    kept = estimate_step(sizes, training, positions=positions, longest=longest).activations
    return more if kept <= SMALL_BYTES else liked


def cut_step(
    sizes: Sizes | None,
    training: Training,
    *,
    rows: int,
    context_tokens: int,
    longest: int,
    room_bytes: int,
    is_padded: bool = False,
    wanted_rows: int = 0,
) -> Cut:
    """The largest passes that fit, at most `wanted_rows` (else what the device likes) of the step's `rows`.

    Where even one row with every layer made again does not fit, that is what is returned, and `fits` is False."""
    filling = 2 if is_padded else 1  # of each document's own row, at most
    liked = like_rows(sizes, training, context_tokens=context_tokens, longest=longest, filling=filling)
    most = min(rows, wanted_rows or liked)
    if sizes is None or not room_bytes:
        return Cut(most, 0, 0, room_bytes)
    cut = Cut(most, 0, 0, room_bytes)
    for rows_now, layers in _list_ways(most, sizes.layers, max(1, FEW_TOKENS[training.device] // context_tokens)):
        needed = estimate_step(
            sizes,
            training,
            positions=rows_now * context_tokens * filling,
            longest=min(longest, context_tokens),
            recomputed_layers=layers,
        ).total
        cut = Cut(rows_now, layers, needed, room_bytes)
        if cut.fits:
            break
    return cut


def _list_ways(most: int, layers: int, few: int) -> Iterator[tuple[int, int]]:
    """(rows of a pass, layers made again), the cheapest first."""
    rows = most
    yield rows, 0
    while rows > few:
        rows = max(few, rows // 2)
        yield rows, 0
    yield from ((rows, count) for count in range(1, layers + 1))
    while rows > 1:
        rows //= 2
        yield rows, layers


def describe_cut(cut: Cut, *, rows_per_step: int, layers: int) -> str:
    """What was chosen and why, in a sentence."""
    passes = -(-rows_per_step // cut.rows_per_pass)
    rows = "row" if rows_per_step == 1 else "rows"
    how = f"Each step's {rows_per_step:,} {rows} are read in {passes:,} passes of {cut.rows_per_pass:,}"
    if passes == 1:
        how = f"Each step reads its {rows_per_step:,} {rows} at once"
    if cut.recomputed_layers:
        which = "all" if cut.recomputed_layers >= layers else f"{cut.recomputed_layers} of {layers}"
        how += f", and the activations of {which} layers are made twice instead of kept"
    if not cut.needed_bytes:
        return f"{how}."
    return f"{how}: about {format_bytes(cut.needed_bytes)} of the {format_bytes(cut.room_bytes)} there are."


def format_bytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
