"""Rows of data that hold long texts of evaluation suites: found, counted and shown, so that nobody learns an examination by
heart unawares. A note; training leaves such rows out by itself where its recipe evaluates on the suite.

Compared with every suite that strangers may read, at its public head. The suites are indexed once for each state of them."""

import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from django.contrib.auth.models import AnonymousUser

from hub.repos.models import Content, Repo
from hub.repos.places import pair
from hub.storage.errors import StorageError
from moderation.screens.findings import FINDINGS_PER_RULE, Finding, quote
from moderation.screens.limits import Deadline, ScreenLimit
from moderation.screens.parquet_reading import PickleInside, read_table
from moderation.screens.text_reading import TextReader, parse_csv_line, walk_json
from moderation.screens.unpacking import read_pieces
from training.drafting.choices import suite_keys, suites_for
from training.engine.corpus.contamination import Question, read_questions
from training.engine.corpus.shared_texts import Shared, SharedTexts
from training.engine.errors import EngineError
from training.engine.inputs import InputRepo
from training.workers.materials import lay_out

TABLES = {".parquet": "parquet", ".arrow": "arrow"}
LINES = (".jsonl", ".ndjson", ".csv", ".tsv")
MAX_WORDS = 1_000_000  # of all suites; some 220 bytes of memory each; rows go by at 9 MB a CPU second
MAX_SUITE_BYTES = 64 << 20
MEND = "take it out, or a model that learns it is examined on what it knows by heart"


@dataclass(frozen=True)
class Suite:
    key: str
    name: str
    commit: str


@dataclass(frozen=True)
class Index:
    texts: SharedTexts
    owners: list[tuple[str, Question]]  # (name of the suite, the question)
    left_out: list[str]  # suites that are too large or cannot be read


def find_shared(content: Content, reader: BinaryIO, deadline: Deadline) -> list[Finding]:
    """Findings of severity info about a file of rows in a dataset that is no suite itself."""
    suffix = Path(content.path.lower()).suffix
    if content.repo.type != Repo.Type.DATASET or suffix not in (*LINES, *TABLES) or is_suite(content.repo):
        return []
    index = index_of(list_suites())
    if not index.owners:
        return []
    found = Compared(content.path, index)
    try:
        for row, text in read_texts(content.path, reader, content.size, deadline):
            found.add(row, text)
    except (ScreenLimit, PickleInside):
        found.is_cut = True  # what stopped it is told by the screen of the file
    return list(found.tell())


@dataclass
class Compared:
    """What one file shares with the suites: numbers of all rows, and the texts of the first few."""

    name: str
    index: Index
    rows: int = 0
    hits: set[int] = field(default_factory=set)
    suites: Counter[str] = field(default_factory=Counter)  # rows that share something with each
    shown: dict[int, Shared] = field(default_factory=dict)
    is_cut: bool = False

    def add(self, row: int, text: str) -> None:
        self.rows = max(self.rows, row)
        longest = next(iter(self.index.texts.find(text)), None)
        if longest is None:
            return
        if row not in self.hits:
            self.hits.add(row)
            self.suites[self.index.owners[longest.question][0]] += 1
        if row in self.shown or len(self.shown) < FINDINGS_PER_RULE:
            self.shown[row] = max(self.shown.get(row, longest), longest, key=lambda one: one.words)

    def tell(self) -> Iterator[Finding]:
        if self.hits:
            by_suite = ", ".join(f"{suite}: {count:,}" for suite, count in self.suites.most_common(5))
            what = f"{len(self.hits):,} of {self.rows:,} rows of {self.name} share a long text with an evaluation suite ({by_suite})"
            message = f"{what}; take them out, or scores on it say little of what a model can."
            yield Finding("contamination", "rows_shared", "info", self.name, quote(by_suite), message)
        for row, shared in self.shown.items():
            suite, question = self.index.owners[shared.question]
            item = f"row {question.row + 1} of {question.path} in {suite}"
            message = f"Row {row} of {self.name} shares {shared.words} words in a row with {item}; {MEND}."
            yield Finding("contamination", "shared_text", "info", f"row {row}", quote(shared.text), message)
        if self.is_cut or self.index.left_out:
            missing = [f"only the first {self.rows:,} rows"] if self.is_cut else []
            missing += [f"not with {', '.join(self.index.left_out[:5])}"] if self.index.left_out else []
            what = f"{self.name} was compared with the evaluation suites in part: {' and '.join(missing)}"
            yield Finding(
                "contamination", "part_compared", "info", self.name, "in part", f"{what}; look there yourself."
            )


def is_suite(repo: Repo) -> bool:
    return Repo.objects.filter(pk=repo.pk, pk__in=suite_keys()).exists()


def list_suites() -> tuple[Suite, ...]:
    """Those that strangers may read: a finding says what stands in them."""
    rows = suites_for(AnonymousUser()).filter(gated="").exclude(public_head="").order_by("pk")
    return tuple(Suite(repo.key, repo.full_name, repo.public_head) for repo in rows)


@lru_cache(maxsize=1)  # by the names and commits of all suites: a new state of one is a new index
def index_of(suites: tuple[Suite, ...]) -> Index:
    owners: list[tuple[str, Question]] = []
    left_out: list[str] = []
    words = 0
    for suite in suites:
        try:
            questions = read_suite(suite)
        except (EngineError, StorageError, ScreenLimit):
            left_out.append(suite.name)
            continue
        size = sum(question.text.count(" ") + 1 for question in questions)
        if words + size > MAX_WORDS:
            left_out.append(suite.name)
            continue
        words += size
        owners += [(suite.name, question) for question in questions]
    return Index(SharedTexts(question.text for _, question in owners), owners, left_out)


def read_suite(suite: Suite) -> list[Question]:
    """The questions of its .jsonl files. Raises EngineError, StorageError, ScreenLimit."""
    repo = Repo.objects.get(key=suite.key)
    tree = pair(repo).members.tree(suite.commit, recursive=True)
    if sum(entry.size or 0 for entry in tree if entry.path.endswith(".jsonl")) > MAX_SUITE_BYTES:
        raise ScreenLimit("it is too large to be kept in memory")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lay_out(repo, suite.commit, folder, only=(".jsonl",))
        place = InputRepo("dataset", suite.name, suite.commit, suite.commit, folder, folder, suite.key)
        return list(read_questions(place))


def read_texts(name: str, reader: BinaryIO, size: int, deadline: Deadline) -> Iterator[tuple[int, str]]:
    """(row from 1, text) of everything that stands in a file of rows. Raises ScreenLimit, PickleInside."""
    kind = TABLES.get(Path(name.lower()).suffix)
    if kind is not None:
        for block in read_table(kind, reader, size, deadline):
            yield from block.values()
        return
    reader.seek(0)
    lines = TextReader(name, read_pieces(reader, deadline))
    row = 0
    for block in lines.blocks():
        deadline.check()
        if block.is_again:
            continue
        for line in block.data[block.fresh :].split(b"\n"):
            row += 1
            for text in texts_in(line, lines.layout, name) if line.strip() else ():
                yield row, text
        row -= 1  # the last piece is empty, or goes on in the next block


def texts_in(line: bytes, layout: str, name: str) -> list[str]:
    if layout == "csv":
        return parse_csv_line(line, name)
    try:
        return [text for _, text in walk_json(json.loads(line))]
    except (ValueError, RecursionError):
        return [line.decode("utf-8", "replace")]
