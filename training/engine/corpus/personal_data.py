"""Masking what points at a person: addresses, phones, accounts and cards. Checksums keep false alarms low."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import replace

from training.engine.corpus.formats import Document, Message, Unusable

EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![\w-])")
# International (+49 30 123456) or North American with brackets; bare digits are far more often something else.
PHONE = re.compile(
    r"(?<![\w+])(?:\+\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d(?:[ .-]?\d){6,12}|\(\d{3}\) ?\d{3}-\d{4})(?!\d)"
)
IBAN = re.compile(r"(?<!\w)[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?!\w)")
# As printed: one block, or groups of four (American Express: 4-6-5). Any other grouping is a table of numbers.
CARD = re.compile(
    r"(?<![\w.-])(?:\d{13,19}|\d{4}([ -])\d{4}\1\d{4}\1\d{4}(?:\1\d{3})?|\d{4}([ -])\d{6}\2\d{5})(?!\w|[ -]?\d)"
)
IP_ADDRESS = re.compile(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.])")


def mask_text(text: str) -> tuple[str, int]:
    """The text with each finding replaced by its kind in brackets, and how many there were."""
    found = 0
    for pattern, label, is_real in RULES:

        def replace(match: re.Match[str], label: str = label, is_real: Callable[[str], bool] = is_real) -> str:
            nonlocal found
            if not is_real(match.group()):
                return match.group()
            found += 1
            return label

        text = pattern.sub(replace, text)
    return text, found


def mask_document(document: Document, mode: str) -> tuple[Document, int]:
    """`mode` mask replaces, drop raises Unusable, keep leaves as it is. Returns the number of findings too."""
    if mode == "keep":
        return document, 0
    counts: list[int] = []
    masked = document.change(lambda part: _mask(part, counts))
    if sum(counts) and mode == "drop":
        raise Unusable("personal_data")
    return masked, sum(counts)


def _mask(document: Document, counts: list[int]) -> Document:
    if document.text is not None:
        text, found = mask_text(document.text)
        counts.append(found)
        return Document(text=text)
    results = [(m.role, *mask_text(m.content)) for m in document.messages]
    counts.append(sum(count for _, _, count in results))
    return replace(document, messages=tuple(Message(role, content) for role, content, _ in results))


def is_iban(text: str) -> bool:
    """ISO 13616: the rearranged number, letters as 10 to 35, leaves 1 modulo 97."""
    compact = text.replace(" ", "")
    if not 15 <= len(compact) <= 34:
        return False
    return int("".join(str(int(c, 36)) for c in compact[4:] + compact[:4])) % 97 == 1


def is_card(text: str) -> bool:
    """ISO 7812: 13 to 19 digits that pass the Luhn sum, and not one digit repeated."""
    digits = [int(c) for c in text if c.isdigit()]
    if not 13 <= len(digits) <= 19 or len(set(digits)) == 1 or digits[0] not in (3, 4, 5, 6):
        return False
    doubled = [d if i % 2 == 0 else (2 * d - 9 if d > 4 else 2 * d) for i, d in enumerate(reversed(digits))]
    return sum(doubled) % 10 == 0


def is_public_address(text: str) -> bool:
    try:
        return ipaddress.IPv4Address(text).is_global
    except ValueError:
        return False


RULES: tuple[tuple[re.Pattern[str], str, Callable[[str], bool]], ...] = (
    (EMAIL, "[email]", lambda text: True),
    (IBAN, "[iban]", is_iban),
    (CARD, "[card]", is_card),
    (PHONE, "[phone]", lambda text: True),
    (IP_ADDRESS, "[ip]", is_public_address),
)
