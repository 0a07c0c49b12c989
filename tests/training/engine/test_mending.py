"""Repairs that a recipe names: rows are read as they were meant, and keep the person who brought them."""

from typing import Any

import pytest

from training.engine.corpus.foreign_templates import find_template, take_apart
from training.engine.corpus.formats import Message, Reading, Unusable, read_document
from training.engine.corpus.languages import find_language
from training.engine.recipe import format_recipe, parse_recipe

ASKED, TOLD = Message("user", "When is high water?"), Message("assistant", "At six.")
WRAPPED = {
    "ChatML": "<|im_start|>user\nWhen is high water?<|im_end|>\n<|im_start|>assistant\nAt six.<|im_end|>\n",
    "Llama 3": "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nWhen is high water?<|eot_id|>"
               "<|start_header_id|>assistant<|end_header_id|>\n\nAt six.<|eot_id|>",
    "Gemma": "<start_of_turn>user\nWhen is high water?<end_of_turn>\n<start_of_turn>model\nAt six.<end_of_turn>\n",
    "Llama 2 or Mistral": "<s>[INST] When is high water? [/INST] At six.</s>",
    "Zephyr": "<|user|>\nWhen is high water?</s>\n<|assistant|>\nAt six.</s>",
    "Alpaca": "Below is an instruction that describes a task. Write a response.\n\n### Instruction:\n"
              "When is high water?\n\n### Response:\nAt six.",
}  # fmt: skip


@pytest.mark.parametrize("name", WRAPPED)
def test_a_text_with_the_marks_of_another_model_is_taken_apart(name: str) -> None:
    found = find_template(WRAPPED[name])
    assert found and found.name == name
    assert take_apart(WRAPPED[name]) == [("user", ASKED.content), ("assistant", TOLD.content)]
    document = read_document({"text": WRAPPED[name]}, "chat", Reading(mend=frozenset({"unwrap"})))
    assert document.messages == (ASKED, TOLD)
    with pytest.raises(Unusable, match="missing_column"):
        read_document({"text": WRAPPED[name]}, "chat")


@pytest.mark.parametrize("text", ["The user asked: assistant?", "# Instruction\n\nRead.", "a < b and [INSTALL] it", ""])
def test_the_text_of_people_carries_no_marks(text: str) -> None:
    assert find_template(text) is None and take_apart(text) == []


@pytest.mark.parametrize(
    ("row", "reading"),
    [
        ({"q": ASKED.content, "a": TOLD.content}, Reading({"question": ("frage", "q"), "answer": ("a",)})),
        ({"chat": [{"from": "human", "value": ASKED.content}, {"from": "gpt", "value": TOLD.content}]},
         Reading({"messages": ("chat",)})),
        ({"prompt": f"[INST] {ASKED.content} [/INST]", "completion": f"{TOLD.content}</s>[INST]"},
         Reading(mend=frozenset({"unwrap"}))),
        # The usual columns are read beside the named ones.
        ({"question": ASKED.content, "answer": TOLD.content}, Reading({"question": ("q",), "answer": ("a",)})),
    ],
)  # fmt: skip
def test_rows_are_read_as_the_recipe_says(row: dict[str, Any], reading: Reading) -> None:
    assert read_document(row, "chat", reading).messages == (ASKED, TOLD)


def test_a_system_message_goes_before_the_question() -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": ASKED.content},
                {"role": "assistant", "content": TOLD.content}]  # fmt: skip
    folded = read_document({"messages": messages}, "chat", Reading(mend=frozenset({"fold_system"})))
    assert folded.messages == (Message("user", f"Be brief.\n\n{ASKED.content}"), TOLD)


SENTENCES = {
    "en": "The tide comes in twice a day, and the boats that are in the harbour rise with it.",
    "de": "Das Wasser kommt zweimal am Tag, und die Boote, die im Hafen liegen, steigen mit ihm.",
    "fr": "La mer monte deux fois par jour, et les bateaux qui sont dans le port montent avec elle.",
    "es": "La marea sube dos veces al día, y los barcos que están en el puerto suben con ella.",
    "nl": "Het water komt twee keer per dag op, en de boten die in de haven liggen gaan met het water omhoog.",
    "it": "La marea sale due volte al giorno, e le barche che sono nel porto salgono con la marea.",
    "ru": "Вода приходит дважды в день, и лодки в гавани поднимаются вместе с ней.",
    "ja": "潮は一日に二回満ちて、港の船も一緒に上がります。",
    "zh": "潮水每天涨两次，港口里的船也随之升高。",
}


@pytest.mark.parametrize("language", SENTENCES)
def test_a_sentence_tells_its_language(language: str) -> None:
    assert find_language(SENTENCES[language]) == language


@pytest.mark.parametrize("text", ["Tide 3 is at 3 o'clock.", "yes", "", "42", "x = f(y) + g(z)"])
def test_nothing_is_said_of_what_is_too_short_or_no_language(text: str) -> None:
    assert find_language(text) in (None, "en")


def test_the_repairs_are_written_as_they_are_read() -> None:
    text = """\
version: 1
base: a/b@main
contributions:
  - data: a/c@main
    format: chat
    columns: {question: [die Frage, q], answer: [antwort]}
    language: de
    mend: [unwrap, fitting_only]
prepare: {max_row_tokens: 512}
train: {method: lora}
"""
    recipe = parse_recipe(text)
    row = recipe.contributions[0]
    assert row.columns and row.columns.question == ("die Frage", "q")
    assert (row.language, row.mend, recipe.prepare.max_row_tokens) == ("de", ("unwrap", "fitting_only"), 512)
    assert parse_recipe(format_recipe(recipe)) == recipe
