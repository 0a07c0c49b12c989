"""A training in several processes, as the hub's worker starts it: the same weights, one voice, and one end for all."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from hub.common import jobs
from hub.common.jobs import working
from hub.common.models import JobEvent
from hub.community.models import PullRequest
from tests.training.line import Line, checks_of, run_waiting_jobs
from tests.training.test_runs_survive import (
    find_run,
    frequent_checkpoints,  # noqa: F401  # saves early, so that there is something to go on from
    has_checkpoint,
    is_zombie,
    meanwhile,
    resumed_steps,
    run_again,
    trainer_of,
    wait_for,
)
from training.models import Checkpoint, Run
from training.running import runs
from training.workers import worker
from training.workers.worker import engine_processes, in_processes


def ranks_of(trainer: int) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{trainer}/task/{trainer}/children").read_text().split()]


def is_gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists() or is_zombie(pid)


def test_there_are_as_many_processes_as_cards_or_as_the_operator_says(
    settings: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(worker, "CARDS", tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    settings.ENGINE_PROCESSES = 0
    assert engine_processes() == 1
    for name in ("nvidia0", "nvidia1", "nvidia12", "nvidia-uvm", "nvidiactl"):
        (tmp_path / name).touch()
    assert engine_processes() == 3
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert engine_processes() == 2
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert engine_processes() == 1
    settings.ENGINE_PROCESSES = 4
    assert engine_processes() == 4
    assert in_processes(["run", "x"], 1) == ["run", "x"]
    assert in_processes(["run", "x"], 4) == ["launch", "--ranks", "4", "run", "x"]


@pytest.mark.slow
def test_two_processes_make_the_release_of_one_and_speak_with_one_voice(line: Line, settings: Any) -> None:
    from safetensors.torch import load

    from hub.repos.places import store

    made = []
    for count in (1, 2):
        settings.ENGINE_PROCESSES = count
        pull_request = line.propose(
            train="{method: full, steps: 6, batch_tokens: 512, context_tokens: 128, learning_rate: 0.001, seed: 3, "
            "precision: fp32}",  # which `auto` is not for one process on every processor
            suite=False,
        )
        run_waiting_jobs(kinds=("training.rebuild", "training.prepare", "training.train"))
        run = Run.objects.get(pull_request=pull_request)
        assert run.state == Run.State.SUCCEEDED, run.reason
        pin = Checkpoint.objects.get(run=run, is_final=True).files["model.safetensors"]
        made.append((run, load(b"".join(store().read(pin["sha256"])))))
        events = JobEvent.objects.filter(job=run.train_job)
        begun = [event.data for event in events.filter(kind="stage") if event.data.get("ranks")]
        assert [data["ranks"] for data in begun] == [count]
        assert not any("rank" in event.data for event in events)
    (one, alone), (two, together) = made
    assert two.result["final_loss"] == pytest.approx(one.result["final_loss"], rel=1e-4)
    for name, weight in alone.items():
        assert (together[name] - weight).norm() / weight.norm() < 1e-3, name


@pytest.mark.slow
def test_a_killed_rank_takes_the_others_along_and_all_go_on_from_the_checkpoint(
    prepared: PullRequest, settings: Any
) -> None:
    settings.ENGINE_PROCESSES = 2
    run, job = find_run()
    ranks: list[int] = []

    def kill() -> None:
        wait_for(lambda: has_checkpoint(run), "a checkpoint")
        ranks.extend(ranks_of(wait_for(lambda: trainer_of(run), "the trainer")))
        os.kill(ranks[1], signal.SIGKILL)

    killer = meanwhile(kill)
    jobs.run(str(job.pk))
    killer.join(5)
    job.refresh_from_db()
    assert len(ranks) == 2 and job.state == "waiting" and "stopped with code -9" in job.reason
    assert all(is_gone(pid) for pid in ranks)
    run_again(job)
    run.refresh_from_db()
    assert run.state == Run.State.SUCCEEDED and resumed_steps(job)[0] > 0
    assert checks_of(prepared)["train"] == "passed"


@pytest.mark.slow
def test_cancelling_ends_every_rank_after_a_checkpoint(
    prepared: PullRequest, line: Line, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.ENGINE_PROCESSES = 2
    monkeypatch.setattr(working, "HEARTBEAT_S", 0.1)
    run, job = find_run()
    ranks: list[int] = []

    def cancel() -> None:
        wait_for(lambda: has_checkpoint(run), "a checkpoint")
        ranks.extend(ranks_of(wait_for(lambda: trainer_of(run), "the trainer")))
        runs.cancel_run(run=run, by=line.alice)

    thread = meanwhile(cancel)
    jobs.run(str(job.pk))
    thread.join(5)
    job.refresh_from_db()
    assert job.state == "cancelled" and len(ranks) == 2
    assert all(is_gone(pid) for pid in ranks) and trainer_of(run) is None and has_checkpoint(run)
