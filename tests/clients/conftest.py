"""Hubs for the tests of clients. They are processes of their own: nothing here touches the database of other tests."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients.hidden_garden import Garden, plant_garden
from tests.clients.running_hub import TOKENS, RunningHub, prepare_data

COUNTER = iter(range(10_000))


@pytest.fixture(scope="session")
def empty_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of a hub that nobody has used yet; made once, copied for each hub."""
    folder = tmp_path_factory.mktemp("empty") / "data"
    prepare_data(folder)
    return folder


@pytest.fixture(scope="session")
def granian_server(empty_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    """One hub for all tests that leave it whole."""
    yield from run_hub(empty_data, tmp_path_factory.mktemp("hub") / "data")


@pytest.fixture(scope="session")
def garden(granian_server: RunningHub, tmp_path_factory: pytest.TempPathFactory) -> Garden:
    """Public and hidden things side by side; tests look, and leave it as it is."""
    return plant_garden(granian_server, tmp_path_factory.mktemp("garden"))


@pytest.fixture
def own_hub(empty_data: Path, tmp_path: Path) -> Iterator[RunningHub]:
    """A hub that the test may kill."""
    yield from run_hub(empty_data, tmp_path / "data")


def run_hub(empty_data: Path, data_dir: Path) -> Iterator[RunningHub]:
    shutil.copytree(empty_data, data_dir)
    hub = RunningHub(data_dir)
    hub.start()
    try:
        yield hub
    finally:
        hub.stop()


@pytest.fixture
def new_repo(granian_server: RunningHub) -> Callable[..., str]:
    """Make a dataset of Alice's with a name of its own; gives "alice/NAME"."""
    made = iter(range(1000))

    def make(word: str = "tides", **more: object) -> str:
        name = f"{word}-{next(COUNTER)}-{next(made)}"
        body = {"name": name, "type": "dataset", **more}
        answer = granian_server.call("POST", "/api/repos/create", person="alice", json=body)
        assert answer.status_code == 200, answer.text
        return f"alice/{name}"

    return make


@pytest.fixture
def hub(granian_server: RunningHub, monkeypatch: pytest.MonkeyPatch) -> RunningHub:
    """The hub for all, which the stock client in this process takes for its own, as with HF_ENDPOINT."""
    from huggingface_hub import constants, hf_api

    monkeypatch.setattr(hf_api.api, "endpoint", granian_server.url)  # of functions without a client object
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, granian_server.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "ENDPOINT", granian_server.url)
    return granian_server


@pytest.fixture
def api_of(hub: RunningHub) -> Callable[[str | None], Any]:
    """`api_of("bob")` is the stock client with his token; `api_of(None)` is nobody's."""
    from huggingface_hub import HfApi

    return lambda person: HfApi(endpoint=hub.url, token=TOKENS[person] if person else False)


@pytest.fixture
def api(api_of: Callable[[str | None], Any]) -> Any:
    return api_of("alice")


@pytest.fixture
def a_name() -> str:
    """Of a repository that nobody has made yet."""
    return f"alice/stock-{next(COUNTER)}"


@pytest.fixture
def repo(api: Any, a_name: str) -> str:
    """A dataset of Alice's with a small file, a folder and a card."""
    from huggingface_hub import CommitOperationAdd

    api.create_repo(a_name, repo_type="dataset")
    files = {
        "README.md": b"---\nlicense: cc-by-4.0\n---\n# Tides\n",
        "tides.csv": b"harbour,high\nBrest,6.1\n",
        "data/one.txt": b"one\n",
        "data/deep/two.txt": b"two\n",
    }
    operations = [CommitOperationAdd(path, data) for path, data in files.items()]
    api.create_commit(a_name, operations, commit_message="Add tides", repo_type="dataset")
    return a_name


@pytest.fixture
def model(api: Any, a_name: str) -> str:
    """A model of Alice's with a card and no weights."""
    api.create_repo(a_name)
    card = "---\nlicense: apache-2.0\nlanguage: en\ntags: [tides]\n---\n# Tide model\n"
    api.upload_file(path_or_fileobj=card.encode(), path_in_repo="README.md", repo_id=a_name)
    return a_name


@pytest.fixture
def hf(hub: RunningHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """What `hf ...` prints, run in this process as Alice: starting Python anew for each of a hundred commands takes
    minutes. `fails=True` expects it to fail."""
    import click.testing
    from huggingface_hub.cli._errors import format_known_exception
    from huggingface_hub.cli.hf import app

    def run(*words: str, person: str = "alice", fails: bool = False, typed: str | None = None) -> str:
        monkeypatch.setenv("HF_TOKEN", TOKENS[person])
        done = click.testing.CliRunner().invoke(app, list(words), input=typed)
        told = (format_known_exception(done.exception) or repr(done.exception)) if done.exception else ""
        assert bool(done.exit_code) == fails, f"{done.output}\n{told}"
        return done.output + (told if fails else "")

    return run
