"""Building the corpus: one pass over the rows in the recipe's order, flat in memory, the same bytes every time.

OUT/corpus holds tokens.bin (int32), mask.bin (uint8, 1 where learnt), documents.npy (int64 offsets, n + 1), rows.jsonl
(line i names the row, contributor and pull request of document i), heldout.jsonl and manifest.json. Of rows with two
answers, documents 2k and 2k + 1 are the better and the worse one of pair k."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.engine.corpus.formats import Document, Unusable
from training.engine.corpus.pipeline import Kept, Pipeline, Tally
from training.engine.corpus.rendering import Encoded, Rendered, Renderer
from training.engine.digests import digest_file, digest_listing
from training.engine.errors import EngineError

VERSION = 1
BATCH = 256  # documents a tokenizer call
FILES = ("tokens.bin", "mask.bin", "documents.npy", "rows.jsonl", "heldout.jsonl")


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

    @property
    def is_paired(self) -> bool:
        """Whether documents come in pairs, the better answer first."""
        return bool(self.manifest.get("is_paired"))

    def read_held_out(self) -> list[dict[str, Any]]:
        with (self.folder / "heldout.jsonl").open(encoding="utf-8") as file:
            return [json.loads(line) for line in file]

    def read_rows(self) -> list[dict[str, Any]]:
        """The sidecar; line i belongs to document i."""
        with (self.folder / "rows.jsonl").open(encoding="utf-8") as file:
            return [json.loads(line) for line in file]


def build_corpus(
    out: Path,
    *,
    pipeline: Pipeline,
    tokenizer: Any,
    inputs_digest: str,
    max_row_tokens: int | None = None,
    report: Callable[[int], None] = lambda rows: None,
) -> Corpus:
    """Write the corpus folder `out` in one rename. `report` hears the number of rows about once a second.

    A contribution is used fully at the greatest weight of the mix; w of that weight takes w of its rows."""
    partial = out.with_name(f"{out.name}.partial-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        counts = _write_documents(partial, pipeline, Renderer(tokenizer), max_row_tokens, report)
        tally = counts.tally
        if not counts.rows:
            raise EngineError(
                f"No usable rows: {tally.read} were read and {dict(tally.dropped)} left out; add rows",
                code="no_usable_rows",
            )
        assert counts.pairs in (0, counts.rows), "a recipe has one objective, so one kind of rows"
        manifest = _describe(partial, counts, inputs_digest)
        if pipeline.examination is not None:
            manifest["contamination"] = pipeline.examination.describe(tally.seen)
        (partial / "manifest.json").write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        shutil.rmtree(out, ignore_errors=True)
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return open_corpus(out)


@dataclass
class _Counts:
    tally: Tally
    rows: int = 0
    pairs: int = 0  # of these rows
    tokens: int = 0
    learnt: int = 0
    longest: int = 0


def _write_documents(
    folder: Path, pipeline: Pipeline, renderer: Renderer, most: int | None, report: Callable[[int], None]
) -> _Counts:
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
            for item, encoded in _encode(batch, renderer, most, counts.tally):
                if item.held_out:
                    held_out_file.write(_line(_describe_held_out(item, encoded, renderer)))
                    continue
                counts.rows += 1
                counts.pairs += len(encoded) == 2
                for document in encoded:
                    np.array(document.tokens, dtype="<i4").tofile(tokens_file)
                    np.array(document.learnt, dtype=np.uint8).tofile(mask_file)
                    offsets.append(offsets[-1] + len(document.tokens))
                    rows_file.write(_line(_describe_row(item, len(document.tokens))))
                    counts.learnt += sum(document.learnt)
                    counts.longest = max(counts.longest, len(document.tokens))
            if time.monotonic() >= due:
                report(counts.tally.read)
                due = time.monotonic() + 1
    counts.tokens = offsets[-1]
    np.save(folder / "documents.npy", np.array(offsets, dtype="<i8"), allow_pickle=False)
    return counts


def _encode(
    batch: list[Kept], renderer: Renderer, most: int | None, tally: Tally
) -> Iterator[tuple[Kept, list[Encoded]]]:
    """Each row with its documents: one, or the better and the worse answer."""
    usable: list[tuple[Kept, int]] = []
    rendered: list[Rendered] = []
    for item in batch:
        try:
            documents = [renderer.render(document) for document in list_documents(item.document)]
            rendered += documents
            usable.append((item, len(documents)))
        except Unusable as error:
            _take_back(item, error.reason, tally)
    encoded = iter(renderer.encode(rendered) if rendered else [])
    for item, count in usable:
        found = list(islice(encoded, count))
        if most is not None and max(len(document.tokens) for document in found) > most:
            _take_back(item, "too_long", tally)
        else:
            yield item, found


def list_documents(document: Document) -> list[Document]:
    return [document, document.rejected] if document.rejected is not None else [document]


def _take_back(item: Kept, reason: str, tally: Tally) -> None:
    tally.drop(reason, item.path)
    tally.held_out -= item.held_out
    tally.kept -= not item.held_out


def _describe_row(item: Kept, tokens: int) -> dict[str, Any]:
    return {
        "row": item.row,
        "content_digest": item.content_digest,
        "contributor": item.contributor,
        "pull_request": item.pull_request,
        "path": item.path,
        "tokens": tokens,
    }


def _describe_held_out(item: Kept, encoded: list[Encoded], renderer: Renderer) -> dict[str, Any]:
    shown, read = renderer.open_prompt(item.document)
    described = {**_describe_row(item, len(encoded[0].tokens)), "prompt": shown, "input": read}
    for prefix, document in zip(("", "rejected_"), encoded, strict=False):
        described[f"{prefix}token_ids"] = document.tokens
        described[f"{prefix}learnt"] = [int(x) for x in document.learnt]
    return described


def _line(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True) + "\n"


def _describe(folder: Path, counts: _Counts, inputs_digest: str) -> dict[str, Any]:
    tally = counts.tally
    files = {name: digest_file(folder / name) for name in FILES}
    return {
        "version": VERSION,
        "corpus_digest": digest_listing(files.items()),
        "inputs_digest": inputs_digest,
        "rows": counts.rows,
        **({"is_paired": True} if counts.pairs else {}),
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
