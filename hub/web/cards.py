"""The README of a repository as its page shows it: rendered, with anchors, a table of contents and images that resolve."""

import html
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from django.utils.safestring import SafeString, mark_safe

from hub.common.errors import EntryNotFound, Gated, InvalidInput, RevisionNotFound, TooLarge, Withheld
from hub.common.markdown import Card, render_markdown
from hub.repos.cards import read_card
from hub.repos.models import Repo
from hub.repos.reader import RepoReader

HEADING = re.compile(r"<h([1-4])>(.*?)</h\1>", re.DOTALL)
ADDRESS = re.compile(r'(<(?:img|a)\b[^>]*?\b(src|href)=")([^"]*)(")')
ABSOLUTE = re.compile(r"^(?:[a-z][a-z0-9+.-]*:|/|#)", re.IGNORECASE)
PAGE_IDS = frozenset({"content", "search-box", "instant"})  # a heading must not take the name of a part of the page
MAX_CHIPS = 12  # of one kind; a card may list hundreds of languages
MAX_ANCHORS = 500  # headings beyond are drawn without; nobody reads a longer table of contents


@dataclass(frozen=True)
class Heading:
    level: int
    text: str
    anchor: str


@dataclass(frozen=True)
class RenderedText:
    html: SafeString
    contents: list[Heading] = field(default_factory=list)


@dataclass(frozen=True)
class Chip:
    kind: str  # shown before the value, "" for none
    text: str
    address: str = ""


def render_readme(text: str, repo: Repo, commit: str, folder: str = "") -> RenderedText:
    """Safe HTML of a Markdown file that lies in `folder` of `repo` at `commit`."""
    place = f"{commit}/{folder}/" if folder else f"{commit}/"
    rendered = ADDRESS.sub(lambda match: resolve_address(match, repo.path, place), render_markdown(text))
    anchors = Anchors()
    rendered = HEADING.sub(anchors.add, rendered)
    return RenderedText(mark_safe(rendered), anchors.contents)  # noqa: S308  render_markdown sanitised it


def resolve_address(match: re.Match[str], repo_path: str, place: str) -> str:
    """Relative addresses point into the same commit: pictures to their bytes, links to their pages."""
    before, attribute, address, after = match.groups()
    if not address or ABSOLUTE.match(address):
        return match.group(0)
    door = "resolve" if attribute == "src" else "blob"
    return f"{before}{repo_path}/{door}/{quote(place)}{address.removeprefix('./')}{after}"


class Anchors:
    """Gives the headings of one text their anchors, each once, and lists them."""

    def __init__(self) -> None:
        self.contents: list[Heading] = []
        self.taken = set(PAGE_IDS)
        self.numbers: dict[str, int] = {}  # base -> the last number behind it, so that no search starts again

    def add(self, match: re.Match[str]) -> str:
        if len(self.contents) == MAX_ANCHORS:
            return match.group(0)
        level, inner = int(match.group(1)), match.group(2)
        text = html.unescape(re.sub(r"<[^>]+>", "", inner)).strip()
        anchor = self.take(re.sub(r"[^\w]+", "-", text.lower()).strip("-") or "part")
        self.contents.append(Heading(level, text, anchor))
        link = f'<a class="anchor" href="#{quote(anchor)}" aria-label="Link to this part">#</a>'
        return f'<h{level} id="{html.escape(anchor)}">{inner}{link}</h{level}>'

    def take(self, base: str) -> str:
        """`base`, or `base` with the next free number."""
        anchor, number = base, self.numbers.get(base, 1)
        while anchor in self.taken:
            number += 1
            anchor = f"{base}-{number}"
        self.numbers[base] = number
        self.taken.add(anchor)
        return anchor


def open_card(reader: RepoReader) -> tuple[Card | None, str]:
    """The card at the head that this person sees, and its commit; None where there is no README.md."""
    try:
        commit = reader.resolve(None)
    except RevisionNotFound:
        return None, ""
    try:
        return read_card(reader.read_text(commit, "README.md")), commit
    except (EntryNotFound, Gated, Withheld, InvalidInput):  # none, none for this reader, or a folder of that name
        return None, commit
    except TooLarge as problem:
        return Card({}, "", problem.message), commit


def describe_card(metadata: dict[str, Any], repo: Repo) -> list[Chip]:
    """The metadata as chips; each leads to the list of what shares it."""
    listing = f"/{repo.type}s"
    chips = []
    for kind, key in (
        ("", "pipeline_tag"),
        ("", "library_name"),
        ("licence", "license"),
        ("language", "language"),
        ("task", "task_categories"),
        ("", "tags"),
    ):
        for value in as_words(metadata.get(key))[:MAX_CHIPS]:
            chips.append(Chip(kind, value, f"{listing}?tag={quote(value)}"))
    for kind, key, prefix in (("base model", "base_model", "/"), ("trained on", "datasets", "/datasets/")):
        for value in as_words(metadata.get(key))[:MAX_CHIPS]:
            known = re.fullmatch(r"[\w.-]+/[\w.-]+", value)
            chips.append(Chip(kind, value, f"{prefix}{value}" if known else ""))
    return chips


def as_words(value: Any) -> list[str]:
    """A scalar or a list of scalars as short strings; anything else is none of ours."""
    values = value if isinstance(value, list) else [value]
    return [str(item)[:80] for item in values if isinstance(item, str | int | float) and not isinstance(item, bool)]
