"""Finding a repository: in any case, by former names, and never one that the person may not read."""

import pytest

from hub.common.errors import Forbidden, NotSignedIn, RepoNotFound

pytestmark = pytest.mark.django_db


@pytest.fixture
def poems(alice):
    from hub.repos.models import Repo

    return Repo.objects.create(type="model", name="Poems", owner_user=alice.user)


@pytest.mark.parametrize("name", ["alice/Poems", "Alice/poems", "ALICE/POEMS"])
def test_a_repository_is_found_in_any_case(poems, charlie, name):
    from hub.repos.find import find_repo

    assert find_repo("model", name, charlie.user) == poems


def test_a_former_name_of_the_repository_or_of_its_owner_leads_to_it(poems, alice, charlie):
    from hub.accounts.models import Namespace
    from hub.repos.find import find_repo
    from hub.repos.models import RepoAlias

    RepoAlias.objects.create(type="model", full_name="alice/Verses", repo=poems)
    Namespace.objects.create(name="alicia", user=alice.user, is_current=False)
    for name in ("alice/verses", "Alicia/poems"):
        assert find_repo("model", name, charlie.user) == poems


@pytest.mark.parametrize("name", ["alice/other", "nobody-here/poems", "poems", "alice/", "/poems", "alice/poems/x", ""])
def test_what_is_not_there_is_not_found(poems, charlie, name):
    from hub.repos.find import find_repo

    with pytest.raises(RepoNotFound):
        find_repo("model", name, charlie.user)


def test_types_do_not_mix(poems, charlie):
    from hub.repos.find import find_repo

    with pytest.raises(RepoNotFound):
        find_repo("dataset", "alice/poems", charlie.user)


def test_private_and_missing_are_told_in_the_same_words(poems, charlie):
    from hub.repos.find import find_repo

    poems.is_private = True
    poems.save()
    answers = []
    for name in ("alice/Poems", "alice/Pomes"):
        with pytest.raises(RepoNotFound) as refusal:
            find_repo("model", name, charlie.user, action="write")
        answers.append(refusal.value.message.replace(name, "NAME"))
    assert answers[0] == answers[1]


def test_a_readable_repository_says_what_is_missing_for_more(poems, charlie):
    from django.contrib.auth.models import AnonymousUser

    from hub.repos.find import find_repo

    with pytest.raises(Forbidden):
        find_repo("model", "alice/poems", charlie.user, action="write")
    with pytest.raises(NotSignedIn):
        find_repo("model", "alice/poems", AnonymousUser(), action="write")


def test_finding_costs_the_same_for_every_name(poems, alice, django_assert_num_queries):
    from hub.repos.find import find_repo

    with django_assert_num_queries(2):  # name, repository with owner
        assert find_repo("model", "alice/poems", alice.user).full_name == "alice/Poems"


def test_lists_hold_what_a_person_may_read(poems, alice, bob, charlie, organization, django_assert_num_queries):
    from django.contrib.auth.models import AnonymousUser

    from hub.repos.models import Repo, RepoCollaborator
    from tests.people import make_person

    diary = Repo.objects.create(type="model", name="diary", owner_user=alice.user, is_private=True)
    log = Repo.objects.create(type="model", name="log", owner_organization=organization, is_private=True)
    RepoCollaborator.objects.create(repo=diary, user=charlie.user, role="read")
    RepoCollaborator.objects.create(repo=diary, user=bob.user, role="read")
    moderator = make_person("mona", is_moderator=True)
    seen = {
        "nobody": (AnonymousUser(), {poems}),
        "alice": (alice.user, {poems, diary, log}),
        "bob": (bob.user, {poems, diary, log}),
        "charlie": (charlie.user, {poems, diary}),
        "mona": (moderator.user, {poems, diary, log}),
    }
    for name, (user, expected) in seen.items():
        with django_assert_num_queries(1):  # repositories with their owners; each once, whatever leads to it
            rows = list(Repo.objects.visible_to(user).for_listing().order_by("-updated_at"))
            assert [row.full_name for row in rows]
        assert len(rows) == len(set(rows)) and set(rows) == expected, name


def test_lists_hold_what_is_disabled_for_its_people_only(poems, alice, charlie):
    """As `can` says: they see that it exists and why it is switched off."""
    from django.contrib.auth.models import AnonymousUser

    from hub.repos.models import Repo
    from tests.people import make_person

    Repo.objects.filter(pk=poems.pk).update(is_disabled=True)
    moderator = make_person("mona", is_moderator=True)
    seen = {"nobody": AnonymousUser(), "alice": alice.user, "charlie": charlie.user, "mona": moderator.user}
    found = {name for name, user in seen.items() if Repo.objects.visible_to(user).exists()}
    assert found == {"alice", "mona"}


def test_a_token_for_a_namespace_lists_what_is_in_it(poems, alice, organization):
    from hub.accounts.models import AccessToken
    from hub.repos.models import Repo

    diary = Repo.objects.create(type="model", name="diary", owner_user=alice.user, is_private=True)
    log = Repo.objects.create(type="model", name="log", owner_organization=organization, is_private=True)

    def listed(scopes):
        alice.user.token = AccessToken(role="fineGrained", scopes=scopes)
        return set(Repo.objects.visible_to(alice.user))

    assert listed({}) == {poems}
    assert listed({"namespace/tidewatch": "read"}) == {poems, log}
    assert listed({"models/alice/diary": "write", "datasets/tidewatch/log": "read"}) == {poems, diary}
    alice.user.token = AccessToken(role="read")
    assert set(Repo.objects.visible_to(alice.user)) == {poems, diary, log}
