"""What the engine says, stored with its job for the live pages; and in words where it stands."""

import time
from collections.abc import Callable
from typing import Any

from hub.common.jobs import Lease

Event = dict[str, Any]

MIN_GAP_S = 0.4  # between two stored points of the loss curve ...
POINTS_PER_AGE = 300  # ... and at most so many for each time the age of the run doubles, roughly
KINDS = frozenset({"progress", "metrics", "sample", "warning", "error", "stage", "sandbox"})
STAGES = {
    ("prepare", "started", None): "Reading, cleaning and packing the data",
    ("reference", "started", None): "Reading both answers as the model sees them before it learns",
    ("train", "started", None): "Training begins",
    ("train", "resumed", None): "Going on from the last checkpoint",
    ("save", "started", None): "Writing the weights and reading them back",
    ("evaluate", "started", "model"): "Putting the suite to the new model",
    ("evaluate", "started", "parent"): "Putting the suite to its parent",
    ("generate", "started", None): "Answering the prompts",
}


def relay(lease: Lease) -> Callable[[Event], None]:
    """Store the engine's events with the job, for the live pages; `progress` of the row says in words where it stands."""
    told = Pace()

    def store(event: Event) -> None:
        kind = event["event"]
        if kind not in KINDS or (kind == "metrics" and not told.is_due(event)):
            return
        data = {key: value for key, value in event.items() if key not in ("event", "kind", "time")}
        if kind == "progress":
            data["sentence"] = describe_event(event)
        lease.report(kind, **data)
        if kind in ("metrics", "stage") and (sentence := describe_event(event)):
            lease.note_progress(sentence=sentence, **count_steps(event))

    return store


class Pace:
    """Thins out metrics: dense while a run is young, never more than some thousands over its whole life."""

    def __init__(self) -> None:
        self.started = self.last = time.monotonic()

    def is_due(self, event: Event) -> bool:
        now = time.monotonic()
        gap = max(MIN_GAP_S, (now - self.started) / POINTS_PER_AGE)
        if now - self.last < gap and event.get("step") not in (1, event.get("steps")):
            return False
        self.last = now
        return True


def count_steps(event: Event) -> dict[str, Any]:
    names = {"step": "done", "steps": "total", "eta_s": "eta_s"}
    return {new: event[old] for old, new in names.items() if event.get(old) is not None}


def describe_event(event: Event) -> str:
    """What the engine does just now, in words."""
    if event["event"] == "metrics":
        return f"Step {event.get('step'):,} of {event.get('steps'):,}"
    stage, state = event.get("stage"), event.get("state")
    if event["event"] == "stage":
        return STAGES.get((stage, state, event.get("role")), STAGES.get((stage, state, None), ""))
    if event.get("message"):
        message = str(event["message"])
        return message[:1].upper() + message[1:]
    if stage == "prepare" and "rows" in event:
        return f"Read and cleaned {event['rows']:,} rows"
    if "saved_step" in event:
        return f"Saved a checkpoint after step {event['saved_step']:,}"
    if stage == "reference":
        return f"Read the answers of {event.get('done'):,} of {event.get('total'):,} rows"
    if "held_out_accuracy" in event:
        return f"The better answer is the likelier one in {event['held_out_accuracy']:.0%} of the pairs kept aside"
    if "held_out_loss" in event:
        return f"Loss on rows kept aside: {event['held_out_loss']:.3f}"
    if stage == "evaluate":
        whose = "its parent" if event.get("role") == "parent" else "the new model"
        return f"Asking {whose}: {event.get('task')}, {event.get('done'):,} of {event.get('rows'):,}"
    if stage == "generate":
        return f"Answered {event.get('done'):,} of {event.get('total'):,} prompts"
    return ""
