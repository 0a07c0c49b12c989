"""What a page must look like to be shown to anybody: nothing wider than the screen, nothing on the console, names for
everything that is clicked. Also the pictures of each page, where the SCREENSHOTS variable names a folder for them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

WIDTHS = {360: 740, 1280: 900}  # of a small phone and of a laptop -> height
SCHEMES = ("light", "dark")

# What is wrong with this page, as sentences. Plain rules on purpose: each can be checked by looking.
FAULTS = """() => {
  const faults = [];
  const say = (what, element) => faults.push(`${what}: ${element.outerHTML.slice(0, 160).replace(/\\s+/g, " ")}`);
  const isShown = (element) => element.checkVisibility({ visibilityProperty: true });
  if (!document.documentElement.lang) faults.push("the page names no language");
  if (!document.title.trim()) faults.push("the page has no title");
  const headings = [...document.querySelectorAll("h1:not(.prose *)")].filter(isShown);
  if (headings.length !== 1) faults.push(`the page has ${headings.length} h1: ${headings.map((item) => item.textContent.trim()).join(" | ")}`);
  let level = 1;
  for (const heading of document.querySelectorAll("main h1, main h2, main h3, main h4")) {
    const now = Number(heading.tagName[1]);
    if (now > level + 1 && !heading.closest(".prose")) say(`a heading jumps from h${level} to h${now}`, heading);
    level = now;
  }
  for (const image of document.querySelectorAll("img:not([alt])")) say("an image without a text", image);
  for (const picture of document.querySelectorAll("svg:not([aria-hidden])")) if (!picture.querySelector("title") && !picture.getAttribute("aria-label") && !picture.getAttribute("aria-labelledby")) say("a picture without a name", picture);
  const nameOf = (element) => (element.getAttribute("aria-label") || [...(element.labels ?? [])].map((label) => label.textContent).join(" ")
    || (element.getAttribute("aria-labelledby") ?? "").split(" ").map((id) => document.getElementById(id)?.textContent ?? "").join(" ")
    || (element.matches("input, select, textarea") ? "" : element.textContent)
    || [...element.querySelectorAll("img[alt], [aria-label]")].map((item) => item.alt || item.getAttribute("aria-label")).join(" ")
    || element.title).trim();
  for (const field of document.querySelectorAll("input:not([type=hidden]), select, textarea")) if (!nameOf(field)) say("a field without a label", field);
  for (const thing of document.querySelectorAll("a[href], button, summary")) if (!nameOf(thing)) say("nothing says what this does", thing);
  for (const table of document.querySelectorAll("main table")) if (!table.closest(".prose, .source, .diff") && !table.querySelector("th")) say("a table without heads", table);
  const seen = new Set();
  for (const { id } of document.querySelectorAll("[id]")) { if (seen.has(id)) faults.push(`the id ${id} is there twice`); seen.add(id); }
  for (const link of document.querySelectorAll('main a[href^="#"]')) { const id = decodeURIComponent(link.hash.slice(1)); if (id && !document.getElementById(id)) say("a link to nowhere on this page", link); }
  if (!document.querySelector("main")) faults.push("the page has no main part");
  return faults;
}"""
# What makes the page wider than the screen: elements over the edge that no scrolling box holds.
OVERFLOWS = """() => {
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= width) return [];
  const wide = [...document.querySelectorAll("body *")].filter((element) => element.getBoundingClientRect().right > width + 1);
  return [`${document.documentElement.scrollWidth} px wide`, ...wide.slice(0, 6).map((item) => item.outerHTML.slice(0, 120))];
}"""


@dataclass
class Watch:
    """Listens to a browser context: what a page writes to its console, and requests that fail."""

    troubles: list[str] = field(default_factory=list)
    expected: set[str] = field(default_factory=set)  # parts of troubles that a test provokes

    def follow(self, page: Any) -> None:
        page.on("console", self.hear)
        page.on("pageerror", lambda error: self.note(f"{page.url}: script error {error}"))
        page.on("requestfailed", self.miss)
        page.on("response", self.read)

    def hear(self, message: Any) -> None:
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.note(f"{message.page.url if message.page else ''}: console {message.type} {message.text}")

    def miss(self, request: Any) -> None:
        # A page that is left ends what it was asking for; streams end so always.
        if request.failure != "net::ERR_ABORTED":
            self.note(f"{request.url}: {request.failure}")

    def read(self, response: Any) -> None:
        if response.status >= 400:
            self.note(f"{response.url}: status {response.status}")

    def note(self, trouble: str) -> None:
        if not any(part in trouble for part in self.expected):
            self.troubles.append(trouble)

    @contextmanager
    def expecting(self, *parts: str) -> Iterator[None]:
        """Refusals that belong to the test."""
        self.expected |= set(parts)
        yield
        self.expected -= set(parts)

    def check(self) -> None:
        assert not self.troubles, "\n".join(self.troubles)


class Gallery:
    """Pictures of pages in both widths and lights, numbered in the order of the visit."""

    def __init__(self, folder: str | None = os.environ.get("SCREENSHOTS")):
        self.folder = Path(folder) if folder else None
        self.count = 0
        if self.folder:
            self.folder.mkdir(parents=True, exist_ok=True)

    def keep(self, page: Any, name: str) -> None:
        """Look at the page at both widths; nothing may stick out. Draws it where a folder is given."""
        self.count += 1
        before = page.viewport_size
        for width, height in WIDTHS.items():
            page.set_viewport_size({"width": width, "height": height})
            assert not page.evaluate(OVERFLOWS), f"{page.url} at {width} px: {page.evaluate(OVERFLOWS)}"
            for scheme in SCHEMES if self.folder else ():
                page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
                page.screenshot(path=self.folder / f"{self.count:02}-{name}-{width}-{scheme}.png", full_page=True)
        page.emulate_media(color_scheme="light")
        page.set_viewport_size(before)


def check_page(page: Any) -> None:
    """Raises AssertionError with everything that is wrong with the page as it stands."""
    faults = page.evaluate(FAULTS)
    assert not faults, f"{page.url}\n" + "\n".join(faults)
