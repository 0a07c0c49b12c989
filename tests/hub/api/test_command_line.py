"""The `hf` program, unmodified, with nothing but HF_ENDPOINT and a token set."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hub.api.lfs import parts
from tests.clients.running_hub import git
from tests.recordings import make_recording

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("cleared_at_once")]


@pytest.fixture
def hf(hub_url, alice, tmp_path):
    """`hf("upload", ...)` runs the program as Alice and returns what it printed."""

    def run(*arguments: str, person=alice, **more: str) -> str:
        environment = (
            os.environ | {"HF_ENDPOINT": hub_url, "HF_TOKEN": person.token, "HF_HOME": str(tmp_path / "home")} | more
        )
        program = Path(sys.executable).with_name("hf")
        done = subprocess.run([program, *arguments], env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "tide-tables"
    (folder / "data").mkdir(parents=True)
    (folder / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n# Tide tables\n")
    for number in range(5):
        (folder / "data" / f"day-{number}.csv").write_text(f"t,h\n{number},{number * 2}\n")
    (folder / "data" / "noise.bin").write_bytes(make_recording(300_000))
    return folder


@pytest.mark.parametrize("xet", ["0", "1"])
def test_a_folder_goes_up_and_comes_down_again(hf, hub_url, folder, tmp_path, xet):
    printed = hf("upload", "alice/tide-tables", str(folder), "--repo-type", "dataset", HF_HUB_DISABLE_XET=xet)
    assert f"{hub_url}/datasets/alice/tide-tables" in printed
    hf(
        "download",
        "alice/tide-tables",
        "--repo-type",
        "dataset",
        "--local-dir",
        str(tmp_path / "down"),
        HF_HUB_DISABLE_XET=xet,
    )
    for path in folder.rglob("*"):
        if path.is_file():
            assert (tmp_path / "down" / path.relative_to(folder)).read_bytes() == path.read_bytes()


@pytest.mark.covers("HfApi.get_repo_discussions")
def test_a_strangers_folder_becomes_a_pull_request(hf, charlie, client_of, alice, folder):
    client_of(alice).create_repo("alice/tide-tables", repo_type="dataset")
    hf(
        "upload",
        "alice/tide-tables",
        str(folder / "README.md"),
        "--repo-type",
        "dataset",
        "--create-pr",
        person=charlie,
    )
    (found,) = client_of(alice).get_repo_discussions("alice/tide-tables", repo_type="dataset")
    assert (found.is_pull_request, found.author, found.num) == (True, "charlie", 1)


def test_the_program_says_who_one_is(hf):
    assert "alice" in hf("auth", "whoami")


@pytest.mark.covers("hf lfs-enable-largefiles")
def test_git_lfs_sends_large_files_in_parts(hf, hub_url, alice, tmp_path, settings, monkeypatch):
    """git-lfs starts `hf lfs-multipart-upload`, which `hf lfs-enable-largefiles` told it of."""
    settings.LFS_PART_BYTES = 100_000
    hf("repos", "create", "alice/tide-tables", "--repo-type", "dataset")
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    clone, noise = tmp_path / "clone", make_recording(250_000)
    address = hub_url.replace("//", f"//alice:{alice.token}@") + "/datasets/alice/tide-tables"
    git("clone", "-q", address, str(clone), with_lfs=True)
    hf("lfs-enable-largefiles", str(clone))
    git("lfs", "track", "*.bin", cwd=clone, with_lfs=True)
    (clone / "noise.bin").write_bytes(noise)
    (clone / "small.bin").write_bytes(b"small")
    git("add", ".", cwd=clone, with_lfs=True)
    git("commit", "-qm", "Add noise", cwd=clone, with_lfs=True)
    sent = []
    monkeypatch.setattr(parts, "keep_room", lambda *about: sent.append(about[-1]))
    git("lfs", "push", "origin", "main", cwd=clone, with_lfs=True)
    assert sorted(sent) == [5, 250_000, 250_000, 250_000]
    git("push", "-q", "origin", "main", cwd=clone, with_lfs=True)
    hf("download", "alice/tide-tables", "--repo-type", "dataset", "--local-dir", str(tmp_path / "down"))
    assert (tmp_path / "down/noise.bin").read_bytes() == noise
