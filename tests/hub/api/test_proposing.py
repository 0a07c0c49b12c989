"""Pull requests and discussions through the stock client."""

import pytest
from huggingface_hub import CommitOperationAdd
from huggingface_hub.community import DiscussionComment, DiscussionCommit, DiscussionStatusChange, DiscussionTitleChange
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

from hub.community.checks import set_check
from hub.community.models import PullRequest

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("cleared_at_once")]
REPO = "alice/tides"


@pytest.fixture
def owner(client_of, alice):
    client = client_of(alice)
    client.create_repo(REPO, repo_type="dataset")
    upload(client, "a.csv", b"t,h\n1,2\n", "First rows")
    return client


@pytest.fixture
def stranger(client_of, charlie):
    return client_of(charlie)


def upload(client, path, data, message, **more):
    return client.upload_file(
        path_or_fileobj=data, path_in_repo=path, repo_id=REPO, repo_type="dataset", commit_message=message, **more
    )


@pytest.mark.covers("HfApi.merge_pull_request")
def test_a_strangers_pull_request_is_merged_by_the_owner(owner, stranger, hub_url):
    made = upload(
        stranger, "b.csv", b"t,h\n3,4\n", "Add the second day", commit_description="From the pier.", create_pr=True
    )
    assert (made.pr_num, made.pr_revision) == (1, "refs/pr/1")
    assert made.pr_url == f"{hub_url}/datasets/{REPO}/discussions/1"
    details = owner.get_discussion_details(REPO, 1, repo_type="dataset")
    assert (details.title, details.status, details.author, details.is_pull_request) == (
        "Add the second day",
        "open",
        "charlie",
        True,
    )
    assert (details.target_branch, details.conflicting_files) == ("refs/heads/main", [])
    assert "+3,4" in details.diff
    assert [type(event) for event in details.events[:2]] == [DiscussionComment, DiscussionCommit]
    assert (details.events[0].content, details.events[1].oid) == ("From the pier.", made.oid)
    assert "b.csv" not in owner.list_repo_files(REPO, repo_type="dataset")

    owner.merge_pull_request(REPO, 1, repo_type="dataset", comment="Thank you")
    merged = owner.get_discussion_details(REPO, 1, repo_type="dataset")
    assert merged.status == "merged"
    assert merged.merge_commit_oid == owner.repo_info(REPO, repo_type="dataset").sha
    assert "b.csv" in stranger.list_repo_files(REPO, repo_type="dataset")
    credited = {commit.title: commit.authors for commit in owner.list_repo_commits(REPO, repo_type="dataset")}
    assert credited["Add the second day"] == ["charlie"]


@pytest.mark.covers("HfApi.list_repo_files")
def test_the_author_reads_and_continues_an_open_pull_request_others_do_not(owner, stranger, client_of, bob):
    made = upload(stranger, "b.csv", b"x\n", "Add b", create_pr=True)
    more = upload(stranger, "c.csv", b"y\n", "Add c", revision=made.pr_revision)
    files = stranger.list_repo_files(REPO, repo_type="dataset", revision="refs/pr/1")
    assert sorted(files) == [".gitattributes", "a.csv", "b.csv", "c.csv"]
    assert PullRequest.objects.get().head == more.oid
    with pytest.raises(HfHubHTTPError) as refusal:
        upload(client_of(bob), "d.csv", b"z\n", "Add d", revision="refs/pr/1")
    assert refusal.value.response.status_code == 403
    upload(owner, "e.csv", b"by its maintainer\n", "Help", revision="refs/pr/1")


def test_a_folder_becomes_a_pull_request(owner, stranger, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.txt").write_text(str(number))
    made = stranger.upload_folder(repo_id=REPO, repo_type="dataset", folder_path=folder, create_pr=True)
    assert made.pr_num == 1
    assert set(stranger.list_repo_files(REPO, repo_type="dataset", revision="refs/pr/1")) >= {"0.txt", "1.txt", "2.txt"}


@pytest.mark.covers("HfApi.create_pull_request")
def test_a_pull_request_may_be_opened_before_its_first_commit(owner, stranger):
    made = stranger.create_pull_request(REPO, "Soon more rows", repo_type="dataset", description="A draft.")
    assert (made.num, made.status, made.git_reference) == (1, "draft", "refs/pr/1")
    upload(stranger, "b.csv", b"x\n", "Add b", revision="refs/pr/1")
    assert stranger.get_discussion_details(REPO, 1, repo_type="dataset").status == "open"


def test_who_may_not_merge_is_told_and_nothing_moves(owner, stranger):
    upload(stranger, "b.csv", b"x\n", "Add b", create_pr=True)
    with pytest.raises(HfHubHTTPError) as refusal:
        stranger.merge_pull_request(REPO, 1, repo_type="dataset")
    assert refusal.value.response.status_code == 403
    assert "b.csv" not in owner.list_repo_files(REPO, repo_type="dataset")


def test_a_required_check_blocks_the_merge_by_name(owner, stranger):
    upload(stranger, "b.csv", b"x\n", "Add b", create_pr=True)
    set_check(PullRequest.objects.get(), "evaluate", state="failed", summary="The candidate is worse on tides.")
    with pytest.raises(HfHubHTTPError, match="The candidate is worse on tides") as refusal:
        owner.merge_pull_request(REPO, 1, repo_type="dataset")
    assert refusal.value.response.status_code == 409


def test_conflicting_files_are_named(owner, stranger):
    upload(stranger, "a.csv", b"t,h\n9,9\n", "Mine", create_pr=True)
    upload(owner, "a.csv", b"t,h\n7,7\n", "Ours")
    details = owner.get_discussion_details(REPO, 1, repo_type="dataset")
    assert details.conflicting_files == ["a.csv"]
    with pytest.raises(HfHubHTTPError, match="a.csv"):
        owner.merge_pull_request(REPO, 1, repo_type="dataset")


@pytest.mark.covers(
    "HfApi.create_discussion", "HfApi.comment_discussion", "HfApi.rename_discussion", "HfApi.edit_discussion_comment",
    "HfApi.hide_discussion_comment", "HfApi.get_discussion_details",
)  # fmt: skip
def test_a_discussion_lives_through_its_events(owner, stranger):
    made = stranger.create_discussion(REPO, "Which clock is this?", repo_type="dataset", description="UTC or local?")
    assert (made.num, made.is_pull_request, made.status) == (1, False, "open")
    said = owner.comment_discussion(REPO, 1, "It is UTC", repo_type="dataset")
    assert (said.author, said.content, said.edited, said.hidden) == ("alice", "It is UTC", False, False)
    edited = owner.edit_discussion_comment(REPO, 1, said.id, "It is UTC+1", repo_type="dataset")
    assert (edited.content, edited.edited) == ("It is UTC+1", True)
    renamed = stranger.rename_discussion(REPO, 1, "Which clock?", repo_type="dataset")
    assert (type(renamed), renamed.old_title, renamed.new_title) == (
        DiscussionTitleChange,
        "Which clock is this?",
        "Which clock?",
    )
    closed = owner.change_discussion_status(REPO, 1, "closed", repo_type="dataset", comment="Answered")
    assert (type(closed), closed.new_status) == (DiscussionStatusChange, "closed")
    hidden = owner.hide_discussion_comment(REPO, 1, said.id, repo_type="dataset")
    assert (hidden.hidden, hidden.content) == (True, "")
    kinds = [event.type for event in owner.get_discussion_details(REPO, 1, repo_type="dataset").events]
    assert kinds == ["comment", "comment", "title-change", "comment", "status-change"]


def test_strangers_words_are_their_own(owner, stranger, client_of, bob):
    said = stranger.comment_discussion(
        REPO, stranger.create_discussion(REPO, "Hello", repo_type="dataset").num, "Hm", repo_type="dataset"
    )
    for attempt in (
        lambda: client_of(bob).edit_discussion_comment(REPO, 1, said.id, "Ha", repo_type="dataset"),
        lambda: client_of(bob).rename_discussion(REPO, 1, "Mine", repo_type="dataset"),
        lambda: client_of(bob).change_discussion_status(REPO, 1, "closed", repo_type="dataset"),
    ):
        with pytest.raises(HfHubHTTPError) as refusal:
            attempt()
        assert refusal.value.response.status_code == 403
    with pytest.raises(HfHubHTTPError) as refusal:
        client_of(None).create_discussion(REPO, "Nobody", repo_type="dataset")
    assert refusal.value.response.status_code == 401


@pytest.mark.covers("HfApi.change_discussion_status")
def test_discussions_are_listed_by_kind_state_and_author_over_pages(owner, stranger, monkeypatch):
    from hub.api.hf import discussions

    monkeypatch.setattr(discussions, "PAGE", 2)
    for number in range(3):
        stranger.create_discussion(REPO, f"Question {number}", repo_type="dataset")
    owner.create_discussion(REPO, "Plan", repo_type="dataset")
    upload(stranger, "b.csv", b"x\n", "Add b", create_pr=True)
    owner.change_discussion_status(REPO, 2, "closed", repo_type="dataset")

    def titles(**filters):
        return [item.title for item in owner.get_repo_discussions(REPO, repo_type="dataset", **filters)]

    assert titles() == ["Add b", "Plan", "Question 2", "Question 1", "Question 0"]
    assert titles(discussion_type="pull_request") == ["Add b"]
    assert titles(discussion_status="closed") == ["Question 1"]
    assert titles(author="alice", discussion_type="discussion") == ["Plan"]


def test_the_talk_of_a_private_repository_is_missing_for_strangers(owner, stranger):
    owner.create_discussion(REPO, "Between us", repo_type="dataset")
    owner.update_repo_settings(REPO, private=True, repo_type="dataset")
    with pytest.raises(RepositoryNotFoundError):
        stranger.get_discussion_details(REPO, 1, repo_type="dataset")
    with pytest.raises(RepositoryNotFoundError):
        stranger.create_commit(
            REPO, [CommitOperationAdd("b", b"b")], repo_type="dataset", commit_message="b", create_pr=True
        )


def test_a_discussion_that_is_not_there_is_404(owner):
    with pytest.raises(HfHubHTTPError) as refusal:
        owner.get_discussion_details(REPO, 77, repo_type="dataset")
    assert refusal.value.response.status_code == 404
