"""Chat templates: read against a list of what a conversation needs, and rendered in a child that can do nothing else.

The child (template_child) has 256 MiB, one second, no files, no sockets and no children. What it answers is kept by
the template's digest, so that the same template is run once in a process."""

import hashlib
import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from moderation.screens.findings import Finding, quote
from moderation.screens.hidden_text import check_hidden_in_template
from moderation.screens.limits import Deadline

CHILD = Path(__file__).with_name("template_child.py")
MAX_TEMPLATE_BYTES = 256 << 10  # the longest that are known have 30,000
MAX_ANSWER_BYTES = 16 << 20
WALL_S = 10.0  # the child ends itself after a second of work; this is for a machine that gives it none
TEMPLATE_ESCAPE = re.compile(
    r"__\w+__|\battr\s*\(|\|\s*attr\b|\b(?:cycler|joiner|lipsum|self|request|config)\s*[.\[]\s*_?_"
    r"|popen|subprocess|os\.system|\\x5f|\bimport\s+os\b|{%-?\s*(?:include|import|extends|from)\b"
)


@dataclass(frozen=True)
class Judged:
    refused: tuple[tuple[str, str, str], ...] = ()  # (rule, excerpt, half sentence)
    broken: str = ""


def check_template(name: str, template: str, deadline: Deadline) -> Iterator[Finding]:
    """Findings about one template; its own errors are its own affair. Raises OutOfTime where a request has none left."""
    deadline.check()
    yield from check_hidden_in_template(name, template)
    for rule, excerpt, what in judge_template(template).refused[:3]:
        message = f"The chat template in {name} {what}; use loops, conditions and the messages' fields only."
        yield Finding("unsafe_files", rule, "hold", name, quote(excerpt), message)


def judge_template(template: str) -> Judged:
    """What the child says, or the refusal that spares asking it."""
    if match := TEMPLATE_ESCAPE.search(template):
        return Judged((("chat_template", match.group(), "reaches for more than a conversation"),))
    data = template.encode("utf-8", "replace")
    if len(data) > MAX_TEMPLATE_BYTES:
        size = f"{len(data):,} bytes"
        return Judged((("template_limits", size, f"has {size}, more than {MAX_TEMPLATE_BYTES:,}"),))
    if "{{" not in template and "{%" not in template:
        return Judged()  # plain text
    return _judge_by_digest(hashlib.sha256(data).digest(), data)


# The digest is the key; the text comes along and is compared only by its digest's equality.
@lru_cache(maxsize=256)
def _judge_by_digest(digest: bytes, data: bytes) -> Judged:
    try:
        ended = subprocess.run(
            [sys.executable, "-I", "-B", "-S", str(CHILD), _jinja_folder()],
            input=data,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={},
            cwd="/",
            timeout=WALL_S,
        )
    except subprocess.TimeoutExpired:
        return Judged((("template_limits", "", "does not end"),))
    if ended.returncode:
        return Judged((("template_limits", "", "needs more than a second or more memory than it is given"),))
    if len(ended.stdout) > MAX_ANSWER_BYTES:
        return Judged((("template_limits", "", "writes too much"),))
    answer: dict[str, Any] = json.loads(ended.stdout)
    refused = tuple((str(rule), str(excerpt), str(what)) for rule, excerpt, what in answer["refused"])
    return Judged(refused, answer.get("broken", ""))


@cache
def _jinja_folder() -> str:
    found = importlib.util.find_spec("jinja2")
    if found is None or not found.origin:
        raise RuntimeError("jinja2 is not installed, so chat templates cannot be checked")
    return str(Path(found.origin).parent.parent)
