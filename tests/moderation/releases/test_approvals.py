"""Two people without a stake approve a release, or it is visibly unreviewed on a hub with one person."""

import random
from pathlib import Path

import pytest

from hub.common.errors import Conflict, Forbidden, InvalidInput, NotFound, RepoNotFound, RevisionNotFound, Withheld
from hub.community.models import Notification
from hub.repos.models import Content, RepoCollaborator, RepoRelease
from hub.repos.places import pair
from moderation import audit
from moderation.models import AuditEntry, Release, ReleaseApproval
from moderation.releasing.publishing import finish_interrupted, publish, set_state
from moderation.releasing.releases import (
    approve,
    find_release,
    propose_release,
    publish_unreviewed,
    refuse,
    visible_releases,
    why_not_approve,
)
from moderation.rules.reasons import AWAITS_RELEASE, NEEDED_APPROVALS
from tests.guards import lifted
from tests.moderation.scenes import Workshop, bring, content_at, read_weights, reader, weights
from tests.people import Person, make_person

pytestmark = pytest.mark.django_db(transaction=True)


def test_two_approvals_publish_and_strangers_read_the_tag(
    releasable: Workshop, proposed: Release, bob: Person, dora: Person
) -> None:
    repo = releasable.model
    for revision in ("v1.0.0", "stable", proposed.commit):
        with pytest.raises(RevisionNotFound):
            reader(repo).resolve(revision)
    assert approve(release=proposed, by=bob.user, text="I read the samples.").state == "proposed"
    assert pair(repo).members.read_ref("refs/tags/v1.0.0") is None
    release = approve(release=proposed, by=dora.user)
    assert (release.state, release.is_reviewed) == ("published", True)
    assert pair(repo).members.read_ref("refs/tags/v1.0.0") == release.commit
    for revision in ("v1.0.0", "stable", "main"):
        assert reader(repo).resolve(revision) == release.commit
        assert read_weights(repo, revision) == weights(1)
    assert content_at(repo, "model.safetensors").clearance == Content.Clearance.CLEARED
    row = RepoRelease.objects.get()
    assert (row.tag, row.commit, row.state, row.is_reviewed) == ("v1.0.0", release.commit, "published", True)
    told = Notification.objects.filter(user=releasable.teacher, text__contains="v1.0.0 is published")
    assert told.get().path == "/alice/tide-assistant/releases/v1.0.0"
    assert [entry.action for entry in AuditEntry.objects.filter(is_public=True)][-4:] == [
        "release.proposed",
        "release.approved",
        "release.approved",
        "release.published",
    ]
    assert audit.verify() == ""


def test_who_has_a_stake_does_not_approve(releasable: Workshop, proposed: Release) -> None:
    for user, sentence in [
        (releasable.owner, "You proposed this release"),
        (releasable.teacher, "write access"),
    ]:
        with pytest.raises(Forbidden, match=sentence):
            approve(release=proposed, by=user)
    RepoCollaborator.objects.create(repo=releasable.model, user=releasable.teacher, role="write")
    with pytest.raises(Forbidden, match="You proposed what this release holds"):
        approve(release=proposed, by=releasable.teacher)
    assert not ReleaseApproval.objects.exists()


def test_who_brought_rows_does_not_approve(workshop: Workshop, dora: Person, tmp_path: Path) -> None:
    RepoCollaborator.objects.create(repo=workshop.model, user=workshop.teacher, role="write")
    workshop.make_model(tmp_path, by=workshop.helper)
    release = propose_release(repo=workshop.model, by=workshop.owner, version="1.0.0")
    assert (
        why_not_approve(release, workshop.teacher) == "You contributed data of this release; others have to approve it."
    )
    assert "You proposed what" in why_not_approve(release, workshop.helper)


def test_who_changed_files_after_the_merge_does_not_approve(releasable: Workshop, bob: Person, dora: Person) -> None:
    bring(releasable.model, bob.user, {"README.md": b"---\nlicense: mit\n---\n# Mended\n"})
    release = propose_release(repo=releasable.model, by=releasable.owner, version="1.0.0")
    assert "after the merge" in why_not_approve(release, bob.user)
    assert why_not_approve(release, dora.user) == ""


def test_who_brought_one_of_many_files_does_not_approve(workshop: Workshop, dora: Person, tmp_path: Path) -> None:
    """Only the first 900 files of a dataset were asked about: who had brought a later one was nobody."""
    RepoCollaborator.objects.create(repo=workshop.data, user=dora.user, role="write")
    RepoCollaborator.objects.create(repo=workshop.model, user=dora.user, role="write")
    many = {f"data/{number:04}.jsonl": b'{"question": "%d?", "answer": "x"}\n' % number for number in range(901)}
    bring(workshop.data, workshop.teacher, many)
    bring(workshop.data, dora.user, {"data/last.jsonl": b'{"question": "Last?", "answer": "x"}\n'})
    Content.objects.filter(repo=workshop.data).update(clearance="cleared")  # so many take the quick screens too long
    workshop.make_model(tmp_path)
    release = propose_release(repo=workshop.model, by=workshop.owner, version="1.0.0")
    assert "You contributed data" in why_not_approve(release, dora.user)


def test_who_only_pressed_run_may_approve(releasable: Workshop, proposed: Release, bob: Person) -> None:
    from training.models import Run

    Run.objects.update(approved_by=bob.user)
    assert why_not_approve(proposed, bob.user) == ""


def test_a_moderator_without_a_stake_may_approve(proposed: Release, mona: Person) -> None:
    assert approve(release=proposed, by=mona.user).approvals.count() == 1


def test_one_person_approves_once(proposed: Release, bob: Person) -> None:
    approve(release=proposed, by=bob.user)
    with pytest.raises(Forbidden, match="approved it already"):
        approve(release=proposed, by=bob.user)
    proposed.refresh_from_db()
    assert proposed.state == "proposed"


def test_an_approval_of_another_manifest_is_refused(proposed: Release, bob: Person) -> None:
    with pytest.raises(Conflict, match="changed since you looked"):
        approve(release=proposed, by=bob.user, digest="sha256:" + "0" * 64)
    assert not ReleaseApproval.objects.exists()


def test_approvals_of_an_earlier_proposal_do_not_count(
    releasable: Workshop, proposed: Release, bob: Person, dora: Person
) -> None:
    approve(release=proposed, by=bob.user)
    refuse(release=proposed, by=bob.user, reason="The card has a wrong table.")
    bring(releasable.model, releasable.owner, {"README.md": b"---\nlicense: mit\n---\n# Mended\n"})
    again = propose_release(repo=releasable.model, by=releasable.owner, version="1.0.0")
    assert again.digest != proposed.digest and again.approvals.count() == 0
    assert approve(release=again, by=dora.user).state == "proposed"


def test_an_approver_who_left_does_not_count(proposed: Release, bob: Person, dora: Person) -> None:
    approve(release=proposed, by=bob.user)
    bob.user.is_active = False
    bob.user.save()
    assert approve(release=proposed, by=dora.user).state == "proposed"


def test_an_approver_who_lost_their_role_does_not_count(
    releasable: Workshop, proposed: Release, bob: Person, dora: Person, mona: Person
) -> None:
    """An approval counted on after its giver had no say in the repository any more."""
    approve(release=proposed, by=bob.user)
    RepoCollaborator.objects.filter(repo=releasable.model, user=bob.user).delete()
    assert approve(release=proposed, by=dora.user).state == "proposed"
    RepoCollaborator.objects.create(repo=releasable.model, user=bob.user, role="read")
    assert finish_interrupted() == 0
    assert approve(release=proposed, by=mona.user).state == "published"


def test_the_gate_looks_again_before_it_publishes(
    releasable: Workshop, proposed: Release, bob: Person, dora: Person
) -> None:
    from hub.repos.clearance import set_clearance

    rows = [content_at(releasable.data, "train.jsonl")]
    approve(release=proposed, by=bob.user)
    set_clearance(contents=rows, clearance="withheld", reason="Copied.")
    with pytest.raises(Conflict, match="Something changed"):
        approve(release=proposed, by=dora.user)
    proposed.refresh_from_db()
    assert proposed.state == "proposed" and "train.jsonl" in proposed.state_reason
    assert finish_interrupted() == 0
    set_clearance(contents=rows, clearance="cleared")
    assert finish_interrupted() == 1
    proposed.refresh_from_db()
    assert (proposed.state, proposed.state_reason) == ("published", "")


def test_a_manifest_that_was_changed_after_the_proposal_is_not_published(
    proposed: Release, bob: Person, dora: Person
) -> None:
    approve(release=proposed, by=bob.user)
    with lifted():
        Release.objects.filter(pk=proposed.pk).update(manifest={**proposed.manifest, "model_digest": "sha256:00"})
    with pytest.raises(Conflict, match="not the one that was proposed"):
        approve(release=proposed, by=dora.user)


def test_a_refused_release_is_seen_by_members_and_its_version_is_free_again(
    releasable: Workshop, proposed: Release, bob: Person
) -> None:
    with pytest.raises(InvalidInput, match="Give the reason"):
        refuse(release=proposed, by=bob.user, reason=" ")
    with pytest.raises(Forbidden):
        refuse(release=proposed, by=releasable.teacher, reason="No.")
    refuse(release=proposed, by=bob.user, reason="Too early.")
    with pytest.raises(Conflict, match="refused"):
        refuse(release=proposed, by=bob.user, reason="Too early.")
    with pytest.raises(Forbidden, match="is refused"):
        approve(release=proposed, by=bob.user)
    with pytest.raises(NotFound):
        find_release(releasable.model, "v1.0.0", releasable.teacher)
    assert list(visible_releases(releasable.model, releasable.teacher)) == []
    assert propose_release(repo=releasable.model, by=releasable.owner, version="1.0.0").state == "proposed"


def test_a_hub_with_one_person_publishes_visibly_unreviewed(releasable: Workshop) -> None:
    from hub.accounts.models import User

    User.objects.exclude(pk=releasable.owner.pk).filter(is_system=False).update(is_active=False)
    release = propose_release(repo=releasable.model, by=releasable.owner, version="1.0.0")
    assert (release.state, release.is_reviewed) == ("published", False)
    assert release.manifest["reviewed"] is False and release.manifest["approvals"] == []
    assert RepoRelease.objects.get().is_reviewed is False
    assert AuditEntry.objects.get(action="release.published").data["reviewed"] is False
    assert read_weights(releasable.model, "v1.0.0") == weights(1)


def test_where_others_could_approve_nobody_publishes_alone(releasable: Workshop, proposed: Release) -> None:
    with pytest.raises(Forbidden, match="needs 2 approvals"):
        publish(proposed)
    with pytest.raises(Forbidden, match="needs 2 approvals"):
        publish_unreviewed(release=proposed, by=releasable.owner)
    proposed.refresh_from_db()
    assert proposed.state == "proposed" and not RepoRelease.objects.exists()


def test_a_release_that_waits_when_the_others_leave_is_not_published_by_itself(
    releasable: Workshop, proposed: Release
) -> None:
    from hub.accounts.models import User

    User.objects.exclude(pk=releasable.owner.pk).filter(is_system=False).update(is_active=False)
    assert finish_interrupted() == 0
    assert publish_unreviewed(release=proposed, by=releasable.owner).is_reviewed is False


def test_no_sequence_of_acts_publishes_without_two_people_who_have_no_stake(
    releasable: Workshop, proposed: Release, bob: Person, dora: Person, mona: Person
) -> None:
    """Random acts by random people, through every function that could change a release."""
    RepoCollaborator.objects.create(repo=releasable.model, user=releasable.teacher, role="admin")
    people = [releasable.owner, releasable.teacher, bob.user, dora.user, mona.user, make_person("emil").user]
    free = {bob.user.pk, dora.user.pk, mona.user.pk}
    chance = random.Random(11)
    acts = [
        lambda release, by: approve(release=release, by=by),
        lambda release, by: approve(release=release, by=by, digest=release.digest),
        lambda release, by: publish(release),
        lambda release, by: publish_unreviewed(release=release, by=by),
        lambda release, by: set_state(release=release, by=by, state="published", reason="Now."),
        lambda release, by: set_state(release=release, by=by, state="yanked", reason="Now."),
        lambda release, by: refuse(release=release, by=by, reason="Not yet."),
        lambda release, by: finish_interrupted(),
        lambda release, by: propose_release(repo=releasable.model, by=by, version="1.0.0"),
    ]
    published = 0
    for _ in range(12):
        with lifted():
            RepoRelease.objects.all().delete()
            Release.objects.all().delete()
        members = pair(releasable.model).members
        if members.read_ref("refs/tags/v1.0.0"):
            members.move_ref("refs/tags/v1.0.0", None, members.read_ref("refs/tags/v1.0.0"))
        Content.objects.filter(path="model.safetensors", repo=releasable.model).update(
            clearance="pending", reason=AWAITS_RELEASE
        )
        propose_release(repo=releasable.model, by=releasable.owner, version="1.0.0")
        for _ in range(14):
            release = Release.objects.get()
            try:
                chance.choice(acts)(release, chance.choice(people))
            except (Forbidden, Conflict, RepoNotFound, InvalidInput):
                pass
            row = Release.objects.get()
            if row.state not in ("proposed", "refused"):
                valid = set(row.approvals.filter(digest=row.digest).values_list("by", flat=True))
                assert len(valid & (free - {row.proposed_by_id})) >= NEEDED_APPROVALS and row.is_reviewed
                published += 1
                break
            assert not RepoRelease.objects.exists()
            with pytest.raises(Withheld):
                who = reader(releasable.model)
                content = content_at(releasable.model, "model.safetensors")
                entry = pair(releasable.model).members.entry(row.commit, "model.safetensors")
                assert content.clearance != Content.Clearance.CLEARED
                who.check_bytes(entry)
    assert published > 0  # the walk does reach the state that it guards
