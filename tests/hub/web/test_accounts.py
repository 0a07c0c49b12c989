"""Accounts, tokens, organizations, repositories and their settings, as people use them."""

import re

import pytest

pytestmark = pytest.mark.django_db
PASSWORD = "a-long-walk-1987"


def test_somebody_signs_up_and_is_signed_in(browser_of, db):
    browser = browser_of(None)
    answer = browser.post("/signup", {"username": "dora", "email": "", "password": PASSWORD, "next": "/datasets"})
    assert answer.headers["Location"] == "/datasets"
    assert "Your desk" in browser.get("/").content.decode()
    browser.post("/logout")
    assert "Sign up" in browser.get("/").content.decode()
    answer = browser.post("/login", {"username": "Dora", "password": PASSWORD})  # any case
    assert answer.status_code == 302


def test_settings_begin_with_the_profile(alice, browser_of):
    assert browser_of(alice).get("/settings").headers["Location"] == "/settings/profile"


@pytest.mark.parametrize(
    ("name", "password", "sentence"),
    [
        ("alice", PASSWORD, "is taken"),
        ("ALICE", PASSWORD, "is taken"),
        ("settings", PASSWORD, "used by the site"),
        ("a b", PASSWORD, "cannot be used"),
        ("dora", "password", "too common"),
        ("dora", "short", "too short"),
    ],
)
def test_a_name_or_password_that_does_not_work_is_told(alice, browser_of, name, password, sentence):
    answer = browser_of(None).post("/signup", {"username": name, "password": password})
    assert answer.status_code == 400
    assert sentence in answer.content.decode()


def test_a_wrong_password_is_told_without_saying_which_half_is_wrong(alice, browser_of):
    wrong = browser_of(None).post("/login", {"username": "alice", "password": "no"})
    unknown = browser_of(None).post("/login", {"username": "nobody", "password": "no"})
    assert wrong.status_code == unknown.status_code == 400
    assert "The name or the password is wrong" in wrong.content.decode()
    assert "The name or the password is wrong" in unknown.content.decode()


def test_a_token_is_shown_once_and_revoked(alice, browser_of):
    from hub.accounts.tokens import find_token

    browser = browser_of(alice)
    page = browser.post("/settings/tokens", {"name": "laptop", "role": "read", "days": "30"}).content.decode()
    token = re.search(r"hf_\w{30,}", page).group()
    row = find_token(token)
    assert (row.user, row.name, row.role) == (alice.user, "laptop", "read") and row.expires_at is not None
    assert token not in browser.get("/settings/tokens").content.decode()
    browser.post(f"/settings/tokens/{row.pk}/revoke")
    assert find_token(token) is None


def test_a_fine_grained_token_reaches_what_was_named(alice, tides, secret, browser_of):
    from hub.accounts.tokens import find_token

    browser, given = browser_of(alice), {"name": "ci", "role": "fineGrained", "days": "30"}
    names = {"reading": "Alice\n\n", "writing": " /datasets/alice/TIDES/ "}
    page = browser.post("/settings/tokens", {**given, **names}).content.decode()
    row = find_token(re.search(r"hf_\w{30,}", page).group())
    assert row.scopes == {"namespace/alice": "read", "datasets/alice/tides": "write"}
    assert "reads all of alice" in page and "reads and writes datasets/alice/tides" in page


@pytest.mark.parametrize(
    ("role", "reading", "sentence"),
    [
        ("fineGrained", "", "Name what a fine-grained token may read"),
        ("fineGrained", "alice/tides", "names nothing; write a name"),
        ("fineGrained", "models/alice/secret", "or it is private and you are no member"),
        ("fineGrained", "nobody-here", "no person or organization named"),
        ("fineGrained", "alice\n" * 21, "at most 20"),
        ("write", "alice", "Names are for a fine-grained token"),
    ],
)
def test_a_name_that_a_token_cannot_have_is_refused(charlie, secret, browser_of, role, reading, sentence):
    data = {"name": "ci", "role": role, "days": "", "reading": reading, "writing": ""}
    answer = browser_of(charlie).post("/settings/tokens", data)
    assert answer.status_code == 400 and sentence in answer.content.decode()
    assert not charlie.user.tokens.filter(name="ci").exists()


def test_nobody_revokes_the_token_of_another(alice, bob, browser_of):
    row = alice.user.tokens.get()
    assert browser_of(bob).post(f"/settings/tokens/{row.pk}/revoke").status_code == 404


def test_a_password_link_works_once(alice, browser_of):
    from hub.web.password_links import make_password_link

    link = make_password_link(alice.user)
    assert "alice" in browser_of(None).get(link).content.decode()
    weak = browser_of(None).post(link, {"password": "12345678"})
    assert weak.status_code == 400
    assert browser_of(None).post(link, {"password": PASSWORD}).status_code == 302
    alice.user.refresh_from_db()
    assert alice.user.check_password(PASSWORD)
    assert browser_of(None).get(link).status_code == 404
    assert browser_of(None).post(link, {"password": "another-one-22"}).status_code == 404
    assert browser_of(None).get("/login/link/xx/yy").status_code == 404


def test_changing_the_password_needs_the_present_one(alice, browser_of):
    browser = browser_of(alice)
    assert browser.post("/settings/password", {"current": "wrong", "new": PASSWORD}).status_code == 400
    other = browser_of(None)
    other.post("/login", {"username": "alice", "password": "alice-tides-2026"})
    browser.post("/settings/password", {"current": "alice-tides-2026", "new": PASSWORD})
    alice.user.refresh_from_db()
    assert alice.user.check_password(PASSWORD)
    assert browser.get("/settings/profile").status_code == 200  # this browser stays signed in
    assert other.get("/settings/profile").status_code == 302  # every other one does not


def test_a_program_is_approved_only_by_pressing_the_button(alice, browser_of):
    from hub.accounts.device_grants import start_grant

    _, grant = start_grant()
    browser = browser_of(alice)
    page = browser.get(f"/oauth/device/approve?user_code={grant.user_code.lower()}").content.decode()
    assert grant.user_code in page
    grant.refresh_from_db()
    assert grant.user is None
    browser.post("/oauth/device/approve", {"user_code": grant.user_code, "act": "approve"})
    grant.refresh_from_db()
    assert grant.user == alice.user
    _, other = start_grant()
    browser.post("/oauth/device/approve", {"user_code": other.user_code, "act": "deny"})
    other.refresh_from_db()
    assert other.denied and other.user is None
    assert browser.get("/oauth/device/approve?user_code=ABCD-EFGH").status_code == 400


def test_an_organization_is_made_and_led_by_its_admins(alice, bob, charlie, browser_of):
    browser = browser_of(alice)
    answer = browser.post("/new/organization", {"name": "harbour", "fullname": "Harbour Masters"})
    assert answer.headers["Location"] == "/settings/organizations/harbour"
    members = "/settings/organizations/harbour/members"
    browser.post(members, {"username": "bob", "role": "write"})
    assert browser_of(bob).get("/settings/organizations/harbour").status_code == 403
    assert browser_of(charlie).post(members, {"username": "charlie", "role": "admin"}).status_code == 403
    page = browser.post(members, {"username": "alice", "role": "none"}, follow=True).content.decode()
    assert "is the last admin of harbour and cannot leave" in page
    assert "bob" in browser_of(None).get("/harbour?tab=members").content.decode()
    answer = browser_of(bob).post(
        "/new/dataset", {"owner": "harbour", "name": "logs", "description": "", "visibility": "public"}
    )
    assert answer.headers["Location"] == "/datasets/harbour/logs/upload"


def test_nobody_makes_a_repository_in_the_name_of_another(alice, charlie, browser_of):
    from hub.repos.models import Repo

    data = {"owner": "alice", "name": "mine", "description": "", "visibility": "public"}
    assert browser_of(charlie).post("/new/model", data).status_code == 400
    assert not Repo.objects.filter(name="mine").exists()


def test_a_taken_repository_name_is_told_at_the_field(tides, alice, browser_of):
    data = {"owner": "alice", "name": "Tides", "description": "", "visibility": "public"}
    answer = browser_of(alice).post("/new/dataset", data)
    assert answer.status_code == 400 and "already" in answer.content.decode()


def test_a_repository_is_renamed_hidden_shared_and_deleted(tides, alice, charlie, browser_of):
    from hub.repos.models import Repo

    browser = browser_of(alice)
    answer = browser.post(f"{tides.path}/settings/rename", {"to": "tide-tables"})
    path = "/datasets/alice/tide-tables"
    assert answer.headers["Location"] == f"{path}/settings"
    browser.post(f"{path}/settings", {"description": "Now private", "visibility": "private"})
    assert browser_of(charlie).get(path).status_code == 404
    browser.post(f"{path}/settings/people", {"username": "charlie", "role": "read"})
    assert browser_of(charlie).get(path).status_code == 200
    browser.post(f"{path}/settings/people", {"username": "charlie", "role": "none"})
    assert browser_of(charlie).get(path).status_code == 404
    wrong = browser.post(f"{path}/settings/delete", {"typed_name": "tide-tables"}, follow=True)
    assert "Nothing was deleted" in wrong.content.decode()
    browser.post(f"{path}/settings/delete", {"typed_name": "alice/tide-tables"})
    assert not Repo.objects.filter(pk=tides.pk).exists()


def test_people_with_write_access_cannot_delete_or_share(tides, bob, browser_of):
    for suffix in ("delete", "rename", "people"):
        answer = browser_of(bob).post(f"{tides.path}/settings/{suffix}", {"typed_name": "alice/tides"})
        assert answer.status_code == 403


def test_a_like_is_given_and_taken_back(tides, charlie, browser_of):
    browser = browser_of(charlie)
    browser.post(f"{tides.path}/like")
    tides.refresh_from_db()
    assert tides.likes == 1 and "Liked" in browser.get(tides.path).content.decode()
    browser.post(f"{tides.path}/like")
    tides.refresh_from_db()
    assert tides.likes == 0
    assert browser_of(None).post(f"{tides.path}/like").status_code == 401


# --- guessing


def sign_in(browser, name, password="wrong", **more):
    return browser.post("/login", {"username": name, "password": password}, **more)


def test_guessing_a_password_ends_after_ten_failures(alice, bob, browser_of):
    """Whoever asked could go on for ever, as fast as the hub answers."""
    for number in range(10):
        assert sign_in(browser_of(None), "alice", REMOTE_ADDR=f"192.0.2.{number}").status_code == 400
    for name in ("alice", " ALICE", "\uff41lice"):
        refused = sign_in(browser_of(None), name, "alice-tides-2026", REMOTE_ADDR="192.0.2.99")
        assert refused.status_code == 429 and 890 < int(refused.headers["Retry-After"]) <= 900
        assert "wait 15 min, then try again" in refused.content.decode()
    assert sign_in(browser_of(None), "bob", "bob-tides-2026", REMOTE_ADDR="192.0.2.99").status_code == 302


def test_an_address_that_tries_many_accounts_waits_too(alice, browser_of):
    for number in range(10):
        sign_in(browser_of(None), f"person-{number}", REMOTE_ADDR=f"2001:db8::{number}")
    refused = sign_in(browser_of(None), "alice", "alice-tides-2026", REMOTE_ADDR="2001:db8::99")
    assert refused.status_code == 429
    assert sign_in(browser_of(None), "alice", "alice-tides-2026", REMOTE_ADDR="2001:db9::1").status_code == 302


def test_a_proxy_on_this_machine_is_believed_and_nobody_else(alice, browser_of):
    for _ in range(10):
        sign_in(browser_of(None), "nobody", HTTP_X_FORWARDED_FOR="203.0.113.7, 192.0.2.1")
    for headers, status in (
        ({"HTTP_X_FORWARDED_FOR": "192.0.2.1"}, 429),
        ({"HTTP_X_FORWARDED_FOR": "203.0.113.7"}, 302),
        ({"HTTP_X_FORWARDED_FOR": "203.0.113.7", "REMOTE_ADDR": "192.0.2.1"}, 429),
    ):
        assert sign_in(browser_of(None), "alice", "alice-tides-2026", **headers).status_code == status, headers


def test_who_knows_the_password_signs_in_as_often_as_they_like(alice, browser_of):
    for _ in range(3):
        for number in range(5):
            sign_in(browser_of(None), "alice", REMOTE_ADDR=f"192.0.2.{number}")
        assert sign_in(browser_of(None), "alice", "alice-tides-2026").status_code == 302
    for _ in range(20):
        assert sign_in(browser_of(None), "alice", "alice-tides-2026").status_code == 302


def test_after_a_quarter_of_an_hour_one_may_try_again(alice, browser_of):
    from datetime import timedelta

    from hub.accounts.models import FailedAttempt

    for _ in range(10):
        sign_in(browser_of(None), "alice")
    for row in FailedAttempt.objects.all():
        FailedAttempt.objects.filter(pk=row.pk).update(at=row.at - timedelta(minutes=15))
    assert sign_in(browser_of(None), "alice").status_code == 400
    assert FailedAttempt.objects.count() == 2  # of the address and of the account; old ones are not kept
    assert sign_in(browser_of(None), "alice", "alice-tides-2026").status_code == 302


def test_codes_of_programs_are_not_to_be_guessed(alice, browser_of):
    from hub.accounts.device_grants import start_grant

    _, grant = start_grant()
    browser = browser_of(alice)
    for number in range(5):
        assert browser.get(f"/oauth/device/approve?user_code=ABCD-EFG{number}").status_code == 400
        browser.post("/oauth/device/approve", {"user_code": f"ABCD-EFG{number}", "act": "approve"}, follow=True)
    refused = browser.post("/oauth/device/approve", {"user_code": grant.user_code, "act": "approve"})
    assert refused.status_code == 429 and "Retry-After" in refused.headers
    grant.refresh_from_db()
    assert grant.user is None


def test_names_are_not_to_be_found_out_by_signing_up(alice, browser_of):
    for _ in range(10):
        assert browser_of(None).post("/signup", {"username": "alice", "password": PASSWORD}).status_code == 400
    assert browser_of(None).post("/signup", {"username": "dora", "password": PASSWORD}).status_code == 429
