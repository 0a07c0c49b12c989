"""A suite is read strictly: what is wrong is named with its place."""

import json
from pathlib import Path

import pytest

from tests.training.engine.tiny_suites import DESCRIPTION, QUESTIONS, TEXTS, write_suite
from training.engine.evals.suite import SuiteError, read_suite

# Suites


def test_a_suite_is_read_with_its_digest(tmp_path: Path) -> None:
    suite = read_suite(write_suite(tmp_path / "suite"))
    assert [(t.name, t.metric, len(t.rows)) for t in suite.tasks] == [
        ("choices", "accuracy", 10),
        ("answers", "f1", 2),
        ("texts", "bits_per_byte", 6),
    ]
    assert suite.digest.startswith("sha256:")
    again = read_suite(write_suite(tmp_path / "other"))
    assert again.digest == suite.digest
    changed = read_suite(write_suite(tmp_path / "changed", texts=TEXTS[1:]))
    assert changed.digest != suite.digest


GOOD = json.dumps(QUESTIONS[0]) + "\n"


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("{", "choices.jsonl:2: this is not JSON"),
        ("[1]", "choices.jsonl:2: this is not an object"),
        ('{"question": "", "choices": ["a", "b"], "answer": 0}', "'question' must be text"),
        ('{"question": "q", "choices": ["a"], "answer": 0}', "'choices' must be a list of 2"),
        ('{"question": "q", "choices": ["a", "a"], "answer": 0}', "two choices are the same"),
        ('{"question": "q", "choices": ["a", "b"], "answer": 2}', "'answer' must be the number of a choice, 0 to 1"),
        ('{"question": "q", "choices": ["a", "b"], "answer": true}', "'answer' must be the number"),
        ('{"question": "q", "choices": ["a", "b"], "answer": 0}', "the column 'topic' is missing"),
        ('{"question": "\\ud800", "choices": ["a", "b"], "answer": 0}', "'question' must be text"),
    ],
)
def test_a_malformed_row_is_named_with_file_and_line(tmp_path: Path, line: str, what: str) -> None:
    folder = write_suite(tmp_path / "suite", choices=GOOD + line + "\n" + GOOD)
    with pytest.raises(SuiteError) as refused:
        read_suite(folder)
    assert len(refused.value.problems) == 1
    assert what in refused.value.problems[0]


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("version: 1", "version: 9", "suite.yaml:1:10: 9 is out of range"),
        ("kind: perplexity", "kind: perplexty", "did you mean 'perplexity'?"),
        (
            "metric: f1",
            "metric: accuracy",
            "generation has no metric accuracy; use exact_match or f1 or chrf or rouge_l",
        ),
        ("texts.jsonl", "../texts.jsonl", "is not the name of a .jsonl file"),
        ("texts.jsonl", "a/../../t.jsonl", "leads out of the suite"),
        ("texts.jsonl", "gone.jsonl", "gone.jsonl: this file is missing"),
        ("name: texts", "name: answers", "a second task is called 'answers'"),
        ("margin: 0.5", "margins: 0.5", "did you mean 'margin'?"),
    ],
)
def test_a_malformed_description_is_named_with_its_place(tmp_path: Path, old: str, new: str, what: str) -> None:
    folder = write_suite(tmp_path / "suite", DESCRIPTION.replace(old, new))
    with pytest.raises(SuiteError, match=r".") as refused:
        read_suite(folder)
    assert what in str(refused.value)


@pytest.mark.parametrize(
    ("topics", "what"),
    [
        ([f"topic {number}" for number in range(101)], "the column 'topic' tells 101 slices apart; 100 are the most"),
        (["calm", "a | b"], "the slice 'a | b' needs a name of at most 64 printable characters"),
        (["calm\n\n# Approved"], "the slice 'calm\\n\\n# Approved' needs a name"),
        (["x" * 65], "needs a name of at most 64"),
        ([" "], "needs a name"),
    ],
)
def test_slices_are_few_and_have_names(tmp_path: Path, topics: list[str], what: str) -> None:
    rows = [{**QUESTIONS[0], "topic": topic} for topic in topics]
    with pytest.raises(SuiteError) as refused:
        read_suite(write_suite(tmp_path / "suite", choices=rows))
    assert len(refused.value.problems) == 1 and what in refused.value.problems[0]


def test_a_wrong_file_is_told_fifty_lines_long_at_most(tmp_path: Path) -> None:
    folder = write_suite(tmp_path / "suite", choices="{\n" * 5000)
    with pytest.raises(SuiteError) as refused:
        read_suite(folder)
    assert len(refused.value.problems) == 50


def test_a_link_out_of_the_suite_is_not_read(tmp_path: Path) -> None:
    folder = write_suite(tmp_path / "suite")
    (tmp_path / "secret.jsonl").write_text('{"text": "secret"}\n')
    (folder / "texts.jsonl").unlink()
    (folder / "texts.jsonl").symlink_to(tmp_path / "secret.jsonl")
    with pytest.raises(SuiteError, match="this file is missing"):
        read_suite(folder)
