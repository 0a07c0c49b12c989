"""Two people improve one model at the same time: the second proposal is joined with the first, and trained as it is judged."""

from typing import Any

import pytest

from hub.community.models import PullRequest
from hub.community.pull_requests import merge, unmet_requirements
from hub.community.reviews import review
from hub.repos.places import pair
from tests.training.line import PAIRS, Line, as_jsonl, checks_of, make_repo, push, run_waiting_jobs, summary_of
from training.engine.lock import parse_lock
from training.engine.recipe import parse_recipe
from training.models import Run
from training.proposals.joins import RecipeMerger, refuse_mixing
from training.proposals.recipes import propose

TWO_STEPS = "{method: full, steps: 2, batch_tokens: 256, context_tokens: 128, learning_rate: 0.00001, seed: 3}"


def approve_and_merge(line: Line, pull_request: PullRequest) -> None:
    pull_request.refresh_from_db()
    review(pull_request=pull_request, by=line.bob, verdict="approve", digest=pull_request.candidate_digest)
    assert unmet_requirements(pull_request, line.alice) == []
    merge(pull_request=pull_request, by=line.alice)


def read_main(line: Line, path: str) -> str:
    members = pair(line.target).members
    return members.read(members.read_ref("refs/heads/main") or "", path).decode()


@pytest.mark.slow
def test_two_proposals_that_each_bring_data_are_trained_together(line: Line, charlie: Any) -> None:
    make_repo("dataset", "boats", line.alice, {"train.jsonl": as_jsonl(PAIRS[:8])})
    first = line.propose(train=TWO_STEPS)
    second = line.propose(charlie.user, data="alice/boats@main", train=TWO_STEPS)
    run_waiting_jobs()
    approve_and_merge(line, first)
    run_waiting_jobs()
    assert checks_of(second)["prepare"] == "passed", summary_of(second, "prepare")

    run = Run.objects.get(pull_request=second, is_superseded=False)
    judged = parse_recipe(pair(line.target).members.read(run.input_commit, "recipe.yaml").decode())
    told = [(row.repo.repo, row.pull_request) for row in judged.contributions]
    assert told == [("alice/tide-tables", first.discussion.number), ("alice/boats", second.discussion.number)]
    assert run.corpus is not None and run.corpus.rows == 24  # eight of the 32 rows are the same and are dropped
    from training.running.runs import start_run

    start_run(run=run, by=line.alice)  # a stranger's proposal
    run_waiting_jobs()
    approve_and_merge(line, second)
    assert parse_recipe(read_main(line, "recipe.yaml")) == judged
    assert parse_recipe(parse_lock(read_main(line, "recipe.lock")).recipe) == judged


def bring_recipe_unreleased(line: Line) -> None:
    """As after the first trained merge: main holds a recipe, strangers see what was there before."""
    from hub.repos.lifecycle import keep_for_release

    keep_for_release(line.target)
    push(line.target, line.alice, {"recipe.yaml": line.recipe(train=TWO_STEPS).encode()})
    line.target.refresh_from_db()
    assert line.target.shows == "releases" and line.target.head != line.target.public_head


def test_settings_that_clash_are_taken_over_by_one_press(line: Line, charlie: Any, client: Any) -> None:
    """Charlie sees nothing of main's weights before they are released; what the recipe says is no secret."""
    make_repo("dataset", "boats", line.alice, {"train.jsonl": as_jsonl(PAIRS[:8])})
    bring_recipe_unreleased(line)
    second = line.propose(charlie.user, data="alice/boats@main", train=TWO_STEPS.replace("steps: 2", "steps: 3"))
    run_waiting_jobs(kinds=("training.rebuild", "moderation"))
    assert "both change train.steps" in summary_of(second, "prepare")

    client.force_login(charlie.user)
    page = client.get(second.discussion.path).content.decode()
    assert "Take over the settings of main" in page
    answer = client.post(f"{second.discussion.path}/take-over")
    assert answer["Location"] == second.discussion.path
    run_waiting_jobs(kinds=("training.rebuild", "moderation"))
    second.refresh_from_db()
    assert second.conflict_paths == [] and checks_of(second)["prepare"] == "running"
    run = Run.objects.get(pull_request=second, is_superseded=False)
    judged = parse_recipe(pair(line.target).members.read(run.input_commit, "recipe.yaml").decode())
    assert [row.repo.repo for row in judged.contributions] == ["alice/tide-tables", "alice/boats"]
    assert judged.train is not None and judged.train.steps == 2


def test_a_preference_step_is_not_joined_with_the_step_before_it(line: Line) -> None:
    """It ended in a problem at a line of a joined file that nobody had seen."""
    push(line.target, line.alice, {"recipe.yaml": line.recipe(train=TWO_STEPS).encode()})
    ours = parse_recipe(line.recipe(train=TWO_STEPS))
    text = line.recipe(train="{method: full, objective: dpo, steps: 2}").replace("format: chat", "format: preference")
    assert "begins from this model" in (said := refuse_mixing("alice/tides", "main", ours, parse_recipe(text)))
    assert "base: alice/tides@main" in said and refuse_mixing("alice/tides", "main", ours, ours) == ""
    merger = RecipeMerger("alice/tides", "main")
    assert merger("recipe.yaml", None, line.recipe(train=TWO_STEPS).encode(), text.encode()) is None
    assert merger.problem == said


def test_nobody_else_takes_over_in_a_strangers_proposal(line: Line, charlie: Any, client: Any) -> None:
    from tests.people import make_person

    second = line.propose(charlie.user)
    client.force_login(make_person("dora").user)
    client.post(f"{second.discussion.path}/take-over")
    head = second.head
    second.refresh_from_db()
    assert second.head == head


def test_a_stranger_adds_to_what_the_unreleased_model_learns_from(line: Line, charlie: Any, client: Any) -> None:
    """The wizard took a model without a release for an empty one, and its recipe clashed with main's."""
    make_repo("dataset", "boats", line.alice, {"train.jsonl": as_jsonl(PAIRS[:8])})
    bring_recipe_unreleased(line)
    client.force_login(charlie.user)
    answer = client.post("/alice/tides/propose?step=send", {"goal": "chat", "data": "alice/boats", "title": "Boats"})
    second = PullRequest.objects.latest("pk")
    assert answer["Location"] == second.discussion.path
    run_waiting_jobs(kinds=("training.rebuild",))
    second.refresh_from_db()
    assert second.conflict_paths == [] and checks_of(second)["prepare"] == "running", summary_of(second, "prepare")


def test_a_hidden_recipe_that_names_private_data_is_no_start_for_a_stranger(line: Line, charlie: Any) -> None:
    from training.proposals.joins import recipe_of_target

    bring_recipe_unreleased(line)
    assert recipe_of_target(line.target, charlie.user) is not None
    line.data.is_private = True
    line.data.save()
    assert recipe_of_target(line.target, charlie.user) is None


def test_a_proposal_that_conflicts_elsewhere_names_the_file(line: Line) -> None:
    from hub.community.contributions import commit
    from hub.storage.git import AddFile

    operations = [AddFile("recipe.yaml", line.recipe().encode()), AddFile("notes.md", b"Mine.\n")]
    made = commit(
        repo=line.target, by=line.alice, revision=None, operations=operations, title="Both", create_pr=True, door="http"
    )
    assert made.pull_request is not None
    push(line.target, line.alice, {"notes.md": b"Yours.\n"})
    run_waiting_jobs()
    assert "conflicts with main in notes.md" in summary_of(made.pull_request, "prepare")


def test_a_recipe_is_read_where_it_is_judged(line: Line) -> None:
    """main changed the seed, the proposal the length: the run takes both, as the merge will have them."""
    push(line.target, line.alice, {"recipe.yaml": line.recipe(train=TWO_STEPS).encode()})
    text = line.recipe(train=TWO_STEPS.replace("steps: 2", "steps: 4"))
    made = propose(repo=line.target, by=line.alice, recipe_text=text, title="Longer", door="tests")
    assert made.pull_request is not None
    push(line.target, line.bob, {"recipe.yaml": line.recipe(train=TWO_STEPS.replace("seed: 3", "seed: 5")).encode()})
    run_waiting_jobs(kinds=("training.rebuild", "moderation"))
    run = Run.objects.get(pull_request=made.pull_request, is_superseded=False)
    train = parse_recipe(pair(line.target).members.read(run.input_commit, "recipe.yaml").decode()).train
    assert train is not None and (train.steps, train.seed) == (4, 5)
