import io
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hub.storage.errors import InvalidOperation, TooLarge
from hub.storage.git import AddFile, Author, RepositoryPair, wire
from hub.storage.git.packets import format_packet
from tests.hub.storage.git.git_http_server import Door

MAIN = "refs/heads/main"
Git = Callable[..., str]
VERSIONS = pytest.mark.parametrize("version", ["0", "1", "2"])


@pytest.fixture
def line(pair: RepositoryPair, alice: Author) -> list[str]:
    """Five commits, of which strangers may read the first three."""
    made = [
        pair.members.commit(
            MAIN,
            [AddFile("rows.csv", b"row %d\n" % n * 90), AddFile(f"d/{n}", b"%d" % n)],
            author=alice,
            message=str(n),
        )
        for n in range(5)
    ]
    pair.publish(MAIN, made[2])
    return made


@VERSIONS
@pytest.mark.parametrize("door", ["members.git", "public.git"])
def test_a_clone_holds_what_its_door_shows(
    line: list[str], address: str, doors: dict[str, Door], tmp_path: Path, git: Git, version: str, door: str
) -> None:
    git(tmp_path, "-c", f"protocol.version={version}", "clone", "-q", f"{address}/{door}", "copy")
    head = git(tmp_path / "copy", "rev-parse", "HEAD").strip()
    assert head == (line[4] if door == "members.git" else line[2])
    assert sorted(path.name for path in (tmp_path / "copy" / "d").iterdir()) == [
        str(n) for n in range(5 if door == "members.git" else 3)
    ]
    git(tmp_path / "copy", "fsck", "--strict", "--full")
    asked = doors[door].seen[-1].get("git-protocol")
    assert asked == (None if version == "0" else f"version={version}")


@VERSIONS
def test_a_shallow_clone_holds_one_commit_and_can_be_deepened(
    line: list[str], address: str, tmp_path: Path, git: Git, version: str
) -> None:
    git(tmp_path, "-c", f"protocol.version={version}", "clone", "-q", "--depth", "1", f"{address}/public.git", "copy")
    assert git(tmp_path / "copy", "rev-list", "HEAD").split() == [line[2]]
    git(tmp_path / "copy", "-c", f"protocol.version={version}", "fetch", "-q", "--unshallow")
    assert git(tmp_path / "copy", "rev-list", "HEAD").split() == line[2::-1]


@VERSIONS
def test_a_partial_clone_fetches_its_blobs_later(
    line: list[str], address: str, tmp_path: Path, git: Git, version: str
) -> None:
    settings = ["-c", f"protocol.version={version}"]
    git(tmp_path, *settings, "clone", "-q", "--no-checkout", "--filter=blob:none", f"{address}/public.git", "copy")
    git(tmp_path / "copy", "config", "protocol.version", version)
    missing = git(tmp_path / "copy", "rev-list", "--objects", "--missing=print", "HEAD").split()
    assert any(oid.startswith("?") for oid in missing)
    git(tmp_path / "copy", "checkout", "-q", "main")
    assert (tmp_path / "copy" / "d" / "1").read_text() == "1"


@VERSIONS
def test_a_fetch_brings_what_is_new(
    pair: RepositoryPair, line: list[str], address: str, tmp_path: Path, git: Git, version: str
) -> None:
    git(tmp_path, "clone", "-q", f"{address}/public.git", "copy")
    pair.publish(MAIN, line[4])
    pair.publish("refs/tags/v1", line[3])
    git(tmp_path / "copy", "-c", f"protocol.version={version}", "fetch", "-q")
    assert git(tmp_path / "copy", "rev-parse", "origin/main", "v1").split() == [line[4], line[3]]


def test_a_long_negotiation_arrives_compressed(
    pair: RepositoryPair, line: list[str], address: str, doors: dict[str, Door], tmp_path: Path, git: Git
) -> None:
    git(tmp_path, "clone", "-q", f"{address}/public.git", "copy")
    for n in range(60):
        git(tmp_path / "copy", "commit", "-q", "--allow-empty", "-m", str(n))
    pair.publish(MAIN, line[4])
    git(tmp_path / "copy", "fetch", "-q")
    assert "gzip" in [headers.get("content-encoding") for headers in doors["public.git"].seen]
    assert git(tmp_path / "copy", "rev-parse", "origin/main").strip() == line[4]


@VERSIONS
def test_an_empty_repository_can_be_cloned(address: str, tmp_path: Path, git: Git, version: str) -> None:
    git(tmp_path, "-c", f"protocol.version={version}", "clone", "-q", f"{address}/public.git", "copy")
    assert git(tmp_path / "copy", "symbolic-ref", "HEAD").strip() == "refs/heads/main" or version != "2"


def list_hidden(pair: RepositoryPair, line: list[str], git: Git) -> dict[str, str]:
    """Every object that only the members' half has: id -> type."""
    listed = git(pair.members.path, "rev-list", "--objects", "--no-object-names", line[4], f"^{line[2]}").split()
    text = git(
        pair.members.path, "cat-file", "--batch-check=%(objectname) %(objecttype)", stdin="\n".join(listed) + "\n"
    )
    return dict(row.split(" ") for row in text.splitlines())  # type: ignore[misc]


@VERSIONS
@pytest.mark.parametrize("option", [[], ["--filter=blob:none"], ["--depth=1"]])
def test_no_object_of_the_members_is_given_to_a_stranger_by_its_id(
    pair: RepositoryPair, line: list[str], address: str, tmp_path: Path, git: Git, version: str, option: list[str]
) -> None:
    hidden = list_hidden(pair, line, git)
    assert set(hidden.values()) == {"commit", "tree", "blob"}
    for door in ("public.git", "stranger.git"):
        copy = tmp_path / f"copy-{door}"
        git(tmp_path, "clone", "-q", f"{address}/{door}", str(copy))
        for oid in hidden:
            said = git(copy, "-c", f"protocol.version={version}", "fetch", *option, "origin", oid, check=False)
            assert "not our ref" in said or "Server does not allow" in said, said
            done = subprocess.run(["git", "cat-file", "-e", oid], cwd=copy, capture_output=True, check=False)
            assert done.returncode != 0
    # The same requests do bring them to a member: the test can fail.
    member = tmp_path / "member"
    git(tmp_path, "init", "-q", "member")
    for oid in hidden:
        git(member, "-c", f"protocol.version={version}", "fetch", "-q", f"{address}/members.git", oid)
        git(member, "cat-file", "-e", oid)


def test_a_lazy_fetch_of_a_partial_clone_cannot_reach_a_hidden_blob(
    pair: RepositoryPair, line: list[str], address: str, tmp_path: Path, git: Git
) -> None:
    git(tmp_path, "clone", "-q", "--filter=blob:none", f"{address}/public.git", "copy")
    for oid, kind in list_hidden(pair, line, git).items():
        said = git(tmp_path / "copy", "cat-file", "-p", oid, check=False)
        assert "not our ref" in said or "Not a valid object" in said, (kind, said)


def test_what_was_withdrawn_is_not_given_by_its_id(
    pair: RepositoryPair, line: list[str], address: str, tmp_path: Path, git: Git
) -> None:
    git(tmp_path, "init", "-q", "copy")
    git(tmp_path / "copy", "fetch", "-q", f"{address}/public.git", line[2])
    pair.retract({MAIN: line[0]})
    git(tmp_path, "init", "-q", "later")
    for oid in (line[1], line[2]):
        assert "not our ref" in git(tmp_path / "later", "fetch", f"{address}/public.git", oid, check=False)


@VERSIONS
def test_an_answer_to_a_raw_want_for_a_hidden_commit_is_an_error(
    pair: RepositoryPair, line: list[str], version: str
) -> None:
    body = format_packet(f"want {line[4]} ofs-delta\n".encode()) + b"0000" + format_packet(b"done\n")
    if version == "2":
        body = format_packet(b"command=fetch") + b"0001" + format_packet(f"want {line[4]}".encode())
        body += format_packet(b"done") + b"0000"
    answer = b"".join(wire.upload_pack(pair.public, io.BytesIO(body), protocol=f"version={version}"))
    assert b"ERR upload-pack: not our ref" in answer and b"PACK" not in answer


def test_references_can_be_left_out_of_the_list(pair: RepositoryPair, line: list[str]) -> None:
    pair.members.move_ref("refs/pr/1", line[0], None)

    def is_shown(ref: str) -> bool:
        return ref.startswith("refs/heads/")

    for service in ("git-upload-pack", "git-receive-pack"):
        shown = wire.advertise(pair.members, service, protocol=None, visible=is_shown)
        assert f"{line[4]} refs/heads/main".encode() in shown and b"refs/pr/1" not in shown
        assert b"refs/pr/1" in wire.advertise(pair.members, service, protocol=None)
    listing = format_packet(b"command=ls-refs") + b"0000"
    answer = wire.upload_pack(pair.members, io.BytesIO(listing), protocol="version=2", visible=is_shown)
    text = b"".join(answer)
    assert b"refs/heads/main" in text and b"refs/pr/1" not in text


@pytest.mark.parametrize("protocol", ["version=2:x=`id`", "version=9", "\n", "key=" + "a" * 5000])
def test_a_strange_protocol_header_is_harmless(pair: RepositoryPair, line: list[str], protocol: str) -> None:
    assert wire.advertise(pair.public, "git-upload-pack", protocol=protocol).endswith(b"0000")


def test_an_unknown_service_is_refused(pair: RepositoryPair) -> None:
    with pytest.raises(InvalidOperation, match="does not exist"):
        wire.advertise(pair.public, "git-shell", protocol=None)


def test_a_request_of_unreal_size_is_refused_at_once(pair: RepositoryPair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MAX_REQUEST_BYTES", 1000)
    with pytest.raises(TooLarge):
        wire.upload_pack(pair.public, io.BytesIO(b"0" * 1001), protocol=None)


def test_nonsense_ends_without_an_answer(pair: RepositoryPair, line: list[str]) -> None:
    for nonsense in (b"", b"hello", b"zzzz", b"0004", b"\0" * 100, os.urandom(1000)):
        assert b"PACK" not in b"".join(wire.upload_pack(pair.public, io.BytesIO(nonsense), protocol="version=2"))


def is_gone(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


def wait_until(is_so: Callable[[], bool], limit_s: float = 15) -> bool:
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        if is_so():
            return True
        time.sleep(0.02)
    return False


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The process groups of every git that the wire starts."""
    groups: list[int] = []
    real = wire.start_git

    def start(*arguments: object, **options: object) -> subprocess.Popen[bytes]:
        process = real(*arguments, **options)  # type: ignore[arg-type]
        groups.append(process.pid)
        return process

    monkeypatch.setattr(wire, "start_git", start)
    return groups


@pytest.fixture
def heavy(pair: RepositoryPair, alice: Author) -> str:
    noise = random.Random(7)
    oid = pair.members.commit(
        MAIN, [AddFile(f"noise/{n}", noise.randbytes(2_000_000)) for n in range(15)], author=alice, message="noise"
    )
    pair.publish(MAIN, oid)
    return oid


def ask_for(oid: str) -> io.BytesIO:
    return io.BytesIO(format_packet(f"want {oid} ofs-delta\n".encode()) + b"0000" + format_packet(b"done\n"))


def test_git_is_ended_when_the_reader_goes_away(pair: RepositoryPair, heavy: str, started: list[int]) -> None:
    answer = wire.upload_pack(pair.public, ask_for(heavy), protocol=None)
    for _ in range(3):
        next(answer)
    assert len(started) == 1 and not is_gone(started[0])
    answer.close()  # type: ignore[attr-defined]
    assert wait_until(lambda: is_gone(started[0]))


def test_git_is_ended_when_the_client_is_killed(
    pair: RepositoryPair, heavy: str, started: list[int], address: str, tmp_path: Path
) -> None:
    client = subprocess.Popen(
        ["git", "clone", "-q", "-c", "http.lowSpeedLimit=0", f"{address}/public.git", "copy"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    # The advertisement is the first git, the listing of references the second, the pack the third.
    assert wait_until(lambda: len(started) >= 3)
    os.killpg(client.pid, signal.SIGKILL)
    client.wait()
    assert wait_until(lambda: all(is_gone(group) for group in started))


def test_an_answer_that_takes_too_long_is_cut(pair: RepositoryPair, heavy: str, started: list[int]) -> None:
    pieces = list(wire.upload_pack(pair.public, ask_for(heavy), protocol=None, limit_s=0.0))
    assert sum(map(len, pieces)) < 30_000_000
    assert wait_until(lambda: is_gone(started[0]))
