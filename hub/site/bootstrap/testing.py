"""What `./manage.py test` starts. All fast tests, or all slow ones, run as two processes side by side, one for each of
two cores; whatever else is asked for runs as one."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from hub.site.bootstrap.requirements import CHECKOUT

# The first of two halves about equal in time: training, the programs of people and the store; the pass on PostgreSQL and fresh clones.
# Rooms whose tests begin with the same scene stay together: each half builds its own.
FIRST = {
    "not slow": ("tests/training", "tests/browser", "tests/clients", "tests/site", "tests/hub/storage"),
    "slow": ("tests/site",),
}


def run_tests(arguments: list[str], *, marks: str, data_dir: Path) -> int:
    """Run pytest and return its exit code, that of the half that failed if one did. `arguments` are pytest's own."""
    if arguments or (os.cpu_count() or 1) < 2:
        return subprocess.run(pytest_command(marks, arguments), cwd=CHECKOUT, env=own_environment(data_dir)).returncode
    return run_halves(marks, data_dir)


def run_halves(marks: str, data_dir: Path) -> int:
    """The first half speaks at once, the second when both have ended."""
    half = FIRST[marks]
    others = ["tests", *(f"--ignore={path}" for path in half)]
    print("The tests run in two halves at once; the second speaks when both have ended.", flush=True)
    with tempfile.TemporaryFile("w+", errors="replace") as said:
        second = subprocess.Popen(
            pytest_command(marks, others),
            cwd=CHECKOUT,
            env=own_environment(data_dir / "second"),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
        )
        try:
            first = subprocess.run(
                pytest_command(marks, list(half)), cwd=CHECKOUT, env=own_environment(data_dir / "first")
            ).returncode
            code = second.wait()
        except BaseException:  # Ctrl-C: both had it from the terminal; nothing may stay behind
            second.terminate()
            second.wait()
            raise
        said.seek(0)
        print(f"\nThe second half:\n{said.read()}", flush=True)
    return first or code


def pytest_command(marks: str, arguments: list[str]) -> list[str]:
    return [sys.executable, "-m", "pytest", "-m", marks, *arguments]


def own_environment(data_dir: Path) -> dict[str, str]:
    """Bytecode is kept beside the data, also where the environment forbids to keep any: tests start hundreds of
    processes, and each would compile the whole hub."""
    data_dir.mkdir(parents=True, exist_ok=True)
    own = {"DATA_DIR": str(data_dir), "PYTHONPYCACHEPREFIX": str(data_dir / "bytecode"), "PYTHONDONTWRITEBYTECODE": ""}
    return os.environ | own
