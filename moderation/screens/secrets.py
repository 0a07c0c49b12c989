"""Secrets by their own format, and assignments that look like one.

A key whose format proves itself (prefix, length, alphabet) is a `block`; a published example key or a guess from a
variable's name and the randomness of its value is a `hold`. Precision matters as much as recall: model cards are full
of digests, so a hexadecimal value counts only under a name that says key or password."""

import base64
import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from moderation.screens.findings import Finding, Severity, redact
from moderation.screens.text_reading import TextBlock, find_all

MEND = (
    "revoke it where it was issued, upload the file without it, and take the old one out of the history: the page of the "
    "repository leads there, and until then hides what came after it."
)


@dataclass(frozen=True)
class SecretFormat:
    rule: str
    label: str
    starts: tuple[bytes, ...]  # searched first: finding fixed bytes is fifty times faster than a pattern
    pattern: re.Pattern[bytes]  # matched where a start was found
    severity: Severity = "block"


def _format(rule: str, label: str, starts: str, rest: str, severity: Severity = "block") -> SecretFormat:
    literals = tuple(start.encode() for start in starts.split())
    alternatives = b"|".join(re.escape(start) for start in literals)
    pattern = re.compile(rb"(?<![A-Za-z0-9_])(?:" + alternatives + rb")" + rest.encode())
    return SecretFormat(rule, label, literals, pattern, severity)


FORMATS = (
    _format("aws_access_key", "An AWS access key", "AKIA ASIA ABIA ACCA", r"[A-Z0-9]{16}(?![A-Za-z0-9])"),
    _format("github_token", "A GitHub token", "ghp_ gho_ ghu_ ghs_ ghr_", r"[A-Za-z0-9]{36,251}(?![A-Za-z0-9])"),
    _format("github_token", "A GitHub token", "github_pat_", r"[A-Za-z0-9]{22}_[A-Za-z0-9]{59}(?![A-Za-z0-9])"),
    _format("gitlab_token", "A GitLab token", "glpat- gldt- glrt- glptt- glcbt-", r"[\w.-]{20,}"),
    _format("slack_token", "A Slack token", "xoxb- xoxp- xoxa- xoxr- xoxs- xoxe-", r"[0-9A-Za-z-]{24,}"),
    _format("slack_webhook", "A Slack webhook", "hooks.slack.com/services/", r"T\w{6,}/B\w{6,}/\w{20,}"),
    _format("hub_token", "A model hub token", "hf_", r"[A-Za-z]{30,40}(?![A-Za-z0-9_])"),
    _format("hub_token", "A model hub token", "hf_ api_org_", r"[A-Za-z0-9]{34,40}(?![A-Za-z0-9_])"),
    _format("stripe_key", "A Stripe key", "sk_live_ rk_live_ whsec_", r"[0-9a-zA-Z+/]{16,}"),
    _format("stripe_test_key", "A Stripe test key", "sk_test_ rk_test_", r"[0-9a-zA-Z]{16,}", "hold"),
    _format("google_api_key", "A Google API key", "AIza", r"[0-9A-Za-z_-]{35}(?![0-9A-Za-z_-])"),
    _format("google_oauth_secret", "A Google OAuth secret", "GOCSPX-", r"[\w-]{24,}"),
    _format("google_access_token", "A Google access token", "ya29.", r"[\w-]{40,}"),
    _format("openai_key", "An OpenAI key", "sk-proj- sk-svcacct- sk-admin-", r"[\w-]{40,}"),
    _format("openai_key", "An OpenAI key", "sk-", r"[A-Za-z0-9]{48}(?![A-Za-z0-9])"),
    _format("anthropic_key", "An Anthropic key", "sk-ant-", r"[a-z0-9]{3,10}-[\w-]{60,}"),
    _format("npm_token", "An npm token", "npm_", r"[A-Za-z0-9]{36}(?![A-Za-z0-9])"),
    _format("pypi_token", "A PyPI token", "pypi-AgEI", r"[\w-]{50,}"),
    _format("sendgrid_key", "A SendGrid key", "SG.", r"[\w-]{20,24}\.[\w-]{39,50}"),
    _format("digitalocean_token", "A DigitalOcean token", "dop_v1_ doo_v1_ dor_v1_", r"[a-f0-9]{64}"),
    _format("shopify_token", "A Shopify token", "shpat_ shpss_ shpca_ shppa_", r"[a-fA-F0-9]{32}"),
    _format("databricks_token", "A Databricks token", "dapi", r"[a-f0-9]{32}(?:-\d)?(?![A-Za-z0-9])"),
    _format("groq_key", "A Groq key", "gsk_", r"[A-Za-z0-9]{48,56}(?![A-Za-z0-9])"),
    _format("replicate_token", "A Replicate token", "r8_", r"[A-Za-z0-9]{37}(?![A-Za-z0-9])"),
    _format("vault_token", "A Vault token", "hvs. hvb.", r"[\w-]{24,}"),
    _format("discord_webhook", "A Discord webhook", "discord.com/api/webhooks/", r"\d{17,20}/[\w-]{60,}"),
    _format("azure_storage_key", "An Azure storage key", "AccountKey=", r"[A-Za-z0-9+/]{86}=="),
    _format("age_key", "An age secret key", "AGE-SECRET-KEY-1", r"[A-Z0-9]{58}"),
    _format("jwt", "A signed web token", "eyJ", r"[\w-]{8,}\.eyJ[\w-]{4,}\.[\w-]{16,}"),
)
_PRIVATE_KEY = re.compile(
    rb"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----"
    rb"(?:\s|(?:Proc-Type|DEK-Info|Version|Comment)[^\n]{0,100}\n){0,40}([A-Za-z0-9+/=]{16})"
)
_TELEGRAM = re.compile(rb"(?<![\w:])\d{8,10}:AA[\w-]{33}(?![\w-])")
PRIVATE_KEY_FORM = SecretFormat("private_key", "A private key", (), _PRIVATE_KEY)
TELEGRAM_FORM = SecretFormat("telegram_token", "A Telegram bot token", (), _TELEGRAM)
URL_PASSWORD = re.compile(rb"[a-z][a-z0-9+.-]{1,20}://[^\s/:@\"'<>{}$]{1,64}:([^\s/:@\"'<>{}$*]{6,100})@[\w.-]+")
PLACEHOLDER = re.compile(
    rb"x{4}|\*{3}|\.{3}|<|\$\{|\{\{|%\(|your|placeholder|changeme|redacted|insert|replace|dummy|sample|todo|none|null",
    re.I,
)
DOCUMENTED = re.compile(rb"example", re.I)

ASSIGNED_NAMES = (b"passw", b"pwd", b"secret", b"token", b"api_key", b"apikey", b"api-key", b"access_key", b"accesskey")
ASSIGNMENT = re.compile(
    rb"([A-Za-z_][\w.-]{0,60})\s?[\"'`]?\s{0,4}(?:=>|:=|[:=])\s{0,4}"
    rb"(?:[\"'`]([^\s\"'`\\]{8,200})\s?[\"'`]|([A-Za-z0-9+/=_-]{20,200})(?![\w.(\[]))"
)
# Names that hold the words above but never a secret: digests, vocabulary, counters, public halves.
HARMLESS_NAME = re.compile(
    rb"hash|sha\d|md5|digest|checksum|fingerprint|public|tokeni[sz]|tokens|token_(?:id|type|count|len)|"
    rb"(?:pad|bos|eos|unk|mask|cls|sep|start|end|special|image|added|next|stop|boi|eoi|prefix|suffix)_?token|"
    rb"secret_?name|classification|_(?:config|class|model|url|uri|path|file|name|id|field|env|hint|label|type|policy)$|passwordless|password_?reset",
    re.I,
)
NAME_BYTES = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-"
# Every format holds 20 of these bytes in a row, at most 100 bytes after its start (web addresses, dotted tokens).
RUNS = bytes(116 if chr(byte) in "_-" or (byte < 128 and chr(byte).isalnum()) else 32 for byte in range(256))
RUN = b"t" * 20
RUN_BACK = 100
BYTES_FOR_REGION = 1000  # searching a region costs as much as searching so many bytes of the whole
HEX = re.compile(rb"(?:0x)?[0-9a-f]+|[0-9A-F]+")
UUID = re.compile(rb"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
WORDS = re.compile(rb"(?:[A-Z]?[a-z]+|[A-Z]+|\d{1,4})")


def find_secrets(block: TextBlock) -> Iterator[tuple[Finding, bytes]]:
    """(finding, secret) for each secret in the block that the block before did not show."""
    data = block.searchable
    proven: list[tuple[int, int]] = []
    for start, end, form in _find_formats(data):
        if end <= block.fresh:
            continue
        proven.append((start, end))
        value = data[start:end]
        severity: Severity = "hold" if DOCUMENTED.search(value) else form.severity
        yield _finding(block, start, end, form.rule, form.label, severity), value
    for start, end, rule, label in _find_guesses(block):
        if end > block.fresh and not any(start < other_end and other < end for other, other_end in proven):
            yield _finding(block, start, end, rule, label, "hold"), data[start:end]


def _finding(block: TextBlock, start: int, end: int, rule: str, label: str, severity: Severity) -> Finding:
    place = block.place(start, end)
    value = block.searchable[start:end]
    return Finding("secrets", rule, severity, place.where, redact(value), f"{label} stands in {place.where}; {MEND}")


def _find_formats(data: bytes) -> Iterator[tuple[int, int, SecretFormat]]:
    for start, end in _regions(data):
        for form in FORMATS:
            for literal in form.starts:
                for at in find_all(data, literal, start, end):
                    match = form.pattern.match(data, at)
                    if match and _is_plausible(match.group(), form):
                        yield at, match.end(), form
    for at in find_all(data, b"-----BEGIN "):
        match = PRIVATE_KEY_FORM.pattern.match(data, at)
        if match and len(set(match.group(1))) > 4:
            yield at, match.end(), PRIVATE_KEY_FORM
    for at in find_all(data, b":AA"):
        match = TELEGRAM_FORM.pattern.search(data, max(at - 10, 0), at + 40)
        if match and match.start() <= at:
            yield match.start(), match.end(), TELEGRAM_FORM


def _regions(data: bytes) -> list[tuple[int, int]]:
    """Where a key can begin: around runs of letters, digits, _ and - too long for words; everywhere, when such runs
    are many."""
    runs, regions, end = data.translate(RUNS), list[tuple[int, int]](), 0
    at = runs.find(RUN)
    while at >= 0:
        if len(regions) * BYTES_FOR_REGION > len(data):
            return [(0, len(data))]
        stop = runs.find(b" ", at)
        start, end = max(at - RUN_BACK, end), stop if stop >= 0 else len(data)
        regions.append((start, end))
        at = runs.find(RUN, end)
    return regions


def _is_plausible(value: bytes, form: SecretFormat) -> bool:
    """Not a row of x, not prose joined by underscores; a web token must have a readable header."""
    if form.rule == "jwt":
        return _has_jwt_header(value)
    tail = value[len(max((start for start in form.starts if value.startswith(start)), key=len)) :]
    if re.search(rb"[xX]{6}|\*{3}|(.)\1{9}", tail) or len(set(tail)) < 6:
        return False
    if form.rule == "hub_token":
        return entropy(tail) > 3.0
    # Formats with a loose alphabet also fit identifiers such as sk-proj-my-long-service-name.
    return not (b"-" in tail or b"_" in tail) or any(byte in b"0123456789" for byte in tail)


def _has_jwt_header(value: bytes) -> bool:
    head = value.split(b".", 1)[0]
    try:
        header = json.loads(base64.urlsafe_b64decode(head + b"=" * (-len(head) % 4)))
    except (ValueError, RecursionError):
        return False
    return isinstance(header, dict) and str(header.get("alg", "none")).lower() != "none"


def _find_guesses(block: TextBlock) -> Iterator[tuple[int, int, str, str]]:
    data, lowered = block.searchable, block.lowered
    tried = -1
    for at in sorted(at for name in ASSIGNED_NAMES for at in find_all(lowered, name)):
        start = max(at - 40, 0) + len(data[max(at - 40, 0) : at].rstrip(NAME_BYTES))
        if start <= tried:
            continue
        match = ASSIGNMENT.match(data, start)
        if match and is_random_assignment(match):
            tried = start
            group = 2 if match[2] else 3
            yield match.start(group), match.end(group), "assigned_secret", "What looks like a password or key"
    for at in find_all(data, b"://"):
        match = URL_PASSWORD.search(data, max(at - 20, 0), at + 300)
        if match and match.start() <= at and _is_password(match[1]):
            yield match.start(1), match.end(1), "url_password", "A password inside an address"


def is_random_assignment(match: re.Match[bytes]) -> bool:
    name, quoted, bare = match[1], match[2], match[3]
    if HARMLESS_NAME.search(name):
        return False
    value = quoted or bare
    if re.search(rb"passw|pwd", name, re.I) and quoted:
        return _is_password(value)
    return _is_random_key(value, strict=quoted is None or name.lower() in (b"token", b"secret"))


def _is_password(value: bytes) -> bool:
    if not (value[:1].isalnum() or value[:1] in b"!@#$%^&*_-~") or re.search(rb"[()\[\]{};].*[()\[\]{};]", value):
        return False  # a piece of code between two quotes
    if PLACEHOLDER.search(value) or value.lower() in (b"password", b"passw0rd", b"username:password"):
        return False
    classes = sum(bool(re.search(group, value)) for group in (rb"[a-z]", rb"[A-Z]", rb"\d", rb"[^A-Za-z0-9]"))
    needed = 2 if len(value) >= 16 else 3
    return classes >= needed and entropy(value) > (3.5 if needed == 2 else 2.5) and not _is_slug(value)


def _is_random_key(value: bytes, *, strict: bool) -> bool:
    if len(value) < (20 if strict else 16) or PLACEHOLDER.search(value) or DOCUMENTED.search(value):
        return False
    if UUID.fullmatch(value):
        return not strict
    if HEX.fullmatch(value):
        return len(value) >= 32 and entropy(value) > 3.0
    if not re.fullmatch(rb"[A-Za-z0-9+/=_.~!@#%^&*-]+", value) or _is_slug(value):
        return False
    has_all = all(re.search(group, value) for group in (rb"[A-Za-z]", rb"\d"))
    mixed = bool(re.search(rb"[a-z]", value) and re.search(rb"[A-Z]", value))
    return has_all and entropy(value) > (3.7 if strict else 3.5) and (mixed or not strict)


def _is_slug(value: bytes) -> bool:
    """Words and short numbers joined by punctuation, as in model names, paths and dotted attributes."""
    pieces = [piece for piece in re.split(rb"[-_./:+=@]", value) if piece]
    words = WORDS.findall(value)
    return (
        len(pieces) >= 2
        and all(WORDS.fullmatch(piece) or len(piece) <= 4 for piece in pieces)
        or (sum(len(word) for word in words) >= 0.9 * len(value) and len(words) <= len(value) / 4.5)
    )


def entropy(value: bytes) -> float:
    """Shannon entropy in bits a byte."""
    total = len(value)
    return -sum(count / total * math.log2(count / total) for count in Counter(value).values()) if total else 0.0
