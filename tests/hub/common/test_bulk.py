"""Rows in bulk: plain INSERTs that any database of ours takes."""

from datetime import UTC, datetime, timedelta

import pytest

from hub.common.bulk import insert_rows
from hub.repos.models import Content, LastCommit
from tests.hub.scenes import make_repo

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 28, 8, 0, 0, 123456, tzinfo=UTC)
COLUMNS = ["repo_id", "digest", "size", "path", "clearance", "reason", "added_by_id", "created_at"]


def test_rows_come_back_as_django_writes_them_and_known_ones_stay(alice):
    repo = make_repo(alice.user)
    kept = Content.objects.create(repo=repo, digest="git:a", size=1, path="100% 'a'.txt", created_at=NOW)
    rows = [
        (repo.pk, digest, 2, "100% 'b'.txt", "pending", "", person, NOW)
        for digest, person in (("git:a", alice.user.pk), ("git:b", alice.user.pk), ("git:c", None))
    ]
    insert_rows(Content, COLUMNS, rows)
    found = {row.digest: row for row in repo.contents.filter(digest__in=["git:a", "git:b", "git:c"])}
    assert (found["git:a"].size, found["git:a"].path, found["git:a"].added_by) == (1, kept.path, None)
    for digest, person in (("git:b", alice.user), ("git:c", None)):
        row = found[digest]
        assert (row.size, row.path, row.added_by, row.created_at) == (2, "100% 'b'.txt", person, NOW)
        assert (row.clearance, row.decided_at) == (Content.Clearance.PENDING, None)
    insert_rows(Content, COLUMNS, [])


def test_a_known_row_takes_what_is_to_be_changed(alice):
    repo = make_repo(alice.user)
    changing = ["commit", "title", "date"]
    for title, days in (("First", 0), ("Second", 1)):
        row = (repo.pk, "a.txt", "1" * 40, title, NOW + timedelta(days))
        insert_rows(LastCommit, ["repo_id", "path", *changing], [row], update=changing)
    (kept,) = LastCommit.objects.filter(repo=repo, path="a.txt")
    assert (kept.title, kept.date) == ("Second", NOW + timedelta(1))
