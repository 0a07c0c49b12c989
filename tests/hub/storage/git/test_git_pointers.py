import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.storage.git import LfsPointer, format_pointer, parse_pointer

DIGEST = "ab" * 32


@given(st.binary(min_size=32, max_size=32), st.integers(0, 2**63 - 1))
def test_a_pointer_reads_back_as_it_was_written(digest: bytes, size: int) -> None:
    text = format_pointer(digest.hex(), size)
    assert parse_pointer(text) == LfsPointer(sha256=digest.hex(), size=size, pointer_size=len(text))


def test_a_pointer_is_what_git_lfs_writes() -> None:
    expected = f"version https://git-lfs.github.com/spec/v1\noid sha256:{DIGEST}\nsize 12345\n".encode()
    assert format_pointer(DIGEST, 12345) == expected


def test_extension_lines_are_read_over() -> None:
    text = (
        b"version https://git-lfs.github.com/spec/v1\next-0-foo sha256:"
        + DIGEST.encode()
        + b"\noid sha256:"
        + DIGEST.encode()
        + b"\nsize 9\n"
    )
    assert parse_pointer(text) == LfsPointer(DIGEST, 9, len(text))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"hello",
        b"version https://git-lfs.github.com/spec/v1\n",
        b"version https://git-lfs.github.com/spec/v2\noid sha256:" + DIGEST.encode() + b"\nsize 1\n",
        b"version https://git-lfs.github.com/spec/v1\nsize 1\noid sha256:" + DIGEST.encode() + b"\n",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:" + DIGEST.encode() + b"\nsize -1\n",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:" + DIGEST.encode() + b"\nsize 1",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:" + DIGEST.encode() + b"\nsize 01\n",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:" + DIGEST.encode() + b"\nsize 1\ncolour blue\n",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:ABC\nsize 1\n",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:" + DIGEST.encode() + b"\nsize 9223372036854775808\n",
        format_pointer(DIGEST, 5) + b"\n" * 1000,
    ],
)
def test_what_git_lfs_would_not_follow_is_ordinary_content(text: bytes) -> None:
    assert parse_pointer(text) is None


@pytest.mark.parametrize(("digest", "size"), [("AB" * 32, 1), ("ab", 1), (DIGEST, -1), (DIGEST + "\nsize 2", 1)])
def test_a_pointer_to_nothing_is_not_written(digest: str, size: int) -> None:
    with pytest.raises(ValueError):
        format_pointer(digest, size)


@given(st.binary(max_size=300))
def test_any_bytes_are_either_a_pointer_or_not(data: bytes) -> None:
    assert parse_pointer(b"version https://git-lfs.github.com/spec/v1\n" + data) is None or b"oid sha256:" in data
