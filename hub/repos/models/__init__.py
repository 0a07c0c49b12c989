"""Repositories and the facts kept about them. Git holds what people made; these rows index it and remember decisions."""

from hub.repos.models.blobs import BlobXorb, LooseBytes, Quota, StoredBlob, UnnamedBlob, UploadedBlob
from hub.repos.models.history import Content, LastCommit, PendingWrite, RepoRelease, Revision, RevisionContent
from hub.repos.models.repos import GATES, Repo, RepoAlias, RepoCollaborator, new_key, reach_of

__all__ = [
    "GATES",
    "BlobXorb",
    "Content",
    "LastCommit",
    "LooseBytes",
    "PendingWrite",
    "Quota",
    "Repo",
    "RepoAlias",
    "RepoCollaborator",
    "RepoRelease",
    "Revision",
    "RevisionContent",
    "StoredBlob",
    "UnnamedBlob",
    "UploadedBlob",
    "new_key",
    "reach_of",
]
