"""The watched: it screens what it is sent over a pipe, and says in marks (see watching) which file it is at.

Each request is a JSON line {"name", "size", "quick", "budget_s"} and the bytes; each answer is a JSON line."""

import io
import json
import os
import sys
from dataclasses import asdict

from moderation.screens import screen_file


def mark(name: str) -> None:
    try:
        os.open(f"/mark/{name}", os.O_WRONLY)
    except FileNotFoundError:
        pass  # as it should be: only the attempt is seen


def serve() -> None:
    for line in sys.stdin.buffer:
        asked = json.loads(line)
        data = sys.stdin.buffer.read(asked["size"])
        mark(asked["name"])
        found = screen_file(
            asked["name"], io.BytesIO(data), len(data), quick=asked["quick"], budget_s=asked["budget_s"]
        )
        mark("")
        print(json.dumps([asdict(finding) for finding in found]), flush=True)


def load() -> None:
    """What no screen does: it lets a pickle run. The watcher's own test."""
    import pickle

    for line in sys.stdin.buffer:
        mark(json.loads(line)["name"])
        try:
            pickle.loads(sys.stdin.buffer.read(json.loads(line)["size"]))
        except OSError:
            pass
        print("[]", flush=True)


if __name__ == "__main__":
    load() if sys.argv[1:] == ["--load"] else serve()
