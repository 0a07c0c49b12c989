"""The listener: events of a job as they come, to whoever has a ticket, whatever the other watchers do."""

import asyncio
import http.client
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from django.utils import timezone

from hub.common import jobs
from hub.common.models import Job
from hub.common.tickets import make_ticket

CHECKOUT = Path(__file__).parents[2]


# --- a real server, a real job


@pytest.fixture(scope="module")
def listener(django_db_setup, tmp_path_factory):
    """Host and port of a listener that runs beside the tests, on their database."""
    from django.conf import settings
    from django.db import connection

    data_dir = tmp_path_factory.mktemp("listener")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {
        "DATA_DIR": str(data_dir),
        "SECRET_KEY": settings.SECRET_KEY,
        "TEST_DATABASE": str(connection.settings_dict["NAME"]),
        "DJANGO_SETTINGS_MODULE": "hub.site.settings",
    }
    command = [sys.executable, "-m", "granian", "--interface", "asgi", "--port", str(port), "--workers", "1", "--no-ws"]
    with open(data_dir / "listener.log", "wb") as log:
        server = subprocess.Popen(
            [*command, "tests.site.listened:application"], cwd=CHECKOUT, env=environment, stdout=log, stderr=log
        )
    try:
        wait_until_it_answers(port, server, data_dir / "listener.log")
        yield "127.0.0.1", port
    finally:
        server.terminate()
        try:
            server.wait(timeout=10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def wait_until_it_answers(port, server, log):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and server.poll() is None:
        try:
            assert get(("127.0.0.1", port), "/health").read() == b"ok"
            return
        except OSError:
            time.sleep(0.05)
    pytest.fail(f"the listener did not start: {log.read_text()}")


@pytest.fixture
def job(transactional_db):
    """A job in the middle of its work, with three events."""
    row = Job.objects.create(
        kind="test.work",
        state="running",
        fencing=1,
        created_at=timezone.now(),
        lease_until=timezone.now() + timezone.timedelta(hours=1),
    )
    for step in range(3):
        jobs.note(row, "metrics", step=step)
    return row


def get(address, path, **headers):
    connection = http.client.HTTPConnection(*address, timeout=30)
    connection.request("GET", path, headers=headers)
    return connection.getresponse()


def watch(listener, job, *, after=None, ticket=None, **headers):
    ticket = make_ticket(job.pk) if ticket is None else ticket
    more = "" if after is None else f"&after={after}"
    return get(listener, f"/live/jobs/{job.pk}?ticket={ticket}{more}", **headers)


def read_event(response):
    """(kind, data, id) of the next event; pings are passed over."""
    fields = {}
    while line := response.readline():
        text = line.decode().rstrip("\n")
        if not text and fields:
            return fields["event"], json.loads(fields["data"]), fields.get("id")
        if text and not text.startswith(":"):
            name, _, value = text.partition(": ")
            fields[name] = value
    return None


def test_watchers_get_the_past_what_comes_and_the_end_in_order(listener, job):
    early = watch(listener, job)
    assert early.status == 200 and early.headers["content-type"] == "text/event-stream"
    assert [read_event(early)[:2] for _ in range(3)] == [("metrics", {"step": step}) for step in range(3)]
    jobs.note(job, "sample", text="high\nwater 🌊")
    assert read_event(early)[:2] == ("sample", {"text": "high\nwater 🌊"})
    late = watch(listener, job)
    assert [read_event(late)[1].get("step") for _ in range(4)] == [0, 1, 2, None]
    jobs.end(job, Job.State.SUCCEEDED, "")
    for watcher in (early, late):
        assert read_event(watcher)[:2] == ("state", {"state": "succeeded", "reason": ""})
        assert read_event(watcher)[0] == "end"
        assert watcher.read() == b""
    after_the_end = watch(listener, job)
    kinds = [read_event(after_the_end)[0] for _ in range(6)]
    assert kinds == ["metrics", "metrics", "metrics", "sample", "state", "end"] and after_the_end.read() == b""


def test_who_was_cut_off_goes_on_where_they_were(listener, job):
    first = watch(listener, job)
    seen = read_event(first)[2]
    first.close()
    assert read_event(watch(listener, job, after=seen))[1] == {"step": 1}
    # A browser asks again at the same address and says in a header what it has.
    assert read_event(watch(listener, job, after=0, **{"Last-Event-ID": seen}))[1] == {"step": 1}
    assert read_event(watch(listener, job, after="%C2%B2"))[1] == {"step": 0}


def test_without_the_right_ticket_there_is_nothing_here(listener, job):
    other = Job.objects.create(kind="test.work", created_at=timezone.now())
    for ticket in ("", "forged", make_ticket(other.pk)):
        response = watch(listener, job, ticket=ticket)
        assert response.status == 404 and b"reload the page" in response.read()
    assert get(listener, "/live/jobs/").status == get(listener, "/").status == 404


def test_a_watcher_that_reads_nothing_keeps_nobody_waiting(listener, job):
    lazy = socket.create_connection(listener, timeout=30)
    lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    lazy.sendall(f"GET /live/jobs/{job.pk}?ticket={make_ticket(job.pk)} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    eager = watch(listener, job)
    for _ in range(60):
        jobs.note(job, "log", line="x" * 50_000)  # 3 MB: more than the buffers between take
    seen = [read_event(eager)[0] for _ in range(63)]
    assert seen.count("log") == 60
    lazy.close()


# --- the same application without a server, against a made-up past


class Past:
    """Stands in for the database: what happened, and how often it was asked."""

    def __init__(self, monkeypatch, count=0):
        from hub.site import asgi

        self.events = [{"id": number, "kind": "log", "data": {"n": number}} for number in range(1, count + 1)]
        self.has_ended = False
        self.reads = []
        self.asgi = asgi
        monkeypatch.setattr(asgi, "read_events", self.read)
        monkeypatch.setattr(asgi, "POLL_S", 0.001)

    def read(self, job_id, after):
        self.reads.append(after)
        ended = self.has_ended
        return [event for event in self.events if event["id"] > after][: self.asgi.BATCH], ended

    def happen(self, count=1):
        for _ in range(count):
            number = len(self.events) + 1
            self.events.append({"id": number, "kind": "log", "data": {"n": number}})

    def end(self):
        self.has_ended = True


class Client:
    """One connection to the application; `hold` keeps the server from sending on."""

    def __init__(self, past):
        self.past = past
        self.sent = b""
        self.status = None
        self.free = asyncio.Event()
        self.free.set()
        self.left = asyncio.Event()

    async def run(self, after=0):
        scope = {
            "type": "http",
            "path": "/live/jobs/j1",
            "query_string": f"ticket={make_ticket('j1')}&after={after}".encode(),
            "headers": [],
        }
        await self.past.asgi.application(scope, self.receive, self.send)

    async def receive(self):
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message):
        await self.free.wait()
        self.status = message.get("status", self.status)
        self.sent += message.get("body", b"")

    @property
    def numbers(self):
        lines = [line for line in self.sent.decode().split("\n") if line.startswith("id: ")]
        return [int(line.removeprefix("id: ")) for line in lines]


async def until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it did not come"
        await asyncio.sleep(0.001)


def test_many_watchers_share_one_reader_and_a_slow_one_gets_everything_later(monkeypatch):
    past = Past(monkeypatch, count=3)
    monkeypatch.setattr(past.asgi, "BATCH", 10)

    async def go():
        quick, slow = Client(past), Client(past)
        tasks = [asyncio.create_task(client.run()) for client in (quick, slow)]
        await until(lambda: quick.numbers == slow.numbers == [1, 2, 3])
        slow.free.clear()
        for _ in range(30):  # far more than its mailbox holds
            past.happen(5)
            expected = len(past.events)
            await until(lambda wanted=expected: quick.numbers[-1] == wanted)
        feed = past.asgi.feeds["j1"]
        assert len(feed.watchers) == 2 and len(past.asgi.feeds) == 1
        assert all(watcher.mail.qsize() <= past.asgi.QUEUED_BATCHES for watcher in feed.watchers)
        slow.free.set()
        past.end()
        await asyncio.wait_for(asyncio.gather(*tasks), 20)
        assert quick.numbers == slow.numbers == list(range(1, 154))
        assert quick.sent.endswith(b"event: end\ndata: {}\n\n") and slow.sent.endswith(b"event: end\ndata: {}\n\n")

    asyncio.run(go())
    assert past.asgi.feeds == {} and past.asgi.watching == 0


def test_a_late_watcher_of_a_long_job_misses_nothing_of_its_past(monkeypatch):
    """It once joined a reader that was further on, and what lay between was sent to nobody."""
    past = Past(monkeypatch, count=95)
    monkeypatch.setattr(past.asgi, "BATCH", 10)

    async def go():
        early = Client(past)
        tasks = [asyncio.create_task(early.run())]
        await until(lambda: len(early.numbers) == 95)
        clients = [Client(past) for _ in range(5)]
        tasks += [asyncio.create_task(client.run(after=number)) for number, client in enumerate(clients)]
        for _ in range(10):
            past.happen(3)
            await asyncio.sleep(0.002)
        past.end()
        await asyncio.wait_for(asyncio.gather(*tasks), 20)
        for number, client in enumerate(clients):
            assert client.numbers == list(range(number + 1, 126))

    asyncio.run(go())


def test_a_watcher_that_leaves_is_let_go_and_the_last_one_ends_the_reading(monkeypatch):
    past = Past(monkeypatch, count=1)

    async def go():
        client = Client(past)
        task = asyncio.create_task(client.run())
        await until(lambda: past.asgi.feeds)
        client.left.set()
        await asyncio.wait_for(task, 5)
        await until(lambda: not past.asgi.feeds)
        assert past.asgi.watching == 0
        count = len(past.reads)
        await asyncio.sleep(0.02)
        assert len(past.reads) == count

    asyncio.run(go())


def test_a_watcher_that_takes_nothing_for_too_long_is_let_go(monkeypatch):
    past = Past(monkeypatch, count=1)
    monkeypatch.setattr(past.asgi, "SEND_S", 0.01)

    async def go():
        client = Client(past)
        task = asyncio.create_task(client.run())
        await until(lambda: client.numbers == [1])
        client.free.clear()
        past.happen()
        await asyncio.wait_for(task, 5)

    asyncio.run(go())
    assert past.asgi.watching == 0


def test_a_quiet_job_is_shown_to_be_alive(monkeypatch):
    past = Past(monkeypatch, count=1)
    monkeypatch.setattr(past.asgi, "PING_S", 0.01)

    async def go():
        client = Client(past)
        task = asyncio.create_task(client.run())
        await until(lambda: client.sent.count(b": still here\n\n") >= 2)
        past.end()
        await asyncio.wait_for(task, 5)

    asyncio.run(go())


def test_more_watchers_than_it_takes_are_sent_to_asking(monkeypatch):
    past = Past(monkeypatch)
    monkeypatch.setattr(past.asgi, "MAX_WATCHERS", 1)

    async def go():
        first, second = Client(past), Client(past)
        task = asyncio.create_task(first.run())
        await until(lambda: first.status == 200)
        await second.run()
        assert second.status == 503 and b"asking every few seconds" in second.sent
        past.end()
        await asyncio.wait_for(task, 5)

    asyncio.run(go())


def test_a_busy_database_interrupts_nobody(monkeypatch):
    past = Past(monkeypatch, count=1)
    read = past.read
    troubles = iter([True] * 3)

    def stumble(job_id, after):
        if past.reads and next(troubles, False):
            raise RuntimeError("database is locked")
        return read(job_id, after)

    monkeypatch.setattr(past.asgi, "read_events", stumble)

    async def go():
        client = Client(past)
        task = asyncio.create_task(client.run())
        await until(lambda: past.asgi.feeds)
        past.happen()
        await until(lambda: client.numbers == [1, 2])
        past.end()
        await asyncio.wait_for(task, 5)

    asyncio.run(go())
