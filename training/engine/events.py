"""What the program says while it works: one JSON object a line on stdout."""

from __future__ import annotations

import json
import math
import os
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any, TextIO

from training.engine.errors import EngineError, RecipeErrors


def emit(event: str, *, stream: TextIO | None = None, **fields: Any) -> None:
    """Print one event. NaN and infinities become null: they are not JSON, and a browser reads this.

    Of many ranks the first one speaks; the others say their errors only, with their number."""
    rank = int(os.environ.get("RANK", "0"))
    if rank and event != "error":
        return
    record = {"event": event, "time": round(time.time(), 3), **({"rank": rank} if rank else {})}
    record.update({key: _finite(value) for key, value in fields.items()})
    out = stream or sys.stdout
    out.write(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n")
    out.flush()


def emit_error(error: EngineError) -> None:
    fields: dict[str, Any] = {"code": error.code, "message": error.message, "hint": error.hint}
    if isinstance(error, RecipeErrors):
        fields["problems"] = [
            {"line": p.line, "column": p.column, "message": p.what, "hint": p.hint} for p in error.problems
        ]
    emit("error", **fields)


def report_failures(work: Callable[[], int]) -> int:
    """The exit code of `work`; what it raises becomes an `error` event and code 2 (refused) or 1 (crash)."""
    try:
        return work()
    except EngineError as error:
        emit_error(error)
        return 2
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        if package == "training":
            raise
        hint = "run it in a clone of this project as .venv/bin/python -m training.engine; ./manage.py up makes .venv"
        message = f"This Python has no package {package}; {hint}."
        emit("error", code="missing_package", message=message, hint=hint)
        return 2
    except BrokenPipeError:
        # Who read the events is gone. What was saved stays; a new start goes on from it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except MemoryError:
        emit("error", code="out_of_memory", message="The machine ran out of memory.", hint="Lower train.batch_tokens.")
        return 1
    except Exception as error:
        traceback.print_exc()
        emit("error", code="crash", message=f"{type(error).__name__}: {error}", hint="This is a fault of the engine.")
        return 1


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value
