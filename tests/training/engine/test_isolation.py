"""The engine is a program of its own: it runs where Django cannot be imported and where no socket can be opened."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.training.engine.tiny_models import ROOT, make_bench

NO_HUB = """
import importlib.abc, sys

class Wall(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"django", "rest_framework", "celery", "hub", "moderation"}:
            raise ImportError(f"{name} is walled off")

sys.meta_path.insert(0, Wall())
"""
NO_NETWORK = """
import socket

def refuse(*args, **kwargs):
    raise OSError("the network is walled off")

socket.socket.connect = socket.socket.connect_ex = refuse
socket.create_connection = socket.getaddrinfo = refuse
"""


def wall_off(bench, guard: str = NO_HUB + NO_NETWORK) -> dict[str, str]:
    walls = bench.folder / "walls"
    walls.mkdir()
    (walls / "sitecustomize.py").write_text(guard)
    return {"PYTHONPATH": f"{walls}:{ROOT}", "HF_HUB_OFFLINE": "0", "DJANGO_SETTINGS_MODULE": "hub.site.settings"}


def test_a_run_needs_no_django_and_no_network(tmp_path):
    bench = make_bench(tmp_path)
    bench.write_recipe(train="method: lora, rank: 2, steps: 2, batch_tokens: 128")
    process = bench.start("out", **wall_off(bench))
    said, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors[-3000:]
    events = [json.loads(line) for line in said.splitlines()]
    assert events[-1]["event"] == "done" and (tmp_path / "out" / "model" / "model.safetensors").exists()


def test_the_walls_stand(tmp_path):
    """Otherwise the test above would prove nothing."""
    bench = make_bench(tmp_path)
    environment = wall_off(bench)
    for code, said in (
        ("import django", "django is walled off"),
        ("import hub", "hub is walled off"),
        ("import socket; socket.create_connection(('127.0.0.1', 9))", "the network is walled off"),
        ("import socket; socket.socket().connect(('127.0.0.1', 9))", "the network is walled off"),
    ):
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, cwd=ROOT)
        assert done.returncode != 0 and said in done.stderr


def test_every_module_of_the_engine_imports_behind_the_walls(tmp_path):
    bench = make_bench(tmp_path)
    code = (
        "import importlib, pkgutil, training.engine as e\n"
        "names = [m.name for m in pkgutil.walk_packages(e.__path__, 'training.engine.') if not m.name.endswith('__main__')]\n"
        "[importlib.import_module(n) for n in names]\n"
        "print(len(names))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=wall_off(bench), capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout) > 30


def test_a_refusal_is_one_event_and_exit_2(tmp_path):
    bench = make_bench(tmp_path, [{"question": "sea?", "answer": ""}])
    bench.write_recipe(train="method: lora, steps: 2")
    process = bench.start()
    said, _ = process.communicate(timeout=60)
    last = json.loads(said.splitlines()[-1])
    assert process.returncode == 2 and last["event"] == "error" and last["code"] == "no_usable_rows"


def test_an_unknown_command_lists_the_known_ones():
    done = subprocess.run([sys.executable, "-m", "training.engine", "trian"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2
    assert all(f"  {name} " in done.stderr for name in ("run", "fetch", "evaluate", "generate", "chat"))


@pytest.mark.slow
def test_the_engines_own_tests_pass_where_django_cannot_be_imported(tmp_path):
    """As on a GPU machine that has the engine's packages only; the tests themselves may use the loopback."""
    environment = os.environ | wall_off(make_bench(tmp_path), NO_HUB)
    without = ["-p", "no:django", "-p", "no:cacheprovider", "-p", "no:playwright", "-p", "no:base_url"]
    command = [sys.executable, "-m", "pytest", "-q", *without, "-m", "not slow", "tests/training/engine"]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert " passed" in done.stdout and "skipped" not in done.stdout
