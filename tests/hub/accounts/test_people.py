"""Accounts, organizations, and the tokens that prove who somebody is."""

import hashlib
from datetime import timedelta

import pytest
from django.utils import timezone

from hub.common.errors import Conflict, InvalidInput

pytestmark = pytest.mark.django_db


def test_a_person_signs_in_with_the_password_they_chose(alice):
    from django.contrib.auth import authenticate

    assert authenticate(username="alice", password="alice-tides-2026") == alice.user
    assert authenticate(username="ALICE", password="alice-tides-2026") == alice.user
    assert authenticate(username="alice", password="wrong") is None


@pytest.mark.parametrize(
    ("password", "reason"),
    [("short", "too short"), ("password1234", "too common"), ("harbourmaster", "too similar to the username")],
)
def test_a_weak_password_is_refused_with_its_reason_and_no_account_is_left(password, reason):
    from hub.accounts.models import Namespace, User
    from hub.accounts.people import create_user

    with pytest.raises(InvalidInput, match=reason):
        create_user(username="harbourmaster", password=password)
    assert not User.objects.exists() and not Namespace.objects.exists()


def test_without_a_password_nobody_signs_in():
    from hub.accounts.people import create_user

    assert not create_user(username="robot").has_usable_password()


def test_the_hubs_own_account_is_one_and_nobody_signs_in_with_it(alice):
    from django.contrib.auth import authenticate

    from hub.accounts.people import count_active_people, hub_account

    account = hub_account()
    assert (account, account.is_system) == (hub_account(), True)
    assert authenticate(username=account.username, password="!") is None
    assert count_active_people() == 1  # alice


def test_people_who_left_do_not_count_as_people_who_could_approve(alice, bob):
    from hub.accounts.people import count_active_people

    bob.user.is_active = False
    bob.user.save()
    assert count_active_people() == 1


def test_who_makes_an_organization_is_its_admin(alice, organization):
    assert organization.memberships.get(user=alice.user).role == "admin"


def test_a_role_is_given_changed_and_taken_away(alice, bob, charlie, organization):
    from hub.accounts.organizations import remove_member, set_member

    set_member(organization=organization, user=charlie.user, role="read")
    set_member(organization=organization, user=charlie.user, role="write")
    assert organization.memberships.get(user=charlie.user).role == "write"
    remove_member(organization=organization, user=charlie.user)
    assert not organization.memberships.filter(user=charlie.user).exists()


def test_the_last_admin_stays_until_there_is_another(alice, bob, organization):
    from hub.accounts.organizations import remove_member, set_member

    with pytest.raises(InvalidInput, match="last admin of tidewatch; make somebody else admin first"):
        set_member(organization=organization, user=alice.user, role="write")
    with pytest.raises(InvalidInput, match="last admin of tidewatch and cannot leave"):
        remove_member(organization=organization, user=alice.user)
    set_member(organization=organization, user=bob.user, role="admin")
    remove_member(organization=organization, user=alice.user)
    assert [row.user for row in organization.memberships.all()] == [bob.user]


def test_an_unknown_role_is_refused_with_the_known_ones(bob, organization):
    from hub.accounts.organizations import set_member

    with pytest.raises(InvalidInput, match="use one of read, write, admin"):
        set_member(organization=organization, user=bob.user, role="boss")


def test_a_token_finds_its_person_and_is_kept_as_a_hash_only(alice):
    from hub.accounts.models import AccessToken
    from hub.accounts.tokens import create_token, find_token

    row, token = create_token(user=alice.user, name=" laptop ", role="read")
    assert token.startswith("hf_") and len(token) > 36
    assert find_token(token) == row and row.user == alice.user and row.name == "laptop"
    stored = AccessToken.objects.filter(pk=row.pk).values().get()
    assert stored["digest"] == hashlib.sha256(token.encode()).hexdigest()
    assert token not in str(stored) and stored["hint"] == f"hf_{token[3]}…{token[-3:]}"


def test_a_given_token_is_imported_as_it_is_and_twice_is_once(alice, bob):
    from hub.accounts.tokens import create_token, find_token

    row, token = create_token(user=alice.user, name="old hub", role="write", token="my-old-token")
    assert token == "my-old-token" and find_token("my-old-token") == row
    assert create_token(user=alice.user, name="again", token="my-old-token")[0] == row
    with pytest.raises(Conflict, match="belongs to another account"):
        create_token(user=bob.user, name="stolen", token="my-old-token")


@pytest.mark.parametrize("why", ["unknown", "expired", "left"])
def test_a_dead_token_finds_nobody(alice, why):
    from hub.accounts.tokens import create_token, find_token

    now = timezone.now()
    _, token = create_token(user=alice.user, name="laptop", expires_at=now + timedelta(days=1))
    assert find_token(token, now=now) is not None
    if why == "left":
        alice.user.is_active = False
        alice.user.save()
    moment = now + timedelta(days=1) if why == "expired" else now
    assert find_token(token + "x" if why == "unknown" else token, now=moment) is None


def test_the_last_use_is_written_down_every_ten_minutes_and_not_at_each_request(alice, django_assert_num_queries):
    from hub.accounts.models import AccessToken
    from hub.accounts.tokens import create_token, find_token

    row, token = create_token(user=alice.user, name="laptop")
    noon = timezone.now()
    with django_assert_num_queries(2):  # find, write
        find_token(token, now=noon)
    with django_assert_num_queries(1):
        find_token(token, now=noon + timedelta(minutes=9))
    with django_assert_num_queries(2):
        find_token(token, now=noon + timedelta(minutes=11))
    assert AccessToken.objects.get(pk=row.pk).last_used_at == noon + timedelta(minutes=11)


@pytest.mark.parametrize(
    ("given", "words"), [({"role": "boss"}, "does not exist; use read"), ({"name": "  "}, "a name")]
)
def test_a_token_has_a_known_role_and_a_name(alice, given, words):
    from hub.accounts.tokens import create_token

    with pytest.raises(InvalidInput, match=words):
        create_token(user=alice.user, **({"name": "laptop"} | given))
