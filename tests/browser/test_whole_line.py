"""The straight line as people walk it, in Chromium: from signing up to a reported answer.

Maria signs up and proposes, Ada maintains, Ben is the second pair of eyes, Noor moderates; each has a browser of her own."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.browser.looks import Gallery, Watch, check_page
from tests.browser.town import BASE, TARGET, Town, write_tide_data

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PASSWORD = "harbour-lights-2026"
RUN_MS = 240_000  # of all stations of a run on two busy cores
ANSWER_MS = 90_000
UPLOAD_BYTES_PER_S = 20_000
QUEUE_MS = 900_000  # the one worker may still ask the model of the story before 564 questions
QUESTION = "When is tide 3?"
# Tells each value that a progress bar of the upload shows.
TELL_PROGRESS = """() => new MutationObserver((changes) => {
  for (const { target } of changes) window.tellProgress(target.value);
}).observe(document.querySelector("[data-files]"), { attributeFilter: ["value"], subtree: true })"""
# As a file manager does: the file comes with a drop on the marked field.
DROP_FILE = """([name, text]) => {
  const transfer = new DataTransfer();
  transfer.items.add(new File([text], name, { type: "text/markdown" }));
  const about = { dataTransfer: transfer, bubbles: true, cancelable: true };
  const target = document.querySelector("[data-drop]");
  for (const kind of ["dragenter", "dragover", "drop"]) target.dispatchEvent(new DragEvent(kind, about));
}"""


def test_the_whole_line_in_a_browser(
    town: Town, open_window: Callable[..., Any], watch: Watch, gallery: Gallery
) -> None:
    maria = sign_up(open_window(), watch, gallery)
    upload_dataset(maria, write_tide_data(town), gallery)
    proposal = propose_with_the_wizard(maria, gallery)
    ada, ben, noor, jun = (open_window(name) for name in ("ada", "ben", "noor", "jun"))
    watch_the_run(maria, ada, proposal, gallery)
    judge_the_answers(maria, (noor, jun), gallery)
    approve_and_merge(ada, ben, proposal, gallery)
    release(ada, (ben, noor), gallery)
    answer = ask_and_report(maria, gallery)
    see_the_case(noor, answer, gallery)


def show(page: Any, name: str, gallery: Gallery) -> None:
    check_page(page)
    gallery.keep(page, name)


def sign_up(page: Any, watch: Watch, gallery: Gallery) -> Any:
    page.goto("/")
    show(page, "home", gallery)
    page.get_by_role("main").get_by_role("link", name="Sign up").first.click()
    page.get_by_label("Name").fill("maria")
    page.get_by_label("Password").fill("12345678")
    show(page, "sign-up", gallery)
    with watch.expecting("status 400"):
        page.get_by_role("button", name="Make the account").click()
        page.locator(".field__error", has_text="common").wait_for()  # the reason stands beside the field
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Make the account").click()
    page.get_by_role("heading", name="Your desk").wait_for()
    show(page, "desk", gallery)
    return page


def upload_dataset(page: Any, folder: Path, gallery: Gallery) -> None:
    """Chosen and dropped files go up on a slow line; the bars move, and one commit takes them all."""
    page.goto("/new/dataset")
    page.get_by_label("Name").fill("tide-answers")
    page.get_by_label("In one sentence").fill("Questions about tides, answered at the harbour")
    show(page, "new-dataset", gallery)
    page.get_by_role("button", name="Make the dataset").click()
    page.wait_for_url("**/datasets/maria/tide-answers/upload")
    progress: list[float] = []
    page.expose_function("tellProgress", lambda value: progress.append(value))
    page.evaluate(TELL_PROGRESS)
    page.get_by_label("Choose files").set_input_files(folder / "train.jsonl")
    page.evaluate(DROP_FILE, ["README.md", (folder / "README.md").read_text()])
    assert page.locator(".upload-file__path").all_inner_texts() == ["train.jsonl", "README.md"]
    page.get_by_label("What changes").fill("Questions of two school years")
    show(page, "upload", gallery)
    slow_down(page, UPLOAD_BYTES_PER_S)
    page.get_by_role("button", name="Upload").click()
    page.locator(".upload-file__state", has_text=re.compile(r"[\d.]+ kB of [\d.]+ kB")).first.wait_for()
    gallery.keep(page, "uploading")
    page.wait_for_url("**/datasets/maria/tide-answers/tree/main", timeout=60_000)
    slow_down(page, -1)
    assert [value for value in progress if 0 < value < 1], f"the bars jumped: {progress}"
    page.get_by_role("link", name="File train.jsonl", exact=True).wait_for()
    show(page, "files", gallery)
    page.get_by_role("link", name="File train.jsonl", exact=True).click()
    page.get_by_role("cell", name="When is tide 3?", exact=True).wait_for()
    show(page, "file", gallery)
    page.goto("/datasets/maria/tide-answers")
    page.get_by_role("heading", name="Questions about tides").wait_for()
    show(page, "dataset", gallery)


def slow_down(page: Any, upload_bytes_per_s: int) -> None:
    """What this page sends goes no faster; -1 lifts it."""
    session = page.context.new_cdp_session(page)
    limits = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": upload_bytes_per_s}
    session.send("Network.emulateNetworkConditions", limits)


def propose_with_the_wizard(page: Any, gallery: Gallery) -> str:
    """From the menu, in plain words; returns the path of the proposal."""
    page.get_by_text("New", exact=True).click()
    page.get_by_role("link", name="Proposal", exact=True).click()
    page.get_by_role("heading", name="Which model should become better?").wait_for()
    show(page, "choose-model", gallery)
    page.get_by_role("link", name=TARGET, exact=True).click()
    page.get_by_role("heading", name="What should it start from?").wait_for()
    show(page, "wizard-start", gallery)
    page.get_by_role("link", name=BASE).click()
    page.get_by_label("Answer questions and follow instructions").check()
    show(page, "wizard-goal", gallery)
    page.get_by_role("button", name="Next: choose the data").click()
    page.get_by_role("link", name="Look at its rows").first.click()
    page.get_by_text("Tide 1 is at 1 o'clock.").wait_for()
    show(page, "wizard-data", gallery)
    page.get_by_role("checkbox", name="maria/tide-answers").check()
    page.get_by_role("button", name="Next: see what it will learn").click()
    page.locator(".token--learnt").first.wait_for()
    show(page, "wizard-preview", gallery)
    page.get_by_role("button", name="Next: how thoroughly?").click()
    page.get_by_role("radio", name=re.compile("Thoroughly")).check()
    show(page, "wizard-size", gallery)
    page.get_by_role("button", name="Next: look it over").click()
    page.get_by_label("In one line").fill("Teach it the tide questions of my class")
    page.get_by_label("Why it should be merged").fill("My pupils asked these; we checked the answers **together**.")
    show(page, "wizard-send", gallery)
    page.get_by_role("button", name="Propose it").click()
    page.get_by_role("heading", name=re.compile("Teach it the tide questions")).wait_for()
    return page.url.partition("#")[0]


def watch_the_run(maria: Any, ada: Any, proposal: str, gallery: Gallery) -> None:
    """Maria looks on while Ada presses "run"; her page is never loaded again."""
    maria.goto(proposal)
    maria.evaluate("window.isStillTheSame = true")
    check_state(maria, "prepare", "Passed").wait_for(timeout=QUEUE_MS)
    assert "maintainer" in maria.locator("#check-train .checks__summary").inner_text()
    show(maria, "proposal-waits", gallery)
    ada.goto("/")
    show(ada, "desk-of-a-maintainer", gallery)
    ada.get_by_role("link", name="Teach it the tide questions").first.click()
    ada.get_by_role("button", name="Run it").click()
    ada.get_by_text("It starts as soon as a worker is free.").wait_for()
    check_state(maria, "train", re.compile("Queued|Running")).wait_for(timeout=RUN_MS)
    gallery.keep(maria, "proposal-runs")
    watch_the_page_of_the_run(maria, gallery)
    for name in ("train", "evaluate"):
        check_state(maria, name, "Passed").wait_for(timeout=RUN_MS)
    maria.locator("figure.plot").first.wait_for()
    maria.locator("#check-screen .badge", has_text=re.compile("Passed|Waiting for a person")).wait_for(timeout=RUN_MS)
    assert maria.evaluate("window.isStillTheSame"), "the page was loaded again"
    show(maria, "proposal-screened", gallery)


def judge_the_answers(maria: Any, moderators: tuple[Any, Any], gallery: Gallery) -> None:
    """So small a model declines nothing. When the screen says so, two moderators read the answers and decide."""
    if check_state(maria, "screen", "Waiting for a person").count():
        for number, (page, words) in enumerate(
            zip(moderators, ("One more moderator has to agree", "Allowed by noor and jun"), strict=True)
        ):
            page.goto("/moderation")
            page.get_by_role("link", name=re.compile("tide-assistant#1: .*answers screened")).click()
            page.get_by_text("Show the answers").first.click()
            page.get_by_role("radio", name="Allow").check()
            page.get_by_role("textbox", name="Reason").fill("I read the answers; none of them helps to do harm.")
            show(page, f"case-of-answers-{number}", gallery)
            page.get_by_role("button", name="Decide").click()
            page.get_by_text(words).first.wait_for()
    check_state(maria, "screen", "Passed").wait_for(timeout=RUN_MS)
    assert maria.evaluate("window.isStillTheSame"), "the page was loaded again"
    show(maria, "proposal-done", gallery)


def watch_the_page_of_the_run(maria: Any, gallery: Gallery) -> None:
    """In a second tab: step and curve move by themselves while the model learns."""
    address = maria.locator("#check-train a", has_text="Evidence").get_attribute("href")
    page = maria.context.new_page()
    page.goto(address)
    page.evaluate("window.isStillTheSame = true")
    page.locator("[data-now]", has_text=re.compile(r"^Step \d")).wait_for(timeout=RUN_MS)
    first = page.locator("[data-now]").inner_text()
    page.wait_for_function("text => !document.querySelector('[data-now]')?.textContent.includes(text)", arg=first)
    page.locator("#curve figure.plot path, #curve figure.plot polyline").first.wait_for()
    gallery.keep(page, "run-trains")
    page.get_by_role("heading", name=re.compile("^Trained")).wait_for(timeout=RUN_MS)
    assert page.evaluate("window.isStillTheSame"), "the page was loaded again"
    page.close()


def check_state(page: Any, name: str, word: "str | re.Pattern[str]") -> Any:
    """The badge of a check of the proposal that is shown."""
    return page.locator(f"#check-{name} .badge", has_text=word)


def approve_and_merge(ada: Any, ben: Any, proposal: str, gallery: Gallery) -> None:
    """The merge box names what is missing until somebody else has approved."""
    ada.goto(proposal)
    merge = ada.get_by_role("button", name="Merge into main")
    assert merge.is_disabled()
    assert ada.get_by_text("It needs an approval of this candidate").is_visible()
    ben.goto(proposal)
    ben.get_by_role("link", name="Files changed").click()
    ben.get_by_text("recipe.yaml").first.wait_for()
    show(ben, "files-changed", gallery)
    ben.goto(proposal)
    ben.get_by_label("Approve: the evidence").check()
    ben.get_by_label("What you found").fill("Evaluation and answers look good.")
    show(ben, "review", gallery)
    ben.get_by_role("button", name="Give the review").click()
    ben.get_by_text("Your review is recorded.").wait_for()
    merge.and_(ada.locator(":enabled")).wait_for()  # Ada's page hears of it by itself
    show(ada, "ready-to-merge", gallery)
    merge.click()
    ada.get_by_role("heading", name="Merged into main by ada").wait_for()
    show(ada, "merged", gallery)
    ada.goto(f"/{TARGET}")
    show(ada, "model-before-release", gallery)


def release(ada: Any, approvers: tuple[Any, ...], gallery: Gallery) -> None:
    """Proposed by one, approved by two others; then everybody has it."""
    ada.goto(f"/{TARGET}/releases")
    show(ada, "releases", gallery)
    ada.get_by_label("Version").fill("1.0.0")
    ada.get_by_label("What is new").fill("It answers the tide questions of **two school years**.")
    ada.get_by_role("button", name="Propose this release").click()
    ada.get_by_text("Waits for 2 approvals").wait_for()
    show(ada, "release-proposed", gallery)
    for page in approvers:
        page.goto(f"/{TARGET}/releases/v1.0.0")
        page.get_by_label("What convinced you").fill("I asked it myself.")
        show(page, "release-to-approve", gallery)
        page.get_by_role("button", name="Approve v1.0.0").click()
        page.get_by_text("I asked it myself.").first.wait_for()
    page.get_by_text("Published, approved by ben and noor").wait_for()
    show(page, "released", gallery)


def ask_and_report(maria: Any, gallery: Gallery) -> str:
    """The released model answers on its page; the answer is reported. Returns what it said."""
    maria.goto(f"/{TARGET}")
    show(maria, "model", gallery)
    maria.get_by_role("navigation", name="Parts of").get_by_role("link", name="Playground").click()
    maria.get_by_label("Your question").fill(QUESTION)
    maria.get_by_text("Which version, and how it answers").click()
    maria.get_by_label("Longest answer").fill("24")
    assert maria.get_by_label("Version").input_value() == "v1.0.0"
    show(maria, "playground", gallery)
    maria.get_by_role("button", name="Ask").click()
    maria.get_by_role("button", name="Report this answer").wait_for(timeout=ANSWER_MS)
    answer = str(maria.locator("#answer [data-text]").inner_text())
    assert answer.strip()
    show(maria, "answer", gallery)
    maria.get_by_role("button", name="Report this answer").click()
    maria.get_by_label("What is wrong?").fill("It cannot know this and should say so.")
    show(maria, "report", gallery)
    maria.get_by_role("button", name="Send the report").click()
    maria.get_by_role("heading", name="It cannot know this").wait_for()
    show(maria, "own-case", gallery)
    return answer


def see_the_case(noor: Any, answer: str, gallery: Gallery) -> None:
    """The moderator finds it under her bell and in the queue, with prompt, settings and release."""
    noor.goto("/moderation")
    show(noor, "queue", gallery)
    noor.get_by_role("link", name="It cannot know this and should say so.").click()
    case = noor.get_by_role("main")
    assert case.get_by_text(QUESTION, exact=True).is_visible()
    case.get_by_text("Show the answer").click()
    assert answer in case.get_by_text(answer, exact=False).first.inner_text()
    facts = case.get_by_role("complementary", name="About this case")
    assert facts.get_by_role("link", name="v1.0.0").is_visible()
    assert re.search(r"max new tokens\s+24", facts.inner_text(), re.IGNORECASE)
    show(noor, "case", gallery)
    noor.get_by_role("radio", name="Something was done").check()
    noor.get_by_role("textbox", name="Reason").fill("Thank you. It becomes a case of the next evaluation.")
    noor.get_by_role("button", name="Decide").click()
    noor.get_by_text("Resolved by noor").wait_for()
    show(noor, "decided", gallery)
