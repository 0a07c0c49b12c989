"""`kill -9` of the whole web server while people write through every door: what was confirmed is there afterwards,
what was not is there whole or not at all, and every commit is known with its author."""

import hashlib
import random
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import requests

from tests.clients.hidden_garden import text_line
from tests.clients.running_hub import RunningHub, git, remote
from tests.recordings import make_recording

NAME = "stormy"
API = f"/api/datasets/alice/{NAME}"
# What the workers do within two minutes: finish writes, screen what the crash left unscreened.
RECONCILE = """
from hub.common import jobs
from hub.common.models import Job
from hub.community.interrupted import finish_interrupted
from hub.repos.commits import reconcile
from hub.repos.models import PendingWrite
from moderation.screening.screening import screen_forgotten
finish_interrupted(reconcile(older_than_s=0))
screen_forgotten(older_than_s=0)
for job in Job.objects.filter(state=Job.State.WAITING, kind="moderation.screen_data", subject="forgotten"):
    jobs.run(str(job.pk))
print(PendingWrite.objects.count())
"""


@dataclass
class Writers:
    """People who write until they are told to stop, and remember what the hub confirmed to them."""

    hub: RunningHub
    folder: Path
    noise: random.Random
    confirmed: dict[str, str] = field(default_factory=dict)  # path on main -> SHA-256
    authors: dict[str, str] = field(default_factory=dict)  # title of a confirmed commit -> who made it
    proposals: list[str] = field(default_factory=list)  # titles of confirmed pull requests
    problems: list[str] = field(default_factory=list)  # refusals that no crash explains
    count: int = 0
    is_over: threading.Event = field(default_factory=threading.Event)
    threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        doors = (self.commit_text, self.upload_large, self.propose, self.push)
        self.is_over.clear()
        self.threads = [threading.Thread(target=self.go_on, args=(door,)) for door in doors]
        for thread in self.threads:
            thread.start()

    def stop(self) -> None:
        self.is_over.set()
        for thread in self.threads:
            thread.join()

    def go_on(self, write: Callable[[str], None]) -> None:
        while not self.is_over.is_set():
            self.count += 1
            try:
                write(f"{write.__name__}-{self.count}-{self.noise.getrandbits(32):x}")
            except (requests.RequestException, OSError):
                time.sleep(0.02)  # the server is gone

    def check(self, answer: requests.Response) -> bool:
        if answer.status_code >= 400 and answer.status_code != 503:
            self.problems.append(f"{answer.request.method} {answer.url}: {answer.status_code} {answer.text[:300]}")
        return answer.status_code == 200

    def commit_text(self, word: str) -> None:
        text = f"{word}\n" * 50
        answer = self.hub.commit(f"{API}/commit/main", text_line((f"{word}.txt", text)), summary=word)
        if self.check(answer):
            self.confirmed[f"{word}.txt"] = hashlib.sha256(text.encode()).hexdigest()
            self.authors[word] = "alice"

    def upload_large(self, word: str) -> None:
        data = make_recording(1_000_000, self.noise)
        digest = hashlib.sha256(data).hexdigest()
        batch = {"operation": "upload", "objects": [{"oid": digest, "size": len(data)}]}
        page = f"/datasets/alice/{NAME}.git/info/lfs/objects/batch"
        offer = self.hub.call("POST", page, person="alice", json=batch).json()["objects"][0]
        if not self.check(self.hub.call("PUT", offer["actions"]["upload"]["href"], data=data)):
            return
        value = {"path": f"{word}.bin", "algo": "sha256", "oid": digest, "size": len(data)}
        line = {"key": "lfsFile", "value": value}
        if self.check(self.hub.commit(f"{API}/commit/main", line, summary=word)):
            self.confirmed[f"{word}.bin"] = digest
            self.authors[word] = "alice"

    def propose(self, word: str) -> None:
        line = text_line((f"{word}.txt", "proposed\n"))
        if self.check(self.hub.commit(f"{API}/commit/main?create_pr=1", line, person="charlie", summary=word)):
            self.proposals.append(word)

    def push(self, word: str) -> None:
        folder = self.folder / word
        address = remote(self.hub, f"/datasets/alice/{NAME}", "alice")
        if git("clone", "-q", "--depth=1", address, str(folder), check=False).returncode:
            return
        (folder / f"{word}.txt").write_text(word)
        git("add", ".", cwd=folder)
        git("commit", "-qm", word, cwd=folder)
        if git("push", "-q", "origin", "HEAD:main", cwd=folder, check=False).returncode == 0:
            self.confirmed[f"{word}.txt"] = hashlib.sha256(word.encode()).hexdigest()
            self.authors[word] = "alice"


def read_tree(hub: RunningHub, person: str | None) -> dict[str, str]:
    """path -> SHA-256 of large files, git id of others."""
    entries = hub.call("GET", f"{API}/tree/main?recursive=true&limit=1000", person=person).json()
    return {entry["path"]: entry.get("lfs", entry)["oid"] for entry in entries}


def check_nothing_is_lost(hub: RunningHub, writers: Writers) -> None:
    assert hub.run(RECONCILE).split() == ["0"]
    check_git(hub)
    check_rows(hub, writers)
    shown = read_tree(hub, None)
    assert shown == read_tree(hub, "alice")  # all of it is harmless, so strangers see all of it
    assert set(writers.confirmed) <= set(shown)
    for path, digest in random.Random(1).sample(sorted(writers.confirmed.items()), min(15, len(writers.confirmed))):
        data = hub.call("GET", f"/datasets/alice/{NAME}/resolve/main/{path}").content
        assert hashlib.sha256(data).hexdigest() == digest


def check_git(hub: RunningHub) -> None:
    for half in ("members", "public"):
        folder = str(hub.git_folder(NAME, half))
        checked = subprocess.run(
            ["git", "--git-dir", folder, "fsck", "--strict", "--no-dangling"], capture_output=True, text=True
        )
        assert checked.returncode == 0, checked.stderr
    members = hub.git_in(NAME, "rev-parse", "main")
    assert members == hub.git_in(NAME, "rev-parse", "main", half="public")


def check_rows(hub: RunningHub, writers: Writers) -> None:
    sql = (
        'SELECT r.commit_id, u.username, r.title FROM (SELECT "commit" AS commit_id, author_id, title FROM hub_revision'
        " WHERE repo_id = (SELECT id FROM hub_repo WHERE name = ?)) r LEFT JOIN hub_user u ON u.id = r.author_id"
    )
    rows = hub.query(sql, NAME)
    known = {row[0] for row in rows}
    assert set(hub.git_in(NAME, "rev-list", "--all").split()) <= known
    credit = {title: username for _, username, title in rows}
    assert {word: credit.get(word) for word in writers.authors} == writers.authors
    assert all(credit.get(word) == "charlie" for word in writers.proposals)
    pulls = hub.query(
        "SELECT d.number, p.head, d.title, d.status, p.base FROM hub_pullrequest p JOIN hub_discussion d ON d.id = p.discussion_id"
    )
    refs = dict(
        reversed(line.split())
        for line in hub.git_in(NAME, "for-each-ref", "--format=%(objectname) %(refname)").splitlines()
    )
    for number, head, _, status, base in pulls:
        assert refs[f"refs/pr/{number}"] == head
        assert (head != base) == (status == "open")
    assert set(writers.proposals) <= {title for _, _, title, status, _ in pulls if status == "open"}


@pytest.mark.parametrize("kills", [1, pytest.param(20, marks=pytest.mark.slow)])
def test_the_server_is_killed_while_people_write(own_hub: RunningHub, tmp_path: Path, kills: int):
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    body = {"name": NAME, "type": "dataset"}
    assert own_hub.call("POST", "/api/repos/create", person="alice", json=body).status_code == 200
    writers = Writers(own_hub, tmp_path / "clones", chance)
    writers.folder.mkdir()
    for number in range(kills):
        writers.start()
        while number == 0 and not (writers.confirmed and writers.proposals):
            time.sleep(0.05)  # so that there is something to lose
        time.sleep(chance.uniform(0.3, 2.5))
        own_hub.kill()
        writers.stop()
        own_hub.start()
        if number % 5 == 4 or number == kills - 1:
            check_nothing_is_lost(own_hub, writers)
    assert writers.problems == []
    assert writers.confirmed and writers.proposals
    # And it goes on as if nothing had been.
    writers.commit_text("calm")
    assert "calm.txt" in read_tree(own_hub, None)
