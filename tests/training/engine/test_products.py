"""The quick products of a CPU are the plain ones but for rounding, and go when the loop ends."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.training.engine.test_loop import make_simple_plan
from tests.training.engine.tiny_models import DEVICE, make_bench, make_chat_rows, make_documents, make_family
from training.engine import devices, elementwise, planning, products
from training.engine.batches import make_batch
from training.engine.lora import add_adapter
from training.engine.losses import compute_loss_sum
from training.engine.products import has_library, rounds_fast
from training.engine.quicken import quicken

pytestmark = pytest.mark.skipif(not has_library(), reason="torch without oneDNN")


def take_gradients(model, batch):
    model.zero_grad()
    loss = compute_loss_sum(model, batch, dtype=torch.float32)
    loss.backward()
    return loss.detach(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("family", ["llama", "qwen3", "olmo2", "phi", "gpt_neox", "gemma2"])  # without biases and with
@pytest.mark.parametrize("method", ["full", "lora"])
def test_losses_and_gradients_are_the_plain_ones(monkeypatch, family, method):
    monkeypatch.setattr(products, "MIN_POSITIONS", 8)
    model = make_family(family).to("cpu")
    if method == "lora":
        model = add_adapter(model, dataclasses.replace(make_simple_plan(), method="lora", rank=4, alpha=8.0))
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.1)  # zero at first: nothing would be seen
    batch = make_batch(*make_documents([60, 7, 31]), torch.device("cpu"))
    loss, gradients = take_gradients(model, batch)
    with quicken(model, is_fp32_on_cpu=True):
        assert any("forward" in m.__dict__ for m in model.modules())
        quick_loss, quick = take_gradients(model, batch)
    assert not any("forward" in m.__dict__ for m in model.modules())
    torch.testing.assert_close(quick_loss, loss, rtol=1e-5, atol=1e-5)
    assert quick.keys() == gradients.keys()
    for name, gradient in gradients.items():
        assert (quick[name] - gradient).norm() <= 2e-5 * gradient.norm() + 1e-6, name


def test_where_an_adapter_is_anything_but_plain_peft_computes_it():
    from peft import LoraConfig, get_peft_model

    settings = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}
    for special in ({"use_dora": True}, {"lora_dropout": 0.5}):
        model = get_peft_model(make_family("llama").to("cpu"), LoraConfig(**settings, **special))
        with quicken(model, is_fp32_on_cpu=True):
            assert not any(isinstance(m.__dict__.get("forward"), products.Adapted) for m in model.modules())


@pytest.mark.parametrize("method", ["full", "lora"])
def test_rounded_products_are_near_the_plain_ones_and_end_with_the_loop(monkeypatch, method):
    monkeypatch.setattr(products, "MIN_POSITIONS", 8)
    model = make_family("llama").to("cpu")
    if method == "lora":
        model = add_adapter(model, dataclasses.replace(make_simple_plan(), method="lora", rank=4, alpha=8.0))
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.1)
    batch = make_batch(*make_documents([60, 7, 31]), torch.device("cpu"))
    loss, gradients = take_gradients(model, batch)
    before = torch.backends.mkldnn.matmul.fp32_precision
    with quicken(model, is_fp32_on_cpu=True, rounds=True):
        quick_loss, quick = take_gradients(model, batch)
        assert torch.backends.mkldnn.matmul.fp32_precision == before, "of a product alone: attention is not rounded"
    assert products._rounds == [False]
    torch.testing.assert_close(quick_loss, loss, rtol=5e-3, atol=5e-3)
    for name, gradient in gradients.items():
        assert (quick[name] - gradient).norm() <= 0.05 * gradient.norm() + 1e-4, name
    if rounds_fast():
        assert not torch.equal(quick_loss, loss), "this processor rounds"


def test_the_first_steps_of_an_adapter_are_not_lost_in_a_rounded_sum():
    """A thousandth of a weight is less than bf16 can tell: added to it before rounding, it would be nothing."""
    torch.manual_seed(0)
    x, weight = torch.randn(256, 64), torch.randn(48, 64)
    a, b = torch.randn(4, 64), torch.full((48, 4), 1e-4)
    product = products._AdaptedProduct.apply
    with products.rounding(True):
        without, with_it = product(x, weight, None, a, torch.zeros_like(b), 1.0), product(x, weight, None, a, b, 1.0)
    torch.testing.assert_close(with_it - without, x @ (b @ a).t(), rtol=0.02, atol=1e-5)


def test_a_part_of_a_head_is_turned_by_the_family_itself_and_neighbours_are_left_alone():
    from transformers.models.glm import modeling_glm
    from transformers.models.llama import modeling_llama

    assert not elementwise._is_ours(modeling_glm.apply_rotary_pos_emb)
    theirs = modeling_llama.apply_rotary_pos_emb
    model = make_family("llama").to("cpu")
    with quicken(model, is_fp32_on_cpu=True):
        assert modeling_llama.apply_rotary_pos_emb is not theirs
    assert modeling_llama.apply_rotary_pos_emb is theirs
    assert elementwise.find_rotations(make_family("gemma2")) and not elementwise.find_rotations(make_family("mamba"))


def test_the_precision_is_chosen_by_what_the_machine_can_do(monkeypatch):
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    monkeypatch.setattr(devices, "rounds_fast", lambda: True)
    assert devices.choose_precision("auto", cpu) == "bf16_products"
    assert devices.choose_precision("auto", cpu, ranks=2) == "fp32"
    assert devices.choose_precision("auto", cuda) == devices.choose_precision("bf16_products", cuda) == "bf16"
    assert devices.choose_precision("fp32", cpu) == "fp32"
    monkeypatch.setattr(devices, "rounds_fast", lambda: False)
    assert devices.choose_precision("auto", cpu) == "fp32"
    assert devices.choose_precision("bf16_products", cpu) == "fp32", "what is recorded is what is computed"


def test_a_rerun_takes_the_precision_of_its_lock_where_the_recipe_leaves_it_open(monkeypatch):
    monkeypatch.setattr(devices, "rounds_fast", lambda: True)
    train = SimpleNamespace(precision="auto", compile="auto")
    job: Any = SimpleNamespace(
        pinned={}, recipe=SimpleNamespace(train=train), device=torch.device("cpu"), ranks=SimpleNamespace(count=1)
    )
    assert planning.choose_precision(job) == "bf16_products"
    job.pinned = {"engine.precision": "fp32"}
    assert planning.choose_precision(job) == "fp32"
    job.pinned, train.precision = {"engine.precision": "bf16_products"}, "fp32"
    assert planning.choose_precision(job) == "fp32", "what somebody wrote comes before the lock beside it"
    train.precision, train.compile = "auto", "on"
    assert planning.choose_precision(job) == "fp32", "compiled layers make their own products"


def test_what_is_measured_behind_the_run_is_measured_as_within(monkeypatch, tmp_path):
    """A start that was read by rounded products is compared with a result that was. Watched, for some processors round
    nothing."""
    from training.engine import objectives

    measure, rounded = objectives.measure_held_out, []

    def watch(*inputs: Any, **named: Any) -> Any:
        rounded.append(products._rounds[0])
        return measure(*inputs, **named)

    monkeypatch.setattr(devices, "rounds_fast", lambda: True)
    monkeypatch.setattr(objectives, "measure_held_out", watch)
    bench = make_bench(tmp_path, make_chat_rows(150))
    bench.write_recipe(
        train="method: full, steps: 2, context_tokens: 64, learning_rate: 0.01, precision: bf16_products"
    )
    code, events = bench.run()
    assert code == 0
    assert rounded == [DEVICE == "cpu"] * 4, "before the first step, after each, and behind the run"
    within = [e["held_out_loss"] for e in events if "held_out_loss" in e and e.get("step") == 2]
    assert within == [round(bench.read_result()["held_out_loss"], 4)]
    planned = json.loads((tmp_path / "out" / "plan.json").read_text())["plan"]["precision"]
    assert planned == ("bf16_products" if DEVICE == "cpu" else "bf16")


@pytest.mark.parametrize("is_of_intel", [True, False])
def test_both_libraries_give_the_same_product(monkeypatch, is_of_intel):
    monkeypatch.setattr(products, "is_of_intel", lambda: is_of_intel)
    torch.manual_seed(0)
    x, weight, bias = torch.randn(40, 24), torch.randn(56, 24), torch.randn(56)
    torch.testing.assert_close(products.multiply(x, weight, bias), x @ weight.t() + bias)
    torch.testing.assert_close(
        products.multiply(x @ weight.t(), weight.t()), x @ weight.t() @ weight, rtol=1e-4, atol=1e-3
    )


def test_another_device_or_precision_changes_nothing():
    model = make_family("llama")
    with quicken(model, is_fp32_on_cpu=False):
        assert not any("forward" in m.__dict__ for m in model.modules())
    assert products.choose_product(torch.device("cpu"), torch.bfloat16) is torch.nn.functional.linear
    assert DEVICE != "cpu" or products.choose_product(torch.device("cpu"), torch.float32) is products.multiply
