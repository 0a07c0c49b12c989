"""Every page of the hub, as people with a small screen, a keyboard, or no JavaScript meet it."""

import base64
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.browser.looks import Gallery, Watch, check_page
from tests.browser.scenery import Scenery
from tests.browser.town import Town

pytestmark = pytest.mark.browser

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
TOKENS = Path(__file__).parents[2] / "static" / "css" / "tokens.css"
READABLE = 4.5  # contrast of text, WCAG 2.2 success criterion 1.4.3
DISCERNIBLE = 3.0  # of borders of fields and of the mark of focus, 1.4.11
# Where the focus is, and whether one can see it: drawn around and within the window.
FOCUS = """() => {
  const element = document.activeElement;
  const style = getComputedStyle(element);
  const box = element.getBoundingClientRect();
  const isOutlined = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
  const isInside = box.width > 0 && box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth;
  const text = element.labels?.[0]?.textContent || element.getAttribute("aria-label") || element.textContent;
  return { text: text.trim().replace(/\\s+/g, " "), isVisible: isOutlined && isInside };
}"""


def walk(page: Any, addresses: dict[str, str], gallery: Gallery) -> list[str]:
    """Open each address; what is wrong with the pages, as sentences."""
    faults = []
    for name, address in addresses.items():
        answer = page.goto(address)
        if answer.status != 200:
            faults.append(f"{address} answers {answer.status}")
        try:
            check_page(page)
            gallery.keep(page, f"page-{name}")
        except AssertionError as problem:
            faults.append(str(problem))
    return faults


def test_pages_for_everybody_fit_any_screen(
    open_window: Callable[..., Any], scenery: Scenery, gallery: Gallery
) -> None:
    faults = walk(open_window(), scenery.public_pages, gallery)
    assert not faults, "\n".join(faults)


def test_pages_of_a_maintainer_fit_any_screen(
    open_window: Callable[..., Any], scenery: Scenery, gallery: Gallery
) -> None:
    faults = walk(open_window("ada"), scenery.maintainer_pages, gallery)
    assert not faults, "\n".join(faults)


def test_pages_of_a_moderator_fit_any_screen(
    open_window: Callable[..., Any], scenery: Scenery, gallery: Gallery
) -> None:
    faults = walk(open_window("noor"), scenery.moderator_pages, gallery)
    assert not faults, "\n".join(faults)


def test_pages_read_without_javascript(open_window: Callable[..., Any], scenery: Scenery) -> None:
    page = open_window("ada", java_script_enabled=False)
    for address, words in scenery.plain_words.items():
        assert page.goto(address).status == 200, address
        text = page.get_by_role("main").inner_text()
        assert not [word for word in words if word not in text], f"{address} shows {text[:600]}"
        assert "loading" not in text.lower(), f"{address} waits for a script"
    page.goto(scenery.proposal)
    page.get_by_text("New", exact=True).click()  # menus open by themselves
    assert page.get_by_role("link", name="Dataset", exact=True).is_visible()


def test_the_wizard_and_an_upload_work_without_javascript(
    open_window: Callable[..., Any], scenery: Scenery, tmp_path: Path
) -> None:
    page = open_window("sam", java_script_enabled=False)
    page.goto(f"{scenery.model}/propose")
    page.get_by_role("link", name="commons/tiny-base").click()
    page.get_by_role("button", name="Next: choose the data").click()
    page.get_by_role("checkbox", name="ada/questions").check()
    for step in ("see what it will learn", "how thoroughly?", "look it over"):
        page.get_by_role("button", name=f"Next: {step}").click()
    assert page.get_by_role("button", name="Propose it").is_visible()
    file = tmp_path / "by-hand.md"
    file.write_text("# Tides by hand\n")
    page.goto(f"{scenery.dataset}/upload")  # not Sam's: it becomes a proposal
    page.get_by_label("Choose files").set_input_files(file)
    page.get_by_role("button", name="Upload").click()
    assert page.get_by_role("heading", name="Upload by-hand.md").is_visible()


def test_selected_cases_are_claimed_without_javascript(open_window: Callable[..., Any], scenery: Scenery) -> None:
    page = open_window("noor", java_script_enabled=False)
    page.set_viewport_size({"width": 360, "height": 740})
    page.goto("/moderation")
    page.get_by_role("link", name="Select all on this page").click()
    boxes = page.get_by_role("checkbox", name=re.compile("Select case"))
    count = boxes.count()
    assert count > 1 and all(box.is_checked() for box in boxes.all())
    boxes.first.uncheck()
    page.get_by_label("With the selected cases").select_option("claim")
    page.get_by_role("button", name="See what will happen").click()
    page.get_by_role("button", name=f"Claim {count - 1} case").click()
    page.get_by_role("heading", name=f"Claim: {count - 1} done").wait_for()
    check_page(page)


def test_an_upload_goes_on_after_the_line_was_cut(
    open_window: Callable[..., Any], scenery: Scenery, watch: Watch, tmp_path: Path
) -> None:
    file = tmp_path / "long.txt"
    file.write_text("high water\n" * 20_000)
    page = open_window("ada")
    page.goto(f"{scenery.dataset}/upload")
    page.get_by_label("Choose files").set_input_files(file)
    session = page.context.new_cdp_session(page)
    limits = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 60_000}
    session.send("Network.emulateNetworkConditions", limits)
    with watch.expecting("ERR_INTERNET_DISCONNECTED"):
        page.get_by_role("button", name="Upload").click()
        page.locator(".upload-file__state", has_text=re.compile(r"[\d.]+ kB of 220 kB")).wait_for()
        session.send("Network.emulateNetworkConditions", {**limits, "offline": True})
        page.get_by_text("Trying again").wait_for()
    session.send("Network.emulateNetworkConditions", {**limits, "uploadThroughput": -1})
    page.wait_for_url(f"**{scenery.dataset}/tree/main")
    page.get_by_role("link", name="File long.txt", exact=True).wait_for()


def test_a_picture_that_is_dropped_or_chosen_stands_in_the_comment(
    open_window: Callable[..., Any], scenery: Scenery, tmp_path: Path, watch: Watch
) -> None:
    picture, page_file = tmp_path / "quay.png", tmp_path / "page.png"
    picture.write_bytes(base64.b64decode(PIXEL))
    page_file.write_bytes(b"<html></html>")
    page = open_window("sam")
    page.goto(scenery.discussion)
    with watch.expecting("status 400"):
        page.locator("form input[type=file]").set_input_files(page_file)
        page.get_by_text("page.png was not attached: This is no file that can be attached").wait_for()
    page.get_by_label("Comment").fill("The quay: ")
    page.locator("form input[type=file]").set_input_files(picture)
    page.get_by_text("quay.png is attached.").wait_for()
    page.get_by_role("button", name="Comment", exact=True).click()
    shown = page.get_by_role("img", name="quay.png")
    shown.wait_for()
    assert shown.evaluate("image => image.decode().then(() => image.naturalWidth)") == 1


def press_until(page: Any, words: str, most: int = 60) -> None:
    """Tab to what is called `words`; the focus is to be seen at every stop on the way."""
    for _ in range(most):
        page.keyboard.press("Tab")
        focus = page.evaluate(FOCUS)
        assert focus["isVisible"], f"{page.url}: one cannot see the focus on {focus['text']!r}"
        if words in focus["text"]:
            return
    raise AssertionError(f"{page.url}: {words!r} is not reached in {most} stops")


def test_signing_in_needs_no_mouse(open_window: Callable[..., Any], town: Town, scenery: Scenery) -> None:
    page = open_window()
    page.goto("/models")
    page.keyboard.press("Tab")
    assert page.evaluate(FOCUS) == {"text": "Skip to the content", "isVisible": True}
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate(FOCUS)["text"] == "Search models"  # the bar was skipped
    page.reload()
    press_until(page, "Sign in")
    page.keyboard.press("Enter")
    page.wait_for_url("**/login?next=/models")
    page.keyboard.type("ada")  # the first field has the focus
    press_until(page, "Password")
    page.keyboard.type(town.passwords["ada"])
    page.keyboard.press("Enter")
    page.get_by_role("link", name="New model").wait_for()
    press_until(page, "New")
    page.keyboard.press("Enter")
    press_until(page, "Proposal", most=1)
    page.keyboard.press("Escape")
    assert page.evaluate(FOCUS) == {"text": "New", "isVisible": True}  # back where it was opened
    page.keyboard.press("/")
    page.keyboard.type("harbour")
    page.locator("#instant").get_by_role("link", name="ada/harbour").wait_for()
    press_until(page, "ada/harbour", most=3)


def test_merging_needs_no_mouse(open_window: Callable[..., Any], scenery: Scenery) -> None:
    page = open_window("ada")
    page.goto(scenery.small_proposal)
    press_until(page, "Merge into main")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Merged into main by ada").wait_for()


def test_a_private_repository_looks_missing_to_a_stranger(
    open_window: Callable[..., Any], scenery: Scenery, watch: Watch
) -> None:
    for person in (None, "sam"):
        page = open_window(person)
        seen = []
        with watch.expecting("status 404"):
            for address in (scenery.private, f"{scenery.private}-which-is-not-there"):
                assert page.goto(address).status == 404
                check_page(page)
                name = address.removeprefix("/datasets/")
                text = page.get_by_role("main").inner_text().replace(name, "NAME")
                seen.append(re.sub(r"Request [0-9a-f]+", "Request", text))
        assert seen[0] == seen[1]
        page.goto("/datasets?q=secret")
        assert "secret" not in page.get_by_role("main").inner_text().replace("“secret”", "")


def test_a_session_ends_where_it_was_ended(open_window: Callable[..., Any], watch: Watch) -> None:
    page = open_window("ada")
    page.locator("summary", has_text="Your menu, ada").click()
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("link", name="Sign in").wait_for()
    page.goto("/settings/tokens")
    page.wait_for_url("**/login?next=/settings/tokens")
    page.get_by_label("Name").fill("ada")
    page.get_by_label("Password").fill("not-her-password")
    with watch.expecting("status 400"):
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("alert").wait_for()


def read_tokens() -> dict[str, tuple[str, str]]:
    """Colour tokens: name -> (by day, by night)."""
    found = re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)", TOKENS.read_text())
    return {name: (day, night) for name, day, night in found}


def luminance(colour: str) -> float:
    """Relative luminance of "#rrggbb". Source: https://www.w3.org/TR/WCAG22/#dfn-relative-luminance"""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


GROUNDS = ("paper", "surface", "sunken")
STATES = ("good", "warn", "danger")
SERIES = ("series-1", "series-2", "series-3", "series-4")
TEXT_PAIRS = [
    *((ink, ground) for ink in ("ink", "ink-muted", "accent", "accent-strong", *STATES) for ground in GROUNDS),
    *((state, f"{state}-soft") for state in STATES),
    *((ink, ground) for ink in ("ink", "ink-muted", "accent") for ground in ("accent-soft", "added", "removed")),
    *((line, ground) for line in SERIES for ground in ("paper", "surface")),
    ("on-accent", "accent"),
    ("on-accent", "accent-strong"),
    ("on-danger", "danger"),
]


@pytest.mark.parametrize("scheme", [0, 1], ids=["day", "night"])
def test_text_stands_out_from_its_ground(scheme: int) -> None:
    colours = {name: pair[scheme] for name, pair in read_tokens().items()}
    poor = [
        f"{ink} on {ground}: {ratio:.2f}"
        for ink, ground in TEXT_PAIRS
        if (ratio := contrast(colours[ink], colours[ground])) < READABLE
    ]
    poor += [
        f"{line} on {ground}: {ratio:.2f}"
        for line in ("line-strong", "accent")
        for ground in GROUNDS
        if (ratio := contrast(colours[line], colours[ground])) < DISCERNIBLE
    ]
    assert not poor, "; ".join(poor)


def test_the_contrast_is_computed_as_the_standard_says() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)
