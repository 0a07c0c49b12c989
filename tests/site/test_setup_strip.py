"""While the site answers and the rest is still being installed, every page says how far it is."""

import pytest

from hub.site.bootstrap.setup_progress import SetupProgress, Step, write_json

pytestmark = pytest.mark.django_db
REFRESH = 'http-equiv="refresh"'


@pytest.fixture
def save(data_dir):
    """`save(step, ...)` writes what `up` writes while it starts."""
    return lambda *steps: write_json(data_dir / "setup.json", SetupProgress(list(steps)).as_json())


def read(client, address):
    return client.get(address).content.decode()


@pytest.mark.parametrize("address", ["/", "/models", "/login", "/nobody/nothing"])
def test_every_page_says_what_happens_now_how_far_it_is_and_what_comes_then(client, save, address):
    """The terminal sent people to a page that showed nothing."""
    engine = Step("Packages of the engine", "now", "Fetching <torch>", 0.42)
    save(Step("Site", "done"), engine, Step("Demo community"))
    page = read(client, address)
    assert "The hub is still being set up." in page
    assert "Packages of the engine: Fetching &lt;torch&gt;, 42 % done" in page
    assert '<progress class="meter" value="42" max="100">42 %</progress>' in page
    assert "then: Demo community" in page
    assert (REFRESH in page) == (address == "/")  # elsewhere a form may be half filled in


def test_what_failed_is_told_with_when_it_is_tried_again(client, save):
    save(Step("Packages of the engine", "failed", "The network is down. It is tried again in 60 seconds."))
    page = read(client, "/")
    assert "Packages of the engine: The network is down. It is tried again in 60 seconds." in page
    assert "callout--warn" in page and 'aria-label="Warning"' in page


def test_between_two_steps_the_next_one_is_told(client, save):
    save(Step("Site", "done"), Step("Demo community"))
    page = read(client, "/")
    assert "Demo community" in page and "then:" not in page and "<progress" not in page


def test_nothing_is_told_when_all_is_there_or_no_start_is_under_way(client, save):
    assert "being set up" not in read(client, "/")
    save(Step("Site", "done"))
    page = read(client, "/")
    assert "being set up" not in page and REFRESH not in page
