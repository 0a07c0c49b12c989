"""The first file of an archive: what follows, in which order, how large and with which digest."""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

from hub.common.errors import InvalidInput
from hub.community.archives.tar import PIECE_BYTES, TarReader
from hub.community.discussions import plain_text

FORMAT = "model-commons-repository"
VERSION = 1
MANIFEST, RECORDS, BUNDLE = "manifest.json", "records.jsonl", "repository.bundle"
LARGE = re.compile(r"files/([0-9a-f]{64})")
DIGEST = re.compile(r"[0-9a-f]{64}")
MAX_MANIFEST_BYTES = 32 * 1024 * 1024
MAX_FILES = 100_000
MAX_RECORDS_BYTES = 1024**3
MAX_BUNDLE_BYTES = 8 * 1024**3


@dataclass(frozen=True)
class Entry:
    name: str
    size: int  # bytes
    sha256: str

    @property
    def is_large_file(self) -> bool:
        return LARGE.fullmatch(self.name) is not None


@dataclass(frozen=True)
class Manifest:
    type: str
    name: str  # NAMESPACE/NAME where it came from
    hub: str  # address of that hub, or empty
    exported_at: str
    entries: list[Entry]  # records, bundle, then large files

    @property
    def large_files(self) -> list[Entry]:
        return self.entries[2:]

    def format(self) -> bytes:
        told = {
            "format": FORMAT,
            "version": VERSION,
            "type": self.type,
            "name": self.name,
            "hub": self.hub,
            "exported_at": self.exported_at,
            "entries": [{"name": row.name, "size": row.size, "sha256": row.sha256} for row in self.entries],
        }
        return json.dumps(told, indent=1).encode()


def read_manifest(reader: TarReader) -> Manifest:
    """Raises InvalidInput for what is no archive of a repository, or one that this hub does not know."""
    member = reader.next_member()
    if member is None or member[0] != MANIFEST:
        raise InvalidInput(f"This is no archive of a repository: its first file must be {MANIFEST}.")
    if member[1] > MAX_MANIFEST_BYTES:
        raise InvalidInput(f"The {MANIFEST} has {member[1]:,} bytes; at most {MAX_MANIFEST_BYTES:,} are read.")
    try:
        told = json.loads(b"".join(reader.read_member(member[1])))
    except (ValueError, RecursionError):
        raise InvalidInput(f"The {MANIFEST} is no JSON; export the repository again.") from None
    if not isinstance(told, dict) or told.get("format") != FORMAT:
        raise InvalidInput(f"The {MANIFEST} does not say that this is a {FORMAT}.")
    if told.get("version") != VERSION:
        raise InvalidInput(f"The archive has version {str(told.get('version'))[:20]}; this hub reads {VERSION}.")
    rows = told.get("entries")
    if not isinstance(rows, list) or not 2 <= len(rows) <= MAX_FILES + 2:
        raise InvalidInput(f"The {MANIFEST} lists no files, or more than {MAX_FILES:,}.")
    entries = [check_entry(row, place) for place, row in enumerate(rows)]
    if len({entry.name for entry in entries}) < len(entries):
        raise InvalidInput(f"The {MANIFEST} names a file twice.")
    words = {key: told[key] if isinstance(told.get(key), str) else "" for key in ("type", "name", "hub", "exported_at")}
    return Manifest(entries=entries, **{key: plain_text(value[:200]) for key, value in words.items()})


def check_entry(row: Any, place: int) -> Entry:
    name, size, sha256 = (row.get(key) if isinstance(row, dict) else None for key in ("name", "size", "sha256"))
    is_sound = isinstance(name, str) and isinstance(sha256, str) and DIGEST.fullmatch(sha256)
    if not is_sound or type(size) is not int or size < 0:
        raise InvalidInput(f"Entry {place + 1} of the {MANIFEST} must say name, size and sha256.")
    most = {0: (RECORDS, MAX_RECORDS_BYTES), 1: (BUNDLE, MAX_BUNDLE_BYTES)}.get(place)
    if most is None:
        match = LARGE.fullmatch(name)
        if match is None or match[1] != sha256:
            raise InvalidInput(f"Entry {place + 1} of the {MANIFEST} must be files/ and its own sha256.")
    elif name != most[0] or size > most[1]:
        raise InvalidInput(f"Entry {place + 1} of the {MANIFEST} must be {most[0]}, of at most {most[1]:,} bytes.")
    return Entry(name, size, sha256)


def open_entry(reader: TarReader, entry: Entry) -> Iterator[bytes]:
    """The content of the next member, which has to be this one. Its digest is for who reads it."""
    if reader.next_member() != (entry.name, entry.size):
        raise InvalidInput(
            f"The archive does not hold what its {MANIFEST} says: {entry.name} is missing or of another size."
        )
    return reader.read_member(entry.size)


def take_entry(reader: TarReader, entry: Entry, file: IO[bytes]) -> None:
    """Write it to `file`, which then stands at its beginning. Raises InvalidInput when it is not what the manifest says."""
    digest = hashlib.sha256()
    for piece in open_entry(reader, entry):
        digest.update(piece)
        file.write(piece)
    if digest.hexdigest() != entry.sha256:
        raise InvalidInput(f"{entry.name} is not what the {MANIFEST} says: its SHA-256 differs. Nothing was imported.")
    file.seek(0)


def describe_file(name: str, file: IO[bytes]) -> Entry:
    """Of what was written to `file`, which then stands at its beginning."""
    size = file.tell()
    file.seek(0)
    digest = hashlib.sha256()
    while piece := file.read(PIECE_BYTES):
        digest.update(piece)
    file.seek(0)
    return Entry(name, size, digest.hexdigest())
