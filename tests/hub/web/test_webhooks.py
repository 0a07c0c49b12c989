"""Settings, Webhooks: the pages of one's own webhooks and of what they sent."""

from datetime import timedelta

import pytest
from django.utils import timezone

from hub.community.webhooks.models import Delivery
from hub.community.webhooks.registry import create_webhook

pytestmark = pytest.mark.django_db
URL = "https://example.org/hook"
FORM = {"url": URL, "watched": "alice\ndatasets/alice/tides\n", "domains": ["repo"], "secret": "high-water"}


@pytest.fixture
def webhook(alice, tides):
    return create_webhook(by=alice.user, url=URL, watched=[("dataset", "alice/tides")], secret="high-water")


@pytest.fixture
def delivery(webhook, tides):
    event = {"scope": "repo", "action": "create", "repo": tides.pk, "was_private": False}
    now = timezone.now()
    return webhook.deliveries.create(
        event=event, event_key="1", next_at=now, tried_at=now, attempts=1, state=Delivery.State.FAILED,
        status_code=500, answer="<b>the table is full</b>", problem="The receiver answered 500.", payload='{"repo": "sent words"}',
    )  # fmt: skip


def test_one_begins_with_an_empty_page_and_makes_a_webhook(browser_of, alice, tides):
    browser = browser_of(alice)
    page = browser.get("/settings/webhooks").content.decode()
    assert "You have no webhook" in page and 'aria-current="page">Webhooks' in page
    answer = browser.post("/settings/webhooks", FORM)
    made = alice.user.webhooks.get()
    assert answer.headers["Location"] == f"/settings/webhooks/{made.key}"
    assert (made.url, made.domains) == (URL, ["repo"])
    assert [str(thing) for thing in made.watched.all()] == ["user alice", "dataset alice/tides"]
    page = browser.get("/settings/webhooks").content.decode()
    assert URL in page and "alice, datasets/alice/tides" in page and "Not tried yet" in page


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"url": "http://127.0.0.1:8000/"}, "not public"),
        ({"url": ""}, "required"),
        ({"watched": "datasets/alice"}, "cannot be watched"),
        ({"watched": "nobody-here"}, "no person or organization"),
        ({"watched": "models/alice/secret"}, "no model repository alice/secret"),
        ({"domains": []}, "required"),
        ({"secret": "ä"}, "plain letters"),
    ],
)
def test_what_cannot_work_is_told_in_the_form(browser_of, charlie, secret, change, words):
    answer = browser_of(charlie).post("/settings/webhooks", FORM | {"watched": "alice"} | change)
    assert answer.status_code == 400
    assert words in answer.content.decode()
    assert not charlie.user.webhooks.exists()


def test_a_webhook_is_changed_paused_and_deleted(browser_of, alice, webhook):
    browser = browser_of(alice)
    page = browser.get(webhook.path).content.decode()
    assert "high-water" in page and "datasets/alice/tides" in page and "Nothing was sent yet" in page
    assert (
        browser.post(webhook.path, FORM | {"secret": "low-water", "watched": "datasets/alice/tides"}).status_code == 302
    )
    webhook.refresh_from_db()
    assert (webhook.domains, webhook.watched.count()) == (["repo"], 1)
    assert "low-water" in browser.get(webhook.path).content.decode()
    for act, is_disabled, words in (("pause", True, "Let it go on"), ("resume", False, "Send a test")):
        browser.post(f"{webhook.path}/{act}")
        webhook.refresh_from_db()
        assert webhook.is_disabled == is_disabled
        assert words in browser.get(webhook.path).content.decode()
    browser.post(f"{webhook.path}/delete")
    assert not alice.user.webhooks.exists()


def test_the_history_shows_what_was_sent_and_what_came_back(browser_of, alice, webhook, delivery):
    browser = browser_of(alice)
    page = browser.get(webhook.path).content.decode()
    assert "repo create" in page and "answered 500" in page and "alice/tides" in page
    page = browser.get(delivery.path).content.decode()
    assert "&lt;b&gt;the table is full" in page and "sent words" in page and "The receiver answered 500." in page


def test_sending_again_and_a_test_queue_a_delivery_that_the_page_waits_for(browser_of, alice, webhook, delivery):
    from hub.common.models import Job

    browser = browser_of(alice)
    for address in (f"{delivery.path}/again", f"{webhook.path}/test"):
        answer = browser.post(address)
        newest = webhook.deliveries.order_by("-pk").first()
        assert answer.headers["Location"] == newest.path
        page = browser.get(newest.path).content.decode()
        assert "On its way" in page and "every 2s" in page
        assert (newest.by_hand, newest.state) == (True, "waiting")
    assert Job.objects.filter(kind="webhooks.deliver").count() == 2


def test_the_pages_say_why_nothing_arrives(browser_of, alice, webhook, settings):
    browser = browser_of(alice)
    for more, words in (
        ({"is_disabled": True, "disabled_reason": "Switched off by the hub: it failed."}, "Mend the receiver"),
        ({"failures": 4, "rests_until": timezone.now() + timedelta(hours=1)}, "4 attempts in a row have failed"),
    ):
        type(webhook).objects.filter(pk=webhook.pk).update(is_disabled=False)
        type(webhook).objects.filter(pk=webhook.pk).update(**more)
        assert words in browser.get(webhook.path).content.decode()
    settings.SECRET_KEY = "another key than before"
    browser.force_login(alice.user)
    assert "Set the secret again" in browser.get(webhook.path).content.decode()


def test_what_waits_for_a_resting_receiver_says_why_and_until_when(browser_of, alice, webhook, delivery):
    until = timezone.now() + timedelta(hours=1)
    type(webhook).objects.filter(pk=webhook.pk).update(failures=4, rests_until=until)
    waiting = webhook.deliveries.create(event=delivery.event, event_key="2", next_at=timezone.now())
    for path in (webhook.path, waiting.path):
        page = browser_of(alice).get(path).content.decode()
        assert "The receiver answered 500." in page and f"{until:%Y-%m-%d %H:%M} UTC" in page
        assert "Waits for the receiver" in page and "On its way" not in page


def test_the_webhooks_of_others_look_like_missing_ones(browser_of, bob, webhook, delivery):
    browser = browser_of(bob)
    assert webhook.key not in browser.get("/settings/webhooks").content.decode()
    assert [browser.get(path).status_code for path in (webhook.path, delivery.path)] == [404, 404]
    for act in ("pause", "resume", "test", "delete"):
        assert browser.post(f"{webhook.path}/{act}").status_code == 404
    assert browser.post(f"{delivery.path}/again").status_code == 404
    assert webhook.deliveries.count() == 1


def test_what_one_may_not_read_any_more_keeps_its_outcome_and_loses_its_name(
    browser_of, charlie, tides, delivery, alice
):
    from hub.repos.lifecycle import update_settings

    theirs = create_webhook(by=charlie.user, url=URL, watched=[("dataset", "alice/tides")])
    Delivery.objects.filter(pk=delivery.pk).update(webhook=theirs)
    path = f"{theirs.path}/deliveries/{delivery.key}"
    browser = browser_of(charlie)
    assert "sent words" in browser.get(path).content.decode()
    update_settings(repo=tides, by=alice.user, is_private=True)
    for address in (theirs.path, path):
        page = browser.get(address).content.decode()
        assert "may not read any more" in page and "sent words" not in page and "repo create" not in page
    assert browser.post(f"{path}/again").headers["Location"] == path
    assert theirs.deliveries.count() == 1


def test_a_token_opens_none_of_the_pages(browser_of, alice, webhook):
    header = {"HTTP_AUTHORIZATION": f"Bearer {alice.token}"}
    program = browser_of(None)
    assert program.get("/settings/webhooks", **header).status_code == 403
    assert program.post(f"{webhook.path}/delete", **header).status_code == 403
    assert program.post("/settings/webhooks", FORM, **header).status_code == 403


def test_the_history_costs_a_bounded_number_of_queries(
    browser_of, alice, webhook, delivery, tides, django_assert_max_num_queries
):
    event = delivery.event
    webhook.deliveries.bulk_create(
        Delivery(webhook=webhook, event=event, event_key=f"e{number}", next_at=timezone.now()) for number in range(30)
    )
    browser = browser_of(alice)
    with django_assert_max_num_queries(16):  # session, person, webhook, what it watches, count, rows, repositories
        browser.get(webhook.path)
