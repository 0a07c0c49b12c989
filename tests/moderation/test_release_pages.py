"""Releases on their pages: proposed, approved, yanked, quarantined."""

import json
from typing import Any

import pytest

from moderation.cases.quarantines import find_quarantine
from moderation.models import Release
from moderation.releasing.publishing import set_state
from moderation.releasing.releases import propose_release
from tests.moderation.reading import Browser, words
from tests.moderation.scenes import Workshop, bring
from tests.people import Person

pytestmark = pytest.mark.django_db(transaction=True)


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
    from moderation.releasing import verify_release

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


def test_a_quarantined_release_is_told_on_the_model(published: Release, mona: Person, browser_of: Browser) -> None:
    set_state(release=published, by=mona.user, state="quarantined", reason="It gives away an address.")
    assert "Quarantined v1.0.0 It gives away an address." in words(browser_of(None).get(published.repo.path))


def test_a_release_is_reported_from_its_page_and_its_quarantine_leads_the_owner_to_the_case(
    published: Release, alice: Person, charlie: Person, mona: Person, browser_of: Browser
) -> None:
    """The report said nothing of the release, and nobody found from it to the case in which one asks for another look."""
    place = f"{published.repo.path}/releases/v1.0.0"
    form = f"{published.repo.path}/report?release=v1.0.0"
    assert f'href="{published.repo.path}/releases/v1.0.0">Cancel' in browser_of(charlie).get(form).content.decode()
    assert f'href="{form}"' in browser_of(charlie).get(place).content.decode()
    assert f"Report {published.repo.full_name} v1.0.0" in words(browser_of(charlie).get(form))
    given = {"send": "1", "text": "It gives away an address.", "release": "v1.0.0"}
    case = browser_of(charlie).post(form, given)["Location"]
    assert f'quarantine it on <a href="{place}">its page</a>' in browser_of(mona).get(case).content.decode()
    set_state(release=published, by=mona.user, state="quarantined", reason="It gives away an address.")
    own = f"case {find_quarantine(published.repo, published).case.pk} is where its people ask for another look"
    assert own in words(browser_of(alice).get(place)) and own not in words(browser_of(charlie).get(place))
