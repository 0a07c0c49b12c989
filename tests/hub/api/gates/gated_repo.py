"""What lies in the gated repository of these tests, and how people ask for it."""

CARD = """---
extra_gated_prompt: "Use it for **tides** only. <script>alert(1)</script>"
extra_gated_fields:
  Harbour: text
  Purpose: {type: select, options: [research, {label: Else, value: other}]}
  I agree: checkbox
extra_gated_button_content: Let me in
---
# Tides
"""
ANSWERS = {"Harbour": "Hull", "Purpose": "other", "I agree": True}
WEIGHTS = b"\x00weights" * 4000
SECRET = b'{"depth": "fathoms-only-for-members"}\n'
DOORS = {
    "resolve": "/alice/tides/resolve/main/rows.jsonl",
    "resolve large": "/alice/tides/resolve/main/model.safetensors",
    "raw": "/alice/tides/raw/main/rows.jsonl",
    "raw pointer": "/alice/tides/raw/main/model.safetensors",
    "xet token": "/api/models/alice/tides/xet-read-token/main",
    "auth-check": "/api/models/alice/tides/auth-check",
    "safetensors index": "/api/models/alice/tides/safetensors-metadata/rows.jsonl",
    "git": "/alice/tides.git/info/refs?service=git-upload-pack",
}


def headers_of(person):
    return {"HTTP_AUTHORIZATION": f"Bearer {person.token}"} if person else {}


def sha256_of(repo):
    from hub.repos.models import Content

    return Content.objects.get(repo=repo, digest__startswith="sha256:").oid


def post(client, address, body, person):
    return client.post(
        f"/api/models/alice/tides/{address}", body, content_type="application/json", **headers_of(person)
    )


def lfs_batch(client, repo, person):
    body = {"operation": "download", "objects": [{"oid": sha256_of(repo), "size": len(WEIGHTS)}]}
    return client.post(
        "/alice/tides.git/info/lfs/objects/batch", body, content_type="application/json", **headers_of(person)
    )


def let_in(repo, by, person):
    from hub.repos.gating import grant_access

    grant_access(repo=repo, by=by.user, user=person.user)
