"""Operations on a tree, without an index: only the folders on the way to a change are read and written."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pygit2

from hub.storage.errors import InvalidOperation, UnknownPath
from hub.storage.git.objects import ObjectBatch
from hub.storage.git.operations import (
    AddFile,
    AddPointer,
    CopyFile,
    DeleteFile,
    DeleteFolder,
    Operation,
    check_path,
    check_twins,
)
from hub.storage.git.pointers import format_pointer
from hub.storage.git.trees import (
    EXECUTABLE,
    FILE,
    FOLDER,
    Leaf,
    find_file,
    find_leaf,
    format_tree,
    read_tree,
)


@dataclass(frozen=True)
class Put:
    path: str
    oid: str
    mode: bytes | None  # None keeps what an existing file has


Step = Put | DeleteFile | DeleteFolder


def prepare_steps(handle: pygit2.Repository, operations: Sequence[Operation], batch: ObjectBatch) -> list[Step]:
    """Check every path and hash every content, once, whatever head the steps are later replayed on."""
    return [_prepare(handle, operation, batch) for operation in operations]


def _prepare(handle: pygit2.Repository, operation: Operation, batch: ObjectBatch) -> Step:
    if isinstance(operation, DeleteFolder):
        return DeleteFolder(check_path(operation.path.removesuffix("/")))
    path = check_path(operation.path)
    if isinstance(operation, DeleteFile):
        return operation
    if isinstance(operation, AddFile):
        return Put(path, batch.add("blob", operation.content), None)
    if isinstance(operation, AddPointer):
        return Put(path, batch.add("blob", _format_pointer(operation)), None)
    return _prepare_copy(handle, operation)


def _format_pointer(operation: AddPointer) -> bytes:
    try:
        return format_pointer(operation.sha256, operation.size)
    except ValueError:
        raise InvalidOperation(f"'{operation.path}' needs a sha256 of 64 hex digits and a size in bytes.") from None


def _prepare_copy(handle: pygit2.Repository, operation: CopyFile) -> Put:
    leaf = find_file(handle, operation.source_commit, operation.source_path)
    if leaf is None:
        raise UnknownPath(f"'{operation.source_path}' is no file in {operation.source_commit[:12]}; nothing to copy.")
    return Put(operation.path, leaf.oid, leaf.mode)


@dataclass
class _Node:
    """What happens to one name in a folder."""

    put: Put | None = None
    deleted: bool = False  # the file or folder that stood here goes, whole
    children: dict[str, "_Node"] = field(default_factory=dict)


class TreeEdit:
    """Steps in order over a base tree. Later steps see what earlier ones did."""

    def __init__(self, handle: pygit2.Repository, base: str | None) -> None:
        self._handle = handle
        self._base = base
        self._root = _Node()

    def apply(self, step: Step) -> None:
        """Raises UnknownPath when a step deletes what is not there."""
        if isinstance(step, Put):
            self._node(step.path).put = step
        elif isinstance(step, DeleteFile):
            self._delete_file(step.path)
        else:
            self._delete_folder(step.path)

    def _node(self, path: str) -> _Node:
        node = self._root
        for name in path.split("/"):
            node = node.children.setdefault(name, _Node())
        return node

    def _delete_file(self, path: str) -> None:
        base = self._base_leaf(path)
        node = self._node(path)
        if node.put is None and (base is None or base.mode == FOLDER):
            raise UnknownPath(f"A file with this name doesn't exist: '{path}'; nothing to delete.")
        node.put = None
        node.deleted = node.deleted or base is not None and base.mode != FOLDER

    def _delete_folder(self, path: str) -> None:
        base = self._base_leaf(path)
        node = self._node(path)
        if not _adds_files(node) and (base is None or base.mode != FOLDER):
            raise UnknownPath(f"A folder with this name doesn't exist: '{path}'; nothing to delete.")
        node.children.clear()
        node.deleted = True

    def _base_leaf(self, path: str) -> Leaf | None:
        """What the base holds at `path` and no earlier step deleted."""
        node: _Node | None = self._root
        for name in path.split("/"):
            node = node.children.get(name) if node else None
            if node and node.deleted:
                return None
        return find_leaf(self._handle, self._base, path) if self._base else None

    def write(self, batch: ObjectBatch) -> str:
        """Add the new trees to `batch` and return the root's id.

        Raises InvalidOperation where a file and a folder want the same name: delete the one in the same commit."""
        return self._write_folder(self._root, self._base, "", batch) or batch.add("tree", b"")

    def _write_folder(self, node: _Node, base: str | None, path: str, batch: ObjectBatch) -> str | None:
        entries = read_tree(self._handle, base) if base else {}
        before = set(entries)
        for name, child in node.children.items():
            key, where = name.encode(), f"{path}/{name}" if path else name
            leaf = self._settle(child, entries.get(key), where, batch)
            if leaf is None:
                entries.pop(key, None)
            else:
                entries[key] = leaf
        if new := entries.keys() - before:
            check_twins(entries, new=new, folder=path)
        return batch.add("tree", format_tree(entries)) if entries else None

    def _settle(self, node: _Node, before: Leaf | None, path: str, batch: ObjectBatch) -> Leaf | None:
        """What stands at `path` afterwards."""
        base = None if node.deleted else before
        is_folder = base is not None and base.mode == FOLDER
        if base is not None and not is_folder and _adds_files(node):
            raise InvalidOperation(f"'{path}' is a file; delete it in the same commit to make it a folder.")
        folder = None
        if node.children and (base is None or is_folder):
            folder = self._write_folder(node, base.oid if base else None, path, batch)
        elif is_folder and base is not None:
            folder = base.oid
        if node.put is not None and folder is not None:
            raise InvalidOperation(f"'{path}' is a folder; delete it in the same commit to make it a file.")
        if node.put is not None:
            return Leaf(node.put.mode or _keep_mode(before), node.put.oid)
        if folder is not None:
            return Leaf(FOLDER, folder)
        return base if not is_folder else None


def _adds_files(node: _Node) -> bool:
    """Whether any file is put below this node."""
    return any(child.put is not None or _adds_files(child) for child in node.children.values())


def _keep_mode(before: Leaf | None) -> bytes:
    return EXECUTABLE if before is not None and before.mode == EXECUTABLE else FILE
