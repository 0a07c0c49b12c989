"""How likely a model finds texts, compared with transformers on the same weights and tokens."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.engine.tiny_served import make_tiny_folder, open_tiny
from training.engine.__main__ import main as run_engine
from training.engine.errors import EngineError
from training.engine.likelihoods import TextRow, read_rows, score_rows
from training.engine.serving import Served

ROWS = [TextRow("a", ("the tide rises", "the tide falls")), TextRow("b", ("boats lie in the harbour",))]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Served:
    return open_tiny(tmp_path_factory.mktemp("model"))


@torch.no_grad()
def sum_plainly(served: Served, text: str) -> tuple[float, int]:
    """The reference: one pass over the start mark and the text."""
    tokens = served.tokenizer(text, add_special_tokens=False)["input_ids"]
    ids = torch.tensor([[served.tokenizer.bos_token_id, *tokens]])
    logits: Any = served.model(input_ids=ids).logits[0, :-1].double().log_softmax(-1)
    return float(logits[range(len(tokens)), tokens].sum()), len(tokens)


def test_the_sum_is_that_of_one_plain_pass(served: Served) -> None:
    for row, found in zip(ROWS, score_rows(served, ROWS), strict=True):
        plain = [sum_plainly(served, text) for text in row.texts]
        assert found["id"] == row.id and found["tokens"] == [count for _, count in plain]
        assert found["logprobs"] == pytest.approx([logprob for logprob, _ in plain], abs=2e-4)


def test_the_neighbours_of_a_text_do_not_change_its_sum(served: Served) -> None:
    many = [TextRow(str(n), (f"tide number {n} of {n * 7}", "wind and rain")) for n in range(40)]
    together, alone = score_rows(served, many), [score_rows(served, [row])[0] for row in many]
    for one, other in zip(together, alone, strict=True):
        assert one["logprobs"] == pytest.approx(other["logprobs"], abs=2e-4)


def test_the_command_writes_what_generate_writes_beside_its_answers(tmp_path: Path) -> None:
    model, texts, prompts = make_tiny_folder(tmp_path / "model"), tmp_path / "texts.jsonl", tmp_path / "prompts.jsonl"
    texts.write_text('{"id": "a", "texts": ["the tide", "a tide"], "dimension": "tides"}\n')
    prompts.write_text('{"id": "p", "prompt": "the harbour"}\n')
    one, other, answers = (tmp_path / name for name in ("one.jsonl", "other.jsonl", "answers.jsonl"))
    assert run_engine(["likelihoods", "--model", str(model), "--texts", str(texts), "--out", str(one)]) == 0
    arguments = ["--prompts", str(prompts), "--out", str(answers), "--max-new-tokens", "4"]
    arguments += ["--texts", str(texts), "--likelihoods", str(other)]
    assert run_engine(["generate", "--model", str(model), *arguments]) == 0
    assert one.read_text() == other.read_text() and answers.read_text().count("\n") == 1
    assert set(json.loads(one.read_text())) == {"id", "logprobs", "tokens"}


@pytest.mark.parametrize("line", ["[]", '{"id": "a"}', '{"id": 1, "texts": ["x"]}', '{"id": "a", "texts": [""]}', "x"])
def test_a_row_without_texts_is_refused_with_its_line(tmp_path: Path, line: str) -> None:
    path = tmp_path / "texts.jsonl"
    path.write_text('{"id": "a", "texts": ["x"]}\n' + line + "\n")
    with pytest.raises(EngineError, match="texts.jsonl:2: a row needs an 'id' and 'texts'"):
        read_rows(path)
