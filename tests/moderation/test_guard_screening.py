"""Guard models of this hub among the judges: what they say is weighed with their own errors, and nothing passes unasked."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from hub.common.models import Job
from moderation.models import Case, Screening
from moderation.releasing.recomputing import recompute_all
from moderation.rules.policy_file import parse_policy
from moderation.screens.guard_quality import list_labels
from tests.hub.scenes import propose
from tests.moderation.reading import Browser, words
from tests.moderation.scenes import Workshop, good_answers
from tests.moderation.test_policy_changes import check_of as policy_check
from tests.moderation.test_policy_changes import rules  # noqa: F401
from tests.moderation.test_policy_file import guarded
from tests.people import Person
from training.events import candidate_trained, sampling_finished
from training.models import Run, Sampling

pytestmark = pytest.mark.django_db(transaction=True)
POLICY = guarded()
(GUARD,) = [asdict(guard) for guard in parse_policy(POLICY).answers.guards]
NAME = "alice/guard@aaaaaaaaaaaa"


@pytest.fixture
def run(workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Charlie's proposal with weights, on a hub whose rules name a guard model."""
    monkeypatch.setattr("moderation.rules.policies.packaged_text", lambda: POLICY)
    return workshop.train(workshop.propose(), tmp_path / "model")


def say(harmful: float, before: float = 0.02, *, is_blind: bool = False) -> list[dict[str, Any]]:
    """A guard that finds this share of the candidate's answers harmful, and that of the parent's; of the benchmark it gets
    five of six right, or, blind, calls everything harmful."""
    ids = [row["id"] for row in good_answers()]
    wrong = {id for at, id in enumerate(list_labels()) if at % 12 < 2}
    known = {id: 0.9 if is_blind or label != (id in wrong) else 0.1 for id, label in list_labels().items()}

    def spread(share: float) -> dict[str, float]:
        return {id: 0.9 if (at * 37) % len(ids) < share * len(ids) else 0.1 for at, id in enumerate(ids)}

    kinds = dict.fromkeys(ids, "fraud")
    told = {"guard": GUARD, "harm": spread(harmful), "kinds": kinds, "parent_harm": spread(before), "benchmark": known}
    return [told]


def problems() -> list[str]:
    return [problem for _, found in recompute_all() for problem in found]


def test_a_candidate_is_sampled_with_the_guards_of_the_rules(run: Run) -> None:
    candidate_trained.send(Run, run=run, pull_request=run.pull_request)
    payload = Job.objects.get(kind="training.sample").payload
    assert [row["repository"] for row in payload["guards"]] == ["alice/guard"]
    assert len(payload["benchmark"]) == 96 and "label" not in payload["benchmark"][0] and len(payload["texts"]) == 140


def test_what_a_guard_finds_worse_is_held_and_its_errors_stand_beside(
    run: Run, workshop: Workshop, browser_of: Browser, mona: Person
) -> None:
    screening = workshop.sample(run, guards=say(0.2))
    assert (screening.state, screening.report["verdict"]) == ("held", "fail")
    assert f"worse than the parent in harmful requests by the word of {NAME}" in screening.summary
    told = screening.report["guards"][0]
    assert [told["judge"][name] for name in ("found", "positives", "cleared", "negatives")] == [40, 48, 40, 48]
    assert (
        told["judged"]["overall"]["corrected"]["rate"] < told["judged"]["overall"]["rate"]
        and told["kinds"]["fraud"] > 50
    )
    browser = browser_of(None)
    browser.force_login(workshop.helper)
    text = words(browser.get(f"{run.repo.path}/discussions/{run.pull_request.discussion.number}"))
    assert NAME in text and "What it saw: fraud in" in text
    assert f"or the guard model {NAME}, from 50% on" in words(browser.get("/policy"))
    case = Case.objects.get()
    browser.force_login(mona.user)
    told = browser.get(f"/api/v1/moderation/cases/{case.pk}").json()["guards"][0]
    assert told["judge"]["name"] == NAME and told["judged"]["overall"]["verdict"] == "fail" and problems() == []
    rows = Sampling.objects.filter(pk=screening.report["sampling"])
    settings = rows.get().settings
    rows.update(settings={**settings, "guards": say(0.02)})
    assert "what the guard models said gives another comparison" in problems()


def test_a_guard_that_finds_nothing_worse_holds_nothing(run: Run, workshop: Workshop) -> None:
    screening = workshop.sample(run, guards=say(0.02))
    assert (screening.state, screening.report["verdict"]) == ("passed", "pass") and problems() == []


def test_the_signed_manifest_names_it_with_its_errors(releasable: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    from moderation.releasing.releases import propose_release

    monkeypatch.setattr("moderation.rules.policies.packaged_text", lambda: POLICY)
    releasable.sample(Run.objects.get(), guards=say(0.02))
    release = propose_release(repo=releasable.model, by=releasable.owner, version="1.0.0")
    [outputs] = [row for row in release.manifest["gate"] if row["name"] == "outputs"]
    [told] = outputs["evidence"]["guards"]
    assert (told["name"], told["version"], told["verdict"]) == (NAME, "a" * 40, "pass")
    assert (told["found"], told["positives"]) == (40, 48) and told["corrected"]["high"] < 0.1
    assert release.manifest["policy"]["values"]["answers"]["judges"][2]["revision"] == "a" * 40


def test_a_guard_no_better_than_chance_is_no_pass(run: Run, workshop: Workshop) -> None:
    screening = workshop.sample(run, guards=say(0.02, is_blind=True))
    assert (screening.state, screening.report["verdict"]) == ("held", "insufficient")
    assert screening.report["guards"][0]["judged"]["overall"]["corrected"] is None


def test_without_a_parent_its_errors_are_counted_before_it_holds(run: Run, workshop: Workshop) -> None:
    alone = [{**row, "parent_text": None} for row in good_answers()]
    said = [{**row, "parent_harm": {}} for row in say(0.1)]
    assert workshop.sample(run, alone, guards=said).state == "passed"
    said = [{**row, "parent_harm": {}} for row in say(0.5)]
    screening = workshop.sample(run, alone, guards=said)
    assert (
        screening.state == "held"
        and f"too many violations in harmful requests by the word of {NAME}" in screening.summary
    )


def test_answers_that_no_guard_was_asked_about_have_no_verdict(run: Run, workshop: Workshop) -> None:
    """The rules changed while the answers were made."""
    sampling = Sampling.objects.create(
        pull_request=run.pull_request, repo=run.repo, model_digest=run.model_digest, prompts_digest="sha256:0",
        answers=good_answers(), settings={"max_new_tokens": 48},
    )  # fmt: skip
    sampling_finished.send(Sampling, sampling=sampling, run=run)
    check = run.pull_request.checks.get(name="screen")
    assert check.state == "failed" and f"name the guard model {NAME} by now, which was not asked" in check.summary
    assert not Screening.objects.filter(subject="output").exists()


def test_rules_that_name_a_guard_which_is_not_here_are_not_merged(rules: Any, mona: Person) -> None:  # noqa: F811
    from hub.community.pull_requests import unmet_requirements

    pull_request = propose(rules, mona.user, {"policy.yaml": POLICY})
    assert policy_check(pull_request).state == "passed"
    assert any(
        f"The guard model {NAME} is not on this hub" in reason for reason in unmet_requirements(pull_request, mona.user)
    )
