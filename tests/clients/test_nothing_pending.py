"""What is not cleared is not there. A stranger with every id in hand tries every door; the owner, trying the same,
gets it, which shows that the door is open and the question right."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from tests.clients.hidden_garden import Garden, revisions
from tests.clients.running_hub import git, remote

STRANGERS = [pytest.param(None, id="nobody"), pytest.param("charlie", id="charlie")]
Answers = Iterator[requests.Response]


def test_the_garden_grows_as_it_should(garden: Garden):
    rows = garden.hub.query(
        "SELECT path, clearance FROM hub_content JOIN hub_repo ON hub_repo.id = repo_id WHERE name = 'garden'"
        " AND path IN ('open.bin', 'people.txt', 'key.txt', 'bad.pkl', 'later.txt', 'proposal.txt')"
        " AND NOT (path LIKE '%.pkl' AND digest LIKE 'git:%')"
    )
    assert dict(rows) == {
        "open.bin": "cleared", "people.txt": "pending", "key.txt": "withheld", "bad.pkl": "withheld",
        "later.txt": "cleared", "proposal.txt": "pending",
    }  # fmt: skip
    assert garden.hub.call("GET", f"{garden.api}/revision/main").json()["sha"] == garden.commits["open"]


# git


def packet(line: str) -> bytes:
    return b"%04x%s\n" % (len(line) + 5, line.encode())


def fetch_v2(garden: Garden, oid: str, person: str | None) -> requests.Response:
    body = packet("command=fetch") + b"0001" + packet(f"want {oid}") + packet("done") + b"0000"
    headers = {"Git-Protocol": "version=2", "Content-Type": "application/x-git-upload-pack-request"}
    return garden.hub.call("POST", f"{garden.page}.git/git-upload-pack", person=person, data=body, headers=headers)


def fetch_v0(garden: Garden, oid: str, person: str | None) -> requests.Response:
    body = packet(f"want {oid} side-band-64k ofs-delta") + b"0000" + packet("done")
    headers = {"Content-Type": "application/x-git-upload-pack-request"}
    return garden.hub.call("POST", f"{garden.page}.git/git-upload-pack", person=person, data=body, headers=headers)


@pytest.mark.parametrize("fetch", [fetch_v2, fetch_v0])
def test_git_gives_no_hidden_object_by_its_id(garden: Garden, fetch: Callable[..., requests.Response]):
    for oid in [*garden.hidden_commits, *garden.trees, *garden.blobs]:
        assert b"PACK" in fetch(garden, oid, "alice").content
        assert b"PACK" not in fetch(garden, oid, None).content
        assert b"PACK" not in fetch(garden, oid, "charlie").content
    assert b"PACK" in fetch(garden, garden.commits["open"], None).content


@pytest.mark.parametrize("protocol", ["version=0", "version=1", "version=2"])
def test_git_tells_no_hidden_reference(garden: Garden, protocol: str):
    def ask(service: str, person: str | None) -> requests.Response:
        headers = {"Git-Protocol": protocol}
        return garden.hub.call("GET", f"{garden.page}.git/info/refs?service={service}", person=person, headers=headers)

    for service, person in (("git-upload-pack", None), ("git-upload-pack", "charlie"), ("git-receive-pack", "charlie")):
        answer = ask(service, person)
        assert answer.status_code == 200
        assert not garden.holds_hidden(answer)
    assert garden.holds_hidden(ask("git-receive-pack", "alice"))


def test_a_partial_clone_fetches_no_hidden_blob_later(garden: Garden, tmp_path: Path):
    for person, way, is_given in (("charlie", "", False), ("charlie", "/git", False), ("alice", "/git", True)):
        clone = tmp_path / f"{person}-{len(way)}"
        git(
            "clone",
            "-q",
            "--filter=blob:none",
            "--no-checkout",
            remote(garden.hub, way + garden.page, person),
            str(clone),
        )
        for oid in garden.blobs[:2]:
            got = git("cat-file", "-p", oid, cwd=clone, check=False)
            assert (got.returncode == 0) is is_given, got.stderr
        fetched = git("fetch", "-q", "origin", garden.commits["later"], cwd=clone, check=False)
        assert (fetched.returncode == 0) is is_given


# HTTP


def ask_trees(garden: Garden, person: str | None) -> Answers:
    for revision in revisions(garden):
        yield garden.hub.call("GET", f"{garden.api}/tree/{revision}?recursive=true", person=person)
        yield garden.hub.call("GET", f"{garden.api}/revision/{revision}?blobs=true", person=person)


def ask_tree_of_main(garden: Garden, person: str | None) -> Answers:
    for query in ("recursive=true", "expand=true"):
        yield garden.hub.call("GET", f"{garden.api}/tree/main?{query}", person=person)
    yield garden.hub.call("GET", f"{garden.api}?full=true&blobs=true", person=person)


FILES = {"pending": ["people.txt"], "secret": ["key.txt"], "later": ["later.txt", "later.bin", "people.txt"]}


def ask_files(garden: Garden, person: str | None) -> Answers:
    places = [("main", ["people.txt", "later.bin", "bad.pkl"]), (garden.commits["open"], ["people.txt", "bad.pkl"])]
    places += [(garden.commits[word], names) for word, names in FILES.items()]
    places += [(garden.proposed, ["proposal.txt"]), (f"refs%2Fpr%2F{garden.pull_request}", ["proposal.txt"])]
    places += [("v0", ["people.txt", "key.txt"]), ("side", ["later.txt"]), ("refs%2Fheads%2Fside", ["later.bin"])]
    for revision, names in places:
        for name in names:
            yield garden.hub.call("GET", f"{garden.page}/resolve/{revision}/{name}", person=person)
            if name != "bad.pkl":  # its pointer is public
                yield garden.hub.call("GET", f"{garden.page}/raw/{revision}/{name}", person=person)
    part = {"Range": "bytes=0-99"}
    yield garden.hub.call("GET", f"{garden.page}/resolve/main/bad.pkl", person=person, headers=part)
    yield garden.hub.call(
        "GET", f"{garden.page}/resolve/{garden.commits['later']}/later.bin", person=person, headers=part
    )


def ask_paths(garden: Garden, person: str | None) -> Answers:
    paths = {"paths": ["people.txt", "key.txt", "later.bin", "bad.pkl", "proposal.txt"], "expand": "true"}
    for revision in ["main", *revisions(garden)]:
        yield garden.hub.call("POST", f"{garden.api}/paths-info/{revision}", person=person, data=paths)


def ask_history(garden: Garden, person: str | None) -> Answers:
    for revision in ["main", *revisions(garden)]:
        yield garden.hub.call("GET", f"{garden.api}/commits/{revision}", person=person)


def ask_refs(garden: Garden, person: str | None) -> Answers:
    yield garden.hub.call("GET", f"{garden.api}/refs?include_prs=1", person=person)


def ask_pages(garden: Garden, person: str | None) -> Answers:
    for revision in ["main", *revisions(garden)]:
        for page in ("tree", "commits", "names"):
            yield garden.hub.call("GET", f"{garden.page}/{page}/{revision}", person=person)
    for word, names in FILES.items():
        for name in names:
            yield garden.hub.call("GET", f"{garden.page}/blob/{garden.commits[word]}/{name}", person=person)
            yield garden.hub.call("GET", f"{garden.page}/blob/main/{name}", person=person)
    for commit in garden.hidden_commits:
        yield garden.hub.call("GET", f"{garden.page}/commit/{commit}", person=person)
    yield garden.hub.call("GET", garden.page, person=person)


def ask_proposal(garden: Garden, person: str | None) -> Answers:
    for part in ("files", "commits"):
        yield garden.hub.call("GET", f"{garden.page}/discussions/{garden.pull_request}/{part}", person=person)


def ask_proposal_diff(garden: Garden, person: str | None) -> Answers:
    answer = garden.hub.call("GET", f"{garden.api}/discussions/{garden.pull_request}?diff=1", person=person)
    # That a commit came, with its id and title, is told to all like any comment; what it holds is not.
    answer._content = str(answer.json()["diff"]).encode()
    yield answer


HTTP_DOORS = [
    ask_trees, ask_tree_of_main, ask_files, ask_paths, ask_history, ask_refs, ask_pages, ask_proposal, ask_proposal_diff,
]  # fmt: skip


@pytest.mark.parametrize("ask", HTTP_DOORS)
def test_no_address_tells_what_is_hidden(garden: Garden, ask: Callable[[Garden, str | None], Answers]):
    for person in (None, "charlie"):
        for answer in ask(garden, person):
            assert not garden.holds_hidden(answer), f"{answer.request.method} {answer.url} as {person}"
            assert answer.status_code < 500
    assert any(garden.holds_hidden(answer) for answer in ask(garden, "alice"))


@pytest.mark.parametrize("person", STRANGERS)
def test_search_and_lists_know_nothing_of_it(garden: Garden, person: str | None):
    words = ["mark-of-pending", "people.txt", "key.txt", "cellar", "mark-of-private"]
    places = ("/api/datasets?search=", "/api/v1/repos?search=", "/search?q=", "/datasets?q=", "/api/datasets?full=1&x=")
    for place in places:
        for word in words:
            answer = garden.hub.call("GET", place + word, person=person)
            assert answer.status_code < 500
            found = answer.text.replace(f'value="{word}"', "")  # the search box repeats the question
            assert "alice/cellar" not in found
            assert not any(mark in found for mark in ("mark-of-pending,", "aws_access"))
    assert "alice/cellar" in garden.hub.call("GET", "/api/datasets?search=cellar", person="alice").text


@pytest.mark.parametrize("person", STRANGERS)
def test_a_private_repository_looks_like_a_missing_one(garden: Garden, person: str | None):
    def ask(name: str) -> list[tuple[int, str | None]]:
        api, page = f"/api/datasets/alice/{name}", f"/datasets/alice/{name}"
        paths = (
            api, f"{api}/tree/main", f"{api}/refs", f"{api}/xet-read-token/main", f"{api}/xet-write-token/main",
            f"{api}/discussions", f"{page}/resolve/main/wine.txt", f"{page}.git/info/refs?service=git-upload-pack",
            f"{page}.git/info/refs?service=git-receive-pack", page, f"{page}/tree/main",
        )  # fmt: skip
        answers = [garden.hub.call("GET", path, person=person) for path in paths]
        batch = {"operation": "download", "objects": [{"oid": garden.sha256("cellar.bin"), "size": 1_500_000}]}
        answers.append(garden.hub.call("POST", f"{page}.git/info/lfs/objects/batch", person=person, json=batch))
        answers.append(garden.hub.commit(f"{api}/commit/main", person=person or "charlie"))
        assert not any(garden.holds_hidden(answer) for answer in answers)
        return [(answer.status_code, answer.headers.get("X-Error-Code")) for answer in answers]

    assert ask("cellar") == ask("nothing-here")


def test_the_author_of_a_pending_proposal_reads_it(garden: Garden):
    for revision in (f"refs%2Fpr%2F{garden.pull_request}", garden.proposed):
        answer = garden.hub.call("GET", f"{garden.page}/resolve/{revision}/proposal.txt", person="bob")
        assert "mark-of-proposal" in answer.text
        tree = garden.hub.call("GET", f"{garden.api}/tree/{revision}", person="bob")
        assert "proposal.txt" in [entry["path"] for entry in tree.json()]
    diff = garden.hub.call("GET", f"{garden.api}/discussions/{garden.pull_request}?diff=1", person="bob")
    assert "mark-of-proposal" in diff.json()["diff"]
    # and nothing else that waits there
    assert garden.hub.call("GET", f"{garden.api}/tree/{garden.commits['pending']}", person="bob").status_code == 404
