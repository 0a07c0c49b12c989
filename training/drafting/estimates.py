"""How much a proposal trains and how long that takes, said before anything runs."""

from dataclasses import dataclass
from typing import Any, Protocol

from django.conf import settings

from hub.repos.models import Repo
from training.engine.architectures import FAMILIES, PADDED
from training.engine.config import BATCH_TOKENS, CPU_FLOPS_PER_THREAD, FLOPS_PER_TOKEN, MAX_CONTEXT, USUAL_RANK
from training.engine.fitting import cut_step, describe_cut
from training.engine.footprint import PROGRAM_BYTES, Sizes, Training, estimate_keeping, read_sizes
from training.engine.recipe import Recipe
from training.running.overview import typical_seconds_per_token
from training.workers.memory import memory_limit_bytes
from training.workers.worker import engine_threads

FULL_BELOW = 20_000_000  # parameters: so small a model learns as a whole, larger ones by an adapter
QUICK_S = 60.0  # of training that "a taste" is meant to take
MIN_QUICK_TOKENS = 2_000
# Of learning from a row. Two answers are read once before the first step, those kept aside four times; reading is half.
READ_SHARE = 0.7
STARTUP_S = 20.0  # reading the model and writing it back
UNITS = (("minute", 60.0), ("hour", 3600.0), ("day", 86400.0), ("month", 2629800.0), ("year", 31557600.0))
WATTS_PER_THREAD = 15  # of a processor at work, where the operator says nothing


class Start(Protocol):
    """What is known of where the weights start (training.drafting.starts.Start)."""

    recipe: Recipe | None
    parameters: int
    config: dict[str, Any]  # config.json of the model, or {}
    trained_tokens: int  # of the data that is in the recipe already


@dataclass(frozen=True)
class Size:
    name: str
    title: str
    text: str
    passes: float  # over all rows; 0 where the tokens are counted instead


SIZES = (
    Size("quick", "A taste", "About a minute of training, to see whether the idea works.", 0),
    Size("normal", "Once through", "Every row is learnt from once.", 1),
    Size("thorough", "Thoroughly", "Every row three times; best for small data.", 3),
)


def method_for(start: Start) -> str:
    if start.recipe is not None and start.recipe.train is not None:
        return start.recipe.train.method
    return "full" if 0 < start.parameters < FULL_BELOW else "lora"


def choose_length(size: str, start: Start, tokens: int) -> dict[str, Any]:
    passes = next(row.passes for row in SIZES if row.name == size)
    if passes:
        return {"epochs": float(passes), "tokens": None, "steps": None}
    return {"epochs": None, "tokens": quick_tokens(start, tokens), "steps": None}


def quick_tokens(start: Start, tokens: int) -> int:
    """As many tokens as a minute of training takes, and no more than there are."""
    affordable = round(QUICK_S / seconds_per_token(start))
    known = start.trained_tokens + tokens  # a small mix has fewer tokens than the smallest taste
    return max(1, min(known, max(MIN_QUICK_TOKENS, affordable))) if known else MIN_QUICK_TOKENS


def seconds_per_token(start: Start) -> float:
    """By arithmetic: operations per token over what a thread was measured to do (training.engine.config)."""
    operations = FLOPS_PER_TOKEN[method_for(start)] * max(start.parameters, 100_000)
    return operations / (CPU_FLOPS_PER_THREAD * engine_threads())


def say_roughly(seconds: float) -> str:
    """A forecast in its largest unit with two figures at most: "40 minutes", "1.5 hours", "43 years"."""
    if seconds < 60:
        return "a minute"
    name, unit = next(row for row in reversed(UNITS) if seconds >= row[1])
    count = float(f"{seconds / unit:.2g}")
    return (
        f"{count:,.0f} {name}{'' if count == 1 else 's'}" if count >= 10 or count.is_integer() else f"{count} {name}s"
    )


def say_figures(value: float) -> str:
    """Two figures: 1.2, 12, 12,000."""
    rounded = float(f"{value:.2g}")
    return f"{rounded:,.0f}" if rounded >= 10 or rounded.is_integer() else f"{rounded:g}"


@dataclass(frozen=True)
class Estimate:
    size: Size
    seconds: float
    is_measured: bool  # from earlier runs here, not by arithmetic alone

    @property
    def roughly(self) -> str:
        return say_roughly(self.seconds)

    @property
    def watt_hours(self) -> float:
        return self.seconds * (settings.ENGINE_WATTS or WATTS_PER_THREAD * engine_threads()) / 3600

    @property
    def energy(self) -> str:
        for unit, size in (("GWh", 1e9), ("MWh", 1e6), ("kWh", 1e3)):
            if self.watt_hours >= size:
                return f"{say_figures(self.watt_hours / size)} {unit}"
        return f"{max(self.watt_hours, 0.1):.1f} Wh"

    @property
    def money(self) -> str:
        """Energy and machine: to the minor unit, and two figures of what is a hundred or more."""
        minor = self.watt_hours / 1000 * settings.KWH_PRICE + self.seconds / 3600 * settings.MACHINE_HOUR_PRICE
        amount = minor / 100
        if amount >= 1e6:
            return f"{say_figures(amount / 1e6)} million {settings.CURRENCY}"
        if amount >= 100:
            return f"{say_figures(amount)} {settings.CURRENCY}"
        return f"{amount:.2f} {settings.CURRENCY}" if minor >= 1 else f"less than 0.01 {settings.CURRENCY}"


@dataclass(frozen=True)
class Fit:
    """Whether the machine can hold it, before anything runs."""

    needed_bytes: int
    limit_bytes: int
    is_enough: bool
    how: str = ""  # what the engine will do to fit, in a sentence


def fit_memory(start: Start, *, is_paired: bool = False) -> Fit:
    """By the engine's own estimate, with the numbers that it would choose on this machine."""
    limit = memory_limit_bytes()
    train = start.recipe.train if start.recipe else None
    method = method_for(start)
    training = Training(
        method=method,
        optimizer=train.optimizer if train else "adamw",
        precision="bf16" if train and train.precision == "bf16" else "fp32",
        device="cpu",
        rank=train.rank if train and isinstance(train.rank, int) else USUAL_RANK,
    )
    sizes = read_network(start)
    if sizes is None:  # of a kind that is not known here: what training holds, without what a pass takes
        needed = (8 if method == "lora" else 16) * start.parameters + PROGRAM_BYTES
        return Fit(needed, limit, needed <= limit)
    context = train.context_tokens if train and isinstance(train.context_tokens, int) else MAX_CONTEXT
    batch = train.batch_tokens if train and isinstance(train.batch_tokens, int) else BATCH_TOKENS[method, "cpu"]
    row = context * (2 if is_paired else 1)
    rows = max(1, batch // row)
    cut = cut_step(
        sizes,
        training,
        rows=rows,
        context_tokens=row,
        longest=context,
        room_bytes=limit,
        is_padded=FAMILIES[sizes.family].packing == PADDED,
    )
    needed = max(cut.needed_bytes, estimate_keeping(sizes))
    how = describe_cut(cut, rows_per_step=rows, layers=sizes.layers) if cut.recomputed_layers else ""
    return Fit(needed, limit, cut.fits and needed <= limit, how)


def read_network(start: Start) -> Sizes | None:
    try:
        return read_sizes(start.config, start.parameters) if start.parameters else None
    except KeyError:
        return None


def estimate(repo: Repo, start: Start, tokens: int, *, is_paired: bool = False) -> list[Estimate]:
    """How long each size trains, before anything runs. Of two answers more is read than learnt from."""
    measured = typical_seconds_per_token(repo)
    pace = measured or seconds_per_token(start)
    known = start.trained_tokens + tokens  # a small mix has fewer tokens than the smallest taste
    rows = []
    for size in SIZES:
        count = size.passes * known if size.passes else quick_tokens(start, tokens)
        read = READ_SHARE * min(count, known) if is_paired else 0.0
        rows.append(Estimate(size, STARTUP_S + (count + read) * pace, measured is not None))
    return rows
