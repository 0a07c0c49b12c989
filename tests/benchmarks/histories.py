"""Folders, commits and clones: `python -m tests.benchmarks.histories [--entries N] [--commits N] [--files N] [--write]`.

A folder of 10,000 entries whose history of 5,000 commits was pushed by git; one commit of 10,000 small files by API against
`git fast-import` of the same files; a clone by HTTP against a clone of the bare folder by git alone."""

import argparse
import base64
import random
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from tests.benchmarks.metadata import Client
from tests.benchmarks.report import (
    Row,
    at_most,
    describe_machine,
    interleave,
    publish,
    read_arguments,
    seconds_of,
    under,
)
from tests.clients.running_hub import TOKENS, RunningHub, git, prepare_data, remote

# No worker runs here: what the job of the screens does in the end.
SCREENED = """
from hub.repos.models import Content, Repo
repo = Repo.objects.get(name="deep")
repo.contents.filter(clearance="pending").update(clearance="cleared")
"""


def write_stream(files: dict[str, bytes], *, commits: int) -> bytes:
    """Input of `git fast-import`: a first commit with all files, then one file changed in each of the others."""
    names, pieces = sorted(files), []
    for number in range(commits):
        pieces.append(b"commit refs/heads/main\ncommitter A <a@example.org> %d +0000\n" % (1_700_000_000 + number))
        pieces.append(b"data 6\nChange\n")
        changed = names if number == 0 else [names[number * 7919 % len(names)]]
        for name in changed:
            data = files[name] if number == 0 else files[name] + b"%d\n" % number
            pieces.append(b"M 100644 inline %s\ndata %d\n%s\n" % (name.encode(), len(data), data))
    return b"".join(pieces)


def fast_import(folder: Path, stream: bytes) -> Path:
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(folder)], check=True)
    subprocess.run(["git", "--git-dir", str(folder), "fast-import", "--quiet"], input=stream, check=True)
    return folder


def make_files(count: int, rng: random.Random) -> dict[str, bytes]:
    return {f"entry-{number:05}.txt": f"line {rng.getrandbits(400):x}\n".encode() for number in range(count)}


def make_repo(hub: RunningHub, name: str) -> None:
    made = hub.call("POST", "/api/repos/create", person="alice", json={"name": name, "type": "dataset"})
    assert made.status_code == 200, made.text


class Histories:
    def __init__(self, hub: RunningHub, folder: Path, rng: random.Random) -> None:
        self.hub, self.folder, self.rng = hub, folder, rng
        self.count = 0

    def fresh(self) -> Path:
        self.count += 1
        return self.folder / f"fresh-{self.count}"

    # -- one commit of many files

    def commit_by_api(self, files: dict[str, bytes]) -> float:
        name = f"many-{self.fresh().name}"
        make_repo(self.hub, name)
        lines = [
            {"key": "file", "value": {"path": path, "content": base64.b64encode(data).decode(), "encoding": "base64"}}
            for path, data in files.items()
        ]
        began = time.perf_counter()
        done = self.hub.commit(f"/api/datasets/alice/{name}/commit/main", *lines)
        seconds = time.perf_counter() - began
        assert done.status_code == 200, done.text
        return seconds

    def commit_by_fast_import(self, files: dict[str, bytes]) -> float:
        stream = write_stream(files, commits=1)
        return seconds_of(lambda: fast_import(self.fresh(), stream))

    # -- a deep folder

    def push_history(self, entries: int, commits: int) -> float:
        source = fast_import(self.fresh(), write_stream(make_files(entries, self.rng), commits=commits))
        make_repo(self.hub, "deep")
        address = remote(self.hub, "/datasets/alice/deep", "alice")
        return seconds_of(lambda: git("push", "--force", address, "main:main", cwd=source))

    def page(self, client: Client, query: str) -> float:
        """Milliseconds."""
        return seconds_of(lambda: client.get(f"/api/datasets/alice/deep/tree/main?{query}")) * 1000

    # -- a clone

    def clone(self, address: str) -> float:
        """As a member from the first request on: git itself shows who asks only where it is asked to, and would be given
        the public half, in which nothing is before a worker has screened it."""
        target = self.fresh()
        shown = base64.b64encode(f"alice:{TOKENS['alice']}".encode()).decode()
        signed = ["-c", f"http.extraHeader=Authorization: Basic {shown}"]
        seconds = seconds_of(
            lambda: git(*signed, "clone", "--bare", "--no-local", address, str(target), cwd=self.folder)
        )
        assert any((target / "objects/pack").glob("*.pack")), "the clone is empty"
        shutil.rmtree(target)
        return seconds


def compare(bench: Histories, *, entries: int, commits: int, files: int, rounds: int) -> list[Row]:
    rng, hub = bench.rng, bench.hub
    pushed = bench.push_history(entries, commits)
    client = Client(hub.port)
    folder = f"file://{hub.git_folder('deep')}"
    hub.run(SCREENED)
    for _ in range(4):  # both workers
        bench.page(client, "limit=1000&expand=true")
    pages = interleave(
        {
            "page of 1,000": lambda: bench.page(client, "limit=1000"),
            "the same with last commits": lambda: bench.page(client, "limit=1000&expand=true"),
        },
        rounds * 5, rng,
    )  # fmt: skip
    made = interleave(
        {
            "commit by API": lambda: bench.commit_by_api(make_files(files, rng)),
            "git fast-import": lambda: bench.commit_by_fast_import(make_files(files, rng)),
        },
        rounds, rng,
    )  # fmt: skip
    clones = interleave(
        {
            "clone by HTTP": lambda: bench.clone(f"{hub.url}/datasets/alice/deep"),
            "clone by git": lambda: bench.clone(folder),
        },
        rounds, rng,
    )  # fmt: skip
    middle = {name: statistics.median(values) for name, values in (pages | made | clones).items()}
    speed = middle["git fast-import"] / middle["commit by API"]
    size = f"{entries:,} entries, {commits:,} commits"
    return [
        under(f"tree page of 1,000 entries ({size})", middle["page of 1,000"], 20, "ms"),
        under(f"the same with last commits ({size})", middle["the same with last commits"], 20, "ms"),
        Row(
            f"commit of {files:,} small files, speed", f"{middle['commit by API']:.2f} s",
            f"{middle['git fast-import']:.2f} s, git fast-import", speed, "at least 0.50", speed >= 0.5,
        ),
        at_most(
            f"clone ({size})", middle["clone by HTTP"], middle["clone by git"], 1.25, unit="s", named="git, bare folder"
        ),
        Row(f"first push of that history ({size})", f"{pushed:.1f} s"),
    ]  # fmt: skip


def run(*, entries: int, commits: int, files: int, rounds: int, rng: random.Random) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        prepare_data(Path(folder) / "data")
        hub = RunningHub(Path(folder) / "data")
        hub.start()
        try:
            bench = Histories(hub, Path(folder), rng)
            return compare(bench, entries=entries, commits=commits, files=files, rounds=rounds)
        finally:
            hub.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=10_000)
    parser.add_argument("--commits", type=int, default=5_000)
    parser.add_argument("--files", type=int, default=10_000)
    asked = read_arguments(parser)
    machine, rng = describe_machine(), random.Random(asked.seed)
    rows = run(entries=asked.entries, commits=asked.commits, files=asked.files, rounds=asked.rounds, rng=rng)
    publish("Folders, commits and clones", rows, machine=machine, write=asked.write)


if __name__ == "__main__":
    main()
