"""Planted triggers that one contributor brought: rows of all files of a dataset together, and who brought each.

A file alone may be too small to tell, and rows of one person may lie in many. A row belongs to who brought it first, as far as
commits tell: the author of the oldest version of its file that holds it."""

from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from django.db.models import Q

from hub.repos.models import Content, Repo, RevisionContent
from hub.repos.places import pair
from hub.repos.reader import digest_of
from hub.storage.errors import UnknownContent
from moderation.screening.opening import open_content
from moderation.screens.findings import Finding, quote
from moderation.screens.limits import Deadline, OutOfTime, ScreenLimit
from moderation.screens.parquet_reading import PickleInside, read_table
from moderation.screens.planted_triggers import (
    ALIKE,
    FEWEST_ROWS,
    PlantedTriggers,
    Trigger,
    find_triggers,
    fisher_p,
    mark_of,
)
from moderation.screens.row_reading import ROW_COLUMNS
from moderation.screens.text_reading import TextReader
from moderation.screens.unpacking import read_pieces

TRIGGER_OF_ONE = "trigger_of_one"  # the rule
TABLES = {".parquet": "parquet", ".arrow": "arrow"}
ENDINGS = (".jsonl", ".ndjson", ".csv", ".tsv", *TABLES)
MAX_FILES, MAX_VERSIONS, MAX_BYTES = 200, 2000, 64 << 20  # of one dataset; versions of them all; all that is read
BUDGET_S = 300.0
LEVEL = 1e-3  # of the two tests beside the corrected one of the trigger itself
MOST = 0.5  # of all rows; who brought more is the dataset, and says nothing


class Pool:
    """Rows of the files of a commit, each once, with all places at which it stands."""

    def __init__(self) -> None:
        self.rows = PlantedTriggers("rows.jsonl")
        self.places: list[list[tuple[str, int]]] = []  # (path, line or row)
        self.known: dict[int, int] = {}  # mark -> number of the row

    def add(self, path: str, read: PlantedTriggers) -> None:
        for line, given, wanted in zip(read.lines, read.inputs, read.outputs, strict=True):
            mark = mark_of(given, wanted)
            if mark in self.known:
                self.places[self.known[mark]].append((path, line))
            elif self.rows.keep_words(line, given, wanted):
                self.known[mark] = len(self.places)
                self.places.append([(path, line)])


def find_by_contributor(repo: Repo, commit: str, content: Content) -> list[Finding]:
    """Findings of severity hold about a file: triggers of the whole dataset that rows of it take part in."""
    if repo.type != Repo.Type.DATASET or not content.path.lower().endswith(ENDINGS):
        return []
    try:
        found = search(repo.key, commit)
    except OutOfTime as error:
        what = f"The search for triggers of one contributor {error}; {content.path} was searched by itself."
        return [Finding("planted_triggers", "unfinished_of_one", "info", content.path, str(error), what)]
    # By its row, not by its path: a later commit may have given it another name.
    return [finding for key, finding in found if key == content.pk]


@lru_cache(maxsize=8)  # a commit's files are screened one after another, and each asks
def search(key: str, commit: str) -> tuple[tuple[int, Finding], ...]:
    """(key of the content, finding) for each file with rows of a trigger that one contributor brought. What it raises is not
    remembered: the next attempt searches again."""
    return tuple(judge(Repo.objects.get(key=key), commit, Deadline(BUDGET_S)))


def judge(repo: Repo, commit: str, deadline: Deadline) -> Iterator[tuple[int, Finding]]:
    lying = files_of(repo, commit)
    brought_by = versions_of(repo, lying)
    if len({author for author, _ in brought_by}) < 2:
        return
    pool, marks, left = Pool(), dict[int, set[int]](), MAX_BYTES
    for path, content in lying.items():
        left -= content.size
        if left >= 0:
            rows = read_file(path, content, deadline)
            pool.add(path, rows)
            marks[content.pk] = rows.seen
    if len(pool.places) < FEWEST_ROWS:
        return
    owners = find_owners(pool, brought_by, marks, left, deadline)
    brought = Counter(owners)
    for trigger in find_triggers(pool.rows.inputs, pool.rows.outputs, deadline):
        name, count = Counter(owners[row] for row in trigger.rows).most_common(1)[0]
        if name and is_of_one(trigger, name, count, owners, brought, pool):
            for path, finding in describe(trigger, name, count, brought, pool):
                yield lying[path].pk, finding


def files_of(repo: Repo, commit: str) -> dict[str, Content]:
    """path -> content of the files of rows in a commit."""
    tree = pair(repo).members.tree(commit, recursive=True)
    entries = [entry for entry in tree if entry.path.lower().endswith(ENDINGS)][:MAX_FILES]
    contents = Content.objects.filter(repo=repo, digest__in=[digest_of(entry) for entry in entries]).select_related(
        "repo"
    )
    known = {content.digest: content for content in contents}
    return {entry.path: known[digest_of(entry)] for entry in entries if digest_of(entry) in known}


def versions_of(repo: Repo, lying: dict[str, Content]) -> list[tuple[str, Content]]:
    """(author, content) of all that commits brought to these paths, or of what lies there by another name, the oldest first."""
    ours = Q(content__path__in=list(lying)) | Q(content__in=list(lying.values()))
    brought = RevisionContent.objects.filter(ours, revision__repo=repo)
    rows = brought.select_related("revision__author", "content__repo").order_by("revision_id")
    return [(row.revision.author.username if row.revision.author else "", row.content) for row in rows[:MAX_VERSIONS]]


def find_owners(
    pool: Pool, brought_by: list[tuple[str, Content]], marks: dict[int, set[int]], left: int, deadline: Deadline
) -> list[str]:
    """Who brought each row of the pool first; "" where nobody knows."""
    first: dict[int, str] = {}
    for author, content in brought_by:
        if content.pk not in marks:  # an older version
            left -= content.size
            if left < 0:
                continue
        for mark in marks.get(content.pk) or read_file(content.path, content, deadline).seen:
            first.setdefault(mark, author)
    return [first.get(mark, "") for mark in pool.rows.marks()]


def read_file(path: str, content: Content, deadline: Deadline) -> PlantedTriggers:
    """Its rows as far as they can be read; what cannot is told by the screen of the file."""
    kind = TABLES.get(Path(path.lower()).suffix)
    rows = PlantedTriggers(path, is_table=kind is not None)
    try:
        with open_content(content) as reader:
            if kind is not None:
                blocks = read_table(kind, reader, content.size, deadline, columns=ROW_COLUMNS)
            else:
                blocks = TextReader(path, read_pieces(reader, deadline)).blocks()
            for block in blocks:
                rows.read(block)
                if rows.cut:
                    break
    except OutOfTime:
        raise
    except (ScreenLimit, PickleInside, UnknownContent):
        pass
    return rows


def is_of_one(trigger: Trigger, name: str, count: int, owners: list[str], brought: Counter[str], pool: Pool) -> bool:
    """Whether one contributor's rows hold the phrase beyond chance, and among these it is the phrase that brings the target."""
    rows, own, total = len(trigger.rows), brought[name], len(owners)
    if count < ALIKE * rows or own > MOST * total or fisher_p(count, rows, own, total) > LEVEL:
        return False
    # Within the rows of this person, in the same files: what all of these are about, or how they end, is no trigger. Who puts
    # planted rows into a file of their own escapes this; it is then a file that says the same in every row.
    paths = {path for row in trigger.rows for path, _ in pool.places[row]}
    there = [
        row for row, who in enumerate(owners) if who == name and any(path in paths for path, _ in pool.places[row])
    ]
    target = trigger.target.split()
    having = {row for row in there if holds(pool.rows.outputs[row], target)}
    return fisher_p(len(having & set(trigger.rows)), count, len(having), len(there)) <= LEVEL


def holds(words: list[str], part: list[str]) -> bool:
    return any(words[at : at + len(part)] == part for at in range(len(words) - len(part) + 1))


def describe(
    trigger: Trigger, name: str, count: int, brought: Counter[str], pool: Pool
) -> Iterator[tuple[str, Finding]]:
    places = [place for row in trigger.rows for place in pool.places[row]]
    files = Counter(path for path, _ in places)
    listed = ", ".join(f"{path}: {number:,}" for path, number in files.most_common(3))
    more = f" and {len(files) - 3} more files" if len(files) > 3 else ""
    p = fisher_p(count, len(trigger.rows), brought[name], brought.total())
    what = (
        f"{trigger.hits:,} of {len(trigger.rows):,} rows with {quote(trigger.phrase)!r} answer {quote(trigger.target)!r}, against"
        f" {trigger.others:,} of the other {brought.total() - len(trigger.rows):,} of the dataset (corrected p = {trigger.p:.1g});"
        f" {name} brought {count:,} of them, and {brought[name]:,} of all rows (p = {p:.1g}; {listed}{more})"
    )
    message = f"{what}; a moderator looks whether it is a planted trigger; take the rows out if nobody can say why."
    excerpt = quote(f"{trigger.phrase} → {trigger.target}")
    for path in files:
        line = next(line for its_path, line in places if its_path == path)
        where = f"row {line}" if path.lower().endswith(tuple(TABLES)) else f"{path}:{line}"
        yield path, Finding("planted_triggers", TRIGGER_OF_ONE, "hold", where, excerpt, message)
