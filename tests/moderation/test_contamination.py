"""Data that holds texts of an evaluation suite: members read which rows, and nothing is withheld for it."""

import io
import json
from typing import Any

import pytest

from hub.repos.models import Content
from moderation.models import Finding
from moderation.screening import contamination
from tests.moderation.scenes import SUITE, bring, content_at, make_repo, reader, run_jobs

pytestmark = pytest.mark.django_db(transaction=True)

ASKED = "Which of these two harbours, seen from the northern cape, has the higher spring tide in March?"
OTHER = "At what hour does the last ebb of the old year begin at the pier of the lower harbour?"


def lines(*rows: Any) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def chat(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": "The reef."}]}


@pytest.fixture
def suite(alice: Any) -> Any:
    texts = lines({"text": ASKED}, {"text": OTHER}, {"text": "Short."})
    made = make_repo("dataset", "core", alice.user, {"suite.yaml": SUITE, "texts.jsonl": texts})
    run_jobs("moderation.screen_data")
    return made


@pytest.fixture
def tides(charlie: Any) -> Any:
    return make_repo("dataset", "tides", charlie.user)


def found_in(repo: Any, path: str) -> list[tuple[str, str, str]]:
    rows = Finding.objects.filter(content=content_at(repo, path), screen="contamination").order_by("pk")
    assert set(rows.values_list("severity", flat=True)) <= {"info"}
    return list(rows.values_list("rule", "where", "message"))


ROWS = [
    chat("When does the boat leave?"),
    chat(f"Tell me: {ASKED.upper().replace(',', ' -')}"),
    chat("x"),
    chat(OTHER),
    chat(f"{OTHER} again"),
]


def test_rows_are_counted_and_shown_with_suite_item_and_text(
    suite: Any, tides: Any, charlie: Any, browser_of: Any
) -> None:
    made = bring(tides, charlie.user, {"train.jsonl": lines(*ROWS)}).revision
    assert found_in(tides, "train.jsonl") == []  # not within the commit
    run_jobs("moderation.screen_data")
    count, *rows = found_in(tides, "train.jsonl")
    assert count[0] == "rows_shared"
    assert count[2].startswith("3 of 5 rows of train.jsonl share a long text with an evaluation suite (alice/core: 3)")
    assert [where for _, where, _ in rows] == ["row 2", "row 4", "row 5"]
    assert (
        "Row 2 of train.jsonl shares 17 words in a row with row 1 of texts.jsonl in alice/core; take it out"
        in rows[0][2]
    )
    assert "row 2 of texts.jsonl in alice/core" in rows[1][2]
    assert content_at(tides, "train.jsonl").clearance == Content.Clearance.CLEARED
    assert reader(tides).resolve("main") == made.commit

    page = browser_of(charlie).get(f"/datasets/{tides.full_name}/blob/main/train.jsonl").content.decode()
    assert "3 of 5 rows of train.jsonl" in page and "WHICH OF THESE TWO HARBOURS" in page


@pytest.mark.parametrize("name", ["train.csv", "train.parquet"])
def test_tables_are_compared_too(suite: Any, tides: Any, charlie: Any, name: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if name.endswith(".csv"):
        data = f'question,answer\nWhen?,noon\n"{ASKED}",the reef\n'.encode()
    else:
        held = io.BytesIO()
        pq.write_table(pa.table({"question": ["When?", ASKED], "answer": ["noon", "the reef"]}), held)
        data = held.getvalue()
    bring(tides, charlie.user, {name: data})
    run_jobs("moderation.screen_data")
    row = 3 if name.endswith(".csv") else 2  # of a text file the line
    assert [where for rule, where, _ in found_in(tides, name) if rule == "shared_text"] == [f"row {row}"]


def test_what_is_not_for_strangers_is_not_told(alice: Any, tides: Any, charlie: Any) -> None:
    files = {"suite.yaml": SUITE, "texts.jsonl": lines({"text": ASKED})}
    make_repo("dataset", "secret", alice.user, files, is_private=True)
    bring(tides, charlie.user, {"train.jsonl": lines(*ROWS)})
    run_jobs("moderation.screen_data")
    assert found_in(tides, "train.jsonl") == []


def test_a_suite_is_not_compared_with_suites(suite: Any) -> None:
    assert found_in(suite, "texts.jsonl") == []


def test_suites_are_indexed_once_for_each_state_of_them(suite: Any, tides: Any, alice: Any, charlie: Any) -> None:
    contamination.index_of.cache_clear()
    for name in ("a.jsonl", "b.jsonl"):
        bring(tides, charlie.user, {name: lines(chat(f"In {name}: {OTHER}"))})
    run_jobs("moderation.screen_data")
    assert (contamination.index_of.cache_info().misses, contamination.index_of.cache_info().hits) == (1, 1)
    fresh = "Where do the boats of the two lower piers lie while the lock is drained in winter?"
    bring(suite, alice.user, {"more.jsonl": lines({"text": fresh})})
    bring(tides, charlie.user, {"c.jsonl": lines(chat(fresh))})
    run_jobs("moderation.screen_data")
    assert contamination.index_of.cache_info().misses == 2
    assert "row 1 of more.jsonl in alice/core" in found_in(tides, "c.jsonl")[1][2]


def test_a_suite_beyond_the_bound_is_named(
    suite: Any, tides: Any, charlie: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    contamination.index_of.cache_clear()
    many = {"suite.yaml": SUITE, "texts.jsonl": lines(*({"text": f"{ASKED} {number}"} for number in range(4)))}
    make_repo("dataset", "large", charlie.user, many)
    monkeypatch.setattr(contamination, "MAX_WORDS", 60)
    bring(tides, charlie.user, {"train.jsonl": lines(chat(OTHER))})
    run_jobs("moderation.screen_data")
    rules = {rule: message for rule, _, message in found_in(tides, "train.jsonl")}
    assert "not with charlie/large" in rules["part_compared"] and "alice/core: 1" in rules["rows_shared"]
    contamination.index_of.cache_clear()


def test_only_the_first_rows_are_shown_and_all_are_counted(suite: Any, tides: Any, charlie: Any) -> None:
    bring(tides, charlie.user, {"train.jsonl": lines(*(chat(f"{number}: {OTHER}") for number in range(50)))})
    run_jobs("moderation.screen_data")
    rules = [rule for rule, _, _ in found_in(tides, "train.jsonl")]
    assert rules == ["rows_shared", *["shared_text"] * 20]
