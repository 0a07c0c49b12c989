"""Download what a recipe.lock pins, so that `run` needs no network. The only part of the engine that knows a hub.

Every file comes from its pinned commit and is compared with its sha256; a second call resumes the first."""

from __future__ import annotations

import argparse
import json
import os
import shutil
from pathlib import Path
from urllib.parse import quote

from training.engine.downloads import Source, download_file, open_source
from training.engine.errors import EngineError
from training.engine.events import emit
from training.engine.lock import Lock, LockedRepository, lock_digest, name_folder, read_lock, write_lock

INPUTS_VERSION = 1
SPARE_BYTES = 64 << 20  # left free on the disk for recipe, lock and the system


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="fetch", description=__doc__)
    parser.add_argument("lock", type=Path, help="the recipe.lock of a build")
    parser.add_argument("--into", type=Path, required=True, help="folder for the inputs")
    parser.add_argument("--endpoint", help="address of the hub; else HF_ENDPOINT, else the one that wrote the lock")
    parser.add_argument("--token", help="access token; better in HF_TOKEN, where other users cannot see it")
    options = parser.parse_args(argv)
    lock = read_lock(options.lock)
    chosen = options.endpoint or os.environ.get("HF_ENDPOINT")
    token = options.token or os.environ.get("HF_TOKEN")
    endpoint = chosen or lock.endpoint
    if not endpoint:
        hint = "add --endpoint https://your-hub"
        raise EngineError(f"The lock names no hub; {hint}.", code="no_endpoint", hint=hint)
    if token and not chosen:
        # A lock is somebody's file: it must not be able to send your token to an address of its own.
        emit("warning", code="token_kept", message="The token is not sent; name the hub with --endpoint to use it.")
        token = None
    fetch(lock=lock, into=options.into, source=open_source(endpoint, token))
    return 0


def fetch(*, lock: Lock, into: Path, source: Source) -> None:
    """Bring every pinned file into `into` and write recipe.yaml, recipe.lock and inputs.json beside them."""
    _claim_folder(into, lock)
    sizes = [pin.size for repository in lock.repositories for pin in repository.files.values()]
    emit("stage", stage="fetch", state="started", files=len(sizes), total_bytes=sum(sizes))
    _check_room(into, lock)
    done_bytes = 0
    for repository in lock.repositories:
        folder = into / name_folder(repository, lock)
        folder.mkdir(parents=True, exist_ok=True)
        for path, pin in sorted(repository.files.items()):
            target = folder / path
            _refuse_links(target, into)
            target.parent.mkdir(parents=True, exist_ok=True)
            download_file(source, _address(repository, path), target, pin, before=done_bytes, total=sum(sizes))
            done_bytes += pin.size
    (into / "recipe.yaml").write_text(lock.recipe, encoding="utf-8")
    _write_inputs(into, lock)
    emit("stage", stage="fetch", state="done", files=len(sizes), bytes=done_bytes)
    emit("done", inputs=str(into), lock_digest=lock_digest(lock))


def _claim_folder(into: Path, lock: Lock) -> None:
    """One folder, one lock: files of another commit left in place would be read as inputs."""
    into.mkdir(parents=True, exist_ok=True)
    claimed = into / "recipe.lock"
    if claimed.exists():
        if lock_digest(read_lock(claimed)) != lock_digest(lock):
            hint = "choose an empty folder"
            raise EngineError(f"{into} holds the inputs of another lock; {hint}.", code="folder_taken", hint=hint)
        return
    if (into / "models").exists() or (into / "datasets").exists():
        hint = "choose an empty folder"
        raise EngineError(f"{into} holds inputs already, but no recipe.lock; {hint}.", code="folder_taken", hint=hint)
    write_lock(lock, claimed)


def _check_room(into: Path, lock: Lock) -> None:
    missing = sum(
        pin.size
        for repository in lock.repositories
        for path, pin in repository.files.items()
        if not (into / name_folder(repository, lock) / path).exists()
    )
    free = shutil.disk_usage(into).free
    if missing + SPARE_BYTES > free:
        hint = "free some space or choose another disk"
        message = f"The inputs need {missing:,} bytes and the disk has {free:,}; {hint}."
        raise EngineError(message, code="disk_full", hint=hint)


def _refuse_links(target: Path, into: Path) -> None:
    """A link planted in the folder would let a download write anywhere."""
    place = target
    while place != into:
        if place.is_symlink():
            raise EngineError(f"{place} is a link; choose an empty folder.", code="link", hint="choose an empty folder")
        place = place.parent


def _address(repository: LockedRepository, path: str) -> str:
    """Path of a file under the hub's address."""
    prefix = "datasets/" if repository.type == "dataset" else ""
    return f"{prefix}{repository.id}/resolve/{repository.commit}/{quote(path, safe='/')}"


def _write_inputs(into: Path, lock: Lock) -> None:
    record = {
        "version": INPUTS_VERSION,
        "repositories": [
            {
                "type": repository.type,
                "id": repository.id,
                "revision": repository.revision,
                "commit": repository.commit,
                "key": repository.key,
                "folder": name_folder(repository, lock),
                "contributors": repository.contributors,
            }
            for repository in lock.repositories
        ],
    }
    draft = into / ".inputs.json"
    draft.write_text(json.dumps(record, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(draft, into / "inputs.json")
