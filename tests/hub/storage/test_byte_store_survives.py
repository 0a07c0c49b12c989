"""Races, kills and sweeps: whatever is visible is whole."""

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from hub.storage import bucket_objects
from hub.storage.blobs import BlobStore
from hub.storage.xet import hashes
from tests.hub.storage.laid import DAY_S

# Pieces come from a seed, so that a child can make them without memory. Prints the SHA-256 when done.
ADD = """
import sys, time, hashlib
import numpy as np
from hub.storage.blobs import BlobStore
from hub.storage.bucket import Bucket, parse_store_url
root, url, seed, pieces, pause_after, start_at = *sys.argv[1:3], *map(float, sys.argv[3:])
def make():
    random = np.random.default_rng(int(seed))
    for number in range(int(pieces)):
        if number == pause_after:
            print("paused", flush=True)
            time.sleep(60)
        yield random.integers(0, 256, 1024 * 1024, dtype=np.uint8).tobytes()
store = BlobStore(root, bucket=Bucket(parse_store_url(url)) if url else None)
print("ready", flush=True)
while time.time() < start_at:
    time.sleep(0.001)
stored = store.add(make())
print(stored.sha256, stored.xet_hash, stored.size, *stored.xorbs)
"""
MEMORY = """
import resource, sys
import numpy as np
from hub.storage.blobs import BlobStore
from hub.storage.bucket import Bucket, parse_store_url
def peak_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
root, url, mib = sys.argv[1:]
store = BlobStore(root, bucket=Bucket(parse_store_url(url)) if url else None, cache_bytes=0)
noise = np.random.default_rng(0)
def make(mib):
    for _ in range(mib):
        yield noise.integers(0, 256, 1024 * 1024, dtype=np.uint8).tobytes()
store.add(make(2))
before = peak_mib()
stored = store.add(make(int(mib)))
size = sum(len(piece) for piece in store.read(stored.sha256))
assert size == stored.size
print(peak_mib() - before)
"""


def start(script: str, *arguments: object) -> subprocess.Popen:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


@pytest.fixture
def check_all(lay):
    def check(store: BlobStore) -> int:
        """Every visible file is whole and is what its names say; returns how many there are."""
        found = lay.list(store.root, "sha256")
        for sha256 in found:
            digest = hashlib.sha256()
            for piece in store.read(sha256):
                digest.update(piece)
            assert digest.hexdigest() == sha256
            assert store.find_by_xet(store.find(sha256).xet_hash).sha256 == sha256
        return len(found)

    return check


def test_two_processes_adding_the_same_content_agree(lay, tmp_path, check_all):
    start_at = time.time() + 2
    children = [start(ADD, tmp_path, lay.url(tmp_path), 1, 30, -1, start_at) for _ in range(2)]
    results = [child.communicate(timeout=60)[0].splitlines() for child in children]
    assert results[0] == results[1] and len(results[0]) == 2
    assert check_all(lay.open(tmp_path)) == 1
    assert not list(tmp_path.glob("incoming/*"))


def test_threads_sending_the_same_xorb_store_it_once(lay, store, make_upload, make_bytes):
    upload = make_upload(make_bytes(2_000_000))
    new = []
    barrier = threading.Barrier(4)

    def send():
        barrier.wait()
        new.append(store.add_xorb(upload.xorb_hash, [upload.xorb]))

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lay.list(store.root, "xorbs").keys() == {upload.xorb_hash}
    # A bucket need not know "only if it is not there yet": each may think that it was first.
    assert sorted(new) == [False, False, False, True] or (lay.url(store.root) and True in new)


def test_a_kill_in_the_middle_of_an_upload_leaves_nothing_visible(lay, tmp_path, check_all):
    """70 MiB before the kill: the first xorb is stored already, the file is not."""
    child = start(ADD, tmp_path, lay.url(tmp_path), 2, 200, 70, 0)
    assert child.stdout.readline() == "ready\n" and child.stdout.readline() == "paused\n"
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()

    store = lay.open(tmp_path)
    assert check_all(store) == 0 and not lay.list(tmp_path, "files")
    assert lay.list(tmp_path, "xorbs") and list(tmp_path.glob("incoming/*"))
    # The next try finds the chunks of the first one, and a sweep takes what is left.
    again = start(ADD, tmp_path, lay.url(tmp_path), 2, 72, -1, 0)
    sha256 = again.communicate(timeout=60)[0].splitlines()[1].split()[0]
    assert sum(lay.list(tmp_path, "xorbs").values()) < 80 * 1024 * 1024
    report = store.sweep({sha256}, grace_s=0, now=time.time() + DAY_S)
    assert (report.files, report.leftovers) == (0, 1) and not list(tmp_path.glob("incoming/*"))
    assert check_all(store) == 1


def test_kills_at_any_moment_leave_whole_files_only(lay, tmp_path, check_all):
    for number in range(6):
        child = start(ADD, tmp_path, lay.url(tmp_path), 3 + number % 2, 12, -1, 0)
        assert child.stdout.readline() == "ready\n"
        time.sleep(0.04 * number)
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        check_all(lay.open(tmp_path))
    final = start(ADD, tmp_path, lay.url(tmp_path), 3, 12, -1, 0)
    assert len(final.communicate(timeout=60)[0].splitlines()) == 2
    assert check_all(lay.open(tmp_path)) >= 1


def test_memory_stays_flat_however_large_the_file(lay, tmp_path):
    grown_mib = float(start(MEMORY, tmp_path, lay.url(tmp_path), 200).communicate(timeout=120)[0])
    assert grown_mib < 24


# Sweeping


def sweep_later(store: BlobStore, *keep: str, grace_s: float = DAY_S, dry_run: bool = False):
    return store.sweep(set(keep), grace_s=grace_s, now=time.time() + 2 * DAY_S, dry_run=dry_run)


def test_a_sweep_takes_what_nobody_needs_and_nothing_else(store, make_bytes, check_all):
    kept, dropped = store.add([make_bytes(500_000)]), store.add([make_bytes(600_000, seed=1)])
    planned = sweep_later(store, kept.sha256, dry_run=True)
    assert check_all(store) == 2
    done = sweep_later(store, kept.sha256)
    assert done == planned
    assert (done.files, done.xorbs) == (1, 1) and 600_000 < done.freed_bytes < 610_000
    assert store.find(dropped.sha256) is None and store.xorb_size(dropped.xorbs[0]) is None
    assert check_all(store) == 1
    # The chunks are forgotten, too: the content can come again.
    assert store.add([make_bytes(600_000, seed=1)]) == dropped
    assert check_all(store) == 2


def test_nothing_young_is_swept(store, make_upload, make_bytes):
    upload = make_upload(make_bytes(100_000, seed=1))
    store.add_xorb(upload.xorb_hash, [upload.xorb])
    store.add([make_bytes(100_000)])
    report = store.sweep(set(), grace_s=DAY_S, now=time.time() + DAY_S / 2)
    assert (report.files, report.xorbs) == (0, 0)
    assert store.xorb_size(upload.xorb_hash) is not None


def test_a_xorb_shared_with_a_kept_file_stays(store, make_bytes, check_all):
    content = make_bytes(2_000_000)
    dropped = store.add([content])
    kept = store.add([content + make_bytes(300_000, seed=1)])
    report = sweep_later(store, kept.sha256)
    assert (report.files, report.xorbs) == (1, 0)
    assert store.find(dropped.sha256) is None and check_all(store) == 1


def test_using_content_again_restarts_its_grace(lay, store, make_upload, make_bytes, monkeypatch):
    monkeypatch.setattr(bucket_objects, "CLOCK_SLACK_S", 0)
    uploads = [make_upload(make_bytes(1_000_000, seed)) for seed in range(4)]
    for upload in uploads:
        store.add([upload.content])
    grace_s = lay.make_old(store.root)
    store.add([uploads[0].content])
    store.renew(uploads[1].sha256)
    store.dedup_shard(hashes.to_hex(hashes.hash_chunk(uploads[2].chunks[0])), may_tell=uploads[2].xorb_hash.__eq__)
    report = store.sweep(set(), grace_s=grace_s, now=time.time())
    assert (report.files, report.xorbs) == (2, 1)
    assert [store.xorb_size(upload.xorb_hash) is not None for upload in uploads] == [True, True, True, False]


def test_a_removed_file_is_gone_at_once_and_its_space_with_the_sweep(store, make_bytes):
    stored = store.add([make_bytes(100_000)])
    assert store.remove_file(stored.sha256) is True
    assert store.remove_file(stored.sha256) is False
    assert store.find(stored.sha256) is store.find_by_xet(stored.xet_hash) is None
    assert sweep_later(store).xorbs == 1


def test_sweeps_beside_uploads_never_leave_a_visible_file_without_its_bytes(lay, store, make_bytes, check_all):
    """Grace 0 is harsher than anything real: uploads may fail, but what they report as stored is whole."""
    stop = threading.Event()
    outcomes: list[str] = []

    def upload(seed: int) -> None:
        content = make_bytes(700_000, seed)
        while not stop.is_set():
            try:
                store.add([content])
                outcomes.append("stored")
            except Exception as error:
                outcomes.append(f"{type(error).__name__}: {error}")

    threads = [threading.Thread(target=upload, args=(seed % 2,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    keep: set[str] = set()
    end = time.monotonic() + (8 if lay.url(store.root) else 2)
    while time.monotonic() < end:
        store.sweep(keep, grace_s=0, now=lay.now())
        keep = set(lay.list(store.root, "sha256")) if not keep else set()
    stop.set()
    for thread in threads:
        thread.join()
    assert "stored" in outcomes
    assert all(outcome == "stored" or "swept during the upload" in outcome for outcome in outcomes)
    check_all(store)


def test_a_slow_upload_is_not_swept_however_long_it_takes(lay, store, make_bytes, check_all):
    def pieces():
        yield make_bytes(2_000_000)
        for path in store.root.rglob("*"):
            os.utime(path, (1, 1))
        store.sweep(set(), grace_s=0, now=lay.now())
        yield make_bytes(1_000_000, seed=1)

    stored = store.add(pieces())
    assert stored.size == 3_000_000 and check_all(store) == 1


@pytest.mark.parametrize("folder", ["xorbs", "files", "sha256"])
def test_stray_files_in_the_store_do_no_harm(lay, store, make_bytes, folder):
    stored = store.add([make_bytes(100_000)])
    lay.stray(store.root, f"{folder}/zz/stray")
    lay.stray(store.root, f"{folder}/stray")
    assert sweep_later(store, stored.sha256).files == 0
    store.rebuild_index()
    assert store.find(stored.sha256) == stored
