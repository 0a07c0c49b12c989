"""What pages and programs are told about a run: stations, queue, remaining time, loss curve, answers. Reads only."""

import statistics
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone

from hub.accounts.permissions import can
from hub.common.jobs import list_ahead
from hub.common.models import Job
from hub.community.candidates import members_of, target_head
from hub.community.models import Check, Discussion, PullRequest
from hub.repos.models import Repo
from hub.storage.errors import StorageError
from training.engine.errors import EngineError
from training.engine.lock import Lock, parse_lock
from training.models import LedgerEntry, Run, Sampling
from training.proposals.parents import read_inputs_lock, run_evaluations
from training.running.runs import jobs_of

STATIONS = (
    ("prepare", "training.prepare", "Prepare data"),
    ("train", "training.train", "Train"),
    ("evaluate", "training.evaluate", "Evaluate"),
    ("screen", "training.sample", "Screen answers"),
)

MOST_AHEAD = 50  # jobs that an estimate adds up
QUEUED = "queued"  # a station whose job no worker has taken yet


@dataclass(frozen=True)
class Station:
    """One step of the line: its check, the job behind it, and how long that took last time."""

    name: str
    title: str
    state: str  # of the check, or of the job where there is no check
    summary: str
    job: Job | None
    last_time_s: float | None

    @property
    def is_living(self) -> bool:
        return self.job is not None and not self.job.has_ended

    @property
    def started_at(self) -> datetime | None:
        return self.job.started_at if self.job else None

    @property
    def finished_at(self) -> datetime | None:
        return self.job.finished_at if self.job else None


@dataclass(frozen=True)
class Now:
    """What happens at this moment."""

    job: Job
    sentence: str
    done: int | None = None
    total: int | None = None
    eta_s: float | None = None
    ahead: int = 0  # jobs that come before it in its queue
    is_queued: bool = False  # no worker has it yet: `eta_s` then counts those ahead, and stands still
    next: str = ""  # the station after this one


def visible_runs(user: Any) -> QuerySet[Run]:
    """Runs of repositories that this person may read, newest first."""
    rows = Run.objects.filter(repo__in=Repo.objects.visible_to(user).order_by().values("pk"))
    return rows.select_related(
        "repo__owner_user", "repo__owner_organization", "pull_request__discussion", "proposed_by", "approved_by"
    ).order_by("-pk")


def list_stations(run: Run) -> list[Station]:
    checks = {check.name: check for check in run.pull_request.checks.all()} if run.pull_request else {}
    jobs = {job.kind: job for job in jobs_of(run)}  # the newest of each kind wins
    past = last_times(run)
    stations = []
    for name, kind, title in STATIONS:
        check, job = checks.get(name), jobs.get(kind)
        is_mine = check is not None and not run.is_superseded and check.evidence.get("run", run.pk) == run.pk
        state = check.state if check and is_mine else job.state if job else Check.State.WAITING
        if job is not None and job.state == Job.State.WAITING:
            state = QUEUED
        summary = check.summary if check and is_mine else job.reason if job else ""
        stations.append(Station(name, title, state, summary, job, past.get(kind)))
    return stations


def why_out_of_date(run: Run) -> str:
    """What came after a run that counts no more: a push, a merge into its target, or another commit of what it names."""
    pull_request = run.pull_request
    if pull_request is None:
        return "its proposal is gone"
    discussion = pull_request.discussion
    if discussion.status == Discussion.Status.CLOSED:
        return "its proposal was closed"
    git = members_of(pull_request)
    try:
        if not git.is_ancestor(pull_request.head, run.input_commit):
            return "a newer push replaced it"
        if git.is_ancestor(target_head(pull_request), run.input_commit):
            return "something that its recipe names moved on"
    except StorageError:
        return "a newer push replaced it"  # of commits that a purge took
    merged = PullRequest.objects.filter(
        discussion__repo=run.repo, target=pull_request.target, merged_at__gte=run.created_at
    ).exclude(pk=pull_request.pk)
    first = merged.select_related("discussion").order_by("merged_at").first()
    moved = f"{pull_request.target} moved on"
    return f"{moved}: #{first.discussion.number} was merged" if first is not None else moved


def last_times(run: Run) -> dict[str, float]:
    """kind -> seconds that the last succeeded job of the kind took for other runs of this repository."""
    others = Run.objects.filter(repo=run.repo).exclude(pk=run.pk).order_by("-pk").values_list("pk", flat=True)[:20]
    rows = Job.objects.filter(subject__in=[f"run:{pk}" for pk in others], state=Job.State.SUCCEEDED)
    found: dict[str, float] = {}
    for row in rows.order_by("finished_at"):
        if row.started_at and row.finished_at:
            found[row.kind] = (row.finished_at - row.started_at).total_seconds()
    return found


def describe_now(stations: list[Station]) -> Now | None:
    """The job that is at work or comes next; None when nothing will move by itself."""
    living = [station for station in stations if station.is_living]
    if not living:
        return None
    working = [station for station in living if station.job and station.job.state == Job.State.RUNNING]
    station = (working or living)[0]
    job = station.job
    assert job is not None
    later = stations[stations.index(station) + 1 :]
    following = next((other.title.lower() for other in later if other.state == Check.State.WAITING), "")
    if job.state == Job.State.WAITING:
        ahead = list_ahead(job).count()
        sentence = job.reason or ("It is next in the queue." if not ahead else f"{ahead} before it in the queue.")
        return Now(job, sentence, eta_s=wait_and_work(station), ahead=ahead, next=following, is_queued=True)
    if job.lease_until is not None and job.lease_until < timezone.now():
        silent = "Its worker has not been heard of for a while; another one goes on as soon as it is free."
        return Now(job, silent, next=following)
    progress = job.progress
    eta = progress.get("eta_s")
    return Now(
        job,
        progress.get("sentence") or "Starting",
        done=progress.get("done"),
        total=progress.get("total"),
        eta_s=eta if eta is not None else remaining(station),
        next=following,
    )


def wait_and_work(station: Station) -> float | None:
    """Seconds until a queued job is done, with those ahead of it one after another; None where one has no time yet."""
    assert station.job is not None
    if station.last_time_s is None:
        return None
    total, usual = station.last_time_s, {station.job.kind: station.last_time_s}
    for other in list_ahead(station.job)[:MOST_AHEAD]:
        if other.kind not in usual:
            usual[other.kind] = usual_time(other.kind) or station.last_time_s
        gone = (timezone.now() - other.started_at).total_seconds() if other.started_at else 0.0
        known = other.progress.get("eta_s") if other.state == Job.State.RUNNING else None
        total += known if known is not None else max(0.0, usual[other.kind] - gone)
    return total


def usual_time(kind: str) -> float | None:
    """Median of the last jobs of a kind on this hub."""
    rows = Job.objects.filter(kind=kind, state=Job.State.SUCCEEDED, started_at__isnull=False, finished_at__isnull=False)
    times = [
        (end - start).total_seconds()
        for start, end in rows.order_by("-finished_at").values_list("started_at", "finished_at")[:9]
        if start and end
    ]
    return statistics.median(times) if times else None


def remaining(station: Station) -> float | None:
    """By the clock of last time; None when there was none or it is over."""
    if station.last_time_s is None or station.started_at is None:
        return None
    left = station.last_time_s - (timezone.now() - station.started_at).total_seconds()
    return left if left > 0 else None


@dataclass(frozen=True)
class InputRow:
    """A pinned repository, as this reader may know it."""

    kind: str
    name: str
    path: str  # "" when the reader may not open it
    commit: str
    contributors: list[str]


def read_lock_of(run: Run) -> Lock | None:
    try:
        return parse_lock(run.result["lock"] if run.result.get("lock") else read_inputs_lock(run))
    except (EngineError, KeyError, AttributeError, OSError):
        return None


def list_inputs(lock: Lock | None, user: Any) -> list[InputRow]:
    keys = [locked.key for locked in lock.repositories] if lock else []
    repos = {repo.key: repo for repo in Repo.objects.for_listing().filter(key__in=keys)}
    rows = []
    for locked in lock.repositories if lock else []:
        repo = repos.get(locked.key or "")
        if repo is None or not can(user, "read", repo):
            rows.append(InputRow(locked.type, f"a private {locked.type}", "", locked.commit, []))
            continue
        people = {p["contributor"] for items in locked.contributors.values() for p in items if p["contributor"]}
        rows.append(InputRow(locked.type, repo.full_name, repo.path, locked.commit, sorted(people)))
    return rows


def read_dropped(run: Run) -> list[tuple[str, int, str]]:
    """(reason in words, rows, the first place) of what was left out of the corpus."""
    if run.corpus is None:
        return []
    examples = run.corpus.manifest.get("examples", {})
    rows = sorted(run.corpus.dropped.items(), key=lambda item: -item[1])
    return [(DROPPED.get(reason, reason.replace("_", " ")), count, examples.get(reason, "")) for reason, count in rows]


DROPPED = {
    "duplicate": "the same as another row",
    "near_duplicate": "nearly the same as another row",
    "contaminated": "holds a question of the evaluation suite",
    "weight": "left out by the weight of its dataset",
    "empty_answer": "has no answer",
    "empty_prompt": "has no question",
    "empty_text": "has no text",
    "missing_column": "lacks a column",
    "malformed": "is malformed",
    "same_answers": "has the same answer twice",
    "no_question": "has two answers without one question",
    "template_refused": "the chat template does not take it",
    "template_mismatch": "the chat template rewrites its answers",
    "personal_data": "holds personal data",
    "language": "is in another language",
    "too_long": "is longer than the recipe takes",
}


def may_see_answers(user: Any, run: Run) -> bool:
    """What a candidate says is shown to members, moderators and its proposer; to others once the screen has passed."""
    if can(user, "read_members", run.repo) or (run.proposed_by_id is not None and run.proposed_by_id == user.pk):
        return True
    checks = run.pull_request.checks.all() if run.pull_request else []
    return any(check.name == "screen" and check.state == Check.State.PASSED for check in checks)


def newest_sampling(run: Run) -> Sampling | None:
    rows = Sampling.objects.filter(pull_request=run.pull_request, model_digest=run.model_digest)
    return rows.order_by("-pk").first() if run.model_digest else None


def describe_evaluations(run: Run) -> list[dict[str, Any]]:
    """The newest evaluation of each suite with its rows: the whole first, then slice by slice."""
    newest = {row.suite_name: row for row in reversed(run_evaluations(run))} if run.model_digest else {}
    found = []
    for evaluation in newest.values():
        results = evaluation.results
        rows = [results["overall"], *results["slices"]] if results else []
        found.append({"evaluation": evaluation, "rows": rows, "has_parent": bool(results.get("parent_digest"))})
    return found


@dataclass(frozen=True)
class SavedStep:
    """A checkpoint: on the worker's disk to go on from, or kept as the model."""

    step: int
    saved_at: datetime
    size_bytes: int
    digest: str = ""  # of the model; "" for one that is only there to go on from


def list_checkpoints(run: Run) -> list[SavedStep]:
    """The newest first. Those on disk are there while the run may still need them."""
    kept = [
        SavedStep(row.step, row.created_at, sum(file["size"] for file in row.files.values()), row.digest)
        for row in run.checkpoints.all()
    ]
    folder = Path(settings.DATA_DIR) / "runs" / str(run.pk) / "out" / "checkpoints"
    for step, path in find_steps(folder):
        try:
            size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
            kept.append(SavedStep(step, datetime.fromtimestamp(path.stat().st_mtime, tz=UTC), size))
        except OSError:
            continue  # the trainer replaced it just now
    return sorted(kept, key=lambda row: (-row.step, row.digest))


def find_steps(folder: Path) -> list[tuple[int, Path]]:
    names = [path for path in folder.glob("step-*") if path.name[5:].isdigit()] if folder.is_dir() else []
    return [(int(path.name[5:]), path) for path in names]


@dataclass(frozen=True)
class Bill:
    """What the training of a run cost, and whom."""

    seconds: float
    payers: list[str]
    refunds: int  # times that nothing was charged since the hub's machinery broke, or nobody worked


def read_bill(run: Run) -> Bill | None:
    rows = list(LedgerEntry.objects.filter(job__in=jobs_of(run)).select_related("user"))
    if not rows:
        return None
    payers = sorted({row.user.username for row in rows if row.seconds})
    return Bill(sum(row.seconds for row in rows), payers, sum(row.kind == "refunded" for row in rows))


def typical_seconds_per_token(repo: Repo) -> float | None:
    """Median of the last runs here, or None when there was none."""
    results = Run.objects.filter(repo=repo, state=Run.State.SUCCEEDED).order_by("-pk").values_list("result", flat=True)
    speeds = [row["seconds"] / row["tokens"] for row in results[:5] if row.get("tokens") and row.get("seconds")]
    return statistics.median(speeds) if speeds else None
