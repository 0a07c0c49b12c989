"""Names for bytes: sha256 of files, folders and JSON, the same on every machine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

PIECE_BYTES = 1 << 20


def digest_file(path: Path) -> str:
    """sha256 of the file's bytes, 64 hex digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def list_files(folder: Path) -> list[str]:
    """Relative paths with forward slashes of all files below `folder`, sorted by their bytes."""
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def digest_listing(files: Iterable[tuple[str, str]]) -> str:
    """The digest "sha256:..." over the sorted lines "path sha256"."""
    lines = sorted(f"{path} {sha256}\n" for path, sha256 in files)
    return "sha256:" + hashlib.sha256("".join(lines).encode()).hexdigest()


def digest_folder(folder: Path) -> str:
    """The digest "sha256:..." of a folder: names and bytes of its files. A model is named by that of OUT/model."""
    return digest_listing((path, digest_file(folder / path)) for path in list_files(folder))


def format_canonical(value: Any) -> bytes:
    """JSON with sorted keys and no spaces, UTF-8; lone surrogates pass through, since a hostile row may hold them."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    return text.encode("utf-8", "surrogatepass")


def digest_json(value: Any) -> str:
    """sha256 of the canonical JSON, 64 hex digits."""
    return hashlib.sha256(format_canonical(value)).hexdigest()
