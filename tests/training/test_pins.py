"""What a recipe may name, seen by everybody who had a hand in its pull request, and looked at again before work begins."""

from typing import Any

import pytest

from hub.community.contributions import commit
from hub.community.models import PullRequest
from hub.repos.clearance import set_clearance
from hub.repos.models import Content, RepoCollaborator
from hub.storage.git import AddFile
from tests.training.line import Line, checks_of, make_repo, run_waiting_jobs, summary_of
from training.models import Run
from training.proposals.recipes import RecipeRefused, propose

BEFORE_WORK = ("training.rebuild", "moderation")


def hide(repo: Any) -> None:
    repo.is_private = True
    repo.save()


def push_recipe(line: Line, pull_request: PullRequest, by: Any, text: str) -> None:
    operations = [AddFile("recipe.yaml", text.encode())]
    commit(repo=line.target, by=by, revision=pull_request.ref, operations=operations, title="Better", door="tests")


def test_nobody_trains_on_private_data_through_its_owners_pull_request(line: Line, charlie: Any) -> None:
    """Bob may write to the target, so also to Charlie's pull request. A recipe that he pushed there was read with
    Charlie's eyes: it could name Charlie's private data, and Bob then read it out of weights, samples and lock."""
    secret = make_repo(
        "dataset", "diary", charlie.user, {"data/train.jsonl": b'{"question": "Who?", "answer": "Me."}\n'}
    )
    hide(secret)
    pull_request = line.propose(charlie.user)
    push_recipe(line, pull_request, line.bob, line.recipe().replace("alice/tide-tables@main", "charlie/diary@main"))
    run_waiting_jobs(kinds=BEFORE_WORK)
    assert checks_of(pull_request)["prepare"] == "failed"
    assert "does not exist here or which" in summary_of(pull_request, "prepare")
    assert not Run.objects.filter(pull_request=pull_request, is_superseded=False).exists()


def test_its_owner_trains_on_private_data(line: Line, charlie: Any) -> None:
    secret = make_repo(
        "dataset", "diary", charlie.user, {"data/train.jsonl": b'{"question": "Who?", "answer": "Me."}\n'}
    )
    hide(secret)
    text = line.recipe().replace("alice/tide-tables@main", "charlie/diary@main")
    made = propose(repo=line.target, by=charlie.user, recipe_text=text, title="Mine", door="tests")
    run_waiting_jobs(kinds=BEFORE_WORK)
    assert checks_of(made.pull_request)["prepare"] == "running"


@pytest.mark.parametrize("change", ["private", "withdrawn", "deleted"])
def test_what_was_closed_after_pinning_is_not_trained_on(line: Line, charlie: Any, change: str) -> None:
    """A proposal may wait for days between its pins and its run."""
    pull_request = line.propose(charlie.user)
    run_waiting_jobs(kinds=BEFORE_WORK)
    assert Run.objects.get().state == Run.State.PREPARING
    if change == "private":
        hide(line.data)
    elif change == "withdrawn":
        contents = Content.objects.filter(repo=line.data, path__endswith=".jsonl").select_related("repo")
        set_clearance(contents=contents, clearance=Content.Clearance.WITHHELD, reason="It names people.")
    else:
        from hub.repos.lifecycle import delete_repo

        delete_repo(repo=line.data, by=line.alice)
    run_waiting_jobs(kinds=("training.prepare",))
    assert checks_of(pull_request)["prepare"] == "failed"
    assert Run.objects.get().state == Run.State.FAILED and Run.objects.get().corpus is None
    sentence = summary_of(pull_request, "prepare")
    assert ("is withheld" if change == "withdrawn" else "gone or not open to the proposal") in sentence


def test_what_others_push_is_not_run_at_the_authors_cost(line: Line, charlie: Any, settings: Any) -> None:
    settings.FREE_TRAIN_BUDGET_S = 10**6
    pull_request = line.propose(charlie.user)
    run_waiting_jobs(kinds=BEFORE_WORK)
    assert Run.objects.latest("pk").approved_by == charlie.user  # their own work, their own budget
    push_recipe(line, pull_request, line.bob, line.recipe() + "# and a dear change\n")
    run_waiting_jobs(kinds=BEFORE_WORK)
    assert Run.objects.latest("pk").approved_by is None


def test_a_second_file_that_waits_is_seen_behind_weights_that_wait(line: Line) -> None:
    """Only the first file that is not cleared was looked at: behind weights of the hub's own everything passed."""
    from hub.accounts.people import hub_account
    from hub.repos.places import pair
    from training.engine.recipe import RepoRef
    from training.proposals.recipes import pin_one

    commit_id = pair(line.base).members.resolve("main")
    weights = Content.objects.get(repo=line.base, path="model.safetensors", digest__startswith="sha256:")
    set_clearance(contents=[weights], clearance=Content.Clearance.PENDING)
    Content.objects.filter(pk=weights.pk).update(added_by=hub_account())
    RepoCollaborator.objects.create(repo=line.base, user=line.bob, role="read")
    reference = RepoRef("alice/tiny", commit_id)
    assert pin_one("model", reference, line.bob).commit == commit_id
    last = Content.objects.filter(repo=line.base, path="config.json").latest("pk")
    set_clearance(contents=[last], clearance=Content.Clearance.PENDING)
    with pytest.raises(RecipeRefused, match=last.path):
        pin_one("model", reference, line.bob)


def test_every_place_of_equal_files_is_credited(line: Line) -> None:
    """Of two places with the same bytes only one had a contributor."""
    from hub.repos.places import pair
    from training.proposals.recipes import contributors

    row = b'{"question": "Who?", "answer": "Me."}\n'
    twins = make_repo("dataset", "twins", line.alice, {"train.jsonl": row, "again/train.jsonl": row})
    members = pair(twins).members
    entries = [entry for entry in members.tree(members.resolve("main"), recursive=True) if entry.type == "file"]
    credited = contributors(twins, entries)
    for path in ("train.jsonl", "again/train.jsonl"):
        assert credited[path] == [{"contributor": "alice", "pull_request": None}]
