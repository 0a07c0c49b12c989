"""A guard model that the rules name judges the answers of a candidate, with the real engine; one that is not there to be asked
lets nothing through."""

from pathlib import Path
from typing import Any

import pytest

from hub.common.jobs import JobRefused
from hub.repos.clearance import set_clearance
from hub.repos.lifecycle import update_settings
from hub.repos.models import Content
from moderation.models import Screening
from moderation.releasing.recomputing import recompute_all
from moderation.screens.guard_quality import shipped_replies
from tests.moderation.test_policy_file import guarded
from tests.training.engine.tiny_guards import make_classifier
from tests.training.engine.tiny_served import make_tiny_folder
from tests.training.line import Line, checks_of, make_repo, push, run_waiting_jobs, summary_of
from training.evaluating.guard_models import ask, why_not_ask
from training.models import Sampling

LABELS = "[{label: safe, means: safe}, {label: unsafe, means: fraud}]"


class FreeLease:
    """Of a job that nobody takes away."""

    def check(self) -> None: ...

    def report(self, *_: Any, **__: Any) -> None: ...


def bring_guard(line: Line, folder: Path) -> Any:
    """Alice's public classifier of safe and unsafe."""
    make_classifier(folder)
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    repo = make_repo("model", "guard", line.alice, {**files, "README.md": b"---\nlicense: mit\n---\n# Guard\n"})
    repo.refresh_from_db()
    return repo


def describe(repo: Any, **changes: Any) -> dict[str, Any]:
    labels = [{"label": "safe", "means": "safe"}, {"label": "unsafe", "means": "unsafe"}]
    given = {"repository": repo.full_name, "revision": repo.head, "head": "classifier", "labels": labels}
    return {**given, "template": "{reply}", "chat": True, "threshold": 0.5, **changes}


@pytest.mark.slow
def test_a_guard_judges_both_models_and_its_errors_stand_beside(
    line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard = bring_guard(line, tmp_path / "guard")
    text = guarded(repository=guard.full_name, revision=guard.head, labels=LABELS, template='"{reply}"')
    monkeypatch.setattr("moderation.rules.policies.packaged_text", lambda: text)
    pull_request = line.propose(suite=False)
    run_waiting_jobs()
    assert checks_of(pull_request)["screen"] in ("passed", "held"), summary_of(pull_request, "screen")
    sampling, screening = Sampling.objects.get(), Screening.objects.get(subject="output")
    ids = {row["id"] for row in sampling.answers}
    (said,) = sampling.settings["guards"]
    assert set(said["harm"]) == set(said["parent_harm"]) == ids and set(said["kinds"].values()) <= {"fraud", "safe"}
    assert set(said["benchmark"]) == {row["id"] for row in shipped_replies()}
    (told,) = screening.report["guards"]
    assert told["judge"]["name"] == f"alice/guard@{guard.head[:12]}" and told["judge"]["positives"] == 48
    assert told["judged"]["overall"]["n"] == 480 and "difference" in told["judged"]["overall"]
    likelihoods = sampling.settings["likelihoods"]
    assert len(likelihoods) == 140 and all(len(row["parent_logprobs"]) == 2 for row in likelihoods)
    assert screening.report["bias"]["dimensions"]["overall"]["n"] == 140
    assert [found for name, found in recompute_all() if name.startswith("screening")] == [[]]


def test_the_benchmark_is_asked_once_a_revision(line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from training.evaluating import guard_models

    guard = describe(bring_guard(line, tmp_path / "guard"))
    asked: list[int] = []
    run_guard = guard_models.run_guard

    def count(lease: Any, guard: Any, rows: Any, folder: Path) -> Any:
        asked.append(len(rows))
        return run_guard(lease, guard, rows, folder)

    monkeypatch.setattr(guard_models, "run_guard", count)
    lease: Any = FreeLease()
    benchmark = [{"id": "x", "prompt": "p", "reply": "the storm sinks every boat"}]
    rows = [{"id": "1", "prompt": "p", "reply": "the boats lie in the harbour"}]
    first, known = ask(lease, guard, rows, benchmark)
    again, remembered = ask(lease, guard, rows, benchmark)
    assert asked == [2, 1] and first == again and known == remembered
    assert known["x"]["harm"] > 0.8 and first["1"]["harm"] < 0.2


def test_a_guard_that_is_gone_private_or_not_cleared_is_refused_with_a_sentence(line: Line, tmp_path: Path) -> None:
    repo = bring_guard(line, tmp_path / "guard")
    guard, lease = describe(repo), FreeLease()
    assert why_not_ask(guard) == ""
    assert "is not on this hub, or not public" in why_not_ask({**guard, "repository": "alice/none"})
    assert "cannot be asked" in why_not_ask({**guard, "revision": "a" * 40}) or "not on this hub" in why_not_ask(
        {**guard, "revision": "a" * 40}
    )
    assert "holds no weights" in why_not_ask(describe(bare(line)))
    update_settings(repo=repo, by=line.alice, is_private=True)
    assert "is not on this hub, or not public" in why_not_ask(guard)
    update_settings(repo=repo, by=line.alice, is_private=False)
    weights = Content.objects.filter(repo=repo, path="model.safetensors").select_related("repo")
    set_clearance(contents=weights, clearance=Content.Clearance.WITHHELD)
    problem = why_not_ask(guard)
    assert problem and "alice/guard@" in problem
    with pytest.raises(JobRefused, match="alice/guard@"):
        ask(lease, guard, [{"id": "1", "prompt": "p", "reply": "r"}], [])  # type: ignore[arg-type]


def bare(line: Line) -> Any:
    repo = make_repo("model", "bare", line.alice, {"README.md": b"---\nlicense: mit\n---\n# Bare\n"})
    repo.refresh_from_db()
    return repo


def test_a_guard_of_a_shape_that_nobody_knows_ends_the_job_with_its_sentence(line: Line, tmp_path: Path) -> None:
    repo = bring_guard(line, tmp_path / "guard")
    push(repo, line.alice, {"config.json": b'{"model_type": "guardian"}'})
    repo.refresh_from_db()
    lease: Any = FreeLease()
    with pytest.raises(JobRefused, match="is of type 'guardian'"):
        ask(lease, describe(repo), [{"id": "1", "prompt": "p", "reply": "r"}], [])


def test_a_writing_guard_is_asked_for_its_word(line: Line, tmp_path: Path) -> None:
    files = {path.name: path.read_bytes() for path in make_tiny_folder(tmp_path / "writer").iterdir()}
    repo = make_repo("model", "writer", line.alice, {**files, "README.md": b"---\nlicense: mit\n---\n# Writer\n"})
    repo.refresh_from_db()
    labels = [{"label": "unsafe", "means": "unsafe"}, {"label": "safe", "means": "safe"}]
    lease: Any = FreeLease()
    found, _ = ask(
        lease, describe(repo, head="generative", labels=labels, template="Is this safe? {reply}"),
        [{"id": "1", "prompt": "p", "reply": "the tide"}], [{"id": "b", "prompt": "p", "reply": "r"}],
    )  # fmt: skip
    assert 0 <= found["1"]["harm"] <= 1 and found["1"]["kind"] == "unsafe"
