"""Uploading in the browser: in pieces that resume, or as an ordinary form."""

import hashlib
import json

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from hub.web import uploads

pytestmark = pytest.mark.django_db


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(uploads, "PART_BYTES", 1000)


def send(browser, repo, what, **data):
    answer = browser.post(f"{repo.path}/upload/{what}", json.dumps(data), content_type="application/json")
    return answer.status_code, (json.loads(answer.content) if answer.status_code == 200 else answer.content.decode())


def put(browser, repo, number, piece, *, path, size, modified="7"):
    address = f"{repo.path}/upload/parts/{number}?path={path}&size={size}&modified={modified}"
    return browser.put(address, piece, content_type="application/octet-stream")


def test_an_upload_in_pieces_goes_on_where_it_stopped_and_becomes_one_commit(
    tides, alice, browser_of, small_parts, commit_as
):
    from hub.repos.places import pair

    data = bytes(range(256)) * 10  # binary, 2560 bytes: three pieces
    about = {"path": "data/sound.bin", "size": len(data), "modified": "7"}
    browser = browser_of(alice)
    assert send(browser, tides, "start", **about) == (200, {"part_bytes": 1000, "part_count": 3, "have": []})
    for number in (1, 3):
        piece = data[(number - 1) * 1000 : number * 1000]
        assert put(browser, tides, number, piece, path=about["path"], size=len(data)).status_code == 200
    status, sentence = send(browser, tides, "finish", **about)
    assert status == 400 and "1,560 of 2,560 bytes" in sentence

    again = browser_of(alice)  # another visit: nothing is remembered in the browser
    assert send(again, tides, "start", **about)[1]["have"] == [1, 3]
    put(again, tides, 2, data[1000:2000], path=about["path"], size=len(data))
    status, whole = send(again, tides, "finish", **about)
    assert whole["sha256"] == hashlib.sha256(data).hexdigest()
    text = {"path": "notes.txt", "size": 6, "modified": "8"}
    send(again, tides, "start", **text)
    put(again, tides, 1, b"hello\n", path="notes.txt", size=6, modified="8")
    assert send(again, tides, "finish", **text) == (200, {"path": "notes.txt", "sha256": None})

    before = tides.revisions.count()
    files = [{**about, "sha256": whole["sha256"]}, text]
    status, made = send(
        again, tides, "commit", branch="main", title="Two files", description="", goes_to="branch", files=files
    )
    assert (status, made) == (200, {"address": "/datasets/alice/tides/tree/main"})
    assert tides.revisions.count() == before + 1
    git = pair(tides).members
    head = git.resolve("main")
    assert git.read(head, "notes.txt") == b"hello\n"
    assert git.entry(head, "data/sound.bin").lfs.sha256 == whole["sha256"]
    assert send(again, tides, "start", **about)[1]["have"] == []  # the pieces are gone, the file is kept


def test_a_piece_that_was_cut_does_not_count(tides, alice, browser_of, small_parts):
    browser = browser_of(alice)
    cut = put(browser, tides, 1, b"x" * 400, path="a.bin", size=2000)
    assert cut.status_code == 400 and "part 1 must have 1,000 bytes" in cut.content.decode()
    too_long = put(browser, tides, 1, b"x" * 1400, path="a.bin", size=2000)
    assert too_long.status_code == 400
    assert send(browser, tides, "start", path="a.bin", size=2000, modified="7")[1]["have"] == []


def test_somebody_else_cannot_see_or_finish_my_pieces(tides, alice, charlie, browser_of, small_parts):
    put(browser_of(alice), tides, 1, b"x" * 1000, path="a.bin", size=1000)
    assert send(browser_of(charlie), tides, "start", path="a.bin", size=1000, modified="7")[1]["have"] == []


def test_a_digest_that_somebody_only_knows_cannot_be_committed(tides, alice, charlie, browser_of, small_parts, secret):
    browser = browser_of(alice)
    put(browser, secret, 1, b"\0secret" * 10, path="a.bin", size=70)
    digest = send(browser, secret, "finish", path="a.bin", size=70, modified="7")[1]["sha256"]
    files = [{"path": "a.bin", "size": 70, "modified": "7", "sha256": digest}]
    status, sentence = send(
        browser_of(charlie), tides, "commit", branch="main", title="Mine now", goes_to="proposal", files=files
    )
    assert status == 400 and "was not uploaded" in sentence


def test_a_stranger_uploads_as_a_proposal_only(tides, charlie, browser_of):
    browser = browser_of(charlie)
    page = browser.get(f"{tides.path}/upload").content.decode()
    assert "Open it as a proposal" in page and "Commit to main" not in page
    file = SimpleUploadedFile("cork.csv", b"Cork,4.0,0.5\n")
    forced = browser.post(f"{tides.path}/upload", {"files": file, "goes_to": "branch", "title": "", "description": ""})
    assert forced.status_code == 400
    file = SimpleUploadedFile("cork.csv", b"Cork,4.0,0.5\n")
    answer = browser.post(
        f"{tides.path}/upload", {"files": file, "goes_to": "proposal", "title": "", "description": ""}
    )
    assert answer.status_code == 302
    proposal = tides.discussions.get(is_pull_request=True)
    assert answer.headers["Location"] == proposal.path
    assert (proposal.title, proposal.author) == ("Upload cork.csv", charlie.user)


def test_without_javascript_several_files_are_one_commit(tides, bob, browser_of):
    from hub.repos.places import pair

    files = [SimpleUploadedFile("a.txt", b"a\n"), SimpleUploadedFile("b.bin", b"\0\1\2")]
    answer = browser_of(bob).post(
        f"{tides.path}/upload",
        {"files": files, "folder": "more", "goes_to": "branch", "title": "", "description": "why"},
    )
    assert answer.headers["Location"] == f"{tides.path}/tree/main"
    git = pair(tides).members
    head = git.resolve("main")
    assert git.read(head, "more/a.txt") == b"a\n"
    assert git.entry(head, "more/b.bin").lfs.size == 3
    assert git.commit_info(head).title == "Upload 2 files"
    assert "why" in git.commit_info(head).message


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", ".git/config", "a//b", "", "a\\b"])
def test_a_path_that_leads_elsewhere_is_refused(tides, alice, browser_of, path):
    status, sentence = send(browser_of(alice), tides, "start", path=path, size=1, modified="1")
    assert status == 400


def test_a_file_beyond_the_limit_is_refused_before_anything_is_sent(tides, alice, browser_of, settings):
    settings.MAX_FILE_BYTES = 1000
    status, sentence = send(browser_of(alice), tides, "start", path="a.bin", size=1001, modified="1")
    assert status == 413 and "at most 1,000" in sentence


def test_one_path_is_committed_once(tides, alice, browser_of):
    """The same small upload, named 2,000 times, lay 2,000 times in memory."""
    about = {"path": "a.txt", "size": 5, "modified": "7"}
    browser = browser_of(alice)
    put(browser, tides, 1, b"tide\n", path="a.txt", size=5)
    status, sentence = send(browser, tides, "commit", title="Twice", goes_to="branch", files=[about, about])
    assert status == 400 and "a.txt is named twice" in sentence


def test_texts_beyond_the_limit_of_a_commit_are_refused(tides, alice, browser_of, settings):
    settings.MAX_COMMIT_BODY_BYTES = 15
    browser = browser_of(alice)
    files = [{"path": f"{name}.txt", "size": 8, "modified": "7"} for name in "ab"]
    for file in files:
        put(browser, tides, 1, b"low tide", path=file["path"], size=8)
    status, sentence = send(browser, tides, "commit", title="Two", goes_to="branch", files=files)
    assert status == 413 and "15 bytes of small files" in sentence
    assert send(browser, tides, "commit", title="One", goes_to="branch", files=files[:1])[0] == 200
    form = {"files": [SimpleUploadedFile(f"{name}.txt", b"low tide") for name in "cd"], "goes_to": "branch"}
    answer = browser.post(f"{tides.path}/upload", {**form, "title": "", "description": ""})
    assert answer.status_code == 400 and "15 bytes of small files" in answer.content.decode()


def test_a_long_text_waits_on_disk_until_it_is_committed(tides, alice, browser_of):
    from hub.repos.places import pair

    text = b"tide\n" * 40_000
    about = {"path": "long.txt", "size": len(text), "modified": "7"}
    browser = browser_of(alice)
    put(browser, tides, 1, text, path="long.txt", size=len(text))
    assert send(browser, tides, "commit", title="Long", goes_to="branch", files=[about])[0] == 200
    git = pair(tides).members
    assert git.read(git.resolve("main"), "long.txt") == text


@pytest.mark.parametrize("size", ["Infinity", "-Infinity", "NaN", "1e400", "9" * 5000, "-1", "null", "[]"])
def test_a_size_that_is_no_number_of_bytes_is_refused(tides, alice, browser_of, size):
    body = f'{{"path": "a.txt", "size": {size}}}'
    answer = browser_of(alice).post(f"{tides.path}/upload/start", body, content_type="application/json")
    assert answer.status_code == 400


def test_a_form_that_has_no_room_is_refused_before_its_files_are_stored(tides, alice, browser_of, monkeypatch):
    from django.core.management import call_command

    call_command("quota", "set", "alice", "5KB")
    monkeypatch.setattr(uploads, "take_in", lambda **_: pytest.fail("it was stored"))
    files = [SimpleUploadedFile("a.bin", bytes(range(256)) * 20), SimpleUploadedFile("b.txt", b"text\n")]
    given = {"files": files, "title": "Add", "goes_to": "branch", "branch": "main"}
    answer = browser_of(alice).post(f"{tides.path}/upload", given)
    assert answer.status_code == 400 and "alice may hold 5,000 bytes" in answer.content.decode()


def test_parts_count_from_the_first_on_until_the_file_does(tides, alice, browser_of, small_parts):
    """Beginning one upload after the other would else fill the disk."""
    from django.core.management import call_command

    from hub.repos.quotas import usage_of

    call_command("quota", "set", "alice", "3KB")
    browser, about = browser_of(alice), {"path": "a.bin", "size": 2000}
    assert put(browser, tides, 1, bytes(1000), **about).status_code == 200
    assert usage_of(alice.user) == 2000
    assert put(browser, tides, 1, bytes(1000), **about, modified="8").status_code == 403
    assert put(browser, tides, 2, bytes(1000), **about).status_code == 200
    assert send(browser, tides, "finish", **about, modified="7")[0] == 200
    assert usage_of(alice.user) == 2000
    call_command("quota", "set", "alice", "none")
    assert send(browser, tides, "start", **about, modified="7")[1]["have"] == []  # nothing lies beside the file


def test_text_comes_in_where_there_is_no_room_and_bytes_that_only_look_like_it_do_not(
    tides, alice, browser_of, small_parts, monkeypatch, settings
):
    from django.core.management import call_command

    from hub.repos.quotas import usage_of

    call_command("quota", "set", "alice", "3KB")
    browser, large = browser_of(alice), {"path": "a.bin", "size": 2000, "modified": "7"}
    for number in (1, 2):
        put(browser, tides, number, bytes(1000), path="a.bin", size=2000)
    send(browser, tides, "finish", **large)
    call_command("quota", "set", "alice", "1KB")
    text, fake = {"path": "b.txt", "size": 5, "modified": "7"}, {"path": "c.txt", "size": 4, "modified": "7"}
    assert send(browser, tides, "start", **{**large, "path": "b.bin"})[0] == 403
    assert send(browser, tides, "start", **text)[0] == 200
    assert put(browser, tides, 1, b"text\n", path="b.txt", size=5).status_code == 200
    given = {"branch": "main", "title": "Text", "description": "", "goes_to": "branch"}
    assert send(browser, tides, "commit", **given, files=[text])[0] == 200
    files = [SimpleUploadedFile("d.txt", b"text\n")]
    assert browser.post(f"{tides.path}/upload", {**given, "files": files}).status_code == 302
    assert put(browser, tides, 1, b"\0\1\2\3", path="c.txt", size=4).status_code == 200
    assert usage_of(alice.user) == 2000
    monkeypatch.setattr(uploads, "take_in", lambda **_: pytest.fail("it was stored"))
    assert send(browser, tides, "finish", **fake)[0] == 403
    settings.MAX_COMMIT_BODY_BYTES = 6
    assert send(browser, tides, "start", **{**text, "path": "e.txt"})[0] == 403  # four wait already


def test_parts_that_nobody_finished_go_with_a_collection(tides, alice, browser_of, small_parts):
    from datetime import timedelta

    from django.utils import timezone

    from hub.repos.garbage import collect
    from hub.repos.quotas import usage_of

    put(browser_of(alice), tides, 1, bytes(1000), path="a.bin", size=2000)
    for days, left in ((29, 2000), (31, 0)):
        collect(now=timezone.now() + timedelta(days=days))
        assert usage_of(alice.user) == left
    assert send(browser_of(alice), tides, "start", path="a.bin", size=2000, modified="7")[1]["have"] == []
