"""The page that copies a repository under a name of one's own."""

import pytest

from hub.repos.models import Repo

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_stranger_copies_what_is_public_and_owns_the_copy(tides, browser_of, charlie):
    browser = browser_of(charlie)
    assert f'href="{tides.path}/copy"' in browser.get(tides.path).content.decode()
    page = browser.get(f"{tides.path}/copy").content.decode()
    assert "Copy this dataset" in page and 'value="tides"' in page
    done = browser.post(f"{tides.path}/copy", {"owner": "charlie", "name": "my-tides", "visibility": "public"})
    assert done.headers["Location"] == "/datasets/charlie/my-tides"
    assert browser_of(None).get(f"{done.headers['Location']}/tree/main").status_code == 200


def test_a_taken_name_is_said_beside_its_field_and_nothing_is_made(tides, browser_of, alice):
    done = browser_of(alice).post(f"{tides.path}/copy", {"owner": "alice", "name": "tides", "visibility": "public"})
    assert done.status_code == 400 and "alice/tides" in done.content.decode()
    assert Repo.objects.filter(type="dataset").count() == 1


def test_a_private_one_is_missing_to_strangers_and_its_copy_is_private(secret, browser_of, alice, charlie):
    assert browser_of(charlie).get(f"{secret.path}/copy").status_code == 404
    assert browser_of(None).get(f"{secret.path}/copy").status_code in (302, 404)
    asked = {"owner": "alice", "name": "open", "visibility": "public"}
    assert browser_of(alice).post(f"{secret.path}/copy", asked).status_code == 400
    assert not Repo.objects.filter(name="open").exists()


def test_nobody_copies_into_a_name_that_is_not_theirs(tides, browser_of, charlie):
    asked = {"owner": "alice", "name": "taken", "visibility": "public"}
    assert browser_of(charlie).post(f"{tides.path}/copy", asked).status_code == 400
    assert not Repo.objects.filter(name="taken").exists()


def test_who_is_not_signed_in_is_asked_to(tides, browser_of):
    answer = browser_of(None).get(f"{tides.path}/copy")
    assert answer.status_code == 302 and answer.headers["Location"].startswith("/login")
