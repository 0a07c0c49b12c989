"""From nothing but text: a tokenizer, random weights of a seed, and a model that transformers reads."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from tests.training.engine.tiny_models import Bench, make_sentences, make_tokenizer, write_rows
from training.engine.hf_format import make_model
from training.engine.recipe import Architecture
from training.engine.tokenizer import train_tokenizer

START = (
    "architecture: {family: llama, layers: 2, width: 32, heads: 4, kv_heads: 2, context_tokens: 64, init_seed: SEED}\n"
    "tokenizer: {train: {type: bpe, vocabulary: 320}}"
)
TRAIN = "method: pretrain, steps: 15, batch_tokens: 512, context_tokens: 64"


def make_text_bench(folder, seed: int = 3) -> Bench:
    bench = Bench(folder)
    write_rows(bench.rows_file, [{"text": s} for s in make_sentences(120, words=25)])
    bench.write_recipe(train=TRAIN, start=START.replace("SEED", str(seed)), format="text")
    return bench


def test_pretraining_learns_and_transformers_reads_the_result(tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    bench = make_text_bench(tmp_path)
    code, events = bench.run()
    assert code == 0, events[-1]
    result = bench.read_result()
    assert result["final_loss"] < result["first_loss"] - 0.5 and result["max_logit_difference"] == 0
    folder = tmp_path / "out" / "model"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model.config.vocab_size == len(tokenizer) <= 320
    text = "tide harbour, naïve Ωmega 🌊"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    said = model.generate(**tokenizer("sea wind", return_tensors="pt"), max_new_tokens=4, do_sample=False)
    assert said.shape[1] > 2
    assert json.loads((folder / "generation_config.json").read_text())["eos_token_id"] == [0, 2]


def test_the_same_seeds_give_the_same_bits_and_another_init_seed_does_not(tmp_path):
    digests = {}
    for name, seed in (("first", 3), ("second", 3), ("third", 4)):
        bench = make_text_bench(tmp_path, seed)
        assert bench.run(name)[0] == 0
        digests[name] = bench.read_result(name)["model_digest"], bench.read_result(name)["corpus_digest"]
    assert digests["first"] == digests["second"]
    assert digests["third"][0] != digests["first"][0] and digests["third"][1] == digests["first"][1]


def test_random_weights_depend_on_seed_and_name_alone():
    tokenizer = make_tokenizer()
    shallow, deep = (
        make_model(Architecture("llama", layers, 32, 4, 2, 64), tokenizer=tokenizer, seed=7, device=torch.device("cpu"))
        for layers in (1, 3)
    )
    torch.manual_seed(12345)
    again = make_model(Architecture("llama", 3, 32, 4, 2, 64), tokenizer=tokenizer, seed=7, device=torch.device("cpu"))
    for name, weight in deep.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name])
    for name, weight in shallow.state_dict().items():
        assert torch.equal(weight, deep.state_dict()[name])
    matrix = deep.state_dict()["model.layers.0.mlp.up_proj.weight"]
    assert float(matrix.std()) == pytest.approx(0.02, rel=0.1)
    assert not torch.equal(matrix, deep.state_dict()["model.layers.1.mlp.up_proj.weight"])
    assert bool((deep.state_dict()["model.norm.weight"] == 1).all())


def test_the_same_texts_train_the_same_tokenizer():
    texts = make_sentences(300, seed=9)
    first, second = (train_tokenizer(iter(texts), vocabulary=300) for _ in range(2))
    assert first.backend_tokenizer.to_str() == second.backend_tokenizer.to_str()
    assert first.eos_token_id == 0 and len(first) <= 300


def test_a_resumed_pretraining_uses_the_tokenizer_it_began_with(tmp_path):
    bench = make_text_bench(tmp_path)
    bench.run("whole")
    bench.run("parts", "--until", "prepare")
    bench.run("parts", "--stop-after-step", "5")
    assert bench.run("parts")[0] == 0
    assert bench.read_result("whole")["model_digest"] == bench.read_result("parts")["model_digest"]
    weights = [load_file(tmp_path / out / "model" / "model.safetensors") for out in ("whole", "parts")]
    assert all(torch.equal(weights[0][k], weights[1][k]) for k in weights[0])


def test_text_files_are_read_too(tmp_path):
    bench = make_text_bench(tmp_path)
    bench.rows_file.unlink()
    for number, text in enumerate(make_sentences(30, words=60)):
        (bench.rows_file.parent / f"part{number:02}.{'md' if number % 2 else 'txt'}").write_text(text)
    (bench.rows_file.parent / "README.md").write_text("This card is not data.")
    code, events = bench.run("out", "--until", "prepare")
    done = next(e for e in events if e.get("state") == "done")
    assert code == 0 and done["rows"] + done["held_out"] == 30
    assert "README.md" not in (tmp_path / "out" / "corpus" / "rows.jsonl").read_text()
