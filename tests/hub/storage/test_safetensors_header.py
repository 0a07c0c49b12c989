import io
import json

import numpy as np
import pytest
from safetensors.numpy import save

from hub.storage.errors import MalformedSafetensors
from hub.storage.safetensors_header import MAX_HEADER_BYTES, count_parameters, read_header


def make_file(header: object, data_bytes: int) -> io.BytesIO:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return io.BytesIO(len(text).to_bytes(8, "little") + text + bytes(data_bytes))


def tensor(dtype: object = "F32", shape: object = (2,), offsets: object = (0, 8)) -> dict:
    return {"t": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}


def test_the_header_of_a_real_file_is_read_and_counted():
    arrays = {"w": np.ones((3, 5), np.float32), "b": np.ones(5, np.float16), "n": np.array(7, np.int64)}
    header = read_header(io.BytesIO(save(arrays, metadata={"format": "np"})))
    assert header["__metadata__"] == {"format": "np"}
    assert header["w"]["shape"] == [3, 5]
    assert count_parameters(header) == {"parameters": {"F32": 15, "F16": 5, "I64": 1}, "total": 21}


def test_a_stored_file_can_be_read_without_reading_all_of_it(store):
    stored = store.add([save({"w": np.zeros((1000, 1000), np.float32)})])
    assert count_parameters(read_header(store.open(stored.sha256)))["total"] == 1_000_000


def test_a_file_without_tensors_is_fine():
    assert count_parameters(read_header(make_file({}, 0))) == {"parameters": {}, "total": 0}


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        (io.BytesIO(b""), "shorter than"),
        (io.BytesIO(b"\x08\0\0\0\0\0\0\0{}"), "shorter than"),
        (io.BytesIO((MAX_HEADER_BYTES + 1).to_bytes(8, "little") + bytes(MAX_HEADER_BYTES + 1)), "exceeds the limit"),
        (make_file(b"not json", 0), "not a JSON object"),
        (make_file(b"\xff\xfe", 0), "not a JSON object"),
        (make_file(b"[" * 100_000, 0), "not a JSON object"),
        (make_file([], 0), "not a JSON object"),
        (make_file(b'{"a": {}, "a": {}}', 0), "twice"),
        (make_file({"__metadata__": {"a": 1}}, 0), "strings to strings"),
        (make_file({"t": 1}, 0), "no type"),
        (make_file(tensor(dtype="F33"), 8), "no type"),
        (make_file(tensor(dtype=[]), 8), "no type"),
        (make_file(tensor(shape="2"), 8), "whole numbers"),
        (make_file(tensor(shape=[-2]), 8), "whole numbers"),
        (make_file(tensor(shape=[2.0]), 8), "whole numbers"),
        (make_file(tensor(shape=[1] * 65), 8), "whole numbers"),
        (make_file(tensor(offsets=[0]), 8), "whole numbers"),
        (make_file(tensor(offsets=[0, 9]), 9), "do not fit"),
        (make_file(tensor(shape=[1 << 62, 1 << 62], offsets=[0, 8]), 8), "do not fit"),
        (make_file(tensor(offsets=[4, 12]), 12), "overlap another one or leave a gap"),
        (make_file(tensor(), 9), "but 9 follow"),
        (make_file(tensor(), 7), "but 7 follow"),
    ],
)
def test_a_malformed_header_is_refused_with_the_reason(file, reason):
    with pytest.raises(MalformedSafetensors, match=reason):
        read_header(file)
