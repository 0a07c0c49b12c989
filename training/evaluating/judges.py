"""Judges of a suite's pairwise tasks, laid out for the engine: models of this hub that all people behind an evaluation may read."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.contrib.auth.models import AnonymousUser

from hub.accounts.permissions import require
from hub.common.errors import HubError
from hub.common.jobs import JobRefused
from hub.community.contributions import reader_for
from hub.repos.find import find_repo
from hub.repos.models import Repo
from training.engine.errors import EngineError
from training.engine.evals.suite import parse_description
from training.workers.materials import has_model, model_folder


def lay_out_judges(suite: Path, *people: Any) -> dict[str, Path]:
    """Folder of each judge by its name in suite.yaml. None among `people` is a stranger. Raises JobRefused unless each of
    them may read it: else who pushes to somebody's proposal could have a private model of that person asked."""
    try:
        tasks = parse_description((suite / "suite.yaml").read_bytes()).tasks
    except (OSError, EngineError):
        return {}  # the engine says what is wrong with it
    names = dict.fromkeys(task.judge for task in tasks if task.judge)
    return {name: open_judge(name, [person or AnonymousUser() for person in people or (None,)]) for name in names}


def open_judge(name: str, people: Sequence[Any]) -> Path:
    full_name, _, commit = name.partition("@")
    try:
        for person in people:
            repo = find_repo("model", full_name, person)
            check_judge(repo, commit, person)
    except HubError as problem:
        raise JobRefused(f"The judge {name} of the suite cannot be asked: {problem.message}") from None
    if not has_model(repo, commit):
        raise JobRefused(f"The judge {name} of the suite holds no weights that can be loaded.")
    return model_folder(repo, commit)


def check_judge(repo: Repo, commit: str, user: Any) -> None:
    """Raises HubError unless this person may have every file of the commit: what a judge says tells of its weights."""
    require(user, "read_files", repo)
    reader = reader_for(repo, user)
    for entry in reader.tree(reader.resolve(commit), recursive=True):
        if entry.type == "file":
            reader.check_bytes(entry)


def arguments_of(judges: dict[str, Path]) -> list[str]:
    return [word for name, folder in judges.items() for word in ("--judge", f"{name}={folder}")]
