"""What a candidate prefers of a stereotype and its counterpart: in the report, on its page, in the signed manifest, and again
from what is stored."""

import json
from pathlib import Path
from typing import Any

import pytest

from moderation.models import Case, Release, Screening
from moderation.releasing.recomputing import recompute_all
from moderation.rules.policy_file import parse_policy
from tests.guards import lifted
from tests.moderation.reading import Browser, words
from tests.moderation.scenes import Workshop
from tests.moderation.screens.test_bias import scored
from tests.moderation.test_policy_changes import nora, put_in_force, rules  # noqa: F401
from tests.moderation.test_policy_file import PACKAGED, changed
from tests.people import Person
from training.models import Run, Sampling

pytestmark = pytest.mark.django_db(transaction=True)
GENDER = set(range(20))  # numbers of the pairs about gender
HALF = set(range(0, 140, 2))


@pytest.fixture
def run(workshop: Workshop, tmp_path: Path) -> Run:
    return workshop.train(workshop.propose(), tmp_path / "model")


def problems() -> list[str]:
    return [problem for _, found in recompute_all() for problem in found]


def test_worse_is_noted_with_numbers_and_holds_nothing(run: Run, workshop: Workshop, browser_of: Browser) -> None:
    screening = workshop.sample(run, likelihoods=scored(HALF | GENDER, HALF - GENDER))
    assert screening.state == Screening.State.PASSED and not Case.objects.exists()
    assert "It prefers stereotypes more often than its parent (gender)." in screening.summary
    assert screening.report["bias"]["dimensions"]["gender"]["verdict"] == "fail"
    page = browser_of(None)
    page.force_login(workshop.helper)
    text = words(page.get(f"{run.repo.path}/discussions/{run.pull_request.discussion.number}"))
    assert "Stereotypes about" in text and "Gender 20 100" in text and "All pairs 140" in text
    assert "The nurse hung up her coat" in text and "moderation.screens.bias model.jsonl parent.jsonl" in text


def test_a_policy_may_hold_it_for_two_moderators(
    run: Run, workshop: Workshop, rules: Any, mona: Person, nora: Person, browser_of: Browser  # noqa: F811
) -> None:  # fmt: skip
    put_in_force(rules, mona, nora, changed(bias="{worse: hold, margin: 0.1}"))
    screening = workshop.sample(run, likelihoods=scored(HALF | GENDER, HALF - GENDER))
    assert (screening.state, screening.report["verdict"]) == ("held", "fail")
    assert "worse than the parent in stereotypes about gender" in screening.summary
    case = Case.objects.get(kind="output")
    assert "Stereotypes about" in words(browser_of(mona).get(f"/moderation/cases/{case.pk}"))
    assert browser_of(mona).get(f"/api/v1/moderation/cases/{case.pk}").json()["bias"]["verdict"] == "fail"
    assert "hold it for a moderator; “not worse” means that 10% more" in words(browser_of(None).get("/policy"))
    assert problems() == []


def test_as_its_parent_is_not_worse(run: Run, workshop: Workshop) -> None:
    screening = workshop.sample(run, likelihoods=scored(HALF, HALF))
    assert screening.report["bias"]["verdict"] == "pass" and "stereotypes" not in screening.summary


def test_the_same_comes_out_of_what_is_stored_and_a_change_shows(run: Run, workshop: Workshop) -> None:
    before = workshop.sample(run)  # as screenings from before stereotypes were measured
    screening = workshop.sample(run, likelihoods=scored(HALF, HALF))
    assert "bias" not in before.report and problems() == []
    settings = Sampling.objects.get(pk=screening.report["sampling"]).settings
    rows = Sampling.objects.filter(pk=screening.report["sampling"])
    rows.update(settings={**settings, "likelihoods": scored(HALF | GENDER, HALF)})
    assert problems() == ["what is stored of stereotypes is not what its likelihoods say"]
    rows.update(settings={name: value for name, value in settings.items() if name != "likelihoods"})
    assert problems() == ["its likelihoods are gone"]


def test_a_report_of_another_version_keeps_its_verdict(run: Run, workshop: Workshop) -> None:
    screening = workshop.sample(run, likelihoods=scored(HALF, HALF))
    told = json.loads(json.dumps(screening.report["bias"]))
    told["dimensions"]["age"]["verdict"] = "by other rules"
    reports = Screening.objects.filter(pk=screening.pk)
    reports.update(report={**screening.report, "bias": {**told, "version": 0}})
    assert problems() == []
    told["dimensions"]["age"]["violations"] = 3
    reports.update(report={**screening.report, "bias": {**told, "version": 0}})
    assert problems() == ["age: other counts are stored than its answers give"]


def test_the_signed_manifest_tells_it(releasable: Workshop, mona: Person) -> None:
    from moderation.releasing.releases import propose_release

    run = Run.objects.get()
    releasable.sample(run, likelihoods=scored(HALF, HALF))
    release = propose_release(repo=releasable.model, by=releasable.owner, version="1.0.0")
    [outputs] = [row for row in release.manifest["gate"] if row["name"] == "outputs"]
    told = outputs["evidence"]["bias"]
    assert (told["version"], told["verdict"], told["dimensions"]["overall"]["rate"]) == (1, "pass", 0.5)
    assert told["dimensions"]["gender"]["p_holm"] == 1.0


def test_a_manifest_from_before_still_tells_its_policy(published: Release) -> None:
    """Its values name no rule for stereotypes, since there was none; the file that it names is read as noting them."""
    manifest = json.loads(json.dumps(published.manifest))
    policy = parse_policy(PACKAGED)
    del manifest["policy"]["values"]["answers"]["bias"]
    assert policy.is_told_by(manifest["policy"]["values"])
    manifest["policy"]["values"]["answers"]["margin"] = 0.2
    assert not policy.is_told_by(manifest["policy"]["values"])
    strict = parse_policy(changed(bias="{worse: hold, margin: 0.1}"))
    assert not strict.is_told_by({**json.loads(json.dumps(strict.values())), "answers": {}})
    with lifted():
        Release.objects.filter(pk=published.pk).update(manifest=manifest)
    assert any("another policy than the one" in problem for problem in problems())
