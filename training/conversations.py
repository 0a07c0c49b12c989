"""The playground: questions to a revision, answered token by token by an engine that stays warm between questions.

A worker process keeps one model open, the one asked last, and lets it go after a pause. The child dies with its worker
(training.sandbox), so nothing is left behind."""

import atexit
import json
import os
import queue
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction

from hub.accounts.models import User
from hub.accounts.permissions import can, require
from hub.common import jobs
from hub.common.errors import Conflict, Forbidden, InvalidInput, NotFound
from hub.common.jobs import JobRefused, JobRetry, Lease
from hub.common.models import Job, JobEvent
from hub.community.contributions import reader_for
from hub.repos.models import Repo, RepoRelease
from training.materials import has_model, model_folder, weights_bytes
from training.worker import POLL_S, drain, pump, read_event, start_engine, stop_engine

KIND = "training.chat"
MAX_QUESTION = 8000  # characters
MAX_TURNS = 11  # messages that are sent, the question included; odd, so that a person begins
MAX_WAITING = 2  # unanswered questions of one person
MAX_MODEL_BYTES = 6 * 1024**3  # of weights; larger ones would push everything else out of memory
ANSWER_BUDGET_S = 600
IDLE_S = 300  # after which a warm model is let go
SAY_EVERY_S = 0.2  # tokens of so long make one event
DEFAULTS = {"temperature": 0.0, "max_new_tokens": 160, "seed": 17}
BOUNDS = {"temperature": (0.0, 2.0), "max_new_tokens": (1, 1024), "seed": (0, 2**31 - 1)}


@dataclass(frozen=True)
class Askable:
    """A revision that answers this person's questions."""

    name: str  # tag of a release, branch or candidate
    commit: str
    is_release: bool


def list_askable(repo: Repo, user: Any) -> list[Askable]:
    """Releases for everybody; members also ask the branches and the candidates of open proposals."""
    published = repo.public_releases.filter(state=RepoRelease.State.PUBLISHED).order_by("-published_at")
    found = [Askable(row.tag, row.commit, True) for row in published[:20]]
    if can(user, "read_members", repo):
        refs = reader_for(repo, user).refs()
        names = [
            f"refs/heads/{repo.default_branch}",
            *sorted(name for name in refs if name.startswith("refs/convert/")),
        ]
        for ref in names:
            if ref in refs and has_model(repo, refs[ref]):
                found.append(Askable(ref.removeprefix("refs/heads/").removeprefix("refs/"), refs[ref], False))
    return found


def choose_revision(repo: Repo, user: Any, name: str) -> Askable:
    """The revision of this name, or the newest release. Raises NotFound, and Forbidden for what is no release."""
    known = list_askable(repo, user)
    if not name and known:
        return known[0]
    for row in known:
        if name in (row.name, row.commit):
            return row
    if not can(user, "read_members", repo):
        raise Forbidden(f"Only releases of {repo.full_name} answer questions, and {name or 'a release'} is none yet.")
    if not name:
        raise NotFound(f"{repo.full_name} holds no model that could answer yet.")
    commit = reader_for(repo, user).resolve(name)
    if not has_model(repo, commit):
        raise NotFound(f"{name!r} of {repo.full_name} holds no config.json with *.safetensors weights.")
    return Askable(name, commit, False)


@transaction.atomic
def ask(
    *,
    repo: Repo,
    by: User,
    question: str,
    revision: str = "",
    previous: str = "",
    options: dict[str, Any] | None = None,
) -> Job:
    """Queue a question; its events are the answer. `previous` is the job of the question before, whose talk goes on."""
    require(by, "discuss", repo)
    question = question.strip()
    if not question:
        raise InvalidInput("Write a question first.")
    if len(question) > MAX_QUESTION:
        raise InvalidInput(f"The question has {len(question):,} characters; {MAX_QUESTION:,} is the most.")
    chosen = choose_revision(repo, by, revision)
    if weights_bytes(repo, chosen.commit) > MAX_MODEL_BYTES:
        raise InvalidInput(f"{repo.full_name} is too large to answer on this hub; download it and ask it at home.")
    waiting = Job.objects.filter(kind=KIND, charged_to=by).exclude(state__in=Job.ENDED).count()
    if waiting >= MAX_WAITING:
        raise Conflict("Your questions before this one are still being answered; wait for them.")
    messages = [*talk_so_far(previous, by, repo), {"role": "user", "content": question}]
    return jobs.enqueue(
        "training.chat",
        subject=f"playground:{repo.pk}",
        charged_to=by,
        budget_s=ANSWER_BUDGET_S,
        repo_id=repo.pk,
        revision=chosen.name,
        commit=chosen.commit,
        messages=messages[-MAX_TURNS:],
        settings=read_options(options or {}),
    )


def read_options(given: dict[str, Any]) -> dict[str, Any]:
    """Temperature, length and seed within their bounds. Raises InvalidInput naming the first that is not."""
    found = dict(DEFAULTS)
    for name, (low, high) in BOUNDS.items():
        value = given.get(name, "")
        if value in ("", None):
            continue
        try:
            number = type(DEFAULTS[name])(value)
        except (TypeError, ValueError):
            raise InvalidInput(f"{name} is {value!r}; write a number from {low:g} to {high:g}.") from None
        if not low <= number <= high:
            raise InvalidInput(f"{name} is {number:g}; choose a number from {low:g} to {high:g}.")
        found[name] = number
    return found


def talk_so_far(previous: str, by: User, repo: Repo) -> list[dict[str, str]]:
    if not previous:
        return []
    job = find_question(previous, by)
    answer = read_answer(job)
    if job.payload["repo_id"] != repo.pk or not answer["is_done"]:
        return []
    return [*job.payload["messages"], {"role": "assistant", "content": answer["text"]}]


def find_question(job_id: str, user: Any) -> Job:
    """A question of this person (or of anybody, for moderators). Others look missing."""
    try:
        job = Job.objects.filter(pk=job_id, kind=KIND).first()
    except ValidationError:  # no UUID
        job = None
    if job is None or not (job.charged_to_id == user.pk or can(user, "moderate")):
        raise NotFound("There is no such question of yours.")
    return job


def read_answer(job: Job) -> dict[str, Any]:
    """{"text", "is_done", "tokens", "seconds", "problem"}: the answer so far, of the attempt that is at work."""
    text = ""
    done: dict[str, Any] | None = None
    rows = JobEvent.objects.filter(job=job, kind__in=("state", "token", "answer")).order_by("id")
    for kind, data in rows.values_list("kind", "data"):
        if kind == "token":
            text += data["text"]
        elif kind == "answer":
            done, text = data, data["text"]
        elif data.get("state") == Job.State.RUNNING:
            text = ""  # another attempt begins from nothing
    has_failed = job.has_ended and done is None
    return {
        "text": text,
        "is_done": done is not None,
        "tokens": (done or {}).get("tokens"),
        "seconds": (done or {}).get("seconds"),
        "problem": (job.reason or "The question was not answered.") if has_failed else "",
    }


# --- in the worker


def carry_out(lease: Lease) -> None:
    """Body of training.chat."""
    repo = Repo.objects.filter(pk=lease.payload["repo_id"]).first()
    if repo is None:
        raise JobRefused("The repository was deleted.")
    lease.report("progress", sentence="Opening the model")
    model = open_warm(lease, model_folder(repo, lease.payload["commit"]))
    lease.report("progress", sentence="Answering")
    text, said_at = "", 0.0
    for record in model.ask(lease, lease.payload["messages"], lease.payload["settings"]):
        text += record.get("token", "")
        if text and (time.monotonic() - said_at >= SAY_EVERY_S or record.get("done")):
            lease.report("token", text=text)
            text, said_at = "", time.monotonic()
        if record.get("done"):
            lease.report("answer", text=record["text"], tokens=record["tokens"], seconds=record["seconds"])
            JobEvent.objects.filter(job=lease.job, kind="token").delete()  # the answer holds them all


class WarmModel:
    """A chat engine as a child of this worker, with one model open."""

    def __init__(self, folder: Path):
        self.folder = folder
        own = Path(settings.DATA_DIR) / "runs" / f"chat-{os.getpid()}"
        own.mkdir(parents=True, exist_ok=True)
        self.log = own / "stderr.log"
        with self.log.open("w") as stderr:
            self.child = start_engine(
                ["chat", "--model", str(folder)], own=own, reads=[folder], stdin=subprocess.PIPE, stderr=stderr
            )
        self.lines: queue.Queue[str | None] = queue.Queue(maxsize=10_000)
        self.reader = threading.Thread(target=pump, args=(self.child, self.lines), daemon=True)
        self.reader.start()
        self.used_at = time.monotonic()

    @property
    def is_alive(self) -> bool:
        return self.child.poll() is None

    def wait_until_ready(self, lease: Lease) -> None:
        while True:
            event = read_event(self.next_line(lease))
            if event is not None and event["event"] == "error":
                raise JobRefused(str(event.get("message") or "The model cannot be opened."))
            if event is not None and event.get("state") == "ready":
                return

    def next_line(self, lease: Lease) -> str:
        """The next line of the engine. Raises JobRetry when it has ended."""
        while True:
            lease.check()
            self.used_at = time.monotonic()
            try:
                line = self.lines.get(timeout=POLL_S)
            except queue.Empty:
                continue
            if line is None:
                last = self.log.read_text(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
                raise JobRetry(f"The model stopped while it was answering: {last[0]}")
            return line

    def ask(self, lease: Lease, messages: list[dict[str, str]], options: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Records of one answer: {"token"}, ..., {"done", "text", "tokens", "seconds"}."""
        name = f"{lease.job.pk}:{lease.fencing}"
        self.send({"id": name, "messages": messages, **options})
        is_over = False
        try:
            while not is_over:
                record = json.loads(self.next_line(lease))
                if record.get("id") != name:
                    continue  # what is left of a question that was given up
                is_over = "error" in record or bool(record.get("done"))
                if "error" in record:
                    raise JobRefused(record["error"]["message"])
                yield record
        finally:
            if not is_over and self.is_alive:
                self.send({"id": name, "cancel": True})

    def send(self, record: dict[str, Any]) -> None:
        assert self.child.stdin is not None
        try:
            self.child.stdin.write(json.dumps(record) + "\n")
            self.child.stdin.flush()
        except OSError as problem:
            raise JobRetry(f"The model stopped: {problem}") from None

    def close(self) -> None:
        stop_engine(self.child, at_once=True)
        drain(self.lines, self.reader)
        self.child.wait()


_warm: WarmModel | None = None
_door = threading.Lock()


def open_warm(lease: Lease, folder: Path) -> WarmModel:
    """The model of this folder, warm or opened now in place of the one before."""
    global _warm
    with _door:
        if _warm is not None and _warm.is_alive and _warm.folder == folder:
            _warm.used_at = time.monotonic()
            return _warm
        close_warm()
        model = WarmModel(folder)
        try:
            model.wait_until_ready(lease)
        except BaseException:
            model.close()
            raise
        _warm = model
    watch_idleness(model)
    return model


def watch_idleness(model: WarmModel) -> None:
    """Let the model go when nobody has asked it for a while."""

    def look() -> None:
        while model.is_alive:
            left = IDLE_S - (time.monotonic() - model.used_at)
            if left <= 0:
                with _door:
                    if _warm is model:
                        close_warm()
                return
            time.sleep(min(left, 5) + 0.01)

    threading.Thread(target=look, daemon=True).start()


def close_warm() -> None:
    global _warm
    if _warm is not None:
        _warm.close()
        _warm = None


atexit.register(close_warm)
