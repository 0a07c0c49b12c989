"""Who gets what answer at every address of a repository, as tests.hub.api.permission_table says. An address without a row
fails the first test."""

import json
import re
import time
from typing import Any

import pytest

from tests.hub.api.permission_table import BIG, BODY, KINDS, MARK, OF_BYTES, ROWS, WITHOUT_REPO, Row, expected
from tests.recordings import make_recording

HEADS = (
    (r"api/\(\?P<kind>.*-token/\(\?P<revision>\.\+\)", "api:/xet-token"),
    (r"\(\?P<way>git/\)\?.*\(\?:\\\.git\)\?", "git:"),
    (r"(?:datasets/|spaces/)?<str:namespace>/<str:name>/(resolve|raw)/<rest:rest>", r"file:/\1"),
    (r"api/v1/repos/<repo_type:type>/<str:namespace>/<str:name>", "rest:"),
    (r"api/<repo_type:type>/<str:namespace>/<str:name>(?=/|$)", "api:"),
    (r"(?:datasets/|spaces/)?<hub_name:namespace>/<hub_name:name>(?=/|$)", "page:"),
    (r"\(\?P<(hash|ticket)>[^)]*\)", r"(\1)"),
)


def shorten(pattern: str) -> str:
    """One name for an address under models, datasets and spaces alike."""
    pattern = pattern.removeprefix("^").removesuffix("$")
    for head, short in HEADS:
        found = re.sub(f"^{head}" if ":" in short else head, short, pattern)
        if found != pattern:
            return found.replace("$", "")
    return pattern


def list_patterns(patterns: Any, prefix: str = "") -> list[tuple[str, str]]:
    """(module of the view, address) of all that a resolver holds."""
    found = []
    for row in patterns:
        address = prefix + str(row.pattern)
        if hasattr(row, "url_patterns"):
            found += list_patterns(row.url_patterns, address)
        else:
            found.append((row.callback.__module__, address))
    return found


def test_every_address_has_a_row():
    asked = list_addresses()
    assert asked - {row.pattern for row in ROWS} - set(WITHOUT_REPO) == set(), "these addresses have no row"
    assert (set(WITHOUT_REPO) | {row.pattern for row in ROWS}) - asked == set(), "these addresses are gone"


def list_addresses() -> set[str]:
    """All doors for programs, and the pages of a repository."""
    import hub.api.hf.urls
    import hub.api.urls
    import hub.web.urls

    doors = {shorten(address) for _, address in list_patterns([*hub.api.hf.urls.downloads, *hub.api.urls.urlpatterns])}
    pages = {shorten(address) for _, address in list_patterns(hub.web.urls.urlpatterns)}
    return doors | {address for address in pages if address.startswith("page:")}


def outcome(response: Any, action: str) -> str:
    status = response.status_code
    if status >= 500 and status != 501:
        return str(status)
    if action == "spend":
        return "ok" if status < 300 else "no"
    is_login = status == 302 and response["Location"].startswith("/login")
    if action == "bring":
        return "no" if status in (401, 403) else "ok"
    if status in (401, 403) or is_login:
        return "403" if status == 403 else "401"
    text = b"" if response.streaming else response.content
    is_missing = status == 404 and (response.get("X-Error-Code") == "RepoNotFound" or b"repository alice/" in text)
    return "404" if is_missing else "ok"


def touches_bytes(row: Row) -> bool:
    return row.action.rstrip("!?~") in OF_BYTES or BIG in row.address


class Scene:
    """The people, one repository of each kind, and what was given to each person for it before."""

    def __init__(self, kinds: tuple[str, ...] = KINDS) -> None:
        from hub.accounts.tokens import create_token
        from tests.people import make_person

        owner, writer, self.moderator = make_person("alice"), make_person("bob"), make_person("mod", is_moderator=True)
        reader, stranger = make_person("dora"), make_person("charlie")
        self.users = {"nobody": None, "stranger": stranger.user, "reader": reader.user, "writer": writer.user,
                      "owner": owner.user, "moderator": self.moderator.user, "read-only": writer.user,
                      "elsewhere": writer.user}  # fmt: skip
        people = {"stranger": stranger, "reader": reader, "writer": writer, "owner": owner, "moderator": self.moderator}
        self.tokens = {name: person.token for name, person in people.items()}
        _, self.tokens["read-only"] = create_token(user=writer.user, name="reads", role="read")
        scopes = {"models/alice/elsewhere": "write"}
        _, self.tokens["elsewhere"] = create_token(user=writer.user, name="far", role="fineGrained", scopes=scopes)
        self.repos = {kind: self.make(kind) for kind in kinds}

    def make(self, kind: str) -> Any:
        from hub.community.contributions import commit
        from hub.community.discussions import create_discussion
        from hub.community.pull_requests import open_pull_request
        from hub.repos.clearance import set_clearance
        from hub.repos.collaborators import set_collaborator
        from hub.repos.lifecycle import delete_repo, update_settings
        from tests.hub.scenes import make_repo, operations, propose

        owner = self.users["owner"]
        repo = make_repo(owner, kind, type="model")
        files = {
            "README.md": "# A card",
            "rows.jsonl": json.dumps({"depth": MARK}),
            "config.json": json.dumps({"model_type": MARK, "architectures": [MARK]}),
            ".eval_results/a.yaml": f"- dataset: {{id: alice/bench, task_id: {MARK}}}\n  value: 1\n  notes: {MARK}\n",
            BIG: make_recording(0) + MARK.encode() + kind.encode() * 3000,
        }
        commit(repo=repo, by=owner, revision="main", title="Files", door="api", operations=operations(files))
        set_collaborator(repo=repo, user=self.users["reader"], role="read", by=owner)
        set_collaborator(repo=repo, user=self.users["writer"], role="write", by=owner)
        create_discussion(repo=repo, by=owner, title="How deep?", text="Words")
        open_pull_request(repo=repo, by=owner, title="Nothing yet", is_draft=True)
        propose(repo, owner, {"more.jsonl": json.dumps({"depth": MARK})})
        repo.refresh_from_db()
        if kind == "private":
            update_settings(repo=repo, by=owner, is_private=True)
        if kind == "gated":
            update_settings(repo=repo, by=owner, gated="manual")
        if kind == "withheld":
            set_clearance(
                contents=list(repo.contents.filter(digest__startswith="sha256:")), clearance="withheld", reason="A key."
            )
        if kind == "disabled":
            repo.is_disabled = True
            repo.save()
        if kind == "deleted":
            delete_repo(repo=repo, by=owner)
        return repo

    def given(self, kind: str, person: str) -> dict[str, str]:
        """Tickets and tokens of the stores, as if they had been made while the person had every right."""
        from django.core import signing

        from hub.accounts.models import AccessToken
        from hub.api.lfs.tickets import make_ticket
        from hub.api.xet.tokens import Access, sign_pieces
        from hub.repos.models import BlobXorb, Content, StoredBlob
        from hub.repos.places import store

        repo, user = self.repos[kind], self.speaker(person)
        sha256 = Content.objects.filter(repo=repo, digest__startswith="sha256:")[0].oid
        blob = StoredBlob.objects.get(pk=sha256)
        xorb = BlobXorb.objects.get(blob=blob).xorb
        size = store().xorb_path(xorb).stat().st_size
        speaker = (user.pk or 0, user.token.pk) if hasattr(user, "token") else (0, 0)
        assert AccessToken.objects.count() == len(self.tokens)
        claims = {"r": repo.pk, "u": speaker, "c": "", "e": int(time.time()) + 60}
        return {
            "r": f"alice/{kind}",
            "head": repo.head,
            "xet": blob.xet_hash,
            "xorb": xorb,
            "download": make_ticket(repo, user, sha256, blob.size, "download"),
            "upload": make_ticket(repo, user, "0" * 64, 11, "upload"),
            "parts": make_ticket(repo, user, "0" * 64, 11, "parts"),
            "signature": sign_pieces(Access(repo, user, False), sha256, xorb, [(0, size)]),
            "spend": signing.dumps(claims | {"w": False}, salt="xet", compress=True),
            "bring": signing.dumps(claims | {"w": True}, salt="xet", compress=True),
        }

    def speaker(self, person: str) -> Any:
        from django.contrib.auth.models import AnonymousUser

        from hub.accounts.tokens import find_token

        if person == "nobody":
            return AnonymousUser()
        row = find_token(self.tokens[person])
        row.user.token = row
        return row.user


@pytest.mark.django_db
def test_each_address_answers_each_person_as_the_table_says(cleared_at_once):
    from django.db import transaction
    from django.test import Client

    scene = Scene()
    client = Client(raise_request_exception=False)
    wrong, leaks, shown = [], [], set()
    for kind in KINDS:
        for person in scene.users:
            given = scene.given(kind, person)
            is_outside = kind != "withheld" and expected("files", kind, person) != "ok"
            for row in filter(touches_bytes, ROWS) if kind == "withheld" else ROWS:
                with transaction.atomic():
                    answer = ask(client, row, given, scene, person)
                    found = outcome(answer, row.action)
                    if holds_mark(answer):
                        shown.add(row.pattern)
                        leaks += [f"{row.method} {row.address} {kind} for {person}"] if is_outside else []
                    transaction.set_rollback(True)
                if found != (wanted := expected(row.action, kind, person)):
                    wrong.append(
                        f"{row.method} {row.address} ({row.action}) {kind} for {person}: {found}, not {wanted}"
                    )
    assert not wrong, "\n".join([f"{len(wrong)} answers differ:", *wrong])
    assert not leaks, "\n".join([f"{len(leaks)} answers hold what lies in files:", *leaks])
    assert len(shown) > 5, shown  # who may read does see it there


def holds_mark(answer: Any) -> bool:
    """Whether an answer holds something of a file; what streams on and on is looked at in its own tests."""
    if answer.status_code != 200 or answer.get("Content-Type", "").startswith("text/event-stream"):
        return False
    body = b"".join(answer.streaming_content) if answer.streaming else answer.content
    return MARK.encode() in body


def ask(client: Any, row: Row, given: dict[str, str], scene: Scene, person: str) -> Any:
    headers = {"HTTP_AUTHORIZATION": f"Bearer {scene.tokens[person]}"} if person != "nobody" else {}
    if row.pattern.startswith("xet/"):
        headers = {"HTTP_AUTHORIZATION": f"Bearer {given[row.action]}"}
    is_page = row.pattern.startswith("page:")
    data: Any = b""
    if row.method in ("POST", "PUT", "DELETE"):
        own = getattr(scene.users[person], "username", "nobody")
        data = (
            row.body
            if isinstance(row.body, bytes)
            else json.dumps(BODY | {"repository": f"{own}/--"} | (row.body or {}))
        )
    kind = "application/json" if isinstance(data, str) else "application/octet-stream"
    if is_page and row.method == "POST":
        form = {key: value for key, value in BODY.items() if isinstance(value, str)}
        return client.post(row.address.format(**given), form, **headers)
    return client.generic(row.method, row.address.format(**given), data, content_type=kind, **headers)
