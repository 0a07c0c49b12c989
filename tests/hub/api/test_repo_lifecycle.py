"""Repositories begin, move, change and end through the stock client."""

from pathlib import Path

import pytest
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

from tests.hub.scenes import make_repo

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("cleared_at_once")]


@pytest.mark.covers("HfApi.create_repo")
@pytest.mark.parametrize(("type", "prefix"), [("model", ""), ("dataset", "datasets/"), ("space", "spaces/")])
def test_a_person_creates_a_repository_of_each_type(client_of, hub_url, alice, type, prefix):
    client = client_of(alice)
    more = {"space_sdk": "static"} if type == "space" else {}
    url = client.create_repo("tide-tables", repo_type=type, **more)
    assert url == f"{hub_url}/{prefix}alice/tide-tables"
    info = client.repo_info("alice/tide-tables", repo_type=type)
    assert (info.id, info.author, info.private, info.disabled, info.gated) == (
        "alice/tide-tables",
        "alice",
        False,
        False,
        False,
    )
    assert len(info.sha) == 40
    assert [file.rfilename for file in info.siblings] == [".gitattributes"]


def test_creating_twice_is_a_conflict_unless_it_may_exist(client_of, alice):
    client = client_of(alice)
    first = client.create_repo("alice/poems", private=True)
    with pytest.raises(HfHubHTTPError) as refusal:
        client.create_repo("alice/poems")
    assert refusal.value.response.status_code == 409
    assert "Request ID" in str(refusal.value)
    assert client.create_repo("Alice/POEMS", exist_ok=True) == first


def test_visibility_is_what_was_asked_for_or_what_the_organization_prefers(client_of, alice, organization):
    client = client_of(alice)
    client.create_repo("alice/open")
    client.create_repo("alice/closed", private=True)
    organization.is_private_by_default = True
    organization.save()
    client.create_repo("tidewatch/log")
    client.create_repo("tidewatch/open-log", private=False)
    names = ("alice/open", "alice/closed", "tidewatch/log", "tidewatch/open-log")
    assert [client.repo_info(name).private for name in names] == [False, True, True, False]


def test_nobody_creates_in_a_namespace_of_others(client_of, alice, bob, charlie, organization):
    for name in ("alice/mine-now", "tidewatch/mine-now", "nobody-has-this/mine"):
        with pytest.raises(HfHubHTTPError) as refusal:
            client_of(charlie).create_repo(name)
        assert refusal.value.response.status_code == 403, name
    assert client_of(bob).create_repo("tidewatch/logs").repo_id == "tidewatch/logs"
    with pytest.raises(HfHubHTTPError) as refusal:
        client_of(None).create_repo("alice/mine-now")
    assert refusal.value.response.status_code == 401


def test_a_read_token_creates_nothing(client_of, alice):
    from hub.accounts.tokens import create_token

    _, token = create_token(user=alice.user, name="reader", role="read")
    with pytest.raises(HfHubHTTPError, match="role 'write'"):
        client_of(None).create_repo("alice/poems", token=token)


def test_a_private_repository_looks_missing_to_strangers(client_of, alice, charlie):
    client_of(alice).create_repo("alice/diary", private=True)
    for who in (charlie, None):
        assert client_of(who).repo_exists("alice/diary") is False
        with pytest.raises(RepositoryNotFoundError):
            client_of(who).repo_info("alice/diary")
        with pytest.raises(RepositoryNotFoundError):
            client_of(who).list_repo_files("alice/diary")
        assert client_of(who).file_exists("alice/diary", ".gitattributes") is False
    assert client_of(alice).repo_exists("alice/diary") is True
    assert client_of(alice).file_exists("alice/diary", ".gitattributes") is True


def test_the_same_answer_for_private_and_missing(client_of, alice, charlie):
    client_of(alice).create_repo("alice/diary", private=True)
    answers = []
    for name in ("alice/diary", "alice/dairy"):
        with pytest.raises(RepositoryNotFoundError) as refusal:
            client_of(charlie).repo_info(name)
        response = refusal.value.response
        answers.append(
            (response.status_code, response.headers["x-error-code"], response.json()["error"].replace(name, ""))
        )
    assert answers[0] == answers[1]


@pytest.mark.covers("HfApi.repo_exists", "HfApi.delete_repo")
def test_a_repository_is_deleted_by_its_admin_only(client_of, alice, bob, charlie, organization):
    client_of(alice).create_repo("tidewatch/log")
    for who in (bob, charlie):
        with pytest.raises(HfHubHTTPError) as refusal:
            client_of(who).delete_repo("tidewatch/log")
        assert refusal.value.response.status_code == 403
    client_of(alice).delete_repo("tidewatch/log")
    assert client_of(alice).repo_exists("tidewatch/log") is False
    with pytest.raises(RepositoryNotFoundError):
        client_of(alice).delete_repo("tidewatch/log")
    client_of(alice).delete_repo("tidewatch/log", missing_ok=True)


@pytest.mark.covers("HfApi.move_repo")
def test_a_moved_repository_answers_under_its_old_name(client_of, alice, charlie):
    client = client_of(alice)
    client.create_repo("alice/poems", private=True)
    client.upload_file(path_or_fileobj=b"# Poems", path_in_repo="README.md", repo_id="alice/poems")
    client.move_repo("alice/poems", "alice/verses")
    assert client.repo_info("alice/poems").id == "alice/verses"
    path = client.hf_hub_download("alice/poems", "README.md")
    assert open(path).read() == "# Poems"
    assert client_of(charlie).repo_exists("alice/poems") is False


def test_a_repository_cannot_move_onto_another(client_of, alice):
    client = client_of(alice)
    client.create_repo("alice/poems")
    client.create_repo("alice/verses")
    with pytest.raises(HfHubHTTPError, match="A model repository called alice/verses already exists"):
        client.move_repo("alice/poems", "alice/verses")


def test_settings_change_visibility_at_once(client_of, alice, charlie):
    client = client_of(alice)
    client.create_repo("alice/poems")
    assert client_of(charlie).repo_exists("alice/poems")
    client.update_repo_settings("alice/poems", private=True)
    assert not client_of(charlie).repo_exists("alice/poems")
    client.update_repo_settings("alice/poems", visibility="public")
    assert client_of(charlie).list_repo_files("alice/poems") == [".gitattributes"]
    with pytest.raises(HfHubHTTPError) as refusal:
        client_of(charlie).update_repo_settings("alice/poems", private=True)
    assert refusal.value.response.status_code == 403


@pytest.mark.parametrize("way", [True, "sometimes", ["auto"]])
def test_gating_of_an_unknown_kind_is_refused(client, alice, cleared_at_once, way):
    make_repo(alice.user, "poems", type="model")
    given = {"content_type": "application/json", "HTTP_AUTHORIZATION": f"Bearer {alice.token}"}
    refused = client.put("/api/models/alice/poems/settings", {"gated": way}, **given)
    assert refused.status_code == 400
    assert "'auto', 'manual' or false" in refused.json()["error"]


@pytest.mark.covers("HfApi.auth_check")
def test_auth_check_tells_who_may_read_and_write(client_of, alice, charlie):
    client_of(alice).create_repo("alice/poems")
    client_of(alice).auth_check("alice/poems", write=True)
    client_of(charlie).auth_check("alice/poems")
    with pytest.raises(HfHubHTTPError, match="403"):
        client_of(charlie).auth_check("alice/poems", write=True)
    with pytest.raises(RepositoryNotFoundError):
        client_of(charlie).auth_check("alice/nothing")


@pytest.mark.covers("HfApi.duplicate_repo")
def test_a_duplicate_holds_the_history_with_its_authors(client_of, alice, bob, charlie):
    api = client_of(alice)
    api.create_repo("alice/tides", repo_type="dataset")
    upload(alice, "tides.txt", b"high at noon\n")
    from hub.accounts.models import User
    from hub.repos.models import Repo

    Repo.objects.get(name="tides").collaborators.create(user=User.objects.get(username="bob"), role="write")
    upload(bob, "waves.bin", bytes(range(256)) * 100)
    api.create_branch("alice/tides", repo_type="dataset", branch="side")
    api.create_tag("alice/tides", repo_type="dataset", tag="first")
    made = client_of(charlie).duplicate_repo("alice/tides", repo_type="dataset")
    assert (made.repo_id, made.files_copy_pending) == ("charlie/tides", False)
    mine = client_of(charlie)
    for ref in ("main", "side", "first"):
        theirs = api.list_repo_tree("alice/tides", repo_type="dataset", revision=ref, recursive=True)
        copied = mine.list_repo_tree("charlie/tides", repo_type="dataset", revision=ref, recursive=True)
        assert [(item.path, item.blob_id) for item in copied] == [(item.path, item.blob_id) for item in theirs]
    commits = mine.list_repo_commits("charlie/tides", repo_type="dataset")
    assert [commit.authors for commit in commits] == [["bob"], ["alice"], ["alice"]]
    path = mine.hf_hub_download("charlie/tides", "waves.bin", repo_type="dataset")
    assert Path(path).read_bytes() == bytes(range(256)) * 100
    # A copy lives its own life.
    mine.delete_file("tides.txt", "charlie/tides", repo_type="dataset")
    assert api.file_exists("alice/tides", "tides.txt", repo_type="dataset")


def upload(person, path: str, data: bytes) -> None:
    from hub.repos.models import Repo
    from tests.hub.scenes import add

    add(Repo.objects.get(name="tides"), person.user, {path: data})


def test_a_name_that_is_taken_is_refused_or_taken_as_it_is(client_of, alice):
    api = client_of(alice)
    api.create_repo("alice/poems")
    api.create_repo("alice/copies")
    with pytest.raises(HfHubHTTPError, match="409"):
        api.duplicate_repo("alice/poems", "alice/copies")
    assert api.duplicate_repo("alice/poems", "alice/copies", exist_ok=True).repo_id == "alice/copies"
    with pytest.raises(HfHubHTTPError, match="403"):
        api.duplicate_repo("alice/poems", "bob/copies")


def test_a_private_repository_is_copied_for_its_members_and_stays_private(client_of, alice, charlie):
    client_of(alice).create_repo("alice/diary", private=True)
    with pytest.raises(RepositoryNotFoundError):
        client_of(charlie).duplicate_repo("alice/diary")
    with pytest.raises(HfHubHTTPError, match="starts private"):
        client_of(alice).duplicate_repo("alice/diary", "alice/open", private=False)
    client_of(alice).duplicate_repo("alice/diary", "alice/second")
    assert client_of(alice).repo_info("alice/second").private
