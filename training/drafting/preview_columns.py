"""Guessing which column holds the question and which the answer, by its name and by what stands in it.

Knows no Django: it is part of the program that reads what people uploaded."""

import re
from collections.abc import Sequence
from typing import Any

# By what people call their columns, the surest first.
NAMES = {
    "question": "question questions prompt instruction query q ask user human request source input problem utterance frage fragen "
                "vraag domanda pregunta pergunta fråga pytanie soru вопрос 问题 質問",
    "answer": "answer answers completion response output reply a assistant bot target solution gpt chosen antwort antworten "
              "antwoord risposta respuesta resposta réponse reponse svar odpowiedź cevap ответ 回答 答案",
    "text": "text content body article document passage story description sentence texte texto testo tekst inhalt abstract",
    "label": "label category class kind type topic sentiment tag target intent kategorie klasse",
    "chosen": "chosen accepted better preferred best winner good chosenresponse chosenanswer responsechosen bevorzugt besser",
    "rejected": "rejected worse dispreferred worst loser bad rejectedresponse rejectedanswer responserejected abgelehnt schlechter",
    "messages": "messages conversations conversation dialog dialogue chat turns",
}  # fmt: skip
NUMBER = re.compile(r"[-+]?[0-9][0-9.,]*(?:[eE][-+]?[0-9]+)?%?")
MOST_LABELS = 40
MAX_NAME_CHARACTERS = 80  # of a column, as a recipe names it; what is called otherwise is no column to choose
MAX_COLUMNS = 200
END_MARKS = (
    "<|im_end|>",
    "<|eot_id|>",
    "<end_of_turn>",
    "</s>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<eos>",
)  # of tokenizers
Row = dict[str, Any]


def list_columns(rows: Sequence[Row]) -> list[str]:
    """Those that a recipe can name, in the order in which they appear."""
    names = dict.fromkeys(str(name) for row in rows for name in row)
    return [name for name in names if len(name) <= MAX_NAME_CHARACTERS][:MAX_COLUMNS]


def guess_columns(rows: Sequence[Row], format: str) -> dict[str, str]:
    """{"question": column, "answer": column}, or what the format needs; {} when nothing can be said."""
    columns = list_columns(rows)
    if format == "preference":
        return guess_preference(rows, [name for name in columns if is_text(rows, name) or holds_talk(rows, name)])
    if format == "chat" and (talk := next((name for name in columns if holds_talk(rows, name)), None)):
        return {"messages": talk}
    texts = [name for name in columns if is_text(rows, name)]
    if format == "chat":
        return guess_pair(rows, texts)
    if format == "classification":
        labels = [name for name in columns if is_label(rows, name)]
        label = find_named(labels, "label") or min(labels, key=lambda name: count_values(rows, name), default=None)
        text = guess_text(rows, [name for name in texts if name != label])
        return {"text": text, "label": label} if text and label else {}
    found = guess_text(rows, texts)
    return {"text": found} if found else {}


def guess_preference(rows: Sequence[Row], columns: list[str]) -> dict[str, str]:
    """A question with two answers. Which answer is the better one is said by a name, or not at all."""
    chosen, rejected = find_named(columns, "chosen"), find_named(columns, "rejected")
    if not chosen or not rejected:
        return {}
    question = find_named([name for name in columns if name not in (chosen, rejected)], "question")
    return {**({"question": question} if question else {}), "chosen": chosen, "rejected": rejected}


def guess_pair(rows: Sequence[Row], texts: list[str]) -> dict[str, str]:
    answer = find_named(texts, "answer")
    question = find_named([name for name in texts if name != answer], "question")
    rest = [name for name in texts if name not in (question, answer)]
    if question is None and answer is None and len(rest) == 2:
        question, answer = rest  # people write the question first
    elif question is None and rest:
        question = min(rest, key=lambda name: average_length(rows, name))
    elif answer is None and rest:
        answer = max(rest, key=lambda name: average_length(rows, name))
    return {"question": question, "answer": answer} if question and answer else {}


def guess_text(rows: Sequence[Row], texts: list[str]) -> str | None:
    texts = [name for name in texts if not holds_numbers(rows, name)]  # as every cell of a csv is a text
    return find_named(texts, "text") or max(texts, key=lambda name: average_length(rows, name), default=None)


def holds_numbers(rows: Sequence[Row], column: str) -> bool:
    values = values_of(rows, column)
    return bool(values) and all(NUMBER.fullmatch(str(value).strip()) for value in values)


def find_named(columns: list[str], role: str) -> str | None:
    """The column with the surest name for a role."""
    plain = {re.sub(r"[\W_]+", "", name.lower()): name for name in reversed(columns)}
    return next((plain[name] for name in NAMES[role].split() if name in plain), None)


def values_of(rows: Sequence[Row], column: str) -> list[Any]:
    return [row[column] for row in rows if row.get(column) not in (None, "")]


def is_text(rows: Sequence[Row], column: str) -> bool:
    values = values_of(rows, column)
    return bool(values) and sum(isinstance(value, str) for value in values) > 0.8 * len(values)


def is_label(rows: Sequence[Row], column: str) -> bool:
    values = values_of(rows, column)
    plain = all(isinstance(value, str | int | float) for value in values)
    return bool(values) and plain and count_values(rows, column) <= min(MOST_LABELS, max(2, len(values) // 2))


def count_values(rows: Sequence[Row], column: str) -> int:
    return len({str(value) for value in values_of(rows, column)})


def average_length(rows: Sequence[Row], column: str) -> float:
    values = values_of(rows, column)
    return sum(len(str(value)) for value in values) / len(values) if values else 0.0


def holds_talk(rows: Sequence[Row], column: str) -> bool:
    """Lists of turns that say who speaks."""
    values = values_of(rows, column)
    turns = [turn for value in values if isinstance(value, list) for turn in value[:2]]
    return bool(turns) and all(isinstance(turn, dict) and {"role", "from"} & turn.keys() for turn in turns)
