"""A proposal from its recipe to merged weights, with the real engine on a tiny random llama."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from hub.community.pull_requests import merge, unmet_requirements
from hub.community.reviews import review
from hub.repos.places import pair
from tests.training.line import Line, as_jsonl, checks_of, make_repo, push, run_waiting_jobs
from training.engine.lock import parse_lock
from training.models import Evaluation, Run, Sampling
from training.proposals.recipes import propose
from training.workers.materials import lay_out


def test_a_proposal_becomes_merged_weights(line: Line, tmp_path: Path) -> None:
    pull_request = line.propose()
    run_waiting_jobs()
    assert checks_of(pull_request) == dict.fromkeys(("prepare", "train", "evaluate", "screen"), "passed")

    pull_request.refresh_from_db()
    approval = "It needs an approval of this candidate by somebody else with write access."
    assert unmet_requirements(pull_request, line.alice) == [approval]
    review(pull_request=pull_request, by=line.bob, verdict="approve", digest=pull_request.candidate_digest)
    # The target moves without touching what the run learnt from: a new candidate, the same weights, valid approvals.
    digest, target = pull_request.candidate_digest, pull_request.candidate_target
    push(line.target, line.bob, {"notes.md": b"Boats sleep here.\n"})
    assert any("is being built again" in reason for reason in unmet_requirements(pull_request, line.alice))
    assert set(run_waiting_jobs()) == {"moderation.screen_data", "training.rebuild"}
    pull_request.refresh_from_db()
    assert pull_request.candidate_target != target and pull_request.candidate_digest == digest
    assert unmet_requirements(pull_request, line.alice) == []
    merged = merge(pull_request=pull_request, by=line.alice)

    members = pair(line.target).members
    assert members.read_ref("refs/heads/main") == merged.commit
    names = {entry.path for entry in members.tree(merged.commit, recursive=True)}
    wanted = {
        "notes.md",
        "recipe.yaml",
        "recipe.lock",
        "README.md",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    }
    assert wanted | {".eval_results/alice--core.yaml"} <= names

    run = Run.objects.get()
    card = members.read(merged.commit, "README.md").decode()
    assert "Written by hand." in card and run.model_digest in card and "license: mit" in card
    lock = parse_lock(members.read(merged.commit, "recipe.lock").decode())
    assert {repository.id for repository in lock.repositories} == {"alice/tiny", "alice/tide-tables", "alice/core"}
    assert lock.corpus_digest == run.corpus.digest and lock.outputs
    brought = next(repository for repository in lock.repositories if repository.id == "alice/tide-tables")
    assert brought.contributors["train.jsonl"] == [{"contributor": "alice", "pull_request": None}]

    evaluation = Evaluation.objects.get()
    assert evaluation.verdict and evaluation.parent_name.startswith("alice/tiny@")
    assert evaluation.margin == 0.2  # the recipe states none: the suite's own holds
    answers = Sampling.objects.get().answers
    assert answers and all(row["parent_text"] is not None for row in answers)

    folder = tmp_path / "merged"
    lay_out(line.target, merged.commit, folder)
    assert_transformers_loads(folder)


def assert_transformers_loads(folder: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model(**tokenizer("When is tide 3?", return_tensors="pt")).logits.shape[-1] == model.config.vocab_size
    assert json.loads((folder / "config.json").read_text())["model_type"] == "llama"


@pytest.mark.slow
def test_a_proposal_of_choices_is_trained_and_its_page_shows_who_wins(line: Line, client: Client) -> None:
    choices = [
        {"prompt": f"When is tide {i}?", "chosen": f"Tide {i} is at {i} o'clock.", "rejected": f"Ask somebody else, not me, about {i}."}
        for i in range(60)
    ]  # fmt: skip
    make_repo("dataset", "choices", line.alice, {"train.jsonl": as_jsonl(choices)})
    train = "{method: lora, objective: dpo, steps: 6, context_tokens: 64, batch_tokens: 512, learning_rate: 0.01}"
    text = line.recipe(data="alice/choices@main", train=train, suite=False).replace(
        "format: chat", "format: preference"
    )
    propose(repo=line.target, by=line.alice, recipe_text=text, title="Prefer the tide", door="tests")
    run_waiting_jobs(kinds=("training.rebuild", "training.prepare", "training.train"))
    run = Run.objects.get()
    assert run.state == "succeeded", run.reason
    assert run.corpus.rows + run.corpus.manifest["held_out"] == 60
    preference = run.result["preference"]
    assert preference["pairs"] == run.corpus.manifest["held_out"] > 0
    assert [step for step, _ in run.result["curve"]["accuracy"]] == [1, 2, 3, 4, 5, 6]
    client.force_login(line.alice)
    page = client.get(f"/runs/{run.pk}").content.decode()
    assert "Which answer it prefers" in page and "Pairs in which the better answer wins" in page
    assert client.get(f"/api/v1/runs/{run.pk}").json()["preference"] == preference
