"""What happens to a proposal before anything is trained: refusals in words, who may spend, newer pushes."""

import ast
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from hub.common import jobs
from hub.common.errors import Conflict, Forbidden
from hub.common.models import Job
from hub.community.candidates import target_head
from hub.community.contributions import commit
from hub.community.models import PullRequest
from hub.community.pull_requests import unmet_requirements
from hub.storage.git import AddFile, DeleteFile
from tests.people import make_person
from tests.training.line import Line, as_jsonl, checks_of, make_repo, push, run_waiting_jobs, summary_of
from training.models import Corpus, Run
from training.pages.begin import in_words
from training.proposals.recipes import RecipeRefused, pin, propose, read_recipe
from training.running import runs
from training.running.budgets import TRAIN_BUDGET_S

CHECKOUT = Path(__file__).resolve().parents[2]


def propose_by_commit(line: Line, by: Any, text: bytes | str) -> PullRequest:
    """As the stock client does it: a commit that opens a pull request."""
    operations = [AddFile("recipe.yaml", text if isinstance(text, bytes) else text.encode())]
    made = commit(
        repo=line.target, by=by, revision=None, operations=operations, title="A recipe", create_pr=True, door="http"
    )
    assert made.pull_request is not None
    return made.pull_request


def prepare_problem(pull_request: PullRequest) -> str:
    run_waiting_jobs()
    assert checks_of(pull_request)["prepare"] == "failed"
    assert not Run.objects.filter(pull_request=pull_request, is_superseded=False).exists()
    return summary_of(pull_request, "prepare")


def test_a_recipe_with_a_typo_fails_prepare_with_line_and_column(line: Line) -> None:
    pull_request = propose_by_commit(line, line.alice, line.recipe().replace("contributions:", "contribution:"))
    sentence = "recipe.yaml:3:1: unknown key 'contribution'"
    assert sentence in prepare_problem(pull_request)
    told = line.alice.notifications.filter(path=pull_request.discussion.path)
    assert ["failed 'prepare':" in row.text and sentence in row.text for row in told] == [True]
    assert checks_of(pull_request)["train"] == "waiting"
    assert any("prepare" in reason for reason in unmet_requirements(pull_request, line.alice))


def test_checks_behind_one_that_was_cancelled_wait_for_no_turn(line: Line) -> None:
    """They still said that their turn comes."""
    pull_request = line.propose()
    run_waiting_jobs(kinds=("training.rebuild",))
    run = Run.objects.get(is_superseded=False)
    assert "Its turn comes" in summary_of(pull_request, "train")
    runs.cancel_run(run=run, by=line.alice)
    for name in ("train", "evaluate", "screen"):
        assert summary_of(pull_request, name) == "It cannot start before 'prepare' passes."


def test_sizes_are_said_in_words() -> None:
    assert [in_words(size) for size in ("10m", "1b")] == ["10 million", "1 billion"]


def test_a_recipe_that_cannot_be_read_is_edited_and_not_run_again(line: Line) -> None:
    """ "Run again" found the same each time."""
    pull_request = propose_by_commit(line, line.alice, "version: 1\n")
    prepare_problem(pull_request)
    edit = f"{line.target.path}/edit/{pull_request.ref}/recipe.yaml"
    pages = {}
    for person in (line.alice, make_person("erna").user):
        browser = Client()
        browser.force_login(person)
        pages[person] = browser.get(pull_request.discussion.path).content.decode()
        assert "Run again" not in pages[person]
        assert (browser.get(edit).status_code == 200) is (f'href="{edit}"' in pages[person]) is (person == line.alice)
    browser.force_login(line.alice)
    head = PullRequest.objects.get(pk=pull_request.pk).head
    given = {"path": "recipe.yaml", "content": line.recipe(), "parent": head, "goes_to": "branch"}
    assert browser.post(edit, given).headers["Location"] == pull_request.discussion.path
    run_waiting_jobs(kinds=("training.rebuild", "moderation"))
    assert checks_of(pull_request)["prepare"] == "running"


def test_mending_the_recipe_starts_a_run(line: Line) -> None:
    pull_request = propose_by_commit(line, line.alice, "version: 1\n")
    prepare_problem(pull_request)
    operations = [AddFile("recipe.yaml", line.recipe().encode())]
    commit(
        repo=line.target, by=line.alice, revision=pull_request.ref, operations=operations, title="Mend it", door="http"
    )
    run_waiting_jobs(kinds=("training.rebuild", "moderation"))
    assert checks_of(pull_request)["prepare"] == "running"
    assert Run.objects.get().state == Run.State.PREPARING


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (
            "alice/tide-tables@main",
            "alice/no-such-data@main",
            "names the dataset alice/no-such-data@main, which does not",
        ),
        ("alice/tide-tables@main", "alice/tide-tables@v9", "There is no revision 'v9' in alice/tide-tables"),
        ("alice/tiny@main", "alice/tides@main", "names the model alice/tides@main, which holds no config.json"),
    ],
)
def test_what_a_recipe_names_must_be_there(line: Line, old: str, new: str, sentence: str) -> None:
    text = line.recipe().replace(old, new)
    with pytest.raises(RecipeRefused, match="recipe.yaml names") as refused:
        propose(repo=line.target, by=line.alice, recipe_text=text, title="Learn", door="tests")
    assert sentence in str(refused.value)
    assert not PullRequest.objects.exists()  # nothing is stored by the doors that can refuse
    assert prepare_problem(propose_by_commit(line, line.alice, text)) == str(refused.value)


def test_all_names_that_are_not_there_are_told_at_once_with_the_revisions_that_are(line: Line) -> None:
    text = line.recipe(data="alice/nothing@main").replace("alice/tiny@main", "alice/tiny@v9")
    with pytest.raises(RecipeRefused) as refused:
        pin(read_recipe(text), line.alice)
    assert "alice/tiny@v9" in refused.value.message and "There are main." in refused.value.message
    assert "alice/nothing@main" in refused.value.message


def test_a_private_dataset_looks_missing_to_a_stranger(line: Line, charlie: Any) -> None:
    line.data.is_private = True
    line.data.save()
    with pytest.raises(RecipeRefused, match="does not exist here or which you may not read"):
        line.propose(charlie.user)
    assert line.propose(line.alice) is not None


def test_a_recipe_that_is_no_text_is_refused_in_words(line: Line) -> None:
    pull_request = propose_by_commit(line, line.alice, "version: 1\n# côté\n".encode("latin-1"))
    assert "recipe.yaml" in prepare_problem(pull_request) and "UTF-8" in summary_of(pull_request, "prepare")


def test_a_dataset_without_usable_rows_fails_prepare_with_the_reason(line: Line) -> None:
    make_repo("dataset", "silence", line.alice, {"train.jsonl": as_jsonl([{"question": "What?", "answer": " "}] * 3)})
    pull_request = line.propose(data="alice/silence@main")
    run_waiting_jobs()
    assert checks_of(pull_request)["prepare"] == "failed"
    sentence = summary_of(pull_request, "prepare")
    assert "alice/silence has no usable rows: all 3 were left out" in sentence and "empty_answer" in sentence
    run = Run.objects.get()
    assert (run.state, run.reason) == (Run.State.FAILED, sentence)
    assert Job.objects.get(kind="training.prepare").attempt == 1  # bad input is not tried again


def test_a_strangers_proposal_waits_for_a_maintainer(line: Line, charlie: Any) -> None:
    pull_request = line.propose(charlie.user)
    run_waiting_jobs()
    assert (checks_of(pull_request)["prepare"], checks_of(pull_request)["train"]) == ("passed", "waiting")
    assert "24 rows" in summary_of(pull_request, "prepare")
    run = Run.objects.get()
    assert run.state == Run.State.HELD and not Job.objects.filter(kind="training.train").exists()
    with pytest.raises(Forbidden):
        runs.start_run(run=run, by=charlie.user)
    runs.start_run(run=run, by=line.bob)
    run.refresh_from_db()
    assert (run.state, run.approved_by) == (Run.State.TRAINING, line.bob)
    job = Job.objects.get(kind="training.train")
    assert (job.state, job.charged_to) == ("waiting", line.bob)

    # A new push is another candidate: the maintainer's "run" was not given for it.
    again = line.recipe().replace("steps: 4", "steps: 5")
    operations = [AddFile("recipe.yaml", again.encode())]
    commit(
        repo=line.target, by=charlie.user, revision=pull_request.ref, operations=operations, title="More", door="http"
    )
    run_waiting_jobs(kinds=("training.rebuild",))
    run.refresh_from_db()
    job.refresh_from_db()
    assert run.is_superseded and run.state == Run.State.CANCELLED and job.state == "cancelled"
    newest = Run.objects.latest("pk")
    assert newest.approved_by is None and newest.state == Run.State.PREPARING
    assert checks_of(pull_request)["train"] == "waiting"


def test_a_stranger_within_the_free_budget_needs_nobody(line: Line, charlie: Any, settings: Any) -> None:
    settings.FREE_TRAIN_BUDGET_S = 60
    line.propose(charlie.user)
    run_waiting_jobs(kinds=("training.rebuild",))
    assert Run.objects.get().approved_by == charlie.user


def propose_twice(line: Line, by: Any) -> tuple[Run, Run]:
    """Two proposals that differ in their seed, as far as their data is prepared next."""
    for seed in (3, 4):
        train = (
            f"{{method: full, steps: 4, batch_tokens: 256, context_tokens: 128, learning_rate: 0.00001, seed: {seed}}}"
        )
        line.propose(by, train=train)
    run_waiting_jobs(kinds=("training.rebuild",))
    first, second = Run.objects.order_by("pk")
    return first, second


def finish_preparing(*waiting: Run) -> None:
    """As a worker does, one after the other."""
    for run in waiting:
        with jobs.claim(str(run.prepare_job_id), now=timezone.now()).hold():
            Run.objects.filter(pk=run.pk).update(corpus=Corpus.objects.get_or_create(digest=f"sha256:{run.pk}")[0])
            runs.prepared(run)
        run.refresh_from_db()


def test_free_training_that_runs_is_counted_before_it_is_charged(line: Line, charlie: Any, settings: Any) -> None:
    """Any number of proposals started for nothing, for as long as none of them had ended."""
    settings.FREE_TRAIN_BUDGET_S = 3600
    first, second = propose_twice(line, charlie.user)
    assert first.approved_by == second.approved_by == charlie.user  # nothing is reserved while data is prepared
    finish_preparing(first, second)
    job = first.train_job
    assert (first.state, second.state, job.budget_s) == (Run.State.TRAINING, Run.State.HELD, 3600)
    assert second.approved_by is None and "free training time" in summary_of(second.pull_request, "train")
    run_waiting_jobs(kinds=("training.start_held",))
    jobs.finish(jobs.claim(str(job.pk), now=timezone.now()), Job.State.FAILED, "It broke after a moment.")
    run_waiting_jobs(kinds=("training.start_held",))
    second.refresh_from_db()
    assert second.state == Run.State.TRAINING and 3500 < second.train_job.budget_s < 3600


def cancel_and_rerun(*, run: Run, by: Any) -> None:
    """The way around the bound that a reviewer found."""
    runs.cancel_run(run=run, by=by)
    runs.rerun(run=run, by=by)


def test_nobody_fills_the_queue_for_everybody(line: Line, settings: Any) -> None:
    """Whoever proposes in a repository of their own has a budget there: four proposals were four trainings of six hours."""
    settings.TRAININGS_AT_ONCE = 1
    first, second = propose_twice(line, line.alice)
    finish_preparing(first, second)
    assert (first.state, second.state) == (Run.State.TRAINING, Run.State.HELD)
    assert "1 training of alice already under way" in summary_of(second.pull_request, "train")
    Job.objects.filter(pk=second.prepare_job_id).update(state=Job.State.SUCCEEDED)
    for start_anyway in (runs.start_run, cancel_and_rerun):
        with pytest.raises(Conflict, match="when one has ended"):
            start_anyway(run=second, by=line.alice)
    Run.objects.filter(pk=second.pk).update(state=Run.State.HELD)
    jobs.finish(jobs.claim(str(first.train_job.pk), now=timezone.now()), Job.State.FAILED, "It broke after a moment.")
    run_waiting_jobs(kinds=("training.start_held",))
    second.refresh_from_db()
    assert second.state == Run.State.TRAINING and second.approved_by == line.alice


def test_who_starts_a_run_again_pays_for_it(line: Line, charlie: Any, settings: Any) -> None:
    settings.FREE_TRAIN_BUDGET_S = 3600
    line.propose(charlie.user)
    run_waiting_jobs(kinds=("training.rebuild",))
    run = Run.objects.get()
    Run.objects.update(state=Run.State.FAILED, corpus=Corpus.objects.create(digest="sha256:1"))
    Job.objects.filter(pk=run.prepare_job_id).update(state=Job.State.FAILED)
    runs.rerun(run=run, by=line.bob)
    run.refresh_from_db()
    assert (run.approved_by, run.train_job.charged_to, run.train_job.budget_s) == (
        line.bob,
        line.bob,
        TRAIN_BUDGET_S,
    )


def test_closing_a_proposal_stops_its_run(line: Line) -> None:
    from hub.community.discussions import set_status

    pull_request = line.propose()
    run_waiting_jobs(kinds=("training.rebuild",))
    set_status(discussion=pull_request.discussion, by=line.alice, status="closed")
    run = Run.objects.get()
    assert run.is_superseded and run.state == Run.State.CANCELLED
    assert run_waiting_jobs(kinds=("training",)) == []


def test_a_push_that_takes_the_recipe_back_leaves_nothing_to_train(line: Line) -> None:
    pull_request = line.propose()
    run_waiting_jobs(kinds=("training.rebuild",))
    operations = [DeleteFile("recipe.yaml"), AddFile("notes.md", b"later\n")]
    commit(
        repo=line.target, by=line.alice, revision=pull_request.ref, operations=operations, title="Not now", door="http"
    )
    pull_request.refresh_from_db()
    assert not pull_request.is_trained and "prepare" not in checks_of(pull_request)
    assert Run.objects.get().is_superseded


def test_a_moved_target_keeps_the_run_that_is_at_work(line: Line) -> None:
    pull_request = line.propose()
    run_waiting_jobs(kinds=("training.rebuild",))
    before = PullRequest.objects.get(pk=pull_request.pk)
    push(line.target, line.alice, {"notes.md": b"The harbour is closed on Sundays.\n"})
    run_waiting_jobs(kinds=("training.rebuild",))
    after = PullRequest.objects.get(pk=pull_request.pk)
    assert after.candidate != before.candidate and after.candidate_target != before.candidate_target
    assert Run.objects.get().input_commit == after.candidate
    assert Job.objects.filter(kind="training.prepare").count() == 1


def test_only_model_repositories_take_recipes(line: Line) -> None:
    from hub.common.errors import InvalidInput

    with pytest.raises(InvalidInput, match="a recipe belongs into a model repository"):
        propose(repo=line.data, by=line.alice, recipe_text=line.recipe(), title="Learn", door="tests")


def test_every_job_that_is_queued_has_a_body() -> None:
    """Celery takes a task's name for granted: a typo would wait in the queue for ever."""
    queued: dict[str, str] = {}
    for room in ("hub", "training", "moderation"):
        for path in (CHECKOUT / room).rglob("*.py"):
            if path.parent == CHECKOUT / "hub" / "common" / "jobs":
                continue  # they queue the kinds of `bodies` themselves
            tree = ast.parse(path.read_text())
            for node in ast.walk(tree):
                if isinstance(node, ast.Call) and name_of(node.func) == "enqueue" and node.args:
                    queued[value_of(node.args[0], tree)] = f"{path}:{node.lineno}"
    assert {"training.rebuild", "training.prepare", "training.train", "training.evaluate"} <= queued.keys()
    assert {kind: place for kind, place in queued.items() if kind not in jobs.bodies} == {}


def name_of(function: ast.expr) -> str:
    """The last part of a dotted name."""
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def value_of(kind: ast.expr, tree: ast.Module) -> str:
    """A text, or the constant of its module that stands for one."""
    if isinstance(kind, ast.Name):
        values = [
            line.value for line in tree.body if isinstance(line, ast.Assign) and name_of(line.targets[0]) == kind.id
        ]
        kind = values[0] if values else kind
    assert isinstance(kind, ast.Constant), f"line {kind.lineno} queues a name that is computed"
    return str(kind.value)


def break_building(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("training.proposals.candidates.merge_into_candidate", fail)


def rebuild_to_the_end() -> None:
    """The last of its attempts, which are minutes apart."""
    Job.objects.filter(kind="training.rebuild", state=Job.State.WAITING).update(attempt=4, not_before=None)
    run_waiting_jobs(kinds=("training.rebuild",))


def test_a_candidate_that_cannot_be_built_says_why_and_is_built_when_that_is_mended(line: Line) -> None:
    with pytest.MonkeyPatch.context() as broken:
        break_building(broken)
        pull_request = line.propose()
        rebuild_to_the_end()
    assert checks_of(pull_request)["prepare"] == "failed"
    assert "The disk of this hub is full" in summary_of(pull_request, "prepare")
    jobs.enqueue("training.rebuild_forgotten")
    run_waiting_jobs(kinds=("training.rebuild",))
    assert checks_of(pull_request)["prepare"] == "running" and Run.objects.get().state == Run.State.PREPARING
    jobs.enqueue("training.rebuild_forgotten")
    assert run_waiting_jobs(kinds=("training.rebuild",)) == ["training.rebuild_forgotten"]


def test_a_moved_target_is_followed_after_a_failure_of_the_hub(line: Line) -> None:
    """Without it the merge box would say for ever that the candidate is being built again."""
    pull_request = line.propose()
    run_waiting_jobs(kinds=("training.rebuild",))
    with pytest.MonkeyPatch.context() as broken:
        break_building(broken)
        push(line.target, line.bob, {"notes.md": b"Boats sleep here.\n"})
        rebuild_to_the_end()
    assert checks_of(pull_request)["prepare"] == "running"  # the run goes on
    jobs.enqueue("training.rebuild_forgotten")
    run_waiting_jobs(kinds=("training.rebuild",))
    pull_request.refresh_from_db()
    assert pull_request.candidate_target == target_head(pull_request)
    assert Run.objects.count() == 1


def test_a_hub_that_moved_to_another_address_does_not_train_again(line: Line, settings: Any) -> None:
    settings.PUBLIC_URL = "http://127.0.0.1:8000"
    pull_request = line.propose()
    run_waiting_jobs(kinds=("training.rebuild",))
    settings.PUBLIC_URL = "http://127.0.0.1:8001"
    push(line.target, line.bob, {"notes.md": b"Boats sleep here.\n"})
    run_waiting_jobs(kinds=("training.rebuild", "moderation"))
    pull_request.refresh_from_db()
    assert pull_request.candidate_target == target_head(pull_request) and Run.objects.count() == 1
