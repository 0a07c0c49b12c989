"""How far a start has come: the steps, which one is under way, and what it does. Kept in DATA_DIR/setup.json."""

import json
import os
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

State = Literal["next", "now", "done", "failed"]


@dataclass
class Step:
    name: str  # words a newcomer knows
    state: State = "next"
    detail: str = ""
    share: float = 0.0  # 0..1
    seconds: float = 0.0


@dataclass
class SetupProgress:
    steps: list[Step] = field(default_factory=list)
    started_at: float = field(default_factory=time.time)  # UTC seconds

    @property
    def current(self) -> Step | None:
        return next((step for step in self.steps if step.state in ("now", "failed")), None)

    @property
    def next_one(self) -> Step | None:
        return next((step for step in self.steps if step.state == "next"), None)

    @property
    def is_finished(self) -> bool:
        return all(step.state == "done" for step in self.steps)

    def as_json(self) -> dict[str, Any]:
        return {
            "version": 1,
            "finished": self.is_finished,
            "started_at": self.started_at,
            "steps": [asdict(step) for step in self.steps],
        }


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Replace the file as a whole: a reader never sees half of it."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        json.dump(content, file, indent=1)
    os.replace(file.name, path)


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in the file, None when there is none."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def setup_in_templates(request: object) -> dict[str, Any]:
    """Template context processor: `setup` is what a start does now, while one is under way, else None."""
    from django.conf import settings

    content = read_json(Path(settings.DATA_DIR) / "setup.json")
    return {"setup": None if content is None or content["finished"] else describe_rest(content["steps"])}


def describe_rest(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What a page says of the steps in setup.json: the one under way, its share in per cent, and what comes then."""
    progress = SetupProgress([Step(**row) for row in rows])
    step = progress.current or progress.next_one
    assert step is not None, "a start that is not finished has a step left"
    then = progress.next_one if step is not progress.next_one else None
    return {
        "doing": f"{step.name}: {step.detail}" if step.detail else step.name,
        "percent": round(step.share * 100),
        "has_failed": step.state == "failed",
        "then": then.name if then else "",
    }
