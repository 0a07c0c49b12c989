import hashlib
import time

import pytest

from hub.storage.blobs import BlobStore
from hub.storage.errors import InvalidOperation, TooLarge, UnknownContent
from hub.storage.uploads import UploadParts


@pytest.fixture
def uploads(tmp_path):
    return UploadParts(tmp_path / "uploads", max_part_bytes=1_000_000)


def test_parts_in_any_order_become_the_file(uploads, make_bytes, tmp_path):
    content = make_bytes(2_500_000)
    parts = [content[start : start + 1_000_000] for start in range(0, len(content), 1_000_000)]
    etags = ["", "", ""]
    for number in (3, 1, 2):
        part = parts[number - 1]
        etags[number - 1] = uploads.write_part("upload-1", number, [part[:1000], part[1000:]])
    assert etags[0] == hashlib.sha256(parts[0]).hexdigest()
    assert uploads.parts("upload-1") == {n: (etags[n - 1], len(parts[n - 1])) for n in (1, 2, 3)}
    stored = BlobStore(tmp_path / "store").add(uploads.assemble("upload-1", [f'"{etag}"' for etag in etags]))
    assert stored.sha256 == hashlib.sha256(content).hexdigest()
    uploads.discard("upload-1")
    uploads.discard("upload-1")
    assert uploads.parts("upload-1") == {}


def test_a_part_sent_again_replaces_the_first(uploads):
    first, second = uploads.write_part("a", 1, [b"one"]), uploads.write_part("a", 1, [b"two"])
    assert uploads.parts("a") == {1: (second, 3)}
    with pytest.raises(UnknownContent, match="Part 1"):
        uploads.assemble("a", [first])
    assert uploads.write_part("a", 1, [b"two"]) == second
    assert b"".join(uploads.assemble("a", [second])) == b"two"


def test_what_is_missing_or_left_over_is_named_at_once(uploads):
    etag = uploads.write_part("a", 1, [b"one"])
    uploads.write_part("a", 3, [b"three"])
    with pytest.raises(UnknownContent, match="Part 2 of upload a"):
        uploads.assemble("a", [etag, etag])
    with pytest.raises(UnknownContent, match="has 2 parts, but 1"):
        uploads.assemble("a", [etag])


def test_a_part_that_breaks_off_or_is_too_large_leaves_nothing(uploads, tmp_path):
    def broken():
        yield b"some"
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        uploads.write_part("a", 1, broken())
    with pytest.raises(TooLarge, match="at most 1000000 bytes"):
        uploads.write_part("a", 1, [bytes(600_000)] * 2)
    assert not list((tmp_path / "uploads" / "a").iterdir())


@pytest.mark.parametrize("upload_id", ["", "..", "a/b", "a\0", "x" * 129])
def test_bad_upload_ids_are_refused(uploads, upload_id):
    for act in (lambda: uploads.write_part(upload_id, 1, []), lambda: uploads.discard(upload_id)):
        with pytest.raises(InvalidOperation):
            act()


@pytest.mark.parametrize("number", [0, -1, 10_001])
def test_bad_part_numbers_are_refused(uploads, number):
    with pytest.raises(InvalidOperation, match="from 1 to 10000"):
        uploads.write_part("a", number, [])


def test_forgotten_uploads_are_discarded_after_a_grace(uploads):
    uploads.write_part("old", 1, [b"x"])
    now = time.time()
    assert uploads.discard_older(grace_s=3600, now=now) == 0
    assert uploads.discard_older(grace_s=3600, now=now + 4000) == 1
    assert uploads.parts("old") == {}
