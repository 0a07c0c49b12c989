"""Large files are listed and copied between repositories, as far as who asks may read them."""

import json
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client

from hub.storage.blobs import StoredFile
from tests.hub.scenes import add, clear, make_repo, members_head, withhold

pytestmark = pytest.mark.django_db
SOURCE = "/api/datasets/alice/tides/lfs-files"


@pytest.fixture
def repo(alice: Any) -> Any:
    return make_repo(alice.user)


@pytest.fixture
def large(repo: Any, alice: Any) -> list[StoredFile]:
    """Three large files, each by a commit of its own and cleared."""
    return [bring(repo, alice, f"{number}.bin", bytes([number]) * 5000) for number in range(3)]


def bring(repo: Any, by: Any, path: str, data: bytes) -> StoredFile:
    from hub.repos.blobs import record_upload
    from hub.repos.places import store
    from hub.storage.git import AddPointer

    stored = store().add([data])
    record_upload(repo=repo, by=by.user, stored=stored)
    add(repo, by.user, {}, operations=[AddPointer(path, stored.sha256, stored.size)])
    clear(repo)
    return stored


def bearer(person: Any) -> dict[str, str]:
    return {"Authorization": f"Bearer {person.token}"}


def copy(client: Client, by: Any, *files: StoredFile, to: str, xet_hash: str | None = None) -> Any:
    named = [{"sha256": one.sha256, "xetHash": xet_hash or one.xet_hash, "filename": "x"} for one in files]
    body = json.dumps({"target": {"type": "dataset", "name": to}, "files": named})
    return client.post(f"{SOURCE}/duplicate", body, content_type="application/json", headers=bearer(by))


def may_commit(repo: Any, by: Any, stored: StoredFile) -> bool:
    from hub.repos.blobs import may_commit_blob

    return may_commit_blob(repo=repo, by=by.user, sha256=stored.sha256)


def test_large_files_are_listed_page_by_page(client: Client, large: list[StoredFile], alice: Any):
    first = client.get(f"{SOURCE}?limit=2", headers=bearer(alice))
    rows = first.json()
    assert [row["filename"] for row in rows] == ["2.bin", "1.bin"]
    assert rows[0]["fileOid"] == rows[0]["oid"] == large[2].sha256
    assert (rows[0]["size"], rows[0]["ref"]) == (5000, "refs/heads/main")
    following = first["Link"].split(">")[0].lstrip("<").replace("http://testserver", "")
    rest = client.get(following, headers=bearer(alice))
    assert [row["filename"] for row in rest.json()] == ["0.bin"] and "Link" not in rest


def test_only_writers_list_them(client: Client, large: list[StoredFile], charlie: Any):
    assert client.get(SOURCE).status_code == 401
    assert client.get(SOURCE, headers=bearer(charlie)).status_code == 403
    assert delete(client, charlie, "0" * 64).status_code == 403


def delete(client: Client, by: Any, *shas: str, rewrite: bool = True) -> Any:
    body = json.dumps({"deletions": {"sha": shas, "rewriteHistory": rewrite}})
    return client.post(f"{SOURCE}/batch", body, content_type="application/json", headers=bearer(by))


def test_a_file_that_is_deleted_for_good_leaves_history_and_store_and_may_come_again(
    client: Client, repo: Any, large: list[StoredFile], alice: Any
):
    from hub.repos.places import pair, store

    assert delete(client, alice, large[1].sha256).status_code == 200
    listed = client.get(SOURCE, headers=bearer(alice)).json()
    assert [row["filename"] for row in listed] == ["2.bin", "0.bin"]
    assert store().find(large[1].sha256) is None and store().find(large[0].sha256) is not None
    head = members_head(repo)
    assert all(pair(repo).members.entry(oid, "1.bin") is None for oid in pair(repo).members.ancestors_not_in(head, []))
    assert client.get("/datasets/alice/tides/resolve/main/1.bin").status_code == 404
    bring(repo, alice, "1.bin", bytes([1]) * 5000)
    assert client.get("/datasets/alice/tides/resolve/main/1.bin").status_code == 200


def test_the_bytes_can_go_alone(client: Client, repo: Any, large: list[StoredFile], alice: Any):
    head = members_head(repo)
    assert delete(client, alice, large[1].sha256, rewrite=False).status_code == 200
    assert members_head(repo) == head
    gone = client.get("/datasets/alice/tides/resolve/main/1.bin", headers=bearer(alice))
    assert gone.status_code == 404 and "deleted from alice/tides for good" in gone["X-Error-Message"]
    bring(repo, alice, "again.bin", bytes([1]) * 5000)
    assert client.get("/datasets/alice/tides/resolve/main/1.bin", headers=bearer(alice)).status_code == 200


def test_a_batch_of_deletions_is_carried_out_whole_or_not_at_all(
    client: Client, repo: Any, large: list[StoredFile], alice: Any
):
    from tests.guards import show_release

    head = members_head(repo)
    refused = delete(client, alice, large[0].sha256, "f" * 64)
    assert refused.status_code == 404 and "f" * 64 in refused["X-Error-Message"]
    for shas in ((), ("x",)):
        assert delete(client, alice, *shas).status_code == 400
    assert delete(client, alice, *["0" * 64] * 1001).status_code == 413
    show_release(repo, commit=head)
    for rewrite in (True, False):
        assert delete(client, alice, large[0].sha256, rewrite=rewrite).status_code == 409
    assert members_head(repo) == head and not repo.purges.exists()


def test_a_stranger_copies_what_is_public_and_nothing_else(
    client: Client, repo: Any, large: list[StoredFile], charlie: Any
):
    plot = make_repo(charlie.user, "plot")
    withhold(repo, "1.bin")
    answer = copy(client, charlie, large[0], large[1], to="charlie/plot")
    assert [row["sha256"] for row in answer.json()["failed"]] == [large[1].sha256]
    assert may_commit(plot, charlie, large[0]) and not may_commit(plot, charlie, large[1])


def test_a_copy_needs_both_names_of_the_file(client: Client, large: list[StoredFile], charlie: Any):
    plot = make_repo(charlie.user, "plot")
    assert len(copy(client, charlie, large[0], to="charlie/plot", xet_hash="0" * 64).json()["failed"]) == 1
    assert copy(client, charlie, large[0], to="charlie/plot", xet_hash="zz").status_code == 400
    assert not may_commit(plot, charlie, large[0])


def test_private_repositories_look_missing_at_both_ends(
    client: Client, repo: Any, large: list[StoredFile], alice: Any, charlie: Any
):
    make_repo(alice.user, "cellar", is_private=True)
    assert copy(client, charlie, large[0], to="alice/cellar").status_code == 404
    make_repo(charlie.user, "plot")
    repo.is_private = True
    repo.save()
    assert copy(client, charlie, large[0], to="charlie/plot").status_code == 404


def test_a_switched_off_repository_gives_nothing_away(client: Client, repo: Any, large: list[StoredFile], alice: Any):
    """Its members still see that it exists."""
    plot = make_repo(alice.user, "plot")
    repo.is_disabled = True
    repo.save()
    answer = copy(client, alice, large[0], to="alice/plot")
    assert answer.status_code == 403 or [row["sha256"] for row in answer.json()["failed"]] == [large[0].sha256]
    from hub.repos.models import UploadedBlob

    assert not UploadedBlob.objects.filter(repo=plot).exists()


def test_many_files_are_claimed_in_short_transactions(
    client: Client, large: list[StoredFile], charlie: Any, monkeypatch: pytest.MonkeyPatch
):
    """Renewing them touches the disk, or a bucket: others must be able to write meanwhile, and between the batches."""
    from django.db import connection

    from hub.api.hf import lfs_files
    from hub.repos.places import store

    plot = make_repo(charlie.user, "plot")
    outside, real = len(connection.savepoint_ids), store().renew
    depths: list[int] = []

    class Watched:
        def renew(self, sha256: str) -> Any:
            depths.append(len(connection.savepoint_ids) - outside)
            return real(sha256)

    entered: list[int] = []
    atomic = lfs_files.transaction.atomic
    monkeypatch.setattr(lfs_files, "store", lambda: Watched())
    monkeypatch.setattr(lfs_files, "BATCH", 2)
    monkeypatch.setattr(
        lfs_files.transaction, "atomic", lambda *given, **more: entered.append(1) or atomic(*given, **more)
    )
    assert copy(client, charlie, *large, to="charlie/plot").json() == {"failed": []}
    assert depths == [0, 0, 0] and all(may_commit(plot, charlie, one) for one in large)
    assert len(entered) >= 2


def test_a_copy_counts_for_the_quota(client: Client, large: list[StoredFile], charlie: Any):
    plot = make_repo(charlie.user, "plot")
    call_command("quota", "set", "charlie", "9KB")
    refused = copy(client, charlie, large[0], large[1], to="charlie/plot")
    assert refused.status_code == 403 and "charlie may hold 9,000 bytes" in refused["X-Error-Message"]
    assert not may_commit(plot, charlie, large[0])  # all or nothing
