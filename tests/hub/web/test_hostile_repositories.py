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


@pytest.mark.parametrize("line", ["size: 0x" + "f" * 6000, "? 0x" + "f" * 6000 + "\n: size", "size: !!timestamp soon"])
def test_a_card_that_no_reader_of_yaml_expects_leaves_the_page_standing(alice, tides, browser_of, commit_as, line):
    """A number of 6,000 hexadecimal digits is read in no time and written as decimals never."""
    commit_as(alice, tides, {"README.md": f"---\nlicense: mit\n{line}\n---\n# Hi\n".encode()})
    for address in (tides.path, f"{tides.path}/blob/main/README.md", "/datasets"):
        assert browser_of(None).get(address).status_code == 200


def test_half_a_character_in_a_table_leaves_its_page_standing(alice, tides, browser_of, commit_as):
    """JSON can write half of a smile, UTF-8 cannot: the page of the file answered 400 for good."""
    commit_as(alice, tides, {"a.jsonl": b'{"text": "half \\ud83d of a smile", "\\ud83d": [{"a": "\\ud83d"}]}\n'})
    answer = browser_of(None).get(f"{tides.path}/blob/main/a.jsonl")
    assert answer.status_code == 200
    assert "half ? of a smile" in answer.content.decode()
