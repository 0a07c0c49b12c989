"""Real text that is on every machine: what the functions of Python's standard library do, by their own documentation."""

import importlib
import inspect
import pydoc_data.topics
from collections.abc import Iterator
from dataclasses import dataclass

from training.engine.corpus.duplicates import ExactFilter, NearFilter

MODULES = (
    "argparse array ast asyncio base64 bdb bisect calendar cmath codecs collections contextlib copy csv datetime decimal difflib "
    "dis email.utils enum fileinput fnmatch fractions ftplib functools gc getopt gettext glob gzip hashlib heapq html http.client "
    "imaplib inspect io ipaddress itertools json linecache locale logging lzma mailbox math mimetypes operator os os.path pathlib "
    "pdb pickle pkgutil platform plistlib poplib pprint queue random re reprlib sched secrets select shelve shlex shutil signal "
    "smtplib socket socketserver sqlite3 ssl stat statistics string struct subprocess symtable sys tarfile tempfile textwrap "
    "threading time timeit tokenize trace traceback types typing unicodedata unittest urllib.parse urllib.request uuid warnings "
    "wave weakref webbrowser xml.dom.minidom xml.etree.ElementTree zipfile zlib"
).split()


@dataclass(frozen=True)
class Entry:
    module: str
    name: str
    text: str  # one paragraph

    @property
    def question(self) -> str:
        return f"What does {self.module}.{self.name} do in Python?"


def read_entries() -> list[Entry]:
    """Functions, classes and methods; of entries that say nearly the same the first."""
    exact, near = ExactFilter(), NearFilter()
    return [entry for entry in list_entries() if exact.is_new(entry.text) and near.is_new(entry.text)]


def list_entries() -> Iterator[Entry]:
    for module in MODULES:
        for name, thing in sorted(vars(importlib.import_module(module)).items()):
            if name.startswith("_") or not (inspect.isroutine(thing) or inspect.isclass(thing)):
                continue
            members = sorted(vars(thing).items()) if inspect.isclass(thing) else []
            parts = [
                (f"{name}.{part}", found) for part, found in members if not part.startswith("_") and callable(found)
            ]
            for called, found in [(name, thing), *parts]:
                text = " ".join((inspect.getdoc(found) or "").split("\n\n")[0].split())
                if 60 <= len(text) <= 320 and text[0].isupper() and "(" not in text[:20]:
                    yield Entry(module, called, text)


def split_entries(taught: int, held_out: int) -> tuple[list[Entry], list[Entry]]:
    """Entries to teach and others to judge by, both from all modules."""
    entries = read_entries()
    judging = entries[:: len(entries) // held_out][:held_out]
    rest = [entry for entry in entries if entry not in judging]
    teaching = rest[:: max(1, len(rest) // taught)][:taught]
    assert (len(teaching), len(judging)) == (taught, held_out), "this Python has fewer documented functions"
    return teaching, judging


def read_topics() -> list[str]:
    """The language reference, topic by topic."""
    return [text for _, text in sorted(pydoc_data.topics.topics.items())]
