"""From a recipe to a release that a stranger downloads, with the real engine on a tiny random llama."""

from pathlib import Path
from typing import Any

import pytest

from hub.community.pull_requests import merge
from hub.community.reviews import review
from hub.repos.models import RepoCollaborator
from moderation import gate
from moderation.cases.queue import decide_case
from moderation.models import Case, Screening
from moderation.releasing import manifests, verify_release
from moderation.releasing.releases import approve, propose_release
from tests.moderation.scenes import reader
from tests.people import Person, make_person
from tests.training.line import Line, checks_of, make_tiny_llama, run_waiting_jobs

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]


@pytest.fixture
def line(alice: Person, bob: Person, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Line:
    monkeypatch.setenv("ENGINE_THREADS", "1")
    return Line.build(alice.user, bob.user, make_tiny_llama(tmp_path_factory.mktemp("llama")))


def test_a_trained_model_is_released_and_verifies_at_home(
    line: Line, dora: Person, mona: Person, charlie: Person, tmp_path: Path
) -> None:
    RepoCollaborator.objects.create(repo=line.target, user=dora.user, role="write")
    pull_request = line.propose()
    run_waiting_jobs()
    if checks_of(pull_request)["screen"] == "held":
        for person in (mona, make_person("nora", is_moderator=True)):
            decide_case(
                case=Case.objects.get(kind="output"), by=person.user, state="allowed", reason="It says nothing."
            )
    assert checks_of(pull_request) == dict.fromkeys(("prepare", "train", "evaluate", "screen"), "passed")
    pull_request.refresh_from_db()
    review(pull_request=pull_request, by=line.bob, verdict="approve", digest=pull_request.candidate_digest)
    merged = merge(pull_request=pull_request, by=line.alice)
    run_waiting_jobs()

    line.target.refresh_from_db()
    found = {item.name: item for item in gate.inspect(line.target, merged.commit)}
    # Four small steps change no choice of twelve: the interval of the difference stays within the suite's margin of 0.2.
    assert [item.sentence for item in found.values() if item.state == gate.FAILED] == []
    assert found["evaluation"].sentence == "Not worse than its parent on alice/core."
    assert (
        Screening.objects.get(subject="output").digest
        == manifests.build(line.target, merged.commit, "1.0.0", [])["model_digest"]
    )
    release = propose_release(repo=line.target, by=line.alice, version="1.0.0")
    for person in (dora, mona):
        release = approve(release=release, by=person.user)
    assert release.state == "published"

    stranger: Any = reader(line.target)
    commit = stranger.resolve("v1.0.0")
    for entry in stranger.tree(commit, recursive=True):
        if entry.type == "file":
            target = tmp_path / "model" / entry.path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(b"".join(stranger.read_entry(commit, entry)))
    (tmp_path / "manifest.json").write_bytes(manifests.canonical(release.manifest))
    (tmp_path / "signature.json").write_bytes(manifests.canonical(release.signature))
    assert verify_release.main([str(tmp_path / "manifest.json"), str(tmp_path / "model")]) == 0
