"""Run git itself: an environment of our own, no hooks, no foreign configuration, bounded in time.

Everything here is local; no command reaches the network."""

import contextlib
import os
import resource
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import IO

from hub.storage.errors import StorageError

QUICK_S = 60.0
LONG_S = 1800.0  # repacking and copying a large repository
PIPE_BYTES = 1024**2
MEMORY_BYTES = 4 * 1024**3  # address space of one git process that parses what strangers sent
SETTINGS: Mapping[str, str] = {
    # git syncs packs by default but neither loose objects nor references.
    "core.fsync": "all",
    "core.fsyncMethod": "fsync",
    "core.hooksPath": os.devnull,
    "core.logAllRefUpdates": "false",
    "core.quotePath": "false",
    "core.bigFileThreshold": "32m",  # above it blobs are streamed, not held in memory
    "core.packedGitLimit": "1g",  # leaves room under MEMORY_BYTES
    "core.packedGitWindowSize": "64m",
    "core.filesRefLockTimeout": "1000",
    "core.packedRefsTimeout": "1000",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "pack.threads": "1",
    "pack.windowMemory": "64m",
    # Verbatim reuse of a pack may send neighbours that were not asked for.
    "pack.allowPackReuse": "false",
    "repack.writeBitmaps": "false",
    "safe.directory": "*",
    "transfer.advertiseObjectInfo": "false",
    "uploadpack.allowFilter": "true",
    # Protocol v2 serves any object by id anyway; version 0 needs this for the later fetches of a partial clone.
    "uploadpack.allowAnySHA1InWant": "true",
}


# Descriptors of the queues this thread stands in. git inherits them: should we be killed, a repack that outlives us
# keeps the next writer waiting until it is done.
held_locks: ContextVar[tuple[int, ...]] = ContextVar("held_locks", default=())


class GitFailed(StorageError):
    """git exited with an error; `stderr` has its words."""

    def __init__(self, command: str, stderr: str) -> None:
        self.stderr = stderr
        last = next((line for line in reversed(stderr.splitlines()) if line.strip()), "no message")
        super().__init__(f"git {command} failed: {last[:300]}")


def build_environment(*, settings: Sequence[tuple[str, str]] = (), protocol: str | None = None) -> dict[str, str]:
    """The whole environment of a git process: nothing is inherited but PATH."""
    pairs = [*SETTINGS.items(), *settings]
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": os.devnull,
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_CONFIG_COUNT": str(len(pairs)),
    }
    for number, (key, value) in enumerate(pairs):
        environment[f"GIT_CONFIG_KEY_{number}"] = key
        environment[f"GIT_CONFIG_VALUE_{number}"] = value
    if protocol:
        environment["GIT_PROTOCOL"] = protocol
    return environment


def start_git(
    folder: Path,
    *arguments: str,
    stdin: int | IO[bytes] = subprocess.DEVNULL,
    stdout: int | IO[bytes] = subprocess.PIPE,
    stderr: int | IO[bytes] = subprocess.DEVNULL,
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start git on the bare repository `folder`, in a process group of its own so that it can be ended whole."""
    return subprocess.Popen(
        ["git", "--git-dir", str(folder), *arguments],
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        env=dict(environment) if environment is not None else build_environment(),
        cwd=folder,
        start_new_session=True,
        pass_fds=held_locks.get(),
    )


def stop_git(process: subprocess.Popen[bytes]) -> None:
    """End the process and all its children at once; harmless when it has ended already."""
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
    # Once waited for, the number may belong to somebody else; until then the group is ours, children included.
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def limit_memory(process: subprocess.Popen[bytes], *, limit_bytes: int = MEMORY_BYTES) -> None:
    """Bound the address space of a process that parses untrusted input, where the system can (Linux)."""
    if hasattr(resource, "prlimit"):
        with contextlib.suppress(ProcessLookupError, PermissionError, ValueError):
            resource.prlimit(process.pid, resource.RLIMIT_AS, (limit_bytes, limit_bytes))


def run_git(
    folder: Path,
    *arguments: str,
    stdin: bytes | None = None,
    limit_s: float = QUICK_S,
    settings: Sequence[tuple[str, str]] = (),
) -> bytes:
    """What git wrote to stdout. Raises GitFailed on a bad exit or when `limit_s` is over."""
    process = start_git(
        folder,
        *arguments,
        stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        environment=build_environment(settings=settings),
    )
    try:
        output, errors = process.communicate(stdin, timeout=limit_s)
    except subprocess.TimeoutExpired:
        raise GitFailed(arguments[0], f"it took longer than {limit_s:.0f} s") from None
    finally:
        stop_git(process)
    if process.returncode:
        raise GitFailed(arguments[0], errors.decode(errors="replace"))
    return output


def read_bounded(process: subprocess.Popen[bytes], *, limit_bytes: int, limit_s: float) -> bytes:
    """What the process writes, up to `limit_bytes`; the caller ends it. Raises StorageError after `limit_s`."""
    assert process.stdout is not None
    pieces, have, deadline = [], 0, time.monotonic() + limit_s
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while have < limit_bytes:
            if not selector.select(timeout=max(0.0, deadline - time.monotonic())):
                raise StorageError(f"git took longer than {limit_s:.0f} s; ask for less at once.")
            piece = os.read(process.stdout.fileno(), min(PIPE_BYTES, limit_bytes - have))
            if not piece:
                break
            pieces.append(piece)
            have += len(piece)
    return b"".join(pieces)


def read_pieces(process: subprocess.Popen[bytes], *, limit_s: float) -> Iterator[bytes]:
    """What the process writes, as it comes; the caller ends it. Raises StorageError after waiting `limit_s` in all."""
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        left = limit_s
        while True:
            began = time.monotonic()
            if not selector.select(timeout=max(0.0, left)):
                raise StorageError(f"git took longer than {limit_s:.0f} s; ask for less at once.")
            left -= time.monotonic() - began
            piece = os.read(process.stdout.fileno(), PIPE_BYTES)
            if not piece:
                return
            yield piece


def pipe_git(
    source: Path, source_arguments: Sequence[str], stdin: bytes, target: Path, target_arguments: Sequence[str]
) -> bytes:
    """`source_arguments | target_arguments`, each in its own repository; stdout of the second.

    Raises GitFailed when either fails."""
    with given_as_file(stdin) as given, tempfile.TemporaryFile() as complaints:
        first = start_git(source, *source_arguments, stdin=given, stderr=complaints)
        second = start_git(target, *target_arguments, stdin=first.stdout or 0, stderr=complaints)
        if first.stdout is not None:
            first.stdout.close()  # so that the first sees it when the second dies
            first.stdout = None
        try:
            output, _ = second.communicate(timeout=LONG_S)
            first.wait(timeout=QUICK_S)
        except subprocess.TimeoutExpired:
            raise GitFailed(source_arguments[0], f"it took longer than {LONG_S:.0f} s") from None
        finally:
            stop_git(first)
            stop_git(second)
        if first.returncode or second.returncode:
            complaints.seek(0)
            raise GitFailed(source_arguments[0], complaints.read().decode(errors="replace"))
    return output


@contextlib.contextmanager
def given_as_file(data: bytes) -> Iterator[IO[bytes]]:
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.seek(0)
        yield file
