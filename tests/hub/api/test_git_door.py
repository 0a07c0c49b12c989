"""The git door by hand: what is refused before git runs, and what each person's view holds."""

import gzip
from typing import Any

import pytest
from django.test import Client

from tests.hub.scenes import add, clear, make_repo, members_head, propose, public_head, withhold

pytestmark = pytest.mark.django_db
PAGE = "/datasets/alice/tides"
FETCH = "application/x-git-upload-pack-request"


@pytest.fixture
def repo(alice: Any) -> Any:
    return make_repo(alice.user)


def as_person(person: Any) -> dict[str, str]:
    return {"Authorization": f"Bearer {person.token}"} if person else {}


def list_refs(client: Client, person: Any = None, service: str = "git-upload-pack", page: str = PAGE) -> dict[str, str]:
    """ref -> object as version 0 of the protocol tells them."""
    answer = client.get(f"{page}.git/info/refs?service={service}", headers=as_person(person))
    assert answer.status_code == 200, answer.content
    assert answer["Content-Type"] == f"application/x-{service}-advertisement"
    lines = answer.content.split(b"0000", 1)[1].split(b"\n")
    pairs = (line[4:].partition(b"\0")[0].decode().split(" ") for line in lines if line[4:5].isalnum())
    return {ref: oid for oid, ref in pairs}


def want(oid: str) -> bytes:
    line = f"want {oid} side-band-64k\n".encode()
    return b"%04x%s" % (len(line) + 4, line) + b"00000009done\n"


def fetch(client: Client, oid: str, person: Any = None, **more: Any) -> Any:
    headers = {**as_person(person), **more.pop("headers", {})}
    return client.post(f"{PAGE}.git/git-upload-pack", more.pop("data", want(oid)), content_type=FETCH, headers=headers)


def test_members_and_strangers_fetch_from_two_halves(client: Client, repo: Any, alice: Any, charlie: Any):
    shown = public_head(repo)
    hidden = add(repo, alice.user, {"people.txt": "account DE89 3704 0044 0532 0130 00\n"}).commit
    assert list_refs(client, alice)["refs/heads/main"] == hidden
    for person in (None, charlie):
        assert list_refs(client, person)["refs/heads/main"] == shown
        assert b"PACK" not in fetch(client, hidden, person).getvalue()
    assert b"PACK" in fetch(client, hidden, alice).getvalue()
    assert b"PACK" in fetch(client, shown).getvalue()


@pytest.mark.parametrize("page", ["/datasets/alice/tides", "/datasets/ALICE/Tides", "/git/datasets/alice/tides"])
@pytest.mark.parametrize("ending", ["", ".git"])
def test_a_repository_is_found_with_and_without_its_ending_and_in_any_case(
    client: Client, repo: Any, alice: Any, page: str, ending: str
):
    answer = client.get(f"{page}{ending}/info/refs?service=git-upload-pack", headers=as_person(alice))
    assert answer.status_code == 200


def test_a_stranger_pushes_upon_what_they_see(client: Client, repo: Any, alice: Any, charlie: Any, bob: Any):
    shown = public_head(repo)
    add(repo, alice.user, {"people.txt": "account DE89 3704 0044 0532 0130 00\n"})
    mine = propose(repo, charlie.user, {"mine.txt": "account DE89 3704 0044 0532 0130 00\n"})
    propose(repo, bob.user, {"his.txt": "account DE89 3704 0044 0532 0130 00\n"})
    refs = list_refs(client, charlie, "git-receive-pack")
    assert refs == {"refs/heads/main": shown, "refs/pr/1": mine.head, "refs/pr/2": shown}
    assert set(list_refs(client, alice, "git-receive-pack").values()) >= {members_head(repo), mine.head}


def test_the_hubs_own_references_are_nobodys(client: Client, repo: Any, alice: Any, charlie: Any):
    propose(repo, charlie.user, {"mine.txt": "x\n"})
    clear(repo)
    assert members_head(repo, "refs/convert/candidate_1")
    for person, service in ((None, "git-upload-pack"), (alice, "git-receive-pack"), (charlie, "git-receive-pack")):
        assert not [ref for ref in list_refs(client, person, service) if ref.startswith("refs/convert/")]


def test_what_is_withdrawn_is_gone_from_the_public_half(client: Client, repo: Any, alice: Any):
    commit = add(repo, alice.user, {"a.txt": "fine so far\n"}).commit
    clear(repo)
    assert b"PACK" in fetch(client, commit).getvalue()
    withhold(repo, "a.txt")
    assert b"PACK" not in fetch(client, commit).getvalue()
    assert b"PACK" in fetch(client, commit, alice).getvalue()


def test_a_compressed_fetch_is_understood_and_a_broken_one_refused(client: Client, repo: Any):
    head = public_head(repo)
    packed = gzip.compress(want(head))
    assert b"PACK" in fetch(client, head, data=packed, headers={"Content-Encoding": "gzip"}).getvalue()
    for broken in (packed[: len(packed) // 2], b"no gzip at all"):
        assert fetch(client, head, data=broken, headers={"Content-Encoding": "gzip"}).status_code == 400


@pytest.mark.parametrize("query", ["", "?service=git-steal-pack", "?service=git-upload-archive"])
def test_only_the_smart_protocol_is_spoken(client: Client, repo: Any, query: str):
    answer = client.get(f"{PAGE}.git/info/refs{query}")
    assert (answer.status_code, answer["Content-Type"]) == (400, "text/plain; charset=utf-8")
    assert b"smart protocol" in answer.content


def test_private_asks_nobody_and_is_missing_for_the_rest(client: Client, alice: Any, charlie: Any):
    make_repo(alice.user, is_private=True)
    for page in (PAGE, "/datasets/alice/nothing"):
        address = f"{page}.git/info/refs?service=git-upload-pack"
        asked = client.get(address)
        assert (asked.status_code, asked["WWW-Authenticate"]) == (401, 'Basic realm="Model Commons"')
        assert client.get(address, headers=as_person(charlie)).status_code == 404
    assert client.get(f"{PAGE}.git/info/refs?service=git-upload-pack", headers=as_person(alice)).status_code == 200


def test_a_token_serves_as_password_as_git_sends_it(client: Client, alice: Any):
    import base64

    make_repo(alice.user, is_private=True)
    address = f"{PAGE}.git/info/refs?service=git-receive-pack"

    def ask(text: str) -> int:
        given = base64.b64encode(text.encode()).decode()
        return client.get(address, headers={"Authorization": f"Basic {given}"}).status_code

    assert (ask(f"alice:{alice.token}"), ask(f"anything:{alice.token}"), ask(f"{alice.token}:")) == (200, 200, 200)
    assert (ask("alice:alice-tides-2026"), ask("alice:hf_wrong")) == (401, 401)


def test_the_password_of_the_account_is_answered_with_a_sentence_that_git_shows(client: Client, repo: Any):
    import base64

    header = {"Authorization": f"Basic {base64.b64encode(b'alice:alice-tides-2026').decode()}"}
    for place in (PAGE, "/datasets/alice/nothing"):
        refused = client.get(f"{place}.git/info/refs?service=git-receive-pack", headers=header)
        assert (refused.status_code, refused["Content-Type"]) == (401, "text/plain; charset=utf-8")
        assert b"Use an access token as password" in refused.content and "Basic" in refused["WWW-Authenticate"]


def test_who_may_not_push_is_told_before_they_send_anything(client: Client, repo: Any, alice: Any):
    from hub.accounts.tokens import create_token

    address = f"{PAGE}.git/info/refs?service=git-receive-pack"
    assert client.get(address).status_code == 401
    _, reading = create_token(user=alice.user, name="reads", role="read")
    refused = client.get(address, headers={"Authorization": f"Bearer {reading}"})
    assert (refused.status_code, refused.content) == (
        403, b"This token may only read; make one with the role 'write' in your settings.\n",
    )  # fmt: skip


@pytest.mark.parametrize("data", [b"", b"0000", b"zzzz", b"0010nonsense", b"fff0short", b"0001", b"0003"])
def test_a_push_that_is_none_changes_nothing(client: Client, repo: Any, alice: Any, data: bytes):
    before = members_head(repo)
    answer = client.post(
        f"{PAGE}.git/git-receive-pack", data, content_type="application/x-git-receive-pack-request",
        headers=as_person(alice),
    )  # fmt: skip
    assert answer.status_code in (200, 400)
    assert members_head(repo) == before


def test_a_space_and_a_model_have_their_own_doors(client: Client, alice: Any):
    make_repo(alice.user, "net", type="model")
    make_repo(alice.user, "stage", type="space")
    assert list_refs(client, page="/alice/net") and list_refs(client, page="/spaces/alice/stage")
    assert client.get("/datasets/alice/net.git/info/refs?service=git-upload-pack").status_code == 401
