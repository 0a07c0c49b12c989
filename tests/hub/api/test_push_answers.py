"""What a push says at the terminal: of files that the screens did not clear, and of the pull request it opened."""

from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from hub.storage.git import Author
from hub.storage.git.commits import format_commit
from hub.storage.git.objects import _format_pack, hash_object
from hub.storage.git.packets import FLUSH, format_packet
from tests.hub.scenes import add, decide, make_repo, members_head, public_head

pytestmark = pytest.mark.django_db
KEY = "AKIA" + "Q3EGRT7YH2KL9MNB"  # composed: this file itself shall hold nothing that looks like a key
PAGE = "/datasets/alice/tides"


def push(
    client: Client, repo: Any, person: Any, files: dict[str, str], ref: str = "refs/heads/main"
) -> tuple[str, str]:
    """One commit that leaves `files` alone, upon the main that this person sees. Returns its id and the answer."""
    base = members_head(repo) if person.user == repo.owner_user else public_head(repo)
    blobs = {path: data.encode() for path, data in files.items()}
    rows = [
        b"100644 %s\0%s" % (path.encode(), bytes.fromhex(hash_object("blob", blobs[path]))) for path in sorted(blobs)
    ]
    tree = b"".join(rows)
    author = Author("Alice", "alice@example.org", timezone.now())
    made = format_commit(tree=hash_object("tree", tree), parents=[base or ""], author=author, message="Rows")
    new, old = hash_object("commit", made), base if ref == "refs/heads/main" else "0" * 40
    pack = _format_pack([("commit", made), ("tree", tree), *(("blob", data) for data in blobs.values())])
    line = f"{old} {new} {ref}".encode() + b"\0report-status side-band-64k"
    answer = client.post(
        f"{PAGE}.git/git-receive-pack", format_packet(line) + FLUSH + b"".join(pack),
        content_type="application/x-git-receive-pack-request", headers={"Authorization": f"Bearer {person.token}"},
    )  # fmt: skip
    assert answer.status_code == 200, answer.content
    return new, answer.content.decode()


def test_a_push_with_a_secret_names_the_file_the_reason_and_the_page(client: Client, alice: Any):
    repo = make_repo(alice.user)
    new, said = push(client, repo, alice, {"notes.txt": "low water\n", "key.txt": f"aws_access_key_id = {KEY}\n"})
    assert "1 file of this push is not cleared" in said and f"/datasets/alice/tides/commit/{new}" in said
    assert "key.txt is withheld: " in said or "key.txt waits for screening: " in said
    assert KEY not in said and "notes.txt" not in said


def test_a_push_of_what_is_clear_says_nothing(client: Client, alice: Any):
    _, said = push(client, make_repo(alice.user), alice, {"notes.txt": "low water\n"})
    assert "not cleared" not in said and "ok refs/heads/main" in said


def test_many_files_are_counted_not_listed(client: Client, alice: Any):
    files = {f"key{number}.txt": f"{number}: aws_access_key_id = {KEY}\n" for number in range(8)}
    _, said = push(client, make_repo(alice.user), alice, files)
    assert "8 files of this push are not cleared" in said and "and 3 more" in said and said.count("key") < 20


def test_the_first_push_for_a_branch_tells_how_to_add_to_it(client: Client, charlie: Any, alice: Any):
    repo = make_repo(alice.user)
    _, said = push(client, repo, charlie, {"key.txt": f"aws_access_key_id = {KEY}\n"}, "refs/for/main")
    assert "Opened pull request #1" in said and "git push origin HEAD:refs/pr/1" in said
    assert "key.txt" in said and f"{PAGE}/discussions/1" in said


def test_a_stranger_hears_no_name_of_what_others_hid(client: Client, alice: Any, charlie: Any):
    """The bytes are known to Charlie, the name and the reason under which Alice's stand are not."""
    repo = make_repo(alice.user)
    add(repo, alice.user, {"people.txt": "a name and a number\n"})
    decide(repo, "withheld", "people.txt", reason="It names people.")
    _, said = push(client, repo, charlie, {"mine.txt": "a name and a number\n"}, "refs/for/main")
    assert "a file that others brought as well is withheld" in said
    assert "people.txt" not in said and "It names" not in said
