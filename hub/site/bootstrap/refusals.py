"""What stops a start, each told in one sentence that says how to mend it."""

import errno
import fcntl
import os
import shlex
import shutil
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

MIN_FREE_BYTES = 500 * 1000**2  # below this a first upload or the queue's log would fill the disk
MIN_FREE_FOR_PACKAGES_BYTES = 3 * 1000**3  # the environment takes 1.6 GB, and pip needs room to unpack


class Refusal(Exception):
    """A start that cannot work. str() is the sentence for the person; exit_code goes to the shell."""

    def __init__(self, sentence: str, exit_code: int = 1) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code


def free_bytes(folder: Path) -> int:
    """Bytes that this user may still write where `folder` lies or will lie."""
    while not os.path.exists(folder):
        folder = folder.parent
    return shutil.disk_usage(folder).free


def check_holds_hub(data_dir: Path, *, database_url: str) -> None:
    """Raise Refusal if no hub was made in the folder: a mistyped name would silently become a hub of its own."""
    check_is_no_file(data_dir)
    if database_url or os.path.exists(data_dir / "db.sqlite3"):
        return
    raise Refusal(
        f"There is no hub in {data_dir}; start one with ./manage.py up --data-dir {shlex.quote(str(data_dir))}, "
        "or name its folder with --data-dir."
    )


def check_is_no_file(data_dir: Path) -> None:
    if os.path.isfile(data_dir):
        raise Refusal(f"The data folder {data_dir} is a file; name a folder with --data-dir.", 2)


def prepare_data_dir(data_dir: Path) -> None:
    """Make the data folder and prove that it can be written.

    Raises Refusal if it cannot."""
    check_is_no_file(data_dir)
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=data_dir) as probe:
            probe.write(b"x")
    except OSError as problem:
        if problem.errno == errno.ENOSPC:
            raise Refusal(
                f"The disk of the data folder {data_dir} is full; free some space or name another folder "
                "with --data-dir."
            ) from None
        raise Refusal(
            f"The data folder {data_dir} cannot be written ({problem.strerror}); change its owner or mode, "
            "or name another one with --data-dir."
        ) from None


def check_free_space(
    folder: Path,
    *,
    needed: int = MIN_FREE_BYTES,
    what: str = "the data folder",
    measure: Callable[[Path], int] = free_bytes,
) -> None:
    """Raise Refusal if fewer than `needed` bytes are free where `folder` lies."""
    free = measure(folder)
    if free >= needed:
        return
    raise Refusal(
        f"The disk of {what} {folder} has {free // 1000**2} MB free and at least {needed // 1000**2} MB are "
        "needed; free some space or use another disk."
    )


def check_port(host: str, port: int) -> int:
    """Prove that host:port can be listened on and return the port (a free one for 0).

    Raises Refusal if not."""
    with hold_port(host, port) as held:
        return int(held.getsockname()[1])


def hold_port(host: str, port: int) -> socket.socket:
    """Take host:port (a free one for 0) until the socket is closed: only programs of this user that share it may listen.

    The page of the setup and the site share their port (SO_REUSEPORT), and so would those of another hub: with this, only one
    of two that begin at once gets it. Nothing listens on the socket, so it takes no visitors. Raises Refusal."""
    if not 0 <= port <= 65535:
        raise Refusal(f"There is no port {port}; choose one between 1024 and 65535, for example --port 8000.", 2)
    try:
        return _hold(host, port)
    except (socket.gaierror, UnicodeError):
        raise Refusal(
            f"{host}:{port} is no address of this machine; name one with --host and --port, "
            "for example --host 127.0.0.1 --port 8000.",
            2,
        ) from None
    except OSError as problem:
        raise _port_refusal(host, port, problem) from None


def _hold(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        # Without SO_REUSEPORT on purpose: whoever has the port, ours included, must be found.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)
        probe.listen(1)
        # While the probe keeps others away, one that shares the port takes its place.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held = socket.socket(family, kind, protocol)
        try:
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            held.bind(probe.getsockname())
        except OSError:
            held.close()
            raise
        return held


def _suggest_port(host: str, taken: int) -> int:
    """A free port near `taken` whose next one, the listener's, is free too; 0, which is any, where there is none."""
    first = taken + 1 if taken < 65000 else 8000
    return next((port for port in range(first, first + 100) if _is_free(host, port) and _is_free(host, port + 1)), 0)


def _is_free(host: str, port: int) -> bool:
    try:
        _hold(host, port).close()
    except OSError:
        return False
    return True


def _port_refusal(host: str, port: int, problem: OSError) -> Refusal:
    if problem.errno == errno.EADDRINUSE:
        return Refusal(
            f"Port {port} of {host} is taken by another program; stop it or choose another port, "
            f"for example --port {_suggest_port(host, port)}."
        )
    if problem.errno == errno.EACCES:
        return Refusal(f"Port {port} needs more rights than this user has; choose one above 1023 with --port.")
    return Refusal(
        f"The site cannot listen on {host}:{port} ({problem.strerror}); name an address of this machine with --host."
    )


def hold_data_dir(data_dir: Path) -> IO[str]:
    """Take the data folder for this process and the ones it forks; kept until all of them have ended.

    Raises Refusal if another `up` holds it. The file stays: only the lock on it counts."""
    file = open(data_dir / "up.lock", "a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.seek(0)
        holder = file.read().strip()
        file.close()
        raise Refusal(
            f"The data folder {data_dir} is in use by another `./manage.py up`"
            f"{f' (process {holder})' if holder else ''}; stop that one, or name another folder with "
            "--data-dir."
        ) from None
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file
