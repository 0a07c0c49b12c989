"""The log of decisions shows every change that is made to it later."""

import json
from datetime import timedelta
from typing import Any

import pytest

from moderation import audit, signing
from moderation.models import AuditEntry

pytestmark = pytest.mark.django_db


@pytest.fixture
def log(alice: Any) -> list[AuditEntry]:
    return [
        audit.record("case.allowed", f"alice/tides {number}", by=alice.user, is_public=number % 2 == 0, number_=number)
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
