"""Files that could run something: programs, loaders' hooks in configurations, templates that reach into Python,
pictures with scripts.

Decisions, and why:
- pickles: `block`, always (see pickles).
- programs and archives that cannot be read: `hold`; somebody may have a reason to ship one.
- `auto_map`, `custom_code` and their like in a configuration: `hold`; they make other people's loaders run code from
  the repository. The code itself, as text, is only text.
- SVG with a script: `hold`, for a card shows it as a picture. HTML with a script: `info`, for the hub never serves it
  as a page and collections of web pages are honest data.
- chat templates with double-underscore or attribute tricks: `hold`; a template is a small program of its own.
- other binary content: `info`; it is handed out as a download and never opened here."""

import json
import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from moderation.screens.findings import Finding, Severity, quote
from moderation.screens.formats import CLOSED_ARCHIVES, EXECUTABLES

READ_WHOLE_BYTES = 8 << 20  # configurations, templates and pictures beyond this size are refused, not half read
CODE_KEYS = {"auto_map", "trust_remote_code", "custom_code", "custom_pipelines", "custom_pipeline", "custom_generate"}
MAX_DIMENSION = 1 << 31
DIMENSION = re.compile(r"(?:_size|_layers|_heads|_dim|_positions|n_embd|n_layer|n_head|d_model|num_experts)$")
SVG = re.compile(rb"<svg[\s>]", re.I)
ACTIVE_MARKUP = re.compile(
    rb"<script\b|\bon[a-z]{3,20}\s*=\s*[\"']|javascript:|<foreignobject\b|<!entity\b|<iframe\b", re.I
)
HTML = re.compile(rb"<(?:!doctype html|html|head|body)\b", re.I)
TEMPLATE_ESCAPE = re.compile(
    r"__\w+__|\battr\s*\(|\|\s*attr\b|\b(?:cycler|joiner|lipsum|self|request|config)\s*[.\[]\s*_?_"
    r"|popen|subprocess|os\.system|\\x5f|\bimport\s+os\b|{%-?\s*(?:include|import|extends|from)\b"
)
LAMBDA_LAYER = re.compile(rb"\"class_name\": ?\"(?:Lambda|TFOpLambda)\"")
EXPECTED = {".safetensors": "safetensors", ".parquet": "parquet", ".gguf": "gguf", ".npy": "npy", ".zip": "zip"}


def check_kind(name: str, kind: str, head: bytes) -> Iterator[Finding]:
    """Findings that follow from what the file is."""
    if kind in EXECUTABLES:
        what = f"{name} is a program ({kind})"
        yield _finding(name, "program", "hold", kind, f"{what}; publish its source, or explain it to a moderator.")
    elif kind in CLOSED_ARCHIVES:
        what = f"{name} is an archive ({kind}) that the checks cannot read"
        yield _finding(name, "closed_archive", "hold", kind, f"{what}; upload the files themselves.")
    elif kind == "hdf5" and LAMBDA_LAYER.search(head):
        what = f"{name} holds a Keras layer with code in it"
        yield _finding(name, "lambda_layer", "hold", "Lambda", f"{what}; save the weights as .safetensors.")
    elif kind in ("binary", "hdf5", "arrow", "sqlite"):
        what = f"{name} is binary content that the checks cannot read"
        mend = "it is offered as a download and never opened here; .safetensors, .parquet and .jsonl are read."
        yield _finding(name, "unread_binary", "info", kind, f"{what}; {mend}")
    expected = EXPECTED.get(PurePosixPath(name.lower()).suffix)
    if expected and kind not in (expected, "pickle", "empty"):
        what = f"{name} is not what its name says (it looks like {kind})"
        mend = "give it its true ending, or save and upload it again."
        yield _finding(name, "false_name", "hold", kind, f"{what}; {mend}")


def check_small_text(name: str, data: bytes) -> Iterator[Finding]:
    """Configurations, templates and markup, read as a whole (`data` has at most READ_WHOLE_BYTES)."""
    lowered = PurePosixPath(name.lower()).name
    if lowered.endswith("config.json") or lowered == "model_index.json":
        yield from check_config(name, data)
    if lowered.endswith((".jinja", ".jinja2")):
        yield from check_template(name, data.decode("utf-8", "replace"))
    if SVG.search(data[:4096]) and not HTML.search(data[:4096]):
        if match := ACTIVE_MARKUP.search(data):
            what = f"The picture {name} holds a script"
            yield _finding(name, "script_in_picture", "hold", _show(match), f"{what}; export it without scripts.")
    elif HTML.search(data[:4096]) and (match := ACTIVE_MARKUP.search(data)):
        what = f"The page {name} holds a script"
        yield _finding(name, "script_in_page", "info", _show(match), f"{what}; it is handed out as a plain download.")


def is_read_whole(name: str, head: bytes) -> bool:
    lowered = PurePosixPath(name.lower()).name
    named = lowered.endswith(("config.json", "model_index.json", ".jinja", ".jinja2", ".svg", ".html", ".htm"))
    return named or bool(SVG.search(head[:4096]))


def too_large_finding(name: str, size: int) -> Finding:
    what = f"{name} has {size:,} bytes, more than the {READ_WHOLE_BYTES:,} that are read of such a file"
    return _finding(name, "too_large", "hold", f"{size:,} bytes", f"{what}; make it smaller.")


def check_config(name: str, data: bytes) -> Iterator[Finding]:
    try:
        config = json.loads(data)
    except (ValueError, RecursionError):
        what = f"{name} is not JSON that can be read"
        yield _finding(name, "broken_config", "info", "not JSON", f"{what}; mend it, no loader will take it.")
        return
    for path, key, value in _walk(config):
        shown = f"{path}: {str(value)[:60]}"
        if key in CODE_KEYS and value:
            what = f"{name} asks loaders to run code from the repository ({path})"
            mend = "use an architecture that transformers knows, or ask a moderator."
            yield _finding(name, "remote_code", "hold", shown, f"{what}; {mend}")
        elif key.endswith("chat_template") and isinstance(value, str):
            yield from check_template(name, value)
        elif type(value) is int and value > MAX_DIMENSION and DIMENSION.search(key):
            what = f"{name} states an impossible size ({path})"
            yield _finding(name, "impossible_size", "hold", shown, f"{what}; correct it.")


def _walk(value: Any, path: str = "", key: str = "", depth: int = 0) -> Iterator[tuple[str, str, Any]]:
    """(path, key, value) of everything inside, 30 levels deep."""
    if key:
        yield path, key, value
    if depth > 30:
        return
    if isinstance(value, dict):
        for inner_key, inner in value.items():
            yield from _walk(inner, f"{path}.{inner_key}" if path else inner_key, inner_key, depth + 1)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            # Named templates are a list of {"name", "template"}.
            inner_key = "chat_template" if key == "chat_template" and isinstance(inner, dict) else ""
            text = inner.get("template", inner) if inner_key else inner
            yield from _walk(text, f"{path}[{index}]", inner_key, depth + 1)


def check_template(name: str, template: str) -> Iterator[Finding]:
    if match := TEMPLATE_ESCAPE.search(template):
        what = f"The chat template in {name} reaches for more than a conversation"
        mend = "use a template of loops, conditions and the messages' fields only."
        yield _finding(name, "chat_template", "hold", match.group(), f"{what}; {mend}")


def object_array_finding(where: str) -> Finding:
    what = f"{where} is a numpy array of Python objects, which is a pickle inside"
    mend = "it is kept, never loaded and withheld: save numbers or text arrays, or .parquet."
    return _finding(where, "pickle", "block", "dtype object", f"{what}; {mend}")


def _show(match: re.Match[bytes]) -> str:
    return match.group().decode("ascii", "replace")


def _finding(where: str, rule: str, severity: Severity, excerpt: str, message: str) -> Finding:
    return Finding("unsafe_files", rule, severity, where, quote(excerpt), message)
