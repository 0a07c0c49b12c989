"""A run that was killed goes on to the bits it would have reached anyway."""

from __future__ import annotations

import json
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.training.engine.tiny_models import Bench, make_bench, make_chat_rows, refusal
from training.engine.checkpoint import list_checkpoints

STEPS = 12
TRAIN = f"method: full, steps: {STEPS}, batch_tokens: 256, context_tokens: 128, learning_rate: 0.003"
LORA = f"method: lora, rank: 4, steps: {STEPS}, batch_tokens: 256, context_tokens: 128, learning_rate: 0.01"
SGD = TRAIN + ", optimizer: sgd"
MUON = TRAIN + ", optimizer: muon, schedule: wsd, decay_steps: 6"
DORA = LORA + ", optimizer: adam, variant: dora"


def assert_same_end(bench: Bench, one: str, other: str) -> None:
    first, second = bench.read_result(one), bench.read_result(other)
    timeless = [{k: v for k, v in r.items() if k not in ("seconds", "finished")} for r in (first, second)]
    assert timeless[0] == timeless[1]
    measured = [[(m["step"], m["loss"], m["grad_norm"]) for m in bench.read_metrics(out)] for out in (one, other)]
    assert measured[0] == measured[1]
    last = [bench.folder / out / "checkpoints" / f"step-{STEPS}" for out in (one, other)]
    for name in ("weights.safetensors", "optimizer.safetensors", "random.safetensors"):
        ours, theirs = load_file(last[0] / name), load_file(last[1] / name)
        assert ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


@pytest.mark.parametrize("train", [TRAIN, LORA, SGD, MUON, DORA], ids=["full", "lora", "sgd", "muon", "dora"])
def test_a_run_stopped_twice_ends_with_the_same_bits(tmp_path, train):
    bench = make_bench(tmp_path, make_chat_rows(80))
    bench.write_recipe(train=train)
    bench.run("whole")
    for step in ("3", "7"):
        code, events = bench.run("parts", "--stop-after-step", step)
        assert code == 0 and events[-1]["message"] == f"stopped after step {step}"
    code, events = bench.run("parts")
    assert code == 0
    assert [e["step"] for e in events if e.get("state") == "resumed"] == [7]
    assert_same_end(bench, "whole", "parts")


@pytest.mark.parametrize("most", [1, pytest.param(4, marks=pytest.mark.slow)])
def test_killed_at_random_moments_a_run_ends_with_the_same_bits(tmp_path, most):
    """kill -9, the real one, while it reads, learns, saves or writes the model."""
    bench = make_bench(tmp_path, make_chat_rows(80))
    bench.write_recipe(train=TRAIN)
    assert bench.run("whole")[0] == 0
    rng = random.Random(11)
    kills = 0
    while True:
        process = bench.start("killed", ENGINE_CHECKPOINT_S="0")
        assert process.stdout is not None and process.stderr is not None
        wanted = rng.choice(["prepare", "metrics", "saved_step", "metrics", "saved_step", "save"])
        for line in process.stdout:
            if wanted in line and kills < most:
                time.sleep(rng.random() * 0.02)
                process.send_signal(signal.SIGKILL)
                kills += 1
                break
        rest = process.communicate(timeout=120)
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL, rest[1][-2000:]
    assert kills >= most - 1
    assert_same_end(bench, "whole", "killed")
    assert (
        not list((tmp_path / "killed").glob(".model*")) and len(list_checkpoints(tmp_path / "killed/checkpoints")) <= 2
    )


def test_sigterm_saves_and_exits_143(tmp_path):
    bench = make_bench(tmp_path, make_chat_rows(80))
    bench.write_recipe(train=TRAIN.replace(f"steps: {STEPS}", "steps: 100000"))
    process = bench.start()
    assert process.stdout is not None
    events = []
    for line in process.stdout:
        events.append(json.loads(line))
        if events[-1]["event"] == "metrics":
            process.terminate()
            break
    rest, errors = process.communicate(timeout=60)
    events += [json.loads(line) for line in rest.splitlines()]
    assert process.returncode == 143, errors[-2000:]
    assert events[-1]["state"] == "stopped"
    (step, folder), *_ = reversed(list_checkpoints(tmp_path / "out" / "checkpoints"))
    assert events[-1]["message"] == f"stopped after step {step}"
    assert json.loads((folder / "state.json").read_text())["progress"]["step"] == step


def test_two_checkpoints_are_kept_and_the_older_serves_when_the_newer_is_damaged(tmp_path, monkeypatch):
    monkeypatch.setattr("training.engine.loop.CHECKPOINT_EVERY_S", 0.0)
    monkeypatch.setattr("training.engine.loop.MAX_CHECKPOINT_SHARE", 1e9)
    bench = make_bench(tmp_path, make_chat_rows(80))
    bench.write_recipe(train=TRAIN)
    bench.run("whole")
    bench.run("parts", "--stop-after-step", "6")
    kept = list_checkpoints(tmp_path / "parts" / "checkpoints")
    assert [step for step, _ in kept] == [5, 6]
    weights = kept[1][1] / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    code, events = bench.run("parts")
    assert code == 0 and [e["step"] for e in events if e.get("state") == "resumed"] == [5]
    assert_same_end(bench, "whole", "parts")


def test_a_checkpoint_holds_no_pickle(tmp_path):
    bench = make_bench(tmp_path)
    bench.write_recipe(train=TRAIN)
    bench.run("out", "--stop-after-step", "2")
    names = {p.name for p in (tmp_path / "out" / "checkpoints" / "step-2").iterdir()}
    assert names == {"weights.safetensors", "optimizer.safetensors", "random.safetensors", "state.json"}


def test_another_recipe_does_not_go_on_with_the_run_found(tmp_path):
    bench = make_bench(tmp_path)
    bench.write_recipe(train=TRAIN)
    bench.run("out", "--stop-after-step", "2")
    bench.write_recipe(train=TRAIN + ", seed: 99")
    code, events = bench.run()
    assert code == 2 and refusal(events)[0] == "other_run"


def test_a_half_written_checkpoint_is_never_seen(tmp_path):
    bench = make_bench(tmp_path)
    bench.write_recipe(train=TRAIN)
    bench.run("out", "--stop-after-step", "2")
    folder = tmp_path / "out" / "checkpoints"
    shutil.copytree(folder / "step-2", folder / ".step-9.123")
    Path(folder / ".step-9.123" / "optimizer.safetensors").unlink()
    code, events = bench.run()
    assert code == 0 and [e["step"] for e in events if e.get("state") == "resumed"] == [2]


def test_when_the_reader_of_events_is_gone_the_run_ends_and_a_new_start_finishes_it(tmp_path):
    """A worker that dies leaves its child with a broken pipe: no traceback, nothing lost."""
    bench = make_bench(tmp_path, make_chat_rows(80))
    bench.write_recipe(train=TRAIN)
    process = bench.start()
    assert process.stdout is not None and process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) == 1 and "Traceback" not in errors
    assert bench.run()[0] == 0
