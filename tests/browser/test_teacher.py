"""A teacher with 300 questions and answers makes a real model better, from upload to verdict, in a browser.

Real weights (SmolLM2-135M-Instruct) and real text: what the functions of Python's standard library do, by their own
documentation. The rows that judge are of other functions than the rows that teach."""

import csv
import io
import os
import re
import time
from collections.abc import Callable
from typing import Any

import pytest

from hub.site.bootstrap.assets import ensure_smollm2
from tests.browser.looks import Gallery, check_page
from tests.browser.town import ORGANIZATION, Town, upload, write_files
from tests.training.line import as_jsonl
from tests.training.python_help import Entry, split_entries

pytestmark = [pytest.mark.browser, pytest.mark.slow]

BASE = f"{ORGANIZATION}/smollm2-135m-instruct"
SUITE = f"{ORGANIZATION}/python-help"
TAUGHT, HELD_OUT = 300, 80
RUN_MS = 15 * 60_000  # from "Propose it" to the verdict
SUITE_YAML = """\
version: 1
name: Python help
margin: 0.05
tasks:
  - {name: held-out, kind: perplexity, file: held-out.jsonl, metric: bits_per_byte}
"""


def as_table(rows: list[Entry]) -> bytes:
    """As a spreadsheet exports it, with the columns named by a person."""
    out = io.StringIO()
    csv.writer(out).writerows([("My question", "My answer"), *((row.question, row.text) for row in rows)])
    return out.getvalue().encode()


def furnish_school(town: Town, judging: list[Entry]) -> None:
    town.operate("import_folder", str(ensure_smollm2()), BASE, "--type", "model")
    texts = as_jsonl([{"text": f"{row.question}\n{row.text}"} for row in judging])
    upload(
        town,
        SUITE,
        "dataset",
        write_files(town.folder / "python-help", {"suite.yaml": SUITE_YAML.encode(), "held-out.jsonl": texts}),
    )


def test_300_rows_make_a_real_model_better_within_a_quarter_of_an_hour(
    town: Town, open_window: Callable[..., Any], gallery: Gallery, capsys: pytest.CaptureFixture[str]
) -> None:
    taught, judging = split_entries(TAUGHT, HELD_OUT)
    furnish_school(town, judging)
    page = open_window("sam")
    bring_the_table(page, write_files(town.folder / "school", {"answers.csv": as_table(taught)}) / "answers.csv")
    propose(page, gallery)
    began = time.monotonic()
    for name in ("train", "evaluate"):
        badge = page.locator(f"#check-{name} .badge", has_text=re.compile("Passed|Failed"))
        badge.wait_for(timeout=RUN_MS)
        assert badge.inner_text().strip() == "Passed", page.get_by_role("main").inner_text()
    waited_s = time.monotonic() - began
    result = read_verdict(page, gallery)
    with capsys.disabled():
        print(f"\n{result} after {waited_s:.0f} s from the proposal to the verdict; load {os.getloadavg()[0]:.1f}")
    assert result["low"] > 0, "the 95% interval of the paired difference lies above nothing"
    assert result["better"] > 3 * result["worse"] and result["better"] + result["worse"] <= HELD_OUT
    assert waited_s < RUN_MS / 1000


def bring_the_table(page: Any, file: Any) -> None:
    page.goto("/new/dataset")
    page.get_by_label("Name").fill("my-answers")
    page.get_by_role("button", name="Make the dataset").click()
    page.wait_for_url("**/datasets/sam/my-answers/upload")
    page.get_by_label("Choose files").set_input_files(file)
    page.get_by_role("button", name="Upload").click()
    page.wait_for_url("**/datasets/sam/my-answers/tree/main", timeout=60_000)


def propose(page: Any, gallery: Gallery) -> None:
    """A model of one's own from the base; the columns have names of their own, and one button says which is which."""
    page.goto(f"/propose?base={BASE}")
    page.get_by_role("button", name="Make it and go on").click()
    page.get_by_label("Answer questions and follow instructions").check()
    page.get_by_role("button", name="Next: choose the data").click()
    page.get_by_role("checkbox", name="sam/my-answers").check()
    page.get_by_role("button", name="Next: see what it will learn").click()
    page.locator("[data-fault=wrong_column]").wait_for()
    check_page(page)
    gallery.keep(page, "teacher-columns")
    page.get_by_role("link", name="Read “My question” as the question and “My answer” as the answer").click()
    page.locator(".token--learnt").first.wait_for()
    assert not page.locator("[data-fault]").count(), page.get_by_role("main").inner_text()
    check_page(page)
    gallery.keep(page, "teacher-preview")
    page.get_by_role("button", name="Next: how thoroughly?").click()
    page.get_by_role("radio", name=re.compile("Once through")).check()
    check_page(page)
    gallery.keep(page, "teacher-size")
    page.get_by_role("button", name="Next: look it over").click()
    for box in page.locator("input[name=suite]").all():
        box.set_checked(box.get_attribute("value") == SUITE)
    check_page(page)
    gallery.keep(page, "teacher-send")
    page.get_by_role("button", name="Propose it").click()
    page.get_by_role("heading", name=re.compile("Learn from my-answers")).wait_for()


def read_verdict(page: Any, gallery: Gallery) -> dict[str, Any]:
    """What the page of the run says about the held-out rows."""
    page.goto(page.locator("#check-evaluate a", has_text="Evidence").get_attribute("href"))
    gallery.keep(page, "teacher-verdict")
    row = page.locator("table.evaluation tbody tr", has_text="held-out").first
    text = row.inner_text()
    low, high = re.search(
        r"([+−-][\d.]+) to ([+−-][\d.]+)\s", row.locator("[data-label=Difference]").inner_text() + " "
    ).groups()  # type: ignore[union-attr]
    better, worse = re.search(r"(\d+) better, (\d+) worse", text).groups()  # type: ignore[union-attr]
    number = {"low": low, "high": high}
    return {name: float(value.replace("−", "-")) for name, value in number.items()} | {
        "better": int(better),
        "worse": int(worse),
    }
