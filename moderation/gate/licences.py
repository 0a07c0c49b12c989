"""Whether the licence of a model follows from those of everything it was made of: its bases, theirs, and the data of all.

Weights are made from the weights that they begin with, so a licence that those contradict fails. Whether a model is a
work made from its *data* in the sense of their licences is not settled
(https://creativecommons.org/using-cc-licensed-works-for-ai-training-2), so there who approves is told and decides."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from hub.common.markdown import MAX_CARD_BYTES, split_card
from hub.repos.find import lookup
from hub.repos.models import Repo
from hub.repos.places import pair
from hub.storage.errors import StorageError
from moderation.gate.origins import find_maker, is_suite, read_lock, run_behind, suites_of
from moderation.gate.requirements import FAILED, PASSED, SHOWN, WARNING, Requirement
from moderation.screens.licence_terms import find_terms, may_follow, named_licences, why_not_follow
from training.models import Run

MAX_DEPTH, MAX_ORIGINS = 8, 500  # of models made from models; of repositories looked at
MAX_NAMED = 100  # in one card


@dataclass(frozen=True)
class Origin:
    """A repository that a model was made of, at a commit, and the model through which it came."""

    type: str  # model | dataset
    name: str
    commit: str
    repo: Repo | None  # None: deleted
    run: Run | None = None  # that made it here
    through: str = ""  # name of the model made from it; "" for the candidate itself

    @property
    def is_weights(self) -> bool:
        return self.type == Repo.Type.MODEL

    def licences(self) -> list[str]:
        return named_licences(read_card(self.repo, self.commit)) if self.repo is not None else []

    @property
    def shown(self) -> str:
        """Its name, where everybody may know that it is there."""
        return f"a private {self.type}" if self.repo is not None and self.repo.is_private else self.name

    def __str__(self) -> str:
        return f"{self.shown} (through {self.through})" if self.through else self.shown


def check_lineage(repo: Repo, commit: str, run: Run | None, own: Requirement) -> Requirement:
    """`own`, the requirement of the card's licence, or what in the lineage stands against that licence."""
    if own.state == FAILED:
        return own
    licences = named_licences(read_card(repo, commit))
    found, is_whole = list_origins(repo, commit, run)
    origins = [(origin, origin.licences()) for origin in found]
    if not origins:
        return own
    rows = [{"repository": origin.shown, "commit": origin.commit, "licence": names} for origin, names in origins]
    evidence = {"licence": licences, "origins": rows[:100]}
    problems = [compare(origin, names, licences) for origin, names in origins]
    against = [sentence for sentence, is_sure in problems if sentence and is_sure]
    notes = [sentence for sentence, is_sure in problems if sentence and not is_sure]
    if not is_whole:
        notes.append(f"Only the nearest {len(origins)} repositories that it was made of were compared; read the rest.")
    if against or notes:
        state = FAILED if against else WARNING
        return Requirement("licence", state, " ".join([*against, *notes][:SHOWN]), evidence)
    count = "1 repository" if len(origins) == 1 else f"{len(origins)} repositories"
    sentence = f"{own.sentence} Nothing in the licences of the {count} that it was made of speaks against it."
    return Requirement("licence", PASSED, sentence, evidence)


def compare(origin: Origin, above: list[str], own: list[str]) -> tuple[str, bool]:
    """(what stands against the licences, whether it fails a release). Several above are a choice; of one's own all count."""
    if origin.is_weights and origin.repo is None:
        return f"{origin} was deleted, so nobody can read its licence any more.", False
    if not above:  # of data the requirement "data" says it
        return (f"{origin} names no licence; ask its owner to name one." if origin.is_weights else ""), False
    rows = [[(name, mine, why_not_follow(name, mine)) for mine in own] for name in above]
    allowed = [name for name, row in zip(above, rows, strict=True) if not any(why for _, _, why in row)]
    if allowed:
        if any(find_terms(name) is not None or name in own for name in allowed):
            return "", True
        what = f"{origin} is under {allowed[0]}, of which this hub knows nothing"
        return f"{what}; read whether {own[0]} may stand on what is made from it.", False
    name, mine, why = next(item for item in rows[0] if item[2])
    leave = "start from another model" if origin.is_weights else "leave it out and train again"
    follow = may_follow(name)
    mend = f"name {follow} in the card, or {leave}" if follow else leave
    reach = "" if origin.is_weights else ", as far as that reaches models made from data"
    sentence = f"{origin} is under {name}, which {why}{reach}, and the card names {mine}; {mend}."
    return sentence, origin.is_weights and is_known(name, mine)


def is_known(above: str, own: str) -> bool:
    """Whether a licence that is not in the table is at least known not to be the one that was asked for."""
    terms = find_terms(above)
    return find_terms(own) is not None or (
        terms is not None and (terms.passes_to is not None or not terms.is_changeable)
    )


def list_origins(repo: Repo, commit: str, run: Run | None) -> tuple[list[Origin], bool]:
    """(everything that the model was made of, nearest first, each repository once at each commit; whether that is all)."""
    candidate = Origin(repo.type, repo.full_name, commit, repo, run)
    waiting, origins, is_whole = [(candidate, 0)], list[Origin](), True
    seen: set[tuple[str, str, str]] = set()
    while waiting and len(seen) <= MAX_ORIGINS:
        model, depth = waiting.pop(0)
        if read_lock(model.run) is None and model.repo is not None:
            card = read_card(model.repo, model.commit)
            is_whole = is_whole and all(len(list_stated(card, key)) <= MAX_NAMED for key in ("base_model", "datasets"))
        for part in parts_of(model):
            if (part.type, part.name, part.commit) in seen:
                continue
            seen.add((part.type, part.name, part.commit))
            is_own = part.repo == repo  # earlier weights of the same model: their licence is its own to change
            if not is_own:
                origins.append(replace(part, through="" if model.repo == repo else model.shown))
            if part.is_weights and part.repo is not None:
                if depth < MAX_DEPTH:
                    waiting.append((part, depth + 1))
                else:
                    is_whole = False
    return origins, is_whole and not waiting


def parts_of(model: Origin) -> Iterator[Origin]:
    """What a model was made of: as its run pinned it, else as its card says."""
    lock = read_lock(model.run)
    if lock is None:
        yield from named_in_card(read_card(model.repo, model.commit) if model.repo is not None else {})
        return
    suites = suites_of(lock)
    for pin in lock.repositories:
        if not is_suite(pin, suites):
            found = Repo.objects.filter(key=pin.key or "").first()
            run = run_behind(pin) if pin.type == "model" else None
            yield Origin(pin.type, found.full_name if found is not None else pin.id, pin.commit, found, run)


def named_in_card(card: dict[str, Any]) -> Iterator[Origin]:
    """`base_model` and `datasets` of weights that people brought, where this hub has them for everybody."""
    for kind, key in ((Repo.Type.MODEL, "base_model"), (Repo.Type.DATASET, "datasets")):
        for name in list_stated(card, key)[:MAX_NAMED]:
            found = lookup(kind, name) if isinstance(name, str) else None
            if found is not None and not found.is_private and found.public_head:
                run = find_maker(found, found.public_head) if kind == Repo.Type.MODEL else None
                yield Origin(kind, found.full_name, found.public_head, found, run)


def list_stated(card: dict[str, Any], key: str) -> list[Any]:
    stated = card.get(key)
    return stated if isinstance(stated, list) else [stated]


def read_card(repo: Repo, commit: str) -> dict[str, Any]:
    """The metadata of README.md at a commit; {} where it has none or the commit is gone."""
    members = pair(repo).members
    try:
        entry = members.entry(commit, "README.md")
        is_card = entry is not None and entry.lfs is None and entry.size <= MAX_CARD_BYTES
        text = members.read_blob(entry.oid) if entry is not None and is_card else b""
    except StorageError:
        return {}
    return split_card(text.decode("utf-8", errors="replace")).metadata
