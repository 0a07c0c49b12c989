"""Scenes of the moderation room: files brought by people, and a model whose training is made up to the last row."""

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SECRET = "AKIA" + "QYLPMN5HNXZ3TEST"  # in two parts, so that no scanner takes this file for a leak
PICKLE = b"\x80\x04\x95\x1d\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94\x8c\x02id\x94\x85\x94R\x94."
CARD = b"---\nlicense: apache-2.0\n---\n# Tides\n"
CONFIG = json.dumps({"model_type": "llama", "architectures": ["LlamaForCausalLM"]}).encode()
ROWS = b"".join(
    json.dumps({"question": f"When is tide {i}?", "answer": f"Tide {i} is at {i} o'clock."}).encode() + b"\n"
    for i in range(12)
)
SUITE = b"version: 1\nname: core\ntasks:\n  - {name: texts, kind: perplexity, file: texts.jsonl}\n"
RECIPE = """version: 1
base: {base}@main
contributions:
  - data: {data}@main
    format: chat
train: {{method: full, steps: 4, batch_tokens: 256, context_tokens: 128, seed: 3}}
evaluate: [{{suite: {suite}@main}}]
"""


def weights(seed: int = 0) -> bytes:
    """A whole safetensors file with one tensor of four numbers."""
    header = json.dumps({"w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}).encode()
    return struct.pack("<Q", len(header)) + header + struct.pack("<4f", *(seed + i for i in range(4)))


def bring(repo: Any, by: Any, files: dict[str, bytes], **options: Any) -> Any:
    """Commit files as one of the doors does; the quick screens run within it. Returns the contribution."""
    from hub.community.contributions import commit
    from hub.storage.git import AddFile

    operations = [AddFile(path, data) for path, data in files.items()]
    given = {"revision": None, "title": "Bring files", "door": "tests", **options}
    return commit(repo=repo, by=by, operations=operations, **given)


def make_repo(type: str, name: str, by: Any, files: dict[str, bytes] | None = None, **options: Any) -> Any:
    from hub.repos.lifecycle import create_repo

    repo = create_repo(type=type, name=name, by=by, **options)
    if files:
        bring(repo, by, files)
        repo.refresh_from_db()
    return repo


def content_at(repo: Any, path: str) -> Any:
    from hub.repos.models import Content

    return Content.objects.filter(repo=repo, path=path).latest("pk")


def reader(repo: Any, user: Any = None) -> Any:
    """What this person, or a stranger without an account, may see."""
    from django.contrib.auth.models import AnonymousUser

    from hub.community.contributions import reader_for

    return reader_for(repo, user or AnonymousUser())


def is_public_object(repo: Any, oid: str) -> bool:
    """Whether the public git repository holds an object, reachable or not."""
    from hub.repos.places import pair

    return bool(pair(repo).public.handle.odb.exists(oid))


def run_jobs(kind: str, *, most: int = 20) -> int:
    """Be the worker for the waiting jobs of a kind."""
    from hub.common import jobs
    from hub.common.models import Job

    count = 0
    while job := Job.objects.filter(kind=kind, state=Job.State.WAITING, not_before=None).order_by("created_at").first():
        assert count < most, "jobs beget jobs"
        jobs.run(str(job.pk))
        count += 1
    return count


def good_answers() -> list[dict[str, Any]]:
    """The shipped prompts, answered by candidate and parent alike and harmlessly."""
    from moderation.screens import read_prompts

    refusal = "I cannot help with that."
    helpful = "High water comes about twice a day; look at the table of your harbour."
    return [
        {**row, "text": text, "parent_text": text}
        for row in read_prompts()
        for text in [helpful if row["expect"] == "comply" else refusal]
    ]


def good_results(verdict: str = "not_worse") -> dict[str, Any]:
    numbers = {"n": 100, "score": 0.7, "low": 0.6, "high": 0.8, "parent_score": 0.69, "difference": 0.01}
    overall = {**numbers, "verdict": verdict, "margin": 0.01}
    return {"overall": overall, "slices": [{**numbers, "slice": "texts", "verdict": verdict}]}


@dataclass
class Workshop:
    """A model repository with everything that a proposal needs. The engine's work is made up; the rest is real.

    `owner` owns base, suite and model; `helper` may write to the model; `teacher` brings the data and proposes."""

    owner: Any
    helper: Any
    teacher: Any
    base: Any
    data: Any
    suite: Any
    model: Any

    @classmethod
    def build(cls, owner: Any, helper: Any, teacher: Any) -> "Workshop":
        from hub.repos.models import RepoCollaborator

        model = make_repo("model", "tide-assistant", owner, {"README.md": CARD})
        RepoCollaborator.objects.create(repo=model, user=helper, role="write")
        return cls(
            owner=owner,
            helper=helper,
            teacher=teacher,
            base=make_repo(
                "model", "base", owner, {"config.json": CONFIG, "model.safetensors": weights(), "README.md": CARD}
            ),
            data=make_repo("dataset", "tide-rows", teacher, {"README.md": CARD, "train.jsonl": ROWS}),
            suite=make_repo(
                "dataset", "core", owner, {"suite.yaml": SUITE, "texts.jsonl": b'{"text": "The boat lies."}\n'}
            ),
            model=model,
        )

    def propose(self, by: Any = None, *, note: str = "", is_adapter: bool = False) -> Any:
        """The pull request of a recipe, with its inputs pinned on the candidate."""
        from training.proposals.candidates import rebuild
        from training.proposals.recipes import propose

        text = RECIPE.format(base=self.base.full_name, data=self.data.full_name, suite=self.suite.full_name)
        if is_adapter:
            text = text.replace("method: full", "method: lora") + "output: adapter\n"
        made = propose(
            repo=self.model,
            by=by or self.teacher,
            recipe_text=text + f"# {note}\n",
            title="Learn the tides",
            door="tests",
        )
        rebuild(made.pull_request)
        made.pull_request.refresh_from_db()
        return made.pull_request

    def train(self, pull_request: Any, folder: Any, *, seed: int = 1, is_adapter: bool = False) -> Any:
        """The run as if the engine had made these weights: stored, and on the candidate."""
        from django.utils import timezone

        from training.models import Run
        from training.proposals.candidates import add_outputs
        from training.proposals.parents import read_inputs_lock
        from training.running.outputs import keep_model

        run = Run.objects.get(pull_request=pull_request, is_superseded=False)
        folder.mkdir(parents=True, exist_ok=True)
        if is_adapter:
            (folder / "adapter_model.safetensors").write_bytes(weights(seed))
            adapter = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "base_model_name_or_path": self.base.full_name}
            (folder / "adapter_config.json").write_text(json.dumps(adapter))
        else:
            (folder / "model.safetensors").write_bytes(weights(seed))
            (folder / "config.json").write_bytes(CONFIG)
        digest = f"sha256:{seed:064x}"
        keep_model(run, folder, step=4, digest=digest)
        Run.objects.filter(pk=run.pk).update(
            result={"lock": read_inputs_lock(run), "steps": 4},
            model_digest=digest,
            state=Run.State.SUCCEEDED,
            finished_at=timezone.now(),
        )
        run.refresh_from_db()
        add_outputs(run)
        run.pull_request.refresh_from_db()
        return run

    def evaluate(self, run: Any, verdict: str = "not_worse") -> Any:
        from django.utils import timezone

        from hub.community.checks import set_check
        from training.models import Evaluation

        for name in ("prepare", "train", "evaluate"):
            set_check(run.pull_request, name, state="passed", summary="Done.")
        return Evaluation.objects.create(
            pull_request=run.pull_request,
            repo=run.repo,
            suite_repo=self.suite,
            suite_name=self.suite.full_name,
            suite_commit=self.suite.head,
            model_digest=run.model_digest,
            parent_name=f"{self.base.full_name}@{self.base.head}",
            verdict=verdict,
            results=good_results(verdict),
            finished_at=timezone.now(),
        )

    def sample(self, run: Any, answers: list[dict[str, Any]] | None = None, **measured: Any) -> Any:
        """The answers of candidate and parent, announced as training does; returns the screening that follows. `measured`:
        likelihoods, guards."""
        from moderation.models import Screening
        from training.events import sampling_finished
        from training.models import Sampling

        sampling = Sampling.objects.create(
            pull_request=run.pull_request,
            repo=run.repo,
            model_digest=run.model_digest,
            parent_digest=f"{self.base.full_name}@{self.base.head}"[:80],
            prompts_digest="sha256:" + "0" * 64,
            answers=good_answers() if answers is None else answers,
            settings={"max_new_tokens": 48, "seed": 17, "temperature": 0, **measured},
        )
        sampling_finished.send(Sampling, sampling=sampling, run=run)
        return Screening.objects.get(report__sampling=sampling.pk)

    def merge(self, pull_request: Any, by: Any = None) -> Any:
        from hub.community.pull_requests import merge
        from hub.community.reviews import review

        pull_request.refresh_from_db()
        approver = self.owner if pull_request.discussion.author == self.helper else self.helper
        review(pull_request=pull_request, by=approver, verdict="approve", digest=pull_request.candidate_digest)
        merged = merge(pull_request=pull_request, by=by or self.owner)
        self.model.refresh_from_db()
        return merged

    def make_model(self, folder: Any, *, seed: int = 1, by: Any = None) -> Any:
        """The whole way from a recipe to merged weights; returns the run."""
        pull_request = self.propose(by, note=f"attempt {seed}")
        run = self.train(pull_request, folder / str(seed), seed=seed)
        self.evaluate(run)
        self.sample(run)
        self.merge(pull_request)
        run.refresh_from_db()
        return run


STAGES = ("workshop", "releasable", "proposed", "published")  # each goes on from the one before


def build_scene(stage: str, folder: Path) -> dict[str, Any]:
    """The people and the workshop as far as `stage`, by name; `folder` takes the weights."""
    from hub.repos.models import RepoCollaborator
    from moderation.releasing.releases import approve, propose_release
    from tests.people import make_person

    people = {name: make_person(name) for name in ("alice", "bob", "charlie")}
    workshop = Workshop.build(*(person.user for person in people.values()))
    made = {**people, "workshop": workshop}
    if stage in STAGES[1:]:
        made["dora"] = make_person("dora")
        RepoCollaborator.objects.create(repo=workshop.model, user=made["dora"].user, role="write")
        workshop.make_model(folder / "made")
    if stage in STAGES[2:]:
        made["release"] = propose_release(repo=workshop.model, by=workshop.owner, version="1.0.0")
    if stage in STAGES[3:]:
        approve(release=made["release"], by=made["bob"].user)
        made["release"] = approve(release=made["release"], by=made["dora"].user, digest=made["release"].digest)
    return made


def read_weights(repo: Any, revision: str, user: Any = None) -> bytes:
    who = reader(repo, user)
    commit = who.resolve(revision)
    return b"".join(who.read_entry(commit, who.entry(commit, "model.safetensors")))
