"""A hub that keeps nothing: it says to the stock client what it wants to hear and drops every byte.

What an upload takes against it is the client's own time, and the floor for any server in Python.
With SINK_FOLDER it writes xorbs there and syncs them, unread: the floor for a server that keeps what it was sent.
Run as `granian --interface wsgi tests.benchmarks.sink:application`."""

import json
import os
import re
import time
import uuid
from collections.abc import Callable, Iterable
from typing import Any

PIECE_BYTES = 1024 * 1024


def answer_json(environ: dict[str, Any], data: dict[str, Any]) -> tuple[list[tuple[str, str]], bytes]:
    return [("Content-Type", "application/json")], json.dumps(data).encode()


def drop(environ: dict[str, Any]) -> None:
    while environ["wsgi.input"].read(PIECE_BYTES):
        pass


def keep(environ: dict[str, Any], folder: str) -> None:
    with open(f"{folder}/{uuid.uuid4().hex}", "xb", buffering=0) as file:
        while piece := environ["wsgi.input"].read(PIECE_BYTES):
            file.write(piece)
        os.fsync(file.fileno())


def read(environ: dict[str, Any]) -> dict[str, Any]:
    return json.loads(b"".join(iter(lambda: environ["wsgi.input"].read(PIECE_BYTES), b"")) or b"{}")


def respond(environ: dict[str, Any]) -> tuple[list[tuple[str, str]], bytes]:
    path, base = environ["PATH_INFO"], f"http://{environ['HTTP_HOST']}"
    if path.endswith("/whoami-v2"):
        return answer_json(environ, {"type": "user", "name": "alice", "orgs": [], "auth": {}})
    if "/preupload/" in path:
        files = [{"path": file["path"], "uploadMode": "lfs", "shouldIgnore": False} for file in read(environ)["files"]]
        return answer_json(environ, {"files": files})
    if "/xet-write-token/" in path:
        expires = int(time.time()) + 3600
        headers = [
            ("X-Xet-Cas-Url", f"{base}/xet"), ("X-Xet-Access-Token", "t"), ("X-Xet-Token-Expiration", str(expires)),
        ]  # fmt: skip
        more, body = answer_json(environ, {"accessToken": "t", "exp": expires, "casUrl": f"{base}/xet"})
        return headers + more, body
    if path.endswith("/objects/batch"):
        action = {"upload": {"href": f"{base}/drop"}}
        objects = [{**item, "authenticated": True, "actions": action} for item in read(environ)["objects"]]
        return answer_json(environ, {"transfer": "basic", "objects": objects})
    is_xorb = re.search(r"/xorbs/\w+/\w{64}$", path)
    if is_xorb and "SINK_FOLDER" in os.environ:
        keep(environ, os.environ["SINK_FOLDER"])
    drop(environ)
    if is_xorb:
        return answer_json(environ, {"was_inserted": True})
    if path.endswith("/v1/shards"):
        return answer_json(environ, {"result": 1})
    if "/commit/" in path:
        return answer_json(environ, {"commitOid": "0" * 40, "commitUrl": f"{base}/alice/big/commit/{'0' * 40}"})
    if path.endswith("/repos/create"):
        return answer_json(environ, {"url": f"{base}/alice/big"})
    return answer_json(environ, {})


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    is_unknown = re.search(r"/xet/v1/(chunks|xorb-grants)/|/xet/v2/", environ["PATH_INFO"])
    headers, body = ([("Content-Type", "text/plain")], b"no") if is_unknown else respond(environ)
    start_response("404 Not Found" if is_unknown else "200 OK", [*headers, ("Content-Length", str(len(body)))])
    return [body]
