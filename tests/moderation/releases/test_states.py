"""A release is taken back in public when need be: yanked, quarantined, lifted."""

from dataclasses import replace
from pathlib import Path

import pytest

from hub.common.errors import Conflict, Disabled, Forbidden, InvalidInput, RevisionNotFound
from hub.repos.models import RepoCollaborator, RepoRelease
from moderation.models import AuditEntry, Release
from moderation.releasing.publishing import finish_interrupted, set_state
from moderation.releasing.releases import (
    approve,
    find_release,
    propose_release,
)
from moderation.rules.policies import Standing, in_force
from moderation.rules.reasons import QUARANTINED
from tests.moderation.scenes import Workshop, bring, content_at, is_public_object, read_weights, reader, weights
from tests.people import Person

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_yanked_release_is_not_offered_and_still_there(releasable: Workshop, published: Release) -> None:
    repo = releasable.model
    set_state(release=published, by=releasable.owner, state="yanked", reason="It confuses ebb and flood.")
    assert read_weights(repo, "v1.0.0") == weights(1)
    with pytest.raises(RevisionNotFound):
        reader(repo).resolve("stable")
    assert RepoRelease.objects.get().reason == "It confuses ebb and flood."
    assert AuditEntry.objects.get(action="release.yanked").is_public
    set_state(release=published, by=releasable.owner, state="published", reason="It was the test that was wrong.")
    assert reader(repo).resolve("stable") == published.commit


def test_a_quarantined_release_is_gone_for_strangers(releasable: Workshop, published: Release, mona: Person) -> None:
    repo = releasable.model
    sha = content_at(repo, "model.safetensors").digest.removeprefix("sha256:")
    assert reader(repo).may_have(sha)
    set_state(release=published, by=mona.user, state="quarantined", reason="It gives away an address.")
    for revision, error in (("v1.0.0", Disabled), ("stable", RevisionNotFound), (published.commit, Disabled)):
        with pytest.raises(error):
            reader(repo).resolve(revision)
    assert not reader(repo).may_have(sha) and not is_public_object(repo, published.commit)
    assert content_at(repo, "model.safetensors").reason == QUARANTINED
    assert read_weights(repo, "v1.0.0", releasable.owner) == weights(1)
    assert find_release(repo, "v1.0.0", releasable.teacher).state == "quarantined"
    set_state(release=published, by=mona.user, state="published", reason="The address was made up.")
    assert read_weights(repo, "v1.0.0") == weights(1)
    assert finish_interrupted() == 0


def test_a_quarantine_leaves_what_another_release_holds(
    releasable: Workshop, published: Release, bob: Person, dora: Person, mona: Person
) -> None:
    repo = releasable.model
    bring(repo, releasable.owner, {"README.md": b"---\nlicense: mit\n---\n# Mended card\n"})
    second = propose_release(repo=repo, by=releasable.owner, version="1.0.1")
    for person in (bob, dora):
        approve(release=second, by=person.user)
    set_state(release=published, by=mona.user, state="quarantined", reason="Its card names a person.")
    with pytest.raises(Disabled):
        reader(repo).resolve("v1.0.0")
    assert read_weights(repo, "v1.0.1") == read_weights(repo, "stable") == weights(1)


def test_the_release_before_becomes_stable_again(
    workshop: Workshop, dora: Person, mona: Person, bob: Person, tmp_path: Path
) -> None:
    RepoCollaborator.objects.create(repo=workshop.model, user=dora.user, role="write")
    made = []
    for number in (1, 2):
        workshop.make_model(tmp_path, seed=number, by=workshop.owner if number == 2 else None)
        release = propose_release(repo=workshop.model, by=workshop.owner, version=f"1.{number}.0")
        for person in (bob, dora):
            approve(release=release, by=person.user)
        made.append(release)
    assert read_weights(workshop.model, "stable") == weights(2)
    set_state(release=made[1], by=mona.user, state="quarantined", reason="It leaks.")
    assert read_weights(workshop.model, "stable") == read_weights(workshop.model, "main") == weights(1)
    with pytest.raises(Disabled):
        reader(workshop.model).resolve("v1.2.0")
    assert not is_public_object(workshop.model, made[1].commit)


def test_who_may_change_the_state_of_a_release(
    releasable: Workshop, published: Release, bob: Person, mona: Person
) -> None:
    with pytest.raises(Forbidden):  # a writer is no admin
        set_state(release=published, by=bob.user, state="yanked", reason="No.")
    with pytest.raises(Forbidden):
        set_state(release=published, by=releasable.owner, state="quarantined", reason="No.")
    with pytest.raises(InvalidInput, match="Give the reason"):
        set_state(release=published, by=mona.user, state="yanked", reason="")
    with pytest.raises(InvalidInput, match="published, yanked or quarantined"):
        set_state(release=published, by=mona.user, state="proposed", reason="No.")
    with pytest.raises(Conflict, match="published already"):
        set_state(release=published, by=mona.user, state="published", reason="No.")


def test_a_maintainer_with_an_old_page_does_not_lift_a_quarantine(
    releasable: Workshop, published: Release, mona: Person
) -> None:
    yanked = set_state(release=published, by=releasable.owner, state="yanked", reason="It is wrong.")
    set_state(release=published, by=mona.user, state="quarantined", reason="It is worse than that.")
    with pytest.raises(Forbidden):
        set_state(release=yanked, by=releasable.owner, state="published", reason="Fine again.")
    published.refresh_from_db()
    assert published.state == "quarantined"


def test_a_moderator_does_not_lift_the_quarantine_of_their_own_release(
    releasable: Workshop, published: Release, mona: Person
) -> None:
    set_state(release=published, by=mona.user, state="quarantined", reason="It names people.")
    releasable.owner.is_moderator = True
    releasable.owner.save()
    for state in ("published", "yanked"):  # yanked, it would be readable again too
        with pytest.raises(Forbidden, match="You have a part in this release"):
            set_state(release=published, by=releasable.owner, state=state, reason="I think it is fine.")
    assert set_state(release=published, by=mona.user, state="yanked", reason="Not so bad.").state == "yanked"
    with pytest.raises(Forbidden, match="You have a part in this release"):
        set_state(release=published, by=releasable.owner, state="published", reason="I think it is fine.")


def test_alone_on_a_hub_a_moderator_lifts_what_is_their_own(releasable: Workshop, published: Release) -> None:
    from hub.accounts.models import User

    releasable.owner.is_moderator = True
    releasable.owner.save()
    set_state(release=published, by=releasable.owner, state="quarantined", reason="It names people.")
    User.objects.exclude(pk=releasable.owner.pk).filter(is_system=False).update(is_active=False)
    lifted = set_state(release=published, by=releasable.owner, state="published", reason="They are made up.")
    assert lifted.state == "published"


def test_an_admin_does_not_lift_what_a_moderator_yanked(releasable: Workshop, published: Release, mona: Person) -> None:
    set_state(release=published, by=mona.user, state="yanked", reason="Its data was withdrawn.")
    with pytest.raises(Forbidden, match="only a moderator gives it out again"):
        set_state(release=published, by=releasable.owner, state="published", reason="Back again.")
    assert set_state(release=published, by=mona.user, state="published", reason="It is back.").state == "published"


def test_what_the_gate_refuses_by_now_is_not_lifted(releasable: Workshop, published: Release, mona: Person) -> None:
    from hub.repos.clearance import set_clearance

    set_state(release=published, by=mona.user, state="quarantined", reason="Its data may be stolen.")
    rows = [content_at(releasable.data, "train.jsonl")]
    set_clearance(contents=rows, clearance="withheld", reason="It is.")
    with pytest.raises(Conflict, match=r"cannot be given out again.*train.jsonl"):
        set_state(release=published, by=mona.user, state="published", reason="Fine.")
    set_clearance(contents=rows, clearance="cleared")
    set_state(release=published, by=mona.user, state="published", reason="The author agreed.")
    assert read_weights(releasable.model, "v1.0.0") == weights(1)


def test_what_was_never_published_has_no_state_to_change(proposed: Release, mona: Person) -> None:
    for state in ("published", "yanked", "quarantined"):
        with pytest.raises(Conflict, match="never published"):
            set_state(release=proposed, by=mona.user, state=state, reason="At once.")


def stricter() -> Standing:
    """The policy in force, with one more suite."""
    now = in_force()
    evaluation = replace(now.policy.evaluation, suites=("harbour/another-suite",))
    return replace(now, policy=replace(now.policy, evaluation=evaluation))


def test_what_was_given_out_stays_under_the_rules_that_its_manifest_names(
    published: Release, mona: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_state(release=published, by=mona.user, state="quarantined", reason="Its card names a person.")
    standing = stricter()
    for room in ("moderation.releasing.publishing", "moderation.gate"):
        monkeypatch.setattr(f"{room}.in_force", lambda: standing)
    assert (
        set_state(release=published, by=mona.user, state="published", reason="Nobody was named.").state == "published"
    )


def test_before_it_is_published_stricter_rules_count_as_well(
    releasable: Workshop, bob: Person, mona: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = propose_release(repo=releasable.model, by=releasable.owner, version="1.0.0")
    approve(release=release, by=bob.user)
    standing = stricter()
    for room in ("moderation.releasing.publishing", "moderation.gate"):
        monkeypatch.setattr(f"{room}.in_force", lambda: standing)
    with pytest.raises(Conflict, match="ask for the suite harbour/another-suite"):
        approve(release=release, by=mona.user)
