"""What the release gate looks at: each requirement with a state, a sentence and its evidence."""

from dataclasses import asdict, dataclass, field
from typing import Any

from hub.common.markdown import split_card
from hub.repos.models import Content, Repo
from hub.repos.places import pair
from hub.repos.reader import digest_of
from hub.storage.git import TreeEntry
from moderation.models import Screening
from moderation.screening import AWAITS_RELEASE
from training.engine.errors import EngineError
from training.engine.lock import Lock, parse_lock
from training.materials import has_model
from training.models import Evaluation, Run

PASSED, FAILED, WARNING = "passed", "failed", "warning"
MAX_LOCK_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class Requirement:
    name: str
    state: str  # passed | failed | warning
    sentence: str
    evidence: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def find_run(repo: Repo, commit: str) -> Run | None:
    """The run whose merged candidate made these weights: the newest merge at or before `commit` that trained."""
    members = pair(repo).members
    runs = Run.objects.filter(
        repo=repo, state=Run.State.SUCCEEDED, is_superseded=False, pull_request__discussion__status="merged"
    ).select_related("pull_request__discussion", "proposed_by")
    for run in runs.order_by("-finished_at"):
        merge = run.pull_request.merge_commit if run.pull_request else ""
        if merge and (merge == commit or members.is_ancestor(merge, commit)):
            return run
    return None


def read_lock_of(repo: Repo, commit: str) -> Lock | None:
    entry = pair(repo).members.entry(commit, "recipe.lock")
    if entry is None or entry.lfs is not None or entry.size > MAX_LOCK_BYTES:
        return None
    try:
        return parse_lock(pair(repo).members.read_blob(entry.oid).decode("utf-8", errors="replace"))
    except EngineError:
        return None


def inspect(repo: Repo, commit: str) -> list[Requirement]:
    """Every requirement for releasing `commit`, in the order in which a person would ask."""
    run = find_run(repo, commit)
    entries = [entry for entry in pair(repo).members.tree(commit, recursive=True) if entry.type == "file"]
    return [
        check_weights(repo, commit),
        check_licence(repo, entries, commit),
        check_files(repo, entries),
        check_data(repo, commit),
        check_evaluation(run),
        check_outputs(run),
    ]


def check_weights(repo: Repo, commit: str) -> Requirement:
    if has_model(repo, commit):
        return Requirement("weights", PASSED, "The revision holds config.json and safetensors weights.")
    return Requirement(
        "weights", FAILED, "The revision holds no safetensors weights with a config.json; merge some first."
    )


def check_licence(repo: Repo, entries: list[TreeEntry], commit: str) -> Requirement:
    entry = next((entry for entry in entries if entry.path == "README.md" and entry.lfs is None), None)
    text = pair(repo).members.read_blob(entry.oid).decode("utf-8", errors="replace") if entry else ""
    licence = split_card(text).metadata.get("license")
    if licence:
        return Requirement("licence", PASSED, f"The card names the licence {licence}.")
    return Requirement("licence", FAILED, "The card names no licence; add 'license:' to the top of README.md.")


def check_files(repo: Repo, entries: list[TreeEntry]) -> Requirement:
    """All files of the release are cleared, but for weights that wait for exactly this."""
    rows = {row.digest: row for row in Content.objects.filter(repo=repo)}
    bad = []
    for entry in entries:
        content = rows.get(digest_of(entry))
        if content is None:
            bad.append(f"{entry.path} was never screened")
        elif content.clearance != Content.Clearance.CLEARED and content.reason != AWAITS_RELEASE:
            bad.append(f"{entry.path} is not cleared ({content.reason or content.get_clearance_display()})")
    if bad:
        return Requirement("files", FAILED, "; ".join(bad[:5]) + "; take them out or have them cleared.")
    return Requirement("files", PASSED, f"All {len(entries)} files are screened.")


def check_data(repo: Repo, commit: str) -> Requirement:
    """The data that the weights were made of is cleared still."""
    lock = read_lock_of(repo, commit)
    if lock is None:
        return Requirement("data", WARNING, "Brought weights: what they were trained on is not known to this hub.")
    bad = []
    for locked in lock.repositories:
        if locked.type != "dataset":
            continue
        data_repo = Repo.objects.filter(key=locked.key or "").first()
        if data_repo is None:
            bad.append(f"{locked.id} was deleted")
            continue
        entries = [
            entry for entry in pair(data_repo).members.tree(locked.commit, recursive=True) if entry.type == "file"
        ]
        digests = [digest_of(entry) for entry in entries][:900]
        rows = Content.objects.filter(repo=data_repo, digest__in=digests).exclude(clearance=Content.Clearance.CLEARED)
        bad += [f"{row.path} of {locked.id} is {row.get_clearance_display().lower()}" for row in rows[:3]]
    if bad:
        return Requirement("data", FAILED, "; ".join(bad[:5]) + "; leave it out of the recipe and train again.")
    count = sum(locked.type == "dataset" for locked in lock.repositories)
    return Requirement("data", PASSED, f"All {count} pinned datasets and suites are screened and cleared.")


def check_evaluation(run: Run | None) -> Requirement:
    """Not worse over the whole suite than the parent."""
    if run is None:
        return Requirement("evaluation", WARNING, "Brought weights: no run of this hub evaluated them.")
    rows = Evaluation.objects.filter(
        pull_request=run.pull_request, model_digest=run.model_digest, finished_at__isnull=False
    ).order_by("pk")
    newest = list({row.suite_name: row for row in rows}.values())
    if not newest:
        return Requirement("evaluation", FAILED, "No suite was run; add 'evaluate:' to the recipe and propose again.")
    evidence = {"evaluations": [row.pk for row in newest]}
    for row in newest:
        verdict = (row.results.get("overall") or {}).get("verdict") or row.verdict
        if row.parent_name and (verdict == "worse" or row.verdict == "worse"):
            return Requirement("evaluation", FAILED, f"It is worse than its parent on {row.suite_name}.", evidence)
        if row.parent_name and verdict == "insufficient":
            sentence = f"{row.suite_name} has too few items to say that it is not worse; use a larger suite or margin."
            return Requirement("evaluation", FAILED, sentence, evidence)
    names = ", ".join(row.suite_name for row in newest)
    return Requirement("evaluation", PASSED, f"Not worse than its parent on {names}.", evidence)


def check_outputs(run: Run | None) -> Requirement:
    if run is None:
        return Requirement("outputs", FAILED, "Its outputs were not screened here; propose it through a recipe.")
    screening = Screening.objects.filter(
        subject=Screening.Subject.OUTPUT, repo=run.repo, digest=run.model_digest, finished_at__isnull=False
    ).last()
    if screening is None:
        return Requirement("outputs", FAILED, "Its outputs are not screened yet; wait for the check 'screen'.")
    evidence = {"screening": screening.pk}
    if screening.state != Screening.State.PASSED:
        return Requirement("outputs", FAILED, f"Output screening: {screening.summary}", evidence)
    return Requirement("outputs", PASSED, screening.summary, evidence)
