"""Asking for access to a gated repository, and deciding: by page, by API and by the stock client."""

import pytest
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError

from tests.hub.api.gates.gated_repo import ANSWERS, DOORS, SECRET, headers_of, post

pytestmark = pytest.mark.django_db


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
