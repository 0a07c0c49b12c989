"""Collections of garbage give space back, and never a byte that somebody can still reach."""

import hashlib
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from hub.common.errors import RevisionNotFound
from hub.storage.git.processes import GitFailed
from tests.hub.repos.collecting import (
    DAY,
    age,
    collect,
    commit_file,
    delete,
    first_with,
    forward,
    is_stored,
    noise,
    upload,
)
from tests.hub.scenes import add, clear, make_repo, members_head

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("unscreened")]


@pytest.fixture
def tides(alice: Any) -> Any:
    return make_repo(alice.user)


def test_a_file_that_a_branch_names_stays_and_one_that_nothing_names_goes_after_the_grace(tides: Any, alice: Any):
    from hub.repos.models import StoredBlob, UnnamedBlob
    from hub.repos.places import store

    kept, dropped = upload(tides, alice.user, noise(1)), upload(tides, alice.user, noise(2))
    commit_file(tides, alice.user, "kept.bin", kept)
    commit_file(tides, alice.user, "dropped.bin", dropped, revision="main")
    add(tides, alice.user, {"dropped.bin": None})  # the history still names it
    assert collect(40).unnamed == collect(100).unnamed == 0 and is_stored(dropped)
    call_command("collect_garbage")
    from hub.repos.places import pair
    from hub.storage.git import ANY

    members = pair(tides).members
    members.move_ref("refs/heads/main", first_with(tides, "kept.bin"), ANY)
    assert (collect(100).unnamed, is_stored(dropped)) == (1, True)  # from now on the grace counts
    assert collect(129).removed.files == 0 and is_stored(dropped)
    told = collect(131, dry_run=True)
    assert (told.removed.files, told.removed.xorbs, is_stored(dropped)) == (1, 1, True)
    assert told.removed.freed_bytes > 9_000
    assert collect(131).removed == told.removed
    assert (is_stored(dropped), is_stored(kept)) == (False, True)
    assert b"".join(store().read(kept.sha256)) == noise(1)
    assert not StoredBlob.objects.filter(pk=dropped.sha256).exists() and not UnnamedBlob.objects.exists()


def test_what_is_named_again_within_the_grace_is_as_it_was(tides: Any, alice: Any):
    """The undo: an old commit is given a branch, or a copied file a new place; the clock starts anew."""
    from hub.repos.refs import create_branch, delete_branch

    stored = upload(tides, alice.user, noise(3))
    create_branch(repo=tides, by=alice.user, name="side", start=members_head(tides))
    old = commit_file(tides, alice.user, "a.bin", stored, revision="side").revision.commit
    delete_branch(repo=tides, by=alice.user, name="side")
    assert collect(31).unnamed == 1
    create_branch(repo=tides, by=alice.user, name="back", start=old)
    assert collect(62).unnamed == 0 and is_stored(stored)
    delete_branch(repo=tides, by=alice.user, name="back")
    assert collect(63).unnamed == 1 and collect(92).removed.files == 0
    assert collect(94).removed.files == 1 and not is_stored(stored)
    with pytest.raises(RevisionNotFound, match=r"a\.bin of .* was let go"):
        create_branch(repo=tides, by=alice.user, name="late", start=old)


def test_a_door_that_touches_a_file_keeps_the_next_collection_away(tides: Any, alice: Any, monkeypatch: Any):
    """A commit between the marks and the sweep: it names a file that was out of use for long."""
    from hub.repos import garbage

    stored = upload(tides, alice.user, noise(4))
    now = timezone.now()
    age(tides, stored)
    collect(now=now, grace=DAY)
    mark = garbage.note_unnamed

    def commit_after_marks(*given: Any, **more: Any) -> Any:
        found = mark(*given, **more)
        commit_file(tides, alice.user, "late.bin", stored)
        return found

    monkeypatch.setattr(garbage, "note_unnamed", commit_after_marks)
    forward(now - 3 * DAY)
    assert collect(now=now, grace=DAY).removed.files == 0
    assert is_stored(stored)


def test_an_upload_that_waits_for_its_commit_is_kept_for_the_grace(tides: Any, alice: Any):
    stored = upload(tides, alice.user, noise(5))
    assert collect(29).unnamed == 0
    assert collect(31).unnamed == 1 and is_stored(stored)
    commit_file(tides, alice.user, "slow.bin", stored)
    assert collect(62).unnamed == 0 and is_stored(stored)


def test_nothing_goes_when_somebody_cannot_say_what_they_need(tides: Any, alice: Any, monkeypatch: Any):
    from hub.repos import garbage
    from hub.repos.places import pair

    stored = upload(tides, alice.user, noise(6))
    collect(31)

    def fail() -> Any:
        raise OSError("no answer")

    with monkeypatch.context() as patch:
        patch.setitem(garbage.NEEDED, "broken", fail)
        with pytest.raises(OSError, match="no answer"):
            collect(90)
    assert is_stored(stored)
    blob = next(path for path in pair(tides).public.path.glob("objects/pack/*.pack"))
    blob.chmod(0o600)
    blob.write_bytes(b"damaged")
    with pytest.raises(GitFailed):
        collect(90)
    assert is_stored(stored)


def test_rooms_above_keep_what_they_need(tides: Any, alice: Any, monkeypatch: Any):
    from hub.repos import garbage

    stored = upload(tides, alice.user, noise(7))
    monkeypatch.setitem(garbage.NEEDED, "shelf", lambda: [stored.sha256])
    assert collect(31).unnamed == collect(90).unnamed == 0 and is_stored(stored)
    assert {"attachments", "training", "releases"} == set(garbage.NEEDED) - {"shelf"}


def test_a_file_that_comes_back_while_its_rows_go_keeps_them(tides: Any, alice: Any, monkeypatch: Any):
    """The bytes are gone, the rows not yet, and in between somebody uploads the file again and finds the old row."""
    from hub.repos import garbage
    from hub.repos.models import BlobXorb, StoredBlob, UploadedBlob

    stored = upload(tides, alice.user, noise(30))
    age(tides, stored)
    collect(31)
    real = garbage.store

    class Overtaken:
        def __init__(self) -> None:
            self.has_come_back = False

        def __getattr__(self, name: str) -> Any:
            return getattr(real(), name)

        def find(self, sha256: str) -> Any:
            found = real().find(sha256)
            if not self.has_come_back:
                self.has_come_back = True
                assert found is None
                upload(tides, alice.user, noise(30))
            return found

    overtaken = Overtaken()
    monkeypatch.setattr(garbage, "store", lambda: overtaken)
    later = timezone.now() + 62 * DAY
    with monkeypatch.context() as patch:
        patch.setattr("hub.repos.blobs.timezone.now", lambda: later)
        collect(now=later)
    assert overtaken.has_come_back and is_stored(stored)
    assert StoredBlob.objects.filter(pk=stored.sha256).exists()
    assert BlobXorb.objects.filter(blob=stored.sha256).count() == len(stored.xorbs)
    assert UploadedBlob.objects.filter(sha256=stored.sha256).exists()
    commit_file(tides, alice.user, "back.bin", stored)


def test_a_recipe_that_pins_a_commit_of_no_branch_keeps_its_files(tides: Any, alice: Any):
    """Between the pin and the lock that names them nothing else would."""
    import time

    from hub.repos.places import store
    from hub.repos.refs import create_branch, delete_branch
    from training.engine.recipe import RepoRef
    from training.proposals.recipes import pin_one

    stored = upload(tides, alice.user, noise(32))
    create_branch(repo=tides, by=alice.user, name="side", start=members_head(tides))
    old = commit_file(tides, alice.user, "a.bin", stored, revision="side").revision.commit
    clear(tides)
    delete_branch(repo=tides, by=alice.user, name="side")
    age(tides, stored)
    assert pin_one("dataset", RepoRef("alice/tides", old), alice.user).commit == old
    store().sweep(set(), grace_s=3600, now=time.time())
    assert is_stored(stored)


def test_a_file_without_a_row_has_its_grace_like_any_other(tides: Any, alice: Any):
    """A process that died between the bytes and the row left it; its last name went a moment ago."""
    from hub.repos.models import StoredBlob

    stored = upload(tides, alice.user, noise(31))
    age(tides, stored)
    StoredBlob.objects.all().delete()
    assert collect(100).unnamed == 1 and is_stored(stored)
    assert collect(129).removed.files == 0 and is_stored(stored)
    assert collect(131).removed.files == 1 and not is_stored(stored)


def test_it_happens_by_itself_once_a_day(tides: Any, alice: Any):
    from hub.common import jobs

    body = jobs.bodies["repos.collect_garbage"]
    assert body.every_s == 24 * 3600
    job = jobs.enqueue("repos.collect_garbage")
    jobs.run(str(job.pk))
    job.refresh_from_db()
    assert job.state == "succeeded"
    assert "1 repositories name 0 large files" in job.events.filter(kind="log").get().data["line"]


def test_a_repository_that_is_deleted_lets_go_of_its_files_and_shares_the_others(tides: Any, alice: Any):
    from hub.repos.places import store

    other = make_repo(alice.user, "other")
    shared, own = noise(8), noise(9)
    commit_file(tides, alice.user, "shared.bin", upload(tides, alice.user, shared))
    commit_file(tides, alice.user, "own.bin", upload(tides, alice.user, own), revision="main")
    commit_file(other, alice.user, "shared.bin", upload(other, alice.user, shared))
    delete(tides, alice.user)
    collect(31), collect(62)
    assert store().find(hashlib.sha256(own).hexdigest()) is None
    assert b"".join(store().read(hashlib.sha256(shared).hexdigest())) == shared


@pytest.mark.parametrize("days", ["0", "0.5", "-3", "4000"])
def test_the_command_refuses_a_grace_in_which_uploads_would_be_lost(days: str):
    with pytest.raises(CommandError, match="from 1 to 3650 days"):
        call_command("collect_garbage", f"--grace={days}")


def test_the_command_says_what_a_rehearsal_would_remove(tides: Any, alice: Any, capsys: Any):
    stored = upload(tides, alice.user, noise(10))
    collect(31)
    call_command("collect_garbage", "--dry-run")
    said = capsys.readouterr().out
    assert said.startswith("Nothing was changed. 1 repositories name 1 large files; 0 are named by nothing.")
    assert "Would be removed: " in said
    assert is_stored(stored)
