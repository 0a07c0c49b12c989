"""A gated repository shows what it is to everybody, and its files to who was let in, whichever door they come by."""

import pytest

from tests.hub.api.gates.gated_repo import DOORS, WEIGHTS, headers_of, let_in, lfs_batch, post, sha256_of
from tests.hub.scenes import make_repo

pytestmark = pytest.mark.django_db


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
    from training.proposals.recipes import RecipeRefused, pin_one

    with pytest.raises(RecipeRefused, match="restricted"):
        pin_one("dataset" if gated.type == "dataset" else "model", RepoRef("alice/tides", "main"), charlie.user)


def test_a_gated_model_answers_no_questions_of_who_is_outside(gated, charlie):
    from hub.common.errors import Gated
    from training.workers.conversations import ask

    with pytest.raises(Gated):
        ask(repo=gated, by=charlie.user, question="How deep?")
