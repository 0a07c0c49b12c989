"""The page of one's attachments: what is there, and taking it away."""

import io

import pytest

from hub.community.attachments import attach
from hub.community.social_models import Attachment
from tests.hub.web.test_shape import Reader

pytestmark = pytest.mark.django_db
PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 1490


@pytest.fixture
def picture(alice):
    return attach(by=alice.user, body=io.BytesIO(PNG), size=len(PNG))


def test_one_sees_and_removes_ones_own_attachments(picture, browser_of, alice, bob):
    browser = browser_of(alice)
    page = browser.get("/settings/attachments").content.decode()
    assert picture.path in page and "1.5 kB of 1 GB" in page and "of somebody" not in page
    assert Reader(page).problems == []
    assert picture.path not in browser_of(bob).get("/settings/attachments").content.decode()
    refused = browser_of(bob).post("/settings/attachments/remove", {"address": picture.path}, follow=True)
    assert "Only who attached this or a moderator" in refused.content.decode()
    assert Attachment.objects.count() == 1
    browser.post("/settings/attachments/remove", {"address": picture.path})
    assert browser.get(picture.path).status_code == 404
    assert "You have attached nothing" in browser.get("/settings/attachments").content.decode()


def test_a_moderator_removes_one_by_its_address(picture, browser_of, bob):
    bob.user.is_moderator = True
    bob.user.save()
    browser = browser_of(bob)
    assert "of somebody" in browser.get("/settings/attachments").content.decode()
    for address in ("http://[", "nothing", "\0", ""):
        browser.post("/settings/attachments/remove", {"address": address})
    assert Attachment.objects.count() == 1
    browser.post("/settings/attachments/remove", {"address": f"https://hub.example{picture.path}"})
    assert not Attachment.objects.filter(removed_at=None).exists()


def test_a_token_does_not_open_the_page(picture, alice, browser_of):
    header = {"HTTP_AUTHORIZATION": f"Bearer {alice.token}"}
    assert browser_of(None).get("/settings/attachments", **header).status_code == 403


def test_the_list_says_what_each_is_called_and_where_it_is_shown(picture, browser_of, tides, alice, bob):
    """It said "7977876e….png" and nothing else."""
    from hub.community.discussions import create_discussion

    shown = lambda: browser_of(alice).get("/settings/attachments").content.decode()  # noqa: E731
    assert "in none of your newest comments" in shown()
    text = f"Look: ![low water.png](http://testserver{picture.path}) at Brest"
    made = create_discussion(repo=tides, by=alice.user, title="What is this?", text=text)
    assert ">low water.png</a>" in shown() and f'href="{tides.path}/discussions/{made.number}"' in shown()
    tides.delete()
    assert "low water.png" not in shown()
