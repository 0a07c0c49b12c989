"""Kinds of names: what screens and programs make of the same bytes depends on what the file is called.

A configuration cleared as `notes.json` has not been judged as `config.json`, which tools obey."""

import hashlib
import re
from pathlib import PurePosixPath

MIXED_SCRIPTS = re.compile("[a-z][\u0370-\u052f]|[\u0370-\u052f][a-z]")
KIND_LENGTH = 7  # hexadecimal digits: with a SHA-256 before them they fit Content.digest


def kind_of_name(path: str) -> str:
    """What the name makes of the bytes: its suffix; the whole of it where tools look for just this file."""
    name = PurePosixPath(path.lower())
    if not path.isascii() and MIXED_SCRIPTS.search(str(name)):
        return str(name)  # such names are judged themselves
    if str(name) == "readme.md" or name.suffix in ("", ".json"):
        return name.name
    return name.suffix


def digest_under(digest: str, path: str) -> str:
    """The name of the fact about these bytes under names of this kind."""
    return f"{digest}#{hashlib.sha256(kind_of_name(path).encode()).hexdigest()[:KIND_LENGTH]}"
