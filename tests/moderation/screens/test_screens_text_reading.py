import gzip
import io
import json
import tracemalloc

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moderation.screens import worst
from moderation.screens.text_reading import TextReader
from tests.moderation.screens.screened import VALUES, only, rules, screen


def parquet(columns: dict, **options) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, **options)
    return buffer.getvalue()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=60), max_size=30), st.integers(1, 50))
def test_blocks_give_back_every_byte_of_utf8_text(lines, step):
    data = "\n".join(lines).encode().removeprefix(b"\xef\xbb\xbf")
    reader = TextReader("a.txt", [data[start : start + step] for start in range(0, len(data), step)])
    if b"\x00" not in data[:64] and not data.startswith((b"\xff\xfe", b"\xfe\xff")):
        whole = b"".join(block.data[block.fresh :] for block in reader.blocks() if b"\\u00" not in data)
        assert whole == (data if b"\\u00" not in data else b"")


def test_a_line_of_fifty_megabytes_is_read_in_flat_memory():
    key = VALUES["ghp"].encode()
    data = b"x" * (30 << 20) + b" " + key + b" " + b"x" * (20 << 20)
    tracemalloc.start()
    findings = screen("one.jsonl", data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40 << 20
    assert rules(findings) == {"github_token", "long_line"}
    assert findings[0].where == f"one.jsonl:1, byte {(30 << 20) + 1:,}"
    long_line = findings[1]
    assert long_line.severity == "info" and "Line 1 of one.jsonl" in long_line.message


def test_latin_1_is_read_and_the_first_wrong_byte_is_named():
    data = "ort,name\nKöln,Müller\nBonn,Schmidt\n".encode("latin-1")
    finding = only(screen("orte.csv", data))
    assert (finding.rule, finding.severity, finding.where) == ("encoding", "info", "orte.csv:2")
    assert "0xf6" in finding.message and "UTF-8" in finding.message


def test_zero_bytes_inside_text_are_named():
    assert only(screen("a.txt", b"tide\n" * 3000 + b"a\x00b\n")).where == "a.txt:3001"


def test_tabs_and_semicolons_separate_columns_too():
    key = VALUES["hf"]
    assert only(screen("a.tsv", f"name\tnote\nx\t{key}\n".encode())).where == "a.tsv:2, column note"
    assert only(screen("a.csv", f"name;note\nx;{key}\n".encode())).where == "a.csv:2, column note"


def test_parquet_is_read_through_lists_structs_and_maps_with_row_and_column():
    card, key = VALUES["visa_spaced"], VALUES["hf"]
    people = [[{"name": "a", "notes": ["x"]}], [{"name": "b", "notes": ["y", f"pays with {card}"]}], []]
    maps = pa.array([[("k", "v")], [], [("k", f"token {key}")]], pa.map_(pa.string(), pa.string()))
    findings = screen("a.parquet", parquet({"people": people, "extra": maps}))
    assert {(finding.rule, finding.where) for finding in findings} == {
        ("card_number", "row 2, column people[].notes[]"),
        ("hub_token", "row 3, column extra.value"),
    }


def test_parquet_numbers_that_are_cards_are_found_by_the_column():
    numbers = [int(VALUES["visa_bare"]) for _ in range(30)]
    findings = screen("a.parquet", parquet({"card_number": numbers, "n": list(range(30))}))
    assert worst(findings) == "block" and findings[0].where == "row 1, column card_number"


def test_parquet_values_are_not_joined_into_one():
    assert screen("a.parquet", parquet({"a": ["4539 1488", "0343 6467"]})) == []


def test_rows_in_later_row_groups_keep_their_number():
    values = [f"row {n}" for n in range(10_000)]
    values[7_654] = VALUES["ghp"]
    finding = only(screen("a.parquet", parquet({"text": values}, row_group_size=500)))
    assert finding.where == "row 7655, column text"


@pytest.mark.parametrize("compression", ["zstd", "gzip", "snappy"])
def test_a_parquet_dictionary_that_stands_for_gigabytes_is_read_once(compression):
    long = "tide " * 400_000
    table = pa.table({"text": pa.DictionaryArray.from_arrays(pa.array([0] * 50_000, pa.int32()), pa.array([long]))})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression=compression)
    assert worst(screen("a.parquet", buffer.getvalue(), budget_s=30)) == "clear"


def test_broken_parquet_is_held_and_says_why():
    good = parquet({"text": [f"the tide {n}" for n in range(5000)]})
    for data in (good[: len(good) // 2], good[:200] + b"\xff" * 300 + good[500:], b"PAR1" + b"\0" * 100 + b"PAR1"):
        finding = only([f for f in screen("a.parquet", data) if f.severity != "info"])
        assert (
            finding.rule == "unreadable" and finding.severity == "hold" and "upload it in plain form" in finding.message
        )


def test_a_screen_that_runs_out_of_time_holds_and_says_so():
    data = b'{"text": "the tide comes in and goes out again"}\n' * 400_000
    findings = screen("big.jsonl", data, budget_s=0.05)
    assert only(findings).rule == "unfinished" and worst(findings) == "hold"
    finding = only(screen("big.parquet", parquet({"text": ["the tide"] * 10}), budget_s=0.02))
    assert finding.rule == "unfinished"


def test_what_was_found_before_the_time_ran_out_stays():
    data = VALUES["ghp"].encode() + b"\n" + b'{"text": "the tide comes in and goes out again"}\n' * 400_000
    assert rules(screen("big.jsonl", data, budget_s=0.05)) == {"github_token", "unfinished"}


def test_an_empty_file_is_clear():
    assert screen("empty.txt", b"") == [] and screen("empty.jsonl", b"", quick=False) == []


def test_json_of_great_depth_or_with_huge_numbers_never_raises():
    for text in ("[" * 200_000, '{"a":' * 50_000, "9" * 100_000, '{"a": 1e999999}'):
        row = text + VALUES["ghp"]
        for name in ("a.json", "a.jsonl", "config.json", "a.csv"):
            screen(name, f"a,b\n{text} {row}\n".encode())


def test_a_packed_chat_file_names_the_row():
    rows = "\n".join(json.dumps({"messages": [{"content": f"hi {n}"}]}) for n in range(10))
    packed = gzip.compress(f'{rows}\n{{"messages": [{{"content": "{VALUES["hf"]}"}}]}}\n'.encode())
    assert only(screen("chat.jsonl.gz", packed)).where == "row 11, column messages[0].content"
