"""Large objects in parts: each with an address of its own, taken into the store when all have come."""

import hashlib
import math
import random
import time
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.test import Client
from django.utils import timezone
from huggingface_hub import CommitOperationAdd

from tests.hub.scenes import make_repo
from tests.recordings import make_recording

DOOR = "/datasets/alice/tides.git/info/lfs/objects/batch"
PART = 100_000
DATA = make_recording(250_000, random.Random(2))
OID = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(autouse=True)
def small_parts(settings: Any) -> None:
    settings.LFS_PART_BYTES = PART


@pytest.fixture
def repo(alice: Any) -> Any:
    return make_repo(alice.user)


def offer(client: Client, person: Any, *sizes: int, transfers: tuple[str, ...] = ("basic", "multipart")) -> Any:
    """The answer to a batch of these sizes; the first is DATA if it has its size."""
    objects = [{"oid": OID if size == len(DATA) else f"{size:064x}", "size": size} for size in sizes]
    body = {"operation": "upload", "transfers": transfers, "objects": objects}
    answer = client.post(
        DOOR, body, content_type="application/json", headers={"Authorization": f"Bearer {person.token}"}
    )
    assert answer.status_code == 200, answer.content
    return answer.json()


class Upload:
    """What a client does with the answer."""

    def __init__(self, client: Client, person: Any) -> None:
        self.client = client
        actions = offer(client, person, len(DATA))["objects"][0]["actions"]
        self.href = urlsplit(actions["upload"]["href"]).path
        self.verify = urlsplit(actions["verify"]["href"]).path
        self.header = actions["upload"]["header"]

    def put(self, number: int, data: bytes | None = None, href: str = "") -> Any:
        data = DATA[(number - 1) * PART : number * PART] if data is None else data
        address = f"{href or self.href}/{number}"
        return self.client.put(address, data, content_type="application/octet-stream")

    def put_all(self) -> list[str]:
        return [self.put(number)["ETag"] for number in (1, 2, 3)]

    def complete(self, etags: list[str], **more: Any) -> Any:
        parts = [{"partNumber": number, "etag": etag} for number, etag in enumerate(etags, start=1)]
        return self.client.post(self.href, {"oid": OID, "parts": parts, **more}, content_type="application/json")

    def arrived(self) -> list[int]:
        return [part["partNumber"] for part in self.client.get(self.href).json()["parts"]]


@pytest.fixture
def upload(client: Client, repo: Any, alice: Any) -> Upload:
    return Upload(client, alice)


def list_waiting(data_dir: Path) -> list[str]:
    return [path.name for path in (data_dir / "store/parts").glob("*/*")]


pytestmark = pytest.mark.django_db


def test_parts_in_any_order_become_the_object(upload: Upload, repo: Any, data_dir: Path):
    from hub.repos.places import store

    assert list(upload.header) == ["chunk_size", "00001", "00002", "00003"]
    assert (upload.header["chunk_size"], urlsplit(upload.header["00002"]).path) == ("100000", f"{upload.href}/2")
    etags = {number: upload.put(number)["ETag"] for number in (3, 1, 2)}
    assert upload.client.post(upload.verify, {}, content_type="application/json").status_code == 404
    assert upload.complete([etags[number] for number in (1, 2, 3)]).status_code == 200
    assert upload.client.post(upload.verify, {}, content_type="application/json").status_code == 200
    assert b"".join(store().read(OID)) == DATA
    assert list_waiting(data_dir) == []
    # An answer that was lost on the way is asked for again.
    assert upload.complete(list(etags.values())).status_code == 200


def test_who_starts_again_learns_what_has_arrived(upload: Upload, client: Client, alice: Any, charlie: Any):
    assert upload.put(2).status_code == 200
    again = Upload(client, alice)
    assert again.arrived() == [2]
    assert Upload(client, charlie).arrived() == []  # another person's upload is their own
    etags = [again.put(1)["ETag"], client.get(again.href).json()["parts"][1]["etag"], again.put(3)["ETag"]]
    assert again.complete(etags).status_code == 200


def test_only_what_is_larger_than_a_part_goes_in_parts(client: Client, repo: Any, alice: Any):
    assert offer(client, alice, PART)["transfer"] == "basic"
    assert offer(client, alice, PART + 1, transfers=("basic",))["transfer"] == "basic"
    mixed = offer(client, alice, PART + 1, 10, 0)
    assert mixed["transfer"] == "multipart"  # an agent of git-lfs gets all files of a batch
    counts = [len(row["actions"]["upload"]["header"]) - 1 for row in mixed["objects"]]
    assert counts == [2, 1, 0]


def test_a_batch_lists_a_bounded_number_of_parts(client: Client, repo: Any, alice: Any):
    huge = 10**11
    (row,) = offer(client, alice, huge)["objects"]
    header = row["actions"]["upload"]["header"]
    assert len(header) - 1 == math.ceil(huge / int(header["chunk_size"])) == 10_000
    assert offer(client, alice, huge, huge - 1, huge - 2)["transfer"] == "basic"


@pytest.mark.parametrize(
    ("number", "data", "says"),
    [
        (1, DATA[: PART - 1], "must have 100,000 bytes"),
        (1, DATA[: PART + 1], "at most 100,000"),
        (3, DATA[:PART], "at most 50,000"),
        (0, b"", "no part 0"),
        (4, b"x", "no part 4"),
    ],
)
def test_a_part_has_its_size_and_its_number(upload: Upload, data_dir: Path, number: int, data: bytes, says: str):
    refused = upload.put(number, data)
    assert refused.status_code in (400, 413) and says in refused.json()["error"]
    assert list_waiting(data_dir) == []


def test_an_upload_that_is_not_whole_is_not_completed(upload: Upload):
    first, second, third = upload.put_all()
    for etags, more, says in [
        ([first, second], {}, "has 3 parts"),
        ([first, second, third, third], {}, "has 3 parts"),
        ([first, first, third], {}, "Part 2"),
        ([first, second, ""], {}, "Part 3"),
        ([first, second, third], {"oid": "0" * 64}, "oid"),
        ([], {"parts": "all"}, "parts"),
        ([], {"parts": [1, 2, 3]}, "has 3 parts"),
        ([], {"parts": [{"partNumber": 1, "etag": 7}] * 3}, "has 3 parts"),
        ([], {"parts": [{"partNumber": [number], "etag": first} for number in (1, 2, 3)]}, "has 3 parts"),
    ]:
        refused = upload.complete(etags, **more)
        assert refused.status_code == 400 and says in refused.json()["error"], refused.content
    assert upload.complete([first, second, third]).status_code == 200


def test_other_bytes_than_announced_are_thrown_away(upload: Upload, data_dir: Path):
    etags = [upload.put(1)["ETag"], upload.put(2, bytes(PART))["ETag"], upload.put(3)["ETag"]]
    refused = upload.complete(etags)
    assert refused.status_code == 400 and "as announced" in refused.json()["error"]
    assert list_waiting(data_dir) == []
    assert upload.client.post(upload.verify, {}, content_type="application/json").status_code == 404


def test_an_address_of_parts_is_for_nothing_else_and_ends(upload: Upload, monkeypatch: pytest.MonkeyPatch):
    single = upload.verify.replace("verify", "upload")
    assert upload.client.put(upload.href.replace("parts", "upload"), DATA).status_code == 403
    assert upload.put(1, href=single.replace("upload", "parts", 1)).status_code == 403
    assert upload.put(1, href=f"{upload.href}x").status_code == 403
    began = time.time()
    monkeypatch.setattr(time, "time", lambda: began + 6 * 24 * 3600)  # a slow line
    assert upload.put(1).status_code == 200
    monkeypatch.setattr(time, "time", lambda: began + 7 * 24 * 3600 + 2)
    assert upload.put(2).status_code == 403 and upload.client.get(upload.href).status_code == 403


def test_with_the_access_token_end_its_parts(upload: Upload, alice: Any):
    from hub.accounts.models import AccessToken

    etags = upload.put_all()
    AccessToken.objects.filter(user=alice.user).delete()
    assert (upload.put(1).status_code, upload.complete(etags).status_code) == (403, 403)


def test_parts_of_uploads_that_are_never_completed_take_room_too(upload: Upload, client: Client, alice: Any):
    from hub.repos.models import Quota
    from hub.repos.quotas import usage_of

    Quota.objects.create(user=alice.user, max_bytes=400_000)
    other = urlsplit(offer(client, alice, 250_001)["objects"][0]["actions"]["upload"]["href"]).path
    assert upload.put(1).status_code == 200
    refused = upload.put(1, href=other)
    assert refused.status_code in (403, 413, 507) and "does not fit" in refused.json()["error"]
    assert offer(client, alice, 250_001)["objects"][0]["error"]["code"] == 507
    again = Upload(client, alice)  # its own parts are not counted twice
    assert again.complete(again.put_all()).status_code == 200
    assert usage_of(alice.user) == 250_000


def test_who_holds_an_object_sends_no_parts_of_it_under_other_sizes(upload: Upload, client: Client, alice: Any):
    """The size in a batch is only what the client says: each would take its room on disk for nothing."""
    from hub.repos.models import Quota

    body = {"operation": "upload", "transfers": ["multipart"], "objects": [{"oid": OID, "size": 300_000}]}
    bearer = {"Authorization": f"Bearer {alice.token}"}
    offered = client.post(DOOR, body, content_type="application/json", headers=bearer).json()
    other = urlsplit(offered["objects"][0]["actions"]["upload"]["href"]).path
    assert upload.complete(upload.put_all()).status_code == 200
    Quota.objects.create(user=alice.user, max_bytes=400_000)
    refused = upload.put(1, href=other)
    assert refused.status_code in (403, 413, 507) and "does not fit" in refused.json()["error"]
    assert upload.put(1).status_code == 200  # a part whose answer was lost


def test_forgotten_parts_are_taken_away_by_the_collection(upload: Upload, data_dir: Path):
    from hub.repos.garbage import collect

    upload.put(1)
    collect(now=timezone.now() + timedelta(days=29))
    assert len(list_waiting(data_dir)) == 1
    assert collect(now=timezone.now() + timedelta(days=31), dry_run=True).uploads == 0
    assert collect(now=timezone.now() + timedelta(days=31)).uploads == 1
    assert list_waiting(data_dir) == []


@pytest.mark.django_db(transaction=True)
def test_the_stock_client_sends_large_files_in_parts(
    client_of: Any, repo: Any, alice: Any, without_xet: None, cleared_at_once: None, tmp_path: Path, monkeypatch: Any
):
    from hub.api.lfs import parts

    sent = []
    monkeypatch.setattr(parts, "keep_room", lambda *about: sent.append(about[-1]))
    (tmp_path / "tides.bin").write_bytes(DATA)
    api = client_of(alice)
    operations = [
        CommitOperationAdd("tides.bin", tmp_path / "tides.bin"),
        CommitOperationAdd("small.bin", b"\0small"),
        CommitOperationAdd("empty.bin", b""),
    ]
    api.create_commit("alice/tides", operations, commit_message="Three", repo_type="dataset")
    assert sorted(sent) == [6, 250_000, 250_000, 250_000]
    folder = Path(client_of(None).snapshot_download("alice/tides", repo_type="dataset", local_dir=tmp_path / "down"))
    assert (folder / "tides.bin").read_bytes() == DATA
    assert (folder / "small.bin").read_bytes() == b"\0small"
