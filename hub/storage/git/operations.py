"""What one commit may do to a tree, who did it, and which names a tree and a reference may hold."""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Final

from pygit2 import reference_is_valid_name

from hub.storage.errors import InvalidOperation

MAX_PATH_BYTES = 1024
MAX_NAME_BYTES = 255  # what ordinary file systems take
MAX_DEPTH = 64  # folders; keeps every walk of a tree shallow
# HFS+ ignores these, so ".g\u200cit" becomes ".git" in a clone on such a disk (git's own list, utf8.c).
IGNORABLE = re.compile("[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]")
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# Turn the order of what follows round, so that a name reads as another one: "photo\u202egpj.exe".
TURNING = re.compile("[\u202a-\u202e\u2066-\u2069]")
# Not seen in a list of files, so that two names read as one: without width, tag characters outside a flag, runs of
# variation selectors. Joiners belong to Persian, Indic languages and emoji, and are refused between ASCII letters only.
UNSEEN = re.compile(
    "[\u115f\u1160\u180e\u200b\u2060-\u2064\u3164\ufeff\uffa0]"
    "|(?<![\U0001f3f4\U000e0000-\U000e007f])[\U000e0000-\U000e007f]"
    "|[\ufe00-\ufe0f\U000e0100-\U000e01ef]{4}"
    "|(?<=[!-~])[\u200c\u200d]+(?=[!-~])"
)
FULL_SHA = re.compile("[0-9a-f]{40}")


class Anything(Enum):
    """The type of ANY: "whatever the reference points to by then"."""

    ANY = "any"


ANY: Final = Anything.ANY


@dataclass(frozen=True)
class Author:
    name: str
    email: str
    when: datetime  # UTC

    @property
    def timestamp(self) -> int:
        when = self.when if self.when.tzinfo else self.when.replace(tzinfo=UTC)
        return max(0, int(when.timestamp()))


@dataclass(frozen=True)
class AddFile:
    path: str
    content: bytes


@dataclass(frozen=True)
class AddPointer:
    """Put a large file, whose bytes live in the blob store, at `path`."""

    path: str
    sha256: str
    size: int


@dataclass(frozen=True)
class DeleteFile:
    path: str


@dataclass(frozen=True)
class DeleteFolder:
    path: str


@dataclass(frozen=True)
class CopyFile:
    """Put what `source_path` held in `source_commit` of the same repository at `path`."""

    source_commit: str
    source_path: str
    path: str


Operation = AddFile | AddPointer | DeleteFile | DeleteFolder | CopyFile


def check_path(path: str) -> str:
    """`path` itself when a tree may hold a file of this name on every system; InvalidOperation otherwise."""
    if not path:
        raise InvalidOperation("A file needs a name; the path is empty.")
    names = path.split("/")
    if not names[0]:
        raise InvalidOperation(f"Path {path[:100]!r} starts with '/'; write it relative to the repository.")
    for name in names:
        problem = name_problem(name)
        if problem:
            raise InvalidOperation(f"Path {path[:100]!r} {problem}.")
    if len(path.encode()) > MAX_PATH_BYTES:
        raise InvalidOperation(f"Path {path[:100]!r}... is longer than {MAX_PATH_BYTES} bytes; shorten it.")
    if len(names) > MAX_DEPTH:
        raise InvalidOperation(f"Path {path[:100]!r}... is more than {MAX_DEPTH} folders deep; flatten it.")
    return path


def name_problem(name: str) -> str | None:
    """Why one part of a path cannot stand in a tree, as the end of a sentence; None when it can."""
    if name in ("", ".", ".."):
        return "holds an empty, '.' or '..' part; write it without"
    if "\\" in name:
        return "holds a backslash; separate folders with '/'"
    if CONTROL.search(name):
        return "holds a control character; rename the file"
    if _reads_as_git_folder(name):
        return "names git's own folder; rename it"
    if TURNING.search(name):
        return "holds a character that turns the order of letters round; rename the file"
    if not name.isascii() and UNSEEN.search(name):
        return "holds a character that nobody sees; rename the file"
    try:
        length = len(name.encode())
    except UnicodeEncodeError:
        return "is not valid UTF-8; rename the file"
    return f"holds a name longer than {MAX_NAME_BYTES} bytes; shorten it" if length > MAX_NAME_BYTES else None


def fold_name(name: bytes) -> str:
    """Equal for names that are one file on Windows or macOS, which tell neither case nor ways to write an accent apart."""
    if name.isascii():
        return name.decode().lower()
    plain = unicodedata.normalize("NFC", name.decode(errors="surrogateescape"))
    return unicodedata.normalize("NFC", "".join(map(_fold_letter, plain)))


def _fold_letter(letter: str) -> str:
    folded = letter.casefold()
    return folded if len(folded) == 1 else letter  # "ss" is another name than "\xdf"


def check_twins(names: Iterable[bytes], *, new: Iterable[bytes] | None = None, folder: str = "") -> None:
    """Raises InvalidOperation where two names of a folder (of which one is `new`, if that is given) are one elsewhere."""
    suspects = None if new is None else {fold_name(name) for name in new}
    seen: dict[str, bytes] = {}
    for name in names:
        folded = fold_name(name)
        if suspects is not None and folded not in suspects:
            continue
        if folded in seen:
            one, other = (twin.decode(errors="replace")[:100] for twin in sorted((seen[folded], name)))
            where = f" in {folder[:100]!r}" if folder else ""
            raise InvalidOperation(
                f"{one!r} and {other!r}{where} are one file on Windows and macOS (case, or the way an accent is written); "
                "rename one of them."
            )
        seen[folded] = name


def _reads_as_git_folder(name: str) -> bool:
    # NTFS drops trailing dots and spaces and what follows a colon, and knows ".git" as "git~1" too.
    if name[0] not in ".gG" and name.isascii():
        return False
    plain = IGNORABLE.sub("", name).split(":")[0].rstrip(" .").lower()
    return plain in (".git", "git~1")


def check_ref(ref: str) -> str:
    """`ref` itself when it is a full, well-formed reference name; InvalidOperation otherwise."""
    if not ref.startswith("refs/") or ref.count("/") < 2 or len(ref.encode(errors="replace")) > MAX_PATH_BYTES:
        raise InvalidOperation(f"{ref[:100]!r} is no full reference name; write it like 'refs/heads/main'.")
    if not is_valid_ref(ref):
        raise InvalidOperation(f"{ref[:100]!r} is not a name git accepts; leave out spaces, '..', ':', '?', '*', '['.")
    return ref


def is_valid_ref(ref: str) -> bool:
    try:
        return "\0" not in ref and bool(reference_is_valid_name(ref))
    except (UnicodeEncodeError, ValueError):
        return False


def short_name(ref: str) -> str:
    """The name people know a reference by: 'main' for 'refs/heads/main'."""
    return ref.removeprefix("refs/heads/").removeprefix("refs/tags/")
