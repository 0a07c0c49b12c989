"""Archives as bytes: written, taken apart, changed and packed again."""

import hashlib
import io
import json
import random
import tarfile
from typing import Any

from tests.recordings import make_recording

BYTES = make_recording(5_000, random.Random(1))


def put_large(repo: Any, by: Any) -> None:
    from hub.community.contributions import commit
    from hub.repos.blobs import record_upload, store
    from hub.storage.git import AddFile, AddPointer

    stored = store().add([BYTES])
    record_upload(repo=repo, by=by, stored=stored)
    files = [AddFile("tides.csv", b"harbour,high\n"), AddPointer("big.bin", stored.sha256, stored.size)]
    commit(repo=repo, by=by, revision=None, operations=files, title="Tables", door="api")


def export(repo: Any) -> bytes:
    from hub.community.archives.writing import export_repo

    made = export_repo(repo)
    data = b"".join(made.pieces)
    assert len(data) == made.size
    return data


def take(data: bytes, by: Any, name: str = "again", **more: Any) -> Any:
    from hub.community.archives.reading import import_archive

    return import_archive(stream=io.BytesIO(data), by=by.user, name=name, **more)


def talks_of(repo: Any) -> list[Any]:
    """As anybody reads them, whoever is credited here."""
    from hub.community.archives.writing import list_records
    from hub.repos.places import pair

    kept = ("discussion", "event")
    return [row for row in list_records(repo, pair(repo).members.refs()) if row["record"] in kept]


def unpack(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]


def pack(members: list[tuple[str, bytes]]) -> bytes:
    from hub.community.archives.tar import END, format_header, padding

    return b"".join(format_header(name, len(data)) + data + padding(len(data)) for name, data in members) + END


def repack(files: dict[str, bytes], **changed: bytes) -> bytes:
    """With a manifest that tells the truth of what was changed: `records`, `bundle`."""
    files = files | {
        {"records": "records.jsonl", "bundle": "repository.bundle"}[key]: data for key, data in changed.items()
    }
    manifest = json.loads(files["manifest.json"])
    for row in manifest["entries"]:
        row["size"], row["sha256"] = len(files[row["name"]]), hashlib.sha256(files[row["name"]]).hexdigest()
    return pack(
        [
            ("manifest.json", json.dumps(manifest).encode()),
            *((row["name"], files[row["name"]]) for row in manifest["entries"]),
        ]
    )


def nothing_is_left(settings: Any) -> bool:
    from hub.repos.models import Repo

    return Repo.everything.count() == 1 and len(list(settings.DATA_DIR.glob("git/*/*"))) == 1
