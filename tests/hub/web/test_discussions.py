"""The Community tab and discussions."""

import pytest

pytestmark = pytest.mark.django_db


@pytest.fixture
def discussion(tides, charlie):
    from hub.community.discussions import create_discussion

    return create_discussion(repo=tides, by=charlie.user, title="Which harbours?", text="All **forty**?")


def test_anybody_signed_in_starts_a_discussion_and_it_is_listed(tides, charlie, browser_of):
    browser = browser_of(charlie)
    answer = browser.post(f"{tides.path}/discussions/new", {"title": "Is Hull right?", "text": "It says 7."})
    assert answer.headers["Location"] == f"{tides.path}/discussions/1"
    page = browser_of(None).get(f"{tides.path}/discussions").content.decode()
    assert "Is Hull right?" in page
    assert 'Community <span class="count">1</span>' in page


def test_a_title_that_is_too_short_comes_back_with_the_text(tides, charlie, browser_of):
    answer = browser_of(charlie).post(f"{tides.path}/discussions/new", {"title": "?", "text": "keep me"})
    assert answer.status_code == 400
    assert "keep me" in answer.content.decode() and "at least 3" in answer.content.decode()


def test_comments_are_rendered_safely(discussion, alice, browser_of):
    browser_of(alice).post(f"{discussion.path}/comment", {"text": "**Yes** <script>alert(1)</script>"})
    page = browser_of(None).get(discussion.path).content.decode()
    assert "<strong>Yes</strong>" in page and "<script>alert" not in page


def test_author_and_maintainer_rename_and_close_others_do_not(discussion, alice, charlie, db, browser_of):
    from tests.people import make_person

    dora = make_person("dora")
    assert browser_of(dora).post(f"{discussion.path}/rename", {"title": "Mine now"}).status_code == 403
    browser_of(charlie).post(f"{discussion.path}/rename", {"title": "Which harbours are in it?"})
    browser_of(alice).post(f"{discussion.path}/close", {"text": "Answered."})
    discussion.refresh_from_db()
    assert (discussion.title, discussion.status) == ("Which harbours are in it?", "closed")
    page = browser_of(None).get(discussion.path).content.decode()
    assert "Answered." in page and "closed this" in page
    browser_of(charlie).post(f"{discussion.path}/reopen")
    discussion.refresh_from_db()
    assert discussion.status == "open"


def test_an_empty_comment_is_refused_in_words(discussion, alice, browser_of):
    page = browser_of(alice).post(f"{discussion.path}/comment", {"text": "  "}, follow=True).content.decode()
    assert "The comment is empty" in page


def test_only_its_author_edits_a_comment_and_hiding_is_for_good(discussion, bob, charlie, browser_of):
    event = discussion.events.get(kind="comment")
    address = f"{discussion.path}/comments/{event.pk}"
    browser_of(charlie).post(f"{address}/edit", {"text": "All thirty?"})
    assert "All thirty?" in browser_of(None).get(discussion.path).content.decode()
    browser_of(bob).post(f"{address}/hide")  # a maintainer
    page = browser_of(None).get(discussion.path).content.decode()
    assert "All thirty?" not in page and "hidden by bob" in page


def test_a_private_discussion_is_missing_for_others(tides, charlie, browser_of, db):
    from hub.community.discussions import create_discussion
    from tests.people import make_person

    report = create_discussion(repo=tides, by=charlie.user, title="A harmful row", is_private=True)
    dora = make_person("dora")
    assert browser_of(dora).get(report.path).status_code == 404
    assert "A harmful row" not in browser_of(dora).get(f"{tides.path}/discussions").content.decode()
    assert browser_of(charlie).get(report.path).status_code == 200


def test_the_list_filters_by_kind_state_and_words_in_the_address(tides, discussion, proposal, browser_of):
    browser = browser_of(None)
    proposals = browser.get(f"{tides.path}/discussions?kind=proposals").content.decode()
    assert "Add Cork" in proposals and "Which harbours?" not in proposals
    words = browser.get(f"{tides.path}/discussions?kind=all&q=harbours").content.decode()
    assert "Which harbours?" in words and "Add Cork" not in words
    closed = browser.get(f"{tides.path}/discussions?kind=all&status=closed").content.decode()
    assert "Nothing matches" in closed


def test_notifications_are_read_one_by_one_and_all_at_once(discussion, alice, charlie, browser_of):
    from hub.community.models import Notification

    browser_of(charlie).post(f"{discussion.path}/comment", {"text": "Anybody?"})
    row = Notification.objects.get(user=alice.user, is_read=False)
    browser = browser_of(alice)
    assert "Anybody" not in browser.get("/notifications").content.decode()
    assert Notification.objects.filter(user=alice.user, is_read=False).exists()  # looking is not reading
    answer = browser.post(f"/notifications/{row.pk}")
    assert answer.headers["Location"] == discussion.path
    assert browser_of(charlie).post(f"/notifications/{row.pk}").status_code == 404
    browser.post("/notifications/read")
    assert not Notification.objects.filter(user=alice.user, is_read=False).exists()
