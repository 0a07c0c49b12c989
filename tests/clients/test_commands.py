"""What people type: every `hf` command that asks a hub, against a running hub."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from huggingface_hub import HfApi

from tests.clients.running_hub import TOKENS, RunningHub
from tests.clients.test_stock_methods import NOISE

ROOMS = "alice/rooms"
RESULTS = "- dataset: {id: %s, task_id: default}\n  value: 41\n"


@pytest.fixture
def space(api: Any) -> str:
    """Made once; nothing here changes it."""
    if not api.repo_exists(ROOMS, repo_type="space"):
        api.create_repo(ROOMS, repo_type="space", space_sdk="gradio")
        card = b"---\ntitle: Rooms\nlicense: mit\nsdk: gradio\nsdk_version: 6.2.0\n---\n# Rooms by the sea\n"
        api.upload_file(path_or_fileobj=card, path_in_repo="README.md", repo_id=ROOMS, repo_type="space")
    return ROOMS


@pytest.mark.covers(
    "hf auth whoami",
    "hf models list",
    "hf models info",
    "hf models card",
    "hf datasets list",
    "hf datasets info",
    "hf datasets card",
)
def test_commands_that_look(hf: Callable[..., str], repo: str, model: str):
    assert "alice" in hf("auth", "whoami")
    assert model in hf("models", "list", "--author", "alice", "--search", model.partition("/")[2], "--format", "json")
    assert "apache-2.0" in hf("models", "info", model)
    assert "# Tide model" in hf("models", "card", model)
    assert repo in hf("datasets", "list", "--author", "alice", "--search", repo.partition("/")[2], "--format", "json")
    assert "cc-by-4.0" in hf("datasets", "info", repo)
    assert "# Tides" in hf("datasets", "card", repo)


@pytest.mark.covers(
    "hf repos create", "hf repos branch create", "hf repos branch delete", "hf repos tag create", "hf repos tag list",
    "hf repos tag delete", "hf repos move", "hf repos settings", "hf repos duplicate", "hf repos delete", "hf repos list",
)  # fmt: skip
def test_commands_that_keep_repositories(hf: Callable[..., str], api: Any, a_name: str):
    hf("repos", "create", a_name, "--repo-type", "dataset")
    of = ("--repo-type", "dataset")
    hf("repos", "branch", "create", a_name, "side", *of)
    hf("repos", "tag", "create", a_name, "first", *of)
    assert "first" in hf("repos", "tag", "list", a_name, *of)
    assert {ref.name for ref in api.list_repo_refs(a_name, repo_type="dataset").branches} == {"main", "side"}
    hf("repos", "branch", "delete", a_name, "side", *of)
    hf("repos", "tag", "delete", a_name, "first", "--yes", *of)
    hf("repos", "move", a_name, f"{a_name}-moved", *of)
    hf("repos", "settings", f"{a_name}-moved", "--private", *of)
    assert api.dataset_info(a_name).private  # under its old name
    hf("repos", "duplicate", f"{a_name}-moved", f"{a_name}-twin", *of)
    assert f"{a_name}-twin" in hf("repos", "list", "--search", f"{a_name.partition('/')[2]}-twin")
    hf("repos", "delete", f"{a_name}-twin", *of, "--yes")
    assert not api.repo_exists(f"{a_name}-twin", repo_type="dataset")


@pytest.mark.covers("hf upload", "hf download", "hf repos delete-files", "hf cache verify")
def test_commands_that_move_files(hf: Callable[..., str], api: Any, repo: str, tmp_path: Path):
    (tmp_path / "up").mkdir()
    (tmp_path / "up/noise.bin").write_bytes(NOISE)
    of = ("--repo-type", "dataset")
    hf("upload", repo, str(tmp_path / "up"), *of)
    hf("download", repo, "noise.bin", *of, "--local-dir", str(tmp_path / "down"))
    assert (tmp_path / "down/noise.bin").read_bytes() == NOISE
    hf("download", repo, *of, "--local-dir", str(tmp_path / "all"))
    hf("cache", "verify", repo, *of, "--local-dir", str(tmp_path / "all"))
    hf("repos", "delete-files", repo, "noise.bin", *of)
    assert "noise.bin" not in api.list_repo_files(repo, repo_type="dataset")


@pytest.mark.covers(
    "hf discussions create", "hf discussions list", "hf discussions info", "hf discussions comment",
    "hf discussions rename", "hf discussions close", "hf discussions reopen",
)  # fmt: skip
def test_commands_that_talk(hf: Callable[..., str], api: Any, repo: str):
    of = ("--repo-type", "dataset")
    hf("discussions", "create", repo, "--title", "Which harbour?", "--body", "I ask.", *of)
    assert "Which harbour?" in hf("discussions", "list", repo, *of)
    hf("discussions", "comment", repo, "1", "--body", "Brest.", *of)
    hf("discussions", "rename", repo, "1", "Which harbours?", *of)
    assert "Which harbours?" in hf("discussions", "info", repo, "1", *of)
    hf("discussions", "close", repo, "1", "--yes", *of)
    assert api.get_discussion_details(repo, 1, repo_type="dataset").status == "closed"
    hf("discussions", "reopen", repo, "1", "--yes", *of)
    assert api.get_discussion_details(repo, 1, repo_type="dataset").status == "open"


@pytest.mark.covers(
    "hf collections create", "hf collections list", "hf collections info", "hf collections update",
    "hf collections add-item", "hf collections update-item", "hf collections delete-item", "hf collections delete",
)  # fmt: skip
def test_commands_that_arrange_collections(hf: Callable[..., str], api: Any, repo: str, a_name: str):
    title = a_name.partition("/")[2]
    hf("collections", "create", title)
    (slug,) = [row.slug for row in api.list_collections(owner="alice") if row.title == title]
    assert slug in hf("collections", "list", "--owner", "alice", "--format", "json")
    hf("collections", "update", slug, "--description", "Of tides.")
    hf("collections", "add-item", slug, repo, "dataset")
    told = api.get_collection(slug)
    assert (told.description, [item.item_id for item in told.items]) == ("Of tides.", [repo])
    assert repo in hf("collections", "info", slug)
    hf("collections", "update-item", slug, told.items[0].item_object_id, "--note", "High and low.")
    assert api.get_collection(slug).items[0].note == "High and low."
    hf("collections", "delete-item", slug, told.items[0].item_object_id)
    assert api.get_collection(slug).items == []
    hf("collections", "delete", slug)
    assert slug not in {row.slug for row in api.list_collections(owner="alice")}


@pytest.mark.covers(
    "hf webhooks create", "hf webhooks list", "hf webhooks info", "hf webhooks update", "hf webhooks disable",
    "hf webhooks enable", "hf webhooks delete",
)  # fmt: skip
def test_commands_that_keep_webhooks(hf: Callable[..., str], api: Any, repo: str):
    hf("webhooks", "create", "--url", "https://example.org/hook", "--watch", f"dataset:{repo}")
    (key,) = [row.id for row in api.list_webhooks() if row.watched[0].name == repo]
    assert key in hf("webhooks", "list", "--format", "json")
    assert "example.org/hook" in hf("webhooks", "info", key)
    hf("webhooks", "update", key, "--url", "https://example.org/other")
    hf("webhooks", "disable", key)
    told = api.get_webhook(key)
    assert (told.url, told.disabled) == ("https://example.org/other", True)
    hf("webhooks", "enable", key)
    assert not api.get_webhook(key).disabled
    hf("webhooks", "delete", key, "--yes")
    assert key not in {row.id for row in api.list_webhooks()}


@pytest.mark.covers("hf discussions edit", "hf discussions merge", "hf discussions diff")
def test_commands_that_merge(hf: Callable[..., str], api: Any, repo: str):
    of = ("--repo-type", "dataset")
    api.upload_file(
        path_or_fileobj=b"three\n", path_in_repo="data/three.txt", repo_id=repo, repo_type="dataset", create_pr=True
    )
    assert "+three" in hf("discussions", "diff", repo, "1", *of)
    said = api.comment_discussion(repo, 1, "Tree.", repo_type="dataset")
    hf("discussions", "edit", repo, "1", said.id, "--body", "Three.", *of)
    assert "Three." in {
        getattr(event, "content", "") for event in api.get_discussion_details(repo, 1, repo_type="dataset").events
    }
    hf("discussions", "merge", repo, "1", "--yes", *of)
    assert "data/three.txt" in api.list_repo_files(repo, repo_type="dataset")


@pytest.mark.covers("hf cp", "hf repos cp")
def test_commands_that_copy(hf: Callable[..., str], api: Any, repo: str, a_name: str, tmp_path: Path):
    root, twin = f"hf://datasets/{repo}", f"{a_name}-twin"
    (tmp_path / "noise.bin").write_bytes(NOISE)
    hf("cp", str(tmp_path / "noise.bin"), f"{root}/noise.bin")
    hf("repos", "cp", f"{root}/noise.bin", str(tmp_path / "back.bin"))
    assert (tmp_path / "back.bin").read_bytes() == NOISE
    assert "Brest,6.1" in hf("cp", f"{root}/tides.csv", "-")
    hf("cp", "-", f"{root}/typed.txt", typed="typed by hand\n")
    assert "typed by hand" in hf("repos", "cp", f"{root}/typed.txt", "-")
    api.create_repo(twin, repo_type="dataset")
    hf("repos", "cp", f"{root}/", f"hf://datasets/{twin}/")
    assert set(api.list_repo_files(twin, repo_type="dataset")) >= {"noise.bin", "tides.csv", "data/deep/two.txt"}
    assert "not found" in hf("cp", f"{root}/nothing.txt", str(tmp_path), fails=True)
    assert "403" in hf("cp", str(tmp_path / "noise.bin"), f"{root}/stolen.bin", person="charlie", fails=True)


@pytest.mark.covers("hf spaces list", "hf spaces info", "hf spaces card")
def test_commands_that_look_at_spaces(hf: Callable[..., str], space: str):
    assert space in hf("spaces", "list", "--author", "alice", "--format", "json")
    assert "README.md" in hf("spaces", "list", space)
    assert "gradio" in hf("spaces", "info", space)
    assert "# Rooms by the sea" in hf("spaces", "card", space)
    assert "not found" in hf("spaces", "info", "alice/no-rooms", fails=True)


@pytest.mark.covers("hf datasets leaderboard")
def test_a_command_ranks_models(hf: Callable[..., str], api: Any, repo: str, model: str):
    results = (RESULTS % repo).encode()
    api.upload_file(path_or_fileobj=results, path_in_repo=".eval_results/tides.yaml", repo_id=model)
    (row,) = json.loads(hf("datasets", "leaderboard", repo, "--format", "json").splitlines()[0])
    assert (row["rank"], row["model_id"], row["value"]) == (1, model, 41)


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the client keeps the token in use; nobody is signed in yet."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "HF_STORED_TOKENS_PATH", str(tmp_path / "stored"))
    return tmp_path / "token"


@pytest.mark.covers("hf auth login")
def test_a_command_signs_in_with_a_token(hf: Callable[..., str], kept: Path):
    hf("auth", "login", "--token", TOKENS["alice"])
    assert kept.read_text() == TOKENS["alice"]
    assert "Invalid user token" in hf("auth", "login", "--token", "hf_wrong" + "0" * 20, fails=True)


@pytest.mark.covers("hf auth login")
def test_a_command_signs_in_by_browser(
    hf: Callable[..., str], hub: RunningHub, kept: Path, monkeypatch: pytest.MonkeyPatch
):
    from huggingface_hub.utils import _oauth_device

    def let_in(_: float) -> None:
        """Alice has read code and address, and opens the page while the program waits."""
        browser = requests.Session()
        ((code,),) = hub.query("SELECT user_code FROM hub_devicegrant ORDER BY id DESC LIMIT 1")
        page = f"{hub.url}/oauth/device/approve?user_code={code}"
        send(browser, f"{hub.url}/login", username="alice", password="alice-tides-2026")
        assert "Connected" in send(browser, page, user_code=code, act="approve")

    monkeypatch.setattr(_oauth_device, "time", SimpleNamespace(sleep=let_in, monotonic=time.monotonic))
    told = hf("auth", "login", "--force", "--format", "agent")
    assert "/oauth/device/approve?user_code=" in told and "logged in as alice" in told
    monkeypatch.delenv("HF_TOKEN")
    assert HfApi(endpoint=hub.url, token=kept.read_text()).whoami()["name"] == "alice"


def send(browser: requests.Session, page: str, **fields: str) -> str:
    """Open a page with a form and send it; returns the page after it."""
    browser.get(page, timeout=20).raise_for_status()
    fields["csrfmiddlewaretoken"] = browser.cookies["model_commons_csrf"]
    done = browser.post(page, fields, headers={"Referer": page}, timeout=20)
    assert done.ok, done.text
    return done.text


REFUSED_COMMANDS = [
    "hf buckets create alice/pail", "hf buckets list", "hf buckets info alice/pail",
    "hf buckets delete alice/pail --yes", "hf buckets remove alice/pail/a.txt --yes",
    "hf buckets move alice/pail alice/tub", "hf buckets settings alice/pail --private",
    "hf buckets sync hf://buckets/alice/pail {folder}", "hf buckets cp hf://buckets/alice/pail/a.txt {folder}/",
    "hf sync {folder} hf://buckets/alice/pail", "hf jobs run python:3.12 true", "hf jobs list", "hf jobs hardware",
    "hf jobs inspect 1", "hf jobs cancel 1", "hf jobs logs 1", "hf jobs stats 1", "hf jobs rerun 1",
    "hf jobs expose 1 8000", "hf jobs wait 1", "hf jobs labels 1 --label a=b", "hf jobs ssh 1",
    "hf jobs uv run {folder}/app.py", "hf jobs scheduled run @daily python:3.12 true",
    "hf jobs scheduled list", "hf jobs scheduled inspect 1", "hf jobs scheduled suspend 1",
    "hf jobs scheduled resume 1", "hf jobs scheduled delete 1", "hf jobs scheduled reschedule 1 @daily",
    "hf jobs scheduled trigger 1", "hf jobs scheduled labels 1 --label a=b",
    "hf jobs scheduled uv run @daily {folder}/app.py", "hf spaces templates", "hf spaces hardware",
    "hf spaces search tides", "hf spaces zero-gpu quota", "hf spaces volumes set {space} -v hf://models/alice/m:/m",
    "hf spaces volumes delete {space} --yes", "hf spaces volumes list {space}", "hf spaces secrets list {space}",
    "hf spaces secrets add {space} -s KEY=value", "hf spaces secrets delete {space} KEY --yes",
    "hf spaces variables list {space}", "hf spaces variables add {space} -e KEY=value",
    "hf spaces variables delete {space} KEY --yes", "hf spaces wait {space}", "hf spaces dev-mode {space}",
    "hf spaces ssh {space} --auto", "hf spaces pause {space}", "hf spaces restart {space}",
    "hf spaces settings {space} --sleep-time 60", "hf spaces logs {space}",
    "hf spaces hot-reload {space} app.py -f {folder}/app.py",
]  # fmt: skip


@pytest.mark.covers(
    "hf buckets create", "hf buckets list", "hf buckets info", "hf buckets delete", "hf buckets remove",
    "hf buckets move", "hf buckets settings", "hf buckets sync", "hf buckets cp", "hf sync", "hf jobs run",
    "hf jobs list", "hf jobs hardware", "hf jobs inspect", "hf jobs cancel", "hf jobs logs", "hf jobs stats",
    "hf jobs rerun", "hf jobs expose", "hf jobs wait", "hf jobs labels", "hf jobs ssh", "hf jobs uv run",
    "hf jobs scheduled run", "hf jobs scheduled list", "hf jobs scheduled inspect", "hf jobs scheduled suspend",
    "hf jobs scheduled resume", "hf jobs scheduled delete", "hf jobs scheduled reschedule", "hf jobs scheduled trigger",
    "hf jobs scheduled labels", "hf jobs scheduled uv run", "hf spaces templates", "hf spaces hardware",
    "hf spaces search", "hf spaces zero-gpu quota", "hf spaces volumes set", "hf spaces volumes delete",
    "hf spaces volumes list", "hf spaces secrets list", "hf spaces secrets add", "hf spaces secrets delete",
    "hf spaces variables list", "hf spaces variables add", "hf spaces variables delete", "hf spaces wait",
    "hf spaces dev-mode", "hf spaces ssh", "hf spaces pause", "hf spaces restart", "hf spaces settings",
    "hf spaces logs", "hf spaces hot-reload", refused=True,
)  # fmt: skip
@pytest.mark.parametrize("command", REFUSED_COMMANDS)
def test_commands_for_what_is_not_here_end_with_a_sentence(
    hf: Callable[..., str], space: str, tmp_path: Path, command: str
):
    (tmp_path / "app.py").write_text("import gradio\n")
    words = command.format(space=space, folder=tmp_path).split()
    # Of volumes the client asks nobody: a space here never tells of a running program.
    expected = "Runtime not available" if "volumes list" in command else "This hub has no"
    assert expected in hf(*words[1:], fails=True)
