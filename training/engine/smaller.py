"""A run that needed too much memory goes on with smaller passes: the same rows in each step, fewer of them at once."""

from __future__ import annotations

import json
from pathlib import Path


def halve_passes(out: Path) -> tuple[int, int] | None:
    """Halve the rows of a forward and backward pass in the plan of a stopped run. Returns (rows before, rows now), or
    None where there is no plan yet or a pass has one row already. A step sums its passes, so it learns the same."""
    path = out / "plan.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        before = int(record["plan"]["rows_per_pass"])
    except (OSError, ValueError, KeyError):
        return None
    if before <= 1:
        return None
    record["plan"]["rows_per_pass"] = now = before // 2
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    draft.replace(path)
    return before, now
