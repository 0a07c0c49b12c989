"""One bucket of an S3-compatible storage: the few requests that the byte store makes, and what their failures mean.

botocore is an optional package, imported with the first request: a store on disk never loads it. Credentials come from
where AWS's own tools look (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, a machine's role)."""

import base64
import hashlib
import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from hub.storage.errors import StoreUnavailable

CONNECT_TIMEOUT_S = 5
READ_TIMEOUT_S = 20
ATTEMPTS = 3  # of each request, with pauses that grow; about 3 s in all where nobody answers
PAUSE_S = 2.0  # nothing is asked after a request that nobody answered: no thread shall wait for what is away
_CONNECTIONS = 64  # kept open, of one process
AWAY = "The storage of large files does not answer at the moment; nothing is lost, try again in a moment."

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BucketPlace:
    """Where a bucket is."""

    bucket: str
    prefix: str = ""  # "" or ends with a slash
    endpoint: str | None = None  # None: AWS itself
    region: str | None = None  # None: what AWS's variables and files say


def parse_store_url(text: str) -> BucketPlace:
    """`s3://bucket/prefix?endpoint=http://host:port&region=name`. Raises ValueError with half a sentence."""
    url = urlsplit(text)
    options = dict(parse_qsl(url.query))
    if url.scheme != "s3" or not url.netloc:
        raise ValueError("it begins with s3://, then the bucket")
    if unknown := sorted(set(options) - {"endpoint", "region"}):
        raise ValueError(f"it has an option {unknown[0]!r}; there are endpoint and region")
    endpoint = options.get("endpoint")
    if endpoint is not None and (urlsplit(endpoint).scheme not in ("http", "https") or not urlsplit(endpoint).netloc):
        raise ValueError("its endpoint is an address with http:// or https://")
    prefix = url.path.strip("/")
    return BucketPlace(url.netloc, f"{prefix}/" if prefix else "", endpoint, options.get("region"))


@dataclass(frozen=True)
class Listed:
    """An object as HEAD and a listing tell of it."""

    key: str  # without the prefix of the bucket
    size: int  # bytes
    etag: str
    modified: float  # Unix time of the storage's own clock, in whole seconds


class Stream:
    """The bytes of one request, read from front to back."""

    def __init__(self, body: Any, size: int) -> None:
        self._body = body
        self.size = size

    def read(self, count: int) -> bytes:
        """`count` bytes. Raises StoreUnavailable, also when the answer ends early."""
        with _speaking():
            data: bytes = self._body.read(count)
        if len(data) != count:
            raise StoreUnavailable(AWAY)
        return data

    def close(self) -> None:
        self._body.close()


class Bucket:
    """Safe between threads and forks. Everything raises StoreUnavailable while the storage is away or refuses us, and
    FileNotFoundError for an object that is not there."""

    def __init__(self, place: BucketPlace) -> None:
        self._place = place
        self._guard = threading.Lock()
        self._client: tuple[int, Any] | None = None
        self._is_checked = False
        self._away_until = 0.0  # monotonic time
        self._knows_conditions = True  # some servers refuse a PUT with If-None-Match

    def head(self, key: str) -> Listed | None:
        try:
            with self._request() as client:
                answer = client.head_object(**self._name(key))
        except FileNotFoundError:
            return None
        return Listed(key, answer["ContentLength"], answer["ETag"], _unix_time(answer["LastModified"]))

    def get(self, key: str) -> bytes:
        """A small object."""
        with self._request() as client:
            answer = client.get_object(**self._name(key))
        return Stream(answer["Body"], answer["ContentLength"]).read(answer["ContentLength"])

    def stream(self, key: str, start: int, end: int, etag: str) -> Stream:
        """The bytes [start, end) of the object with this ETag; StoreUnavailable if it has another one now."""
        with self._request() as client:
            answer = client.get_object(**self._name(key), Range=f"bytes={start}-{end - 1}", IfMatch=etag)
        return Stream(answer["Body"], answer["ContentLength"])

    def put(self, key: str, content: bytes) -> None:
        digest = base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()
        with self._request() as client:
            client.put_object(**self._name(key), Body=content, ContentMD5=digest)

    def put_new(self, key: str, path: Path) -> bool:
        """Store a file. False if the key was taken, as far as this server lets us know."""
        with open(path, "rb") as file:
            digest = base64.b64encode(hashlib.file_digest(file, "md5").digest()).decode()
            while True:
                file.seek(0)
                condition = {"IfNoneMatch": "*"} if self._knows_conditions else {}
                try:
                    with self._request() as client:
                        client.put_object(**self._name(key), Body=file, ContentMD5=digest, **condition)
                    return True
                except FileExistsError:
                    return False
                except _NotOffered:
                    self._knows_conditions = False

    def copy(self, key: str, to: str) -> None:
        """Within the bucket; the storage moves the bytes itself."""
        with self._request() as client:
            client.copy_object(**self._name(to), CopySource={"Bucket": self._place.bucket, "Key": self._key(key)})

    def delete(self, key: str) -> None:
        """Not an error if it is not there."""
        with self._request() as client:
            client.delete_object(**self._name(key))

    def list(self, prefix: str) -> Iterator[Listed]:
        more: dict[str, str] = {}
        while True:
            with self._request() as client:
                answer = client.list_objects_v2(Bucket=self._place.bucket, Prefix=self._key(prefix), **more)
            for found in answer.get("Contents", ()):
                key = found["Key"].removeprefix(self._place.prefix)
                yield Listed(key, found["Size"], found["ETag"], _unix_time(found["LastModified"]))
            if not answer.get("IsTruncated"):
                return
            more = {"ContinuationToken": answer["NextContinuationToken"]}

    def _key(self, key: str) -> str:
        return self._place.prefix + key

    def _name(self, key: str) -> dict[str, str]:
        return {"Bucket": self._place.bucket, "Key": self._key(key)}

    @contextmanager
    def _request(self) -> Iterator[Any]:
        if time.monotonic() < self._away_until:
            raise StoreUnavailable(AWAY)
        try:
            with _speaking():
                client = self._connect()
                if not self._is_checked:
                    # Whatever is asked for in a bucket that is not there would look like what was never stored.
                    client.head_bucket(Bucket=self._place.bucket)
                    self._is_checked = True
                yield client
        except _Silent:
            self._away_until = time.monotonic() + PAUSE_S
            raise

    def _connect(self) -> Any:
        """The client of this process; its connections do not survive a fork."""
        known = self._client
        if known is not None and known[0] == os.getpid():
            return known[1]
        with self._guard:
            if self._client is None or self._client[0] != os.getpid():
                self._client = (os.getpid(), _make_client(self._place))
            return self._client[1]


class _Silent(StoreUnavailable):
    """Nobody answered at all."""


class _NotOffered(Exception):
    """The server does not know this kind of request."""


def _make_client(place: BucketPlace) -> Any:
    from botocore.config import Config
    from botocore.session import get_session

    session = get_session()
    config = Config(
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=READ_TIMEOUT_S,
        max_pool_connections=_CONNECTIONS,
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        # Only AWS itself is sure to have a host name for each bucket, and to know the newer checksums; ours is MD5.
        s3={"addressing_style": "auto" if place.endpoint is None else "path"},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    region = place.region or session.get_config_variable("region") or "us-east-1"
    return session.create_client("s3", region_name=region, endpoint_url=place.endpoint, config=config)


@contextmanager
def _speaking() -> Iterator[None]:
    """Turns what botocore and its connections raise into our words."""
    from botocore.exceptions import BotoCoreError, ClientError
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code in ("404", "NoSuchKey") and error.operation_name != "HeadBucket":
            raise FileNotFoundError(error.operation_name) from None
        if code in ("412", "PreconditionFailed") and error.operation_name == "PutObject":
            raise FileExistsError from None
        if code in ("501", "NotImplemented") and error.operation_name == "PutObject":
            raise _NotOffered from error
        log.error("The object storage refused %s: %s", error.operation_name, error)
        raise StoreUnavailable(AWAY) from error
    except (BotoCoreError, HTTPError, OSError) as error:
        if isinstance(error, FileNotFoundError | FileExistsError):
            raise
        log.error("The object storage does not answer: %s", error)
        raise _Silent(AWAY) from error


def _unix_time(moment: datetime) -> float:
    return moment.timestamp()
