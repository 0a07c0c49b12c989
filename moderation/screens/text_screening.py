"""One text through the text screens: a description, a comment, a prompt."""

from collections.abc import Iterator

from moderation.screens.findings import Finding, FindingBag
from moderation.screens.harmful_text import HarmfulText
from moderation.screens.hidden_text import HiddenText
from moderation.screens.personal_data import PersonalData
from moderation.screens.secrets import find_secrets
from moderation.screens.text_reading import Place, TextBlock


def screen_text(text: str, *, where: str) -> list[Finding]:
    """Findings in a text of bounded length, the severest first; `where` names it ("description of pull request 3").
    The language model that tells coarse language is left out: it takes seconds to load."""
    bag = FindingBag()
    block = make_block(text, where)
    for finding, identity in _find_all(block, where):
        bag.add(finding, identity)
    return bag.close()


def make_block(text: str, where: str) -> TextBlock:
    lines = "\n" in text.strip("\n")

    def locate(data: bytes, start: int, end: int) -> Place:
        return Place(f"{where}:{data.count(10, 0, start) + 1}" if lines else where)

    return TextBlock(text.encode("utf-8", "replace"), locate)


def _find_all(block: TextBlock, where: str) -> Iterator[tuple[Finding, bytes | str]]:
    yield from find_secrets(block)
    personal = PersonalData(where)
    yield from personal.find(block, thorough=False)
    yield from personal.finish(thorough=False)
    yield from HiddenText(where).find(block)
    yield from HarmfulText(where).find(block)
