"""Settings: typed, read from the environment in one place, and a wrong one stops the start with one sentence."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hub.site import env

CHECKOUT = Path(__file__).parents[2]


def start(data_dir, code="pass", **variables):
    """Import the settings in a process of their own."""
    environment = {key: value for key, value in os.environ.items() if key in ("PATH", "HOME", "LANG")}
    environment |= {"DATA_DIR": str(data_dir), **variables}
    program = f"from hub.site import settings; {code}"
    return subprocess.run(
        [sys.executable, "-c", program], cwd=CHECKOUT, env=environment, capture_output=True, text=True, timeout=60
    )


# --- readers


def test_values_are_read_by_their_type(monkeypatch, tmp_path):
    values = {"A": "words", "B": "7", "C": "yes", "D": "~/hub", "E": "a, b,,c "}
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    assert env.env_str("A", "") == "words"
    assert env.env_int("B", 1) == 7
    assert env.env_bool("C", False) is True
    assert env.env_path("D", tmp_path) == Path.home() / "hub"
    assert env.env_list("E", "") == ["a", "b", "c"]


def test_what_is_not_set_or_empty_has_its_default(monkeypatch, tmp_path):
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.delenv("UNSET", raising=False)
    for name in ("EMPTY", "UNSET"):
        assert env.env_int(name, 5) == 5
        assert env.env_bool(name, True) is True
        assert env.env_path(name, tmp_path) == tmp_path.resolve()
    assert env.env_list("UNSET", "x") == ["x"]


@pytest.mark.parametrize(("text", "value"), [("1", True), ("True", True), ("on", True), ("0", False), ("No", False)])
def test_a_switch_understands_the_usual_words(monkeypatch, text, value):
    monkeypatch.setenv("SWITCH", text)
    assert env.env_bool("SWITCH", not value) is value


def test_a_wrong_number_or_switch_stops_the_start_with_what_to_write(monkeypatch):
    monkeypatch.setenv("NUMBER", "ten")
    with pytest.raises(env.EnvError, match="NUMBER is 'ten'; write a whole number, for example 3"):
        env.env_int("NUMBER", 3)
    monkeypatch.setenv("SWITCH", "maybe")
    with pytest.raises(env.EnvError, match="SWITCH is 'maybe'; write 1 or 0"):
        env.env_bool("SWITCH", True)


def test_a_database_is_named_by_its_address():
    found = env.read_database_url("DATABASE_URL", "postgres://ann:p%40ss@db.example:5433/the_hub")
    assert {key: found[key] for key in ("NAME", "USER", "PASSWORD", "HOST", "PORT")} == {
        "NAME": "the_hub",
        "USER": "ann",
        "PASSWORD": "p@ss",
        "HOST": "db.example",
        "PORT": 5433,
    }
    socket = env.read_database_url("DATABASE_URL", "postgresql://ann@/hub?host=/run/PostgreSQL")
    assert (socket["HOST"], socket["PORT"], socket["NAME"]) == ("/run/PostgreSQL", "", "hub")


@pytest.mark.parametrize(
    "text", ["mysql://a@b/c", "sqlite:///x", "just words", "postgres://host/", "postgres://host:no/x", "postgres://[/x"]
)
def test_an_address_of_no_database_is_refused_and_never_taken_for_sqlite(text):
    with pytest.raises(env.EnvError, match="DATABASE_URL .*write postgres://user:password@host/name"):
        env.read_database_url("DATABASE_URL", text)


# --- the settings themselves


@pytest.mark.parametrize(
    ("variable", "value"),
    [("MAX_FILE_BYTES", "1 GB"), ("DEBUG", "perhaps"), ("DATABASE_URL", "mysql://x/y"), ("STORE_URL", "http://bucket")],
)
def test_a_wrong_setting_ends_the_process_with_its_sentence_and_no_trace(tmp_path, variable, value):
    ended = start(tmp_path, **{variable: value})
    assert ended.returncode == 1 and "Traceback" not in ended.stderr
    assert ended.stderr.startswith(f"The environment variable {variable} ") and ended.stderr.count("\n") == 1


def test_the_secret_key_is_made_once_and_readable_by_its_owner_only(tmp_path):
    show = "print(settings.SECRET_KEY)"
    first, second = start(tmp_path, show), start(tmp_path, show)
    assert first.stdout == second.stdout and len(first.stdout.strip()) >= 50, first.stderr
    assert (tmp_path / "secret_key").stat().st_mode & 0o777 == 0o600
    assert start(tmp_path, show, SECRET_KEY="given").stdout == "given\n"
    assert [path.name for path in tmp_path.iterdir() if "secret" in path.name] == ["secret_key"]


def test_processes_that_start_together_on_a_new_folder_share_one_key(tmp_path, monkeypatch):
    from tests.beside import at_once

    monkeypatch.setattr("hub.site.settings.DATA_DIR", tmp_path)
    monkeypatch.delenv("SECRET_KEY", raising=False)
    from hub.site.settings import load_secret_key

    keys = at_once(*[load_secret_key] * 8)
    assert len(set(keys)) == 1 and len(keys[0]) >= 50


def test_sqlite_waits_for_other_writers_and_keeps_its_promises():
    from django.db import connection

    if connection.vendor != "sqlite":
        pytest.skip("the database of this run is another one")
    options = connection.settings_dict["OPTIONS"]
    assert options["transaction_mode"] == "IMMEDIATE" and options["timeout"] >= 10


@pytest.mark.django_db
def test_the_database_of_the_hub_is_in_wal_mode_with_foreign_keys():
    from django.db import connection

    if connection.vendor != "sqlite":
        pytest.skip("the database of this run is another one")
    with connection.cursor() as cursor:
        pragmas = {name: cursor.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "foreign_keys")}
    assert pragmas == {"journal_mode": "wal", "foreign_keys": 1}


def test_every_listed_app_and_middleware_is_importable():
    from django.conf import settings
    from django.utils.module_loading import import_string

    for path in settings.MIDDLEWARE:
        assert callable(import_string(path))
