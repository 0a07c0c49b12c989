"""Following people and organizations: counted, listed by the unmodified client, told once, and done on a page."""

import pytest
from django.test import Client
from huggingface_hub.errors import HfHubHTTPError

from hub.community.follows import set_follow
from hub.community.models import Notification
from hub.community.social_models import Follow

pytestmark = pytest.mark.django_db(transaction=True)


def names(people):
    return [person.username for person in people]


@pytest.mark.covers("HfApi.list_organization_followers", "HfApi.list_user_followers", "HfApi.list_user_following")
def test_followers_and_followed_are_listed_and_counted(client_of, alice, bob, charlie, organization):
    for follower, owner in [(bob, alice.user), (charlie, alice.user), (charlie, bob.user), (charlie, organization)]:
        for _ in range(2):  # the second time changes nothing
            set_follow(owner=owner, by=follower.user, follows=True)
    client = client_of(charlie)
    assert names(client.list_user_followers("alice")) == ["charlie", "bob"]
    assert names(client.list_user_following("charlie")) == ["bob", "alice"]
    assert names(client.list_organization_followers("Tidewatch")) == ["charlie"]
    overview = client.get_user_overview("alice")
    assert (overview.num_followers, overview.num_following, overview.is_following) == (2, 0, True)
    assert client_of(None).get_user_overview("charlie").num_following == 2  # people, as the list
    assert client_of(None).get_user_overview("alice").is_following is False
    assert client.get_organization_overview("tidewatch").num_followers == 1
    assert client.get_organization_overview("tidewatch").is_following is True
    charlie.user.is_active = False
    charlie.user.save()
    nobody = client_of(None)
    assert names(nobody.list_user_followers("alice")) == ["bob"]
    assert nobody.get_user_overview("alice").num_followers == 1
    for ask in (nobody.list_user_followers, nobody.list_user_following, nobody.list_organization_followers):
        with pytest.raises(HfHubHTTPError) as refusal:
            list(ask("nobody-of-this-name"))
        assert refusal.value.response.status_code == 404


def test_a_program_follows_with_a_token_that_may_write(alice, bob):
    from hub.accounts.tokens import create_token

    _, reading = create_token(user=bob.user, name="reads", role="read")
    for token, expected in [(None, 401), (reading, 403), (bob.token, 200)]:
        header = {"HTTP_AUTHORIZATION": f"Bearer {token}"} if token else {}
        assert Client().post("/api/users/alice/follow", **header).status_code == expected
    assert Follow.objects.get().followed == alice.user
    header = {"HTTP_AUTHORIZATION": f"Bearer {bob.token}"}
    assert Client().post("/api/users/bob/follow", **header).status_code == 400  # oneself
    assert Client().post("/api/users/model-commons/follow", **header).status_code == 404  # the hub is nobody
    assert Client().delete("/api/users/alice/follow", **header).json()["numFollowers"] == 0


def test_a_person_is_told_of_a_follower_once(alice, bob, organization):
    for follows in (True, False, True):
        set_follow(owner=alice.user, by=bob.user, follows=follows)
    set_follow(owner=organization, by=bob.user, follows=True)
    assert list(Notification.objects.values_list("user__username", "text", "path")) == [
        ("alice", "bob follows you", "/bob")
    ]


def test_one_follows_and_stops_on_the_page_of_a_person(alice, bob, organization):
    browser = Client()
    browser.force_login(bob.user)
    for owner, path in ((alice.user, "/alice"), (organization, "/tidewatch")):
        assert f'action="/users{path}/follow"' in browser.get(path).content.decode()
        assert browser.post(f"/users{path}/follow").headers["Location"] == path
        assert "Following" in browser.get(path).content.decode()
        assert 'href="/bob"' in browser.get(f"{path}?tab=followers").content.decode()
        browser.post(f"/users{path}/follow")
        assert f"Nobody follows {owner.name} yet" in browser.get(f"{path}?tab=followers").content.decode()
    assert 'action="/users/bob/follow"' not in browser.get("/bob").content.decode()
    assert "follows nobody yet" in browser.get("/bob?tab=following").content.decode()
    assert Client().post("/users/alice/follow").status_code == 401
    assert not Follow.objects.exists()
