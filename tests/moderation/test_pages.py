"""Moderation as people meet it in a browser: queue, cases, releases, reports, the public log."""

import ast
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import moderation
from hub.repos.models import RepoCollaborator
from moderation.models import Case, Release
from moderation.publishing import set_state
from moderation.queue import decide_case
from moderation.releases import propose_release
from moderation.reports import open_report
from tests.guards import lifted
from tests.moderation.scenes import SECRET, Workshop, bring, make_repo
from tests.moderation.test_output_screening import spoil
from tests.people import Person

pytestmark = pytest.mark.django_db(transaction=True)
Browser = Callable[..., Any]


@pytest.fixture
def held(alice: Person, bob: Person, mona: Person) -> Case:
    repo = make_repo("dataset", "tides", alice.user)
    RepoCollaborator.objects.create(repo=repo, user=bob.user, role="write")
    bring(repo, alice.user, {"notes.txt": f"example: {SECRET}".encode()})
    return Case.objects.get()


def words(response: Any) -> str:
    """The text of a page, tags and repeated spaces left out."""
    text = re.sub(r"<script.*?</script>|<style.*?</style>|<[^>]+>", " ", response.content.decode(), flags=re.DOTALL)
    return " ".join(text.split())


# --- queue and cases


def test_the_queue_is_for_moderators_and_others_see_their_own(
    held: Case, alice: Person, charlie: Person, mona: Person, browser_of: Browser
) -> None:
    assert browser_of(None).get("/moderation").status_code == 302
    page = browser_of(mona).get("/moderation")
    assert "notes.txt" in words(page) and f"/moderation/cases/{held.pk}" in page.content.decode()
    assert "notes.txt" in words(browser_of(alice).get("/moderation"))
    assert "There is no case that concerns you" in words(browser_of(charlie).get("/moderation"))


def test_the_queue_filters_and_says_when_it_is_empty(held: Case, mona: Person, browser_of: Browser) -> None:
    browser = browser_of(mona)
    assert "Nothing matches" in words(browser.get("/moderation?kind=report"))
    assert "notes.txt" in words(browser.get("/moderation?kind=content&q=tides"))
    decide_case(case=held, by=mona.user, state="refused", reason="It is real.")
    assert "Nothing waits for a decision" in words(browser.get("/moderation"))
    assert "notes.txt" in words(browser.get("/moderation?state=decided"))


def test_the_queue_costs_a_fixed_number_of_queries(
    held: Case, charlie: Person, mona: Person, browser_of: Browser, django_assert_max_num_queries: Any
) -> None:
    for number in range(12):
        open_report(repo=held.repo, by=charlie.user, text=f"Wrong in line {number}.")
    browser = browser_of(mona)
    with django_assert_max_num_queries(7):  # session, user, count, cases with their people, unread notifications
        browser.get("/moderation")


def test_a_moderators_desk_says_how_much_waits(held: Case, alice: Person, mona: Person, browser_of: Browser) -> None:
    assert "1 case waits for a moderator" in words(browser_of(mona).get("/"))
    assert "waits for a moderator" not in words(browser_of(alice).get("/"))


def test_a_number_that_no_case_can_have_is_no_case(held: Case, mona: Person, browser_of: Browser) -> None:
    assert browser_of(mona).get(f"/moderation/cases/{10**40}").status_code == 404


def test_a_moderator_decides_on_the_page_of_the_case(held: Case, mona: Person, browser_of: Browser) -> None:
    browser = browser_of(mona)
    address = f"/moderation/cases/{held.pk}"
    text = words(browser.get(address))
    assert "It waits for a moderator" in text and "notes.txt:1" in text and SECRET not in text
    refused = browser.post(f"{address}/decide", {"state": "allowed", "reason": ""})
    assert refused.status_code == 400 and "Give the reason" in words(refused)
    done = browser.post(f"{address}/decide", {"state": "allowed", "reason": "From a manual.", "clause": "secrets"})
    assert done.status_code == 302 and done["Location"] == address
    assert "Allowed by mona" in words(browser.get(address)) and "From a manual." in words(browser.get(address))
    twice = browser.post(f"{address}/decide", {"state": "refused", "reason": "No."})
    assert twice.status_code == 409 and "allowed already" in words(twice)


def test_a_moderator_withholds_a_file_from_the_page_of_a_report(
    held: Case, alice: Person, charlie: Person, mona: Person, browser_of: Browser
) -> None:
    decide_case(case=held, by=mona.user, state="allowed", reason="From a manual.")
    case = open_report(repo=held.repo, by=charlie.user, text="It is real.", subject={"path": "notes.txt"})
    assert "Withhold this file" not in words(browser_of(alice).get(f"/moderation/cases/{case.pk}"))
    browser = browser_of(mona)
    assert 'value="notes.txt"' in browser.get(f"/moderation/cases/{case.pk}").content.decode()
    given = {"act": "withhold", "path": "notes.txt", "reason": "The key works."}
    done = browser.post(f"/moderation/cases/{case.pk}/file", given)
    assert done.status_code == 302
    text = words(browser.get(done["Location"]))
    assert "Refused by mona" in text and "Show this file again" in text
    twice = browser.post(f"/moderation/cases/{case.pk}/file", given)
    assert twice.status_code == 409 and "withheld already" in words(twice)


def test_the_page_of_a_case_is_for_its_people(
    held: Case, alice: Person, bob: Person, charlie: Person, browser_of: Browser
) -> None:
    address = f"/moderation/cases/{held.pk}"
    assert browser_of(None).get(address).status_code == 302
    assert browser_of(charlie).get(address).status_code == 404
    for person in (alice, bob):
        page = browser_of(person).get(address)
        assert page.status_code == 200 and "Your decision" not in words(page)
    assert browser_of(bob).post(f"{address}/decide", {"state": "allowed", "reason": "Mine."}).status_code == 403
    held.refresh_from_db()
    assert held.state == "open"


def test_whom_it_concerns_asks_for_another_look(held: Case, alice: Person, mona: Person, browser_of: Browser) -> None:
    decide_case(case=held, by=mona.user, state="refused", reason="It is real.")
    browser = browser_of(alice)
    assert "Ask for another look" in words(browser.get(f"/moderation/cases/{held.pk}"))
    done = browser.post(f"/moderation/cases/{held.pk}/appeal", {"text": "It is from a manual."})
    again = Case.objects.get(state="open")
    assert done["Location"] == f"/moderation/cases/{again.pk}"
    assert "asks for another look" in words(browser_of(mona).get(f"/moderation/cases/{again.pk}"))
    assert "You decided this before" in words(browser_of(mona).get(f"/moderation/cases/{again.pk}"))


def test_the_people_of_a_case_talk_in_it(
    held: Case, alice: Person, charlie: Person, mona: Person, browser_of: Browser
) -> None:
    from hub.community.models import Notification

    address = f"/moderation/cases/{held.pk}"
    assert browser_of(charlie).post(f"{address}/say", {"note": "Me too."}).status_code == 404
    assert browser_of(alice).post(f"{address}/say", {"note": " "}).status_code == 400
    done = browser_of(alice).post(f"{address}/say", {"note": "It is the key of a **manual**."})
    assert done["Location"] == f"{address}#conversation"
    browser_of(mona).post(f"{address}/say", {"note": "Which manual?"})
    page = browser_of(alice).get(address)
    assert "<strong>manual</strong>" in page.content.decode() and "mona said just now Which manual?" in words(page)
    assert Notification.objects.filter(user=mona.user, text__startswith="alice wrote in case").exists()
    assert Notification.objects.filter(user=alice.user, text__startswith="mona wrote in case").exists()
    decide_case(case=Case.objects.get(), by=mona.user, state="refused", reason="It works.")
    held.refresh_from_db()
    assert len(held.subject["notes"]) == 2


def test_flagged_answers_stand_beside_the_parents_behind_a_click(
    workshop: Workshop, mona: Person, tmp_path: Any, browser_of: Browser
) -> None:
    run = workshop.train(workshop.propose(), tmp_path / "model")
    workshop.sample(run, spoil())
    case = Case.objects.get()
    page = browser_of(mona).get(f"/moderation/cases/{case.pk}").content.decode()
    assert page.count('class="veil"') >= 5 and "I cannot help with that." in page
    assert "Violence" in page and "100%" in page
    shown = browser_of(None).get(run.pull_request.discussion.path)
    assert "Screening of its answers" in words(shown) and f"cases/{case.pk}" not in shown.content.decode()


def test_harmful_lines_are_behind_a_click_and_secrets_are_not_repeated(
    alice: Person, mona: Person, browser_of: Browser
) -> None:
    from moderation.models import Finding

    repo = make_repo("dataset", "tides", alice.user)
    bring(repo, alice.user, {"a.txt": f"one\ntwo bad words\n{SECRET}\n".encode()})
    case = Case.objects.get()
    Finding.objects.create(
        screening=case.screening, content=case.content, screen="harmful_text", rule="threat", severity="hold",
        where="a.txt:2", excerpt="…", message="a.txt:2 may threaten somebody.",
    )  # fmt: skip
    page = browser_of(mona).get(f"/moderation/cases/{case.pk}").content.decode()
    veil = page[page.index('class="veil"') : page.index("</details>", page.index('class="veil"'))]
    assert "two bad words" in veil and page.count("two bad words") == 1 and SECRET not in page


# --- what members read beside their files


def test_members_read_on_repository_and_file_why_it_is_not_public(
    held: Case, alice: Person, charlie: Person, browser_of: Browser
) -> None:
    repo = held.repo
    side = words(browser_of(alice).get(repo.path))
    assert "1 file is not public yet" in side and f"Case {held.pk}" in side
    assert "not public yet" not in words(browser_of(charlie).get(repo.path))
    file = words(browser_of(alice).get(f"{repo.path}/blob/main/notes.txt"))
    assert "A moderator decides about this file" in file and "1 finding of the screens" in file
    assert browser_of(charlie).get(f"{repo.path}/blob/main/notes.txt").status_code == 404


def test_trained_weights_are_told_apart_from_what_waits_for_a_person(
    releasable: Workshop, alice: Person, browser_of: Browser
) -> None:
    text = words(browser_of(alice).get(releasable.model.path))
    assert "1 file of trained weights waits for a release" in text


# --- releases


def test_a_maintainer_proposes_and_two_people_approve_on_the_pages(
    releasable: Workshop, alice: Person, bob: Person, charlie: Person, dora: Person, browser_of: Browser
) -> None:
    place = f"{releasable.model.path}/releases"
    page = browser_of(alice).get(place)
    text = words(page)
    assert "There is no release yet" in text and "meets every requirement" in text
    assert 'name="version" value="1.0.0"' in page.content.decode()
    assert "The next release" not in words(browser_of(charlie).get(place))
    done = browser_of(alice).post(place, {"version": "1.0.0", "notes": "It knows **tides**."})
    assert done["Location"] == f"{place}/v1.0.0"
    text = words(browser_of(alice).get(f"{place}/v1.0.0"))
    assert "Waits for 2 approvals" in text and "You proposed this release" in text and "Approve v1.0.0" not in text
    assert browser_of(charlie).get(f"{place}/v1.0.0").status_code == 404
    digest = Release.objects.get().digest
    for person in (bob, dora):
        assert "Approve v1.0.0" in words(browser_of(person).get(f"{place}/v1.0.0"))
        stale = browser_of(person).post(f"{place}/v1.0.0/approve", {"digest": "sha256:0"})
        assert stale.status_code == 409 and "changed since you looked" in words(stale)
        assert browser_of(person).post(f"{place}/v1.0.0/approve", {"digest": digest}).status_code == 302
    page = browser_of(None).get(f"{place}/v1.0.0")
    text = words(page)
    assert "Published, approved by bob and dora" in text and "<strong>tides</strong>" in page.content.decode()
    assert "brought data of charlie/tide-rows" in text and "python verify_release.py manifest.json" in text
    strip = words(browser_of(None).get(releasable.model.path))
    assert "Stable v1.0.0 approved by bob and dora" in strip


def test_the_gate_on_the_page_says_what_is_missing(releasable: Workshop, alice: Person, browser_of: Browser) -> None:
    bring(releasable.model, alice.user, {"README.md": b"# No licence\n"})
    page = browser_of(alice).get(f"{releasable.model.path}/releases")
    assert "cannot be released yet" in words(page) and "add 'license:'" in words(page).replace("&#x27;", "'")
    assert 'class="button button--primary" disabled' in page.content.decode()
    refused = browser_of(alice).post(f"{releasable.model.path}/releases", {"version": "1.0.0"})
    assert refused.status_code == 409 and "names no licence" in words(refused)


def test_manifest_signature_and_verifier_are_there_for_everybody(
    published: Release, tmp_path: Any, browser_of: Browser
) -> None:
    """Downloaded as a stranger does it, they verify, with the files as the hub gives them out."""
    from moderation import verify_release

    browser = browser_of(None)
    place = f"{published.repo.path}/releases/v1.0.0"
    for name in ("manifest.json", "signature.json"):
        (tmp_path / name).write_bytes(browser.get(f"{place}/{name}").content)
    for path in json.loads((tmp_path / "manifest.json").read_text())["files"]:
        response = browser.get(f"{published.repo.path}/resolve/v1.0.0/{path}")
        target = tmp_path / "model" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(b"".join(response.streaming_content) if response.streaming else response.content)
    log = tmp_path / "audit.jsonl"
    log.write_bytes(b"".join(browser.get("/audit.jsonl").streaming_content))
    assert verify_release.main([str(tmp_path / "manifest.json"), str(tmp_path / "model"), "--log", str(log)]) == 0
    script = browser.get("/verify_release.py")
    assert b"".join(script.streaming_content).startswith(b'"""Verify a release')


def test_a_proposed_release_has_no_signature_to_download(
    releasable: Workshop, bob: Person, browser_of: Browser
) -> None:
    propose_release(repo=releasable.model, by=releasable.owner, version="1.0.0")
    page = browser_of(bob).get(f"{releasable.model.path}/releases/v1.0.0/signature.json")
    assert page.status_code == 404 and "not signed yet" in words(page)


def test_yank_quarantine_and_lift_on_the_page(
    published: Release, alice: Person, bob: Person, mona: Person, browser_of: Browser
) -> None:
    place = f"{published.repo.path}/releases/v1.0.0"
    assert "Yank it" not in words(browser_of(bob).get(place)) and "Yank it" in words(browser_of(alice).get(place))
    assert browser_of(alice).post(f"{place}/yank", {"text": ""}).status_code == 400
    assert browser_of(alice).post(f"{place}/quarantine", {"text": "Bad."}).status_code == 403
    assert browser_of(alice).post(f"{place}/yank", {"text": "It mixes up ebb and flood."}).status_code == 302
    text = words(browser_of(None).get(place))
    assert "Yanked" in text and "It mixes up ebb and flood." in text
    strip = words(browser_of(None).get(published.repo.path))
    assert "No version is offered at present" in strip and "Yanked v1.0.0" in strip
    assert browser_of(mona).post(f"{place}/quarantine", {"text": "It leaks."}).status_code == 302
    text = words(browser_of(None).get(place))
    assert "Quarantined" in text and "Ask it in the playground" not in text
    assert browser_of(mona).post(f"{place}/lift", {"text": "It was a false alarm."}).status_code == 302
    assert "Published, approved by" in words(browser_of(None).get(place))


def test_an_unreviewed_release_says_so_wherever_it_is_shown(
    releasable: Workshop, alice: Person, browser_of: Browser
) -> None:
    from hub.accounts.models import User

    User.objects.exclude(pk=alice.user.pk).filter(is_system=False).update(is_active=False)
    place = f"{releasable.model.path}/releases"
    assert "Publish as unreviewed" in words(browser_of(alice).get(place))
    browser_of(alice).post(place, {"version": "1.0.0"})
    for address in (place, f"{place}/v1.0.0", releasable.model.path, "/audit"):
        assert "nreviewed" in words(browser_of(None).get(address)), address


def test_datasets_have_no_releases(releasable: Workshop, browser_of: Browser) -> None:
    assert browser_of(None).get(f"{releasable.data.path}/releases").status_code == 404
    assert "Releases" not in words(browser_of(None).get(releasable.data.path))


# --- reports


def test_a_repository_is_reported_with_a_form_that_needs_no_script(
    held: Case, charlie: Person, browser_of: Browser
) -> None:
    browser = browser_of(charlie)
    assert f'href="{held.repo.path}/report"' in browser.get(held.repo.path).content.decode()
    assert browser_of(None).get(f"{held.repo.path}/report").status_code == 302
    assert "Report alice/tides" in words(browser.get(f"{held.repo.path}/report"))
    empty = browser.post(f"{held.repo.path}/report", {"send": "1", "text": " "})
    assert empty.status_code == 400 and "Say in a sentence" in words(empty)
    done = browser.post(f"{held.repo.path}/report", {"send": "1", "text": "These are my tables."})
    case = Case.objects.get(kind="report")
    assert done["Location"] == f"/moderation/cases/{case.pk}"
    assert "These are my tables." in words(browser.get(done["Location"]))


def test_an_answer_is_reported_with_prompt_settings_and_release(
    published: Release, charlie: Person, mona: Person, browser_of: Browser
) -> None:
    """The panel under an answer posts to the form, the form shows it and carries it on."""
    from django.contrib.auth.models import AnonymousUser
    from django.test import RequestFactory

    from moderation.panels import offer_report

    repo = published.repo
    request = RequestFactory().get("/")
    request.user = charlie.user
    context = {
        "repo": repo, "prompt": "When is \"high\" tide?", "answer": "Never.\nAsk again.", "release": "v1.0.0",
        "commit": published.commit, "settings": {"temperature": 0.7, "seed": 3},
    }  # fmt: skip
    panel = offer_report(request, context)
    fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', panel))
    import html

    fields = {name: html.unescape(value) for name, value in fields.items() if name != "csrfmiddlewaretoken"}
    browser = browser_of(charlie)
    form = browser.post(f"{repo.path}/report", {name: value.replace("\n", "\r\n") for name, value in fields.items()})
    assert form.status_code == 200 and "Report this answer" in words(form) and not Case.objects.filter(kind="report")
    again = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', form.content.decode()))
    again = {name: html.unescape(value) for name, value in again.items() if name != "csrfmiddlewaretoken"}
    browser.post(f"{repo.path}/report", {**again, "text": "It is at noon."})
    case = Case.objects.get(kind="report")
    assert case.subject == {
        "prompt": 'When is "high" tide?',
        "answer": "Never.\nAsk again.",
        "release": "v1.0.0",
        "revision": published.commit,
        "settings": {"temperature": 0.7, "seed": 3},
        "text": "It is at noon.",
    }
    text = words(browser_of(mona).get(f"/moderation/cases/{case.pk}"))
    assert "v1.0.0" in text and "Temperature" in text and "Never. Ask again." in text
    request.user = AnonymousUser()
    assert offer_report(request, context) == ""


@pytest.mark.parametrize("table", ["{bad", "[" * 100_000, "[1]", "9" * 5000, '"a"'])
def test_settings_that_are_no_table_are_left_out(held: Case, charlie: Person, browser_of: Browser, table: str) -> None:
    given = {"send": "1", "text": "Wrong.", "settings": table, "answer": "Never."}
    assert browser_of(charlie).post(f"{held.repo.path}/report", given).status_code == 302
    assert "settings" not in Case.objects.get(kind="report").subject


def test_settings_that_are_no_number_are_kept_as_words(held: Case, charlie: Person, browser_of: Browser) -> None:
    given = {"send": "1", "text": "Wrong.", "settings": '{"temperature": NaN}', "answer": "Never."}
    browser_of(charlie).post(f"{held.repo.path}/report", given)
    assert Case.objects.get(kind="report").subject["settings"] == {"temperature": "nan"}


def test_a_dataset_may_be_called_report(alice: Person, browser_of: Browser) -> None:
    for name in ("report", "releases"):
        make_repo("dataset", name, alice.user, {"README.md": b"# Tides\n"})
        assert browser_of(None).get(f"/datasets/alice/{name}").status_code == 200


# --- the public log


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
    }
    found: set[str] = set()
    for path in Path(moderation.__file__).parent.rglob("*.py"):
        for function in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)):
            if "audit.record(" not in ast.unparse(function):
                continue
            texts = [node.value for node in ast.walk(function) if isinstance(node, ast.Constant)]
            for text in (text for text in texts if isinstance(text, str)):
                if re.fullmatch(r"[a-z]+\.[a-z]+", text):
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


def test_a_quarantined_release_is_told_on_the_model(published: Release, mona: Person, browser_of: Browser) -> None:
    set_state(release=published, by=mona.user, state="quarantined", reason="It gives away an address.")
    assert "Quarantined v1.0.0 It gives away an address." in words(browser_of(None).get(published.repo.path))
