"""Gated repositories: everybody sees what they are; the files are for members and for who was let in, at every door."""

import hashlib
import io
import random
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.test import Client
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("cleared_at_once")]
NAME = "alice/tides"
WHAT: dict[str, Any] = {"repo_type": "dataset"}
DATA = random.Random(5).randbytes(70_000)
OID = hashlib.sha256(DATA).hexdigest()
CARD = """---
license: mit
extra_gated_fields:
  Where do you work: text
  I will not resell it: checkbox
  Sea:
    type: select
    options: [North, Baltic]
---
# Tides
"""
ANSWERS = {"Where do you work": "Harbour", "I will not resell it": True, "Sea": "Baltic"}


@pytest.fixture
def gated(alice: Any) -> Any:
    return make_gated(alice)


def make_gated(alice: Any, way: str = "manual") -> Any:
    """alice/tides with a card, a text and a large file."""
    from hub.community.contributions import commit
    from hub.repos.lifecycle import create_repo, update_settings
    from hub.storage.git import AddFile

    repo = create_repo(type="dataset", name="tides", by=alice.user)
    files = {"README.md": CARD.encode(), "rows.csv": b"harbour,high\nBrest,61\n", "tides.bin": DATA}
    operations = [AddFile(path, content) for path, content in files.items()]
    commit(repo=repo, by=alice.user, revision="main", operations=operations, title="Add tides", door="api")
    update_settings(repo=repo, by=alice.user, gated=way)
    repo.refresh_from_db()
    return repo


def as_person(person: Any) -> dict[str, str]:
    return {"Authorization": f"Bearer {person.token}"} if person else {}


def ask(client: Client, person: Any, fields: Any = ANSWERS) -> Any:
    address = f"/api/datasets/{NAME}/user-access-request"
    return client.post(address, {"fields": fields}, content_type="application/json", headers=as_person(person))


def test_everybody_sees_the_page_and_nobody_else_the_files(client_of, gated, alice, charlie, tmp_path):
    for who, status in ((charlie, 403), (None, 401)):
        api = client_of(who)
        info = api.dataset_info(NAME)
        assert (info.gated, info.card_data.license) == ("manual", "mit")
        assert {row.path for row in api.list_repo_tree(NAME, **WHAT)} >= {"README.md", "rows.csv", "tides.bin"}
        assert open(api.hf_hub_download(NAME, "README.md", **WHAT)).read() == CARD
        for path in ("rows.csv", "tides.bin"):
            with pytest.raises(GatedRepoError) as refusal:
                api.hf_hub_download(NAME, path, **WHAT, cache_dir=tmp_path)
            assert refusal.value.response.status_code == status
            assert f"Access to dataset {NAME} is restricted and you are not in the authorized list" in str(
                refusal.value
            )
        with pytest.raises(GatedRepoError):
            api.auth_check(NAME, **WHAT)
    assert open(client_of(alice).hf_hub_download(NAME, "rows.csv", **WHAT)).read() == "harbour,high\nBrest,61\n"
    client_of(alice).auth_check(NAME, **WHAT)


def test_a_request_is_made_accepted_cancelled_and_rejected(client_of, gated, alice, charlie, client):
    api, stranger = client_of(alice), client_of(charlie)
    assert ask(client, charlie).json()["status"] == "pending"
    [row] = api.list_pending_access_requests(NAME, **WHAT)
    assert (row.username, row.status, row.fields, row.email) == ("charlie", "pending", ANSWERS, "charlie@example.org")
    api.accept_access_request(NAME, "charlie", **WHAT)
    assert [row.username for row in api.list_accepted_access_requests(NAME, **WHAT)] == ["charlie"]
    assert open(stranger.hf_hub_download(NAME, "tides.bin", **WHAT, force_download=True), "rb").read() == DATA
    stranger.auth_check(NAME, **WHAT)
    api.cancel_access_request(NAME, request_id=row.request_id, **WHAT)
    with pytest.raises(GatedRepoError):
        stranger.auth_check(NAME, **WHAT)
    api.reject_access_request(NAME, "charlie", rejection_reason="Not a harbour.", **WHAT)
    assert [row.username for row in api.list_rejected_access_requests(NAME, **WHAT)] == ["charlie"]
    assert list(api.list_pending_access_requests(NAME, **WHAT)) == []
    again = ask(client, charlie)
    assert (again.status_code, "Not a harbour." in again.json()["error"]) == (403, True)


def test_a_gate_that_opens_by_itself(alice, charlie, client, client_of):
    make_gated(alice, "auto")
    assert ask(client, charlie).json()["status"] == "accepted"
    client_of(charlie).auth_check(NAME, **WHAT)


def test_access_is_granted_to_who_did_not_ask(client_of, gated, alice, bob, charlie):
    api = client_of(alice)
    api.grant_access(NAME, "charlie", **WHAT)
    client_of(charlie).auth_check(NAME, **WHAT)
    [row] = api.list_accepted_access_requests(NAME, **WHAT)
    assert (row.username, row.email, row.fields) == ("charlie", None, None)
    for who, name, status in ((alice, "charlie", 400), (alice, "nobody-here", 404), (bob, "bob", 403)):
        with pytest.raises(HfHubHTTPError) as refusal:
            client_of(who).grant_access(NAME, name, **WHAT)
        assert refusal.value.response.status_code == status, name


def test_only_writers_see_and_decide(client_of, gated, bob, charlie, client):
    ask(client, charlie)
    for who, status in ((bob, 403), (charlie, 403), (None, 401)):
        for act in (
            lambda api: list(api.list_pending_access_requests(NAME, **WHAT)),
            lambda api: api.accept_access_request(NAME, "charlie", **WHAT),
            lambda api: api.update_repo_settings(NAME, gated=False, **WHAT),
        ):
            with pytest.raises(HfHubHTTPError) as refusal:
                act(client_of(who))
            assert refusal.value.response.status_code == status


def test_what_is_wrong_is_said(client_of, gated, alice, client, charlie):
    api = client_of(alice)
    with pytest.raises(HfHubHTTPError) as refusal:
        api.accept_access_request(NAME, "charlie", **WHAT)
    assert refusal.value.response.status_code == 404
    for fields, part in (
        ({}, "Answer 'Where do you work'"),
        ({**ANSWERS, "Sea": "Dead"}, "none of the answers"),
        ({**ANSWERS, "I will not resell it": "yes"}, "Tick"),
        ({**ANSWERS, "Where do you work": "x" * 1001}, "at most 1,000 characters"),
        ("text", "must be an object"),
    ):
        answer = ask(client, charlie, fields)
        assert (answer.status_code, part in answer.json()["error"]) == (400, True), answer.json()
    api.update_repo_settings(NAME, gated=False, **WHAT)
    for act in (
        lambda: list(api.list_pending_access_requests(NAME, **WHAT)),
        lambda: api.grant_access(NAME, "charlie", **WHAT),
        lambda: api.accept_access_request(NAME, "charlie", **WHAT),
    ):
        with pytest.raises(HfHubHTTPError) as refusal:
            act()
        assert refusal.value.response.status_code == 400
    answer = client.put(
        f"/api/datasets/{NAME}/settings", {"gated": "maybe"}, content_type="application/json", headers=as_person(alice)
    )
    assert (answer.status_code, "'auto', 'manual' or false" in answer.json()["error"]) == (400, True)


def test_lists_are_filtered_by_the_gate(client_of, gated, alice):
    client_of(alice).create_repo("alice/open", **WHAT)
    names = {flag: [row.id for row in client_of(None).list_datasets(gated=flag)] for flag in (True, False)}
    assert names == {True: [NAME], False: ["alice/open"]}


def test_git_and_lfs_refuse_strangers(gated, alice, charlie, client):
    refs = f"/datasets/{NAME}.git/info/refs?service=git-upload-pack"
    batch = f"/datasets/{NAME}.git/info/lfs/objects/batch"
    body = {"operation": "download", "objects": [{"oid": OID, "size": len(DATA)}]}
    for who, status in ((alice, 200), (charlie, 403), (None, 401)):
        assert client.get(refs, headers=as_person(who)).status_code == status
        pack = client.post(
            f"/datasets/{NAME}.git/git-upload-pack", b"0000", content_type="application/x-git-upload-pack-request",
            headers=as_person(who),
        )  # fmt: skip
        assert pack.status_code == status
        answer = client.post(batch, body, content_type="application/vnd.git-lfs+json", headers=as_person(who))
        assert answer.status_code == status
        assert answer.has_header("WWW-Authenticate") == (status == 401)  # git asks for a password then, and not in vain


def test_addresses_end_with_the_access(gated, alice, charlie, client, client_of):
    """An LFS address and a Xet token that were given while the person had access give nothing any more."""
    client_of(alice).grant_access(NAME, "charlie", **WHAT)
    body = {"operation": "download", "objects": [{"oid": OID, "size": len(DATA)}]}
    batch = f"/datasets/{NAME}.git/info/lfs/objects/batch"
    given = client.post(batch, body, content_type="application/vnd.git-lfs+json", headers=as_person(charlie)).json()
    address = urlsplit(given["objects"][0]["actions"]["download"]["href"]).path
    assert client.get(address).getvalue() == DATA
    xet_token = client.get(f"/api/datasets/{NAME}/xet-read-token/main", headers=as_person(charlie)).json()[
        "accessToken"
    ]
    from hub.repos.models import StoredBlob

    plan = f"/xet/v1/reconstructions/{StoredBlob.objects.get(pk=OID).xet_hash}"
    with_token = {"Authorization": f"Bearer {xet_token}"}
    terms = client.get(plan, headers=with_token).json()["fetch_info"]
    piece = urlsplit(next(iter(terms.values()))[0]["url"])
    data = f"{piece.path}?{piece.query}"
    span = next(iter(terms.values()))[0]["url_range"]
    ranged = {"Range": f"bytes={span['start']}-{span['end']}"}
    assert client.get(data, headers=ranged).status_code == 206
    client_of(alice).cancel_access_request(NAME, "charlie", **WHAT)
    assert client.get(address).status_code == 403
    assert client.get(plan, headers=with_token).status_code == 401
    assert client.get(data, headers=ranged).status_code == 403
    assert client.get(f"/api/datasets/{NAME}/xet-read-token/main", headers=as_person(charlie)).status_code == 403
    assert client.get(f"/api/datasets/{NAME}/xet-read-token/main").status_code == 401


def test_no_other_door_gives_the_bytes(gated, alice, charlie, client):
    """Raw files, pages of files, diffs and tables; a member sees there what is refused to strangers."""
    browser = Client()
    browser.force_login(charlie.user)
    member = Client()
    member.force_login(alice.user)
    head = gated.public_head or gated.head
    for page in (f"/datasets/{NAME}/blob/main/rows.csv", f"/datasets/{NAME}/commit/{head}"):
        assert "Brest" in member.get(page).content.decode()
        for who in (browser, client):
            assert "Brest" not in who.get(page).content.decode()
    raw = f"/datasets/{NAME}/raw/main/rows.csv"
    assert [who.get(raw).status_code for who in (member, browser, client)] == [200, 403, 401]
    assert client.get(f"/datasets/{NAME}/tree/main").status_code == 200


def test_what_a_gate_hides_is_not_told_of_elsewhere(gated, alice, bob):
    """Deduplication answers and naming a digest speak of what anybody could download, which this is not."""
    from hub.repos.blobs import list_told_chunks, may_commit_blob
    from hub.repos.lifecycle import create_repo, update_settings
    from hub.repos.models import BlobXorb

    own = create_repo(type="dataset", name="own", by=bob.user)
    xorb = BlobXorb.objects.filter(blob_id=OID).values_list("xorb", flat=True).first()

    def told() -> tuple[bool, bool]:
        told = bool(list_told_chunks(repo=own, user=bob.user, xorb=xorb))
        return told, may_commit_blob(repo=gated, by=bob.user, sha256=OID)

    assert told() == (False, False)
    update_settings(repo=gated, by=alice.user, gated="")
    assert told() == (True, True)


def test_a_copy_needs_access_and_is_gated(client_of, gated, alice, bob, charlie):
    with pytest.raises(GatedRepoError):
        client_of(charlie).duplicate_repo(NAME, **WHAT)
    client_of(alice).grant_access(NAME, "charlie", **WHAT)
    client_of(charlie).duplicate_repo(NAME, **WHAT)
    assert client_of(charlie).dataset_info("charlie/tides").gated == "manual"
    with pytest.raises(GatedRepoError):
        client_of(bob).auth_check("charlie/tides", **WHAT)


def test_a_proposal_needs_access(client_of, gated, alice, charlie):
    def propose() -> Any:
        return client_of(charlie).upload_file(
            path_or_fileobj=io.BytesIO(b"more\n"), path_in_repo="more.csv", repo_id=NAME, create_pr=True, **WHAT
        )

    with pytest.raises(GatedRepoError):
        propose()
    client_of(alice).grant_access(NAME, "charlie", **WHAT)
    assert propose().pr_num == 1


def test_a_token_for_another_repository_opens_no_gate(gated, alice, client):
    """A fine-grained token reads what everybody may read, and gated files only where it names the repository."""
    from hub.accounts.tokens import create_token

    answers = []
    for scopes in ({"datasets/alice/other": "read"}, {"datasets/alice/tides": "read"}):
        _, token = create_token(user=alice.user, name="narrow", role="fineGrained", scopes=scopes)
        headers = {"Authorization": f"Bearer {token}"}
        file = client.get(f"/datasets/{NAME}/resolve/main/rows.csv", headers=headers)
        info = client.get(f"/api/datasets/{NAME}", headers=headers)
        answers.append((info.status_code, file.status_code))
    assert answers == [(200, 403), (200, 200)]


def test_both_sides_are_told(gated, alice, charlie, client, client_of):
    from hub.community.models import Notification

    ask(client, charlie)
    client_of(alice).reject_access_request(NAME, "charlie", rejection_reason="Not a harbour.", **WHAT)
    told = [(row.user.username, row.text) for row in Notification.objects.order_by("pk")]
    assert told == [
        ("alice", f"charlie asks for access to {NAME}"),
        ("charlie", f"You were refused access to {NAME}: Not a harbour."),
    ]
