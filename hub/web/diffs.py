"""A unified diff as rows of a page. Large files are told by size and digest, never by the text of their pointer."""

import re
from dataclasses import dataclass, field

from hub.repos.reader import RepoReader
from hub.storage.git import LfsPointer, parse_pointer

MAX_DIFF_BYTES = 1024 * 1024
MAX_FILES = 200
MAX_LINES = 1500  # of one file
HUNK = re.compile(r"@@ -(\d+)(?:,\d+)? \+(\d+)(?:,\d+)? @@(.*)")
ESCAPE = re.compile(rb'\\([abtnvfr"\\]|[0-7]{3})')
ESCAPES = {b"a": b"\a", b"b": b"\b", b"t": b"\t", b"n": b"\n", b"v": b"\v", b"f": b"\f", b"r": b"\r"}


@dataclass(frozen=True)
class DiffLine:
    kind: str  # added | removed | same | hunk
    old_number: int | None
    new_number: int | None
    text: str

    @property
    def sign(self) -> str:
        return {"added": "+", "removed": "-"}.get(self.kind, "")


@dataclass
class FileDiff:
    path: str
    kind: str = "modified"  # added | modified | deleted
    lines: list[DiffLine] = field(default_factory=list)
    added: int = 0
    removed: int = 0
    is_binary: bool = False
    is_cut: bool = False
    old_file: LfsPointer | None = None
    new_file: LfsPointer | None = None

    @property
    def is_large(self) -> bool:
        return self.old_file is not None or self.new_file is not None


@dataclass(frozen=True)
class Diff:
    files: list[FileDiff]
    is_cut: bool  # there is more than a page shows

    @property
    def added(self) -> int:
        return sum(file.added for file in self.files)

    @property
    def removed(self) -> int:
        return sum(file.removed for file in self.files)


def read_diff(reader: RepoReader, old: str | None, new: str) -> Diff:
    """What changed from `old` (None: from nothing) to `new`, both commits that this reader may see."""
    return parse_diff(reader.diff_text(old, new, MAX_DIFF_BYTES))


def parse_diff(text: str) -> Diff:
    files: list[FileDiff] = []
    is_cut = False
    for part in re.split(r"^(?=diff --git )", text, flags=re.MULTILINE):
        if not part.startswith("diff --git "):
            continue
        is_cut |= "\n[The diff is longer than " in part
        if len(files) == MAX_FILES:
            return Diff(files, True)
        files.append(parse_file(part))
    return Diff(files, is_cut)


def parse_file(part: str) -> FileDiff:
    lines = part.split("\n")
    found = FileDiff(path=read_path(lines))
    old_number = new_number = 0
    in_hunk = False
    for line in lines[1:]:
        hunk = HUNK.match(line)
        if hunk:
            in_hunk = True
            old_number, new_number = int(hunk[1]), int(hunk[2])
            add_line(found, DiffLine("hunk", None, None, line))
        elif not in_hunk:
            read_header_line(found, line)
        elif line.startswith("+"):
            found.added += 1
            add_line(found, DiffLine("added", None, new_number, line[1:]))
            new_number += 1
        elif line.startswith("-"):
            found.removed += 1
            add_line(found, DiffLine("removed", old_number, None, line[1:]))
            old_number += 1
        elif line.startswith(" "):
            add_line(found, DiffLine("same", old_number, new_number, line[1:]))
            old_number += 1
            new_number += 1
    recognise_pointers(found)
    return found


def add_line(found: FileDiff, line: DiffLine) -> None:
    if len(found.lines) < MAX_LINES:
        found.lines.append(line)
    else:
        found.is_cut = True


def read_header_line(found: FileDiff, line: str) -> None:
    if line.startswith("new file"):
        found.kind = "added"
    elif line.startswith("deleted file"):
        found.kind = "deleted"
    elif line.startswith("Binary files"):
        found.is_binary = True


def read_path(lines: list[str]) -> str:
    """The name after the change; of a deleted file the one before. Binary files have it only in the first line."""
    names = {}
    for line in lines[1:8]:
        if line.startswith(("--- ", "+++ ")):
            names[line[:3]] = unquote_path(line[4:].rstrip("\t"))
    for sign in ("+++", "---"):
        if names.get(sign, "/dev/null") != "/dev/null":
            return names[sign][2:]
    first = lines[0].removeprefix("diff --git ")
    if first.endswith('"') and ' "' in first:
        return unquote_path(first[first.rindex(' "') + 1 :])[2:]
    return first[len(first) // 2 + 3 :]  # "a/PATH b/PATH": both halves are equally long


def unquote_path(name: str) -> str:
    """git writes unusual names in quotes with C escapes."""
    if not (len(name) > 1 and name.startswith('"') and name.endswith('"')):
        return name

    def resolve(match: re.Match[bytes]) -> bytes:
        code = match[1]
        return bytes([int(code, 8)]) if len(code) == 3 else ESCAPES.get(code, code)

    return ESCAPE.sub(resolve, name[1:-1].encode()).decode(errors="replace")


def recognise_pointers(found: FileDiff) -> None:
    """A pointer that came, went or changed: keep what it says, drop its text."""
    if len(found.lines) > 8:
        return
    before = "\n".join(line.text for line in found.lines if line.kind in ("removed", "same")) + "\n"
    after = "\n".join(line.text for line in found.lines if line.kind in ("added", "same")) + "\n"
    found.old_file = parse_pointer(before.encode()) if found.kind != "added" else None
    found.new_file = parse_pointer(after.encode()) if found.kind != "deleted" else None
    if found.is_large:
        found.lines.clear()
        found.added = found.removed = 0
