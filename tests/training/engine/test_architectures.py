"""Every architecture on the list: packed, its gradients are those of transformers reading one document at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.training.engine.tiny_models import DEVICE, make_documents, make_family, make_model
from training.engine.architectures import FAMILIES, FUSED, MASKED, PADDED, find_packing
from training.engine.batches import IGNORED, make_batch
from training.engine.documents import compute_logits, group_by_length
from training.engine.losses import compute_loss_sum

LENGTHS = [17, 3, 40, 1, 9]
WINDOW = 8  # shorter than two of the documents, so that it bites within them
# name -> (type, what its config has beside the tiny one's, the path it must take)
CASES = {
    "gemma": ("gemma", {}, FUSED),
    "gemma2": ("gemma2", {"sliding_window": WINDOW}, MASKED),
    "gemma2, caps that bite": ("gemma2", {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0}, MASKED),
    "gemma3": ("gemma3_text", {"sliding_window": WINDOW}, MASKED),
    "gpt_neox": ("gpt_neox", {}, FUSED),
    "gpt_neox, residuals in turn": ("gpt_neox", {"use_parallel_residual": False}, FUSED),
    "gpt_oss": ("gpt_oss", {"sliding_window": WINDOW}, MASKED),
    "lfm2": ("lfm2", {}, PADDED),
    "llama": ("llama", {}, FUSED),
    "mamba": ("mamba", {}, PADDED),
    "mamba2": ("mamba2", {}, PADDED),
    "mistral": ("mistral", {}, FUSED),
    "mistral with a window": ("mistral", {"sliding_window": WINDOW}, MASKED),
    "mistral with a wide window": ("mistral", {"sliding_window": 256}, FUSED),
    "olmo2": ("olmo2", {}, FUSED),
    "olmo3": ("olmo3", {"sliding_window": WINDOW}, MASKED),
    "phi": ("phi", {}, FUSED),
    "qwen2": ("qwen2", {}, FUSED),
    "qwen2 with a window": (
        "qwen2", {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1}, MASKED
    ),
    "qwen3": ("qwen3", {}, FUSED),
    "smollm3": ("smollm3", {}, FUSED),
    "starcoder2": ("starcoder2", {"sliding_window": WINDOW}, MASKED),
}  # fmt: skip


def make_unlearnt(documents: list[np.ndarray]):
    return make_batch(documents, [np.full(len(d), IGNORED) for d in documents], torch.device(DEVICE))


def gradients(model) -> dict[str, torch.Tensor]:
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def test_every_listed_architecture_is_compared():
    assert {model_type for model_type, _, _ in CASES.values()} == set(FAMILIES)


@pytest.mark.parametrize("case", CASES)
def test_packed_gradients_are_those_of_one_document_at_a_time(case):
    model_type, changes, packing = CASES[case]
    inputs, targets = make_documents(LENGTHS)
    packed = make_family(model_type, **changes)
    assert find_packing(packed.config) == packing
    compute_loss_sum(packed, make_batch(inputs, targets, torch.device(DEVICE)), dtype=torch.float32).backward()

    # The reference: transformers' own eager attention, its own head, no other document in sight.
    alone = make_family(model_type, attention_name="eager", **changes)
    for tokens, target in zip(inputs, targets, strict=True):
        logits = alone(input_ids=torch.from_numpy(tokens)[None].to(DEVICE), use_cache=False).logits[0]
        torch.nn.functional.cross_entropy(
            logits.float(), torch.from_numpy(target).to(DEVICE), ignore_index=IGNORED, reduction="sum"
        ).backward()

    ours, theirs = gradients(packed), gradients(alone)
    assert ours.keys() == theirs.keys() and len(ours) > 5
    for name in ours:
        error = (ours[name] - theirs[name]).norm() / theirs[name].norm().clamp(min=1e-6)
        assert error < 1e-5, (name, float(error))


@pytest.mark.parametrize("case", CASES)
def test_a_document_does_not_see_its_neighbours(case):
    model_type, changes, _ = CASES[case]
    model = make_family(model_type, **changes)
    mine, _ = make_documents([23], seed=8)

    def logits_of_mine(seed):
        others, _ = make_documents([11, 30], seed=seed)
        return compute_logits(model, make_unlearnt([others[0], mine[0], others[1]]))[11:34]

    assert torch.equal(logits_of_mine(9), logits_of_mine(10))  # not one bit
    torch.testing.assert_close(logits_of_mine(9), compute_logits(model, make_unlearnt(mine)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("model_type", "changes"),
    [("mistral", {"sliding_window": WINDOW}), ("gemma2", {"attn_logit_softcapping": 2.0}), ("gpt_oss", {})],
)
def test_what_masking_adds_would_be_missed(model_type, changes, monkeypatch):
    """The comparison above can fail: without window, cap or sinks the same weights give other numbers."""
    from training.engine import attention

    whole = compute_logits(make_family(model_type, **changes), make_unlearnt(make_documents([40])[0]))
    plain = attention._attend_one

    def attend_plainly(query, key, value, *, scaling, **_):
        return plain(query, key, value, scaling=scaling, window=None, softcap=None, sinks=None)

    monkeypatch.setattr(attention, "_attend_one", attend_plainly)
    assert (
        compute_logits(make_family(model_type, **changes), make_unlearnt(make_documents([40])[0])) - whole
    ).abs().max() > 0.01


def test_a_setting_of_attention_that_is_not_known_is_refused():
    model = make_model()
    with pytest.raises(AssertionError, match="unknown settings of attention: \\['local_attention'\\]"):
        model(input_ids=torch.arange(3, 9)[None].to(DEVICE), local_attention=4)


def test_padding_at_most_doubles_what_is_read():
    lengths = [1, 1000, 3, 700, 513, 2, 5, 512, 400]
    groups = list(group_by_length(lengths))
    assert sorted(i for group in groups for i in group) == list(range(len(lengths)))
    assert sum(len(g) * max(lengths[i] for i in g) for g in groups) < 2 * sum(lengths)
