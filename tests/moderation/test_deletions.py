"""Who is reported does not delete the evidence, and the log remembers what was there."""

from typing import Any

import pytest

from hub.common.errors import Conflict
from hub.repos.lifecycle import delete_repo
from hub.repos.models import Repo
from hub.repos.purging import purge_files
from moderation import audit
from moderation.cases.queue import decide_case
from moderation.cases.reports import open_report
from moderation.models import AuditEntry, Case
from moderation.releasing.releases import propose_release, refuse
from tests.moderation.scenes import CARD, SECRET, Workshop, make_repo

pytestmark = pytest.mark.django_db(transaction=True)


def test_what_is_reported_is_not_deleted_before_a_moderator_has_decided(alice: Any, charlie: Any, mona: Any) -> None:
    """Case, findings and screenings went with the repository, and no trace of it was left."""
    repo = make_repo("dataset", "bad", alice.user, {"README.md": CARD})
    case = open_report(repo=repo, by=charlie.user, text="It names my sister.")
    with pytest.raises(Conflict, match=rf"while a moderator has to decide about it \(case {case.pk}\)"):
        delete_repo(repo=repo, by=alice.user)
    assert Case.objects.filter(pk=case.pk).exists() and Repo.objects.filter(pk=repo.pk).exists()
    decide_case(case=case, by=mona.user, state="resolved", reason="The row is gone.")
    delete_repo(repo=repo, by=alice.user)
    entry = AuditEntry.objects.get(action="repo.deleted")
    assert (entry.actor, entry.subject, entry.is_public) == ("alice", "alice/bad", True)
    assert audit.verify() == ""


def test_a_file_that_waits_for_its_format_alone_keeps_nobody_from_deleting(alice: Any, bob: Any) -> None:
    mixed = bytes(range(256)) * 40
    repo = make_repo("model", "odd", alice.user, {"README.md": CARD, "weights.bin": mixed})
    assert Case.objects.get().content.path == "weights.bin"
    delete_repo(repo=repo, by=alice.user)
    both = make_repo("model", "both", alice.user, {"weights.bin": mixed, "notes.txt": SECRET.encode()})
    with pytest.raises(Conflict, match="while a moderator has to decide about it"):
        delete_repo(repo=both, by=alice.user)
    purge_files(repo=both, by=alice.user, paths=["notes.txt"])
    open_report(repo=both, by=bob.user, text="It is stolen.")
    with pytest.raises(Conflict, match="while a moderator has to decide about it"):
        delete_repo(repo=both, by=alice.user)


def test_the_end_of_a_private_repository_is_not_told_to_everybody(alice: Any) -> None:
    delete_repo(repo=make_repo("dataset", "diary", alice.user, is_private=True), by=alice.user)
    assert not AuditEntry.objects.get(action="repo.deleted").is_public


def test_a_repository_whose_release_was_refused_says_why_it_stays(workshop: Workshop, tmp_path: Any) -> None:
    """It was said to be deleted at this very moment."""
    workshop.make_model(tmp_path)
    release = propose_release(repo=workshop.model, by=workshop.owner, version="1.0.0")
    refuse(release=release, by=workshop.helper, reason="Too early.")
    with pytest.raises(Conflict, match=r"its release v1\.0\.0 \(refused\) and what was said about it are kept"):
        delete_repo(repo=workshop.model, by=workshop.owner)
