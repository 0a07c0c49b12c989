"""What a dataset looks like to the engine: first rows, how many, how they fall into tokens, what the loss sees.

A program of its own that knows no Django and no torch, run in the sandbox with limits, because it reads what people
uploaded: JSON on stdin, the sandbox's own line and then one JSON object on stdout. It uses the engine's own readers and
renderer, so what is shown is what will be trained."""

import json
import os
import resource
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from training.drafting.preview_checks import Beginning, Looked, check_rows, measure_rows, read_first
from training.drafting.preview_columns import END_MARKS, list_columns
from training.engine.corpus.formats import ACCEPTED, PLAIN, Document, Reading, Unusable, read_document
from training.engine.corpus.pipeline import Settings, Source
from training.engine.corpus.readers import RawRow, read_rows, select_files
from training.engine.corpus.rendering import Renderer
from training.engine.errors import EngineError
from training.engine.inputs import InputRepo
from training.engine.tokenizer import DEFAULT_TEMPLATE, MAX_TEMPLATE_BYTES, read_json_object

MAX_SECONDS = 15  # of processor time
MAX_MEMORY_BYTES = 3 * 1024**3
MAX_ROWS_COUNTED = 2_000_000
LOOKED_AT = 20  # rows that decide which formats fit
MEASURED = 600  # rows whose tokens are counted
MAX_TURN_CHARACTERS = 1200
MAX_TURNS = 40  # shown of one conversation: its beginning and its end
MAX_PIECES = 260  # tokens shown of one row
MAX_PIECE_CHARACTERS = 200
FORMATS = ("preference", "chat", "classification", "text")


class LightTokenizer:
    """As much of a transformers tokenizer as the engine's Renderer needs, over the `tokenizers` library alone."""

    def __init__(self, folder: Path):
        from tokenizers import Tokenizer

        self.raw = Tokenizer.from_file(str(folder / "tokenizer.json"))
        settings = read_json_object(folder / "tokenizer_config.json", "the model")
        self.special = {
            name: text_of(settings.get(name)) for name in ("bos_token", "eos_token", "unk_token", "pad_token")
        }
        eos = self.raw.token_to_id(self.special["eos_token"]) if self.special["eos_token"] else None
        self.names_end = eos is not None  # the engine refuses to train without one
        self.likely_end = next((mark for mark in END_MARKS if self.raw.token_to_id(mark) is not None), "")
        self.eos_token_id: int = eos if eos is not None else self.raw.token_to_id(self.likely_end) or 0
        self.template = find_template(folder, settings)

    def __call__(self, text: str | Sequence[str], *, add_special_tokens: bool = True, **_: Any) -> dict[str, Any]:
        if isinstance(text, str):
            return {"input_ids": self.raw.encode(text, add_special_tokens=add_special_tokens).ids}
        encoded = self.raw.encode_batch(list(text), add_special_tokens=add_special_tokens)
        return {"input_ids": [item.ids for item in encoded], "offset_mapping": [item.offsets for item in encoded]}

    def apply_chat_template(self, messages: list[dict[str, str]], *, add_generation_prompt: bool, **_: Any) -> str:
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.filters["tojson"] = lambda value, **more: json.dumps(value, ensure_ascii=False, **more)
        environment.globals["raise_exception"] = refuse
        template = environment.from_string(self.template)
        return template.render(messages=messages, add_generation_prompt=add_generation_prompt, **self.special)


def refuse(message: str) -> None:
    raise ValueError(message)


def text_of(token: Any) -> str:
    return str(token.get("content", "")) if isinstance(token, dict) else str(token or "")


def find_template(folder: Path, settings: dict[str, Any]) -> str:
    """The chat template as transformers finds it; ours where the model brings none."""
    path = folder / "chat_template.jinja"
    found: Any = path.read_text(encoding="utf-8") if path.is_file() else settings.get("chat_template")
    if isinstance(found, list):
        found = next((item.get("template") for item in found if item.get("name") == "default"), None)
    if isinstance(found, str) and len(found) > MAX_TEMPLATE_BYTES:
        raise EngineError("The model's chat template is larger than 256 KiB.", code="tokenizer_invalid")
    return found if isinstance(found, str) and found else DEFAULT_TEMPLATE


def look(request: dict[str, Any]) -> dict[str, Any]:
    """Everything of training.drafting.previews.Preview but `problem`; EngineError refuses."""
    repo = open_folder(request["folder"], request["id"])
    split, wanted = request.get("split", "train"), request.get("format")
    reading = Reading({name: tuple(found) for name, found in request.get("columns", {}).items()},
                      frozenset(request.get("mend", ())))  # fmt: skip
    first = read_beginning(repo, split, wanted)
    if not first.raws:
        raise EngineError(f"{repo.id} has no rows in split {split}; add some.", code="no_usable_rows")
    sample = first.raws[:: max(1, len(first.raws) // LOOKED_AT)]
    formats = [format for format in FORMATS if fits(sample, format, reading if format == wanted else PLAIN)]
    if wanted and wanted not in formats and fits(first.raws, wanted, reading):
        formats.append(wanted)
    format = wanted if wanted in formats else None if wanted else next(iter(formats), None)
    source = Source(repo, split, wanted or format or "chat", 1.0, None, reading, request.get("language"))
    settings = Settings(request.get("clean", "default"), request.get("deduplicate", "minhash"),
                        request.get("personal_data", "mask"))  # fmt: skip
    suites = [open_folder(suite["folder"], suite["id"]) for suite in request.get("suites", ())]
    looked = check_rows(first.raws, source, settings, suites)
    found: dict[str, Any] = {
        "columns": sorted(list_columns([row.value for row in first.raws])),
        "formats": formats,
        "format": format,
        "examples": [describe(*kept) for kept in looked.kept[: request["examples"]]] if format else [],
        "accepted": ACCEPTED.get(wanted or "chat", ""),
        "rows": sum(1 for _ in islice(read_any(repo, split, format), MAX_ROWS_COUNTED)),
        "checked": len(first.raws),
        "share_kept": looked.share_kept,
        "findings": looked.findings,
    }
    if looked.kept:
        sizes = [count_bytes(document) for _, document in looked.kept]
        found["bytes_per_row"] = sum(sizes) / len(sizes) / first.share_read
    if format and request.get("tokenizer"):
        found |= measure(looked, first, request, len(found["examples"]))
    return found


def count_bytes(document: Document) -> int:
    """Of what is learnt from it and read before that, in UTF-8."""
    texts = [document.text] if document.text is not None else [message.content for message in document.messages]
    return sum(len(text.encode(errors="replace")) for text in texts)


def open_folder(folder: str, id: str) -> InputRepo:
    return InputRepo("dataset", id, "", None, Path(folder), Path(folder), id)


def read_beginning(repo: InputRepo, split: str, wanted: str | None) -> Beginning:
    """The files of the wanted format; where there are none, what else there is, so that it can be said."""
    try:
        return read_first(repo, split, wanted or "text")
    except EngineError as problem:
        if problem.code != "no_data_files" or wanted == "text":
            raise
        return read_first(repo, split, "text")


def read_any(repo: InputRepo, split: str, format: str | None = None) -> Iterator[RawRow]:
    for path in select_files(repo, split=split, format=format or "text"):
        yield from read_rows(repo, path)


def fits(rows: Sequence[RawRow], format: str, reading: Reading) -> bool:
    """Whether a row can be read so. A label alone makes a text one of classification."""
    return any(is_usable(row, format, reading) for row in rows)


def is_usable(row: RawRow, format: str, reading: Reading) -> bool:
    try:
        read_document(row.value, format, reading)
    except Unusable:
        return False
    return True


def describe(place: str, document: Document) -> dict[str, Any]:
    if document.text is not None:
        return {"place": place, "text": cut(document.text), "turns": [], "turns_left_out": 0}
    asked = document.given if document.rejected else 0
    turns = [
        {"role": message.role, "text": cut(message.content), "kind": "chosen" if asked and number >= asked else ""}
        for number, message in enumerate(document.messages)
    ]
    worse = document.rejected.messages[asked:] if document.rejected else ()
    turns += [{"role": message.role, "text": cut(message.content), "kind": "rejected"} for message in worse]
    left_out = max(0, len(turns) - MAX_TURNS)
    shown = [*turns[: MAX_TURNS // 2], *turns[-MAX_TURNS // 2 :]] if left_out else turns
    return {"place": place, "text": "", "turns": shown, "turns_left_out": left_out}


def cut(text: str) -> str:
    return text if len(text) <= MAX_TURN_CHARACTERS else text[:MAX_TURN_CHARACTERS] + "…"


def measure(looked: Looked, first: Beginning, request: dict[str, Any], examples: int) -> dict[str, Any]:
    """Tokens of a row on average, the first rows in pieces with what is learnt, and what is wrong with them as tokens."""
    tokenizer = LightTokenizer(Path(request["tokenizer"]))
    renderer = Renderer(tokenizer)
    kept = looked.kept[:MEASURED]
    measured = measure_rows(kept, renderer, limit=request.get("limit", 1024), most=request.get("max_row_tokens"))
    counts = [sum(len(document.tokens) for document in row) for row in measured.encoded]
    findings = [*looked.findings, *measured.findings]
    if not tokenizer.names_end:
        findings.append({"name": "no_eos", "count": len(kept), "place": "", "mark": tokenizer.likely_end})
    asked = {place for place, _ in kept[:examples]}
    shown = []
    for place, row, documents in zip(measured.places, measured.shown, measured.encoded, strict=True):
        if place not in asked:
            continue  # the template does not take every row, so the first ones here are not the first ones there
        kinds = ("chosen", "rejected") if len(row) == 2 else ("",)
        for kind, rendered, encoded in zip(kinds, row, documents, strict=True):
            offsets = tokenizer([rendered.text], add_special_tokens=False)["offset_mapping"][0]
            skipped = 0 if rendered.is_chat else len(renderer.opening)
            pieces = split_pieces(rendered.text, offsets, encoded.learnt[skipped:], len(encoded.tokens))
            shown.append({**pieces, "place": place, "kind": kind})
    return {
        "tokens_per_row": sum(counts) / len(counts) / first.share_read if counts else 0.0,
        "share_kept": looked.share_kept * (len(counts) / len(kept) if kept else 1.0),
        "pieces": shown,
        "findings": findings,
    }


def split_pieces(text: str, offsets: list[tuple[int, int]], learnt: list[bool], count: int) -> dict[str, Any]:
    """[[text of the token, whether it is learnt], ...]; a letter made of several tokens is shown with its first."""
    pieces: list[list[Any]] = []
    end_before = 0
    for (start, end), is_learnt in islice(zip(offsets, learnt, strict=False), MAX_PIECES):
        pieces.append([text[max(start, end_before) : end][:MAX_PIECE_CHARACTERS], is_learnt])
        end_before = max(end, end_before)
    return {"pieces": pieces, "tokens": count, "learnt": sum(learnt), "is_cut": len(offsets) > MAX_PIECES}


def main() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (MAX_SECONDS, MAX_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    try:
        answer = look(json.loads(sys.stdin.read()))
    except EngineError as problem:
        answer = {"problem": str(problem)}
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
