"""Whether the model has a licence, and each of its files is cleared."""

from collections.abc import Iterator

from hub.common.markdown import split_card
from hub.repos.models import Content, Repo
from hub.repos.places import pair
from hub.repos.reader import digest_of, facts_of
from hub.storage.git import TreeEntry
from moderation.gate.origins import made_by
from moderation.gate.requirements import FAILED, PASSED, SHOWN, Requirement
from moderation.rules.reasons import AWAITS_RELEASE, QUARANTINED
from moderation.screens import licence_findings
from training.models import Run

SQL_BATCH = 500  # values in one IN (...), well under SQLite's limit


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
