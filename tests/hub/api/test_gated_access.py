"""A gated repository shows what it is to everybody, and its files to who was let in, whichever door they come by."""

import pytest
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError

from tests.hub.scenes import make_repo, operations

pytestmark = pytest.mark.django_db
CARD = """---
extra_gated_prompt: "Use it for **tides** only. <script>alert(1)</script>"
extra_gated_fields:
  Harbour: text
  Purpose: {type: select, options: [research, {label: Else, value: other}]}
  I agree: checkbox
extra_gated_button_content: Let me in
---
# Tides
"""
ANSWERS = {"Harbour": "Hull", "Purpose": "other", "I agree": True}
WEIGHTS = b"\x00weights" * 4000
SECRET = b'{"depth": "fathoms-only-for-members"}\n'


@pytest.fixture
def gated(alice, cleared_at_once):
    """The gated model alice/tides with a card, a text and a large file."""
    from hub.community.contributions import commit
    from hub.repos.lifecycle import update_settings

    repo = make_repo(alice.user, type="model")
    files = {"README.md": CARD, "rows.jsonl": SECRET, "model.safetensors": WEIGHTS}
    commit(repo=repo, by=alice.user, revision="main", title="Files", door="api", operations=operations(files))
    repo.refresh_from_db()
    return update_settings(repo=repo, by=alice.user, gated="manual")


def headers_of(person):
    return {"HTTP_AUTHORIZATION": f"Bearer {person.token}"} if person else {}


def sha256_of(repo):
    from hub.repos.models import Content

    return Content.objects.get(repo=repo, digest__startswith="sha256:").oid


def post(client, address, body, person):
    return client.post(
        f"/api/models/alice/tides/{address}", body, content_type="application/json", **headers_of(person)
    )


def lfs_batch(client, repo, person):
    body = {"operation": "download", "objects": [{"oid": sha256_of(repo), "size": len(WEIGHTS)}]}
    return client.post(
        "/alice/tides.git/info/lfs/objects/batch", body, content_type="application/json", **headers_of(person)
    )


DOORS = {
    "resolve": "/alice/tides/resolve/main/rows.jsonl",
    "resolve large": "/alice/tides/resolve/main/model.safetensors",
    "raw": "/alice/tides/raw/main/rows.jsonl",
    "raw pointer": "/alice/tides/raw/main/model.safetensors",
    "xet token": "/api/models/alice/tides/xet-read-token/main",
    "auth-check": "/api/models/alice/tides/auth-check",
    "safetensors index": "/api/models/alice/tides/safetensors-metadata/rows.jsonl",
    "git": "/alice/tides.git/info/refs?service=git-upload-pack",
}


@pytest.mark.parametrize("door", DOORS)
def test_no_door_gives_bytes_before_somebody_was_let_in(client, gated, alice, charlie, door):
    for method in (client.get, client.head) if door.startswith("resolve") else (client.get,):
        for person, status in ((None, 401), (charlie, 403)):
            refused = method(DOORS[door], **headers_of(person))
            assert refused.status_code == status, (door, person)
            assert refused["X-Error-Code"] == "GatedRepo"
    let_in(gated, alice, charlie)
    opened = client.get(DOORS[door], **headers_of(charlie)).status_code
    assert opened == (400 if door == "safetensors index" else 200)  # it is no index


def let_in(repo, by, person):
    from hub.repos.gating import grant_access

    grant_access(repo=repo, by=by.user, user=person.user)


def test_members_and_moderators_always_read(client, gated, alice, bob):
    from hub.repos.collaborators import set_collaborator
    from tests.people import make_person

    set_collaborator(repo=gated, user=bob.user, role="read", by=alice.user)
    moderator = make_person("mod", is_moderator=True)
    for person in (alice, bob, moderator):
        for door in ("resolve", "resolve large", "git"):
            assert client.get(DOORS[door], **headers_of(person)).status_code == 200, (person.name, door)


def test_everybody_sees_what_it_is(client, gated):
    info = client.get("/api/models/alice/tides").json()
    assert info["gated"] == "manual"
    assert {row["rfilename"] for row in info["siblings"]} >= {"README.md", "rows.jsonl", "model.safetensors"}
    tree = client.get("/api/models/alice/tides/tree/main").json()
    assert {row["path"]: row["size"] for row in tree}["model.safetensors"] == len(WEIGHTS)
    for path in ("README.md", ".gitattributes"):
        assert client.get(f"/alice/tides/resolve/main/{path}").status_code == 200
    assert [row["id"] for row in client.get("/api/models?gated=true").json()] == ["alice/tides"]
    assert [row["id"] for row in client.get("/api/models?gated=manual&expand=gated").json()] == ["alice/tides"]
    assert client.get("/api/models?gated=false").json() == client.get("/api/models?gated=auto").json() == []


def test_what_files_say_is_not_told_beside_them(client, gated, alice, charlie):
    """Configuration, results, previews, searches and lists tell who is outside what it is, not what is in its files."""
    from hub.community.collections import add_item, create_collection
    from tests.hub.scenes import add

    mark = "forty-fathoms"
    files = {
        "config.json": f'{{"model_type": "{mark}", "architectures": ["{mark}"]}}',
        ".eval_results/a.yaml": f"- dataset: {{id: alice/bench, task_id: {mark}}}\n  value: 1\n  notes: {mark}\n",
        "rows.csv": f"place,depth\n{mark},40\n",
    }
    add(gated, alice.user, files)
    add(make_repo(alice.user, "bench"), alice.user, {"README.md": "# Bench"})
    shelf = create_collection(by=alice.user, owner=alice.user, title="Shelf")
    add_item(collection=shelf, by=alice.user, thing=gated)
    addresses = [
        "/api/models/alice/tides?expand=config&expand=evalResults&expand=safetensors&expand=cardData",
        "/api/models?search=tides&full=true&config=true",
        "/api/models/alice/tides/tree/main?expand=true&recursive=true",
        "/api/models/alice/tides/commits/main",
        "/api/datasets/alice/bench/leaderboard",
        "/datasets/alice/bench",
        f"/api{shelf.path}",
        shelf.path,
        "/search?q=tides",
        "/models?q=tides",
        "/alice",
        "/alice/tides",
        "/alice/tides/blob/main/config.json",
        "/alice/tides/blob/main/rows.csv",
        "/alice/tides/commits/main",
    ]
    seen = {}
    for person in (None, charlie, alice):
        client.logout()
        if person is not None:
            client.force_login(person.user)
        found = [address for address in addresses if mark in client.get(address).content.decode()]
        assert b"alice/tides" not in client.get(f"/search?q={mark}").content
        seen[person.name if person else ""] = found
    assert (seen[""], seen["charlie"]) == ([], [])
    assert {addresses[0], addresses[-2], addresses[-3]} <= set(seen["alice"])


def test_what_some_may_read_is_kept_by_no_shared_cache(client, gated, alice):
    kept = client.get(DOORS["resolve"], **headers_of(alice))["Cache-Control"]
    assert kept == "private, no-cache"


def test_pages_show_no_bytes_to_who_is_outside(client, gated, charlie):
    client.force_login(charlie.user)
    commit = gated.public_head
    for page in (
        "",
        "/tree/main",
        "/blob/main/rows.jsonl",
        "/blob/main/model.safetensors",
        f"/commit/{commit}",
        "/edit/main/rows.jsonl",
    ):
        answer = client.get(f"/alice/tides{page}")
        assert b"fathoms" not in answer.content, page
        assert answer.status_code == (403 if page.startswith(("/commit/", "/edit")) else 200), page
    assert b"Let me in" in client.get("/alice/tides").content
    assert b"<script>alert(1)" not in client.get("/alice/tides").content


def test_bytes_by_large_file_doors_end_with_the_access(client, gated, alice, charlie):
    """Addresses that were given while somebody had access open nothing afterwards."""
    from hub.repos import gating

    assert lfs_batch(client, gated, None).status_code == 401
    assert lfs_batch(client, gated, charlie).status_code == 403
    let_in(gated, alice, charlie)
    href = lfs_batch(client, gated, charlie).json()["objects"][0]["actions"]["download"]["href"]
    ticket = href.removeprefix("http://testserver")
    assert b"".join(client.get(ticket).streaming_content) == WEIGHTS
    token = client.get(DOORS["xet token"], **headers_of(charlie)).json()["accessToken"]
    xet_hash = client.head(DOORS["resolve large"], **headers_of(charlie))["X-Xet-Hash"]
    by_token = {"HTTP_AUTHORIZATION": f"Bearer {token}"}
    plan = client.get(f"/xet/v1/reconstructions/{xet_hash}", **by_token)
    assert plan.status_code == 200
    piece = next(iter(plan.json()["fetch_info"].values()))[0]["url"].removeprefix("http://testserver")
    assert client.get(piece).status_code == 206
    request = gating.find_request(gated, user="charlie")
    gating.decide(repo=gated, by=alice.user, request=request, status="rejected", reason="Too curious.")
    assert client.get(ticket).status_code == 403
    assert client.get(f"/xet/v1/reconstructions/{xet_hash}", **by_token).status_code == 401
    assert client.get(piece).status_code == 403


def test_deduplication_tells_nothing_of_gated_files(gated, alice, bob, charlie):
    from hub.repos.blobs import list_told_chunks, may_commit_blob
    from hub.repos.models import BlobXorb

    other = make_repo(charlie.user, "own")
    xorb = BlobXorb.objects.get(blob_id=sha256_of(gated)).xorb
    assert list_told_chunks(repo=other, user=charlie.user, xorb=xorb) == []
    assert not may_commit_blob(repo=gated, by=charlie.user, sha256=sha256_of(gated))
    let_in(gated, alice, charlie)
    assert list_told_chunks(repo=other, user=charlie.user, xorb=xorb)
    assert may_commit_blob(repo=gated, by=charlie.user, sha256=sha256_of(gated))


def test_who_is_outside_neither_proposes_nor_copies(client, gated, charlie):
    header = '{"key":"header","value":{"summary":"A change"}}\n{"key":"deletedFile","value":{"path":"rows.jsonl"}}'
    for address, body, kind in (
        ("/api/models/alice/tides/commit/main?create_pr=1", header, "application/x-ndjson"),
        ("/api/models/alice/tides/duplicate", {"repository": "charlie/tides"}, "application/json"),
    ):
        refused = client.post(address, body, content_type=kind, **headers_of(charlie))
        assert (refused.status_code, refused["X-Error-Code"]) == (403, "GatedRepo"), address


def test_a_copy_is_gated_too(client, gated, alice, charlie):
    let_in(gated, alice, charlie)
    made = post(client, "duplicate", {"repository": "charlie/tides"}, charlie)
    assert made.status_code == 200, made.content
    assert client.get("/api/models/charlie/tides").json()["gated"] == "manual"


def test_a_private_repository_stays_missing_for_who_was_let_in(client, gated, alice, charlie):
    from hub.repos.lifecycle import update_settings

    let_in(gated, alice, charlie)
    update_settings(repo=gated, by=alice.user, is_private=True)
    refused = client.get(DOORS["resolve"], **headers_of(charlie))
    assert (refused.status_code, refused["X-Error-Code"]) == (404, "RepoNotFound")


def test_a_token_for_another_repository_reads_no_gated_files(client, gated, alice):
    from hub.accounts.tokens import create_token

    for scopes, status in (({"models/alice/other": "read"}, 403), ({"models/alice/tides": "read"}, 200)):
        _, token = create_token(user=alice.user, name="t", role="fineGrained", scopes=scopes)
        assert client.get(DOORS["resolve"], HTTP_AUTHORIZATION=f"Bearer {token}").status_code == status, scopes


def test_training_takes_gated_data_only_from_who_may_read_it(gated, alice, charlie):
    from training.engine.recipe import RepoRef
    from training.recipes import RecipeRefused, pin_one

    with pytest.raises(RecipeRefused, match="restricted"):
        pin_one("dataset" if gated.type == "dataset" else "model", RepoRef("alice/tides", "main"), charlie.user)


def test_a_gated_model_answers_no_questions_of_who_is_outside(gated, charlie):
    from hub.common.errors import Gated
    from training.conversations import ask

    with pytest.raises(Gated):
        ask(repo=gated, by=charlie.user, question="How deep?")


# --- asking and deciding


def fill(**answers):
    """The form of the page; "I agree" is no name for a keyword."""
    from hub.repos.gating import field_name

    return {field_name(label if label != "agrees" else "I agree"): text for label, text in answers.items()}


def test_asking_by_page_waits_is_accepted_and_both_are_told(client, gated, alice, charlie):
    client.force_login(charlie.user)
    form = fill(Harbour="Hull", Purpose="other", agrees="on")
    client.post("/alice/tides/access", form)
    assert b"Your request waits" in client.get("/alice/tides").content
    assert alice.user.notifications.filter(path="/alice/tides/settings/access").count() == 1
    client.force_login(alice.user)
    page = client.get("/alice/tides/settings/access")
    assert b"charlie@example.org" in page.content
    assert b"Hull" in page.content
    key = gated.access_requests.get().key
    client.post("/alice/tides/settings/access", {"request": key, "status": "accepted"})
    assert charlie.user.notifications.get().text == "You have access to alice/tides"
    client.force_login(charlie.user)
    assert b"fathoms" in client.get("/alice/tides/blob/main/rows.jsonl").content


@pytest.mark.parametrize(
    "form",
    [{}, {"Harbour": "Hull", "Purpose": "other"}, {"Harbour": " ", "Purpose": "other", "agrees": "on"},
     {"Harbour": "x" * 1001, "Purpose": "other", "agrees": "on"},
     {"Harbour": "Hull", "Purpose": "war", "agrees": "on"}],
)  # fmt: skip
def test_an_unanswered_question_is_no_request(client, gated, charlie, form):
    client.force_login(charlie.user)
    client.post("/alice/tides/access", fill(**form))
    assert not gated.access_requests.exists()


def test_an_automatic_gate_opens_at_once(client, gated, alice, charlie):
    from hub.repos.lifecycle import update_settings

    update_settings(repo=gated, by=alice.user, gated="auto")
    made = post(client, "user-access-request", {"fields": ANSWERS}, charlie)
    assert made.json()["status"] == "accepted"
    assert client.get(DOORS["resolve"], **headers_of(charlie)).status_code == 200
    assert not alice.user.notifications.filter(text__contains="asks for access").exists()


def test_who_was_rejected_does_not_ask_again(client, gated, alice, charlie):
    from hub.repos import gating

    made = gating.ask_for_access(repo=gated, by=charlie.user, answers=ANSWERS)
    gating.decide(repo=gated, by=alice.user, request=made, status="rejected", reason="Not a <b>harbour</b>.")
    client.force_login(charlie.user)
    page = client.get("/alice/tides").content.decode()
    assert "Not a &lt;b&gt;harbour" in page and 'href="/alice/tides/discussions/new"' in page
    assert "hf download" not in page and "once you have access" in page
    again = post(client, "user-access-request", {"fields": ANSWERS}, charlie)
    assert again.status_code == 403


def test_strangers_and_readers_decide_nothing(client, gated, alice, bob, charlie):
    from hub.repos.collaborators import set_collaborator

    set_collaborator(repo=gated, user=bob.user, role="read", by=alice.user)
    for person, status in ((None, 401), (charlie, 403), (bob, 403)):
        for suffix, body in (("handle", {"user": "charlie", "status": "accepted"}), ("grant", {"user": "charlie"})):
            address = f"/api/models/alice/tides/user-access-request/{suffix}"
            assert (
                client.post(address, body, content_type="application/json", **headers_of(person)).status_code == status
            )
        assert (
            client.get("/api/models/alice/tides/user-access-request/pending", **headers_of(person)).status_code
            == status
        )
    assert not gated.access_requests.exists()


@pytest.mark.covers(
    "HfApi.update_repo_settings",
    "HfApi.list_pending_access_requests",
    "HfApi.list_accepted_access_requests",
    "HfApi.list_rejected_access_requests",
    "HfApi.cancel_access_request",
    "HfApi.accept_access_request",
    "HfApi.reject_access_request",
    "HfApi.grant_access",
)
@pytest.mark.django_db(transaction=True)
def test_the_stock_client_sets_decides_and_is_refused(gated, client_of, without_xet, alice, bob, charlie, tmp_path):
    owner, stranger = client_of(alice), client_of(charlie)
    owner.update_repo_settings("alice/tides", gated="auto")
    assert owner.model_info("alice/tides").gated == "auto"
    owner.update_repo_settings("alice/tides", gated="manual")
    for client in (stranger, client_of(None)):
        with pytest.raises(GatedRepoError, match="is restricted and you are not in the authorized list"):
            client.auth_check("alice/tides")
        with pytest.raises(GatedRepoError):
            client.hf_hub_download("alice/tides", "rows.jsonl", cache_dir=tmp_path)
    from hub.repos.gating import ask_for_access

    ask_for_access(repo=gated, by=charlie.user, answers=ANSWERS)
    (asked,) = owner.list_pending_access_requests("alice/tides")
    assert (asked.username, asked.email, asked.status, asked.fields) == (
        "charlie",
        "charlie@example.org",
        "pending",
        ANSWERS,
    )
    owner.accept_access_request("alice/tides", "charlie")
    assert [row.username for row in owner.list_accepted_access_requests("alice/tides")] == ["charlie"]
    stranger.auth_check("alice/tides")
    assert open(stranger.hf_hub_download("alice/tides", "rows.jsonl", cache_dir=tmp_path), "rb").read() == SECRET
    owner.cancel_access_request("alice/tides", request_id=asked.request_id)
    with pytest.raises(GatedRepoError):
        stranger.auth_check("alice/tides")
    owner.reject_access_request("alice/tides", "charlie", rejection_reason="No.")
    assert len(list(owner.list_rejected_access_requests("alice/tides"))) == 1
    owner.grant_access("alice/tides", "bob")
    client_of(bob).auth_check("alice/tides")
    refusals = [
        (400, lambda: owner.grant_access("alice/tides", "bob")),
        (404, lambda: owner.grant_access("alice/tides", "nobody-here")),
        (404, lambda: owner.accept_access_request("alice/tides", "nobody-here")),
        (404, lambda: owner.accept_access_request("alice/tides", "alice")),
        (404, lambda: owner.reject_access_request("alice/tides", "charlie", rejection_reason=None)),
        (403, lambda: stranger.grant_access("alice/tides", "charlie")),
    ]
    for status, refused in refusals:
        with pytest.raises(HfHubHTTPError) as problem:
            refused()
        assert problem.value.response.status_code == status
    owner.update_repo_settings("alice/tides", gated=False)
    stranger.auth_check("alice/tides")
    with pytest.raises(HfHubHTTPError) as problem:
        list(owner.list_pending_access_requests("alice/tides"))
    assert problem.value.response.status_code == 400


def test_what_nobody_could_read_back_is_left_out_of_answers():
    """It was kept, and then neither the page nor the API of the requests could be written."""
    from hub.repos.gating import keepable

    assert keepable("Hu\ud800ll\0") == "Hull"


def test_two_who_let_somebody_in_at_the_same_moment_both_succeed(gated, alice, charlie, monkeypatch):
    """The second one found the row of the first where it wanted to write its own, which was a 500."""
    from hub.repos import gating
    from hub.repos.access_models import AccessRequest

    can, calls, told = gating.can, [], []

    def listen(**_):
        told.append(1)

    gating.access_decided.connect(listen)

    def look(user, action, repo):
        found = can(user, action, repo)
        if not calls:
            calls.append(1)
            gating.grant_access(repo=repo, by=alice.user, user=charlie.user)
        return found

    monkeypatch.setattr(gating, "can", look)
    made = gating.grant_access(repo=gated, by=alice.user, user=charlie.user)
    assert (made.status, made.is_granted) == ("accepted", True)
    assert AccessRequest.objects.count() == 1 and told == [1]
    gating.access_decided.disconnect(listen)
