import bz2
import gzip
import io
import json
import lzma
import pickle
import struct
import tarfile
import time
import zipfile
import zlib

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save as save_safetensors

from moderation.screens import worst
from moderation.screens.config_check import check_config
from moderation.screens.limits import Deadline
from tests.moderation.screens.makers import CANARY, Shell, tarred, zipped
from tests.moderation.screens.screened import VALUES, only, rules, screen

PICKLES = {protocol: pickle.dumps(Shell(), protocol) for protocol in range(6)}
CHECKPOINT = {"archive/data.pkl": PICKLES[2], "archive/data/0": b"\x00" * 64, "archive/version": b"3\n"}
OBJECTS = io.BytesIO()
np.save(OBJECTS, np.array([{"a": 1}], dtype=object), allow_pickle=True)
HOSTILE = {
    **{f"protocol-{protocol}.txt": data for protocol, data in PICKLES.items()},
    "weights.bin": PICKLES[4],
    "data.jsonl": PICKLES[5],
    "cut-short.pkl": PICKLES[4][:-3],
    "old-cut-short.txt": PICKLES[0][:-1] + b"rest",
    "harmless.pickle": pickle.dumps({"step": 3}),
    "harmless-old.dat": pickle.dumps([{"step": 3}, {"step": 4}], 0),
    "checkpoint.pt": zipped(CHECKPOINT),
    "packed-checkpoint.bin": zipped(CHECKPOINT, zipfile.ZIP_DEFLATED),
    "model.safetensors": zipped(CHECKPOINT),
    "renamed-member.pt": zipped({"archive/readme.txt": PICKLES[4]}),
    "odd-bytes.pt": zipped({"archive/data.pkl": b"# just text\n"}),
    "behind-text.txt": b"harmless text\n" * 100 + zipped(CHECKPOINT),
    "checkpoint.tar": tarred({"sys_info": b"x", "pickle": PICKLES[2]}),
    "checkpoint.tar.gz": gzip.compress(tarred({"storages": PICKLES[2]})),
    "model.joblib": zlib.compress(PICKLES[4]),
    "model.pkl.gz": gzip.compress(PICKLES[4]),
    "model.pkl.bz2": bz2.compress(PICKLES[4]),
    "model.pkl.xz": lzma.compress(PICKLES[4]),
    "objects.npy": OBJECTS.getvalue(),
    "objects.npz": zipped({"a.npy": OBJECTS.getvalue()}),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_pickle_is_withheld_under_any_name_and_never_loaded(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    findings = screen(name, HOSTILE[name])
    assert worst(findings) == "block", findings
    assert findings[0].rule in ("pickle", "dangerous_pickle")
    assert "never loaded" in findings[0].message and len(findings[0].excerpt) <= 120
    assert not (tmp_path / CANARY).exists()


def test_the_scanner_names_what_a_pickle_would_do():
    finding = only(screen("training_args.bin", PICKLES[4]))
    assert finding.rule == "dangerous_pickle" and "system" in finding.excerpt


def test_a_zip_with_a_wrong_checksum_or_an_encryption_flag_hides_nothing():
    good = zipped({"archive/blob": PICKLES[4]})
    wrong_checksum = good.replace(struct.pack("<L", zlib.crc32(PICKLES[4])), b"\1\2\3\4")
    assert wrong_checksum != good and worst(screen("a.pt", wrong_checksum)) == "block"
    directory = good.index(b"PK\x01\x02")
    flagged = good[: directory + 8] + b"\x01" + good[directory + 9 :]
    assert worst(screen("a.pt", flagged)) != "clear"


def test_word_lists_and_prose_are_no_pickles():
    for text in (
        "cat\ndog\nRabbit\n",
        "0.5,1\n.",
        "(a)\n(b)\n",
        "I1\nI2\n.",
        "c\nd\ne\n",
        "csv\nis fine\nR.\n",
        "]",
        "isympy\nsympy\n",
    ):
        assert screen("words.txt", text.encode()) == [], text


def safetensors_with(header: bytes, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header)) + header + data


def entry(start: int, stop: int, shape: list[int] | None = None, dtype: str = "F32") -> dict:
    return {"dtype": dtype, "shape": [(stop - start) // 4] if shape is None else shape, "data_offsets": [start, stop]}


BAD_HEADERS = {
    "header of 2^62 bytes": struct.pack("<Q", 2**62) + b"{}" + b"\x00" * 64,
    "overlap": safetensors_with(json.dumps({"a": entry(0, 8), "b": entry(4, 12)}).encode(), b"\0" * 12),
    "gap": safetensors_with(json.dumps({"a": entry(0, 4), "b": entry(8, 12)}).encode(), b"\0" * 12),
    "trailing bytes": safetensors_with(json.dumps({"a": entry(0, 8)}).encode(), b"\0" * 12),
    "too few bytes": safetensors_with(json.dumps({"a": entry(0, 8)}).encode(), b"\0" * 4),
    "shape overflow": safetensors_with(json.dumps({"a": entry(0, 8, [2**40, 2**40])}).encode(), b"\0" * 8),
    "negative shape": safetensors_with(json.dumps({"a": entry(0, 8, [-2])}).encode(), b"\0" * 8),
    "shape that does not fit": safetensors_with(json.dumps({"a": entry(0, 8, [3])}).encode(), b"\0" * 8),
    "unknown type": safetensors_with(json.dumps({"a": entry(0, 8, dtype="O")}).encode(), b"\0" * 8),
    "repeated name": safetensors_with(
        b'{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}',
        b"ab",
    ),
    "deep nesting": safetensors_with(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "no JSON": safetensors_with(b"{not json}"),
    "a list": safetensors_with(b"[1]"),
    "endless number": safetensors_with(b'{"a":' + b"9" * 5000 + b"}"),
    "cut": b"\x08\x00\x00",
}


@pytest.mark.parametrize("case", BAD_HEADERS)
def test_an_unsound_safetensors_header_is_held(case):
    findings = screen("model.safetensors", BAD_HEADERS[case])
    assert "bad_safetensors" in rules(findings) and worst(findings) == "hold"


def test_sound_weights_are_clear_and_their_metadata_is_read():
    weights = {"w": np.arange(12, dtype=np.float32).reshape(3, 4), "b": np.zeros(2, np.float16)}
    assert screen("model.safetensors", save_safetensors(weights)) == []
    assert screen("model.safetensors", save_safetensors(weights), quick=False) == []
    leaking = save_safetensors(weights, metadata={"note": f"token {VALUES['hf']}"})
    assert only(screen("model.safetensors", leaking)).rule == "hub_token"


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_nan_and_infinity_in_weights_are_found_by_the_full_screen(dtype):
    for bad in (np.nan, np.inf, -np.inf):
        weights = {"good": np.ones(5, dtype), "layer.1": np.array([1.0, bad, 2.0], dtype)}
        assert only(screen("m.safetensors", save_safetensors(weights), quick=False)).rule == "not_finite"


def test_a_large_configuration_costs_no_more_than_it_is_long():
    keys = ",".join(f'"k{number}":0' for number in range(300_000))
    for config, expected in (
        ("{" + keys + ',"k299999":1}', {"repeated_key"}),
        ('{"' + "k" * 1_000_000 + '":[' + ",".join("0" * 300_000) + "]}", set()),
        ('{"' + "k" * 1_000_000 + '":{' + keys + "}}", set()),
    ):
        before = time.process_time()
        assert rules(list(check_config("config.json", config.encode(), Deadline(60)))) == expected
        assert time.process_time() - before < 20


def test_json_of_many_values_is_left_to_the_job_and_of_too_many_to_nobody(monkeypatch):
    """Three bytes of a text became sixty in memory, within the request that brought them."""
    monkeypatch.setattr("moderation.screens.limits.QUICK_JSON_VALUES", 1_000)
    monkeypatch.setattr("moderation.screens.limits.MAX_JSON_VALUES", 5_000)
    many = b'{"model": {"vocab": [' + b"{}," * 1_000 + b"{}]}}"
    header = b'{"a":[' + b"[]," * 1_000 + b"[]]}"
    weights = len(header).to_bytes(8, "little") + header
    for name, data in (("tokenizer.json", many), ("config.json", many), ("a.ipynb", many), ("m.safetensors", weights)):
        assert "unfinished" in rules(screen(name, data)), name
        assert "unfinished" not in rules(screen(name, data, quick=False)), name
        assert "unreadable" in rules(screen(name, data + b"[" * 5_000, quick=False)) or name == "m.safetensors"
    monkeypatch.setattr("moderation.screens.limits.QUICK_JSON_BYTES", 1_000)
    assert "unfinished" in rules(screen("config.json", b'{"a": "' + b"x" * 1_000 + b'"}'))


def test_a_configuration_that_runs_repository_code_is_held():
    config = {"model_type": "llama", "nested": {"auto_map": {"AutoModel": "modeling.Mine"}}}
    finding = only(screen("config.json", json.dumps(config).encode()))
    assert (finding.rule, finding.severity) == ("remote_code", "hold") and "nested.auto_map" in finding.excerpt
    assert only(screen("sub/tokenizer_config.json", b'{"trust_remote_code": true}')).rule == "remote_code"
    assert screen("config.json", b'{"model_type": "llama", "trust_remote_code": false, "hidden_size": 576}') == []
    assert only(screen("config.json", b'{"vocab_size": 99999999999999}')).rule == "impossible_size"


@pytest.mark.parametrize(
    "template",
    [
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{{ messages|attr('\\x5f\\x5fclass\\x5f\\x5f') }}",
        "{% include '/etc/passwd' %}",
        "{{ ''['__class__'] }}",
    ],
)
def test_a_chat_template_that_reaches_into_python_is_held(template):
    assert only(screen("chat_template.jinja", template.encode())).rule == "chat_template"
    named = {"chat_template": [{"name": "default", "template": template}]}
    assert only(screen("tokenizer_config.json", json.dumps(named).encode())).rule == "chat_template"


def test_an_ordinary_chat_template_is_clear():
    template = (
        "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
        "{{ '<|im_start|>system\n' }}"
        "{% endif %}{{ '<|im_start|>' + message['role'] + '\n' + message.content | trim + '<|im_end|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
        "{{ raise_exception('no') if x is defined }}"
    )
    assert screen("tokenizer_config.json", json.dumps({"chat_template": template}).encode()) == []


def test_programs_and_closed_archives_are_held_by_their_magic():
    for data in (b"\x7fELF\x02\x01\x01" + b"\0" * 60, b"MZ" + b"\x90\0" * 40, b"\xcf\xfa\xed\xfe" + b"\0" * 60):
        assert only(screen("readme.txt", data)).rule == "program"
    assert only(screen("data.bin", b"7z\xbc\xaf\x27\x1c" + b"\0" * 40)).rule == "closed_archive"


def test_pictures_with_scripts_are_held_and_pages_with_scripts_are_shown():
    script = b"<script>alert(1)</script>"
    picture = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg">%s</svg>'
    assert only(screen("logo.svg", picture % script)).severity == "hold"
    assert only(screen("logo.txt", picture % b'<g onload="x()"/>')).severity == "hold"
    assert screen("logo.svg", picture % b'<circle r="3"/>') == []
    assert only(screen("page.html", b"<!doctype html><body>%s" % script)).severity == "info"


def test_a_file_that_is_not_what_its_name_says_is_held():
    assert "false_name" in rules(screen("a.parquet", b"plain text\n"))
    assert "pickle_name" in rules(screen("a.pt", bytes(range(128, 256)) * 10))


def test_a_key_in_binary_content_is_found_too():
    data = bytes((n * 7919 + 5) % 251 for n in range(100_000))
    with_key = data + b"\x00 " + VALUES["ghp"].encode() + b" \x00" + data
    assert worst(screen("blob.bin", with_key, quick=False)) == "block"


def test_archives_of_plain_files_are_read_member_by_member():
    rows = f'{{"text": "{VALUES["hf"]}"}}\n'.encode()
    assert screen("texts.zip", zipped({"a.jsonl": b'{"text": "tide"}\n'})) == []
    for name, data in {
        "texts.zip": zipped({"a.jsonl": rows}, zipfile.ZIP_DEFLATED),
        "texts.tar": tarred({"a.jsonl": rows}),
        "texts.tar.gz": gzip.compress(tarred({"a.jsonl": rows})),
        "texts.jsonl.gz": gzip.compress(rows),
        "texts.jsonl.xz": lzma.compress(rows),
    }.items():
        assert only(screen(name, data)).rule == "hub_token", name


def test_archives_that_write_elsewhere_or_hold_links_or_archives_are_held():
    assert "unsafe_archive_member" in rules(screen("a.zip", zipped({"../../etc/cron.d/x": b"text"})))
    assert "unsafe_archive_member" in rules(screen("a.tar", tarred({"/etc/passwd": b"text"})))
    link = io.BytesIO()
    with tarfile.open(fileobj=link, mode="w") as archive:
        info = tarfile.TarInfo("a")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(info)
    assert "unsafe_archive_member" in rules(screen("a.tar", link.getvalue()))
    assert "nested" in rules(screen("a.zip", zipped({"b.zip": zipped({"c.txt": b"c"})})))


@pytest.mark.parametrize(("ending", "pack"), [("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)])
def test_a_packed_bomb_is_stopped_early_and_held(ending, pack):
    bomb = pack(b" " * (50 << 20))
    started = time.monotonic()
    findings = screen(f"rows.jsonl.{ending}", bomb)
    assert worst(findings) == "hold" and "unpack from each stored byte" in findings[0].message
    assert time.monotonic() - started < 10


def test_a_bomb_inside_a_zip_is_stopped():
    findings = screen("a.zip", zipped({"a.txt": b" " * (100 << 20)}, zipfile.ZIP_DEFLATED))
    assert worst(findings) == "hold" and "unreadable" in rules(findings)


def test_a_tar_header_cannot_ask_for_memory():
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 8 << 30
    findings = screen("a.tar", info.tobuf(tarfile.GNU_FORMAT) + b"0" * 100_000)
    assert worst(findings) == "hold" and "at once" in findings[0].message


def test_broken_archives_are_held_and_never_raise():
    for name, data in {
        "a.zip": zipped(CHECKPOINT),
        "a.tar": tarred({"a": b"b" * 2000}),
        "a.gz": gzip.compress(b"a" * 999),
    }.items():
        for cut in range(1, len(data), max(len(data) // 40, 1)):
            assert isinstance(screen(name, data[:cut]), list)
            assert isinstance(screen(name, data[:cut] + b"\xff\x00" + data[cut + 2 :]), list)


@pytest.mark.parametrize(("name", "codec"), [("rows.jsonl.zst", "zstd"), ("rows.jsonl.lz4", "lz4")])
def test_zstd_and_lz4_files_are_read_and_their_bombs_stopped(name, codec):
    def pack(data: bytes) -> bytes:
        sink = pa.BufferOutputStream()
        with pa.CompressedOutputStream(sink, codec) as stream:
            stream.write(data)
        return sink.getvalue().to_pybytes()

    rows = f'{{"text": "{VALUES["hf"]}"}}\n'.encode()
    assert only(screen(name, pack(rows))).where == "row 1, column text"
    assert rules(screen(name, pack(rows)[:-5])) == {"unreadable"}
    bomb = pack(b" " * (64 << 20))
    assert worst(screen(name, bomb)) == "hold" and len(bomb) < (64 << 20) / 100


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(HOSTILE)), st.integers(0, 400), st.binary(max_size=8), st.booleans())
def test_damaged_files_never_raise_and_say_one_sentence(name, at, patch, quick):
    data = HOSTILE[name]
    for finding in screen(name, data[:at] + patch + data[at + len(patch) :], quick=quick):
        assert len(finding.excerpt) <= 120 and finding.message.endswith(".") and finding.where
