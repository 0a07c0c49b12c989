"""Pages and REST of runs: what they say at each moment, to whom, and what one may press."""

from datetime import timedelta
from typing import Any

import pytest
from django.template.loader import render_to_string
from django.test import Client
from django.utils import timezone

from hub.common import jobs
from hub.common.models import Job
from hub.community.checks import set_check
from hub.community.models import PullRequest
from hub.repos.models import Repo
from tests.training.line import Line, checks_of, push, run_waiting_jobs
from training.models import Corpus, Evaluation, Run, Sampling
from training.running import overview, runs


def part(name: str, score: float, parent: float, verdict: str, **more: Any) -> dict[str, Any]:
    row = {"slice": name, "task": name, "metric": "accuracy", "n": 40, "score": score, "low": score - 0.1}
    row |= {"high": score + 0.1, "parent_score": parent, "parent_low": parent - 0.1, "parent_high": parent + 0.1}
    row |= {"difference": score - parent, "diff_low": score - parent - 0.05, "diff_high": score - parent + 0.05}
    return row | {"better": 3, "worse": 5, "ties": 32, "margin": 0.01, "verdict": verdict} | more


@pytest.fixture
def run(line: Line) -> Run:
    """A run in the middle of its training, as its worker left the rows."""
    line.propose()
    run_waiting_jobs(kinds=("training.rebuild",))
    run = Run.objects.get()
    lease = jobs.claim(str(run.prepare_job_id), now=timezone.now())
    assert lease is not None
    run.corpus = Corpus.objects.create(
        digest="sha256:" + "c" * 64, rows=22, tokens=900, dropped={"duplicate": 2}, manifest={"examples": {"duplicate": "train.jsonl row 3"}}
    )  # fmt: skip
    run.save()
    set_check(
        run.pull_request,
        "prepare",
        state="passed",
        summary="22 rows, 900 tokens; 2 rows dropped.",
        evidence={"run": run.pk},
    )
    jobs.finish(lease, Job.State.SUCCEEDED, "")
    from training.running.runs import prepared

    prepared(run)
    run.refresh_from_db()
    lease = jobs.claim(str(run.train_job_id), now=timezone.now())
    assert lease is not None
    lease.report("sandbox", network=False, own_user=True)
    for step, loss in ((1, 5.0), (2, 4.0), (3, 3.5)):
        lease.report(
            "metrics", step=step, steps=8, loss=loss, learning_rate=0.001, grad_norm=1.0, tokens_per_s=900, eta_s=12
        )
    lease.report("sample", step=0, prompt="When is tide 9?", text="noon of the unscreened")
    lease.note_progress(sentence="Step 3 of 8", done=3, total=8, eta_s=12)
    return run


def finish_judged(run: Run) -> None:
    """As evaluation and sampling leave it."""
    now = timezone.now()
    Run.objects.filter(pk=run.pk).update(state="succeeded", model_digest="sha256:" + "m" * 64, finished_at=now)
    overall = part("overall", 0.61, 0.58, "not_worse")
    results = {"slices": [part("harbour", 0.61, 0.66, "worse")], "overall": overall, "parent_digest": "sha256:p"}
    Evaluation.objects.create(
        pull_request=run.pull_request, repo=run.repo, suite_name="alice/core", suite_commit="a" * 40,
        model_digest="sha256:" + "m" * 64, results=results, verdict="worse", finished_at=now,
    )  # fmt: skip
    Sampling.objects.create(
        pull_request=run.pull_request, repo=run.repo, model_digest="sha256:" + "m" * 64, prompts_digest="sha256:q",
        answers=[{"id": "a", "hazard": "benign", "prompt": "Hello?", "text": "new words", "parent_text": "old words"}],
    )  # fmt: skip


def read(client: Client, address: str) -> str:
    answer = client.get(address)
    assert answer.status_code == 200, answer.content[:500]
    return answer.content.decode()


def test_a_run_says_what_happens_now_and_what_comes_next(run: Run, line: Line, client: Client) -> None:
    client.force_login(line.alice)
    page = read(client, f"/runs/{run.pk}")
    assert "Step 3 of 8" in page and "about 12 s left" in page and "then: evaluate" in page
    assert "loss 3.5" in page  # the curve is drawn by the server, labelled in place
    assert "22 rows with 900 tokens" in page and "The same as another row" in page and "train.jsonl row 3" in page
    assert "without a network, as a user of its own" in page
    assert "alice/tiny" in page and "brought by alice" in page
    assert "noon of the unscreened" in page and f'action="/runs/{run.pk}/cancel"' in page
    again = read(client, f"/runs/{run.pk}/state")
    digest = again.split('data-seen="')[1].split('"')[0]
    assert client.get(f"/runs/{run.pk}/state?seen={digest}").status_code == 204


def test_what_an_unscreened_model_says_is_not_for_strangers(run: Run, line: Line, client: Client, charlie: Any) -> None:
    client.force_login(charlie.user)
    page = read(client, f"/runs/{run.pk}")
    assert "Step 3 of 8" in page and "noon of the unscreened" not in page and "/cancel" not in page
    events = client.get(f"/live/jobs/{run.train_job_id}").json()["events"]
    assert {"metrics", "sandbox"} <= {event["kind"] for event in events}
    assert "sample" not in {event["kind"] for event in events}
    assert 'data-ticket=""' in page  # the listener streams everything, so it is not opened to them
    finish_judged(run)
    assert "new words" not in read(client, f"/runs/{run.pk}")
    set_check(run.pull_request, "screen", state="passed", summary="1 answer screened.")
    assert "new words" in read(client, f"/runs/{run.pk}")


def test_what_a_withheld_recipe_says_reaches_no_stranger_by_any_door(
    line: Line, client: Client, bob: Any, charlie: Any
) -> None:
    """The page of a run printed the recipe of its lock word for word, a secret in a comment included."""
    from hub.repos.models import Content
    from tests.people import make_person
    from tests.training.test_proposals import propose_by_commit

    dora = make_person("dora")
    secret = "AKIA" + "Q3EGRT7YH2KL9MNB"  # composed: this file itself shall hold nothing that looks like a key
    pull_request = propose_by_commit(line, charlie.user, line.recipe() + f"# {secret}\n")
    run_waiting_jobs(kinds=("training.rebuild",))
    run = Run.objects.get()
    Run.objects.update(state="failed", reason=f"It quotes {secret}.")
    jobs.note(run.prepare_job, "log", line=f"It quotes {secret}.")
    set_check(pull_request, "prepare", state="failed", summary=f"It quotes {secret}.")
    page = pull_request.discussion.path
    own = [f"/runs/{run.pk}", f"/runs/{run.pk}/state", f"/live/jobs/{run.prepare_job_id}", f"/api/v1/runs/{run.pk}"]
    own += [f"/api/v1/runs/{run.pk}/events"]
    rest = "/api/v1/repos/models/alice/tides/pulls/1"
    open_to_all = [page, "/alice/tides/runs", "/api/v1/runs", f"/live/pulls/{pull_request.discussion_id}"]
    open_to_all += ["/alice/tides/discussions", "/api/models/alice/tides/discussions/1?diff=1", rest, f"{rest}/live"]
    closed = [
        "/alice/tides/resolve/refs%2Fconvert%2Fcandidate_1/recipe.lock",
        "/alice/tides/resolve/refs%2Fpr%2F1/recipe.yaml",
    ]
    assert Content.objects.filter(path="recipe.yaml", clearance="withheld").exists()
    for person in (None, dora):
        client.logout()
        if person is not None:
            client.force_login(person.user)
        for address in [*own, *open_to_all, *closed]:
            answer = client.get(address)
            assert secret.encode() not in answer.getvalue(), address
            assert answer.status_code == (200 if address in open_to_all else 404), address
    for person in (charlie, bob):
        client.force_login(person.user)
        assert secret in read(client, f"/runs/{run.pk}") and secret in read(client, page)
        assert secret in read(client, "/api/v1/runs") and secret in read(client, f"/live/jobs/{run.prepare_job_id}")
    client.logout()
    Content.objects.filter(path__startswith="recipe").update(clearance="cleared")
    assert secret in read(client, f"/runs/{run.pk}")
    Repo.objects.filter(pk=line.target.pk).update(gated="manual")  # the recipe is one of the files behind the gate
    for address in [*own, *open_to_all]:
        answer = client.get(address)
        assert secret.encode() not in answer.getvalue(), address
        assert answer.status_code == (200 if address in open_to_all else 404), address


def test_runs_of_private_repositories_look_missing(run: Run, line: Line, client: Client, charlie: Any) -> None:
    Repo.objects.filter(pk=line.target.pk).update(is_private=True)
    client.force_login(charlie.user)
    for address in (f"/runs/{run.pk}", f"/runs/{run.pk}/state", f"/live/jobs/{run.train_job_id}", "/alice/tides/runs"):
        assert client.get(address).status_code == 404
    assert client.get(f"/api/v1/runs/{run.pk}").status_code == 404
    assert client.get(f"/api/v1/runs/{run.pk}/events").status_code == 404
    assert client.get("/api/v1/runs").json() == []
    assert client.get("/live/jobs/no-such-job").status_code == 404


def test_polling_gives_what_is_new(run: Run, line: Line, client: Client) -> None:
    client.force_login(line.alice)
    first = client.get(f"/live/jobs/{run.train_job_id}").json()
    assert (first["state"], first["ended"], first["progress"]["done"]) == ("running", False, 3)
    assert [e["data"]["step"] for e in first["events"] if e["kind"] == "metrics"] == [1, 2, 3]
    assert client.get(f"/live/jobs/{run.train_job_id}?after={first['after']}").json()["events"] == []


def test_the_proposal_shows_the_evidence(run: Run, line: Line, client: Client) -> None:
    client.force_login(line.alice)
    path = run.pull_request.discussion.path  # type: ignore[union-attr]
    page = read(client, path)
    assert f'<a href="/runs/{run.pk}">run {run.pk}</a>' in page and "loss 3.5" in page and "Step 3 of 8" in page
    assert f'action="/runs/{run.pk}/cancel"' in page
    finish_judged(run)
    page = read(client, path)
    assert "alice/core" in page and "+0.030" in page and "−0.050" in page and "0.510 to 0.710" in page
    assert "Worse" in page and "3 better, 5 worse, 32 alike" in page
    assert "new words" in page and "old words" in page
    assert "Plus means that the new model is better" in page and "is smoothed" in page
    assert "bits per byte alone" in page and "Seen in training is a share" not in page  # it was not measured


def test_a_run_that_is_over_asks_for_nothing(run: Run, line: Line, client: Client) -> None:
    Job.objects.update(state="succeeded", lease_until=None, finished_at=timezone.now())
    finish_judged(run)
    page = read(client, f"/runs/{run.pk}")
    assert 'data-job=""' in page and "Trained" in page


def test_maintainers_press_run_on_the_page(line: Line, client: Client, charlie: Any) -> None:
    line.propose(charlie.user)
    run_waiting_jobs(kinds=("training.rebuild",))
    run = Run.objects.get()
    Run.objects.update(state="held", reason="A maintainer looks at the proposal and presses 'run'.")
    path = run.pull_request.discussion.path  # type: ignore[union-attr]
    client.force_login(charlie.user)
    assert f'action="/runs/{run.pk}/run"' not in read(client, path)
    client.post(f"/runs/{run.pk}/run", {"next": path})
    assert Run.objects.get().state == "held"
    client.force_login(line.bob)
    assert f'action="/runs/{run.pk}/run"' in read(client, path)
    pressed = client.post(f"/runs/{run.pk}/run", {"next": path})
    assert pressed["Location"] == path and Run.objects.get().state == "training"
    assert client.post(f"/runs/{run.pk}/run", {"next": "//evil.example"})["Location"] == f"/runs/{run.pk}"


def test_a_failed_check_runs_again_from_the_page(line: Line, client: Client, charlie: Any) -> None:
    from tests.training.test_proposals import propose_by_commit

    pull_request = propose_by_commit(line, charlie.user, line.recipe(data="alice/late-data@main"))
    run_waiting_jobs(kinds=("training.rebuild",))
    assert checks_of(pull_request)["prepare"] == "failed"
    from tests.training.line import PAIRS, as_jsonl, make_repo

    make_repo("dataset", "late-data", line.alice, {"train.jsonl": as_jsonl(PAIRS)})
    client.force_login(charlie.user)
    address = f"{pull_request.discussion.path}/checks/prepare/rerun"
    assert f'action="{address}"' in read(client, pull_request.discussion.path)
    client.post(address)
    run_waiting_jobs(kinds=("training.rebuild",))
    assert checks_of(pull_request)["prepare"] == "running" and Run.objects.get().state == "preparing"
    client.post(f"{pull_request.discussion.path}/checks/evaluate/rerun")  # has not failed
    assert checks_of(pull_request)["evaluate"] == "waiting"


def test_lists_of_runs(run: Run, line: Line, client: Client, charlie: Any) -> None:
    assert "Learn the tides" in read(client, "/alice/tides/runs")
    assert "/alice/tides/runs" in read(client, "/alice/tides")
    assert client.get("/jobs").status_code == 302
    client.force_login(line.alice)
    mine = read(client, "/jobs")
    assert "Learn the tides" in mine and "All jobs that are not over" not in mine
    client.force_login(charlie.user)
    assert "You have no run yet" in read(client, "/jobs")
    charlie.user.is_staff = True
    charlie.user.save()
    assert "training.train" in read(client, "/jobs")


def test_queue_positions_count_what_is_before(line: Line, client: Client) -> None:
    line.propose()
    run_waiting_jobs(kinds=("training.rebuild",))
    client.force_login(line.alice)
    run = Run.objects.get()
    assert "It is next in the queue." in read(client, f"/runs/{run.pk}")
    Job.objects.create(
        kind="training.prepare", queue="cpu", state="waiting", created_at=run.created_at.replace(year=2020)
    )
    assert "1 before it in the queue." in read(client, f"/runs/{run.pk}")
    assert "Queued" in (page := read(client, f"/runs/{run.pk}")) and "Running" not in page
    assert "Queued" in read(client, run.pull_request.discussion.path)  # type: ignore[union-attr]


def test_a_queued_run_counts_those_ahead_and_stands_still(line: Line) -> None:
    """It showed its own time alone, "about 9 min left", while others were trained for hours."""
    line.propose()
    run_waiting_jobs(kinds=("training.rebuild",))
    job, now = Job.objects.get(kind="training.prepare"), timezone.now()
    station = overview.Station("prepare", "Prepare data", "running", "", job, 100.0)
    past = {"state": "succeeded", "created_at": now, "started_at": now - timedelta(seconds=30), "finished_at": now}
    Job.objects.create(kind="other", queue="cpu", **past)
    Job.objects.create(kind="other", queue="cpu", state="waiting", created_at=job.created_at - timedelta(days=1))
    Job.objects.create(
        kind="other",
        queue="cpu",
        state="running",
        created_at=now,
        started_at=now,
        lease_until=now,
        progress={"eta_s": 7},
    )
    Job.objects.create(
        kind="other",
        queue="gpu",
        state="running",
        created_at=now,
        started_at=now,
        lease_until=now,
        progress={"eta_s": 9999},
    )
    found = overview.describe_now([station])
    assert found is not None and found.is_queued and found.eta_s == 100 + 30 + 7
    page = render_to_string("training/progress.html", {"now": found})
    assert "done in about 2 min 17 s, those before it counted in" in page and "data-eta" not in page


def test_a_run_out_of_date_names_the_merge_that_made_it_so(run: Run, line: Line, client: Client) -> None:
    """It said "a newer push replaced it" of a proposal to which nobody had pushed."""
    runs.supersede(run.pull_request)  # type: ignore[arg-type]
    run.refresh_from_db()
    other = line.propose(line.bob)
    push(line.target, line.alice, {"notes.md": b"Merged.\n"})
    PullRequest.objects.filter(pk=other.pk).update(merged_at=timezone.now())
    assert overview.why_out_of_date(run) == f"main moved on: #{other.discussion.number} was merged"
    client.force_login(line.alice)
    assert f"Out of date: main moved on: #{other.discussion.number}" in read(client, f"/runs/{run.pk}")
    assert f"Main moved on: #{other.discussion.number}" in read(client, run.pull_request.discussion.path)  # type: ignore[union-attr]
    push(line.target, line.alice, {"notes.md": b"More.\n"}, revision=run.pull_request.ref)  # type: ignore[union-attr]
    run.refresh_from_db()
    assert overview.why_out_of_date(Run.objects.get(pk=run.pk)) == "a newer push replaced it"


def send(client: Client, person: Any, address: str, body: dict[str, Any] | None = None) -> Any:
    headers = {"Authorization": f"Bearer {person.token}"}
    return client.post(address, body or {}, content_type="application/json", headers=headers)


def test_rest_proposes_follows_and_cancels(line: Line, client: Client, alice: Any, charlie: Any) -> None:
    body = {"repo": "alice/tides", "recipe": line.recipe(), "title": "Learn the tides"}
    assert client.post("/api/v1/proposals", body, content_type="application/json").status_code == 401
    made = send(client, alice, "/api/v1/proposals", body)
    assert made.status_code == 201
    assert made.json()["ref"] == "refs/pr/1" and made.json()["url"] == PullRequest.objects.get().discussion.path
    run_waiting_jobs(kinds=("training.rebuild",))
    found = client.get("/api/v1/runs?repo=alice/tides&state=preparing&pull_request=1").json()
    assert [row["proposed_by"] for row in found] == ["alice"]
    pk = found[0]["id"]
    shown = client.get(f"/api/v1/runs/{pk}").json()
    assert [station["name"] for station in shown["stations"]] == ["prepare", "train", "evaluate", "screen"]
    assert shown["now"]["sentence"] == "It is next in the queue." and shown["corpus"] is None
    events = client.get(f"/api/v1/runs/{pk}/events").json()
    assert events["events"][0]["data"] == {"state": "waiting"} and not events["ended"]
    assert client.get(f"/api/v1/runs/{pk}/events?after={events['after']}").json()["events"] == []
    assert client.get(f"/api/v1/runs/{pk}/events?after=x").status_code == 400
    assert send(client, charlie, f"/api/v1/runs/{pk}/cancel").status_code == 403
    cancelled = send(client, alice, f"/api/v1/runs/{pk}/cancel")
    assert cancelled.status_code == 200 and cancelled.json()["state"] == "cancelled"
    assert send(client, alice, f"/api/v1/runs/{pk}/cancel").json()["error"].startswith("This run is cancelled")
    assert send(client, alice, f"/api/v1/runs/{pk}/rerun").json()["state"] == "preparing"
    assert client.get("/api/v1/runs?state=nonsense").status_code == 400


def test_rest_refuses_in_words(line: Line, client: Client, alice: Any) -> None:
    missing = send(client, alice, "/api/v1/proposals", {"repo": "alice/nothing", "recipe": "x", "title": "abc"})
    assert missing.status_code == 404 and missing.headers["X-Error-Code"] == "RepoNotFound"
    short = send(client, alice, "/api/v1/proposals", {"repo": "alice/tides", "recipe": "x"})
    assert short.status_code == 400 and short.json()["error"].startswith("title: ")


def test_the_rest_door_is_described(client: Client, db: None) -> None:
    schema = client.get("/api/schema?format=json").json()["paths"]
    for path in ("proposals", "runs", "runs/{id}", "runs/{id}/events", "playground"):
        assert any(known.startswith("/api/v1/") and known.replace("{pk}", "{id}").endswith(path) for known in schema), (
            path
        )


def test_a_run_that_prefers_draws_who_wins_and_judges_itself_beside_its_parent(
    run: Run, line: Line, client: Client
) -> None:
    client.force_login(line.alice)
    job = Job.objects.get(pk=run.train_job_id)
    assert "Pairs in which the better answer wins" not in read(client, f"/runs/{run.pk}")
    told = {"steps": 8, "learning_rate": 0.001, "grad_norm": 1.0, "tokens_per_s": 900, "eta_s": 9}
    jobs.note(job, "metrics", step=4, loss=0.6, reward_accuracy=0.75, reward_margin=0.125, **told)
    jobs.note(job, "progress", stage="train", step=4, held_out_loss=0.61, held_out_reward_accuracy=0.625, sentence="ok")
    page = read(client, f"/runs/{run.pk}")
    assert "Pairs in which the better answer wins" in page and "learnt from 0.75" in page and "kept aside 0.625" in page
    assert "Lead of the better answer" in page and "lead 0.125" in page
    share = {"value": 0.75, "low": 0.55, "high": 0.88}
    found = {
        "pairs": 24,
        "left_out": 1,
        "accuracy": share,
        "parent_accuracy": {"value": 0.5, "low": 0.31, "high": 0.69},
        "difference": {"value": 0.25, "low": 0.04, "high": 0.43},
    }
    Run.objects.filter(pk=run.pk).update(result={"preference": found})
    page = read(client, f"/runs/{run.pk}")
    assert "prefers the better answer more often than its parent" in page
    assert "0.750" in page and "0.550 to 0.880" in page and "+0.040 to +0.430" in page
    assert "1 pair kept aside was too long" in page
    Run.objects.filter(pk=run.pk).update(
        result={"preference": found | {"difference": {"value": 0.25, "low": -0.1, "high": 0.5}}}
    )
    assert "24 pairs are too few to tell" in read(client, f"/runs/{run.pk}")
