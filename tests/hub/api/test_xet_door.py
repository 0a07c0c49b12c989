"""The Xet door by hand: what its tokens and addresses allow, to whom, and until when."""

import email
import random
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.core import signing
from django.test import Client, RequestFactory
from django.utils import timezone

from hub.api.xet.data import is_for_proxy
from hub.storage.xet import hashes
from tests.hub.api.xet_upload import XetFile
from tests.hub.scenes import clear, make_repo, withhold
from tests.recordings import make_recording

pytestmark = pytest.mark.django_db
API = "/api/datasets/alice/tides"
Headers = dict[str, str]


def make_file(seed: int, count: int = 300_000) -> XetFile:
    return XetFile(make_recording(count, random.Random(seed)))


@pytest.fixture
def repo(alice: Any) -> Any:
    return make_repo(alice.user)


def bearer(token: str) -> Headers:
    return {"Authorization": f"Bearer {token}"}


def take_token(client: Client, token: str | None, rest: str = "write-token/main") -> Headers:
    answer = client.get(f"{API}/xet-{rest}", headers=bearer(token) if token else {})
    assert answer.status_code == 200, answer.content
    body = answer.json()
    assert answer["X-Xet-Access-Token"] == body["accessToken"]  # Python reads headers, hf_xet the body
    assert (answer["X-Xet-Cas-Url"], int(answer["X-Xet-Token-Expiration"])) == (body["casUrl"], body["exp"])
    return bearer(body["accessToken"])


def post(client: Client, path: str, data: bytes, headers: Headers) -> Any:
    return client.post(path, data, content_type="application/octet-stream", headers=headers)


def send(client: Client, file: XetFile, headers: Headers) -> Any:
    """Xorb and shard; the answer to the shard."""
    answer = post(client, f"/xet/v1/xorbs/default/{file.xorb_hash}", file.xorb, headers)
    assert answer.json() == {"was_inserted": True}, answer.content
    return post(client, "/xet/v1/shards", file.shard, headers)


def commit(client: Client, token: str, file: XetFile, address: str = f"{API}/commit/main") -> Any:
    value = f'{{"path": "tides.bin", "algo": "sha256", "oid": "{file.sha256}", "size": {len(file.content)}}}'
    lines = f'{{"key": "header", "value": {{"summary": "Add"}}}}\n{{"key": "lfsFile", "value": {value}}}\n'
    return client.post(address, lines, content_type="application/x-ndjson", headers=bearer(token))


def ask_plan(client: Client, file: XetFile, headers: Headers, **more: str) -> Any:
    return client.get(f"/xet/v1/reconstructions/{file.hash}", headers={**headers, **more})


def path_of(address: str) -> str:
    parts = urlsplit(address)
    return f"{parts.path}?{parts.query}"


@pytest.fixture
def shared(client: Client, alice: Any, repo: Any) -> XetFile:
    """A file that Alice uploaded and committed, cleared for all."""
    file = make_file(1)
    assert send(client, file, take_token(client, alice.token)).json() == {"result": 1}
    assert commit(client, alice.token, file).status_code == 200
    clear(repo)
    return file


def test_a_file_goes_in_by_xorb_and_shard_and_out_by_a_plan(client: Client, shared: XetFile):
    reader = take_token(client, None, "read-token/main")
    plan = ask_plan(client, shared, reader).json()
    (term,) = plan["terms"]
    assert (term["hash"], term["unpacked_length"], plan["offset_into_first_range"]) == (shared.xorb_hash, 300_000, 0)
    (piece,) = plan["fetch_info"][shared.xorb_hash]
    data = client.get(path_of(piece["url"]))
    assert (data.status_code, data.getvalue()) == (206, shared.xorb)
    part = client.get(path_of(piece["url"]), headers={"Range": "bytes=10-19"})
    assert (part.getvalue(), part["Content-Range"]) == (shared.xorb[10:20], f"bytes 10-19/{_size(shared)}")
    assert client.head(f"/xet/v1/files/{shared.hash}", headers=reader)["Content-Length"] == "300000"


def _size(file: XetFile) -> int:
    from hub.repos.places import store

    return store().xorb_size(file.xorb_hash)


def test_nginx_sends_a_stretch_that_was_allowed_and_nothing_else(client: Client, shared: XetFile, settings: Any):
    reader = take_token(client, None, "read-token/main")
    (pieces,) = ask_plan(client, shared, reader, Range="bytes=0-9").json()["fetch_info"].values()
    address, end = path_of(pieces[0]["url"]), pieces[0]["url_range"]["end"]
    settings.ACCEL_REDIRECT_PREFIX = "/stored"
    handed = client.get(address, headers={"Range": "bytes=0-9"})
    name = shared.xorb_hash
    assert handed["X-Accel-Redirect"] == f"/stored/{name[:2]}/{name[2:4]}/{name}" and handed.content == b""
    assert (settings.DATA_DIR / "store" / "xorbs" / name[:2] / name[2:4] / name).is_file()
    assert client.get(address, headers={"Range": f"bytes=0-{end + 1}"}).status_code == 403  # beyond what was allowed
    # What nginx could take for more than the stretch is sent from here.
    more = {"If-Range": '"x"'}
    odd = [{"Range": value} for value in ("bytes=0-4, 5-9", "Bytes=0-9", "bytes=9-5", "bytes=--5")]
    for headers in ({}, *odd, {"Range": "bytes=0-9", **more}):
        sent = client.get(address, headers=headers)
        assert sent.status_code == 206 and "X-Accel-Redirect" not in sent and sent.getvalue()
    settings.STORE_URL = "s3://elsewhere/bucket"
    assert not is_for_proxy(RequestFactory().get(address, headers={"Range": "bytes=0-9"}))


def test_a_plan_for_a_part_names_only_its_chunks(client: Client, shared: XetFile):
    reader = take_token(client, None, "read-token/main")
    last = len(shared.content) - 1
    plan = ask_plan(client, shared, reader, Range=f"bytes={last}-{last}").json()
    assert plan["terms"][0]["range"]["start"] == len(shared.chunks) - 1
    outside = ask_plan(client, shared, reader, Range=f"bytes={last + 1}-")
    assert outside.status_code == 416


def test_version_2_gives_several_stretches_in_one_answer(client: Client, shared: XetFile):
    reader = take_token(client, None, "read-token/main")
    plan = client.get(f"/xet/v2/reconstructions/{shared.hash}", headers=reader).json()
    (entry,) = plan["xorbs"][shared.xorb_hash]
    assert entry["ranges"] == [
        {"chunks": {"start": 0, "end": len(shared.chunks)}, "bytes": {"start": 0, "end": len(shared.xorb) - 1}}
    ]
    address = path_of(entry["url"])
    assert client.get(address).getvalue() == shared.xorb
    answer = client.get(address, headers={"Range": "bytes=5-9,100-199"})
    body = answer.getvalue()
    assert (answer.status_code, int(answer["Content-Length"])) == (206, len(body))
    message = email.message_from_bytes(f"Content-Type: {answer['Content-Type']}\r\n\r\n".encode() + body)
    assert [(part["Content-Range"], part.get_payload(decode=True)) for part in message.get_payload()] == [
        (f"bytes 5-9/{_size(shared)}", shared.xorb[5:10]),
        (f"bytes 100-199/{_size(shared)}", shared.xorb[100:200]),
    ]
    assert client.get(address, headers={"Range": "bytes=" + ",".join(["0-1"] * 65)}).status_code == 416
    beyond = f"bytes=0-1,{len(shared.xorb)}-{len(shared.xorb)}"  # the footer belongs to nobody
    assert client.get(address, headers={"Range": beyond}).status_code == 403


def test_plans_of_several_files_leave_out_what_is_not_there(client: Client, shared: XetFile):
    reader = take_token(client, None, "read-token/main")
    address = f"/xet/v1/reconstructions?file_id={shared.hash}&file_id={'0' * 64}&file_id=nonsense"
    told = client.get(address, headers=reader).json()
    one = ask_plan(client, shared, reader).json()
    assert told["files"] == {shared.hash: one["terms"]}
    assert [piece["range"] for piece in told["fetch_info"][shared.xorb_hash]] == [
        piece["range"] for piece in one["fetch_info"][shared.xorb_hash]
    ]
    many = "&".join(f"file_id={number}" for number in range(101))
    assert client.get(f"/xet/v1/reconstructions?{many}", headers=reader).status_code == 400


def test_whether_a_xorb_was_here_already_is_not_told(client: Client, shared: XetFile, charlie: Any):
    proposal = take_token(client, charlie.token, "write-token/None?create_pr=1")
    assert send(client, shared, proposal).json() == {"result": 1}
    assert send(client, shared, proposal).json() == {"result": 1}


def test_only_who_may_write_gets_a_token_to_write(client: Client, repo: Any, alice: Any, charlie: Any):
    from hub.accounts.tokens import create_token

    _, reading = create_token(user=alice.user, name="reads", role="read")

    def ask(token: str | None, rest: str) -> int:
        return client.get(f"{API}/xet-write-token/{rest}", headers=bearer(token) if token else {}).status_code

    assert (ask(None, "main"), ask(charlie.token, "main"), ask(reading, "main")) == (401, 403, 403)
    assert (ask(charlie.token, "None?create_pr=1"), ask(reading, "None?create_pr=1")) == (200, 403)


def test_a_token_to_read_does_not_write(client: Client, repo: Any, alice: Any):
    file, reader = make_file(2), take_token(client, alice.token, "read-token/main")
    assert post(client, f"/xet/v1/xorbs/default/{file.xorb_hash}", file.xorb, reader).status_code == 403
    assert post(client, "/xet/v1/shards", file.shard, reader).status_code == 403


def test_what_was_uploaded_for_one_repository_is_not_committed_to_another(client: Client, shared: XetFile, alice: Any):
    make_repo(alice.user, "other")
    refused = commit(client, alice.token, shared, "/api/datasets/alice/other/commit/main")
    assert (refused.status_code, "was not uploaded to alice/other" in refused.json()["error"]) == (400, True)


def test_a_stranger_commits_their_bytes_to_a_proposal_only(client: Client, repo: Any, charlie: Any, bob: Any):
    file = make_file(3)
    send(client, file, take_token(client, charlie.token, "write-token/None?create_pr=1"))
    assert commit(client, charlie.token, file).status_code == 403
    assert commit(client, bob.token, file, f"{API}/commit/main?create_pr=1").status_code == 400
    assert commit(client, charlie.token, file, f"{API}/commit/main?create_pr=1").status_code == 200
    withhold(repo, "tides.bin")
    mine = take_token(client, charlie.token, "read-token/refs%2Fpr%2F1")
    assert ask_plan(client, file, mine).status_code == 200
    for other in (take_token(client, bob.token, "read-token/main"), take_token(client, None, "read-token/main")):
        assert ask_plan(client, file, other).status_code == 404


# Lies


def lie_about_terms(file: XetFile) -> None:
    xorb, start, end, size = file.terms[0]
    file.terms = [(xorb, start, end - 1, size)]


def lie_about_proof(file: XetFile) -> None:
    file.proofs = [bytes(32)]


def lie_about_digest(file: XetFile) -> None:
    file.sha256 = "0" * 64


@pytest.mark.parametrize("lie", [lie_about_terms, lie_about_proof, lie_about_digest])
def test_a_shard_that_lies_registers_nothing(client: Client, repo: Any, alice: Any, lie: Callable[[XetFile], None]):
    file, writer = make_file(4), take_token(client, alice.token)
    lie(file)
    answer = send(client, file, writer)
    assert answer.status_code in (400, 403) and answer.json()["error"]
    assert ask_plan(client, file, writer).status_code == 404


def test_a_shard_may_name_only_chunks_that_its_sender_holds(client: Client, shared: XetFile, charlie: Any):
    stolen = make_file(5)
    stolen.hash, stolen.terms = shared.hash, shared.terms  # known from a plan; the proof takes the chunk hashes
    writer = take_token(client, charlie.token, "write-token/None?create_pr=1")
    stolen.proofs, stolen.sha256 = [random.Random(6).randbytes(32)], shared.sha256
    refused = post(client, "/xet/v1/shards", stolen.shard, writer)
    assert refused.status_code == 403 and "you have not uploaded" in refused.json()["error"]
    absent = make_file(7)
    absent.proofs = [bytes(32)]
    unknown = post(client, "/xet/v1/shards", absent.shard, writer)  # not here at all: the same answer
    known, other = (answer.json()["error"].split("uses xorb")[1][66:] for answer in (refused, unknown))
    assert (unknown.status_code, known) == (403, other)


def test_a_xorb_is_not_what_it_is_called(client: Client, repo: Any, alice: Any):
    file, writer = make_file(8), take_token(client, alice.token)
    refused = post(client, f"/xet/v1/xorbs/default/{'0' * 64}", file.xorb, writer)
    assert refused.status_code == 400 and "as announced" in refused.json()["error"]
    assert post(client, f"/xet/v1/xorbs/default/{file.xorb_hash}", b"noise" * 100, writer).status_code == 400


def test_a_shard_of_files_beyond_all_bounds_is_refused(client: Client, repo: Any, alice: Any, settings: Any):
    settings.MAX_FILE_BYTES = 200_000
    assert send(client, make_file(9), take_token(client, alice.token)).status_code == 413


# Time


def test_tokens_and_addresses_end_after_an_hour(client: Client, shared: XetFile, monkeypatch: pytest.MonkeyPatch):
    reader = take_token(client, None, "read-token/main")
    (piece,) = ask_plan(client, shared, reader).json()["fetch_info"][shared.xorb_hash]
    later = time.time() + 3602
    monkeypatch.setattr(time, "time", lambda: later)
    assert ask_plan(client, shared, reader).status_code == 401
    gone = client.get(path_of(piece["url"]))
    assert (gone.status_code, gone.json()["error"]) == (403, "This address has expired; ask for the file again")


@pytest.mark.parametrize("end", ["revoked", "expired", "left"])
def test_with_the_access_token_ends_what_it_gave(client: Client, shared: XetFile, alice: Any, end: str):
    from hub.accounts.models import AccessToken

    writer, reader = take_token(client, alice.token), take_token(client, alice.token, "read-token/main")
    (piece,) = ask_plan(client, shared, reader).json()["fetch_info"][shared.xorb_hash]
    if end == "revoked":
        AccessToken.objects.filter(user=alice.user).delete()
    elif end == "expired":
        AccessToken.objects.filter(user=alice.user).update(expires_at=timezone.now() - timedelta(seconds=1))
    else:
        type(alice.user).objects.filter(pk=alice.user.pk).update(is_active=False)
    assert ask_plan(client, shared, reader).status_code == 401
    assert send_xorb_status(client, writer) == 401
    assert client.get(path_of(piece["url"])).status_code == 403


def send_xorb_status(client: Client, headers: Headers) -> int:
    file = make_file(10)
    return post(client, f"/xet/v1/xorbs/default/{file.xorb_hash}", file.xorb, headers).status_code


def test_what_is_withdrawn_is_closed_at_once(client: Client, shared: XetFile, repo: Any, charlie: Any):
    reader = take_token(client, charlie.token, "read-token/main")
    (piece,) = ask_plan(client, shared, reader).json()["fetch_info"][shared.xorb_hash]
    assert client.get(path_of(piece["url"])).status_code == 206
    withhold(repo, "tides.bin", reason="It holds people's names.")
    assert ask_plan(client, shared, reader).status_code in (401, 404)
    assert client.get(path_of(piece["url"])).status_code == 403
    chunk = hashes.to_hex(hashes.hash_chunk(shared.chunks[0]))
    fresh = take_token(client, charlie.token, "read-token/main")
    assert client.get(f"/xet/v1/chunks/default/{chunk}", headers=fresh).status_code == 404


def test_a_token_for_some_repositories_reads_others_like_a_stranger(
    client: Client, shared: XetFile, repo: Any, alice: Any
):
    from hub.accounts.tokens import create_token

    withhold(repo, "tides.bin")
    scopes = {"datasets/alice/other": "write"}
    _, narrow = create_token(user=alice.user, name="narrow", role="fineGrained", scopes=scopes)
    assert ask_plan(client, shared, take_token(client, narrow, "read-token/main")).status_code == 404
    assert ask_plan(client, shared, take_token(client, alice.token, "read-token/main")).status_code == 200


def test_what_waits_for_its_release_is_not_handed_out(client: Client, shared: XetFile, repo: Any, alice: Any):
    """Cleared, but on a commit that the public does not see in a repository that shows releases only."""
    from hub.repos.models import Repo
    from hub.repos.publication import publish

    Repo.objects.filter(pk=repo.pk).update(shows=Repo.Shows.RELEASES, public_floor=repo.head)
    repo.refresh_from_db()
    publish(repo)
    file = make_file(11)
    send(client, file, take_token(client, alice.token))
    assert commit(client, alice.token, file, f"{API}/commit/main").status_code == 200
    clear(repo)
    reader = take_token(client, None, "read-token/main")
    assert (ask_plan(client, file, reader).status_code, ask_plan(client, shared, reader).status_code) == (404, 200)
    chunk = hashes.to_hex(hashes.hash_chunk(file.chunks[0]))
    assert client.get(f"/xet/v1/chunks/default/{chunk}", headers=reader).status_code == 404


# Forgeries


def test_a_forged_address_gives_nothing(client: Client, shared: XetFile):
    from hub.api.xet.tokens import SALT

    other = make_file(12)
    claims = [1, [0, 0], shared.sha256, other.xorb_hash, [[0, 10]]]
    for signature in ("", "nonsense", signing.dumps(claims, salt=SALT), signing.dumps([1], salt=f"{SALT}-data")):
        assert client.get(f"/xet/data/{shared.xorb_hash}?s={signature}").status_code == 403
    for text in ("Bearer nonsense", "Basic eA==", f"Bearer {signing.dumps({'r': 1}, salt='other')}"):
        assert ask_plan(client, shared, {"Authorization": text}).status_code == 401


@pytest.mark.parametrize(
    "path",
    [
        "/xet/v2/reconstructions/x",
        "/xet/v2/file-chunk-hashes/x",
        "/xet/v1/xorb-grants/default/x",
        "/xet/v2/shards",
        "/xet/nothing",
        "/xet/v1/chunks/default/no",
    ],
)
def test_what_is_not_spoken_here_is_404_so_that_clients_fall_back(client: Client, path: str):
    assert client.get(path).status_code == client.post(path).status_code == 404
    assert client.get(path).json()["error"]
