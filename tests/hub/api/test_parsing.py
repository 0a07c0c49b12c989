"""The parsers of the doors, by themselves: ranges, ignore rules, tokens, commit bodies."""

import base64
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as any_

from hub.common.errors import InvalidInput, RangeNotSatisfiable, TooLarge


@pytest.mark.parametrize(
    ("header", "size", "expected"),
    [
        (None, 10, None),
        ("bytes=0-4", 10, (0, 5)),
        ("bytes=5-", 10, (5, 10)),
        ("bytes=-3", 10, (7, 10)),
        ("bytes=-30", 10, (0, 10)),
        ("bytes=2-99", 10, (2, 10)),
        ("Bytes = 1 - 2", 10, (1, 3)),
        ("bytes=4-2", 10, None),
        ("bytes=0-1,3-4", 10, None),
        ("bytes=-", 10, None),
        ("bytes=" + "9" * 30 + "-", 10, None),
        ("items=0-1", 10, None),
    ],
)
def test_a_range_is_read(header, size, expected):
    from hub.api.hf.ranges import read_range

    assert read_range(header, size) == expected


@pytest.mark.parametrize(
    ("header", "size"), [("bytes=10-", 10), ("bytes=-0", 10), ("bytes=0-", 0), ("bytes=11-12", 10)]
)
def test_a_range_outside_the_file_is_not_satisfiable(header, size):
    from hub.api.hf.ranges import read_range

    with pytest.raises(RangeNotSatisfiable) as refusal:
        read_range(header, size)
    assert refusal.value.headers["Content-Range"] == f"bytes */{size}"


@given(any_.text(max_size=40), any_.integers(0, 1000))
def test_any_range_header_stays_within_the_file(header, size):
    from hub.api.hf.ranges import read_range

    try:
        found = read_range(header, size)
    except RangeNotSatisfiable:
        return
    assert found is None or 0 <= found[0] < found[1] <= size


@pytest.mark.parametrize(
    ("rules", "ignored", "kept"),
    [
        ("*.log", ["a.log", "deep/a.log"], ["a.logs", "log"]),
        ("/a.txt", ["a.txt"], ["b/a.txt"]),
        ("build/", ["build/x", "a/build/x"], ["build"]),
        ("docs/*.md", ["docs/a.md"], ["docs/b/a.md", "x/docs/a.md"]),
        ("a/**/b", ["a/b", "a/x/b", "a/x/y/b"], ["b", "x/a/b"]),
        ("**/temp", ["temp", "a/temp", "a/temp/x"], ["temper"]),
        ("cache/**", ["cache/x", "cache/a/b"], ["cache"]),
        ("*.log\n!keep.log", ["a.log"], ["keep.log"]),
        ("dir/\n!dir/keep", ["dir/keep"], []),
        ("# a\n\n\\#b\nc[0-9]\nd[!0-9]\n", ["#b", "c1", "dx"], ["# a", "cx", "d1"]),
        ("a?c", ["abc"], ["a/c", "abbc"]),
        ("spaced.txt   ", ["spaced.txt"], []),
    ],
)
def test_ignore_rules_mean_what_they_mean_in_git(rules, ignored, kept):
    from hub.api.hf.ignore_rules import parse_ignore_rules

    parsed = parse_ignore_rules(rules)
    assert [path for path in ignored if not parsed.ignores(path)] == []
    assert [path for path in kept if parsed.ignores(path)] == []


def test_a_nasty_pattern_costs_no_time():
    import time

    from hub.api.hf.ignore_rules import parse_ignore_rules

    began = time.process_time()
    parse_ignore_rules("\n".join(["a*" * 200 + "b", "**/a" * 60 + "/b"] * 20)).ignores("/".join(["a" * 15] * 60))
    assert time.process_time() - began < 2


@given(any_.text(max_size=60), any_.text(min_size=1, max_size=30))
def test_any_ignore_file_is_read(rules, path):
    from hub.api.hf.ignore_rules import parse_ignore_rules

    assert parse_ignore_rules(rules).ignores(path) in (True, False)


@pytest.mark.parametrize(
    ("header", "token"),
    [
        ("Bearer hf_abc", "hf_abc"),
        ("bearer  hf_abc ", "hf_abc"),
        ("Basic " + base64.b64encode(b"alice:hf_abc").decode(), "hf_abc"),
        ("Basic " + base64.b64encode(b"hf_abc:").decode(), "hf_abc"),
        ("Basic %%%", None),
        ("Bearer", None),
        ("Digest hf_abc", None),
    ],
)
def test_a_token_is_found_in_the_header(header, token):
    from hub.api.auth import read_token

    assert read_token(header) == token


def lines(*items: object) -> io.BytesIO:
    return io.BytesIO(b"".join(json.dumps(item).encode() + b"\n" for item in items))


HEADER = {"key": "header", "value": {"summary": "Add", "parentCommit": "a" * 40}}


def test_a_commit_body_becomes_operations_and_big_contents_wait_on_disk():
    from hub.api.hf.commit_body import read_commit_body
    from hub.community.spools import SpooledFile, open_spool
    from hub.storage.git import AddFile, AddPointer, DeleteFile, DeleteFolder

    big = bytes(range(256)) * 1000
    body = lines(
        HEADER,
        {"key": "file", "value": {"path": "a", "content": base64.b64encode(b"A").decode(), "encoding": "base64"}},
        {"key": "file", "value": {"path": "big", "content": base64.b64encode(big).decode(), "encoding": "base64"}},
        {"key": "file", "value": {"path": "text", "content": "ä", "encoding": "utf-8"}},
        {"key": "lfsFile", "value": {"path": "m", "algo": "sha256", "oid": "0" * 64, "size": 7}},
        {"key": "deletedFile", "value": {"path": "old"}},
        {"key": "deletedFolder", "value": {"path": "olds/"}},
    )
    with open_spool() as spool:
        read = read_commit_body(body, max_body=10**6, max_file=10**6, spool=spool)
        assert (read.summary, read.parent) == ("Add", "a" * 40)
        first, second, third, *others = read.operations
        assert (first, third) == (AddFile("a", b"A"), AddFile("text", "ä".encode()))
        assert isinstance(second, SpooledFile) and isinstance(second, AddFile)
        assert (second.path, second.content) == ("big", big)
        assert others == [AddPointer("m", "0" * 64, 7), DeleteFile("old"), DeleteFolder("olds")]


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (lines({"key": "file", "value": {"path": "a", "content": ""}}), InvalidInput),
        (lines(HEADER, {"key": "file", "value": {"content": ""}}), InvalidInput),
        (lines(HEADER, {"key": "lfsFile", "value": {"path": "a", "oid": "x"}}), InvalidInput),
        (lines(HEADER, {"key": "lfsFile", "value": {"path": "a", "oid": "0" * 64, "size": True}}), InvalidInput),
        (lines(HEADER, "text"), InvalidInput),
        (lines(HEADER, {"key": "file", "value": {"path": "a", "content": "A" * 2000}}), TooLarge),
        (lines(HEADER, *[{"key": "deletedFile", "value": {"path": "a"}}] * 30), TooLarge),
        (io.BytesIO(b"x" * 200_000), TooLarge),
    ],
)
def test_a_bad_commit_body_is_refused_within_bounds(body, problem):
    from hub.api.hf.commit_body import read_commit_body
    from hub.community.spools import open_spool

    with open_spool() as spool, pytest.raises(problem):
        read_commit_body(body, max_body=1200 if problem is TooLarge else 10**6, max_file=1000, spool=spool)


def test_a_body_that_ends_between_two_lines_is_no_commit():
    from hub.api.hf.commit_body import read_commit_body
    from hub.community.spools import open_spool

    body = lines(HEADER, {"key": "deletedFile", "value": {"path": "a"}})
    with open_spool() as spool, pytest.raises(InvalidInput, match="arrived"):
        read_commit_body(body, max_body=10**6, max_file=1000, spool=spool, announced=len(body.getvalue()) + 30)


@given(any_.binary(max_size=300))
def test_no_bytes_break_the_reader_of_commits(data):
    from hub.api.hf.commit_body import read_commit_body
    from hub.community.spools import open_spool

    with open_spool() as spool:
        try:
            read_commit_body(io.BytesIO(data), max_body=1000, max_file=100, spool=spool)
        except (InvalidInput, TooLarge):
            pass


def test_many_rules_for_deep_files_are_judged_in_time():
    """Each rule was tried at each folder of each file anew, and compiled each time: one request took hours."""
    import time

    from hub.api.hf.ignore_rules import parse_ignore_rules

    began = time.process_time()
    rules = parse_ignore_rules("\n".join(f"x{number}*" for number in range(1000)))
    assert not any(rules.ignores("a/" * 60 + f"b{number}") for number in range(500))
    assert time.process_time() - began < 5


def test_more_matching_than_anybody_needs_is_refused():
    from hub.api.hf.ignore_rules import parse_ignore_rules

    rules = parse_ignore_rules("\n".join(f"x{number}*" for number in range(1000)))
    with pytest.raises(TooLarge, match="send fewer files"):
        for number in range(10_000):
            rules.ignores(f"{number}/a/b/c/d/e")
