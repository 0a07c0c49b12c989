"""Building the corpus: one pass over the rows in the recipe's order, flat in memory, the same bytes every time.

OUT/corpus holds tokens.bin (int32), mask.bin (uint8, 1 where learnt), documents.npy (int64 offsets, n + 1), rows.jsonl
(line i names the row, contributor and pull request of document i), heldout.jsonl and manifest.json."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.engine.corpus.cleaning import clean_document
from training.engine.corpus.contamination import ContaminationFilter, read_questions
from training.engine.corpus.duplicates import ExactFilter, NearFilter
from training.engine.corpus.formats import ACCEPTED, Document, Unusable, read_document
from training.engine.corpus.personal_data import mask_document
from training.engine.corpus.readers import RawRow, read_rows, select_files
from training.engine.corpus.rendering import Encoded, Renderer
from training.engine.digests import digest_file, digest_json, digest_listing
from training.engine.errors import EngineError
from training.engine.inputs import InputRepo

VERSION = 1
HELD_OUT_EVERY = 32  # about 3% of the rows are kept for samples and for the held-out loss
HELD_OUT_AFTER = 20  # tiny data are all used
HELD_OUT_MOST = 64
BATCH = 256  # documents a tokenizer call
FILES = ("tokens.bin", "mask.bin", "documents.npy", "rows.jsonl", "heldout.jsonl")


@dataclass(frozen=True)
class Source:
    """One line of the recipe's mix."""

    repo: InputRepo
    split: str
    format: str
    weight: float
    pull_request: int | None


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


@dataclass(frozen=True)
class Corpus:
    folder: Path
    manifest: dict[str, Any]
    tokens: NDArray[np.int32]
    learnt: NDArray[np.uint8]
    offsets: NDArray[np.int64]

    @property
    def digest(self) -> str:
        return str(self.manifest["corpus_digest"])

    def read_held_out(self) -> list[dict[str, Any]]:
        with (self.folder / "heldout.jsonl").open(encoding="utf-8") as file:
            return [json.loads(line) for line in file]

    def read_rows(self) -> list[dict[str, Any]]:
        """The sidecar; line i belongs to document i."""
        with (self.folder / "rows.jsonl").open(encoding="utf-8") as file:
            return [json.loads(line) for line in file]


class Pipeline:
    """Rows that survive, in order. May be read more than once: each reading starts from nothing."""

    def __init__(self, sources: list[Source], settings: Settings, suites: list[InputRepo]) -> None:
        self.sources, self.settings = sources, settings
        self.most = max((s.weight for s in sources), default=1.0)
        questions = (q for suite in suites for q in read_questions(suite))
        self.contamination = ContaminationFilter(questions) if suites else None

    def read(self, tally: Tally) -> Iterator[Kept]:
        exact, near = ExactFilter(), NearFilter()
        occurrences: Counter[str] = Counter()
        for source in self.sources:
            before = Counter(tally.dropped)
            read_before, kept_before = tally.read, tally.kept + tally.held_out
            for raw in self._read_source(source, tally):
                name = f"{source.repo.key}:{digest_json(raw.value)}"
                occurrences[name] += 1
                try:
                    document = self._judge(raw, source, exact, near, tally)
                except Unusable as error:
                    tally.drop(error.reason, f"{source.repo.id}/{raw.place}")
                    continue
                yield self._keep(raw, source, document, f"{name}:{occurrences[name]}", tally)
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
                    read_document(raw.value, source.format)
                except Unusable as error:
                    lacking += error.reason == "missing_column"
                    columns = columns or sorted(map(str, raw.value))
                yield raw
            if found and found == lacking:
                raise EngineError(
                    f"{source.repo.id}/{path} lacks the columns of format {source.format}: "
                    f"it has {', '.join(columns)[:200] or 'none'}; rename them to {ACCEPTED[source.format]}",
                    code="missing_column",
                )

    def _judge(self, raw: RawRow, source: Source, exact: ExactFilter, near: NearFilter, tally: Tally) -> Document:
        document = clean_document(read_document(raw.value, source.format), self.settings.clean)
        document, masked = mask_document(document, self.settings.personal_data)
        if not is_sampled(document, source.weight / self.most):
            raise Unusable("weight")
        if self.contamination and self.contamination.holds_question(document.words):
            raise Unusable("contaminated")
        if self.settings.deduplicate != "none" and not exact.is_new(document.words):
            raise Unusable("duplicate")
        if self.settings.deduplicate == "minhash" and not near.is_new(document.words):
            raise Unusable("near_duplicate")
        tally.masked += masked
        return document

    def _keep(self, raw: RawRow, source: Source, document: Document, row: str, tally: Tally) -> Kept:
        digest = digest_content(document)
        seen = tally.kept + tally.held_out
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
    return digest_json({"messages": [{"content": m.content, "role": m.role} for m in document.messages]})


def is_sampled(document: Document, share: float) -> bool:
    """A document falls into a share by its content alone, so a bigger share holds the smaller one."""
    return share >= 1 or int(digest_content(document)[-8:], 16) < share * 2**32


def build_corpus(
    out: Path,
    *,
    pipeline: Pipeline,
    tokenizer: Any,
    inputs_digest: str,
    report: Callable[[int], None] = lambda rows: None,
) -> Corpus:
    """Write the corpus folder `out` in one rename. `report` hears the number of rows about once a second.

    A contribution is used fully at the greatest weight of the mix; w of that weight takes w of its rows."""
    partial = out.with_name(f"{out.name}.partial-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        tally, counts = Tally(), _write_documents(partial, pipeline, Renderer(tokenizer), report)
        tally = counts.tally
        if not counts.documents:
            raise EngineError(
                f"No usable rows: {tally.read} were read and {dict(tally.dropped)} left out; add rows",
                code="no_usable_rows",
            )
        manifest = _describe(partial, counts, inputs_digest)
        (partial / "manifest.json").write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        shutil.rmtree(out, ignore_errors=True)
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return open_corpus(out)


@dataclass
class _Counts:
    tally: Tally
    documents: int = 0
    tokens: int = 0
    learnt: int = 0
    longest: int = 0


def _write_documents(folder: Path, pipeline: Pipeline, renderer: Renderer, report: Callable[[int], None]) -> _Counts:
    counts = _Counts(Tally())
    offsets = [0]
    kept = pipeline.read(counts.tally)
    due = time.monotonic() + 1
    with (
        (folder / "tokens.bin").open("wb") as tokens_file,
        (folder / "mask.bin").open("wb") as mask_file,
        (folder / "rows.jsonl").open("w", encoding="utf-8") as rows_file,
        (folder / "heldout.jsonl").open("w", encoding="utf-8") as held_out_file,
    ):
        while batch := list(islice(kept, BATCH)):
            for item, encoded in _encode(batch, renderer, counts.tally):
                if item.held_out:
                    held_out_file.write(_line(_describe_held_out(item, encoded, renderer)))
                    continue
                np.array(encoded.tokens, dtype="<i4").tofile(tokens_file)
                np.array(encoded.learnt, dtype=np.uint8).tofile(mask_file)
                offsets.append(offsets[-1] + len(encoded.tokens))
                rows_file.write(_line(_describe_row(item, len(encoded.tokens))))
                counts.documents += 1
                counts.learnt += sum(encoded.learnt)
                counts.longest = max(counts.longest, len(encoded.tokens))
            if time.monotonic() >= due:
                report(counts.tally.read)
                due = time.monotonic() + 1
    counts.tokens = offsets[-1]
    np.save(folder / "documents.npy", np.array(offsets, dtype="<i8"), allow_pickle=False)
    return counts


def _encode(batch: list[Kept], renderer: Renderer, tally: Tally) -> Iterator[tuple[Kept, Encoded]]:
    usable, rendered = [], []
    for item in batch:
        try:
            rendered.append(renderer.render(item.document))
            usable.append(item)
        except Unusable as error:
            tally.drop(error.reason, item.path)
            tally.held_out -= item.held_out
            tally.kept -= not item.held_out
    yield from zip(usable, renderer.encode(rendered) if rendered else [], strict=True)


def _describe_row(item: Kept, tokens: int) -> dict[str, Any]:
    return {
        "row": item.row,
        "content_digest": item.content_digest,
        "contributor": item.contributor,
        "pull_request": item.pull_request,
        "path": item.path,
        "tokens": tokens,
    }


def _describe_held_out(item: Kept, encoded: Encoded, renderer: Renderer) -> dict[str, Any]:
    shown, read = renderer.open_prompt(item.document)
    learnt = [int(x) for x in encoded.learnt]
    return {**_describe_row(item, len(encoded.tokens)), "prompt": shown, "input": read,
            "token_ids": encoded.tokens, "learnt": learnt}  # fmt: skip


def _line(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True) + "\n"


def _describe(folder: Path, counts: _Counts, inputs_digest: str) -> dict[str, Any]:
    tally = counts.tally
    files = {name: digest_file(folder / name) for name in FILES}
    return {
        "version": VERSION,
        "corpus_digest": digest_listing(files.items()),
        "inputs_digest": inputs_digest,
        "rows": counts.documents,
        "rows_read": tally.read,
        "held_out": tally.held_out,
        "masked": tally.masked,
        "dropped": dict(sorted(tally.dropped.items())),
        "examples": dict(sorted(tally.examples.items())),
        "tokens": counts.tokens,
        "learnt_tokens": counts.learnt,
        "longest_tokens": counts.longest,
        "files": files,
    }


def open_corpus(folder: Path) -> Corpus:
    """A corpus that was built before; EngineError when it is damaged."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        offsets: NDArray[np.int64] = np.load(folder / "documents.npy", allow_pickle=False)
        tokens: NDArray[np.int32] = np.memmap(folder / "tokens.bin", dtype="<i4", mode="r")
        learnt: NDArray[np.uint8] = np.memmap(folder / "mask.bin", dtype=np.uint8, mode="r")
    except (OSError, ValueError) as error:
        raise EngineError(f"The corpus in {folder} is damaged ({error}); remove it", code="corpus_damaged") from error
    if not len(tokens) == len(learnt) == offsets[-1] == manifest["tokens"]:
        raise EngineError(f"The corpus in {folder} is damaged; remove it", code="corpus_damaged")
    return Corpus(folder, manifest, tokens, learnt, offsets)
