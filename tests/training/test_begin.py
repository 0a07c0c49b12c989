"""A model from nothing, from the page a person sees to the recipe that is proposed."""

import re
from typing import Any

import pytest
from django.http import QueryDict
from django.test import Client

from hub.community.models import PullRequest
from tests.training.line import Line, as_jsonl, make_repo
from tests.training.test_wizard import page, recipe_of, words
from training.drafting.beginnings import read_beginning
from training.drafting.estimates import SIZES, Estimate
from training.engine.networks import NETWORKS

DATA = "alice/tales"


@pytest.fixture
def signed_in(line: Line, client: Client) -> Client:
    """Alice, who has texts and an empty model."""
    make_repo("dataset", "tales", line.alice, {"train.jsonl": as_jsonl([{"text": "The tide comes and goes."}] * 3)})
    client.force_login(line.alice)
    return client


def test_family_size_and_texts_become_a_proposal(line: Line, signed_in: Client, settings: Any) -> None:
    settings.ENGINE_MEMORY_BYTES = 4 * 10**9
    stuck = signed_in.get("/alice/tides/propose").content.decode()
    assert 'href="/alice/tides/begin"' in stuck
    first = words(page(signed_in, "/alice/tides/begin"))
    assert (
        "9.48M parameters" in first
        and "Learns well from 190M tokens of text." in first
        and "More than the 4 GB of this machine" in first
    )
    assert "What it takes" not in first.replace("See what it takes", ""), "nothing is proposed without data"

    seen = words(page(signed_in, f"/alice/tides/begin?family=qwen3&size=10m&vocabulary=4000&data={DATA}&length=taste"))
    assert "Parameters 8.4M" in seen and "This machine can hold it" in seen and "Propose it" in seen
    answer = signed_in.post(
        "/alice/tides/begin", {"family": "qwen3", "size": "10m", "vocabulary": "4000", "data": DATA, "length": "taste"}
    )
    pull_request = PullRequest.objects.get(discussion__repo=line.target)
    assert answer.headers["Location"] == pull_request.discussion.path
    recipe = recipe_of(pull_request)
    shape = recipe.architecture
    assert (shape.family, shape.layers, shape.width, recipe.tokenizer.vocabulary) == ("qwen3", 10, 256, 4000)
    assert recipe.train.method == "pretrain" and recipe.train.tokens >= 20_000
    assert [(row.repo.repo, row.format) for row in recipe.contributions] == [(DATA, "text")]
    assert [row.suite.repo for row in recipe.evaluate] == ["alice/core"]


def test_what_cannot_begin_says_why(line: Line, signed_in: Client) -> None:
    assert "alice/tiny has a model already" in words(page(signed_in, "/alice/tiny/begin"))
    answer = signed_in.post("/alice/tiny/begin", {"data": DATA})
    assert answer.status_code == 400 and not PullRequest.objects.exists()
    answer = signed_in.post("/alice/tides/begin", {"size": "10m"})
    assert answer.status_code == 400 and "Tick at least one dataset" in answer.content.decode()
    answer = signed_in.post("/alice/tides/begin", {"data": "alice/nowhere"})
    assert answer.status_code == 400 and "alice/nowhere" in words(answer.content.decode())
    assert not PullRequest.objects.exists()


def test_a_stranger_does_not_see_private_texts_and_must_sign_in(line: Line, signed_in: Client, charlie: Any) -> None:
    from hub.repos.models import Repo

    Repo.objects.filter(name="tales").update(is_private=True)
    signed_in.force_login(charlie.user)
    assert DATA not in page(signed_in, "/alice/tides/begin")
    seen = page(signed_in, f"/alice/tides/begin?data={DATA}")
    assert "There is no dataset repository alice/tales here" in seen and "Propose it" not in seen
    signed_in.logout()
    assert signed_in.get("/alice/tides/begin").headers["Location"].startswith("/login?next=/alice/tides/begin")


def test_what_is_not_known_in_an_address_is_taken_as_usual() -> None:
    usual = read_beginning(QueryDict("family=gpt5&size=9t&vocabulary=&length=ever&data="))
    assert usual == read_beginning(QueryDict("")) and usual.tokens_known == 8192
    for typed in ("999999", "12", "²", "many"):
        assert read_beginning(QueryDict(f"vocabulary={typed}")).problem.startswith(
            "The vocabulary is a whole number from 260"
        )
    for family in NETWORKS:
        assert read_beginning(QueryDict(f"family={family}&size=30m")).parameters > 2e7


def test_a_plan_of_years_is_priced_roughly_and_advised_against(
    signed_in: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.drafting.estimates.CPU_FLOPS_PER_THREAD", 1e11)
    monkeypatch.setattr("training.drafting.estimates.engine_threads", lambda: 2)
    largest = max(NETWORKS["llama"].sizes, key=lambda size: read_size(size))
    seen = words(page(signed_in, f"/alice/tides/begin?size={largest}&data={DATA}&length=whole"))
    assert re.search(r"As long as it pays about [0-9.,]+ years?, ", seen), "no minutes beside years"
    assert "which is not sensible" in seen and "At this size a day is enough for about" in seen
    monkeypatch.setattr("training.drafting.estimates.CPU_FLOPS_PER_THREAD", 1e13)
    seen = words(page(signed_in, f"/alice/tides/begin?size={largest}&data={DATA}&length=whole"))
    assert "The largest size of this family that learns all it can within a day here is" in seen
    assert "not sensible" not in page(signed_in, f"/alice/tides/begin?size=10m&data={DATA}")


def read_size(size: str) -> int:
    return read_beginning(QueryDict(f"size={size}")).parameters


def test_the_column_with_the_texts_is_found_and_named(line: Line, signed_in: Client) -> None:
    rows = [
        {"kapitel": number, "inhalt": f"Die Flut kommt und geht, Tag {number}, und mit ihr die Boote."}
        for number in range(40)
    ]
    make_repo("dataset", "flut", line.alice, {"train.jsonl": as_jsonl(rows)})
    seen = words(page(signed_in, "/alice/tides/begin?data=alice/flut&length=once"))
    assert "“inhalt” is read as the text" in seen and "40 texts" in seen
    assert re.search(r"Once through the data about [a-z0-9. ]+, [0-9.]+ k?Wh", seen), "priced once somebody looked"
    assert re.search(
        r"Your texts have about [0-9,]+ tokens, and a model of this size learns well from 190,000,000", seen
    )
    signed_in.post("/alice/tides/begin", {"data": "alice/flut", "length": "once"})
    (row,) = recipe_of(PullRequest.objects.get(discussion__repo=line.target)).contributions
    assert row.columns.text == ("inhalt",)


def test_what_was_typed_or_forgotten_is_told_before_anything_is_priced(signed_in: Client) -> None:
    seen = words(page(signed_in, f"/alice/tides/begin?vocabulary=12&data={DATA}&length=taste"))
    assert "The vocabulary is a whole number from 260 to 262,144" in seen and "Propose it" not in seen
    answer = signed_in.post("/alice/tides/begin", {"vocabulary": "12", "data": DATA, "length": "taste"})
    assert answer.status_code == 400 and not PullRequest.objects.exists()
    asked = "/alice/tides/begin?family=llama&size=10m&vocabulary=&length=taste"  # the button, nothing ticked
    assert "Tick at least one dataset" in words(page(signed_in, asked))
    assert "Tick at least one dataset" not in words(page(signed_in, "/alice/tides/begin"))


def test_rows_of_several_kinds_are_refused_with_a_way_out(line: Line, signed_in: Client) -> None:
    rows = [{"text": "The tide comes and goes, and the boats with it."}] * 3 + [{"high": 3, "low": 1}] * 30
    make_repo("dataset", "mixed", line.alice, {"train.jsonl": as_jsonl(rows)})
    seen = words(page(signed_in, "/alice/tides/begin?data=alice/mixed&length=taste"))
    assert "alice/mixed: 30 of 33 rows" in seen and "are of another kind" in seen
    assert "Put the texts alone into a dataset of their own" in seen


def test_data_without_a_text_is_refused_with_its_columns(line: Line, signed_in: Client) -> None:
    make_repo("dataset", "numbers", line.alice, {"train.jsonl": as_jsonl([{"high": 3, "low": 1}] * 30)})
    answer = signed_in.post("/alice/tides/begin", {"data": "alice/numbers"})
    assert answer.status_code == 400 and not PullRequest.objects.exists()
    assert "alice/numbers does not fit this goal: it has the columns high, low" in words(answer.content.decode())
    seen = page(signed_in, "/alice/tides/begin?data=alice/numbers")
    assert "Propose it" not in seen and "Once through the data: Every text is read once. The time depends" in words(
        seen
    )


def test_numbers_of_a_table_are_no_text(line: Line, signed_in: Client) -> None:
    """Every cell of a csv is a text."""
    make_repo("dataset", "table", line.alice, {"train.csv": b"a,b,c\n" + b"1,2.5,-3\n" * 30})
    answer = signed_in.post("/alice/tides/begin", {"data": "alice/table"})
    assert answer.status_code == 400 and "it has the columns a, b, c" in words(answer.content.decode())


@pytest.mark.parametrize(
    ("seconds", "energy", "money"),
    [
        (30, "0.2 Wh", "less than 0.01"),
        (3.6e6, "30 kWh", "9.00"),
        (3.6e9, "30 MWh", "9,000"),
        (4.4e12, "37 GWh", "11 million"),
    ],
)
def test_large_plans_are_priced_in_two_figures(
    settings: Any, monkeypatch: pytest.MonkeyPatch, seconds: float, energy: str, money: str
) -> None:
    settings.ENGINE_WATTS, settings.KWH_PRICE, settings.MACHINE_HOUR_PRICE, settings.CURRENCY = 30, 30, 0, "EUR"
    estimate = Estimate(SIZES[0], seconds, False)
    assert (estimate.energy, estimate.money) == (energy, f"{money} EUR")
