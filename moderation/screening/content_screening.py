"""Screening of one file: its findings are stored, and what follows from them is told."""

from typing import BinaryIO

from django.db import transaction

from hub.common.markdown import MAX_CARD_BYTES, split_card
from hub.repos.clearance import Decision
from hub.repos.models import Content
from hub.repos.places import pair
from hub.storage.git import format_pointer, parse_pointer
from moderation.models import Finding, Screening
from moderation.rules.reasons import IN_PROGRESS
from moderation.screening.contamination import find_shared
from moderation.screening.contributors_triggers import TRIGGER_OF_ONE, find_by_contributor
from moderation.screening.opening import open_content
from moderation.screening.shapes import screen_shapes
from moderation.screens import licence_findings, screen_file
from moderation.screens.findings import Finding as Found
from moderation.screens.findings import worst
from moderation.screens.limits import Deadline, OutOfTime

MAX_FINDINGS = 200  # stored for one file; the first ones say enough
CARD = "README.md"
MAX_COMMITS = 3  # in which a file was found to take part in a trigger, the newest
UNFINISHED = "unfinished"  # rule of a screen that ran out of time


def screen_content(screening: Screening, content: Content, *, quick: bool, budget_s: float) -> Decision:
    """One file: its findings are stored in place of earlier ones, and what follows from them is returned."""
    with open_content(content) as reader:
        if is_plain_pointer(content, reader):
            return Decision(content, Content.Clearance.CLEARED)  # the bytes it names are judged by themselves
        found = screen_file(content.path, reader, content.size, quick=quick, budget_s=budget_s)
        if content.path == CARD and content.size <= MAX_CARD_BYTES:
            reader.seek(0)
            found = [*found, *screen_card(screening, reader.read())]
        if not quick:
            found = [*found, *find_shared(content, reader, Deadline(budget_s))]
            of_one = find_by_contributor(screening.repo, screening.commit, content) or found_elsewhere(
                screening, content
            )
            found = with_contributors(found, of_one)
        try:
            found = [
                *found,
                *screen_shapes(screening.repo, screening.commit, content, Deadline(budget_s, is_request=quick)),
            ]
        except OutOfTime as error:
            what = f"{content.path} was {error} beside its tensors; the full check reads the rest."
            found = [*found, Found("unsafe_files", UNFINISHED, "hold", content.path, str(error), what)]
    is_unfinished = quick and any(item.rule == UNFINISHED for item in found)
    if is_unfinished:
        found = [item for item in found if item.rule != UNFINISHED]
    store_findings(screening, content, found)
    if is_unfinished and worst(found) == "clear":
        return Decision(content, Content.Clearance.PENDING, IN_PROGRESS)
    return conclude(content, found)


def with_contributors(found: list[Found], of_one: list[Found]) -> list[Found]:
    """The same trigger found in the file alone and in the whole dataset is told once, with who brought it."""
    known = {item.excerpt for item in of_one}
    return [*(item for item in found if item.rule != "trigger" or item.excerpt not in known), *of_one]


def found_elsewhere(screening: Screening, content: Content) -> list[Found]:
    """What this file shows beside the files of another commit that brought it too: to copy it among others mends nothing. Looked
    for there anew, since a finding that was copied is no evidence."""
    if not Finding.objects.filter(content=content, rule=TRIGGER_OF_ONE).exists():
        return []
    brought = content.brought_by.exclude(revision__commit=screening.commit).order_by("-pk")
    for commit in brought.values_list("revision__commit", flat=True)[:MAX_COMMITS]:
        if found := find_by_contributor(screening.repo, commit, content):
            return found
    return []


def is_plain_pointer(content: Content, reader: BinaryIO) -> bool:
    """Exactly the pointer that git-lfs writes. One with extension lines can carry text, and is screened as text."""
    if content.is_large or content.size >= 1024:
        return False
    data = reader.read()
    reader.seek(0)
    pointer = parse_pointer(data)
    return pointer is not None and data == format_pointer(pointer.sha256, pointer.size)


def screen_card(screening: Screening, text: bytes) -> list[Found]:
    members = pair(screening.repo).members
    paths = [entry.path for entry in members.tree(screening.commit) if entry.type == "file"]
    return licence_findings(split_card(text.decode("utf-8", errors="replace")).metadata, paths)


def store_findings(screening: Screening, content: Content, found: list[Found]) -> None:
    rows = [
        Finding(
            screening=screening,
            content=content,
            screen=item.screen,
            rule=item.rule[:60],
            severity=item.severity,
            where=item.where[:300],
            excerpt=item.excerpt[:200],
            message=item.message,
        )
        for item in found[:MAX_FINDINGS]
    ]
    with transaction.atomic():
        Finding.objects.filter(content=content).delete()
        Finding.objects.bulk_create(rows)


def conclude(content: Content, found: list[Found]) -> Decision:
    verdict = worst(found)
    if verdict == "clear":
        return Decision(content, Content.Clearance.CLEARED)
    if verdict == "block":
        reason = next(item.message for item in found if item.severity == "block")
        return Decision(content, Content.Clearance.WITHHELD, reason)
    reason = next(item.message for item in found if item.severity == "hold")
    return Decision(content, Content.Clearance.PENDING, reason)
