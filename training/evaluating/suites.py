"""What a proposal does not choose about its own judgement: the suites that its target demands, and how much loss counts as
none on them."""

from hub.accounts.permissions import can
from hub.community.models import PullRequest
from hub.repos.models import Repo
from hub.repos.places import pair
from hub.storage.errors import StorageError
from training.engine.errors import EngineError
from training.engine.evals.suite import DEFAULT_MARGIN, Suite, parse_description
from training.engine.lock import Lock, LockedRepository
from training.engine.recipe import EvaluateSuite, Recipe, parse_recipe
from training.models import Evaluation, Run
from training.proposals.joins import read_known

Pinned = tuple[EvaluateSuite, LockedRepository]


def pinned_suites(lock: Lock) -> list[Pinned]:
    """What the recipe evaluates on, each with its pin. Raises RecipeErrors."""
    pins = {(pin.id.lower(), pin.revision): pin for pin in lock.repositories if pin.type == "dataset"}
    entries = parse_recipe(lock.recipe, allow_planned=True).evaluate
    return [(entry, pins[identify(entry)]) for entry in entries if identify(entry) in pins]


def identify(entry: EvaluateSuite) -> tuple[str, str]:
    """Another revision is another suite: it may ask less."""
    return entry.suite.repo.lower(), entry.suite.revision


def newest_evaluations(run: Run, lock: Lock) -> list[Evaluation]:
    """The newest of each pinned suite. One repository at two revisions is two suites: neither hides the other."""
    rows = Evaluation.objects.filter(pull_request=run.pull_request, model_digest=run.model_digest).order_by("pk")
    newest = {(row.suite_name, row.suite_commit): row for row in rows}
    pins = dict.fromkeys((pin.id, pin.commit) for _, pin in pinned_suites(lock))
    return [newest[pin] for pin in pins if pin in newest]


def target_recipe(pull_request: PullRequest) -> Recipe | None:
    """The recipe of the target that the candidate was built on: its maintainers merged it."""
    target = pull_request.candidate_target
    return read_known(pull_request.discussion.repo, target) if target else None


def dropped_suites(recipe: Recipe, pull_request: PullRequest) -> list[str]:
    """Suites of the target that the proposal leaves out, and whose author has no say in that."""
    known = target_recipe(pull_request)
    if known is None or can(pull_request.discussion.author, "write", pull_request.discussion.repo):
        return []
    kept = {identify(entry) for entry in recipe.evaluate}
    return [str(entry.suite) for entry in known.evaluate if identify(entry) not in kept]


def choose_margin(suite: Pinned, known: Recipe | None) -> float | None:
    """What the recipe asks for, where that is allowed; else what the target's recipe states; None: the suite's own hold."""
    entry, _ = suite
    if entry.margin is None or entry.margin <= most_margin(suite, known):
        return entry.margin
    return stated_margin(entry, known)


def most_margin(suite: Pinned, known: Recipe | None) -> float:
    """The largest margin that a verdict may rest on: what the suite says itself, or what the target's recipe states."""
    entry, pin = suite
    return max(own_margin(pin), stated_margin(entry, known) or 0.0)


def stated_margin(entry: EvaluateSuite, known: Recipe | None) -> float | None:
    """What the target's recipe allows on this suite."""
    rows = known.evaluate if known is not None else ()
    return next((row.margin for row in rows if identify(row) == identify(entry)), None)


def own_margin(pin: LockedRepository) -> float:
    described = read_suite_at(pin)
    return described.margin if described is not None else DEFAULT_MARGIN


def ignored_margins(lock: Lock, known: Recipe | None) -> list[str]:
    """A sentence for each margin that is not allowed."""
    return [
        f"The margin {entry.margin:g} on {pin.id} is more than the suite allows; it counts once the target's recipe has it."
        for entry, pin in pinned_suites(lock)
        if entry.margin is not None and choose_margin((entry, pin), known) != entry.margin
    ]


def read_suite_at(pin: LockedRepository) -> Suite | None:
    """The description of a pinned suite; None where there is none that can be read."""
    repo = Repo.objects.filter(key=pin.key or "").first()
    try:
        entry = pair(repo).members.entry(pin.commit, "suite.yaml") if repo is not None else None
        if repo is None or entry is None or entry.lfs is not None:
            return None
        return parse_description(pair(repo).members.read_blob(entry.oid))
    except (StorageError, EngineError):
        return None
