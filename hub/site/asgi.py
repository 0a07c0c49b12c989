"""The listener: streams the events of jobs to watchers as Server-Sent Events, so that none occupies a request thread.

GET /live/jobs/<id>?ticket=...&after=<event id>. All watchers of a job share one reader of the database. Pages poll
where this server cannot be reached, so it may be down without harm."""

import asyncio
import json
import logging
import os
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hub.site.settings")
django.setup()

from django.db import close_old_connections  # noqa: E402

from hub.common.models import Job, JobEvent  # noqa: E402
from hub.common.tickets import read_ticket  # noqa: E402

log = logging.getLogger(__name__)

MAX_WATCHERS = 500
POLL_S = 0.7
PING_S = 15.0
SEND_S = 30.0  # a watcher that takes nothing for so long is let go; its page asks again
BATCH = 500  # events in one read
QUEUED_BATCHES = 4  # kept for a slow watcher; it reads what came after by itself

Send = Callable[[dict[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Events = list[dict[str, Any]]  # {"id", "kind", "data"}


class Watcher:
    """A mailbox of bounded size. When it overflows, the mail is dropped and the watcher fetches it from the database."""

    def __init__(self) -> None:
        self.mail: asyncio.Queue[Events] = asyncio.Queue(QUEUED_BATCHES)
        self.missed = False
        self.has_ended = False
        self.stirred = asyncio.Event()

    def deliver(self, events: Events) -> None:
        try:
            self.mail.put_nowait(events)
        except asyncio.QueueFull:
            self.missed = True
            self.empty()
        self.stirred.set()

    def end(self) -> None:
        self.has_ended = True
        self.stirred.set()

    def empty(self) -> None:
        while not self.mail.empty():
            self.mail.get_nowait()

    async def wait(self) -> None:
        await self.stirred.wait()
        self.stirred.clear()


class Feed:
    """The new events of one job, read once for all who watch it."""

    def __init__(self, job_id: str, last: int):
        self.job_id = job_id
        self.last = last  # everything up to here was delivered before, or is fetched by the watchers themselves
        self.watchers: set[Watcher] = set()
        self.task = asyncio.create_task(self.follow())

    async def follow(self) -> None:
        try:
            while self.watchers:
                await asyncio.sleep(POLL_S)
                try:
                    events, has_ended = await asyncio.to_thread(read_events, self.job_id, self.last)
                except Exception:  # a busy database: the watchers are still there at the next look
                    log.exception("The events of job %s could not be read", self.job_id)
                    continue
                if events:
                    self.last = events[-1]["id"]
                for watcher in list(self.watchers):
                    if events:
                        watcher.deliver(events)
                    elif has_ended:
                        watcher.end()
                if has_ended and not events:
                    return
        finally:
            if feeds.get(self.job_id) is self:
                del feeds[self.job_id]


feeds: dict[str, Feed] = {}
watching = 0


def read_events(job_id: str, after: int) -> tuple[Events, bool]:
    """At most BATCH events after that one, and whether the job had ended before they were read."""
    close_old_connections()
    state = Job.objects.filter(pk=job_id).values_list("state", flat=True).first()
    rows = JobEvent.objects.filter(job_id=job_id, id__gt=after).order_by("id")[:BATCH]
    events = [{"id": row.pk, "kind": row.kind, "data": row.data} for row in rows]
    return events, state is None or state in Job.ENDED


async def application(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await answer_lifespan(receive, send)
        return
    if scope["type"] != "http":
        return
    parts = scope["path"].strip("/").split("/")
    query = {key: values[-1] for key, values in parse_qs(scope["query_string"].decode("latin-1")).items()}
    if scope["path"] == "/health":
        await answer(send, 200, "ok")
    elif len(parts) == 3 and parts[:2] == ["live", "jobs"] and read_ticket(query.get("ticket", "")) == parts[2]:
        await stream(parts[2], read_after(scope, query), receive, send)
    else:
        await answer(send, 404, "There is nothing here, or the ticket is not valid any more; reload the page.")


def read_after(scope: dict[str, Any], query: dict[str, str]) -> int:
    """The last event that the watcher has: a browser that reconnects says so in a header, at the same address."""
    headers = {name.lower(): value.decode("latin-1") for name, value in scope.get("headers", ())}
    given = [headers.get(b"last-event-id", ""), query.get("after", "")]
    numbers = [int(text) for text in given if text.isascii() and text.isdigit() and len(text) < 19]
    return max(numbers, default=0)


async def answer_lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def answer(send: Send, status: int, text: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})


async def stream(job_id: str, after: int, receive: Receive, send: Send) -> None:
    global watching
    if watching >= MAX_WATCHERS:
        await answer(send, 503, "Too many people watch at once; the page goes on by asking every few seconds.")
        return
    watching += 1
    gone = asyncio.create_task(wait_for_disconnect(receive))
    watched = asyncio.create_task(watch(job_id, after, send))
    try:
        await asyncio.wait({gone, watched}, return_when=asyncio.FIRST_COMPLETED)
        if watched.done():
            watched.result()
    except (OSError, TimeoutError):
        pass  # the watcher went away, or takes nothing any more
    finally:
        watching -= 1
        gone.cancel()
        watched.cancel()


async def watch(job_id: str, after: int, send: Send) -> None:
    """The past from the database, then what the feed brings, until the job ends."""
    await start(send)
    last, has_ended = await send_past(job_id, after, send)
    watcher = Watcher()
    feed = join(job_id, watcher, last)
    try:
        # What the feed read while we sent the past is not delivered to us: fetch it.
        watcher.missed = feed.last > last
        while not has_ended:
            last = await send_mail(job_id, watcher, last, send)
            has_ended = watcher.has_ended and watcher.mail.empty() and not watcher.missed
            if not has_ended:
                await wait_or_ping(watcher, send)
    finally:
        feed.watchers.discard(watcher)
    await send_body(send, b"event: end\ndata: {}\n\n", more_body=False)


async def send_past(job_id: str, last: int, send: Send) -> tuple[int, bool]:
    """Send all stored events after `last`; the id of the newest, and whether the job has ended."""
    while True:
        events, has_ended = await asyncio.to_thread(read_events, job_id, last)
        if events:
            last = events[-1]["id"]
            await send_events(send, events)
        if len(events) < BATCH:
            return last, has_ended


def join(job_id: str, watcher: Watcher, last: int) -> Feed:
    feed = feeds.get(job_id)
    if feed is None or feed.task.done():
        feed = feeds[job_id] = Feed(job_id, last)
    feed.watchers.add(watcher)
    return feed


async def send_mail(job_id: str, watcher: Watcher, last: int, send: Send) -> int:
    """Send what lies in the mailbox, or in the database where the mailbox overflowed; the id of the newest."""
    while watcher.missed or not watcher.mail.empty():
        if watcher.missed:  # looked at each time: the mailbox may overflow while we send
            watcher.missed = False
            last, _ = await send_past(job_id, last, send)
            continue
        fresh = [event for event in watcher.mail.get_nowait() if event["id"] > last]
        if fresh:
            last = fresh[-1]["id"]
            await send_events(send, fresh)
    return last


async def wait_or_ping(watcher: Watcher, send: Send) -> None:
    try:
        await asyncio.wait_for(watcher.wait(), PING_S)
    except TimeoutError:
        await send_body(send, b": still here\n\n")


async def start(send: Send) -> None:
    headers = [
        (b"content-type", b"text/event-stream"),
        (b"cache-control", b"no-store"),
        (b"access-control-allow-origin", b"*"),  # the ticket in the address is the permission; no cookies are read
        (b"x-accel-buffering", b"no"),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})


async def send_events(send: Send, events: Events) -> None:
    lines = [f"id: {e['id']}\nevent: {e['kind']}\ndata: {json.dumps(e['data'])}\n\n" for e in events]
    await send_body(send, "".join(lines).encode())


async def send_body(send: Send, body: bytes, *, more_body: bool = True) -> None:
    await asyncio.wait_for(send({"type": "http.response.body", "body": body, "more_body": more_body}), SEND_S)


async def wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
