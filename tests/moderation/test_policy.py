"""The rules of the hub: a file in a public repository, which every verdict names."""

from typing import Any

import pytest

from hub.common.errors import Conflict, Forbidden, InvalidInput
from hub.repos.models import Repo
from moderation.models import PolicyVersion, Release, Screening
from moderation.rules import policies, policy_repository
from moderation.rules.policy_file import FILE, digest_of_text, packaged_text
from tests.guards import lifted
from tests.moderation.reading import Browser, words
from tests.moderation.test_policy_file import changed
from tests.people import Person

pytestmark = pytest.mark.django_db(transaction=True)
PACKAGED = packaged_text()


@pytest.fixture
def rules(db: None) -> Repo:
    return policy_repository.found()


@pytest.fixture
def nora(db: None) -> Person:
    """A second moderator."""
    from tests.people import make_person

    return make_person("nora", is_moderator=True)


# --- the repository


def test_it_is_made_once_public_and_with_the_file_of_the_hub(rules: Repo, browser_of: Browser) -> None:
    assert policy_repository.found() == rules and Repo.objects.filter(is_policy=True).count() == 1
    assert (rules.full_name, rules.type, rules.is_private) == ("model-commons/moderation-policy", "dataset", False)
    standing = policies.in_force()
    assert (standing.repository, standing.commit) == (rules.full_name, rules.public_head)
    assert standing.digest == digest_of_text(PACKAGED)
    page = browser_of(None).get(f"/datasets/{rules.full_name}/raw/main/{FILE}")
    assert page.status_code == 200 and page.content == PACKAGED


def test_a_hub_without_it_judges_by_its_own_file_and_says_so(db: None, browser_of: Browser) -> None:
    standing = policies.in_force()
    assert (standing.repository, standing.commit, standing.digest) == ("", "", digest_of_text(PACKAGED))
    assert "no repository for its rules yet" in words(browser_of(None).get("/policy"))
    policy_repository.found()
    assert "no repository" not in words(browser_of(None).get("/policy"))


def test_its_name_is_one_setting_and_never_taken_from_somebody(db: None, alice: Person, settings: Any) -> None:
    from hub.common.errors import Conflict
    from hub.repos.lifecycle import create_repo

    mine = create_repo(type="dataset", name="rules", by=alice.user)
    settings.POLICY_REPOSITORY = "alice/rules"
    with pytest.raises(Conflict, match="not the hub's policy"):
        policy_repository.found()
    settings.POLICY_REPOSITORY = "alice/others"
    with pytest.raises(Conflict, match="alice is a person"):
        policy_repository.found()
    settings.POLICY_REPOSITORY = "harbour/rules"
    assert policy_repository.found().full_name == "harbour/rules"
    mine.refresh_from_db()
    assert not mine.is_policy


def test_nobody_pushes_it_hides_it_or_takes_it_away(rules: Repo, mona: Person, browser_of: Browser) -> None:
    from hub.community.contributions import commit
    from hub.repos.lifecycle import delete_repo, update_settings
    from hub.repos.purging import preview_purge
    from hub.repos.refs import delete_branch, squash_branch
    from hub.storage.git import AddFile
    from tests.people import make_person

    boss = make_person("boss", is_staff=True).user
    direct: dict[str, Any] = {"operations": [AddFile(FILE, b"version: 1\n")], "title": "Mine", "door": "api"}
    for who in (mona.user, boss):
        with pytest.raises(Forbidden, match="changes by proposals alone"):
            commit(repo=rules, by=who, revision="main", **direct)
        with pytest.raises(Forbidden, match="changes by proposals alone"):
            squash_branch(repo=rules, by=who, name="main", message="One")
        with pytest.raises(Conflict, match="main branch"):
            delete_branch(repo=rules, by=who, name="main")
    with pytest.raises((Forbidden, Conflict), match="cannot be deleted"):
        delete_repo(repo=rules, by=boss)
    for change in ({"is_private": True}, {"gated": "auto"}):
        with pytest.raises(InvalidInput, match="leave it public"):
            update_settings(repo=rules, by=boss, **change)
    assert "its history stays" in preview_purge(repo=rules, by=boss, paths=[FILE]).why_not
    browser = browser_of(mona)
    form = {"content": "version: 1\n", "path": FILE, "goes_to": "branch", "title": "", "description": "", "parent": ""}
    browser.post(f"/datasets/{rules.full_name}/edit/main/{FILE}", form)
    assert policies.in_force().digest == digest_of_text(PACKAGED)


# --- verdicts


def test_every_verdict_names_the_policy_it_rests_on(published: Release, browser_of: Browser) -> None:
    """Published on a hub that has no repository yet: its own file, by its digest."""
    named = {"repository": "", "commit": "", "file": FILE, "digest": digest_of_text(PACKAGED)}
    screenings = list(Screening.objects.all())
    assert {row.subject for row in screenings} == {"data", "output"}
    assert all(row.report["policy"] == named for row in screenings)
    said = published.manifest["policy"]
    assert {name: said[name] for name in named} == named
    assert said["values"]["who_decides"]["release_approvals"] == 2 and "clauses" not in said["values"]
    text = words(browser_of(None).get(f"{published.repo.path}/releases/v1.0.0"))
    assert "Rules version 1" in text


def test_what_was_in_force_is_never_changed_and_a_changed_text_is_not_believed(rules: Repo) -> None:
    from django.db import IntegrityError, transaction

    row = PolicyVersion.objects.get(key=rules.key)
    for act in (lambda: PolicyVersion.objects.update(text="version: 1"), lambda: PolicyVersion.objects.all().delete()):
        with pytest.raises(IntegrityError, match="never"), transaction.atomic():
            act()
    with lifted():
        PolicyVersion.objects.update(text=changed(margin="0.5").decode())
    assert policies.named_in({"digest": row.digest}) is None
