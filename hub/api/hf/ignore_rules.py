"""The rules of a .gitignore file (https://git-scm.com/docs/gitignore). Matching stays fast for any pattern."""

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase

MAX_RULES = 1000
MAX_RULE_CHARACTERS = 500


@dataclass(frozen=True)
class Rule:
    parts: tuple[str, ...]  # patterns of folder names and of the last name; "**" stands for any number of folders
    is_negated: bool
    folders_only: bool


@dataclass(frozen=True)
class IgnoreRules:
    rules: tuple[Rule, ...]

    def ignores(self, path: str) -> bool:
        """The last rule that matches wins; nothing below an ignored folder comes back."""
        names = path.split("/")
        above = any(self._decides(names[:length], is_folder=True) for length in range(1, len(names)))
        return above or self._decides(names, is_folder=False)

    def _decides(self, names: list[str], *, is_folder: bool) -> bool:
        for rule in reversed(self.rules):
            if (is_folder or not rule.folders_only) and matches(rule.parts, names):
                return not rule.is_negated
        return False


def parse_ignore_rules(text: str) -> IgnoreRules:
    rules = (parse_rule(line) for line in text.splitlines()[:MAX_RULES])
    return IgnoreRules(tuple(rule for rule in rules if rule is not None))


def parse_rule(line: str) -> Rule | None:
    """One line as a rule; None for comments and empty lines."""
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
    parts = [translate_part(part) for part in text.removeprefix("/").split("/")]
    return Rule(tuple(parts if is_anchored else ["**", *parts]), is_negated, folders_only)


def translate_part(part: str) -> str:
    r"""A name pattern of git in the words of fnmatch: `[^a]` is `[!a]`, `\*` is `[*]`."""
    part = re.sub(r"\\(.)", r"[\1]", part)
    return re.sub(r"\[\^", "[!", part)


def matches(parts: tuple[str, ...], names: list[str]) -> bool:
    """Whether the pattern takes exactly these names: row by row, so that `**` costs no backtracking."""
    reached = [True] + [False] * len(names)  # reached[i]: the parts so far can take the first i names
    for number, part in enumerate(parts):
        if part == "**":
            first = reached.index(True) if True in reached else len(names) + 1
            # At the end it stands for at least one name: "logs/**" is what lies in logs.
            first += number == len(parts) - 1
            reached = [index >= first for index in range(len(names) + 1)]
        else:
            reached = [False] + [reached[i] and fnmatchcase(names[i], part) for i in range(len(names))]
    return reached[-1]
