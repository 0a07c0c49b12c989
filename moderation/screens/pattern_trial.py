"""A pattern that can be read in many ways, tried in a child that can do nothing else (pattern_child)."""

import importlib.util
import json
import subprocess
import sys
from functools import cache, lru_cache
from pathlib import Path

CHILD = Path(__file__).with_name("pattern_child.py")
MAX_PARTS = 8
WALL_S = 120.0  # the child ends itself after three seconds of work; this is for a machine that gives it none


@lru_cache(maxsize=256)
def try_pattern(pattern: str, parts: tuple[str, ...]) -> str:
    """Why it may take too long, as half a sentence; "" when none of its `parts` did on texts that were made for it."""
    if len(parts) > MAX_PARTS:
        return "can be read in very many ways"
    folder = _tokenizers_folder()
    if not folder:
        return "can be read in very many ways, and nothing here can try it"
    try:
        ended = subprocess.run(
            [sys.executable, "-I", "-B", "-S", str(CHILD), folder],
            input=json.dumps({"pattern": pattern, "parts": parts}),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={"TOKENIZERS_PARALLELISM": "false"},
            cwd="/",
            timeout=WALL_S,
        )
        answer = json.loads(ended.stdout) if ended.returncode == 0 else {}
    except (subprocess.TimeoutExpired, ValueError):
        answer = {}
    if "slow" not in answer:
        return "can be read in very many ways and did not end when it was tried"
    return "takes very long on texts that it does not fit" if answer["slow"] else ""


@cache
def _tokenizers_folder() -> str:
    """Where the library lies; "" while the packages for training are not installed."""
    found = importlib.util.find_spec("tokenizers")
    return str(Path(found.origin).parent.parent) if found and found.origin else ""
