"""The command line: `up`, `test`, `demo` and `prepare` are carried out here, every other command is Django's."""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hub.site.bootstrap import environment, packages, services
from hub.site.bootstrap.refusals import Refusal, check_holds_hub, prepare_data_dir
from hub.site.bootstrap.requirements import CHECKOUT, RUNTIME, SECTIONS, WEB
from hub.site.bootstrap.setup_progress import read_json, write_json
from hub.site.bootstrap.testing import run_tests
from hub.site.bootstrap.up import up

USAGE = """Model Commons

  ./manage.py up [--host H] [--port P] [--no-demo]   start the site; Ctrl-C stops everything
  ./manage.py test [--slow] [pytest arguments]       run the tests
  ./manage.py demo                                   walk the whole line on a throw-away data folder; one that is
                                                     typed with --data-dir is kept, each walk in a folder of its own
  ./manage.py prepare                                only make the environment, and print its Python
  ./manage.py help                                   all other commands; "./manage.py COMMAND --help" explains one

Every command takes --data-dir D or the DATA_DIR variable (default: ./data).
"""

OPERATOR_COMMANDS = {
    "account": "make accounts, and say who moderates or operates the hub",
    "organization": "make organizations and add members",
    "password_link": "a one-time link to set a new password",
    "import_folder": "a folder on this machine becomes a repository",
    "export_repository": "a repository whole in one file",
    "import_repository": "such a file becomes a repository",
    "collect_garbage": "give back the bytes of large files that nothing names any more",
    "deleted_repositories": "what was deleted, and the way back",
    "quota": "how many bytes of large files somebody may hold",
    "recompute_verdicts": "whether every verdict still follows from what is stored",
    "policy_repository": "the dataset with the rules of this hub",
    "seed_demo": "make the demo community",
}  # of a hub that is there


def main(argv: list[str]) -> int:
    """Carry out a command line (without the program's name) and return the exit code."""
    try:
        typed, rest = take_data_dir(argv)
        if not rest or rest[0] in ("-h", "--help"):
            print(USAGE, end="")
            return 0
        return _dispatch(rest[0], rest[1:], typed, argv)
    except Refusal as refusal:
        print(refusal, file=sys.stderr)
        return refusal.exit_code
    except KeyboardInterrupt:
        return 130


def take_data_dir(argv: list[str]) -> tuple[Path | None, list[str]]:
    """Cut `--data-dir D` or `--data-dir=D` out of a command line, wherever it stands. Raises Refusal."""
    given, rest, words = "", [], iter(argv)
    for word in words:
        if word == "--data-dir":
            given = next(words, "")
        elif word.startswith("--data-dir="):
            given = word.partition("=")[2]
        else:
            rest.append(word)
            continue
        if not given or (word == "--data-dir" and given.startswith("-")):
            raise Refusal("--data-dir needs a folder after it, for example --data-dir ./data", 2)
    return (_absolute(given) if given else None), rest


def usual_data_dir() -> Path:
    """Where everything is kept when nobody typed a folder."""
    return _absolute(os.environ.get("DATA_DIR") or str(CHECKOUT / "data"))


def _absolute(folder: str) -> Path:
    return Path(folder).expanduser().resolve()


def _dispatch(name: str, argv: list[str], typed: Path | None, whole: list[str]) -> int:
    if name == "up":
        return up(argv, data_dir=typed or usual_data_dir())
    if name == "prepare":
        return _prepare(argv, whole)
    if name == "test":
        return _test(argv, whole)
    if name == "demo":
        environment.enter(whole, sections=RUNTIME)
        # DATA_DIR is where somebody's hub lives: only a folder that was typed for the demo may be written.
        with _throw_away(typed) as data_dir:
            return _run_django(["run_demo", *argv], data_dir)
    if name in OPERATOR_COMMANDS and not {"-h", "--help"} & set(argv):
        check_holds_hub(typed or usual_data_dir(), database_url=os.environ.get("DATABASE_URL", ""))
    environment.enter(whole, sections=WEB)
    if name == "help" and not argv:
        print(list_operator_commands(), flush=True)
    return _run_django([name, *argv], typed or usual_data_dir())


def list_operator_commands() -> str:
    rows = (f"  {name:<22}{what}" for name, what in OPERATOR_COMMANDS.items())
    return "\n".join(["The hub's commands:", "", *rows, "", "Those of Django and its parts:"])


def _run_django(argv: list[str], data_dir: Path) -> int:
    prepare_data_dir(data_dir)
    keep_bytecode(data_dir)
    os.environ["DATA_DIR"] = str(data_dir)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hub.site.settings")
    # A command that queues work reaches the workers of a site that runs on the same folder.
    os.environ.setdefault("CELERY_BROKER_URL", services.broker_url(data_dir))
    # And it has no request to take the hub's address from.
    os.environ["PUBLIC_URL"] = os.environ.get("PUBLIC_URL") or address_of_the_site(data_dir)
    from django.core.management import execute_from_command_line

    try:
        execute_from_command_line(["manage.py", *argv])
    except SystemExit as end:
        if isinstance(end.code, str):
            raise
        return end.code or 0
    return 0


def keep_bytecode(data_dir: Path) -> None:
    """Where none may be kept beside the sources, the programs of the hub keep it in its folder; compiling all of it
    anew takes longer than most commands."""
    if os.environ.get("PYTHONDONTWRITEBYTECODE"):
        sys.pycache_prefix = str(data_dir / "cache" / "bytecode")
        sys.dont_write_bytecode = False


def address_of_the_site(data_dir: Path) -> str:
    """Where `up` serves this folder now; "" when it does not."""
    return str((read_json(data_dir / "hub.json") or {}).get("address", ""))


def _test(argv: list[str], whole: list[str]) -> int:
    """Run pytest: the fast tests, or with --slow the slow ones; everything else goes to pytest."""
    packages.ensure_programs()
    environment.enter(whole, sections=SECTIONS)
    marks = "slow" if "--slow" in argv else "not slow"
    arguments = [word for word in argv if word != "--slow"]
    with _throw_away(None) as data_dir:
        return run_tests(arguments, marks=marks, data_dir=data_dir)


def _prepare(argv: list[str], whole: list[str]) -> int:
    """Make the environment (all of it, or one section) and print the Python that has it."""
    parser = argparse.ArgumentParser(prog="manage.py prepare", description=_prepare.__doc__)
    parser.add_argument("--section", choices=SECTIONS, action="append", help="only this one; may be repeated")
    parser.add_argument("--report", type=Path, help="file that always holds what happens now, as JSON")
    options = parser.parse_args(argv)
    sections = tuple(options.section or SECTIONS)
    if options.report is None:
        environment.enter(whole, sections=sections)
    else:
        _install_with_report(sections, options.report, whole)
    print(sys.executable)
    return 0


def _install_with_report(sections: tuple[str, ...], path: Path, whole: list[str]) -> None:
    environment.enter_venv_unless_ready(whole, sections=sections)
    try:
        for section in sections:
            environment.install_section(
                section, report=lambda doing, share: write_json(path, {"detail": doing, "share": share})
            )
    except Refusal as refusal:
        write_json(path, {"detail": "", "share": 0.0, "problem": str(refusal)})
        raise


@contextmanager
def _throw_away(typed: Path | None) -> Iterator[Path]:
    """The folder that was asked for, else one that is removed afterwards."""
    if typed is not None:
        yield typed
        return
    folder = Path(tempfile.mkdtemp(prefix="model-commons-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
