"""Leaderboards as people meet them: filters in the address, and entries that are contested."""

import pytest

from hub.community.discussions import set_status
from hub.community.disputes import MAX_OPEN, contest
from hub.community.leaderboards import Measure, Place, rank
from hub.community.models import Discussion, Notification
from hub.community.social_models import Dispute, EvalResult
from hub.repos.lifecycle import update_settings
from tests.hub.api.test_leaderboards import model, results
from tests.hub.scenes import add, make_repo
from tests.people import make_person

pytestmark = pytest.mark.django_db(transaction=True)
PATH = "/datasets/alice/bench/leaderboard"


@pytest.fixture
def bench(alice, cleared_at_once):
    return make_repo(alice.user, "bench")


@pytest.fixture
def board(bench, alice, bob):
    model(bob.user, "large", 41)
    model(alice.user, "small", 20, card="base_model: bob/large")
    return bench


def place(pk, value, low=None, high=None):
    row = EvalResult(pk=pk, repo_id=pk, task="t", value=value)
    return row, {pk: Measure(low, high, 9, "acc", "/runs/1", "a" * 40, "b" * 40)} if low is not None else {}


@pytest.mark.parametrize(
    ("given", "ranks"),
    [
        ([(9,), (8,), (8,), (7,)], [(1, False), (2, True), (2, True), (4, False)]),
        ([(9, 8, 10), (8.5, 7.5, 9.5), (7, 6, 7.4)], [(1, True), (1, True), (3, False)]),
        ([(9, 8.9, 9.1), (8, 7, 9), (6.5, 6, 7)], [(1, True), (1, True), (2, True)]),
        ([(9, 8.5, 9.5), (8,), (7.9, 7, 8.2)], [(1, False), (2, True), (2, True)]),
        ([], []),
    ],
)
def test_only_whole_intervals_stand_before_each_other(given, ranks):
    made = [place(number, *row) for number, row in enumerate(given, start=1)]
    measures = {key: value for _, more in made for key, value in more.items()}
    places: list[Place] = rank([row for row, _ in made], measures)
    assert [(one.rank, one.is_tied) for one in places] == ranks


def test_what_cannot_be_compared_is_marked(bench, alice, bob, client):
    """A model without weights stood first with 71.5 above what the hub measured, 0.42, and nothing said so."""
    model(bob.user, "loud", 71.5)
    whole = model(alice.user, "small", 0.42)
    add(whole, alice.user, {"model.safetensors": b"\0" * 64})
    for path in (PATH, "/datasets/alice/bench"):
        page = client.get(path).content.decode()
        loud, small = (page.split(f'<a href="/{name}">')[1].split("</tr>")[0] for name in ("bob/loud", "alice/small"))
        assert "no weights" in loud and "not 0 to 1" in loud
        assert "no weights" not in small and "not 0 to 1" not in small


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("", ["bob/large", "alice/small"]),
        ("?sort=name", ["alice/small", "bob/large"]),
        ("?q=SMALL", ["alice/small"]),
        ("?models=base", ["bob/large"]),
        ("?models=measured", []),
        ("?models=contested", []),
        ("?task=hard", []),
        ("?task=default&sort=name&q=l", ["alice/small", "bob/large"]),
        ("?models=%00&sort=odd&task=%00", ["bob/large", "alice/small"]),
    ],
)
def test_the_address_says_what_is_shown(board, client, query, shown):
    page = client.get(PATH + query).content.decode()
    places = {name: page.find(f'<a href="/{name}">') for name in ("bob/large", "alice/small")}
    assert sorted((name for name, at in places.items() if at > 0), key=places.get) == shown
    assert ("No model matches" in page) == (not shown)


def test_a_contested_entry_says_so_until_that_is_settled(board, alice, bob, charlie, browser_of):
    given = {"model": "bob/large", "task": "default", "reason": "The test was in its data."}
    assert browser_of(None).post(f"{PATH}/contest", given).status_code == 401
    assert not Dispute.objects.exists()
    answer = browser_of(charlie).post(f"{PATH}/contest", given)
    discussion = Discussion.objects.get()
    assert answer.url == discussion.path == "/datasets/alice/bench/discussions/1"
    assert "bob/large says 41" in discussion.events.get().data["text"]
    assert "contests 41 of bob/large" in Notification.objects.filter(user=bob.user).latest("pk").text
    page = browser_of(None).get(f"{PATH}?models=contested").content.decode()
    assert "Contested</a>" in page and discussion.path in page and "alice/small" not in page
    again = browser_of(bob).post(f"{PATH}/contest", given)
    assert again.status_code == 409 and "contested already" in again.content.decode()
    mona = make_person("mona", is_moderator=True)
    shown = browser_of(mona).get(discussion.path).content.decode()
    assert f"{discussion.path}/close" in shown and "Rename" not in shown
    assert f"{discussion.path}/close" not in browser_of(bob).get(discussion.path).content.decode()
    assert browser_of(mona).post(f"{discussion.path}/close", {"text": "It was not."}).status_code == 302
    assert "Contested</a>" not in browser_of(None).get(PATH).content.decode()


def test_the_owner_of_the_model_does_not_settle_what_others_contest(board, bob, charlie):
    from hub.common.errors import Forbidden

    discussion = contest(dataset=board, by=charlie.user, model="bob/large", task="default", reason="No.")
    with pytest.raises(Forbidden):
        set_status(discussion=discussion, by=bob.user, status="closed")


@pytest.mark.parametrize(
    ("given", "status", "words"),
    [
        ({"reason": " "}, 400, "Say in a sentence"),
        ({"reason": "x" * 6000}, 400, "at most 5,000"),
        ({"model": "bob/none"}, 404, "no entry of bob/none"),
        ({"task": "none"}, 404, "on the task"),
    ],
)
def test_a_contest_names_an_entry_and_a_reason(board, charlie, browser_of, given, status, words):
    asked = {"model": "bob/large", "task": "default", "reason": "No.", **given}
    answer = browser_of(charlie).post(f"{PATH}/contest", asked)
    assert answer.status_code == status and words in answer.content.decode()


def test_who_contests_a_lot_waits_for_the_first_to_be_settled(bench, alice, bob, charlie):
    from hub.common.errors import Forbidden

    for number in range(MAX_OPEN):
        text = results(number, task=f"t{number}")
        repo = make_repo(bob.user, f"m{number}", type="model")
        add(repo, bob.user, {".eval_results/x.yaml": text})
        contest(dataset=bench, by=charlie.user, model=f"bob/m{number}", task=f"t{number}", reason="No.")
    model(bob.user, "more", 4)
    with pytest.raises(Forbidden, match="wait until"):
        contest(dataset=bench, by=charlie.user, model="bob/more", task="default", reason="No.")


def test_nobody_learns_of_a_private_model_by_its_disputes(board, alice, bob, charlie, browser_of):
    """Its discussion stands in its own repository, and strangers can neither see nor contest the entry."""
    secret = model(alice.user, "secret", 99, is_private=True)
    discussion = contest(dataset=board, by=alice.user, model="alice/secret", task="default", reason="I doubt it.")
    assert discussion.repo == secret
    for person in (None, charlie):
        page = browser_of(person).get(PATH).content.decode()
        assert "secret" not in page and ">99<" not in page
        assert "secret" not in browser_of(person).get("/datasets/alice/bench/discussions").content.decode()
    asked = {"model": "alice/secret", "task": "default", "reason": "No."}
    missing = {**asked, "model": "alice/missing"}
    answers = [browser_of(charlie).post(f"{PATH}/contest", given) for given in (asked, missing)]
    assert [answer.status_code for answer in answers] == [404, 404]
    assert "Contested</a>" in browser_of(alice).get(PATH).content.decode()
    update_settings(repo=board, by=alice.user, is_private=True)
    assert browser_of(charlie).post(f"{PATH}/contest", asked).status_code == 404
