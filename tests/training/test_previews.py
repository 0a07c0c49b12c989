"""Looking at data before it is trained on: what the preview says is what the engine does."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from hub.community.contributions import reader_for
from tests.training.line import PAIRS, Line, as_jsonl, make_repo
from training.drafting import looks as looks_module
from training.drafting import previews
from training.drafting.looks import Impatient, Looks
from training.drafting.previews import preview


def look(line: Line, files: dict[str, bytes], name: str = "looked-at", **more: Any) -> previews.Preview:
    repo = make_repo("dataset", name, line.alice, files)
    reader = reader_for(repo, line.alice)
    return preview(reader, reader.resolve(None), **more)


def test_tokens_and_loss_mask_are_those_of_the_engine(line: Line, tiny_llama: Path) -> None:
    from transformers import AutoTokenizer

    from training.engine.corpus.formats import read_document
    from training.engine.corpus.rendering import Renderer
    from training.engine.tokenizer import load_tokenizer

    data, base = reader_for(line.data, line.alice), reader_for(line.base, line.alice)
    found = preview(data, data.resolve(None), format="chat", model=base, model_commit=base.resolve(None))
    assert not found.problem and (found.rows, found.is_estimate) == (24, False)

    tokenizer = load_tokenizer(tiny_llama, name="tiny")
    assert isinstance(tokenizer, type(AutoTokenizer.from_pretrained(tiny_llama)))
    renderer = Renderer(tokenizer)
    encoded = renderer.encode([renderer.render(read_document(row, "chat")) for row in PAIRS])
    assert found.tokens == sum(len(item.tokens) for item in encoded)
    for shown, item in zip(found.pieces, encoded, strict=False):
        assert (shown["tokens"], shown["learnt"]) == (len(item.tokens), sum(item.learnt))
        assert [learnt for _, learnt in shown["pieces"]] == item.learnt[: len(shown["pieces"])]
        text = "".join(text for text, _ in shown["pieces"])
        assert text.startswith("<|im_start|>user\nWhen is tide")


@pytest.mark.parametrize(
    ("rows", "format"),
    [
        ([{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}], "chat"),
        ([{"text": "The sea is calm.", "label": "weather"}], "classification"),
        ([{"prompt": "Is it calm?", "chosen": "The sea is.", "rejected": "No."}], "preference"),
        ([{"text": "The sea is calm."}], "text"),
    ],
)
def test_columns_are_guessed(line: Line, rows: list[dict[str, Any]], format: str) -> None:
    found = look(line, {"train.jsonl": as_jsonl(rows * 3)})
    assert (found.format, found.rows, found.rows_kept) == (format, 3, 1)  # two of them are repetitions


def test_long_files_are_read_from_their_beginning(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(previews, "MAX_WHOLE_BYTES", 500)
    found = look(line, {"train.jsonl": as_jsonl(PAIRS * 10)})
    assert found.is_estimate and 200 < found.rows < 280


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"notes.bin": b"\0\1"}, "holds no data file"),
        ({"train.jsonl": b"\n"}, "has no rows in split train"),
        ({"train.jsonl": b'{"text": "caf\xe9"}\n' * 3}, "is not UTF-8"),
    ],
)
def test_what_cannot_be_read_is_said_in_a_sentence(line: Line, files: dict[str, bytes], sentence: str) -> None:
    assert sentence in look(line, files).problem


def test_what_a_page_is_told_does_not_grow_with_a_row(line: Line) -> None:
    talk = [{"role": ("user", "assistant")[number % 2], "content": f"turn {number}"} for number in range(5000)]
    names = {letter * 100_000: "1" for letter in "abc"} | {f"column {number}": "1" for number in range(1000)}
    found = look(line, {"train.jsonl": as_jsonl([{"messages": talk, **names}, {"wrong": "1", **names}])})
    assert found.formats == ["chat"]
    assert len(json.dumps(asdict(found))) < 20_000
    (example,) = found.examples
    assert [turn["text"] for turn in example["turns"]] == [f"turn {n}" for n in (*range(20), *range(4980, 5000))]
    assert example["turns_left_out"] == 4960


def test_a_template_that_never_ends_is_stopped(line: Line, tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(previews, "TIMEOUT_S", 4)
    hostile = b"{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    files = {path.name: path.read_bytes() for path in tiny_llama.iterdir() if path.suffix == ".json"}
    model = make_repo("model", "slow", line.alice, {**files, "chat_template.jinja": hostile})
    data, base = reader_for(line.data, line.alice), reader_for(model, line.alice)
    found = preview(data, data.resolve(None), format="chat", model=base, model_commit=base.resolve(None))
    assert "took too long" in found.problem and found.is_for_now and found.tokens > 0


def test_looks_of_one_person_are_bounded_and_others_go_on(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(looks_module.time, "monotonic", lambda: clock[0])
    looks = Looks()
    with (
        looks.take(1),
        looks.take(1),
        looks.take(2),
        pytest.raises(Impatient, match="being looked at for you"),
        looks.take(1),
    ):
        pass
    with looks.take(1):
        clock[0] += looks_module.MOST_S
    with pytest.raises(Impatient, match="wait a few minutes"), looks.take(1):
        pass
    with looks.take(2):
        pass
    clock[0] += looks_module.WINDOW_S
    with looks.take(1):
        pass

    monkeypatch.setattr(previews, "looks", looks)
    with looks.take(line.alice.pk), looks.take(line.alice.pk):
        assert look(line, {"train.jsonl": as_jsonl(PAIRS[:4])}).problem.startswith("2 datasets are being looked at")
    repo = reader_for(make_repo("dataset", "again", line.alice, {"train.jsonl": as_jsonl(PAIRS[:4])}), line.alice)
    assert not preview(repo, repo.resolve(None)).problem, "a refusal was remembered"
