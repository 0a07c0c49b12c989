"""What contributors write, as HTML that can do no harm; and the metadata of cards, however broken."""

import time

import pytest

from hub.common.markdown import render_markdown, split_card


def test_markdown_becomes_html_with_tables_and_strikethrough():
    html = render_markdown("# Tides\n\n| harbour | high |\n|---|---|\n| Hull | **7.0** |\n\n~~old~~ `code`\n")
    for part in ("<h1>Tides</h1>", "<th>harbour</th>", "<strong>7.0</strong>", "<code>code</code>"):
        assert part in html
    assert "old" in html and "~~" not in html


def test_links_pass_nothing_on():
    html = render_markdown("[site](https://example.org) ![map](map.png)")
    assert '<a href="https://example.org" rel="nofollow ugc noopener">' in html and '<img src="map.png"' in html


def test_comments_are_hidden_wherever_they_stand():
    assert render_markdown("high <!-- or low --> water") == "<p>high  water</p>\n"
    assert render_markdown("a\n<!-- made by the hub -->\n# H") == "<p>a</p>\n<h1>H</h1>\n"
    table = render_markdown("| a |\n|---|\n| 1 |\n<!-- end -->\n")
    assert table.count("<tr>") == 2 and "end" not in table
    assert render_markdown("<!-- over\n\nmany lines --> tail") == "<p>tail</p>\n"
    assert "&lt;!-- shown --&gt;" in render_markdown("`<!-- shown -->`")


@pytest.mark.parametrize("text", ["<!-- a\n\n", "x\n<!-- a\n", "<!-- a --> <!--\n", "> <!-- a\n"])
def test_a_text_of_nothing_but_comments_costs_no_time(text):
    started = time.process_time()
    render_markdown(text * 20_000 + "--> tail")
    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "[x](javascript:alert(1))",
        "[x](data:text/html;base64,PHNjcmlwdD4=)",
        "![x](vbscript:x)",
        '<img src=x onerror="alert(1)">',
        "<style>body{display:none}</style>",
        "<iframe src='https://example.org'></iframe>",
        '[x](https://example.org "\\" onmouseover=\\"alert(1)")',
        "<svg/onload=alert(1)>",
    ],
)
def test_nothing_that_acts_survives(text):
    html = render_markdown(text).lower()
    for tag in ("<script", "<style", "<iframe", "<svg", 'href="javascript', 'href="data', 'src="vbscript'):
        assert tag not in html
    assert " onerror=" not in html.replace("&quot;", '"').replace("&lt;img src=x onerror", "")
    assert 'onmouseover="alert' not in html


@pytest.mark.parametrize(
    "text",
    ["[" * 30_000, "*_" * 15_000, ">" * 20_000, "`a" * 15_000, "[a](" * 8_000, "- " * 20_000, "|a" * 20_000 + "\n|-"],
)
def test_text_that_was_made_to_be_slow_is_rendered_in_bounded_time(text):
    begun = time.process_time()
    render_markdown(text)
    assert time.process_time() - begun < 10


def test_a_text_of_too_many_lines_is_cut_and_says_so():
    html = render_markdown("# a\n" * 10_000)
    assert html.count("<h1>") == 10_000 and "goes on" not in html
    html = render_markdown("# a\n" * 120_000)
    assert html.count("<h1>") == 10_000 and "read the rest as plain text" in html


def test_a_card_is_its_metadata_and_its_text():
    card = split_card("---\nlicense: cc-by-4.0\ntags: [tides, sea]\n---\n# Tide tables\n")
    assert card.metadata == {"license": "cc-by-4.0", "tags": ["tides", "sea"]}
    assert (card.body, card.problem) == ("# Tide tables\n", "")


@pytest.mark.parametrize("text", ["", "# Only text\n", "--- not metadata\n", "text\n---\na: b\n---\n"])
def test_text_without_metadata_is_all_text(text):
    card = split_card(text)
    assert (card.metadata, card.body, card.problem) == ({}, text, "")


def test_line_ends_of_windows_are_read_as_well():
    card = split_card("---\r\nlicense: mit\r\n---\r\nHello\r\n")
    assert (card.metadata, card.body) == ({"license": "mit"}, "Hello\n")


def test_empty_metadata_is_no_problem():
    assert split_card("---\n---\nHello\n").problem == ""
    assert split_card("---\n# only a comment\n---\nHello\n").metadata == {}


@pytest.mark.parametrize(
    ("head", "words"),
    [
        ("license: [mit", "README.md line 2"),
        ("a: b\na: c", "README.md line 3"),
        ("- one\n- two", "must be 'key: value' lines"),
        ("a: &x [1, 1]\nb: [*x, *x]", "YAML aliases"),
        ("a: &x [1]\nb: *x", "YAML aliases"),
        ("a: " + "[" * 30_000, "nested too deep"),
        ("- " * 30_000, "nested too deep"),
        ("a: !!python/object/apply:os.system ['true']", "README.md"),
        ("a: " + "x" * 70_000, "larger than 64 KiB"),
    ],
)
def test_broken_metadata_leaves_the_text_readable_and_says_what_to_mend(head, words):
    card = split_card(f"---\n{head}\n---\nThe text.\n")
    assert card.metadata == {} and card.body == "The text.\n"
    assert words in card.problem


def test_emphasis_is_not_taken_for_an_alias():
    assert split_card("---\nsummary: 5 * 3 & more\nnote: '*bold*'\n---\n").metadata == {
        "summary": "5 * 3 & more",
        "note": "*bold*",
    }


def test_a_block_that_is_never_closed_says_so():
    card = split_card("---\nlicense: mit\n# Title\n")
    assert "no closing '---' line" in card.problem and card.body.startswith("---")


def test_a_number_beyond_all_use_is_the_text_that_was_written():
    """Python refuses to write so many digits, so the number broke whoever wanted to show or keep it."""
    digits = "0x" + "f" * 6000
    assert split_card(f"---\nsize: {digits}\n? {digits}\n: 1\nrows: 12_000\n---\n").metadata == {
        "size": digits,
        digits: 1,
        "rows": 12_000,
    }


@pytest.mark.parametrize(
    "value", ["9" * 5000, "!!timestamp soon", "!!int x", "!!bool x", "!!float ''", "!!int ''", "1:" * 300 + "1.5"]
)
def test_a_value_that_is_not_what_it_claims_is_told(value):
    card = split_card(f"---\nsize: {value}\n---\nThe text.\n")
    assert card.body == "The text.\n" and (card.problem or card.metadata)
