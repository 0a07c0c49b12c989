"""Writers who meet on one branch, through HTTP and git, over several processes of the server."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.clients.hidden_garden import text_line
from tests.clients.running_hub import RunningHub, git, remote

WRITERS = 4  # as many as the server has threads


@pytest.fixture
def name(granian_server: RunningHub, new_repo) -> str:
    """A repository that Bob may write, too."""
    name = new_repo("race").partition("/")[2]
    given = {"username": "bob", "role": "write"}
    answer = granian_server.call("POST", f"/datasets/alice/{name}/settings/people", person="alice", data=given)
    assert answer.status_code == 302
    return name


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """What the calls return, begun at the same moment."""
    barrier = threading.Barrier(len(calls))
    answers: list[Any] = [None] * len(calls)

    def run(place: int, call: Callable[[], Any]) -> None:
        barrier.wait()
        answers[place] = call()

    threads = [threading.Thread(target=run, args=item) for item in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def commit(hub: RunningHub, name: str, path: str, person: str, **header: Any) -> requests.Response:
    line = text_line((path, f"{path}\n"))
    return hub.commit(f"/api/datasets/alice/{name}/commit/main", line, person=person, summary=f"Add {path}", **header)


def history(hub: RunningHub, name: str) -> list[dict[str, Any]]:
    """Commits of main as strangers see them, newest first."""
    return hub.call("GET", f"/api/datasets/alice/{name}/commits/main?limit=100").json()


def test_commits_without_a_parent_are_replayed_and_credited_to_their_authors(granian_server: RunningHub, name: str):
    people = ["alice", "bob"] * (WRITERS // 2)
    for turn in range(3):
        calls = [
            lambda place=place, person=person, turn=turn: commit(granian_server, name, f"{turn}-{place}.txt", person)
            for place, person in enumerate(people)
        ]
        assert [answer.status_code for answer in at_once(*calls)] == [200] * WRITERS
    entries = granian_server.call("GET", f"/api/datasets/alice/{name}/tree/main").json()
    wanted = {f"{turn}-{place}.txt" for turn in range(3) for place in range(WRITERS)}
    assert {entry["path"] for entry in entries} == wanted | {".gitattributes"}
    credit = {item["title"]: item["authors"][0]["user"] for item in history(granian_server, name)}
    for turn in range(3):
        for place, person in enumerate(people):
            assert credit[f"Add {turn}-{place}.txt"] == person


def test_of_those_who_state_one_parent_one_wins_and_the_others_are_told(granian_server: RunningHub, name: str):
    parent = history(granian_server, name)[0]["id"]
    calls = [
        lambda place=place: commit(granian_server, name, f"{place}.txt", "alice", parentCommit=parent)
        for place in range(WRITERS)
    ]
    answers = at_once(*calls)
    assert Counter(answer.status_code for answer in answers) == {200: 1, 412: WRITERS - 1}
    refused = next(answer for answer in answers if answer.status_code == 412)
    assert "has moved since" in refused.json()["error"]
    won = next(place for place, answer in enumerate(answers) if answer.status_code == 200)
    entries = granian_server.call("GET", f"/api/datasets/alice/{name}/tree/main").json()
    assert {entry["path"] for entry in entries} == {f"{won}.txt", ".gitattributes"}
    newest = history(granian_server, name)[0]["id"]
    assert commit(granian_server, name, "again.txt", "alice", parentCommit=newest).status_code == 200
    assert commit(granian_server, name, "late.txt", "alice", parentCommit=newest).status_code == 412


def test_a_push_and_commits_meet_and_nothing_is_lost(granian_server: RunningHub, name: str, tmp_path: Path):
    folder = tmp_path / "clone"
    git("clone", "-q", remote(granian_server, f"/datasets/alice/{name}", "bob"), str(folder))
    (folder / "pushed.txt").write_text("pushed\n")
    git("add", ".", cwd=folder)
    git("commit", "-qm", "Push it", cwd=folder)
    calls = [lambda place=place: commit(granian_server, name, f"{place}.txt", "alice") for place in range(WRITERS - 1)]
    pushed, *answers = at_once(lambda: git("push", "origin", "HEAD:main", cwd=folder, check=False), *calls)
    assert [answer.status_code for answer in answers] == [200] * len(calls)
    if pushed.returncode:  # others were faster: git says so, and the usual way helps
        git("pull", "-q", "--rebase", cwd=folder)
        git("push", "-q", "origin", "HEAD:main", cwd=folder)
    entries = granian_server.call("GET", f"/api/datasets/alice/{name}/tree/main").json()
    assert {entry["path"] for entry in entries} >= {"pushed.txt", *(f"{place}.txt" for place in range(WRITERS - 1))}
    credit = {item["title"]: item["authors"][0]["user"] for item in history(granian_server, name)}
    assert (credit["Push it"], credit["Add 0.txt"]) == ("bob", "alice")


def test_thirty_two_writers_at_once_lose_nothing(granian_server: RunningHub, name: str, tmp_path: Path):
    """24 commits without a parent, 4 that state one and the same, 4 pushes that rebase until they are in."""
    parent = history(granian_server, name)[0]["id"]

    def send(place: int, person: str, **header: Any) -> requests.Response:
        while (answer := commit(granian_server, name, f"{place}.txt", person, **header)).status_code == 503:
            time.sleep(float(answer.headers["Retry-After"]) / 4)  # busy: asked to come back
        return answer

    def push(place: int) -> None:
        folder = tmp_path / str(place)
        git("clone", "-q", remote(granian_server, f"/datasets/alice/{name}", "bob"), str(folder))
        (folder / f"pushed-{place}.txt").write_text("pushed\n")
        git("add", ".", cwd=folder)
        git("commit", "-qm", f"Push {place}", cwd=folder)
        for _ in range(40):
            if git("push", "-q", "origin", "HEAD:main", cwd=folder, check=False).returncode == 0:
                return
            git("pull", "-q", "--rebase", cwd=folder, check=False)

    free = [lambda place=place: send(place, ("alice", "bob")[place % 2]) for place in range(24)]
    stated = [lambda place=place: send(place, "alice", parentCommit=parent) for place in range(24, 28)]
    answers = at_once(*free, *stated, *(lambda place=place: push(place) for place in range(4)))
    assert [answer.status_code for answer in answers[:24]] == [200] * 24
    assert Counter(answer.status_code for answer in answers[24:28]) in ({412: 4}, {200: 1, 412: 3})
    told = {answer.json()["commitOid"] for answer in answers[:28] if answer.ok}
    line = history(granian_server, name)
    assert told <= {item["id"] for item in line}
    credit = {item["title"]: item["authors"][0]["user"] for item in line}
    assert credit.items() >= {f"Add {place}.txt": ("alice", "bob")[place % 2] for place in range(24)}.items()
    assert credit.items() >= {f"Push {place}": "bob" for place in range(4)}.items()
    last = tmp_path / "last"
    git("clone", "-q", remote(granian_server, f"/datasets/alice/{name}"), str(last))
    assert {f"{place}.txt" for place in range(24)} | {f"pushed-{n}.txt" for n in range(4)} <= set(
        git("ls-files", cwd=last).stdout.split()
    )
    for half in ("members", "public"):
        folder = str(granian_server.git_folder(name, half))
        git("--git-dir", folder, "fsck", "--strict", "--no-dangling")


def test_proposals_at_once_get_numbers_of_their_own(granian_server: RunningHub, name: str):
    def propose(place: int) -> requests.Response:
        line = text_line((f"{place}.txt", "x\n"))
        address = f"/api/datasets/alice/{name}/commit/main?create_pr=1"
        return granian_server.commit(address, line, person="charlie", summary=f"Plan {place}")

    answers = at_once(*(lambda place=place: propose(place) for place in range(WRITERS)))
    assert [answer.status_code for answer in answers] == [200] * WRITERS
    numbers = {int(answer.json()["pullRequestUrl"].rpartition("/")[2]) for answer in answers}
    assert numbers == set(range(1, WRITERS + 1))


def test_two_who_merge_at_once_merge_once(granian_server: RunningHub, name: str):
    address = f"/api/datasets/alice/{name}"
    line = text_line(("plan.txt", "x\n"))
    assert granian_server.commit(f"{address}/commit/main?create_pr=1", line, person="charlie").status_code == 200

    def merge(person: str) -> int:
        return granian_server.call("POST", f"{address}/discussions/1/merge", person=person, json={}).status_code

    assert sorted(at_once(lambda: merge("alice"), lambda: merge("bob"))) == [200, 409]
    events = granian_server.call("GET", f"{address}/discussions/1").json()["events"]
    assert [event["type"] for event in events].count("merge") == 1
    assert [item["title"] for item in history(granian_server, name)].count("Merge pull request #1: By hand") == 1
