"""The public log and the rules, for everybody."""

import ast
import json
import re
from pathlib import Path

import pytest

import moderation
from moderation.cases.queue import decide_case
from moderation.cases.reports import open_report
from moderation.models import Case
from tests.guards import lifted
from tests.moderation.reading import Browser, words
from tests.people import Person

pytestmark = pytest.mark.django_db(transaction=True)


def test_everybody_reads_the_public_log_and_moderators_all_of_it(
    held: Case, charlie: Person, mona: Person, browser_of: Browser
) -> None:
    open_report(repo=held.repo, by=charlie.user, text="Wrong.")
    decide_case(case=held, by=mona.user, state="allowed", reason="From a manual.")
    text = words(browser_of(None).get("/audit"))
    assert "mona allowed alice/tides From a manual." in text and "charlie" not in text
    assert "linked by their hashes" in text and "where a number is missing, there is one of them" in text
    assert "charlie reported alice/tides" in words(browser_of(mona).get("/audit"))
    from moderation.models import AuditEntry

    with lifted():
        AuditEntry.objects.filter(number=1).update(actor="mallory")
    from django.core.cache import cache

    cache.clear()
    assert "The log was tampered with: Entry 1 was changed" in words(browser_of(None).get("/audit"))


def actions_in_use() -> set[str]:
    """What the rooms write into the log: the texts of form "subject.act" in every function that records."""
    from moderation.models import Case, Release

    of_state = {
        "case": Case.State.values,
        "release": Release.State.values,
        "run": ["started", "restarted", "cancelled"],
        "replay": ["asked", "ended"],
    }
    found: set[str] = set()
    for path in Path(moderation.__file__).parent.rglob("*.py"):
        for function in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)):
            if "audit.record(" not in ast.unparse(function):
                continue
            texts = [node.value for node in ast.walk(function) if isinstance(node, ast.Constant)]
            for text in (text for text in texts if isinstance(text, str)):
                if re.fullmatch(r"[a-z]+\.[a-z_]+", text):
                    found.add(text)
                elif re.fullmatch(r"[a-z]+\.", text):  # f"case.{state}"
                    found |= {text + state for state in of_state[text[:-1]]}
    return found - {"case.open"}


def test_every_action_of_the_log_has_words() -> None:
    """A purge stood there as "history.purged"."""
    from moderation.pages.log import WORDS

    assert {"history.purged", "content.held", "case.allowed", "run.started"} <= actions_in_use()
    assert actions_in_use() == set(WORDS)


def test_the_log_is_downloaded_line_by_line(held: Case, mona: Person, browser_of: Browser) -> None:
    decide_case(case=held, by=mona.user, state="allowed", reason="From a manual.")
    rows = [json.loads(line) for line in b"".join(browser_of(None).get("/audit.jsonl").streaming_content).splitlines()]
    assert [row.get("action") for row in rows] == [None, "case.allowed", None]
    assert rows[-1]["head"]["hash"] == rows[-2]["hash"] and rows[0]["hash"] == rows[1]["previous"]
    everything = b"".join(browser_of(mona).get("/audit.jsonl").streaming_content)
    assert b"content.withheld" in everything


def test_the_rules_are_there_for_everybody_with_the_hubs_key(db: None, browser_of: Browser) -> None:
    from moderation import signing

    text = words(browser_of(None).get("/policy"))
    assert signing.public_key() in text and "Two people" in text and "log of decisions" in text
