"""The line of a proposal in small: repositories made on the spot, and a worker that lives in the test's own process."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PAIRS = [{"question": f"When is tide {i}?", "answer": f"Tide {i} is at {i} o'clock."} for i in range(24)]
SUITE = """\
version: 1
name: core
margin: 0.2
tasks:
  - {name: choices, kind: multiple_choice, file: choices.jsonl}
  - {name: texts, kind: perplexity, file: texts.jsonl}
"""
CHOICES = [{"question": f"Is {i} even?", "choices": ["yes", "no"], "answer": i % 2} for i in range(12)]
TEXTS = [{"text": f"The boat number {i} lies in the harbour."} for i in range(6)]
MANY_STEPS = "{method: full, steps: 60, batch_tokens: 256, context_tokens: 128, learning_rate: 0.00001, seed: 3}"
TINY_VOCABULARY = 300


def make_tiny_llama(folder: Path) -> Path:
    """A llama of 2 layers and 32 channels with random weights, as transformers saves it."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from training.engine.tokenizer import train_tokenizer

    texts = [*(f"{row['question']} {row['answer']}" for row in PAIRS), "the boat lies in the harbour at high tide"]
    tokenizer = train_tokenizer(iter(texts), vocabulary=TINY_VOCABULARY)
    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def as_jsonl(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def make_repo(type: str, name: str, owner: Any, files: dict[str, bytes]) -> Any:
    """A repository whose first commit brings `files`, cleared for everybody as the screens would do."""
    from hub.repos.lifecycle import create_repo

    repo = create_repo(type=type, name=name, by=owner)
    if files:
        push(repo, owner, files)
    return repo


def push(repo: Any, by: Any, files: dict[str, bytes], *, revision: str | None = None) -> Any:
    from hub.community.contributions import commit
    from hub.repos.clearance import set_clearance
    from hub.repos.models import Content
    from hub.storage.git import AddFile

    operations = [AddFile(path, data) for path, data in files.items()]
    made = commit(repo=repo, by=by, revision=revision, operations=operations, title="Bring files", door="tests")
    waiting = Content.objects.filter(repo=repo, clearance=Content.Clearance.PENDING, added_by=by)
    set_clearance(contents=waiting.select_related("repo"), clearance=Content.Clearance.CLEARED)
    return made


def run_waiting_jobs(*, kinds: tuple[str, ...] = ("",), most: int = 60) -> list[str]:
    """Be the worker: carry out waiting jobs (only kinds with one of these beginnings) until none is left.

    Returns the kinds in the order they ran."""
    from django.db.models import Q

    from hub.common import jobs
    from hub.common.models import Job

    wanted = Q()
    for kind in kinds:
        wanted |= Q(kind__startswith=kind)
    ran: list[str] = []
    while job := Job.objects.filter(wanted, state=Job.State.WAITING, not_before=None).order_by("created_at").first():
        assert len(ran) < most, f"jobs beget jobs: {ran}"
        ran.append(job.kind)
        jobs.run(str(job.pk))
    return ran


@dataclass
class Line:
    """`alice` owns base, data, suite and target; `bob` may write to the target."""

    alice: Any
    bob: Any
    base: Any
    data: Any
    suite: Any
    target: Any

    @classmethod
    def build(cls, alice: Any, bob: Any, llama: Path) -> "Line":
        from hub.repos.models import RepoCollaborator

        weights = {path.name: path.read_bytes() for path in llama.iterdir()}
        suite = {"suite.yaml": SUITE.encode(), "choices.jsonl": as_jsonl(CHOICES), "texts.jsonl": as_jsonl(TEXTS)}
        target = make_repo(
            "model", "tides", alice, {"README.md": b"---\nlicense: mit\n---\n# Tides\n\nWritten by hand.\n"}
        )
        RepoCollaborator.objects.create(repo=target, user=bob, role="write")
        return cls(
            alice=alice,
            bob=bob,
            base=make_repo("model", "tiny", alice, weights),
            data=make_repo("dataset", "tide-tables", alice, {"train.jsonl": as_jsonl(PAIRS)}),
            suite=make_repo("dataset", "core", alice, suite),
            target=target,
        )

    def recipe(self, *, data: str = "alice/tide-tables@main", train: str = "", suite: bool = True) -> str:
        train = (
            train or "{method: full, steps: 4, batch_tokens: 256, context_tokens: 128, learning_rate: 0.00001, seed: 3}"
        )
        lines = ["version: 1", "base: alice/tiny@main", "contributions:", f"  - data: {data}", "    format: chat"]
        lines += ["prepare: {deduplicate: exact}", f"train: {train}"]
        return "\n".join([*lines, *(["evaluate: [{suite: alice/core@main}]"] if suite else [])]) + "\n"

    def propose(self, by: Any = None, **recipe: Any) -> Any:
        """The pull request of a valid recipe."""
        from training.proposals.recipes import propose

        text = self.recipe(**recipe)
        made = propose(repo=self.target, by=by or self.alice, recipe_text=text, title="Learn the tides", door="tests")
        return made.pull_request


def build_scene(stage: str, llama: Path) -> dict[str, Any]:
    """Alice, Bob and their line, by name; with "prepared", a pull request whose training waits."""
    from tests.people import make_person

    alice, bob = make_person("alice"), make_person("bob")
    line = Line.build(alice.user, bob.user, llama)
    made = {"alice": alice, "bob": bob, "line": line}
    if stage == "prepared":
        made["prepared"] = line.propose(train=MANY_STEPS, suite=False)
        run_waiting_jobs(kinds=("training.rebuild", "training.prepare"))
        made["prepared"].refresh_from_db()
    return made


def checks_of(pull_request: Any) -> dict[str, str]:
    return dict(pull_request.checks.values_list("name", "state"))


def summary_of(pull_request: Any, name: str) -> str:
    return pull_request.checks.get(name=name).summary
