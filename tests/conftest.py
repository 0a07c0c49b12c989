"""Fixtures of all tests. Django is imported inside them only: the engine's tests run where it cannot be imported."""

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# Here and not in pyproject.toml: pytest refuses that key where no Django is, and the engine's tests run there too.
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hub.site.settings")
# Read once, at the first import of huggingface_hub: nothing of this machine's account, nothing to other hosts.
os.environ["HF_HOME"] = tempfile.mkdtemp(prefix="hf-home-")
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "localhost,127.0.0.1"
for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_ENDPOINT", "HF_HUB_OFFLINE"):
    os.environ.pop(name, None)


def pytest_configure(config: pytest.Config) -> None:
    if config.pluginmanager.has_plugin("django"):
        from django.conf import settings

        assert settings.INSTALLED_APPS  # read once, so that pytest-django sets Django up before it collects


DATABASE_FIXTURES = {"db", "transactional_db", "live_server"}


@pytest.fixture(scope="session")
def django_db_modify_db_settings(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A SQLite test database is a file of its own for each run: live servers need a file, and runs may overlap."""
    from django.conf import settings

    database = settings.DATABASES["default"]
    if database["ENGINE"].endswith("sqlite3"):
        database["TEST"]["NAME"] = str(tmp_path_factory.mktemp("database") / "test.sqlite3")
    forget_permissions()


def forget_permissions() -> None:
    """Django would write its own permissions, which nothing here reads, again after every test that commits."""
    from django.contrib.contenttypes.management import create_contenttypes
    from django.db.models.signals import post_migrate

    assert post_migrate.disconnect(dispatch_uid="django.contrib.auth.management.create_permissions")
    assert post_migrate.disconnect(create_contenttypes)


@pytest.fixture(scope="session", autouse=True)
def nothing_waits_for_the_disk(request: pytest.FixtureRequest) -> Iterator[None]:
    """What a test sees, and what a kill leaves, is the same without; only a power cut would tell. Programs that a test
    starts sync as ever."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        if request.config.pluginmanager.has_plugin("django"):
            import pygit2
            from pygit2.enums import Option

            from hub.storage.git import processes
            from tests.guards import let_tests_empty_the_tables

            let_tests_empty_the_tables(patch)

            pygit2.option(Option.ENABLE_FSYNC_GITDIR, False)
            patch.setattr(processes, "SETTINGS", {**processes.SETTINGS, "core.fsync": "none"})
        yield


@pytest.fixture(autouse=True)
def data_dir(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    """Each test with a database gets an empty data folder; git repositories and large files lie in it."""
    if not (DATABASE_FIXTURES & set(request.fixturenames) or request.node.get_closest_marker("django_db")):
        return None
    settings = request.getfixturevalue("settings")
    settings.DATA_DIR = tmp_path / "data"
    settings.DATA_DIR.mkdir()
    settings.JUDGE_ENCODER = ""  # a sentence model on this machine must not change what a test sees, nor load torch
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # a real one takes most of a test
    # Job messages go nowhere: a test that wants a job done runs it (hub.common.jobs.run).
    from hub.site.celery import app

    app.conf.broker_url = "memory://"
    return settings.DATA_DIR


@pytest.fixture(scope="session")
def snapshots(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from tests.snapshots import Snapshots

    return Snapshots(tmp_path_factory.mktemp("snapshots"))


@pytest.fixture
def scene() -> dict[str, Any]:
    """Whom and what the test finds there, by name. Rooms whose tests begin alike put their own in its place."""
    return {}


@pytest.fixture
def alice(db: None, scene: dict[str, Any]) -> Any:
    """Owns what the test makes."""
    from tests.people import make_person

    return scene.get("alice") or make_person("alice")


@pytest.fixture
def bob(db: None, scene: dict[str, Any]) -> Any:
    """Has write access where the test says so."""
    from tests.people import make_person

    return scene.get("bob") or make_person("bob")


@pytest.fixture
def charlie(db: None, scene: dict[str, Any]) -> Any:
    """A stranger with an account."""
    from tests.people import make_person

    return scene.get("charlie") or make_person("charlie")


@pytest.fixture
def organization(alice: Any, bob: Any) -> Any:
    """ "tidewatch": Alice is its admin, Bob may write."""
    from tests.people import make_organization

    return make_organization(admin=alice, writers=(bob,))


@pytest.fixture
def hub_url(live_server: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """Address of a running hub that the stock client takes for its own, as with HF_ENDPOINT."""
    from huggingface_hub import constants

    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, live_server.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "ENDPOINT", live_server.url)
    return live_server.url


@pytest.fixture
def without_xet(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stock client as with HF_HUB_DISABLE_XET=1: large files go by LFS and plain HTTP."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)


@pytest.fixture
def client_of(hub_url: str) -> Callable[..., Any]:
    """`client_of(alice)` is the stock client with her token; `client_of(None)` is nobody's."""
    from huggingface_hub import HfApi

    def make(person: Any) -> Any:
        return HfApi(endpoint=hub_url, token=person.token if person is not None else False)

    return make


@pytest.fixture(scope="session")
def object_storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """An S3 server for all tests that leave it running; the AWS_* variables name its keys from then on."""
    from tests.object_storage import CREDENTIALS, running_storage

    os.environ.update(CREDENTIALS)
    with running_storage(tmp_path_factory.mktemp("objects") / "swift") as storage:
        yield storage


@pytest.fixture
def cleared_at_once() -> Iterator[None]:
    """Stands in for screens that find nothing: whatever arrives is cleared within the commit."""
    from hub.repos.clearance import set_clearance
    from hub.repos.events import revision_created
    from hub.repos.models import Content

    def clear(contents: list[Any], **_: Any) -> None:
        pending = [content for content in contents if content.clearance == Content.Clearance.PENDING]
        set_clearance(contents=pending, clearance=Content.Clearance.CLEARED)

    revision_created.connect(clear, weak=False)
    yield
    revision_created.disconnect(clear)
