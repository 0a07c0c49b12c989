"""The listener: streams the events of jobs to watchers as Server-Sent Events, so that none occupies a request thread.

GET /live/jobs/<id>?ticket=...&after=<event id>. All watchers of a job share one reader of the database. Pages poll
where this server cannot be reached, so it may be down without harm."""

import asyncio
import json
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

MAX_WATCHERS = 500
POLL_S = 0.7
PING_S = 15.0
BATCH = 500

Send = Callable[[dict[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[dict[str, Any]]]


class Feed:
    """The new events of one job, read once for all who watch it."""

    def __init__(self, job_id: str):
        self.job_id = job_id
        self.watchers: set[asyncio.Queue[list[dict[str, Any]] | None]] = set()
        self.last = 0
        self.task: asyncio.Task[None] | None = None

    async def follow(self) -> None:
        while self.watchers:
            events, has_ended = await asyncio.to_thread(read_events, self.job_id, self.last)
            if events:
                self.last = events[-1]["id"]
                for watcher in self.watchers:
                    watcher.put_nowait(events)
            elif has_ended:
                for watcher in self.watchers:
                    watcher.put_nowait(None)
                break
            await asyncio.sleep(POLL_S)
        feeds.pop(self.job_id, None)


feeds: dict[str, Feed] = {}
watching = 0


def read_events(job_id: str, after: int) -> tuple[list[dict[str, Any]], bool]:
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
        await stream(parts[2], int(query["after"]) if query.get("after", "").isdigit() else 0, receive, send)
    else:
        await answer(send, 404, "There is nothing here, or the ticket is not valid any more; reload the page.")


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
    watcher: asyncio.Queue[list[dict[str, Any]] | None] = asyncio.Queue()
    gone = asyncio.create_task(wait_for_disconnect(receive))
    try:
        await start(send)
        past, has_ended = await asyncio.to_thread(read_events, job_id, after)
        await send_events(send, past)
        last = past[-1]["id"] if past else after
        if not has_ended or len(past) == BATCH:
            feed = join(job_id, watcher, last)
            await relay(watcher, feed, last, gone, send)
        await send({"type": "http.response.body", "body": b"event: end\ndata: {}\n\n", "more_body": False})
    except OSError:
        pass  # the watcher went away
    finally:
        watching -= 1
        gone.cancel()
        if job_id in feeds:
            feeds[job_id].watchers.discard(watcher)


def join(job_id: str, watcher: "asyncio.Queue[list[dict[str, Any]] | None]", last: int) -> Feed:
    feed = feeds.get(job_id)
    if feed is None:
        feed = feeds[job_id] = Feed(job_id)
        feed.last = last
    feed.last = min(feed.last, last)
    feed.watchers.add(watcher)
    if feed.task is None:
        feed.task = asyncio.create_task(feed.follow())
    return feed


async def relay(
    watcher: "asyncio.Queue[list[dict[str, Any]] | None]", feed: Feed, last: int, gone: "asyncio.Task[None]", send: Send
) -> None:
    while not gone.done():
        try:
            events = await asyncio.wait_for(watcher.get(), PING_S)
        except TimeoutError:
            await send({"type": "http.response.body", "body": b": still here\n\n", "more_body": True})
            continue
        if events is None:
            return
        fresh = [event for event in events if event["id"] > last]
        if fresh:
            last = fresh[-1]["id"]
            await send_events(send, fresh)


async def start(send: Send) -> None:
    headers = [
        (b"content-type", b"text/event-stream"),
        (b"cache-control", b"no-store"),
        (b"access-control-allow-origin", b"*"),  # the ticket in the address is the permission; no cookies are read
        (b"x-accel-buffering", b"no"),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})


async def send_events(send: Send, events: list[dict[str, Any]]) -> None:
    if events:
        lines = [f"id: {e['id']}\nevent: {e['kind']}\ndata: {json.dumps(e['data'])}\n\n" for e in events]
        await send({"type": "http.response.body", "body": "".join(lines).encode(), "more_body": True})


async def wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
