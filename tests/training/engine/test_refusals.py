"""Bad inputs: exit 2, and one sentence that says what, where and how to mend it."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.training.engine.tiny_models import Bench, make_bench, make_chat_rows, refusal, write_rows
from training.engine.corpus.readers import MAX_LINE_BYTES, read_csv
from training.engine.errors import EngineError
from training.engine.hf_format import read_shape

TRAIN = "method: full, steps: 2, batch_tokens: 128"


@pytest.fixture
def bench(tmp_path) -> Bench:
    bench = make_bench(tmp_path)
    bench.write_recipe(train=TRAIN)
    return bench


def refuse(bench: Bench) -> tuple[str, str]:
    code, events = bench.run()
    assert code == 2, events[-1]
    assert not (bench.folder / "out" / "model").exists() and not (bench.folder / "out" / "corpus").exists()
    return refusal(events)


def test_an_empty_dataset(bench):
    bench.rows_file.write_text("\n\n")
    assert refuse(bench) == ("no_usable_rows", "bob/tides has no rows in split train; add some")


def test_only_empty_answers(bench):
    write_rows(bench.rows_file, [{"question": f"sea {i}?", "answer": ""} for i in range(12)])
    code, message = refuse(bench)
    assert code == "no_usable_rows" and message == (
        "bob/tides has no usable rows: all 12 were left out (12 empty_answer (first: bob/tides/train.jsonl row 1)); "
        "mend or remove them"
    )


def test_wrong_encoding_names_the_byte(bench):
    data = json.dumps({"question": "sea?", "answer": "tide"}).encode() + b"\n"
    bench.rows_file.write_bytes(data + '{"question": "Über?", "answer": "ja"}\n'.encode("latin-1"))
    code, message = refuse(bench)
    at = len(data) + len('{"question": "')
    assert code == "wrong_encoding"
    assert message == f"bob/tides/train.jsonl:2: byte {at} (0xdc) is not UTF-8; save the file as UTF-8"


def test_a_csv_in_another_encoding(bench):
    bench.rows_file.with_suffix(".csv").write_bytes("question,answer\nWo?,Überall\n".encode("utf-16"))
    bench.rows_file.unlink()
    assert refuse(bench)[0] == "wrong_encoding"


def test_a_very_long_line(bench):
    long = json.dumps({"question": "sea?", "answer": "x" * MAX_LINE_BYTES})
    bench.rows_file.write_text(bench.rows_file.read_text() + long + "\n")
    code, message = refuse(bench)
    assert (code, message) == (
        "line_too_long",
        "bob/tides/train.jsonl:41: the line is longer than 4 MiB; split it into several rows",
    )


def test_a_missing_column_names_those_found_and_wanted(bench):
    write_rows(bench.rows_file, [{"frage": "See?", "antwort": "Flut"}] * 3)
    code, message = refuse(bench)
    assert code == "missing_column"
    assert "bob/tides/train.jsonl lacks the columns of format chat: it has antwort, frage; rename them to" in message


def test_chat_rows_offered_as_text(bench):
    bench.write_recipe(train=TRAIN, format="text")
    assert "it has answer, question; rename them to text" in refuse(bench)[1]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{broken", "bob/tides/train.jsonl:1: not valid JSON"),
        ('["a", "list"]', "bob/tides/train.jsonl:1: a row must be a JSON object"),
        ('{"question": NaN}', "NaN is not JSON"),
        ("[" * 100_000, "nested too deeply"),
        ('{"question": ' + "1" * 5000 + "}", "not valid JSON"),
    ],
)
def test_a_malformed_line(bench, line, said):
    bench.rows_file.write_text(line + "\n")
    code, message = refuse(bench)
    assert code == "malformed_row" and said in message


def test_a_csv_row_with_too_many_cells(bench):
    bench.rows_file.with_suffix(".csv").write_text("question,answer\nsea?,tide, or wind\n")
    bench.rows_file.unlink()
    code, message = refuse(bench)
    assert code == "malformed_row" and message.startswith("bob/tides/train.csv:2: 3 cells stand under 2 columns")


def test_a_broken_row_of_a_json_array_is_named(bench):
    rows = [{"question": "sea?", "answer": "tide"}] * 3
    broken = json.dumps(rows)[:-1] + ', {"question": "wind?" "answer": "west"}]'
    bench.rows_file.with_suffix(".json").write_text(broken)
    bench.rows_file.unlink()
    code, message = refuse(bench)
    assert code == "malformed_row" and message.startswith("bob/tides/train.json row 4: not valid JSON")


def test_a_csv_with_semicolons_is_read_as_a_spreadsheet_wrote_it(tmp_path):
    path = tmp_path / "fragen.csv"
    path.write_bytes('\ufefffrage;antwort\nWann, und wo?;"Um sechs; am Hafen"\n'.encode())
    assert list(read_csv(path, "fragen.csv")) == [{"frage": "Wann, und wo?", "antwort": "Um sechs; am Hafen"}]
    path.write_text('"a;b",c\n1;2,3\n')
    assert list(read_csv(path, "fragen.csv")) == [{"a;b": "1;2", "c": "3"}], "what has commas is read by commas"
    path.write_text("")
    assert list(read_csv(path, "fragen.csv")) == []


def test_a_file_that_is_no_parquet(bench):
    bench.rows_file.with_suffix(".parquet").write_bytes(b"PAR1 but not really PAR1")
    bench.rows_file.unlink()
    code, message = refuse(bench)
    assert code == "malformed_file" and "bob/tides/train.parquet is no readable parquet file" in message


def test_a_parquet_bomb(bench):
    table = pa.table({"question": ["a" * 1000] * 100_000, "answer": ["b" * 1000] * 100_000})
    pq.write_table(table, bench.rows_file.with_suffix(".parquet"), compression="zstd", use_dictionary=False)
    bench.rows_file.unlink()
    assert refuse(bench)[0] == "file_too_large"


def test_no_file_of_the_split(bench):
    bench.rows_file.rename(bench.rows_file.with_name("test.jsonl"))
    code, message = refuse(bench)
    assert code == "split_missing" and "bob/tides@main has no split 'train' (found: test)" in message


def test_an_unreadable_revision_folder(bench):
    for path in bench.rows_file.parent.iterdir():
        path.unlink()
    assert refuse(bench) == (
        "input_unreadable",
        "dataset bob/tides@main cannot be read (the folder is empty); fetch the inputs again",
    )


def test_a_dataset_that_was_not_fetched(bench):
    bench.rows_file.unlink()
    bench.rows_file.parent.rmdir()
    code, message = refuse(bench)
    assert code == "input_missing" and "dataset bob/tides@main is not among the inputs" in message


def test_inputs_that_point_outside(bench):
    entry = {"type": "dataset", "id": "bob/tides", "revision": "main", "folder": "../../etc"}
    (bench.inputs / "inputs.json").write_text(json.dumps({"version": 1, "repositories": [entry]}))
    code, message = refuse(bench)
    assert code == "inputs_invalid" and "lies outside of the inputs" in message


def test_a_link_out_of_the_inputs(bench, tmp_path):
    secret = write_rows(tmp_path / "secret.jsonl", make_chat_rows(3))
    (bench.rows_file.parent / "more.jsonl").symlink_to(secret)
    code, message = refuse(bench)
    assert code == "input_outside" and "more.jsonl is a link out of the inputs folder" in message


def test_a_typo_in_the_recipe_has_line_and_column(bench):
    recipe = bench.folder / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("steps", "stepps"))
    code, events = bench.run()
    assert code == 2 and "recipe.yaml:6:" in refusal(events)[1] and "did you mean 'steps'?" in refusal(events)[1]


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


def test_pickled_weights_are_never_loaded(bench, tmp_path):
    (bench.base / "model.safetensors").unlink()
    (bench.base / "pytorch_model.bin").write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    code, message = refuse(bench)
    assert code == "weights_unsafe" and "pytorch_model.bin may hold code and is never loaded" in message
    assert not (tmp_path / "sprung").exists()


def test_pickles_beside_safetensors_are_not_touched(bench, tmp_path):
    for name in ("pytorch_model.bin", "training_args.bin", "optimizer.pt"):
        (bench.base / name).write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    assert bench.run()[0] == 0
    assert not (tmp_path / "sprung").exists()
    assert not list((tmp_path / "out" / "model").glob("*.bin"))


def change_json(path: Path, **changes) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_code_in_a_model_repository_is_never_run(bench, tmp_path, name):
    (bench.base / "evil.py").write_text(f"open({str(tmp_path / 'sprung')!r}, 'w')")
    change_json(bench.base / name, auto_map={"AutoModelForCausalLM": "evil.Model", "AutoTokenizer": ["evil.T", None]})
    code, message = refuse(bench)
    assert code == "remote_code" and f"{name} of alice/tiny@main asks to run its own code (auto_map)" in message
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"model_type": "rwkv"}, "model_type_unknown"),
        ({"model_type": "gemma3_text", "use_bidirectional_attention": True}, "model_type_unknown"),
        ({"head_dim": 10**9}, "config_invalid"),
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, "quantized"),
        ({"num_hidden_layers": 10**9}, "config_invalid"),
        ({"hidden_size": "many"}, "config_invalid"),
    ],
)
def test_a_config_that_cannot_be_trained(bench, changes, code):
    change_json(bench.base / "config.json", **changes)
    assert refuse(bench)[0] == code


def test_a_size_under_its_second_name(bench):
    change_json(bench.base / "config.json", model_type="gpt_oss", num_experts=10**9)
    with pytest.raises(EngineError, match="num_local_experts must be 1 to 1024"):
        read_shape(bench.base, "tiny")


def test_weights_that_lack_a_layer(bench):
    change_json(bench.base / "config.json", num_hidden_layers=3)
    code, events = bench.run()
    assert code == 2 and refusal(events)[0] == "weights_invalid"
    assert "lack model.layers.2" in refusal(events)[1]


def test_damaged_weights(bench):
    weights = bench.base / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    code, events = bench.run()
    assert code == 2 and refusal(events)[0] == "weights_invalid"


def test_an_adapter_named_as_base(bench):
    for path in bench.base.iterdir():
        path.unlink()
    (bench.base / "adapter_config.json").write_text("{}")
    assert "it is an adapter; name the model it belongs to" in refuse(bench)[1]


def test_a_chat_template_that_never_ends(bench, monkeypatch):
    monkeypatch.setattr("training.engine.tokenizer.TEMPLATE_TIMEOUT_S", 0.3)
    loop = "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}"
    (bench.base / "chat_template.jinja").write_text(loop)
    assert refuse(bench) == ("template_timeout", "The chat template runs too long; simplify it")


def test_a_chat_template_that_reaches_for_the_machine(bench):
    (bench.base / "chat_template.jinja").write_text("{{ ''.__class__.__mro__[1].__subclasses__() }}")
    code, message = refuse(bench)
    assert code == "no_usable_rows" and "template_refused" in message
