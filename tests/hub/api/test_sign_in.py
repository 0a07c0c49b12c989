"""Signing in: tokens, and programs that a person lets in by the browser."""

from datetime import timedelta

import pytest
import requests
from django.utils import timezone
from huggingface_hub import HfApi
from huggingface_hub.errors import DeviceCodeError, HfHubHTTPError, RepositoryNotFoundError
from huggingface_hub.utils._oauth_device import poll_device_token, refresh_access_token, request_device_code

from hub.accounts.device_grants import approve_grant, deny_grant
from hub.accounts.models import DeviceGrant
from hub.accounts.tokens import create_token
from hub.common.errors import NotFound

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.covers("HfApi.whoami")
def test_whoami_names_the_person_their_organizations_and_the_token(client_of, alice, organization):
    me = client_of(alice).whoami()
    assert (me["type"], me["name"], me["fullname"]) == ("user", "alice", "Alice")
    assert [(org["name"], org["fullname"], org["roleInOrg"]) for org in me["orgs"]] == [
        ("tidewatch", "Tide Watch", "admin")
    ]
    assert me["auth"]["accessToken"]["displayName"] == "tests"
    assert me["auth"]["accessToken"]["role"] == "write"


def test_a_read_token_says_so(client_of, alice):
    _, token = create_token(user=alice.user, name="laptop", role="read")
    me = client_of(None).whoami(token=token)
    assert me["auth"]["accessToken"] == me["auth"]["accessToken"] | {"displayName": "laptop", "role": "read"}


def test_nobody_and_an_expired_token_are_refused(client_of, hub_url, alice):
    past = timezone.now() - timedelta(minutes=1)
    _, expired = create_token(user=alice.user, name="old", role="write", expires_at=past)
    for token in (expired, "hf_nonsense"):
        with pytest.raises(HfHubHTTPError, match="Invalid user token") as refusal:
            client_of(None).whoami(token=token)
        assert refusal.value.response.status_code == 401
    answer = requests.get(f"{hub_url}/api/whoami-v2", timeout=10)
    assert (answer.status_code, list(answer.json())) == (401, ["error"])


def test_with_an_expired_token_a_private_repository_looks_missing_and_a_public_one_says_why(client_of, alice):
    past = timezone.now() - timedelta(minutes=1)
    _, expired = create_token(user=alice.user, name="old", role="write", expires_at=past)
    owner, late = client_of(alice), client_of(None)
    owner.create_repo("alice/diary", private=True)
    owner.create_repo("alice/poems")
    assert late.repo_exists("alice/diary", token=expired) is False
    assert late.repo_exists("alice/nothing", token=expired) is False
    with pytest.raises(HfHubHTTPError, match="401") as refusal:
        late.repo_info("alice/poems", token=expired)
    assert not isinstance(refusal.value, RepositoryNotFoundError)
    assert refusal.value.response.headers["x-error-message"] == "Invalid credentials in Authorization header"


def test_a_person_approves_a_program_in_the_browser(hub_url, alice):
    info = request_device_code()
    assert info["verification_uri"] == f"{hub_url}/oauth/device/approve"
    with pytest.raises(DeviceCodeError, match="timeout"):
        poll_device_token(info | {"expires_in": 1, "interval": 1})
    approve_grant(user_code=info["user_code"].lower().replace("-", " "), by=alice.user)
    answer = poll_device_token(info)
    assert HfApi(endpoint=hub_url).whoami(token=answer["access_token"])["name"] == "alice"
    with pytest.raises(DeviceCodeError, match="used already"):
        poll_device_token(info)


def test_a_denied_or_late_program_gets_no_token(hub_url):
    info = request_device_code()
    deny_grant(user_code=info["user_code"])
    with pytest.raises(DeviceCodeError, match="denied"):
        poll_device_token(info)
    late = request_device_code()
    DeviceGrant.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    with pytest.raises(DeviceCodeError, match="expired"):
        poll_device_token(late)
    with pytest.raises(NotFound):
        approve_grant(user_code=late["user_code"], by=None)


def test_a_hub_token_cannot_be_refreshed(hub_url):
    with pytest.raises(DeviceCodeError, match="invalid_grant"):
        refresh_access_token("anything")
