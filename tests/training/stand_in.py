"""A run up to its training, and programs that take the engine's place: they say and do what the engine would, at once."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.training.line import Line, run_waiting_jobs

PRELUDE = """\
import json, os, signal, sys
from pathlib import Path
argv = sys.argv[1:]
inputs, out = Path(argv[argv.index("--inputs") + 1]), Path(argv[argv.index("--out") + 1])
say = lambda event, **data: print(json.dumps({"event": event, **data}), flush=True)
with (out.parent / "starts").open("a") as starts:
    starts.write("started\\n")
"""
FINISH = """\
import shutil
say("metrics", step=4, steps=4, loss=2.5, learning_rate=0.001, grad_norm=1.0, tokens_per_s=900, eta_s=0)
(out / "metrics.jsonl").write_text(json.dumps({"step": 4, "loss": 2.5}) + "\\n")
shutil.copytree(next(inputs.rglob("*.safetensors")).parent, out / "model", dirs_exist_ok=True)
(out / "recipe.lock").write_text((inputs / "recipe.lock").read_text())
result = {"steps": 4, "tokens": 1024, "seconds": 1.5, "final_loss": 2.5, "model_digest": "sha256:" + "a" * 64}
(out / "result.json").write_text(json.dumps(result))
say("done", **result)
"""


def act_as_engine(monkeypatch: pytest.MonkeyPatch, *acts: str) -> None:
    """The n-th start of the engine runs the n-th of these programs, later ones the last."""
    started = []

    def start(arguments: list[str], *, own: Path, reads: Any = (), **popen: Any) -> "subprocess.Popen[str]":
        code = PRELUDE + acts[min(len(started), len(acts) - 1)]
        started.append(code)
        command = [sys.executable, "-S", "-c", code, *arguments]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=own, start_new_session=True, **popen)

    monkeypatch.setattr("training.workers.worker.start_engine", start)


def prepared_run(line: Line, **recipe: Any) -> Any:
    """A run whose data is prepared and whose training waits for a worker."""
    from django.utils import timezone

    from hub.common import jobs
    from hub.common.models import Job
    from training.models import Corpus, Run
    from training.running import runs

    line.propose(**{"suite": False, **recipe})
    run_waiting_jobs(kinds=("training.rebuild",))
    run = Run.objects.get()
    lease = jobs.claim(str(run.prepare_job_id), now=timezone.now())
    assert lease is not None
    with lease.hold():
        corpus = Corpus.objects.create(digest="sha256:" + "c" * 64, rows=22, tokens=900)
        Run.objects.filter(pk=run.pk).update(corpus=corpus)
        runs.show(run, "prepare", "passed", "22 rows, 900 tokens.")
        runs.prepared(run)
    jobs.finish(lease, Job.State.SUCCEEDED, "")
    run.refresh_from_db()
    return run
