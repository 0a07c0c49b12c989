"""A leaked secret leaves history and store by the word of an admin, and stays out; everything else goes on."""

import json
from typing import Any

import pytest
from django.test import Client

from hub.storage.git.objects import hash_object
from tests.hub.scenes import add, clear, make_repo, members_head, propose, public_head, public_texts

pytestmark = pytest.mark.django_db
ADDRESS = "/api/v1/repos/datasets/alice/tides/purges"
SECRET = b"the buoy opens with: mermaid\n"
BLOB = hash_object("blob", SECRET)


def bearer(person: Any) -> dict[str, str]:
    return {"Authorization": f"Bearer {person.token}"} if person is not None else {}


def ask(client: Client, by: Any, *paths: str, address: str = ADDRESS, **more: Any) -> Any:
    given = {"paths": list(paths), "confirm": "alice/tides", **more}
    return client.post(address, json.dumps(given), content_type="application/json", headers=bearer(by))


@pytest.fixture
def repo(alice: Any) -> Any:
    """Public: a card, a secret, and a commit that took it away again."""
    made = make_repo(alice.user)
    add(made, alice.user, {"README.md": "# Tides\n", "data/a.txt": "high\n"})
    add(made, alice.user, {"conf/key.env": SECRET, "data/b.txt": "low\n"})
    add(made, alice.user, {"conf/key.env": None})
    clear(made)
    return made


def store_file(repo: Any, by: Any, path: str, data: bytes, ref: str = "refs/heads/main") -> Any:
    from hub.repos.blobs import record_upload
    from hub.repos.places import store
    from hub.storage.git import AddPointer

    stored = store().add([data])
    record_upload(repo=repo, by=by.user, stored=stored)
    add(repo, by.user, {}, ref=ref, operations=[AddPointer(path, stored.sha256, stored.size)])
    clear(repo)
    return stored


def test_a_rehearsal_says_what_would_happen_and_changes_nothing(client: Client, repo: Any, alice: Any, bob: Any):
    propose(repo, bob.user, {"c.txt": "c\n"})
    head = members_head(repo)
    told = ask(client, alice, "conf/key.env", dry_run=True, confirm="")
    assert told.status_code == 200
    assert told.json() == {
        "paths": ["conf/key.env"], "blobs": [BLOB], "files": [], "commits_holding": 1, "commits_changed": 4,
        "branches": ["main"], "tags": [], "pull_requests": [1], "is_public": True, "why_not": "",
    }  # fmt: skip
    assert members_head(repo) == head and not repo.purges.exists() and SECRET in public_texts(repo)


def test_a_secret_leaves_both_halves_and_their_rows(client: Client, repo: Any, alice: Any):
    from hub.repos.models import Content, LastCommit, Revision
    from hub.repos.places import pair
    from hub.storage.git.pair import list_object_ids
    from moderation.models import AuditEntry

    old = members_head(repo)
    done = ask(client, alice, "conf/key.env")
    assert (done.status_code, done.json()["state"]) == (201, "done")
    repo.refresh_from_db()
    head = members_head(repo)
    assert head == public_head(repo) == repo.head == repo.public_head != old
    for half in (pair(repo).members, pair(repo).public):
        assert list_object_ids(half).isdisjoint({BLOB, old})
    line = pair(repo).members.ancestors_not_in(head, [])
    assert set(Revision.objects.filter(repo=repo).values_list("commit", flat=True)) == set(line) and len(line) == 4
    assert not Content.objects.filter(repo=repo, digest__contains=BLOB).exists()
    kept = dict(LastCommit.objects.filter(repo=repo).values_list("path", "commit"))
    assert kept["data/b.txt"] == line[2] and set(kept.values()) <= set(line) and "conf" not in kept
    entry = AuditEntry.objects.get(action="history.purged")
    assert entry.actor == "alice" and "conf" not in json.dumps(entry.data)
    seen = client.get("/api/datasets/alice/tides/commits/main").json()
    assert [row["id"] for row in seen] == line[::-1]
    assert [row["authors"][0]["user"] for row in seen] == ["alice"] * 4


def test_who_asks_for_an_old_commit_hears_its_present_name(client: Client, repo: Any, alice: Any):
    from hub.common.errors import RevisionNotFound
    from training.workers.materials import lay_out

    old = members_head(repo)
    ask(client, alice, "conf/key.env")
    gone = client.get(f"/datasets/alice/tides/resolve/{old}/README.md")
    assert gone.status_code == 404 and gone.headers["X-Error-Code"] == "RevisionNotFound"
    assert members_head(repo) in gone.headers["X-Error-Message"]
    with pytest.raises(RevisionNotFound, match="it is .* now"):
        lay_out(repo, old, repo)
    first = members_head(repo)
    ask(client, alice, "data/b.txt")
    again = client.get(f"/datasets/alice/tides/resolve/{old}/README.md")
    assert members_head(repo) in again.headers["X-Error-Message"] and members_head(repo) != first


def test_what_was_purged_is_not_taken_again(client: Client, repo: Any, alice: Any):
    from hub.common.errors import Forbidden
    from hub.community.contributions import commit
    from hub.storage.git import AddFile

    stored = store_file(repo, alice, "dump.bin", bytes(range(256)) * 9)
    ask(client, alice, "conf/key.env", "dump.bin")

    def bring(path: str, data: bytes) -> Any:
        steps = [AddFile(path, data)]
        return commit(repo=repo, by=alice.user, revision=None, operations=steps, title="Again", door="api")

    for path, data in (("other.txt", SECRET), ("d.bin", bytes(range(256)) * 9)):
        with pytest.raises(Forbidden, match="purged from alice/tides"):
            bring(path, data)
    text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{stored.sha256}\nsize {stored.size}\n".encode()
    with pytest.raises(Forbidden, match="purged from alice/tides"):
        bring("d.bin", text)
    assert bring("other.txt", b"mended\n").revision.commit == members_head(repo)


def test_a_push_of_the_old_history_is_refused(repo: Any, alice: Any, client: Client):
    """Judged as the git door judges it: by what its commits bring beyond what the repository knows."""
    from hub.community.pushes import PushJudge
    from hub.repos.places import pair
    from hub.storage.git.wire import Quarantine, RefCommand

    members = pair(repo).members
    old = members_head(repo)
    copy = {oid: members.handle.odb.read(oid) for oid in _objects_of(members, old)}
    ask(client, alice, "conf/key.env")
    with Quarantine(members) as quarantine:
        for kind, data in copy.values():
            quarantine.repo.handle.odb.write(kind, data)
        judge = PushJudge(repo, alice.user, address=str)
        command = RefCommand(None, old, "refs/heads/back")
        (result,) = judge.judge(quarantine, [command])
    assert "purged from alice/tides" in result.refusal and "clone anew" in result.refusal


def _objects_of(members: Any, tip: str) -> list[str]:
    from hub.storage.git.processes import run_git

    return run_git(members.path, "rev-list", "--objects", "--no-object-names", tip).decode().split()


def test_large_files_leave_the_store_unless_somebody_else_has_them(client: Client, repo: Any, alice: Any, bob: Any):
    from hub.repos.models import BlobXorb, LooseBytes, StoredBlob, UploadedBlob
    from hub.repos.places import store

    alone, shared = (store_file(repo, alice, f"{n}.bin", bytes([n]) * 9_000) for n in (1, 2))
    other = make_repo(bob.user, "copies")
    store_file(other, bob, "s.bin", bytes([2]) * 9_000)
    done = ask(client, alice, "1.bin", "2.bin").json()["result"]
    assert (done["removed_files"], done["kept_files"]) == (1, 1)
    assert store().find(alone.sha256) is None and store().find_by_xet(alone.xet_hash) is None
    assert not StoredBlob.objects.filter(pk=alone.sha256).exists()
    assert not BlobXorb.objects.filter(blob_id=alone.sha256).exists()
    assert b"".join(store().read(shared.sha256)) == bytes([2]) * 9_000
    assert not UploadedBlob.objects.filter(repo=repo).exists() and UploadedBlob.objects.filter(repo=other).exists()
    assert LooseBytes.objects.get(user=alice.user).name == f"xorb:{alone.xorbs[0]}"  # until it is given back
    tree = client.get("/api/datasets/alice/tides/tree/main").json()
    assert {"1.bin", "2.bin"}.isdisjoint(row["path"] for row in tree)
    token = client.get("/api/datasets/alice/tides/xet-read-token/main", headers=bearer(alice)).json()
    headers = {"Authorization": f"Bearer {token['accessToken']}"}
    for stored in (alone, shared):  # also the one that lies there for another repository
        assert client.get(f"/xet/v1/reconstructions/{stored.xet_hash}", headers=headers).status_code == 404


def test_an_open_proposal_goes_on(client: Client, repo: Any, alice: Any, bob: Any):
    """Its author is told; its checks and approvals count still, since the files that were judged are the same."""
    from hub.community.contributions import commit
    from hub.community.pull_requests import merge
    from hub.storage.git import AddFile

    made = propose(repo, bob.user, {"c.txt": "c\n"})
    clear(repo)
    before = (made.head, made.candidate, made.candidate_digest)
    ask(client, alice, "conf/key.env")
    made.refresh_from_db()
    assert made.head == members_head(repo, "refs/pr/1") != before[0]
    assert made.candidate == members_head(repo, "refs/convert/candidate_1") != before[1]
    assert made.candidate_digest == before[2] and made.candidate_target == members_head(repo)
    (said,) = made.discussion.events.filter(kind="comment", author__is_system=True)
    assert "refs/pr/1" in said.data["text"]
    steps = [AddFile("e.txt", b"e\n")]
    commit(repo=repo, by=bob.user, revision="refs/pr/1", operations=steps, title="More", door="api")
    clear(repo)
    made.refresh_from_db()
    assert merge(pull_request=made, by=alice.user).commit == members_head(repo)


def test_a_candidate_that_held_the_file_is_built_again(client: Client, repo: Any, alice: Any, bob: Any):
    made = propose(repo, bob.user, {"notes/k.txt": SECRET, "c.txt": "c\n"})
    clear(repo)
    digest = made.candidate_digest
    ask(client, alice, "notes/k.txt")
    made.refresh_from_db()
    assert made.candidate_digest not in ("", digest)
    assert made.candidate == members_head(repo, "refs/convert/candidate_1")


def test_a_release_is_never_changed(client: Client, repo: Any, alice: Any):
    from hub.repos.models import RepoRelease
    from tests.guards import set_shown_state, show_release

    row = show_release(repo, commit=members_head(repo))
    refused = ask(client, alice, "conf/key.env")
    assert refused.status_code == 409
    assert "v1.0.0" in refused.json()["error"] and "quarantine" in refused.json()["error"]
    assert not repo.purges.exists() and SECRET in public_texts(repo)
    assert ask(client, alice, "conf/key.env", dry_run=True).json()["why_not"] == refused.json()["error"]
    set_shown_state(row, RepoRelease.State.QUARANTINED)
    assert ask(client, alice, "conf/key.env").status_code == 201


def test_a_release_that_is_published_meanwhile_stays_whole(repo: Any, alice: Any, monkeypatch: Any):
    """A long history is looked through for seconds before anything is decided."""
    from hub.common.errors import Conflict
    from hub.repos import purging
    from tests.guards import show_release

    preview = purging.preview_purge

    def look_slowly(**wanted: Any) -> Any:
        found = preview(**wanted)
        show_release(repo, commit=members_head(repo))
        return found

    monkeypatch.setattr(purging, "preview_purge", look_slowly)
    with pytest.raises(Conflict, match=r"v1\.0\.0"):
        purging.purge_files(repo=repo, by=alice.user, paths=["conf/key.env"])
    assert SECRET in public_texts(repo) and not repo.purges.exists()


def test_a_commit_that_is_overtaken_by_a_purge_is_in_and_says_so(repo: Any, alice: Any, monkeypatch: Any):
    from hub.common.errors import Conflict
    from hub.repos import commits
    from hub.repos.models import Revision
    from hub.repos.places import pair
    from hub.repos.purging import purge_files

    register = commits.register_commits

    def purge_first(**what: Any) -> None:
        purge_files(repo=repo, by=alice.user, paths=["conf/key.env"])
        register(**what)

    with monkeypatch.context() as patch, pytest.raises(Conflict, match="another id now"):
        patch.setattr(commits, "register_commits", purge_first)
        add(repo, alice.user, {"late.txt": "late\n"})
    commits.reconcile(older_than_s=0)
    line = pair(repo).members.ancestors_not_in(members_head(repo), [])
    assert set(Revision.objects.filter(repo=repo).values_list("commit", flat=True)) == set(line) and len(line) == 5


@pytest.mark.parametrize(
    ("given", "status", "words"),
    [
        ({"confirm": "tides"}, 400, "alice/tides"),
        ({"paths": ["conf/nothing"]}, 404, "conf/nothing"),
        ({"paths": ["conf"]}, 404, "file"),
        ({"paths": ["../etc"]}, 400, ".."),
        ({"paths": []}, 400, "Name what"),
        ({"digests": ["git:" + "0" * 40]}, 404, "no content"),
        ({"digests": ["sha256:x"]}, 404, "no content"),
        ({"digests": ["git:e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"]}, 404, "no content"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_sentence(
    client: Client, repo: Any, alice: Any, given: Any, status: int, words: str
):
    refused = ask(client, alice, "conf/key.env", **given)
    assert refused.status_code == status and words in refused.json()["error"]
    assert not repo.purges.exists()


def test_only_admins_purge_and_look(client: Client, repo: Any, alice: Any, bob: Any, charlie: Any):
    from hub.repos.models import RepoCollaborator

    RepoCollaborator.objects.create(repo=repo, user=bob.user, role="write")
    key = ask(client, alice, "conf/key.env").json()["key"]
    for person, status in ((None, 401), (charlie, 403), (bob, 403)):
        for dry_run in (True, False):
            assert ask(client, person, "data/a.txt", dry_run=dry_run).status_code == status
        assert client.get(ADDRESS, headers=bearer(person)).status_code == status
        assert client.get(f"{ADDRESS}/{key}", headers=bearer(person)).status_code == status
    (row,) = client.get(ADDRESS, headers=bearer(alice)).json()
    assert row == client.get(f"{ADDRESS}/{key}", headers=bearer(alice)).json() and row["paths"] == ["conf/key.env"]
    repo.is_private = True
    repo.save()
    assert ask(client, charlie, "data/a.txt").status_code == 404


STEPS = (
    "hub.repos.purging.purge", "hub.repos.purging.bring_rows_in_line", "hub.repos.purging.forget_journal",
    "hub.repos.purging.drop_files", "hub.repos.purge_rows.publish", "hub.repos.purge_rows.remember_last_commits",
    "hub.repos.purging.follow_up",
)  # fmt: skip


@pytest.mark.parametrize("step", STEPS)
def test_a_job_finishes_what_a_crash_left(client: Client, repo: Any, alice: Any, step: str, monkeypatch: Any):
    from hub.common import jobs
    from hub.common.models import Job
    from hub.repos.purging import finish_forgotten

    store_file(repo, alice, "dump.bin", bytes(range(256)) * 9)
    made = propose(repo, alice.user, {"c.txt": "c\n"})

    def crash(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(step, crash)
        ask(client, alice, "conf/key.env", "dump.bin")
    Job.objects.filter(kind="repos.purge").update(state=Job.State.FAILED)
    assert finish_forgotten() == 1 and finish_forgotten() == 0
    job = Job.objects.get(kind="repos.purge", state=Job.State.WAITING)
    jobs.run(str(job.pk))
    job.refresh_from_db()
    row = repo.purges.get()
    made.refresh_from_db()
    repo.refresh_from_db()
    assert (job.state, job.reason, row.state) == ("succeeded", "", "done")
    assert repo.head == repo.public_head == members_head(repo) == public_head(repo)
    assert made.head == members_head(repo, "refs/pr/1") and SECRET not in public_texts(repo)
    assert (row.result["commits"], row.result["removed_files"]) == (5, 1)


def test_who_wrote_at_that_moment_leaves_nothing_behind(client: Client, repo: Any, alice: Any):
    """The job looks again: an object that was hashed before and written after is readable by its id."""
    from hub.common import jobs
    from hub.common.models import Job
    from hub.repos.places import pair

    ask(client, alice, "conf/key.env")
    members = pair(repo).members
    assert str(members.handle.create_blob(SECRET)) == BLOB
    Job.objects.update(not_before=None)
    jobs.run(str(Job.objects.get(kind="repos.purge").pk))
    assert not members.handle.odb.exists(BLOB)


def test_cases_about_the_file_are_closed_and_proposed_releases_are_taken_back(client: Client, alice: Any):
    from moderation.models import Case, Release

    model = make_repo(alice.user, "waves", type="model")
    key = (
        "github_pat_11" + "AB3dE9fGh1JkLm2NoP4qRs" + "_" + "xY7zA1bC3dE5fG7hI9jK1lM3nO5pQ7rS9tU1vW3xY5zA7bC9dE1fG3hI5j"
    )
    add(model, alice.user, {"conf/key.env": f"TOKEN={key}\n"})
    case = Case.objects.get(repo=model)
    proposed = Release.objects.create(repo=model, version="1.0.0", commit=members_head(model), digest="x")
    address = "/api/v1/repos/models/alice/waves/purges"
    digest = case.content.digest
    done = ask(client, alice, address=address, digests=[digest], confirm="alice/waves")
    assert done.status_code == 201 and done.json()["paths"] == ["conf/key.env"]
    case.refresh_from_db()
    proposed.refresh_from_db()
    assert (case.state, case.content, proposed.state) == ("resolved", None, "refused")
    model.refresh_from_db()
    assert model.public_head == model.head == members_head(model)  # nothing holds it back any more
