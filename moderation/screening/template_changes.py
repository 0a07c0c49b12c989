"""Chat templates that a proposal changes, line by line. A template runs around every message and no chat shows it, so
whoever approves has to have read what it says now and said before."""

import json
from collections.abc import Iterator
from contextlib import suppress
from difflib import SequenceMatcher
from functools import lru_cache
from typing import Any

from hub.common.errors import HubError
from hub.community.candidates import members_of
from hub.community.contributions import reader_for
from hub.community.models import PullRequest
from hub.repos.models import Repo
from hub.repos.reader import RepoReader
from hub.storage.errors import StorageError
from hub.web.diffs import MAX_LINES, DiffLine, FileDiff
from hub.web.pull_requests import fork_point
from training.engine.tokenizer import MAX_TEMPLATE_BYTES

TEMPLATE_FILES = ("chat_template.jinja", "tokenizer_config.json", "chat_template.json")
MORE_TEMPLATES = "additional_chat_templates"  # a folder with a .jinja for each, as transformers writes it
MAX_FILE_BYTES = 4 << 20
CONTEXT_LINES = 3
MAX_COMPARED = 40_000  # pairs of lines; half a second at worst, and beyond it the old lines stand above the new ones
MAX_MORE = 16  # templates with names of their own
LONG_LINE = 160  # characters; a template in one line is broken after its tags
Templates = dict[str, str]  # file and name of the template -> its text


def list_changes(pull_request: PullRequest, user: Any) -> list[FileDiff]:
    """What this person may read of the templates that the proposal changes; those that only moved are left out."""
    if pull_request.discussion.repo.type != Repo.Type.MODEL:
        return []
    for before, after, ref in list_comparisons(pull_request):
        with suppress(HubError, StorageError):  # not for this person, or not there any more
            if not differ(pull_request, before, after):
                return []
            reader = reader_for(pull_request.discussion.repo, user)
            return compare_templates(read_templates(reader, before), read_templates(reader, reader.resolve(ref)))
    return []


def list_comparisons(pull_request: PullRequest) -> Iterator[tuple[str, str, str]]:
    """(before, after, name of after): the target and the candidate, which is what gets merged; then the proposal and where
    it left its target, for those who may not see the candidate."""
    if pull_request.candidate and pull_request.candidate_target:
        yield pull_request.candidate_target, pull_request.candidate, pull_request.candidate_ref
    yield fork_point(pull_request, pull_request.head), pull_request.head, pull_request.ref


def differ(pull_request: PullRequest, before: str, after: str) -> bool:
    """Asked of git alone and by id, for a page that is polled asks it again and again."""
    members = members_of(pull_request)
    for path in (*TEMPLATE_FILES, MORE_TEMPLATES):
        old, new = members.entry(before, path), members.entry(after, path)
        if (old.oid if old else "") != (new.oid if new else ""):
            return True
    return False


def read_templates(reader: RepoReader, commit: str) -> Templates:
    """All templates of a commit, as far as the reader may have them."""
    found: Templates = {}
    for path in [*TEMPLATE_FILES, *list_more(reader, commit)]:
        with suppress(HubError):
            found |= parse_templates(path, reader.read_bytes(commit, path, limit=MAX_FILE_BYTES))
    return found


def list_more(reader: RepoReader, commit: str) -> list[str]:
    with suppress(HubError):
        rows = [row for row in reader.tree(commit, MORE_TEMPLATES) if row.path.endswith(".jinja")]
        return [row.path for row in rows if row.size <= MAX_TEMPLATE_BYTES][:MAX_MORE]
    return []


@lru_cache(maxsize=8)
def parse_templates(path: str, data: bytes) -> Templates:
    """The templates in one file. What is no JSON has none: the screens say so of it."""
    if path.endswith(".jinja"):
        return {path: data.decode("utf-8", "replace")} if len(data) <= MAX_TEMPLATE_BYTES else {}
    try:
        given = json.loads(data)["chat_template"]
    except (ValueError, RecursionError, KeyError, TypeError):
        return {}
    if isinstance(given, str):
        return {path: given} if len(given) <= MAX_TEMPLATE_BYTES else {}
    rows = [row for row in given if isinstance(row, dict)][:MAX_MORE] if isinstance(given, list) else []
    rows = [row for row in rows if len(str(row.get("template"))) <= MAX_TEMPLATE_BYTES]
    return {f"{path} ({row.get('name')})": str(row.get("template")) for row in rows}


def compare_templates(old: Templates, new: Templates) -> list[FileDiff]:
    return [
        describe(path, old.get(path), new.get(path))
        for path in sorted(old.keys() | new.keys())
        if old.get(path) != new.get(path) and not has_moved(path, old, new)
    ]


def has_moved(path: str, old: Templates, new: Templates) -> bool:
    """The same text stood in another file before, or stands in another one now."""
    if path not in old:
        return new[path] in old.values()
    return path not in new and old[path] in new.values()


def describe(path: str, old: str | None, new: str | None) -> FileDiff:
    lines = compare_lines(old, new)
    added, removed = (sum(line.kind == kind for line in lines) for kind in ("added", "removed"))
    kind = "added" if old is None else "deleted" if new is None else "modified"
    is_cut = len(lines) > MAX_LINES
    return FileDiff(show_hidden(path), kind, list(lines[:MAX_LINES]), added, removed, is_cut=is_cut)


@lru_cache(maxsize=8)
def compare_lines(old: str | None, new: str | None) -> tuple[DiffLine, ...]:
    """Rows of a unified diff. Common lines at both ends cost nothing, however long the template is."""
    before, after = lay_out(old), lay_out(new)
    start = count_common(before, after)
    end = count_common(before[start:][::-1], after[start:][::-1])
    first, behind = max(start - CONTEXT_LINES, 0), max(end - CONTEXT_LINES, 0)
    before, after = before[first : len(before) - behind], after[first : len(after) - behind]
    if len(before) * len(after) <= MAX_COMPARED:
        groups = SequenceMatcher(None, before, after, autojunk=False).get_grouped_opcodes(CONTEXT_LINES)
    else:
        lead, tail = start - first, end - behind
        a, b = len(before), len(after)
        whole = ("replace", lead, a - tail, lead, b - tail)
        groups = iter([[("equal", 0, lead, 0, lead), whole, ("equal", a - tail, a, b - tail, b)]])
    return tuple(row for group in groups for row in draw(group, before, after, first))


def draw(group: Any, before: list[str], after: list[str], first: int) -> Iterator[DiffLine]:
    (_, a, _, b, _), (_, _, a_end, _, b_end) = group[0], group[-1]
    yield DiffLine("hunk", None, None, f"@@ -{first + a + 1},{a_end - a} +{first + b + 1},{b_end - b} @@")
    for kind, a, a_end, b, b_end in group:
        if kind == "equal":
            for step in range(a_end - a):
                yield DiffLine("same", first + a + step + 1, first + b + step + 1, before[a + step])
            continue
        for at in range(a, a_end):
            yield DiffLine("removed", first + at + 1, None, before[at])
        for at in range(b, b_end):
            yield DiffLine("added", None, first + at + 1, after[at])


def lay_out(template: str | None) -> list[str]:
    if template is None:
        return []
    lines = [show_hidden(line) for line in template.split("\n")]
    broken = [line if len(line) <= LONG_LINE else line.replace("%}", "%}\n").removesuffix("\n") for line in lines]
    return "\n".join(broken).split("\n")


def count_common(one: list[str], other: list[str]) -> int:
    count = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        count += 1
    return count


def show_hidden(text: str) -> str:
    """Letters that a page would not show, or that turn what stands around them, by their number."""
    return "".join(letter if letter.isprintable() or letter == "\t" else f"⟨U+{ord(letter):04X}⟩" for letter in text)
