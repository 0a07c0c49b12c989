"""One rule for every door: what is text in git, and what lives in the byte store."""

import pytest

from hub.repos.largeness import is_large, is_text


@pytest.mark.parametrize("path", ["notes.txt", "README.md", "data/rows.jsonl", "recipe.yaml", "bin"])
def test_text_stays_in_git(path):
    assert not is_large(path, 12, b"tides: 7.0 m")


@pytest.mark.parametrize(
    "path", ["model.safetensors", "a/b/weights.BIN", "data.parquet", "x.tar.gz", "events.tfevents.1"]
)
def test_known_binary_names_are_large_whatever_they_hold(path):
    assert is_large(path, 3, b"abc")


def test_bytes_that_are_no_text_are_large(settings):
    assert is_large("notes.txt", 4, b"a\0bc")
    assert is_large("notes.txt", 4, b"\xff\xfe\x00a")
    assert is_large("notes.txt", 4, "Düne".encode("latin-1"))


def test_the_limit_of_size_is_the_operators(settings):
    settings.MAX_REGULAR_FILE_BYTES = 10
    assert not is_large("notes.txt", 10, b"0123456789")
    assert is_large("notes.txt", 11, b"0123456789")


def test_an_empty_file_is_never_large():
    assert not is_large("model.safetensors", 0, b"")


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_a_character_that_the_sample_cuts_does_not_count(cut):
    whole = "tide 🌊".encode()
    assert is_text(whole[: len(whole) - cut]) and not is_text(whole[: len(whole) - cut] + b" and more text")
