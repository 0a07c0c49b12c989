"""The rows of a repository follow a purge: commits have other ids, contents are forgotten, bytes leave the store."""

from collections.abc import Iterator
from typing import Any

from django.db import transaction

from hub.repos.cards import refresh_card
from hub.repos.commits import remember_last_commits, tell
from hub.repos.events import branch_moved, history_purged, history_purging
from hub.repos.garbage import NEEDED
from hub.repos.loose import hold
from hub.repos.models import (
    BlobXorb,
    Content,
    LastCommit,
    Repo,
    Revision,
    RevisionContent,
    StoredBlob,
    UnnamedBlob,
    UploadedBlob,
)
from hub.repos.places import pair, store
from hub.repos.publication import publish
from hub.repos.purge_models import Purge, PurgedCommit
from hub.repos.quotas import key_of

SQL_BATCH = 400


def bring_rows_in_line(row: Purge, commits: dict[str, str], holding: set[str]) -> None:
    """In the caller's transaction. `commits`: old -> new; `holding`: old ones whose own files have changed."""
    repo = Repo.everything.select_for_update().get(pk=row.repo_id)
    contents = find_contents(row)
    history_purging.send(Purge, purge=row, repo=repo, commits=commits, holding=holding, contents=contents)
    move_revisions(repo, commits)
    remember_commits(row, commits)
    for batch in batches([content.pk for content in contents]):
        Content.objects.filter(pk__in=batch).delete()
    for batch in batches(row.files):
        UploadedBlob.objects.filter(repo=repo, sha256__in=batch).delete()
    if repo.public_floor in commits:
        Repo.everything.filter(pk=repo.pk).update(public_floor=commits[repo.public_floor])


def find_contents(row: Purge) -> list[Content]:
    """The facts about what goes, also those under names of another kind ("<digest>#<kind>")."""
    digests = [*(f"git:{oid}" for oid in row.blobs), *(f"sha256:{sha256}" for sha256 in row.files)]
    found: dict[int, Content] = {}
    for batch in batches(digests):
        found.update({one.pk: one for one in Content.objects.filter(repo=row.repo, digest__in=batch)})
    doomed = set(digests)
    for one in Content.objects.filter(repo=row.repo, digest__contains="#"):
        if one.digest.partition("#")[0] in doomed:
            found[one.pk] = one
    return list(found.values())


def move_revisions(repo: Repo, commits: dict[str, str]) -> None:
    """Credit stays with each commit. Where two have become one, what the second brought counts for the first."""
    kept: dict[str, Revision] = {}
    for batch in batches(list(commits)):
        rows = list(Revision.objects.filter(repo=repo, commit__in=batch).order_by("pk"))
        for row in rows:
            row.commit = commits[row.commit]
            row.parents = [commits.get(parent, parent) for parent in row.parents]
            first = kept.setdefault(row.commit, row)
            if first is not row:
                has = RevisionContent.objects.filter(revision=first).values("content")
                RevisionContent.objects.filter(revision=row).exclude(content__in=has).update(revision=first)
                row.delete()
        Revision.objects.bulk_update([row for row in rows if row.pk], ["commit", "parents"], batch_size=100)


def remember_commits(row: Purge, commits: dict[str, str]) -> None:
    """Whoever pinned an old id hears of the present one, also after a second purge."""
    for batch in batches(list(commits)):
        moved = list(PurgedCommit.objects.filter(repo=row.repo, new__in=batch))
        for one in moved:
            one.new = commits[one.new]
        PurgedCommit.objects.bulk_update(moved, ["new"], batch_size=200)
    rows = [PurgedCommit(repo=row.repo, purge=row, old=old, new=new) for old, new in commits.items()]
    PurgedCommit.objects.bulk_create(rows, ignore_conflicts=True, batch_size=SQL_BATCH)


def drop_files(row: Purge) -> dict[str, int]:
    """Forget the bytes that nobody else has a claim to. The rest of the hub never depends on who else had them."""
    claimed = list_claimed(row) if row.files else set()
    gone = [sha256 for sha256 in row.files if sha256 not in claimed]
    for batch in batches(gone):
        with transaction.atomic():
            keep_counting(row.repo, batch)
            StoredBlob.objects.filter(sha256__in=batch).delete()
            UnnamedBlob.objects.filter(sha256__in=batch).delete()
        for sha256 in batch:
            store().remove_file(sha256)  # its chunks go with the next collection; no door leads to them any more
    return {"removed_files": len(gone), "kept_files": len(row.files) - len(gone)}


def keep_counting(repo: Repo, shas: list[str]) -> None:
    """Their chunks take room until a collection: else whoever brings and purges by turns fills the disk."""
    xorbs = set(BlobXorb.objects.filter(blob__in=shas).values_list("xorb", flat=True))
    for batch in batches(sorted(xorbs)):
        used = BlobXorb.objects.filter(xorb__in=batch).exclude(blob__in=shas).values_list("xorb", flat=True)
        alone = set(batch).difference(used)
        hold(key_of(repo.owner), {f"xorb:{xorb}": store().xorb_size(xorb) or 0 for xorb in alone}, repo=repo)


def list_claimed(row: Purge) -> set[str]:
    """Those that another repository holds or waits to commit, or that runs, releases and attachments need."""
    wanted = set(row.files)
    claimed: set[str] = set()
    for batch in batches(row.files):
        names = [f"sha256:{sha256}" for sha256 in batch]
        others = Content.objects.filter(digest__in=names).exclude(repo=row.repo).values_list("digest", flat=True)
        claimed |= {digest.partition(":")[2] for digest in others}
        uploads = UploadedBlob.objects.filter(sha256__in=batch).exclude(repo=row.repo)
        claimed |= set(uploads.values_list("sha256", flat=True))
    for list_digests in NEEDED.values():
        claimed |= wanted & set(list_digests())
    return claimed


def follow_up(row: Purge, commits: dict[str, str], refs: dict[str, list[str]]) -> None:
    """The public half, pages, pull requests and watchers catch up. Safe to repeat."""
    repo = Repo.everything.for_listing().get(pk=row.repo_id)
    members = pair(repo).members
    publish(repo, is_withdrawal=True)
    history_purged.send(Purge, purge=row, repo=repo, commits=commits)
    main = f"refs/heads/{repo.default_branch}"
    if main in refs and (head := members.read_ref(main)) is not None:
        LastCommit.objects.filter(repo=repo).delete()
        remember_last_commits(repo, members, None, members.peel(head))
    for ref, (old, new) in refs.items():
        tell(branch_moved, Repo, repo=repo, ref=ref, old=old, new=new, by=row.by)
    refresh_card(repo)


def batches(items: list[Any]) -> Iterator[list[Any]]:
    return (items[start : start + SQL_BATCH] for start in range(0, len(items), SQL_BATCH))
