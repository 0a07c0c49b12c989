"""The body of a commit: one JSON object a line. It is read line by line, and file contents wait on disk, so that a
commit of many files never lies in memory as a whole."""

import base64
import binascii
import json
import re
from dataclasses import dataclass, field
from typing import IO, Any

from hub.api.hf.endpoints import Readable
from hub.common.errors import InvalidInput, TooLarge
from hub.community.contributions import MAX_OPERATIONS
from hub.community.spools import spool_file
from hub.storage.git import AddFile, AddPointer, DeleteFile, DeleteFolder

DIGEST = re.compile(r"[0-9a-f]{64}")
ROOM_FOR_NAMES = 64 * 1024  # bytes of a line beside the content itself


@dataclass
class CommitBody:
    summary: str = ""
    description: str = ""
    parent: str | None = None
    operations: list[Any] = field(default_factory=list)
    large: dict[str, int | None] = field(default_factory=dict)  # sha256 -> stated size


def read_commit_body(
    stream: Readable, *, max_body: int, max_file: int, spool: IO[bytes], announced: int | None = None
) -> CommitBody:
    """Parse the lines. `spool` is an open temporary file that must live as long as the operations; `announced` is the
    length that the sender stated, so that a body cut off between two lines is no commit of the first half.

    Raises InvalidInput with the number of the line, TooLarge beyond the bounds (bytes)."""
    body = CommitBody()
    has_header = False
    line_limit = max_file * 4 // 3 + ROOM_FOR_NAMES
    read = number = 0
    while line := stream.readline(line_limit + 1):
        number += 1
        read += len(line)
        if len(line) > line_limit:
            raise TooLarge(
                f"Line {number} of the commit holds a file of more than {max_file:,} bytes; upload it as a large file."
            )
        if read > max_body:
            raise TooLarge(f"The commit has more than {max_body:,} bytes of small files; split it into several.")
        if not line.strip():
            continue
        if len(body.operations) >= MAX_OPERATIONS:
            raise TooLarge(f"The commit has more than {MAX_OPERATIONS:,} changes; split it into several.")
        key, value = read_line(line, number)
        if key == "header":
            read_header(body, value, number)
            has_header = True
        else:
            body.operations.append(read_operation(body, key, value, number, max_file=max_file, spool=spool))
    if announced is not None and read != announced:
        raise InvalidInput(f"Only {read:,} of {announced:,} bytes of the commit arrived; send it again.")
    if not has_header:
        raise InvalidInput(
            'The commit has no header; its first line is {"key": "header", "value": {"summary": "..."}}.'
        )
    return body


def read_line(line: bytes, number: int) -> tuple[str, dict[str, Any]]:
    try:
        item = json.loads(line)
    except (ValueError, RecursionError):
        raise InvalidInput(f"Line {number} of the commit is not JSON; was the upload cut off? Send it again.") from None
    key, value = (item.get("key"), item.get("value")) if isinstance(item, dict) else (None, None)
    if not isinstance(key, str) or not isinstance(value, dict):
        raise InvalidInput(f'Line {number} of the commit must be {{"key": ..., "value": {{...}}}}.')
    return key, value


def read_header(body: CommitBody, value: dict[str, Any], number: int) -> None:
    summary, description, parent = value.get("summary"), value.get("description") or "", value.get("parentCommit")
    if not isinstance(summary, str) or not summary.strip():
        raise InvalidInput(f"The header in line {number} needs a 'summary': one line that says what the commit does.")
    if not isinstance(description, str):
        raise InvalidInput(f"The 'description' in line {number} must be a text.")
    if parent is not None and not (isinstance(parent, str) and parent):
        raise InvalidInput(f"The 'parentCommit' in line {number} must be the id of a commit.")
    body.summary, body.description, body.parent = summary, description, parent


def read_operation(
    body: CommitBody, key: str, value: dict[str, Any], number: int, *, max_file: int, spool: IO[bytes]
) -> Any:
    path = value.get("path")
    if not isinstance(path, str) or not path:
        raise InvalidInput(f"Line {number} of the commit names no 'path'.")
    if key == "file":
        return read_file(path, value, number, max_file=max_file, spool=spool)
    if key == "lfsFile":
        return read_large(body, path, value, number)
    if key == "deletedFile":
        return DeleteFile(path)
    if key == "deletedFolder":
        return DeleteFolder(path.rstrip("/"))
    raise InvalidInput(
        f"Line {number} asks for {key!r}; known are header, file, lfsFile, deletedFile and deletedFolder."
    )


def read_file(path: str, value: dict[str, Any], number: int, *, max_file: int, spool: IO[bytes]) -> AddFile:
    content = value.get("content", "")
    if not isinstance(content, str):
        raise InvalidInput(f"The content of {path!r} in line {number} must be a text.")
    try:
        data = content.encode() if value.get("encoding") == "utf-8" else base64.b64decode(content, validate=True)
    except (binascii.Error, UnicodeEncodeError, ValueError):
        raise InvalidInput(f"The content of {path!r} in line {number} is not base64; was it cut off?") from None
    if len(data) > max_file:
        raise TooLarge(f"{path!r} has {len(data):,} bytes; files above {max_file:,} are uploaded as large files.")
    return spool_file(path, data, spool)


def read_large(body: CommitBody, path: str, value: dict[str, Any], number: int) -> AddPointer:
    oid, size, algo = value.get("oid"), value.get("size"), value.get("algo", "sha256")
    if algo != "sha256" or not isinstance(oid, str) or not DIGEST.fullmatch(oid):
        raise InvalidInput(f"{path!r} in line {number} needs the sha256 of its content in 'oid' (64 hex digits).")
    if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 0):
        raise InvalidInput(f"The 'size' of {path!r} in line {number} must be a number of bytes.")
    body.large[oid] = size
    return AddPointer(path, oid, size if size is not None else -1)
