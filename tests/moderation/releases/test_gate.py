"""The release gate: each requirement that fails says so in a sentence, and nothing is proposed."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hub.common.errors import Conflict, Forbidden, InvalidInput
from hub.repos.models import Content
from moderation import gate
from moderation.models import Release, Screening
from moderation.releasing import manifests
from moderation.releasing.releases import propose_release
from tests.moderation.scenes import CARD, CONFIG, ROWS, SECRET, Workshop, bring, content_at, make_repo, weights
from training.models import Evaluation, Replay, Run

pytestmark = pytest.mark.django_db(transaction=True)


def state_of(workshop: Workshop) -> dict[str, str]:
    workshop.model.refresh_from_db()
    return {item.name: item.state for item in gate.inspect(workshop.model, workshop.model.head)}


def sentence_of(workshop: Workshop, name: str) -> str:
    workshop.model.refresh_from_db()
    return next(item.sentence for item in gate.inspect(workshop.model, workshop.model.head) if item.name == name)


def test_a_merged_evaluated_and_screened_model_meets_every_requirement(releasable: Workshop) -> None:
    passed = dict.fromkeys(("weights", "licence", "files", "data", "evaluation", "outputs"), "passed")
    assert state_of(releasable) == {**passed, "reproducibility": "warning"}  # nobody has made it again
    release = propose_release(repo=releasable.model, by=releasable.owner, version="v1.0.0", notes="The first.")
    assert (release.version, release.tag, release.state) == ("1.0.0", "v1.0.0", "proposed")
    assert release.manifest["files"]["model.safetensors"]["size"] == len(weights(1))
    names = {row["name"]: row["roles"] for row in release.manifest["contributors"]}
    assert names["charlie"] == ["brought data of charlie/tide-rows", "brought files", "proposed the recipe"]
    assert names["alice"] == ["brought files", "brought the suite alice/core"]
    pins = {(row["type"], row["repository"]) for row in release.manifest["inputs"]}
    assert pins == {("model", "alice/base"), ("dataset", "charlie/tide-rows"), ("dataset", "alice/core")}


@pytest.mark.parametrize(("outcome", "state"), [("equal", "passed"), ("close", "passed"), ("different", "warning")])
def test_the_gate_says_how_far_the_model_could_be_made_again(releasable: Workshop, outcome: str, state: str) -> None:
    assert "nobody has had it made again yet" in sentence_of(releasable, "reproducibility")
    Replay.objects.create(run=Run.objects.get(), state=outcome, sentence="All 1 tensors.")
    Replay.objects.create(run=Run.objects.get(), state="failed", sentence="The disk is full.")  # says nothing about it
    assert state_of(releasable)["reproducibility"] == state
    assert "All 1 tensors." in sentence_of(releasable, "reproducibility")


def remove(workshop: Workshop, path: str) -> None:
    from hub.community.contributions import commit
    from hub.storage.git import DeleteFile

    operations = [DeleteFile(path)]
    commit(repo=workshop.model, by=workshop.owner, revision=None, operations=operations, title="Remove", door="tests")


def remove_weights(workshop: Workshop) -> None:
    remove(workshop, "model.safetensors")


def change_config(workshop: Workshop) -> None:
    bring(workshop.model, workshop.owner, {"config.json": CONFIG.replace(b"llama", b"mamba")})


def bring_other_weights(workshop: Workshop) -> None:
    bring(workshop.model, workshop.owner, {"model.safetensors": weights(9)})


def add_chat_template(workshop: Workshop) -> None:
    bring(workshop.model, workshop.owner, {"chat_template.jinja": b"{{ messages }}"})


def drop_licence(workshop: Workshop) -> None:
    bring(workshop.model, workshop.owner, {"README.md": b"# Tides\n"})


def reserve_rights(workshop: Workshop) -> None:
    bring(workshop.model, workshop.owner, {"README.md": b"---\nlicense: proprietary\n---\n"})


def leak(workshop: Workshop) -> None:
    bring(workshop.model, workshop.owner, {"notes.txt": SECRET.encode()})


def forget_screens(workshop: Workshop) -> None:
    Content.objects.filter(repo=workshop.model, path="recipe.yaml").delete()


def withdraw_data(workshop: Workshop) -> None:
    from hub.repos.clearance import set_clearance

    set_clearance(contents=[content_at(workshop.data, "train.jsonl")], clearance="withheld", reason="Copied.")


def delete_data(workshop: Workshop) -> None:
    from hub.repos.lifecycle import delete_repo

    delete_repo(repo=workshop.data, by=workshop.teacher)


def be_worse(workshop: Workshop) -> None:
    Evaluation.objects.update(verdict="worse")


def be_too_few(workshop: Workshop) -> None:
    Evaluation.objects.update(results={"overall": {"verdict": "insufficient"}}, verdict="insufficient")


def be_lenient(workshop: Workshop) -> None:
    Evaluation.objects.update(margin=0.5)


def run_another_suite(workshop: Workshop) -> None:
    Evaluation.objects.update(suite_commit="f" * 40)


def lose_evaluation(workshop: Workshop) -> None:
    Evaluation.objects.all().delete()


def hold_outputs(workshop: Workshop) -> None:
    Screening.objects.filter(subject="output").update(state="held", summary="Two answers are bad.")


def lose_outputs(workshop: Workshop) -> None:
    Screening.objects.filter(subject="output").delete()


def rewrite_lock(workshop: Workshop, change: Callable[[dict[str, Any]], None]) -> None:
    """As if a door had let it through: a writer's own recipe.lock on main."""
    import json

    from hub.repos.commits import create_commit
    from hub.repos.places import pair
    from hub.storage.git import AddFile

    members = pair(workshop.model).members
    lock = json.loads(members.read_blob(members.entry(workshop.model.head, "recipe.lock").oid))
    change(lock)
    operations = [AddFile("recipe.lock", json.dumps(lock).encode())]
    create_commit(
        repo=workshop.model,
        by=workshop.helper,
        ref="refs/heads/main",
        operations=operations,
        title="Tidy",
        door="tests",
    )
    workshop.model.refresh_from_db()


def drop_data_from_lock(workshop: Workshop) -> None:
    def drop(lock: dict[str, Any]) -> None:
        lock["repositories"] = [pin for pin in lock["repositories"] if pin["id"] != workshop.data.full_name]

    rewrite_lock(workshop, drop)


def drop_withdrawn_data(workshop: Workshop) -> None:
    drop_data_from_lock(workshop)
    withdraw_data(workshop)


def lose_lock(workshop: Workshop) -> None:
    from training.models import Run

    Run.objects.update(result={})


@pytest.mark.parametrize(
    ("spoil", "name", "sentence"),
    [
        (remove_weights, "weights", "holds no safetensors weights"),
        (change_config, "weights", "config.json changed after pull request #1"),
        (bring_other_weights, "weights", "model.safetensors changed after pull request #1"),
        (add_chat_template, "weights", "chat_template.jinja changed after pull request #1"),
        (drop_data_from_lock, "weights", "recipe.lock changed after pull request #1"),
        (lose_lock, "weights", "recipe.lock is not what run"),
        (lose_lock, "data", "kept no lock"),
        (drop_withdrawn_data, "data", "train.jsonl of charlie/tide-rows is withheld"),
        (drop_licence, "licence", "names no licence"),
        (reserve_rights, "licence", "reserves all rights"),
        (leak, "files", "notes.txt is not cleared"),
        (forget_screens, "files", "recipe.yaml was never screened"),
        (withdraw_data, "data", "train.jsonl of charlie/tide-rows is withheld"),
        (delete_data, "data", "charlie/tide-rows was deleted"),
        (be_worse, "evaluation", "worse than its parent on alice/core"),
        (be_too_few, "evaluation", "too few items"),
        (be_lenient, "evaluation", "compared with a margin of 0.5, and 0.01 is allowed"),
        (run_another_suite, "evaluation", "No suite was run"),
        (lose_evaluation, "evaluation", "No suite was run"),
        (hold_outputs, "outputs", "Two answers are bad"),
        (lose_outputs, "outputs", "not screened yet"),
    ],
)
def test_a_failed_requirement_stops_the_release_with_its_sentence(
    releasable: Workshop, spoil: Callable[[Workshop], None], name: str, sentence: str
) -> None:
    spoil(releasable)
    assert state_of(releasable)[name] == gate.FAILED
    assert sentence in sentence_of(releasable, name)
    with pytest.raises(Conflict, match="cannot be released yet") as refusal:
        propose_release(repo=releasable.model, by=releasable.owner, version="1.0.0")
    assert any(sentence in reason for reason in refusal.value.extra["reasons"])  # type: ignore[union-attr]
    assert not Release.objects.exists()


@pytest.mark.parametrize("path", ["model.gguf", "pytorch_model.bin", "onnx/model.onnx", ".eval_results/mine.yaml"])
def test_what_came_after_the_merge_was_not_evaluated_and_is_not_released(releasable: Workshop, path: str) -> None:
    """The gate watched the files that this hub loads, so weights in another format were released unseen."""
    bring(releasable.model, releasable.helper, {path: b"GGUF" + bytes(range(256)) * 8})
    assert f"{path} changed after pull request #1" in sentence_of(releasable, "weights")


def test_a_name_for_words_hides_no_large_file(releasable: Workshop) -> None:
    """By git anything may be a large file, also what is called notes.md."""
    entries = gate.files_of(releasable.model, releasable.model.head)
    weights_entry = next(entry for entry in entries if entry.path == "model.safetensors")
    disguised = [*entries, replace(weights_entry, path="notes.md")]
    assert gate.watched(disguised).keys() - gate.watched(entries).keys() == {"notes.md"}


def test_weights_that_no_run_made_come_out_again_before_the_release(workshop: Workshop, tmp_path: Path) -> None:
    """They lay there before the merge, so no comparison with the merge shows them."""
    bring(workshop.model, workshop.owner, {"model.gguf": b"GGUF" + bytes(range(256))})
    workshop.make_model(tmp_path)
    assert "did not make model.gguf" in sentence_of(workshop, "weights")
    remove(workshop, "model.gguf")
    assert state_of(workshop)["weights"] == gate.PASSED


def test_who_takes_their_name_out_of_the_lock_still_has_a_stake(releasable: Workshop) -> None:
    """The lock in the repository was believed: a contributor could drop their entry there and approve their own data."""

    def forget_people(lock: dict[str, Any]) -> None:
        for pin in lock["repositories"]:
            pin["contributors"] = {}

    rewrite_lock(releasable, forget_people)
    people = manifests.contributors(releasable.model, releasable.model.head)
    roles = {row["name"]: row["roles"] for row in people}
    assert "brought data of charlie/tide-rows" in roles["charlie"]


def test_a_model_made_from_this_one_remembers_its_data_whatever_the_lock_says(
    releasable: Workshop, tmp_path: Path
) -> None:
    from hub.repos.models import RepoCollaborator

    drop_data_from_lock(releasable)
    child = make_repo("model", "child", releasable.owner, {"README.md": CARD})
    RepoCollaborator.objects.create(repo=child, user=releasable.helper, role="write")
    other = make_repo("dataset", "other-rows", releasable.owner, {"README.md": CARD, "train.jsonl": ROWS})
    next_one = replace(releasable, base=releasable.model, data=other, model=child)
    next_one.make_model(tmp_path / "child", seed=2, by=releasable.owner)
    roles = {row["name"]: row["roles"] for row in manifests.contributors(child, child.head)}
    assert roles["charlie"] == ["brought data of charlie/tide-rows"]


def test_a_mended_card_is_no_other_model(releasable: Workshop) -> None:
    words = {"README.md": b"---\nlicense: mit\n---\n# Better words\n", "LICENSE": b"MIT\n", "docs/use.md": b"# Use\n"}
    bring(releasable.model, releasable.owner, words)
    assert state_of(releasable) == {**dict.fromkeys(state_of(releasable), "passed"), "reproducibility": "warning"}


def test_data_without_a_licence_is_a_warning_that_the_manifest_keeps(workshop: Workshop, tmp_path: Path) -> None:
    bring(workshop.data, workshop.teacher, {"README.md": b"# Rows\n"})
    workshop.make_model(tmp_path)
    assert state_of(workshop)["data"] == gate.WARNING
    release = propose_release(repo=workshop.model, by=workshop.owner, version="1.0.0")
    stated = next(row for row in release.manifest["gate"] if row["name"] == "data")
    assert "charlie/tide-rows names no licence" in stated["sentence"]


def test_the_gate_looks_at_the_run_that_was_merged_last(workshop: Workshop, tmp_path: Path) -> None:
    """Of two runs the one that finished first is merged last: main holds its weights."""
    from datetime import timedelta

    from training.models import Run

    first = workshop.make_model(tmp_path, seed=1, by=workshop.owner)
    second = workshop.make_model(tmp_path, seed=2, by=workshop.owner)
    Run.objects.filter(pk=second.pk).update(finished_at=first.finished_at - timedelta(hours=1))
    assert gate.find_run(workshop.model, workshop.model.head) == second
    assert gate.find_run(workshop.model, first.pull_request.merge_commit) == first
    assert state_of(workshop) == {**dict.fromkeys(state_of(workshop), "passed"), "reproducibility": "warning"}


def test_weights_that_no_run_made_are_not_released(alice: Any, bob: Any) -> None:
    repo = make_repo("model", "brought", alice.user, {"config.json": CONFIG, "model.safetensors": weights()})
    with pytest.raises(Conflict, match="Its outputs were not screened here"):
        propose_release(repo=repo, by=alice.user, version="1.0.0")


@pytest.mark.parametrize("version", ["1.0", "one", "", "1.0.0/../x", "01.0.0", "v", "1.0.0 beta"])
def test_a_version_is_three_numbers(releasable: Workshop, version: str) -> None:
    with pytest.raises(InvalidInput, match="no semantic version"):
        propose_release(repo=releasable.model, by=releasable.owner, version=version)


def test_who_may_not_write_proposes_no_release(releasable: Workshop) -> None:
    with pytest.raises(Forbidden):
        propose_release(repo=releasable.model, by=releasable.teacher, version="1.0.0")


def test_only_commits_of_main_are_released(releasable: Workshop) -> None:
    candidate = releasable.propose(releasable.owner, note="another").candidate
    for commit, sentence in [(candidate, "merge it first"), ("f" * 40, "no commit"), ("main", "no commit")]:
        with pytest.raises(InvalidInput, match=sentence):
            propose_release(repo=releasable.model, by=releasable.owner, version="1.0.0", commit=commit)


def test_a_taken_version_is_refused(releasable: Workshop) -> None:
    propose_release(repo=releasable.model, by=releasable.owner, version="1.0.0")
    with pytest.raises(Conflict, match="exists already"):
        propose_release(repo=releasable.model, by=releasable.helper, version="1.0.0")


def test_data_and_private_models_are_not_released(workshop: Workshop) -> None:
    with pytest.raises(InvalidInput, match="releases are made of models"):
        propose_release(repo=workshop.data, by=workshop.teacher, version="1.0.0")
    hidden = make_repo("model", "hidden", workshop.owner, is_private=True)
    with pytest.raises(InvalidInput, match="make it public"):
        propose_release(repo=hidden, by=workshop.owner, version="1.0.0")
