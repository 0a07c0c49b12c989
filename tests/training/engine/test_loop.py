"""The loop: the same seed gives the same bits, it learns, it tells, and it stops when learning goes wrong."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from safetensors.torch import load_file

from tests.training.engine.tiny_models import DEVICE, make_bench, make_chat_rows, make_family, refusal, write_rows
from training.engine.config import Facts, Plan, auto_epochs, finish_plan, list_resolved, make_plan
from training.engine.lock import read_lock
from training.engine.optimizers import make_optimizer, rate_at
from training.engine.recipe import parse_recipe

FULL = "method: full, epochs: 4, batch_tokens: 256, context_tokens: 128, learning_rate: 0.003"


def test_a_run_learns_and_leaves_weights_and_evidence(tmp_path):
    bench = make_bench(tmp_path)
    bench.write_recipe(train=FULL)
    code, events = bench.run()
    assert code == 0
    result, metrics = bench.read_result(), bench.read_metrics()
    assert [m["step"] for m in metrics] == list(range(1, result["steps"] + 1))
    assert metrics[-1]["loss"] < metrics[0]["loss"] - 0.5
    assert result["max_logit_difference"] == 0
    assert result["tokens"] > 0 and result["final_loss"] < result["first_loss"]
    stages = [(e["stage"], e["state"]) for e in events if e["event"] == "stage"]
    assert stages == [(s, state) for s in ("prepare", "train", "save") for state in ("started", "done")]
    assert events[-1]["event"] == "done" and events[-1]["model_digest"] == result["model_digest"]
    assert all(isinstance(e["time"], float) for e in events)


def test_samples_come_from_rows_that_are_not_learnt(tmp_path):
    bench = make_bench(tmp_path, make_chat_rows(150))
    bench.write_recipe(train="method: full, steps: 4, batch_tokens: 256, context_tokens: 128")
    code, events = bench.run()
    assert code == 0
    prompts = {e["prompt"] for e in events if e["event"] == "sample"}
    assert 1 <= len(prompts) <= 2
    assert {e["step"] for e in events if e["event"] == "sample"} == {0, 2, 4}
    corpus_rows = (tmp_path / "out" / "corpus" / "rows.jsonl").read_text()
    held_out = (tmp_path / "out" / "corpus" / "heldout.jsonl").read_text()
    rows = {r["question"] for r in make_chat_rows(150)}
    assert prompts <= rows
    for line in held_out.splitlines():
        assert line.split('"row": "')[1].split('"')[0] not in corpus_rows
    assert bench.read_result()["held_out_loss"] < bench.read_result()["held_out_loss_start"]


def test_the_same_seed_gives_the_same_bits_and_another_does_not(tmp_path):
    bench = make_bench(tmp_path)
    bench.write_recipe(train=FULL + ", seed: 5")
    bench.run("first")
    bench.run("second")
    assert bench.read_result("first")["model_digest"] == bench.read_result("second")["model_digest"]
    assert [m["loss"] for m in bench.read_metrics("first")] == [m["loss"] for m in bench.read_metrics("second")]
    bench.write_recipe(train=FULL + ", seed: 6")
    bench.run("third")
    assert bench.read_result("third")["model_digest"] != bench.read_result("first")["model_digest"]


def test_a_lock_among_the_inputs_gives_the_same_run_again(tmp_path):
    """Replaying at home: the resolved values come from the lock, not from the rules."""
    bench = make_bench(tmp_path)
    bench.write_recipe(train="method: full, learning_rate: auto, batch_tokens: auto, context_tokens: auto")
    bench.run("first")
    lock = read_lock(tmp_path / "first" / "recipe.lock")
    assert lock.resolved["train.learning_rate"] == 1e-3 and lock.outputs["model.safetensors"]
    changed = dataclasses.replace(lock, resolved={**lock.resolved, "train.learning_rate": 2e-3}, outputs={})
    from training.engine.lock import write_lock

    write_lock(lock, bench.inputs / "recipe.lock")
    bench.run("second")
    assert bench.read_result("second")["model_digest"] == bench.read_result("first")["model_digest"]
    write_lock(changed, bench.inputs / "recipe.lock")
    bench.run("third")
    assert max(m["learning_rate"] for m in bench.read_metrics("third")) == pytest.approx(2e-3)


def test_the_lock_alone_tells_the_whole_run(tmp_path):
    """Its recipe has every number written out, and its repositories include the suites the rows were compared with."""
    bench = make_bench(tmp_path)
    write_rows(bench.inputs / "datasets" / "commons" / "suite" / "a.jsonl", [{"question": "Is it?", "answer": 0}])
    bench.write_recipe(
        train="method: lora, learning_rate: auto, epochs: auto, rank: auto, seed: auto",
        extra="evaluate: [{suite: commons/suite@main}]",
    )
    assert bench.run("first")[0] == 0
    lock = read_lock(tmp_path / "first" / "recipe.lock")
    assert "auto" not in lock.recipe.replace("precision: auto", "")
    assert {r.id for r in lock.repositories} == {"alice/tiny", "bob/tides", "commons/suite"}
    (tmp_path / "recipe.yaml").write_text(lock.recipe)
    assert bench.run("second")[0] == 0
    for name in ("model_digest", "corpus_digest"):
        assert bench.read_result("first")[name] == bench.read_result("second")[name]
    outputs = lock.outputs
    assert set(outputs) == set(bench.read_result("first")["files"])


def test_an_input_that_is_not_what_the_lock_pins_is_refused(tmp_path):
    bench = make_bench(tmp_path)
    bench.write_recipe(train=FULL)
    bench.run("first")
    (tmp_path / "first" / "recipe.lock").rename(bench.inputs / "recipe.lock")
    bench.rows_file.write_text(bench.rows_file.read_text().replace("sea", "lake"))
    code, events = bench.run("second")
    assert code == 2 and refusal(events) == (
        "pin_differs",
        "bob/tides/train.jsonl is not the file that recipe.lock pins; fetch the inputs again",
    )


def test_a_finished_run_is_not_run_again(tmp_path):
    bench = make_bench(tmp_path)
    bench.write_recipe(train=FULL)
    _, first = bench.run()
    code, again = bench.run()
    assert code == 0 and [e["event"] for e in again] == ["done"]
    assert again[0]["model_digest"] == first[-1]["model_digest"]


@pytest.mark.parametrize(
    ("optimizer", "schedule"), [("sgd", "cosine"), ("adam", "linear"), ("adamw", "constant"), ("muon", "wsd")]
)
def test_each_optimizer_and_schedule_learns(tmp_path, optimizer, schedule):
    bench = make_bench(tmp_path)
    rate = 0.1 if optimizer == "sgd" else 0.003
    bench.write_recipe(
        train="method: full, steps: 12, batch_tokens: 256, context_tokens: 128, warmup_steps: 2, "
        f"learning_rate: {rate}, optimizer: {optimizer}, schedule: {schedule}"
    )
    code, _ = bench.run()
    losses = [m["loss"] for m in bench.read_metrics()]
    assert code == 0 and losses[-1] < losses[0] - 0.1


@pytest.mark.parametrize("method", ["full", "lora, rank: 4"])
def test_bf16_arithmetic_learns_over_weights_kept_in_fp32(tmp_path, method):
    bench = make_bench(tmp_path)
    bench.write_recipe(
        train=f"method: {method}, steps: 15, batch_tokens: 256, learning_rate: 0.01, precision: bf16, warmup_steps: 1"
    )
    code, events = bench.run()
    assert code == 0, events[-1]
    losses = [m["loss"] for m in bench.read_metrics()]
    assert losses[-1] < losses[0] - 0.2
    saved = load_file(tmp_path / "out" / "checkpoints" / "step-15" / "weights.safetensors")
    assert {t.dtype for t in saved.values()} == {torch.float32}


def test_a_run_that_diverges_stops_and_says_why(tmp_path):
    bench = make_bench(tmp_path)
    bench.write_recipe(train="method: full, steps: 60, batch_tokens: 256, learning_rate: 10, warmup_steps: 0")
    code, events = bench.run()
    word, message = refusal(events)
    assert (code, word) == (2, "diverged")
    assert "use a smaller learning_rate" in message and "learning rate 10" in message
    assert not (tmp_path / "out" / "result.json").exists()


def make_simple_plan(**changes) -> Plan:
    recipe = parse_recipe("version: 1\nbase: a/b@main\ncontributions: [{data: a/d@main}]\ntrain: {method: full}\n")
    facts = Facts(10**6, 512, 10_000, 60, "cpu", "fp32", 2)
    return dataclasses.replace(finish_plan(make_plan(recipe, facts, {}), rows=80, pinned={}), **changes)


def test_the_learning_rate_rises_and_falls():
    plan = make_simple_plan(steps=100, warmup_steps=10, learning_rate=1.0, schedule="cosine")
    rates = [rate_at(plan, step) for step in range(100)]
    assert rates[:10] == pytest.approx([0.1 * (i + 1) for i in range(10)])
    assert rates[10] == 1.0 and rates[9:] == sorted(rates[9:], reverse=True)
    assert rates[55] == pytest.approx(0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * 0.5)))
    assert rate_at(dataclasses.replace(plan, schedule="linear"), 55) == pytest.approx(0.5)
    assert rate_at(dataclasses.replace(plan, schedule="constant"), 99) == 1.0
    stable = dataclasses.replace(plan, schedule="wsd", decay_steps=20)
    assert [rate_at(stable, step) for step in (9, 50, 79)] == [1.0, 1.0, 1.0]
    assert [rate_at(stable, step) for step in range(80, 100)] == pytest.approx([i / 21 for i in range(20, 0, -1)])


@pytest.mark.parametrize(
    ("schedule", "warmup", "decay", "found"),
    [("wsd", 10, -1, 20), ("wsd", 10, 30, 30), ("wsd", 90, 30, 10), ("cosine", 10, -1, 0)],
)
def test_the_steps_of_the_decay_are_a_fifth_and_never_reach_into_the_warmup(schedule, warmup, decay, found):
    plan = make_simple_plan(steps=100, warmup_steps=warmup, schedule=schedule, decay_steps=decay)
    assert finish_plan(plan, rows=80, pinned={}).decay_steps == found
    if decay < 0 and schedule == "wsd":
        assert finish_plan(plan, rows=80, pinned={"train.decay_steps": 7}).decay_steps == 7


@pytest.mark.parametrize("model_type", ["llama", "gpt_neox", "mamba"])
def test_muon_turns_the_matrices_inside_the_layers_and_adamw_moves_the_rest(model_type):
    model = make_family(model_type)
    named = dict(model.named_parameters())
    optimizer = make_optimizer(named.items(), make_simple_plan(optimizer="muon", learning_rate=0.02, weight_decay=0.1))
    muon, adamw = optimizer.parts
    names = {id(p): name for name, p in named.items()}
    hidden = {names[id(p)] for group in muon.param_groups for p in group["params"]}
    others = {names[id(p)] for group in adamw.param_groups for p in group["params"]}
    assert hidden | others == set(named) and not hidden & others
    assert all(named[name].ndim == 2 and ".0." in name.replace(".1.", ".0.") for name in hidden)
    assert {"embed", "norm", "head", "A_log", "conv1d"} & set(" ".join(hidden).replace(".", " ").split()) == set()
    assert not any("embed" in name or "norm" in name for name in hidden) and len(hidden) >= 6

    alone = {name: p.detach().clone().requires_grad_() for name, p in named.items()}
    expected: list[torch.optim.Optimizer] = [
        torch.optim.Muon([alone[n] for n in named if n in hidden], lr=0.02, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(
            [
                {"params": [alone[n] for n in others if alone[n].ndim >= 2], "weight_decay": 0.1},
                {"params": [alone[n] for n in others if alone[n].ndim < 2], "weight_decay": 0.0},
            ],
            lr=0.02,
        ),
    ]
    generator = torch.Generator().manual_seed(1)
    for _ in range(3):
        for name, parameter in named.items():
            parameter.grad = torch.randn(parameter.shape, generator=generator).to(DEVICE)
            alone[name].grad = parameter.grad.clone()
        for each in (optimizer, *expected):
            each.step()
    for name, parameter in named.items():
        torch.testing.assert_close(parameter, alone[name], rtol=1e-5, atol=1e-6)


def test_auto_becomes_numbers_by_the_documented_rules():
    recipe = parse_recipe(
        "version: 1\nbase: a/b@main\ncontributions: [{data: a/d@main}]\n"
        "train: {method: lora, epochs: auto, learning_rate: auto, warmup_steps: auto, seed: auto, rank: auto}\n"
    )
    facts = Facts(135_000_000, 8192, 12_000, 90, "cpu", "fp32", 2)
    plan = finish_plan(make_plan(recipe, facts, {}), rows=100, pinned={})
    assert (plan.learning_rate, plan.rank, plan.alpha, plan.context_tokens) == (5e-4, 16, 32.0, 128)
    assert 1 <= plan.epochs < 3, "two cores are not asked for three passes over 12,000 tokens at 135M parameters"
    assert auto_epochs("lora", dataclasses.replace(facts, corpus_tokens=10**6)) == 1.0
    assert auto_epochs("lora", dataclasses.replace(facts, device="cuda")) == 3.0
    resolved = list_resolved(plan, recipe)
    assert resolved["train.learning_rate"] == 5e-4 and resolved["train.epochs"] == plan.epochs
    assert "train.method" not in resolved and all(v is not None for v in resolved.values())


def test_the_size_of_a_pass_does_not_change_the_gradient(tmp_path):
    """Summing several passes is the same step as one large pass."""
    from training.engine.batches import Batches
    from training.engine.corpus import open_corpus
    from training.engine.hf_format import load_model
    from training.engine.losses import compute_loss_sum

    bench = make_bench(tmp_path)
    bench.write_recipe(train=FULL)
    bench.run("out", "--until", "prepare")
    corpus = open_corpus(tmp_path / "out" / "corpus")
    found = []
    for rows_per_pass in (1, 4):
        plan = make_simple_plan(context_tokens=64, rows_per_step=4, rows_per_pass=rows_per_pass, device=DEVICE)
        batches = Batches(corpus, plan)
        model = load_model(bench.base, "tiny", dtype=torch.float32, device=torch.device(DEVICE))
        learnt = batches.count_learnt(0)
        for rows in batches.passes_of(0):
            batch = batches.build(rows, torch.device(DEVICE))
            (compute_loss_sum(model, batch, dtype=torch.float32) / learnt).backward()
        found.append([p.grad for p in model.parameters()])
    for one, other in zip(*found, strict=True):
        assert (one - other).norm() / other.norm() < 1e-5
