"""A suite that cannot be read is refused before anything is trained: after the training would be too late."""

import tempfile
from pathlib import Path

from hub.repos.places import pair
from hub.storage.errors import StorageError
from hub.storage.git import TreeEntry
from training.engine.errors import EngineError
from training.engine.evals.suite import Task, check_task_file, parse_description
from training.engine.recipe import Recipe
from training.proposals.recipes import Pinned, RecipeRefused
from training.workers.materials import cached_file, link_or_copy

DESCRIPTION = "suite.yaml"
MOST_BYTES = 16 << 20  # of the files of a suite that are read here; larger ones are read by the engine in 'prepare'


def check_suites(recipe: Recipe, pins: list[Pinned]) -> None:
    """Raises RecipeRefused with the engine's own sentences: file, line, what, how to mend it."""
    wanted = dict.fromkeys((entry.suite.repo.lower(), entry.suite.revision) for entry in recipe.evaluate)
    refused = []
    for pinned in pins:
        name = (pinned.reference.repo.lower(), pinned.reference.revision)
        if pinned.type == "dataset" and name in wanted and (problems := find_problems(pinned)):
            lines = "\n".join(problems)
            refused.append(f"The suite {pinned.reference.repo}@{pinned.reference.revision} cannot be read:\n{lines}")
    if refused:
        raise RecipeRefused("\n".join(refused))


def find_problems(pinned: Pinned) -> list[str]:
    members = pair(pinned.repo).members
    entry = members.entry(pinned.commit, DESCRIPTION)
    if entry is None:
        return [f"{DESCRIPTION}: the suite has none; add a {DESCRIPTION} that lists its tasks"]
    if entry.lfs is not None or entry.size > MOST_BYTES:
        return [f"{DESCRIPTION}: it is stored as a large file; save it as plain text"]
    try:
        tasks = parse_description(members.read_blob(entry.oid)).tasks
    except EngineError as problem:
        return str(problem).splitlines()
    with tempfile.TemporaryDirectory() as folder:
        room, problems = MOST_BYTES, []
        for task in tasks:
            found = members.entry(pinned.commit, task.file)
            room -= found.size if found else 0
            if room >= 0:
                problems += check_task(pinned, task, found, Path(folder))
        return list(dict.fromkeys(problems))


def check_task(pinned: Pinned, task: Task, entry: TreeEntry | None, folder: Path) -> list[str]:
    place = folder / task.file
    if entry is not None and entry.type == "file" and not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            if entry.lfs is not None:
                link_or_copy(cached_file(entry.lfs.sha256), place)
            else:
                place.write_bytes(pair(pinned.repo).members.read_blob(entry.oid))
        except StorageError:
            return []  # bytes that cannot be had now are said when the inputs are laid out
    try:
        return check_task_file(task, folder)
    except ImportError:  # the packages of models are still being installed; 'prepare' reads it with them
        return []
