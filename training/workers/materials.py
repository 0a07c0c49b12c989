"""Files of pinned revisions laid out on disk for the engine, which knows folders and nothing else."""

import os
import shutil
from pathlib import Path

from django.conf import settings

from hub.common.errors import RevisionNotFound
from hub.repos.models import Content, Repo
from hub.repos.places import pair, store
from hub.repos.purged import describe_missing
from hub.repos.reader import digest_of, facts_of
from hub.storage.git import TreeEntry

KEEP_CACHE_BYTES = 20 * 1024**3


def cache_root() -> Path:
    return Path(settings.DATA_DIR) / "cache"


def cached_file(sha256: str) -> Path:
    """The whole file on disk, rebuilt from its chunks at most once."""
    path = cache_root() / "files" / sha256[:2] / sha256
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        store().copy_to(sha256, path)
        path.chmod(0o444)  # hard links of it stand in many input folders
    os.utime(path)
    return path


def link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def lay_out(repo: Repo, commit: str, folder: Path, *, only: tuple[str, ...] = ()) -> list[TreeEntry]:
    """Write every file of `commit` under `folder` (only paths ending in `only`, if given). Idempotent.

    Raises RevisionNotFound for a commit that is gone; where a purge took it, the sentence names the present one."""
    git = pair(repo).members
    if not git.has_commit(commit):
        raise RevisionNotFound(describe_missing(repo, commit))
    entries = [entry for entry in git.tree(commit, recursive=True) if entry.type == "file"]
    if only:
        entries = [entry for entry in entries if entry.path.endswith(only)]
    for entry in entries:
        target = folder / entry.path
        if target.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_name(f".{target.name}.{os.getpid()}")
        draft.unlink(missing_ok=True)
        if entry.lfs is not None:
            link_or_copy(cached_file(entry.lfs.sha256), draft)
        else:
            draft.write_bytes(git.read_blob(entry.oid))
        os.replace(draft, target)
    return entries


def model_folder(repo: Repo, commit: str) -> Path:
    """A folder with the model of a revision, shared by evaluation, sampling and playground."""
    folder = cache_root() / "models" / f"{repo.key}-{commit}"
    done = folder / ".complete"
    if not done.exists():
        lay_out(repo, commit, folder, only=(".json", ".safetensors", ".txt", ".model", ".jinja"))
        done.touch()
    os.utime(done)
    return folder


def forget_revisions(repo: Repo, commits: list[str], files: list[str]) -> None:
    """Remove what was laid out of commits and files that were purged."""
    for commit in commits:
        shutil.rmtree(cache_root() / "models" / f"{repo.key}-{commit}", ignore_errors=True)
    for sha256 in files:
        (cache_root() / "files" / sha256[:2] / sha256).unlink(missing_ok=True)


def has_model(repo: Repo, commit: str) -> bool:
    """Whether a revision holds weights that the engine can load."""
    names = {entry.path for entry in pair(repo).members.tree(commit) if entry.type == "file"}
    return "config.json" in names and any(name.endswith(".safetensors") for name in names)


def weights_of(repo: Repo, commit: str) -> set[tuple[str, str]]:
    """(path, digest) of the weights of a revision; equal sets are the same weights."""
    entries = pair(repo).members.tree(commit)
    return {(entry.path, digest_of(entry)) for entry in entries if entry.path.endswith(".safetensors")}


def weights_bytes(repo: Repo, commit: str) -> int:
    return sum(entry.size for entry in pair(repo).members.tree(commit) if entry.path.endswith(".safetensors"))


def uncleared_files(repo: Repo, commit: str) -> list[Content]:
    """Files of a revision that moderation has not cleared: nothing is trained on them."""
    entries = [entry for entry in pair(repo).members.tree(commit, recursive=True) if entry.type == "file"]
    digests = [name for entry in entries for name in facts_of(entry)]
    found: list[Content] = []
    for start in range(0, len(digests), 500):
        rows = Content.objects.filter(repo=repo, digest__in=digests[start : start + 500])
        found += rows.exclude(clearance=Content.Clearance.CLEARED)
    return found


def trim_cache(*, keep_bytes: int = KEEP_CACHE_BYTES) -> int:
    """Remove the files longest unused beyond `keep_bytes`; returns the bytes freed. Everything can be rebuilt."""
    folders = [(path / ".complete", path) for path in (cache_root() / "models").glob("*")]
    files = [(path, path) for path in (cache_root() / "files").glob("*/*")]
    items = sorted(
        ((marker.stat().st_mtime, path) for marker, path in [*folders, *files] if marker.exists()), reverse=True
    )
    total = freed = 0
    for _, path in items:
        size = path.stat().st_size if path.is_file() else 0  # folders hold hard links of the files
        total += size
        if total > keep_bytes:
            freed += size
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return freed
