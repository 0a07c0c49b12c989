"""What the release gate looks at: each requirement with a state, a sentence and its evidence."""

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from hub.common.markdown import split_card
from hub.community.recipe_locks import LOCK
from hub.repos.models import Content, Repo
from hub.repos.places import pair
from hub.repos.reader import digest_of, facts_of
from hub.storage.errors import StorageError
from hub.storage.git import TreeEntry
from moderation.models import Screening
from moderation.policy import AWAITS_RELEASE, QUARANTINED
from moderation.screens import licence_findings
from training.engine.errors import EngineError
from training.engine.lock import Lock, LockedRepository, parse_lock
from training.engine.recipe import parse_recipe
from training.materials import has_model, weights_of
from training.models import Evaluation, Run
from training.suites import most_margin, newest_evaluations, pinned_suites, target_recipe

PASSED, FAILED, WARNING = "passed", "failed", "warning"
SHOWN = 5  # problems named in one sentence
SQL_BATCH = 500  # values in one IN (...), well under SQLite's limit
# What people may mend after the merge: words about the model, which nothing is loaded from.
WORDS = re.compile(r"(?:.*/)?(?:[^/]+\.md|\.gitattributes|LICENSE(?:-[A-Za-z0-9]+)*(?:\.txt)?)")
# Whatever some program loads weights from, also programs that this hub has not.
WEIGHT_ENDINGS = (
    ".safetensors", ".gguf", ".ggml", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".onnx", ".onnx_data", ".msgpack",
    ".tflite", ".mlmodel", ".npz", ".nemo", ".engine", ".pb", ".ot", ".llamafile",
)  # fmt: skip


@dataclass(frozen=True)
class Requirement:
    name: str
    state: str  # passed | failed | warning
    sentence: str
    evidence: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def inspect(repo: Repo, commit: str, *, is_lifting: bool = False) -> list[Requirement]:
    """Every requirement for releasing `commit`, in the order in which a person would ask.

    `is_lifting`: it was published before, so what its own quarantine closed is no obstacle."""
    run = find_run(repo, commit)
    entries = files_of(repo, commit)
    return [
        check_weights(repo, commit, entries, run),
        check_licence(repo, entries),
        check_files(repo, entries, run, is_lifting=is_lifting),
        check_data(run),
        check_evaluation(run),
        check_outputs(run),
    ]


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


def check_weights(repo: Repo, commit: str, entries: list[TreeEntry], run: Run | None) -> Requirement:
    """There is a model, and it is to the last file the one that was evaluated and screened."""
    if not has_model(repo, commit):
        return Requirement(
            "weights", FAILED, "The revision holds no safetensors weights with a config.json; merge some first."
        )
    if run is None or run.pull_request is None:
        return Requirement("weights", PASSED, "The revision holds config.json and safetensors weights.")
    number = run.pull_request.discussion.number
    changed = changed_since(files_of(repo, run.pull_request.merge_commit), entries, run)
    if changed:
        names = ", ".join(changed[:SHOWN])
        sentence = (
            f"What was evaluated and screened is not what would be released: {names} changed after pull request "
            f"#{number}; take the change back, or propose it through a recipe."
        )
        return Requirement("weights", FAILED, sentence, {"changed": changed[:100]})
    strange = strange_weights(entries, run)
    if strange:
        names = ", ".join(strange[:SHOWN])
        sentence = f"Run {run.pk} did not make {names}, so nobody evaluated what such weights say; take them out."
        return Requirement("weights", FAILED, sentence, {"strange": strange[:100]})
    if not holds_lock(repo, commit, run):
        sentence = f"{LOCK} is not what run {run.pk} wrote, so nobody could make the weights again; propose it anew."
        return Requirement("weights", FAILED, sentence, {"run": run.pk})
    return Requirement("weights", PASSED, f"The weights are those of pull request #{number}.", {"run": run.pk})


def changed_since(merged: list[TreeEntry], entries: list[TreeEntry], run: Run) -> list[str]:
    """Files that differ from those of the merge, but for words: a model in another format is another model."""
    before, now = watched(merged), watched(entries)
    taken_out = set(strange_weights(merged, run)) - now.keys()  # as the gate asks
    return sorted(
        path for path in before.keys() | now.keys() if before.get(path) != now.get(path) and path not in taken_out
    )


def watched(entries: list[TreeEntry]) -> dict[str, str]:
    """path -> oid of all but words. A large file is none, whatever its name."""
    return {entry.path: entry.oid for entry in entries if entry.lfs is not None or not WORDS.fullmatch(entry.path)}


def strange_weights(entries: list[TreeEntry], run: Run) -> list[str]:
    """Weights that came with the merge, or lay there before, and that the run did not make."""
    made_here = made_by(run)
    weights = [entry for entry in entries if entry.path.lower().endswith(WEIGHT_ENDINGS)]
    return [entry.path for entry in weights if digest_of(entry) not in made_here]


def check_licence(repo: Repo, entries: list[TreeEntry]) -> Requirement:
    entry = next((entry for entry in entries if entry.path == "README.md" and entry.lfs is None), None)
    text = pair(repo).members.read_blob(entry.oid).decode("utf-8", errors="replace") if entry else ""
    metadata = split_card(text).metadata
    licence = metadata.get("license")
    if not licence:
        return Requirement("licence", FAILED, "The card names no licence; add 'license:' to the top of README.md.")
    held = [item for item in licence_findings(metadata, [entry.path for entry in entries]) if item.severity != "info"]
    if held:
        return Requirement("licence", FAILED, held[0].message)
    return Requirement("licence", PASSED, f"The card names the licence {licence}.")


def contents_by_digest(repo: Repo, digests: list[str]) -> dict[str, Content]:
    found: dict[str, Content] = {}
    for start in range(0, len(digests), SQL_BATCH):
        rows = Content.objects.filter(repo=repo, digest__in=digests[start : start + SQL_BATCH])
        found.update({row.digest: row for row in rows})
    return found


def check_files(repo: Repo, entries: list[TreeEntry], run: Run | None, *, is_lifting: bool = False) -> Requirement:
    """All files of the release are cleared, but for weights of its own run, which wait for exactly this."""
    rows = contents_by_digest(repo, [name for entry in entries for name in facts_of(entry)])
    if is_lifting:
        entries = [entry for entry in entries if not is_quarantined(rows.get(digest_of(entry)))]
    bad = list(uncleared(entries, rows, made_by(run)))
    if bad:
        more = f" and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
        return Requirement("files", FAILED, "; ".join(bad[:SHOWN]) + more + "; take them out or have them cleared.")
    count = len(entries)
    return Requirement("files", PASSED, f"{count} {'file is' if count == 1 else 'files are'} screened and cleared.")


def is_quarantined(content: Content | None) -> bool:
    """Cleared before, and closed by the quarantine alone."""
    return content is not None and content.clearance == Content.Clearance.PENDING and content.reason == QUARANTINED


def made_by(run: Run | None) -> set[str]:
    kept = run.checkpoints.filter(is_final=True).values_list("files", flat=True) if run is not None else []
    return {f"sha256:{pin['sha256']}" for files in kept for pin in files.values()}


def uncleared(entries: list[TreeEntry], rows: dict[str, Content], made_here: set[str]) -> Iterator[str]:
    for entry in entries:
        bytes_, named = (rows.get(name) for name in facts_of(entry))
        content = bytes_ if named is None or named.is_cleared else named
        if content is None:
            yield f"{entry.path} was never screened"
        elif content.clearance == Content.Clearance.CLEARED:
            continue
        elif content.reason != AWAITS_RELEASE:
            yield f"{entry.path} is not cleared ({content.reason or content.get_clearance_display()})"
        elif content.digest not in made_here:
            yield f"{entry.path} was not made by the run of this release"


def check_data(run: Run | None) -> Requirement:
    """The data that the weights were made of is cleared still; what names no licence is said."""
    lock = read_lock(run)
    if run is not None and lock is None:
        return Requirement("data", FAILED, f"Run {run.pk} kept no lock of what it used; propose the recipe again.")
    if lock is None:
        return Requirement("data", WARNING, "Brought weights: what they were trained on is not known to this hub.")
    suites = suites_of(lock)
    bad: list[str] = []
    unlicensed: list[str] = []
    pins = [pin for pin in lock.repositories if pin.type == "dataset"]
    for pin in pins:
        data_repo = Repo.objects.filter(key=pin.key or "").first()
        if data_repo is None:
            bad.append(f"{pin.id} was deleted")
            continue
        problems, has_licence = look_at_data(data_repo, pin)
        bad += problems
        if not has_licence and not is_suite(pin, suites):
            unlicensed.append(pin.id)
    if bad:
        return Requirement("data", FAILED, "; ".join(bad[:SHOWN]) + "; leave it out of the recipe and train again.")
    if unlicensed:
        sentence = f"Cleared, but {', '.join(unlicensed[:SHOWN])} names no licence in its card."
        return Requirement("data", WARNING, sentence)
    what = "1 pinned dataset or suite is" if len(pins) == 1 else f"{len(pins)} pinned datasets and suites are"
    return Requirement("data", PASSED, f"{what} screened and cleared.")


def look_at_data(repo: Repo, pin: LockedRepository) -> tuple[list[str], bool]:
    """What is not cleared in a pinned revision, and whether its card names a licence."""
    try:
        entries = files_of(repo, pin.commit)
    except StorageError:
        return [f"the pinned revision of {pin.id} is gone"], True
    rows = contents_by_digest(repo, [name for entry in entries for name in facts_of(entry)])
    bad = [
        f"{row.path} of {pin.id} is {row.get_clearance_display().lower()}"
        for row in rows.values()
        if row.clearance != Content.Clearance.CLEARED
    ]
    return bad, check_licence(repo, entries).state == PASSED


def check_evaluation(run: Run | None) -> Requirement:
    """Not worse over the whole suite than the parent."""
    if run is None:
        return Requirement("evaluation", WARNING, "Brought weights: no run of this hub evaluated them.")
    newest = finished_evaluations(run)
    if not newest:
        return Requirement("evaluation", FAILED, "No suite was run; add 'evaluate:' to the recipe and propose again.")
    evidence = {"evaluations": [row.pk for row in newest]}
    for row in newest:
        verdict = (row.results.get("overall") or {}).get("verdict") or row.verdict
        if row.parent_name and (verdict == "worse" or row.verdict == "worse"):
            sentence = f"It is worse than its parent on {row.suite_name}; improve the recipe and propose again."
            return Requirement("evaluation", FAILED, sentence, evidence)
        if row.parent_name and verdict == "insufficient":
            sentence = f"{row.suite_name} has too few items to say that it is not worse; use a larger suite or margin."
            return Requirement("evaluation", FAILED, sentence, evidence)
    problem = why_not_believe(run, newest)
    if problem:
        return Requirement("evaluation", FAILED, problem, evidence)
    names = ", ".join(row.suite_name for row in newest)
    if not any(row.parent_name for row in newest):
        return Requirement("evaluation", PASSED, f"Evaluated on {names}; it has no parent.", evidence)
    return Requirement("evaluation", PASSED, f"Not worse than its parent on {names}.", evidence)


def finished_evaluations(run: Run) -> list[Evaluation]:
    try:
        lock = read_lock(run)
        return [row for row in newest_evaluations(run, lock) if row.finished_at is not None] if lock is not None else []
    except EngineError:  # a recipe that this version does not read any more
        return []


def why_not_believe(run: Run, newest: list[Evaluation]) -> str:
    """A suite of the recipe that was not run, or a comparison more lenient than is allowed; "" for neither."""
    lock = read_lock(run)
    known = target_recipe(run.pull_request) if run.pull_request is not None else None
    rows = {(row.suite_name, row.suite_commit): row for row in newest}
    for entry, pin in pinned_suites(lock) if lock is not None else []:
        row, most = rows.get((pin.id, pin.commit)), most_margin((entry, pin), known)
        if row is None:
            return f"The suite {entry.suite} was not run; propose again."
        if row.margin > most:
            return f"{pin.id} was compared with a margin of {row.margin:g}, and {most:g} is allowed; propose again."
    return ""


def check_outputs(run: Run | None) -> Requirement:
    if run is None:
        return Requirement("outputs", FAILED, "Its outputs were not screened here; propose it through a recipe.")
    screening = (
        Screening.objects.filter(
            subject=Screening.Subject.OUTPUT, repo=run.repo, digest=run.model_digest, finished_at__isnull=False
        )
        .order_by("pk")
        .last()
    )
    if screening is None:
        return Requirement("outputs", FAILED, "Its outputs are not screened yet; wait for the check 'screen'.")
    evidence = {"screening": screening.pk}
    if screening.state != Screening.State.PASSED:
        return Requirement("outputs", FAILED, f"Output screening: {screening.summary}", evidence)
    case = screening.cases.filter(state="allowed").order_by("pk").last()
    if case is not None:
        sentence = f"Allowed by moderator {case.decided_by}: {case.decision_reason}"
        return Requirement("outputs", PASSED, sentence, {**evidence, "case": case.pk})
    return Requirement("outputs", PASSED, screening.summary, evidence)
