"""Pages of collections: made, filled, arranged and found in a browser; private ones are missing for strangers."""

import pytest

from hub.community import collections as shelves
from hub.community.social_models import Collection
from tests.hub.web.test_shape import Reader

pytestmark = pytest.mark.django_db


@pytest.fixture
def shelf(alice, tides, secret):
    """Alice's public shelf with a dataset that everybody reads and a model that is hers."""
    made = shelves.create_collection(owner=alice.user, by=alice.user, title="Tides & tables")
    for thing in (tides, secret):
        shelves.add_item(collection=made, by=alice.user, thing=thing)
    return made


def test_a_shelf_is_made_from_the_page_of_a_repository_and_arranged(tides, secret, browser_of, alice):
    browser = browser_of(alice)
    assert "/new/collection?item=datasets/alice/tides" in browser.get(f"{tides.path}/collect").content.decode()
    form = {"owner": "alice", "title": "Tides", "visibility": "public", "item": "datasets/alice/tides"}
    path = browser.post("/new/collection", form).headers["Location"]
    shelf = Collection.objects.get()
    assert path == shelf.path
    browser.post(f"{path}/items", {"name": "https://hub.example/alice/secret", "note": "not yet"})
    assert [item.thing.name for item in shelf.items.all()] == ["tides", "secret"]
    last = shelf.items.last()
    browser.post(f"{path}/items/{last.key}", {"act": "up"})
    browser.post(f"{path}/items/{last.key}", {"act": "note", "note": "soon"})
    assert [(item.thing.name, item.note) for item in shelf.items.all()] == [("secret", "soon"), ("tides", "")]
    browser.post(f"{path}/items/{last.key}", {"act": "remove"})
    browser.post(f"{tides.path}/collect", {"collection": shelf.key})
    assert shelf.items.count() == 0
    changed = browser.post(f"{path}/edit", {"title": "Low water", "description": "", "visibility": "private"})
    shelf.refresh_from_db()
    assert (shelf.title, shelf.is_private, changed.headers["Location"]) == ("Low water", True, shelf.path)
    assert browser.get(path).headers["Location"] == shelf.path  # the former address leads on
    browser.post(f"{shelf.path}/delete")
    assert not Collection.objects.exists()


def test_everybody_reads_a_public_shelf_and_sees_of_it_what_they_may(shelf, browser_of, alice, charlie):
    for address in (shelf.path, "/collections", "/collections?q=tables&sort=upvotes", "/alice?tab=collections"):
        for person in (charlie, None):
            page = browser_of(person).get(address).content.decode()
            assert "Tides &amp; tables" in page and "alice/tides" in page and "alice/secret" not in page, address
        assert "alice/secret" in browser_of(alice).get(address).content.decode()


def test_a_private_shelf_is_missing_for_strangers(shelf, browser_of, alice, charlie):
    shelves.update_collection(collection=shelf, by=alice.user, is_private=True)
    for person in (charlie, None):
        browser = browser_of(person)
        assert browser.get(shelf.path).status_code == 404
        for address in ("/collections", "/alice?tab=collections"):
            assert "Tides &amp; tables" not in browser.get(address).content.decode()
    assert browser_of(alice).get(shelf.path).status_code == 200


def test_strangers_vote_and_arrange_nothing(shelf, browser_of, charlie):
    browser = browser_of(charlie)
    page = browser.get(shelf.path).content.decode()
    assert "Upvote" in page and "Add an item" not in page and "/edit" not in page
    browser.post(f"{shelf.path}/upvote")
    shelf.refresh_from_db()
    assert shelf.upvotes == 1
    item = shelf.items.first()
    for act in ("/edit", "/items", f"/items/{item.key}", "/delete"):
        assert browser.post(shelf.path + act, {"act": "remove", "title": "Mine", "name": "x/y"}).status_code == 403
    assert browser.post("/new/collection", {"owner": "alice", "title": "x", "visibility": "public"}).status_code == 400
    assert browser_of(None).post(f"{shelf.path}/upvote").status_code == 401
    assert shelf.items.count() == 2 and Collection.objects.count() == 1


def test_a_moderator_takes_a_shelf_down(shelf, browser_of, charlie):
    charlie.user.is_moderator = True
    charlie.user.save()
    browser = browser_of(charlie)
    assert f"{shelf.path}/delete" in browser.get(shelf.path).content.decode()
    browser.post(f"{shelf.path}/delete")
    assert not Collection.objects.exists()


def test_what_is_wrong_is_said_on_the_page(shelf, browser_of, alice):
    browser = browser_of(alice)
    for name, words in [
        ("alice/tides/x", "names nothing here"), ("alice/missing", "no model repository"),
        ("datasets/alice/tides", "already"), (f"collections/{shelf.slug}", "cannot hold itself"),
    ]:  # fmt: skip
        page = browser.post(f"{shelf.path}/items", {"name": name}, follow=True).content.decode()
        assert words in page, name
    form = {"owner": "alice", "title": "tides & tables", "visibility": "public"}
    answer = browser.post("/new/collection", form)
    assert answer.status_code == 400 and "already" in answer.content.decode()


def test_pages_of_shelves_are_sound(shelf, tides, browser_of, alice, bob):
    for person, address in [
        (alice, shelf.path), (alice, f"{shelf.path}/edit"), (alice, "/collections"), (alice, "/new/collection"),
        (alice, f"{tides.path}/collect"), (bob, f"{tides.path}/collect"), (bob, "/bob?tab=collections"), (bob, shelf.path),
    ]:  # fmt: skip
        page = Reader(browser_of(person).get(address).content.decode())
        assert page.problems == [], address
        assert len(page.ids) == len(set(page.ids)), address
        labelled = {found.get("for") for tag, found in page.tags if tag == "label"}
        for tag, found in page.tags:
            if tag in ("textarea", "select") or tag == "input" and found.get("type") not in ("hidden", "radio"):
                assert found.get("id") in labelled, f"{address}: {found}"


def test_the_list_of_shelves_costs_few_queries(shelf, alice, browser_of, django_assert_num_queries):
    for number in range(6):
        shelves.create_collection(owner=alice.user, by=alice.user, title=f"Shelf {number}")
    browser = browser_of(None)
    browser.get("/collections")
    with django_assert_num_queries(3):  # count, collections with their owners, first items of each
        browser.get("/collections")
