"""The longest text that a row shares with a question: exact on plants, silent on chance."""

import random

import pytest

from training.engine.corpus.shared_texts import SharedTexts

QUESTION = "Which of these two harbours, seen from the northern cape, has the higher spring tide in March?"


def test_a_question_is_found_without_regard_to_case_white_space_and_marks() -> None:
    row = "Please: which OF these two\nharbours - seen from the northern cape - has the higher spring tide in march, and why"
    (found,) = SharedTexts(["Nothing at all.", QUESTION]).find(row)
    assert (found.question, found.words) == (1, 17)
    assert found.text.startswith("which OF these two\nharbours") and found.text.endswith("in march")


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (" ".join(QUESTION.split()[:9]), 9),  # 56 characters, and half of its words
        (" ".join(QUESTION.split()[:8]), 0),  # less than half
        (" ".join(QUESTION.split()[:6] + ["here"] + QUESTION.split()[6:]), 11),
        (f"{QUESTION} {QUESTION}", 17),
        ("", 0),
    ],
)
def test_it_has_to_be_half_of_the_question_in_a_row(row: str, words: int) -> None:
    assert [found.words for found in SharedTexts([QUESTION]).find(row)] == ([words] if words else [])


def test_short_questions_are_nobodys_property() -> None:
    assert SharedTexts(["What is the capital of France?"]).find("Well, what is the capital of France?") == []


def test_thirteen_short_words_are_long() -> None:
    text = "it is as it is and so it has to be so be"
    assert [found.words for found in SharedTexts([text]).find(text)] == [13] and len(text) < 50


def test_what_many_questions_share_is_an_instruction() -> None:
    instruction = "Read the table of the tides of all harbours on this coast and tell"
    asked = [f"{instruction} {number}" for number in range(20)]
    assert SharedTexts(asked).find(f"{instruction} me more") == []
    (found,) = SharedTexts([*asked, f"{instruction} me at what hour the last ebb of the old year begins here"]).find(
        f"{instruction} me at what hour the last ebb of the old year begins here"
    )
    assert found.words == 27  # the instruction is part of it where the rest is shared too


def test_a_script_without_spaces_is_compared_letter_by_letter() -> None:
    question = "".join(chr(0x4E00 + number) for number in range(0, 600, 10))
    (found,) = SharedTexts([question]).find(f"问：{question}。")
    assert found.words == 60
    assert SharedTexts([question]).find(question[:14] + "海" + question[20:30]) == []


def test_the_longest_run_agrees_with_counting_by_hand() -> None:
    rng = random.Random(7)
    words = "sea tide ebb reef buoy lock pier mole".split()
    checked = 0
    for _ in range(300):
        question = rng.choices(words, k=30)
        row = rng.choices(words, k=40)
        a, b, size = rng.randrange(15), rng.randrange(20), rng.randrange(8, 16)
        row[b : b + size] = question[a : a + size]
        best = max(
            next((n for n in range(30) if i + n >= 30 or j + n >= 40 or question[i + n] != row[j + n]), 30)
            for i in range(30) for j in range(40)
        )  # fmt: skip
        found = SharedTexts([" ".join(question)]).find(" ".join(row))
        assert [shared.words for shared in found] == ([best] if best >= 15 else [])
        checked += best >= 15
    assert checked > 20


def test_unrelated_texts_share_nothing() -> None:
    rng = random.Random(1)
    words = [f"word{number}" for number in range(200)]
    known = SharedTexts(" ".join(rng.choices(words, k=30)) for _ in range(2000))
    assert not any(known.find(" ".join(rng.choices(words, k=300))) for _ in range(200))
