"""Reports about repositories and answers, from the form to the case."""

import re

import pytest

from moderation.models import Case, Release
from tests.moderation.reading import Browser, words
from tests.moderation.scenes import make_repo
from tests.people import Person

pytestmark = pytest.mark.django_db(transaction=True)


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
        "may_publish": False,  # the form asked
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
