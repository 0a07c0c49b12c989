"""Runs side by side, done again, searched, and what they cost: by page and by REST."""

from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from hub.common import jobs
from hub.common.models import Job, JobEvent
from hub.community.models import PullRequest
from hub.repos.models import Repo
from tests.training.line import Line, run_waiting_jobs
from tests.training.stand_in import prepared_run
from training.models import LedgerEntry, Run
from training.tasks import run_folder


def read(client: Client, address: str) -> str:
    answer = client.get(address)
    assert answer.status_code == 200, answer.content[:500]
    return answer.content.decode()


@pytest.fixture
def two(line: Line) -> tuple[Run, Run]:
    """One that trains, and one with twice the steps whose inputs are pinned."""
    first = prepared_run(line)
    lease = jobs.claim(str(first.train_job_id), now=timezone.now())
    assert lease is not None
    for step, loss in ((1, 5.0), (2, 4.0)):
        lease.report("metrics", step=step, steps=4, loss=loss, learning_rate=0.001, grad_norm=1.0, tokens_per_s=900)
    lease.report("progress", stage="train", step=2, held_out_loss=4.5, sentence="Loss on rows kept aside: 4.500")
    lease.report("warning", code="smaller_passes", message="It goes on with 2 instead of 4 rows at once.")
    train = "{method: full, steps: 8, batch_tokens: 256, context_tokens: 128, learning_rate: 0.00001, seed: 3}"
    line.propose(train=train, suite=False)
    run_waiting_jobs(kinds=("training.rebuild",))
    return first, Run.objects.latest("pk")


def test_runs_side_by_side_show_curves_results_and_what_differs(two: tuple[Run, Run], client: Client) -> None:
    first, second = two
    Run.objects.filter(pk=second.pk).update(
        result={"steps": 8, "tokens": 2048, "final_loss": 2.25, "curve": {"loss": [[1, 5.0], [8, 2.25]], "held_out": [], "last": {}}}
    )  # fmt: skip
    address = f"compare?run={first.pk}&run={second.pk}"
    page = read(client, f"/runs/{address}")
    assert f"run {first.pk}: 4" in page and f"run {second.pk}: 2.25" in page  # both lines, labelled in place
    assert "<code>train.steps</code>" in page and "train.seed" not in page and "2,048" in page
    found = client.get(f"/api/v1/runs/{address}").json()
    assert found["runs"] == [first.pk, second.pk]
    assert found["settings"] == [{"name": "train.steps", "values": [4, 8]}]
    assert {"name": "Loss, mean of the last 10 steps", "values": [None, 2.25]} in found["results"]
    assert [curve["points"] for curve in found["curves"]] == [[[1, 5.0], [2, 4.0]], [[1, 5.0], [8, 2.25]]]
    assert found["held_out"] == [{"name": f"run {first.pk}", "points": [[2, 4.5]]}]


def test_what_is_compared_is_chosen_in_the_list_and_on_the_page_of_a_run(two: tuple[Run, Run], client: Client) -> None:
    first, second = two
    listed = read(client, "/alice/tides/runs")
    assert f'name="run" value="{first.pk}" form="compare"' in listed and 'action="/runs/compare"' in listed
    assert f"/runs/compare?run={first.pk}&amp;run={second.pk}" in read(client, f"/runs/{second.pk}")
    assert "/runs/compare" not in read(client, f"/runs/{first.pk}")  # there is none before


@pytest.mark.parametrize("query", ["", "run=1", "run=x&run=2", "run=1&run=2&run=3&run=4&run=5", "run=1&run=1"])
def test_fewer_than_two_and_more_than_four_are_refused(db: None, client: Client, query: str) -> None:
    assert client.get(f"/runs/compare?{query}").status_code == 400
    answer = client.get(f"/api/v1/runs/compare?{query}")
    assert answer.status_code == 400 and "two to 4 runs" in answer.json()["error"]


def test_runs_of_private_repositories_are_not_compared_searched_or_done_again_by_strangers(
    two: tuple[Run, Run], line: Line, client: Client, charlie: Any
) -> None:
    first, second = two
    Repo.objects.filter(pk=line.target.pk).update(is_private=True)
    client.force_login(charlie.user)
    headers = {"Authorization": f"Bearer {charlie.token}"}
    own = [f"/runs/compare?run={first.pk}&run={second.pk}", f"/runs/{first.pk}/log", f"/api/v1/runs/{first.pk}/log"]
    for address in [*own, f"/api/v1/runs/compare?run={first.pk}&run={second.pk}"]:
        assert client.get(address).status_code == 404, address
    assert client.post(f"/api/v1/runs/{first.pk}/clone", headers=headers).status_code == 404
    Repo.objects.filter(pk=line.target.pk).update(is_private=False)
    Repo.objects.filter(pk=line.base.pk).update(is_private=True)  # may be looked at, but not proposed
    assert client.post(f"/api/v1/runs/{first.pk}/clone", headers=headers).status_code == 400


def test_a_run_is_proposed_again_as_it_was_or_changed_first(
    two: tuple[Run, Run], line: Line, client: Client, alice: Any
) -> None:
    first, second = two
    assert client.post(f"/api/v1/runs/{first.pk}/clone").status_code == 401
    made = client.post(f"/api/v1/runs/{second.pk}/clone", headers={"Authorization": f"Bearer {alice.token}"})
    assert made.status_code == 201 and made.json()["number"] == 3
    pull_request = PullRequest.objects.latest("pk")
    assert pull_request.discussion.title == f"Do run {second.pk} again"
    run_waiting_jobs(kinds=("training.rebuild",))
    again = Run.objects.latest("pk")
    assert again.pk != second.pk  # a run of its own
    same = client.get(f"/api/v1/runs/compare?run={second.pk}&run={again.pk}").json()
    assert same["settings"] == []
    client.force_login(line.alice)
    assert f"/alice/tides/propose/recipe?run={first.pk}" in read(client, f"/runs/{first.pk}")
    editor = read(client, f"/alice/tides/propose/recipe?run={first.pk}")
    assert "steps: 4" in editor and "alice/tide-tables" in editor
    assert client.get("/alice/tides/propose/recipe?run=999999999").status_code == 404


def test_the_record_is_searched(two: tuple[Run, Run], client: Client) -> None:
    first, _ = two
    assert "Loss on rows kept aside: 4.500" in read(client, f"/runs/{first.pk}/log")
    found = read(client, f"/runs/{first.pk}/log?q=KEPT+train")
    assert "Loss on rows kept aside" in found and "1 line with these words" in found and "goes on with 2" not in found
    assert "No line holds these words." in read(client, f"/runs/{first.pk}/log?q=nowhere")
    lines = client.get(f"/api/v1/runs/{first.pk}/log?q=rows+at+once").json()
    assert [(line["job"], line["text"]) for line in lines] == [
        ("train", "It goes on with 2 instead of 4 rows at once.")
    ]


def test_a_long_record_is_read_page_by_page(
    two: tuple[Run, Run], client: Client, monkeypatch: pytest.MonkeyPatch, django_assert_max_num_queries: Any
) -> None:
    """A search read up to 20,000 rows for each page that it showed."""
    first, _ = two
    for job in (first.prepare_job, first.train_job):  # two jobs report in turns
        assert job is not None
        rows = [JobEvent(job=job, kind="log", data={"line": f"line {i:03}"}, at=timezone.now()) for i in range(300)]
        JobEvent.objects.bulk_create(rows)
    monkeypatch.setattr("training.api.MAX_LINES", 100)
    monkeypatch.setattr("training.pages.runs.LINES_PER_PAGE", 100)
    monkeypatch.setattr("training.running.records.MAX_SEARCHED", 400)
    whole: list[dict[str, Any]] = []
    address = f"/api/v1/runs/{first.pk}/log"
    while address:
        answer = client.get(address)
        whole, address = answer.json() + whole, answer.headers.get("Link", "").partition("<")[2].partition(">")[0]
    assert [line["id"] for line in whole] == sorted(set(line["id"] for line in whole))
    assert (
        len(whole)
        == JobEvent.objects.filter(job__in=(first.prepare_job, first.train_job)).exclude(kind="metrics").count()
    )
    with django_assert_max_num_queries(30):  # of which the pieces of the record are 6
        page = read(client, f"/runs/{first.pk}/log?q=prepare+line+000")
    assert "goes on further back" in page and "No line holds" not in page  # the oldest job ended long ago
    older = unescape(page.partition('rel="next" href="')[2].partition('"')[0])
    assert "line 000" in read(client, f"/runs/{first.pk}/log{older}")
    assert client.get(f"/api/v1/runs/{first.pk}/log?before=x").status_code == 400
    assert client.get(f"/runs/{first.pk}/log?before={'9' * 40}").status_code == 200


def test_a_run_shows_its_warnings_saved_steps_and_bill(two: tuple[Run, Run], line: Line, client: Client) -> None:
    first, _ = two
    step = run_folder(first) / "out" / "checkpoints" / "step-2"
    step.mkdir(parents=True)
    (step / "weights.safetensors").write_bytes(b"x" * 2000)
    LedgerEntry.objects.create(user=line.alice, job=first.train_job, kind="settled", seconds=38)
    LedgerEntry.objects.create(user=line.alice, job=first.train_job, kind="refunded", seconds=0)
    page = read(client, f"/runs/{first.pk}")
    assert page.count("It goes on with 2 instead of 4 rows at once.") == 2  # said on top, and in the record
    assert "To go on from" in page and "2 kB" in page
    assert "38 s to alice" in page and "1 attempt free" in page
    shown = client.get(f"/api/v1/runs/{first.pk}").json()
    assert (shown["checkpoints"][0]["step"], shown["checkpoints"][0]["size_bytes"]) == (2, 2000)
    assert shown["bill"] == {"seconds": 38.0, "payers": ["alice"], "refunds": 1} and len(shown["warnings"]) == 1


def test_a_silent_worker_is_not_called_running(two: tuple[Run, Run], client: Client) -> None:
    first, _ = two
    Job.objects.filter(pk=first.train_job_id).update(lease_until=timezone.now() - timedelta(seconds=1))
    assert "has not been heard of for a while" in read(client, f"/runs/{first.pk}")


def test_what_a_loss_and_a_time_count_is_said() -> None:
    """ "Final loss 3.013" stood beside a curve that ended at 2.497."""
    from training.tasks import describe_training

    assert (
        describe_training({"steps": 1200, "final_loss": 3.0131}) == "1,200 steps, mean loss of the last 10 steps 3.013."
    )
    assert describe_training({"steps": 4, "final_loss": 2.0}) == "4 steps, mean loss of the last 4 steps 2.000."
    assert describe_training({"steps": 1, "final_loss": 2.0}) == "1 steps, loss 2.000."
