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

from training.engine.corpus.formats import ACCEPTED, Document, Unusable, read_document
from training.engine.corpus.readers import RawRow, read_rows, select_files
from training.engine.corpus.rendering import Renderer
from training.engine.errors import EngineError
from training.engine.inputs import InputRepo
from training.engine.tokenizer import DEFAULT_TEMPLATE, MAX_TEMPLATE_BYTES, read_json_object

MAX_SECONDS = 15  # of processor time
MAX_MEMORY_BYTES = 3 * 1024**3
MAX_ROWS_COUNTED = 2_000_000
LOOKED_AT = 20  # rows that decide which formats fit
MEASURED = 200  # rows whose tokens are counted
MAX_TURN_CHARACTERS = 1200
MAX_PIECES = 260  # tokens shown of one row
FORMATS = ("chat", "classification", "text")


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
        if eos is None:
            raise EngineError("The model's tokenizer names no end-of-text token.", code="tokenizer_invalid")
        self.eos_token_id: int = eos
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
    """{"columns", "formats", "format", "rows", "is_whole", "examples", "tokens_per_row", "pieces"}; EngineError refuses."""
    root = Path(request["folder"])
    repo = InputRepo("dataset", request["id"], "", None, root, root, request["id"])
    split = request.get("split", "train")
    first = list(islice(read_any(repo, split), LOOKED_AT))
    if not first:
        raise EngineError(f"{repo.id} has no rows in split {split}; add some.", code="no_usable_rows")
    formats = [format for format in FORMATS if fits(first, format)]
    wanted = request.get("format")
    format = wanted if wanted in formats else None if wanted else next(iter(formats), None)
    found: dict[str, Any] = {
        "columns": sorted({str(name) for row in first for name in row.value}),
        "formats": formats,
        "format": format,
        "examples": [describe(row, format) for row in usable(first, format)[: request["examples"]]] if format else [],
        "accepted": ACCEPTED.get(wanted or "chat", ""),
        "rows": sum(1 for _ in islice(read_any(repo, split, format), MAX_ROWS_COUNTED)),
    }
    if format and request.get("tokenizer"):
        found |= measure(repo, split, format, Path(request["tokenizer"]), request["examples"])
    return found


def read_any(repo: InputRepo, split: str, format: str | None = None) -> Iterator[RawRow]:
    for path in select_files(repo, split=split, format=format or "text"):
        yield from read_rows(repo, path)


def fits(rows: list[RawRow], format: str) -> bool:
    return bool(usable(rows, format)) and (format != "classification" or "label" in rows[0].value)


def usable(rows: list[RawRow], format: str | None) -> list[tuple[RawRow, Document]]:
    found = []
    for row in rows:
        try:
            found.append((row, read_document(row.value, format or "chat")))
        except Unusable:
            continue
    return found


def describe(pair: tuple[RawRow, Document], format: str) -> dict[str, Any]:
    row, document = pair
    if document.text is not None:
        return {"place": row.place, "text": cut(document.text), "turns": []}
    turns = [{"role": message.role, "text": cut(message.content)} for message in document.messages]
    return {"place": row.place, "text": "", "turns": turns}


def cut(text: str) -> str:
    return text if len(text) <= MAX_TURN_CHARACTERS else text[:MAX_TURN_CHARACTERS] + "…"


def measure(repo: InputRepo, split: str, format: str, tokenizer_folder: Path, examples: int) -> dict[str, Any]:
    """Tokens of a row on average, and the first rows in pieces with what is learnt."""
    tokenizer = LightTokenizer(tokenizer_folder)
    renderer = Renderer(tokenizer)
    counts: list[int] = []
    shown: list[dict[str, Any]] = []
    for _, document in usable(list(islice(read_any(repo, split, format), MEASURED)), format):
        try:
            rendered = renderer.render(document)
        except Unusable as reason:
            raise EngineError(
                f"The model's chat template does not take these conversations ({reason.reason}).", code="template"
            ) from None
        encoded = renderer.encode([rendered])[0]
        counts.append(len(encoded.tokens))
        if len(shown) < examples:
            offsets = tokenizer([rendered.text], add_special_tokens=False)["offset_mapping"][0]
            skipped = 0 if rendered.is_chat else len(renderer.opening)
            shown.append(split_pieces(rendered.text, offsets, encoded.learnt[skipped:], len(encoded.tokens)))
    return {"tokens_per_row": sum(counts) / len(counts) if counts else 0.0, "pieces": shown}


def split_pieces(text: str, offsets: list[tuple[int, int]], learnt: list[bool], count: int) -> dict[str, Any]:
    """[[text of the token, whether it is learnt], ...]; a letter made of several tokens is shown with its first."""
    pieces: list[list[Any]] = []
    end_before = 0
    for (start, end), is_learnt in islice(zip(offsets, learnt, strict=False), MAX_PIECES):
        pieces.append([text[max(start, end_before) : end], is_learnt])
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
