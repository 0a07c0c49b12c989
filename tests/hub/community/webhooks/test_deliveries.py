"""From what happens to what a receiver gets: in the words of the stock client, and signed."""

import hashlib
import hmac
import re

import pytest
from huggingface_hub import WebhookPayload

from hub.common.models import Job
from hub.community import discussions as talk
from hub.repos.lifecycle import create_repo, delete_repo, move_repo, update_settings
from tests.hub.community.webhooks.watching import heard, hook
from tests.hub.receivers import deliver
from tests.hub.scenes import add, clear, make_repo, propose, public_head

pytestmark = pytest.mark.django_db


def test_a_comment_arrives_signed_and_in_the_words_of_the_stock_client(receiver, alice, bob, tides, settings):
    settings.PUBLIC_URL = "https://hub.example"
    webhook = hook(bob, receiver, secret="high-water", watched=[("dataset", "alice/tides")])
    discussion = talk.create_discussion(repo=tides, by=alice.user, title="Neap tides", text="Where are they?")
    talk.comment(discussion=discussion, by=alice.user, text="In the moon's quarters: ☾")
    assert deliver() == 2
    receiver.requests.sort(key=lambda request: b"moon" in request[1])  # several may be on their way at once
    headers, body = receiver.requests[-1]
    assert headers["Content-Type"].startswith("application/json")
    assert headers["X-Webhook-Secret"] == "high-water"
    told = headers["X-Webhook-Timestamp"].encode() + b"." + body
    assert headers["X-Webhook-Signature"] == "sha256=" + hmac.new(b"high-water", told, hashlib.sha256).hexdigest()
    assert headers["X-Webhook-Delivery"] == webhook.deliveries.order_by("-pk").first().key
    payload = WebhookPayload.model_validate_json(body)
    assert (payload.event.scope, payload.event.action, payload.webhook.id) == (
        "discussion.comment",
        "create",
        webhook.key,
    )
    assert (payload.repo.type, payload.repo.name, payload.repo.private) == ("dataset", "alice/tides", False)
    assert (payload.repo.head_sha, payload.repo.owner.id) == (public_head(tides), str(alice.user.pk))
    assert (payload.discussion.num, payload.discussion.title, payload.discussion.status) == (1, "Neap tides", "open")
    assert payload.discussion.url.web == "https://hub.example/datasets/alice/tides/discussions/1"
    assert (payload.comment.content, payload.comment.hidden) == ("In the moon's quarters: ☾", False)
    created = WebhookPayload.model_validate(receiver.payloads[0])
    assert (created.event.scope, created.event.action) == ("discussion", "create")
    assert created.comment.content == "Where are they?"


def test_the_check_that_the_documentation_gives_tells_the_hub_from_others(receiver, alice, bob, tides, settings):
    page = (settings.BASE_DIR / "docs" / "webhooks.md").read_text()
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "is_from_the_hub" in block]
    told: dict = {}
    exec(code, told)
    hook(bob, receiver, secret="high-water")
    talk.create_discussion(repo=tides, by=alice.user, title="Neap tides")
    deliver()
    ((headers, body),) = receiver.requests
    check = told["is_from_the_hub"]
    assert check(headers, body, "high-water")
    assert not check(headers, body + b" ", "high-water")
    assert not check(headers, body, "low-water")
    old = str(int(headers["X-Webhook-Timestamp"]) - 3600)
    assert not check(headers | {"X-Webhook-Timestamp": old}, body, "high-water")


def test_without_a_secret_nothing_is_signed(receiver, alice, bob, tides):
    hook(bob, receiver)
    talk.create_discussion(repo=tides, by=alice.user, title="Neap tides")
    assert deliver() == 1
    headers, _ = receiver.requests[0]
    assert {"X-Webhook-Secret", "X-Webhook-Signature"}.isdisjoint(headers)


def test_every_kind_of_event_is_told_to_a_member(receiver, alice, unscreened, settings):
    hook(alice, receiver)
    repo = make_repo(alice.user)
    deliver()
    assert "repo create" in heard(receiver)
    made = add(repo, alice.user, {"a.csv": "1\n"})
    deliver()
    (payload,) = receiver.payloads
    assert payload["updatedRefs"][0] | {"oldSha": ""} == {"ref": "refs/heads/main", "oldSha": "", "newSha": made.commit}
    assert payload["repo"]["headSha"] == made.commit
    assert heard(receiver) == ["repo.content update"]
    discussion = talk.create_discussion(repo=repo, by=alice.user, title="Neap tides")
    event = talk.comment(discussion=discussion, by=alice.user, text="When?")
    talk.edit_comment(discussion=discussion, event_id=str(event.pk), by=alice.user, text="When, then?")
    talk.hide_comment(discussion=discussion, event_id=str(event.pk), by=alice.user)
    talk.rename(discussion=discussion, by=alice.user, title="Spring tides")
    talk.set_status(discussion=discussion, by=alice.user, status="closed")
    deliver()
    assert all("content" not in payload.get("comment", {}) for payload in receiver.payloads), (
        "hidden before it was sent"
    )
    assert heard(receiver) == [
        "discussion create", "discussion update", "discussion update",
        "discussion.comment create", "discussion.comment update", "discussion.comment update",
    ]  # fmt: skip
    update_settings(repo=repo, by=alice.user, is_private=True)
    deliver()
    assert receiver.payloads[0]["updatedConfig"] == {"private": True}
    assert heard(receiver) == ["repo.config update"]
    move_repo(repo=repo, to="alice/waves", by=alice.user)
    deliver()
    assert (receiver.payloads[0]["repo"]["name"], receiver.payloads[0]["movedTo"]["name"]) == (
        "alice/tides",
        "alice/waves",
    )
    assert heard(receiver) == ["repo move"]
    delete_repo(repo=repo, by=alice.user)
    settings.PUBLIC_URL = "https://hub.example"  # the process that sends knows the address, others may not
    deliver()
    last = receiver.payloads[0]["repo"]
    assert (last["name"], last["url"]["web"]) == ("alice/waves", "https://hub.example/datasets/alice/waves")
    assert heard(receiver) == ["repo delete"]


def test_a_proposal_is_told_when_it_is_opened_and_merged(receiver, alice, bob, charlie, tides):
    from hub.community.pull_requests import merge

    hook(bob, receiver, domains=["discussion"])
    pull_request = propose(tides, charlie.user, {"b.csv": "2\n"}, title="Add b")
    deliver()
    (payload,) = receiver.payloads
    assert (payload["discussion"]["isPullRequest"], payload["discussion"]["changes"]) == (
        True,
        {"base": "refs/heads/main"},
    )
    assert heard(receiver) == ["discussion create"]
    clear(tides)
    merge(pull_request=pull_request, by=alice.user)
    deliver()
    changes = receiver.payloads[0]["discussion"]["changes"]
    assert (receiver.payloads[0]["discussion"]["status"], changes["mergeCommitId"]) == ("merged", public_head(tides))
    assert heard(receiver) == ["discussion update"]


@pytest.mark.parametrize(
    ("watched", "domains", "hears"),
    [
        ([("dataset", "alice/tides")], ["repo"], 1),
        ([("dataset", "alice/tides"), ("user", "alice")], ["repo"], 1),  # once, though watched twice
        ([("dataset", "alice/waves")], ["repo"], 0),
        ([("user", "bob")], ["repo"], 0),
        ([("user", "alice")], ["discussion"], 0),
    ],
)
def test_only_what_is_watched_is_told(receiver, alice, bob, charlie, tides, watched, domains, hears):
    make_repo(alice.user, "waves")
    hook(charlie, receiver, watched=watched, domains=domains)
    update_settings(repo=tides, by=alice.user, description="High and low water")
    assert deliver() == hears


def test_a_repository_of_an_organization_is_watched_with_it(receiver, organization, alice, bob, charlie, unscreened):
    hook(charlie, receiver, watched=[("org", "tidewatch")])
    create_repo(type="dataset", name="tides", by=alice.user, owner=organization)
    deliver()
    assert "repo create" in heard(receiver)


def test_where_nobody_watches_nothing_is_queued(alice, tides):
    add(tides, alice.user, {"a.csv": "1\n"})
    assert not Job.objects.filter(kind__startswith="webhooks.").exists()
