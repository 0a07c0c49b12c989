"""Which formats are taken, told by content alone: what communities upload passes, and all else is held under any name."""

import gzip
import io
import pickle
import random
import struct

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pytest
from safetensors.numpy import save as save_safetensors

from moderation.screens import worst
from moderation.screens.formats import sniff
from tests.moderation.screens.makers import arrow, gguf, npy, parquet, png, tarred, zipped
from tests.moderation.screens.screened import only, rules, screen
from tests.recordings import make_recording

NOISE = random.Random(3).randbytes(50_000)
TABLE = pa.table({"text": ["The tide turns."]})


def feathered() -> bytes:
    buffer = io.BytesIO()
    feather.write_feather(TABLE, buffer)
    return buffer.getvalue()


def piece(text: str, kind: int | None = None) -> bytes:
    inside = b"\n" + bytes([len(text.encode())]) + text.encode() + b"\x15" + struct.pack("<f", -2.5)
    inside += b"" if kind is None else bytes([0x18, kind])
    return b"\n" + bytes([len(inside)]) + inside


def sentencepiece(count: int) -> bytes:
    pieces = [piece("<pad>", 3), piece("</s>", 3), piece("<unk>", 2)] + [piece(f"▁tide{n}") for n in range(count)]
    return b"".join(pieces) + b"\x12\x04\x18\x01\x20\x02\x1a\x02\x18\x00"


FRAME = b"\xff\xfb\x90\x00" + NOISE[:413]  # 128 kbit/s at 44.1 kHz: 417 bytes
PIXELS = bytes(12)
BITMAP = b"BM" + struct.pack("<IIIIiiHHIIiiII", 54 + 12, 0, 54, 40, 2, 2, 1, 24, 0, 12, 0, 0, 0, 0) + PIXELS
TAKEN = {
    "model.safetensors": save_safetensors({"w": np.ones(3, np.float32)}),
    "model.gguf": gguf(),
    "rows.parquet": parquet(TABLE),
    "rows.arrow": arrow(TABLE),
    "rows.feather": feathered(),
    "a.npy": npy(np.arange(3)),
    "a.npz": zipped({"a.npy": npy(np.arange(3))}),
    "rows.jsonl": b'{"text": "The tide turns."}\n',
    "rows.json": b"[1, 2]",
    "rows.csv": b"t,h\n1,2\n",
    "rows.tsv": "harbour\thigh\nSaint-Malo\t12,2 m\n".encode("utf-16"),
    "old.csv": "Hafen;Höhe\nBüsum;3,4\n".encode("latin-1"),
    "notes.md": "# Ebbe und Flut – 潮汐\n".encode(),
    "marked.txt": b"\xef\xbb\xbfThe tide turns.\n",
    "train.py": b"print('tide')\n",
    "recipe.yaml": b"version: 1\n",
    "tokens.tiktoken": b"IQ== 0\nIg== 1\n",
    "spiece.model": sentencepiece(20),
    "large/spiece.model": sentencepiece(9_000),
    "a.png": png(),
    "a.jpg": b"\xff\xd8\xff\xe0" + NOISE,
    "a.gif": b"GIF89a" + NOISE,
    "a.webp": b"RIFF\x00\x10\x00\x00WEBPVP8 " + NOISE,
    "a.bmp": BITMAP,
    "a.wav": make_recording(20_000),
    "a.flac": b"fLaC" + NOISE,
    "tagged.mp3": b"ID3\x04" + NOISE,
    "a.mp3": FRAME * 20,
    "a.ogg": b"OggS" + NOISE,
    "a.mp4": b"\x00\x00\x00\x18ftypisom" + NOISE,
    "a.webm": b"\x1a\x45\xdf\xa3" + NOISE,
    "a.pdf": b"%PDF-1.7\n1 0 obj <<>>\n%%EOF",
    "a.zip": zipped({"b.txt": b"tide", "c.wav": make_recording(4_000)}),
    "a.tar": tarred({"b.png": png()}),
    "a.jsonl.gz": gzip.compress(b'{"a": 1}\n'),
    "LICENSE": b"Permission is hereby granted\n",
    "sound.bin": make_recording(20_000),
    "empty.bin": b"",
}


@pytest.mark.parametrize("name", TAKEN)
def test_what_communities_upload_is_taken(name):
    findings = screen(name, TAKEN[name], quick=False)
    assert worst(findings) == "clear" and "false_name" not in rules(findings), findings


@pytest.mark.parametrize(
    "name", ["blob.bin", "blob", "blob.dat", "data.parquet", "rows.jsonl", "a.png", "tokenizer.model"]
)
def test_content_of_no_known_format_is_held_under_any_name(name):
    for quick in (True, False):
        finding = only(screen(name, NOISE, quick=quick))
        assert (finding.rule, finding.severity, finding.where) == ("unknown_format", "hold", name)
        assert ".safetensors" in finding.message and ".parquet" in finding.message


@pytest.mark.parametrize(
    "start",
    [b"\n", b"\n\x05<unk>", b"\xff\xfb\x90", b"\xff\xfe", b"\xfe\xff", b"BM", b"\x08\x08", b"RIFF", b"GGU", b"\x89PN"],
)
def test_a_few_bytes_of_a_known_format_do_not_make_it_one(start):
    assert worst(screen("blob.bin", start + NOISE)) == "hold"


@pytest.mark.parametrize(
    "start",
    [
        b"PK\x03\x04", b"\x1f\x8b", b"BZh9", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd", b"PAR1", b"ARROW1\x00\x00", b"\xff" * 4,
        b"GGUF", b"\x93NUMPY", b"\x40\0\0\0\0\0\0\0{", b"x\x9c",
    ],
)  # fmt: skip
def test_what_is_read_has_to_read_as_what_it_begins_as(start):
    assert worst(screen("blob", start + NOISE)) != "clear"


def test_noise_of_any_length_is_never_taken_for_something():
    noise = random.Random(5)
    taken = [
        data
        for data in (noise.randbytes(noise.randint(200, 9_000)) for _ in range(3_000))
        if sniff(data, len(data)) == "text"
    ]
    assert not taken


REFUSED = {
    "weights.h5": (b"\x89HDF\r\n\x1a\n" + NOISE, ".npy"),
    "rows.sqlite": (b"SQLite format 3\x00" + NOISE, ".csv"),
    "model.onnx": (b"\x08\x08\x12\x07pytorch\x1a\x032.9:\x10" + NOISE, ".safetensors"),
    "model.tflite": (b"\x1c\x00\x00\x00TFL3" + NOISE, ".safetensors"),
    "model.ggml": (b"lmgg" + NOISE, ".gguf"),
    "rows.avro": (b"Obj\x01" + NOISE, ".parquet"),
    "rows.orc": (b"ORC" + NOISE, ".parquet"),
    "rows.feather": (b"FEA1" + NOISE, ".parquet"),
    "letter.doc": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + NOISE, ".docx"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_known_format_that_is_not_taken_is_named_with_what_to_save_instead(name):
    data, instead = REFUSED[name]
    for called in (name, "blob.bin"):
        finding = only(screen(called, data))
        assert (finding.rule, finding.severity) == ("unread_format", "hold") and instead in finding.message


def test_a_name_for_another_kind_of_content_is_held():
    for name, data in {
        "rows.jsonl": parquet(TABLE),
        "notes.txt": zipped({"a.txt": b"tide"}),
        "weights.bin": zipped({"a.txt": b"tide"}),
        "packed.bin": gzip.compress(b"tide\n"),
        "a.png": b"The tide turns.\n",
        "model.gguf": save_safetensors({"w": np.ones(3, np.float32)}),
        "a.jsonl.gz": b'{"a": 1}\n',
    }.items():
        finding = only(screen(name, data))
        assert (finding.rule, finding.severity) == ("false_name", "hold") and name in finding.message


def test_a_picture_under_the_name_of_another_picture_is_only_told():
    for name, data in {"a.jpg": png(), "a.mp3": make_recording(4_000)}.items():
        finding = only(screen(name, data))
        assert (finding.rule, finding.severity) == ("false_name", "info")


def test_unknown_content_inside_an_archive_is_held():
    for name, data in {
        "a.zip": zipped({"b.txt": b"tide", "c.dat": NOISE}),
        "a.tar": tarred({"c.dat": NOISE}),
        "c.dat.gz": gzip.compress(NOISE),
    }.items():
        finding = only(screen(name, data))
        assert finding.rule == "unknown_format" and "c.dat" in finding.message


def test_a_text_that_goes_on_as_something_else_is_held():
    text = b"The tide turns twice a day.\n" * 5_000
    finding = only(screen("notes.txt", text + NOISE))
    assert (finding.rule, finding.severity) == ("text_and_binary", "hold") and "from line" in finding.message
    assert screen("notes.txt", text + b"\x01one stray letter\n" + text) == []


CALL = b"0cbuiltins\nlen\n(S'abc'\ntR."


@pytest.mark.parametrize("name", ["pytorch_model.bin", "x.pkl", "cat.gif", "data.dat"])
@pytest.mark.parametrize(
    "start", [b"GIF89a" + bytes(3), b"G" + bytes(3) + b"ftyp" + bytes(1), b"BM" + bytes(3) + b"x" * ord("M")]
)
def test_a_pickle_that_begins_as_a_picture_is_a_pickle(name, start):
    data = start + CALL
    assert pickle.loads(data) == 3, "the usual loaders take it"
    assert worst(screen(name, data)) == "block"


def test_what_is_loaded_by_its_name_is_no_recording():
    for name in ("m.onnx", "m.tflite", "m.h5", "m.keras"):
        assert rules(screen(name, b"ID3" + bytes(6) + NOISE[:2000])) == {"false_name"}


def test_the_signature_of_hdf5_may_stand_behind_a_block_of_the_users_own():
    for block in (512, 2048, 8192):
        data = b"GIF89a".ljust(block, b" ") + b"\x89HDF\r\n\x1a\n" + NOISE[:500]
        assert sniff(data, len(data)) == "hdf5"


def test_a_document_that_acts_by_an_escaped_name_is_held():
    assert rules(screen("a.pdf", b"%PDF-1.7\n1 0 obj <</S /J#61vaScript /JS (app.alert(1))>> endobj\n")) == {
        "script_in_document"
    }


def test_keys_are_found_behind_the_head_of_a_picture_too():
    data = b"\x89PNG\r\n\x1a\n" + NOISE[:500] + b" AKIA" + b"QYLPMN5HNXZ3TEST "
    assert worst(screen("a.png", data)) != "clear"
