"""The benchmark compares equal work: padded, packed and ours read the same samples and find the same loss."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from tests.benchmarks.trainer_peers import TheirTrainer, Work, make_work_model, make_work_plan
from tests.benchmarks.trainer_work import (
    SIZES,
    Size,
    count_operations,
    draw_samples,
    list_packed,
    list_padded,
    make_corpus,
)
from training.engine import attention
from training.engine.batches import Batches
from training.engine.losses import compute_loss_sum

SMALL = Size(2, 32, 64, 4, 2, 256, mean_tokens=24, most_tokens=64)


@pytest.mark.parametrize("rows", ["packed", "padded"])
def test_a_peer_finds_the_loss_that_the_engine_finds_on_the_same_samples(tmp_path, rows):
    work = Work("full", SMALL, "cpu", draw_samples(8, SMALL, seed=1), seed=3)
    plan = dataclasses.replace(make_work_plan(work), precision="fp32")
    ours = make_work_model(work, plan, attention.NAME)
    batches = Batches(make_corpus(work.samples), plan)
    every_row = list(range(batches.packing.rows))
    mean = compute_loss_sum(ours, batches.build(every_row, torch.device("cpu")), dtype=torch.float32) / work.positions
    theirs = make_work_model(work, plan, "sdpa")
    trainer = TheirTrainer(theirs, plan, tmp_path, SMALL.batch_rows, {"rows": rows})
    listed, collate = (
        (list_packed(work.samples, plan), trainer._collate_packed)
        if rows == "packed"
        else (list_padded(work.samples), trainer._collate_padded)
    )
    loss = theirs(**collate(listed), num_items_in_batch=work.positions).loss
    assert loss.item() == pytest.approx(mean.item(), rel=1e-5)


def test_lengths_have_the_mean_that_was_asked_for_and_operations_follow_the_formula():
    size = SIZES["cpu", "tune"]
    samples = draw_samples(400, size, seed=2)
    lengths = [len(s) - 1 for s in samples]
    assert sum(lengths) / 400 == pytest.approx(size.mean_tokens, abs=1) and max(lengths) == size.most_tokens
    work = Work("lora", SMALL, "cpu", draw_samples(8, SMALL, seed=1), seed=3)
    model = make_work_model(work, make_work_plan(work), attention.NAME)
    layer = 32 * 32 * 2 + 32 * 16 * 2 + 3 * 32 * 64
    adapters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    seen = sum(n * (n + 1) / 2 for n in map(len, (s[1:] for s in work.samples))) / work.positions
    expected = 4 * (2 * layer + 32 * 256) + 6 * adapters + 12 * 2 * 32 * seen
    assert count_operations(SMALL, model, work.samples) == pytest.approx(expected)
