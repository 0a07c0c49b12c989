"""Discussions: anybody signed in who may read opens one; numbers are one sequence with pull requests."""

import pytest

from hub.common.errors import Forbidden, InvalidInput, NotFound, NotSignedIn, RepoNotFound

pytestmark = pytest.mark.django_db


@pytest.fixture
def talk(charlie, tides):
    from hub.community.discussions import create_discussion

    return create_discussion(repo=tides, by=charlie.user, title="High water at Hull", text="It reads 70 m.")


def kinds(discussion):
    return [event.kind for event in discussion.events.all()]


def test_a_stranger_opens_a_discussion_and_others_answer(alice, charlie, talk):
    from hub.community.discussions import comment, find_discussion

    comment(discussion=talk, by=alice.user, text="7.0 m, of course.")
    found = find_discussion(talk.repo, 1, charlie.user)
    assert (found.title, found.status, found.path) == (
        "High water at Hull",
        "open",
        "/datasets/alice/tides/discussions/1",
    )
    assert [(event.author.username, event.data["text"]) for event in found.events.all()] == [
        ("charlie", "It reads 70 m."),
        ("alice", "7.0 m, of course."),
    ]


def test_numbers_count_from_one_in_each_repository_and_are_shared_with_pull_requests(alice, charlie, talk):
    from hub.community.discussions import create_discussion
    from tests.hub.scenes import make_repo, propose

    pull_request = propose(talk.repo, charlie.user, {"a.txt": "one"})
    third = create_discussion(repo=talk.repo, by=alice.user, title="Thanks")
    elsewhere = create_discussion(repo=make_repo(alice.user, "currents"), by=alice.user, title="Hello")
    assert [talk.number, pull_request.discussion.number, third.number, elsewhere.number] == [1, 2, 3, 1]


@pytest.mark.django_db(transaction=True)
def test_numbers_stay_one_sequence_when_many_write_at_once(alice, bob, charlie, tides):
    from hub.community.discussions import create_discussion
    from tests.beside import at_once
    from tests.hub.scenes import propose

    def talk_about(person):
        return create_discussion(repo=tides, by=person.user, title=f"{person.name} asks").number

    def suggest(person):
        return propose(tides, person.user, {f"{person.name}.txt": "tide"}).discussion.number

    people = (alice, bob, charlie)
    tasks = [lambda person=person, act=act: act(person) for person in people for act in (talk_about, suggest)]
    assert sorted(at_once(*tasks), key=str) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("title", ["", "ab", "  ab \n", "a\0b", "x" * 301])
def test_a_title_has_3_to_300_characters(charlie, tides, title):
    from hub.community.discussions import create_discussion
    from hub.community.models import Discussion

    with pytest.raises(InvalidInput, match="A title has 3 to 300 characters"):
        create_discussion(repo=tides, by=charlie.user, title=title)
    assert not Discussion.objects.exists()


@pytest.mark.parametrize(
    ("text", "words"), [("  \n", "is empty"), ("\0\0", "is empty"), ("x" * 65_537, "at most 65,536")]
)
def test_a_comment_has_words_and_a_limit(charlie, talk, text, words):
    from hub.community.discussions import comment

    with pytest.raises(InvalidInput, match=words):
        comment(discussion=talk, by=charlie.user, text=text)


def test_what_no_database_keeps_is_left_out_of_words(charlie, talk):
    from hub.community.discussions import comment, rename

    event = comment(discussion=talk, by=charlie.user, text="high\0 water \ud800🌊")
    rename(discussion=talk, by=charlie.user, title="New\0 title")
    event.refresh_from_db()
    talk.refresh_from_db()
    assert (event.data["text"], talk.title) == ("high water 🌊", "New title")


def test_who_is_not_signed_in_or_may_not_read_does_not_speak(alice, charlie, talk):
    from django.contrib.auth.models import AnonymousUser

    from hub.community.discussions import comment, create_discussion

    with pytest.raises(NotSignedIn):
        create_discussion(repo=talk.repo, by=AnonymousUser(), title="Hello there")
    talk.repo.is_private = True
    for act in (
        lambda: create_discussion(repo=talk.repo, by=charlie.user, title="Hello there"),
        lambda: comment(discussion=talk, by=charlie.user, text="Still here"),
    ):
        with pytest.raises(RepoNotFound):
            act()


def test_a_read_token_does_not_speak(charlie, talk):
    from hub.accounts.tokens import create_token
    from hub.community.discussions import comment

    charlie.user.token, _ = create_token(user=charlie.user, name="phone", role="read")
    with pytest.raises(Forbidden, match="role 'write'"):
        comment(discussion=talk, by=charlie.user, text="Hello")


# --- private ones


def test_a_private_discussion_is_for_its_author_maintainers_and_moderators(alice, bob, charlie, tides):
    from hub.community.discussions import comment, create_discussion, find_discussion, visible_discussions
    from hub.repos.models import RepoCollaborator
    from tests.people import make_person

    talk = create_discussion(repo=tides, by=charlie.user, title="A report", is_private=True)
    mona, dora = make_person("mona", is_moderator=True), make_person("dora")
    RepoCollaborator.objects.create(repo=tides, user=dora.user, role="read")
    for person in (alice, charlie, mona):
        assert find_discussion(tides, 1, person.user) == talk
        assert list(visible_discussions(tides, person.user)) == [talk]
    for person in (bob, dora):
        assert list(visible_discussions(tides, person.user)) == []
        with pytest.raises(NotFound, match="no discussion 1"):
            find_discussion(tides, 1, person.user)
        with pytest.raises(NotFound):
            comment(discussion=talk, by=person.user, text="I know")


def test_a_list_costs_one_query_however_long_it_is(alice, charlie, tides, django_assert_num_queries):
    from hub.community.discussions import create_discussion, visible_discussions

    for number in range(5):
        create_discussion(repo=tides, by=charlie.user, title=f"Question {number}")
    with django_assert_num_queries(1):  # discussions with their authors
        titles = [(row.title, row.author.username) for row in visible_discussions(tides, alice.user)]
    assert titles[0] == ("Question 4", "charlie") and len(titles) == 5


# --- changing what was said


def test_its_author_changes_a_comment(alice, charlie, talk):
    from hub.community.discussions import edit_comment
    from tests.people import make_person

    event = talk.events.get()
    edited = edit_comment(discussion=talk, event_id=str(event.pk), by=charlie.user, text="It reads 7.0 m.")
    assert edited.data["text"] == "It reads 7.0 m." and edited.edited_at
    for person in (alice, make_person("mona", is_moderator=True)):
        with pytest.raises(Forbidden, match="Only its author may change the words"):
            edit_comment(discussion=talk, event_id=str(event.pk), by=person.user, text="Mine")


@pytest.mark.parametrize("who", ["author", "maintainer", "moderator"])
def test_its_author_a_maintainer_and_a_moderator_hide_a_comment_for_good(alice, charlie, talk, who):
    from hub.community.discussions import edit_comment, hide_comment
    from tests.people import make_person

    person = {"author": charlie, "maintainer": alice}.get(who) or make_person("mona", is_moderator=True)
    event = talk.events.get()
    hide_comment(discussion=talk, event_id=str(event.pk), by=person.user)
    event.refresh_from_db()
    assert event.data["hidden"] and event.data["hidden_by"] == person.name
    with pytest.raises(Forbidden, match="hidden comment cannot be edited"):
        edit_comment(discussion=talk, event_id=str(event.pk), by=charlie.user, text="Back again")


def test_others_change_nothing(bob, talk):
    from hub.community.discussions import edit_comment, hide_comment

    event_id = str(talk.events.get().pk)
    with pytest.raises(Forbidden, match="Only its author, a maintainer or a moderator"):
        edit_comment(discussion=talk, event_id=event_id, by=bob.user, text="Mine now")
    with pytest.raises(Forbidden):
        hide_comment(discussion=talk, event_id=event_id, by=bob.user)


@pytest.mark.parametrize("event_id", ["", "x", "²", "-1", "999999", "9" * 40])
def test_a_comment_that_is_not_there_is_said_to_be_missing(charlie, talk, event_id):
    from hub.community.discussions import edit_comment

    with pytest.raises(NotFound):
        edit_comment(discussion=talk, event_id=event_id, by=charlie.user, text="Hello")


def test_a_comment_of_another_discussion_is_not_reached_from_here(charlie, talk):
    from hub.community.discussions import create_discussion, edit_comment

    other = create_discussion(repo=talk.repo, by=charlie.user, title="Another one")
    with pytest.raises(NotFound):
        edit_comment(discussion=other, event_id=str(talk.events.get().pk), by=charlie.user, text="Hello")


# --- opening and closing


def test_the_author_or_a_maintainer_renames_closes_and_opens(alice, charlie, talk):
    from hub.community.discussions import rename, set_status

    rename(discussion=talk, by=alice.user, title="Low water at Hull")
    set_status(discussion=talk, by=charlie.user, status="closed", text="It is mended.")
    set_status(discussion=talk, by=alice.user, status="open")
    talk.refresh_from_db()
    assert (talk.title, talk.status) == ("Low water at Hull", "open")
    assert kinds(talk) == ["comment", "title-change", "comment", "status-change", "status-change"]
    assert talk.events.get(kind="title-change").data == {"from": "High water at Hull", "to": "Low water at Hull"}


@pytest.mark.parametrize("status", ["open", "merged", "draft", "gone"])
def test_a_status_is_open_or_closed_and_another_one_than_now(charlie, talk, status):
    from hub.community.discussions import set_status

    with pytest.raises(InvalidInput):
        set_status(discussion=talk, by=charlie.user, status=status)


def test_others_neither_rename_nor_close(bob, talk):
    from hub.community.discussions import rename, set_status

    with pytest.raises(Forbidden, match="Only the author or somebody with write access"):
        rename(discussion=talk, by=bob.user, title="My title")
    with pytest.raises(Forbidden):
        set_status(discussion=talk, by=bob.user, status="closed")


# --- the bell


def test_those_concerned_are_told_and_nobody_of_their_own_words(alice, bob, charlie, talk):
    from hub.community.discussions import comment
    from hub.community.models import Notification

    comment(discussion=talk, by=bob.user, text="I saw it too.")
    rows = Notification.objects.order_by("user__username").values_list("user__username", "text", "path")
    assert list(rows) == [
        ("alice", "bob commented on alice/tides#1", talk.path),
        ("charlie", "bob commented on alice/tides#1", talk.path),
    ]


def test_likes_count_people_once(alice, charlie, tides):
    from hub.community.likes import set_like

    assert [set_like(repo=tides, by=person.user, likes=True) for person in (alice, charlie, charlie)] == [1, 2, 2]
    assert set_like(repo=tides, by=alice.user, likes=False) == 1
    tides.refresh_from_db()
    assert tides.likes == 1


def test_who_lost_access_hears_nothing_more(alice, charlie, talk):
    """Who once spoke in a public repository went on hearing of it after it became private."""
    from hub.community.discussions import comment
    from hub.community.models import Notification
    from hub.repos.lifecycle import update_settings

    comment(discussion=talk, by=alice.user, text="In the open.")
    update_settings(repo=talk.repo, by=alice.user, is_private=True)
    talk.refresh_from_db()
    comment(discussion=talk, by=alice.user, text="Among us.")
    assert Notification.objects.filter(user=charlie.user).count() == 1


def test_a_private_discussion_is_told_to_those_who_may_see_it(alice, charlie, bob, talk):
    from hub.community.discussions import comment
    from hub.community.models import Discussion, Notification

    comment(discussion=talk, by=bob.user, text="I was here.")
    Discussion.objects.filter(pk=talk.pk).update(is_private=True)
    talk.refresh_from_db()
    comment(discussion=talk, by=alice.user, text="Among us.")
    assert {row.user.username for row in Notification.objects.filter(text__startswith="alice commented")} == {"charlie"}
