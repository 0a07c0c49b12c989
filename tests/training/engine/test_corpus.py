"""The corpus: every shape of row becomes the same tokens, and every token knows who brought it."""

from __future__ import annotations

import csv
import json
import random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.training.engine.tiny_models import WORDS, make_bench, make_chat_rows, make_sentences, write_rows
from training.engine.batches import Batches
from training.engine.config import Facts, finish_plan, make_plan
from training.engine.corpus import open_corpus
from training.engine.corpus.contamination import ContaminationFilter
from training.engine.corpus.duplicates import NearFilter
from training.engine.corpus.personal_data import mask_text
from training.engine.recipe import parse_recipe
from training.engine.tokenizer import load_tokenizer

TRAIN = "method: full, steps: 2"


def prepare(bench, out="out", **recipe):
    bench.write_recipe(train=TRAIN, **recipe)
    code, events = bench.run(out, "--until", "prepare")
    assert code == 0, events[-1]
    done = next(e for e in events if e["event"] == "stage" and e["state"] == "done")
    return open_corpus(bench.folder / out / "corpus"), done


def texts_of(corpus, bench, *, learnt_only=False):
    tokenizer = load_tokenizer(bench.base, name="tiny")
    bounds = corpus.offsets
    texts = []
    for i in range(len(bounds) - 1):
        part = slice(bounds[i], bounds[i + 1])
        ids = corpus.tokens[part]
        texts.append(tokenizer.decode(ids[corpus.learnt[part] == 1] if learnt_only else ids))
    return texts


def test_building_twice_gives_the_same_digest(tmp_path):
    bench = make_bench(tmp_path, make_chat_rows(150))
    first, _ = prepare(bench, "first")
    second, _ = prepare(bench, "second")
    assert first.digest == second.digest
    for name in ("tokens.bin", "mask.bin", "documents.npy", "rows.jsonl", "heldout.jsonl", "manifest.json"):
        assert (first.folder / name).read_bytes() == (second.folder / name).read_bytes()


def test_only_answers_and_their_end_are_learnt(tmp_path):
    row = {
        "messages": [
            {"role": "system", "content": "Be short."},
            {"role": "user", "content": "sea?"},
            {"role": "assistant", "content": "tide"},
            {"role": "user", "content": "wind?"},
            {"role": "assistant", "content": "storm sail"},
        ]
    }
    bench = make_bench(tmp_path, [row])
    corpus, _ = prepare(bench)
    assert texts_of(corpus, bench, learnt_only=True) == ["tide<|im_end|>storm sail<|im_end|>"]
    whole = texts_of(corpus, bench)[0]
    assert whole.startswith("<|im_start|>system\nBe short.<|im_end|>\n<|im_start|>user\nsea?<|im_end|>")
    assert whole.endswith("storm sail<|im_end|>")


def test_a_text_is_learnt_whole_with_its_end(tmp_path):
    bench = make_bench(tmp_path, [{"text": "sea wind tide"}])
    corpus, _ = prepare(bench, format="text")
    assert texts_of(corpus, bench) == ["sea wind tide<|im_end|>"]
    assert corpus.learnt.all()


def test_all_shapes_of_a_conversation_give_the_same_tokens(tmp_path):
    shapes = [
        {"messages": [{"role": "user", "content": "Why?\n\nsea"}, {"role": "assistant", "content": "tide"}]},
        {"prompt": "Why?\n\nsea", "completion": "tide"},
        {"question": "Why?\n\nsea", "answer": "tide", "source": "a column more"},
        {"instruction": "Why?", "input": "sea", "output": "tide"},
    ]
    tokens = []
    for number, shape in enumerate(shapes):
        bench = make_bench(tmp_path / str(number), [shape])
        corpus, _ = prepare(bench)
        tokens.append(corpus.tokens.tolist())
    assert all(t == tokens[0] for t in tokens)


def test_all_file_types_give_the_same_rows(tmp_path):
    rows = make_chat_rows(30)
    benches = [make_bench(tmp_path / kind, rows) for kind in ("jsonl", "csv", "tsv", "json", "parquet")]
    for bench in benches:
        kind = bench.folder.name
        path = bench.rows_file.with_suffix(f".{kind}")
        if kind in ("csv", "tsv"):
            with path.open("w", encoding="utf-8-sig", newline="") as file:  # with the mark that spreadsheets write
                writer = csv.DictWriter(file, ["question", "answer"], delimiter="," if kind == "csv" else "\t")
                writer.writeheader()
                writer.writerows(rows)
        elif kind == "json":
            path.write_text(json.dumps(rows))
        elif kind == "parquet":
            pq.write_table(pa.Table.from_pylist(rows), path)
        if kind != "jsonl":
            bench.rows_file.unlink()
    corpora = [prepare(bench)[0] for bench in benches]
    for corpus in corpora[1:]:
        assert np.array_equal(corpus.tokens, corpora[0].tokens)
        assert [r["row"] for r in corpus.read_rows()] == [r["row"] for r in corpora[0].read_rows()]


def test_every_packed_token_leads_to_row_contributor_and_pull_request(tmp_path):
    bench = make_bench(tmp_path)
    folder = bench.rows_file.parent
    bench.rows_file.unlink()
    write_rows(folder / "alice.jsonl", make_chat_rows(8, seed=1))
    write_rows(folder / "bob.jsonl", make_chat_rows(8, seed=2))
    people = {
        "alice.jsonl": [{"contributor": "alice", "pull_request": 3}],
        "bob.jsonl": [
            {"contributor": "bob", "pull_request": 7},
            {"contributor": "carol", "pull_request": 9, "rows": [4, 8]},
        ],
    }
    common = {"revision": "main", "commit": "a" * 40}
    entries = [
        {"type": "model", "id": "alice/tiny", "folder": "models/alice/tiny", **common},
        {"type": "dataset", "id": "bob/tides", "folder": "datasets/bob/tides", "contributors": people, **common},
    ]
    (bench.inputs / "inputs.json").write_text(json.dumps({"version": 1, "repositories": entries}))
    corpus, _ = prepare(bench)
    rows = corpus.read_rows()
    assert [r["contributor"] for r in rows] == ["alice"] * 8 + ["bob"] * 4 + ["carol"] * 4
    assert {r["contributor"]: r["pull_request"] for r in rows} == {"alice": 3, "bob": 7, "carol": 9}

    recipe = parse_recipe((tmp_path / "recipe.yaml").read_text())
    facts = Facts(10**5, 256, len(corpus.tokens), 60, "cpu", "fp32", 1)
    plan = make_plan(recipe, facts, {})
    batches = Batches(corpus, finish_plan(plan, rows=1, pinned={}))
    answers = {r["answer"]: ("alice" if i < 8 else "bob" if i < 12 else "carol") for i, r in enumerate(
        [*make_chat_rows(8, seed=1), *make_chat_rows(8, seed=2)]
    )}  # fmt: skip
    tokenizer = load_tokenizer(bench.base, name="tiny")
    checked = 0
    for row in range(batches.packing.rows):
        position = 0
        for _, document, start, length in batches.packing.pieces_of(row).tolist():
            at = corpus.offsets[document] + start
            text = tokenizer.decode(corpus.tokens[at : at + length + 1])
            who = next(name for answer, name in answers.items() if answer in text)
            for offset in (0, length - 1):
                found, _ = batches.packing.trace(row, position + offset)
                assert rows[found]["contributor"] == who
                checked += 1
            position += length
    assert checked == 32


def test_a_row_is_named_by_its_content_and_occurrence(tmp_path):
    from training.engine.digests import digest_json

    row = {"question": "sea?", "answer": "tide"}
    bench = make_bench(tmp_path, [row, {"question": "wind?", "answer": "storm"}, row])
    corpus, _ = prepare(bench, extra="prepare: {deduplicate: none}")
    names = [r["row"] for r in corpus.read_rows()]
    assert names[0] == f"bob/tides:{digest_json(row)}:1" and names[2] == f"bob/tides:{digest_json(row)}:2"
    assert corpus.read_rows()[0]["tokens"] == corpus.offsets[1]


def test_copies_and_near_copies_are_left_out(tmp_path):
    text = " ".join(make_sentences(1, words=200))
    changed = text.replace(text.split()[100], "lighthouse", 1)
    other = " ".join(make_sentences(1, words=200, seed=2))
    rows = [{"text": t} for t in (text, other, text, changed)]
    bench = make_bench(tmp_path, rows)
    corpus, done = prepare(bench, format="text")
    assert (done["rows"], done["dropped"]) == (2, {"duplicate": 1, "near_duplicate": 1})
    corpus, done = prepare(bench, "exact", format="text", extra="prepare: {deduplicate: exact}")
    assert (done["rows"], done["dropped"]) == (3, {"duplicate": 1})


def test_rows_from_one_mould_are_no_copies(tmp_path):
    """Tide tables: the same sentence with other numbers is another fact. Bad hash functions once dropped 122 of 200."""
    rng = random.Random(5)
    ports = ["Aberwick", "Brandsund", "Calderhaven", "Dunmore"]
    rows = [
        {
            "question": f"When is high water at {rng.choice(ports)} on day {i}, for a boat of {rng.randint(2, 30)} metres?",
            "answer": f"High water is at {rng.randint(0, 23)}:{rng.randint(10, 59)}. Ask for berth {rng.randint(1, 99)}.",
        }
        for i in range(200)
    ]
    _, done = prepare(make_bench(tmp_path, rows))
    assert done["rows"] + done["held_out"] >= 195


def test_near_copies_are_found_as_the_estimate_promises():
    """Against the true Jaccard similarity: well above 0.8 is found, well below is kept."""
    rng = random.Random(1)
    found = {True: [0, 0], False: [0, 0]}
    for _ in range(60):
        words = [f"w{rng.randint(0, 10**6)}" for _ in range(300)]
        for changes, is_copy in ((2, True), (30, False)):
            changed = list(words)
            for at in rng.sample(range(300), changes):
                changed[at] = "x"
            near = NearFilter()
            assert near.is_new(" ".join(words))
            found[is_copy][0] += not near.is_new(" ".join(changed))
            found[is_copy][1] += 1
    assert found[True][0] >= 0.97 * found[True][1] and found[False][0] == 0


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("write to jo.doe+x@mail.example.org now", "write to [email] now"),
        ("call +49 30 1234567 today", "call [phone] today"),
        ("call (555) 123-4567", "call [phone]"),
        ("pay DE89 3704 0044 0532 0130 00 please", "pay [iban] please"),
        ("card 4111 1111 1111 1111.", "card [card]."),
        ("card 378282246310005 or", "card [card] or"),
        ("from 8.8.8.8 came", "from [ip] came"),
    ],
)
def test_personal_data_are_masked(text, masked):
    assert mask_text(text) == (masked, 1)


@pytest.mark.parametrize(
    "text",
    [
        "high water at 04:12 and 16:37, 3.2 m",
        "DE89 3704 0044 0532 0130 01",  # the checksum is wrong
        "4111 1111 1111 1112",
        "127.0.0.1 and 192.168.1.10 and version 1.2.3.4.5",
        "2026-11-23 12:30:45",
        "0000 0000 0000 0000",
    ],
)
def test_what_looks_like_personal_data_and_is_none_stays(text):
    assert mask_text(text) == (text, 0)


def test_personal_data_never_reach_the_corpus(tmp_path):
    rows = [*make_chat_rows(5), {"question": "who?", "answer": "ask jo@example.org"}]
    bench = make_bench(tmp_path, rows)
    corpus, done = prepare(bench, "masked")
    assert "jo@" not in "".join(texts_of(corpus, bench)) and done["masked"] == 1
    _, done = prepare(bench, "dropped", extra="prepare: {personal_data: drop}")
    assert done["dropped"] == {"personal_data": 1}
    corpus, _ = prepare(bench, "kept", extra="prepare: {personal_data: keep}")
    assert "jo@" in "".join(texts_of(corpus, bench))


def test_questions_of_a_suite_are_left_out(tmp_path):
    asked = "which of these two harbours has the higher spring tide in March"
    rows = [*make_chat_rows(6), {"question": f"Tell me, {asked}?", "answer": "the reef"}]
    bench = make_bench(tmp_path, rows)
    suite = bench.inputs / "datasets" / "commons" / "suite"
    write_rows(suite / "tides.jsonl", [{"question": asked.upper() + "?", "choices": ["a", "b"], "answer": 0}])
    _, done = prepare(bench, extra="evaluate: [{suite: commons/suite@main}]")
    assert done["dropped"] == {"contaminated": 1}


def test_a_shared_instruction_is_no_contamination():
    instruction = " ".join(["Read", "this", "table", "of", "tides", *WORDS])
    known = ContaminationFilter([f"{instruction} " + " ".join(make_sentences(1, words=60, seed=3))])
    assert not known.holds_question(f"{instruction} " + " ".join(make_sentences(1, words=60, seed=4)))


@pytest.mark.parametrize(("leaves_out", "seen"), [("true", 1), ("false", 2)])
def test_the_share_of_questions_that_were_seen_is_counted_by_file(tmp_path, leaves_out, seen):
    """Of a question of 40 words 14 stand in a row: too little to leave the row out, enough to say so. What ten items share is
    an instruction; two words are nobody's; what is left out was not seen."""
    long, whole, unseen = (" ".join(make_sentences(1, words=40, seed=seed)) for seed in (70, 71, 72))
    instruction = "Read this table of the tides of all harbours on the coast and tell the hour of"
    part = " ".join(long.split()[10:24])
    rows = [
        *make_chat_rows(6),
        {"question": f"Please say: {part}", "answer": "the reef"},
        {"question": whole, "answer": "the buoy"},
        {"question": f"{instruction} the next ebb", "answer": "noon"},
    ]
    bench = make_bench(tmp_path, rows)
    suite = bench.inputs / "datasets" / "commons" / "suite"
    told = [{"question": f"{instruction} harbour {word} and nothing more", "answer": 0} for word in WORDS[:10]]
    write_rows(
        suite / "tides.jsonl", [*({"question": text, "answer": 0} for text in (long, whole, unseen, "What?")), *told]
    )
    write_rows(suite / "other.jsonl", [{"text": unseen}])
    extra = f"prepare: {{decontaminate: {leaves_out}}}\nevaluate: [{{suite: commons/suite@main}}]"
    corpus, _ = prepare(bench, leaves_out, extra=extra)
    (found,) = corpus.manifest["contamination"]
    assert found["suite"] == "commons/suite"
    assert found["files"] == {
        "other.jsonl": {"items": 1, "compared": 1, "seen": 0},
        "tides.jsonl": {"items": 14, "compared": 13, "seen": seen},
    }


def test_weights_are_shares_and_a_bigger_share_holds_the_smaller(tmp_path):
    bench = make_bench(tmp_path, make_chat_rows(300))
    write_rows(bench.inputs / "datasets" / "carol" / "more" / "train.jsonl", make_chat_rows(300, seed=50))
    kept = {}
    for weight in (0.25, 0.5):
        extra = "prepare: {deduplicate: exact}"
        bench.write_recipe(train=TRAIN, extra=extra)
        path = tmp_path / "recipe.yaml"
        line = f"    format: chat\n  - data: carol/more@main\n    weight: {weight}\n"
        path.write_text(path.read_text().replace("    format: chat\n", line))
        assert bench.run(f"out{weight}", "--until", "prepare")[0] == 0
        rows = open_corpus(tmp_path / f"out{weight}" / "corpus").read_rows()
        kept[weight] = {r["row"] for r in rows if r["row"].startswith("carol")}
        assert sum(r["row"].startswith("bob") for r in rows) > 280
    assert len(kept[0.25]) == pytest.approx(75, abs=25) and len(kept[0.5]) == pytest.approx(150, abs=30)
    assert len(kept[0.25] - kept[0.5]) <= 6  # but for those that are held out


def test_splits_are_told_by_file_names(tmp_path):
    bench = make_bench(tmp_path, make_chat_rows(10))
    write_rows(bench.rows_file.parent / "test.jsonl", make_chat_rows(5, seed=9))
    _, done = prepare(bench)
    assert done["rows"] == 10


def test_unusable_rows_are_counted_and_shown(tmp_path):
    rows = [
        *make_chat_rows(4),
        {"question": "sea?", "answer": "  "},
        {"question": "sea?"},
        {"question": 5, "answer": "x"},
        {"question": "sea?", "answer": "half \ud800 pair"},
        {"messages": [{"role": "user", "content": "alone"}]},
    ]
    _, done = prepare(make_bench(tmp_path, rows))
    assert done["rows"] == 4
    expected = {"empty_answer": 2, "missing_column": 1, "malformed": 1, "invalid_unicode": 1}
    assert done["dropped"] == expected
    assert done["examples"]["empty_answer"] == "bob/tides/train.jsonl row 5"


def test_a_corpus_is_reused_until_its_inputs_change(tmp_path):
    bench = make_bench(tmp_path)
    corpus, _ = prepare(bench)
    built = (corpus.folder / "tokens.bin").stat().st_mtime_ns
    corpus, _ = prepare(bench)
    assert (corpus.folder / "tokens.bin").stat().st_mtime_ns == built
    write_rows(bench.rows_file, make_chat_rows(41))
    corpus, done = prepare(bench)
    assert done["rows"] + done["held_out"] == 41
