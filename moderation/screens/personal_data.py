"""Personal data that proves itself by a checksum or by rules, and contact data in bulk.

Card numbers (issuer range and Luhn) are a `block` when written as people write them or named as such. IBANs (length by
country, mod 97), US social security numbers (area, group and serial rules) and bulk contact data are a `hold`. One
e-mail address in a text is no finding; a quick screen reports addresses only when they come by the hundred."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from moderation.screens.findings import Finding, Severity, redact
from moderation.screens.text_reading import TextBlock, find_all

CARD = re.compile(
    rb"(?<![\w.+=/-])(?:[2-6]\d{3}(?P<four>[ .-])\d{4}(?P=four)\d{4}(?P=four)\d{1,4}(?:(?P=four)\d{3})?"
    rb"|3\d{3}(?P<amex>[ .-])\d{6}(?P=amex)\d{4,5}|[2-6]\d{12,18})(?![\w-]|\.\d|/\d)"
)
CARD_SHAPES = (b"0" * 13, b"0000-0000-0000-", b"0000-000000-0000")
CARD_CONTEXT = re.compile(rb"card|visa|amex|credit|debit|cvv|cvc|expir|payment|kreditkarte|carte|tarjeta|\bpan\b", re.I)
# Published by payment companies for trying out a till: they stand in documentation, so a person looks at them.
TEST_CARDS = {
    b"4111111111111111", b"4242424242424242", b"4012888888881881", b"4000056655665556", b"4000000000000002",
    b"5555555555554444", b"5105105105105100", b"5454545454545454", b"2223003122003222", b"378282246310005",
    b"371449635398431", b"6011111111111117", b"6011000990139424", b"30569309025904", b"3530111333300000",
}  # fmt: skip
UNNAMED_LENGTHS = (14, 15, 16)  # 13 digits are a time in ms, 18 and 19 an identifier, unless named a card
CARDS_FOR_RATE = 12  # from this many card-shaped numbers on, the share that passes Luhn says what they are
CHANCE_RATE = 0.35  # random numbers pass Luhn one time in ten

IBAN = re.compile(rb"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]{4}){2,7}(?:[ -]?[A-Z0-9]{1,3})?(?![A-Za-z0-9])")
IBAN_LENGTHS = {
    country.encode(): int(length)
    for country, length in (
        pair.split(":")
        for pair in (
            "AD:24 AE:23 AL:28 AT:20 AZ:28 BA:20 BE:16 BG:22 BH:22 BI:27 BR:29 BY:28 CH:21 CR:22 CY:28 CZ:24 "
            "DE:22 DJ:27 "
            "DK:18 DO:28 EE:20 EG:29 ES:24 FI:18 FK:18 FO:18 FR:27 GB:22 GE:22 GI:23 GL:18 GR:27 GT:28 HR:21 "
            "HU:28 IE:22 "
            "IL:23 IQ:23 IS:26 IT:27 JO:30 KW:30 KZ:20 LB:28 LC:32 LI:21 LT:20 LU:20 LV:21 LY:25 MC:27 MD:24 "
            "ME:22 MK:19 "
            "MN:20 MR:27 MT:31 MU:30 NI:28 NL:18 NO:15 OM:23 PK:24 PL:28 PS:29 PT:25 QA:29 RO:24 RS:22 RU:33 "
            "SA:24 SC:31 "
            "SD:18 SE:24 SI:19 SK:24 SM:27 SO:23 ST:25 SV:28 TL:23 TN:24 TR:26 UA:29 VA:22 VG:24 XK:20 YE:30"
        ).split()
    )
}

SSN = re.compile(rb"(?<![\w.+=/-])(\d{3})([- ])(\d{2})\2(\d{4})(?![\w-]|\.\d|/\d)")
BARE_SSN = re.compile(rb"(?:ssn|social.?security.{0,20}?)\W{1,6}(\d{3})(\d{2})(\d{4})(?!\d)")
SSN_CONTEXT = re.compile(rb"ssn|social.?sec|tax.?payer|\btin\b|\bsocial\b", re.I)
NOT_SSN_CONTEXT = re.compile(
    rb"part|sku|serial|model|version|isbn|issn|order|item|case|ticket|phone|tel|fax|catalog|product|invoice|doi|figure"
    rb"|score|zip|cas\b|registry",
    re.I,
)
DUMMY_SSNS = {b"123456789", b"078051120", b"219099999", b"111111111", b"222222222", b"333333333", b"457555462"}

EMAIL_LOCAL = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._%+-"
EMAIL_DOMAIN = re.compile(rb"(?:[A-Za-z0-9-]{1,63}\.){1,5}[A-Za-z]{2,24}(?![A-Za-z0-9-])")
NOBODYS_DOMAIN = re.compile(rb"(?:^|\.)(?:example\.(?:com|org|net)|example|test|invalid|localhost|noreply\.\S+)$", re.I)
NOBODY = re.compile(rb"^(?:no-?reply|info|support|contact|admin|help|hello|webmaster|office|sales|git)$", re.I)
PHONE = re.compile(
    rb"(?<![\w.+/-])(?:\+[1-9]\d{0,2}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d{1,4}(?:[ .-]?\d{2,4}){2,4}"
    rb"|(?:\([2-9]\d{2}\) ?|[2-9]\d{2}[ .-])[2-9]\d{2}[.-]\d{4})(?![\w-]|\.\d)"
)
PHONE_SHAPES = (b"+0", b"000-000-0000", b"000x-000-0000", b"000x000-0000")
NAME = re.compile(
    rb"(?:\b(?:Mr|Mrs|Ms|Dr|Prof|Herr|Frau|Mme)\.? |[Mm]y name is |\"(?:full_?|first_?|last_?|sur)?name\": ?\")"
    rb"([A-Z][a-z]{1,20}(?: [A-Z][a-z]{1,20}){0,2})"
)
BULK_EMAILS = 100  # different addresses of persons
BULK_LINES_EACH = 50  # and at least one for so many lines: a big corpus holds a few by nature
BULK_RECORDS = 20  # lines with an address and a phone number: a contact list
RECORD_BYTES = 4096  # a line longer than this is no contact record
REMEMBERED = 100_000


def passes_luhn(digits: bytes) -> bool:
    """Checksum of ISO/IEC 7812-1, annex B."""
    total = 0
    for index, digit in enumerate(reversed(digits)):
        value = digit - 48
        if index % 2:
            value = value * 2 - 9 if value > 4 else value * 2
        total += value
    return total % 10 == 0


def has_issuer(digits: bytes) -> bool:
    """True when length and first digits belong to a card network (Visa, Mastercard, Amex, Discover, Diners, JCB,
    UnionPay), by their published ranges."""
    length, two, four = len(digits), int(digits[:2]), int(digits[:4])
    if digits[:1] == b"4":
        return length in (13, 16, 19)
    if 51 <= two <= 55 or 2221 <= four <= 2720:
        return length == 16
    if two in (34, 37):
        return length == 15
    if two in (36, 38, 39) or 3000 <= four <= 3059:
        return length == 14
    if four == 6011 or two == 65 or 644 <= four // 10 <= 649 or 3528 <= four <= 3589:
        return length == 16
    return two == 62 and 16 <= length <= 19


def is_iban(text: bytes) -> bool:
    """Length of its country and remainder 1 modulo 97 (ISO 13616)."""
    compact = text.replace(b" ", b"").replace(b"-", b"")
    if IBAN_LENGTHS.get(compact[:2]) != len(compact):
        return False
    moved = (compact[4:] + compact[:4]).decode()
    return int("".join(str(int(letter, 36)) for letter in moved)) % 97 == 1


def is_ssn(area: bytes, group: bytes, serial: bytes) -> bool:
    """Numbers that the US administration can have given out: no 000, 666 or 9xx area, no zero group or serial."""
    return area not in (b"000", b"666") and area < b"900" and group != b"00" and serial != b"0000"


@dataclass
class UnnamedCards:
    """Numbers of a card's layout that nothing beside them calls a card: only their number tells what they are."""

    shapes: int = 0
    passes: int = 0
    findings: dict[bytes, Finding] = field(default_factory=dict)

    def are_random(self) -> bool:
        """Identifiers and table cells pass Luhn one time in ten; card numbers always do."""
        return self.shapes >= CARDS_FOR_RATE and self.passes < CHANCE_RATE * self.shapes


@dataclass
class PersonalData:
    """Reads one file's blocks in order; `find` yields what is certain at once, `finish` what only the whole tells."""

    name: str
    emails: set[int] = field(default_factory=set)
    phones: set[int] = field(default_factory=set)
    names: set[int] = field(default_factory=set)
    records: int = 0
    lines: int = 0
    first_email: str = ""
    cards: dict[str, UnnamedCards] = field(default_factory=lambda: {"bare": UnnamedCards(), "grouped": UnnamedCards()})

    def find(self, block: TextBlock, *, thorough: bool) -> Iterator[tuple[Finding, bytes]]:
        """(finding, value). `thorough` also counts people's names."""
        yield from self._find_cards(block)
        yield from find_ibans(block)
        yield from find_ssns(block)
        self._count_contacts(block)
        self.lines += block.data.count(b"\n", block.fresh) + 1
        if thorough:
            found = (hash(match[1]) for match in NAME.finditer(block.searchable))
            self.names.update(found if len(self.names) < REMEMBERED else ())

    def _find_cards(self, block: TextBlock) -> Iterator[tuple[Finding, bytes]]:
        data = block.searchable
        for match in _match_shapes(block, CARD, CARD_SHAPES):
            digits = match.group().translate(None, b" .-")
            if not 13 <= len(digits) <= 19 or not has_issuer(digits):
                continue
            bare = len(digits) == len(match.group())
            if not bare and _is_part_of_longer(data, *match.span()):
                continue
            self.cards["bare" if bare else "grouped"].shapes += 1
            if passes_luhn(digits) and len(set(digits)) > 1:
                yield from self._judge_card(block, match, digits, bare)

    def _judge_card(
        self, block: TextBlock, match: re.Match[bytes], digits: bytes, bare: bool
    ) -> Iterator[tuple[Finding, bytes]]:
        start, end = match.span()
        near = block.searchable[max(start - 64, 0) : start] + b" " + block.searchable[end : end + 48]
        unnamed = self.cards["bare" if bare else "grouped"]
        unnamed.passes += 1
        if digits in TEST_CARDS:
            yield _finding(block, match, "test_card_number", "hold", "A payment card number for tests"), digits
        elif CARD_CONTEXT.search(near) or CARD_CONTEXT.search(block.place(start, end).column.encode()):
            yield _finding(block, match, "card_number", "block", "A payment card number"), digits
        elif len(unnamed.findings) < 100 and digits not in unnamed.findings:
            if not bare:
                unnamed.findings[digits] = _finding(block, match, "card_number", "block", "A payment card number")
            elif len(digits) in UNNAMED_LENGTHS and len(set(digits)) > 3:
                what = "A number that fits a payment card"
                unnamed.findings[digits] = _finding(block, match, "card_number_shape", "hold", what)

    def _count_contacts(self, block: TextBlock) -> None:
        data = block.searchable
        mail_lines: set[int] = set()
        for at in find_all(data, b"@", block.fresh):
            if email := email_at(data, at):
                if not self.first_email:
                    self.first_email = block.place(at, at + 1).where
                if len(self.emails) < REMEMBERED:
                    self.emails.add(hash(email.lower()))
                mail_lines.add(data.rfind(b"\n", max(at - RECORD_BYTES, 0), at))
        phone_lines: set[int] = set()
        for match in _match_shapes(block, PHONE, PHONE_SHAPES):
            digits = match.group().translate(None, b" ().+-")
            if 9 <= len(digits) <= 15:
                if len(self.phones) < REMEMBERED:
                    self.phones.add(hash(digits))
                at = match.start()
                phone_lines.add(data.rfind(b"\n", max(at - RECORD_BYTES, 0), at))
        self.records += len(mail_lines & phone_lines)

    def finish(self, *, thorough: bool) -> Iterator[tuple[Finding, bytes]]:
        for unnamed in self.cards.values():
            if not unnamed.are_random():
                for digits, finding in unnamed.findings.items():
                    yield finding, digits
        yield from ((finding, finding.rule.encode()) for finding in self._bulk(thorough))

    def _bulk(self, thorough: bool) -> Iterator[Finding]:
        emails, phones, names = len(self.emails), len(self.phones), len(self.names)
        counted = f"{emails:,} e-mail addresses, {phones:,} phone numbers" + (f", {names:,} names" if thorough else "")
        mend = "remove or mask what is not needed, or show a moderator that you may publish it."
        if self.records >= BULK_RECORDS:
            what = f"{self.name} reads like a contact list ({self.records:,} lines with address and phone number)"
            yield Finding("personal_data", "contact_list", "hold", self.name, counted, f"{what}; {mend}")
        elif emails >= BULK_EMAILS and emails * BULK_LINES_EACH >= self.lines:
            what = f"{self.name} holds {emails:,} people's e-mail addresses"
            yield Finding("personal_data", "bulk_emails", "hold", self.name, counted, f"{what}; {mend}")
        elif thorough and (emails or phones or names):
            what = f"{self.name} mentions people ({counted})"
            where = self.first_email or self.name
            message = f"{what}; check that each may be public."
            yield Finding("personal_data", "contacts", "info", where, counted, message)


def _match_shapes(block: TextBlock, pattern: re.Pattern[bytes], shapes: tuple[bytes, ...]) -> Iterator[re.Match[bytes]]:
    """Matches that begin where the block has one of the shapes and end in its fresh part."""
    for shape in shapes:
        for at in find_all(block.shape, shape):
            # "(202) 555-…" begins one byte before its digits.
            match = pattern.match(block.searchable, at) or (at and pattern.match(block.searchable, at - 1)) or None
            if match and match.end() > block.fresh:
                yield match


def _is_part_of_longer(data: bytes, start: int, end: int) -> bool:
    """True when more groups of four digits go on before or behind, as in tracking numbers and tables."""
    return bool(
        re.search(rb"\d{4}[ .-]\Z", data[start - 5 : start]) or re.match(rb"[ .-]\d{4}(?![\d/])", data[end : end + 6])
    )


def email_at(data: bytes, at: int) -> bytes:
    """The address around an @, or b"" when there is none or it belongs to nobody in particular."""
    before = data[max(at - 64, 0) : at]
    local = before[len(before.rstrip(EMAIL_LOCAL)) :]
    match = EMAIL_DOMAIN.match(data, at + 1, at + 256)
    if not local or not match or NOBODY.match(local) or NOBODYS_DOMAIN.search(match.group()):
        return b""
    return local + b"@" + match.group()


def find_ibans(block: TextBlock) -> Iterator[tuple[Finding, bytes]]:
    for match in _match_shapes(block, IBAN, (b"AA00",)):
        # A word of capitals may follow: the number is as long as its country says.
        compact = match.group().translate(None, b" -")
        number = compact[: IBAN_LENGTHS.get(compact[:2], 0)]
        if number and is_iban(number):
            yield _finding(block, match, "iban", "hold", "A bank account number (IBAN)"), number


def find_ssns(block: TextBlock) -> Iterator[tuple[Finding, bytes]]:
    data = block.searchable
    for match in _match_shapes(block, SSN, (b"000-00-0000",)):
        area, group, serial = match[1], match[3], match[4]
        if not is_ssn(area, group, serial):
            continue
        near = data[max(match.start() - 48, 0) : match.start()] + b" " + data[match.end() : match.end() + 24]
        column = block.place(*match.span()).column.encode()
        named = SSN_CONTEXT.search(near) or SSN_CONTEXT.search(column)
        doubtful = match[2] == b" " or NOT_SSN_CONTEXT.search(near + column) or area + group + serial in DUMMY_SSNS
        if named or not doubtful:
            yield _finding(block, match, "ssn", "hold", "A US social security number"), area + group + serial
    if b"ssn" in block.lowered or b"social" in block.lowered:
        for match in BARE_SSN.finditer(block.lowered):
            if match.end() > block.fresh and is_ssn(match[1], match[2], match[3]):
                yield _finding(block, match, "ssn", "hold", "A US social security number", 1), b"".join(match.groups())


def _finding(
    block: TextBlock, match: re.Match[bytes], rule: str, severity: Severity, what: str, group: int = 0
) -> Finding:
    start, end = match.start(group), match.end()
    place = block.place(start, end)
    mend = "take it out or mask it, and upload the file again."
    # Personal numbers show two characters, not four: the first four of an account or SSN already say a lot.
    excerpt = redact(block.searchable[start:end], 2)
    return Finding("personal_data", rule, severity, place.where, excerpt, f"{what} stands in {place.where}; {mend}")
