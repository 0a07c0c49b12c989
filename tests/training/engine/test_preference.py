"""Preferences: which rows are read, that the loss is the published one, packed or not, and that a model learns to prefer."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
import torch
from safetensors.torch import load_file
from torch.nn.functional import log_softmax, logsigmoid

from tests.training.engine.tiny_models import (
    DEVICE,
    WORDS,
    make_bench,
    make_documents,
    make_family,
    make_pairs,
    make_sentences,
    refusal,
)
from training.engine.batches import IGNORED, make_batch
from training.engine.config import Facts, make_plan
from training.engine.corpus.formats import Unusable, read_document
from training.engine.lora import add_adapter
from training.engine.losses import compute_log_likelihoods
from training.engine.preference import Preference, count_learnt
from training.engine.recipe import parse_recipe

FACTS = Facts(
    parameters=10**5, model_context=256, corpus_tokens=10**4, longest_document=60, device="cpu", precision="fp32",
    threads=1,
)  # fmt: skip
RECIPE = (
    "version: 1\nbase: a/b@main\ncontributions:\n  - data: c/d@main\n    format: preference\n"
    "train: {method: %s, objective: %s, context_tokens: 128, steps: 2}\n"
)
ASKED = {"role": "user", "content": "What colour is the sky?"}
BLUE, GREEN = ({"role": "assistant", "content": f"It is {colour}."} for colour in ("blue", "green"))


def plan_for(objective: str, method: str = "full"):
    return make_plan(parse_recipe(RECIPE % (method, objective)), FACTS, {})


# -- rows


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "What colour is the sky?", "chosen": "It is blue.", "rejected": "It is green."},
        {"prompt": [ASKED], "chosen": [BLUE], "rejected": [GREEN]},
        {"chosen": [ASKED, BLUE], "rejected": [ASKED, GREEN]},
        {"prompt": "What colour is the sky?", "chosen": [ASKED, BLUE], "rejected": [ASKED, GREEN]},
        {"prompt": "What colour is the sky?", "chosen": [BLUE], "rejected": [GREEN], "score": 3},
        {
            "chosen": "\n\nHuman: What colour is the sky?\n\nAssistant: It is blue.",
            "rejected": "\n\nHuman: What colour is the sky?\n\nAssistant: It is green.",
        },
    ],
)
def test_every_way_of_writing_a_pair_reads_alike(row):
    document = read_document(row, "preference")
    assert document.given == 1 and document.rejected is not None
    said = [[(m.role, m.content) for m in d.messages] for d in (document, document.rejected)]
    assert said == [[(m["role"], m["content"]) for m in (ASKED, answer)] for answer in (BLUE, GREEN)]


def test_two_texts_that_begin_alike_part_before_the_word_in_which_they_differ():
    document = read_document({"chosen": "The sky is blueish.", "rejected": "The sky is black."}, "preference")
    assert [m.content for m in document.messages] == ["The sky is", "blueish."] and document.joint == " "
    chinese = read_document({"chosen": "天空是蓝色", "rejected": "天空是绿色"}, "preference")
    assert [m.content for m in chinese.messages] == ["天空是", "蓝色"] and chinese.joint == ""


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "Why?", "chosen": "So."}, "missing_column"),
        ({"prompt": "Why?", "chosen": "So.", "rejected": "So."}, "same_answers"),
        ({"prompt": "Why?", "chosen": "So.", "rejected": "  "}, "empty_answer"),
        ({"prompt": "Why?", "chosen": "So.", "rejected": None}, "empty_answer"),
        ({"prompt": " ", "chosen": "So.", "rejected": "No."}, "empty_prompt"),
        ({"prompt": [], "chosen": "So.", "rejected": "No."}, "malformed"),
        ({"prompt": "Why?", "chosen": [BLUE], "rejected": "No."}, "malformed"),
        ({"prompt": "Why?", "chosen": 3, "rejected": 4}, "malformed"),
        ({"chosen": "Blue.", "rejected": "Green."}, "no_question"),
        ({"chosen": [BLUE], "rejected": [GREEN]}, "no_question"),
        ({"chosen": [ASKED, BLUE], "rejected": [ASKED]}, "empty_answer"),
        ({"chosen": [ASKED, BLUE], "rejected": [{**ASKED, "content": "Else?"}, GREEN]}, "no_question"),
        ({"chosen": [ASKED, BLUE, ASKED, BLUE], "rejected": [ASKED, BLUE, {**ASKED, "content": "?"}, GREEN]}, "no_question"),
    ],
)  # fmt: skip
def test_what_is_no_pair_is_left_out_for_a_reason(row, reason):
    with pytest.raises(Unusable) as problem:
        read_document(row, "preference")
    assert problem.value.reason == reason


# -- the loss


def read_plainly(model, tokens, targets):
    """Summed log-likelihood and count of one document, by transformers' own forward over it alone."""
    logits = model(input_ids=torch.tensor(tokens)[None]).logits[0].float()
    told = torch.tensor(targets)
    found = log_softmax(logits, -1).gather(1, told.clamp(min=0)[:, None])[:, 0]
    return found[told != IGNORED].sum(), int((told != IGNORED).sum())


def published_loss(objective, policy, reference, counts, *, beta, margin):
    """As TRL computes them: DPOTrainer's sigmoid loss, CPOTrainer's simpo."""
    losses = []
    for k in range(0, len(policy), 2):
        if objective == "dpo":
            logits = (policy[k] - policy[k + 1]) - (reference[k] - reference[k + 1])
            losses.append(-logsigmoid(beta * logits))
        else:
            logits = policy[k] / counts[k] - policy[k + 1] / counts[k + 1] - margin / beta
            losses.append(-logsigmoid(beta * logits))
    return torch.stack(losses).sum()


@pytest.mark.parametrize(
    ("family", "method", "objective"),
    [
        ("llama", "full", "dpo"),
        ("llama", "lora", "dpo"),
        ("llama", "full", "simpo"),
        ("llama", "lora", "simpo"),
        ("gemma2", "full", "dpo"),  # logits bent below a cap
        ("phi", "full", "simpo"),  # a head with a bias
        ("mamba", "lora", "dpo"),  # each document in a row of its own
    ],
)
def test_packed_pairs_have_the_published_loss_and_gradients(family, method, objective):
    lengths = [9, 30, 14, 3, 21, 22]
    inputs, targets = make_documents(lengths)
    plan = plan_for(objective, method)
    packed, plain = make_family(family), make_family(family, attention_name="eager")
    if method == "lora":
        packed, plain = (add_adapter(model, plan) for model in (packed, plain))
        generator = torch.Generator().manual_seed(9)
        for (name, one), (_, other) in zip(packed.named_parameters(), plain.named_parameters(), strict=True):
            if "lora_B" in name:  # zero at first, which would leave no gradient to A
                one.data.normal_(0, 0.1, generator=generator)
                other.data.copy_(one.data)
    reference = torch.tensor([-31.0, -90.0, -44.0, -12.0, -70.0, -66.0], device=DEVICE)
    told = make_objective(plan, reference)
    batch = dataclasses.replace(make_batch(inputs, targets, torch.device(DEVICE)), documents=tuple(range(6)))
    loss, measured = told.compute(packed, batch)
    loss.backward()

    read = [read_plainly(plain, one, other) for one, other in zip(inputs, targets, strict=True)]
    policy, counts = [r[0] for r in read], [r[1] for r in read]
    wanted = published_loss(objective, policy, reference, counts, beta=plan.beta, margin=plan.target_margin)
    wanted.backward()
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-5)
    told = [p / c if objective == "simpo" else p - r for p, c, r in zip(policy, counts, reference, strict=True)]
    rewards = [plan.beta * reward.item() for reward in told]
    better, worse = rewards[::2], rewards[1::2]
    expected = [
        sum(better),
        sum(worse),
        sum(better) - sum(worse),
        sum(b > w for b, w in zip(better, worse, strict=True)),
    ]
    assert measured.tolist() == pytest.approx(expected, rel=1e-4, abs=1e-4)
    pairs = [
        (a.grad, b.grad)
        for (_, a), (_, b) in zip(packed.named_parameters(), plain.named_parameters(), strict=True)
        if b.grad is not None
    ]
    assert pairs and any(b.abs().max() > 0 for _, b in pairs)
    whole = torch.cat([(a - b).flatten() for a, b in pairs]).norm() / torch.cat([b.flatten() for _, b in pairs]).norm()
    assert whole < 1e-5


def make_objective(plan, reference):
    """The objective of a plan without a corpus around it."""
    told = Preference.__new__(Preference)
    told.plan, told.device, told.dtype = plan, torch.device(DEVICE), torch.float32
    told.reference = {"train": reference} if plan.objective == "dpo" else {}
    return told


def test_log_likelihoods_do_not_depend_on_the_chunk(monkeypatch):
    from training.engine import losses

    model = make_family("llama")
    batch = make_batch(*make_documents([40, 55]), torch.device(DEVICE))
    results = []
    for size in (1, 8 << 20):
        monkeypatch.setitem(losses.CHUNK_BYTES, DEVICE, size)
        found = compute_log_likelihoods(model, batch, dtype=torch.float32)
        model.zero_grad()
        (found * torch.tensor([0.3, -2.0], device=DEVICE)).sum().backward()
        results.append([found.detach(), *(p.grad.clone() for p in model.parameters())])
    for small, large in zip(*results, strict=True):
        torch.testing.assert_close(small, large, rtol=1e-5, atol=1e-6)


def test_an_idle_pair_costs_and_teaches_nothing():
    """What a rank reads that has no rows left."""
    model, plan = make_family("llama"), plan_for("dpo")
    inputs, targets = make_documents([9, 12])
    batch = make_batch(inputs, [t * 0 + IGNORED for t in targets], torch.device(DEVICE))
    batch = dataclasses.replace(batch, documents=(0, 1))
    loss, measured = make_objective(plan, torch.zeros(2, device=DEVICE)).compute(model, batch)
    loss.backward()
    assert loss.item() == 0 and not measured.any() and not count_learnt(batch).any()
    assert not any(p.grad is not None and p.grad.any() for p in model.parameters())


# -- whole runs

TRAIN = "context_tokens: 64, batch_tokens: 512, learning_rate: {rate}, method: {method}, objective: {objective}"


@pytest.mark.parametrize(
    ("method", "objective", "rate"), [("full", "dpo", 0.002), ("lora", "dpo", 0.01), ("lora", "simpo", 0.01)]
)
def test_a_tiny_model_learns_to_prefer(tmp_path, method, objective, rate):
    bench = make_bench(tmp_path, make_pairs(150))
    bench.write_recipe(
        train=TRAIN.format(rate=rate, method=method, objective=objective) + ", steps: 12", format="preference"
    )
    code, events = bench.run()
    assert code == 0, events[-1]
    result, metrics = bench.read_result(), bench.read_metrics()
    if objective == "dpo":
        assert metrics[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)  # nothing is preferred before it is learnt
        assert metrics[0]["reward_margin"] == pytest.approx(0, abs=1e-5)
    assert metrics[-1]["reward_accuracy"] > 0.9 and metrics[-1]["loss"] < 0.8 * metrics[0]["loss"]
    assert metrics[-1]["reward_margin"] == pytest.approx(
        metrics[-1]["reward_chosen"] - metrics[-1]["reward_rejected"], abs=1e-4
    )
    judged = result["preference"]
    assert judged["pairs"] > 5 and judged["accuracy"]["value"] > 0.9 > judged["parent_accuracy"]["value"]
    assert judged["difference"]["low"] > 0 and judged["accuracy"]["low"] < judged["accuracy"]["value"]
    looks = [e for e in events if "held_out_accuracy" in e]
    assert [e["step"] for e in looks] == [0, 6, 12]
    assert looks[0]["held_out_accuracy"] == pytest.approx(judged["parent_accuracy"]["value"], abs=1e-4)
    assert result["held_out_loss"] < result["held_out_loss_start"]


def test_no_question_is_both_learnt_and_held_out(tmp_path):
    rows = [{**row, "rejected": f"{row['rejected']} {word}"} for row in make_pairs(60) for word in WORDS[:3]]
    bench = make_bench(tmp_path, rows)
    bench.write_recipe(
        train=TRAIN.format(rate=0.001, method="full", objective="simpo") + ", steps: 1", format="preference",
        extra="prepare: {deduplicate: exact}",
    )  # fmt: skip
    assert bench.run()[0] == 0
    corpus = tmp_path / "out" / "corpus"
    learnt = {line.split('"row": "')[1].split('"')[0] for line in (corpus / "rows.jsonl").read_text().splitlines()}
    from training.engine.corpus import open_corpus
    from training.engine.digests import digest_json

    by_row = {digest_json(row): row["prompt"] for row in rows}
    opened = open_corpus(corpus)
    held_out = {row["row"] for row in opened.read_held_out()}
    assert len(held_out) >= 3 and not held_out & learnt
    asked = [{by_row[name.split(":")[-2]] for name in part} for part in (learnt, held_out)]
    assert not asked[0] & asked[1]
    assert opened.manifest["rows"] == len(learnt) and len(opened.offsets) - 1 == 2 * len(learnt)


@pytest.mark.parametrize("objective", ["dpo", "simpo"])
def test_how_many_rows_a_pass_reads_changes_nothing(tmp_path, monkeypatch, objective):
    """A step is divided by its pairs, not by its passes."""
    from training.engine import fitting

    bench = make_bench(tmp_path, make_pairs(40))
    bench.write_recipe(
        train=TRAIN.format(rate=0.002, method="full", objective=objective) + ", steps: 3, precision: fp32",
        format="preference",
    )
    bench.run("wide")
    monkeypatch.setitem(fitting.MICRO_TOKENS, DEVICE, 128)
    monkeypatch.setattr(fitting, "SMALL_TOKENS", 128)
    bench.run("narrow")
    rows = [json.loads((tmp_path / o / "plan.json").read_text())["plan"]["rows_per_pass"] for o in ("wide", "narrow")]
    assert rows[0] > rows[1] == 1
    wide, narrow = bench.read_metrics("wide"), bench.read_metrics("narrow")
    for name in ("loss", "grad_norm", "reward_chosen", "reward_accuracy"):
        assert [m[name] for m in wide] == pytest.approx([m[name] for m in narrow], rel=1e-4, abs=1e-5)


@pytest.mark.parametrize(("method", "objective"), [("lora", "dpo"), ("full", "simpo")])
def test_a_stopped_run_ends_with_the_same_bits(tmp_path, method, objective):
    bench = make_bench(tmp_path, make_pairs(60))
    bench.write_recipe(
        train=TRAIN.format(rate=0.003, method=method, objective=objective) + ", steps: 6", format="preference"
    )
    bench.run("whole")
    assert bench.run("parts", "--stop-after-step", "2")[0] == 0
    if objective == "dpo":  # as after a disk that lost it: computed again, from the start weights
        (tmp_path / "parts" / "reference.safetensors").unlink()
    assert bench.run("parts")[0] == 0
    whole, parts = bench.read_result("whole"), bench.read_result("parts")
    assert whole["model_digest"] == parts["model_digest"] and whole["preference"] == parts["preference"]
    measured = [
        [(m["loss"], m["grad_norm"], m["reward_margin"]) for m in bench.read_metrics(o)] for o in ("whole", "parts")
    ]
    assert measured[0] == measured[1]


def test_answers_that_are_too_long_are_left_out_and_said(tmp_path):
    rows = make_pairs(20)
    rows[3]["rejected"] = " ".join(make_sentences(1, words=90))
    bench = make_bench(tmp_path, rows)
    bench.write_recipe(
        train=TRAIN.format(rate=0.001, method="lora", objective="dpo") + ", steps: 1", format="preference"
    )
    code, events = bench.run()
    assert code == 0
    (said,) = [e["message"] for e in events if e.get("code") == "pairs_left_out"]
    assert said.startswith("1 of 20 pairs have an answer over 64 tokens")
    read = load_file(tmp_path / "out" / "reference.safetensors")["train"]
    assert len(read) == 40 and 0 < int((read != 0).sum()) < 38, "a short trial reads no more than it learns from"
    for row in rows:
        row["chosen"] = " ".join(make_sentences(1, words=90, seed=hash(row["prompt"])))
    bench = make_bench(tmp_path / "long", rows)
    bench.write_recipe(
        train=TRAIN.format(rate=0.001, method="lora", objective="dpo") + ", steps: 1", format="preference"
    )
    assert refusal(bench.run()[1]) == (
        "no_usable_rows",
        "No pair of answers is short enough to be read whole in 64 tokens; raise train.context_tokens or bring shorter answers",
    )
