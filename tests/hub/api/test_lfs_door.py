"""The git-lfs door: addresses that carry their own right, for one object, one direction, one person, six hours."""

import hashlib
import random
import time
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.test import Client

from tests.hub.scenes import clear, make_repo, withhold
from tests.recordings import make_recording

pytestmark = pytest.mark.django_db
DOOR = "/datasets/alice/tides.git/info/lfs"
DATA = make_recording(400_000, random.Random(1))
SIZE = len(DATA)
OID = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def repo(alice: Any) -> Any:
    return make_repo(alice.user)


def as_person(person: Any) -> dict[str, str]:
    return {"Authorization": f"Bearer {person.token}"} if person else {}


def ask(client: Client, operation: str, person: Any = None, oid: str = OID, size: int = SIZE, door: str = DOOR) -> Any:
    body = {"operation": operation, "transfers": ["basic", "multipart"], "objects": [{"oid": oid, "size": size}]}
    headers = as_person(person)
    return client.post(f"{door}/objects/batch", body, content_type="application/vnd.git-lfs+json", headers=headers)


def offered(client: Client, operation: str, person: Any = None, **more: Any) -> dict[str, Any]:
    answer = ask(client, operation, person, **more)
    assert (answer.status_code, answer["Content-Type"]) == (200, "application/vnd.git-lfs+json"), answer.content
    assert answer.json()["transfer"] == "basic"
    return answer.json()["objects"][0]


def path_of(item: dict[str, Any], action: str) -> str:
    return urlsplit(item["actions"][action]["href"]).path


def put(client: Client, path: str, data: bytes = DATA) -> Any:
    return client.put(path, data, content_type="application/octet-stream")


def upload(client: Client, person: Any) -> None:
    item = offered(client, "upload", person)
    assert put(client, path_of(item, "upload")).status_code == 200
    checked = client.post(path_of(item, "verify"), {"oid": OID, "size": SIZE}, content_type="application/json")
    assert checked.status_code == 200


@pytest.fixture
def shared(client: Client, alice: Any, repo: Any) -> Any:
    """The object, committed by Alice and cleared for all. Returns the repository."""
    from hub.community.contributions import commit
    from hub.storage.git import AddPointer

    upload(client, alice)
    operations = [AddPointer("tides.bin", OID, SIZE)]
    commit(repo=repo, by=alice.user, revision="main", operations=operations, title="Add tides", door="api")
    clear(repo)
    return repo


def test_an_object_goes_up_and_comes_down(client: Client, shared: Any):
    address = path_of(offered(client, "download"), "download")
    whole = client.get(address)
    assert (whole.status_code, whole.getvalue(), whole["ETag"]) == (200, DATA, f'"{OID}"')
    part = client.get(address, headers={"Range": "bytes=100-"})
    assert (part.status_code, part.getvalue()) == (206, DATA[100:])
    assert part["Content-Range"] == f"bytes 100-{SIZE - 1}/{SIZE}"
    head = client.head(address)
    assert (head["Content-Length"], head["Accept-Ranges"]) == (str(SIZE), "bytes")
    assert client.get(address, headers={"Range": f"bytes={SIZE}-"}).status_code == 416


def test_who_has_shown_the_bytes_need_not_send_them_again(client: Client, shared: Any, alice: Any, charlie: Any):
    assert "actions" not in offered(client, "upload", alice)
    assert "actions" not in offered(client, "upload", charlie)  # cleared, so charlie could download it
    withhold(shared, "tides.bin")
    assert "actions" in offered(client, "upload", charlie)


def told(client: Client, **more: Any) -> str:
    return offered(client, "download", **more)["error"]["message"]


def test_a_stranger_reads_which_file_is_held_back_and_how_to_get_the_rest(client: Client, shared: Any):
    large = shared.contents.filter(digest=f"sha256:{OID}")
    large.update(clearance="withheld", reason="It holds a key.")
    sentence = told(client)
    assert sentence.startswith(
        "tides.bin is held back by the screens and is not public; clone with GIT_LFS_SKIP_SMUDGE"
    )
    assert "lfs.skipdownloaderrors true" in sentence and "key" not in sentence
    large.update(clearance="pending")
    assert told(client).startswith("tides.bin waits for screening and is not public yet;")


def test_an_object_that_no_public_commit_names_looks_like_none(client: Client, shared: Any):
    withhold(shared, "tides.bin")  # its name as well, so the commit leaves the public half
    hidden = told(client)
    assert hidden == told(client, oid="3" * 64).replace("3" * 12, OID[:12]) and "tides.bin" not in hidden


@pytest.mark.parametrize("data", [DATA[:-1], DATA + b"x", bytes(SIZE), b""])
def test_other_bytes_than_announced_are_refused(client: Client, repo: Any, alice: Any, data: bytes):
    item = offered(client, "upload", alice)
    refused = put(client, path_of(item, "upload"), data)
    assert refused.status_code in (400, 413) and refused.json()["error"]
    checked = client.post(path_of(item, "verify"), {"oid": OID}, content_type="application/json")
    assert (checked.status_code, checked.json()["error"]) == (
        404,
        f"The object {OID[:12]} has not arrived; push again.",
    )
    assert "error" in offered(client, "download", alice)


def test_an_address_is_for_one_direction(client: Client, shared: Any, alice: Any):
    up = path_of(offered(client, "upload", alice, oid="1" * 64), "upload")
    down = path_of(offered(client, "download"), "download")
    for path in (up.replace("upload", "download"), up[:-3]):
        assert client.get(path).status_code in (403, 405)
    assert put(client, down.replace("download", "upload")).status_code == 403
    assert put(client, f"{up}x").status_code == 403


def test_addresses_end_after_six_hours(client: Client, shared: Any, alice: Any, monkeypatch: pytest.MonkeyPatch):
    up = path_of(offered(client, "upload", alice, oid="1" * 64), "upload")
    down = path_of(offered(client, "download"), "download")
    later = time.time() + 6 * 3600 + 2
    monkeypatch.setattr(time, "time", lambda: later)
    for answer in (put(client, up), client.get(down)):
        assert answer.status_code == 403 and "start the transfer again" in answer.json()["error"]


def test_what_is_withdrawn_is_closed_at_once(client: Client, shared: Any, alice: Any):
    down = path_of(offered(client, "download"), "download")
    own = path_of(offered(client, "download", alice), "download")
    withhold(shared, "tides.bin")
    assert client.get(down).status_code == 404
    assert client.get(own).status_code == 200
    assert offered(client, "download")["error"]["code"] == 404


def test_with_the_access_token_end_its_addresses(client: Client, repo: Any, alice: Any):
    from hub.accounts.models import AccessToken

    up = path_of(offered(client, "upload", alice), "upload")
    AccessToken.objects.filter(user=alice.user).delete()
    assert put(client, up).status_code == 403


def test_who_lost_the_repository_lost_its_addresses(client: Client, shared: Any, charlie: Any):
    from hub.repos.lifecycle import update_settings

    up = path_of(offered(client, "upload", charlie, oid="1" * 64), "upload")
    down = path_of(offered(client, "download", charlie), "download")
    update_settings(repo=shared, by=shared.owner_user, is_private=True)
    assert (put(client, up).status_code, client.get(down).status_code) == (403, 403)


def test_nobody_uploads_without_a_token_that_may_write(client: Client, repo: Any, alice: Any):
    from hub.accounts.tokens import create_token

    anonymous = ask(client, "upload")
    assert (anonymous.status_code, anonymous["WWW-Authenticate"]) == (401, 'Basic realm="Model Commons"')
    _, reading = create_token(user=alice.user, name="reads", role="read")
    refused = client.post(
        f"{DOOR}/objects/batch", {"operation": "upload", "objects": []}, content_type="application/json",
        headers={"Authorization": f"Bearer {reading}"},
    )  # fmt: skip
    assert refused.status_code == 403 and "may only read" in refused.json()["error"]


def test_the_members_way_asks_for_a_token(client: Client, shared: Any, alice: Any):
    withhold(shared, "tides.bin")
    assert ask(client, "download", door=f"/git{DOOR}").status_code == 401
    assert "actions" in offered(client, "download", alice, door=f"/git{DOOR}")


def test_a_file_beyond_all_bounds_is_refused_before_it_is_sent(client: Client, repo: Any, alice: Any, settings: Any):
    settings.MAX_FILE_BYTES = 1000
    item = offered(client, "upload", alice)
    assert item["error"]["code"] == 422 and "files of at most 1,000" in item["error"]["message"]


@pytest.mark.parametrize(
    "body",
    [
        {"operation": "steal", "objects": []},
        {"operation": "upload"},
        {"operation": "upload", "objects": ["x"]},
        {"operation": "upload", "objects": [{"oid": "../../etc/passwd", "size": 1}]},
        {"operation": "upload", "objects": [{"oid": OID, "size": -1}]},
        {"operation": "upload", "objects": [{"oid": OID, "size": "1"}]},
        {"operation": "upload", "objects": [{"oid": OID, "size": True}]},
        {"operation": "upload", "objects": [{"oid": OID.upper(), "size": 1}]},
    ],
)
def test_a_batch_that_is_none_is_refused_in_one_sentence(client: Client, repo: Any, alice: Any, body: dict):
    answer = client.post(f"{DOOR}/objects/batch", body, content_type="application/json", headers=as_person(alice))
    assert answer.status_code == 400 and answer.json()["error"].endswith(".")


def test_a_batch_has_bounds(client: Client, repo: Any):
    body = {"operation": "download", "objects": [{"oid": OID, "size": 1}] * 1001}
    assert client.post(f"{DOOR}/objects/batch", body, content_type="application/json").status_code == 413


@pytest.mark.parametrize("path", ["locks", "locks/verify", "locks/1/unlock"])
def test_locks_are_not_kept_and_git_lfs_is_told_so(client: Client, repo: Any, alice: Any, path: str):
    """With any other answer to `verify` git-lfs printed an advice with the remote's address, the token in it."""
    answer = client.post(f"{DOOR}/{path}", {}, content_type="application/json", headers=as_person(alice))
    assert answer.status_code == 501 and answer.json()["message"].startswith("This hub keeps no locks on files;")
    missing = client.post(f"{DOOR.replace('tides', 'none')}/{path}", {}, content_type="application/json")
    assert missing.status_code == 401 and "message" in missing.json()


@pytest.mark.parametrize("size", [2**63, 2**64, 10**30, -1, 1.5, True, "12"])
def test_a_size_that_no_file_has_is_refused(client: Client, repo: Any, alice: Any, size: Any):
    """A database keeps no number from 2 to the 63rd power on."""
    assert ask(client, "upload", alice, size=size).status_code == 400
