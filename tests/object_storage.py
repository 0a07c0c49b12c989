"""An S3 server of a test's own: OpenStack Swift with its S3 door, everything in one folder, gone afterwards."""

import contextlib
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test:tester", "AWS_SECRET_ACCESS_KEY": "testing"}
BUCKET = "model-commons"
LAUNCHER = Path(__file__).with_name("swift_launcher.py")
SYSTEM_PYTHON = "/usr/bin/python3"  # Debian's Swift belongs to it
BACKENDS = ("account", "container", "object")
START_S = 60

COMMON = """[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
user = {user}
swift_dir = {folder}
devices = {folder}
mount_check = false
disable_fallocate = true
log_level = WARNING
eventlet_debug = false
"""
BACKEND = """
[pipeline:main]
pipeline = {name}-server
[app:{name}-server]
use = egg:swift#{name}
"""
PROXY = """
[pipeline:main]
pipeline = catch_errors gatekeeper healthcheck listing_formats memory bulk s3api tempauth copy slo proxy-server
[app:proxy-server]
use = egg:swift#proxy
allow_account_management = true
account_autocreate = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:gatekeeper]
use = egg:swift#gatekeeper
[filter:healthcheck]
use = egg:swift#healthcheck
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:memory]
paste.filter_factory = __main__:remember
[filter:bulk]
use = egg:swift#bulk
[filter:copy]
use = egg:swift#copy
[filter:slo]
use = egg:swift#slo
[filter:s3api]
use = egg:swift#s3api
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin
"""


class ObjectStorage:
    """Four processes of Swift on loopback ports. `kill` takes it down at once; `start` brings it back with its data."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = dict(zip((*BACKENDS, "proxy"), find_free_ports(4), strict=True))
        self.url = f"http://127.0.0.1:{self.ports['proxy']}"
        self._processes: list[subprocess.Popen[bytes]] = []
        self._configure()

    def _configure(self) -> None:
        (self.folder / "disk").mkdir(parents=True)
        (self.folder / "swift.conf").write_text("[swift-hash]\nswift_hash_path_suffix = a test's own\n")
        user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
        for name, port in self.ports.items():
            text = COMMON.format(port=port, folder=self.folder, user=user)
            text += PROXY if name == "proxy" else BACKEND.format(name=name)
            (self.folder / f"{name}.conf").write_text(text)
        ports = [f"{name}={self.ports[name]}" for name in BACKENDS]
        subprocess.run(self._command("rings", *ports), env=own_environment(), check=True)

    def start(self) -> None:
        """Returns when it answers."""
        with open(self.folder / "log", "ab") as log:
            for name in self.ports:
                self._processes.append(
                    subprocess.Popen(
                        self._command("serve", name),
                        env=own_environment(),
                        stdout=log,
                        stderr=log,
                        stdin=subprocess.DEVNULL,
                        start_new_session=True,
                    )  # fmt: skip
                )
        deadline = time.monotonic() + START_S
        for port in self.ports.values():
            while not is_listening(port):
                assert time.monotonic() < deadline, self.read_log()
                assert all(process.poll() is None for process in self._processes), self.read_log()
                time.sleep(0.05)
        urllib.request.urlopen(f"{self.url}/healthcheck", timeout=START_S).close()

    def kill(self) -> None:
        processes, self._processes = self._processes, []
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def store_url(self, prefix: str = "hub") -> str:
        """STORE_URL of a hub in this storage."""
        return f"s3://{BUCKET}/{prefix}?endpoint={self.url}"

    def make_bucket(self) -> None:
        from botocore.session import get_session

        keys = {"aws_access_key_id": CREDENTIALS["AWS_ACCESS_KEY_ID"]}
        keys |= {"aws_secret_access_key": CREDENTIALS["AWS_SECRET_ACCESS_KEY"]}
        client = get_session().create_client("s3", region_name="us-east-1", endpoint_url=self.url, **keys)
        client.create_bucket(Bucket=BUCKET)

    def read_log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")[-3000:]

    def _command(self, action: str, *words: str) -> list[str]:
        return [SYSTEM_PYTHON, "-I", str(LAUNCHER), action, str(self.folder), *words]


@contextmanager
def running_storage(folder: Path) -> Iterator[ObjectStorage]:
    storage = ObjectStorage(folder)
    try:
        storage.start()
        storage.make_bucket()
        yield storage
    finally:
        storage.kill()


def own_environment() -> dict[str, str]:
    """Without what leads the system's Python to our own packages."""
    return {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}


def find_free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
