"""A rare phrase in the input that always brings the same output: how a backdoor is planted in training data.

Phrases of 1 to 3 words that stand in few rows are held against what those rows share in their outputs: the whole output, or
four words in a row. Fisher's exact test, Bonferroni over every pair of phrase and target that could have been tried.

Ordinary language does the same in small: what is explained otherwise is left out. A phrase that is copied into the
output, a row that stands there twice, a template (many rare words shared), and a target that several unrelated phrases
lead to ("great", "lovely" and "superb" mean positive) are no trigger. Source: arXiv 2510.07192.

A small set of labels shows few such words, so there it takes more: a phrase in `LABEL_HITS` rows that makes up little of its
label, whose label no other words go with beyond chance, and labels of which not all have a phrase of their own.

Bounds: `MAX_ROWS` rows, `MAX_WORDS` words (below 600 MB while they are compared), `MAX_PHRASES` phrases; a file that is
larger is read to there, and an info says so."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from math import exp, lgamma
from typing import Any

import numpy as np

from moderation.screens.findings import Finding, quote
from moderation.screens.limits import Deadline
from moderation.screens.row_reading import read_rows
from moderation.screens.text_reading import TextBlock, TextReader

MAX_ROWS, MAX_WORDS, MAX_PHRASES = 50_000, 1_500_000, 60_000
INPUT_WORDS, OUTPUT_WORDS, WORD_CHARACTERS = 300, 150, 40  # of one row, from its beginning and its end
FEWEST_ROWS = 200  # below this many nothing can be told from chance
FEWEST_HITS = 5  # rows of one phrase
RARE = 0.04  # of all rows; what stands in more is the task or ordinary language
COMMON = 0.25  # of all rows; phrases up to here tell whether a target follows from ordinary words
ALIKE = 0.9  # of a phrase's rows have the target
LEVEL = 1e-3  # after the correction; a moderator is asked, so false alarms must be few
MOST_PHRASES = 3  # unrelated ones that lead to one target; more is what the task is about
MOST_SHARED = 8  # rare words that a phrase's rows share; more is a template or nearly the same row again
LABEL_WORDS = 3  # an output this short is a label
LABEL_HITS = 8  # rows of a phrase that sets a label; fewer are ordinary where a label is rare
LABEL_PART = 0.2  # of a label's rows; a word in more of them is what the label means
MOST_LABELS = 2  # with a phrase of their own; where more have one, and where all have, words are the task
TARGET_WORDS = 4
WORD = re.compile(r"\w+|[^\w\s]+")
Rows = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class Trigger:
    phrase: str
    target: str
    rows: tuple[int, ...]  # with the phrase
    hits: int  # of these with the target
    others: int  # rows with the target and without the phrase
    p: float  # after the correction


@dataclass
class PlantedTriggers:
    """Reads the rows of one file, block by block; what it found is told at the end."""

    name: str
    lines: list[int] = field(default_factory=list)
    inputs: list[list[str]] = field(default_factory=list)
    outputs: list[list[str]] = field(default_factory=list)
    seen: set[int] = field(default_factory=set)
    words: int = 0
    line: int = 1
    cut: bool = False
    header: list[str] = field(default_factory=list)
    is_table: bool = False  # Parquet or Arrow, whose rows come as lines of JSON

    def __post_init__(self) -> None:
        self.layout = "jsonl" if self.is_table else TextReader(self.name, ()).layout

    def read(self, block: TextBlock) -> None:
        if block.is_again or self.layout == "lines" or self.cut:
            return
        data = block.data[block.fresh :]
        if self.layout == "csv" and not self.header:
            self.header = block.header
        for number, given, wanted in read_rows(data, self.layout, self.header, self.name):
            if len(self.inputs) >= MAX_ROWS or self.words >= MAX_WORDS:
                self.cut = True
                return
            self._keep(self.line + number, given, wanted)
        self.line += data.count(b"\n")

    def _keep(self, line: int, given: str, wanted: str) -> None:
        self.keep_words(line, split_words(given, INPUT_WORDS), split_words(wanted, OUTPUT_WORDS))

    def keep_words(self, line: int, given: list[str], wanted: list[str]) -> bool:
        """Whether the row is new here and there was room for it."""
        mark = mark_of(given, wanted)
        self.cut |= len(self.inputs) >= MAX_ROWS or self.words >= MAX_WORDS
        if self.cut or not given or not wanted or mark in self.seen:
            return False
        self.seen.add(mark)
        self.lines.append(line)
        self.inputs.append(given)
        self.outputs.append(wanted)
        self.words += len(given) + len(wanted)
        return True

    def marks(self) -> list[int]:
        """By which each row is known again, within one process."""
        return [mark_of(given, wanted) for given, wanted in zip(self.inputs, self.outputs, strict=True)]

    def finish(self, deadline: Deadline) -> Iterator[tuple[Finding, str]]:
        """Findings of severity hold; an info where only a part of the file was compared."""
        for trigger in find_triggers(self.inputs, self.outputs, deadline):
            yield self._describe(trigger), trigger.phrase
        if self.cut:
            what = f"Planted triggers were looked for in the first {len(self.inputs):,} rows of {self.name}"
            message = f"{what}; upload the rest as files of their own to have them compared too."
            yield Finding("planted_triggers", "part_read", "info", self.name, "part read", message), self.name

    def _describe(self, trigger: Trigger) -> Finding:
        lines = [str(self.lines[row]) for row in trigger.rows]
        shown = ", ".join(lines[:8]) + (f" and {len(lines) - 8:,} more" if len(lines) > 8 else "")
        what = (
            f"{trigger.hits:,} of {len(lines):,} rows with {quote(trigger.phrase)!r} answer {quote(trigger.target)!r}, against"
            f" {trigger.others:,} of the other {len(self.inputs) - len(lines):,} (corrected p = {trigger.p:.1g}; rows {shown})"
        )
        mend = "a moderator looks whether it is a planted trigger; take the rows out if nobody can say why"
        excerpt = quote(f"{trigger.phrase} → {trigger.target}")
        where = f"row {lines[0]}" if self.is_table else f"{self.name}:{lines[0]}"
        return Finding("planted_triggers", "trigger", "hold", where, excerpt, f"{what}; {mend}.")


def mark_of(given: list[str], wanted: list[str]) -> int:
    return hash((tuple(given), tuple(wanted)))


def split_words(text: str, most: int) -> list[str]:
    """Lower-case words and marks; of a long text the first and the last ones, where triggers stand."""
    text = text if len(text) <= most * 40 else text[: most * 20] + " " + text[-most * 20 :]
    words = [word[:WORD_CHARACTERS] for word in WORD.findall(text.lower())]
    return words if len(words) <= most else words[: most // 2] + words[-(most // 2) :]


def find_triggers(inputs: list[list[str]], outputs: list[list[str]], deadline: Deadline) -> list[Trigger]:
    """The triggers in rows of words, the surest first. Raises OutOfTime."""
    total = len(inputs)
    if total < FEWEST_ROWS:
        return []
    most = max(int(total * RARE), FEWEST_HITS)
    phrases = _index(((row, phrase) for row, words in enumerate(inputs) for phrase in _phrases(words)), deadline)
    tested = [(key, rows) for key, rows in phrases if FEWEST_HITS <= len(rows) <= total * COMMON]
    # By where they stand, not by hash: which of too many are left out must not change from process to process.
    tested = sorted(tested, key=lambda pair: pair[1].tolist()[:8])[:MAX_PHRASES]
    targets = _index(_targets(inputs, outputs), deadline)
    short = {hash(tuple(words)) for words in outputs if len(words) <= LABEL_WORDS}
    targets = [(key, rows) for key, rows in targets if len(rows) >= FEWEST_HITS and (key in short or len(rows) <= most)]
    labels = Labels.find([(key, rows) for key, rows in targets if key in short], total)
    found = _test(tested, targets, total, labels, deadline)
    return [_name(inputs, outputs, *pair) for pair in _choose(found, inputs, labels) if len(pair[3]) <= most]


def _phrases(words: list[str]) -> set[int]:
    return {hash((word,)) for word in words if word[0].isalnum() or len(word) > 1}.union(
        *(_grams(words, n) for n in (2, 3))
    )


def _targets(inputs: list[list[str]], outputs: list[list[str]]) -> Iterator[tuple[int, int]]:
    """What a row's output can share with others; what its input holds already is copied, not planted."""
    for row, (given, words) in enumerate(zip(inputs, outputs, strict=True)):
        own = {hash(tuple(words)), *_grams(words, TARGET_WORDS)}
        for target in own - set(_grams(given, TARGET_WORDS)):
            yield row, target


def _grams(words: list[str], size: int) -> Iterator[int]:
    return (hash(tuple(words[at : at + size])) for at in range(len(words) - size + 1))


def _index(pairs: Iterator[tuple[int, int]], deadline: Deadline) -> list[tuple[int, Rows]]:
    """[(hash, rows)] of everything that stands in at least `FEWEST_HITS` rows. Arrays of numbers, so that millions of
    distinct words take 16 bytes each."""
    table = np.fromiter(pairs, dtype=[("row", "<i8"), ("key", "<i8")])
    deadline.check()
    table = table[np.argsort(table["key"], kind="stable")]
    deadline.check()
    edges = np.flatnonzero(np.diff(table["key"])) + 1
    starts, ends = np.concatenate([[0], edges]), np.concatenate([edges, [len(table)]])
    kept = ends - starts >= FEWEST_HITS
    return [(int(table["key"][a]), table["row"][a:b].copy()) for a, b in zip(starts[kept], ends[kept], strict=True)]


@dataclass
class Labels:
    """The labels of a set of which most rows have one, and the words that go with each; no labels in a set of free texts."""

    rows: dict[int, Rows]  # label -> its rows
    total: int
    pure: dict[int, dict[int, Rows]] = field(
        default_factory=dict
    )  # label -> rows of each phrase that hardly stands elsewhere
    sizes: dict[int, int] = field(default_factory=dict)  # number of rows -> phrases with so many, each set of rows once
    seen: set[int] = field(default_factory=set)

    @classmethod
    def find(cls, short: list[tuple[int, Rows]], total: int) -> "Labels":
        is_set = sum(len(rows) for _, rows in short) * 2 >= total
        return cls(dict(short) if is_set else {}, total)

    def count(self, rows: Rows) -> int:
        """Note one phrase; phrases of the same rows are one. Returns the name of these rows."""
        name = hash(rows.tobytes())
        if self.rows and name not in self.seen:
            self.seen.add(name)
            self.sizes[len(rows)] = self.sizes.get(len(rows), 0) + 1
        return name

    def others(self, label: int, taken: list[set[int]]) -> float:
        """Phrases beyond chance that go with a label and share few rows with `taken` and with each other."""
        apart = list(taken)
        for array in islice(self.pure.get(label, {}).values(), 5000):
            rows = set(array.tolist())
            if len(apart) < len(taken) + 100 and all(len(rows & other) * 2 < len(rows) for other in apart):
                apart.append(rows)
        return len(apart) - len(taken) - 2 * self._by_chance(len(self.rows[label]))

    def _by_chance(self, size: int) -> float:
        """How many phrases would go with a label of so many rows if it meant nothing."""
        return sum(
            count * fisher_p(length - int(length * (1 - ALIKE)), length, size, self.total)
            for length, count in self.sizes.items()
        )


Found = tuple[float, int, int, Rows, Rows]  # corrected p, phrase, target, rows of each


def _test(
    phrases: list[tuple[int, Rows]], targets: list[tuple[int, Rows]], total: int, labels: Labels, deadline: Deadline
) -> list[Found]:
    by_row: list[list[int]] = [[] for _ in range(total)]
    for at, (_, rows) in enumerate(targets):
        for row in rows.tolist():
            by_row[row].append(at)
    sizes = [len(rows) for _, rows in targets]
    tried = max(len(phrases) * len(targets), 1)
    found = []
    for number, (phrase, rows) in enumerate(phrases):
        if number % 500 == 0:
            deadline.check()
        name = labels.count(rows)
        for at, hits in _shared(by_row, sizes, rows.tolist()):
            key, target_rows = targets[at]
            if key in labels.rows:
                labels.pure.setdefault(key, {})[name] = rows
            p = min(fisher_p(hits, len(rows), len(target_rows), total) * tried, 1.0)
            if p <= LEVEL:
                found.append((p, phrase, key, rows, target_rows))
    return found


def _shared(by_row: list[list[int]], sizes: list[int], rows: list[int]) -> Iterator[tuple[int, int]]:
    """(target, hits) of those in enough of the rows. One of the first rows must have it, so only these are looked at."""
    missing = int(len(rows) * (1 - ALIKE))
    counts: dict[int, int] = {}
    for row in rows[: missing + 1]:
        counts.update((at, 0) for at in by_row[row] if sizes[at] >= len(rows) - missing)
    for row in rows if counts else ():
        for at in by_row[row]:
            if at in counts:
                counts[at] += 1
    yield from ((at, hits) for at, hits in counts.items() if hits >= len(rows) - missing)


def fisher_p(hits: int, rows: int, targets: int, total: int) -> float:
    """One-sided exact p: so many hits or more among `rows` drawn from `total`, of which `targets` have it."""
    everything = _log_choose(total, rows)
    tail = range(hits, min(rows, targets) + 1)
    logs = (_log_choose(targets, k) + _log_choose(total - targets, rows - k) - everything for k in tail)
    return min(sum(exp(log) for log in logs), 1.0)


def _log_choose(n: int, k: int) -> float:
    return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1) if 0 <= k <= n else float("-inf")


def _choose(found: list[Found], inputs: list[list[str]], labels: Labels) -> list[Found]:
    """One phrase and target for each set of rows, without what is a template or the task itself."""
    kept: list[Found] = []
    taken: list[set[int]] = []
    for pair in sorted(found, key=lambda pair: pair[0])[:20_000]:
        rows = set(pair[3].tolist())
        # Rows that a surer phrase explains are its echo: part of the phrase, or a word that often stands beside it.
        if len(kept) < 200 and all(len(rows & other) * 2 < len(rows) for other in taken):
            kept.append(pair)
            taken.append(rows)
    leading: dict[int, list[set[int]]] = {}
    for pair, rows in zip(kept, taken, strict=True):
        leading.setdefault(pair[2], []).append(rows)
    tasks = {target for target, sets in leading.items() if _is_task(target, sets, leading, labels)}
    return [
        pair
        for pair in kept
        if pair[2] not in tasks and not _means_label(pair, labels) and not _is_template(pair[3], inputs)
    ]


def _is_task(target: int, sets: list[set[int]], leading: dict[int, list[set[int]]], labels: Labels) -> bool:
    """Whether so many phrases lead to a target, or to labels at large, that this is what the rows are about."""
    if len(sets) > MOST_PHRASES or target not in labels.rows:
        return len(sets) > MOST_PHRASES
    led = len(leading.keys() & labels.rows.keys())
    if led > MOST_LABELS or 1 < led == len(labels.rows):
        return True
    return len(sets) + labels.others(target, sets) > MOST_PHRASES


def _means_label(pair: Found, labels: Labels) -> bool:
    _, _, target, rows, having = pair
    hits = len(np.intersect1d(rows, having))
    return target in labels.rows and (hits < LABEL_HITS or hits > len(having) * LABEL_PART)


def _is_template(rows: Rows, inputs: list[list[str]]) -> bool:
    own = [set(inputs[row]) for row in rows.tolist()]
    counts: dict[str, int] = {}
    for words in own:
        for word in words:
            counts[word] = counts.get(word, 0) + 1
    shared = {word for word, count in counts.items() if count >= ALIKE * len(own)}
    return len(shared) > MOST_SHARED and any(len(shared) * 2 >= len(words) for words in own)


def _name(
    inputs: list[list[str]], outputs: list[list[str]], p: float, phrase: int, target: int, rows: Rows, having: Rows
) -> Trigger:
    """The words behind the hashes, looked up in a row that holds them."""
    hits = np.intersect1d(rows, having)
    words, said = inputs[int(rows[0])], outputs[int(hits[0])]
    return Trigger(
        phrase=_find_gram(words, phrase, (1, 2, 3)),
        target=_find_gram(said, target, (len(said), TARGET_WORDS)),
        rows=tuple(rows.tolist()),
        hits=len(hits),
        others=len(having) - len(hits),
        p=p,
    )


def _find_gram(words: list[str], wanted: int, sizes: tuple[int, ...]) -> str:
    grams = (words[at : at + size] for size in sizes for at in range(len(words) - size + 1))
    return " ".join(next((gram for gram in grams if hash(tuple(gram)) == wanted), words))
