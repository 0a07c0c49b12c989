"""Adapters: only they learn, and merged or apart they say the same."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from tests.training.engine.tiny_models import DEVICE, make_bench, make_chat_rows, make_family, save_base
from training.engine.batches import make_batch
from training.engine.documents import compute_logits
from training.engine.hf_format import load_model, save_model
from training.engine.lora import add_adapter, merge_adapter

LORA = "method: lora, rank: 4, steps: 10, batch_tokens: 256, context_tokens: 128, learning_rate: 0.01"


def make_probe():
    ids = torch.arange(3, 40).numpy()
    return make_batch([ids], [ids], torch.device(DEVICE))


def load_plain(folder):
    return load_model(folder, "tiny", dtype=torch.float32, device=torch.device(DEVICE)).eval()


def test_a_merged_adapter_says_what_base_and_adapter_say(tmp_path):
    from peft import PeftModel

    bench = make_bench(tmp_path)
    bench.write_recipe(train=LORA)
    assert bench.run("merged")[0] == 0
    bench.write_recipe(train=LORA, extra="output: adapter")
    assert bench.run("adapter")[0] == 0
    merged = compute_logits(load_plain(tmp_path / "merged" / "model"), make_probe())
    base = compute_logits(load_plain(bench.base), make_probe())
    apart = PeftModel.from_pretrained(load_plain(bench.base), str(tmp_path / "adapter" / "model")).eval()
    with torch.no_grad():
        joined = compute_logits(apart, make_probe())
    torch.testing.assert_close(merged, joined, rtol=1e-5, atol=1e-5)
    assert (merged - base).abs().max() > 0.01, "the adapter learnt something"


@pytest.mark.parametrize(
    ("model_type", "adapted"),
    [
        ("gpt_neox", {"query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"}),
        ("gemma2", {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}),
        ("lfm2", {"in_proj", "out_proj", "q_proj", "k_proj", "v_proj", "w1", "w2", "w3"}),
        ("mamba", {"in_proj"}),
    ],
)
def test_an_adapter_of_another_architecture_says_the_same_merged_and_read_back(tmp_path, model_type, adapted):
    from transformers import AutoModelForCausalLM

    model = make_family(model_type)
    base = compute_logits(model, make_probe())
    model = add_adapter(model, SimpleNamespace(seed=1, rank=4, alpha=8.0, variant="plain"))
    assert {name.split(".")[-4] for name, p in model.named_parameters() if p.requires_grad} == adapted
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.2)
    joined = compute_logits(model, make_probe())
    save_model(merge_adapter(model), tmp_path / "merged", dtype=torch.float32)
    merged = compute_logits(load_plain(tmp_path / "merged"), make_probe())
    torch.testing.assert_close(merged, joined, rtol=1e-4, atol=1e-4)
    assert (merged - base).abs().max() > 0.01
    elsewhere = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", attn_implementation="eager").to(DEVICE)
    with torch.no_grad():
        torch.testing.assert_close(elsewhere(make_probe().tokens).logits[0], merged, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("variant", "scale"), [("plain", 2.0), ("rslora", 4.0), ("dora", 2.0)])
def test_a_variant_of_the_adapter_says_the_same_merged_and_read_back(tmp_path, variant, scale):
    from peft import PeftModel

    bench = make_bench(tmp_path)
    train = LORA.replace("steps: 10", "steps: 3") + f", variant: {variant}"
    bench.write_recipe(train=train, extra="output: adapter")
    assert bench.run("adapter")[0] == 0
    settings = json.loads((tmp_path / "adapter" / "model" / "adapter_config.json").read_text())
    assert (settings["use_rslora"], settings["use_dora"]) == (variant == "rslora", variant == "dora")
    model = PeftModel.from_pretrained(load_plain(bench.base), str(tmp_path / "adapter" / "model")).eval()
    base = compute_logits(load_plain(bench.base), make_probe())
    assert model.get_base_model().model.layers[0].self_attn.q_proj.scaling["default"] == scale, "8 / 4 or 8 / root of 4"
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name or "magnitude" in name:
                parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3))
    joined = compute_logits(model, make_probe())
    merged = compute_logits(merge_adapter(model), make_probe())
    torch.testing.assert_close(merged, joined, rtol=1e-4, atol=1e-4)
    assert (merged - base).abs().max() > 0.01


def test_a_state_space_model_is_trained_saved_and_asked(tmp_path):
    from training.engine.decoding import Settings
    from training.engine.generate import Prompt, answer_prompts
    from training.engine.serving import open_model

    bench = make_bench(tmp_path)
    save_base(bench.base, model_type="mamba")
    bench.write_recipe(train=LORA)
    code, events = bench.run()
    assert code == 0, events[-1]
    assert [e["packing"] for e in events if e.get("stage") == "train" and e.get("state") == "started"] == ["padded"]
    losses = [record["loss"] for record in bench.read_metrics()]
    assert losses[-1] < losses[0] and bench.read_result()["max_logit_difference"] < 1e-4
    served = open_model(tmp_path / "out" / "model", DEVICE)
    (answer,) = answer_prompts(served, [Prompt("1", "What of sea?")], Settings(max_new_tokens=4))
    assert answer.tokens > 0


def test_the_adapter_folder_has_the_layout_of_peft(tmp_path):
    bench = make_bench(tmp_path)
    bench.write_recipe(train=LORA, extra="output: adapter")
    bench.run()
    folder = tmp_path / "out" / "model"
    settings = json.loads((folder / "adapter_config.json").read_text())
    assert settings["peft_type"] == "LORA" and (settings["r"], settings["lora_alpha"]) == (4, 8.0)
    assert settings["base_model_name_or_path"] == "alice/tiny" and settings["revision"] == "main"
    assert settings["target_modules"] == sorted(settings["target_modules"]) and "lm_head" not in str(
        settings["target_modules"]
    )
    names = load_file(folder / "adapter_model.safetensors")
    assert names and all(".lora_A." in n or ".lora_B." in n for n in names)
    assert (folder / "tokenizer.json").read_bytes() == (bench.base / "tokenizer.json").read_bytes()
    assert not list(folder.glob("*.bin")) and not (folder / "README.md").exists()


def test_only_the_adapter_is_in_a_checkpoint(tmp_path):
    bench = make_bench(tmp_path)
    bench.write_recipe(train=LORA)
    bench.run("out", "--stop-after-step", "2")
    saved = load_file(tmp_path / "out" / "checkpoints" / "step-2" / "weights.safetensors")
    assert saved and all("lora_" in name for name in saved)


def test_the_merged_model_keeps_the_precision_and_files_of_its_base(tmp_path):
    bench = make_bench(tmp_path)
    save_base(bench.base, dtype=torch.bfloat16)
    bench.write_recipe(train=LORA)
    assert bench.run()[0] == 0
    model = load_file(tmp_path / "out" / "model" / "model.safetensors")
    assert {t.dtype for t in model.values()} == {torch.bfloat16}
    assert bench.read_result()["max_logit_difference"] == 0
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert (tmp_path / "out" / "model" / name).read_bytes() == (bench.base / name).read_bytes()
    config = json.loads((tmp_path / "out" / "model" / "config.json").read_text())
    assert config["dtype"] == "bfloat16" and "packed_documents" not in json.dumps(config)


def test_plain_transformers_loads_and_speaks(tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    bench = make_bench(tmp_path, make_chat_rows(60))
    bench.write_recipe(train=LORA)
    bench.run()
    folder = tmp_path / "out" / "model"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What of sea?"}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    said = model.generate(**prompt, max_new_tokens=5, do_sample=False)
    assert said.shape[1] > prompt["input_ids"].shape[1]
