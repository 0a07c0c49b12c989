"""recipe.lock, read before a run and written after it: what went in, what was decided, what came out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.engine.config import resolve_recipe
from training.engine.devices import describe_device, list_versions
from training.engine.digests import digest_file, list_files
from training.engine.errors import EngineError
from training.engine.events import emit
from training.engine.inputs import Credit, InputRepo
from training.engine.lock import Lock, LockedFile, LockedRepository, read_lock, write_lock
from training.engine.recipe import format_recipe

if TYPE_CHECKING:
    from training.engine.run import Job

NO_COMMIT = "0" * 40  # a folder that somebody laid there by hand


def read_pinned(path: Path) -> Lock | None:
    return read_lock(path) if path.is_file() else None


def check_pins(lock: Lock | None, repos: list[InputRepo], files: Mapping[str, Mapping[str, Any]]) -> None:
    """EngineError when an input is not what the lock says."""
    for repo in repos if lock else []:
        assert lock is not None
        same = (r for r in lock.repositories if (r.type, r.id) == (repo.type, repo.id))
        pinned = next((r for r in same if repo.commit in (None, r.commit)), None)
        for path, pin in (pinned.files if pinned else {}).items():
            found = files[repo.name].get(path, {"sha256": "missing"})
            if found["sha256"] != pin.sha256 and "/." not in f"/{path}":
                raise EngineError(
                    f"{repo.id}/{path} is not the file that recipe.lock pins; fetch the inputs again",
                    code="pin_differs",
                )


def write_run_lock(job: Job, resolved: dict[str, Any], seeds: dict[str, int], corpus_digest: str) -> None:
    """OUT/recipe.lock: the whole build. Says so when a lock among the inputs promised other bytes."""
    model = job.out / "model"
    outputs = {path: digest_file(model / path) for path in list_files(model)}
    lock = Lock(
        recipe=format_recipe(resolve_recipe(job.recipe, resolved)),
        # The suites are among them: rows that hold their questions were left out, so the corpus depends on them.
        repositories=tuple(_pin(repo, job.files[repo.name]) for repo in job.repos),
        resolved=resolved,
        seeds=seeds,
        versions=list_versions(),
        device=describe_device(job.device),
        corpus_digest=corpus_digest,
        outputs=outputs,
    )
    write_lock(lock, job.out / "recipe.lock")
    before = read_pinned(job.inputs.root / "recipe.lock")
    promised = {path: digest.removeprefix("sha256:") for path, digest in before.outputs.items()} if before else {}
    differing = sorted(path for path, digest in outputs.items() if promised.get(path, digest) != digest)
    if differing:
        emit("warning", code="replay_differs", message=f"{', '.join(differing)[:200]} differ from what recipe.lock "
             "promises; equal bits need the same device, thread count and versions.")  # fmt: skip


def _pin(repo: InputRepo, files: Mapping[str, Mapping[str, Any]]) -> LockedRepository:
    pins = {path: LockedFile(f["sha256"], f["size"]) for path, f in files.items()}
    contributors = {
        path: [_describe_credit(credit) for credit in credits] for path, credits in repo.contributors.items()
    }
    key = repo.key if repo.key != repo.id else None
    return LockedRepository(repo.type, repo.id, repo.revision, repo.commit or NO_COMMIT, pins, contributors, key)


def _describe_credit(credit: Credit) -> dict[str, Any]:
    described = {"contributor": credit.contributor, "pull_request": credit.pull_request}
    return described | ({"rows": list(credit.rows)} if credit.rows else {})
