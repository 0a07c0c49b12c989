"""Files that leave a history for good: nothing reaches them, nothing else changes, and no crash leaves a ruin."""

import random
import subprocess
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hub.storage.errors import InvalidOperation, StorageError, UnknownRevision
from hub.storage.git import ANY, AddFile, Author, DeleteFile, GitRepo, RepositoryPair, purging, repository, rewriting
from hub.storage.git.commits import format_commit
from hub.storage.git.objects import ObjectBatch, hash_object
from hub.storage.git.pair import list_object_ids
from hub.storage.git.rewriting import Rewriter, find_versions
from hub.storage.git.trees import FOLDER, SUBMODULE, Leaf, format_tree

SECRET = b"key = hunter2-tides\n"
BLOB = hash_object("blob", SECRET)
MAIN, SIDE = "refs/heads/main", "refs/pr/1"


class History:
    """Writes commits of one author, a minute apart."""

    def __init__(self, repo: GitRepo) -> None:
        self.repo = repo
        self.minute = 0

    def author(self) -> Author:
        self.minute += 1
        return Author("Alice", "alice@example.org", datetime(2026, 11, 1, tzinfo=UTC) + timedelta(minutes=self.minute))

    def commit(self, ref: str, files: dict[str, bytes | None], **more: Any) -> str:
        steps = [DeleteFile(path) if data is None else AddFile(path, data) for path, data in files.items()]
        return self.repo.commit(ref, steps, author=self.author(), message=f"Change {self.minute}\n\nWhy.", **more)

    def merge(self, ref: str, other: str) -> str:
        ours = self.repo.read_ref(ref)
        made = self.repo.merge(ours, self.repo.read_ref(other), author=self.author(), message="Merge")
        self.repo.move_ref(ref, made, ours)
        return made


def leak(pair: RepositoryPair) -> dict[str, str]:
    """first - leaked - mended on main, all of it public, and a pull request on `leaked`."""
    history = History(pair.members)
    made = {"first": history.commit(MAIN, {"a.txt": b"a\n", "deep/b.txt": b"b\n"})}
    made["leaked"] = history.commit(MAIN, {"conf/key.env": SECRET, "a.txt": b"aa\n"})
    made["proposal"] = history.commit(SIDE, {"c.txt": b"c\n"}, base=made["leaked"])
    made["mended"] = history.commit(MAIN, {"conf/key.env": None})
    pair.publish(MAIN, made["mended"])
    return made


def texts(repo: GitRepo, commit: str) -> dict[str, str]:
    return {entry.path: entry.oid for entry in repo.tree(commit, recursive=True) if entry.type == "file"}


def check_gone(pair: RepositoryPair, *old: str) -> None:
    """Neither half gives it by id, and both are whole."""
    for half in (pair.members, pair.public):
        assert list_object_ids(half).isdisjoint({BLOB, *old})
        done = subprocess.run(
            ["git", "-C", str(half.path), "fsck", "--strict", "--connectivity-only"], capture_output=True, text=True
        )
        assert done.returncode == 0 and "missing" not in done.stdout + done.stderr, done.stdout + done.stderr


def test_the_file_leaves_both_halves_and_what_is_older_keeps_its_id(pair: RepositoryPair):
    made = leak(pair)
    info = pair.members.commit_info(made["leaked"])
    journal = purging.purge(pair, "p1", [BLOB])
    commits = journal["commits"]
    assert set(commits) == {made["leaked"], made["proposal"], made["mended"]}
    check_gone(pair, *commits)
    main, side = pair.members.read_ref(MAIN), pair.members.read_ref(SIDE)
    assert (main, side) == (commits[made["mended"]], commits[made["proposal"]])
    assert pair.public.read_ref(MAIN) == main
    assert [row.oid for row in pair.members.history(main)] == [main, commits[made["leaked"]], made["first"]]
    now = pair.members.commit_info(commits[made["leaked"]])
    assert (now.title, now.message, now.author, now.date) == (info.title, info.message, info.author, info.date)
    assert set(texts(pair.members, now.oid)) == {"a.txt", "deep/b.txt"}  # its folder went with it
    assert set(texts(pair.members, side)) == {"a.txt", "deep/b.txt", "c.txt"}
    assert journal["refs"] == {MAIN: [made["mended"], main], SIDE: [made["proposal"], side]}
    purging.forget_journal(pair, "p1")
    assert purging.read_journal(pair) is None


def test_what_no_reference_reaches_leaves_too_and_what_is_innocent_stays(pair: RepositoryPair):
    """Runs pin commits by id, long after their candidate was replaced."""
    made = leak(pair)
    history = History(pair.members)
    innocent = history.commit("refs/heads/x", {"x.txt": b"x\n"}, base=made["first"])
    tainted = history.commit("refs/heads/x", {"y.txt": SECRET})
    pair.members.move_ref("refs/heads/x", None, ANY)
    commits = purging.purge(pair, "p1", [BLOB])["commits"]
    check_gone(pair, *commits)
    assert pair.members.has_commit(innocent) and set(texts(pair.members, innocent)) == {"a.txt", "deep/b.txt", "x.txt"}
    assert texts(pair.members, commits[tainted]) == texts(pair.members, innocent)


def test_annotated_tags_move_along(pair: RepositoryPair, git: Any):
    made = leak(pair)
    git(pair.members.path, "-c", "user.name=A", "-c", "user.email=a@b", "tag", "-a", "v1", "-m", "One", made["mended"])
    git(pair.members.path, "-c", "user.name=A", "-c", "user.email=a@b", "tag", "-a", "v0", "-m", "Old", made["first"])
    old, kept = pair.members.read_ref("refs/tags/v1"), pair.members.read_ref("refs/tags/v0")
    commits = purging.purge(pair, "p1", [BLOB])["commits"]
    check_gone(pair, old, *commits)
    assert pair.members.peel(pair.members.read_ref("refs/tags/v1")) == commits[made["mended"]]
    assert pair.members.read_ref("refs/tags/v0") == kept


def test_signatures_of_the_old_bytes_go_and_other_headers_stay(pair: RepositoryPair, git: Any):
    made = leak(pair)
    raw = git(pair.members.path, "cat-file", "commit", made["mended"])
    head, _, body = raw.partition("\n\n")
    signed = f"{head}\nencoding ISO-8859-1\ngpgsig -----BEGIN PGP SIGNATURE-----\n abc\n -----END PGP SIGNATURE-----\n\n{body}"
    oid = git(pair.members.path, "hash-object", "-t", "commit", "-w", "--stdin", stdin=signed).strip()
    pair.members.move_ref(MAIN, oid, ANY)
    new = purging.purge(pair, "p1", [BLOB])["commits"][oid]
    said = git(pair.members.path, "cat-file", "commit", new)
    assert "encoding ISO-8859-1" in said and "gpgsig" not in said and "END PGP" not in said and body in said


@pytest.mark.parametrize("seed", range(4))
def test_in_any_history_nothing_reaches_it_and_all_else_is_equal(pair: RepositoryPair, seed: int):
    """Branches and merges at random; the file comes, goes, comes back and is renamed."""
    rng, history = random.Random(seed), History(pair.members)
    history.commit(MAIN, {"a": b"0"})
    refs = [MAIN, "refs/heads/dev", "refs/pr/1"]
    for step in range(14):
        ref, other = rng.sample(refs, 2)
        base = None if pair.members.read_ref(ref) else pair.members.read_ref(MAIN)
        if pair.members.read_ref(other) and base is None and rng.random() < 0.3:
            try:
                history.merge(ref, other)
            except StorageError:  # a conflict
                continue
        else:
            place = rng.choice(["s/key", "s/t/key", "key"])
            data = SECRET if step in (3, 7) or rng.random() < 0.2 else b"%d" % step
            history.commit(ref, {rng.choice(["b", place]) if data != SECRET else place: data}, base=base)
    if seed % 2:
        pair.publish(MAIN, pair.members.read_ref(MAIN))
    before = {oid: texts(pair.members, oid) for ref in pair.members.refs().values() for oid in ancestors(pair, ref)}
    refs_before = pair.members.refs()
    commits = purging.purge(pair, "p1", [BLOB])["commits"]
    check_gone(pair, *commits)
    assert commits and {ref: commits.get(oid, oid) for ref, oid in refs_before.items()} == pair.members.refs()
    touched = {oid for oid, files in before.items() if BLOB in files.values()}
    for oid, files in before.items():
        holds = any(older in touched for older in ancestors_of(before, refs_parents(pair, commits), oid))
        assert (oid in commits) == holds, oid
        expected = {path: blob for path, blob in files.items() if blob != BLOB}
        assert texts(pair.members, commits.get(oid, oid)) == expected


def ancestors(pair: RepositoryPair, oid: str) -> list[str]:
    return pair.members.ancestors_not_in(oid, [])


def refs_parents(pair: RepositoryPair, commits: dict[str, str]) -> dict[str, list[str]]:
    """Parents in old ids, read from the new history."""
    back = {new: old for old, new in commits.items()}
    found: dict[str, list[str]] = {}
    for tip in pair.members.refs().values():
        for oid in ancestors(pair, tip):
            found[back.get(oid, oid)] = [back.get(parent, parent) for parent in pair.members.commit_info(oid).parents]
    return found


def ancestors_of(known: dict[str, Any], parents: dict[str, list[str]], oid: str) -> set[str]:
    seen, waiting = set(), [oid]
    while waiting:
        current = waiting.pop()
        if current not in seen:
            seen.add(current)
            waiting += parents[current]
    return seen & known.keys()


STEPS = ("write_journal", "renew_stamp", "move_on", "drop_objects", "list_reachable")


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("is_after", [False, True])
def test_a_crash_at_any_step_leaves_a_whole_repository_and_is_completed(
    pair: RepositoryPair, monkeypatch: Any, step: str, is_after: bool
):
    made = leak(pair)
    real = getattr(purging, step)

    def crash(*arguments: Any) -> Any:
        if is_after:
            real(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(purging, step, crash)
    with pytest.raises(KeyboardInterrupt):
        purging.purge(pair, "p1", [BLOB])
    monkeypatch.undo()
    for half in (pair.members, pair.public):  # the old state or the new one, and whole
        tip = half.read_ref(MAIN)
        assert "a.txt" in texts(half, tip) and len(half.history(tip)) == 3
    # Somebody goes on with what they see, before the job comes.
    further = History(pair.members).commit(MAIN, {"later.txt": b"later\n"})
    commits = purging.purge(pair, "p1", [BLOB])["commits"]
    check_gone(pair, *commits)
    head = pair.members.read_ref(MAIN)
    assert head == commits.get(further, further)
    assert set(texts(pair.members, head)) == {"a.txt", "deep/b.txt", "later.txt"}
    assert pair.members.is_ancestor(commits[made["leaked"]], head) and pair.public.has_commit(commits[made["mended"]])


@pytest.mark.parametrize("step", ["copy_to_public", "_point_public_at", "prune_public"])
def test_a_withdrawal_that_was_cut_off_before_is_completed_first(pair: RepositoryPair, monkeypatch: Any, step: str):
    """What it wrote down names commits that are gone afterwards: nothing could be published here again."""
    made = leak(pair)

    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(RepositoryPair, step, die)
        pair.retract({MAIN: made["leaked"]})
    commits = purging.purge(pair, "p1", [BLOB])["commits"]
    check_gone(pair, *commits)
    assert pair.public.read_ref(MAIN) == commits[made["leaked"]]
    pair.publish(MAIN, commits[made["mended"]])
    assert pair.public.read_ref(MAIN) == commits[made["mended"]]


def test_who_prepared_before_the_purge_is_refused_after_it(pair: RepositoryPair, alice: Author, monkeypatch: Any):
    """A commit hashes its files before it stands in the queue, a merge is built before its reference moves."""
    made = leak(pair)
    merged = pair.members.merge(made["first"], made["proposal"], author=alice, message="Merge")
    prepare = repository.prepare_steps

    def purge_then_prepare(*arguments: Any) -> Any:
        purging.purge(pair, "p1", [BLOB])
        return prepare(*arguments)

    monkeypatch.setattr(repository, "prepare_steps", purge_then_prepare)
    with pytest.raises(InvalidOperation, match="taken out of this history"):
        pair.members.commit(MAIN, [AddFile("d.txt", b"d\n")], author=alice, message="Again")
    with pytest.raises(UnknownRevision):
        pair.members.move_ref("refs/convert/candidate_1", merged, ANY)
    batch = ObjectBatch()  # as if the merge had been written a moment later
    tree = pair.members.tree_id(made["first"])
    late = batch.add("commit", format_commit(tree=tree, parents=[made["leaked"]], author=alice, message="Late"))
    batch.flush(pair.members.handle)
    with pytest.raises(UnknownRevision, match="purged meanwhile"):
        pair.members.move_ref("refs/convert/candidate_1", late, ANY)


def test_a_rehearsal_tells_where_it_stands_and_writes_nothing(pair: RepositoryPair):
    made = leak(pair)
    before = list_object_ids(pair.members)
    found = Rewriter(pair.members, [BLOB], is_rehearsal=True).run()
    assert (found.paths, found.holding) == ({"conf/key.env"}, {made["leaked"], made["proposal"]})
    assert len(found.commits) == 3 and list_object_ids(pair.members) == before
    assert find_versions(pair.members, "conf/key.env") == {BLOB}
    assert find_versions(pair.members, "conf") == find_versions(pair.members, "nowhere") == set()


def test_a_pack_of_traps_stands_in_no_way(pair: RepositoryPair, monkeypatch: Any):
    """Whoever may propose brings objects that no commit names: any depth, trees that unfold without end, chains of tags."""
    made = leak(pair)
    batch = ObjectBatch()
    deep = bomb = batch.add("tree", format_tree({b"k": Leaf(b"100644", BLOB)}))
    for _ in range(1500):
        deep = batch.add("tree", format_tree({b"d" * 200: Leaf(FOLDER, deep)}))
    for _ in range(12):
        bomb = batch.add("tree", format_tree({b"%d" % number: Leaf(FOLDER, bomb) for number in range(10)}))
    author = History(pair.members).author()
    for tree in (deep, bomb):
        batch.add("commit", format_commit(tree=tree, parents=[made["first"]], author=author, message="Trap"))
    link = batch.add("tree", format_tree({b"m": Leaf(SUBMODULE, BLOB)}))
    tag = made["leaked"]
    for number in range(1500):
        kind = "tag" if number else "commit"
        said = f"object {tag}\ntype {kind}\ntag t\ntagger A <a@b> 0 +0000\n\nx\n"
        tag = batch.add("tag", said.encode())
    batch.flush(pair.members.handle)
    monkeypatch.setattr(rewriting, "MAX_PATHS", 50)
    found = Rewriter(pair.members, [BLOB], is_rehearsal=True).run()
    assert len(found.paths) == 50 and max(map(len, found.paths)) < 2000
    commits = purging.purge(pair, "p1", [BLOB])["commits"]
    check_gone(pair, tag, deep, bomb, *commits)
    assert link in list_object_ids(pair.members)  # names no file of ours


def test_two_purges_do_not_mix(pair: RepositoryPair):
    leak(pair)
    purging.purge(pair, "p1", [BLOB])
    with pytest.raises(StorageError, match="Another purge"):
        purging.purge(pair, "p2", [hash_object("blob", b"a\n")])
    assert purging.purge(pair, "p1", [BLOB])["is_done"]
    purging.forget_journal(pair, "p1")
    commits = purging.purge(pair, "p2", [hash_object("blob", b"a\n")])["commits"]
    assert "a.txt" in texts(pair.members, pair.members.read_ref(MAIN)) and len(commits) == 4
