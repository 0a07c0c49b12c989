"""A run that needed too much memory goes on smaller: the same rows in each step, fewer of them at once; and where a pass
has one row already, with activations that are made twice instead of kept. A step sums its passes, so it learns the same."""

from __future__ import annotations

import json
from pathlib import Path


def make_smaller(out: Path) -> str | None:
    """Change the plan of a stopped run. Returns what changed, to stand behind "It goes on with", or None where there is no
    plan yet or nothing is left to take away."""
    path = out / "plan.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        plan = record["plan"]
        rows = int(plan["rows_per_pass"])
        layers, again = int(plan.get("layers", 0)), int(plan.get("recomputed_layers", 0))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if rows > 1:
        plan["rows_per_pass"] = rows // 2
        change = f"{rows // 2} instead of {rows} rows at once"
    elif again < layers:
        plan["recomputed_layers"] = layers
        change = f"the activations of all {layers} layers made twice instead of kept"
    else:
        return None
    plan["needed_bytes"] = 0  # the estimate was wrong
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    draft.replace(path)
    return change
