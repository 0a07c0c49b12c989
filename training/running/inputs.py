"""The inputs folder of a run, written from its lock: the same layout that `python -m training.engine fetch` makes."""

import json
from pathlib import Path

from hub.common.jobs import JobRefused
from hub.repos.models import Repo
from training.engine.lock import Lock, LockedRepository, name_folder, parse_lock
from training.workers.materials import lay_out


def repo_of(locked: LockedRepository) -> Repo:
    repo = Repo.objects.filter(key=locked.key or "").first()
    if repo is None:
        raise JobRefused(f"The {locked.type} {locked.id} was deleted; take its line out of recipe.yaml.")
    return repo


def write_inputs(folder: Path, lock_text: str) -> Lock:
    """Lay out every pinned repository with recipe.yaml, recipe.lock and inputs.json beside them. Idempotent."""
    lock = parse_lock(lock_text)
    folder.mkdir(parents=True, exist_ok=True)
    listed = []
    for locked in lock.repositories:
        place = name_folder(locked, lock)
        lay_out(repo_of(locked), locked.commit, folder / place)
        listed.append(
            {
                "type": locked.type,
                "id": locked.id,
                "revision": locked.revision,
                "commit": locked.commit,
                "key": locked.key,
                "folder": place,
                "contributors": locked.contributors,
            }
        )
    (folder / "recipe.yaml").write_text(lock.recipe)
    (folder / "recipe.lock").write_text(lock_text)
    (folder / "inputs.json").write_text(json.dumps({"version": 1, "repositories": listed}))
    return lock
