"""The page that purges: findings and paths, a rehearsal, the typed name, and what was done."""

from typing import Any

import pytest

from tests.hub.scenes import add, make_repo, members_head, propose, public_texts, withhold

pytestmark = pytest.mark.django_db
SECRET = "the buoy opens with: mermaid\n"


@pytest.fixture
def leaked(tides: Any, alice: Any) -> Any:
    add(tides, alice.user, {"conf/key.env": SECRET, "d.txt": "d\n"})
    propose(tides, alice.user, {"c.txt": "c\n"})
    withhold(tides, "conf/key.env", reason="A password stands in conf/key.env.")
    return tides


def test_a_finding_is_rehearsed_and_purged(leaked: Any, alice: Any, browser_of: Any):
    browser, address = browser_of(alice), f"{leaked.path}/settings/purge"
    assert address in browser.get(f"{leaked.path}/settings").content.decode()
    page = browser.get(address).content.decode()
    (content,) = leaked.contents.filter(path="conf/key.env")
    assert "A password stands in conf/key.env." in page and f"digest={content.digest.replace(':', '%3A')}" in page
    told = browser.get(address, {"digest": content.digest}).content.decode()
    assert "What would happen" in told and "<code>main</code>" in told and f"{leaked.path}/discussions/1" in told
    head = members_head(leaked)
    given = {"path": "", "digest": content.digest}
    wrong = browser.post(address, {**given, "typed_name": "tides"})
    assert wrong.status_code == 400 and "Nothing was purged" in wrong.content.decode() and members_head(leaked) == head
    done = browser.post(address, {**given, "typed_name": "alice/tides"}, follow=True)
    text = done.content.decode()
    assert done.redirect_chain[0][0] == f"{address}/{leaked.purges.get().key}"
    assert "The history is purged" in text and "revoke it" in text and head[:7] in text
    assert members_head(leaked) != head and SECRET.encode() not in public_texts(leaked)
    for asked in (f"commit/{head[:7]}", f"tree/{head[:7]}/conf"):
        gone = browser.get(f"{leaked.path}/{asked}")
        assert gone.status_code == 404 and f"it is {members_head(leaked)} now" in gone.content.decode()
    assert "Earlier" in browser.get(address).content.decode()


def test_a_path_is_rehearsed_and_what_is_not_there_is_said(leaked: Any, alice: Any, browser_of: Any):
    browser, address = browser_of(alice), f"{leaked.path}/settings/purge"
    assert "d.txt" in browser.get(address, {"path": "d.txt"}).content.decode()
    for path, status in (("nowhere.txt", 404), ("../x", 400), ("a\0b", 404)):
        refused = browser.get(address, {"path": path})
        assert refused.status_code == status and 'role="alert"' in refused.content.decode()
    assert not leaked.purges.exists()


def test_only_admins_see_it(leaked: Any, bob: Any, charlie: Any, browser_of: Any):
    for person in (bob, charlie):  # Bob may write
        browser = browser_of(person)
        assert browser.get(f"{leaked.path}/settings/purge").status_code == 403
        refused = browser.post(f"{leaked.path}/settings/purge", {"path": "d.txt", "typed_name": "alice/tides"})
        assert refused.status_code == 403
    assert not leaked.purges.exists()


def test_a_rehearsal_stands_alone_and_names_copies_that_the_same_person_administers(
    leaked: Any, alice: Any, bob: Any, browser_of: Any
):
    """The forms that choose stood below the confirmation, and a blue button outshone "Purge for good"."""
    address = f"{leaked.path}/settings/purge"
    for person, name in ((alice, "twin"), (bob, "copy")):
        add(make_repo(person.user, name), person.user, {"key.txt": SECRET})
    told = browser_of(alice).get(address, {"path": "conf/key.env"}).content.decode()
    assert "Choose another file" in told and "A file by its path" not in told and "Withheld here" not in told
    assert "/datasets/alice/twin/settings/purge" in told and "bob/copy" not in told
    assert "No: only its members could read it" in told and "Yes: everybody" not in told
    public = browser_of(alice).get(address, {"path": "data/tides.csv"}).content.decode()
    assert "Yes: everybody who may see this repository could read it." in public
