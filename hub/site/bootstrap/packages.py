"""Programs that the tests need and pip cannot bring: found where they are, installed with apt where that is allowed."""

import glob
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

from hub.site.bootstrap.refusals import Refusal


@dataclass(frozen=True)
class Program:
    name: str
    package: str  # Debian's name
    find: Callable[[], str | None]


def find_chromium() -> str | None:
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next((path for name in names if (path := shutil.which(name))), None)


def find_postgresql() -> str | None:
    """Path of initdb; Debian keeps it outside PATH."""
    return shutil.which("initdb") or next(iter(sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"))), None)


def find_git_lfs() -> str | None:
    return shutil.which("git-lfs")


def find_swift() -> str | None:
    """OpenStack Swift, the tests' S3 server: a package of the system's Python, found where Debian keeps those."""
    return next(iter(glob.glob("/usr/lib/python3/dist-packages/swift/proxy/server.py")), None)


PROGRAMS = (
    Program("Chromium", "chromium", find_chromium),
    Program("PostgreSQL", "postgresql", find_postgresql),
    Program("git-lfs", "git-lfs", find_git_lfs),
    Program("Swift", "python3-swift", find_swift),
)


def ensure_programs(programs: tuple[Program, ...] = PROGRAMS) -> None:
    """Install what is missing when this user may; otherwise raise Refusal with the command to type."""
    missing = [program for program in programs if program.find() is None]
    if not missing:
        return
    packages = [program.package for program in missing]
    names = " and ".join(program.name for program in missing)
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise Refusal(
            f"The tests need {names}; install them first, on Debian with: apt-get install {' '.join(packages)}"
        )
    print(f"Installing {names} with apt-get ...", file=sys.stderr, flush=True)
    _apt("update")
    _apt("install", "--yes", "--no-install-recommends", *packages)
    if absent := [program.name for program in missing if program.find() is None]:
        raise Refusal(f"apt-get reported success, but {absent[0]} is still not there; install it by hand.")


def _apt(*arguments: str) -> None:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(
        ["apt-get", "-q", *arguments], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if done.returncode:
        reasons = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("E:")]
        raise Refusal(
            f"apt-get {arguments[0]} failed ({reasons[0] if reasons else done.returncode}); mend that, or "
            "install the packages by hand."
        )
