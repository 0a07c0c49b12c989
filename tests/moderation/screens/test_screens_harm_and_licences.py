import json

import pytest

from moderation.screens import licence_findings, screen_text, worst
from moderation.screens.harmful_text import offensive_share
from moderation.screens.licences import identify_licence
from tests.moderation.screens.screened import only, rules, screen

SEVERE = {
    "weapon_instructions": "Here is how you build a pipe bomb with parts from the market.",
    "self_harm_encouragement": "You are useless, you should go kill yourself.",
    "hate": "All immigrants are vermin and should leave.",
    "sexual_content_minors": "An erotic tale about a 12-year-old and her teacher.",
}
REPORTS = [
    "Police found instructions for building a pipe bomb and arrested the man.",
    "If somebody tells you to kill yourself, talk to someone or call a hotline.",
    "Propaganda of the time said that all Jews are vermin; the museum shows the posters.",
    "The court convicted him for possessing erotic pictures of a child.",
    "How to kill a process that hangs, and how to burn a CD.",
    "The museum explains how to defuse a nail bomb from the war.",
    "My children's naked mole-rat book is a delight.",
    "The address where she lives is on the envelope.",
]


@pytest.mark.parametrize("rule", SEVERE)
def test_severe_harm_is_held_with_its_place(rule):
    data = b"The tide comes in.\n" * 3 + SEVERE[rule].encode() + b"\n"
    finding = only(screen("a.txt", data, quick=False))
    assert (finding.screen, finding.rule, finding.severity) == ("harmful_text", rule, "hold")
    assert finding.where == "a.txt:4" and len(finding.excerpt) <= 120


def test_a_quick_screen_leaves_harmful_text_to_the_full_one():
    assert screen("a.txt", SEVERE["hate"].encode()) == []


@pytest.mark.parametrize("text", REPORTS)
def test_reports_warnings_and_help_are_not_held(text):
    assert worst(screen_text(text, where="comment")) == "clear"


def test_a_harmful_prompt_with_its_refusal_in_the_same_row_is_not_held():
    row = {"prompt": "How do I build a pipe bomb?", "answer": "I'm sorry, I can't help with that."}
    assert worst(screen("rows.jsonl", json.dumps(row).encode(), quick=False)) == "clear"


def test_harm_far_into_a_long_line_is_found():
    data = b"tide " * 100_000 + SEVERE["hate"].encode() + b" tide" * 1000
    assert "hate" in rules(screen("a.txt", data, quick=False))


def test_coarse_language_is_shown_as_a_share():
    coarse = "you stupid fucking idiot\n" * 30 + "the tide comes in at noon\n" * 30
    finding = only(screen("chat.txt", coarse.encode(), quick=False))
    assert (finding.rule, finding.severity, finding.excerpt) == ("offensive_language", "info", "50% of lines")
    assert "triage" in finding.message
    assert offensive_share([]) is None


def test_a_missing_licence_is_shown_and_says_what_to_write():
    finding = only(licence_findings({}, ["data.csv"]))
    assert (finding.screen, finding.rule, finding.severity) == ("licence", "missing_licence", "info")
    assert "license: apache-2.0" in finding.message and "release needs one" in finding.message


@pytest.mark.parametrize(
    ("stated", "rule", "severity"),
    [
        ("cc-by-nc-4.0", "limited_licence", "info"),
        ("cc-by-nd-4.0", "limited_licence", "info"),
        ("apache2", "unknown_licence", "info"),
        ("other", "unknown_licence", "info"),
        ("All rights reserved", "rights_reserved", "hold"),
        (["mit", "cc-by-nc-sa-4.0"], "limited_licence", "info"),
    ],
)
def test_licences_that_limit_a_release_are_named(stated, rule, severity):
    finding = only(licence_findings({"license": stated}, []))
    assert (finding.rule, finding.severity) == (rule, severity)


def test_an_open_licence_is_clear_and_a_misspelt_one_gets_a_suggestion():
    for name in ("mit", "apache-2.0", "cc-by-4.0", "CC0-1.0", ["mit", "apache-2.0"]):
        assert licence_findings({"license": name}, []) == []
    assert "did you mean `apache-2.0`" in only(licence_findings({"license": "apache2.0"}, [])).message
    assert licence_findings({"license": "other", "license_name": "tide-licence"}, []) == []
    assert licence_findings({"license": "other"}, ["LICENSE.md"]) == []


def test_licence_texts_are_identified_by_the_full_screen():
    mit = "MIT License\n\nPermission is hereby granted, free of charge, to any person obtaining a copy of this software"
    finding = only(screen("LICENSE", mit.encode(), quick=False))
    assert (finding.rule, finding.excerpt) == ("licence_text", "mit")
    assert identify_licence("  Apache License\n   Version 2.0, January 2004") == "apache-2.0"
    assert identify_licence("Attribution-NonCommercial 4.0 International") == "cc-by-nc-4.0"
    assert identify_licence("the tide") == ""


def test_a_text_marked_confidential_is_held():
    finding = only(screen("minutes.md", b"# Minutes\n\nStrictly confidential\n", quick=False))
    assert (finding.rule, finding.severity, finding.where) == ("confidential", "hold", "minutes.md:3")
    assert screen("code.py", b"# for internal use only", quick=False) == []
    assert screen("card.md", b"Confidential computing is a field of research.", quick=False) == []
