"""The rules of a .gitignore file (https://git-scm.com/docs/gitignore). Matching stays fast for any pattern."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import translate

from hub.common.errors import TooLarge

MAX_RULES = 1000
MAX_RULE_CHARACTERS = 500
MAX_WILDCARDS = 32  # of one rule; each takes time to compile and to match
MAX_PARTS = 64  # of one rule; no tree is deeper
MAX_STEPS = 5_000_000  # of matching for one request, some seconds; the stock client asks for 256 files at once

WILDCARD = re.compile(r"[*?\[\\]")
Part = Callable[[str], object]


def any_names(name: str) -> bool:
    """Stands for `**`: any number of folders."""
    return True


@dataclass(frozen=True)
class Rule:
    parts: tuple[Part, ...]  # tests for names of folders and for the last name
    cost: int  # steps of one test: each star of a pattern is a search of its own
    is_negated: bool
    folders_only: bool


@dataclass
class IgnoreRules:
    rules: tuple[Rule, ...]
    folders: dict[str, bool] = field(default_factory=dict)  # what was decided already: files share their folders
    steps: int = 0

    def ignores(self, path: str) -> bool:
        """The last rule that matches wins; nothing below an ignored folder comes back. Raises TooLarge when all paths
        together take more matching than anybody needs."""
        folder = path.rpartition("/")[0]
        return ("/" in path and self._ignores_folder(folder)) or self._decides(path.split("/"), is_folder=False)

    def _ignores_folder(self, folder: str) -> bool:
        names = folder.split("/")
        for length in range(1, len(names) + 1):
            prefix = "/".join(names[:length])
            if prefix not in self.folders:
                self.folders[prefix] = self._decides(names[:length], is_folder=True)
            if self.folders[prefix]:
                return True
        return False

    def _decides(self, names: list[str], *, is_folder: bool) -> bool:
        for rule in reversed(self.rules):
            if (is_folder or not rule.folders_only) and self._matches(rule, names):
                return not rule.is_negated
        return False

    def _matches(self, rule: Rule, names: list[str]) -> bool:
        self._spend(rule.cost)
        if not rule.parts[-1](names[-1]):
            return False  # most rules fail here, at once
        self._spend(rule.cost * len(names))
        return matches(rule.parts, names)

    def _spend(self, steps: int) -> None:
        self.steps += steps
        if self.steps > MAX_STEPS:
            raise TooLarge("So many files and rules of .gitignore take too long to match; send fewer files at once.")


def parse_ignore_rules(text: str) -> IgnoreRules:
    rules = (parse_rule(line) for line in text.splitlines()[:MAX_RULES])
    return IgnoreRules(tuple(rule for rule in rules if rule is not None))


def parse_rule(line: str) -> Rule | None:
    """One line as a rule; None for comments, empty lines and what is longer than anybody means."""
    text = re.sub(r"(?<!\\)\s+$", "", line)
    if not text or text.startswith("#") or len(text) > MAX_RULE_CHARACTERS:
        return None
    is_negated = text.startswith("!")
    text = text[is_negated:]
    folders_only = text.endswith("/")
    text = text.rstrip("/")
    if not text:
        return None
    is_anchored = "/" in text
    parts = text.removeprefix("/").split("/")
    wildcards = len(WILDCARD.findall(text))
    if len(parts) > MAX_PARTS or wildcards > MAX_WILDCARDS:
        return None
    tests = [any_names] * (not is_anchored) + [compile_part(part) for part in parts]
    return Rule(tuple(tests), len(parts) + wildcards, is_negated, folders_only)


def compile_part(part: str) -> Part:
    """The test for one name. Compiled once: the cache of fnmatch is smaller than a long file of rules."""
    if part == "**":
        return any_names
    if not WILDCARD.search(part):
        return part.__eq__
    return re.compile(translate(translate_part(part))).match


def translate_part(part: str) -> str:
    r"""A name pattern of git in the words of fnmatch: `[^a]` is `[!a]`, `\*` is `[*]`."""
    part = re.sub(r"\\(.)", r"[\1]", part)
    return re.sub(r"\[\^", "[!", part)


def matches(parts: tuple[Part, ...], names: list[str]) -> bool:
    """Whether the parts take exactly these names: row by row, so that `**` costs no backtracking."""
    reached = [True] + [False] * len(names)  # reached[i]: the parts so far can take the first i names
    for number, part in enumerate(parts):
        if part is any_names:
            first = reached.index(True) if True in reached else len(names) + 1
            # At the end it stands for at least one name: "logs/**" is what lies in logs.
            first += number == len(parts) - 1
            reached = [index >= first for index in range(len(names) + 1)]
        else:
            reached = [False] + [reached[i] and bool(part(names[i])) for i in range(len(names))]
    return reached[-1]
