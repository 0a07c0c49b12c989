"""Replays: the lock of a run carried out once more, in a place that is thrown away, and compared with what was recorded.

A worker that has made other weights than the record says nothing about whose fault it is: hence the machine, the versions
and the tolerances in every report, and the outcome in three grades and not two."""

import hashlib
import json
import os
import platform
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils import timezone

from hub.accounts.models import User
from hub.accounts.permissions import can, require
from hub.common import jobs
from hub.common.errors import Conflict, Forbidden, RevisionNotFound
from hub.common.jobs import JobRefused, Lease
from hub.common.models import Job
from hub.community.candidates import people_behind
from hub.repos.models import Content
from hub.storage.errors import StorageError
from training.engine.errors import EngineError
from training.engine.lock import Lock, parse_lock
from training.evaluating.judges import arguments_of, lay_out_judges
from training.events import replay_told
from training.models import Checkpoint, Evaluation, Replay, Run
from training.running.budgets import TRAIN_BUDGET_S, refuse_more
from training.running.inputs import repo_of, write_inputs
from training.running.outputs import evaluations_of
from training.running.replay_verdicts import TOLERANCES, judge
from training.running.runs import settle
from training.workers.materials import cached_file, lay_out, link_or_copy, uncleared_files
from training.workers.worker import engine_processes, engine_threads, in_processes, relay, require_success, supervise

State = Replay.State
MOST_A_DAY = 5  # of one repository: replaying costs as much as training
MAX_SHOWN = 100
SLACK_S = 1800  # beyond four times what the run took
FACTOR = 4  # another worker may be slower


# --- asking


def may_replay(user: Any, run: Run) -> bool:
    """Who maintains the model, and moderators."""
    return run.repo.deleted_at is None and (can(user, "run", run.repo) or can(user, "moderate"))


def why_not_replay(run: Run) -> str:
    """Why nobody can replay this run just now; "" when somebody may."""
    if run.state != Run.State.SUCCEEDED or not run.result.get("lock"):
        return f"Run {run.pk} has made no weights that could be made again."
    if final_of(run) is None:
        return f"The weights of run {run.pk} are not kept any more, so there is nothing to compare with."
    if run.replays.filter(state=State.RUNNING).exists():
        return f"Run {run.pk} is being replayed already."
    day = timezone.now() - timedelta(days=1)
    if Replay.objects.filter(run__repo=run.repo, asked_at__gte=day).count() >= MOST_A_DAY:
        return f"{run.repo.full_name} was replayed {MOST_A_DAY} times within a day; ask again tomorrow."
    return ""


def ask(*, run: Run, by: User | None) -> Replay:
    """Queue a replay. A maintainer's is charged to them; a moderator's, and the operator's (None), costs the hub.

    Raises Forbidden, or Conflict with what stands against it."""
    if by is not None:
        require(by, "read", run.repo)
        if not may_replay(by, run):
            raise Forbidden("Who maintains the model, and moderators, have its runs replayed.")
    payer = by if by is not None and can(by, "run", run.repo) else None
    with transaction.atomic():
        row = Run.objects.select_for_update(of=("self",)).select_related("repo").get(pk=run.pk)
        if reason := why_not_replay(row):
            raise Conflict(reason)
        if payer is not None:
            refuse_more(payer)
        try:
            with transaction.atomic():
                replay = Replay.objects.create(run=row, asked_by=by)
        except IntegrityError:
            raise Conflict(f"Run {run.pk} is being replayed already.") from None
        replay.job = jobs.enqueue(
            "training.replay",
            subject=f"replay:{replay.pk}",
            charged_to=payer,
            budget_s=budget_of(row),
            replay_id=replay.pk,
        )
        replay.save(update_fields=["job"])
        replay_told.send(Replay, replay=replay, act="asked", by=by)
    return replay


def budget_of(run: Run) -> int:
    """Seconds of one attempt: a few times what the run took, and never more than a training may."""
    return int(min(TRAIN_BUDGET_S, FACTOR * float(run.result.get("seconds") or 0) + SLACK_S))


def final_of(run: Run) -> Checkpoint | None:
    return run.checkpoints.filter(is_final=True).last()


def replays_of(run: Run) -> QuerySet[Replay]:
    """Newest first."""
    return Replay.objects.filter(run=run).select_related("asked_by", "job").order_by("-pk")


def newest_compared(run: Run | None) -> Replay | None:
    """The replay that says how far a run can be made again; None when nobody has tried to the end."""
    return replays_of(run).filter(state__in=Replay.COMPARED).first() if run is not None else None


# --- carrying out


def folder_of(replay: Replay) -> Path:
    return Path(settings.DATA_DIR) / "runs" / f"replay-{replay.pk}"


def carry_out(lease: Lease) -> None:
    """Body of training.replay. An attempt goes on where the one before stopped; nothing of it is kept but the report."""
    replay = (
        Replay.objects.select_related("run__repo", "run__proposed_by", "run__pull_request__discussion")
        .filter(pk=lease.payload["replay_id"])
        .first()
    )
    if replay is None or replay.state != State.RUNNING:
        raise JobRefused("The run or its repository is gone.")
    run, folder = replay.run, folder_of(replay)
    lock = read_lock(run)
    refuse_withdrawn(lock)
    lease.report("progress", sentence="Laying out the inputs that the lock pins")
    try:
        write_inputs(folder / "inputs", run.result["lock"])
    except RevisionNotFound as problem:
        raise JobRefused(problem.message) from None
    lease.check()
    train_again(lease, folder)
    lease.report("progress", sentence="Comparing the weights with the recorded ones")
    recorded = lay_out_recorded(run, folder / "recorded")
    found = compare(lease, folder, recorded)
    is_equal = found["recorded_tensors"] == found["remade_tensors"]
    evaluations = [] if is_equal else evaluate_again(lease, run, folder)
    state, sentence = judge(found, evaluations)
    report = {
        "comparison": found,
        "tolerances": TOLERANCES,
        "evaluations": evaluations,
        "lock": digest_of_lock(run),
        **describe_machines(run, lease.job, lock, folder / "out" / "recipe.lock"),
    }
    with lease.hold():
        end(replay, state, sentence, report)


def read_lock(run: Run) -> Lock:
    try:
        return parse_lock(run.result["lock"])
    except (EngineError, KeyError):
        raise JobRefused(f"Run {run.pk} kept no lock that this version reads.") from None


def refuse_withdrawn(lock: Lock) -> None:
    """What was withdrawn is not trained on again, not even to look."""
    for pin in lock.repositories:
        try:
            files = uncleared_files(repo_of(pin), pin.commit)
        except StorageError:
            continue  # laying it out says which commit is gone, and what stands in its place
        if any(row.clearance == Content.Clearance.WITHHELD for row in files):
            # Not which one: the reason stands in the public log, and the input may be somebody's own.
            raise JobRefused("An input was withheld since; what was taken back is not trained on again.")


def train_again(lease: Lease, folder: Path) -> None:
    out, inputs = folder / "out", folder / "inputs"
    arguments = ["run", str(inputs / "recipe.yaml"), "--inputs", str(inputs), "--out", str(out)]
    arguments = in_processes(arguments, engine_processes())
    require_success(supervise(lease, arguments, own=out, reads=[inputs], on_event=relay(lease)))


def lay_out_recorded(run: Run, folder: Path) -> Path:
    """The files that the run made, as they were kept."""
    kept = final_of(run)
    if kept is None:
        raise JobRefused(f"The weights of run {run.pk} are not kept any more.")
    for path, pin in kept.files.items():
        target = folder / path
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            link_or_copy(cached_file(pin["sha256"]), target)
    return folder


def compare(lease: Lease, folder: Path, recorded: Path) -> dict[str, Any]:
    own, remade = folder / "compared", folder / "out" / "model"
    arguments = ["compare", "--recorded", str(recorded), "--remade", str(remade), "--out", str(own / "compared.json")]
    require_success(supervise(lease, arguments, own=own, reads=[recorded, remade], on_event=relay(lease)))
    return dict(json.loads((own / "compared.json").read_text()))


def evaluate_again(lease: Lease, run: Run, folder: Path) -> list[dict[str, Any]]:
    """The remade weights on the suites whose scores were recorded: [{"suite", "commit", "recorded", "remade"}]."""
    rows = []
    for evaluation in evaluations_of(run):
        recorded = (evaluation.results.get("overall") or {}).get("score")
        if recorded is None or evaluation.suite_repo is None:
            continue
        lease.report("progress", sentence=f"Comparing the scores on {evaluation.suite_name}")
        remade = score_again(lease, run, evaluation, folder)
        if remade is not None:
            pin = {"suite": evaluation.suite_name, "commit": evaluation.suite_commit}
            rows.append({**pin, "recorded": recorded, "remade": remade})
    return rows


def score_again(lease: Lease, run: Run, evaluation: Evaluation, folder: Path) -> float | None:
    suite, own, remade = folder / f"suite-{evaluation.pk}", folder / f"scored-{evaluation.pk}", folder / "out" / "model"
    assert evaluation.suite_repo is not None
    try:
        lay_out(evaluation.suite_repo, evaluation.suite_commit, suite)
    except RevisionNotFound as problem:
        raise JobRefused(problem.message) from None
    behind = people_behind(run.pull_request) if run.pull_request else {run.proposed_by_id}
    judges = lay_out_judges(suite, *User.objects.filter(pk__in=behind).order_by("pk"))
    arguments = ["evaluate", "--suite", str(suite), "--model", str(remade), "--out", str(own), *arguments_of(judges)]
    reads = [suite, remade, *judges.values()]
    require_success(supervise(lease, arguments, own=own, reads=reads, on_event=relay(lease)))
    score = json.loads((own / "evaluation.json").read_text())["overall"].get("score")
    return None if score is None else float(score)


def digest_of_lock(run: Run) -> str:
    return "sha256:" + hashlib.sha256(str(run.result["lock"]).encode()).hexdigest()


def describe_machines(run: Run, job: Job, lock: Lock, made: Path) -> dict[str, Any]:
    """Where both were made, without the names of hosts: {"recorded", "remade": {"device", "versions"}, "machine", "place"}."""
    remade = parse_lock(made.read_text())
    return {
        "recorded": {"device": lock.device, "versions": lock.versions},
        "remade": {"device": remade.device, "versions": remade.versions},
        "machine": {
            "system": platform.platform(terse=True),
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "threads": engine_threads(),
            "worker": hash_worker(job.worker.partition(":")[0]),
        },
        "place": tell_place(run.train_job.worker if run.train_job is not None else "", job.worker),
    }


def hash_worker(name: str) -> str:
    """Tells one worker from another without saying what the hub's machines are called."""
    return hashlib.sha256(f"{settings.SECRET_KEY}:{name}".encode()).hexdigest()[:8]


def tell_place(before: str, now: str) -> str:
    """Whether it was made on another machine, by another process of the same one, or nobody knows."""
    if not before or not now:
        return "unknown"
    if before.partition(":")[0] != now.partition(":")[0]:
        return "other machine"
    return "same process" if before == now else "same machine"


def end(replay: Replay, state: str, sentence: str, report: dict[str, Any]) -> None:
    """Written once, in the caller's transaction."""
    changed = Replay.objects.filter(pk=replay.pk, state=State.RUNNING).update(
        state=state, sentence=sentence, report=report, finished_at=timezone.now()
    )
    if changed:
        replay.refresh_from_db()
        replay_told.send(Replay, replay=replay, act="ended", by=replay.asked_by)


def job_ended(job: Job) -> None:
    """on_end: charge who asked, remember what could not be made again, and throw the place away."""
    replay = Replay.objects.select_related("run__repo", "asked_by").filter(pk=job.payload.get("replay_id", 0)).first()
    settle(job)
    if replay is None:
        return
    if job.state != Job.State.SUCCEEDED:
        end(replay, State.FAILED, job.reason or "It was broken off.", {"tolerances": TOLERANCES})
    folder = folder_of(replay)
    transaction.on_commit(lambda: throw_away(folder))


def throw_away(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
