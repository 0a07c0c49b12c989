"""A foreign page can make a browser send its cookie; it cannot make it send our form token."""

import pytest

pytestmark = pytest.mark.django_db


def test_a_form_without_its_token_changes_nothing(tides, browser_of, alice):
    browser = browser_of(alice, enforce_csrf_checks=True)
    answer = browser.post(f"{tides.path}/settings/delete", {"typed_name": "alice/tides"})
    assert answer.status_code == 403
    assert "too old" in answer.content.decode()
    tides.refresh_from_db()


def test_a_form_with_its_token_is_taken(tides, browser_of, alice):
    browser = browser_of(alice, enforce_csrf_checks=True)
    browser.get(f"{tides.path}/settings")
    token = browser.cookies["model_commons_csrf"].value
    answer = browser.post(f"{tides.path}/like", {"csrfmiddlewaretoken": token})
    assert answer.status_code == 302
    assert tides.liked_by.count() == 1


def test_a_piece_of_an_upload_needs_the_token_too(tides, browser_of, alice):
    browser = browser_of(alice, enforce_csrf_checks=True)
    address = f"{tides.path}/upload/parts/1?path=a.bin&size=3&modified=1"
    assert browser.put(address, b"abc").status_code == 403


@pytest.mark.parametrize(
    ("path", "is_exempt"),
    [
        ("/api/repos/create", True),
        ("/alice/poems.git/git-receive-pack", True),
        ("/datasets/alice/poems.git/info/lfs/objects/batch", True),
        ("/xet/v1/xorbs/x", True),
        ("/lfs/abc", True),
        ("/datasets/alice/tides/settings", False),
        ("/alice/api/settings", False),
        ("/alice/poems/blob/main/x.git/a", False),
        ("/oauth/device/approve", False),
        ("/login", False),
    ],
)
def test_only_doors_of_programs_are_exempt(path, is_exempt):
    from hub.web.middleware import PROGRAM_DOORS

    assert bool(PROGRAM_DOORS.match(path)) == is_exempt


def test_a_token_in_the_header_needs_no_form_token_but_opens_no_account_pages(tides, alice, browser_of):
    from hub.accounts.tokens import create_token

    _, token = create_token(user=alice.user, name="script", role="write")
    program = browser_of(None, enforce_csrf_checks=True)
    header = {"HTTP_AUTHORIZATION": f"Bearer {token}"}
    assert program.post(f"{tides.path}/like", **header).status_code == 302
    made = program.post("/settings/tokens", {"name": "more", "role": "write", "days": ""}, **header)
    assert made.status_code == 403
    assert alice.user.tokens.filter(name="more").count() == 0


def test_signing_in_leads_only_to_addresses_of_this_site(alice, browser_of):
    for address, expected in [("/datasets", "/datasets"), ("//evil.example", "/"), ("https://evil.example/", "/")]:
        answer = browser_of(None).post("/login", {"username": "alice", "password": "alice-tides-2026", "next": address})
        assert answer.headers["Location"] == expected
