"""What a contributor can put into a repository must not take its pages away from everybody."""

import pytest

pytestmark = pytest.mark.django_db


def test_a_folder_called_readme_leaves_the_page_standing(alice, tides, browser_of, commit_as):
    """The card was read as a file whatever it was: one commit, and the page of the repository answered 400 for good."""
    from hub.community.contributions import commit
    from hub.storage.git import DeleteFile

    commit(repo=tides, by=alice.user, revision="main", operations=[DeleteFile("README.md")], title="Away", door="web")
    commit_as(alice, tides, {"README.md/inside.txt": b"hello\n"})
    for address in (tides.path, f"{tides.path}/tree/main", f"{tides.path}/tree/main/README.md", "/datasets", "/alice"):
        assert browser_of(None).get(address).status_code == 200
