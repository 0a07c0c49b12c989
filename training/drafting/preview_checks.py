"""What is wrong with the rows of a dataset: the engine's own pipeline is run over the first of them and tells what it left out.

Knows no Django: it is part of the program that reads what people uploaded. A finding is {"name", "count", "place", ...}; what it
means for people, and how it is mended, is in training.drafting.faults."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from training.drafting.preview_columns import guess_columns, list_columns
from training.engine.corpus.build import list_documents
from training.engine.corpus.foreign_templates import find_template, take_apart
from training.engine.corpus.formats import Document, Reading, Unusable, fold_system, read_document
from training.engine.corpus.languages import find_language
from training.engine.corpus.pipeline import Pipeline, Settings, Source, Tally
from training.engine.corpus.readers import RawRow, read_rows, select_files
from training.engine.corpus.rendering import Encoded, Rendered, Renderer
from training.engine.errors import EngineError
from training.engine.inputs import InputRepo

MAX_CHECKED = 3000  # rows, shared by the files
MIN_CHECKED = 200  # of each file
MAX_CHARACTERS = 200_000  # of one text; the rest of a book is not compared
MAX_ALL_CHARACTERS = 4_000_000  # of all that is looked at
UNFIT = ("missing_column", "malformed")
EMPTY = ("empty_answer", "empty_prompt", "empty_text")
NO_CHOICE = ("same_answers", "no_question")  # of rows with two answers
Finding = dict[str, Any]


@dataclass
class Looked:
    """The first rows, and what the engine would make of them."""

    raws: list[RawRow]
    tally: Tally = field(default_factory=Tally)
    kept: list[tuple[str, Document]] = field(default_factory=list)  # (place, document)
    findings: list[Finding] = field(default_factory=list)

    @property
    def share_kept(self) -> float:
        return len(self.kept) / len(self.raws) if self.raws else 1.0


class FirstRows(Pipeline):
    """The pipeline of a run, over rows that were read before; it remembers where each kept row stands."""

    def __init__(self, raws: Sequence[RawRow], source: Source, settings: Settings, suites: list[InputRepo]) -> None:
        super().__init__([source], settings, suites)
        self.raws = raws
        self.now = ""

    def _read_source(self, source: Source, tally: Tally) -> Iterator[RawRow]:
        for raw in self.raws:
            tally.read += 1
            self.now = raw.place
            yield raw


@dataclass
class Beginning:
    """The first rows of every file, long texts cut."""

    raws: list[RawRow] = field(default_factory=list)
    whole: int = 0  # characters of the texts before they were cut
    read: int = 0  # and after

    @property
    def share_read(self) -> float:
        return self.read / self.whole if self.whole else 1.0


def read_first(repo: InputRepo, split: str, format: str) -> Beginning:
    paths = select_files(repo, split=split, format=format)
    share = max(MIN_CHECKED, MAX_CHECKED // len(paths))
    first = Beginning()
    for path in paths[: MAX_CHECKED // MIN_CHECKED]:
        for raw in read_rows(repo, path):
            if raw.number >= share or first.read > MAX_ALL_CHARACTERS:
                break
            value = {name: cut(found, first) for name, found in raw.value.items()}
            first.raws.append(RawRow(raw.path, raw.number, value))
    return first


def cut(value: Any, first: Beginning) -> Any:
    if not isinstance(value, str):
        return value
    short = value[:MAX_CHARACTERS]
    first.whole += len(value)
    first.read += len(short)
    return short


def check_rows(raws: list[RawRow], source: Source, settings: Settings, suites: list[InputRepo]) -> Looked:
    """What is kept of the rows, and what is wrong with them before anything is tokenized."""
    looked = Looked(raws)
    pipeline = FirstRows(raws, source, settings, suites)
    try:
        for kept in pipeline.read(looked.tally):
            looked.kept.append((pipeline.now, kept.document))
    except EngineError as problem:
        if problem.code != "no_usable_rows":  # the tally says why
            raise
    looked.findings = [
        *find_shapes(looked, source),
        *find_left_out(looked),
        *find_marks(looked),
        *find_languages(looked),
    ]
    return looked


def find_shapes(looked: Looked, source: Source) -> Iterator[Finding]:
    """Columns that cannot be read, rows of several kinds, and conversations in which nobody answers."""
    unfit, silent = [], []
    for raw in looked.raws:
        try:
            read_document(raw.value, source.format, source.reading)
        except Unusable as problem:
            if problem.reason in UNFIT:
                unfit.append(raw)
            elif problem.reason == "empty_answer" and has_no_answer(raw.value, source):
                silent.append(raw)
    if silent:
        yield {"name": "masked", "count": len(silent), "place": silent[0].place, "how": "learn_all"}
        looked.tally.dropped["empty_answer"] -= len(silent)
    wrapped = [raw for raw in unfit if source.format == "chat" and take_apart(str(raw.value.get("text", "")))]
    if wrapped:
        name = find_template(wrapped[0].value["text"])
        yield {"name": "wrong_template", "count": len(wrapped), "place": wrapped[0].place, "how": "unwrap",
               "template": name.name if name else ""}  # fmt: skip
        unfit = [raw for raw in unfit if raw not in wrapped]
    if not unfit or "fitting_only" in source.reading.mend:
        return
    rows = [raw.value for raw in unfit]
    guess = guess_columns(rows, source.format)
    yield {
        "name": "wrong_column" if len(unfit) == len(looked.raws) else "mixed_formats",
        "count": len(unfit),
        "place": unfit[0].place,
        "columns": list_columns(rows)[:40],
        "guess": guess if helps(guess, rows, source) else {},
    }


def helps(guess: dict[str, str], rows: Sequence[dict[str, Any]], source: Source) -> bool:
    """Whether most rows can be read with the guessed columns."""
    reading = Reading({name: (column,) for name, column in guess.items()}, source.reading.mend)
    read = 0
    for row in rows:
        try:
            read_document(row, source.format, reading)
            read += 1
        except Unusable:
            continue
    return read > len(rows) / 2


def has_no_answer(row: dict[str, Any], source: Source) -> bool:
    """A conversation with words in it and nobody who answers."""
    if source.format not in ("chat", "instruction"):
        return False
    column = (source.reading.find(row, "messages") or ["messages"])[0]
    turns = row.get(column)
    if not isinstance(turns, list):
        return False
    speakers = [str(turn.get("role", turn.get("from", ""))).lower() for turn in turns if isinstance(turn, dict)]
    return bool(speakers) and not {"assistant", "gpt", "model", "bot"} & set(speakers)


def find_left_out(looked: Looked) -> Iterator[Finding]:
    dropped, places = looked.tally.dropped, looked.tally.examples
    for name, reasons in (
        ("empty_answers", EMPTY),
        ("no_choice", NO_CHOICE),
        ("duplicates", ("duplicate", "near_duplicate")),
        ("leak", ("contaminated",)),
    ):
        count = sum(dropped[reason] for reason in reasons)
        if count > 0:
            place = next(places[reason] for reason in reasons if reason in places)
            yield {"name": name, "count": count, "place": place.split("/", 2)[-1]}


def find_marks(looked: Looked) -> Iterator[Finding]:
    """Texts that carry the marks of another model's chat template."""
    marked = [(place, found) for place, document in looked.kept if (found := find_template(document.words[:20_000]))]
    if marked:
        yield {"name": "wrong_template", "count": len(marked), "place": marked[0][0], "how": "unwrap",
               "template": marked[0][1].name}  # fmt: skip


def find_languages(looked: Looked) -> Iterator[Finding]:
    """How many of the kept rows are in which language; no fault in itself."""
    counts: Counter[str] = Counter()
    places: dict[str, str] = {}
    for place, document in looked.kept:
        language = find_language(document.words)
        if language:
            counts[language] += 1
            places.setdefault(language, place)
    if counts:
        yield {
            "name": "languages",
            "counts": dict(counts),
            "places": places,
            "place": "",
            "count": sum(counts.values()),
        }


@dataclass
class Measured:
    """Kept rows that the template takes: as text, as token ids, and where they stand."""

    encoded: list[list[Encoded]] = field(default_factory=list)  # of each row its documents: one, or two answers
    shown: list[list[Rendered]] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def measure_rows(kept: Sequence[tuple[str, Document]], renderer: Renderer, *, limit: int, most: int | None) -> Measured:
    """`limit` is the longest row in tokens that is learnt as a whole; rows over `most` are left out."""
    measured, refused, places = Measured(), [], []
    reasons: Counter[str] = Counter()
    for place, document in kept:
        try:
            measured.shown.append([renderer.render(part) for part in list_documents(document)])
            places.append(place)
        except Unusable as problem:
            reasons[problem.reason] += 1
            refused.append((place, document))
    told = iter(renderer.encode([part for row in measured.shown for part in row]) if measured.shown else [])
    encoded = [[next(told) for _ in row] for row in measured.shown]
    lengths = [max(len(document.tokens) for document in row) for row in encoded]
    fitting = [i for i, length in enumerate(lengths) if most is None or length <= most]
    long = [(places[i], lengths[i]) for i in fitting if lengths[i] > limit]
    measured.encoded = [encoded[i] for i in fitting]
    measured.shown = [measured.shown[i] for i in fitting]
    measured.places = [places[i] for i in fitting]
    if refused:
        measured.findings.append(explain_refusal(refused, reasons, renderer))
    if long and not all(document.learnt and all(document.learnt) for row in encoded for document in row):
        longest, paired = max(length for _, length in long), any(len(row) == 2 for row in encoded)
        measured.findings.append(
            {"name": "truncation", "count": len(long), "place": long[0][0], "limit": limit, "longest": longest,
             "is_left_out": paired}
        )  # fmt: skip
    unlearnt = [
        place for place, row in zip(places, encoded, strict=True) if not all(any(document.learnt) for document in row)
    ]
    if unlearnt:
        measured.findings.append({"name": "masked", "count": len(unlearnt), "place": unlearnt[0], "how": "learn_all"})
    return measured


def explain_refusal(refused: Sequence[tuple[str, Document]], reasons: Counter[str], renderer: Renderer) -> Finding:
    """The model's template does not take these conversations: which repair makes it take the first one?"""
    place, document = refused[0]
    if reasons["template_mismatch"] == len(refused):
        return {"name": "masked", "count": len(refused), "place": place, "how": "learn_all"}
    how = "fold_system" if renders(Document(messages=fold_system(document.messages)), renderer) else "other_model"
    return {"name": "wrong_template", "count": len(refused), "place": place, "how": how, "template": ""}


def renders(document: Document, renderer: Renderer) -> bool:
    try:
        renderer.render(document)
    except Unusable:
        return False
    return True
