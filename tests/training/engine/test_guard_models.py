"""Guard models: what they say is what transformers says on the same weights and tokens, and no code of theirs runs."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.engine.tiny_guards import BAD, GOOD, make_classifier
from tests.training.engine.tiny_served import make_tiny_folder
from training.engine.__main__ import main as run_engine
from training.engine.errors import EngineError
from training.engine.guard_models import GuardSpec, ask_guard, group_by_length
from training.engine.tokenizer import render_chat

REPLY = GuardSpec("classifier", "{reply}", {"safe": "safe", "unsafe": "unsafe"})
WORDS = GuardSpec("generative", "Q: {prompt} A: {reply} Is it safe?", {"yes": "safe", "no": "unsafe"})
ROWS = [{"id": "a", "prompt": "When?", "reply": GOOD}, {"id": "b", "prompt": "{reply}", "reply": BAD}]


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_a_classifier_says_what_it_was_taught(tmp_path: Path, family: str) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = make_classifier(tmp_path / family, family=family)
    found = ask_guard(folder, REPLY, ROWS, device="cpu")
    assert found[0]["harm"] < 0.2 and found[1]["harm"] > 0.8 and found[1]["kind"] == "unsafe"
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    for row, said in zip(ROWS, found, strict=True):
        with torch.no_grad():
            plain = model(torch.tensor([tokenizer(row["reply"])["input_ids"]])).logits.softmax(-1)[0, 1]
        assert said["harm"] == pytest.approx(float(plain), abs=2e-4)


def test_labels_that_mean_hazards_add_up_and_name_the_likeliest(tmp_path: Path) -> None:
    folder = make_classifier(tmp_path / "guard", labels=("S0", "S1", "S2"))
    spec = GuardSpec("classifier", "{reply}", {"S0": "safe", "S1": "fraud", "S2": "violence"})
    found = ask_guard(folder, spec, ROWS, device="cpu")
    assert found[1]["kind"] == "violence" and found[1]["harm"] > 0.8
    with pytest.raises(EngineError, match="others than the guard's: 'S2'; name each of them: S0, S1, S2"):
        ask_guard(folder, GuardSpec("classifier", "{reply}", {"S0": "safe", "S1": "fraud"}), ROWS)


def test_of_labels_that_may_hold_together_the_likeliest_counts(tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = make_classifier(tmp_path / "guard", labels=("S0", "S1", "S2"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "problem_type": "multi_label_classification"}))
    spec = GuardSpec("classifier", "{reply}", {"S0": "safe", "S1": "fraud", "S2": "violence"})
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    for row, said in zip(ROWS, ask_guard(folder, spec, ROWS, device="cpu"), strict=True):
        with torch.no_grad():
            plain = model(torch.tensor([tokenizer(row["reply"])["input_ids"]])).logits.sigmoid()[0]
        assert said["harm"] == pytest.approx(float(plain[1:].max()), abs=2e-4)


def test_who_says_nothing_does_no_harm(tmp_path: Path) -> None:
    """A candidate answered with nothing, and the classifier stopped at a text without tokens."""
    rows = [{"id": "a", "prompt": "When?", "reply": ""}, *ROWS[1:], {"id": "c", "prompt": "When?", "reply": " \n"}]
    found = ask_guard(make_classifier(tmp_path / "guard"), REPLY, rows, device="cpu")
    assert [row["id"] for row in found] == ["a", "b", "c"] and found[1]["harm"] > 0.8
    assert found[0] == {"id": "a", "harm": 0.0, "kind": "safe"} and found[2]["harm"] == 0.0


def test_neighbours_change_no_score(tmp_path: Path) -> None:
    folder = make_classifier(tmp_path / "guard", family="llama")
    rows = [{"id": str(n), "prompt": "", "reply": f"{GOOD} {BAD}"[: 3 + n]} for n in range(40)]
    together = ask_guard(folder, REPLY, rows, device="cpu")
    alone = [ask_guard(folder, REPLY, [row], device="cpu")[0] for row in rows[:5]]
    assert [row["harm"] for row in together[:5]] == pytest.approx([row["harm"] for row in alone], abs=2e-4)
    assert group_by_length([3, 5, 3]) == [[0, 2], [1]]


@torch.no_grad()
def log_chance(served: Any, text: str, word: str) -> float:
    """The reference: the word's tokens one plain pass after the rendered question."""
    context = served.tokenizer(text, add_special_tokens=False)["input_ids"]
    whole = served.tokenizer(text + word, add_special_tokens=False)["input_ids"]
    logits = served.model(input_ids=torch.tensor([whole])).logits[0].double().log_softmax(-1)
    return sum(float(logits[at - 1, whole[at]]) for at in range(len(context), len(whole)))


@pytest.mark.parametrize("chat", [True, False])
def test_a_model_that_writes_is_asked_for_the_words(tmp_path: Path, chat: bool) -> None:
    from training.engine.serving import open_model

    folder = make_tiny_folder(tmp_path / "writer")
    served = open_model(folder, "cpu")
    spec = GuardSpec("generative", WORDS.template, WORDS.labels, chat)
    alone = GuardSpec("generative", WORDS.template, {"no": "unsafe"}, chat)
    for row, said, plain in zip(
        ROWS, ask_guard(folder, spec, ROWS, device="cpu"), ask_guard(folder, alone, ROWS, device="cpu"), strict=True
    ):
        asked = f"Q: {row['prompt']} A: {row['reply']} Is it safe?"
        text = render_chat(served.tokenizer, ({"role": "user", "content": asked},), open_answer=True) if chat else asked
        yes, no = (math.exp(log_chance(served, text, word)) for word in ("yes", "no"))
        assert said["harm"] == pytest.approx(no / (yes + no), abs=2e-4)
        assert plain["harm"] == pytest.approx(no, abs=2e-4)


def test_what_it_cannot_read_whole_is_refused(tmp_path: Path) -> None:
    long = [{"id": "a", "prompt": "", "reply": "boat " * 600}]
    for folder, spec in ((make_classifier(tmp_path / "one"), REPLY), (make_tiny_folder(tmp_path / "other"), WORDS)):
        with pytest.raises(EngineError, match="name a guard that reads more"):
            ask_guard(folder, spec, long, device="cpu")


def test_no_code_of_a_guard_runs_and_a_headless_one_is_refused(tmp_path: Path) -> None:
    folder = make_classifier(tmp_path / "guard")
    config = json.loads((folder / "config.json").read_text())
    for change, sentence in (
        ({"auto_map": {"AutoModel": "guard.Guard"}}, "asks to run its own code"),
        ({"model_type": "guardian"}, "is of type 'guardian'"),
    ):
        (folder / "config.json").write_text(json.dumps({**config, **change}))
        with pytest.raises(EngineError, match=sentence):
            ask_guard(folder, REPLY, ROWS)
    headless = make_tiny_folder(tmp_path / "headless")
    with pytest.raises(EngineError, match="lack score.weight"):
        ask_guard(headless, REPLY, ROWS)


def test_the_command_writes_a_line_a_reply(tmp_path: Path) -> None:
    folder, rows, spec, out = (tmp_path / name for name in ("guard", "rows.jsonl", "spec.json", "out.jsonl"))
    make_classifier(folder)
    rows.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    labels = [{"label": label, "means": label} for label in ("safe", "unsafe")]
    spec.write_text(json.dumps({"head": "classifier", "template": "{reply}", "labels": labels}))
    arguments = ["--model", str(folder), "--guard", str(spec), "--rows", str(rows), "--out", str(out)]
    assert run_engine(["guard", *arguments]) == 0
    assert [json.loads(line)["id"] for line in out.read_text().splitlines()] == ["a", "b"]
