"""Is the candidate better than its parent? A suite put to both, row by row, with intervals."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from training.engine.digests import digest_file, digest_listing, list_files
from training.engine.errors import EngineError
from training.engine.evals.suite import Suite, read_suite
from training.engine.events import emit

__all__ = ["evaluate", "main"]

PROGRESS_EVERY_S = 1.0
MODEL_SUFFIXES = (".safetensors", ".json", ".jinja", ".txt", ".model")
TOLD = ("suite_digest", "model_digest", "parent_digest", "overall", "seconds")


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="evaluate", description=__doc__)
    parser.add_argument("--suite", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--parent", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--judge", action="append", default=[], metavar="NAME@COMMIT=FOLDER", help="of pairwise tasks")
    parser.add_argument("--margin", type=float, help="loss that counts as none; else what the suite says")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    options = parser.parse_args(argv)
    evaluate(
        suite_folder=options.suite,
        model_folder=options.model,
        parent_folder=options.parent,
        out=options.out,
        margin=options.margin,
        device=options.device,
        judges=read_judges(options.judge),
    )
    return 0


def read_judges(given: list[str]) -> dict[str, Path]:
    """Folders of judges by the name that suite.yaml gives them."""
    pairs = [text.partition("=") for text in given]
    if bad := next((name for name, _, folder in pairs if not name or not folder), None):
        hint = "write --judge NAME@COMMIT=FOLDER"
        raise EngineError(f"--judge {bad} names no folder; {hint}.", code="bad_judge", hint=hint)
    return {name: Path(folder) for name, _, folder in pairs}


def evaluate(
    *,
    suite_folder: Path,
    model_folder: Path,
    parent_folder: Path | None,
    out: Path,
    margin: float | None = None,
    device: str = "auto",
    judges: Mapping[str, Path] = {},  # noqa: B006  never written
) -> dict[str, Any]:
    """Score the model, and its parent where there is one; writes OUT/evaluation.json and OUT/samples.jsonl."""
    from training.engine.evals.judging import judge_suite, list_judges
    from training.engine.evals.report import compare, list_checks, write_samples

    started = time.monotonic()
    if margin is not None and not 0 <= margin <= 10:
        raise EngineError(f"--margin cannot be {margin}; choose 0 to 10.", code="bad_margin", hint="choose 0 to 10")
    suite = read_suite(suite_folder)
    digest, parent_digest = _digest_model(model_folder), _digest_model(parent_folder) if parent_folder else None
    same_weights = digest == parent_digest
    out.mkdir(parents=True, exist_ok=True)
    candidate = _score_suite(suite, model_folder, device, "model")
    parent = None
    if parent_folder:
        parent = candidate if same_weights else _score_suite(suite, parent_folder, device, "parent")
    if list_judges(suite):
        emit("stage", stage="evaluate", state="started", role="judge", tasks=len(suite.tasks))
        candidate, parent = judge_suite(suite, candidate, parent, judges=judges, device=device)
        emit("stage", stage="evaluate", state="done", role="judge")
    report = {
        "version": 1,
        "suite": suite.name,
        "suite_digest": suite.digest,
        "model_digest": digest,
        "parent_digest": parent_digest,
        **compare(suite, candidate, parent, margin=margin, same_weights=same_weights),
        "judges": {name: _digest_model(judges[name]) for name in list_judges(suite)},
        "checks": list_checks(suite, candidate),
        "task_files": {task.name: list(task.harness.files) if task.harness else [task.file] for task in suite.tasks},
        "seconds": round(time.monotonic() - started, 2),
    }
    write_samples(out / "samples.jsonl", suite, candidate, parent)
    _write_json(out / "evaluation.json", report)
    emit("done", **{name: report[name] for name in TOLD})
    return report


def _score_suite(suite: Suite, folder: Path, device: str, role: str) -> Any:
    """Every task put to one model; the weights are let go before the next model is loaded."""
    from training.engine.evals.packed_linear import pack_weights
    from training.engine.evals.scoring import score_task
    from training.engine.serving import open_model

    emit("stage", stage="evaluate", state="started", role=role, tasks=len(suite.tasks))
    served = open_model(folder, device)
    pack_weights(served.model)
    scores = {}
    for task in suite.tasks:
        scores[task.name] = score_task(task, served, tell=_report_progress(role, task.name, len(task.rows)))
    emit("stage", stage="evaluate", state="done", role=role)
    return scores


def _digest_model(folder: Path) -> str:
    """Of what is loaded: the run's own model digest for a folder that a run wrote; a card changes nothing."""
    if not (folder / "config.json").is_file():
        raise EngineError(f"There is no model in {folder}; name a folder with a config.json.", code="missing_model")
    files = [path for path in list_files(folder) if not path.startswith(".") and path.endswith(MODEL_SUFFIXES)]
    return digest_listing((path, digest_file(folder / path)) for path in files)


def _report_progress(role: str, task: str, rows: int) -> Callable[[int], None]:
    told = time.monotonic()

    def tell(done: int) -> None:
        nonlocal told
        if time.monotonic() - told >= PROGRESS_EVERY_S:
            told = time.monotonic()
            emit("progress", stage="evaluate", role=role, task=task, done=done, rows=rows)

    return tell


def _write_json(path: Path, record: dict[str, Any]) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    os.replace(draft, path)
