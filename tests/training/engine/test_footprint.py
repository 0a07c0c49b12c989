"""What a step needs of memory: the estimate against what torch really allocates, and steps cut so that they fit."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.profiler import ProfilerActivity, profile

from tests.training.engine.tiny_models import FAMILY_SETTINGS, make_bench, make_documents, make_family
from training.engine.architectures import FAMILIES
from training.engine.batches import Batch, make_batch
from training.engine.devices import autocast
from training.engine.documents import read_hidden
from training.engine.fitting import CPU_SHARE, SPARE, cut_step, describe_cut, find_container_bytes, find_cpu_room
from training.engine.footprint import (
    GATES,
    KEPT,
    MAX_LAYERS,
    PROGRAM_BYTES,
    Sizes,
    Training,
    count_learnt,
    estimate_step,
    keep_of_layer,
    read_sizes,
)
from training.engine.lora import add_adapter
from training.engine.losses import compute_loss_sum
from training.engine.optimizers import make_optimizer
from training.engine.quicken import quicken
from training.engine.recompute import recompute
from training.engine.smaller import make_smaller

CPU = torch.device("cpu")
LEAST, MOST = 0.9, 1.4  # of what was measured: what an estimate may be
SMALL: dict[str, Any] = {"hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 4}


def make_sized(model_type: str, **changes: Any) -> Any:
    """A model whose sizes all differ, so that none is taken for another."""
    settings = {**SMALL, "num_key_value_heads": 2, "head_dim": 24, **changes}
    if kinds := FAMILY_SETTINGS.get(model_type, {}).get("layer_types"):
        settings["layer_types"] = kinds * (settings["num_hidden_layers"] // 2)
    if model_type in ("gpt_neox", "phi", "starcoder2", "lfm2"):
        settings.pop("head_dim")
    if model_type == "gpt_neox":
        settings["num_key_value_heads"] = None
    if model_type == "mamba":
        settings = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 4}
    if model_type == "mamba2":
        settings = {"hidden_size": 128, "num_heads": 8, "head_dim": 32, "num_hidden_layers": 4}
    return make_family(model_type, **settings).train()


def sizes_of(model: Any) -> Sizes:
    return read_sizes(model.config.to_dict(), sum(p.numel() for p in model.parameters()))


def documents(*lengths: int) -> Batch:
    return make_batch(*make_documents(list(lengths)), CPU)


def count_saved(model: Any, batch: Batch, work: Any) -> int:
    """Bytes that autograd keeps after `work`, without the weights themselves."""
    known = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        result = work(model, batch)
    assert result.requires_grad
    return sum(storage.nbytes() for at, storage in kept.items() if at not in known)


@pytest.mark.parametrize("model_type", FAMILIES)
def test_what_a_layer_keeps_is_known_for_every_family(model_type):
    model, batch = make_sized(model_type), documents(64)
    sizes = sizes_of(model)
    with quicken(model, is_fp32_on_cpu=True):
        saved = count_saved(model, batch, lambda m, b: read_hidden(m, b, dtype=torch.float32))
    layer = keep_of_layer(sizes, Training("full", "adamw", "fp32", "cpu"), 64)
    assert saved / 64 == pytest.approx(sizes.layers * layer + 10 * sizes.width, rel=0.15)


@pytest.mark.parametrize("model_type", FAMILIES)
def test_where_layers_are_as_they_are_written_the_estimate_is_not_far_below(model_type):
    """Several processes, and fp32 on a card: nothing is quickened there."""
    model, batch = make_sized(model_type), documents(64)
    sizes = sizes_of(model)
    saved = count_saved(model, batch, lambda m, b: read_hidden(m, b, dtype=torch.float32))
    for training in (Training("full", "adamw", "fp32", "cuda"), Training("full", "adamw", "fp32", "cpu", ranks=2)):
        layer = keep_of_layer(sizes, training, 64)
        assert (sizes.layers * layer + 10 * sizes.width) * 64 >= 0.8 * saved


def test_every_family_is_in_both_tables():
    assert KEPT.keys() == FAMILIES.keys() and KEPT.keys() > GATES


def measure_step(model: Any, batch: Batch, training: Training, *, recomputed_layers: int = 0) -> int:
    """Bytes held at most while a step of two passes is taken, the second of its kind."""
    learnt = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    plan: Any = SimpleNamespace(**vars(training), learning_rate=1e-3, weight_decay=0.0)
    optimizer = make_optimizer(learnt, plan)
    dtype = torch.bfloat16 if training.precision == "bf16" else torch.float32

    def step() -> None:
        for _ in range(2):
            with autocast(CPU, training.precision):
                loss = compute_loss_sum(model, batch, dtype=dtype) / 100
            loss.backward()
        torch.nn.utils.clip_grad_norm_([p for _, p in learnt], 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    with quicken(model, is_fp32_on_cpu=training.precision == "fp32"), recompute(model, recomputed_layers):
        step()
        held = sum(p.nbytes for p in model.parameters())
        held += sum(t.nbytes for state in optimizer.state.values() for t in state.values() if torch.is_tensor(t))
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
            step()
    events = [e for e in seen.profiler.kineto_results.events() if e.name() == "[memory]"]
    now = most = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return held + most


@pytest.mark.parametrize(
    ("model_type", "changes", "training", "again"),
    [
        ("llama", {"vocab_size": 8000, "num_hidden_layers": 8}, Training("full", "adamw", "fp32", "cpu"), 0),
        ("llama", {"num_hidden_layers": 16}, Training("full", "sgd", "fp32", "cpu"), 16),
        ("llama", {"num_hidden_layers": 16}, Training("full", "muon", "bf16", "cpu"), 8),
        ("qwen3", {}, Training("lora", "adamw", "fp32", "cpu"), 0),
        ("gemma2", {}, Training("full", "adamw", "fp32", "cpu"), 0),
        ("gpt_neox", {}, Training("full", "adamw", "bf16", "cpu"), 0),
        ("mamba", {}, Training("full", "adamw", "fp32", "cpu"), 0),
    ],
)
def test_the_estimate_of_a_step_is_near_what_is_measured(model_type, changes, training, again):
    model, batch = make_sized(model_type, **changes), documents(128, 128)
    sizes = sizes_of(model)
    if training.method == "lora":
        plan: Any = SimpleNamespace(seed=1, rank=training.rank, alpha=32.0, variant="plain")
        model = add_adapter(model, plan)
        learnt = sum(p.numel() for p in model.parameters() if p.requires_grad)
        assert count_learnt(sizes, training) == pytest.approx(learnt, rel=0.02)
    measured = measure_step(model, batch, training, recomputed_layers=again)
    found = estimate_step(sizes, training, positions=256, longest=128, recomputed_layers=again)
    assert LEAST < (found.total - found.program) / measured < MOST, (found, measured)


@pytest.mark.parametrize("model_type", ["llama", "gemma2", "mamba"])
def test_activations_made_twice_change_neither_loss_nor_gradient(model_type):
    model, batch = make_family(model_type).train(), documents(40, 9, 23)
    found = []
    for count in (0, 1, 2):
        with quicken(model, is_fp32_on_cpu=True), recompute(model, count):
            loss = compute_loss_sum(model, batch, dtype=torch.float32)
            loss.backward()
        found.append([loss.detach(), *(p.grad for p in model.parameters())])
        model.zero_grad(set_to_none=True)
    assert all(torch.equal(a, b) and torch.equal(a, c) for a, b, c in zip(*found, strict=True))
    assert not any("forward" in layer.__dict__ for layer in model.modules()), "the model is as it was"


# --- cutting a step

LLAMA = Sizes("llama", 135_000_000, 30, 576, 9, 576, 192, 1536, 49152, True)
FULL = Training("full", "adamw", "fp32", "cpu")


def cut(room_gb: float, **changes: Any) -> Any:
    settings = {"rows": 8, "context_tokens": 512, "longest": 512, **changes}
    return cut_step(LLAMA, FULL, room_bytes=int(room_gb * 1e9), **settings)


def test_a_step_is_cut_as_little_as_it_takes():
    """Plenty: what the device likes. Then fewer rows, then layers made again, as few as suffice, all of them at last."""
    assert [(c.rows_per_pass, c.recomputed_layers) for c in (cut(64), cut(4.5), cut(3.9))] == [(2, 0), (1, 0), (1, 6)]
    tight = cut(3)
    assert (tight.rows_per_pass, tight.recomputed_layers, tight.fits) == (1, 30, False)
    for room in (64, 4.5, 3.9):
        assert cut(room).fits and cut(room).needed_bytes <= SPARE * room * 1e9
    before = estimate_step(LLAMA, FULL, positions=512, longest=512, recomputed_layers=cut(3.9).recomputed_layers - 1)
    assert before.total > SPARE * 3.9e9, "one layer fewer would not fit"


def test_small_networks_read_more_at_once_on_a_cpu():
    small = dataclasses.replace(LLAMA, layers=6, width=384, attended=384, keys=128, inner=1024, vocabulary=4096)
    settings: dict[str, Any] = {"rows": 64, "context_tokens": 512, "longest": 512, "room_bytes": 0}
    assert cut_step(small, FULL, **settings).rows_per_pass == 8
    assert cut_step(LLAMA, FULL, **settings).rows_per_pass == cut_step(None, FULL, **settings).rows_per_pass == 2
    # But no more than the machine has room for.
    assert cut_step(small, FULL, **settings | {"room_bytes": int(1.2e9)}).rows_per_pass < 8


def test_several_processes_share_what_they_hold():
    shared = dataclasses.replace(FULL, ranks=4)
    one, four = (estimate_step(LLAMA, t, positions=512, longest=512) for t in (FULL, shared))
    assert (four.weights, four.gradients, four.optimizer) == (one.weights // 4, one.gradients // 4, one.optimizer // 4)
    assert four.activations >= one.activations, "nothing is quickened where several share"


def test_documents_in_rows_of_their_own_count_their_filling():
    assert cut(64, is_padded=True).needed_bytes > cut(64).needed_bytes


def test_a_lock_says_how_many_rows_are_read_at_once_where_they_fit():
    assert cut(64, wanted_rows=1).rows_per_pass == 1 and cut(64, wanted_rows=8).rows_per_pass == 8
    assert cut(4.5, wanted_rows=8).rows_per_pass == 1


def test_the_cut_is_told_in_a_sentence():
    said = describe_cut(cut(3.9), rows_per_step=8, layers=30)
    assert said.startswith(
        "Each step's 8 rows are read in 8 passes of 1, and the activations of 6 of 30 layers are made"
    )
    assert said.endswith("GB of the 3.9 GB there are.")
    assert describe_cut(cut(64, rows=2), rows_per_step=2, layers=30).startswith(
        "Each step reads its 2 rows at once: about"
    )


def test_absurd_sizes_in_a_config_are_taken_as_usual():
    config = {
        "model_type": "llama",
        "hidden_size": -4,
        "num_hidden_layers": 10**30,
        "vocab_size": "many",
        "head_dim": True,
    }
    sizes = read_sizes(config, 1000)
    assert (sizes.width, sizes.layers, sizes.vocabulary, sizes.attended) == (1, 1, 1, 1)
    assert read_sizes(config | {"num_hidden_layers": 1 << 20}, 1000).layers == MAX_LAYERS, "each is a way to be tried"
    with pytest.raises(KeyError):
        read_sizes({"model_type": "unheard"}, 1)


def test_a_container_may_have_less_than_the_machine(tmp_path, monkeypatch):
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "open").write_text("max\n")
    files = (str(tmp_path / "open"), str(tmp_path / "memory.max"), str(tmp_path / "none"))
    assert find_container_bytes(files) == 1_000_000 < find_container_bytes(())
    monkeypatch.setenv("ENGINE_MEMORY_BYTES", "0")
    assert find_cpu_room() == int(find_container_bytes() * CPU_SHARE)
    monkeypatch.setenv("ENGINE_MEMORY_BYTES", "12345")
    assert find_cpu_room() == 12345


def test_a_run_with_little_room_reads_fewer_rows_and_learns_the_same(tmp_path, monkeypatch):
    bench = make_bench(tmp_path)
    bench.write_recipe(train="method: full, steps: 3, batch_tokens: 1024, context_tokens: 128, learning_rate: 0.003")
    monkeypatch.setenv("ENGINE_MEMORY_BYTES", str(10**10))
    assert bench.run("wide")[0] == 0
    tiny = json.loads((tmp_path / "wide" / "plan.json").read_text())["plan"]
    assert tiny["rows_per_pass"] == 8 and tiny["recomputed_layers"] == 0
    held = tiny["needed_bytes"] - PROGRAM_BYTES
    monkeypatch.setenv("ENGINE_MEMORY_BYTES", str(int((PROGRAM_BYTES + 0.3 * held) / SPARE)))
    code, events = bench.run("tight")
    said = next(e for e in events if "rows_per_pass" in e)
    assert code == 0 and said["rows_per_step"] == 8
    assert (said["rows_per_pass"], said["recomputed_layers"]) < (8, 3) and "GB there are" in said["message"]
    wide, tight = ([m["loss"] for m in bench.read_metrics(out)] for out in ("wide", "tight"))
    assert tight == pytest.approx(wide, rel=1e-5)

    monkeypatch.setenv("ENGINE_MEMORY_BYTES", str(PROGRAM_BYTES))
    code, events = bench.run("none", "--stop-after-step", "1")
    warning = next(e for e in events if e.get("code") == "memory_tight")
    assert code == 0 and "set a smaller train.context_tokens" in warning["message"]


def test_a_plan_is_made_smaller_until_nothing_is_left_to_take(tmp_path):
    path = tmp_path / "plan.json"
    path.write_text(json.dumps({"plan": {"rows_per_pass": 3, "layers": 2, "recomputed_layers": 1}}))
    assert make_smaller(tmp_path) == "1 instead of 3 rows at once"
    assert make_smaller(tmp_path) == "the activations of all 2 layers made twice instead of kept"
    assert make_smaller(tmp_path) is None
    assert json.loads(path.read_text())["plan"] == {
        "rows_per_pass": 1, "layers": 2, "recomputed_layers": 2, "needed_bytes": 0
    }  # fmt: skip
    path.write_text("[]")
    assert make_smaller(tmp_path) is None and make_smaller(tmp_path / "nowhere") is None
