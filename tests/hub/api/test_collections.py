"""Collections through the unmodified client: made, found, arranged, and shown to nobody who may not see them."""

import pytest
from django.test import Client
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

from hub.community import collections as shelves
from hub.community.social_models import Collection, CollectionItem
from hub.repos.lifecycle import rename
from hub.repos.models import Repo
from tests.beside import at_once

pytestmark = pytest.mark.django_db(transaction=True)


def make_repo(person, name, **more):
    """A row alone: shelves read nothing else."""
    return Repo.objects.create(owner_user=person.user, name=name, **{"type": "model", **more})


def make_shelf(person, title="Tides", things=(), **more):
    made = shelves.create_collection(owner=person.user, by=person.user, title=title, **more)
    for thing in things:
        shelves.add_item(collection=made, by=person.user, thing=thing)
    return made


def names(collection):
    return [item.item_id for item in collection.items]


def status(refusal):
    return refusal.value.response.status_code


@pytest.mark.covers(
    "HfApi.get_collection",
    "HfApi.create_collection",
    "HfApi.delete_collection",
    "HfApi.add_collection_item",
    "HfApi.update_collection_item",
    "HfApi.delete_collection_item",
)
def test_a_collection_is_made_filled_arranged_and_taken_down(client_of, alice):
    make_repo(alice, "poet")
    make_repo(alice, "tides", type="dataset")
    make_repo(alice, "garden", type="space")
    client = client_of(alice)
    made = client.create_collection("Tides & poems", description="What belongs together")
    assert (made.title, made.description, made.owner) == ("Tides & poems", "What belongs together", "alice")
    assert made.slug.startswith("alice/tides-poems-") and made.url.endswith(f"/collections/{made.slug}")
    assert (made.private, made.upvotes, made.position, made.items) == (False, 0, 0, [])
    client.add_collection_item(made.slug, "alice/poet", "model", note="Reads aloud")
    client.add_collection_item(made.slug, "alice/tides", "dataset")
    filled = client.add_collection_item(made.slug, "alice/garden", "space")
    assert [(item.item_id, item.item_type, item.position, item.note) for item in filled.items] == [
        ("alice/poet", "model", 0, "Reads aloud"), ("alice/tides", "dataset", 1, None), ("alice/garden", "space", 2, None)
    ]  # fmt: skip
    client.update_collection_item(made.slug, filled.items[2].item_object_id, position=0, note="Walk in")
    client.delete_collection_item(made.slug, filled.items[0].item_object_id)
    left = client.get_collection(made.slug)
    assert [(item.item_id, item.position, item.note) for item in left.items] == [
        ("alice/garden", 0, "Walk in"), ("alice/tides", 1, None)
    ]  # fmt: skip
    changed = client.update_collection_metadata(made.slug, title="Low water", theme="green", private=True)
    assert (changed.title, changed.theme, changed.private) == ("Low water", "green", True)
    assert changed.slug.startswith("alice/low-water-") and changed.slug.endswith(made.slug[-24:])
    assert client.get_collection(made.slug).slug == changed.slug  # the old address leads on
    client.delete_collection(changed.slug)
    client.delete_collection(changed.slug, missing_ok=True)
    with pytest.raises(HfHubHTTPError) as refusal:
        client.delete_collection(changed.slug)
    assert status(refusal) == 404
    assert Repo.objects.count() == 3 and not CollectionItem.objects.exists()


def test_what_is_there_already_is_refused_or_returned(client_of, alice):
    make_repo(alice, "poet")
    client = client_of(alice)
    first = client.create_collection("Tides")
    with pytest.raises(HfHubHTTPError, match="already") as refusal:
        client.create_collection("tides")
    assert status(refusal) == 409
    assert client.create_collection("TIDES", exists_ok=True).slug == first.slug
    client.add_collection_item(first.slug, "alice/poet", "model")
    with pytest.raises(HfHubHTTPError) as refusal:
        client.add_collection_item(first.slug, "Alice/Poet", "model")
    assert status(refusal) == 409
    assert names(client.add_collection_item(first.slug, "alice/poet", "model", exists_ok=True)) == ["alice/poet"]
    client.delete_collection_item(first.slug, "f" * 24, missing_ok=True)
    with pytest.raises(HfHubHTTPError) as refusal:
        client.delete_collection_item(first.slug, "f" * 24)
    assert status(refusal) == 404


def test_who_may_not_arrange_is_refused_and_a_private_one_looks_missing(client_of, alice, bob, charlie, organization):
    mine = make_shelf(alice, things=[make_repo(alice, "poet")])
    hidden = make_shelf(alice, "Drafts", is_private=True)
    ours = client_of(bob).create_collection("Charts", namespace="tidewatch", private=True)  # Bob writes there
    stranger, nobody = client_of(charlie), client_of(None)
    for refused in (
        lambda: stranger.update_collection_metadata(mine.slug, title="Mine now"),
        lambda: stranger.add_collection_item(mine.slug, "alice/poet", "model"),
        lambda: stranger.update_collection_item(mine.slug, mine.items.get().key, position=0),
        lambda: stranger.delete_collection_item(mine.slug, mine.items.get().key),
        lambda: stranger.delete_collection(mine.slug),
        lambda: stranger.create_collection("Yours", namespace="alice"),
    ):
        with pytest.raises(HfHubHTTPError) as refusal:
            refused()
        assert status(refusal) == 403
    with pytest.raises(HfHubHTTPError) as refusal:
        nobody.create_collection("Nobody's", namespace="alice")
    assert status(refusal) == 401
    for client in (stranger, nobody):
        for slug in (hidden.slug, ours.slug, "alice/nothing-" + "0" * 24, f"bob/tides-{mine.key}"):
            with pytest.raises(HfHubHTTPError) as refusal:
                client.get_collection(slug)
            assert status(refusal) == 404
        assert [row.title for row in client.list_collections()] == ["Tides"]
    assert client_of(alice).get_collection(ours.slug).title == "Charts"  # a member of the organization
    assert {row.title for row in client_of(alice).list_collections()} == {"Tides", "Drafts", "Charts"}


def test_items_that_a_reader_may_not_see_are_left_out_and_leave_no_gap(client_of, alice, bob):
    secret = make_repo(alice, "secret", is_private=True)
    inner = make_shelf(alice, "Drafts", is_private=True)
    shelf = make_shelf(alice, things=[secret, make_repo(alice, "poet"), inner, make_repo(alice, "tides")])
    seen = client_of(bob).get_collection(shelf.slug)
    assert [(item.item_id, item.position) for item in seen.items] == [("alice/poet", 0), ("alice/tides", 1)]
    listed = next(iter(client_of(None).list_collections(owner="alice")))
    assert names(listed) == ["alice/poet", "alice/tides"]
    assert list(client_of(None).list_collections(item="models/alice/secret")) == []
    assert [row.title for row in client_of(alice).list_collections(item="models/alice/secret")] == ["Tides"]
    whole = client_of(alice).get_collection(shelf.slug)
    assert names(whole) == ["alice/secret", "alice/poet", inner.slug, "alice/tides"]
    assert [item.item_type for item in whole.items] == ["model", "model", "collection", "model"]


def test_a_moved_repository_stays_and_a_deleted_one_goes(client_of, alice, organization):
    poet, tides = make_repo(alice, "poet"), make_repo(alice, "tides")
    shelf = make_shelf(alice, things=[poet, tides])
    rename(poet, organization, "bard")
    assert names(client_of(None).get_collection(shelf.slug)) == ["tidewatch/bard", "alice/tides"]
    assert len(list(client_of(None).list_collections(item="models/alice/poet"))) == 1  # by its former name
    poet.delete()
    (left,) = client_of(None).get_collection(shelf.slug).items
    assert (left.item_id, left.position) == ("alice/tides", 0)


@pytest.mark.covers("HfApi.list_collections")
def test_collections_are_listed_by_owner_item_and_order_in_pages(client_of, alice, bob, monkeypatch):
    from hub.api.hf import collections as door

    monkeypatch.setattr(door, "PAGE", 2)
    poets = [make_repo(alice, f"poet-{number}") for number in range(6)]
    for number in range(5):
        shelf = make_shelf(alice, f"Shelf {number}", things=poets if number == 3 else poets[:1])
        Collection.objects.filter(pk=shelf.pk).update(upvotes=number % 2)
    make_shelf(bob, "Other")
    client = client_of(None)
    assert [row.title for row in client.list_collections(owner="ALICE", sort="lastModified")] == [
        f"Shelf {number}" for number in (4, 3, 2, 1, 0)
    ]
    assert [row.title for row in client.list_collections(sort="upvotes", limit=3)] == ["Shelf 3", "Shelf 1", "Other"]
    assert [row.title for row in client.list_collections(item="models/alice/poet-5")] == ["Shelf 3"]
    assert [len(row.items) for row in client.list_collections(owner="alice", limit=2)] == [1, 4]
    assert list(client.list_collections(owner="nobody-of-this-name")) == []
    with pytest.raises(HfHubHTTPError) as refusal:
        list(client.list_collections(sort="beauty"))
    assert status(refusal) == 400


def test_a_page_of_collections_costs_few_queries(alice, django_assert_num_queries):
    poets = [make_repo(alice, f"poet-{number}") for number in range(6)]
    for number in range(8):
        make_shelf(alice, f"Shelf {number}", things=poets)
    with django_assert_num_queries(2):  # collections with their owners, the first items of each
        assert len(Client().get("/api/collections").json()) == 8


def test_a_query_asks_for_few_items_at_once(alice):
    """Each is a join of the query."""
    ask = Client().get
    asked = "&".join(f"item=models/alice/m{number}" for number in range(9))
    assert ask(f"/api/collections?{asked}").status_code == 400
    assert ask(f"/api/collections?{asked.rpartition('&')[0]}").json() == []
    assert ask(f"/api/collections?{asked}".replace("m8", "m7")).json() == []  # one that is named twice is one


def test_votes_are_counted_once_and_taken_back(alice, bob):
    shelf = make_shelf(alice)
    address, header = f"/api/collections/{shelf.slug}/upvote", {"HTTP_AUTHORIZATION": f"Bearer {bob.token}"}
    for _ in range(2):
        assert Client().post(address, **header).json() == {"upvotes": 1}
    assert Client().post(address).status_code == 401
    assert Client().delete(address, **header).json() == {"upvotes": 0}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda client, slug: client.create_collection(" "), 400),
        (lambda client, slug: client.create_collection("x" * 101), 400),
        (lambda client, slug: client.create_collection("New", description="x" * 151), 400),
        (lambda client, slug: client.update_collection_metadata(slug, theme="mauve"), 400),
        (lambda client, slug: client.update_collection_metadata(slug, position=-1), 400),
        (lambda client, slug: client.add_collection_item(slug, "alice/poet", "model", note="x" * 501), 400),
        (lambda client, slug: client.add_collection_item(slug, slug, "collection"), 400),
        (lambda client, slug: client.add_collection_item(slug, "2311.12983", "paper"), 501),
        (lambda client, slug: client.add_collection_item(slug, "alice/missing", "model"), 404),
        (lambda client, slug: client.add_collection_item(slug, "bob/secret", "model"), 404),
        (lambda client, slug: client.update_collection_resource_group(slug, "f" * 24), 501),
    ],
)
def test_what_does_not_fit_on_a_shelf_is_refused_in_a_sentence(client_of, alice, bob, change, expected):
    make_repo(alice, "poet")
    make_repo(bob, "secret", is_private=True)
    shelf = make_shelf(alice)
    with pytest.raises(HfHubHTTPError) as refusal:
        change(client_of(alice), shelf.slug)
    assert status(refusal) == expected
    assert len(refusal.value.server_message) > 20
    assert isinstance(refusal.value, RepositoryNotFoundError) == (expected == 404)
    assert Collection.objects.get().title == "Tides" and not CollectionItem.objects.exists()


def test_a_shelf_and_a_namespace_have_an_end(alice, monkeypatch):
    from hub.common.errors import InvalidInput

    monkeypatch.setattr(shelves, "MAX_ITEMS", 1)
    monkeypatch.setattr(shelves, "MAX_COLLECTIONS", 1)
    shelf = make_shelf(alice, things=[make_repo(alice, "poet")])
    with pytest.raises(InvalidInput, match="holds 1 items"):
        shelves.add_item(collection=shelf, by=alice.user, thing=make_repo(alice, "bard"))
    with pytest.raises(InvalidInput, match="has 1 collections"):
        make_shelf(alice, "Another")


def test_items_moved_at_once_keep_one_dense_order(alice):
    shelf = make_shelf(alice, things=[make_repo(alice, f"poet-{number}") for number in range(5)])
    keys = list(shelf.items.values_list("key", flat=True))

    def move(key, position):
        return lambda: shelves.update_item(collection=shelf, key=key, by=alice.user, position=position)

    at_once(*[move(key, 4 - place) for place, key in enumerate(keys)])
    assert sorted(shelf.items.values_list("position", flat=True)) == [0, 1, 2, 3, 4]
    assert set(shelf.items.values_list("key", flat=True)) == set(keys)


def test_a_move_counts_among_what_the_mover_sees(alice, bob, organization):
    """Bob arranges the organization's shelf, on which Alice has put something of hers that he may not read."""
    ours = shelves.create_collection(owner=organization, by=alice.user, title="Charts")
    secret, first, second = (make_repo(alice, name, is_private=name == "secret") for name in ("secret", "a", "b"))
    for thing in (first, secret, second):
        shelves.add_item(collection=ours, by=alice.user, thing=thing)
    shelves.update_item(collection=ours, key=ours.items.get(repo=second).key, by=bob.user, position=0)
    assert [item.thing.name for item in ours.items.all()] == ["b", "a", "secret"]
    hidden = ours.items.get(repo=secret).key
    answer = Client().delete(f"/api/collections/{ours.slug}/items/{hidden}", HTTP_AUTHORIZATION=f"Bearer {bob.token}")
    assert answer.status_code == 404


@pytest.mark.covers("HfApi.update_collection_metadata")
def test_collections_of_an_owner_keep_their_order(client_of, alice):
    first, second, third = (make_shelf(alice, title) for title in ("One", "Two", "Three"))
    assert client_of(alice).update_collection_metadata(third.slug, position=2).position == 2
    order = Collection.objects.order_by("position").values_list("title", "position")
    assert list(order) == [("Two", 0), ("One", 1), ("Three", 2)]


def test_tokens_arrange_as_far_as_they_say(alice):
    from hub.accounts.tokens import create_token

    shelf = make_shelf(alice, is_private=True)
    for role, scopes, reads, writes in [
        ("read", {}, 200, 403),
        ("fineGrained", {"models/alice/poet": "write"}, 404, 404),
        ("fineGrained", {"namespace/alice": "read"}, 200, 403),
        ("fineGrained", {"namespace/alice": "write"}, 200, 200),
    ]:
        _, token = create_token(user=alice.user, name="t", role=role, scopes=scopes)
        header = {"HTTP_AUTHORIZATION": f"Bearer {token}"}
        address = f"/api/collections/{shelf.slug}"
        assert Client().get(address, **header).status_code == reads, scopes
        change = Client().patch(address, {"theme": "pink"}, content_type="application/json", **header)
        assert change.status_code == writes, scopes
