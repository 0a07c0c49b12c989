"""No door for programs answers HTML, whatever is asked; and cards are checked with their line."""

import errno

import pytest
import requests
from django.db import OperationalError
from django.test import Client
from huggingface_hub import RepoCard

from tests.hub.scenes import make_repo

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("cleared_at_once")]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/nothing/here", 404),
        ("GET", "/api", 404),
        ("GET", "/api/models/gpt2", 404),
        ("GET", "/api/models/alice/nothing", 404),
        ("GET", "/alice/nothing/resolve/main/config.json", 404),
        ("DELETE", "/api/whoami-v2", 405),
        ("POST", "/api/collections", 401),
        ("GET", "/api/collections/alice/mine-1", 404),
        ("POST", "/api/buckets/alice/mine", 501),
        ("POST", "/uploads", 401),
        ("GET", "/api/kernels/alice/fast", 501),
        ("GET", "/api/jobs/alice", 501),
        ("GET", "/api/settings/webhooks", 401),
        ("GET", "/api/daily_papers", 501),
        ("POST", "/api/repos/create", 401),
        ("POST", "/oauth/token", 400),
    ],
)
def test_refusals_are_json_with_a_sentence_and_a_request_id(hub_url, method, path, status):
    answer = requests.request(method, hub_url + path, timeout=10)
    assert answer.status_code == status
    assert answer.headers["Content-Type"].startswith("application/json")
    assert answer.json()["error"]
    assert answer.headers["X-Request-Id"]


def test_a_missing_repository_is_told_in_the_clients_words(hub_url):
    for path in ("/api/models/gpt2", "/api/models/alice/nothing", "/api/models/alice/nothing/tree/main"):
        assert requests.get(hub_url + path, timeout=10).headers["X-Error-Code"] == "RepoNotFound"


def test_the_client_names_its_own_request(hub_url):
    answer = requests.get(f"{hub_url}/api/models", headers={"X-Request-Id": "trace-0123456789"}, timeout=10)
    assert answer.headers["X-Request-Id"] == "trace-0123456789"
    answer = requests.get(f"{hub_url}/api/models", headers={"X-Request-Id": "<script>"}, timeout=10)
    assert answer.headers["X-Request-Id"] != "<script>"


@pytest.mark.parametrize("body", [b"{", b"[1]", b'"text"', b"[" * 100_000, b"\xff"])
def test_a_body_that_is_no_object_is_refused(hub_url, alice, body):
    headers = {"Authorization": f"Bearer {alice.token}"}
    answer = requests.post(f"{hub_url}/api/repos/create", data=body, headers=headers, timeout=10)
    assert (answer.status_code, list(answer.json())) == (400, ["error"])


def test_a_fault_of_our_own_is_json_and_names_its_request(hub_url, monkeypatch):
    from hub.api.hf import listing

    def break_down(_):
        raise ZeroDivisionError

    monkeypatch.setattr(listing, "read_sort", break_down)
    answer = requests.get(f"{hub_url}/api/models", timeout=10)
    assert answer.status_code == 500
    assert answer.headers["X-Request-Id"] in answer.json()["error"]


@pytest.mark.parametrize(
    "problem", [OSError(errno.ENOSPC, "No space left on device"), OperationalError("database or disk is full")]
)
def test_a_full_disk_is_said(client, monkeypatch, problem):
    from hub.api.hf import listing

    def break_down(_):
        raise problem

    monkeypatch.setattr(listing, "read_sort", break_down)
    answer = client.get("/api/models")
    assert answer.status_code == 507 and "disk of this hub is full" in answer.json()["error"]


def test_no_header_tells_a_private_repository_from_a_missing_one(client, alice):
    make_repo(alice.user, "cellar", is_private=True)

    def ask(name, path):
        answer = client.get(path.format(f"alice/{name}"))
        told = {key: value.replace(name, "") for key, value in answer.headers.items() if key != "X-Request-Id"}
        return answer.status_code, told, answer.content.decode().replace(name, "")

    for path in (
        "/api/datasets/{}",
        "/api/datasets/{}/tree/main",
        "/datasets/{}/resolve/main/a",
        "/api/v1/repos/datasets/{}",
    ):
        assert ask("cellar", path) == ask("nothing", path), path


def test_a_browser_session_writes_only_with_its_csrf_token(alice):
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(alice.user)
    refused = browser.post("/api/repos/create", {"name": "poems"}, content_type="application/json")
    assert (refused.status_code, refused["Content-Type"].split(";")[0]) == (403, "application/json")
    browser.cookies["model_commons_csrf"] = "a" * 32
    taken = browser.post(
        "/api/repos/create", {"name": "poems"}, content_type="application/json", HTTP_X_CSRFTOKEN="a" * 32
    )
    assert taken.status_code == 200
    assert browser.get("/api/whoami-v2").json()["auth"] == {"type": "session"}


def test_a_cookie_beside_a_bad_token_proves_nothing(alice):
    browser = Client()
    browser.force_login(alice.user)
    assert browser.get("/api/whoami-v2", HTTP_AUTHORIZATION="Bearer hf_wrong").status_code == 401


def test_what_the_client_says_in_passing_is_taken(hub_url):
    assert requests.head(f"{hub_url}/api/telemetry/transformers/pipelines", timeout=10).status_code == 204
    assert requests.get(f"{hub_url}/api/agent-harnesses", timeout=10).json() == {"agents": []}


@pytest.mark.covers("RepoCard")
def test_a_good_card_passes_and_a_poor_one_is_warned_of(client_of, alice):
    RepoCard("---\nlicense: mit\n---\n# Good\n").validate()
    client = client_of(alice)
    client.create_repo("alice/poems")
    with pytest.warns(UserWarning, match="names no license"):
        client.upload_file(
            path_or_fileobj=b"---\ntags: [a]\n---\n# Poor\n", path_in_repo="README.md", repo_id="alice/poems"
        )


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("---\nlicense: mit\ntags: [a\n---\n", "line"),
        ("---\nlicense: {a: b}\n---\n", '"license" must be a text'),
        ("---\n- a\n---\n", "'key: value' lines"),
        ("---\npipeline_tag: [a]\n---\n", '"pipeline_tag" must be a text'),
    ],
)
def test_a_broken_card_is_refused_with_the_reason(hub_url, content, sentence):
    answer = requests.post(f"{hub_url}/api/validate-yaml", json={"content": content, "repoType": "model"}, timeout=10)
    assert answer.status_code == 400
    assert sentence in answer.json()["errors"][0]["message"]


def test_checking_a_card_answers_json_to_anything(hub_url):
    answer = requests.post(f"{hub_url}/api/validate-yaml", data=b"{", timeout=10)
    assert (answer.status_code, answer.json()["warnings"]) == (400, [])
