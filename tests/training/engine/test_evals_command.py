"""`python -m training.engine evaluate`: a candidate beside its parent."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.training.engine.tiny_served import make_tiny_folder
from tests.training.engine.tiny_suites import write_suite
from training.engine.__main__ import main as run_engine

# The command


def evaluate(tmp_path: Path, *extra: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    write_suite(tmp_path / "suite")
    out = tmp_path / "out"
    assert run_engine(["evaluate", "--suite", str(tmp_path / "suite"), "--out", str(out), *extra]) == 0
    samples = [json.loads(line) for line in (out / "samples.jsonl").read_text().splitlines()]
    return json.loads((out / "evaluation.json").read_text()), samples


def test_a_candidate_is_evaluated_against_its_parent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = str(make_tiny_folder(tmp_path / "model", seed=1))
    parent = str(make_tiny_folder(tmp_path / "parent", seed=2))
    report, samples = evaluate(tmp_path, "--model", model, "--parent", parent)
    assert [s["slice"] for s in report["slices"]] == ["even", "odd", "answers", "texts"]
    promised = {"slice", "task", "metric", "n", "score", "low", "high", "parent_score", "parent_low", "parent_high"}
    promised |= {"difference", "diff_low", "diff_high", "verdict"}
    assert all(promised <= s.keys() for s in [*report["slices"], report["overall"]])
    assert all(s["low"] <= s["score"] <= s["high"] for s in report["slices"])
    assert all(s["diff_low"] <= s["difference"] <= s["diff_high"] for s in report["slices"])
    assert all(s["better"] + s["worse"] + s["ties"] == s["n"] for s in report["slices"])
    assert report["model_digest"] != report["parent_digest"]
    assert len(samples) == 18
    assert all(sample["parent"] is not None for sample in samples)
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert events[-1]["event"] == "done" and events[-1]["overall"] == report["overall"]
    again, same = evaluate(tmp_path, "--model", model, "--parent", parent)
    assert ({**again, "seconds": 0}, same) == ({**report, "seconds": 0}, samples)


def test_a_model_is_not_worse_than_itself(tmp_path: Path) -> None:
    model = str(make_tiny_folder(tmp_path / "model"))
    report, _ = evaluate(tmp_path, "--model", model, "--parent", model, "--margin", "0.01")
    assert {s["verdict"] for s in [*report["slices"], report["overall"]]} == {"not_worse"}


def test_the_digest_of_a_model_is_that_of_what_is_loaded(tmp_path: Path) -> None:
    from training.engine.digests import digest_folder

    model = make_tiny_folder(tmp_path / "model")
    expected = digest_folder(model)
    (model / "README.md").write_text("# A card")
    (model / ".complete").touch()
    report, _ = evaluate(tmp_path, "--model", str(model))
    assert report["model_digest"] == expected


def test_weights_that_may_hold_code_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = make_tiny_folder(tmp_path / "model")
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    suite = write_suite(tmp_path / "suite")
    arguments = ["evaluate", "--suite", str(suite), "--model", str(model), "--out", str(tmp_path / "out")]
    assert run_engine(arguments) == 2
    event = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (event["event"], event["code"]) == ("error", "weights_unsafe")
    assert not (tmp_path / "out" / "evaluation.json").exists()
