"""The storage page: what a repository takes, what storing once saves, and the room that is left."""

import random
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client

from tests.hub.scenes import add, clear, make_repo
from tests.recordings import make_recording

pytestmark = pytest.mark.django_db
MB = 1_000_000


def make_noise(count: int, seed: int = 0) -> bytes:
    return make_recording(count, random.Random(seed))


def bring(repo: Any, by: Any, path: str, data: bytes) -> Any:
    from hub.repos.blobs import record_upload
    from hub.repos.places import store
    from hub.storage.git import AddPointer

    stored = store().add([data])
    record_upload(repo=repo, by=by.user, stored=stored)
    return add(repo, by.user, {}, operations=[AddPointer(path, stored.sha256, stored.size)])


def look(repo: Any, person: Any = None) -> str:
    client = Client()
    if person is not None:
        client.force_login(person.user)
    answer = client.get(f"{repo.path}/storage")
    assert answer.status_code == 200, answer.content
    return " ".join(answer.content.decode().split())


def measure(repo: Any, person: Any) -> Any:
    from hub.community.contributions import reader_for
    from hub.repos.footprints import measure_repo

    return measure_repo(reader_for(repo, person.user))


def test_versions_that_share_chunks_take_them_once(alice: Any):
    repo = make_repo(alice.user)
    first = make_noise(2 * MB)
    bring(repo, alice, "noise.bin", first)
    bring(repo, alice, "noise.bin", first + make_noise(100_000, seed=1))
    bring(repo, alice, "zeros.bin", bytes(1 * MB))
    told = measure(repo, alice)
    assert (told.history.files, told.history.whole_bytes) == (3, 5_100_000)
    assert (told.main.files, told.main.whole_bytes) == (2, 3_100_000)
    # The versions of the noise share all but their end; it does not pack, the zeros do.
    assert 2_100_000 < told.history.unique_bytes < 3_300_000
    assert 2_100_000 < told.history.stored_bytes < 2_300_000
    assert told.saved_percent in range(54, 60)
    page = look(repo, alice)
    assert "3 versions of large files would take <strong>5.1 MB</strong>" in page and "noise.bin" in page


def test_an_empty_repository_says_what_happens_here(alice: Any):
    page = look(make_repo(alice.user), alice)
    assert "There are no large files in alice/tides yet" in page and "Upload files" in page


def test_strangers_are_told_nothing_and_members_nothing_of_private_or_gated_twins(alice: Any, bob: Any, charlie: Any):
    repo = make_repo(alice.user)
    hidden = make_repo(bob.user, "hidden", is_private=True)
    gated = make_repo(bob.user, "gated")
    shared = make_noise(200_000)
    for one, person in ((repo, alice), (hidden, bob), (gated, bob)):
        bring(one, person, "shared.bin", shared)
        clear(one)
    type(gated).objects.filter(pk=gated.pk).update(gated="manual")
    assert measure(repo, alice).shared_files == 0
    for person in (None, charlie):
        page = look(repo, person)
        assert "is shown to its members" in page and "shared.bin" not in page
    twin = make_repo(bob.user, "twin")
    bring(twin, bob, "again.bin", shared)
    clear(twin)
    assert measure(repo, alice).shared_bytes == 200_000


def test_members_see_the_room_that_is_left(alice: Any):
    repo = make_repo(alice.user)
    bring(repo, alice, "noise.bin", make_noise(200_000))
    clear(repo)
    call_command("quota", "set", "alice", "1MB")
    call_command("quota", "set", "datasets/alice/tides", "200KB")
    page = look(repo, alice)
    assert "200 kB of 1 MB" in page and "full: delete what is not needed" in page
    assert "Room of" not in look(repo)


def test_a_single_version_saves_nothing_yet_and_what_is_over_full_is_marked(alice: Any):
    repo = make_repo(alice.user)
    bring(repo, alice, "noise.bin", make_noise(300_000))
    clear(repo)
    call_command("quota", "set", "datasets/alice/tides", "100KB")
    page = look(repo, alice)
    assert "1 version of large files takes <strong>" in page and "Nothing is saved yet" in page
    assert "as copies. They take" not in page
    assert "(300%, full: delete" in page and 'class="meter meter--danger"' in page
    assert f'href="{repo.path}/storage" aria-current="page">Storage' in page
