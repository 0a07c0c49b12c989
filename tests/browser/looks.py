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

HERE = Path(__file__).parent
FAULTS = (HERE / "page_faults.js").read_text()
OVERFLOW = (HERE / "page_overflow.js").read_text()


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
            too_wide = page.evaluate(OVERFLOW)
            assert not too_wide, f"{page.url} at {width} px: " + "\n".join(too_wide)
            for scheme in SCHEMES if self.folder else ():
                page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
                page.screenshot(path=self.folder / f"{self.count:02}-{name}-{width}-{scheme}.png", full_page=True)
        page.emulate_media(color_scheme="light")
        page.set_viewport_size(before)


def check_page(page: Any) -> None:
    """Raises AssertionError with everything that is wrong with the page as it stands."""
    faults = page.evaluate(FAULTS)
    assert not faults, f"{page.url}\n" + "\n".join(faults)
