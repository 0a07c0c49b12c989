"""Where the files of a release come from: the run that made them and what its lock pins."""

from hub.community.recipe_locks import LOCK
from hub.repos.models import Repo
from hub.repos.places import pair
from hub.storage.errors import StorageError
from hub.storage.git import TreeEntry
from training.engine.errors import EngineError
from training.engine.lock import Lock, LockedRepository, parse_lock
from training.engine.recipe import parse_recipe
from training.models import Run
from training.workers.materials import weights_of


def files_of(repo: Repo, commit: str) -> list[TreeEntry]:
    return [entry for entry in pair(repo).members.tree(commit, recursive=True) if entry.type == "file"]


def find_run(repo: Repo, commit: str) -> Run | None:
    """The run whose weights `commit` should hold: that of the newest training merge at or before it."""
    members = pair(repo).members
    runs = Run.objects.filter(
        repo=repo, state=Run.State.SUCCEEDED, is_superseded=False, pull_request__discussion__status="merged"
    ).select_related("pull_request__discussion__author", "proposed_by")
    for run in runs.order_by("-pull_request__merged_at", "-pk"):
        merge = run.pull_request.merge_commit if run.pull_request else ""
        if merge and (merge == commit or members.is_ancestor(merge, commit)):
            return run
    return None


def find_maker(repo: Repo, commit: str) -> Run | None:
    """The run whose weights `commit` holds, merged or not: a recipe may start from a candidate."""
    weights = {digest for _, digest in weights_of(repo, commit)}
    runs = Run.objects.filter(repo=repo, state=Run.State.SUCCEEDED).order_by("-pk") if weights else []
    return next((run for run in runs if weights <= made_by(run)), None)


def run_behind(pin: LockedRepository) -> Run | None:
    """The run that made the weights of a pinned model. None for weights that people brought, whatever lock lies beside."""
    base = Repo.objects.filter(key=pin.key or "", type=Repo.Type.MODEL).first()
    if base is None:
        return None
    try:
        return find_maker(base, pin.commit) or find_run(base, pin.commit)
    except StorageError:
        return None  # its commit is gone: nothing can be read of it


def read_lock(run: Run | None) -> Lock | None:
    """What a run made its weights of, as it noted it itself: recipe.lock in the repository is a copy that people reach."""
    try:
        return parse_lock(run.result["lock"]) if run is not None else None
    except (EngineError, KeyError):
        return None


def holds_lock(repo: Repo, commit: str, run: Run) -> bool:
    """Whether recipe.lock is byte for byte what the run wrote."""
    entry = pair(repo).members.entry(commit, LOCK)
    text = str(run.result.get("lock", ""))
    return entry is not None and entry.lfs is None and pair(repo).members.read_blob(entry.oid) == text.encode()


def suites_of(lock: Lock) -> set[tuple[str, str]]:
    """(id in lower case, revision) of what the recipe evaluates on and does not train on."""
    try:
        recipe = parse_recipe(lock.recipe, allow_planned=True)
    except EngineError:
        return set()
    data = {(item.repo.repo.lower(), item.repo.revision) for item in recipe.contributions if item.repo is not None}
    return {(item.suite.repo.lower(), item.suite.revision) for item in recipe.evaluate} - data


def is_suite(pin: LockedRepository, suites: set[tuple[str, str]]) -> bool:
    return (pin.id.lower(), pin.revision) in suites


def made_by(run: Run | None) -> set[str]:
    kept = run.checkpoints.filter(is_final=True).values_list("files", flat=True) if run is not None else []
    return {f"sha256:{pin['sha256']}" for files in kept for pin in files.values()}
