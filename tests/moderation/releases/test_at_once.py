"""Two people who approve at the same moment publish once."""

from typing import Any

import pytest

from hub.repos.models import RepoCollaborator, RepoRelease
from moderation import audit, signing
from moderation.models import AuditEntry, Release
from moderation.releasing import manifests
from moderation.releasing.releases import approve
from tests.moderation.scenes import Workshop, read_weights, weights
from tests.people import Person, make_person

pytestmark = pytest.mark.django_db(transaction=True)


def test_approvals_at_the_same_moment_publish_once(
    releasable: Workshop, proposed: Release, bob: Person, dora: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the second approver's gate looks, a third one approves and publishes."""
    from moderation import gate

    emil = make_person("emil")
    RepoCollaborator.objects.create(repo=releasable.model, user=emil.user, role="write")
    approve(release=proposed, by=bob.user)
    real, calls = gate.inspect, []

    def inspect_slowly(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            approve(release=proposed, by=emil.user)
        return real(*arguments, **options)

    monkeypatch.setattr(gate, "inspect", inspect_slowly)
    release = approve(release=proposed, by=dora.user)
    assert release.state == "published" and len(calls) == 2
    assert RepoRelease.objects.count() == AuditEntry.objects.filter(action="release.published").count() == 1
    assert signing.is_signed(manifests.canonical(release.manifest), release.signature)


def test_two_people_who_approve_in_two_processes_publish_once(
    releasable: Workshop, proposed: Release, bob: Person, dora: Person
) -> None:
    """Really at the same time: each with a connection of its own."""
    import threading

    from django.db import connection

    start, problems = threading.Barrier(2), []

    def approve_as(user: Any) -> None:
        try:
            start.wait(timeout=30)
            approve(release=Release.objects.get(pk=proposed.pk), by=user)
        except Exception as problem:
            problems.append(problem)
        finally:
            connection.close()

    threads = [threading.Thread(target=approve_as, args=(person.user,)) for person in (bob, dora)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert problems == []
    proposed.refresh_from_db()
    assert proposed.state == "published" and proposed.is_reviewed
    assert RepoRelease.objects.count() == AuditEntry.objects.filter(action="release.published").count() == 1
    assert read_weights(releasable.model, "v1.0.0") == weights(1) and audit.verify() == ""
