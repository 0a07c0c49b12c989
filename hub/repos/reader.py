"""What one person may see of one repository. Every door reads through a RepoReader and through nothing else.

Members (and moderators) read the members' git repository. Everybody else reads the public one, which holds cleared
objects only; so what is pending or withheld is missing there by construction, whatever id a stranger may know."""

import re
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import datetime
from functools import cached_property
from typing import Any, NamedTuple

from hub.accounts.permissions import can, refuse_files
from hub.common.errors import EntryNotFound, InvalidInput, RevisionNotFound, TooLarge, Withheld
from hub.repos.blobs import is_public
from hub.repos.channels import CHANNELS, find_offered, refuse_quarantined
from hub.repos.models import (
    Content,
    LastCommit,
    Repo,
    Revision,
    RevisionContent,
    StoredBlob,
    UploadedBlob,
)
from hub.repos.naming import digest_under
from hub.repos.places import pair, store
from hub.repos.purged import MAX_ALIKE, describe_missing, find_successor, is_purged_file, renamed_commits
from hub.storage.errors import StorageError, UnknownPath, UnknownRevision
from hub.storage.git import CommitInfo, GitRepo, TreeEntry
from hub.storage.git.operations import FULL_SHA

MAX_TEXT_BYTES = 512 * 1024
# What a gated repository shows everybody: what it is and how its files are kept.
OPEN_FILES = frozenset({"README.md", ".gitattributes"})
ABBREVIATED = re.compile("[0-9a-f]{7,39}")  # of a commit's id, as pages show it
SQL_BATCH = 500  # values in one IN (...)
MAX_WALK, WALK_S = 500, 5.0  # commits and seconds for the last change of paths that the table does not answer


class LastChange(NamedTuple):
    oid: str
    title: str
    date: datetime


class RepoReader:
    """`pull_request_refs` are the refs of the reader's own pull requests ("refs/pr/3"), which a stranger may read by
    page and API before they are cleared (hub.community.contributions.reader_for fills it in)."""

    def __init__(self, repo: Repo, user: Any, *, pull_request_refs: frozenset[str] = frozenset()):
        self.repo = repo
        self.user = user
        self.is_member = can(user, "read_members", repo)
        self.pull_request_refs = pull_request_refs
        both = pair(repo)
        self.git: GitRepo = both.members if self.is_member else both.public
        self._members_git = both.members
        self._own_commits: set[str] = set()

    @cached_property
    def may_read_files(self) -> bool:
        """False for who has no access to a gated repository: names and sizes are shown, bytes are not."""
        return can(self.user, "read_files", self.repo)

    # --- revisions

    def resolve(self, revision: str | None = None) -> str:
        """The commit of a branch, tag, refs/..., full commit id, `stable` or `candidate`. Raises RevisionNotFound, of a
        quarantined release ReleaseDisabled."""
        name = revision or self.repo.default_branch
        if name in CHANNELS:
            offered = find_offered(self.repo, name)
            name = offered.commit if offered is not None else name
        if name in self.pull_request_refs and not self.is_member:
            commit = self._members_git.read_ref(name)
            if commit and self._is_all_own(commit):
                self._own_commits.add(commit)
                return commit
        try:
            return self.git.resolve(name)
        except UnknownRevision:
            if not self.is_member and self._is_own_commit(name):
                return name
            refuse_quarantined(self.repo, name)
            new = find_successor(self.repo, name)
            if new is not None and self.git.has_commit(new):
                raise RevisionNotFound(describe_missing(self.repo, name)) from None
            raise RevisionNotFound(
                f"There is no revision {name!r} in {self.repo.full_name}"
                + ("." if self.is_member else ", or it is not cleared for the public yet.")
            ) from None

    def resolve_longest(self, rest: str) -> tuple[str, str, str]:
        """Split `REV/PATH` where REV may hold slashes: (revision, commit, path). The longest name that exists wins, but the
        id of a commit that exists means this commit, whatever branches are called."""
        parts = rest.strip("/").split("/")
        if FULL_SHA.fullmatch(parts[0]) and self.git.has_commit(parts[0]):
            return parts[0], parts[0], "/".join(parts[1:])
        for length in range(min(len(parts), 8), 0, -1):
            name = "/".join(parts[:length])
            try:
                return name, self.resolve(name), "/".join(parts[length:])
            except RevisionNotFound as problem:
                missing = problem
        raise missing  # of the shortest name, which may be a commit that a purge took

    def find_abbreviated(self, name: str) -> str | None:
        """The one commit that this reader may see and whose id begins with `name`, at least 7 hexadecimal digits; else the
        one that a purge took away, which `resolve` then tells of. What is hidden makes nothing ambiguous."""
        if not ABBREVIATED.fullmatch(name):
            return None
        alike = Revision.objects.filter(repo=self.repo, commit__gte=name, commit__lt=f"{name}g")
        oids = alike.values_list("commit", flat=True)[:MAX_ALIKE]
        found = [oid for oid in oids if self.git.has_commit(oid) or (not self.is_member and self._is_own_commit(oid))]
        if not found:
            found = [old for old, new in renamed_commits(self.repo, name).items() if self.git.has_commit(new)]
        return found[0] if len(found) == 1 else None

    def _is_own_commit(self, commit: str) -> bool:
        """A commit of the reader's own open pull request, by id: the client pins the id after it saw the ref."""
        if commit in self._own_commits:
            return True
        if len(commit) != 40:
            return False
        for ref in self.pull_request_refs:
            head = self._members_git.read_ref(ref)
            if head and (head == commit or self._members_git.is_ancestor(commit, head)) and self._is_all_own(commit):
                self._own_commits.add(commit)
                return True
        return False

    def _is_all_own(self, head: str) -> bool:
        """Whether the reader pushed every commit of `head` that is not public. A member may have merged what waits or is
        unreleased into a stranger's pull request: that stays hidden until it is cleared, like everywhere."""
        public = pair(self.repo).public
        shown = {oid for ref in public.refs().values() if self._members_git.has_commit(oid := public.peel(ref))}
        hidden = self._members_git.ancestors_not_in(head, shown)
        if len(hidden) > MAX_WALK:
            return False
        own = Revision.objects.filter(repo=self.repo, commit__in=hidden, author_id=self.user.pk).count()
        return own == len(hidden)

    def _git_of(self, commit: str) -> GitRepo:
        return self._members_git if commit in self._own_commits else self.git

    def refs(self) -> dict[str, str]:
        return self.git.refs() | self.own_refs()

    def own_refs(self) -> dict[str, str]:
        """Heads of a stranger's own pull requests, of those that hold nothing hidden of others."""
        heads = {} if self.is_member else {ref: self._members_git.read_ref(ref) for ref in self.pull_request_refs}
        return {ref: head for ref, head in heads.items() if head and self._is_all_own(head)}

    # --- trees and files

    def tree(self, commit: str, path: str = "", *, recursive: bool = False) -> list[TreeEntry]:
        try:
            return self._git_of(commit).tree(commit, path.strip("/"), recursive=recursive)
        except UnknownPath:
            raise self._missing(path, commit) from None

    def tree_page(
        self, commit: str, path: str = "", *, recursive: bool = False, start: int, limit: int
    ) -> tuple[list[TreeEntry], int]:
        """Some entries of `tree`, and how many it has."""
        git = self._git_of(commit)
        try:
            return git.tree_page(commit, path.strip("/"), recursive=recursive, start=start, limit=limit)
        except UnknownPath:
            raise self._missing(path, commit) from None

    def hides_large_files(self) -> bool:
        """Whether listings of this repository may name large files whose bytes this reader may not have."""
        waiting = Content.objects.filter(
            repo=self.repo, clearance__in=Content.NOT_CLEARED, digest__startswith="sha256:"
        )
        return not self.is_member and waiting.exists()

    def entry(self, commit: str, path: str) -> TreeEntry:
        entry = self._git_of(commit).entry(commit, path.strip("/"))
        if entry is None:
            raise self._missing(path, commit)
        return entry

    def _missing(self, path: str, commit: str) -> EntryNotFound:
        return EntryNotFound(
            f"There is no {path!r} in {self.repo.full_name} at {commit[:12]}.", headers={"X-Repo-Commit": commit}
        )

    def check_bytes(self, entry: TreeEntry) -> None:
        """Raise Gated where the repository has not let this reader in. Large files are judged one by one: raise Withheld
        unless this reader may have the bytes."""
        self.check_gate(entry)
        if entry.lfs is None or self.may_have(entry.lfs.sha256):
            return
        content = Content.objects.filter(repo=self.repo, digest=f"sha256:{entry.lfs.sha256}").first()
        if content is None and is_purged_file(self.repo, entry.lfs.sha256):
            raise EntryNotFound(f"The bytes of {entry.path} were deleted from {self.repo.full_name} for good.")
        if content is not None and content.clearance == Content.Clearance.WITHHELD:
            raise Withheld(f"{entry.path} in {self.repo.full_name} is withheld: {content.reason or 'see its page.'}")
        raise Withheld(f"{entry.path} in {self.repo.full_name} is not cleared yet; try again in a few minutes.")

    def check_gate(self, entry: TreeEntry) -> None:
        """Raise Gated for all but the card and git's own settings where the repository has not let this reader in."""
        if not self.may_read_files and (entry.lfs is not None or entry.path not in OPEN_FILES):
            raise refuse_files(self.user, self.repo)

    def may_have(self, sha256: str) -> bool:
        """Whether this reader may have a large file's bytes, through whichever door."""
        if not self.may_read_files:
            return False
        content = Content.objects.select_related("repo").filter(repo=self.repo, digest=f"sha256:{sha256}").first()
        if self.is_member:
            return content is not None or UploadedBlob.objects.filter(repo=self.repo, sha256=sha256).exists()
        if content is None or self.repo.is_disabled or self.repo.is_private:
            return False
        is_own = bool(self.pull_request_refs) and content.added_by_id == self.user.pk
        return is_own or is_public(content) or self._has_shown(sha256)

    def _has_shown(self, sha256: str) -> bool:
        """Whether this reader uploaded the file here, which takes all of its bytes."""
        own = UploadedBlob.objects.filter(repo=self.repo, sha256=sha256, by_id=self.user.pk)
        return bool(self.pull_request_refs) and own.exists()

    def read_entry(self, commit: str, entry: TreeEntry, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Bytes [start, end) of a file in pieces of at most 1 MiB; large files come from the byte store."""
        self.check_bytes(entry)
        if entry.lfs is not None:
            return store().read(entry.lfs.sha256, start, end)
        data = self._git_of(commit).read_blob(entry.oid)
        return iter([data[start:end]])

    def read_bytes(self, commit: str, path: str, *, limit: int = MAX_TEXT_BYTES) -> bytes:
        """A whole small file. Raises TooLarge beyond `limit` bytes."""
        entry = self.entry(commit, path)
        if entry.type != "file":
            raise InvalidInput(f"{path!r} is a folder; name a file in it.")
        if entry.size > limit:
            raise TooLarge(f"{path} has {entry.size:,} bytes; here at most {limit:,} are read. Download it instead.")
        return b"".join(self.read_entry(commit, entry))

    def read_text(self, commit: str, path: str, *, limit: int = MAX_TEXT_BYTES) -> str:
        return self.read_bytes(commit, path, limit=limit).decode("utf-8", errors="replace")

    def xet_hash(self, sha256: str) -> str | None:
        return StoredBlob.objects.filter(pk=sha256).values_list("xet_hash", flat=True).first()

    def xet_hashes(self, shas: list[str]) -> dict[str, str]:
        """sha256 -> Xet hash, one query for a whole page of files."""
        return dict(StoredBlob.objects.filter(pk__in=shas).values_list("sha256", "xet_hash"))

    # --- history

    def history(self, commit: str, *, path: str | None = None, skip: int = 0, limit: int = 50) -> list[CommitInfo]:
        return self._git_of(commit).history(commit, path=path, skip=skip, limit=limit)

    def commit_info(self, commit: str) -> CommitInfo:
        return self._git_of(commit).commit_info(commit)

    def diff_text(self, old: str | None, new: str, limit_bytes: int) -> str:
        """Unified diff of two commits that this reader resolved, cut at `limit_bytes`. Raises Gated."""
        if not self.may_read_files:
            raise refuse_files(self.user, self.repo)
        return self._git_of(new).diff_text(old, new, limit_bytes)

    def last_changes(self, commit: str, paths: list[str]) -> dict[str, LastChange]:
        """The last commit of each path: from the table where the reader sees the head it was kept for, else by walking."""
        found: dict[str, LastChange] = {}
        if commit == self.repo.head:  # a member at the head, or a stranger when all of it is public
            rows: list[tuple[str, str, str, datetime]] = []
            for start in range(0, len(paths), SQL_BATCH):
                kept = LastCommit.objects.filter(repo=self.repo, path__in=paths[start : start + SQL_BATCH])
                rows += kept.values_list("path", "commit", "title", "date")
            # The table follows the members' head, which may be ahead of us by a moment: only what this reader's half holds.
            git = self.git
            held = {oid for oid in {row[1] for row in rows} if self.is_member or git.has_commit(oid)}
            found = {path: LastChange(oid, title, date) for path, oid, title, date in rows if oid in held}
        missing = [path for path in paths if path not in found]
        if missing:
            found.update(self._walk_last_changes(commit, missing))
        return found

    def _walk_last_changes(self, commit: str, paths: list[str]) -> dict[str, LastChange]:
        """What cannot be found in time is left out."""
        git = self._git_of(commit)
        found: dict[str, LastChange] = {}
        line = git.first_parents(commit, limit=MAX_WALK)
        parents = [(info.oid, next(iter(info.parents), None)) for info in line]
        by_oid = {info.oid: info for info in line}
        wanted = {path for path in paths if git.entry(commit, path) is not None}
        folder = paths[0].rpartition("/")[0]
        below = folder if all(path.startswith(f"{folder}/") for path in paths) else ""
        with closing(git.changes_along(parents, below=below, limit_s=WALK_S)) as changes, suppress(StorageError):
            while wanted and (step := next(changes, None)):
                info = by_oid[step[0]]
                touched = wanted.intersection(path for path, _ in step[1])
                found |= dict.fromkeys(touched, LastChange(info.oid, info.title, info.date))
                wanted -= touched
        return found

    # --- clearance, for members

    def clearance(self, commit: str, entries: list[TreeEntry]) -> dict[str, Content]:
        """path -> Content for the files of a listing that have a fact; members only, others get nothing."""
        if not self.is_member:
            return {}
        names = {entry.path: facts_of(entry) for entry in entries if entry.type == "file"}
        rows = Content.objects.filter(repo=self.repo, digest__in=[name for both in names.values() for name in both])
        by_digest = {row.digest: row for row in rows}
        found = {path: [by_digest[name] for name in both if name in by_digest] for path, both in names.items()}
        return {
            path: next((row for row in rows if not row.is_cleared), rows[0]) for path, rows in found.items() if rows
        }

    def uncleared(self, commit: str, entries: list[TreeEntry]) -> dict[str, Content]:
        """`clearance` without what is cleared; one short question where nothing waits, as in most repositories."""
        if not self.is_member or not self.repo.contents.filter(clearance__in=Content.NOT_CLEARED).exists():
            return {}
        facts: dict[str, Content] = {}
        for start in range(0, len(entries), SQL_BATCH):
            facts |= self.clearance(commit, entries[start : start + SQL_BATCH])
        return {path: content for path, content in facts.items() if not content.is_cleared}

    def waiting(self, commit: str) -> list[Content]:
        """What keeps a commit from the public, for its page."""
        brought = RevisionContent.objects.filter(revision__repo=self.repo, revision__commit=commit)
        rows = brought.exclude(content__clearance=Content.Clearance.CLEARED).select_related("content")
        return [row.content for row in rows]


def digest_of(entry: TreeEntry) -> str:
    """The name that clearance knows a file by."""
    return f"sha256:{entry.lfs.sha256}" if entry.lfs else f"git:{entry.oid}"


def facts_of(entry: TreeEntry) -> tuple[str, str]:
    """The names of all facts about a file: of its bytes, and of them under a name of this kind."""
    return digest_of(entry), digest_under(digest_of(entry), entry.path)
