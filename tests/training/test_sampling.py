"""Answers as a sampling brings them."""

import json
from pathlib import Path


def test_an_answer_may_hold_any_mark(tmp_path: Path) -> None:
    """A model that draws its tokens said U+2028, and its answers were cut in two there."""
    from training.evaluating.sampling import read_answers

    said = "one\u2028two\x85three\x1cfour\nfive"
    path = tmp_path / "answers.jsonl"
    path.write_text(json.dumps({"id": "a", "text": said + "\0"}, ensure_ascii=False) + "\n", "utf-8")
    assert read_answers(path) == {"a": said + "\N{REPLACEMENT CHARACTER}"}
