"""The log of decisions shows every change that is made to it later."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from moderation import audit, signing
from moderation.models import AuditEntry
from tests.guards import lifted
from tests.moderation.scenes import Workshop, make_repo

pytestmark = pytest.mark.django_db


@pytest.fixture
def log(alice: Any) -> Iterator[list[AuditEntry]]:
    """Of a database whose guards somebody took away: the chain shows what they would have refused."""
    with lifted():
        yield [
            audit.record(
                "case.allowed", f"alice/tides {number}", by=alice.user, is_public=number % 2 == 0, number_=number
            )
            for number in range(6)
        ]


def test_a_whole_chain_is_whole(log: list[AuditEntry]) -> None:
    assert audit.verify() == ""
    assert [entry.number for entry in log] == [1, 2, 3, 4, 5, 6]
    assert log[3].previous == log[2].hash


@pytest.mark.parametrize(
    "change",
    [
        {"actor": "mallory"},
        {"action": "case.refused"},
        {"subject": "alice/other"},
        {"data": {"number_": 7}},
        {"is_public": False},
        {"previous": "0" * 64},
        {"hash": "f" * 64},
    ],
)
def test_an_edit_shows(log: list[AuditEntry], change: dict[str, Any]) -> None:
    AuditEntry.objects.filter(number=3).update(**change)
    assert audit.verify() == "Entry 3 was changed after it was written."


def test_another_time_shows(log: list[AuditEntry]) -> None:
    AuditEntry.objects.filter(number=3).update(at=log[2].at + timedelta(microseconds=1))
    assert audit.verify() == "Entry 3 was changed after it was written."


def test_a_deletion_shows(log: list[AuditEntry]) -> None:
    AuditEntry.objects.filter(number=2).delete()
    assert audit.verify() == "Entry 2 is missing."
    AuditEntry.objects.filter(number=1).delete()
    assert audit.verify() == "Entry 1 is missing."


def test_a_deletion_with_the_numbers_closed_up_shows(log: list[AuditEntry]) -> None:
    AuditEntry.objects.filter(number=2).delete()
    for number in (3, 4, 5, 6):
        AuditEntry.objects.filter(number=number).update(number=number - 1)
    assert audit.verify() == "Entry 2 was changed after it was written."


def test_a_reordering_shows(log: list[AuditEntry]) -> None:
    AuditEntry.objects.filter(number=4).update(number=99)
    AuditEntry.objects.filter(number=3).update(number=4)
    AuditEntry.objects.filter(number=99).update(number=3)
    assert audit.verify() == "Entry 3 was changed after it was written."


def test_an_edit_with_its_own_hash_mended_shows_at_the_next_entry(log: list[AuditEntry]) -> None:
    entry = AuditEntry.objects.get(number=3)
    entry.actor = "mallory"
    entry.hash = audit.hash_entry(entry)
    entry.save()
    assert audit.verify() == "Entry 4 was changed after it was written."


def test_what_is_cut_off_at_the_end_shows_against_a_signed_head(log: list[AuditEntry]) -> None:
    head = audit.sign_head()
    signature = head.pop("signature")
    assert signing.is_signed(audit.canonical(head), signature) and head == {"number": 6, "hash": log[-1].hash}
    AuditEntry.objects.filter(number=6).delete()
    assert audit.verify() == ""
    assert not AuditEntry.objects.filter(number=head["number"], hash=head["hash"]).exists()


def test_the_public_export_keeps_the_chain_and_hides_what_is_not_public(log: list[AuditEntry]) -> None:
    rows = list(audit.export(is_all=False))
    assert [row["number"] for row in rows] == [1, 2, 3, 4, 5, 6]
    hidden = [row for row in rows if not row["is_public"]]
    assert [sorted(row) for row in hidden] == [["hash", "is_public", "number", "previous"]] * 3
    previous = audit.FIRST
    for row in rows:
        assert row["previous"] == previous
        previous = row["hash"]
    shown = [dict(row) for row in rows if row["is_public"]]
    for row in shown:
        import hashlib

        stated = row.pop("hash")
        text = json.dumps(row, sort_keys=True, separators=(",", ":"))
        assert hashlib.sha256(text.encode()).hexdigest() == stated
    assert all("subject" in row for row in audit.export(is_all=True))


# --- what people decide in the rooms below


def told(**fields: Any) -> dict[str, Any]:
    """The data of the one entry that has these fields."""
    return AuditEntry.objects.get(**fields).data


@pytest.mark.django_db(transaction=True)
def test_reviews_and_merges_of_a_public_repository_stand_in_the_public_log(workshop: Workshop, tmp_path: Path) -> None:
    run = workshop.make_model(tmp_path)
    public = {"is_public": True, "subject": "alice/tide-assistant"}
    review = told(action="review.given", actor="bob", **public)
    assert (review["pull_request"], review["verdict"]) == (1, "approve") and review["digest"]
    merged = told(action="proposal.merged", actor="alice", **public)
    assert merged == {"pull_request": 1, "commit": run.pull_request.merge_commit}
    assert audit.verify() == ""


@pytest.mark.django_db(transaction=True)
def test_who_steers_a_run_is_remembered(workshop: Workshop) -> None:
    from training.models import Run
    from training.running import runs

    workshop.propose()
    Run.objects.update(state=Run.State.HELD, approved_by=None)
    runs.start_run(run=Run.objects.get(), by=workshop.helper)
    number = Run.objects.get().pk
    expected = {"run": number, "pull_request": 1}
    assert told(action="run.started", actor="bob", is_public=True) == expected
    runs.cancel_run(run=Run.objects.get(), by=workshop.teacher)
    runs.rerun(run=Run.objects.get(), by=workshop.owner)
    assert told(action="run.cancelled", actor="charlie") == told(action="run.restarted", actor="alice") == expected


@pytest.mark.django_db(transaction=True)
def test_what_happens_in_a_private_repository_is_not_public(workshop: Workshop) -> None:
    from hub.community.reviews import review
    from hub.repos.models import Repo

    pull_request = workshop.propose(workshop.owner)
    Repo.objects.filter(pk=workshop.model.pk).update(is_private=True)
    pull_request = type(pull_request).objects.get(pk=pull_request.pk)
    review(pull_request=pull_request, by=workshop.helper, verdict="comment", text="Between us.")
    assert not AuditEntry.objects.get(action="review.given").is_public


def test_changes_of_roles_are_remembered_for_moderators(alice: Any, bob: Any, organization: Any) -> None:
    from hub.accounts.organizations import remove_member
    from hub.repos.collaborators import remove_collaborator, set_collaborator

    with lifted():
        AuditEntry.objects.all().delete()
    repo = make_repo("model", "tides", alice.user)
    set_collaborator(repo=repo, user=bob.user, role="write", by=alice.user)
    remove_collaborator(repo=repo, user=bob.user, by=alice.user)
    remove_collaborator(repo=repo, user=bob.user, by=alice.user)
    remove_member(organization=organization, user=bob.user, by=alice.user)
    entries = AuditEntry.objects.order_by("number")
    assert [(entry.action, entry.subject, entry.data) for entry in entries] == [
        ("collaborator.changed", "alice/tides", {"person": "bob", "role": "write"}),
        ("collaborator.changed", "alice/tides", {"person": "bob", "role": ""}),
        ("member.changed", organization.name, {"person": "bob", "role": ""}),
    ]
    assert {(entry.actor, entry.is_public) for entry in entries} == {("alice", False)}
