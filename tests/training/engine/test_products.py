"""The quick products of a CPU are the plain ones but for rounding, and go when the loop ends."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from tests.training.engine.test_loop import make_simple_plan
from tests.training.engine.tiny_models import DEVICE, make_documents, make_family
from training.engine import products
from training.engine.batches import make_batch
from training.engine.lora import add_adapter
from training.engine.losses import compute_loss_sum
from training.engine.products import has_library, quicken

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
            assert not any(isinstance(m.__dict__.get("forward"), products._Adapted) for m in model.modules())


def test_another_device_or_precision_changes_nothing():
    model = make_family("llama")
    with quicken(model, is_fp32_on_cpu=False):
        assert not any("forward" in m.__dict__ for m in model.modules())
    assert products.choose_product(torch.device("cpu"), torch.bfloat16) is torch.nn.functional.linear
    assert DEVICE != "cpu" or products.choose_product(torch.device("cpu"), torch.float32) is products.multiply
