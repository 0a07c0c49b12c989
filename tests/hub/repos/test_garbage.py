"""Collections of garbage give space back, and never a byte that somebody can still reach.

The state machine mixes uploads, commits, proposals, merges, deletions and collections in any order, collections also
in the middle of an upload, and reads every file back through its tree after each step."""

import hashlib
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import TestCase
from django.utils import timezone
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from hub.common.errors import InvalidInput, RevisionNotFound
from hub.storage.git.processes import GitFailed
from tests.hub.scenes import add, clear, make_repo, members_head

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("unscreened")]
DAY = timedelta(days=1)


def noise(seed: int, count: int = 9_000) -> bytes:
    return hashlib.shake_256(str(seed).encode()).digest(count)


def upload(repo: Any, by: Any, data: bytes) -> Any:
    from hub.repos.blobs import record_upload
    from hub.repos.places import store

    stored = store().add([data])
    record_upload(repo=repo, by=by, stored=stored)
    return stored


def commit_file(repo: Any, by: Any, path: str, stored: Any, **more: Any) -> Any:
    """As the doors do: the operation is prepared, which checks and renews, and then committed."""
    from hub.community.contributions import commit
    from hub.storage.git import AddPointer

    given = {"revision": None, "title": "Add", "door": "api", **more}
    return commit(repo=repo, by=by, operations=[AddPointer(path, stored.sha256, stored.size)], **given)


def collect(days: float = 0, *, now: Any = None, grace: Any = 30 * DAY, dry_run: bool = False) -> Any:
    from hub.repos.garbage import collect

    return collect(now=(now or timezone.now()) + days * DAY, grace=grace, dry_run=dry_run)


def is_stored(stored: Any) -> bool:
    from hub.repos.places import store

    return store().find(stored.sha256) is not None


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


def delete(repo: Any, by: Any) -> None:
    """With what happens after the transaction, which a test's own never reaches."""
    from hub.repos.lifecycle import delete_repo

    with TestCase.captureOnCommitCallbacks(execute=True):
        delete_repo(repo=repo, by=by)


def first_with(repo: Any, path: str) -> str:
    """The oldest commit of main that holds the path."""
    from hub.repos.places import pair

    members = pair(repo).members
    line = members.ancestors_not_in(members_head(repo), [])
    return next(oid for oid in line if members.entry(oid, path) is not None)


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


def age(repo: Any, stored: Any) -> None:
    """As if the file had been uploaded long ago."""
    import os

    from hub.repos.models import UploadedBlob
    from hub.repos.places import store

    UploadedBlob.objects.update(at=timezone.now() - 90 * DAY)
    for path in store().root.rglob("*"):
        if path.is_file() and path.name in (stored.sha256, *stored.xorbs):
            os.utime(path, (1, 1))


def forward(since: Any) -> None:
    from hub.repos.models import UnnamedBlob

    UnnamedBlob.objects.update(since=since)


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
    from training.recipes import pin_one

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


# --- in any order


class Town(RuleBasedStateMachine):
    """`files`: what must be readable now: (repository, ref, path) -> content. Time passes; nothing else is trusted."""

    people: Any

    def __init__(self) -> None:
        super().__init__()
        self.now = timezone.now()
        self.count = 0
        self.repos: list[Any] = []
        self.files: dict[tuple[int, str, str], bytes] = {}
        self.waiting: list[tuple[Any, Any, bytes, Any]] = []  # and since when
        self.proposals: list[Any] = []
        self.ever: dict[str, Any] = {}
        self.make_repo()

    @precondition(lambda self: len(self.repos) < 3)
    @rule()
    def make_repo(self) -> None:
        self.count += 1
        self.repos.append(make_repo(self.people["alice"].user, f"tides-{type(self).serial}-{self.count}"))
        type(self).serial += 1

    @precondition(lambda self: self.repos)
    @rule(which=st.integers(0, 2), seed=st.integers(0, 5))
    def upload(self, which: int, seed: int) -> None:
        """Few different contents, so that repositories share them."""
        repo = self.repos[which % len(self.repos)]
        stored = upload(repo, self.people["alice"].user, noise(seed))
        self.ever[stored.sha256] = stored
        self.waiting.append((repo, stored, noise(seed), self.now))

    @precondition(lambda self: self.waiting)
    @rule(place=st.integers(0, 9))
    def commit(self, place: int) -> None:
        repo, stored, data, since = self.waiting.pop(place % len(self.waiting))
        self.count += 1
        path = f"{self.count}.bin"
        try:
            commit_file(repo, self.people["alice"].user, path, stored)
        except InvalidInput:
            self.check_refusal(stored, since)
            return
        self.files[repo.pk, "main", path] = data

    @precondition(lambda self: self.waiting)
    @rule(place=st.integers(0, 9))
    def propose(self, place: int) -> None:
        repo, stored, data, since = self.waiting.pop(place % len(self.waiting))
        self.count += 1
        path = f"{self.count}.bin"
        try:
            made = commit_file(repo, self.people["alice"].user, path, stored, create_pr=True)
        except InvalidInput:
            self.check_refusal(stored, since)
            return
        self.proposals.append((repo, made.pull_request, path, data))
        self.files[repo.pk, made.pull_request.ref, path] = data

    def check_refusal(self, stored: Any, since: Any) -> None:
        """It waited for too long, and the refusal says so; another upload elsewhere may have brought the bytes again."""
        assert not is_stored(stored) or self.now - since >= 30 * DAY

    @precondition(lambda self: self.proposals)
    @rule(place=st.integers(0, 9))
    def merge(self, place: int) -> None:
        from hub.community.pull_requests import merge

        repo, pull_request, path, data = self.proposals.pop(place % len(self.proposals))
        clear(repo)
        merge(pull_request=pull_request, by=self.people["alice"].user)
        self.files[repo.pk, "main", path] = data

    @precondition(lambda self: self.files)
    @rule(place=st.integers(0, 99))
    def rewrite_history_without_a_file(self, place: int) -> None:
        """main goes back to its first commit; what only it named is let go."""
        from hub.repos.commits import move_ref
        from hub.repos.places import pair

        key = sorted(self.files)[place % len(self.files)]
        repo = next(repo for repo in self.repos if repo.pk == key[0])
        members = pair(repo).members
        first = members.ancestors_not_in(members_head(repo), [])[0]
        move_ref(repo=repo, ref="refs/heads/main", new=first, expected=members_head(repo), by=None, door="hub")
        self.files = {k: data for k, data in self.files.items() if (k[0], k[1]) != (repo.pk, "main")}
        self.proposals = [row for row in self.proposals if row[0].pk != repo.pk]

    @precondition(lambda self: len(self.repos) > 1)
    @rule(which=st.integers(0, 2))
    def delete_repo(self, which: int) -> None:
        repo = self.repos.pop(which % len(self.repos))
        key = repo.pk
        delete(repo, self.people["alice"].user)
        self.files = {k: data for k, data in self.files.items() if k[0] != key}
        self.waiting = [row for row in self.waiting if row[0] is not repo]
        self.proposals = [row for row in self.proposals if row[0] is not repo]

    @precondition(lambda self: self.repos)
    @rule(which=st.integers(0, 2), days=st.integers(0, 29))
    def delete_and_bring_back(self, which: int, days: int) -> None:
        """Within its grace by the clock of the collections, which runs ahead."""
        from hub.repos.deleted import restore_repo
        from hub.repos.models import Repo

        repo = self.repos[which % len(self.repos)]
        delete(repo, self.people["alice"].user)
        Repo.everything.filter(pk=repo.pk).update(deleted_at=self.now)
        self.now += days * DAY
        collect(now=self.now)
        restore_repo(repo=repo, by=self.people["alice"].user)
        repo.refresh_from_db()

    @rule(days=st.integers(1, 45))
    def collect(self, days: int) -> None:
        """Doors write with the real clock, so the collection looks from ahead; each goes further."""
        self.now += days * DAY
        collect(now=self.now)

    @invariant()
    def everything_in_reach_reads_back(self) -> None:
        from hub.community.contributions import reader_for

        for (key, ref, path), data in self.files.items():
            repo = next(repo for repo in self.repos if repo.pk == key)
            reader = reader_for(repo, self.people["alice"].user)
            commit = reader.resolve(ref)
            assert b"".join(reader.read_entry(commit, reader.entry(commit, path))) == data

    def teardown(self) -> None:
        """With nothing named any more everything goes: the collection does give space back."""
        for repo in self.repos:
            delete(repo, self.people["alice"].user)
        for days in (100, 200):
            collect(now=self.now + days * DAY)
        assert not [stored for stored in self.ever.values() if is_stored(stored)]


@pytest.mark.parametrize("examples", [8, pytest.param(60, marks=pytest.mark.slow)], ids=["some", "many"])
def test_no_order_of_acts_and_collections_loses_a_byte(examples: int, alice: Any):
    Town.people, Town.serial = {"alice": alice}, 0
    run_state_machine_as_test(
        Town,
        settings=settings(
            max_examples=examples,
            stateful_step_count=20,
            deadline=None,
            phases=[Phase.generate],  # to shrink a story of so many files takes minutes
            suppress_health_check=list(HealthCheck),
        ),
    )
