"""Networks from nothing: sizes by name, parameters counted exactly, weights that begin as they should."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch

from tests.training.engine.test_pretrain import make_text_bench
from tests.training.engine.tiny_models import make_documents, make_tokenizer
from training.engine.batches import IGNORED, make_batch
from training.engine.errors import RecipeErrors
from training.engine.hf_format import make_model
from training.engine.losses import compute_loss_sum
from training.engine.networks import FAMILIES, SIZES, count_parameters, describe_network, find_preset, list_presets
from training.engine.presets import main
from training.engine.recipe import Architecture, format_recipe, parse_recipe

CPU = torch.device("cpu")
TAIL = """\
tokenizer: {train: {vocabulary: 8192}}
contributions: [{data: a/d@main, format: text}]
train: {method: pretrain, tokens: 1000}
"""


def tiny(family: str) -> Architecture:
    return Architecture(family, 3, 32, 4, 4 if family == "gpt_neox" else 2, 64)


def build_empty(config: Any) -> Any:
    from transformers import AutoModelForCausalLM

    make: Any = AutoModelForCausalLM.from_config
    with torch.device("meta"):
        return make(config)


@pytest.mark.parametrize("family", FAMILIES)
def test_parameters_are_counted_to_the_last_one(family):
    from transformers import AutoConfig

    for shape, vocabulary in ((find_preset(family, "10m"), 8192), (tiny(family), 330)):
        settings = describe_network(shape, vocabulary)
        model = build_empty(AutoConfig.for_model(settings.pop("model_type"), **settings))
        assert count_parameters(shape, vocabulary) == sum(p.numel() for p in model.parameters())


def test_every_family_has_every_size_near_its_name():
    presets = {preset.name: preset for preset in list_presets()}
    assert len(presets) == len(FAMILIES) * len(SIZES)
    named = {"10m": 10e6, "30m": 30e6, "135m": 135e6, "350m": 350e6, "1b": 1e9}
    for preset in presets.values():
        assert 0.85 < preset.parameters / named[preset.size] < 1.35, preset.name
        assert preset.tokens == pytest.approx(20 * preset.parameters, rel=0.05)


@pytest.mark.parametrize("family", FAMILIES)
def test_random_weights_begin_as_they_should_and_come_from_their_seed_alone(family):
    """A network that knows nothing gives every token about the same chance; norms begin as one, biases as nothing."""
    tokenizer = make_tokenizer()
    made = [make_model(tiny(family), tokenizer=tokenizer, seed=seed, device=CPU) for seed in (7, 7, 8)]
    first, again, other = (model.state_dict() for model in made)
    torch.manual_seed(99)
    assert all(torch.equal(first[name], again[name]) for name in first)
    head = next(name for name in first if "embed" in name)
    assert not torch.equal(first[head], other[head])
    batch = make_batch(*make_documents([40]), CPU)
    with torch.no_grad():
        loss = float(compute_loss_sum(made[0].eval(), batch, dtype=torch.float32)) / int(
            (batch.targets != IGNORED).sum()
        )
    assert loss == pytest.approx(math.log(len(tokenizer)), rel=0.05)
    for name, value in first.items():
        if name.endswith("norm.bias") or "dense" in name and name.endswith("bias"):
            assert not value.any(), name
        elif name.endswith("norm.weight"):
            assert value.unique().tolist() == [0.0 if family == "gemma3_text" else 1.0], name


@pytest.mark.parametrize("family", ["gpt_neox", "lfm2"])
def test_a_network_of_another_family_is_pretrained_and_read_back(tmp_path, family):
    bench = make_text_bench(tmp_path)
    recipe = bench.folder / "recipe.yaml"
    text = recipe.read_text().replace("family: llama", f"family: {family}").replace("layers: 2", "layers: 3")
    recipe.write_text(text.replace("kv_heads: 2", "kv_heads: auto"))
    code, events = bench.run()
    assert code == 0, events[-1]
    result = bench.read_result()
    assert result["final_loss"] < result["first_loss"] - 0.3 and result["max_logit_difference"] < 1e-5
    assert json.loads((tmp_path / "out" / "model" / "config.json").read_text())["model_type"] == family


# --- in a recipe


def read_shape(architecture: str) -> Any:
    return parse_recipe(f"version: 1\narchitecture: {{{architecture}}}\n{TAIL}").architecture


def test_a_size_stands_for_its_numbers_and_is_written_out():
    shape = read_shape("family: llama, size: 135m, context_tokens: 2048")
    assert shape == Architecture("llama", 30, 576, 9, 3, 2048)
    assert read_shape("family: gpt_neox, size: 10m").kv_heads == 4
    whole = parse_recipe(f"version: 1\narchitecture: {{family: mamba, size: 30m}}\n{TAIL}")
    assert "layers: 22, width: 384" in format_recipe(whole) and parse_recipe(format_recipe(whole)) == whole


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        ("family: llama, size: 30m, layers: 4", "'layers' stands beside 'size'"),
        ("family: llama, layers: 4, width: 64", "'heads' is missing; add heads, or write size: 30m"),
        ("family: llama, size: 31m", "'31m' is not one of 10m, 30m"),
        ("family: gpt2, size: 30m", "'gpt2' is not one of llama, qwen3"),
        ("family: gpt_neox, layers: 2, width: 64, heads: 4, kv_heads: 2", "in gpt_neox each head has a key of its own"),
    ],
)
def test_an_architecture_that_is_half_said_is_refused(architecture, message):
    with pytest.raises(RecipeErrors, match=message.replace("'", ".")):
        read_shape(architecture)


def test_the_command_lists_them_as_a_table_and_as_data(capsys):
    assert main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    row = next(line for line in lines if line.startswith("llama") and " 135m " in line)
    assert "134,515,008" in row and "2,700,000,000" in row and row.count(" GB") == 2
    assert main(["--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(rows) == len(list_presets()) and all(r["cuda_bytes"] > r["parameters"] * 16 for r in rows)
