"""The rule book: who may do what with a repository, told as one table for each kind of repository."""

from types import SimpleNamespace

import pytest

from hub.common.errors import Forbidden, NotSignedIn, RepoNotFound

pytestmark = pytest.mark.django_db

ACTIONS = ("read", "read_members", "discuss", "propose", "like", "report", "write", "run", "review", "admin")
OPEN = {"read", "discuss", "propose", "like", "report"}
READ = OPEN | {"read_members"}
WRITE = READ | {"write", "run", "review"}
ADMIN = WRITE | {"admin"}
LOOK = {"read", "read_members"}
NOTHING: set[str] = set()

PUBLIC = {
    "nobody": {"read"},
    "stranger": OPEN,
    "reader": READ,
    "writer": WRITE,
    "admin": ADMIN,
    "owner": ADMIN,
    "moderator": READ,
    "operator": OPEN,
}
PRIVATE = {
    "nobody": NOTHING,
    "stranger": NOTHING,
    "reader": READ,
    "writer": WRITE,
    "admin": ADMIN,
    "owner": ADMIN,
    "moderator": READ,
    "operator": NOTHING,
}
# Switched off by moderation: its people see that it is there and why, and nobody changes it.
DISABLED = {
    "nobody": NOTHING,
    "stranger": NOTHING,
    "reader": LOOK,
    "writer": LOOK,
    "admin": LOOK,
    "owner": LOOK,
    "moderator": READ,
    "operator": NOTHING,
}
ROLES = tuple(PUBLIC)
# What a token lets through of what its owner may do.
READ_TOKEN = LOOK


@pytest.fixture
def people(alice):
    """Somebody in each role at alice/poems, and the repository without its files."""
    from django.contrib.auth.models import AnonymousUser

    from hub.repos.models import Repo, RepoCollaborator
    from tests.people import make_person

    repo = Repo.objects.create(type="model", name="poems", owner_user=alice.user)
    people = {"nobody": AnonymousUser(), "owner": alice.user}
    for name in ("stranger", "reader", "writer", "admin", "moderator", "operator"):
        flags = {"moderator": {"is_moderator": True}, "operator": {"is_staff": True}}.get(name, {})
        people[name] = make_person(f"{name}-1", **flags).user
    for name, role in (("reader", "read"), ("writer", "write"), ("admin", "admin")):
        RepoCollaborator.objects.create(repo=repo, user=people[name], role=role)
    return SimpleNamespace(repo=repo, **people)


def allowed(user, repo):
    from hub.accounts.permissions import can

    return {action for action in ACTIONS if can(user, action, repo)}


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    ("state", "table"), [("public", PUBLIC), ("private", PRIVATE), ("disabled", DISABLED), ("both", DISABLED)]
)
def test_each_role_may_do_exactly_what_the_table_says(people, role, state, table):
    people.repo.is_private = state in ("private", "both")
    people.repo.is_disabled = state in ("disabled", "both")
    assert allowed(getattr(people, role), people.repo) == table[role]


@pytest.mark.parametrize("role", [role for role in ROLES if role != "nobody"])
@pytest.mark.parametrize(("is_private", "table"), [(False, PUBLIC), (True, PRIVATE)])
def test_a_read_token_reads_what_its_owner_reads_and_does_nothing_else(people, role, is_private, table):
    from hub.accounts.tokens import create_token

    people.repo.is_private = is_private
    user = getattr(people, role)
    user.token, _ = create_token(user=user, name="laptop", role="read")
    assert allowed(user, people.repo) == table[role] & READ_TOKEN


@pytest.mark.parametrize("role", [role for role in ROLES if role != "nobody"])
def test_a_write_token_does_what_its_owner_may_do(people, role):
    from hub.accounts.tokens import create_token

    user = getattr(people, role)
    user.token, _ = create_token(user=user, name="laptop", role="write")
    assert allowed(user, people.repo) == PUBLIC[role]


@pytest.mark.parametrize(
    ("scopes", "on_public", "on_private"),
    [
        ({}, {"read"}, NOTHING),
        ({"models/alice/other": "write"}, {"read"}, NOTHING),
        ({"datasets/alice/poems": "write"}, {"read"}, NOTHING),  # the dataset of that name is another repository
        ({"models/alice/poems": "read"}, LOOK, LOOK),
        ({"models/alice/poems": "write"}, ADMIN, ADMIN),
        ({"namespace/alice": "read"}, LOOK, LOOK),
        ({"namespace/alice": "write"}, ADMIN, ADMIN),
    ],
)
def test_a_fine_grained_token_reaches_what_it_names_as_far_as_it_says(people, scopes, on_public, on_private):
    from hub.accounts.tokens import create_token

    people.owner.token, _ = create_token(user=people.owner, name="robot", role="fineGrained", scopes=scopes)
    assert allowed(people.owner, people.repo) == on_public
    people.repo.is_private = True
    assert allowed(people.owner, people.repo) == on_private


def test_a_fine_grained_token_gives_nobody_more_than_they_have(people):
    from hub.accounts.tokens import create_token

    scopes = {"models/alice/poems": "write"}
    people.stranger.token, _ = create_token(user=people.stranger, name="robot", role="fineGrained", scopes=scopes)
    assert allowed(people.stranger, people.repo) == OPEN


@pytest.mark.parametrize(("role", "table"), [("read", READ), ("write", WRITE), ("admin", ADMIN)])
def test_members_of_the_owning_organization_have_their_role_in_its_repositories(alice, bob, role, table):
    from hub.accounts.organizations import set_member
    from hub.repos.models import Repo
    from tests.people import make_organization

    organization = make_organization(admin=alice)
    set_member(organization=organization, user=bob.user, role=role)
    repo = Repo.objects.create(type="model", name="logs", owner_organization=organization, is_private=True)
    assert allowed(bob.user, repo) == table


def test_the_higher_of_two_roles_counts(alice, bob, organization):
    from hub.repos.models import Repo, RepoCollaborator

    repo = Repo.objects.create(type="model", name="logs", owner_organization=organization)
    RepoCollaborator.objects.create(repo=repo, user=bob.user, role="admin")  # who writes as a member
    assert allowed(bob.user, repo) == ADMIN
    repo.collaborators.update(role="read")
    assert allowed(bob.user, Repo.objects.get(pk=repo.pk)) == WRITE


@pytest.mark.parametrize(
    ("role", "actions"),
    [(None, set()), ("read", {"see"}), ("write", {"see", "create_repo"}), ("admin", {"see", "create_repo", "admin"})],
)
def test_an_organization_lets_writers_create_and_admins_decide(alice, charlie, role, actions):
    from hub.accounts.organizations import set_member
    from hub.accounts.permissions import can
    from tests.people import make_organization

    organization = make_organization(admin=alice)
    if role:
        set_member(organization=organization, user=charlie.user, role=role)
    assert {action for action in ("see", "create_repo", "admin") if can(charlie.user, action, organization)} == actions


def test_only_the_person_creates_in_their_own_namespace(alice, charlie):
    from hub.accounts.permissions import can

    assert can(alice.user, "create_repo", alice.user)
    assert not can(charlie.user, "create_repo", alice.user)


def test_moderating_and_operating_are_two_duties_of_people_and_of_no_others(people):
    from hub.accounts.permissions import can

    for action, chosen in (("moderate", "moderator"), ("operate", "operator")):
        assert [role for role in ROLES if can(getattr(people, role), action)] == [chosen]


def test_a_read_token_of_a_moderator_decides_nothing(people):
    from hub.accounts.permissions import can
    from hub.accounts.tokens import create_token

    people.moderator.token, _ = create_token(user=people.moderator, name="phone", role="read")
    assert not can(people.moderator, "moderate")


def test_what_may_not_be_read_looks_missing_whatever_was_asked(people):
    from hub.accounts.permissions import require

    people.repo.is_private = True
    for action in ACTIONS:
        for user in (people.nobody, people.stranger):
            with pytest.raises(RepoNotFound, match="no .* repository alice/poems here, or it is private"):
                require(user, action, people.repo)


def test_a_refusal_says_whether_to_sign_in_to_change_the_token_or_to_ask(people):
    from hub.accounts.permissions import require
    from hub.accounts.tokens import create_token

    assert require(people.owner, "write", people.repo) is None
    with pytest.raises(NotSignedIn, match="Sign in first"):
        require(people.nobody, "write", people.repo)
    with pytest.raises(
        Forbidden,
        match=r"^Only people with write access to alice/poems may do this; ask an admin of it for the right\.$",
    ):
        require(people.stranger, "write", people.repo)
    people.owner.token, _ = create_token(user=people.owner, name="laptop", role="read")
    with pytest.raises(Forbidden, match="The token 'laptop' may not do this; make one with the role 'write'"):
        require(people.owner, "write", people.repo)


@pytest.mark.parametrize("action", ACTIONS[1:])
def test_each_action_is_refused_in_words_of_its_own(people, action):
    from hub.accounts.permissions import NEEDED_ROLE, describe_refusal, require

    sentence = describe_refusal(action, people.repo)
    assert sentence.endswith(".") and "alice/poems" in sentence
    assert f"({action})" not in sentence and "pull request" not in sentence
    if action in NEEDED_ROLE:
        with pytest.raises(Forbidden, match="^Only .* (of|to) alice/poems"):
            require(people.stranger, action, people.repo)
        people.repo.is_disabled = True
        assert "Moderation has switched alice/poems off" in describe_refusal(action, people.repo)


def test_who_brings_content_is_told_that_they_may_propose(people):
    from hub.accounts.permissions import require_commit

    with pytest.raises(Forbidden, match="open a pull request"):
        require_commit(people.stranger, people.repo)
    assert require_commit(people.stranger, people.repo, is_proposal=True) is None
    assert require_commit(people.owner, people.repo) is None
    with pytest.raises(NotSignedIn):
        require_commit(people.nobody, people.repo)


def test_an_unknown_action_is_our_own_mistake_and_not_a_quiet_no(people):
    from hub.accounts.permissions import can

    with pytest.raises(KeyError):
        can(people.owner, "wriite", people.repo)
