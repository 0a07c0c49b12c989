"""Which rows survive, in the recipe's order: read, cleaned, masked, sampled, compared with suites and with each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from training.engine.corpus.cleaning import clean_document
from training.engine.corpus.contamination import Examination
from training.engine.corpus.duplicates import ExactFilter, NearFilter
from training.engine.corpus.formats import ACCEPTED, PLAIN, Document, Reading, Unusable, read_document
from training.engine.corpus.languages import find_language
from training.engine.corpus.personal_data import mask_document
from training.engine.corpus.readers import RawRow, read_rows, select_files
from training.engine.digests import digest_json
from training.engine.errors import EngineError
from training.engine.inputs import InputRepo

HELD_OUT_EVERY = 32  # about 3% of the rows are kept for samples and for the held-out loss
HELD_OUT_AFTER = 20  # tiny data are all used
HELD_OUT_MOST = 64
PAIRS_HELD_OUT_EVERY = 10  # a tenth of the questions with two answers: they measure whether the run was worth it
PAIRS_HELD_OUT_MOST = 256


@dataclass(frozen=True)
class Source:
    """One line of the recipe's mix."""

    repo: InputRepo
    split: str
    format: str
    weight: float
    pull_request: int | None
    reading: Reading = PLAIN
    language: str | None = None  # rows that are known to be in another one are left out


@dataclass(frozen=True)
class Settings:
    clean: str
    deduplicate: str
    personal_data: str


@dataclass
class Tally:
    """What happened to the rows."""

    read: int = 0
    kept: int = 0
    held_out: int = 0
    masked: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)  # reason -> the first place
    seen: set[int] = field(default_factory=set)  # questions of suites of which a part is learnt

    def drop(self, reason: str, place: str) -> None:
        self.dropped[reason] += 1
        self.examples.setdefault(reason, place)


@dataclass(frozen=True)
class Kept:
    document: Document
    row: str
    content_digest: str
    contributor: str | None
    pull_request: int | None
    path: str
    held_out: bool


class Pipeline:
    """Rows that survive, in order. May be read more than once: each reading starts from nothing."""

    def __init__(
        self, sources: list[Source], settings: Settings, suites: list[InputRepo], *, decontaminates: bool = True
    ) -> None:
        """Rows are compared with `suites` in any case; `decontaminates`: those that hold a question are left out."""
        self.sources, self.settings, self.decontaminates = sources, settings, decontaminates
        self.most = max((s.weight for s in sources), default=1.0)
        self.examination = Examination(suites) if suites else None

    def read(self, tally: Tally) -> Iterator[Kept]:
        exact, near, questions = ExactFilter(), NearFilter(), _Questions()
        occurrences: Counter[str] = Counter()
        for source in self.sources:
            before = Counter(tally.dropped)
            read_before, kept_before = tally.read, tally.kept + tally.held_out
            for raw in self._read_source(source, tally):
                name = f"{source.repo.key}:{digest_json(raw.value)}"
                occurrences[name] += 1
                try:
                    document, seen = self._judge(raw, source, exact, near, tally)
                except Unusable as error:
                    tally.drop(error.reason, f"{source.repo.id}/{raw.place}")
                    continue
                kept = self._keep(raw, source, document, f"{name}:{occurrences[name]}", tally, questions)
                if not kept.held_out:
                    tally.seen |= seen
                yield kept
            if tally.kept + tally.held_out == kept_before:
                refuse_empty(source, tally.read - read_before, tally.dropped - before, tally.examples)

    def _read_source(self, source: Source, tally: Tally) -> Iterator[RawRow]:
        for path in select_files(source.repo, split=source.split, format=source.format):
            found, lacking = 0, 0
            columns: list[str] = []
            for raw in read_rows(source.repo, path):
                tally.read += 1
                found += 1
                try:
                    read_document(raw.value, source.format, source.reading)
                except Unusable as error:
                    lacking += error.reason == "missing_column"
                    columns = columns or sorted(map(str, raw.value))
                yield raw
            if found and found == lacking and "fitting_only" not in source.reading.mend:
                raise EngineError(
                    f"{source.repo.id}/{path} lacks the columns of format {source.format}: "
                    f"it has {', '.join(columns)[:200] or 'none'}; rename them to {ACCEPTED[source.format]}",
                    code="missing_column",
                )

    def _judge(
        self, raw: RawRow, source: Source, exact: ExactFilter, near: NearFilter, tally: Tally
    ) -> tuple[Document, set[int]]:
        """The document, and the questions of suites of which it holds a part. Raises Unusable."""
        document = clean_document(read_document(raw.value, source.format, source.reading), self.settings.clean)
        if source.language and find_language(document.words) not in (None, source.language):
            raise Unusable("language")
        document, masked = mask_document(document, self.settings.personal_data)
        if not is_sampled(document, source.weight / self.most):
            raise Unusable("weight")
        holds, seen = self.examination.filter.compare(document.words) if self.examination else (False, set())
        if holds and self.decontaminates:
            raise Unusable("contaminated")
        if self.settings.deduplicate != "none" and not exact.is_new(document.words):
            raise Unusable("duplicate")
        if self.settings.deduplicate == "minhash" and not near.is_new(document.words):
            raise Unusable("near_duplicate")
        tally.masked += masked
        return document, seen

    def _keep(
        self, raw: RawRow, source: Source, document: Document, row: str, tally: Tally, questions: _Questions
    ) -> Kept:
        digest = digest_content(document)
        seen = tally.kept + tally.held_out
        if document.rejected is not None:
            held_out = questions.hold_out(document, seen, tally.held_out)
        else:
            held_out = (
                seen >= HELD_OUT_AFTER and tally.held_out < HELD_OUT_MOST and int(digest[:8], 16) % HELD_OUT_EVERY == 0
            )
        if held_out:
            tally.held_out += 1
        else:
            tally.kept += 1
        credit = source.repo.credit(raw.path, raw.number)
        pull_request = credit.pull_request if credit.pull_request is not None else source.pull_request
        return Kept(document, row, f"sha256:{digest}", credit.contributor, pull_request, raw.path, held_out)


class _Questions:
    """Which questions with two answers are kept for measuring: all pairs of one question, or none."""

    def __init__(self) -> None:
        self.learnt: set[str] = set()
        self.held_out: set[str] = set()

    def hold_out(self, document: Document, seen: int, count: int) -> bool:
        digest = digest_content(Document(messages=document.messages[: document.given]))
        if int(digest[:8], 16) % PAIRS_HELD_OUT_EVERY:
            return False
        if digest not in self.held_out and digest not in self.learnt:
            chosen = self.held_out if seen >= HELD_OUT_AFTER and count < PAIRS_HELD_OUT_MOST else self.learnt
            chosen.add(digest)
        return digest in self.held_out


def refuse_empty(source: Source, read: int, dropped: Counter[str], examples: dict[str, str]) -> None:
    if not read:
        raise EngineError(f"{source.repo.id} has no rows in split {source.split}; add some", code="no_usable_rows")
    reasons = ", ".join(f"{count} {reason} (first: {examples[reason]})" for reason, count in dropped.most_common(3))
    # What is left out by decision (duplicates of an earlier contribution, ...) is no fault of the rows.
    if set(dropped) <= {"duplicate", "near_duplicate", "weight"}:
        return
    raise EngineError(
        f"{source.repo.id} has no usable rows: all {read} were left out ({reasons}); mend or remove them",
        code="no_usable_rows",
    )


def digest_content(document: Document) -> str:
    """sha256 of what is left of a row after cleaning and masking."""
    if document.text is not None:
        return digest_json({"text": document.text})
    said: dict[str, Any] = {"messages": _describe(document)}
    if document.rejected is not None:
        said["rejected"] = _describe(document.rejected)
    return digest_json(said)


def _describe(document: Document) -> list[dict[str, str]]:
    return [{"content": m.content, "role": m.role} for m in document.messages]


def is_sampled(document: Document, share: float) -> bool:
    """A document falls into a share by its content alone, so a bigger share holds the smaller one."""
    return share >= 1 or int(digest_content(document)[-8:], 16) < share * 2**32
