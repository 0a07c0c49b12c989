"""The page that makes a repository of an archive: as a form, and with the file as the body itself."""

from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from hub.repos.models import Repo
from tests.hub.scenes import members_head
from tests.hub.web.test_shape import check_shape

pytestmark = pytest.mark.django_db
ADDRESS = "/new/import"


@pytest.fixture
def archive(tides: Any) -> bytes:
    from hub.community.archives.writing import export_repo

    return b"".join(export_repo(tides).pieces)


def send(browser: Any, data: bytes, **fields: str) -> Any:
    query = "&".join(f"{name}={value}" for name, value in fields.items())
    return browser.post(f"{ADDRESS}?{query}", data, content_type="application/x-tar")


def test_a_form_brings_a_repository(archive: bytes, tides: Any, charlie: Any, browser_of: Any):
    browser = browser_of(charlie)
    check_shape(browser, ADDRESS)
    for page in ("/", "/new/dataset", "/new/model"):
        assert f'href="{ADDRESS}"' in browser.get(page).content.decode()
    form = {"owner": "charlie", "name": "tides", "visibility": "private"}
    answer = browser.post(ADDRESS, {**form, "archive": SimpleUploadedFile("tides.tar", archive)}, follow=True)
    assert answer.redirect_chain == [("/datasets/charlie/tides", 302)] and "with its history" in answer.content.decode()
    made = Repo.objects.get(owner_user=charlie.user)
    assert made.is_private and members_head(made) == members_head(tides)
    again = browser.post(ADDRESS, {**form, "archive": SimpleUploadedFile("tides.tar", archive)})
    assert again.status_code == 400 and "charlie/tides" in again.content.decode()
    empty = browser.post(ADDRESS, {"name": "other"})
    assert empty.status_code == 400 and "This field is required" in empty.content.decode()
    wrong = browser.post(ADDRESS, {**form, "name": "other", "archive": SimpleUploadedFile("x.tar", b"no archive")})
    assert (
        wrong.status_code == 400
        and "archive" in wrong.content.decode().partition("callout--danger")[2].partition("</div>")[0]
    )
    assert Repo.objects.filter(owner_user=charlie.user).count() == 1


def test_a_script_sends_the_file_as_it_is(archive: bytes, charlie: Any, browser_of: Any):
    browser = browser_of(charlie)
    for fields, words in (
        ({"owner": "alice", "name": "tides"}, "Owner: "),
        ({"owner": "charlie"}, "Name: "),
        ({"owner": "charlie", "name": "login.git"}, "login.git"),
    ):
        refused = send(browser, archive, **fields)
        assert refused.status_code == 400 and words in refused.json()["error"]
    cut = send(browser, archive[: len(archive) // 2], owner="charlie", name="tides")
    assert cut.status_code == 400 and cut.json()["error"]
    assert not Repo.objects.filter(owner_user=charlie.user).exists()
    made = send(browser, archive, owner="charlie", name="tides", visibility="")
    assert made.json() == {"address": "/datasets/charlie/tides"}
    assert not Repo.objects.get(owner_user=charlie.user).is_private


def test_nobody_imports_without_a_session_and_its_token(archive: bytes, alice: Any, charlie: Any, browser_of: Any):
    assert send(browser_of(None), archive, owner="charlie", name="tides").status_code in (302, 401)
    header = {"HTTP_AUTHORIZATION": f"Bearer {charlie.token}"}
    assert browser_of(None).get(ADDRESS, **header).status_code == 403
    assert (
        send(browser_of(charlie, enforce_csrf_checks=True), archive, owner="charlie", name="tides").status_code == 403
    )
    assert not Repo.objects.filter(owner_user=charlie.user).exists()
