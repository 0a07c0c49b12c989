"""What goes wrong with models, and what people do about it on the pages, while the stock client goes on asking.

A hub of its own: its training is made up (tests.moderation.story), its pages and its people's acts are real."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import DisabledRepoError, LocalEntryNotFoundError, RevisionNotFoundError

from tests.browser.conftest import open_windows
from tests.browser.looks import Gallery, Watch, check_page
from tests.clients.running_hub import RunningHub, prepare_data
from tests.moderation.story import MODEL, prepare

pytestmark = [pytest.mark.browser, pytest.mark.slow]

WEIGHTS = "model.safetensors"
NEWEST = f"/{MODEL}/releases/v1.1.0"


@dataclass
class Stranger:
    """Somebody with `huggingface_hub` and no account; each download goes to a folder of its own."""

    url: str
    folder: Path

    def fetch(self, revision: str) -> Path:
        place = self.folder / f"{revision}-{len(list(self.folder.iterdir()))}"
        return Path(hf_hub_download(MODEL, WEIGHTS, revision=revision, cache_dir=place, endpoint=self.url, token=False))

    def fetch_all(self, revision: str) -> Path:
        place = self.folder / f"{revision}-{len(list(self.folder.iterdir()))}"
        found = snapshot_download(MODEL, revision=revision, cache_dir=place, endpoint=self.url, token=False)
        return Path(found)

    def is_refused(self, revision: str) -> None:
        for fetch in (self.fetch, self.fetch_all):
            with pytest.raises(LocalEntryNotFoundError) as caught:  # so the client ends where it has no copy
                fetch(revision)
            assert isinstance(caught.value.__cause__, DisabledRepoError), caught.value.__cause__


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    folder = tmp_path_factory.mktemp("moderation")
    prepare_data(folder / "data")
    hub = RunningHub(folder / "data")
    hub.start()
    try:
        yield hub
    finally:
        hub.stop()


@pytest.fixture(scope="module")
def made(hub: RunningHub, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return prepare(hub, tmp_path_factory.mktemp("weights"))


@pytest.fixture
def open_window(chromium: Any, hub: RunningHub, made: dict[str, Any], watch: Watch) -> Iterator[Callable[..., Any]]:
    """Windows at this hub; everybody's password is "<name>-tides-2026"."""
    passwords = {name: f"{name}-tides-2026" for name in made["tokens"]}
    yield from open_windows(chromium, watch, hub.url, passwords)


@pytest.fixture
def stranger(hub: RunningHub, tmp_path: Path) -> Stranger:
    return Stranger(hub.url, tmp_path)


def look(page: Any, gallery: Gallery, name: str) -> None:
    check_page(page)
    gallery.keep(page, f"moderation-{name}")


def give_reason(page: Any, label: str, reason: str, button: str) -> None:
    page.get_by_label(label, exact=True).fill(reason)
    page.get_by_role("button", name=button, exact=True).click()


def verdict(page: Any) -> str:
    """What the head of a page of a release or a case says about its state."""
    return str(page.locator("section.verdict").first.inner_text())


def test_a_poisoned_candidate_is_blocked_with_its_answers_shown_and_two_moderators_let_it_pass(
    open_window: Callable[..., Any], hub: RunningHub, made: dict[str, Any], gallery: Gallery
) -> None:
    number = made["pull_request"]
    with pytest.raises(RevisionNotFoundError):
        HfApi(hub.url, token=False).model_info(MODEL, revision=f"refs/convert/candidate_{number}")
    owner = open_window("amy")
    see_blocked(owner, number, gallery)
    owner.locator("#check-screen").get_by_role("link", name="Case").click()
    owner.get_by_role("heading", name="Answers that were flagged").wait_for()
    read_transcript(owner, gallery)
    assert not owner.get_by_role("button", name="Decide").count()
    case = owner.url
    allow(open_window("mona"), case, "Allow it", "They are lines of a play.", gallery, "poisoned")
    see_blocked(owner, number, gallery)
    agree(open_window("nora"), case, "Allow it", "I know the play.", gallery, "poisoned")
    owner.reload()
    row = owner.locator("#check-screen")
    assert row.locator(".badge").inner_text().strip() == "Passed"
    assert "mona: They are lines of a play.; nora: I know the play." in row.inner_text()


def see_blocked(page: Any, number: int, gallery: Gallery) -> None:
    """The proposal says that it waits, and cannot be merged."""
    page.goto(f"/{MODEL}/discussions/{number}")
    assert page.locator("#check-screen .badge").inner_text().strip() != "Passed"
    assert page.get_by_role("button", name="Merge into main").is_disabled()
    assert "violence" in page.locator("#screening").inner_text().lower()
    look(page, gallery, "blocked-proposal")


def read_transcript(page: Any, gallery: Gallery) -> None:
    """Answer by answer beside the parent's; what may hurt opens by a click."""
    look(page, gallery, "blocked-case")
    flagged = page.locator("article.card", has_text="Breaks the rule")
    first = flagged.first
    bad, good = first.get_by_text("then hurt him so that he will be afraid"), first.get_by_text("I cannot help with")
    assert flagged.count() > 1 and not bad.is_visible()
    first.get_by_text("Show the answers; they may be harmful").click()
    assert bad.is_visible() and good.is_visible()
    look(page, gallery, "transcript")


def allow(page: Any, case: str, choice: str, reason: str, gallery: Gallery, name: str) -> None:
    """The first of two: nothing follows from it, and the same moderator cannot be the second."""
    page.goto("/moderation")
    page.locator(f"a.row__title[href='{urlsplit(case).path}']").click()
    page.get_by_label(choice).check()
    give_reason(page, "Reason", reason, "Decide")
    page.get_by_text("One more moderator has to agree").wait_for()
    assert "It waits for a moderator" in verdict(page) and "You have said your word" in verdict(page)
    assert "1 more moderator needed" in page.locator("#voices").inner_text()
    assert not page.get_by_role("button", name="Decide").count()
    look(page, gallery, f"{name}-half-allowed")


def agree(page: Any, case: str, choice: str, reason: str, gallery: Gallery, name: str) -> None:
    page.goto(case)
    page.get_by_role("link", name="Your decision").click()
    assert "mona" in page.locator("#voices").inner_text()
    page.get_by_label(choice).check()
    give_reason(page, "Reason", reason, "Decide")
    page.get_by_text("Decided. The people concerned are told, with your reason.").wait_for()
    assert "Allowed by mona and nora" in verdict(page) and "more moderator" not in page.locator("#voices").inner_text()
    look(page, gallery, f"{name}-allowed")


def test_an_exception_for_a_model_that_is_worse_needs_two_moderators(
    open_window: Callable[..., Any], made: dict[str, Any], gallery: Gallery
) -> None:
    page = open_window("cleo")  # who proposed it
    proposal = f"/{MODEL}/discussions/{made['worse']}"
    page.goto(proposal)
    row = page.locator("#check-evaluate")
    assert row.locator(".badge").inner_text().strip() == "Failed"
    row.get_by_role("link", name="Ask for an exception").click()
    page.get_by_role("heading", name="Ask for an exception").wait_for()
    look(page, gallery, "ask-for-exception")
    words = "Why should it be published all the same?"
    give_reason(page, words, "It is worse at poems, which it is not for.", "Ask two moderators")
    page.get_by_text("Two moderators without a part in the model can set this aside").wait_for()
    assert not page.get_by_role("button", name="Decide").count()
    look(page, gallery, "exception")
    case = page.url
    allow(open_window("mona"), case, "Grant it", "Nobody asks it for poems.", gallery, "exception")
    page.goto(proposal)
    assert row.locator(".badge").inner_text().strip() == "Failed"
    agree(open_window("nora"), case, "Grant it", "The card says so.", gallery, "exception")
    page.reload()
    assert row.locator(".badge").inner_text().strip() == "Passed"
    assert "mona: Nobody asks it for poems.; nora: The card says so." in row.inner_text()
    look(page, gallery, "excepted-proposal")


def test_a_report_quarantines_a_release_and_an_appeal_gives_it_back(
    open_window: Callable[..., Any], made: dict[str, Any], stranger: Stranger, gallery: Gallery
) -> None:
    first, second = made["commits"].values()
    assert second in str(stranger.fetch("stable"))
    report_release(open_window("emil"), gallery)
    mona = open_window("mona")
    quarantine_release(mona, gallery)
    for pin in ("v1.1.0", second):
        stranger.is_refused(pin)
    assert first in str(stranger.fetch("stable"))
    ask_for_another_look(open_window("amy"), gallery)
    mona.goto("/moderation")
    mona.get_by_role("link", name=re.compile("^Appeal: ")).click()
    assert "another moderator has to decide" in verdict(mona)
    assert not mona.get_by_role("button", name="Decide").count()
    restore(open_window("nora"), gallery)
    for revision in ("v1.1.0", second, "stable"):
        assert second in str(stranger.fetch(revision))
    assert (stranger.fetch_all("v1.1.0") / WEIGHTS).stat().st_size > 0


def report_release(page: Any, gallery: Gallery) -> None:
    """From the page of the model, by way of its release."""
    page.goto(f"/{MODEL}")
    page.get_by_role("link", name="v1.1.0").click()
    look(page, gallery, "release")
    page.get_by_role("link", name="Report this release").click()
    page.get_by_role("heading", name=f"Report {MODEL} v1.1.0").wait_for()
    look(page, gallery, "report")
    give_reason(page, "What is wrong?", "It tells everybody where my aunt lives.", "Send the report")
    page.get_by_text("Thank you. A moderator looks at it").wait_for()
    look(page, gallery, "report-sent")


def quarantine_release(page: Any, gallery: Gallery) -> None:
    """From the queue to the report, from there to the release that it names."""
    page.goto("/moderation")
    look(page, gallery, "queue")
    page.get_by_role("link", name="It tells everybody where my aunt lives.").click()
    look(page, gallery, "case-of-report")
    page.get_by_role("link", name="its page").click()
    page.wait_for_url(f"**{NEWEST}")
    give_reason(page, "Reason", "It gives away an address.", "Quarantine it")
    page.get_by_text("v1.1.0 is quarantined now.").wait_for()
    assert "It gives away an address." in verdict(page)
    look(page, gallery, "quarantined")


def ask_for_another_look(page: Any, gallery: Gallery) -> None:
    """The owner reads why on the page of the release, which leads to the case."""
    page.goto(f"/{MODEL}")
    page.get_by_role("link", name="v1.1.0").click()
    assert "It gives away an address." in verdict(page)
    page.get_by_role("link", name=re.compile("^case [0-9]+$")).click()
    look(page, gallery, "case-of-quarantine")
    words = "Why should another moderator look at it?"
    give_reason(page, words, "It is the address of the harbour office.", "Ask for another look")
    page.get_by_text("Another moderator will look at it.").wait_for()
    look(page, gallery, "appeal")


def restore(page: Any, gallery: Gallery) -> None:
    page.goto("/moderation")
    page.get_by_role("link", name=re.compile("^Appeal: ")).click()
    page.get_by_text("It is the address of the harbour office.").wait_for()
    page.get_by_label("Put it online again").check()
    look(page, gallery, "appeal-to-decide")
    give_reason(page, "Reason", "The office is listed in the almanac.", "Decide")
    page.get_by_text("Decided. The people concerned are told, with your reason.").wait_for()
    look(page, gallery, "appeal-decided")
    page.goto(NEWEST)
    assert "Published, approved by" in verdict(page) and "listed in the almanac" in verdict(page)


def test_a_yanked_release_stays_for_who_pinned_it_and_stable_skips_it(
    open_window: Callable[..., Any], made: dict[str, Any], stranger: Stranger, gallery: Gallery
) -> None:
    first, second = made["commits"].values()
    assert second in str(stranger.fetch("stable"))
    page = open_window("amy")
    page.goto(NEWEST)
    give_reason(page, "Reason", "It confuses ebb and flood.", "Yank it")
    page.get_by_text("v1.1.0 is yanked now.").wait_for()
    look(page, gallery, "yanked")
    assert first in str(stranger.fetch("stable"))
    for pin in ("v1.1.0", second):
        assert second in str(stranger.fetch(pin))
    page = open_window()  # what everybody reads
    page.goto(f"/{MODEL}")
    strip = page.get_by_role("group", name="Releases").inner_text()
    assert re.search(r"v1\.0\.0.*v1\.1\.0.*It confuses ebb and flood", strip, re.DOTALL), strip
    look(page, gallery, "model-after-yank")
    page.get_by_role("link", name=re.compile("^Releases")).first.click()
    page.get_by_role("list", name="Releases").wait_for()
    look(page, gallery, "releases-after-yank")
