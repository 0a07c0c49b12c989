"""The hub on PostgreSQL: what holds on SQLite holds there, and migrations go forward and backward. Slow."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from hub.site.bootstrap.requirements import CHECKOUT
from tests.postgres import running_server

pytestmark = [pytest.mark.slow, pytest.mark.postgres]
ROOMS = ("hub/accounts", "hub/common", "hub/community", "hub/repos", "hub/web", "hub/api", "moderation", "training")
WITHOUT_TABLES = ("moderation/screens", "training/engine")
# Doors of bytes, trainers, judges and screens: what those write to tables, other rooms write here, too, and every address of
# a repository is asked here by test_permission_matrix.
BESIDE_TABLES = (
    *(f"hub/api/test_{name}.py" for name in (
        "branches_and_history", "command_line", "commit_door", "croissant", "git_door", "lfs_door", "lfs_files", "lfs_parts",
        "loose_bytes", "parsing", "push_answers", "reading_files", "repo_info", "uncleared_bytes", "xet_door",
    )),
    "hub/repos/test_garbage_in_any_order.py",
    *(f"moderation/test_{name}.py" for name in ("bias_screening", "contributors_triggers", "hostile_uploads")),
    *(f"training/test_{name}.py" for name in (
        "guard_models", "playground", "previews", "runs_survive", "whole_line", "wizard_faults",
    )),
)  # fmt: skip
LIMIT_S = 3000


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """DATABASE_URL of a server for this module. tmp_path is closed to the server's user and too deep for a socket."""
    with tempfile.TemporaryDirectory(prefix="pg-") as folder:
        Path(folder).chmod(0o755)
        with running_server(Path(folder)) as address:
            yield address


def run_on(address: str, data_dir: Path, *words: str) -> str:
    """Run a program of Python on that database and return what it said."""
    environment = os.environ | {"DATABASE_URL": address, "DATA_DIR": str(data_dir)}
    command = [sys.executable, *words]
    done = subprocess.run(
        command, cwd=CHECKOUT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT_S
    )
    said = done.stdout.decode(errors="replace")
    assert done.returncode == 0, said[-8000:]
    return said


def tables_of(address: str, database: str) -> set[str]:
    with psycopg.connect(address, dbname=database) as connection:
        rows = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    return {name for (name,) in rows}


def test_migrations_go_forward_and_backward(address: str, tmp_path: Path) -> None:
    run_on(address, tmp_path, "manage.py", "migrate")
    forward = tables_of(address, "hub")
    assert {"hub_user", "training_run", "moderation_case"} <= forward
    run_on(address, tmp_path, "manage.py", "migrate", "hub", "zero")  # takes those with it that build on it
    assert not {name for name in tables_of(address, "hub") if name.startswith(("hub_", "training_", "moderation_"))}
    run_on(address, tmp_path, "manage.py", "migrate")
    assert tables_of(address, "hub") == forward


def test_the_fast_tests_of_the_rooms_with_tables_pass_and_none_is_skipped(address: str, tmp_path: Path) -> None:
    options = ["-q", "-p", "no:cacheprovider", "-m", "not slow", "--reuse-db"]
    options += [f"--ignore=tests/{room}" for room in (*WITHOUT_TABLES, *BESIDE_TABLES)]
    assert all((CHECKOUT / "tests" / room).exists() for room in (*ROOMS, *WITHOUT_TABLES, *BESIDE_TABLES))
    said = run_on(address, tmp_path, "-m", "pytest", *options, *(f"tests/{room}" for room in ROOMS))
    verdict = said.strip().splitlines()[-1]
    assert " passed" in verdict and "skipped" not in verdict, said[-3000:]
    assert "hub_user" in tables_of(address, "test_hub")  # kept by --reuse-db: it was this database and no file


def test_no_sequence_of_writes_publishes_past_the_gate(address: str, tmp_path: Path) -> None:
    """The guards in the words of PostgreSQL, for as many sequences as on SQLite."""
    said = run_on(address, tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "slow", "--reuse-db",
                  "tests/moderation/releases/test_guards_walk.py")  # fmt: skip
    assert "1 passed" in said.strip().splitlines()[-1], said[-3000:]
