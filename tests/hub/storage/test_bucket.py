"""What only a bucket knows: copies of what is read often, several machines, servers that are away or answer badly."""

import os
import time

import pytest

from hub.storage import bucket_objects
from hub.storage.bucket import PAUSE_S, Bucket, BucketPlace, parse_store_url
from hub.storage.disk import incoming_file
from hub.storage.errors import StorageError, StoreUnavailable
from hub.storage.read_cache import ReadCache
from tests.hub.storage.laid import InBucket, OnDisk
from tests.object_storage import CREDENTIALS

MIB = 1024 * 1024


def read_all(store, stored) -> bytes:
    return b"".join(store.read(stored.sha256))


# The address


def test_one_address_says_where_the_bucket_is():
    assert parse_store_url("s3://hub") == BucketPlace("hub")
    assert parse_store_url("s3://hub/a/b/?endpoint=http://10.0.0.1:9000&region=eu-1") == BucketPlace(
        "hub", "a/b/", "http://10.0.0.1:9000", "eu-1"
    )


@pytest.mark.parametrize(
    "text", ["http://hub", "hub", "s3://", "s3:///prefix", "s3://hub?endpoint=10.0.0.1:9000", "s3://hub?key=secret"]
)
def test_an_address_of_no_bucket_is_refused(text):
    with pytest.raises(ValueError):
        parse_store_url(text)


# Answers that the server of the other tests never gives


@pytest.fixture
def stubbed(monkeypatch):
    """A bucket, and what its server will answer next."""
    from botocore.stub import Stubber

    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    bucket = Bucket(parse_store_url("s3://hub?endpoint=http://127.0.0.1:1"))
    with Stubber(bucket._connect()) as stub:
        stub.add_response("head_bucket", {})
        yield bucket, stub
        stub.assert_no_pending_responses()


def test_a_server_that_knows_conditions_is_asked_to_replace_nothing(stubbed, tmp_path):
    bucket, stub = stubbed
    (tmp_path / "file").write_bytes(b"content")
    stub.add_client_error("put_object", "PreconditionFailed", http_status_code=412)
    assert bucket.put_new("key", tmp_path / "file") is False


@pytest.mark.parametrize("code", ["AccessDenied", "NoSuchBucket", "SlowDown", "InternalError"])
def test_no_refusal_is_taken_for_something_that_is_not_there(stubbed, code):
    bucket, stub = stubbed
    stub.add_client_error("get_object", code)
    with pytest.raises(StoreUnavailable, match="nothing is lost"):
        bucket.get("key")


def test_a_bucket_that_is_not_there_is_no_empty_bucket(monkeypatch):
    from botocore.stub import Stubber

    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    bucket = Bucket(parse_store_url("s3://hub?endpoint=http://127.0.0.1:1"))
    with Stubber(bucket._connect()) as stub:
        stub.add_client_error("head_bucket", "404", http_status_code=404)
        with pytest.raises(StoreUnavailable):
            bucket.head("key")


def test_where_nobody_listens_the_store_is_away(monkeypatch):
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("hub.storage.bucket.ATTEMPTS", 1)
    bucket = Bucket(parse_store_url("s3://hub?endpoint=http://127.0.0.1:1"))
    with pytest.raises(StoreUnavailable):
        bucket.put("key", b"")
    # Nobody else waits for it: for a moment it is not asked again.
    monkeypatch.setattr(bucket, "_connect", lambda: pytest.fail("it was asked again"))
    with pytest.raises(StoreUnavailable):
        bucket.head("key")
    later = time.monotonic() + PAUSE_S
    monkeypatch.setattr("hub.storage.bucket.time.monotonic", lambda: later)
    with pytest.raises(pytest.fail.Exception, match="asked again"):
        bucket.head("key")


# Copies on the local disk


def test_copies_stay_below_their_limit_and_the_least_used_go_first(tmp_path):
    cache = ReadCache(tmp_path / "cache", tmp_path / "incoming", limit_bytes=16 * 1000)
    names = [f"{number:064x}" for number in range(40)]
    for number, name in enumerate(names):
        with incoming_file(tmp_path / "incoming") as file:
            file.write(bytes(900))
            cache.keep(name, file)
        os.utime(tmp_path / "cache" / name[:2] / name, (number, number))
        with cache.open(names[0]) as first:  # is used all the time
            assert first.size == 900
    kept = {path.name for path in (tmp_path / "cache").glob("??/*")}
    assert len(kept) * 900 <= 18 * 1000 and names[0] in kept and names[-1] in kept and names[1] not in kept


def test_what_is_large_beside_the_limit_is_not_kept(tmp_path):
    cache = ReadCache(tmp_path / "cache", tmp_path / "incoming", limit_bytes=16 * 1000)
    with incoming_file(tmp_path / "incoming") as file:
        file.write(bytes(1001))
        cache.keep("ab" * 32, file)
    with pytest.raises(FileNotFoundError):
        cache.open("ab" * 32).__enter__()


@pytest.fixture
def lay(object_storage):
    return InBucket(object_storage)


@pytest.fixture
def requests(monkeypatch):
    """Every GET of a range: (key, first byte, behind the last)."""
    made = []
    stream = Bucket.stream

    def note(bucket, key, start, end, etag):
        made.append((key, start, end))
        return stream(bucket, key, start, end, etag)

    monkeypatch.setattr(Bucket, "stream", note)
    return made


@pytest.mark.slow
def test_a_file_is_read_with_one_request_for_each_term(lay, tmp_path, make_bytes, requests):
    content = make_bytes(150 * MIB)
    stored = lay.open(tmp_path / "a").add([content])
    assert len(stored.xorbs) == 3
    store = lay.open(tmp_path / "a")
    assert read_all(store, stored) == content
    # And one for each footer, which is remembered.
    assert len(requests) == 6 and len({key for key, _, _ in requests}) == 3
    requests.clear()
    assert read_all(store, stored) == content
    assert len(requests) == 3


@pytest.mark.slow
def test_what_was_just_stored_and_what_is_read_often_is_read_from_the_local_disk(lay, tmp_path, make_bytes, requests):
    content = make_bytes(5 * MIB)
    stored = lay.open(tmp_path / "a", cache_bytes=10**9).add([content])
    assert read_all(lay.open(tmp_path / "a", cache_bytes=10**9), stored) == content and not requests

    elsewhere = lay.open_on_another_machine(tmp_path / "a", tmp_path / "b", cache_bytes=10**9)
    for start in range(0, 4 * MIB, MIB):
        assert b"".join(elsewhere.read(stored.sha256, start, start + MIB)) == content[start : start + MIB]
    fetched = len(requests)
    assert sum(end - start for _, start, end in requests) < 10 * MIB
    assert read_all(elsewhere, stored) == content and len(requests) == fetched


@pytest.mark.slow
def test_a_copy_goes_with_its_object(lay, tmp_path, make_bytes):
    store = lay.open(tmp_path, cache_bytes=10**9)
    stored = store.add([make_bytes(100_000)])
    assert list(tmp_path.glob("cache/*/*"))
    assert store.sweep(set(), grace_s=0, now=time.time() + 3600).xorbs == 1
    assert store.xorb_size(stored.xorbs[0]) is None and not list(tmp_path.glob("cache/*/*"))


@pytest.mark.slow
def test_a_store_moves_from_the_disk_into_a_bucket_by_copying_its_folders(lay, tmp_path, make_bytes):
    disk = OnDisk().open(tmp_path / "disk")
    files = [disk.add([make_bytes(size, seed=size)]) for size in (0, 1000, 3 * MIB)]
    lay.take_over(tmp_path / "b", tmp_path / "disk")
    store = lay.open(tmp_path / "b")
    assert [store.find(file.sha256) for file in files] == files
    assert all(read_all(store, file) == read_all(disk, file) for file in files)
    before = sum(lay.list(tmp_path / "b", "xorbs").values())
    store.add([make_bytes(3 * MIB, seed=3 * MIB) + b"the end"])
    assert sum(lay.list(tmp_path / "b", "xorbs").values()) - before < 300_000


# Connections


@pytest.mark.slow
def test_a_stream_that_breaks_off_goes_on_where_it_was(lay, tmp_path, make_bytes, monkeypatch):
    content = make_bytes(3 * MIB)
    store = lay.open(tmp_path)
    stored = store.add([content])
    stream, broken = Bucket.stream, []

    def break_once(bucket, key, start, end, etag):
        opened = stream(bucket, key, start, end, etag)
        if not broken and end - start > 2 * MIB:
            broken.append(start)
            opened._body.read(1000)  # what was lost on the way
            opened._body.close()
        return opened

    monkeypatch.setattr(Bucket, "stream", break_once)
    assert read_all(store, stored) == content and broken


@pytest.mark.slow
def test_a_child_of_a_fork_has_connections_of_its_own(lay, tmp_path, make_bytes):
    store = lay.open(tmp_path)
    stored = store.add([make_bytes(2 * MIB)])
    children = []
    for _ in range(3):
        child = os.fork()
        if child == 0:
            is_right = False
            try:
                is_right = all(read_all(store, stored) == make_bytes(2 * MIB) for _ in range(5))
            finally:
                os._exit(0 if is_right else 1)
        children.append(child)
    for _ in range(5):
        assert read_all(store, stored) == make_bytes(2 * MIB)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]


@pytest.mark.slow
def test_a_xorb_that_came_back_packed_in_another_way_is_read_by_its_own_index(lay, tmp_path, make_upload):
    """A store elsewhere still remembers the index of the first one."""
    upload = make_upload(bytes(range(256)) * 8000)
    store = lay.open(tmp_path / "a")
    store.add_xorb(upload.xorb_hash, [upload.xorb])
    (stored,) = store.add_shard(upload.shard, may_use=lambda _: True)
    assert read_all(store, stored) == upload.content
    other = lay.open_on_another_machine(tmp_path / "a", tmp_path / "b")
    lay.remove(tmp_path / "a", upload.xorb_hash)
    raw = b"".join(
        b"\0" + len(c).to_bytes(3, "little") + b"\0" + len(c).to_bytes(3, "little") + c for c in upload.chunks
    )
    assert other.add_xorb(upload.xorb_hash, [raw]) and len(raw) != len(upload.xorb)
    with pytest.raises(StoreUnavailable):
        read_all(store, stored)
    assert read_all(store, stored) == read_all(other, stored) == upload.content


# Several machines, one bucket: no lock reaches both


@pytest.mark.slow
def test_a_sweep_gives_back_what_another_machine_uses_at_that_very_moment(lay, tmp_path, make_bytes, monkeypatch):
    monkeypatch.setattr(bucket_objects, "CLOCK_SLACK_S", 0)
    here = lay.open(tmp_path / "a")
    there = lay.open_on_another_machine(tmp_path / "a", tmp_path / "b")
    moments = [(kind, act, when) for kind in ("sha256", "files", "xorbs") for act in ("copy", "delete")
               for when in ("before", "after")]  # fmt: skip
    contents = [make_bytes(300_000, seed) for seed in range(len(moments))]
    files = [here.add([content]) for content in contents]
    time.sleep(4)
    outcomes = []
    for moment, content, file in zip(moments, contents, files, strict=True):
        outcomes.append(upload_at(moment, here, lambda content=content: there.add([content]), {
            other.sha256 for other in files if other is not file
        }))  # fmt: skip
        if outcomes[-1] == "stored":
            assert b"".join(lay.open_on_another_machine(tmp_path / "a", tmp_path / "c").read(file.sha256)) == content
    assert set(outcomes) <= {"stored", "swept"} and outcomes.count("stored") >= 9
    assert not lay.list(tmp_path / "a", "removed")


def upload_at(moment, sweeping, upload, keep) -> str:
    """Sweep, and let an upload elsewhere run beside the first request of this kind. What came of the upload?"""
    kind, act, when = moment
    bucket = sweeping._records.xorbs._bucket
    others = [sweeping._records.files._bucket, sweeping._records.sha256s._bucket]
    assert all(other is bucket for other in others)
    real, outcomes = getattr(bucket, act), []

    def run() -> None:
        try:
            upload()
            outcomes.append("stored")
        except StorageError as error:
            outcomes.append("swept" if "swept during the upload" in str(error) else repr(error))

    def wrapped(key, *more):
        is_it = key.startswith(f"{kind}/") and not outcomes
        if is_it and when == "before":
            run()
        real(key, *more)
        if is_it and when == "after":
            run()

    setattr(bucket, act, wrapped)
    try:
        sweeping.sweep(keep, grace_s=1, now=time.time())
    finally:
        delattr(bucket, act)
    return outcomes[0] if outcomes else "never"


@pytest.mark.slow
@pytest.mark.parametrize("dies_at", ["before the removal", "after the removal"])
def test_a_sweep_that_was_killed_is_settled_by_the_next_one(lay, tmp_path, make_bytes, monkeypatch, dies_at):
    monkeypatch.setattr(bucket_objects, "CLOCK_SLACK_S", 0)
    store = lay.open(tmp_path)
    used, unused = (store.add([make_bytes(300_000, seed)]) for seed in range(2))
    store.remove_file(used.sha256), store.remove_file(unused.sha256)
    time.sleep(4)
    for xorb in (*used.xorbs, *unused.xorbs):
        records = store._records.xorbs
        with monkeypatch.context() as patch:
            if dies_at == "before the removal":
                patch.setattr(Bucket, "delete", die)
            else:
                patch.setattr(records, "_settle", die)
            with pytest.raises(KeyboardInterrupt):
                records.remove_if_older(xorb, time.time() - 1)
    records.renew(used.xorbs[0])  # a mark stays, whether it is there or not
    records._bucket.put(records._mark(used.xorbs[0]), b"")
    store.sweep(set(), grace_s=1, now=time.time())
    assert lay.list(tmp_path, "xorbs").keys() == set(used.xorbs) and not lay.list(tmp_path, "removed")


def die(*_: object) -> None:
    raise KeyboardInterrupt
