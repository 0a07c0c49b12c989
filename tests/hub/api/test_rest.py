"""Our own REST door and its description."""

import pytest
from django.test import Client

from hub.community import discussions
from hub.community.checks import set_check
from hub.community.contributions import commit
from hub.community.models import PullRequest
from hub.repos.lifecycle import create_repo
from hub.storage.git import AddFile

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("cleared_at_once")]
REPO = "/api/v1/repos/models/tidewatch/tide-model"


@pytest.fixture
def repo(alice, organization):
    return create_repo(type="model", name="tide-model", by=alice.user, owner=organization)


@pytest.fixture
def pull_request(repo, charlie):
    made = commit(
        repo=repo,
        by=charlie.user,
        revision=None,
        operations=[AddFile("a.txt", b"A\n")],
        title="Add a",
        create_pr=True,
        door="api",
    )
    return made.pull_request


def call(method, path, person=None, data=None):
    headers = {"HTTP_AUTHORIZATION": f"Bearer {person.token}"} if person else {}
    return getattr(Client(), method)(path, data, content_type="application/json", **headers)


def test_me_is_who_the_token_belongs_to(alice, organization):
    me = call("get", "/api/v1/me", alice).json()
    assert (me["name"], me["token_role"]) == ("alice", "write")
    assert me["organizations"] == [{"name": "tidewatch", "title": "Tide Watch", "role": "admin"}]
    refused = call("get", "/api/v1/me")
    assert (refused.status_code, "access token" in refused.json()["error"]) == (401, True)


def test_repositories_are_listed_for_who_asks(repo, alice, charlie):
    create_repo(type="dataset", name="diary", by=alice.user, is_private=True)
    assert [row["name"] for row in call("get", "/api/v1/repos", charlie).json()] == ["tidewatch/tide-model"]
    assert [row["name"] for row in call("get", "/api/v1/repos", alice).json()] == [
        "alice/diary",
        "tidewatch/tide-model",
    ]
    assert [row["name"] for row in call("get", "/api/v1/repos?type=dataset", alice).json()] == ["alice/diary"]
    assert [row["name"] for row in call("get", "/api/v1/repos?owner=TIDEWATCH&search=tide", alice).json()] == [
        "tidewatch/tide-model"
    ]
    assert call("get", "/api/v1/repos?type=spoon").status_code == 400


def test_a_list_has_a_next_page(repo, alice):
    for number in range(4):
        create_repo(type="model", name=f"m{number}", by=alice.user)
    path, found = "/api/v1/repos?limit=2", []
    while path:
        answer = call("get", path)
        found += [row["name"] for row in answer.json()]
        path = (
            answer.headers["Link"].partition(">")[0][1:].removeprefix("http://testserver")
            if "Link" in answer.headers
            else ""
        )
    assert found == ["alice/m3", "alice/m2", "alice/m1", "alice/m0", "tidewatch/tide-model"]


def test_one_repository_shows_the_head_that_the_reader_sees(repo, alice, charlie):
    item = call("get", REPO, charlie).json()
    assert (item["name"], item["url"], len(item["head"])) == ("tidewatch/tide-model", "/tidewatch/tide-model", 40)
    create_repo(type="model", name="diary", by=alice.user, is_private=True)
    missing = call("get", "/api/v1/repos/models/alice/diary", charlie)
    assert (missing.status_code, missing.headers["X-Error-Code"]) == (404, "RepoNotFound")


def test_a_pull_request_tells_its_checks_reviews_and_what_is_unmet(pull_request, bob, charlie):
    set_check(pull_request, "evaluate", state="failed", summary="It is worse on tides.")
    item = call("get", f"{REPO}/pulls/1", bob).json()
    assert (item["number"], item["title"], item["author"], item["status"]) == (1, "Add a", "charlie", "open")
    assert [(check["name"], check["state"]) for check in item["checks"] if check["name"] == "evaluate"] == [
        ("evaluate", "failed")
    ]
    assert any("It is worse on tides." in sentence for sentence in item["unmet"])
    assert any("write access" in sentence for sentence in call("get", f"{REPO}/pulls/1", charlie).json()["unmet"])
    assert [row["number"] for row in call("get", f"{REPO}/pulls?status=open").json()] == [1]
    assert call("get", f"{REPO}/pulls?status=merged").json() == []
    assert call("get", f"{REPO}/pulls/2").status_code == 404


def test_a_hidden_comment_is_told_without_its_words(pull_request, charlie, alice):
    """The page showed that it was hidden; both doors for programs went on telling everybody what it had said."""
    talk = pull_request.discussion
    event = discussions.comment(discussion=talk, by=charlie.user, text="Her number is 0171-555")
    discussions.hide_comment(discussion=talk, event_id=str(event.pk), by=alice.user)
    for address in (f"{REPO}/pulls/1/live", f"/live/pulls/{talk.pk}"):
        answer = call("get", address)
        (told,) = [row for row in answer.json()["events"] if row["id"] == event.pk]
        assert told["data"] == {"text": "", "hidden": True, "hidden_by": "alice"}
        assert "0171-555" not in answer.content.decode()


def test_a_review_binds_to_the_candidate_that_was_seen(pull_request, bob):
    seen = call("get", f"{REPO}/pulls/1", bob).json()["candidate_digest"]
    given = call("post", f"{REPO}/pulls/1/reviews", bob, {"verdict": "approve", "digest": seen})
    assert (given.status_code, given.json()["by"], given.json()["is_stale"]) == (201, "bob", False)
    late = call("post", f"{REPO}/pulls/1/reviews", bob, {"verdict": "approve", "digest": "sha256:older"})
    assert (late.status_code, "has changed" in late.json()["error"]) == (409, True)
    blind = call("post", f"{REPO}/pulls/1/reviews", bob, {"verdict": "approve"})
    assert (blind.status_code, "digest" in blind.json()["error"]) == (400, True)
    assert [row["verdict"] for row in call("get", f"{REPO}/pulls/1").json()["reviews"]] == ["approve"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"verdict": "love"}, 400),
        ({}, 400),
        ({"verdict": "request_changes"}, 400),
        ({"verdict": "request_changes", "text": "Units?"}, 201),
    ],
)
def test_a_review_needs_a_verdict_and_changes_need_words(pull_request, bob, body, status):
    answer = call("post", f"{REPO}/pulls/1/reviews", bob, body)
    assert answer.status_code == status
    assert status == 201 or answer.json()["error"]


def test_nobody_approves_their_own_work_or_without_write_access(pull_request, charlie, alice, repo):
    refused = call("post", f"{REPO}/pulls/1/reviews", charlie, {"verdict": "approve"})
    assert (refused.status_code, "somebody else" in refused.json()["error"]) == (403, True)
    assert call("post", f"{REPO}/pulls/1/reviews", None, {"verdict": "approve"}).status_code == 401


def test_merging_says_what_is_unmet_and_then_merges(pull_request, alice, charlie):
    set_check(pull_request, "evaluate", state="failed", summary="It is worse on tides.")
    blocked = call("post", f"{REPO}/pulls/1/merge", alice)
    assert (blocked.status_code, "It is worse on tides." in blocked.json()["error"]) == (409, True)
    assert blocked.json()["reasons"]
    set_check(pull_request, "evaluate", state="passed", summary="It is not worse.")
    assert call("post", f"{REPO}/pulls/1/merge", charlie).status_code == 403
    merged = call("post", f"{REPO}/pulls/1/merge", alice, {"comment": "Good"})
    assert (merged.status_code, merged.json()["status"]) == (200, "merged")
    assert PullRequest.objects.get().merge_commit == merged.json()["commit"]


def test_the_live_state_tells_only_what_is_new(pull_request, bob):
    first = call("get", f"{REPO}/pulls/1/live").json()
    assert [event["kind"] for event in first["events"]].count("commit") == 1
    set_check(pull_request, "prepare", state="passed", summary="12 rows.")
    later = call("get", f"{REPO}/pulls/1/live?after={first['last_event']}").json()
    assert [(event["kind"], event["data"]["name"]) for event in later["events"]] == [("check", "prepare")]
    assert later["last_event"] > first["last_event"]
    assert call("get", f"{REPO}/pulls/1/live?after={later['last_event']}").json()["events"] == []
    assert call("get", f"{REPO}/pulls/1/live?after=x").status_code == 400


def test_the_description_covers_the_rest_door_and_nothing_else(db):
    answer = Client().get("/api/schema?format=json")
    paths = answer.json()["paths"]
    assert "/api/v1/repos/{type}/{namespace}/{name}/pulls/{number}/merge" in paths
    assert all(path.startswith("/api/v1/") for path in paths)
    assert Client().get("/api/docs").status_code == 200


def test_listing_repositories_costs_few_queries(repo, alice, organization, django_assert_num_queries):
    for number in range(10):
        create_repo(type="model", name=f"m{number}", by=alice.user, owner=organization)
    call("get", "/api/v1/repos", alice)
    with django_assert_num_queries(2):  # token, repositories with their owners
        assert len(call("get", "/api/v1/repos", alice).json()) == 11
