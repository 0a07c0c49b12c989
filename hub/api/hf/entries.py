"""Files and folders as the stock client reads them."""

from typing import Any

from hub.api.hf.times import format_time
from hub.repos.models import Content
from hub.repos.reader import LastChange, RepoReader
from hub.storage.git import TreeEntry

SQL_BATCH = 500  # values in one IN (...)
SAFETY = {"cleared": "safe", "pending": "queued", "withheld": "unsafe"}


def readable(reader: RepoReader, entries: list[TreeEntry]) -> list[TreeEntry]:
    """Without the large files whose bytes this reader may not have: a snapshot of the listing must be downloadable.
    Members see everything."""
    if reader.is_member:
        return entries
    digests = [f"sha256:{entry.lfs.sha256}" for entry in entries if entry.lfs]
    allowed: set[str] = set()
    for start in range(0, len(digests), SQL_BATCH):
        rows = Content.objects.filter(repo=reader.repo, digest__in=digests[start : start + SQL_BATCH])
        for digest, clearance, added_by in rows.values_list("digest", "clearance", "added_by_id"):
            is_own = bool(reader.pull_request_refs) and added_by == reader.user.pk
            if clearance == Content.Clearance.CLEARED or is_own:
                allowed.add(digest)
    return [entry for entry in entries if entry.lfs is None or f"sha256:{entry.lfs.sha256}" in allowed]


def list_files(reader: RepoReader, commit: str) -> list[TreeEntry]:
    """All files of a commit that this reader may download."""
    entries = reader.tree(commit, recursive=True)
    return readable(reader, [entry for entry in entries if entry.type == "file"])


def describe_entries(
    reader: RepoReader, commit: str, entries: list[TreeEntry], *, expand: bool
) -> list[dict[str, Any]]:
    """Entries of `tree` and `paths-info`; with `expand` also the last commit and the state of screening."""
    hashes: dict[str, str] = {}
    shas = [entry.lfs.sha256 for entry in entries if entry.lfs]
    for start in range(0, len(shas), SQL_BATCH):
        hashes.update(reader.xet_hashes(shas[start : start + SQL_BATCH]))
    changes: dict[str, LastChange] = {}
    facts: dict[str, Content] = {}
    if expand:
        changes = reader.last_changes(commit, [entry.path for entry in entries])
        facts = reader.uncleared(commit, entries)
    # Many paths share a commit, and nearly all are safe: each is described once.
    told = {oid: describe_change(change) for oid, change in {change.oid: change for change in changes.values()}.items()}
    safe = describe_safety(None)
    described = []
    for entry in entries:
        item = describe_entry(entry, hashes)
        if entry.path in changes:
            item["lastCommit"] = told[changes[entry.path].oid]
        if expand and entry.type == "file":
            item["securityFileStatus"] = describe_safety(facts[entry.path]) if entry.path in facts else safe
        described.append(item)
    return described


def describe_entry(entry: TreeEntry, xet_hashes: dict[str, str]) -> dict[str, Any]:
    """The `oid` of a large file is the git id of its pointer, `lfs.oid` its sha256, `size` that of the real file."""
    item: dict[str, Any] = {"type": entry.type, "oid": entry.oid, "size": entry.size or 0, "path": entry.path}
    if entry.lfs:
        item["lfs"] = {"oid": entry.lfs.sha256, "size": entry.lfs.size, "pointerSize": entry.lfs.pointer_size}
        if entry.lfs.sha256 in xet_hashes:
            item["xetHash"] = xet_hashes[entry.lfs.sha256]
    return item


def describe_change(change: LastChange) -> dict[str, str]:
    return {"id": change.oid, "title": change.title, "date": format_time(change.date)}


def describe_safety(content: Content | None) -> dict[str, Any]:
    """What strangers see listed is cleared; members see what is not."""
    status = SAFETY[content.clearance] if content else "safe"
    message = content.reason if content else ""
    return {"status": status, "message": message, "avScan": None, "pickleImportScan": None}


def describe_sibling(entry: TreeEntry, *, with_blobs: bool) -> dict[str, Any]:
    item: dict[str, Any] = {"rfilename": entry.path}
    if with_blobs:
        item |= {"blobId": entry.oid, "size": entry.size}
        if entry.lfs:
            item["lfs"] = {"sha256": entry.lfs.sha256, "size": entry.lfs.size, "pointerSize": entry.lfs.pointer_size}
    return item
