"""The Python environment of the checkout: made once, filled in sections, entered by re-executing."""

import contextlib
import fcntl
import importlib
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

from hub.site.bootstrap.logs import last_line, read_from
from hub.site.bootstrap.refusals import MIN_FREE_FOR_PACKAGES_BYTES, Refusal, check_free_space
from hub.site.bootstrap.requirements import (
    CHECKOUT,
    Requirement,
    is_own_environment,
    missing,
    missing_sections,
    read_lock,
)

VENV = CHECKOUT / ".venv"
VENV_PYTHON = VENV / "bin" / "python"
IMPORTED_BY_CHILDREN = ("jinja2", "markupsafe", "numpy", "pyarrow", "cloudpickle")
Report = Callable[[str, float], None]  # what happens now, share done 0..1


def enter(argv: list[str], *, sections: tuple[str, ...]) -> None:
    """Return inside an interpreter that has `sections`; makes .venv, installs and re-executes `argv` as needed."""
    enter_venv_unless_ready(argv, sections=sections)
    for name in missing_sections(sections):
        _say(f"Installing the packages of section '{name}' (once, a few minutes) ...")
        install_section(name, report=_say_progress)


def enter_venv_unless_ready(argv: list[str], *, sections: tuple[str, ...]) -> None:
    """Go on inside the checkout's .venv, which may still be empty, unless this interpreter has all that is needed."""
    if is_own_environment() or not missing_sections(sections):
        return
    make_venv()
    sys.stdout.flush()
    os.execv(VENV_PYTHON, [str(VENV_PYTHON), str(CHECKOUT / "manage.py"), *argv])


def make_venv() -> None:
    """Make .venv, or make it again if its Python does not run any more. Raises Refusal."""
    if _runs(VENV_PYTHON):
        return
    with installation_lock():
        if _runs(VENV_PYTHON):  # another process was faster
            return
        check_free_space(CHECKOUT, needed=MIN_FREE_FOR_PACKAGES_BYTES, what="the environment in")
        _say(f"Making the Python environment {VENV} ...")
        made = subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], capture_output=True, text=True)
        if made.returncode:
            raise Refusal(
                f"Python's venv module does not work here ({last_line(made.stdout + made.stderr)}); install it, "
                "on Debian with: apt-get install python3-venv"
            )
        share_present_torch()


def share_present_torch() -> None:
    """Let .venv see the folder of a torch in range that this interpreter already has: it may be a build for a GPU."""
    [torch] = [one for one in read_lock()["models"] if one.name == "torch"]
    spec = importlib.util.find_spec("torch")
    if missing([torch]) or spec is None or spec.origin is None:
        return
    _say(f"Keeping the torch {metadata.version('torch')} that is present.")
    [packages] = VENV.glob("lib/python3.*/site-packages")
    # Read after .venv's own packages: only what .venv lacks is taken from there.
    (packages / "present_torch.pth").write_text(f"{Path(spec.origin).parents[1]}\n")


def install_section(name: str, *, report: Report) -> None:
    """Install one section of the lock into the running .venv. Raises Refusal with pip's reason."""
    with installation_lock():
        wanted = missing(read_lock()[name])
        if not wanted:
            return
        check_free_space(CHECKOUT, what="the environment in")
        if importlib.util.find_spec("pip") is None:  # a making of .venv was cut off
            subprocess.run([sys.executable, "-m", "ensurepip"], check=True, capture_output=True)
        if any(one.name == "torch" for one in wanted):
            _install_local_torch(wanted, report)
        _pip_install(wanted, report)
        if left := missing(wanted):
            raise Refusal(
                f"pip reported success, but {left[0].line} is still not there; remove {VENV} and start again."
            )
        _keep_byte_code()


def _keep_byte_code() -> None:
    """Compile what the screens' children import: they may write nothing, and would compile it anew for each file."""
    importlib.invalidate_caches()
    found = [importlib.util.find_spec(name) for name in IMPORTED_BY_CHILDREN]
    folders = [str(Path(spec.origin).parent) for spec in found if spec is not None and spec.origin is not None]
    if not folders:  # else Python's own would be compiled
        return
    command = [sys.executable, "-I", "-m", "compileall", "-q", "-x", r"[\\/]tests?[\\/]", *folders]
    subprocess.run(command, capture_output=True, check=False)  # a folder of somebody else's stays as it is


def _install_local_torch(wanted: list[Requirement], report: Report) -> None:
    """Take torch from pip's find-links where a wheel in range lies there: an index may offer a newer build for CUDA,
    several gigabytes that a machine with a local CPU wheel has no use for."""
    [torch] = [one for one in wanted if one.name == "torch"]
    with contextlib.suppress(Refusal):  # none there: the ordinary installation that follows asks the index
        _pip_install([torch], lambda doing, share: report("Looking for a local torch", 0.0), "--no-index", "--no-deps")


def _pip_install(wanted: list[Requirement], report: Report, *options: str) -> None:
    log = VENV / "install.log"
    command = [sys.executable, "-m", "pip", "install", "--no-compile", "--no-input", "--progress-bar", "off"]
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as lines, open(log, "a") as output:
        lines.write("\n".join(one.line for one in wanted) + "\n")
        lines.flush()
        start = output.tell()
        environment = os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        pip = subprocess.Popen(
            [*command, *options, "-r", lines.name], stdout=output, stderr=subprocess.STDOUT, env=environment
        )
        try:
            while pip.poll() is None:
                report(*_pip_progress(read_from(log, start), wanted))
                time.sleep(0.5)
        finally:
            if pip.poll() is None:
                pip.terminate()
                pip.wait()
    if pip.returncode:
        raise Refusal(_pip_refusal(read_from(log, start), log))


def _pip_progress(output: str, wanted: list[Requirement]) -> tuple[str, float]:
    """What pip does now, and the share done: half for fetching, half for unpacking."""
    fetched = re.findall(r"^Collecting ([A-Za-z0-9._-]+)", output, re.MULTILINE)
    if "Installing collected packages" not in output:
        return (f"Fetching {fetched[-1]}" if fetched else "Looking up packages"), min(len(fetched) / len(wanted), 1) / 2
    unpacked = len(wanted) - len(missing(wanted))
    return f"Unpacking, {unpacked} of {len(wanted)} done", 0.5 + unpacked / len(wanted) / 2


def _pip_refusal(output: str, log: Path) -> str:
    if "No space left on device" in output:
        return f"The disk of {VENV} is full; free at least 3 GB and start again."
    reasons = re.findall(r"^ERROR: (.*)", output, re.MULTILINE) or [last_line(output)]
    return (
        f"The packages could not be installed ({reasons[-1].rstrip('.')}); the whole story is in {log}: mend the "
        "cause, often the network, and start again."
    )


@contextlib.contextmanager
def installation_lock() -> Iterator[None]:
    """One process at a time changes .venv; the others wait. Raises Refusal where this user may not change it."""
    for folder in (CHECKOUT, VENV):
        if folder.exists():
            check_writable(folder)
    with open(CHECKOUT / ".venv.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def check_writable(folder: Path) -> None:
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as problem:
        raise Refusal(
            f"Packages are missing, and {folder} cannot be written ({problem.strerror}) to install them; change its owner "
            "or mode, or start with a Python that has them (pyproject.toml)."
        ) from None


def _runs(python: Path) -> bool:
    if not python.exists():
        return False
    try:
        return subprocess.run([str(python), "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]).returncode == 0
    except OSError:
        return False


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


_last_said = [""]


def _say_progress(doing: str, share: float) -> None:
    line = f"  {share:4.0%}  {doing}"
    if line != _last_said[0] and sys.stderr.isatty():
        print(f"\r\x1b[K{line}", end="" if share < 1 else "\n", file=sys.stderr, flush=True)
    _last_said[0] = line
