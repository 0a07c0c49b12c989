"""Who sees which page: owner, member, stranger, nobody. A private repository looks like a missing one."""

import pytest

pytestmark = pytest.mark.django_db

PUBLIC_PAGES = [
    "", "/tree/main", "/tree/main/data", "/blob/main/README.md", "/blob/main/data/tides.csv", "/commits/main",
    "/commits/main/README.md", "/discussions", "/discussions?kind=proposals", "/names/main", "/leaderboard",
]  # fmt: skip
PAGES_OF_PEOPLE = ["/upload", "/edit/main/README.md", "/new/main", "/delete/main/README.md", "/discussions/new"]
SITE_PAGES = ["/", "/models", "/datasets", "/spaces", "/collections", "/search?q=tides", "/login", "/signup", "/alice"]
OWN_PAGES = [
    "/", "/settings/profile", "/settings/password", "/settings/tokens", "/settings/webhooks", "/notifications", "/new",
    "/new/model", "/new/dataset", "/new/collection", "/new/organization", "/new/import", "/new/proposal", "/oauth/device/approve",
]  # fmt: skip


@pytest.mark.parametrize("suffix", PUBLIC_PAGES)
def test_everybody_reads_the_pages_of_a_public_repository(tides, browser_of, alice, bob, charlie, suffix):
    for person in (alice, bob, charlie, None):
        assert browser_of(person).get(tides.path + suffix).status_code == 200


@pytest.mark.parametrize(
    "suffix", PUBLIC_PAGES[:5] + PAGES_OF_PEOPLE + ["/settings", "/like", "/collect", "/commit/" + "0" * 40]
)
def test_a_private_repository_is_missing_for_strangers(secret, browser_of, charlie, suffix):
    for person in (charlie, None):
        answer = browser_of(person).get(secret.path + suffix)
        assert answer.status_code in (404, 405)
        assert b"in the making" not in answer.content
    gone = browser_of(charlie).get("/alice/secret")
    missing = browser_of(charlie).get("/alice/nothing-here")
    assert (gone.status_code, missing.status_code) == (404, 404)
    assert gone.content.decode().count("alice/secret") == missing.content.decode().count("alice/nothing-here")


def test_members_read_a_private_repository(secret, browser_of, alice, bob):
    for person in (alice, bob):
        page = browser_of(person).get(secret.path)
        assert page.status_code == 200
        assert "A model in the making" in page.content.decode()


def test_a_private_repository_is_in_no_list_of_strangers(secret, browser_of, charlie, alice):
    for address in ("/models", "/search?q=secret", "/alice", "/"):
        assert "alice/secret" not in browser_of(charlie).get(address).content.decode()
        assert "alice/secret" not in browser_of(None).get(address).content.decode()
    assert "alice/secret" in browser_of(alice).get("/models").content.decode()


@pytest.mark.parametrize("suffix", PAGES_OF_PEOPLE)
def test_who_is_not_signed_in_is_asked_to_and_comes_back(tides, browser_of, suffix):
    answer = browser_of(None).get(tides.path + suffix)
    assert answer.status_code == 302
    assert answer.headers["Location"].startswith("/login?next=/datasets/alice/tides")


@pytest.mark.parametrize("suffix", PAGES_OF_PEOPLE)
def test_a_stranger_may_propose_by_every_page_that_changes_files(tides, browser_of, charlie, suffix):
    assert browser_of(charlie).get(tides.path + suffix).status_code == 200


def test_settings_belong_to_admins(tides, browser_of, alice, bob, charlie):
    assert browser_of(alice).get(f"{tides.path}/settings").status_code == 200
    assert browser_of(bob).get(f"{tides.path}/settings").status_code == 403
    assert browser_of(charlie).get(f"{tides.path}/settings").status_code == 403


@pytest.mark.parametrize("address", SITE_PAGES)
def test_everybody_reads_the_pages_of_the_site(tides, browser_of, address):
    assert browser_of(None).get(address).status_code == 200


@pytest.mark.parametrize("address", OWN_PAGES)
def test_people_reach_their_own_pages(tides, browser_of, bob, address):
    assert browser_of(bob).get(address).status_code == 200


def test_pending_content_is_shown_to_members_with_its_reason_and_to_nobody_else(
    alice, charlie, browser_of, commit_as, db
):
    from hub.repos.clearance import set_clearance
    from hub.repos.lifecycle import create_repo
    from hub.repos.models import Content

    repo = create_repo(type="dataset", name="fresh", by=alice.user)
    commit_as(alice, repo, {"rows.txt": b"one row\n"})
    rows = Content.objects.filter(repo=repo, path="rows.txt")
    set_clearance(contents=rows, clearance="withheld", reason="Line 1 holds a telephone number.")
    page = browser_of(alice).get(f"{repo.path}/blob/main/rows.txt").content.decode()
    assert "Withheld" in page and "Line 1 holds a telephone number." in page
    assert browser_of(charlie).get(f"{repo.path}/blob/main/rows.txt").status_code == 404
    assert "rows.txt" not in browser_of(charlie).get(f"{repo.path}/tree/main").content.decode()
    set_clearance(contents=Content.objects.filter(repo=repo), clearance="pending")
    for suffix in ("", "/tree/main"):
        assert (
            "Nothing of this repository is public yet" in browser_of(charlie).get(repo.path + suffix).content.decode()
        )


def test_an_old_name_and_another_case_lead_to_the_repository(tides, browser_of, alice):
    from hub.repos.lifecycle import move_repo

    move_repo(repo=tides, to="alice/tide-tables", by=alice.user)
    answer = browser_of(None).get("/datasets/Alice/TIDES/tree/main?page=1")
    assert answer.status_code == 302
    assert answer.headers["Location"] == "/datasets/alice/tide-tables/tree/main?page=1"
