"""A deleted repository looks missing everywhere, and comes back as it was. What each address answers for one stands in
tests/hub/api/test_permission_matrix.py."""

from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)


def delete(repo: Any, by: Any) -> Any:
    from hub.repos.lifecycle import delete_repo

    delete_repo(repo=repo, by=by.user)
    return repo


def collect(**more: Any) -> Any:
    from hub.repos.garbage import collect

    return collect(**more)


def test_nobody_meets_it_on_any_list(tides, alice, browser_of):
    from hub.community.collections import add_item, create_collection
    from hub.community.discussions import create_discussion
    from hub.community.likes import set_like
    from hub.repos.lifecycle import move_repo

    move_repo(repo=tides, to="alice/high-water", by=alice.user)
    create_discussion(repo=tides, by=alice.user, title="Neap at high-water", text="Words")
    set_like(repo=tides, by=alice.user, likes=True)
    shelf = create_collection(owner=alice.user, by=alice.user, title="Seas")
    add_item(collection=shelf, by=alice.user, thing=tides)
    browser = browser_of(alice)
    lists = [
        "/", "/datasets", "/search?q=high-water", "/alice?tab=dataset", "/alice", f"/collections/{shelf.slug}",
        "/api/datasets?author=alice", "/api/users/alice/likes", "/api/v1/repos", "/api/settings/repositories",
        "/api/quicksearch?q=high-water",
    ]  # fmt: skip
    shown = [path for path in lists if b"high-water" in browser.get(path).content]
    assert len(shown) >= 7, shown
    delete(tides, alice)
    assert [path for path in lists if b"/high-water" in browser.get(path).content] == []
    for name in ("tides", "high-water"):  # the former name leads nowhere
        assert browser.get(f"/datasets/alice/{name}").status_code == 404
        assert browser.get(f"/api/datasets/alice/{name}").status_code == 404


def test_it_comes_back_as_it_was_with_one_click(tides, alice, bob, charlie, browser_of):
    from hub.community.discussions import create_discussion
    from hub.repos.models import Repo

    create_discussion(repo=tides, by=charlie.user, title="Neap tides", text="Words")
    before = Repo.objects.get(pk=tides.pk)
    browser = browser_of(alice)
    answer = browser.post(f"{tides.path}/settings/delete", {"typed_name": "alice/tides"}, follow=True)
    page = answer.content.decode()
    assert "alice/tides" in page and "Bring back" in page and f"gone on {timezone.now() + 30 * DAY:%Y-%m-%d}" in page
    row = Repo.everything.get(pk=tides.pk)
    for person in (bob, charlie):  # he may write, she is a stranger: neither may end it, so neither brings it back
        assert b"Bring back" not in browser_of(person).get("/settings/deleted").content
        assert browser_of(person).post(f"/settings/deleted/{row.key}/restore").status_code == 404
    back = browser.post(f"/settings/deleted/{row.key}/restore")
    assert back["Location"] == "/datasets/alice/tides"
    after = Repo.objects.get(pk=tides.pk)
    assert (after.head, after.public_head, after.next_number) == (before.head, before.public_head, before.next_number)
    page = browser_of(charlie).get("/datasets/alice/tides/discussions").content.decode()
    assert "Neap tides" in page
    assert browser_of(charlie).get("/datasets/alice/tides/resolve/main/data/tides.csv").status_code == 200
    assert browser_of(bob).get("/datasets/alice/tides/upload").status_code == 200  # his role is there, too
    assert browser.post(f"/settings/deleted/{row.key}/restore").status_code == 404


def test_a_name_that_is_taken_by_now_asks_for_another(tides, alice, browser_of):
    from hub.repos.lifecycle import create_repo
    from hub.repos.models import Repo

    key = delete(tides, alice).key
    create_repo(type="dataset", name="Tides", by=alice.user)
    browser = browser_of(alice)
    asked = browser.post(f"/settings/deleted/{key}/restore", follow=True).content.decode()
    assert "alice/tides is there by now" in asked and 'name="name"' in asked
    assert "--" in browser.post(f"/settings/deleted/{key}/restore", {"name": "a--b"}, follow=True).content.decode()
    back = browser.post(f"/settings/deleted/{key}/restore", {"name": "old-tides"})
    assert back["Location"] == "/datasets/alice/old-tides" and Repo.objects.count() == 2


def test_after_the_grace_it_is_gone_for_good(tides, alice, browser_of):
    from hub.repos.models import Repo
    from hub.repos.places import pair

    delete(tides, alice)
    folder, now = pair(tides).folder, timezone.now()
    assert collect(now=now + 29 * DAY).ended == 0 and folder.exists()
    assert collect(now=now + 31 * DAY, dry_run=True).ended == 1 and Repo.everything.filter(pk=tides.pk).exists()
    assert collect(now=now + 31 * DAY).ended == 1
    assert not folder.exists() and not Repo.everything.exists()
    assert browser_of(alice).post(f"/settings/deleted/{tides.key}/restore").status_code == 404


def test_its_admin_removes_it_for_good_before_that(tides, alice, browser_of):
    from hub.repos.models import Repo
    from moderation.models import AuditEntry

    browser, path = browser_of(alice), f"/settings/deleted/{delete(tides, alice).key}/remove"
    assert b"Nothing was removed" in browser.post(path, {"typed_name": "tides"}, follow=True).content
    browser.post(path, {"typed_name": "alice/tides"})
    assert not Repo.everything.exists()
    actions = AuditEntry.objects.filter(action__startswith="repo.").order_by("number").values_list("action", flat=True)
    assert list(actions) == ["repo.deleted", "repo.removed"]


def test_its_bytes_count_until_they_are_given_back(alice, cleared_at_once):
    """Not until it is removed: whoever fills and removes repositories by turns would fill the disk."""
    from datetime import timedelta

    from django.utils import timezone

    from hub.repos.blobs import record_upload, store
    from hub.repos.deleted import remove_repo
    from hub.repos.garbage import collect
    from hub.repos.lifecycle import create_repo
    from hub.repos.quotas import usage_of

    repo = create_repo(type="dataset", name="big", by=alice.user)
    record_upload(repo=repo, by=alice.user, stored=store().add([b"\0" * 5000]))
    delete(repo, alice)
    assert usage_of(alice.user) == 5000
    remove_repo(repo=repo, by=alice.user)
    for days, left in ((0, 5000), (29, 5000), (31, 0)):
        collect(now=timezone.now() + timedelta(days=days))
        assert usage_of(alice.user) == left


def test_programs_and_operators_bring_it_back(tides, alice, bob, charlie, organization):
    from django.test import Client

    from hub.repos.lifecycle import create_repo
    from hub.repos.models import Repo

    def call(method: str, path: str, person: Any, **data: Any) -> Any:
        headers = {"HTTP_AUTHORIZATION": f"Bearer {person.token}"}
        return getattr(Client(), method)(f"/api/v1/deleted-repos{path}", data or None, "application/json", **headers)

    ours = create_repo(type="model", name="ours", by=alice.user, owner=organization)
    delete(ours, alice), delete(tides, alice)
    told = call("get", "", alice).json()
    assert [(row["name"], row["deleted_by"]) for row in told] == [("alice/tides", "alice"), ("tidewatch/ours", "alice")]
    assert call("get", "", bob).json() == [] and Client().get("/api/v1/deleted-repos").status_code == 401
    for person in (bob, charlie):
        assert call("post", f"/{ours.key}/restore", person).status_code == 404
        assert call("delete", f"/{ours.key}", person).status_code == 404
    assert call("post", f"/{ours.key}/restore", alice, name="again").json()["name"] == "tidewatch/again"
    out = StringIO()
    call_command("deleted_repositories", "list", stdout=out)
    assert f"{tides.key}  dataset alice/tides, gone on" in out.getvalue()
    call_command("deleted_repositories", "restore", tides.key, stdout=out)
    assert "alice/tides is back." in out.getvalue()
    call_command("deleted_repositories", "list", stdout=out)
    assert out.getvalue().endswith("No deleted repository waits here for its end.\n")
    with pytest.raises(CommandError, match="No deleted repository"):
        call_command("deleted_repositories", "restore", tides.key)
    delete(Repo.objects.get(pk=tides.pk), alice)
    assert call("delete", f"/{tides.key}", alice).status_code == 204
    assert not Repo.everything.filter(pk=tides.pk).exists()


def test_the_list_costs_the_same_however_long_it_is(alice, organization, browser_of, cleared_at_once):
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    from hub.repos.lifecycle import create_repo

    def count_queries() -> int:
        with CaptureQueriesContext(connection) as asked:
            assert browser_of(alice).get("/settings/deleted").status_code == 200
        return len(asked)

    delete(create_repo(type="model", name="m0", by=alice.user, owner=organization), alice)
    count_queries()
    first = count_queries()
    for number in range(1, 4):
        delete(create_repo(type="model", name=f"m{number}", by=alice.user, owner=organization), alice)
    assert count_queries() == first
