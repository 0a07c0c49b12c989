"""A run over two ranks is the run of one: the same rows a step, the same losses, the same layout, one resume for both."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from tests.training.engine.ranks import run_ranks
from tests.training.engine.tiny_models import ROOT, Bench, make_bench, make_chat_rows, make_pairs, refusal
from training.engine.batches import Batches
from training.engine.checkpoint import list_checkpoints
from training.engine.ranks import Ranks
from training.engine.slices import Unreadable, read_slices

# Five rows a step: two ranks cannot share them evenly, and the last pass of one is empty.
FULL = "method: full, steps: 6, batch_tokens: 320, context_tokens: 64, learning_rate: 0.003, precision: fp32"
DORA = "method: lora, variant: dora, rank: 4, steps: 6, batch_tokens: 320, context_tokens: 64, learning_rate: 0.01, precision: fp32"
MUON = FULL + ", optimizer: muon, schedule: wsd"


@pytest.fixture(scope="module")
def bench(tmp_path_factory) -> Bench:
    """One run by one rank to compare with."""
    bench = make_bench(tmp_path_factory.mktemp("ranks"), make_chat_rows(150))
    bench.write_recipe(train=FULL)
    os.environ["ENGINE_THREADS"] = "1"
    assert bench.run("one")[0] == 0
    return bench


def read_losses(bench: Bench, out: str) -> list[float]:
    return [m["loss"] for m in bench.read_metrics(out)]


def assert_same_run(bench: Bench, out: str) -> None:
    """The same sums in another order: float tolerance, and the same files and record."""
    assert read_losses(bench, out) == pytest.approx(read_losses(bench, "one"), rel=1e-4)
    ours, theirs = (load_file(bench.folder / o / "model" / "model.safetensors") for o in (out, "one"))
    assert ours.keys() == theirs.keys()
    for name in theirs:
        assert (ours[name] - theirs[name]).norm() / theirs[name].norm() < 1e-3, name
    one, two = bench.read_result("one"), bench.read_result(out)
    assert [two[k] for k in ("steps", "tokens", "corpus_digest")] == [
        one[k] for k in ("steps", "tokens", "corpus_digest")
    ]
    assert two["files"] == one["files"]
    assert two["held_out_loss"] == pytest.approx(one["held_out_loss"], rel=1e-4)


@pytest.mark.parametrize(("rows", "per_pass"), [(5, 2), (4, 1), (1, 3)])
def test_each_row_of_a_step_is_read_by_one_rank_and_all_take_as_many_passes(rows, per_pass):
    batches = Batches.__new__(Batches)
    batches.rows_of = lambda step: list(range(10, 10 + rows))
    batches.plan = SimpleNamespace(rows_per_pass=per_pass)
    shares = [list(batches.passes_of(0, Ranks(rank, 2))) for rank in range(2)]
    assert sorted(row for passes in shares for portion in passes for row in portion) == batches.rows_of(0)
    assert len(shares[0]) == len(shares[1]) and all(len(portion) <= per_pass for portion in shares[0])
    assert list(batches.passes_of(0)) == [batches.rows_of(0)[i : i + per_pass] for i in range(0, rows, per_pass)]


def test_one_goes_on_from_what_two_ranks_began_and_ends_as_if_alone(bench):
    codes, events = run_ranks(bench, "two-one", "--stop-after-step", "3")
    assert codes == [0, 0] and events[0][-1]["message"] == "stopped after step 3"
    assert [e["ranks"] for e in events[0] if "ranks" in e] == [2] and events[1] == [], "one voice"
    assert read_losses(bench, "two-one") == pytest.approx(read_losses(bench, "one")[:3], rel=1e-5)
    code, events = bench.run("two-one")
    assert code == 0 and [e["step"] for e in events if e.get("state") == "resumed"] == [3]
    assert_same_run(bench, "two-one")


@pytest.mark.slow
def test_two_ranks_train_what_one_trains_and_each_keeps_its_slices(bench):
    codes, events = run_ranks(bench, "two")
    assert codes == [0, 0], events
    assert_same_run(bench, "two")
    assert events[0][-1]["event"] == "done"
    (_, last) = list_checkpoints(bench.folder / "two" / "checkpoints")[-1]
    names = sorted(p.name for p in last.iterdir())
    assert [n.split("-model")[0] for n in names] == ["random.safetensors", "shard-00001", "shard-00002", "state.json"]
    weights = [load_file(last / name) for name in names if name.startswith("shard")]
    sizes = [sum(t.numel() for t in slices.values()) for slices in weights]
    assert max(sizes) < 0.6 * sum(sizes), "each rank holds and writes its half"

    weights = load_file(bench.folder / "two" / "model" / "model.safetensors")
    assert torch.equal(read_slices(last, weights)["model.norm.weight"], weights["model.norm.weight"])
    next(last.glob("shard-00002*")).unlink()
    with pytest.raises(Unreadable):
        read_slices(last, weights)


@pytest.mark.slow
def test_two_ranks_go_on_from_the_checkpoint_of_one(bench):
    assert bench.run("one-two", "--stop-after-step", "3")[0] == 0
    codes, events = run_ranks(bench, "one-two")
    assert codes == [0, 0] and [e["step"] for e in events[0] if e.get("state") == "resumed"] == [3]
    assert_same_run(bench, "one-two")


def test_what_is_refused_is_said_once_and_ends_every_rank(bench, tmp_path):
    other = Bench(tmp_path)
    other.inputs.symlink_to(bench.inputs)
    other.write_recipe(train=FULL.replace("steps", "step"))
    codes, events = run_ranks(other, "out")
    assert codes == [2, 2] and events[1] == []
    assert refusal(events[0])[0] == "recipe_invalid"


@pytest.mark.slow
def test_muon_turns_whole_matrices_over_two_ranks(tmp_path):
    bench = make_bench(tmp_path, make_chat_rows(150))
    bench.write_recipe(train=MUON)
    assert bench.run("one")[0] == 0
    codes, events = run_ranks(bench, "two")
    assert codes == [0, 0], events
    # It multiplies in bf16: another order of sums shows sooner.
    assert read_losses(bench, "two") == pytest.approx(read_losses(bench, "one"), rel=1e-3)


@pytest.mark.slow
def test_torchrun_trains_an_adapter_over_two_processes(tmp_path):
    """The documented command, whole."""
    bench = make_bench(tmp_path, make_chat_rows(150))
    bench.write_recipe(train=DORA)
    assert bench.run("one")[0] == 0
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "training.engine", "run", *bench.arguments("two")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-2000:]
    assert_same_run(bench, "two")
    _, last = list_checkpoints(bench.folder / "two" / "checkpoints")[-1]
    names = {name for path in last.glob("shard*") for name in load_file(path)}
    assert names and all("lora_" in name for name in names)


@pytest.mark.slow
def test_two_ranks_prefer_what_one_prefers(tmp_path):
    """Pairs are counted over both ranks, and each reads a share of what the start said of them."""
    bench = make_bench(tmp_path, make_pairs(90))
    bench.write_recipe(
        train="method: full, objective: dpo, steps: 4, batch_tokens: 640, context_tokens: 64, learning_rate: 0.003, precision: fp32",
        format="preference",
    )
    assert bench.run("one")[0] == 0
    codes, events = run_ranks(bench, "two")
    assert codes == [0, 0], events
    one, two = (bench.read_metrics(out) for out in ("one", "two"))
    for name in ("loss", "reward_margin", "reward_accuracy", "grad_norm"):
        assert [m[name] for m in two] == pytest.approx([m[name] for m in one], rel=1e-3, abs=1e-4)
    read = [load_file(bench.folder / out / "reference.safetensors") for out in ("one", "two")]
    assert all(torch.allclose(read[0][name], read[1][name], rtol=1e-5) for name in ("train", "held_out"))
    assert bench.read_result("two")["preference"] == bench.read_result("one")["preference"]
