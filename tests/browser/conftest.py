"""Chromium, a whole hub, and a window for each person."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from tests.browser.looks import Gallery, Watch
from tests.browser.scenery import Scenery, make_scenery
from tests.browser.town import Town, open_town

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = [
    "--no-sandbox",  # it may run as root, and opens this hub's pages only
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE_MS = 15_000  # of a click or a look, on two busy cores


# Of the package, not of the session: the driver keeps an event loop running, which Django's ORM would refuse to work under.
@pytest.fixture(scope="package")
def chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.fail("Chromium is missing; ./manage.py test installs it, or: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with open_town(tmp_path_factory.mktemp("town")) as town:
        yield town


@pytest.fixture(scope="package")
def scenery(town: Town) -> Scenery:
    return make_scenery(town)


@pytest.fixture(scope="package")
def gallery() -> Gallery:
    return Gallery()


@pytest.fixture
def watch() -> Iterator[Watch]:
    """Every page that a test opens is listened to; the test fails at its end when one complained."""
    watch = Watch()
    yield watch
    watch.check()


@pytest.fixture
def open_window(chromium: Any, town: Town, watch: Watch) -> Iterator[Callable[..., Any]]:
    """`open_window("ada")` is a page in a browser of her own, signed in through the form; None is a stranger's."""
    yield from open_windows(chromium, watch, town.address, town.passwords)


def open_windows(
    chromium: Any, watch: Watch, address: str, passwords: Mapping[str, str]
) -> Iterator[Callable[..., Any]]:
    """The opener of windows at the hub of this address; all of them close at the end."""
    contexts = []

    def open(name: str | None = None, **options: Any) -> Any:
        context = chromium.new_context(base_url=address, viewport={"width": 1280, "height": 900}, **options)
        context.set_default_timeout(PATIENCE_MS)
        context.on("page", watch.follow)
        contexts.append(context)
        page = context.new_page()
        if name is not None:
            sign_in(page, name, passwords[name])
        return page

    yield open
    for context in contexts:
        context.close()


def sign_in(page: Any, name: str, password: str) -> None:
    page.goto("/login")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/")
