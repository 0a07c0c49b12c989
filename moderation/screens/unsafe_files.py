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
- binary content of a format that is not on the list of accepted ones: `hold` (see accepted)."""

import json
import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from moderation.screens.accepted import check_accepted
from moderation.screens.config_check import check_config, is_config
from moderation.screens.findings import Finding, Severity, quote
from moderation.screens.formats import CLOSED_ARCHIVES, EXECUTABLES, MEDIA
from moderation.screens.limits import Deadline, bound_json
from moderation.screens.template_check import check_template
from moderation.screens.tokenizer_check import MAX_TOKENIZER_BYTES, check_tokenizer

READ_WHOLE_BYTES = 8 << 20  # configurations, templates and pictures beyond this size are refused, not half read
SVG = re.compile(rb"<svg[\s>]", re.I)
ACTIVE_MARKUP = re.compile(
    rb"<script\b|\bon[a-z]{3,20}\s*=\s*[\"']|javascript:|<foreignobject\b|<!entity\b|<iframe\b", re.I
)
HTML = re.compile(rb"<(?:!doctype html|html|head|body)\b", re.I)
YAML_OBJECT = re.compile(rb"!!python/|!!javax?[./]|!<tag:yaml\.org,2002:python/")
XML_ENTITY = re.compile(rb"<!ENTITY\b", re.I)
# Fewer than what pages hold: these bytes stand in no picture by chance.
POLYGLOT = re.compile(rb"<script\b|<!doctype html|<html\b|<\?php|#!/bin/|<iframe\b", re.I)
ESCAPED_LETTER = re.compile(rb"#([0-9A-Fa-f]{2})")  # of a name in a PDF
ACTIVE_DOCUMENT = re.compile(rb"/(?:JavaScript|JS|Launch|OpenAction|EmbeddedFile|RichMedia)\b")
MACROS = {"vbaproject.bin", "vbadata.xml"}
LAMBDA_LAYER = re.compile(rb"\"class_name\": ?\"(?:Lambda|TFOpLambda)\"")


def check_kind(name: str, kind: str, head: bytes) -> Iterator[Finding]:
    """Findings that follow from what the file is."""
    if kind in EXECUTABLES:
        what = f"{name} is a program ({kind})"
        yield _finding(name, "program", "hold", kind, f"{what}; publish its source, or explain it to a moderator.")
    elif kind in CLOSED_ARCHIVES:
        what = f"{name} is an archive ({kind}) that the checks cannot read"
        yield _finding(name, "closed_archive", "hold", kind, f"{what}; upload the files themselves.")
    elif kind == "hdf5" and LAMBDA_LAYER.search(head):
        yield lambda_layer_finding(name)
    elif kind in MEDIA and (problem := media_problem(kind, head)):
        rule, excerpt, what = problem
        yield _finding(name, rule, "hold", excerpt, f"{name} {what}; export it again without it.")
    else:
        yield from check_accepted(name, kind)


def lambda_layer_finding(name: str) -> Finding:
    what = f"{name} holds a Keras layer with code in it"
    return _finding(name, "lambda_layer", "hold", "Lambda", f"{what}; save the weights as .safetensors.")


def macro_finding(name: str) -> Finding:
    return _finding(name, "macro", "hold", "macro", f"{name} is a program within a document; save it without macros.")


def media_problem(kind: str, head: bytes) -> tuple[str, str, str] | None:
    """(rule, excerpt, half sentence) for a picture that is a page as well, and for a document that acts."""
    if kind == "pdf":
        plain = ESCAPED_LETTER.sub(lambda found: bytes([int(found[1], 16)]), head)
        match = ACTIVE_DOCUMENT.search(plain)
        return ("script_in_document", _show(match), "acts when it is opened") if match else None
    match = POLYGLOT.search(head)
    return ("polyglot", _show(match), f"is a {kind} and a page or program at once") if match else None


def check_small_text(name: str, data: bytes, deadline: Deadline) -> Iterator[Finding]:
    """Configurations, templates and markup, read as a whole (`data` has at most `read_whole_bytes`). Raises ScreenLimit."""
    lowered = PurePosixPath(name.lower()).name
    if lowered == "tokenizer.json" or is_config(name) or lowered.endswith(".ipynb"):
        bound_json(data, deadline)
    if lowered == "tokenizer.json":
        yield from check_tokenizer(name, data, deadline)
    elif is_config(name):
        yield from check_config(name, data, deadline)
    elif lowered.endswith((".jinja", ".jinja2")):
        yield from check_template(name, data.decode("utf-8", "replace"), deadline)
    elif lowered.endswith((".yaml", ".yml")) and (match := YAML_OBJECT.search(data)):
        what = f"{name} makes a loader build Python objects"
        yield _finding(name, "yaml_object", "hold", _show(match), f"{what}; write plain values.")
    elif lowered.endswith(".ipynb"):
        yield from _check_notebook(name, data)
    elif (match := XML_ENTITY.search(data)) and not HTML.search(data[:4096]):
        what = f"{name} defines entities, with which a few lines fill all memory or read other files"
        yield _finding(name, "xml_entities", "hold", _show(match), f"{what}; write the text itself.")
    if SVG.search(data[:4096]) and not HTML.search(data[:4096]):
        if match := ACTIVE_MARKUP.search(data):
            what = f"The picture {name} holds a script"
            yield _finding(name, "script_in_picture", "hold", _show(match), f"{what}; export it without scripts.")
    elif HTML.search(data[:4096]) and (match := ACTIVE_MARKUP.search(data)):
        what = f"The page {name} holds a script"
        yield _finding(name, "script_in_page", "info", _show(match), f"{what}; it is handed out as a plain download.")


def _check_notebook(name: str, data: bytes) -> Iterator[Finding]:
    """A notebook is source code. Scripts among its outputs are what a viewer may run unasked."""
    try:
        cells = json.loads(data)["cells"]
        outputs = [output for cell in cells for output in cell.get("outputs", [])]
        shown = [(kind, str(text)) for output in outputs for kind, text in output.get("data", {}).items()]
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return  # no notebook: read as the text that it is
    for kind, text in shown:
        if "javascript" in kind or (kind in ("text/html", "image/svg+xml") and ACTIVE_MARKUP.search(text.encode())):
            what = f"The notebook {name} holds a script among its outputs"
            yield _finding(name, "script_in_notebook", "hold", kind, f"{what}; clear the outputs and save it again.")
            return


def read_whole_bytes(name: str, head: bytes) -> int:
    """How much of such a file is read as a whole; 0 for files that are read in pieces."""
    lowered = PurePosixPath(name.lower()).name
    if lowered == "tokenizer.json" or lowered.endswith(".ipynb"):
        return MAX_TOKENIZER_BYTES
    named = is_config(name) or lowered.endswith((".jinja", ".jinja2", ".svg", ".html", ".htm", ".yaml", ".yml"))
    marked = SVG.search(head[:4096]) or XML_ENTITY.search(head[:4096])
    return READ_WHOLE_BYTES if named or marked or lowered.endswith(".xml") else 0


def too_large_finding(name: str, size: int, most: int) -> Finding:
    what = f"{name} has {size:,} bytes, more than the {most:,} that are read of such a file"
    return _finding(name, "too_large", "hold", f"{size:,} bytes", f"{what}; make it smaller.")


def object_array_finding(where: str) -> Finding:
    what = f"{where} is a numpy array of Python objects, which is a pickle inside"
    mend = "it is kept, never loaded and withheld: save numbers or text arrays, or .parquet."
    return _finding(where, "pickle", "block", "dtype object", f"{what}; {mend}")


def pickled_cell_finding(name: str, where: str) -> Finding:
    what = f"{name} holds Python objects ({where}), which run code when they are opened"
    mend = "they are kept, never loaded and withheld: save numbers, texts or lists."
    return _finding(f"{name}, {quote(where)[:120]}", "pickle", "block", "pickle", f"{what}; {mend}")


def _show(match: re.Match[bytes]) -> str:
    return match.group().decode("ascii", "replace")


def _finding(where: str, rule: str, severity: Severity, excerpt: str, message: str) -> Finding:
    return Finding("unsafe_files", rule, severity, where, quote(excerpt), message)
