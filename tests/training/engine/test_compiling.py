"""Layers compiled: the same loss and gradients, few compilations whatever the documents, and a way on where it fails."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.training.engine.tiny_models import make_bench, make_documents, make_family
from training.engine.batches import Batch, make_batch
from training.engine.compiling import MOST_COMPILATIONS, compile_layers
from training.engine.config import Facts, list_resolved, make_plan
from training.engine.loop import Loop
from training.engine.losses import compute_loss_sum
from training.engine.ranks import ALONE
from training.engine.recipe import parse_recipe
from training.engine.recompute import recompute
from training.engine.sharding import find_layers, share_out

CPU = torch.device("cpu")
PACKS = ([40, 9, 23], [64], [5, 5, 5, 5, 44, 2], [31, 8], [70, 3, 3])


def documents(lengths: list[int]) -> Batch:
    return make_batch(*make_documents(lengths), CPU)


def learn(model: Any, batch: Batch) -> list[torch.Tensor]:
    loss = compute_loss_sum(model, batch, dtype=torch.float32)
    loss.backward()
    found = [loss.detach(), *(p.grad for p in model.parameters())]
    model.zero_grad(set_to_none=True)
    return found


@pytest.fixture(autouse=True)
def forget_compilations():
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize(("model_type", "kinds"), [("llama", 1), ("gemma3_text", 2)])
def test_compiled_layers_compute_the_same_and_are_compiled_a_few_times_for_all_documents(model_type, kinds):
    compiled = []

    def backend(graph: Any, _: Any) -> Any:
        compiled.append(graph)
        return graph.forward

    model = make_family(model_type).train()
    expected = [learn(model, documents(lengths)) for lengths in PACKS]
    counts = []
    with (
        compile_layers(model, is_wanted=True, try_out=lambda: learn(model, documents([12])), backend=backend) as works,
        recompute(model, 1),
    ):
        for lengths, plain in zip(PACKS, expected, strict=True):
            for one, other in zip(learn(model, documents(lengths)), plain, strict=True):
                torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
            counts.append(len(compiled))
    assert works and 0 < counts[0] == counts[-1] <= 4 * kinds, "later documents compile nothing"
    assert not any("forward" in layer.__dict__ for layer in model.modules())


def test_what_cannot_be_compiled_runs_as_it_is_written_and_says_so(capsys):
    def backend(graph: Any, _: Any) -> Any:
        raise RuntimeError("no C++ compiler\nlong story")

    model = make_family("llama").train()
    expected = learn(model, documents([20]))
    with compile_layers(model, is_wanted=True, try_out=lambda: learn(model, documents([9])), backend=backend) as works:
        found = learn(model, documents([20]))
    assert not works and all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    said = capsys.readouterr().out
    assert '"compile_failed"' in said and "they run as they are written" in said and said.count("\n") == 1


def test_it_is_off_on_a_cpu_and_on_where_a_card_can_use_it():
    def plan_of(device: str, setting: str = "auto", pinned: Any = None, **facts: Any) -> str:
        recipe = parse_recipe(
            "version: 1\nbase: a/b@main\ncontributions: [{data: a/d@main}]\n"
            f"train: {{method: full, steps: 1, compile: {setting}}}\n"
        )
        plan = make_plan(recipe, Facts(10**6, 512, 10_000, 60, device, "fp32", 2, **facts), pinned or {})
        assert list_resolved(plan, recipe).get("train.compile", setting) == plan.compile
        return plan.compile

    assert [plan_of("cpu"), plan_of("cuda"), plan_of("cuda", is_padded=True)] == ["off", "on", "off"]
    assert [plan_of("cpu", "on"), plan_of("cuda", "off")] == ["on", "off"]
    before = {"engine.rows_per_pass": 4}  # a lock of a time before layers were compiled
    assert [plan_of("cuda", pinned=before | more) for more in ({}, {"train.compile": "on"})] == ["off", "on"]
    assert MOST_COMPILATIONS >= 8


def test_where_steps_make_activations_again_the_trial_does_too():
    model = make_family("llama").train()
    layer, calls = find_layers(model)[0], []
    plain = layer.forward

    def count(*inputs: Any, **named: Any) -> Any:
        calls.append(1)
        return plain(*inputs, **named)

    layer.forward = count
    loop: Any = SimpleNamespace(
        model=model,
        whole=share_out(model, ALONE),
        batches=SimpleNamespace(rows_of=lambda step: [0], build=lambda rows, device: documents([12])),
        plan=SimpleNamespace(precision="fp32", recomputed_layers=1),
        device=CPU,
        dtype=torch.float32,
        optimizer=torch.optim.SGD(model.parameters()),
    )
    Loop._try_out(loop)
    assert len(calls) == 2 and all(p.grad is None for p in model.parameters())


@pytest.mark.slow
def test_a_run_with_compiled_layers_learns_what_one_without_learns(tmp_path, monkeypatch):
    """The real compiler: a minute of C++."""
    for name in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):
        monkeypatch.setenv(name, "")  # so that it is as before when the test is over
        monkeypatch.delenv(name)
    bench = make_bench(tmp_path)
    train = "method: full, steps: 3, batch_tokens: 512, context_tokens: 128, learning_rate: 0.003"
    losses = {}
    for setting in ("off", "on"):
        bench.write_recipe(train=f"{train}, compile: {setting}")
        code, events = bench.run(setting)
        assert code == 0 and not any(e.get("code") == "compile_failed" for e in events), events
        losses[setting] = [m["loss"] for m in bench.read_metrics(setting)]
    assert losses["on"] == pytest.approx(losses["off"], rel=1e-4)
    assert any((tmp_path / "on" / "compiled").rglob("*")), "compilers write into the run's folder"
