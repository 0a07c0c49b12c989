"""The records of an archive as an import believes them: each line is checked before anything is made of any.

What they say of people are words: nobody here is credited, let in or given an approval by an archive. What they say of
clearance and releases is not believed at all."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import IO, Any

from django.utils.dateparse import parse_datetime

from hub.common.errors import InvalidInput
from hub.community.discussions import MAX_COMMENT_CHARACTERS, MAX_TITLE, plain_text
from hub.community.models import Check, Discussion, Review
from hub.repos.lifecycle import MAX_DESCRIPTION_CHARACTERS
from hub.repos.models import GATES, Repo, RepoRelease
from hub.storage.git.operations import is_valid_ref

MAX_LINE_BYTES = 8 * 1024 * 1024  # a release may list many files
MAX_RECORDS = 2_000_000
MAX_TALKS = 50_000
MAX_EVENTS = 500_000
MAX_NUMBER = 10**9
MAX_TEXT = 20_000
MAX_NAME = 100
MAX_RELEASES = 1_000
SHA = re.compile(r"[0-9a-f]{40}")
STATUSES = [status.value for status in Discussion.Status]
# Kind of entry -> what its data may hold: a choice, a pattern, or the most characters of a text.
DATA: dict[str, dict[str, Any]] = {
    "comment": {"text": MAX_COMMENT_CHARACTERS, "hidden": bool, "hidden_by": MAX_NAME},
    "status-change": {"status": STATUSES, "reason": MAX_TEXT},
    "commit": {"oid": SHA, "subject": MAX_TEXT},
    "title-change": {"from": MAX_TITLE, "to": MAX_TITLE},
    "review": {"verdict": Review.Verdict.values, "digest": MAX_NAME, "text": MAX_COMMENT_CHARACTERS},
    "check": {"name": MAX_NAME, "state": Check.State.values, "summary": MAX_TEXT},
    "merge": {"oid": SHA},
}
LISTED_ONLY = ("collaborator", "revision", "content", "review")  # for people who read the archive


@dataclass
class Told:
    """What the records say of the repository, and which numbers are taken."""

    repo: dict[str, Any] = field(default_factory=dict)
    numbers: dict[int, bool] = field(default_factory=dict)  # of a discussion -> whether it is a pull request
    releases: list[dict[str, Any]] = field(default_factory=list)
    events: int = 0


def check_records(file: IO[bytes]) -> Told:
    """Read all lines once; `file` then stands at its beginning. Raises InvalidInput with the line that is wrong."""
    told = Told()
    for kind, record in read_records(file):
        if kind == "repository":
            told.repo = record
        elif kind == "release":
            told.releases.append(record)
            if len(told.releases) > MAX_RELEASES:
                raise InvalidInput(f"The archive tells of more than {MAX_RELEASES:,} releases.")
        elif kind == "discussion":
            if record["number"] in told.numbers or len(told.numbers) >= MAX_TALKS:
                raise InvalidInput(f"Discussion {record['number']} comes twice, or there are more than {MAX_TALKS:,}.")
            told.numbers[record["number"]] = record["pull_request"] is not None
        else:
            told.events += 1
            if record["discussion"] not in told.numbers or told.events > MAX_EVENTS:
                raise InvalidInput("An entry belongs to no discussion of the archive, or there are too many of them.")
    if not told.repo:
        raise InvalidInput("The archive does not say what repository it holds; export it again.")
    if told.repo["next_number"] <= max(told.numbers, default=0):
        raise InvalidInput("The archive is damaged: its next number is taken by one of its discussions.")
    file.seek(0)
    return told


def read_records(file: IO[bytes]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(kind, checked record) of what an import uses, line by line."""
    number = 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        try:
            if len(line) > MAX_LINE_BYTES or number > MAX_RECORDS:
                raise InvalidInput("it is too long, or there are too many lines")
            found = check_line(line, is_first=number == 1)
        except InvalidInput as problem:
            raise InvalidInput(f"Line {number} of records.jsonl is refused: {problem.message}.") from None
        if found is not None:
            yield found


def check_line(line: bytes, *, is_first: bool) -> tuple[str, dict[str, Any]] | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        raise InvalidInput("it is no JSON") from None
    kind = record.get("record") if isinstance(record, dict) else None
    if is_first != (kind == "repository"):
        raise InvalidInput("the first line, and no other, speaks of the repository")
    if kind in LISTED_ONLY:
        return None
    check = CHECKS.get(kind) if isinstance(kind, str) else None
    if check is None:
        raise InvalidInput(f"{str(kind)[:40]!r} is no record that this hub knows")
    return str(kind), check(record)


def check_repository(record: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": choice(record, "type", Repo.Type.values),
        "description": text(record, "description", MAX_DESCRIPTION_CHARACTERS),
        "is_private": flag(record, "is_private"),
        "gated": choice(record, "gated", ["", *GATES]),
        "default_branch": text(record, "default_branch", 100),
        "next_number": whole(record, "next_number"),
    }


def check_release(record: dict[str, Any]) -> dict[str, Any]:
    return {
        "tag": text(record, "tag", 60),
        "commit": matching(record, "commit", SHA),
        "state": choice(record, "state", RepoRelease.State.values),
        "published_at": moment(record, "published_at", may_lack=True),
    }


def check_discussion(record: dict[str, Any]) -> dict[str, Any]:
    pull_request = record.get("pull_request")
    return {
        "number": whole(record, "number"),
        "title": text(record, "title", MAX_TITLE),
        "author": name(record, "author"),
        "status": choice(record, "status", STATUSES),
        "created_at": moment(record, "created_at"),
        "updated_at": moment(record, "updated_at"),
        "pull_request": check_pull_request(pull_request) if pull_request is not None else None,
    }


def check_pull_request(record: Any) -> dict[str, Any]:
    if not isinstance(record, dict):
        raise InvalidInput("'pull_request' must be an object or null")
    return {
        "target": branch(record, "target"),
        "base": matching(record, "base", SHA),
        "merge_commit": matching(record, "merge_commit", SHA) if record.get("merge_commit") else "",
        "merged_at": moment(record, "merged_at", may_lack=True),
    }


def check_event(record: dict[str, Any]) -> dict[str, Any]:
    kind, data = choice(record, "kind", list(DATA)), record.get("data")
    if not isinstance(data, dict):
        raise InvalidInput("'data' must be an object")
    unknown = data.keys() - DATA[kind].keys()
    if unknown:
        raise InvalidInput(f"'data' of a {kind} holds {sorted(unknown)[0][:40]!r}, which this hub does not know")
    return {
        "discussion": whole(record, "discussion"),
        "kind": kind,
        "author": name(record, "author"),
        "data": {key: check_value(data, key, DATA[kind][key]) for key in data},
        "at": moment(record, "at"),
        "edited_at": moment(record, "edited_at", may_lack=True),
    }


CHECKS = {
    "repository": check_repository,
    "release": check_release,
    "discussion": check_discussion,
    "event": check_event,
}


def check_value(data: dict[str, Any], key: str, rule: Any) -> Any:
    if rule is bool:
        return flag(data, key)
    if isinstance(rule, int):
        return text(data, key, rule)
    return matching(data, key, rule) if isinstance(rule, re.Pattern) else choice(data, key, rule)


def text(record: dict[str, Any], key: str, most: int) -> str:
    value = record.get(key)
    if not isinstance(value, str) or len(value) > most:
        raise InvalidInput(f"{key!r} must be a text of at most {most:,} characters")
    return plain_text(value)


def branch(record: dict[str, Any], key: str) -> str:
    value = text(record, key, 100)
    if not is_valid_ref(f"refs/heads/{value}"):
        raise InvalidInput(f"{key!r} must be the name of a branch")
    return value


def name(record: dict[str, Any], key: str) -> str:
    """A word for somebody of another hub; empty for nobody. No sign of ours may be put on by it."""
    return "" if record.get(key) is None else " ".join(text(record, key, MAX_NAME).split())


def choice(record: dict[str, Any], key: str, allowed: list[str]) -> str:
    value = record.get(key)
    if not isinstance(value, str) or value not in allowed:
        raise InvalidInput(f"{key!r} must be one of {', '.join(map(repr, allowed))}")
    return value


def matching(record: dict[str, Any], key: str, pattern: re.Pattern[str]) -> str:
    value = record.get(key)
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise InvalidInput(f"{key!r} must be the id of a commit")
    return value


def flag(record: dict[str, Any], key: str) -> bool:
    value = record.get(key)
    if not isinstance(value, bool):
        raise InvalidInput(f"{key!r} must be true or false")
    return value


def whole(record: dict[str, Any], key: str) -> int:
    value = record.get(key)
    if type(value) is not int or not 1 <= value <= MAX_NUMBER:
        raise InvalidInput(f"{key!r} must be a number from 1 to {MAX_NUMBER:,}")
    return value


def moment(record: dict[str, Any], key: str, *, may_lack: bool = False) -> datetime | None:
    value = record.get(key)
    if value is None and may_lack:
        return None
    try:
        found = parse_datetime(value) if isinstance(value, str) else None
    except (ValueError, OverflowError):
        found = None
    if found is None or found.tzinfo is None or not 1970 < found.year < 2200:
        raise InvalidInput(f"{key!r} must be a time with its zone, as 2026-01-31T12:00:00+00:00")
    return found
