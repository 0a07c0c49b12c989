"""git-lfs pointers: the few lines of text that stand in a tree for a large file.

Format: https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md"""

import re
from dataclasses import dataclass

MAX_POINTER_BYTES = 1024  # the specification: a pointer is smaller than this
MIN_POINTER_BYTES = 125  # the older version line, a digest and a size of one digit
MAX_FILE_BYTES = 2**63 - 1
VERSION_LINE = b"version https://git-lfs.github.com/spec/v1\n"
# git-lfs still reads pointers written before its first release.
OLD_VERSION_LINE = b"version https://hawser.github.com/spec/v1\n"
KEY_LINE = re.compile(rb"([a-z0-9.-]+) ([^\n]+)\n")
OID = re.compile(rb"sha256:([0-9a-f]{64})")
SIZE = re.compile(rb"0|[1-9][0-9]{0,18}")


@dataclass(frozen=True)
class LfsPointer:
    sha256: str  # 64 hex digits
    size: int  # bytes of the large file
    pointer_size: int  # bytes of the pointer itself


def parse_pointer(data: bytes) -> LfsPointer | None:
    """The pointer that `data` is, or None when it is ordinary content.

    As strict as git-lfs: version first, then `key value` lines sorted by key, oid and size once each."""
    if len(data) >= MAX_POINTER_BYTES or not data.startswith((VERSION_LINE, OLD_VERSION_LINE)):
        return None
    fields = _read_fields(data[data.index(b"\n") + 1 :])
    if fields is None:
        return None
    oid = OID.fullmatch(fields.get(b"oid", b""))
    size = SIZE.fullmatch(fields.get(b"size", b""))
    if oid is None or size is None or int(size[0]) > MAX_FILE_BYTES:
        return None
    return LfsPointer(sha256=oid[1].decode(), size=int(size[0]), pointer_size=len(data))


def _read_fields(text: bytes) -> dict[bytes, bytes] | None:
    lines = KEY_LINE.findall(text)
    keys = [key for key, _ in lines]
    if b"".join(key + b" " + value + b"\n" for key, value in lines) != text or keys != sorted(set(keys)):
        return None
    if any(key not in (b"oid", b"size") and not key.startswith(b"ext-") for key in keys):
        return None
    return dict(lines)


def format_pointer(sha256: str, size: int) -> bytes:
    """Raises ValueError for a digest that is not 64 lower-case hex digits or a size that is no size."""
    text = VERSION_LINE + f"oid sha256:{sha256}\nsize {size}\n".encode()
    if parse_pointer(text) is None:
        raise ValueError(f"Not a pointer: sha256 {sha256!r}, size {size!r}")
    return text
