"""The table of permissions: ANSWERS says what each person is told when they do a kind of thing in a kind of repository; ROWS
says which kind of thing each address does.

`ok` means that the person was let through: what they sent is often nonsense, so a 400 or a 409 behind the rule counts, while
401, 403 and "no such repository" do not. `spend` and `bring` are addresses that carry their own right, made for the person
before and used now: `ok` or `no`."""

from dataclasses import dataclass
from typing import Any

# elsewhere: the writer with a token that may write, but in another repository only. read-only: the writer's read token.
ANSWERS = """
                  nobody  stranger  reader  writer  owner  moderator  read-only  elsewhere
read public       ok      ok        ok      ok      ok     ok         ok         ok
read private      404     404       ok      ok      ok     ok         ok         404
read gated        ok      ok        ok      ok      ok     ok         ok         ok
read withheld     ok      ok        ok      ok      ok     ok         ok         ok
read disabled     403     403       ok      ok      ok     ok         ok         403
read deleted      404     404       404     404     404    404        404        404
files public      ok      ok        ok      ok      ok     ok         ok         ok
files private     404     404       ok      ok      ok     ok         ok         404
files gated       401     403       ok      ok      ok     ok         ok         403
files withheld    403     403       ok      ok      ok     ok         ok         403
files disabled    403     403       ok      ok      ok     ok         ok         403
files deleted     404     404       404     404     404    404        404        404
copy  public      ok      ok        ok      ok      ok     ok         ok         ok
copy  private     404     404       ok      ok      ok     ok         ok         404
copy  gated       401     403       ok      ok      ok     ok         ok         403
copy  withheld    403     403       ok      ok      ok     ok         ok         403
copy  disabled    403     403       403     403     403    403        403        403
copy deleted      404     404       404     404     404    404        404        404
clone public      ok      ok        ok      ok      ok     ok         ok         ok
clone private     404     404       ok      ok      ok     ok         ok         404
clone gated       401     403       ok      ok      ok     ok         ok         403
clone withheld    ok      ok        ok      ok      ok     ok         ok         ok
clone disabled    403     403       ok      ok      ok     ok         ok         403
clone deleted     404     404       404     404     404    404        404        404
talk public       401     ok        ok      ok      ok     ok         403        403
talk private      404     404       ok      ok      ok     ok         403        404
talk gated        401     ok        ok      ok      ok     ok         403        403
talk withheld     401     ok        ok      ok      ok     ok         403        403
talk disabled     403     403       403     403     403    ok         403        403
talk deleted      404     404       404     404     404    404        404        404
propose public    401     ok        ok      ok      ok     ok         403        403
propose private   404     404       ok      ok      ok     ok         403        404
propose gated     401     403       ok      ok      ok     ok         403        403
propose withheld  401     ok        ok      ok      ok     ok         403        403
propose disabled  403     403       403     403     403    ok         403        403
propose deleted   404     404       404     404     404    404        404        404
write public      401     403       403     ok      ok     403        403        403
write private     404     404       403     ok      ok     403        403        404
write gated       401     403       403     ok      ok     403        403        403
write withheld    401     403       403     ok      ok     403        403        403
write disabled    403     403       403     403     403    403        403        403
write deleted     404     404       404     404     404    404        404        404
admin public      401     403       403     403     ok     403        403        403
admin private     404     404       403     403     ok     403        403        404
admin gated       401     403       403     403     ok     403        403        403
admin withheld    401     403       403     403     ok     403        403        403
admin disabled    403     403       403     403     403    403        403        403
admin deleted     404     404       404     404     404    404        404        404
ask public        401     ok        ok      ok      ok     ok         403        403
ask private       404     404       ok      ok      ok     ok         403        404
ask gated         401     ok        ok      ok      ok     ok         403        403
ask withheld      401     ok        ok      ok      ok     ok         403        403
ask disabled      403     403       ok      ok      ok     ok         403        403
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
MARK = "FortyFathoms"  # in every file but the card, which a gated repository shows everybody
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
    *api("/croissant", "GET clone"),
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
    *page("/leaderboard/contest", "POST talk?"),
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
# Something of everything that an address may want, so that it comes as far as the rule.
BODY = {
    "title": "Another title", "comment": "Words", "text": "Words", "content": "Words", "status": "closed", "verdict": "comment",
    "user": "nobody-here", "files": [], "startingPoint": "nothing-here", "tag": "t", "paths": ["rows.jsonl"], "objects": [],
    "body": "Words", "reason": "Words",
}  # fmt: skip


def expected(action: str, kind: str, person: str) -> str:
    lines = [line.split() for line in ANSWERS.strip().splitlines()]
    told = {(line[0], line[1]): dict(zip(lines[0], line[2:], strict=True)) for line in lines[1:]}
    answer = told[action.rstrip("!?~"), kind][person]
    if person != "nobody":
        return answer
    wanted = {"!": True, "?": answer == "ok", "~": answer in ("404", "403")}.get(action[-1], False)
    return "401" if wanted else answer
