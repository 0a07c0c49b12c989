"""Answers depend on prompt, settings and seed, never on their neighbours in a batch."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig

from tests.training.engine.tiny_served import make_tiny_folder, open_tiny
from training.engine.__main__ import main as run_engine
from training.engine.decoding import Settings, _pick, decode
from training.engine.errors import EngineError
from training.engine.generate import (
    BATCH_TOKENS,
    MOST_BATCH_TOKENS,
    Prompt,
    answer_prompts,
    check_messages,
    choose_batch_tokens,
    encode_prompt,
    plan_batches,
    read_prompts,
)
from training.engine.serving import Served, open_model

WORDS = ["tide", "the harbour is", "wind and rain over the sea", "a", "boats " * 12]
PROMPTS = [Prompt(str(n), text=text) for n, text in enumerate(WORDS)]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Served:
    return open_tiny(tmp_path_factory.mktemp("model"))


@torch.no_grad()
def decode_plainly(model: Any, prompt: list[int], new_tokens: int, stop_ids: frozenset[int]) -> list[int]:
    """The reference: the whole text read again for every token, no cache and no padding."""
    tokens = list(prompt)
    for _ in range(new_tokens):
        token = int(model(input_ids=torch.tensor([tokens])).logits[0, -1].argmax())
        if token in stop_ids:
            break
        tokens.append(token)
    return tokens[len(prompt) :]


def test_greedy_answers_are_those_of_one_plain_pass_after_another(served: Served) -> None:
    settings = Settings(max_new_tokens=20)
    prompts = [encode_prompt(served, prompt, settings) for prompt in PROMPTS]
    found = decode(served.model, prompts, settings, stop_ids=served.stop_ids)
    assert found == [decode_plainly(served.model, prompt, 20, served.stop_ids) for prompt in prompts]
    assert len({tuple(tokens) for tokens in found}) == len(found)


def test_an_answer_stops_before_its_stop_token_and_the_others_go_on(served: Served) -> None:
    settings = Settings(max_new_tokens=12)
    prompts = [encode_prompt(served, prompt, settings) for prompt in PROMPTS]
    free = decode(served.model, prompts, settings, stop_ids=frozenset())
    stop = free[1][3]
    found = decode(served.model, prompts, settings, stop_ids=frozenset({stop}))
    expected = [tokens[: tokens.index(stop)] if stop in tokens else tokens for tokens in free]
    assert found == expected
    assert len({len(tokens) for tokens in found}) > 1


@pytest.mark.parametrize("settings", [Settings(16), Settings(16, temperature=1.3, seed=5), Settings(16, 1.0, 0.7, 9)])
def test_the_batch_changes_no_answer(served: Served, settings: Settings) -> None:
    together = answer_prompts(served, PROMPTS, settings)
    alone = [answer_prompts(served, [prompt], settings)[0] for prompt in PROMPTS]
    tiny_batches = answer_prompts(served, list(reversed(PROMPTS)), settings, batch_tokens=1)[::-1]
    assert [a.text for a in together] == [a.text for a in alone] == [a.text for a in tiny_batches]
    assert [a.id for a in together] == ["0", "1", "2", "3", "4"]


def test_the_seed_changes_sampled_answers_only(served: Served) -> None:
    def texts(**changes: Any) -> list[str]:
        return [a.text for a in answer_prompts(served, PROMPTS, Settings(16, **changes))]

    assert texts(seed=1) == texts(seed=2)
    assert texts(temperature=1.0, seed=1) != texts(temperature=1.0, seed=2)
    assert texts(temperature=1.0, seed=1) == texts(temperature=1.0, seed=1)


def test_a_small_top_p_leaves_only_the_likeliest_token(served: Served) -> None:
    greedy = answer_prompts(served, PROMPTS, Settings(16))
    narrow = answer_prompts(served, PROMPTS, Settings(16, temperature=1.0, top_p=0.01))
    assert [a.text for a in narrow] == [a.text for a in greedy]


def test_batches_hold_what_fits_and_every_row_once() -> None:
    batches = list(plan_batches([5, 100, 7, 50, 5], new_tokens=10, batch_tokens=130))
    assert sorted(row for batch in batches for row in batch) == [0, 1, 2, 3, 4]
    assert batches == [[1], [3, 2], [0, 4]]


def test_what_does_not_fit_the_context_is_refused_with_its_numbers(served: Served) -> None:
    with pytest.raises(EngineError, match="the model reads 256") as refused:
        answer_prompts(served, [Prompt("long", text="tide " * 300)], Settings(16))
    assert refused.value.code == "context_exceeded"
    with pytest.raises(EngineError, match="asks for 300 more"):
        answer_prompts(served, [Prompt("short", text="tide")], Settings(300))


@pytest.mark.parametrize(
    "settings",
    [Settings(0), Settings(10**9), Settings(temperature=-1), Settings(temperature=float("nan")), Settings(top_p=0),
     Settings(seed=-1), Settings(seed=True), Settings(max_new_tokens=1.5)],
)  # fmt: skip
def test_settings_out_of_range_are_refused(settings: Settings) -> None:
    with pytest.raises(EngineError, match="cannot be"):
        settings.check()


def test_a_chat_template_of_100_kib_is_refused(tmp_path: Path) -> None:
    folder = make_tiny_folder(tmp_path / "model")
    (folder / "chat_template.jinja").write_text("{# " + "x" * 100_000 + " #}")
    with pytest.raises(EngineError, match="larger than 64 KiB"):
        open_model(folder, "cpu")


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{% set x = messages.append(1) %}",
    ],
)
def test_a_hostile_chat_template_is_stopped(tmp_path: Path, template: str) -> None:
    folder = make_tiny_folder(tmp_path / "model")
    (folder / "chat_template.jinja").write_text(template)
    with pytest.raises(EngineError, match="chat template refuses"):
        answer_prompts(open_model(folder, "cpu"), PROMPTS[:1], Settings(4))


@pytest.mark.parametrize(
    "messages",
    [None, [], ["hi"], [{"role": "user"}], [{"role": "root", "content": "x"}], [{"role": "user", "content": 1}]],
)
def test_malformed_conversations_are_refused(messages: object) -> None:
    with pytest.raises(EngineError):
        check_messages(messages)


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("{", "prompts.jsonl:2: this is not JSON"),
        ('{"prompt": "x"}', "prompts.jsonl:2: a row needs an 'id'"),
        ('{"id": 1}', "prompts.jsonl:2: a row needs a 'prompt' or 'messages'"),
        ('{"id": 1, "messages": []}', "prompts.jsonl:2: 'messages' must be a list"),
        ("\xff", "prompts.jsonl:2: this is not JSON"),
    ],
)
def test_a_malformed_prompt_is_named_with_its_line(tmp_path: Path, line: str, what: str) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_bytes(b'{"id": 0, "prompt": "hi"}\n' + line.encode("latin-1") + b"\n")
    with pytest.raises(EngineError) as refused:
        list(read_prompts(path))
    assert what in str(refused.value)


def test_models_of_nearly_equal_shares_draw_the_same(served: Served) -> None:
    """What a paired comparison of two models lives on: one seed, and hardly a token differs."""
    settings = Settings(24, temperature=1.0, seed=3)
    before = [answer.text for answer in answer_prompts(served, PROMPTS, settings)]
    head = served.model.lm_head.weight
    kept = head.detach().clone()
    try:
        with torch.no_grad():
            head.add_(torch.randn(head.shape, generator=torch.Generator().manual_seed(1)), alpha=1e-6)
        assert [answer.text for answer in answer_prompts(served, PROMPTS, settings)] == before
        assert [a.text for a in answer_prompts(served, PROMPTS, Settings(24, temperature=1.0, seed=4))] != before
    finally:
        with torch.no_grad():
            head.copy_(kept)


def test_tokens_are_drawn_as_often_as_their_shares_say() -> None:
    logits = torch.log(torch.tensor([[0.7, 0.25, 0.05]])).expand(2000, 3)
    generators = [torch.Generator().manual_seed(n) for n in range(2000)]
    drawn = torch.tensor(_pick(logits, Settings(1, temperature=1.0), generators))
    shares = drawn.bincount(minlength=3) / 2000
    assert torch.allclose(shares, torch.tensor([0.7, 0.25, 0.05]), atol=0.03)
    likely = _pick(logits, Settings(1, temperature=1.0, top_p=0.9), generators)
    assert set(likely) == {0, 1}


def test_small_models_take_more_prompts_at_once(served: Served) -> None:
    assert choose_batch_tokens(served.model.config) == MOST_BATCH_TOKENS
    large = LlamaConfig(num_hidden_layers=80, hidden_size=8192, num_attention_heads=64, num_key_value_heads=8)
    assert choose_batch_tokens(large) == BATCH_TOKENS


def test_the_command_leaves_out_what_the_model_cannot_read(tmp_path: Path) -> None:
    model = make_tiny_folder(tmp_path / "model")
    rows = [{"id": "long", "prompt": "tide " * 300}, {"id": "short", "prompt": "tide"}]
    (tmp_path / "prompts.jsonl").write_text("\n".join(map(json.dumps, rows)))
    arguments = ["--model", str(model), "--prompts", str(tmp_path / "prompts.jsonl"), "--max-new-tokens", "5"]
    arguments += ["--out", str(tmp_path / "out.jsonl"), "--device", "cpu"]
    assert run_engine(["generate", *arguments, "--leave-long"]) == 0
    assert [json.loads(line)["id"] for line in (tmp_path / "out.jsonl").read_text().splitlines()] == ["short"]


def test_the_command_answers_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = make_tiny_folder(tmp_path / "model")
    rows = [{"id": 7, "prompt": "tide"}, {"id": "b", "messages": [{"role": "user", "content": "sea"}]}]
    (tmp_path / "prompts.jsonl").write_text("\n".join(map(json.dumps, rows)))
    out = tmp_path / "out.jsonl"
    arguments = ["--model", str(model), "--prompts", str(tmp_path / "prompts.jsonl"), "--out", str(out)]
    assert run_engine(["generate", *arguments, "--max-new-tokens", "5", "--device", "cpu"]) == 0
    answers = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(a["id"], a.get("prompt")) for a in answers] == [("7", "tide"), ("b", None)]
    assert answers[1]["messages"] == rows[1]["messages"]
    assert all(a["tokens"] <= 5 and a["seconds"] >= 0 for a in answers)
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["event"] == "done"
