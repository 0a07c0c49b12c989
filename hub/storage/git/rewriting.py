"""Histories without certain files: whatever tree, commit or tag holds one of them is written anew without it.

A file is taken out of its folder and nothing is put in its place: a notice would stand where programs expect data, and
would itself have to be screened. Commits keep author, dates and message; one that only brought the file stays, empty.
What neither holds such a file nor stands on a commit that does keeps its id."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from hub.storage.git.objects import ObjectBatch, hash_object
from hub.storage.git.operations import MAX_PATH_BYTES
from hub.storage.git.pointers import MAX_POINTER_BYTES, parse_pointer
from hub.storage.git.processes import LONG_S, run_git
from hub.storage.git.repository import GitRepo
from hub.storage.git.trees import EMPTY_TREE, FOLDER, SUBMODULE, Leaf, find_leaf, format_tree, parse_tree, root_of

EMPTY_BLOB = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"  # hides nothing, and stands in for many files
ENTRY = re.compile(rb"([0-7]+) [^\0]+\0(.{20})", re.DOTALL)
# Signatures are of the old bytes; a tag that was merged in is told of whole, with what it points to.
DROPPED_HEADERS = (b"gpgsig", b"gpgsig-sha256", b"mergetag")
SIGNATURE = re.compile(rb"^-----BEGIN [A-Z ]+-----$.*", re.DOTALL | re.MULTILINE)
FLUSH_BYTES = 64 * 1024**2
MAX_PATHS = 10_000  # that a rehearsal lists


@dataclass
class Rewriting:
    """What changes when files leave a history. Ids are 40 hexadecimal digits."""

    commits: dict[str, str] = field(default_factory=dict)  # old -> new, of every commit whose id changes
    tags: dict[str, str] = field(default_factory=dict)  # likewise, of annotated tags
    trees: set[str] = field(default_factory=set)  # that hold such a file, at any depth
    holding: set[str] = field(default_factory=set)  # commits whose own tree holds one
    paths: set[str] = field(default_factory=set)  # where the files stand in these commits, of a rehearsal


class Rewriter:
    """Looks at every object that a repository holds, also at those that no reference reaches: what lies there can be
    asked for by its id. `run` may be called again for what has come meanwhile."""

    def __init__(self, repo: GitRepo, blobs: Iterable[str], *, is_rehearsal: bool = False) -> None:
        self.blobs = frozenset(blobs) - {EMPTY_BLOB}
        self.found = Rewriting()
        self._repo = repo
        self._handle = repo.handle
        self._is_rehearsal = is_rehearsal
        self._raw = {bytes.fromhex(oid) for oid in self.blobs}
        self._trees: dict[str, str | None] = {}  # -> the same id, another one, or None where nothing is left
        self._roots: set[str] = set()  # of commits that hold such a file
        self._judged: set[str] = set()  # commits and tags
        self._batch = ObjectBatch()
        self._waiting_bytes = 0

    def run(self) -> Rewriting:
        """Judge what is not judged yet, and write the new objects; no reference moves."""
        kinds = list_by_kind(self._repo)
        self._handle = self._repo.handle
        for oid in kinds["tree"]:
            self._judge_tree(oid)
        for oid in kinds["commit"]:
            self._judge_commit(oid)
        for oid in kinds["tag"]:
            self._judge_tag(oid)
        self._flush()
        if self._is_rehearsal:
            self._find_paths(sorted(self._roots))
        return self.found

    def _add(self, kind: str, data: bytes) -> str:
        if self._is_rehearsal:
            return hash_object(kind, data)
        self._waiting_bytes += len(data)
        oid = self._batch.add(kind, data)
        if self._waiting_bytes > FLUSH_BYTES:
            self._flush()
        return oid

    def _flush(self) -> None:
        self._batch.flush(self._handle)
        self._waiting_bytes = 0

    def _read(self, oid: str) -> bytes | None:
        """None for what an interrupted purge or a killed writer left without."""
        try:
            data: bytes = self._handle.odb.read(oid)[1]
        except KeyError:
            return None
        return data

    # trees

    def _judge_tree(self, start: str) -> str | None:
        """The id of the tree without the files, None when nothing is left of it. Without recursion: what no reference
        reaches may be of any depth."""
        waiting: list[tuple[str, bytes | None]] = [(start, None)]
        while waiting:
            oid, data = waiting.pop()
            if oid in self._trees:
                continue
            if data is None:
                data = None if oid == EMPTY_TREE else self._read(oid)
                below = [raw.hex() for mode, raw in ENTRY.findall(data or b"") if mode.lstrip(b"0") == FOLDER]
                unjudged = [folder for folder in below if folder not in self._trees]
                if data is not None and unjudged:
                    waiting += [(oid, data), *((folder, None) for folder in unjudged)]
                    continue
            self._trees[oid] = oid if data is None or not self._holds(data) else self._rewrite_tree(oid, data)
        return self._trees[start]

    def _holds(self, data: bytes) -> bool:
        is_held = False
        for mode, raw in ENTRY.findall(data):
            if mode.lstrip(b"0") == FOLDER:
                is_held |= self._trees[raw.hex()] != raw.hex()
            else:
                is_held |= raw in self._raw and mode != SUBMODULE
        return is_held

    def _rewrite_tree(self, oid: str, data: bytes) -> str | None:
        kept: dict[bytes, Leaf] = {}
        for name, leaf in parse_tree(data).items():
            if leaf.mode == FOLDER:
                new = self._trees[leaf.oid]
                if new is not None:
                    kept[name] = Leaf(leaf.mode, new)
            elif leaf.oid not in self.blobs or leaf.mode == SUBMODULE:
                kept[name] = leaf
        self.found.trees.add(oid)
        return self._add("tree", format_tree(kept)) if kept else None

    def _find_paths(self, roots: Iterable[str]) -> None:
        """Down through the trees that change. A few trees that contain each other unfold without end, so not all."""
        waiting = [("", root) for root in roots]
        seen = set(waiting)
        while waiting:
            folder, oid = waiting.pop()
            for name, leaf in parse_tree(self._read(oid) or b"").items():
                path = folder + name.decode(errors="replace")
                step = (f"{path}/", leaf.oid)
                if leaf.mode == FOLDER and leaf.oid in self.found.trees and step not in seen:
                    seen.add(step)
                    if len(path) < MAX_PATH_BYTES:
                        waiting.append(step)
                elif leaf.oid in self.blobs and leaf.mode not in (FOLDER, SUBMODULE):
                    self.found.paths.add(path)
                if len(self.found.paths) >= MAX_PATHS:
                    return

    # commits and tags

    def _judge_commit(self, start: str) -> None:
        """Parents before children, without recursion: a history is long."""
        waiting = [start]
        while waiting:
            oid = waiting[-1]
            data = self._read(oid) if oid not in self._judged else None
            if data is None:
                self._judged.add(waiting.pop())
                continue
            headers = read_headers(data)
            parents = [value.decode() for key, value in headers if key == b"parent"]
            unjudged = [parent for parent in parents if parent not in self._judged]
            if unjudged:
                waiting += unjudged
                continue
            self._settle_commit(oid, data, headers)
            self._judged.add(waiting.pop())

    def _settle_commit(self, oid: str, data: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        tree = next(value.decode() for key, value in headers if key == b"tree")
        parents = [value.decode() for key, value in headers if key == b"parent"]
        new_tree = self._judge_tree(tree)
        if new_tree != tree:
            self.found.holding.add(oid)
            self._roots.add(tree)
        elif not any(parent in self.found.commits for parent in parents):
            return
        if new_tree is None:
            new_tree = self._add("tree", b"")
        # Two commits that differed by the file alone may have become one.
        new_parents = list(dict.fromkeys(self.found.commits.get(parent, parent) for parent in parents))
        lines = [b"tree " + new_tree.encode(), *(b"parent " + parent.encode() for parent in new_parents)]
        lines += [key + b" " + value for key, value in headers if key not in (b"tree", b"parent", *DROPPED_HEADERS)]
        body = data.partition(b"\n\n")[2]
        self.found.commits[oid] = self._add("commit", b"\n".join(lines) + b"\n\n" + body)

    def _judge_tag(self, start: str) -> None:
        """An annotated tag of a commit, or of another tag, which is looked at first."""
        waiting = [start]
        while waiting:
            oid = waiting[-1]
            data = self._read(oid) if oid not in self._judged else None
            target = data.partition(b"\n")[0].removeprefix(b"object ").decode(errors="replace") if data else ""
            if data and b"\ntype tag\n" in data[:200] and target not in self._judged:
                waiting.append(target)
                continue
            self._judged.add(waiting.pop())
            new = self.found.commits.get(target) or self.found.tags.get(target)
            if data and new is not None:
                said = SIGNATURE.sub(b"", data[len(b"object ") + 40 :])
                self.found.tags[oid] = self._add("tag", b"object " + new.encode() + said)


def read_headers(data: bytes) -> list[tuple[bytes, bytes]]:
    """(key, value) of a raw commit in order; a value keeps its continuation lines."""
    headers: list[tuple[bytes, bytes]] = []
    for line in data.partition(b"\n\n")[0].split(b"\n"):
        if line.startswith(b" ") and headers:
            headers[-1] = (headers[-1][0], headers[-1][1] + b"\n" + line)
        else:
            key, _, value = line.partition(b" ")
            headers.append((key, value))
    return headers


# -- finding what has to go ----------------------------------------------------------------------------------------------


def list_by_kind(repo: GitRepo) -> dict[str, list[str]]:
    """Every object that can be read here, reachable or not, by "commit", "tree", "blob" and "tag"."""
    kinds: dict[str, list[str]] = {"commit": [], "tree": [], "blob": [], "tag": []}
    for oid, kind, _ in list_objects(repo):
        kinds[kind].append(oid)
    return kinds


def list_objects(repo: GitRepo) -> list[tuple[str, str, int]]:
    """(id, kind, bytes) of every object that can be read here."""
    arguments = ["--batch-all-objects", "--unordered", "--batch-check=%(objectname) %(objecttype) %(objectsize)"]
    rows = run_git(repo.path, "cat-file", *arguments, limit_s=LONG_S).decode().splitlines()
    return [(oid, kind, int(size)) for oid, kind, size in (row.split(" ") for row in rows)]


def find_versions(repo: GitRepo, path: str) -> set[str]:
    """Blobs that any commit, reachable or not, holds at this path."""
    handle = repo.handle
    roots = {root_of(handle, oid) for oid in list_by_kind(repo)["commit"]}
    found: set[str] = set()
    for root in roots:
        leaf = find_leaf(handle, root, path)
        if leaf is not None and leaf.mode not in (FOLDER, SUBMODULE):
            found.add(leaf.oid)
    return found - {EMPTY_BLOB}


def find_pointers(repo: GitRepo) -> dict[str, str]:
    """Blob -> SHA-256 of the large file that it names, of every pointer that can be read here."""
    handle = repo.handle
    small = [oid for oid, kind, size in list_objects(repo) if kind == "blob" and size < MAX_POINTER_BYTES]
    pointers = ((oid, parse_pointer(handle.odb.read(oid)[1])) for oid in small)
    return {oid: pointer.sha256 for oid, pointer in pointers if pointer is not None}
