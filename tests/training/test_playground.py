"""The playground: who may ask what, and an answer that comes token by token from a model that stays warm."""

import os
import signal
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from hub.common import jobs
from hub.common.errors import Conflict, Forbidden, InvalidInput, NotFound
from hub.common.models import Job, JobEvent
from tests.guards import show_release
from tests.training.line import Line, run_waiting_jobs
from training.workers import conversations, warm_models
from training.workers.conversations import ask, choose_revision, list_askable, read_answer


@pytest.fixture(autouse=True)
def cold() -> Any:
    """No model stays open after a test."""
    yield
    warm_models.close_warm()


def release(line: Line, tag: str = "v1.0.0") -> None:
    show_release(line.base, tag)


def test_strangers_ask_releases_and_members_any_revision(line: Line, charlie: Any) -> None:
    assert list_askable(line.base, charlie.user) == []
    with pytest.raises(Forbidden, match="Only releases"):
        ask(repo=line.base, by=charlie.user, question="Hello?")
    assert [row.name for row in list_askable(line.base, line.alice)] == ["main"]
    release(line)
    assert choose_revision(line.base, charlie.user, "").name == "v1.0.0"
    with pytest.raises(Forbidden):
        choose_revision(line.base, charlie.user, "main")
    assert [row.name for row in list_askable(line.base, line.alice)] == ["v1.0.0", "main"]
    with pytest.raises(NotFound, match="holds no model"):
        choose_revision(line.target, line.alice, "")


@pytest.mark.parametrize(
    ("question", "options", "sentence"),
    [
        (" ", {}, "Write a question first."),
        ("x" * 8001, {}, "8,000 is the most"),
        ("Hi", {"temperature": "hot"}, "temperature is 'hot'"),
        ("Hi", {"max_new_tokens": 100000}, "choose a number from 1 to 1024"),
    ],
)
def test_refusals_come_before_a_job(line: Line, question: str, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidInput, match=sentence):
        ask(repo=line.base, by=line.alice, question=question, options=options)
    assert not Job.objects.filter(kind="training.chat").exists()


def test_one_person_does_not_fill_the_queue(line: Line) -> None:
    for _ in range(conversations.MAX_WAITING):
        ask(repo=line.base, by=line.alice, question="Hello?")
    with pytest.raises(Conflict, match="wait for them"):
        ask(repo=line.base, by=line.alice, question="Hello?")


def test_answers_stream_and_the_model_stays_warm(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversations, "SAY_EVERY_S", 0)
    options = {"max_new_tokens": 12, "temperature": 0}
    said: dict[str, list[str]] = {}
    report = jobs.Lease.report

    def listen(lease: jobs.Lease, kind: str, **data: Any) -> None:
        report(lease, kind, **data)
        if kind == "token":
            said.setdefault(str(lease.job.pk), []).append(data["text"])
            assert read_answer(lease.job)["text"] == "".join(said[str(lease.job.pk)])  # what a page shows meanwhile

    monkeypatch.setattr(jobs.Lease, "report", listen)
    first = ask(repo=line.base, by=line.alice, question="When is tide 3?", options=options)
    run_waiting_jobs(kinds=("training.chat",))
    first.refresh_from_db()
    answer = read_answer(first)
    assert (first.state, answer["is_done"], answer["problem"]) == ("succeeded", True, "")
    pieces = said[str(first.pk)]
    assert len(pieces) > 1 and answer["text"] == "".join(pieces) and 0 < answer["tokens"] <= 12
    assert not JobEvent.objects.filter(job=first, kind="token").exists()  # the answer holds them all

    warm = warm_models._warm
    assert warm is not None and warm.is_alive
    second = ask(repo=line.base, by=line.alice, question="And tide 4?", previous=str(first.pk), options=options)
    assert [turn["role"] for turn in second.payload["messages"]] == ["user", "assistant", "user"]
    same = ask(repo=line.base, by=line.alice, question="When is tide 3?", options=options)
    run_waiting_jobs(kinds=("training.chat",))
    assert warm_models._warm is warm
    assert read_answer(same)["text"] == answer["text"]  # equal settings, equal words

    # A child that dies in between costs an attempt, not an answer.
    os.kill(warm.child.pid, signal.SIGKILL)
    warm.child.wait()
    third = ask(repo=line.base, by=line.alice, question="When is tide 3?", options=options)
    run_waiting_jobs(kinds=("training.chat",))
    third.refresh_from_db()
    assert third.state == "succeeded" and warm_models._warm is not warm


def test_a_model_is_let_go_when_nobody_asks(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setattr(warm_models, "IDLE_S", 0.5)
    ask(repo=line.base, by=line.alice, question="Hello?", options={"max_new_tokens": 2})
    run_waiting_jobs(kinds=("training.chat",))
    deadline = time.monotonic() + 10
    while warm_models._warm is not None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert warm_models._warm is None


def test_a_question_that_does_not_fit_fails_in_words(line: Line) -> None:
    job = ask(repo=line.base, by=line.alice, question="tide " * 800, options={"max_new_tokens": 2})
    run_waiting_jobs(kinds=("training.chat",))
    job.refresh_from_db()
    assert job.state == "failed" and "the model reads 512" in read_answer(job)["problem"]


def test_the_page_works_without_javascript(line: Line, client: Client, charlie: Any) -> None:
    assert "Sign in to ask" not in client.get("/alice/tiny/playground").content.decode()
    release(line)
    assert "Sign in to ask" in client.get("/alice/tiny/playground").content.decode()
    client.force_login(charlie.user)
    asked = client.post("/alice/tiny/playground/ask", {"question": "When is tide 3?", "max_new_tokens": "6"})
    job = Job.objects.get(kind="training.chat")
    assert asked["Location"] == f"/alice/tiny/playground?job={job.pk}#answer"
    waiting = client.get(f"/alice/tiny/playground?job={job.pk}").content.decode()
    assert '<meta http-equiv="refresh" content="3">' in waiting and "When is tide 3?" in waiting
    JobEvent.objects.create(
        job=job, kind="answer", data={"text": "At three.", "tokens": 3, "seconds": 1.0}, at=timezone.now()
    )
    Job.objects.filter(pk=job.pk).update(state="succeeded")
    done = client.get(f"/alice/tiny/playground?job={job.pk}").content.decode()
    assert "At three." in done and "Release <code>v1.0.0</code>" in done and "http-equiv" not in done
    refused = client.post("/alice/tiny/playground/ask", {"question": ""})
    assert refused.status_code == 400 and "Write a question first." in refused.content.decode()
    client.force_login(line.bob)
    assert client.get(f"/alice/tiny/playground?job={job.pk}").status_code == 404  # one's questions are one's own
    assert client.get(f"/live/jobs/{job.pk}").status_code == 404


def test_other_rooms_add_acts_to_an_answer(line: Line, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    from hub.web import panels

    seen: list[dict[str, Any]] = []
    monkeypatch.setitem(panels._panels, "answer_actions", [])
    panels.add_panel("answer_actions", lambda request, context: seen.append(context) or "REPORT-IT")  # type: ignore[func-returns-value]
    release(line)
    job = ask(repo=line.base, by=line.alice, question="When is tide 3?")
    JobEvent.objects.create(
        job=job, kind="answer", data={"text": "Noon.", "tokens": 1, "seconds": 1.0}, at=timezone.now()
    )
    Job.objects.filter(pk=job.pk).update(state="succeeded")
    client.force_login(line.alice)
    assert "REPORT-IT" in client.get(f"/alice/tiny/playground?job={job.pk}").content.decode()
    context = seen[0]
    assert (context["prompt"], context["answer"], context["release"]) == ("When is tide 3?", "Noon.", "v1.0.0")
    assert context["settings"]["seed"] == 17 and context["commit"] == line.base.head


def test_rest_asks_too(line: Line, client: Client, charlie: Any, alice: Any) -> None:
    release(line)
    headers = {"Authorization": f"Bearer {charlie.token}"}
    body = {"repo": "alice/tiny", "question": "When is tide 3?", "max_new_tokens": 4}
    asked = client.post("/api/v1/playground", body, content_type="application/json", headers=headers)
    assert asked.status_code == 202
    address = f"/api/v1/playground/{asked.json()['id']}"
    shown = client.get(address, headers=headers).json()
    assert (shown["revision"], shown["state"], shown["is_done"]) == ("v1.0.0", "waiting", False)
    assert client.get(address, headers={"Authorization": f"Bearer {alice.token}"}).status_code == 404
    bad = client.post(
        "/api/v1/playground", {**body, "temperature": 9}, content_type="application/json", headers=headers
    )
    assert bad.status_code == 400 and bad.json()["error"].startswith("temperature")
