"""`fetch` brings exactly the pinned bytes, whatever the network and the hub do."""

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from training.engine import downloads, fetch
from training.engine.__main__ import main as run_engine
from training.engine.downloads import open_source
from training.engine.errors import EngineError
from training.engine.lock import Lock, LockedFile, LockedRepository, lock_digest, read_lock, write_lock

WEIGHTS = bytes(range(256)) * 5000
ROWS = b'{"text": "the tide rises"}\n'
MODEL, DATA = "1" * 40, "2" * 40


class Hub(ThreadingHTTPServer):
    """A hub that remembers what it was asked and can be told to misbehave."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = {
            f"/commons/small/resolve/{MODEL}/model.safetensors": WEIGHTS,
            f"/commons/small/resolve/{MODEL}/a%20folder/config.json": b"{}",
            f"/datasets/alice/tides/resolve/{DATA}/train.jsonl": ROWS,
        }
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.before: list[Callable[[Handler], bool]] = []  # each handles one request when it returns True

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        self.server.asked.append((self.path, dict(self.headers)))
        if self.server.before and self.server.before.pop(0)(self):
            return
        self.give(self.server.files.get(self.path))

    def give(self, body: bytes | None, *, cut_after: int | None = None, ranges: bool = True) -> None:
        if body is None:
            self.send_error(404)
            return
        start = 0
        if ranges and (wanted := self.headers.get("Range")):
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        self.wfile.write(body[start:][:cut_after])

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[Hub]:
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def pin(body: bytes) -> LockedFile:
    return LockedFile(hashlib.sha256(body).hexdigest(), len(body))


def make_lock(**changes: Any) -> Lock:
    model = LockedRepository(
        "model", "commons/small", "v1", MODEL, {"model.safetensors": pin(WEIGHTS), "a folder/config.json": pin(b"{}")}
    )
    credit = {"train.jsonl": [{"contributor": "alice", "pull_request": 12}]}
    data = LockedRepository("dataset", "alice/tides", "main", DATA, {"train.jsonl": pin(ROWS)}, credit, key="k7")
    return Lock(**{"recipe": "version: 1\n", "repositories": (model, data), **changes})


def bring(hub: Hub, into: Path, *, token: str | None = None, lock: Lock | None = None) -> None:
    waits: list[float] = []
    fetch.fetch(lock=lock or make_lock(), into=into, source=open_source(hub.address, token, sleep=waits.append))


def test_every_pinned_file_arrives_with_recipe_lock_and_inputs(hub: Hub, tmp_path: Path) -> None:
    bring(hub, tmp_path / "in")
    assert (tmp_path / "in/models/commons--small/model.safetensors").read_bytes() == WEIGHTS
    assert (tmp_path / "in/models/commons--small/a folder/config.json").read_bytes() == b"{}"
    assert (tmp_path / "in/datasets/alice--tides/train.jsonl").read_bytes() == ROWS
    assert (tmp_path / "in/recipe.yaml").read_text() == "version: 1\n"
    assert read_lock(tmp_path / "in/recipe.lock") == make_lock()
    index = json.loads((tmp_path / "in/inputs.json").read_text())
    assert index["version"] == 1
    assert index["repositories"][1] == {
        "type": "dataset",
        "id": "alice/tides",
        "revision": "main",
        "commit": DATA,
        "key": "k7",
        "folder": "datasets/alice--tides",
        "contributors": {"train.jsonl": [{"contributor": "alice", "pull_request": 12}]},
    }


def test_the_engine_finds_what_was_fetched(hub: Hub, tmp_path: Path) -> None:
    from training.engine.inputs import Inputs
    from training.engine.recipe import RepoRef

    bring(hub, tmp_path / "in")
    repo = Inputs(tmp_path / "in").find("dataset", RepoRef("alice/tides", "main"))
    assert repo.list_files() == ["train.jsonl"]
    assert (repo.key, repo.credit("train.jsonl", 0).contributor) == ("k7", "alice")


def test_a_second_fetch_asks_the_hub_for_nothing(hub: Hub, tmp_path: Path) -> None:
    bring(hub, tmp_path / "in")
    before = len(hub.asked)
    bring(hub, tmp_path / "in")
    assert len(hub.asked) == before


def test_a_damaged_file_is_brought_again(hub: Hub, tmp_path: Path) -> None:
    bring(hub, tmp_path / "in")
    weights = tmp_path / "in/models/commons--small/model.safetensors"
    weights.write_bytes(b"x" + WEIGHTS[1:])
    bring(hub, tmp_path / "in")
    assert weights.read_bytes() == WEIGHTS


def test_a_cut_connection_is_resumed_where_it_broke(hub: Hub, tmp_path: Path) -> None:
    def cut(handler: Handler) -> bool:
        handler.give(WEIGHTS, cut_after=700_000)
        handler.close_connection = True
        return True

    hub.before = [lambda _: False, cut]  # the first request is for the config
    bring(hub, tmp_path / "in")
    assert (tmp_path / "in/models/commons--small/model.safetensors").read_bytes() == WEIGHTS
    resumed = [headers["Range"] for path, headers in hub.asked if "Range" in headers]
    assert resumed == ["bytes=700000-"]


def test_a_server_without_ranges_starts_the_file_again(hub: Hub, tmp_path: Path) -> None:
    def cut(handler: Handler) -> bool:
        handler.give(WEIGHTS, cut_after=1000)
        return True

    def whole(handler: Handler) -> bool:
        handler.give(WEIGHTS, ranges=False)
        return True

    hub.before = [lambda _: False, cut, whole]
    bring(hub, tmp_path / "in")
    assert (tmp_path / "in/models/commons--small/model.safetensors").read_bytes() == WEIGHTS


def test_an_interrupted_fetch_goes_on_in_the_next_call(hub: Hub, tmp_path: Path) -> None:
    into = tmp_path / "in"
    (into / "models/commons--small").mkdir(parents=True)
    write_lock(make_lock(), into / "recipe.lock")
    (into / "models/commons--small/.model.safetensors.part").write_bytes(WEIGHTS[:5000])
    bring(hub, into)
    assert (into / "models/commons--small/model.safetensors").read_bytes() == WEIGHTS
    assert any(headers.get("Range") == "bytes=5000-" for _, headers in hub.asked)
    assert not list(into.rglob("*.part"))


def test_a_rest_with_other_bytes_is_thrown_away_once(hub: Hub, tmp_path: Path) -> None:
    into = tmp_path / "in"
    (into / "models/commons--small").mkdir(parents=True)
    write_lock(make_lock(), into / "recipe.lock")
    (into / "models/commons--small/.model.safetensors.part").write_bytes(b"other" * 100)
    bring(hub, into)
    assert (into / "models/commons--small/model.safetensors").read_bytes() == WEIGHTS


def test_other_bytes_than_the_pinned_ones_are_refused_and_not_kept(hub: Hub, tmp_path: Path) -> None:
    hub.files[f"/commons/small/resolve/{MODEL}/model.safetensors"] = b"y" + WEIGHTS[1:]
    with pytest.raises(EngineError, match="sha256 differs") as refused:
        bring(hub, tmp_path / "in")
    assert refused.value.code == "digest_mismatch"
    assert not (tmp_path / "in/models/commons--small/model.safetensors").exists()
    assert not (tmp_path / "in/inputs.json").exists()


def test_a_file_longer_than_pinned_is_refused_before_it_fills_the_disk(hub: Hub, tmp_path: Path) -> None:
    hub.files[f"/commons/small/resolve/{MODEL}/model.safetensors"] = WEIGHTS * 2
    with pytest.raises(EngineError, match="longer than the 1,280,000 bytes"):
        bring(hub, tmp_path / "in")


def test_a_busy_hub_is_asked_again(hub: Hub, tmp_path: Path) -> None:
    def busy(handler: Handler) -> bool:
        handler.send_response(429)
        handler.send_header("Retry-After", "7")
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return True

    hub.before = [busy]
    waits: list[float] = []
    fetch.fetch(lock=make_lock(), into=tmp_path / "in", source=open_source(hub.address, sleep=waits.append))
    assert waits == [7.0]


def test_a_hub_that_stays_away_is_given_up_with_advice(tmp_path: Path) -> None:
    waits: list[float] = []
    source = open_source("http://127.0.0.1:9", sleep=waits.append)  # the discard port: nobody listens
    with pytest.raises(EngineError, match="it goes on here") as refused:
        fetch.fetch(lock=make_lock(), into=tmp_path / "in", source=source)
    assert refused.value.code == "unreachable"
    assert len(waits) == downloads.ATTEMPTS - 1
    assert waits == sorted(waits)


@pytest.mark.parametrize(
    ("status", "code"), [(401, "forbidden"), (403, "forbidden"), (404, "not_found"), (418, "hub_error")]
)
def test_a_refusal_of_the_hub_is_told_at_once(hub: Hub, tmp_path: Path, status: int, code: str) -> None:
    def refuse(handler: Handler) -> bool:
        handler.send_error(status)
        return True

    hub.before = [refuse]
    with pytest.raises(EngineError) as refused:
        bring(hub, tmp_path / "in")
    assert refused.value.code == code
    assert len(hub.asked) == 1


def test_the_token_is_sent_to_the_hub_and_not_to_where_it_redirects(hub: Hub, tmp_path: Path) -> None:
    store = Hub()
    threading.Thread(target=store.serve_forever, args=(0.01,), daemon=True).start()
    store.files = {"/blob": b"{}"}

    def redirect(handler: Handler) -> bool:
        handler.send_response(302)
        handler.send_header("Location", f"{store.address}/blob")
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return True

    hub.before = [redirect]
    bring(hub, tmp_path / "in", token="secret")
    store.shutdown()
    store.server_close()
    assert all(headers["Authorization"] == "Bearer secret" for _, headers in hub.asked)
    assert [path for path, _ in store.asked] == ["/blob"]
    assert "Authorization" not in store.asked[0][1]


def test_a_redirect_within_the_hub_keeps_the_token(hub: Hub, tmp_path: Path) -> None:
    hub.files["/elsewhere"] = b"{}"

    def redirect(handler: Handler) -> bool:
        handler.send_response(302)
        handler.send_header("Location", "/elsewhere")
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return True

    hub.before = [redirect]
    bring(hub, tmp_path / "in", token="secret")
    (headers,) = (headers for path, headers in hub.asked if path == "/elsewhere")
    assert headers["Authorization"] == "Bearer secret"


@pytest.mark.parametrize(
    ("address", "what"), [("file:///etc/hostname", "answers 302"), ("ftp://127.0.0.1/x", "unsafe address ftp")]
)
def test_a_redirect_away_from_the_web_is_refused(hub: Hub, tmp_path: Path, address: str, what: str) -> None:
    def redirect(handler: Handler) -> bool:
        handler.send_response(302)
        handler.send_header("Location", address)
        handler.end_headers()
        return True

    hub.before = [redirect]
    with pytest.raises(EngineError, match=what):
        bring(hub, tmp_path / "in")


def test_a_lock_cannot_send_the_token_to_an_address_of_its_own(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    write_lock(make_lock(endpoint=hub.address), tmp_path / "recipe.lock")
    assert run_engine(["fetch", str(tmp_path / "recipe.lock"), "--into", str(tmp_path / "in")]) == 0
    assert hub.asked and all("Authorization" not in headers for _, headers in hub.asked)
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [e["event"] for e in events if e["event"] == "warning"] == ["warning"]
    assert events[-1]["event"] == "done"
    assert events[-1]["lock_digest"] == lock_digest(make_lock(endpoint=hub.address))


def test_a_lock_without_a_hub_asks_for_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_lock(make_lock(), tmp_path / "recipe.lock")
    assert run_engine(["fetch", str(tmp_path / "recipe.lock"), "--into", str(tmp_path / "in")]) == 2
    (event,) = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (event["event"], event["code"]) == ("error", "no_endpoint")


def test_inputs_of_another_lock_are_left_alone(hub: Hub, tmp_path: Path) -> None:
    bring(hub, tmp_path / "in")
    with pytest.raises(EngineError, match="another lock"):
        bring(hub, tmp_path / "in", lock=make_lock(recipe="version: 1 \n"))


def test_a_link_planted_in_the_folder_is_not_followed(hub: Hub, tmp_path: Path) -> None:
    into, outside = tmp_path / "in", tmp_path / "outside"
    outside.mkdir()
    (into / "models").mkdir(parents=True)
    write_lock(make_lock(), into / "recipe.lock")
    (into / "models/commons--small").symlink_to(outside)
    with pytest.raises(EngineError, match="is a link"):
        bring(hub, into)
    assert not list(outside.iterdir())


def test_a_disk_without_room_is_told_before_the_first_byte(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        free = 1000

    monkeypatch.setattr(fetch.shutil, "disk_usage", lambda _: Usage)
    with pytest.raises(EngineError, match="free some space"):
        bring(hub, tmp_path / "in")
    assert not hub.asked


@pytest.mark.parametrize("endpoint", ["ftp://hub", "hub.example.org", "http://", "file:///etc"])
def test_only_web_addresses_are_hubs(endpoint: str) -> None:
    with pytest.raises(EngineError, match="not the address of a hub"):
        open_source(endpoint)


def test_a_python_without_the_packages_is_told_which_one_to_take(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Outside of the clone's .venv the engine ended with a traceback."""

    def missing(*_: Any) -> Any:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr("importlib.import_module", missing)
    assert run_engine(["run", "recipe.yaml"]) == 2
    said = capsys.readouterr()
    assert "no package torch" in said.out and ".venv/bin/python" in said.out and "Traceback" not in said.err
