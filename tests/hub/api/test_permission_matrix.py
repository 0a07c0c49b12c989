"""Who gets what answer at every address of a repository, in one table.

ANSWERS says what each person is told when they do a kind of thing in a kind of repository; ROWS says which kind of thing each
address does. An address without a row fails the first test. `ok` means that the person was let through: what they sent is
often nonsense, so a 400 or a 409 behind the rule counts, while 401, 403 and "no such repository" do not. `spend` and `bring`
are addresses that carry their own right, made for the person before and used now: `ok` or `no`."""

import json
import re
import time
from dataclasses import dataclass
from typing import Any

import pytest

# elsewhere: the writer with a token that may write, but in another repository only. read-only: the writer's read token.
ANSWERS = """
                  nobody  stranger  reader  writer  owner  moderator  read-only  elsewhere
read public       ok      ok        ok      ok      ok     ok         ok         ok
read private      404     404       ok      ok      ok     ok         ok         404
read gated        ok      ok        ok      ok      ok     ok         ok         ok
read withheld     ok      ok        ok      ok      ok     ok         ok         ok
read disabled     404     404       ok      ok      ok     ok         ok         404
read deleted      404     404       404     404     404    404        404        404
files public      ok      ok        ok      ok      ok     ok         ok         ok
files private     404     404       ok      ok      ok     ok         ok         404
files gated       401     403       ok      ok      ok     ok         ok         403
files withheld    403     403       ok      ok      ok     ok         ok         403
files disabled    404     404       ok      ok      ok     ok         ok         404
files deleted     404     404       404     404     404    404        404        404
copy  public      ok      ok        ok      ok      ok     ok         ok         ok
copy  private     404     404       ok      ok      ok     ok         ok         404
copy  gated       401     403       ok      ok      ok     ok         ok         403
copy  withheld    403     403       ok      ok      ok     ok         ok         403
copy  disabled    404     404       403     403     403    403        403        404
copy deleted      404     404       404     404     404    404        404        404
clone public      ok      ok        ok      ok      ok     ok         ok         ok
clone private     404     404       ok      ok      ok     ok         ok         404
clone gated       401     403       ok      ok      ok     ok         ok         403
clone withheld    ok      ok        ok      ok      ok     ok         ok         ok
clone disabled    404     404       ok      ok      ok     ok         ok         404
clone deleted     404     404       404     404     404    404        404        404
talk public       401     ok        ok      ok      ok     ok         403        403
talk private      404     404       ok      ok      ok     ok         403        404
talk gated        401     ok        ok      ok      ok     ok         403        403
talk withheld     401     ok        ok      ok      ok     ok         403        403
talk disabled     404     404       403     403     403    ok         403        404
talk deleted      404     404       404     404     404    404        404        404
propose public    401     ok        ok      ok      ok     ok         403        403
propose private   404     404       ok      ok      ok     ok         403        404
propose gated     401     403       ok      ok      ok     ok         403        403
propose withheld  401     ok        ok      ok      ok     ok         403        403
propose disabled  404     404       403     403     403    ok         403        404
propose deleted   404     404       404     404     404    404        404        404
write public      401     403       403     ok      ok     403        403        403
write private     404     404       403     ok      ok     403        403        404
write gated       401     403       403     ok      ok     403        403        403
write withheld    401     403       403     ok      ok     403        403        403
write disabled    404     404       403     403     403    403        403        404
write deleted     404     404       404     404     404    404        404        404
admin public      401     403       403     403     ok     403        403        403
admin private     404     404       403     403     ok     403        403        404
admin gated       401     403       403     403     ok     403        403        403
admin withheld    401     403       403     403     ok     403        403        403
admin disabled    404     404       403     403     403    403        403        404
admin deleted     404     404       404     404     404    404        404        404
ask public        401     ok        ok      ok      ok     ok         403        403
ask private       404     404       ok      ok      ok     ok         403        404
ask gated         401     ok        ok      ok      ok     ok         403        403
ask withheld      401     ok        ok      ok      ok     ok         403        403
ask disabled      404     404       ok      ok      ok     ok         403        404
ask deleted       404     404       404     404     404    404        404        404
spend public      ok      ok        ok      ok      ok     ok         ok         ok
spend private     no      no        ok      ok      ok     ok         ok         no
spend gated       no      no        ok      ok      ok     ok         ok         no
spend withheld    no      no        ok      ok      ok     ok         ok         no
spend disabled    no      no        ok      ok      ok     ok         ok         no
spend deleted     no      no        no      no      no     no         no         no
bring public      no      ok        ok      ok      ok     ok         no         no
bring private     no      no        ok      ok      ok     ok         no         no
bring gated       no      no        ok      ok      ok     ok         no         no
bring withheld    no      ok        ok      ok      ok     ok         no         no
bring disabled    no      no        no      no      no     ok         no         no
bring deleted     no      no        no      no      no     no         no         no
"""
MARK = "forty-fathoms"  # in every file but the card, which a gated repository shows everybody
KINDS = ("public", "private", "gated", "withheld", "disabled", "deleted")


@dataclass(frozen=True)
class Row:
    """`address` with {r} for alice/KIND. Of nobody, `action!` asks to sign in before anything else, `action?` where it would
    be let through, `action~` where it finds nothing (as git expects)."""

    pattern: str  # as `shorten` writes it
    method: str
    address: str
    action: str
    body: Any = None


def api(rest: str, *tries: str) -> list[Row]:
    """Rows of /api/models/NAMESPACE/NAME; a try is "METHOD action", and after it another address where names are needed."""
    return [
        Row(f"api:{rest}", method, f"/api/models/{{r}}{where or rest}", action)
        for method, action, where in map(split_try, tries)
    ]


def page(rest: str, *tries: str) -> list[Row]:
    return [
        Row(f"page:{rest}", method, f"/{{r}}{where or rest}", action) for method, action, where in map(split_try, tries)
    ]


def split_try(text: str) -> tuple[str, str, str]:
    method, action, where = (text.split() + [""])[:3]
    return method, action, where


TALK, PULL = "/discussions/<int:number>", "/pulls/<int:number>"
BIG = "big.bin"
ROWS: list[Row] = [
    *api("", "GET read"),
    *api("/revision/<rest:rest>", "GET read /revision/main"),
    *api("/settings", "PUT admin!"),
    *api("/duplicate", "POST copy!"),
    *api("/auth-check", "GET clone"),
    *api("/auth-check/write", "GET write!"),
    *api("/user-access-request", "POST ask!"),
    *api("/user-access-request/handle", "POST write!"),
    *api("/user-access-request/grant", "POST write!"),
    *api("/user-access-request/<str:status>", "GET write! /user-access-request/pending"),
    *api("/lfs-files", "GET write!"),
    *api("/lfs-files/duplicate", "POST clone!"),
    *api("/lfs-files/batch", "POST admin!"),
    *api("/like", "POST talk!", "DELETE talk!"),
    *api("/likers", "GET read"),
    *api("/leaderboard", "GET read"),
    *api("/tree/<rest:rest>", "GET read /tree/main"),
    *api("/paths-info/<rest:rest>", "POST read /paths-info/main"),
    *api("/preupload/<rest:rest>", "POST write /preupload/main", "POST propose /preupload/main?create_pr=1"),
    *api("/commit/<rest:rest>", "POST write! /commit/main", "POST propose! /commit/main?create_pr=1"),
    *api("/safetensors-metadata/<rest:rest>", f"GET files /safetensors-metadata/{BIG}"),
    *api("/refs", "GET read"),
    *api("/commits/<rest:rest>", "GET read /commits/main"),
    *api("/branch/<rest:rest>", "POST write! /branch/b", "DELETE write! /branch/nothing"),
    *api("/tag/<rest:rest>", "POST write! /tag/main", "DELETE write! /tag/nothing"),
    *api("/super-squash/<rest:rest>", "POST write! /super-squash/nothing"),
    *api("/discussions", "GET read", "POST talk!"),
    *api(TALK, "GET read /discussions/1", "GET read /discussions/3?diff=1"),
    *api(f"{TALK}/comment", "POST talk! /discussions/1/comment"),
    *api(f"{TALK}/title", "POST write! /discussions/1/title"),
    *api(f"{TALK}/status", "POST write! /discussions/1/status"),
    *api(f"{TALK}/merge", "POST write! /discussions/2/merge"),
    *api(f"{TALK}/comment/<str:comment>/edit", "POST talk! /discussions/1/comment/0/edit"),
    *api(f"{TALK}/comment/<str:comment>/hide", "POST talk! /discussions/1/comment/0/hide"),
    Row("api:/xet-token", "GET", "/api/models/{r}/xet-read-token/main", "clone"),
    Row("api:/xet-token", "GET", "/api/models/{r}/xet-write-token/main", "write"),
    Row("api:/xet-token", "GET", "/api/models/{r}/xet-write-token/main?create_pr=1", "propose"),
    Row("rest:", "GET", "/api/v1/repos/models/{r}", "read"),
    Row("rest:/purges", "GET", "/api/v1/repos/models/{r}/purges", "admin!"),
    Row("rest:/purges", "POST", "/api/v1/repos/models/{r}/purges", "admin!"),
    Row("rest:/purges/<str:key>", "GET", "/api/v1/repos/models/{r}/purges/none", "admin!"),
    Row("rest:/export", "GET", "/api/v1/repos/models/{r}/export", "admin"),
    Row("rest:/pulls", "GET", "/api/v1/repos/models/{r}/pulls", "read"),
    Row(f"rest:{PULL}", "GET", "/api/v1/repos/models/{r}/pulls/2", "read"),
    Row(f"rest:{PULL}/reviews", "POST", "/api/v1/repos/models/{r}/pulls/2/reviews", "talk!"),
    Row(f"rest:{PULL}/merge", "POST", "/api/v1/repos/models/{r}/pulls/2/merge", "write!"),
    Row(f"rest:{PULL}/live", "GET", "/api/v1/repos/models/{r}/pulls/2/live", "read"),
    Row("file:/resolve", "GET", f"/{{r}}/resolve/main/{BIG}", "files"),
    Row("file:/resolve", "HEAD", f"/{{r}}/resolve/main/{BIG}", "files"),
    Row("file:/resolve", "GET", "/{r}/resolve/main/README.md", "read"),
    Row("file:/resolve", "GET", "/{r}/resolve/main/rows.jsonl", "clone"),
    Row("file:/raw", "GET", "/{r}/raw/main/rows.jsonl", "clone"),
    # Some forms say no in a sentence on the page that they came from; the same services answer programs above.
    *page("", "GET read"),
    *page("/access", "POST read?"),
    *page("/like", "POST talk"),
    *page("/collect", "GET read?"),
    *page("/copy", "GET clone?"),
    *page("/leaderboard", "GET read"),
    *page("/storage", "GET read"),
    *page("/tree", "GET read"),
    *page("/tree/<path:rest>", "GET read /tree/main"),
    *page("/blob/<path:rest>", f"GET read /blob/main/{BIG}"),
    *page("/names/<path:rest>", "GET read /names/main"),
    *page("/edit/<path:rest>", "GET propose /edit/main/rows.jsonl"),
    *page("/new/<path:rest>", "GET propose /new/main"),
    *page("/delete/<path:rest>", "GET propose /delete/main/rows.jsonl"),
    *page("/commits/<path:rest>", "GET read /commits/main"),
    *page("/commit/<str:sha>", "GET clone /commit/{head}"),
    *page("/upload", "GET propose"),
    *page("/upload/start", "POST propose"),
    *page("/upload/parts/<int:number>", "PUT propose /upload/parts/1"),
    *page("/upload/finish", "POST propose"),
    *page("/upload/commit", "POST propose"),
    *page("/discussions", "GET read"),
    *page("/discussions/new", "GET read?"),
    *page(TALK, "GET read /discussions/1"),
    *page(f"{TALK}/commits", "GET read /discussions/2/commits"),
    *page(f"{TALK}/files", "GET clone /discussions/3/files"),
    *page(f"{TALK}/merge", "POST read? /discussions/2/merge"),
    *page(f"{TALK}/review", "POST read? /discussions/2/review"),
    *page(f"{TALK}/ready", "POST read? /discussions/2/ready"),
    *page(f"{TALK}/comment", "POST talk /discussions/1/comment"),
    *page(f"{TALK}/rename", "POST write /discussions/1/rename"),
    *page(f"{TALK}/close", "POST write /discussions/1/close"),
    *page(f"{TALK}/reopen", "POST write /discussions/1/reopen"),
    *page(f"{TALK}/comments/<int:event_id>/edit", "POST read? /discussions/1/comments/0/edit"),
    *page(f"{TALK}/comments/<int:event_id>/hide", "POST read? /discussions/1/comments/0/hide"),
    *page("/settings", "GET admin"),
    *page("/settings/access", "GET write"),
    *page("/settings/purge", "GET admin", "POST admin"),
    *page("/settings/purge/<str:key>", "GET admin /settings/purge/none"),
    *page("/settings/rename", "POST admin"),
    *page("/settings/delete", "POST admin"),
    *page("/settings/people", "POST admin"),
    Row("git:/info/refs", "GET", "/{r}.git/info/refs?service=git-upload-pack", "clone~"),
    Row("git:/info/refs", "GET", "/git/{r}.git/info/refs?service=git-upload-pack", "clone!"),
    Row("git:/info/refs", "GET", "/{r}.git/info/refs?service=git-receive-pack", "propose!"),
    Row("git:/git-upload-pack", "POST", "/{r}.git/git-upload-pack", "clone~", b"0000"),
    Row("git:/git-receive-pack", "POST", "/{r}.git/git-receive-pack", "propose!", b"0000"),
    Row("git:/info/lfs/objects/batch", "POST", "/{r}.git/info/lfs/objects/batch", "clone~", {"operation": "download"}),
    Row("git:/info/lfs/objects/batch", "POST", "/{r}.git/info/lfs/objects/batch", "propose!", {"operation": "upload"}),
    Row("git:/info/lfs/locks", "GET", "/{r}.git/info/lfs/locks", "read~"),
    Row("git:/info/lfs/locks", "POST", "/{r}.git/info/lfs/locks", "read~"),
    Row("git:/info/lfs/locks/(?P<lock>[^/]+)/unlock", "POST", "/{r}.git/info/lfs/locks/1/unlock", "read~"),
    Row("git:/info/lfs/locks/verify", "POST", "/{r}.git/info/lfs/locks/verify", "read~"),
    Row("lfs/download/(ticket)", "GET", "/lfs/download/{download}", "spend"),
    Row("lfs/upload/(ticket)", "PUT", "/lfs/upload/{upload}", "bring", b"other bytes"),
    Row("lfs/parts/(ticket)", "GET", "/lfs/parts/{parts}", "bring"),
    Row("lfs/parts/(ticket)", "POST", "/lfs/parts/{parts}", "bring", {"oid": "0" * 64, "parts": []}),
    Row("lfs/parts/(ticket)/(?P<number>[0-9]{1,5})", "PUT", "/lfs/parts/{parts}/1", "bring", b"other bytes"),
    Row("lfs/verify/(ticket)", "POST", "/lfs/verify/{upload}", "bring"),
    Row("xet/v1/reconstructions/(hash)", "GET", "/xet/v1/reconstructions/{xet}", "spend"),
    Row("xet/v2/reconstructions/(hash)", "GET", "/xet/v2/reconstructions/{xet}", "spend"),
    Row("xet/v1/files/(hash)", "HEAD", "/xet/v1/files/{xet}", "spend"),
    Row("xet/data/(hash)", "GET", "/xet/data/{xorb}?s={signature}", "spend"),
    Row("xet/v1/xorbs/[a-z-]+/(hash)", "POST", "/xet/v1/xorbs/default/{xet}", "bring", b"no xorb"),
    Row("xet/v1/shards", "POST", "/xet/v1/shards", "bring", b"no shard"),
]
OF_BYTES = {"files", "copy", "clone", "spend"}  # what a withheld file changes, or must not
# Addresses that name no repository, or are refused to everybody alike; their own tests say who may use them.
WITHOUT_REPO = r"""
api/spaces/(?:templates|hardware|semantic-search|zero-gpu/quota)
api/spaces/[^/]+/[^/]+/(?:secrets|variables|runtime|hardware|sleeptime|pause|restart|dev-mode|volumes|logs/.*)
api/v1/deleted-repos api/v1/deleted-repos/<str:key> api/v1/deleted-repos/<str:key>/restore
api/v1/imports api/schema api/docs api/v1/me api/v1/repos xet/v1/reconstructions xet/v1/chunks/[a-z-]+/(hash) v1/telemetry
xet/v1/telemetry xet/.* api/whoami-v2 oauth/device oauth/token api/users/<str:who>/overview api/users/<str:who>/likes
api/users/<str:who>/followers api/users/<str:who>/following api/users/<str:who>/follow
api/organizations/<str:who>/overview api/organizations/<str:who>/members api/organizations/<str:who>/followers
api/organizations/<str:who>/follow api/organizations/<str:who>/settings/repositories api/settings/repositories
api/settings/webhooks api/settings/webhooks/<str:key> api/settings/webhooks/<str:key>/enable
api/settings/webhooks/<str:key>/disable api/validate-yaml api/agent-harnesses api/telemetry/.* api/buckets(?:/.*)?
buckets(?:/.*)? api/(?:scheduled-)?jobs(?:/.*)? api/kernels(?:/.*)? api/(?:papers|daily_papers)(?:/.*)? uploads uploads/<str:name>
api/models-tags-by-type api/datasets-tags-by-type api/<repo_type:type> api/repos/create api/repos/delete api/repos/move
api/<repo_type:type>/<str:name> api/collections api/collections/<str:namespace>/<str:slug>
api/collections/<str:namespace>/<str:slug>/items api/collections/<str:namespace>/<str:slug>/items/<str:item>
api/collections/<str:namespace>/<str:slug>/upvote api/collections/<str:namespace>/<str:slug>/resource-group api(?:/.*)?
""".split()
HEADS = (
    (r"api/\(\?P<kind>.*-token/\(\?P<revision>\.\+\)", "api:/xet-token"),
    (r"\(\?P<way>git/\)\?.*\(\?:\\\.git\)\?", "git:"),
    (r"(?:datasets/|spaces/)?<str:namespace>/<str:name>/(resolve|raw)/<rest:rest>", r"file:/\1"),
    (r"api/v1/repos/<repo_type:type>/<str:namespace>/<str:name>", "rest:"),
    (r"api/<repo_type:type>/<str:namespace>/<str:name>(?=/|$)", "api:"),
    (r"(?:datasets/|spaces/)?<hub_name:namespace>/<hub_name:name>(?=/|$)", "page:"),
    (r"\(\?P<(hash|ticket)>[^)]*\)", r"(\1)"),
)
# Something of everything that an address may want, so that it comes as far as the rule.
BODY = {
    "title": "Another title", "comment": "Words", "text": "Words", "content": "Words", "status": "closed", "verdict": "comment",
    "user": "nobody-here", "files": [], "startingPoint": "nothing-here", "tag": "t", "paths": ["rows.jsonl"], "objects": [],
    "body": "Words", "reason": "Words",
}  # fmt: skip


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
    import hub.api.urls
    import hub.web.urls

    doors = {shorten(address) for _, address in list_patterns(hub.api.urls.urlpatterns)}
    pages = {shorten(address) for _, address in list_patterns(hub.web.urls.urlpatterns)}
    return doors | {address for address in pages if address.startswith("page:")}


def expected(action: str, kind: str, person: str) -> str:
    lines = [line.split() for line in ANSWERS.strip().splitlines()]
    told = {(line[0], line[1]): dict(zip(lines[0], line[2:], strict=True)) for line in lines[1:]}
    answer = told[action.rstrip("!?~"), kind][person]
    if person != "nobody":
        return answer
    wanted = {"!": True, "?": answer == "ok", "~": answer == "404"}.get(action[-1], False)
    return "401" if wanted else answer


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

    def __init__(self) -> None:
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
        self.repos = {kind: self.make(kind) for kind in KINDS}

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
            BIG: b"\0 " + MARK.encode() + kind.encode() * 3000,
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
