"""A PostgreSQL server of a test's own: data and socket in a folder, no port, gone afterwards."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def find_programs() -> Path | None:
    """The folder of the newest PostgreSQL here: where Debian puts it, or on the path."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    found = shutil.which("pg_ctl")
    return debian[-1] if debian else Path(found).parent if found else None


def as_server_user(command: list[str]) -> list[str]:
    """PostgreSQL refuses to run as root."""
    return ["runuser", "-u", "postgres", "--", *command] if os.geteuid() == 0 else command


@contextmanager
def running_server(folder: Path) -> Iterator[str]:
    """The address of an empty database; its user may make others beside it. `folder` has to be short: the name of a socket holds 107 bytes."""
    programs = find_programs()
    assert programs is not None, "PostgreSQL is not installed"
    data, sockets = folder / "data", folder / "run"
    for path in (data, sockets):
        path.mkdir(parents=True)
        if os.geteuid() == 0:
            shutil.chown(path, "postgres", "postgres")
    # A database for tests may forget everything in a crash of the machine.
    options = f"-k {sockets} -c listen_addresses= -c fsync=off -c synchronous_commit=off -c full_page_writes=off"
    run(programs / "initdb", "--auth=trust", "--username=hub", "--encoding=UTF8", "--no-sync", "-D", data)
    run(programs / "pg_ctl", "start", "-w", "-D", data, "-l", sockets / "log", "-o", options)
    run(programs / "createdb", "--host", sockets, "--username=hub", "hub")
    try:
        yield f"postgres://hub@/hub?host={sockets}"
    finally:
        run(programs / "pg_ctl", "stop", "-w", "-m", "immediate", "-D", data)


def run(*command: object) -> None:
    words = as_server_user([str(word) for word in command])
    done = subprocess.run(
        words, cwd="/", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True
    )
    assert done.returncode == 0, done.stdout
