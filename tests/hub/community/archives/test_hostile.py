"""Nothing is believed because an archive says so, and nothing of a broken one stays."""

import io
import json
import tarfile
from typing import Any

import pytest

from hub.common.errors import Conflict, Forbidden, HubError, InvalidInput, QuotaExceeded
from tests.hub.community.archives.packed import BYTES, export, nothing_is_left, pack, repack, take, unpack
from tests.hub.scenes import add, clear, make_repo

pytestmark = pytest.mark.django_db


def test_nothing_is_cleared_or_released_because_an_archive_says_so(tides: Any, bob: Any) -> None:
    files = unpack(export(tides))
    release = {"record": "release", "tag": "v1.0.0", "commit": "0" * 40, "state": "published", "published_at": None}
    lines = files["records.jsonl"].splitlines()
    lines.insert(1, json.dumps(release | {"manifest": {}}).encode())
    again = take(repack(files, records=b"\n".join(lines) + b"\n"), bob)
    assert set(again.contents.values_list("clearance", flat=True)) == {"pending"} and again.public_head == ""
    assert set(again.contents.values_list("added_by__username", flat=True)) == {"bob"}
    assert not again.public_releases.exists() and not again.releases.exists()
    note = again.discussions.get(number=5)
    assert note.status == "closed" and "v1.0.0" in note.events.get().data["text"] and again.next_number == 6


def test_what_comes_in_is_screened_like_a_push(alice: Any, bob: Any) -> None:
    """By the real screens: clean text is public at once, a key is withheld with its commit."""
    clean = make_repo(alice.user, "clean")
    add(clean, alice.user, {"tides.csv": "harbour,high\n"})
    again = take(export(clean), bob)
    assert again.public_head == again.head != ""
    key = "AKIA" + "Q7XZ2MNB4KTRPW6D"
    add(clean, alice.user, {"config.txt": f"aws_access_key_id = {key}\n"})
    clear(clean)  # somebody there let it pass
    leaky = take(export(clean), bob, "leaky")
    assert leaky.public_head != leaky.head
    assert leaky.contents.get(path="config.txt").clearance != "cleared"


def test_a_changed_byte_refuses_all_of_it(tides: Any, bob: Any, settings: Any) -> None:
    data = export(tides)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        places = {member.name: member.offset_data for member in tar}
    places.pop("manifest.json")
    assert len(places) == 3
    for name, place in places.items():
        changed = bytearray(data)
        changed[place + 100] ^= 1
        with pytest.raises(InvalidInput, match=f"^{name} is not what .*Nothing was imported"):
            take(bytes(changed), bob)
    assert nothing_is_left(settings)


def test_hostile_archives_are_refused_in_a_sentence(tides: Any, bob: Any, settings: Any) -> None:
    data = export(tides)
    files = unpack(data)
    good = [(name, body) for name, body in files.items()]
    manifest = json.loads(files["manifest.json"])

    def linked(kind: bytes, name: str = "manifest.json") -> bytes:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, "/etc/passwd"
        return info.tobuf(format=tarfile.USTAR_FORMAT) + data

    def with_manifest(**changes: Any) -> bytes:
        return pack([("manifest.json", json.dumps(manifest | changes).encode()), *good[1:]])

    def with_entry(place: int, **changes: Any) -> bytes:
        rows = [dict(row) for row in manifest["entries"]]
        rows[place] |= changes
        return with_manifest(entries=rows)

    long_name = tarfile.TarInfo("a" * 200).tobuf(format=tarfile.PAX_FORMAT)
    hostile = {
        "does not add up": b"x" * 2048,
        "ends early": data[: len(data) // 2],
        "plain files only": linked(tarfile.SYMTYPE),
        "plain files only ": linked(tarfile.LNKTYPE),
        "plain files only  ": linked(tarfile.DIRTYPE, "files/"),
        "plain files only   ": long_name + data,
        "first file must be": pack(good[1:]),
        "more files than its manifest": pack([*good, ("../../etc/passwd", b"x")]),
        "goes on behind its end": data + b"more",
        "version 2": with_manifest(version=2),
        "does not say that this is": with_manifest(format="zip"),
        "must be files/ and its own sha256": with_entry(2, name="files/../../x"),
        "must be files/ and its own sha256 ": with_entry(2, sha256="0" * 64),
        "must be records.jsonl": with_entry(0, name="repository.bundle"),
        "is missing or of another size": with_entry(2, size=4),
        "must say name, size and sha256": with_entry(2, size=-1),
        "names a file twice": with_manifest(entries=[*manifest["entries"], manifest["entries"][2]]),
    }  # fmt: skip
    for words, archive in hostile.items():
        with pytest.raises(HubError) as refusal:
            take(archive, bob)
        assert words.strip() in refusal.value.message, (words, refusal.value.message)
    assert nothing_is_left(settings)


def test_records_are_believed_line_by_line_or_not_at_all(tides: Any, bob: Any, settings: Any) -> None:
    files = unpack(export(tides))
    lines = files["records.jsonl"].splitlines()
    talk = next(place for place, line in enumerate(lines) if b'"record":"discussion"' in line)
    entry = next(place for place, line in enumerate(lines) if b'"record":"event"' in line)

    def changed(place: int, **changes: Any) -> bytes:
        line = json.dumps(json.loads(lines[place]) | changes).encode()
        return b"\n".join([*lines[:place], line, *lines[place + 1 :]]) + b"\n"

    wrong = {
        "is no JSON": b"\n".join([*lines, b"{"]),
        "no record that this hub knows": b"\n".join([*lines, b'{"record":"token"}']),
        "and no other, speaks of the repository": b"\n".join(lines[1:]),
        "'type' must be one of": changed(0, type="kernel"),
        "next number is taken": changed(0, next_number=1),
        "no branch trunk": changed(0, default_branch="trunk"),
        "'title' must be a text of at most 300": changed(talk, title="x" * 301),
        "'number' must be a number from 1": changed(talk, number=0),
        "'created_at' must be a time": changed(talk, created_at="yesterday"),
        "lacks the commits of pull request 1": changed(talk, pull_request={"target": "main", "base": "0" * 40}),
        "belongs to no discussion": changed(entry, discussion=77),
        "'kind' must be one of": changed(entry, kind="approval"),
        "'target' must be the name of a branch": changed(talk, pull_request={"target": "../x", "base": "0" * 40}),
        "which this hub does not know": changed(entry, data={"imported_author": "alice"}),
    }
    for words, records in wrong.items():
        with pytest.raises(InvalidInput) as refusal:
            take(repack(files, records=records), bob)
        assert words in refusal.value.message, (words, refusal.value.message)
    assert nothing_is_left(settings)


def test_names_that_the_hub_itself_answers_come_with_no_archive(tides: Any, bob: Any, settings: Any) -> None:
    """Whoever asks for `stable` would take such a branch for a release."""
    files = unpack(export(tides))
    head, _, packed = files["repository.bundle"].partition(b"\n\n")
    oid = head.splitlines()[1].split()[0]
    for ref, words in ((b"refs/heads/stable", "hub itself"), (b"refs/tags/candidate", "hub itself"),
                       (b"refs/heads/refs/pr/1", "hub itself"), (b"refs/heads/" + b"x" * 101, "at most 100")):  # fmt: skip
        with pytest.raises(HubError, match=words):
            take(repack(files, bundle=head + b"\n" + oid + b" " + ref + b"\n\n" + packed), bob)
    assert nothing_is_left(settings)


def test_checks_of_another_hub_are_none_of_this_one(tides: Any, bob: Any) -> None:
    """Nobody is named for them, as for the hub's own."""
    from django.test import Client

    files = unpack(export(tides))
    forged = {"record": "event", "discussion": 4, "kind": "check", "at": "2026-01-01T00:00:00+00:00",
              "data": {"name": "screens", "state": "passed", "summary": "All is well."}}  # fmt: skip
    records = files["records.jsonl"] + json.dumps(forged).encode() + b"\n"
    clear(take(repack(files, records=records), bob))
    client = Client()
    client.force_login(bob.user)
    page = client.get("/datasets/bob/again/discussions/4").content.decode()
    line = next(line for line in page.splitlines() if "All is well." in line)
    assert "another hub (imported)" in line
    told = client.get("/api/datasets/bob/again/discussions/4").json()["events"]
    assert [row["author"]["name"] for row in told if row["type"] == "check" and row["data"]["name"] == "screens"
            and row["data"]["summary"] == "All is well."] == ["another hub (imported)"]  # fmt: skip


def test_words_that_no_database_keeps_do_no_harm(tides: Any, bob: Any) -> None:
    files = unpack(export(tides))
    release = {"record": "release", "tag": "v1\0", "commit": "0" * 40, "state": "published", "published_at": None}
    lines = files["records.jsonl"].splitlines()
    lines.insert(1, json.dumps(release).encode())
    files["manifest.json"] = json.dumps(json.loads(files["manifest.json"]) | {"name": "a\ud800\0b"}).encode()
    again = take(repack(files, records=b"\n".join(lines) + b"\n"), bob)
    assert again.discussions.get(number=5).title.startswith("Releases of ab on ")


def test_naming_a_digest_gives_nobody_the_bytes_of_others(tides: Any, bob: Any, settings: Any) -> None:
    """The archive names the large file and does not bring it; the store holds it for somebody else."""
    files = unpack(export(tides))
    manifest = json.loads(files["manifest.json"])
    manifest["entries"] = manifest["entries"][:2]
    files["manifest.json"] = json.dumps(manifest).encode()
    with pytest.raises(InvalidInput, match=r"lacks the large file big\.bin"):
        take(repack(files), bob)
    assert nothing_is_left(settings)


def test_a_kill_on_the_way_leaves_nothing_that_anybody_sees(
    tides: Any, bob: Any, settings: Any, monkeypatch: Any
) -> None:
    from datetime import timedelta

    from django.utils import timezone

    from hub.community.archives import reading
    from hub.repos.deleted import list_deleted
    from hub.repos.garbage import collect
    from hub.repos.models import Repo

    data = export(tides)

    def die(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    for step in ("take_history", "claim", "register_commits", "write_talks", "note_publication"):
        with monkeypatch.context() as patch:
            patch.setattr(reading, step, die)
            with pytest.raises(KeyboardInterrupt):
                take(data, bob)
        assert Repo.objects.count() == 1 and list_deleted(bob.user) == [], step
    assert Repo.everything.count() == 6
    assert take(data, bob).discussions.count() == 3  # the name is free, and what lies there disturbs nobody
    collect(now=timezone.now() + timedelta(days=3))
    assert Repo.everything.count() == 2


def test_it_keeps_to_names_rights_and_limits(
    tides: Any, alice: Any, bob: Any, organization: Any, settings: Any
) -> None:
    from hub.repos.quotas import usage_of

    data = export(tides)
    with pytest.raises(Conflict, match="alice/tides is there already"):
        take(data, alice, "Tides")
    with pytest.raises(Forbidden):
        take(data, bob, owner=alice.user)
    settings.QUOTA_USER_BYTES = 4_000
    with pytest.raises(QuotaExceeded, match="bob may hold 4,000 bytes"):
        take(data, bob)
    settings.QUOTA_USER_BYTES = 6_000
    with pytest.raises(InvalidInput):  # its bytes have come by then, and lie in the store until they are collected
        take(data[:-1024] + b"x" * 512, bob)
    assert usage_of(bob.user) == len(BYTES) and nothing_is_left(settings)
    take(data, bob)
    take(data, bob, "twice")
    assert usage_of(bob.user) == len(BYTES)
