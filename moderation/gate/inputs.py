"""Whether the data that the model learnt from is still there for everybody, with its licence."""

from hub.repos.models import Content, Repo
from hub.repos.reader import facts_of
from hub.storage.errors import StorageError
from moderation.gate.files import check_licence, contents_by_digest
from moderation.gate.origins import files_of, find_run, is_suite, read_lock, suites_of
from moderation.gate.requirements import FAILED, PASSED, SHOWN, WARNING, Requirement
from moderation.rules.policy_file import DataRules
from training.engine.lock import LockedRepository
from training.models import Run


def check_data(run: Run | None, rules: DataRules) -> Requirement:
    """The data that the weights were made of is cleared still; what names no licence is said, or refused where the policy does."""
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
        evidence = {"unlicensed": unlicensed[:100]}
        if rules.unlicensed == "refuse":
            sentence = f"{sentence} The rules of the hub refuse such data; name its licence, or leave it out."
            return Requirement("data", FAILED, sentence, evidence)
        return Requirement("data", WARNING, sentence, evidence)
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


def list_basis(repo: Repo, commit: str) -> set[tuple[int, str]]:
    """(key of the repository, digest) of every content that has to be cleared for a release of `commit`: of its files, and
    of the datasets and suites that its run pins."""
    found = {(repo.pk, digest) for digest in known_facts(repo, commit)}
    lock = read_lock(find_run(repo, commit))
    for pin in lock.repositories if lock is not None else ():
        data_repo = Repo.objects.filter(key=pin.key or "").first() if pin.type == "dataset" else None
        if data_repo is not None:
            found |= {(data_repo.pk, digest) for digest in known_facts(data_repo, pin.commit)}
    return found


def known_facts(repo: Repo, commit: str) -> set[str]:
    names = [name for entry in files_of(repo, commit) for name in facts_of(entry)]
    return set(contents_by_digest(repo, names))
