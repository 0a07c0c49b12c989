"""How near the hub comes to servers that do nothing but move bytes: `python -m tests.benchmarks.transfers [--mb N] [--write]`.

The stock client uploads and downloads one file of noise, by Xet and by plain HTTP (as git-lfs and older clients do), against
the hub (granian, as `./manage.py up` starts it), against a sink that drops what it gets, the same that writes it to disk
unread, and nginx, which sends a file from disk; then a folder of small files, and a file of which 1 MB of 300 has changed.
Rounds are interleaved in changing order, so that a busy machine is busy for all of them; read the ratios, not the seconds.
Without nginx what needs it is left out and said."""

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from tests.benchmarks.report import Row, describe_machine, median_ratio, publish, read_arguments
from tests.clients.running_hub import ROOT, RunningHub, build_environment, find_free_port, prepare_data
from tests.clients.stock_client import Machine

COMMIT = "1" * 40  # of what nginx serves
NGINX_HEAD = """
daemon off; user root; worker_processes 2; pid {folder}/pid; error_log {folder}/log;
events {{}}
http {{
  access_log off; sendfile on;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  server {{
    listen 127.0.0.1:{port};
"""  # of every nginx here; what it serves follows, and the brackets that close
NGINX = (
    NGINX_HEAD
    + """    location = /alice/big/resolve/main/noise.bin {{
      alias {file};
      add_header X-Repo-Commit {commit};
    }}
    location /api/models/alice/small/ {{
      default_type application/json;
      alias {folder}/answers/;
    }}
    location /alice/small/resolve/{commit}/ {{
      alias {small}/;
      add_header X-Repo-Commit {commit};
    }}
  }}
}}
"""
)


def make_noise(path: Path, megabytes: int) -> Path:
    with open(path, "wb") as file:
        for _ in range(megabytes):
            file.write(os.urandom(1_000_000))
    return path


def measure(process: "subprocess.Popen[bytes] | None") -> tuple[float, float]:
    """(seconds of CPU, largest resident MB of one process) of a server and its workers so far."""
    if process is None:
        return 0.0, 0.0
    listing = subprocess.run(["ps", "-eo", "pid=,pgid="], capture_output=True, text=True, check=True).stdout
    pids = [int(pid) for pid, group in (line.split() for line in listing.splitlines()) if int(group) == process.pid]
    seconds, peak = 0.0, 0.0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        seconds += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        status = Path(f"/proc/{pid}/status").read_text()
        peak = max(peak, int(status.partition("VmHWM:")[2].split()[0]) / 1000)
    return seconds, peak


def make_small_files(folder: Path, count: int) -> Path:
    folder.mkdir()
    for number in range(count):
        (folder / f"part-{number:04}.txt").write_text(f"Line {number} of the tide table\n" * 20)
    return folder


class Bench:
    def __init__(self, folder: Path, megabytes: int, stack: ExitStack, rng: random.Random, *, files: int) -> None:
        self.folder, self.megabytes, self.stack, self.rng = folder, megabytes, stack, rng
        self.small = make_small_files(folder / "small", files)
        self.files = files
        self.count = 0
        self.noise = make_noise(folder / "noise.bin", megabytes)
        prepare_data(folder / "data")
        self.hub = RunningHub(folder / "data")
        self.hub.start()
        stack.callback(self.hub.stop)
        self.sink_url, self.sink = self.start_sink()
        (folder / "written").mkdir()
        self.writer_url, self.writer = self.start_sink(SINK_FOLDER=str(folder / "written"))
        self.nginx_url = self.start_nginx() if shutil.which("nginx") else None
        self.start_peak = 0.0
        self.upload_growth: dict[int, float] = {}  # MB of an upload -> MB by which the largest process has grown since
        self.times: dict[str, list[float]] = {}
        self.cpu: dict[str, list[float]] = {}
        self.peak: dict[str, float] = {}

    def start(self, command: list[str], **settings: str) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(
            command, cwd=ROOT, env=build_environment(self.folder / "data", **settings), start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self.stack.callback(lambda: (os.killpg(process.pid, 9), process.wait()))
        return process

    def start_sink(self, **settings: str) -> tuple[str, "subprocess.Popen[bytes]"]:
        port = find_free_port()
        arguments = [
            "--interface",
            "wsgi",
            "--port",
            str(port),
            "--workers",
            "2",
            "--blocking-threads",
            "32",
            "--no-ws",
        ]
        process = self.start(
            [sys.executable, "-m", "granian", *arguments, "tests.benchmarks.sink:application"], **settings
        )
        time.sleep(3)
        return f"http://127.0.0.1:{port}", process

    def start_nginx(self) -> str:
        folder, port = self.folder / "nginx", find_free_port()
        self.write_answers(folder / "answers")
        text = NGINX.format(folder=folder, port=port, file=self.noise, commit=COMMIT, small=self.small)
        (folder / "conf").write_text(text)
        self.start(["nginx", "-c", str(folder / "conf")])
        time.sleep(1)
        return f"http://127.0.0.1:{port}"

    def write_answers(self, folder: Path) -> None:
        """What the client asks before it downloads a folder: the repository at a revision, and its tree."""
        (folder / "revision").mkdir(parents=True)
        (folder / "tree").mkdir()
        names = sorted(path.name for path in self.small.iterdir())
        size = (self.small / names[0]).stat().st_size
        known = {"id": "alice/small", "sha": COMMIT, "siblings": [{"rfilename": name} for name in names]}
        tree = [{"type": "file", "path": name, "oid": "1" * 40, "size": size} for name in names]
        (folder / "revision" / "main").write_text(json.dumps(known))
        (folder / "tree" / COMMIT).write_text(json.dumps(tree))

    def machine(self, url: str, **more: str) -> Machine:
        self.count += 1
        return Machine(self.folder / f"machine-{self.count}", url, "alice", **more)

    def upload(self, url: str, name: str, file: Path, **more: str) -> None:
        machine = self.machine(url, **more)
        machine.hf("upload", name, str(file), "noise.bin")
        shutil.rmtree(machine.folder)

    def download(self, url: str, name: str, *, megabytes: int | None = None, **more: str) -> None:
        machine = self.machine(url, **more)
        machine.hf("download", name, "noise.bin", "--local-dir", str(machine.folder / "down"))
        assert (machine.folder / "down/noise.bin").stat().st_size == (megabytes or self.megabytes) * 1_000_000
        shutil.rmtree(machine.folder)

    def time(self, name: str, act: Callable[[], None], process: "subprocess.Popen[bytes] | None" = None) -> None:
        before, started = measure(process)[0], time.monotonic()
        act()
        seconds = time.monotonic() - started
        after, peak = measure(process)
        self.times.setdefault(name, []).append(seconds)
        self.cpu.setdefault(name, []).append(after - before)
        if process is not None and process is self.hub.process:
            self.peak[name] = peak
        print(f"{name:<34} {seconds:7.1f} s   server CPU {after - before:5.1f} s   peak {peak:5.0f} MB", flush=True)

    def warm_up(self) -> None:
        """Uploads and downloads of one megabyte, so that each worker has loaded what it needs: growth counts from here."""
        first = make_noise(self.folder / "first.bin", 1)
        for more in ({}, {"HF_HUB_DISABLE_XET": "1"}) * 2:
            self.upload(self.hub.url, "alice/first", first, **more)
            self.download(self.hub.url, "alice/first", megabytes=1, **more)

    def measure_growth(self) -> None:
        """By uploads alone, each larger than the one before, before anything else is asked of the hub."""
        for megabytes in (self.megabytes // 4, self.megabytes, 2 * self.megabytes):
            file = make_noise(self.folder / "growing.bin", megabytes)
            self.upload(self.hub.url, f"alice/growing-{megabytes}", file)
            file.unlink()
            self.upload_growth[megabytes] = measure(self.hub.process)[1] - self.start_peak
            print(
                f"{f'upload of {megabytes:,} MB, Xet':<34} largest process grown by {self.upload_growth[megabytes]:.0f} MB"
            )

    def run(self, number: int) -> None:
        name, plain = f"alice/big-{number}", {"HF_HUB_DISABLE_XET": "1"}
        other = make_noise(self.folder / "other.bin", self.megabytes)
        fresh = make_noise(self.folder / "fresh.bin", self.megabytes)  # what the hub holds already is not sent again
        hub = self.hub.process
        if not self.start_peak:
            self.warm_up()
            self.start_peak = measure(hub)[1]
            self.measure_growth()
        uploads = [
            lambda: self.time("upload, Xet, sink", lambda: self.upload(self.sink_url, name, fresh), self.sink),
            lambda: self.time("upload, Xet, writer", lambda: self.upload(self.writer_url, name, fresh), self.writer),
            lambda: self.time("upload, Xet, hub", lambda: self.upload(self.hub.url, name, fresh), hub),
            lambda: self.time(
                "upload, plain, sink", lambda: self.upload(self.sink_url, name, other, **plain), self.sink
            ),
            lambda: self.time("upload, plain, hub", lambda: self.upload(self.hub.url, name + "p", other, **plain), hub),
        ]
        self.shuffle(uploads)
        downloads = [
            lambda: self.time("download, plain, hub", lambda: self.download(self.hub.url, name, **plain), hub),
            lambda: self.time("download, Xet, hub", lambda: self.download(self.hub.url, name), hub),
            lambda: self.time("GET by curl, hub", lambda: self.curl(f"{self.hub.url}/{name}"), hub),
            lambda: self.time("folder, hub", lambda: self.snapshot(self.hub.url), hub),
        ]
        if nginx := self.nginx_url:
            downloads += [
                lambda: self.time("download, plain, nginx", lambda: self.download(nginx, "alice/big", **plain)),
                lambda: self.time("GET by curl, nginx", lambda: self.curl(f"{nginx}/alice/big")),
                lambda: self.time("folder, nginx", lambda: self.snapshot(nginx)),
            ]
        self.shuffle(downloads)

    def shuffle(self, acts: list[Callable[[], None]]) -> None:
        for act in self.rng.sample(acts, len(acts)):
            act()

    def prepare_folder(self) -> None:
        machine = self.machine(self.hub.url)
        machine.hf("upload", "alice/small", str(self.small), ".")
        shutil.rmtree(machine.folder)

    def snapshot(self, url: str) -> None:
        machine = self.machine(url)
        target = machine.folder / "down"
        machine.python(f"snapshot_download('alice/small', local_dir={str(target)!r}, allow_patterns='part-*')")
        assert len(list(target.glob("part-*"))) == self.files
        shutil.rmtree(machine.folder)

    def upload_again(self, megabytes: int) -> tuple[int, int]:
        """(bytes of the first upload, of the second after 1 MB in the middle has changed) as the store has grown by them;
        from an empty cache, so that only what the hub answers can spare the client anything."""
        file = make_noise(self.folder / "changing.bin", megabytes)
        grown = []
        for _ in range(2):
            before = self.stored_bytes()
            self.upload(self.hub.url, "alice/changing", file)
            grown.append(self.stored_bytes() - before)
            with open(file, "r+b") as stream:
                stream.seek(megabytes * 500_000)
                stream.write(os.urandom(1_000_000))
        file.unlink()
        return grown[0], grown[1]

    def stored_bytes(self) -> int:
        xorbs = (self.folder / "data" / "store" / "xorbs").rglob("*")
        return sum(path.stat().st_size for path in xorbs if path.is_file())

    def curl(self, address: str) -> None:
        subprocess.run(["curl", "-sf", "-o", "/dev/null", f"{address}/resolve/main/noise.bin"], check=True)

    def compare(self, what: str, name: str, other: str, limit: float | None, named: str) -> Row:
        if other not in self.times:
            return Row(what, f"{statistics.median(self.times[name]):.2f} s", "nginx is not installed")
        ours, peer = statistics.median(self.times[name]), statistics.median(self.times[other])
        ratio = median_ratio(self.times[name], self.times[other])
        promise = {} if limit is None else {"target": f"at most {limit:.2f}", "is_met": ratio <= limit}
        return Row(what, f"{ours:.2f} s", f"{peer:.2f} s, {named}", ratio, **promise)

    def report(self, again: tuple[int, int], again_mb: int) -> list[Row]:
        size = f"{self.megabytes:,} MB"
        nginx, sink = "nginx, sendfile", "sink that only reads"
        writer = "the same that writes to disk and syncs"
        rows = [
            self.compare(f"download of {size}, plain", "download, plain, hub", "download, plain, nginx", 1.1, nginx),
            self.compare(f"download of {size}, Xet", "download, Xet, hub", "download, plain, nginx", 1.1, nginx),
            self.compare(f"GET of {size} by curl", "GET by curl, hub", "GET by curl, nginx", None, nginx),
            self.compare(
                f"snapshot_download of {self.files:,} small files", "folder, hub", "folder, nginx", 1.5, nginx
            ),
            self.compare(f"upload of {size}, Xet", "upload, Xet, hub", "upload, Xet, sink", 1.3, sink),
            self.compare(f"upload of {size}, Xet", "upload, Xet, hub", "upload, Xet, writer", None, writer),
            self.compare(f"upload of {size}, plain", "upload, plain, hub", "upload, plain, sink", None, sink),
        ]
        for name in ("upload, Xet, hub", "upload, Xet, writer", "upload, plain, hub"):
            cpu = statistics.median(self.cpu[name]) * 1000 / self.megabytes
            promise = {"target": "at most 4 s/GB", "is_met": cpu <= 4} if name == "upload, Xet, hub" else {}
            rows.append(Row(f"server CPU, {name}", f"{cpu:.1f} s/GB", **promise))
        since = "growth of the largest process of the hub since transfers of 1 MB"
        for megabytes, growth in self.upload_growth.items():
            what = f"{since}, after an upload of {megabytes:,} MB by Xet"
            rows.append(Row(what, f"{growth:.0f} MB", target="under 64 MB", is_met=growth < 64))
        all_growth = max(self.peak.values()) - self.start_peak
        rows.append(Row(f"{since}, after all rounds", f"{all_growth:.0f} MB"))
        share = again[1] / again[0]
        what = f"second upload after 1 MB of {again_mb} changed"
        rows.append(Row(what, f"{share:.2%} of the bytes", ratio=share, target="under 0.05", is_met=share < 0.05))
        return rows


def run(*, megabytes: int, again_mb: int, files: int, rounds: int, rng: random.Random) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        bench = Bench(Path(folder), megabytes, stack, rng, files=files)
        bench.prepare_folder()
        for number in range(rounds):
            bench.run(number)
        return bench.report(bench.upload_again(again_mb), again_mb)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mb", type=int, default=1000)
    parser.add_argument("--again-mb", type=int, default=300)
    parser.add_argument("--files", type=int, default=1000)
    asked = read_arguments(parser)
    machine, rng = describe_machine(), random.Random(asked.seed)
    rows = run(megabytes=asked.mb, again_mb=asked.again_mb, files=asked.files, rounds=asked.rounds, rng=rng)
    publish("Uploads and downloads", rows, machine=machine, write=asked.write)


if __name__ == "__main__":
    main()
