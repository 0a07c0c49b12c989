"""Logs of children: read what is new, quote how one ends, keep them small."""

import os
from pathlib import Path

MAX_LOG_BYTES = 20 * 1000**2


def read_from(log: Path, start: int) -> str:
    """What the log holds from byte `start` on; nothing when it is not there."""
    if not log.exists():
        return ""
    with open(log, "rb") as file:
        file.seek(start)
        return file.read().decode(errors="replace")


def last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "(nothing)"


def last_words(log: Path) -> str:
    """Half a sentence: where the log is and how it ends."""
    return f"the last line of {log} is: {last_line(read_from(log, 0))}"


def trim_logs(folder: Path, *, max_bytes: int = MAX_LOG_BYTES) -> None:
    """Keep at most two times `max_bytes` of each log: the old part becomes NAME.log.1."""
    for log in folder.glob("*.log"):
        if log.stat().st_size > max_bytes:
            # Copy and cut instead of rename: the children keep the file open and append to it.
            log.with_suffix(".log.1").write_bytes(log.read_bytes())
            os.truncate(log, 0)
