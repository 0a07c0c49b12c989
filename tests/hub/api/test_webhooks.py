"""Webhooks by the stock client, as it is."""

import pytest
from huggingface_hub import WebhookPayload, WebhookWatchedItem
from huggingface_hub.errors import BadRequestError, HfHubHTTPError

from hub.site.env import env_networks
from tests.hub.receivers import deliver, serve

pytestmark = pytest.mark.django_db(transaction=True)
URL = "https://example.org/hook"
ALICE = [{"type": "user", "name": "alice"}]


def status_of(call, *arguments, **more) -> int:
    with pytest.raises(HfHubHTTPError) as refusal:
        call(*arguments, **more)
    assert refusal.value.server_message
    return refusal.value.response.status_code


@pytest.mark.covers(
    "HfApi.get_webhook",
    "HfApi.list_webhooks",
    "HfApi.create_webhook",
    "HfApi.update_webhook",
    "HfApi.enable_webhook",
    "HfApi.disable_webhook",
    "HfApi.delete_webhook",
)
def test_a_webhook_is_made_read_changed_paused_and_deleted(client_of, alice, organization, cleared_at_once):
    client = client_of(alice)
    client.create_repo("alice/tides", repo_type="dataset", private=True)
    watched = [WebhookWatchedItem(type="dataset", name="alice/tides"), {"type": "org", "name": "tidewatch"}]
    made = client.create_webhook(url=URL, watched=watched, secret="high-water")
    assert (made.url, made.job, made.secret, made.disabled) == (URL, None, "high-water", False)
    assert made.domains == ["repo", "discussion"]
    assert [(item.type, item.name) for item in made.watched] == [("dataset", "alice/tides"), ("org", "tidewatch")]
    assert client.get_webhook(made.id) == made
    assert client.list_webhooks() == [made]

    changed = client.update_webhook(made.id, url="http://example.org/other", domains=["repo"])
    assert (changed.url, changed.domains, changed.watched) == ("http://example.org/other", ["repo"], made.watched)
    changed = client.update_webhook(made.id, watched=[{"type": "user", "name": "ALICE"}], secret="low-water")
    assert ([item.name for item in changed.watched], changed.secret) == (["alice"], "low-water")

    assert client.disable_webhook(made.id).disabled
    assert client.get_webhook(made.id).disabled
    assert not client.enable_webhook(made.id).disabled
    client.delete_webhook(made.id)
    assert client.list_webhooks() == []


@pytest.fixture
def receiver(settings):
    settings.WEBHOOK_ALLOWED_NETWORKS = env_networks("NO_SUCH_VARIABLE", "127.0.0.1/32")
    yield from serve()


def test_an_upload_reaches_the_receiver_as_the_client_itself_parses_it(
    client_of, alice, bob, receiver, cleared_at_once
):
    client_of(alice).create_repo("alice/tides", repo_type="dataset")
    made = client_of(bob).create_webhook(url=receiver.url, watched=ALICE, secret="high-water")
    commit = client_of(alice).upload_file(
        path_or_fileobj=b"t,h\n", path_in_repo="day.csv", repo_id="alice/tides", repo_type="dataset"
    )
    assert deliver() == 1
    ((headers, body),) = receiver.requests
    payload = WebhookPayload.model_validate_json(body)
    assert (payload.event.scope, payload.repo.name, payload.webhook.id) == ("repo.content", "alice/tides", made.id)
    assert [(moved.ref, moved.newSha) for moved in payload.updatedRefs] == [("refs/heads/main", commit.oid)]
    assert (payload.repo.head_sha, headers["X-Webhook-Secret"]) == (commit.oid, "high-water")


def test_a_renamed_repository_is_listed_under_its_new_name(client_of, alice, cleared_at_once):
    client = client_of(alice)
    client.create_repo("alice/tides")
    made = client.create_webhook(url=URL, watched=[{"type": "model", "name": "alice/tides"}])
    client.move_repo("alice/tides", "alice/waves")
    assert [item.name for item in client.get_webhook(made.id).watched] == ["alice/waves"]


def test_a_webhook_of_somebody_else_looks_like_a_missing_one(client_of, alice, bob):
    made = client_of(alice).create_webhook(url=URL, watched=ALICE)
    stranger = client_of(bob)
    for call in (stranger.get_webhook, stranger.update_webhook, stranger.enable_webhook, stranger.delete_webhook):
        assert status_of(call, made.id) == status_of(call, "0" * 24) == 404
    assert stranger.list_webhooks() == []
    assert client_of(alice).get_webhook(made.id) == made


def test_nobody_has_webhooks(client_of):
    assert status_of(client_of(None).list_webhooks) == 401
    assert status_of(client_of(None).create_webhook, url=URL, watched=ALICE) == 401


REFUSED = [
    ({"url": "ftp://example.org/"}, "https://"),
    ({"url": "http://127.0.0.1/"}, "not public"),
    ({"url": "http://user:word@example.org/"}, "password"),
    ({"watched": []}, "watches nothing"),
    ({"watched": [{"type": "bucket", "name": "alice/b"}]}, "cannot be watched"),
    ({"watched": [{"type": "org", "name": "alice"}]}, "no organization"),
    ({"watched": [{"type": "dataset", "name": "alice/secret"}]}, "no dataset repository alice/secret"),
    ({"watched": [{"type": "dataset", "name": "alice/nothing"}]}, "no dataset repository alice/nothing"),
    ({"watched": [{"type": "user", "name": f"tide-{number}"} for number in range(101)]}, "at most 100 things"),
    ({"watched": [{"type": "dataset"}]}, "'name'"),
    ({"domains": ["weather"]}, "weather"),
    ({"domains": []}, "at least one domain"),
    ({"secret": "two\r\nX-Evil: lines"}, "secret"),
    ({"secret": "x" * 201}, "200"),
]


def test_what_cannot_work_is_refused_with_a_sentence(client_of, alice, charlie):
    from hub.repos.lifecycle import create_repo

    create_repo(type="dataset", name="secret", by=alice.user, is_private=True)
    client = client_of(charlie)
    for more, words in REFUSED:
        with pytest.raises(BadRequestError) as refusal:
            client.create_webhook(**({"url": URL, "watched": ALICE} | more))
        assert words in refusal.value.server_message, more
    assert client.list_webhooks() == []
    assert len(client.create_webhook(url=URL, watched=ALICE * 101).watched) == 1, "a thing named often is one thing"


def test_a_webhook_that_starts_a_rented_machine_is_not_offered(client_of, alice):
    assert status_of(client_of(alice).create_webhook, job_id="abc", watched=ALICE) == 501


def test_a_person_has_a_bounded_number_of_webhooks(client_of, alice, monkeypatch):
    monkeypatch.setattr("hub.community.webhooks.registry.MAX_WEBHOOKS", 1)
    client_of(alice).create_webhook(url=URL, watched=ALICE)
    assert status_of(client_of(alice).create_webhook, url=URL, watched=ALICE) == 400


def test_a_token_that_reads_lists_without_secrets_and_changes_nothing(hub_url, client_of, alice):
    from huggingface_hub import HfApi

    from hub.accounts.tokens import create_token

    made = client_of(alice).create_webhook(url=URL, watched=ALICE, secret="high-water")
    _, token = create_token(user=alice.user, name="reader", role="read")
    reader = HfApi(endpoint=hub_url, token=token)
    assert [(found.id, found.secret) for found in reader.list_webhooks()] == [(made.id, None)]
    for call in (reader.update_webhook, reader.disable_webhook, reader.delete_webhook):
        assert status_of(call, made.id) == 403
    assert status_of(reader.create_webhook, url=URL, watched=ALICE) == 403
    assert client_of(alice).get_webhook(made.id) == made


@pytest.mark.parametrize("scopes", [{}, {"namespace/alice": "write"}])
def test_a_fine_grained_token_makes_no_webhook_that_tells_more_than_it_reads(hub_url, alice, scopes):
    from huggingface_hub import HfApi

    from hub.accounts.tokens import create_token

    _, token = create_token(user=alice.user, name="narrow", role="fineGrained", scopes=scopes)
    assert status_of(HfApi(endpoint=hub_url, token=token).create_webhook, url=URL, watched=ALICE) == 403
    assert alice.user.webhooks.count() == 0


def test_a_secret_is_not_kept_in_the_clear(client_of, alice, settings):
    made = client_of(alice).create_webhook(url=URL, watched=ALICE, secret="high-water")
    row = alice.user.webhooks.get()
    assert "high-water" not in row.sealed_secret
    settings.SECRET_KEY = "another key than before"
    assert client_of(alice).get_webhook(made.id).secret is None
