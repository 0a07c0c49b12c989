"""The playground: questions to a revision, answered token by token by a model that stays warm between questions."""

import time
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction

from hub.accounts.models import User
from hub.accounts.permissions import can, require
from hub.common import jobs
from hub.common.errors import Conflict, Forbidden, InvalidInput, NotFound
from hub.common.jobs import JobRefused, Lease
from hub.common.models import Job, JobEvent
from hub.community.contributions import reader_for
from hub.repos.models import Repo, RepoRelease
from training.workers.materials import has_model, model_folder, weights_bytes
from training.workers.warm_models import open_warm

KIND = "training.chat"
MAX_QUESTION = 8000  # characters
MAX_TURNS = 11  # messages that are sent, the question included; odd, so that a person begins
MAX_WAITING = 2  # unanswered questions of one person
MAX_MODEL_BYTES = 6 * 1024**3  # of weights; larger ones would push everything else out of memory
ANSWER_BUDGET_S = 600
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
    require(by, "read_files", repo)
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
