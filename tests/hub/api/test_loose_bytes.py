"""Bytes that came and became no file count for who sent them until a collection has given them back."""

import json
import random
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from hub.common.errors import QuotaExceeded
from tests.hub.api.xet_upload import XetFile
from tests.hub.scenes import add, make_repo
from tests.recordings import make_recording

pytestmark = pytest.mark.django_db
API = "/api/datasets/alice/tides"
DAY = timedelta(days=1)


@pytest.fixture
def repo(alice: Any) -> Any:
    return make_repo(alice.user)


def noise(seed: int, count: int = 200_000) -> bytes:
    return make_recording(count, random.Random(seed))


def limit(name: str, size: str) -> None:
    call_command("quota", "set", name, size)


def usage(holder: Any) -> int:
    from hub.repos.quotas import usage_of

    return usage_of(holder)


def bring(repo: Any, by: Any, data: bytes, path: str | None = None) -> Any:
    from hub.repos.blobs import take_in
    from hub.storage.git import AddPointer

    stored = take_in(repo=repo, by=by.user, pieces=[data])
    if path:
        add(repo, by.user, {}, operations=[AddPointer(path, stored.sha256, stored.size)])
    return stored


def delete(repo: Any, by: Any) -> None:
    """For good, as one may before the thirty days are over."""
    from hub.repos.deleted import remove_repo
    from hub.repos.lifecycle import delete_repo

    delete_repo(repo=repo, by=by.user)
    remove_repo(repo=repo, by=by.user)


def collect(days: float) -> None:
    from hub.repos.garbage import collect as run

    run(now=timezone.now() + days * DAY)


@pytest.fixture
def send(client: Client, repo: Any, alice: Any) -> Any:
    """Alice's Xet client: what it sends, and the status of the answer."""
    headers = {"Authorization": f"Bearer {alice.token}"}
    token = client.get(f"{API}/xet-write-token/main", headers=headers).json()["accessToken"]

    def post(what: str, data: bytes) -> int:
        answer = client.post(
            f"/xet/v1/{what}",
            data,
            content_type="application/octet-stream",
            headers={"Authorization": f"Bearer {token}"},
        )
        return answer.status_code

    return post


def test_a_xorb_counts_before_a_shard_names_it_and_then_its_file_does(repo: Any, alice: Any, send: Any):
    file, more, rest = XetFile(noise(1)), XetFile(noise(2)), XetFile(noise(3))
    limit("alice", "450KB")
    for one in (file, more, file):  # sent again it counts once
        assert send(f"xorbs/default/{one.xorb_hash}", one.xorb) == 200
    assert 400_000 <= usage(alice.user) <= 410_000 and usage(repo) == usage(alice.user)
    assert send(f"xorbs/default/{rest.xorb_hash}", rest.xorb) == 403
    assert send("shards", file.shard) == 200
    assert send("shards", more.shard) == 200
    assert usage(alice.user) == 400_000
    assert send(f"xorbs/default/{file.xorb_hash}", file.xorb) == 403  # who is full sends nothing
    limit("alice", "none")
    assert send(f"xorbs/default/{file.xorb_hash}", file.xorb) == send("shards", file.shard) == 200
    assert usage(alice.user) == 400_000  # what is claimed already does not count twice


def test_a_file_takes_over_as_much_of_a_xorb_as_it_has(repo: Any, alice: Any, send: Any):
    """A chunk claimed of a large xorb would else hide the rest of it."""
    file = XetFile(noise(4, 400_000))
    half = file.every_second_chunk()
    assert send(f"xorbs/default/{file.xorb_hash}", file.xorb) == send("shards", half.shard) == 200
    claimed = len(half.content)
    assert 400_000 <= usage(alice.user) <= 410_000 and claimed < 300_000
    for _ in range(3):
        assert send("shards", half.shard) == 200
    assert usage(alice.user) >= 400_000  # naming the same file again takes over nothing more
    assert send("shards", file.shard) == 200
    assert usage(alice.user) == 400_000 + claimed


def test_a_shard_that_has_no_room_is_refused_before_its_files_are_read(
    repo: Any, alice: Any, send: Any, monkeypatch: pytest.MonkeyPatch
):
    from hub.storage.xet.verification import Verifier

    file = XetFile(bytes(500_000))  # it packs into little
    assert send(f"xorbs/default/{file.xorb_hash}", file.xorb) == 200
    limit("alice", "400KB")
    monkeypatch.setattr(Verifier, "check", lambda *_: pytest.fail("its bytes were read"))
    assert send("shards", file.shard) == 403


def test_a_xorb_that_nothing_named_counts_until_it_is_collected(repo: Any, alice: Any, send: Any):
    file = XetFile(noise(5))
    send(f"xorbs/default/{file.xorb_hash}", file.xorb)
    collect(29)
    assert usage(alice.user) >= 200_000
    collect(31)
    assert usage(alice.user) == 0


def test_an_upload_that_was_cut_counts_for_what_it_left(
    client: Client, repo: Any, alice: Any, monkeypatch: pytest.MonkeyPatch
):
    from hub.storage.xet.xorbs import XorbWriter

    monkeypatch.setattr(XorbWriter, "has_room", lambda writer, _: len(writer) < 1)  # a xorb for each chunk
    data = noise(6, 400_000)
    body = {"operation": "upload", "objects": [{"oid": "0" * 64, "size": len(data)}]}
    answer = client.post(
        "/datasets/alice/tides.git/info/lfs/objects/batch",
        json.dumps(body),
        content_type="application/vnd.git-lfs+json",
        headers={"Authorization": f"Bearer {alice.token}"},
    )
    href = answer.json()["objects"][0]["actions"]["upload"]["href"].removeprefix("http://testserver")
    assert client.put(href, data).status_code == 400  # it is not what was announced
    left = usage(alice.user)
    assert 200_000 < left < 400_000
    assert client.put(href, data).status_code == 400 and usage(alice.user) == left  # the same bytes again
    bring(repo, alice, data)
    assert usage(alice.user) == 400_000


def test_what_is_refused_when_it_has_come_counts(repo: Any, alice: Any):
    limit("alice", "100KB")
    with pytest.raises(QuotaExceeded):
        bring(repo, alice, noise(7))
    assert usage(alice.user) == 200_000
    limit("alice", "none")
    bring(repo, alice, noise(7))
    assert usage(alice.user) == 200_000


def test_files_of_a_deleted_repository_count_until_they_are_given_back(repo: Any, alice: Any, charlie: Any):
    """Making, filling and deleting repositories by turns would else fill the disk within any quota."""
    other = make_repo(alice.user, "other")
    for one in (repo, other):
        bring(one, alice, noise(8), "shared.bin")
    bring(repo, alice, noise(9), "own.bin")
    bring(repo, charlie, noise(10))
    assert (usage(alice.user), usage(charlie.user)) == (400_000, 200_000)
    delete(repo, alice)
    assert (usage(alice.user), usage(charlie.user)) == (400_000, 200_000)
    limit("alice", "500KB")
    repo = make_repo(alice.user, "again")
    with pytest.raises(QuotaExceeded, match="until its bytes are given back"):
        bring(repo, alice, noise(11))
    limit("alice", "none")
    bring(repo, alice, noise(9))
    assert usage(alice.user) == 600_000  # the refused one, the shared one, and the own one that came back
    for days in (1, 32):
        collect(days)
    assert usage(charlie.user) == 0
    assert usage(alice.user) == 400_000  # what other holds, and what came back
