"""Who has no room left is told so before bytes are sent, whichever door they come to."""

import json
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from hub.common.errors import InvalidInput, QuotaExceeded
from tests.hub.api.xet_upload import XetFile
from tests.hub.scenes import add, clear, make_repo, propose

pytestmark = pytest.mark.django_db
API = "/api/datasets/alice/tides"
KB = 1000


@pytest.fixture
def repo(alice: Any) -> Any:
    return make_repo(alice.user)


def limit(name: str, size: str) -> None:
    call_command("quota", "set", name, size)


def bearer(person: Any) -> dict[str, str]:
    return {"Authorization": f"Bearer {person.token}"}


def noise(seed: int, count: int = 10 * KB) -> bytes:
    return XetFile(bytes([seed]) * count).content


def bring(repo: Any, by: Any, data: bytes) -> Any:
    from hub.repos.blobs import record_upload
    from hub.repos.places import store

    stored = store().add([data])
    record_upload(repo=repo, by=by.user, stored=stored)
    return stored


def usage(holder: Any) -> int:
    from hub.repos.quotas import usage_of

    return usage_of(holder)


def preupload(client: Client, by: Any, *sizes: int, rest: str = "main") -> Any:
    files = [{"path": f"{place}.bin", "size": size, "sample": ""} for place, size in enumerate(sizes)]
    body = json.dumps({"files": files})
    return client.post(f"{API}/preupload/{rest}", body, content_type="application/json", headers=bearer(by))


def batch(client: Client, by: Any, *objects: tuple[str, int]) -> list[Any]:
    body = {"operation": "upload", "objects": [{"oid": oid, "size": size} for oid, size in objects]}
    answer = client.post(
        "/datasets/alice/tides.git/info/lfs/objects/batch",
        json.dumps(body),
        content_type="application/vnd.git-lfs+json",
        headers=bearer(by),
    )
    return answer.json()["objects"]


def test_an_upload_that_does_not_fit_is_refused_before_it_is_sent(client: Client, repo: Any, alice: Any):
    limit("alice", "25KB")
    assert preupload(client, alice, 10 * KB, 10 * KB).status_code == 200
    refused = preupload(client, alice, 20 * KB, 10 * KB)
    assert refused.status_code == 403  # not 413 or 507, which the client would try again
    assert "alice may hold 25,000 bytes" in refused["X-Error-Message"] and "30,000" in refused["X-Error-Message"]
    bring(repo, alice, noise(1))
    assert preupload(client, alice, 20 * KB).status_code == 403
    limit("alice", "none")
    assert preupload(client, alice, 20 * KB).status_code == 200


def test_what_is_there_already_is_sent_again_in_a_full_repository(client: Client, repo: Any, alice: Any):
    from hub.storage.git import AddPointer

    stored = bring(repo, alice, noise(1))
    add(repo, alice.user, {}, operations=[AddPointer("0.bin", stored.sha256, stored.size)])
    limit("datasets/alice/tides", "10KB")
    assert preupload(client, alice, 10 * KB).status_code == 200
    assert preupload(client, alice, 11 * KB).status_code == 403
    assert batch(client, alice, (stored.sha256, stored.size)) == [{"oid": stored.sha256, "size": stored.size}]


def test_text_comes_in_where_more_is_held_than_may_be(client: Client, repo: Any, alice: Any):
    bring(repo, alice, noise(1))
    limit("alice", "5KB")
    files = [{"path": "notes.txt", "size": 6, "sample": "aGVsbG8K"}, {"path": "x.bin", "size": 1, "sample": ""}]
    for asked, status in ((files[:1], 200), (files, 403)):
        answer = client.post(
            f"{API}/preupload/main",
            json.dumps({"files": asked}),
            content_type="application/json",
            headers=bearer(alice),
        )
        assert answer.status_code == status


def test_git_lfs_is_told_for_each_file(client: Client, repo: Any, alice: Any):
    limit("alice", "25KB")
    first, second, third = batch(client, alice, *((f"{place:064x}", 10 * KB) for place in range(3)))
    assert "actions" in first and "actions" in second
    assert third["error"]["code"] == 507 and "there is room for 5,000" in third["error"]["message"]
    # Two batches at once each had room; when the second has arrived, it is not taken.
    one, other = noise(1, 20 * KB), noise(2, 20 * KB)
    offers = [
        batch(client, alice, (XetFile(data).sha256, len(data)))[0]["actions"]["upload"]["href"] for data in (one, other)
    ]
    statuses = [
        client.put(href.removeprefix("http://testserver"), data).status_code
        for href, data in zip(offers, (one, other), strict=True)
    ]
    assert statuses == [200, 403]
    assert usage(alice.user) == 20 * KB


def test_the_xet_store_gives_no_token_to_who_is_full_and_takes_no_claim_beyond(client: Client, repo: Any, alice: Any):
    limit("alice", "25KB")
    token = client.get(f"{API}/xet-write-token/main", headers=bearer(alice)).json()["accessToken"]
    headers = {"Authorization": f"Bearer {token}"}

    def send(what: str, data: bytes) -> int:
        return client.post(
            f"/xet/v1/{what}", data, content_type="application/octet-stream", headers=headers
        ).status_code

    file, more = XetFile(noise(1, 25 * KB)), XetFile(noise(2, 1 * KB))
    assert send(f"xorbs/default/{file.xorb_hash}", file.xorb) == send("shards", file.shard) == 200
    assert send(f"xorbs/default/{more.xorb_hash}", more.xorb) == 403
    assert usage(alice.user) == 25 * KB
    full = client.get(f"{API}/xet-write-token/main", headers=bearer(alice))
    assert full.status_code == 403 and "alice may hold 25,000 bytes" in full.json()["error"]


def test_a_file_within_a_commit_counts_like_any_other(client: Client, repo: Any, alice: Any):
    from hub.community.contributions import commit
    from hub.storage.git import AddFile

    limit("alice", "5KB")
    with pytest.raises(QuotaExceeded, match="alice may hold 5,000 bytes"):
        commit(
            repo=repo, by=alice.user, revision=None, operations=[AddFile("a.bin", noise(1))], title="Add", door="api"
        )
    commit(
        repo=repo,
        by=alice.user,
        revision=None,
        operations=[AddFile("a.txt", b"text\n" * 2000)],
        title="Add",
        door="api",
    )


def test_who_may_not_write_spends_their_own_room(client: Client, repo: Any, alice: Any, charlie: Any):
    limit("alice", "5KB"), limit("charlie", "15KB")
    assert preupload(client, charlie, 10 * KB, rest="main?create_pr=1").status_code == 200
    propose(repo, charlie.user, {"a.bin": noise(1)})
    assert (usage(charlie.user), usage(alice.user), usage(repo)) == (10 * KB, 0, 0)
    refused = preupload(client, charlie, 10 * KB, rest="main?create_pr=1")
    assert "charlie may hold 15,000" in refused["X-Error-Message"]
    from hub.community.pull_requests import find_pull_request, merge

    clear(repo)
    merge(pull_request=find_pull_request(repo, 1, alice.user), by=alice.user)
    assert (usage(charlie.user), usage(alice.user)) == (10 * KB, 0)  # what was given stays on the giver's account


def test_a_content_counts_once_for_its_owner(repo: Any, alice: Any):
    from hub.storage.git import AddPointer

    other = make_repo(alice.user, "other")
    for one in (repo, other):
        stored = bring(one, alice, noise(1))
        for path in ("a.bin", "b.bin"):
            add(one, alice.user, {}, operations=[AddPointer(path, stored.sha256, stored.size)])
    assert (usage(alice.user), usage(repo), usage(other)) == (10 * KB, 10 * KB, 10 * KB)


def test_a_copy_has_to_fit(repo: Any, alice: Any, charlie: Any):
    from hub.repos.duplicates import duplicate_repo
    from hub.storage.git import AddPointer

    stored = bring(repo, alice, noise(1))
    add(repo, alice.user, {}, operations=[AddPointer("a.bin", stored.sha256, stored.size)])
    clear(repo)
    limit("charlie", "9KB")
    with pytest.raises(QuotaExceeded, match="charlie may hold 9,000"):
        duplicate_repo(source=repo, by=charlie.user, name="copy")
    limit("charlie", "10KB")
    assert usage(duplicate_repo(source=repo, by=charlie.user, name="copy")) == 10 * KB


def test_the_settings_limit_everybody_until_the_operator_says_otherwise(
    repo: Any, alice: Any, settings: Any, capsys: Any
):
    settings.QUOTA_USER_BYTES = 1 * KB
    with pytest.raises(QuotaExceeded):
        bring(repo, alice, noise(1))
    limit("alice", "1GB")
    bring(repo, alice, noise(1))
    call_command("quota", "show", "alice")
    assert capsys.readouterr().out.splitlines()[-1] == (
        "alice holds 10,000 bytes of large files and may hold 1,000,000,000 bytes."
    )
    call_command("quota", "reset", "alice")
    assert "may hold 1,000 bytes" in capsys.readouterr().out


@pytest.mark.parametrize("size", ["", "much", "-1GB", "1.GB", "1,5GB", "10 XB", "9" * 20])
def test_a_size_that_is_none_is_refused(alice: Any, size: str):
    from hub.repos.quotas import read_size

    with pytest.raises(InvalidInput, match="write it like 500MB"):
        read_size(size)


def test_a_size_may_have_decimals():
    from hub.repos.quotas import read_size

    assert [read_size(size) for size in ("1.4GB", "0.5 KiB", "10", "1.5B")] == [1_400_000_000, 512, 10, 1]


@pytest.mark.parametrize("name", ["datasets/alice/nothing", "tides", "papers/alice/tides", "datasets/alice"])
def test_the_command_names_what_it_does_not_know(repo: Any, name: str):
    with pytest.raises(CommandError):
        call_command("quota", "show", name)


def test_a_repository_is_handed_over_to_who_has_room_for_it(repo: Any, alice: Any):
    from hub.accounts.organizations import create_organization
    from hub.repos.lifecycle import move_repo

    bring(repo, alice, noise(1))
    create_organization(name="tidewatch", created_by=alice.user)
    limit("tidewatch", "9KB")
    with pytest.raises(QuotaExceeded, match="tidewatch may hold 9,000"):
        move_repo(repo=repo, to="tidewatch/tides", by=alice.user)
    limit("tidewatch", "10KB")
    assert move_repo(repo=repo, to="tidewatch/tides", by=alice.user).full_name == "tidewatch/tides"


def test_a_xorb_that_has_no_room_is_refused_before_it_is_stored(client: Client, repo: Any, alice: Any):
    token = client.get(f"{API}/xet-write-token/main", headers=bearer(alice)).json()["accessToken"]
    limit("alice", "5KB")
    file = XetFile(bytes(range(256)) * 1000)
    answer = client.post(
        f"/xet/v1/xorbs/default/{file.xorb_hash}",
        file.xorb + b"x" * 10_000,
        content_type="application/octet-stream",
        headers={"Authorization": f"Bearer {token}"},
    )
    assert answer.status_code == 403 and "alice may hold 5,000" in answer.json()["error"]


def test_what_was_collected_takes_no_room_any_more(repo: Any, alice: Any):
    from hub.repos.models import StoredBlob
    from hub.storage.git import AddPointer

    stored = bring(repo, alice, noise(1))
    add(repo, alice.user, {}, operations=[AddPointer("a.bin", stored.sha256, stored.size)])
    assert usage(alice.user) == 10 * KB
    StoredBlob.objects.all().delete()
    assert usage(alice.user) == 0
