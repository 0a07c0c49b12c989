"""Branches, tags and history through the stock client."""

import pytest
from huggingface_hub.errors import HfHubHTTPError, RevisionNotFoundError

from hub.repos.models import Repo
from tests.guards import show_release

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("cleared_at_once")]
REPO = "alice/poems"


@pytest.fixture
def client(client_of, alice):
    client = client_of(alice)
    client.create_repo(REPO)
    return client


def write(client, path, **more):
    return client.upload_file(
        path_or_fileobj=path.encode(), path_in_repo=path, repo_id=REPO, commit_message=f"Add {path}", **more
    )


@pytest.mark.covers("HfApi.delete_branch")
def test_a_branch_goes_its_own_way_and_ends(client):
    first = write(client, "a.txt")
    write(client, "b.txt")
    client.create_branch(REPO, branch="try/one", revision=first.oid)
    write(client, "c.txt", revision="try/one")
    assert sorted(client.list_repo_files(REPO, revision="try/one")) == [".gitattributes", "a.txt", "c.txt"]
    refs = client.list_repo_refs(REPO)
    assert [(branch.name, branch.ref) for branch in refs.branches] == [
        ("main", "refs/heads/main"),
        ("try/one", "refs/heads/try/one"),
    ]
    client.delete_branch(REPO, branch="try/one")
    with pytest.raises(RevisionNotFoundError):
        client.list_repo_files(REPO, revision="try/one")


@pytest.mark.covers("HfApi.create_branch")
def test_a_branch_that_exists_is_a_conflict_unless_it_may(client):
    client.create_branch(REPO, branch="dev")
    with pytest.raises(HfHubHTTPError) as refusal:
        client.create_branch(REPO, branch="dev")
    assert refusal.value.response.status_code == 409
    client.create_branch(REPO, branch="dev", exist_ok=True)


@pytest.mark.parametrize("name", ["stable", "candidate", "refs/pr/1"])
def test_names_that_the_hub_answers_itself_are_not_for_branches(client, name):
    with pytest.raises(HfHubHTTPError) as refusal:
        client.create_branch(REPO, branch=name)
    assert refusal.value.response.status_code == 400  # at 403 the client speaks of the token


def test_a_bad_name_and_the_main_branch_are_refused(client):
    with pytest.raises(HfHubHTTPError, match="leave out spaces"):
        client.create_branch(REPO, branch="two words")
    with pytest.raises(HfHubHTTPError) as refusal:
        client.delete_branch(REPO, branch="main")
    assert refusal.value.response.status_code == 409
    with pytest.raises(RevisionNotFoundError):
        client.delete_branch(REPO, branch="nothing")
    with pytest.raises(RevisionNotFoundError):
        client.create_branch(REPO, branch="new", revision="nowhere")


@pytest.mark.covers("HfApi.create_tag", "HfApi.delete_tag")
def test_a_tag_stays_where_it_was_put(client):
    first = write(client, "a.txt")
    client.create_tag(REPO, tag="v0.1", tag_message="First")
    write(client, "b.txt")
    assert [(tag.name, tag.target_commit) for tag in client.list_repo_refs(REPO).tags] == [("v0.1", first.oid)]
    assert "b.txt" not in client.list_repo_files(REPO, revision="v0.1")
    with pytest.raises(HfHubHTTPError) as refusal:
        client.create_tag(REPO, tag="v0.1")
    assert refusal.value.response.status_code == 409
    client.create_tag(REPO, tag="v0.1", exist_ok=True)
    client.delete_tag(REPO, tag="v0.1")
    with pytest.raises(RevisionNotFoundError):
        client.delete_tag(REPO, tag="v0.1")


def test_tags_of_releases_are_not_for_people(client):
    Repo.objects.update(has_release_policy=True)
    with pytest.raises(HfHubHTTPError, match="propose a release"):
        client.create_tag(REPO, tag="v1.0.0")
    client.create_tag(REPO, tag="draft-1")
    repo = Repo.objects.get()
    show_release(repo, "draft-1", client.repo_info(REPO).sha)
    with pytest.raises(HfHubHTTPError, match="never changes"):
        client.delete_tag(REPO, tag="draft-1")


def test_only_writers_make_branches_and_tags(client, client_of, charlie):
    for attempt in (
        lambda: client_of(charlie).create_branch(REPO, branch="mine"),
        lambda: client_of(charlie).create_tag(REPO, tag="mine"),
        lambda: client_of(charlie).delete_branch(REPO, branch="main"),
    ):
        with pytest.raises(HfHubHTTPError) as refusal:
            attempt()
        assert refusal.value.response.status_code == 403


@pytest.mark.covers("HfApi.list_repo_commits")
def test_history_comes_in_pages_newest_first(client, monkeypatch):
    from hub.api.hf import refs

    monkeypatch.setattr(refs, "PAGE", 3)
    for number in range(7):
        write(client, f"{number}.txt")
    titles = [commit.title for commit in client.list_repo_commits(REPO)]
    assert titles == [*(f"Add {number}.txt" for number in range(6, -1, -1)), "initial commit"]
    assert [commit.title for commit in client.list_repo_commits(REPO, revision="main")][:1] == ["Add 6.txt"]
    with pytest.raises(RevisionNotFoundError):
        client.list_repo_commits(REPO, revision="0" * 40)


@pytest.mark.covers("HfApi.list_repo_refs")
def test_pull_requests_are_refs_when_asked_for(client, client_of, charlie):
    made = write(client_of(charlie), "b.txt", create_pr=True)
    assert client.list_repo_refs(REPO).pull_requests is None
    (ref,) = client.list_repo_refs(REPO, include_pull_requests=True).pull_requests
    assert (ref.name, ref.ref, ref.target_commit) == ("1", "refs/pr/1", made.oid)


@pytest.mark.covers("HfApi.super_squash_history")
def test_a_squashed_branch_holds_the_same_files_in_one_commit(client, client_of, charlie):
    for path in ("a.txt", "b.txt"):
        write(client, path)
    client.create_tag(REPO, tag="before")
    client.super_squash_history(REPO, commit_message="From here on")
    (commit,) = client.list_repo_commits(REPO)
    assert (commit.title, commit.authors) == ("From here on", ["alice"])
    assert client.list_repo_files(REPO) == [".gitattributes", "a.txt", "b.txt"]
    assert len(client.list_repo_commits(REPO, revision="before")) == 3
    # Strangers see the same, and it goes on from there.
    assert client_of(charlie).repo_info(REPO).sha == commit.commit_id
    write(client, "c.txt")
    assert [row.title for row in client.list_repo_commits(REPO)] == ["Add c.txt", "From here on"]
    with pytest.raises(HfHubHTTPError, match="403"):
        client_of(charlie).super_squash_history(REPO)
    with pytest.raises(RevisionNotFoundError):
        client.super_squash_history(REPO, branch="nothing")


def test_the_history_of_releases_is_not_squashed(client):
    write(client, "a.txt")
    Repo.objects.update(has_release_policy=True)
    with pytest.raises(HfHubHTTPError, match="belongs to releases"):
        client.super_squash_history(REPO)
    assert len(client.list_repo_commits(REPO)) == 2
