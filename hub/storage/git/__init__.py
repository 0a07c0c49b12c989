"""git as the hub keeps it: bare repositories over libgit2, in pairs of a members' and a public half."""

from hub.storage.git.commits import CommitInfo
from hub.storage.git.diffs import Change, NewBlob
from hub.storage.git.merges import Resolver
from hub.storage.git.operations import (
    ANY,
    AddFile,
    AddPointer,
    Anything,
    Author,
    CopyFile,
    DeleteFile,
    DeleteFolder,
    Operation,
    check_path,
    check_ref,
)
from hub.storage.git.pair import RepositoryPair
from hub.storage.git.pointers import LfsPointer, format_pointer, parse_pointer
from hub.storage.git.refs import RefMove
from hub.storage.git.repository import GitRepo
from hub.storage.git.trees import TreeEntry

__all__ = [
    "ANY",
    "AddFile",
    "AddPointer",
    "Anything",
    "Author",
    "Change",
    "CommitInfo",
    "CopyFile",
    "DeleteFile",
    "DeleteFolder",
    "GitRepo",
    "LfsPointer",
    "NewBlob",
    "Operation",
    "RefMove",
    "RepositoryPair",
    "Resolver",
    "TreeEntry",
    "check_path",
    "check_ref",
    "format_pointer",
    "parse_pointer",
]
