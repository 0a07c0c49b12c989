"""Large files: no door hands out bytes, or word of them, that were not cleared, whoever knows their digests."""

import hashlib
from urllib.parse import urlsplit

import pytest
import requests

from hub.storage.xet import hashes
from tests.clients.hidden_garden import LARGE_BYTES, Garden, large_line
from tests.clients.running_hub import RunningHub, git, remote

STRANGERS = [pytest.param(None, id="nobody"), pytest.param("charlie", id="charlie")]


def take_token(hub: RunningHub, address: str, person: str | None) -> dict[str, str]:
    answer = hub.call("GET", address, person=person)
    assert answer.status_code == 200, answer.text
    return {"Authorization": f"Bearer {answer.json()['accessToken']}"}


@pytest.fixture(scope="module")
def own_address(granian_server: RunningHub) -> str:
    """A repository of Charlie's, for tokens of another repository."""
    granian_server.call("POST", "/api/repos/create", person="charlie", json={"name": "plot", "type": "dataset"})
    return "/api/datasets/charlie/plot"


@pytest.fixture
def stranger_tokens(garden: Garden, own_address: str) -> list[dict[str, str]]:
    """Every right to the byte store that strangers can get hold of."""
    return [
        take_token(garden.hub, f"{garden.api}/xet-read-token/main", None),
        take_token(garden.hub, f"{garden.api}/xet-read-token/main", "charlie"),
        take_token(garden.hub, f"{garden.api}/xet-write-token/None?create_pr=1", "charlie"),
        take_token(garden.hub, f"{own_address}/xet-read-token/main", "charlie"),
        take_token(garden.hub, f"{own_address}/xet-write-token/main", "charlie"),
    ]


@pytest.fixture
def owner_token(garden: Garden) -> dict[str, str]:
    return take_token(garden.hub, f"{garden.api}/xet-read-token/{garden.commits['later']}", "alice")


@pytest.mark.parametrize("person", STRANGERS)
def test_no_token_of_the_store_for_a_hidden_revision(garden: Garden, person: str | None):
    for revision in ["v0", "refs%2Ftags%2Fv0", *garden.hidden_commits]:
        address = f"{garden.api}/xet-read-token/{revision}"
        answer = garden.hub.call("GET", address, person=person)
        assert (answer.status_code, answer.headers["X-Error-Code"]) == (404, "RevisionNotFound")
        assert garden.hub.call("GET", address, person="alice").status_code == 200


def test_a_stranger_writes_to_the_store_only_for_a_proposal(garden: Garden):
    def ask(person: str | None, rest: str) -> int:
        return garden.hub.call("GET", f"{garden.api}/xet-write-token/{rest}", person=person).status_code

    assert (ask("charlie", "main"), ask(None, "main"), ask(None, "None?create_pr=1")) == (403, 401, 401)
    assert (ask("charlie", "None?create_pr=1"), ask("alice", "main")) == (200, 200)


def test_a_hidden_file_has_no_plan(garden: Garden, stranger_tokens: list[dict[str, str]], owner_token: dict[str, str]):
    def ask(path: str, token: dict[str, str], door: str = "reconstructions") -> int:
        address = f"/xet/v1/{door}/{garden.xet_hash(path)}"
        return garden.hub.call("HEAD" if door == "files" else "GET", address, headers=token).status_code

    for path in ("bad.pkl", "later.bin", "cellar.bin"):
        for token in stranger_tokens:
            assert ask(path, token) == ask(path, token, "files") == 404
    assert [ask("open.bin", token) for token in stranger_tokens] == [200, 200, 200, 404, 404]
    assert [ask(path, owner_token) for path in ("bad.pkl", "later.bin", "cellar.bin")] == [200, 200, 404]
    for token in ({}, {"Authorization": "Bearer nonsense"}):
        assert ask("open.bin", token) == 401


def plan(garden: Garden, path: str, token: dict[str, str]) -> tuple[str, int, int]:
    """(address, first byte, last byte) of the data of a file that lies in one piece."""
    answer = garden.hub.call("GET", f"/xet/v1/reconstructions/{garden.xet_hash(path)}", headers=token)
    ((part,),) = answer.json()["fetch_info"].values()
    return part["url"], part["url_range"]["start"], part["url_range"]["end"]


def test_an_address_of_data_gives_its_own_bytes_and_no_others(
    garden: Garden, stranger_tokens: list[dict[str, str]], owner_token: dict[str, str]
):
    assert garden.xorbs("open.bin") == garden.xorbs("bad.pkl")  # one xorb holds both
    url, start, end = plan(garden, "open.bin", stranger_tokens[1])
    _, hidden_start, hidden_end = plan(garden, "bad.pkl", owner_token)

    def fetch(first: int, last: int, address: str = url) -> requests.Response:
        return garden.hub.call("GET", address, headers={"Range": f"bytes={first}-{last}"})

    whole = fetch(start, end)
    assert whole.status_code == 206 and len(whole.content) == end - start + 1
    assert fetch(start + 10, start + 19).content == whole.content[10:20]
    assert fetch(start, end + 1).status_code == 403
    assert fetch(hidden_start, hidden_end).status_code == 403
    assert garden.hub.call("GET", url, headers={"Range": "bytes=-100"}).status_code in (206, 403)
    assert not garden.holds_hidden(garden.hub.call("GET", url, headers={"Range": "bytes=-100"}))
    several = garden.hub.call("GET", url, headers={"Range": f"bytes={start}-{start + 9},{start + 20}-{start + 29}"})
    assert several.status_code == 206 and whole.content[:10] in several.content
    assert whole.content[20:30] in several.content and not garden.holds_hidden(several)
    beyond = {"Range": f"bytes={start}-{start + 9},{hidden_start}-{hidden_start + 9}"}
    assert garden.hub.call("GET", url, headers=beyond).status_code == 403
    other = garden.xorbs("later.bin")[0]
    assert fetch(start, end, url.replace(garden.xorbs("open.bin")[0], other)).status_code == 403
    assert fetch(start, end, url[:-4]).status_code == 403
    assert garden.hub.call("GET", urlsplit(url).path).status_code == 403


def test_no_word_of_a_hidden_xorb(garden: Garden, stranger_tokens: list[dict[str, str]], owner_token: dict[str, str]):
    def ask(path: str, token: dict[str, str]) -> int:
        address = f"/xet/v1/xorbs/default/{garden.xorbs(path)[0]}"
        return garden.hub.call("HEAD", address, headers=token).status_code

    assert {ask(path, token) for path in ("later.bin", "cellar.bin") for token in stranger_tokens} == {404}
    assert (ask("open.bin", stranger_tokens[0]), ask("later.bin", owner_token)) == (200, 200)


def test_deduplication_says_nothing_of_hidden_chunks(
    garden: Garden, stranger_tokens: list[dict[str, str]], owner_token: dict[str, str]
):
    def ask(chunk: bytes, token: dict[str, str]) -> requests.Response:
        return garden.hub.call("GET", f"/xet/v1/chunks/default/{hashes.to_hex(chunk)}", headers=token)

    def tells_of(answer: requests.Response, path: str) -> bool:
        key = answer.content[-128:-96]
        return any(hashes.key_hash(chunk, key) in answer.content for chunk in garden.chunk_hashes(path))

    for path in ("bad.pkl", "later.bin", "cellar.bin"):
        for chunk in garden.chunk_hashes(path)[:4]:
            assert {ask(chunk, token).status_code for token in stranger_tokens} == {404}
    # An answer about a cleared file comes from a xorb that also holds a withheld one.
    chunk = garden.chunk_hashes("open.bin")[0]
    for token in stranger_tokens:
        answer = ask(chunk, token)
        assert answer.status_code == 200 and tells_of(answer, "open.bin")
        assert not any(tells_of(answer, path) for path in ("bad.pkl", "later.bin", "cellar.bin"))
    told = ask(chunk, owner_token)
    assert tells_of(told, "bad.pkl") and tells_of(told, "later.bin") and not tells_of(told, "cellar.bin")


# LFS


def batch(garden: Garden, operation: str, sha256: str, person: str | None, page: str = "") -> dict:
    body = {"operation": operation, "transfers": ["basic"], "objects": [{"oid": sha256, "size": LARGE_BYTES}]}
    answer = garden.hub.call("POST", f"{page or garden.page}.git/info/lfs/objects/batch", person=person, json=body)
    assert answer.status_code == 200, answer.text
    (item,) = answer.json()["objects"]
    return item


@pytest.mark.parametrize("person", STRANGERS)
def test_lfs_downloads_no_hidden_object(garden: Garden, person: str | None):
    for path in ("bad.pkl", "later.bin", "cellar.bin"):
        item = batch(garden, "download", garden.sha256(path), person)
        assert "actions" not in item and item["error"]["code"] == 404
    assert "actions" in batch(garden, "download", garden.sha256("open.bin"), person)
    assert "actions" in batch(garden, "download", garden.sha256("later.bin"), "alice")


def test_lfs_never_says_that_unseen_bytes_are_already_there(garden: Garden):
    for path in ("bad.pkl", "later.bin", "cellar.bin"):
        item = batch(garden, "upload", garden.sha256(path), "charlie")
        assert "upload" in item["actions"]
        # The address takes the true bytes and nothing else, and says so.
        lie = garden.hub.call("PUT", item["actions"]["upload"]["href"], data=bytes(LARGE_BYTES))
        assert lie.status_code == 400 and "SHA-256" in lie.json()["error"]
        checked = garden.hub.call("POST", item["actions"]["verify"]["href"], json={"oid": item["oid"], "size": 1})
        assert checked.status_code == 404
    assert "actions" not in batch(garden, "upload", garden.sha256("open.bin"), "charlie")


# Naming what one does not hold


@pytest.mark.parametrize("path", ["bad.pkl", "later.bin", "cellar.bin"])
def test_a_digest_is_no_proof_of_having_the_bytes(garden: Garden, own_address: str, path: str):
    line = large_line("mine.bin", garden.files[path])
    for address in (f"{own_address}/commit/main", f"{garden.api}/commit/main?create_pr=1"):
        refused = garden.hub.commit(address, line, person="charlie")
        assert refused.status_code == 400 and "was not uploaded" in refused.json()["error"]
    # not even to Alice herself, for another repository of hers
    refused = garden.hub.commit("/api/datasets/alice/cellar/commit/main", line) if path != "cellar.bin" else None
    assert refused is None or refused.status_code == 400


def test_nothing_is_copied_out_of_a_private_repository(garden: Garden, own_address: str):
    files = {
        "files": [{"xetHash": garden.xet_hash("cellar.bin"), "sha256": garden.sha256("cellar.bin"), "filename": "x"}]
    }
    target = {"target": {"type": "dataset", "name": "charlie/plot"}, **files}
    answer = garden.hub.call("POST", "/api/datasets/alice/cellar/lfs-files/duplicate", person="charlie", json=target)
    assert answer.status_code == 404
    line = large_line("stolen.bin", garden.files["cellar.bin"])
    assert garden.hub.commit(f"{own_address}/commit/main", line, person="charlie").status_code == 400


@pytest.mark.parametrize("path", ["bad.pkl", "cellar.bin"])
def test_a_pushed_pointer_needs_its_bytes(garden: Garden, tmp_path, path: str):
    clone = tmp_path / "clone"
    git("clone", "-q", remote(garden.hub, "/datasets/charlie/plot", "charlie"), str(clone))
    digest, size = hashlib.sha256(garden.files[path]).hexdigest(), len(garden.files[path])
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {size}\n"
    (clone / "stolen.bin").write_text(pointer)
    git("add", ".", cwd=clone)
    git("commit", "-qm", "Mine now", cwd=clone)
    pushed = git("push", "origin", "HEAD:main", cwd=clone, check=False)
    assert pushed.returncode != 0
    assert "stolen.bin: its large file was not uploaded" in pushed.stderr
