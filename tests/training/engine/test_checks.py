"""Tasks of kind checks: what an answer must say, must not say, or be like."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.training.engine.tiny_served import make_tiny_folder
from training.engine.__main__ import main as run_engine
from training.engine.evals.scoring import find_fault
from training.engine.evals.suite import SuiteError, read_suite

SUITE = "version: 1\nname: Reports\ntasks:\n  - {name: reports, kind: checks, file: reports.jsonl, max_new_tokens: 4}\n"


def write_suite(folder: Path, *rows: dict[str, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "suite.yaml").write_text(SUITE)
    (folder / "reports.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.mark.parametrize(
    ("row", "text", "fault"),
    [
        ({"must": ["High  water"]}, "At noon\nHIGH WATER comes.", ""),
        ({"must": ["noon", "ebb"]}, "At noon.", "It does not say “ebb”."),
        ({"must_not": ["never"]}, "Twice.\n\nNever at night.", "It says “never”."),
        ({"must_not": ["never"]}, "", ""),
        ({"answer": "At high water."}, "At high water.", ""),
        ({"answer": "At high water."}, "Ask a pilot.", "It is like the better answer to 0.0"),
        ({"answer": "At high water.", "at_least": 0.01}, "At high tide.", ""),
        ({"must": ["noon"], "must_not": ["noon"]}, "At noon.", "It says “noon”."),
    ],
)
def test_an_answer_passes_when_it_does_all_that_is_asked(row: dict[str, Any], text: str, fault: str) -> None:
    assert find_fault(row, text).startswith(fault) and bool(find_fault(row, text)) == bool(fault)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"id": "a b"}, "'id' must be"),
        ({"prompt": ""}, "'prompt' must be text"),
        ({"must": "noon"}, "'must' must be a list"),
        ({"must_not": [""]}, "'must_not' must be a list"),
        ({"must": []}, "it asks for nothing"),
        ({"at_least": 0}, "'at_least' must be"),
        ({"at_least": True}, "'at_least' must be"),
        ({"answer": 3}, "'answer' must be text"),
    ],
)
def test_a_malformed_row_is_told(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    row = {"id": "r1", "prompt": "When?", "must": ["noon"], **changes}
    with pytest.raises(SuiteError, match=f"reports.jsonl:1: {words}"):
        read_suite(write_suite(tmp_path / "suite", row))


def test_an_evaluation_says_of_each_row_whether_it_passed(tmp_path: Path) -> None:
    """One prompt that is too long fails its own row; the suite is run all the same."""
    rows = [
        {"id": "passes", "prompt": "Say tide.", "must_not": ["no model says this"]},
        {"id": "fails", "prompt": "Say tide.", "must": ["no model says this"]},
        {"id": "long", "prompt": "tide " * 2000, "must_not": ["no model says this"]},
        {"id": "twice", "prompt": "Say tide.", "must_not": ["no model says this"]},
        {"id": "twice", "prompt": "Say tide.", "must": ["no model says this"]},
    ]
    suite, model, out = write_suite(tmp_path / "suite", *rows), make_tiny_folder(tmp_path / "model"), tmp_path / "out"
    assert run_engine(["evaluate", "--suite", str(suite), "--model", str(model), "--out", str(out)]) == 0
    report = json.loads((out / "evaluation.json").read_text())
    assert report["checks"] == {"passes": True, "fails": False, "long": False, "twice": False}
    assert report["slices"][0]["score"] == 0.4 and report["slices"][0]["metric"] == "passed"
    samples = {row["id"]: row["candidate"] for row in map(json.loads, (out / "samples.jsonl").read_text().splitlines())}
    assert samples["long"]["why"] == "The model cannot read so long a prompt."
