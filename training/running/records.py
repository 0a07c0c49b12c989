"""What the jobs of a run reported, as pages show it: the loss by steps, sample answers, the record line by line."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import merge
from itertools import islice
from pathlib import Path
from typing import Any

from hub.common.models import Job, JobEvent
from training.models import Run
from training.running.runs import jobs_of

MAX_CURVE_EVENTS = 6000
MAX_KEPT_POINTS = 400  # of the loss, for as long as the run is remembered
MAX_LOG_LINES = 200
MAX_SEARCHED = 2_000  # lines that are read for one page of a search
MAX_LOG_JOBS = 40  # the newest ones of a run that was started again and again
LOG_PIECE = 250  # events of one job that are fetched at once
MAX_WARNINGS = 50
MAX_SAMPLES = 12
LOG_KINDS = ("state", "stage", "progress", "warning", "error", "log", "sandbox")


@dataclass
class Curve:
    loss: list[tuple[float, float]] = field(default_factory=list)  # (step, loss)
    held_out: list[tuple[float, float]] = field(default_factory=list)
    last: dict[str, Any] = field(default_factory=dict)  # the newest metrics
    accuracy: list[tuple[float, float]] = field(default_factory=list)  # of pairs: (step, share the better answer wins)
    held_out_accuracy: list[tuple[float, float]] = field(default_factory=list)
    margin: list[tuple[float, float]] = field(default_factory=list)  # of pairs: (step, mean lead of the better answer)

    @property
    def series(self) -> list[dict[str, Any]]:
        rows = [{"name": "loss", "points": self.loss}, {"name": "kept aside", "points": self.held_out}]
        return [row for row in rows if row["points"]]

    @property
    def accuracies(self) -> list[dict[str, Any]]:
        rows = [
            {"name": "learnt from", "points": self.accuracy},
            {"name": "kept aside", "points": self.held_out_accuracy},
        ]
        return [row for row in rows if row["points"]]

    @property
    def margins(self) -> list[dict[str, Any]]:
        return [{"name": "lead", "points": self.margin}] if self.margin else []


# Name in a curve -> name in the engine's events.
MEASURED = {
    "loss": "loss",
    "held_out": "held_out_loss",
    "accuracy": "reward_accuracy",
    "held_out_accuracy": "held_out_reward_accuracy",
    "margin": "reward_margin",
}


def read_curve(run: Run) -> Curve:
    """The loss by steps. A step that was taken again after a crash counts as it was taken last."""
    if run.result.get("curve"):  # the whole record, once it is over
        kept = run.result["curve"]
        return Curve(**{name: [tuple(point) for point in kept.get(name, ())] for name in MEASURED}, last=kept["last"])
    rows = JobEvent.objects.filter(job__in=jobs_of(run).filter(kind="training.train"), kind__in=("metrics", "progress"))
    found: dict[str, dict[float, float]] = {name: {} for name in MEASURED}
    curve = Curve()
    for data in rows.order_by("id").values_list("data", flat=True)[:MAX_CURVE_EVENTS]:
        step = data.get("step")
        if step is None:
            continue
        for name, key in MEASURED.items():
            if data.get(key) is not None:
                found[name][step] = data[key]
        if data.get("loss") is not None:
            curve.last = data
    for name, points in found.items():
        setattr(curve, name, sorted(points.items()))
    return curve


def keep_curve(run: Run, metrics: Path) -> dict[str, Any]:
    """The curve of a run that is over, from the engine's own record of every step, thinned for a page."""
    live = read_curve(run)
    points: dict[str, list[tuple[float, float]]] = {name: [] for name in ("loss", "accuracy", "margin")}
    last: dict[str, Any] = live.last
    with metrics.open(encoding="utf-8") as lines:
        for line in lines:
            last = json.loads(line)
            for name, found in points.items():
                if last.get(MEASURED[name]) is not None:
                    found.append((last["step"], last[MEASURED[name]]))
    kept = {name: thin_out(found) for name, found in points.items() if found}
    if live.held_out_accuracy:
        kept["held_out_accuracy"] = live.held_out_accuracy
    return {"loss": [], **kept, "held_out": live.held_out, "last": last}


def thin_out(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    stride = max(1, math.ceil(len(points) / MAX_KEPT_POINTS))
    kept = points[::stride]
    return kept if kept[-1] == points[-1] else [*kept, points[-1]]


def read_samples(run: Run) -> list[dict[str, Any]]:
    """[{"prompt", "answers": [{"step", "text"}]}]: how the answers to the same prompts changed while it learnt."""
    rows = JobEvent.objects.filter(job__in=jobs_of(run), kind="sample").order_by("id").values_list("data", flat=True)
    by_prompt: dict[str, dict[int, str]] = {}
    for data in rows[:MAX_SAMPLES]:
        by_prompt.setdefault(data["prompt"], {})[data["step"]] = data["text"]
    return [
        {"prompt": prompt, "answers": [{"step": step, "text": text} for step, text in sorted(answers.items())]}
        for prompt, answers in by_prompt.items()
    ]


Line = dict[str, Any]  # {"id", "at", "job", "text"}


def read_log(run: Run) -> list[Line]:
    """The last lines of the record, oldest first."""
    return [as_line(event) for event in islice(newest_events(run), MAX_LOG_LINES)][::-1]


@dataclass(frozen=True)
class LogPage:
    lines: list[Line]  # oldest first
    older: int  # `before` of the page that comes before this one; 0 at the beginning of the record
    is_cut: bool = False  # so much was read without finding a page full that the rest is left to the next one


def search_log(run: Run, words: str, *, before: int = 0, most: int) -> LogPage:
    """The newest lines that hold every one of the words, `most` of them and older than the event `before`.

    At most MAX_SEARCHED lines are read for one page, however few of them fit."""
    wanted = words.lower().split()
    lines: list[Line] = []
    last = 0
    for number, event in enumerate(newest_events(run, before)):
        if len(lines) == most or number == MAX_SEARCHED:
            return LogPage(lines[::-1], last, is_cut=len(lines) < most)
        line = as_line(event)
        if all(word in f"{line['job']}: {line['text']}".lower() for word in wanted):
            lines.append(line)
        last = event.pk
    return LogPage(lines[::-1], 0)


def newest_events(run: Run, before: int = 0) -> Iterator[JobEvent]:
    """Events of the record, the newest first, read in pieces: of each job by its index, whatever else the hub records."""
    newest = list(jobs_of(run).order_by("-created_at")[:MAX_LOG_JOBS])
    return merge(*(events_of(job, before) for job in newest), key=lambda event: event.pk, reverse=True)


def events_of(job: Job, before: int) -> Iterator[JobEvent]:
    while True:
        rows = JobEvent.objects.filter(job_id=job.pk, kind__in=LOG_KINDS).order_by("-id")
        piece = list((rows.filter(id__lt=before) if before else rows)[:LOG_PIECE])
        for event in piece:
            event.job = job
            yield event
        if len(piece) < LOG_PIECE:
            return
        before = piece[-1].pk


def as_line(event: JobEvent) -> Line:
    job = event.job.kind.partition(".")[2]
    return {"id": event.pk, "at": event.at, "job": job, "text": write_line(event.kind, event.data)}


def read_warnings(run: Run) -> list[str]:
    """What the training program, or the hub about it, wants to be known; each sentence once."""
    rows = JobEvent.objects.filter(job__in=jobs_of(run), kind="warning").order_by("id").values_list("data", flat=True)
    return list(dict.fromkeys(str(data["message"]) for data in rows[:MAX_WARNINGS] if data.get("message")))


def write_line(kind: str, data: dict[str, Any]) -> str:
    """An event as one line of text; static/js/run.js writes the same for live ones."""
    if kind == "state":
        return f"{data.get('state', '')}{': ' + data['reason'] if data.get('reason') else ''}"
    if kind == "sandbox":
        return describe_sandbox(data)
    if kind == "stage":
        more = ", ".join(
            f"{key} {value}" for key, value in data.items() if isinstance(value, int | float) and key != "time"
        )
        return f"{data.get('stage')}: {data.get('state')}" + (f" ({more})" if more else "")
    return str(data.get("message") or data.get("sentence") or data.get("line") or "")


def describe_sandbox(data: dict[str, Any]) -> str:
    network = "without a network" if not data.get("network") else "with the network of this machine"
    user = "as a user of its own" if data.get("own_user") else "as the user of the worker"
    return f"The training program ran {network}, {user}, with an empty environment and limits on files."


def read_confinement(run: Run) -> str:
    data = JobEvent.objects.filter(job__in=jobs_of(run), kind="sandbox").order_by("-id").values_list("data", flat=True)
    return describe_sandbox(data[0]) if data else ""
