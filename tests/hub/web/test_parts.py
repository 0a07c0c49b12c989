"""The plain helpers under the pages: diffs, previews, plots, numbers, panels."""

import json
import re
from datetime import timedelta

import pytest
from django.test import RequestFactory
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from hub.web import panels
from hub.web.diffs import parse_diff, unquote_path
from hub.web.plots import nice_ticks, render_line_plot, write_plot_data
from hub.web.previews import MAX_ROWS, read_table
from hub.web.templatetags.hub_format import compact, duration, how_long_ago, size, state_badge

DIFF = """diff --git a/a.txt b/a.txt
index 1..2 100644
--- a/a.txt
+++ b/a.txt
@@ -1,3 +1,3 @@
 same
---- looks like a header
+++++ so does this
 end
diff --git a/old name.txt b/old name.txt
deleted file mode 100644
index 1..0
--- a/old name.txt\t
+++ /dev/null
@@ -1 +0,0 @@
-gone
diff --git a/x.bin b/x.bin
new file mode 100644
index 0..1
Binary files /dev/null and b/x.bin differ
"""


def test_a_diff_is_read_file_by_file_with_line_numbers():
    diff = parse_diff(DIFF)
    assert [(file.path, file.kind, file.added, file.removed) for file in diff.files] == [
        ("a.txt", "modified", 1, 1), ("old name.txt", "deleted", 0, 1), ("x.bin", "added", 0, 0),
    ]  # fmt: skip
    assert [(line.kind, line.old_number, line.new_number) for line in diff.files[0].lines] == [
        ("hunk", None, None), ("same", 1, 1), ("removed", 2, None), ("added", None, 2), ("same", 3, 3),
    ]  # fmt: skip
    assert diff.files[2].is_binary


def test_unusual_names_are_unquoted():
    assert unquote_path('"b/gr\\303\\274n \\"x\\".txt"') == 'b/grün "x".txt'
    text = 'diff --git "a/gr\\303\\274n.txt" "b/gr\\303\\274n.txt"\nnew file mode 100644\nBinary files x and y differ\n'
    assert parse_diff(text).files[0].path == "grün.txt"


@given(st.text(alphabet='@+- \\"abdiffgt\n/0123,', max_size=300))
def test_no_text_breaks_the_diff_reader(text):
    parse_diff("diff --git " + text)


def test_json_lines_become_rows_and_a_broken_line_is_named():
    table = read_table("a.jsonl", b'{"q": "one", "n": [1]}\n\n{"q": "two"}\n{"q": \n', is_whole=True)
    assert table.columns == ["q", "n"]
    assert [row.cells for row in table.rows] == [["one", "[1]"], ["two", ""]]
    assert table.problem.startswith("Line 4 is not JSON")


def test_chats_become_bubbles_in_both_usual_shapes():
    rows = [
        {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]},
        {"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}]},
    ]
    table = read_table("a.jsonl", "\n".join(map(json.dumps, rows)).encode(), is_whole=True)
    assert table.is_chat
    assert all(
        [(turn.role, turn.text) for turn in row.turns] == [("user", "hi"), ("assistant", "hello")] for row in table.rows
    )


@pytest.mark.parametrize("data", [b"[" * 100_000, b'"' * 1000, b"a,b\n" + b'"', b"\xff\xfe\0\0", b"", b"\n\n"])
@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.tsv"])
def test_hostile_tables_are_read_within_bounds(name, data):
    table = read_table(name, data, is_whole=True)
    assert len(table.rows) <= MAX_ROWS


def test_a_long_table_is_cut_and_says_so():
    table = read_table("a.csv", b"n\n" + b"".join(b"%d\n" % number for number in range(500)), is_whole=False)
    assert len(table.rows) == MAX_ROWS and table.is_cut


def test_a_plot_names_its_lines_at_their_ends_and_leaves_out_what_is_no_number():
    series = [("loss <b>", [(1, 4.0), (2, float("nan")), (3, 2.5)]), {"name": "parent", "points": [(1, 3), (3, 3)]}]
    svg = render_line_plot(series, title="Loss", x_label="step", y_label="loss")
    assert svg.startswith("<svg") and svg.count("<polyline") == 2
    assert "loss &lt;b&gt; 2.5</text>" in svg and "nan" not in svg
    assert 'aria-label="Loss: loss &lt;b&gt; from 4 at 1 to 2.5 at 3; parent from 3 at 1 to 3 at 3"' in svg
    assert "<b>" not in write_plot_data(series)
    assert "No values yet" in render_line_plot([("loss", [])])


def test_a_value_alone_is_a_dot():
    svg = render_line_plot([("loss", [(1, 4.0), (2, 3.0)]), ("kept aside", [(2, 3.5)])])
    (dot,) = re.findall(r'plot__line--dot plot__series-2" points="(\S+) (\S+)"', svg)
    assert dot[0] == dot[1] and svg.count("plot__line--dot") == 1


def test_plots_on_the_same_axis_have_the_same_ticks():
    low = render_line_plot([("a", [(0, 1), (9, 2)])], y_range=(0, 5))
    high = render_line_plot([("a", [(0, 4), (9, 5)])], y_range=(0, 5))
    ticks = [part.split("<polyline")[0] for part in (low, high)]
    assert ticks[0].split("aria-label")[1].split(">", 1)[1] == ticks[1].split("aria-label")[1].split(">", 1)[1]


@pytest.mark.parametrize(("low", "high"), [(1, 2), (1, 8), (3, 3), (0, 10), (0, 1234)])
def test_there_is_no_half_a_step(low, high):
    """A run of two steps was drawn with ticks at 1.25 and 1.5."""
    ticks = nice_ticks(low, high, is_whole=True)
    assert all(tick == int(tick) for tick in ticks) and ticks[0] <= low and ticks[-1] >= high
    svg = render_line_plot([("loss", [(low, 4.0), (high, 3.0)])])
    assert not re.search(r'text-anchor="middle">[0-9]*\.', svg)


@given(st.floats(-1e12, 1e12), st.floats(-1e12, 1e12))
def test_ticks_cover_their_range_in_few_steps(one, other):
    low, high = min(one, other), max(one, other)
    ticks = nice_ticks(low, high)
    slack = 1e-6 * max(abs(low), abs(high), 1)
    assert ticks[0] <= low + slack and ticks[-1] >= high - slack
    assert 2 <= len(ticks) <= 7


def test_numbers_are_written_as_people_read_them():
    assert [size(n) for n in (0, 999, 1500, 269_000_000, 999_999_999)] == ["0 B", "999 B", "1.5 kB", "269 MB", "1 GB"]
    assert [compact(n) for n in (0, 950, 1234, 134_515_008)] == ["0", "950", "1.23k", "135M"]
    assert [duration(s) for s in (0.44, 38, 60, 250, 7500)] == ["0.4 s", "38 s", "1 min", "4 min 10 s", "2 h 5 min"]
    now = timezone.now()
    assert how_long_ago(now - timedelta(hours=3), now) == "3 hours ago"
    assert how_long_ago(now - timedelta(days=1), now) == "1 day ago"


def test_a_state_is_icon_and_word_never_colour_alone():
    badge = state_badge("failed")
    assert "<svg" in badge and "Failed" in badge
    assert "Brand new" in state_badge("brand_new")


def test_panels_come_in_order_and_a_broken_one_spoils_only_itself(monkeypatch):
    monkeypatch.setattr(panels, "_panels", {slot: [] for slot in panels.SLOTS})

    def broken(request, context):
        raise KeyError("missing")

    panels.add_panel("home", lambda request, context: "<p>second</p>", order=2)
    panels.add_panel("home", lambda request, context: "<p>first</p>", order=1)
    panels.add_panel("home", broken, order=3)
    html = panels.render_slot("home", RequestFactory().get("/"), {})
    assert html.index("first") < html.index("second") < html.index("could not be shown")
    with pytest.raises(ValueError, match="There is no slot 'hoem'"):
        panels.add_panel("hoem", broken)


@pytest.mark.django_db
def test_a_tab_of_another_room_stands_on_each_page_it_wants(tides, secret, browser_of, alice, monkeypatch):
    monkeypatch.setattr(panels, "_tabs", [])
    panels.add_tab("Runs", "/runs", lambda request, repo: repo.type == "model", lambda request, repo: 3)
    browser = browser_of(alice)
    model, dataset = browser.get(secret.path).content.decode(), browser.get(tides.path).content.decode()
    assert f'href="{secret.path}/runs">Runs <span class="count">3</span>' in model
    assert ">Runs" not in dataset


@pytest.mark.parametrize(
    "value, text", [(71.5, "71.5"), (3, "3"), (0.12345, "0.1235"), (0.0, "0"), (-100.0, "-100"), (1.2e-7, "1.2e-07"), (1e300, "1e+300")]
)  # fmt: skip
def test_numbers_carry_no_zeros_that_nobody_wrote(value, text):
    from hub.web.templatetags.hub_format import short_number

    assert short_number(value) == text
