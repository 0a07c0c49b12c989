"""Attachments through the unmodified client: known by their bytes, bounded, served so that nothing in them runs."""

import io
from datetime import timedelta

import pytest
import requests
from django.test import Client
from django.utils import timezone
from huggingface_hub.errors import HfHubHTTPError

from hub.common.errors import InvalidInput, TooLarge, TooManyAttempts
from hub.common.markdown import render_markdown
from hub.community import attachments
from hub.community.attachments import attach, attachment_digests, tell_format
from hub.community.social_models import Attachment

pytestmark = pytest.mark.django_db(transaction=True)

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4
STARTS = {
    "png": PNG,
    "jpg": b"\xff\xd8\xff\xe0\0\x10JFIF",
    "gif": b"GIF89a\1\0\1\0",
    "webp": b"RIFF\x24\0\0\0WEBPVP8 ",
    "mp4": b"\0\0\0\x18ftypisom\0\0\2\0",
    "mov": b"\0\0\0\x14ftypqt  \0\0\2\0",
    "webm": b"\x1aE\xdf\xa3\x9fB\x86\x81\1B\xf7\x81\1B\x82\x84webm",
    "mp3": b"\xff\xfb\x90\x64\0\0",
    "wav": b"RIFF\x24\0\0\0WAVEfmt ",
}
OTHERS = [
    b"", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"<!doctype html><script>alert(1)</script>", b"%PDF-1.7",
    b"PK\3\4", b"\x7fELF", b"RIFF\x24\0\0\0AVI ", b"\0\0\0\x18ftypheic", b"\x1aE\xdf\xa3\x9fB\x82\x88matroska", b"\x80\x04\x95",
    b" " + PNG, b"\xff\xf1\x50\x80",
]  # fmt: skip


def status(refusal):
    return refusal.value.response.status_code


def test_every_format_that_the_client_knows_is_told_by_its_bytes():
    from huggingface_hub.hf_api import _ATTACHMENT_CONTENT_TYPES as known

    assert {suffix: tell_format(start) for suffix, start in STARTS.items()} == {suffix: suffix for suffix in STARTS}
    assert {format.content_type for format in attachments.FORMATS.values()} == set(known.values())


@pytest.mark.parametrize("start", OTHERS)
def test_what_is_no_picture_film_or_sound_is_refused(start):
    with pytest.raises(InvalidInput, match="none of png"):
        tell_format(start)


@pytest.mark.covers("HfApi.upload_attachment")
def test_a_picture_is_attached_shown_in_a_discussion_and_removed(client_of, hub_url, alice, bob, charlie, tmp_path):
    picture = tmp_path / "harbour.png"
    picture.write_bytes(PNG)
    url = client_of(bob).upload_attachment(picture)
    made = Attachment.objects.get()
    assert url == f"{hub_url}/uploads/{made.key}.png" and len(made.key) == 32
    answer = requests.get(url, timeout=10)
    assert (answer.content, answer.headers["Content-Type"]) == (PNG, "image/png")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    assert answer.headers["Content-Disposition"].startswith("inline;")
    part = requests.get(url, headers={"Range": "bytes=1-3"}, timeout=10)
    assert (part.status_code, part.content) == (206, b"PNG")
    client_of(alice).create_repo("alice/poems")
    talk = client_of(bob).create_discussion("alice/poems", "A fault", description=f"![harbour]({url})")
    page = requests.get(f"{hub_url}/alice/poems/discussions/{talk.num}", timeout=10).text
    assert f'<img src="{url}" alt="harbour">' in page
    assert list(attachment_digests()) == [made.sha256]
    refused = requests.delete(url, headers={"Authorization": f"Bearer {charlie.token}"}, timeout=10)
    assert refused.status_code == 403
    requests.delete(url, headers={"Authorization": f"Bearer {bob.token}"}, timeout=10).raise_for_status()
    assert requests.get(url, timeout=10).status_code == 404
    assert list(attachment_digests()) == []


def test_a_page_that_calls_itself_a_picture_is_refused(client_of, alice, tmp_path):
    page = tmp_path / "picture.png"
    page.write_bytes(b"<html><script>alert(document.cookie)</script></html>")
    with pytest.raises(HfHubHTTPError, match="no file that can be attached") as refusal:
        client_of(alice).upload_attachment(page)
    assert status(refusal) == 400
    assert not Attachment.objects.exists()


def test_only_people_with_a_token_that_may_write_attach(client_of, hub_url, alice, tmp_path):
    from huggingface_hub import HfApi

    from hub.accounts.tokens import create_token

    picture = tmp_path / "harbour.png"
    picture.write_bytes(PNG)
    with pytest.raises(HfHubHTTPError) as refusal:
        client_of(None).upload_attachment(picture)
    assert status(refusal) == 401
    _, reading = create_token(user=alice.user, name="reads", role="read")
    with pytest.raises(HfHubHTTPError) as refusal:
        HfApi(endpoint=hub_url, token=reading).upload_attachment(picture)
    assert status(refusal) == 403
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(alice.user)
    assert browser.post("/uploads", PNG, content_type="image/png").status_code == 403  # a foreign page's form
    browser.cookies["model_commons_csrf"] = "a" * 32
    sent = browser.post("/uploads", PNG, content_type="image/png", HTTP_X_CSRFTOKEN="a" * 32)
    assert sent.status_code == 200
    assert Attachment.objects.count() == 1


def test_size_number_and_sum_are_bounded(alice, bob, monkeypatch):
    def send(person, data=PNG, now=None):
        return attach(by=person.user, body=io.BytesIO(data), size=len(data), now=now)

    monkeypatch.setitem(attachments.FORMATS, "gif", attachments.Format("image/gif", 10, attachments.begins(b"GIF89a")))
    with pytest.raises(TooLarge, match="at most 10 bytes"):
        send(alice, STARTS["gif"] + b"x")
    monkeypatch.setattr(attachments, "MAX_AT_ONCE", 2)
    now = timezone.now()
    send(alice, now=now)
    send(alice, STARTS["jpg"], now=now)
    with pytest.raises(TooManyAttempts) as refusal:
        send(alice, now=now)
    assert refusal.value.headers == {"Retry-After": "3600"}
    send(bob, now=now)  # each person has their own
    send(alice, now=now + timedelta(hours=1))
    monkeypatch.setattr(attachments, "MAX_BYTES", 3 * len(PNG))
    with pytest.raises(TooLarge, match="Your attachments hold"):
        send(alice, now=now + timedelta(hours=3))
    assert len(list(attachment_digests())) == 2  # the same picture three times


def test_a_collection_of_garbage_keeps_what_is_attached_and_takes_what_was_removed(alice):
    from hub.repos.garbage import collect
    from hub.repos.places import store

    kept, removed = (attach(by=alice.user, body=io.BytesIO(data), size=len(data)) for data in (PNG, PNG[:-1]))
    attachments.remove_attachment(attachment=removed, by=alice.user)
    collect(now=timezone.now() + timedelta(days=100))
    assert store().find(removed.sha256) is not None  # the first collection that finds it unused begins its grace
    collect(now=timezone.now() + timedelta(days=131))
    assert b"".join(store().read(kept.sha256)) == PNG
    assert store().find(removed.sha256) is None


def test_what_was_removed_counts_until_its_bytes_are_given_back(alice, monkeypatch):
    """Else whoever attaches and removes by turns fills the disk."""
    monkeypatch.setattr(attachments, "MAX_AT_ONCE", 3)
    monkeypatch.setattr(attachments, "MAX_BYTES", 3 * len(PNG))
    now = timezone.now()

    def attach_and_remove(later=timedelta(0)):
        made = attach(by=alice.user, body=io.BytesIO(PNG), size=len(PNG), now=now + later)
        attachments.remove_attachment(attachment=made, by=alice.user)

    for _ in range(3):
        attach_and_remove()
    with pytest.raises(TooManyAttempts):
        attach_and_remove()
    with pytest.raises(TooLarge, match="those that you removed within 32 days included"):
        attach_and_remove(timedelta(hours=2))
    attach_and_remove(timedelta(days=33))
    assert Attachment.objects.count() == 1


def test_of_two_at_once_the_one_too_many_counts_too(alice, monkeypatch):
    monkeypatch.setattr(attachments, "MAX_BYTES", len(PNG))
    real = attachments.store

    def be_overtaken():
        monkeypatch.setattr(attachments, "store", real)
        attach(by=alice.user, body=io.BytesIO(PNG), size=len(PNG))
        return real()

    monkeypatch.setattr(attachments, "store", be_overtaken)
    with pytest.raises(TooLarge, match="Your attachments hold"):
        attach(by=alice.user, body=io.BytesIO(PNG[:-1]), size=len(PNG) - 1)
    assert (Attachment.objects.count(), len(list(attachment_digests()))) == (2, 1)


def test_a_body_that_was_cut_or_is_too_long_is_not_kept(alice):
    header = {"HTTP_AUTHORIZATION": f"Bearer {alice.token}"}
    with pytest.raises(Exception, match="of the announced"):
        attach(by=alice.user, body=io.BytesIO(PNG[:-1]), size=len(PNG))
    long = Client().post("/uploads", b"", content_type="image/png", CONTENT_LENGTH=str(10**9), **header)
    assert long.status_code == 413
    assert not Attachment.objects.exists()


def test_films_and_sounds_play_where_their_address_stands_alone():
    key = "/uploads/" + "a" * 32
    for text, expected in [
        (f"https://hub.example{key}.mp4", f'<video controls preload="none" src="{key}.mp4"></video>'),
        (f'<audio controls src="http://h:8000{key}.mp3"></audio>', f'src="{key}.mp3"></audio>'),
    ]:
        assert expected in render_markdown(text)
    for text in (
        f"see https://hub.example{key}.mp4", f"https://hub.example{key}.svg", f'<audio src="https://h{key}.mp3" onload=x>',
        "https://hub.example/uploads/short.mp4", f'<video src="{key}.mp4">',
    ):  # fmt: skip
        assert "<video" not in render_markdown(text) and "<audio" not in render_markdown(text)
