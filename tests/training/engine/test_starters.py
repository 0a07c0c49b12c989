"""What newcomers begin with must work: recipes, the data set and the suite that they name."""

import json
import re
from pathlib import Path

import pytest

from training.engine.corpus.contamination import ContaminationFilter
from training.engine.corpus.formats import read_document
from training.engine.evals.suite import read_suite
from training.engine.recipe import Recipe, format_recipe, parse_recipe, referenced_repos
from training.engine.yaml_document import read_yaml

STARTERS = Path(__file__).parents[3] / "training" / "starters"
NAMES = ("chat-lora-small", "full-finetune-tiny", "prefer-lora-small", "pretrain-tiny")
SUITE = STARTERS / "suites" / "core"
DATA = STARTERS / "datasets" / "tide-answers"
CHOICES = STARTERS / "datasets" / "tide-better-answers"


def read_starter(name: str) -> Recipe:
    return parse_recipe((STARTERS / f"{name}.yaml").read_text())


def read_rows() -> list[list[dict[str, str]]]:
    return [json.loads(line)["messages"] for line in (DATA / "train.jsonl").read_text().splitlines()]


def read_card(folder: Path) -> dict[str, object]:
    found = re.match(r"---\n(.*?)---\n", (folder / "README.md").read_text(), re.S)
    assert found
    card: dict[str, object] = read_yaml(found[1])[0].plain()
    return card


def test_the_starters_are_these() -> None:
    assert sorted(path.stem for path in STARTERS.glob("*.yaml")) == list(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_starter_begins_with_its_purpose_and_is_a_whole_recipe(name: str) -> None:
    first = (STARTERS / f"{name}.yaml").read_text().splitlines()[0]
    assert re.fullmatch(r"# [A-Z].{40,118}\.", first), first
    recipe = read_starter(name)
    assert parse_recipe(format_recipe(recipe)) == recipe
    assert recipe.contributions and recipe.evaluate


def test_the_starters_show_the_three_ways_to_train() -> None:
    methods = {name: recipe.train.method for name in NAMES if (recipe := read_starter(name)).train}
    assert methods == {
        "chat-lora-small": "lora",
        "full-finetune-tiny": "full",
        "prefer-lora-small": "lora",
        "pretrain-tiny": "pretrain",
    }
    assert [name for name in NAMES if read_starter(name).train.objective == "dpo"] == ["prefer-lora-small"]


def test_the_starters_name_only_what_ships() -> None:
    named = {ref.repo for name in NAMES for _, ref in referenced_repos(read_starter(name))}
    data = {"commons/tide-answers", "commons/tide-better-answers"}
    assert named == {"commons/smollm2-135m-instruct", "commons/core-suite", *data}


def test_the_data_set_holds_different_whole_conversations() -> None:
    rows = read_rows()
    assert len(rows) >= 160
    assert all([m["role"] for m in messages] == ["user", "assistant"] for messages in rows)
    questions, answers = ([messages[i]["content"] for messages in rows] for i in (0, 1))
    assert len(set(questions)) == len(set(answers)) == len(rows)
    assert all(read_document({"messages": messages}, "chat").words for messages in rows)
    assert all(20 <= len(answer) <= 400 and answer[-1] == "." for answer in answers)
    # Filler repeats its sentences: no two answers begin with the same six words.
    assert len({" ".join(answer.split()[:6]) for answer in answers}) == len(rows)


def test_the_data_set_does_not_hold_the_questions_of_the_suite() -> None:
    suite = read_suite(SUITE)
    questions = [str(row.get("question") or row.get("prompt") or row["text"]) for t in suite.tasks for row in t.rows]
    examination = ContaminationFilter(questions)
    assert not [m for m in read_rows() if examination.holds_question("\n".join(x["content"] for x in m))]


def test_the_choices_are_between_two_answers_of_about_one_length_the_better_one_from_the_data_set() -> None:
    rows = [json.loads(line) for line in (CHOICES / "train.jsonl").read_text().splitlines()]
    better = {m[0]["content"]: m[1]["content"] for m in read_rows()}
    assert len(rows) >= 60 and len({row["rejected"] for row in rows}) == len(rows)
    assert all(better[row["prompt"]] == row["chosen"] for row in rows)
    assert all(read_document(row, "preference").rejected for row in rows)
    chosen, rejected = (sum(len(row[name]) for row in rows) for name in ("chosen", "rejected"))
    assert 0.7 < rejected / chosen < 1.4
    assert read_card(CHOICES)["license"] == "cc0-1.0"


def test_each_file_of_the_suite_is_a_configuration_that_datasets_loads_alone() -> None:
    configs = read_card(SUITE)["configs"]
    found = {row["config_name"]: row["data_files"] for row in configs}
    files = {task.name: [{"split": "test", "path": f"{task.name}.jsonl"}] for task in read_suite(SUITE).tasks}
    assert found == files and all((SUITE / f"{name}.jsonl").is_file() for name in found)


def test_the_suite_is_valid_and_its_answers_are_spread() -> None:
    suite = read_suite(SUITE)
    choices = next(task for task in suite.tasks if task.kind == "multiple_choice")
    assert {task.kind: len(task.rows) for task in suite.tasks} == {
        "multiple_choice": 36,
        "generation": 12,
        "perplexity": 10,
    }
    for topic in ("general", "reading", "tides"):
        places = [row["answer"] for row in choices.rows if row["topic"] == topic]
        assert len(places) == 12
        assert max(places.count(n) for n in range(4)) <= 5, "who always picks one place must not score well"


@pytest.mark.parametrize("folder", [DATA, SUITE])
def test_the_cards_state_a_licence(folder: Path) -> None:
    assert read_card(folder)["license"] == "cc0-1.0"
