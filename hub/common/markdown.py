"""Markdown of contributors to safe HTML, and the YAML front matter of cards."""

import re
from dataclasses import dataclass
from io import StringIO
from typing import Any

import nh3
from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline
from ruamel.yaml import YAML, SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent
from ruamel.yaml.nodes import ScalarNode

MAX_CARD_BYTES = 512 * 1024
MAX_LINES = 10_000  # of a text that is rendered: a second's work at most
MAX_FRONT_MATTER_BYTES = 64 * 1024
MAX_OPEN_BRACKETS = 100
# What the YAML reader lets out of itself when a value is not what its tag claims: `!!bool x`, `!!int ''`, `!!timestamp soon`.
MISREAD = (ValueError, LookupError, ArithmeticError, AttributeError, TypeError)

COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)


def skip_comment_block(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """A comment that begins a line, and may go on over many: hidden, as HTML would hide it. Text behind its end stays."""
    begin = state.bMarks[start] + state.tShift[start]
    if state.is_code_block(start) or not state.src.startswith("<!--", begin):
        return False
    if state.src[begin : state.eMarks[start]].partition("-->")[2].strip():
        return False  # text goes on behind it: skip_comment does the rest
    if silent:
        return True  # no search: a text of nothing but beginnings would be searched through for each of them
    line = start
    while line < end and "-->" not in state.src[state.bMarks[line] : state.eMarks[line]]:
        line += 1
    state.line = min(line + 1, end)
    if line < end and state.src[state.bMarks[line] : state.eMarks[line]].partition("-->")[2].strip():
        state.line = line
        state.bMarks[line] = state.src.index("-->", state.bMarks[line]) + 3
        state.tShift[line] = state.sCount[line] = 0
    return True


def skip_comment(state: StateInline, silent: bool) -> bool:
    """A comment within a line."""
    found = COMMENT.match(state.src, state.pos) if state.src.startswith("<!--", state.pos) else None
    if found is None:
        return False
    state.pos = found.end()
    return True


_parser = MarkdownIt("commonmark", {"html": False, "linkify": False}).enable("table").enable("strikethrough")
_interrupts = {"alt": ["paragraph", "reference", "blockquote", "list"]}
_parser.block.ruler.before("paragraph", "comment", skip_comment_block, _interrupts)  # type: ignore[arg-type]
_parser.inline.ruler.before("text", "comment", skip_comment)
_tags = set(nh3.ALLOWED_TAGS) - {"img"} | {"img", "table", "thead", "tbody", "tr", "th", "td", "del"}
# A paragraph that is nothing but the address of an attachment here, as `HfApi.upload_attachment` tells people to write
# it: the bare address of a film, an audio element around that of a sound. The host is left out: it is this one.
_ATTACHED = r"(?:https?://[A-Za-z0-9.:\[\]-]{1,255})?(/uploads/[0-9a-f]{32}\."
FILM = re.compile(rf"<p>{_ATTACHED}(?:mp4|mov|webm))</p>")
SOUND = re.compile(
    rf'<p>(?:&lt;audio controls src=["\u201c])?{_ATTACHED}(?:mp3|wav))(?:["\u201d]&gt;&lt;/audio&gt;)?</p>'
)


def render_markdown(text: str) -> str:
    """Sanitised HTML. Links open with rel="nofollow ugc noopener"; no script, style or frame survives."""
    html = _parser.render(cut_text(text))
    html = nh3.clean(html, tags=_tags, link_rel="nofollow ugc noopener", url_schemes={"http", "https", "mailto"})
    html = FILM.sub(r'<p><video controls preload="none" src="\1"></video></p>', html)
    return SOUND.sub(r'<p><audio controls preload="none" src="\1"></audio></p>', html)


def cut_text(text: str) -> str:
    """What is rendered of a text, with a word about the rest: what opens and closes on each line takes seconds."""
    lines = text[:MAX_CARD_BYTES].split("\n", MAX_LINES)
    is_cut = len(text) > MAX_CARD_BYTES or any(line.strip() for line in lines[MAX_LINES:])
    rest = "\n\n*The text goes on; read the rest as plain text.*\n" if is_cut else "\n"
    return "\n".join(lines[:MAX_LINES]) + rest


@dataclass(frozen=True)
class Card:
    """A README: its metadata, its text, and what is wrong with the metadata (with the line), if anything."""

    metadata: dict[str, Any]
    body: str
    problem: str = ""


def open_brackets(text: str) -> int:
    """The most brackets that are open at once, quotes not regarded: the YAML reader takes seconds for thousands."""
    depth = most = 0
    for letter in text:
        if letter in "[{":
            depth += 1
            most = max(most, depth)
        elif letter in "]}":
            depth -= 1
    return most


class CardConstructor(SafeConstructor):
    """Builds the values of a card. A number beyond 64 bits is kept as the text that was written: Python does not write
    thousands of digits, and nothing that keeps a card takes such a number."""

    def construct_number(self, node: ScalarNode) -> int | str:
        value = self.construct_yaml_int(node)
        return value if abs(value) < 2**63 else str(node.value)


CardConstructor.add_constructor("tag:yaml.org,2002:int", CardConstructor.construct_number)


def yaml_reader() -> YAML:
    reader = YAML(typ="safe", pure=True)
    reader.Constructor = CardConstructor
    return reader


class YamlProblem(Exception):
    """What is wrong, to be written behind the name of the file: ": it is nested too deep", " line 3: ..."."""


def read_yaml(text: str) -> Any:
    """The plain values of a YAML text of somebody's, in time that its length bounds. Raises YamlProblem."""
    if open_brackets(text) > MAX_OPEN_BRACKETS:
        raise YamlProblem(": the metadata is nested too deep; write it flat.")
    try:
        # Before anything is built: a few aliases of aliases stand for more values than there is memory.
        if "*" in text and any(isinstance(event, AliasEvent) for event in yaml_reader().parse(StringIO(text))):
            raise YamlProblem(": the metadata uses YAML aliases ('*name'); write the values out.")
        return yaml_reader().load(StringIO(text))
    except RecursionError:
        raise YamlProblem(": the metadata is nested too deep; write it flat.") from None
    except MarkedYAMLError as problem:
        mark = problem.problem_mark
        line = mark.line + 1 if mark else 1
        raise YamlProblem(f" line {line}: {problem.problem}; mend the YAML between the '---' lines.") from None
    except (YAMLError, *MISREAD) as problem:
        raise YamlProblem(f": the metadata is not valid YAML ({problem}).") from None


def split_card(text: str) -> Card:
    """Read `---` YAML front matter. Broken YAML never raises: the card stays readable and says which line is wrong."""
    text = text.replace("\r\n", "\n")
    if not text.startswith("---\n"):
        return Card({}, text)
    head, found, body = text[3:].partition("\n---")
    if not found:
        return Card({}, text, "The metadata block that starts in line 1 has no closing '---' line; add one below it.")
    body = body.partition("\n")[2]
    if len(head) > MAX_FRONT_MATTER_BYTES:
        return Card({}, body, "The metadata block is larger than 64 KiB; move the text below the closing '---'.")
    try:
        metadata = read_yaml(head)
    except YamlProblem as problem:
        return Card({}, body, f"README.md{problem}")
    if metadata is None:
        metadata = {}
    if not isinstance(metadata, dict):
        return Card({}, body, "README.md: the metadata must be 'key: value' lines.")
    return Card({str(key): value for key, value in metadata.items()}, body)
