"""Looking at a dataset before it is trained on: bounded copies of its first files, read by a program in the sandbox."""

import hashlib
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from django.core.cache import cache

from hub.common.waiting import giving_way
from hub.repos.reader import RepoReader
from hub.storage.git import TreeEntry
from training.drafting.looks import Impatient, looks
from training.drafting.starts import read_config
from training.engine.config import MAX_CONTEXT
from training.engine.corpus.readers import NOT_DATA, ROW_SUFFIXES, TEXT_SUFFIXES
from training.workers.materials import lay_out
from training.workers.worker import environment

MAX_FILES = 40
MAX_WHOLE_BYTES = 24 * 1024**2  # of one file; of longer ones by lines the beginning is read, others are left out
MAX_TOTAL_BYTES = 64 * 1024**2
MAX_TOKENIZER_BYTES = 48 * 1024**2
TIMEOUT_S = 25
KEPT_S = 3600.0
KEPT_FOR_NOW_S = 30.0  # of what was not looked at: the machine was busy, and soon may not be
BYTES_PER_TOKEN = 4  # roughly, where nobody looked
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
CUT_SUFFIXES = (".jsonl", ".ndjson", ".csv", ".tsv")
MAX_SUITE_BYTES = 8 * 1024**2  # of a suite with which rows are compared
CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "max_sequence_length")


@dataclass(frozen=True)
class How:
    """How the rows are read and judged: what the recipe will say of them."""

    columns: tuple[
        tuple[str, str], ...
    ] = ()  # (question | answer | text | label | messages | chosen | rejected, name of the column)
    language: str = ""
    mend: tuple[str, ...] = ()
    deduplicate: str = "minhash"
    clean: str = "default"
    personal_data: str = "mask"
    limit: int = MAX_CONTEXT  # tokens that are learnt as a whole
    max_row_tokens: int | None = None
    suites: tuple[tuple[RepoReader, str], ...] = ()  # (reader, commit): rows are compared with their questions

    @property
    def key(self) -> str:
        shown = [str(getattr(self, item.name)) for item in fields(self) if item.name != "suites"]
        return repr([*shown, *((reader.repo.key, commit, reader.is_member) for reader, commit in self.suites)])

    def request(self) -> dict[str, Any]:
        columns: dict[str, list[str]] = {}
        for role, name in self.columns:
            columns.setdefault(role, []).append(name)
        names = ("mend", "deduplicate", "clean", "personal_data", "limit", "max_row_tokens")
        return {"columns": columns, "language": self.language or None, **{name: getattr(self, name) for name in names}}


@dataclass(frozen=True)
class Preview:
    """What the engine would make of a dataset. `problem` is one sentence, and then nothing else is said."""

    problem: str = ""
    columns: list[str] = field(default_factory=list)
    formats: list[str] = field(default_factory=list)  # those that the columns fit
    format: str | None = None  # the wanted one, or the best guess; None when the wanted one does not fit
    accepted: str = ""  # columns that the wanted format reads, in words
    rows: int = 0
    is_estimate: bool = False  # only the beginning was read; `rows` is projected by bytes
    examples: list[dict[str, Any]] = field(
        default_factory=list
    )  # {"place", "text", "turns": [{"role", "text", "kind"}], "turns_left_out"}
    bytes_per_row: float = 0.0  # of those kept
    tokens_per_row: float = 0.0
    pieces: list[dict[str, Any]] = field(
        default_factory=list
    )  # {"place", "pieces": [[text, is_learnt]], "tokens", "learnt", "is_cut", "kind": "" | chosen | rejected}
    checked: int = 0  # rows that were compared and judged
    share_kept: float = 1.0  # of them
    findings: list[dict[str, Any]] = field(
        default_factory=list
    )  # {"name", "count", "place", ...}: training.drafting.faults
    model_context: int = 0  # tokens that the model reads at most; 0 where it does not say
    is_for_now: bool = (
        False  # the problem is that nobody looked: it says nothing of the rows, and looking again may help
    )
    bytes: int = 0  # of the data files, where nobody looked

    @property
    def rows_kept(self) -> int:
        return round(self.rows * self.share_kept)

    @property
    def tokens(self) -> int:
        if self.is_for_now:
            return self.bytes // BYTES_PER_TOKEN
        return round(self.rows * self.share_kept * self.tokens_per_row)

    @property
    def likely_tokens(self) -> int:
        """As many as there are, or roughly, before there is a tokenizer."""
        return self.tokens or round(self.rows * self.share_kept * self.bytes_per_row / BYTES_PER_TOKEN)

    @property
    def shown(self) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
        """(example, its tokens): two of a row with two answers, none of one that the template does not take."""
        return [
            (example, [item for item in self.pieces if item["place"] == example["place"]]) for example in self.examples
        ]


def preview(
    data: RepoReader,
    commit: str,
    *,
    split: str = "train",
    format: str | None = None,
    model: RepoReader | None = None,
    model_commit: str = "",
    examples: int = 3,
    how: How = How(),  # noqa: B008  (frozen)
) -> Preview:
    """Look at the dataset `data` at `commit`, and at its tokens where a `model` with a tokenizer is given.

    Both readers are those of the person who asks, so nothing is shown that they may not read."""
    names = [data.repo.key, commit, split, format or "", model.repo.key if model else "", model_commit, str(examples)]
    names += [how.key, "member" if data.is_member else "public"]
    key = "preview:" + hashlib.sha256(repr(names).encode()).hexdigest()
    found: Preview | None = cache.get(key)
    if found is None:
        try:
            with looks.take(getattr(data.user, "pk", None) or 0):
                found = look_afresh(data, commit, split, format, model, model_commit, examples, how)
        except Impatient as problem:  # is about who asks: not remembered, others look
            return for_now(Preview(problem=str(problem), is_for_now=True), data, commit)
        if found.is_for_now:
            found = for_now(found, data, commit)
        cache.set(key, found, timeout=KEPT_FOR_NOW_S if found.is_for_now else KEPT_S)
    return found


def for_now(found: Preview, data: RepoReader, commit: str) -> Preview:
    return replace(found, bytes=sum(entry.size for entry in list_data(data, commit)))


def list_data(data: RepoReader, commit: str) -> list[TreeEntry]:
    return [entry for entry in data.tree(commit, recursive=True) if entry.type == "file" and is_data(entry.path)]


def look_afresh(*asked: Any) -> Preview:
    with tempfile.TemporaryDirectory(prefix="preview-") as place:
        Path(place).chmod(0o755)  # the program may run as a user of its own
        return look(Path(place), *asked)


def look(
    place: Path,
    data: RepoReader,
    commit: str,
    split: str,
    format: str | None,
    model: RepoReader | None,
    model_commit: str,
    examples: int,
    how: How,
) -> Preview:
    share = copy_beginnings(data, commit, place / "data")
    request = {"folder": str(place / "data"), "id": data.repo.full_name, "split": split, "examples": examples}
    request |= how.request() | {"suites": copy_suites(how, place)}
    request |= {"format": format} if format else {}
    if model is not None:
        problem = copy_tokenizer(model, model_commit, place / "tokenizer")
        if problem:
            return Preview(problem=problem)
        request["tokenizer"] = str(place / "tokenizer")
    context = read_context(model, model_commit) if model else 0
    request["limit"] = min(how.limit, context) if context else how.limit
    answer = run_program(place, request)
    if "problem" in answer:
        return Preview(problem=answer["problem"], is_for_now=bool(answer.get("is_for_now")))
    answer["rows"] = round(answer["rows"] / share) if share else answer["rows"]
    return Preview(**answer, is_estimate=share < 1, model_context=context)


def copy_beginnings(data: RepoReader, commit: str, folder: Path) -> float:
    """Write the data files, long ones cut after a line; returns the share of the bytes that was written."""
    folder.mkdir()
    entries = list_data(data, commit)
    written = 0
    for entry in entries[:MAX_FILES]:
        limit = min(MAX_WHOLE_BYTES, MAX_TOTAL_BYTES - written)
        if entry.size > limit and not entry.path.lower().endswith(CUT_SUFFIXES):
            continue
        target = folder / entry.path
        target.parent.mkdir(parents=True, exist_ok=True)
        content = b"".join(data.read_entry(commit, entry, 0, min(entry.size, limit)))
        if len(content) < entry.size:
            content = content[: content.rfind(b"\n") + 1]
        target.write_bytes(content)
        written += len(content)
    total = sum(entry.size for entry in entries)
    return written / total if total else 1.0


def is_data(path: str) -> bool:
    name = path.rsplit("/", 1)[-1].lower()
    hidden = any(part.startswith(".") for part in path.split("/"))
    return name.endswith(ROW_SUFFIXES + TEXT_SUFFIXES) and not hidden and not NOT_DATA.fullmatch(name)


def copy_tokenizer(model: RepoReader, commit: str, folder: Path) -> str:
    """The tokenizer of a model; returns why it cannot be shown, or ""."""
    entries: dict[str, TreeEntry] = {entry.path: entry for entry in model.tree(commit)}
    main = entries.get("tokenizer.json")
    if main is None:
        return f"{model.repo.full_name} has no tokenizer.json, so its tokens cannot be shown."
    if main.size > MAX_TOKENIZER_BYTES:
        return f"The tokenizer of {model.repo.full_name} is too large to show its tokens here."
    model.check_bytes(main)
    lay_out(model.repo, commit, folder, only=TOKENIZER_FILES)
    return ""


def copy_suites(how: How, place: Path) -> list[dict[str, str]]:
    """The questions of the suites, for the program to compare with; a suite that is too large is left to the run."""
    found = []
    for number, (suite, commit) in enumerate(how.suites):
        folder = place / f"suite-{number}"
        entries = [
            entry
            for entry in suite.tree(commit)
            if entry.type == "file" and entry.path.endswith((".jsonl", ".parquet"))
        ]
        if not suite.may_read_files or sum(entry.size for entry in entries) > MAX_SUITE_BYTES:
            continue
        folder.mkdir()
        for entry in entries:
            (folder / entry.path).write_bytes(b"".join(suite.read_entry(commit, entry, 0, entry.size)))
        found.append({"folder": str(folder), "id": suite.repo.full_name})
    return found


def read_context(model: RepoReader, commit: str) -> int:
    """How many tokens a model reads, by its config.json; 0 where it does not say."""
    config = read_config(model, commit)
    found = [config[key] for key in CONTEXT_KEYS if type(config.get(key)) is int and config[key] > 0]
    return max(found, default=0)


def run_program(place: Path, request: dict[str, Any]) -> dict[str, Any]:
    """Ask the program; every failure becomes one sentence."""
    own = place / "own"
    own.mkdir()
    command = [
        sys.executable,
        "-m",
        "training.workers.sandbox",
        "--program",
        "training.drafting.preview_program",
        "--own",
        str(own),
    ]
    try:
        with giving_way():
            done = subprocess.run(
                [*command, "--reads", str(place)],
                input=json.dumps(request),
                env=environment(1),
                cwd=own,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=TIMEOUT_S,
            )
    except subprocess.TimeoutExpired:
        sentence = (
            "Looking at this dataset took too long; look again in a minute, or go on: it is checked when you propose."
        )
        return {"problem": sentence, "is_for_now": True}
    lines = done.stdout.splitlines()
    try:
        answer = json.loads(lines[-1]) if done.returncode == 0 and len(lines) == 2 else None
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        sentence = (
            "This dataset could not be looked at; look again in a minute, or go on: it is checked when you propose."
        )
        return {"problem": sentence, "is_for_now": True}
    return answer
