"""No door gives a stranger what is not cleared: neither what never was, nor what was withdrawn while they kept every id,
address, ticket and cached answer of it. The doors are those of the table of permissions, and those below."""

import json
import re
import zlib
from contextlib import suppress
from typing import Any

import pytest
from django.db import transaction
from django.test import Client

from tests.hub.api.permission_table import BIG, ROWS
from tests.hub.api.test_permission_matrix import Scene, ask
from tests.recordings import make_recording

WITHDRAWN, PENDING = "FortyFathoms", "SixtyFathoms"  # what the files say that were cleared once, and that never were
TEXT, LATER, SIDE, PROPOSED = "rows.jsonl", "later.jsonl", "side.jsonl", "proposed.jsonl"
REFS = ("main", "side", "kept", "refs/pr/1", "refs/convert/candidate_1")


class Shore(Scene):
    """alice/shore: a text and a large file that were public and are withheld; a commit, a branch, a tag and a proposal that
    were never cleared."""

    def __init__(self) -> None:
        super().__init__(("shore",))

    def make(self, kind: str) -> Any:
        from hub.community.contributions import commit
        from hub.repos.commits import move_ref
        from tests.hub.scenes import clear, make_repo, members_head, operations, propose

        owner = self.users["owner"]
        repo = make_repo(owner, kind, type="model")

        def bring(files: dict[str, Any], branch: str = "main") -> None:
            commit(repo=repo, by=owner, revision=branch, title="Files", door="api", operations=operations(files))

        bring(
            {
                "README.md": "# A card",
                TEXT: json.dumps({"depth": WITHDRAWN}),
                BIG: make_recording(0) + WITHDRAWN.encode() * 3000,
            }
        )
        clear(repo)
        self.old = members_head(repo)
        propose(repo, owner, {PROPOSED: json.dumps({"depth": PENDING})})
        bring({LATER: json.dumps({"depth": PENDING}), "deep.bin": b"\0 " + PENDING.encode() * 3000})
        self.new = members_head(repo)
        for ref in ("refs/heads/side", "refs/tags/kept"):
            move_ref(repo=repo, ref=ref, new=self.new, expected=None, by=owner, door="api")
        bring({SIDE: json.dumps({"depth": PENDING})}, "side")
        self.side = members_head(repo, "refs/heads/side")
        repo.refresh_from_db()
        return repo

    def withdraw(self) -> None:
        from tests.hub.scenes import withhold

        withhold(self.repos["shore"], TEXT, BIG)


@pytest.fixture
def shore(db: None, monkeypatch: pytest.MonkeyPatch) -> Shore:
    """No screen clears anything by itself."""
    from hub.repos.events import revision_created

    with monkeypatch.context() as patch:
        patch.setattr(revision_created, "receivers", [])
        patch.setattr(revision_created, "sender_receivers_cache", {})
        patch.setattr(revision_created, "use_caching", False)
        return Shore()


def doors(shore: Shore, given: dict[str, str]) -> list[tuple[str, str, Any, dict[str, str]]]:
    """(method, address, body, headers) of all that reads a revision, a file or an object."""
    found: list[tuple[str, str, Any, dict[str, str]]] = []
    files = (TEXT, BIG, LATER, "deep.bin", SIDE, PROPOSED)
    for revision in (*REFS, shore.old, shore.new, shore.side):
        name = revision.replace("/", "%2F")
        for file in files:
            found += [("GET", f"/{{r}}/{door}/{name}/{file}", None, {}) for door in ("resolve", "raw", "blob", "edit")]
            found.append(("GET", f"/{{r}}/resolve/{name}/{file}?download=true", None, {"HTTP_RANGE": "bytes=0-99"}))
            found.append(("HEAD", f"/{{r}}/resolve/{name}/{file}", None, {}))
        found += [
            ("GET", f"/api/models/{{r}}/{door}", None, {})
            for door in (f"revision/{name}?blobs=true", f"tree/{name}?recursive=true&expand=true", f"commits/{name}",
                         f"xet-read-token/{name}", f"safetensors-metadata/{BIG}?revision={name}", f"compare/{name}")
        ]  # fmt: skip
        found.append(("POST", f"/api/models/{{r}}/paths-info/{name}", {"paths": list(files), "expand": True}, {}))
        found += [("GET", f"/{{r}}/{door}/{name}", None, {}) for door in ("tree", "commits", "commit", "names")]
        found.append(("POST", f"/api/models/{{r}}/branch/try-{len(found)}", {"startingPoint": revision}, {}))
        found.append(("POST", f"/api/models/{{r}}/tag/{name}", {"tag": f"try-{len(found)}"}, {}))
    for commit in (shore.old, shore.new, shore.side):  # git, asked for an object by its id
        for service in ("/{r}.git", "/git/{r}.git"):
            found.append(("POST", f"{service}/git-upload-pack", want(commit), {}))
    found += [("GET", f"/{{r}}/discussions/{number}/files", None, {}) for number in (1, 2)]
    found += [("GET", f"/api/models/{{r}}/discussions/{number}?diff=1", None, {}) for number in (1, 2)]
    found += [
        ("GET", "/api/v1/repos/models/{r}/pulls/1", None, {}),
        ("GET", "/api/v1/repos/models/{r}/export", None, {}),
    ]
    return [(method, address.format(**given), body, headers) for method, address, body, headers in found]


def want(commit: str) -> bytes:
    """A fetch of one object, as git's protocol writes it."""
    line = f"want {commit} side-band-64k ofs-delta agent=git/2.40\n".encode()
    return b"%04x%s00000009done\n" % (len(line) + 4, line)


def read(answer: Any) -> bytes:
    """All that an answer says, its headers too."""
    if answer.get("Content-Type", "").startswith("text/event-stream"):
        return b""
    body = b"".join(answer.streaming_content) if answer.streaming else answer.content
    return body + b"\n".join(f"{name}: {value}".encode() for name, value in answer.items())


def try_all(shore: Shore, client: Client, person: str, given: dict[str, str]) -> dict[str, bytes]:
    """address -> answer, of all doors and of the whole table; what they write is taken back."""
    headers = {"HTTP_AUTHORIZATION": f"Bearer {shore.tokens[person]}"} if person != "nobody" else {}
    found = {}
    for method, address, body, more in doors(shore, given):
        with transaction.atomic():
            data = body if isinstance(body, bytes) else json.dumps(body) if body is not None else ""
            kind = "application/x-git-upload-pack-request" if isinstance(body, bytes) else "application/json"
            answer = client.generic(method, address, data, content_type=kind, **headers, **more)
            assert answer.status_code < 500 or answer.status_code == 501, f"{method} {address}: {answer.status_code}"
            found[f"{len(found)}. {method} {address} {more}"] = read(answer)
            transaction.set_rollback(True)
    for row in ROWS:
        with transaction.atomic():
            found[f"{len(found)}. {row.method} {row.address} (table)"] = read(ask(client, row, given, shore, person))
            transaction.set_rollback(True)
    return found


def inflate(answer: bytes) -> bytes:
    """With what is deflated in it in the clear, as the objects of a packfile are."""
    texts = [answer]
    if b"PACK" in answer:
        for found in re.finditer(rb"\x78[\x01\x5e\x9c\xda]", answer):
            with suppress(zlib.error):
                texts.append(zlib.decompressobj().decompress(answer[found.start() :], 1 << 16))
    return b"".join(texts)


def holding(answers: dict[str, bytes], *marks: str) -> list[str]:
    return [door for door, said in answers.items() if any(mark.encode() in inflate(said) for mark in marks)]


def test_no_door_gives_what_is_not_cleared(shore: Shore) -> None:
    """The same walk three times: while the first files are public, by the owner, and when they are withdrawn."""
    client = Client(raise_request_exception=False)
    kept = {person: shore.given("shore", person) | {"head": shore.old} for person in ("nobody", "stranger")}
    before = try_all(shore, client, "stranger", kept["stranger"])
    assert len(holding(before, WITHDRAWN)) > 20, holding(before, WITHDRAWN)  # the walk does find what is there
    assert any("git-upload-pack" in door for door in holding(before, WITHDRAWN))
    assert not holding(before, PENDING)
    shore.withdraw()
    for person, given in kept.items():
        answers = try_all(shore, client, person, given)
        assert not (leaks := holding(answers, WITHDRAWN, PENDING)), f"for {person}:\n" + "\n".join(leaks)


def test_its_owner_is_given_all_of_it(shore: Shore) -> None:
    """By the same doors: else the walk would show nothing about them."""
    shore.withdraw()
    client = Client(raise_request_exception=False)
    headers = {"HTTP_AUTHORIZATION": f"Bearer {shore.tokens['owner']}"}
    for revision, file, mark in ((shore.old, TEXT, WITHDRAWN), (shore.new, LATER, PENDING), ("side", SIDE, PENDING),
                                 ("kept", LATER, PENDING), ("refs%2Fpr%2F1", PROPOSED, PENDING), ("main", BIG, WITHDRAWN)):  # fmt: skip
        answer = client.get(f"/alice/shore/resolve/{revision}/{file}", follow=True, **headers)
        assert holding({file: read(answer)}, mark), f"{revision}/{file}: {answer.status_code}"


def test_no_ticket_is_made_for_what_is_not_cleared(shore: Shore) -> None:
    """LFS and Xet give addresses, not bytes."""
    shore.withdraw()
    client = Client()
    large = list(shore.repos["shore"].contents.filter(digest__startswith="sha256:"))
    assert len(large) == 2
    body = {"operation": "download", "objects": [{"oid": row.oid, "size": row.size} for row in large]}
    for person, count in (("nobody", 0), ("stranger", 0), ("owner", 2)):
        headers = {"HTTP_AUTHORIZATION": f"Bearer {shore.tokens[person]}"} if person != "nobody" else {}
        address = "/alice/shore.git/info/lfs/objects/batch"
        answer = client.post(address, json.dumps(body), content_type="application/vnd.git-lfs+json", **headers)
        assert sum("actions" in item for item in answer.json()["objects"]) == count, answer.content
        for revision in ("main", "side", "kept", shore.new):
            for file in (BIG, "deep.bin"):
                head = client.head(f"/alice/shore/resolve/{revision}/{file}", **headers)
                assert ("X-Xet-Hash" in head and head.status_code < 400) <= bool(count)


def test_a_cached_answer_is_not_confirmed_after_the_withdrawal(shore: Shore) -> None:
    """Whoever kept an ETag, or an address of the store, does not learn by it that the bytes are still what they were."""
    client = Client()
    kept = {file: client.get(f"/alice/shore/resolve/main/{file}") for file in (TEXT, BIG)}
    tags = {file: answer.get("X-Linked-Etag") or answer["ETag"] for file, answer in kept.items()}
    follow = kept[BIG].get("Location")
    shore.withdraw()
    for file, tag in tags.items():
        for method in ("GET", "HEAD"):
            answer = client.generic(method, f"/alice/shore/resolve/main/{file}", HTTP_IF_NONE_MATCH=tag)
            assert answer.status_code in (403, 404), f"{method} {file}: {answer.status_code}"
            assert tag.strip('"') not in str(dict(answer.items()))
    if follow:
        assert client.get(follow).status_code in (401, 403, 404)


def test_a_new_name_and_a_copy_bring_nothing_out(shore: Shore) -> None:
    from hub.repos.lifecycle import move_repo

    shore.withdraw()
    client = Client()
    headers = {"HTTP_AUTHORIZATION": f"Bearer {shore.tokens['stranger']}"}
    asked = {"repository": "charlie/copy"}
    copied = client.post(
        "/api/models/alice/shore/duplicate", json.dumps(asked), content_type="application/json", **headers
    )
    names = ["alice/shore", "alice/coast", *(["charlie/copy"] if copied.status_code < 300 else [])]
    move_repo(repo=shore.repos["shore"], to="alice/coast", by=shore.users["owner"])
    for name in names:
        for revision in ("main", shore.old, shore.new, "side", "kept"):
            for file in (TEXT, BIG, LATER):
                answer = client.get(f"/{name}/resolve/{revision}/{file}", follow=True, **headers)
                assert not holding({name: read(answer)}, WITHDRAWN, PENDING) and answer.status_code in (403, 404)
