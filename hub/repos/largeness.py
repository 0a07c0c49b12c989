"""Which files live in the byte store and which are text in git: one rule for every door."""

import re
from fnmatch import translate

from django.conf import settings

from hub.repos.lifecycle import LARGE_PATTERNS

LARGE_NAME = re.compile("|".join(map(translate, LARGE_PATTERNS)))


def is_text(sample: bytes) -> bool:
    """Whether the beginning of a file reads as UTF-8 text; a character cut at the end of the sample does not count."""
    if b"\0" in sample:
        return False
    try:
        sample.decode("utf-8")
    except UnicodeDecodeError as problem:
        return problem.reason == "unexpected end of data" and len(sample) - problem.start < 4
    return True


def is_large(path: str, size: int, sample: bytes) -> bool:
    """True for what is stored by content address: big, binary by pattern, or not text. Empty files are never large."""
    if size == 0:
        return False
    name = path.rsplit("/", 1)[-1].lower()
    return size > settings.MAX_REGULAR_FILE_BYTES or LARGE_NAME.match(name) is not None or not is_text(sample)
