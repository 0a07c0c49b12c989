"""One case-folded namespace for people and organizations, which remembers former names."""

import pytest

from hub.common.errors import Conflict, InvalidInput, NotFound

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("name", ["a", "alice", "Alice-B.2", "_robot", "x_", "0rb", "a" * 96])
def test_letters_digits_and_inner_signs_make_a_name(name):
    from hub.accounts.names import check_name

    assert check_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "-alice",
        "alice-",
        ".alice",
        "alice.",
        "a" * 97,
        "a b",
        "a/b",
        "älice",
        "a--b",
        "a..b",
        "poems.git",
        "alice\n",
    ],
)
def test_what_would_break_an_address_or_a_client_is_no_name(name):
    from hub.accounts.names import check_name

    with pytest.raises(InvalidInput, match="cannot be used: 1 to 96 letters"):
        check_name(name)


@pytest.mark.parametrize("name", ["api", "Datasets", "SETTINGS", "moderation", "model-commons"])
def test_the_sites_own_names_are_nobodys(name):
    from hub.accounts.names import check_name
    from hub.accounts.people import create_user

    with pytest.raises(InvalidInput, match="used by the site itself"):
        create_user(username=name)
    assert check_name(name, reserved_ok=True) == name  # a repository may be called so


def test_the_first_part_of_every_address_of_the_site_is_reserved():
    """Otherwise a person of that name would have a profile that nobody can reach."""
    from django.urls import get_resolver

    from hub.accounts.names import RESERVED

    def first_parts(patterns, prefix=""):
        for entry in patterns:
            route = prefix + str(entry.pattern).lstrip("^")
            if hasattr(entry, "url_patterns") and "/" not in route.strip("/"):
                yield from first_parts(entry.url_patterns, route)
            else:
                yield route.split("/")[0].rstrip("$")

    fixed = {part for part in first_parts(get_resolver().url_patterns) if part and part.replace("-", "").isalpha()}
    assert {"api", "login", "settings"} <= fixed
    assert fixed - RESERVED == set()


@pytest.mark.parametrize("taken", ["alice", "ALICE", "tidewatch", "TideWatch"])
def test_a_name_is_taken_in_every_case_by_people_and_organizations_alike(alice, organization, taken):
    from hub.accounts.organizations import create_organization
    from hub.accounts.people import create_user

    with pytest.raises(Conflict, match="is taken; choose another"):
        create_user(username=taken)
    with pytest.raises(Conflict, match="is taken; choose another"):
        create_organization(name=taken)


def test_an_underscore_is_a_letter_and_stands_for_no_other(alice):
    from hub.accounts.people import create_user

    create_user(username="tide_watcher")
    assert create_user(username="tidexwatcher").username == "tidexwatcher"


@pytest.mark.parametrize("name", ["alice", "Alice", "ALICE"])
def test_an_owner_is_found_in_any_case(alice, name):
    from hub.accounts.names import find_owner

    assert find_owner(name) == alice.user


def test_a_former_name_leads_to_its_owner_and_stays_taken(alice, organization):
    from hub.accounts.models import Namespace
    from hub.accounts.names import find_owner
    from hub.accounts.people import create_user

    Namespace.objects.create(name="Alicia", user=alice.user, is_current=False)
    Namespace.objects.create(name="harbour", organization=organization, is_current=False)
    assert (find_owner("alicia"), find_owner("HARBOUR")) == (alice.user, organization)
    with pytest.raises(Conflict, match="is taken"):
        create_user(username="alicia")


def test_an_unknown_name_is_said_to_be_missing():
    from hub.accounts.names import find_owner

    with pytest.raises(NotFound, match="no person or organization named 'nobody-here'"):
        find_owner("nobody-here")


def test_the_database_itself_holds_each_name_once_and_for_one_owner(alice, organization):
    from django.db import IntegrityError, transaction

    from hub.accounts.models import Namespace

    for row in (
        {"name": "ALICE", "user": alice.user},
        {"name": "both", "user": alice.user, "organization": organization},
        {"name": "neither"},
    ):
        with pytest.raises(IntegrityError), transaction.atomic():
            Namespace.objects.create(**row)
