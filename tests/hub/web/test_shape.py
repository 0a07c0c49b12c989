"""Every page has what every page must have, and works without JavaScript."""

from html.parser import HTMLParser

import pytest

pytestmark = pytest.mark.django_db
VOID = {"meta", "link", "input", "br", "hr", "img", "use", "line", "path", "polyline"}


class Reader(HTMLParser):
    """Collects what we look for, and complains about tags that are not closed in order."""

    def __init__(self, text: str):
        super().__init__()
        self.stack: list[str] = []
        self.ids: list[str] = []
        self.tags: list[tuple[str, dict]] = []
        self.problems: list[str] = []
        self.feed(text)
        if self.stack:
            self.problems.append(f"never closed: {self.stack}")

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.tags.append((tag, found))
        if "id" in found:
            self.ids.append(found["id"])
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        if tag in VOID:
            return
        if not self.stack or self.stack.pop() != tag:
            self.problems.append(f"</{tag}> closes something else at {self.getpos()}")


def test_each_page_is_sound_html_with_title_skip_link_and_labels(tides, secret, proposal, browser_of, alice):
    browser = browser_of(alice)
    number = proposal.discussion.number
    for address in [
        "/", "/datasets", "/search?q=tides", "/settings/tokens", "/settings/webhooks", "/notifications", "/new/dataset", "/alice?tab=dataset",
        tides.path, f"{tides.path}/tree/main", f"{tides.path}/blob/main/README.md", f"{tides.path}/upload",
        f"{tides.path}/blob/main/data/tides.csv?plain", f"{tides.path}/edit/main/README.md", f"{tides.path}/settings",
        f"{tides.path}/settings/purge?path=data/tides.csv", f"{tides.path}/discussions/{number}",
        f"{tides.path}/discussions/{number}/files", f"{tides.path}/commits/main",
        f"{secret.path}", "/nothing/here",
    ]:  # fmt: skip
        check_shape(browser, address)


def test_the_pages_of_a_gate_are_sound_and_the_settings_close_it(tides, browser_of, commit_as, alice, charlie):
    from hub.repos.gating import field_name

    card = b"---\nextra_gated_fields:\n  Where: text\n  Sea: {type: select, options: [North]}\n  I agree: checkbox\n---\n# Tides\n"
    commit_as(alice, tides, {"README.md": card})
    form = {"description": "", "visibility": "public", "gated": "manual"}
    assert browser_of(alice).post(f"{tides.path}/settings", form).status_code == 302
    tides.refresh_from_db()
    assert (tides.gated, tides.is_private) == ("manual", False)
    stranger, owner = browser_of(charlie), browser_of(alice)
    check_shape(stranger, tides.path)
    answers = {field_name("Where"): "Hull", field_name("Sea"): "North", field_name("I agree"): "on"}
    assert stranger.post(f"{tides.path}/access", answers).status_code == 302
    for browser, page in ((stranger, ""), (stranger, "/tree/main"), (owner, ""), (owner, "/settings/access")):
        check_shape(browser, tides.path + page)
    assert browser_of(charlie).get(f"{tides.path}/settings/access").status_code == 403
    owner.post(f"{tides.path}/settings", {**form, "gated": "open"})
    tides.refresh_from_db()
    assert tides.gated == ""


def check_shape(browser, address):
    page = Reader(browser.get(address).content.decode())
    assert page.problems == [], address
    assert len(page.ids) == len(set(page.ids)), f"{address}: an id is there twice"
    names = [tag for tag, _ in page.tags]
    assert names.count("title") == 1 and names.count("main") == 1 and "h1" in names + ["h1"] * ("article" in names)
    assert ("a", {"class": "skip-link", "href": "#content"}) in page.tags
    labelled = {found.get("for") for tag, found in page.tags if tag == "label"}
    for tag, found in page.tags:
        if tag in ("textarea", "select") or (
            tag == "input" and found.get("type") not in ("hidden", "radio", "checkbox")
        ):
            assert found.get("id") in labelled or "hidden" in found, f"{address}: {found} has no label"


def test_nothing_is_loaded_from_elsewhere(tides, browser_of, alice):
    page = Reader(browser_of(alice).get(tides.path).content.decode())
    sources = [
        found.get("src") or found.get("href") or "" for tag, found in page.tags if tag in ("script", "link", "img")
    ]
    assert all(source.startswith(("/", "")) and "//" not in source for source in sources)


def test_the_static_files_that_pages_name_exist(tides, browser_of, alice):
    from django.contrib.staticfiles import finders

    page = Reader(browser_of(alice).get(f"{tides.path}/upload").content.decode())
    named = [found.get("src") or found.get("href") for tag, found in page.tags if tag in ("script", "link")]
    for address in [*filter(None, named), "/static/icons.svg", "/static/js/plot.js"]:
        assert finders.find(address.removeprefix("/static/")), address


def test_every_icon_that_is_asked_for_is_drawn():
    import re
    from pathlib import Path

    from django.conf import settings

    from hub.web.templatetags.hub_format import STATES

    drawn = set(re.findall(r'id="([\w-]+)"', (Path(settings.BASE_DIR) / "static/icons.svg").read_text()))
    asked = {drawing for drawing, _, _ in STATES.values()}
    for template in (Path(settings.BASE_DIR) / "templates").rglob("*.html"):
        asked |= set(re.findall(r'{% icon "([\w-]+)"', template.read_text()))
    assert asked <= drawn


def test_a_missing_page_and_a_refusal_look_like_the_site(browser_of, charlie, tides):
    missing = browser_of(charlie).get("/datasets/alice/nothing")
    refused = browser_of(charlie).get(f"{tides.path}/settings")
    unrouted = browser_of(charlie).get("/a/b/c/d/e")
    assert (missing.status_code, refused.status_code, unrouted.status_code) == (404, 403, 404)
    for answer in (missing, refused, unrouted):
        assert "top-bar" in answer.content.decode()
