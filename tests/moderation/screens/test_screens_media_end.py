"""What stands behind the end of a picture or recording is judged by what it is."""

import base64
import pickle
import struct
import time
import zipfile

import pytest

from tests.moderation.screens.makers import SHELL, png, tarred, zipped
from tests.moderation.screens.screened import rules, screen
from tests.recordings import make_recording

JPEG = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAFA3PEY8MlBGQUZaVVBfeMiCeG5uePWvuZHI////////////////////////////////"
    "////////////////////2wBDAVVaWnhpeOuCguv/////////////////////////////////////////////////////////////"
    "////////////wAARCAACAAIDASIAAhEBAxEB/8QAFQABAQAAAAAAAAAAAAAAAAAAAAT/xAAXEAEBAQEAAAAAAAAAAAAAAAAAAjJx"
    "/8QAFAEBAAAAAAAAAAAAAAAAAAAAAP/EABURAQEAAAAAAAAAAAAAAAAAAAAB/9oADAMBAAIRAxEAPwCS910Ao//Z"
)  # two pixels each way, as Chromium writes them
GIF = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
ELF = b"\x7fELF\x02\x01\x01" + b"\0" * 60


def bmp() -> bytes:
    return (
        b"BM"
        + struct.pack("<IHHI", 58, 0, 0, 54)
        + struct.pack("<IiiHHIIiiII", 40, 1, 1, 1, 24, 0, 4, 0, 0, 0, 0)
        + b"\0" * 4
    )


def mp4() -> bytes:
    kinds = struct.pack(">I4s4sI4s", 20, b"ftyp", b"isom", 512, b"isom")
    return kinds + struct.pack(">I4s", 16, b"mdat") + b"\1" * 8 + struct.pack(">I4s", 8, b"moov")


def webp() -> bytes:
    return b"RIFF" + struct.pack("<I", 16) + b"WEBPVP8L" + struct.pack("<I", 4) + b"/\0\0\0"


MEDIA = {
    "a.png": png(), "a.jpg": JPEG, "a.gif": GIF, "a.wav": make_recording(2000), "a.mp4": mp4(), "a.webp": webp(),
}  # fmt: skip


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize("name", MEDIA)
def test_a_program_behind_the_end_is_held_and_the_file_alone_is_not(name: str, quick: bool) -> None:
    assert screen(name, MEDIA[name], quick=quick) == []
    (found,) = screen(name, MEDIA[name] + ELF, quick=quick)
    assert (found.rule, found.severity) == ("hidden_behind", "hold")
    assert f"from byte {len(MEDIA[name]):,}" in found.message and "save it again" in found.message


def test_a_bitmap_says_its_whole_length_itself() -> None:
    assert screen("a.bmp", bmp()) == []
    assert "unknown_format" in rules(screen("a.bmp", bmp() + ELF))  # the length that it says is no longer its own


BEHIND = {
    "pickle": pickle.dumps({"step": 3}),
    "old pickle": b"cos\nsystem\n(S'id'\ntR.",
    "tar": tarred({"a.txt": b"a"}),
    "php": b"<?php system($_GET[0]); ?>",
    "html": b"<!doctype html><script>x()</script>",
    "shell": b"#!/bin/sh\nrm -r x\n",
    "script": b"#!/usr/bin/env python3\nprint()\n",
    "acting document": b"%PDF-1.7\n1 0 obj <</OpenAction <</S /JavaScript /JS (app.alert(1))>>>>\n%%EOF",
}


@pytest.mark.parametrize("name", ["a.jpg", "a.mp4", "a.png"])
@pytest.mark.parametrize("behind", BEHIND)
def test_so_are_pickles_archives_and_pages(behind: str, name: str) -> None:
    for filling in (b"", b"\0" * 300, b"\xff" * 40, b"\0" * 70_000):
        assert "hidden_behind" in rules(screen(name, MEDIA[name] + filling + BEHIND[behind])), len(filling)


@pytest.mark.parametrize(
    "broken",
    [
        png()[:-12],  # without its last chunk
        GIF[:-1],  # without its end
        JPEG[:-2] + b"\xff\x01\xff\xd9",  # a mark without a length
        JPEG[:20] + b"\0" + JPEG[20:],  # a byte between two segments
    ],
    ids=["png", "gif", "mark", "junk"],
)
def test_a_broken_file_ends_where_decoders_stop(broken: bytes) -> None:
    assert "hidden_behind" in rules(screen("a" + {b"\x89": ".png", b"G": ".gif"}.get(broken[:1], ".jpg"), broken + ELF))


@pytest.mark.parametrize(
    "behind",
    [
        JPEG,
        b"\0" * 4 + JPEG,
        b"\xff" * 8 + JPEG,
        b"\xff" * 512,
        b"\0" * 9,
        mp4(),
        b"SEFH" + b"\x01\x9c" * 90,
        b"taken in the harbour\n",
    ],
)
def test_what_cameras_write_there_is_fine(behind: bytes) -> None:
    assert screen("a.jpg", JPEG + behind) == []


def test_behind_the_second_picture_it_is_found_too() -> None:
    assert rules(screen("a.jpg", JPEG + JPEG + mp4() + ELF)) == {"hidden_behind"}


def test_an_archive_behind_a_picture_is_opened_as_before() -> None:
    found = rules(screen("a.jpg", JPEG + zipped({"archive/data.pkl": SHELL}, zipfile.ZIP_STORED)))
    assert "dangerous_pickle" in found


@pytest.mark.parametrize("name", MEDIA)
def test_a_cut_file_has_no_end_and_is_fine(name: str) -> None:
    for length in range(16, len(MEDIA[name]), max(1, len(MEDIA[name]) // 40)):
        assert "hidden_behind" not in rules(screen(name, MEDIA[name][:length]))


def test_a_file_made_of_steps_ends_in_time() -> None:
    began = time.monotonic()
    for name, steps in {
        "a.png": png()[:8] + struct.pack(">I4sI", 0, b"tEXt", 0) * 80_000,
        "a.wav": b"RIFF\4\0\0\0WAVE" * 80_000,
        "a.jpg": JPEG * 3000,
    }.items():
        assert rules(screen(name, steps, budget_s=0.05)) == {"unfinished"}, name
    assert time.monotonic() - began < 5
    assert screen("a.gif", GIF[:-2] + b"\x01\x00" * 400_000 + ELF) == []
