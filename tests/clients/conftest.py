"""Hubs for the tests of clients. They are processes of their own: nothing here touches the database of other tests."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.clients.hidden_garden import Garden, plant_garden
from tests.clients.running_hub import RunningHub, prepare_data


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


COUNTER = iter(range(1000))
