"""git and git-lfs as people use them: clone, push, tags, large files, and the way in for those who may not write."""

import random
import re
from pathlib import Path

import pytest

from tests.clients.running_hub import RunningHub, git, remote
from tests.recordings import make_recording

IBAN = "DE89 3704 0044 0532 0130 00"  # screens hold it for a moderator


@pytest.fixture
def name(new_repo) -> str:
    return new_repo("pushed")


def clone(hub: RunningHub, name: str, folder: Path, person: str | None = "alice", *options: str, way: str = "") -> Path:
    address = remote(hub, f"{way}/datasets/{name}", person)
    git("clone", "-q", *options, address, str(folder), with_lfs=True)
    return folder


def commit(folder: Path, files: dict[str, bytes], message: str = "Change") -> str:
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    git("add", ".", cwd=folder, with_lfs=True)
    git("commit", "-qm", message, cwd=folder, with_lfs=True)
    return head_of(folder)


def head_of(folder: Path) -> str:
    return git("rev-parse", "HEAD", cwd=folder).stdout.strip()


def push(folder: Path, *what: str) -> str:
    """git-lfs' own hook sends the large files first."""
    return git("push", "origin", *what, cwd=folder, with_lfs=True).stderr


def push_refused(folder: Path, *what: str) -> str:
    pushed = git("push", "origin", *what, cwd=folder, with_lfs=True, check=False)
    assert pushed.returncode != 0
    return " ".join(pushed.stderr.split())


def files_at(hub: RunningHub, name: str, revision: str = "main", person: str | None = None) -> list[str]:
    answer = hub.call("GET", f"/api/datasets/{name}/tree/{revision}?recursive=true", person=person)
    return [entry["path"] for entry in answer.json()] if answer.status_code == 200 else []


def test_a_member_pushes_branches_tags_and_large_files(granian_server: RunningHub, name: str, tmp_path: Path):
    folder = clone(granian_server, name, tmp_path / "clone")
    noise = make_recording(5_000_000)
    made = commit(folder, {"notes.txt": b"low water\n", "deep/noise.bin": noise}, "Notes and noise")
    assert "oid sha256" in git("cat-file", "-p", "HEAD:deep/noise.bin", cwd=folder).stdout
    git("tag", "light", cwd=folder)
    git("tag", "-a", "-m", "The first of many", "annotated", cwd=folder)
    said = push(folder, "HEAD:main", "HEAD:refs/heads/deep/side", "--tags")
    assert (
        "ocking" not in said and "hf_" not in said
    )  # git-lfs advised to turn locks on, with the token in its sentence
    locked = git("lfs", "lock", "deep/noise.bin", cwd=folder, with_lfs=True, check=False)
    assert locked.returncode != 0 and "This hub keeps no locks on files" in locked.stdout + locked.stderr

    api = f"/api/datasets/{name}"
    refs = granian_server.call("GET", f"{api}/refs").json()
    assert {row["name"] for row in refs["branches"]} == {"main", "deep/side"}
    assert {row["name"] for row in refs["tags"]} == {"light", "annotated"}
    for revision in ("main", "deep%2Fside", "light", "annotated", made):
        assert "deep/noise.bin" in files_at(granian_server, name, revision)
        answer = granian_server.call("GET", f"/datasets/{name}/resolve/{revision}/deep/noise.bin")
        assert answer.content == noise and answer.headers["X-Repo-Commit"] == made
    newest = granian_server.call("GET", f"{api}/commits/main").json()[0]
    assert (newest["title"], newest["authors"][0]["user"]) == ("Notes and noise", "alice")
    again = clone(granian_server, name, tmp_path / "again", None, "--branch", "annotated")
    assert (again / "deep/noise.bin").read_bytes() == noise

    # The next commit by any door stands on it.
    line = {"key": "file", "value": {"path": "more.txt", "content": "more\n", "encoding": "utf-8"}}
    assert granian_server.commit(f"{api}/commit/main", line).status_code == 200
    push(folder, ":refs/heads/deep/side", ":refs/tags/light")
    refs = granian_server.call("GET", f"{api}/refs").json()
    assert ([row["name"] for row in refs["branches"]], [row["name"] for row in refs["tags"]]) == (
        ["main"],
        ["annotated"],
    )


def test_a_long_push_arrives_in_chunks(granian_server: RunningHub, name: str, tmp_path: Path):
    folder = clone(granian_server, name, tmp_path / "clone")
    text = "".join(f"{number * 7919 % 1000003:x}\n" for number in range(900_000)).encode()
    commit(folder, {"long.txt": text})
    push(folder, "HEAD:main")
    assert granian_server.call("GET", f"/datasets/{name}/raw/main/long.txt").content == text


def test_a_stranger_is_shown_the_way_and_opens_a_pull_request(granian_server: RunningHub, name: str, tmp_path: Path):
    folder = clone(granian_server, name, tmp_path / "clone", "charlie")
    first = commit(
        folder,
        {"pier.txt": b"from the pier\n", "pier.bin": make_recording(5000, random.Random(1))},
        "Rows from the pier",
    )
    assert "its large file was not uploaded" in push_refused(folder, "--no-verify", "HEAD:refs/for/main")
    said = push_refused(folder, "HEAD:main")
    assert "you have no write access" in said and "git push origin HEAD:refs/for/main" in said
    said = push(folder, "HEAD:refs/for/main")
    address = re.search(r"http://\S+/discussions/(\d+)", said)
    assert "Opened pull request #1" in said and address is not None
    assert "git push origin HEAD:refs/pr/1" in said
    assert address[0] == f"{granian_server.url}/datasets/{name}/discussions/1"

    details = granian_server.call("GET", f"/api/datasets/{name}/discussions/1").json()
    assert (details["title"], details["author"]["name"], details["status"]) == ("Rows from the pier", "charlie", "open")
    assert "pier.txt" not in files_at(granian_server, name)

    second = commit(folder, {"pier.txt": b"from the pier, again\n"}, "Once more")
    assert "Updated pull request #1" in push(folder, "HEAD:refs/pr/1")
    tree = granian_server.call("GET", f"/api/datasets/{name}/revision/refs%2Fpr%2F1", person="charlie")
    assert (tree.json()["sha"], first != second) == (second, True)
    merged = granian_server.call("POST", f"/api/datasets/{name}/discussions/1/merge", person="alice", json={})
    assert merged.status_code == 200, merged.text
    assert {"pier.txt", "pier.bin"} <= set(files_at(granian_server, name))
    assert granian_server.call("GET", f"/datasets/{name}/resolve/main/pier.bin").content == make_recording(
        5000, random.Random(1)
    )


def test_a_stranger_reaches_only_their_own_pull_request(granian_server: RunningHub, name: str, tmp_path: Path):
    charlies = clone(granian_server, name, tmp_path / "charlie", "charlie")
    commit(charlies, {"c.txt": b"c\n"}, "Charlie's")
    push(charlies, "HEAD:refs/for/main")
    bobs = clone(granian_server, name, tmp_path / "bob", "bob")
    commit(bobs, {"b.txt": b"b\n"}, "Bob's")
    for ref in (
        "refs/pr/1",
        "refs/heads/new",
        "refs/tags/v1",
        "refs/convert/candidate_1",
        "refs/for/nowhere",
        "refs/pr/77",
    ):
        push_refused(bobs, f"+HEAD:{ref}")
    push_refused(charlies, ":refs/pr/1")
    refs = granian_server.git_in(name.partition("/")[2], "for-each-ref", "--format=%(refname)").split()
    assert refs == ["refs/convert/candidate_1", "refs/heads/main", "refs/pr/1"]
    line = {"key": "file", "value": {"path": "x.txt", "content": "x\n", "encoding": "utf-8"}}
    for person, revision, status in (("bob", "refs%2Fpr%2F1", 403), ("bob", "main", 403), ("charlie", "main", 403)):
        answer = granian_server.commit(f"/api/datasets/{name}/commit/{revision}", line, person=person)
        assert answer.status_code == status
    assert (
        granian_server.commit(f"/api/datasets/{name}/commit/refs%2Fpr%2F1", line, person="charlie").status_code == 200
    )


def test_a_pushed_binary_file_is_refused_with_its_remedy(granian_server: RunningHub, name: str, tmp_path: Path):
    folder = clone(granian_server, name, tmp_path / "clone")
    commit(folder, {"picture.raw": bytes(range(256)) * 10})
    assert "picture.raw is binary; run 'git lfs migrate import --include=\"picture.raw\"'" in push_refused(
        folder, "HEAD:main"
    )


@pytest.mark.parametrize(
    "options", [["--depth=1"], ["--filter=blob:none"], ["--filter=tree:0"], ["--depth=1", "--filter=blob:none"]]
)
def test_shallow_and_partial_clones_work_and_push_back(
    granian_server: RunningHub, name: str, tmp_path: Path, options: list[str]
):
    full = clone(granian_server, name, tmp_path / "full")
    for number in range(3):
        commit(full, {f"{number}.txt": f"{number}\n".encode()}, f"Commit {number}")
    push(full, "HEAD:main")
    part = clone(granian_server, name, tmp_path / "part", "alice", *options)
    assert (part / "1.txt").read_text() == "1\n"
    count = git("rev-list", "--count", "HEAD", cwd=part).stdout.strip()
    assert count == ("1" if "--depth=1" in options else "4")
    commit(part, {"back.txt": b"back\n"}, "Back")
    push(part, "HEAD:main")
    assert "back.txt" in files_at(granian_server, name)
    if "--depth=1" in options:
        git("fetch", "-q", "--unshallow", cwd=part)
        assert git("rev-list", "--count", "HEAD", cwd=part).stdout.strip() == "5"


def test_members_fetch_what_waits_for_clearance_by_their_own_way(granian_server: RunningHub, name: str, tmp_path: Path):
    folder = clone(granian_server, name, tmp_path / "clone", way="/git")
    waiting = commit(
        folder,
        {"people.txt": f"account {IBAN}\n".encode(), "later.bin": make_recording(3000, random.Random(2))},
        "Held",
    )
    said = push(folder, "HEAD:main")
    assert "remote: 1 file of this push is not cleared" in said and f"/datasets/{name}/commit/{waiting}" in said
    again = clone(granian_server, name, tmp_path / "again", way="/git")
    assert head_of(again) == waiting
    assert (again / "later.bin").read_bytes() == make_recording(3000, random.Random(2))
    commit(again, {"more.txt": b"more\n"}, "On top of it")
    push(again, "HEAD:main")
    git("pull", "-q", cwd=folder, with_lfs=True)
    assert (folder / "more.txt").exists()

    page = f"/datasets/{name}"
    assert f"git clone {granian_server.url}/git{page}" in granian_server.call("GET", page, person="alice").text
    assert f"git clone {granian_server.url}{page}" in granian_server.call("GET", page).text
    public = clone(granian_server, name, tmp_path / "public", None)
    assert not (public / "people.txt").exists()
    nobody = git("ls-remote", remote(granian_server, f"/git/datasets/{name}"), check=False)
    assert nobody.returncode != 0  # asked for a token
    by_stranger = clone(granian_server, name, tmp_path / "charlie", "charlie", way="/git")
    assert head_of(by_stranger) == head_of(public)


def test_a_rewritten_branch_leaves_nothing_of_the_old_one_to_strangers(
    granian_server: RunningHub, name: str, tmp_path: Path
):
    folder = clone(granian_server, name, tmp_path / "clone")
    regretted = commit(folder, {"oops.txt": b"better unsaid\n"})
    push(folder, "HEAD:main")
    assert "oops.txt" in files_at(granian_server, name, regretted)
    git("reset", "-q", "--hard", "HEAD~1", cwd=folder)
    commit(folder, {"fine.txt": b"fine\n"})
    push(folder, "+HEAD:main")
    assert files_at(granian_server, name, regretted) == []
    git("init", "-q", str(tmp_path / "other"))
    address = remote(granian_server, f"/datasets/{name}")
    fetched = git("fetch", "-q", address, regretted, cwd=tmp_path / "other", check=False)
    assert "not our ref" in fetched.stderr


@pytest.mark.parametrize("person", [None, "charlie"])
def test_a_private_repository_asks_or_is_missing(granian_server: RunningHub, new_repo, person: str | None):
    private = new_repo("private", private=True)
    asked = git("ls-remote", remote(granian_server, f"/datasets/{private}", person), check=False)
    missing = git("ls-remote", remote(granian_server, "/datasets/alice/nothing-at-all", person), check=False)
    assert asked.returncode == missing.returncode != 0
    assert asked.stderr.replace(private, "X") == missing.stderr.replace("alice/nothing-at-all", "X")
    assert "main" in git("ls-remote", remote(granian_server, f"/datasets/{private}", "alice")).stdout
