"""Zip and tar files: their members are looked at where they lie, by the same screens, and never written out."""

import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import IO, BinaryIO

from moderation.screens.findings import Finding, quote
from moderation.screens.limits import BoundedReader, Deadline, RatioGuard, Readable, ScreenLimit
from moderation.screens.unpacking import ForwardReader

MAX_MEMBERS = 10_000
MAX_FOLDERS = 64  # in each other
ScreenMember = Callable[[str, Readable, int], None]  # name inside the archive, its bytes, its stated size


def screen_zip(
    name: str, reader: BinaryIO, size: int, deadline: Deadline, screen_member: ScreenMember
) -> Iterator[Finding]:
    """Findings about the archive itself; each member's content goes to `screen_member`. Raises ScreenLimit."""
    try:
        with zipfile.ZipFile(BoundedReader(reader, size, deadline)) as archive:
            members = archive.infolist()
            if len(members) > MAX_MEMBERS:
                raise ScreenLimit(f"it has more than {MAX_MEMBERS:,} members")
            guard, seen = RatioGuard(taken=size), set[str]()  # one for all: many small bombs are one bomb
            for member in members:
                yield from check_member_name(name, member.filename)
                if member.filename in seen:
                    yield _unsafe_member(name, member.filename, "stands there twice, and tools differ on which counts")
                seen.add(member.filename)
                yield from _screen_zip_member(name, archive, member, guard, screen_member)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError, ValueError, IndexError) as error:
        raise ScreenLimit(f"it is not a sound zip archive ({quote(str(error))[:60]})") from error


def _screen_zip_member(
    name: str, archive: zipfile.ZipFile, member: zipfile.ZipInfo, guard: RatioGuard, screen_member: ScreenMember
) -> Iterator[Finding]:
    if member.is_dir():
        return
    if stat.S_ISLNK(member.external_attr >> 16):
        yield _unsafe_member(name, member.filename, "is a link")
    elif member.flag_bits & 0x1:
        yield _unsafe_member(name, member.filename, "is encrypted, so nobody can check it")
    else:
        # Loaders of weights ignore the checksum, so a wrong one must not hide a member from the screens.
        if hasattr(member, "CRC"):
            del member.CRC
        with archive.open(member) as stream:
            screen_member(
                f"{name}/{member.filename}", _GuardedMember(stream, member.compress_size, guard), member.file_size
            )


class _GuardedMember:
    """A member's bytes with the ratio to its stored size watched, and of all members to the archive's."""

    def __init__(self, stream: IO[bytes], stored_bytes: int, whole: RatioGuard) -> None:
        self.stream, self.guards = stream, (RatioGuard(taken=stored_bytes), whole)

    def read(self, size: int, /) -> bytes:
        data = self.stream.read(size)
        for guard in self.guards:
            guard.count(0, len(data))
        return data


def screen_tar(
    name: str, pieces: Iterator[bytes], deadline: Deadline, screen_member: ScreenMember
) -> Iterator[Finding]:
    """As `screen_zip`, for a tar stream read once from front to back."""
    count = 0
    try:
        # "r:" and not "r|": the streaming mode would gather a header of any stated size in memory.
        with tarfile.open(fileobj=ForwardReader(pieces), mode="r:") as archive:
            for member in archive:
                deadline.check()
                count += 1
                if count > MAX_MEMBERS:
                    raise ScreenLimit(f"it has more than {MAX_MEMBERS:,} members")
                yield from check_member_name(name, member.name)
                if member.issparse():
                    yield _unsafe_member(name, member.name, "has holes, which unpack to any size from nothing")
                elif member.isfile() and (stream := archive.extractfile(member)):
                    screen_member(f"{name}/{member.name}", stream, member.size)
                elif not member.isdir():
                    yield _unsafe_member(name, member.name, "is a link or a device")
    except (tarfile.TarError, OSError, ValueError, EOFError) as error:
        raise ScreenLimit(f"it is not a sound tar archive ({quote(str(error))[:60]})") from error


def check_member_name(archive: str, name: str) -> Iterator[Finding]:
    parts = name.replace("\\", "/").split("/")
    if name.startswith(("/", "\\")) or ".." in parts or ":" in parts[0] or "\x00" in name:
        yield _unsafe_member(archive, name, "would be written outside the folder it is unpacked in")
    elif len(parts) > MAX_FOLDERS or not name.isprintable():
        yield _unsafe_member(archive, name, "has a name that is nested too deep or holds invisible characters")


def _unsafe_member(archive: str, name: str, what: str) -> Finding:
    where = f"{archive}/{quote(name)[:80]}"
    message = f"{where} {what}; upload the files themselves instead of an archive."
    return Finding("unsafe_files", "unsafe_archive_member", "hold", where, quote(name), message)
