"""Fixtures of the training room: a tiny llama, a small dataset and a suite as repositories."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.training.line import Line, build_scene, make_tiny_llama


@pytest.fixture(scope="session", autouse=True)
def one_engine_thread() -> Iterator[None]:
    """Tests share a small machine, and equal thread counts give equal bits."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ENGINE_THREADS", "1")
        yield


@pytest.fixture(autouse=True)
def same_environment() -> Iterator[None]:
    """The engine takes the network from its process; where a test calls it in its own, the next one needs it."""
    before = dict(os.environ)
    yield
    if os.environ != before:
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a llama of 2 layers, random weights and its tokenizer, as transformers saves them."""
    return make_tiny_llama(tmp_path_factory.mktemp("llama"))


@pytest.fixture
def announced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Stands in for the broker: ids of the jobs for which a worker was woken. The tests are the worker."""
    from hub.site.celery import run_job

    heard: list[str] = []
    monkeypatch.setattr(run_job, "apply_async", lambda args, **_: heard.append(args[0]))
    monkeypatch.setattr("hub.common.jobs.sweeping.count_messages", lambda queue: 0)  # heard at once, so none lies there
    return heard


@pytest.fixture
def scene(request: pytest.FixtureRequest, db: None, data_dir: Path, snapshots: Any) -> dict[str, Any]:
    """The line and its people, where the test asks for it, or also a run that waits to be trained."""
    asked = [name for name in ("line", "prepared") if name in request.fixturenames]
    if not asked:
        return {}
    return snapshots.begin(asked[-1], data_dir, lambda: build_scene(asked[-1], request.getfixturevalue("tiny_llama")))


@pytest.fixture
def line(transactional_db: None, announced: list[str], scene: dict[str, Any]) -> Line:
    """Alice's base model, dataset, suite and target model repository; Bob may write to the target."""
    return scene["line"]


@pytest.fixture
def prepared(line: Line, scene: dict[str, Any]) -> Any:
    """The pull request of a recipe of 60 steps, whose data is prepared and whose training waits for a worker."""
    return scene["prepared"]
