"""How good the screens for secrets and personal numbers are, on a labelled set written for this purpose.

`benchmark.jsonl` holds sentences with gaps; the values are composed when the benchmark runs, so that the repository
itself holds nothing that looks like a key. They are random, of the right format, and nobody's. The set was written by
the authors of the rules: it guards against regressions and says little about text from elsewhere."""

import base64
import json
import random
import string
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from moderation.screens.comparison import wilson_interval
from moderation.screens.findings import Finding
from moderation.screens.limits import Deadline
from moderation.screens.personal_data import IBAN_LENGTHS
from moderation.screens.screening import FileScreen

ROWS = Path(__file__).with_name("benchmark.jsonl")
ALNUM = string.ascii_letters + string.digits
B64 = ALNUM + "+/"
URLSAFE = ALNUM + "-_"
HEX = "0123456789abcdef"


@dataclass(frozen=True)
class Quality:
    """Of one screen on the labelled rows; intervals are Wilson's, 95%."""

    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int
    missed: tuple[str, ...]  # row ids
    wrongly_found: tuple[str, ...]

    @property
    def precision(self) -> float:
        return self.true_positives / max(self.true_positives + self.false_positives, 1)

    @property
    def recall(self) -> float:
        return self.true_positives / max(self.true_positives + self.false_negatives, 1)

    @property
    def precision_interval(self) -> tuple[float, float]:
        return wilson_interval(self.true_positives, self.true_positives + self.false_positives)

    @property
    def recall_interval(self) -> tuple[float, float]:
        return wilson_interval(self.true_positives, self.true_positives + self.false_negatives)


def measure_quality(seed: int) -> dict[str, Quality]:
    """{"secrets": …, "personal_data": …}: a row counts as found when its screen holds or blocks it."""
    rng = random.Random(seed)
    outcomes: dict[str, list[tuple[str, bool, bool]]] = {}
    for line in ROWS.read_text("utf-8").splitlines():
        row = json.loads(line)
        found = any(f.screen == row["group"] and f.severity != "info" for f in screen_row(compose(row["text"], rng)))
        outcomes.setdefault(row["group"], []).append((row["id"], row["label"] == "positive", found))
    return {group: _count(judged) for group, judged in outcomes.items()}


def _count(judged: list[tuple[str, bool, bool]]) -> Quality:
    missed = tuple(name for name, positive, found in judged if positive and not found)
    wrongly = tuple(name for name, positive, found in judged if found and not positive)
    positives = sum(positive for _, positive, _ in judged)
    negatives = len(judged) - positives
    return Quality(positives - len(missed), len(wrongly), len(missed), negatives - len(wrongly), missed, wrongly)


def screen_row(text: str) -> list[Finding]:
    """A JSON row as .jsonl, everything else as plain text, through the quick screen."""
    data = text.encode()
    name = "row.jsonl" if text.startswith("{") else "row.txt"
    return FileScreen(name, True, Deadline(60.0)).screen(BytesIO(data), len(data))


def compose(template: str, rng: random.Random) -> str:
    """The sentence with its gaps filled. In plain rows a written \\n is a line's end; in JSON rows it stays."""
    text = template.format_map(Values(rng))
    return text if text.startswith("{") else text.replace("\\n", "\n")


class Values(dict[str, str]):
    """Fake values by name, made anew at each use; prefixes are put together here for the reason given above."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def __missing__(self, name: str) -> str:
        if name in SHAPES:
            prefix, alphabet, length, suffix = SHAPES[name]
            return "".join(prefix) + self.pick(alphabet, length) + suffix
        if name[0] == "d" and name[1:].isdigit():
            return self.pick(string.digits, int(name[1:]))
        for start, make in (("iban", self.iban), ("ssn", self.ssn), ("pem", self.pem)):
            if name.startswith(start):
                return make(name)
        return self.special(name) if name in ("armour", "jwt", "password", "uuid", "visa_bad_luhn") else self.card(name)

    def pick(self, alphabet: str, length: int) -> str:
        return "".join(self.rng.choice(alphabet) for _ in range(length))

    def special(self, name: str) -> str:
        if name == "armour":
            return "-----BEGIN " + "PRIVATE KEY-----"
        if name == "uuid":
            return "-".join(self.pick(HEX, length) for length in (8, 4, 4, 4, 12))
        if name == "password":
            parts = (self.pick(string.ascii_lowercase, 5), self.pick(string.digits, 3), self.pick("#!%+", 1))
            return "".join(parts) + self.pick(ALNUM, 6)
        if name == "visa_bad_luhn":
            good = self.card("visa_bare")
            return good[:-1] + str((int(good[-1]) + self.rng.randint(1, 9)) % 10)
        claims = ({"alg": "HS256", "typ": "JWT"}, {"sub": self.pick(string.digits, 8), "iat": 1762000000})
        encoded = [base64.urlsafe_b64encode(json.dumps(claim).encode()).decode().rstrip("=") for claim in claims]
        return ".".join([*encoded, self.pick(URLSAFE[:62], 43)])

    def pem(self, name: str) -> str:
        kind = {"pem_rsa": "RSA ", "pem_ec": "EC ", "pem_openssh": "OPENSSH "}.get(name, "")
        end = "\\n" if name == "pem_escaped" else "\n"
        lines = [self.pick(B64, 64) for _ in range(4)]
        frame = "-----{} " + kind + "PRIVATE" + " KEY-----"
        return end.join([frame.format("BEGIN"), *lines, frame.format("END")])

    def card(self, name: str) -> str:
        prefixes = {
            "visa": "4539", "visa19": "4716", "mc": "5412", "mc2": "2350", "amex": "3742", "discover": "6011",
            "jcb": "3540", "diners": "3612", "unionpay": "6221",
        }  # fmt: skip
        network, _, style = name.partition("_")
        length = {"amex": 15, "diners": 14, "visa19": 19}.get(network, 16)
        digits = complete_luhn(prefixes[network] + self.pick(string.digits, length - 5))
        groups = (4, 6, 5) if network == "amex" else (4, 6, 4) if network == "diners" else (4, 4, 4, 4)
        separator = {"spaced": " ", "dashed": "-"}.get(style, "")
        return join_groups(digits, groups, separator) if separator else digits

    def iban(self, name: str) -> str:
        if name == "iban_bad":
            good = self.iban("iban_de")
            return good[:-1] + str((int(good[-1]) + 1) % 10)
        country = name.split("_")[1].upper()
        letters = {"GB": "NWBK", "NL": "ABNA", "IE": "AIBK", "IT": "X"}.get(country, "")
        bban = letters + self.pick(string.digits, IBAN_LENGTHS[country.encode()] - 4 - len(letters))
        remainder = int("".join(str(int(letter, 36)) for letter in bban + country + "00")) % 97
        iban = f"{country}{98 - remainder:02}{bban}"
        return join_groups(iban, (4,) * (len(iban) // 4 + 1), " ") if name.endswith("spaced") else iban

    def ssn(self, name: str) -> str:
        area = self.rng.choice([n for n in range(100, 900) if n != 666])
        parts = (f"{area:03}", f"{self.rng.randint(10, 99)}", f"{self.rng.randint(1000, 9999)}")
        return {"ssn_spaced": " ", "ssn_bare": ""}.get(name, "-").join(parts)


def join_groups(text: str, lengths: tuple[int, ...], separator: str) -> str:
    groups, at = [], 0
    for length in lengths:
        groups.append(text[at : at + length])
        at += length
    return separator.join(group for group in groups if group)


def complete_luhn(digits: str) -> str:
    """The digits with the check digit that makes them pass."""
    total = 0
    for index, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if index % 2 == 0 else 1)
        total += value - 9 if value > 9 else value
    return digits + str(-total % 10)


# name: (prefix in parts, alphabet, length, suffix)
SHAPES: dict[str, tuple[tuple[str, ...], str, int, str]] = {
    "aws_key": (("AK", "IA"), string.ascii_uppercase + "234567", 16, ""),
    "ghp": (("gh", "p_"), ALNUM, 36, ""),
    "ghs": (("gh", "s_"), ALNUM, 36, ""),
    "github_pat": (("github", "_pat_", "11ABCDEFG0abcdefghijkl", "_"), ALNUM, 59, ""),
    "glpat": (("glp", "at-"), ALNUM, 20, ""),
    "xoxb": (("xo", "xb-", "2345678901-3456789012-"), ALNUM, 24, ""),
    "xoxp": (("xo", "xp-", "2345678901-3456789012-4567890123-"), HEX, 32, ""),
    "slack_path": (("T02AB3CD4/", "B05EF6GH7/"), ALNUM, 24, ""),
    "hf": (("h", "f_"), string.ascii_letters, 34, ""),
    "hf_rest": (("f", "_"), string.ascii_letters, 34, ""),
    "sk_live": (("sk", "_live_"), ALNUM, 24, ""),
    "rk_live": (("rk", "_live_"), ALNUM, 24, ""),
    "sk_test": (("sk", "_test_"), ALNUM, 24, ""),
    "aiza": (("AI", "za"), URLSAFE, 34, "q"),
    "gocspx": (("GOC", "SPX-"), ALNUM, 28, ""),
    "openai_old": (("s", "k-"), ALNUM, 48, ""),
    "openai_proj": (("s", "k-proj-"), ALNUM, 64, ""),
    "anthropic": (("sk-", "ant-api03-"), ALNUM, 90, "AA"),
    "npm": (("np", "m_"), ALNUM, 36, ""),
    "pypi": (("py", "pi-AgEIcHlwaS5vcmc"), ALNUM, 90, ""),
    "sendgrid": (("S", "G.", "aB3dE5gH7jK9mN1pQ3sT5v."), ALNUM, 43, ""),
    "dop": (("dop", "_v1_"), HEX, 64, ""),
    "shpat": (("shp", "at_"), HEX, 32, ""),
    "dapi": (("da", "pi"), HEX, 32, ""),
    "gsk": (("gs", "k_"), ALNUM, 52, ""),
    "r8": (("r", "8_"), ALNUM, 37, ""),
    "hvs": (("hv", "s."), ALNUM, 60, ""),
    "discord_path": (("123456789012345678/",), ALNUM, 68, ""),
    "azure": ((), B64, 86, "=="),
    "telegram": (("123456789", ":A", "A"), ALNUM, 33, ""),
    "age": (("AGE-SECRET", "-KEY-1"), "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L", 58, ""),
    "sha256": ((), HEX, 64, ""),
    "git_sha": ((), HEX, 40, ""),
    "hex32": ((), HEX, 32, ""),
    "hex40": ((), HEX, 40, ""),
    "b64_20": ((), B64, 20, ""),
    "b64_40": ((), B64, 40, ""),
    "b64_64": ((), B64, 64, ""),
    "rand20": ((), ALNUM, 20, ""),
    "rand32": ((), ALNUM, 32, ""),
    "rand40": ((), ALNUM, 40, ""),
    "rand50": ((), ALNUM, 50, ""),
}
