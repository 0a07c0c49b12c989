"""The first stage of a run: the corpus of its recipe, and the tokenizer it is written in."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.engine.corpus import Corpus, build_corpus, open_corpus
from training.engine.corpus.formats import Reading
from training.engine.corpus.pipeline import Pipeline, Settings, Source, Tally
from training.engine.digests import digest_json
from training.engine.errors import EngineError
from training.engine.evals.suite import read_suite
from training.engine.events import emit
from training.engine.hf_format import replace_folder
from training.engine.inputs import InputRepo, Inputs
from training.engine.recipe import Contribution, Recipe, TrainTokenizer
from training.engine.tokenizer import load_tokenizer, train_tokenizer

if TYPE_CHECKING:
    from training.engine.run import Job


def prepare_corpus(job: Job) -> tuple[Corpus, Any]:
    """The corpus under OUT/corpus and its tokenizer; what was built before from the same inputs is read again."""
    emit("stage", stage="prepare", state="started")
    key = digest_json(describe_inputs(job))
    corpus = find_built(job.out / "corpus", key)
    if corpus is None:
        check_suites(job.suites)
    pipeline = None if corpus else make_pipeline(job)
    tokenizer = open_tokenizer(job, pipeline)
    if corpus is None:
        assert pipeline is not None
        corpus = build_corpus(
            job.out / "corpus",
            pipeline=pipeline,
            tokenizer=tokenizer,
            inputs_digest=key,
            max_row_tokens=job.recipe.prepare.max_row_tokens,
            report=lambda rows: emit("progress", stage="prepare", rows=rows),
        )
    manifest = corpus.manifest
    emit(
        "stage", stage="prepare", state="done", corpus_digest=corpus.digest, rows=manifest["rows"],
        dropped=manifest["dropped"], tokens=manifest["tokens"], learnt_tokens=manifest["learnt_tokens"],
        held_out=manifest["held_out"], masked=manifest["masked"], examples=manifest["examples"],
    )  # fmt: skip
    return corpus, tokenizer


def find_suites(recipe: Recipe, inputs: Inputs) -> list[InputRepo]:
    """The evaluation suites among the inputs. One that is missing is said: rows cannot be compared with it."""
    found = []
    for entry in recipe.evaluate:
        try:
            found.append(inputs.find("dataset", entry.suite))
        except EngineError as error:
            if recipe.prepare.decontaminate:
                emit("warning", code="not_decontaminated", message=f"Rows are not compared with a suite: {error}")
    return found


def check_suites(suites: list[InputRepo]) -> None:
    """A suite that cannot be read is refused before the training, not after it. Raises EngineError."""
    for suite in suites:
        if not (suite.folder / "suite.yaml").is_file():
            continue  # rows are compared with whatever lies there; the hub refuses it as a suite
        try:
            read_suite(suite.folder)
        except EngineError as error:
            message = f"The suite {suite.id}@{suite.revision} cannot be read:\n{error.message}"
            raise EngineError(message, code=error.code, hint=error.hint) from None


def describe_inputs(job: Job) -> dict[str, Any]:
    """Everything the corpus depends on; another digest of it means another corpus."""
    recipe = job.recipe
    credits = {
        repo.name: {path: [repr(c) for c in items] for path, items in sorted(repo.contributors.items())}
        for repo in job.repos
    }
    return {
        "contributions": [repr(c) for c in recipe.contributions],
        "prepare": repr(recipe.prepare),
        "tokenizer": repr(recipe.tokenizer),
        "files": {r.name: job.files[r.name] for r in job.repos if r is not job.base},
        "suites": [s.name for s in job.suites],
        "tokenizer_files": {p: d for p, d in job.files[job.base.name].items() if "token" in p} if job.base else {},
        "template": (job.files[job.base.name] if job.base else {}).get("chat_template.jinja"),
        "credits": credits,
    }


def find_built(folder: Path, key: str) -> Corpus | None:
    if not (folder / "manifest.json").is_file():
        return None
    try:
        corpus = open_corpus(folder)
    except EngineError:
        return None  # damaged: built again, from the same inputs to the same bytes
    return corpus if corpus.manifest["inputs_digest"] == key else None


def make_pipeline(job: Job) -> Pipeline:
    prepare = job.recipe.prepare
    sources = [
        Source(job.inputs.find("dataset", c.repo), c.split, c.format, c.weight, c.pull_request, read_as(c), c.language)
        for c in job.recipe.contributions
        if c.kind == "data"
    ]
    settings = Settings(prepare.clean, prepare.deduplicate, prepare.personal_data)
    return Pipeline(sources, settings, job.suites, decontaminates=prepare.decontaminate)


def read_as(contribution: Contribution) -> Reading:
    """How a line of the recipe says its rows are read."""
    columns = asdict(contribution.columns) if contribution.columns else {}
    named = {name: tuple(found) for name, found in columns.items() if found}
    return Reading(named, frozenset(contribution.mend or ()))


def open_tokenizer(job: Job, pipeline: Pipeline | None) -> Any:
    """The base's tokenizer, or one trained from the rows that survive, kept in OUT/tokenizer."""
    if job.base:
        return load_tokenizer(job.base.folder, name=job.base.name)
    folder = job.out / "tokenizer"
    if pipeline is None and folder.is_dir():
        return load_tokenizer(folder, name="the trained tokenizer")
    wanted = job.recipe.tokenizer
    assert isinstance(wanted, TrainTokenizer), "parse_recipe refuses an architecture without one"
    pipeline = pipeline or make_pipeline(job)
    emit("progress", stage="prepare", message="training the tokenizer")
    texts = (kept.document.words for kept in pipeline.read(Tally()) if not kept.held_out)
    tokenizer = train_tokenizer(texts, vocabulary=wanted.vocabulary)
    draft = folder.with_name(".tokenizer")
    draft.mkdir(exist_ok=True)
    tokenizer.save_pretrained(draft)
    replace_folder(draft, folder)
    return load_tokenizer(folder, name="the trained tokenizer")
