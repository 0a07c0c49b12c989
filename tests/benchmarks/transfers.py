"""How near the hub comes to servers that do nothing but move bytes: `python -m tests.benchmarks.transfers [--mb 1000]`.

The stock client uploads and downloads one file of noise, by Xet and by plain HTTP, against the hub (granian, as
`./manage.py up` starts it), against a sink that drops what it gets, and against nginx, which sends a file from disk.
Rounds are interleaved, so that a busy machine is busy for all of them; read the ratios, not the seconds."""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from tests.clients.running_hub import ROOT, RunningHub, build_environment, find_free_port, prepare_data
from tests.clients.stock_client import Machine

NGINX = """
daemon off; user root; worker_processes 2; pid {folder}/pid; error_log {folder}/log;
events {{}}
http {{
  access_log off; sendfile on;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  server {{
    listen 127.0.0.1:{port};
    location = /alice/big/resolve/main/noise.bin {{
      alias {file};
      add_header X-Repo-Commit {commit};
    }}
  }}
}}
"""


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


class Bench:
    def __init__(self, folder: Path, megabytes: int, stack: ExitStack) -> None:
        self.folder, self.megabytes, self.stack = folder, megabytes, stack
        self.count = 0
        self.noise = make_noise(folder / "noise.bin", megabytes)
        prepare_data(folder / "data")
        self.hub = RunningHub(folder / "data")
        self.hub.start()
        stack.callback(self.hub.stop)
        self.sink_url, self.sink = self.start_sink()
        self.nginx_url = self.start_nginx()
        self.times: dict[str, list[float]] = {}
        self.cpu: dict[str, list[float]] = {}
        self.peak: dict[str, float] = {}

    def start(self, command: list[str]) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(
            command, cwd=ROOT, env=build_environment(self.folder / "data"), start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self.stack.callback(lambda: (os.killpg(process.pid, 9), process.wait()))
        return process

    def start_sink(self) -> tuple[str, "subprocess.Popen[bytes]"]:
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
        process = self.start([sys.executable, "-m", "granian", *arguments, "tests.benchmarks.sink:application"])
        time.sleep(3)
        return f"http://127.0.0.1:{port}", process

    def start_nginx(self) -> str:
        folder, port = self.folder / "nginx", find_free_port()
        folder.mkdir()
        text = NGINX.format(folder=folder, port=port, file=self.noise, commit="1" * 40)
        (folder / "conf").write_text(text)
        self.start(["nginx", "-c", str(folder / "conf")])
        time.sleep(1)
        return f"http://127.0.0.1:{port}"

    def machine(self, url: str, **more: str) -> Machine:
        self.count += 1
        return Machine(self.folder / f"machine-{self.count}", url, "alice", **more)

    def upload(self, url: str, name: str, file: Path, **more: str) -> None:
        machine = self.machine(url, **more)
        machine.hf("upload", name, str(file), "noise.bin")
        shutil.rmtree(machine.folder)

    def download(self, url: str, name: str, **more: str) -> None:
        machine = self.machine(url, **more)
        machine.hf("download", name, "noise.bin", "--local-dir", str(machine.folder / "down"))
        assert (machine.folder / "down/noise.bin").stat().st_size == self.megabytes * 1_000_000
        shutil.rmtree(machine.folder)

    def time(self, name: str, act: Callable[[], None], process: "subprocess.Popen[bytes] | None" = None) -> None:
        before, started = measure(process)[0], time.monotonic()
        act()
        seconds = time.monotonic() - started
        after, peak = measure(process)
        self.times.setdefault(name, []).append(seconds)
        self.cpu.setdefault(name, []).append(after - before)
        self.peak[name] = peak
        print(f"{name:<34} {seconds:7.1f} s   server CPU {after - before:5.1f} s   peak {peak:5.0f} MB", flush=True)

    def run(self, number: int) -> None:
        name, plain = f"alice/big-{number}", {"HF_HUB_DISABLE_XET": "1"}
        other = make_noise(self.folder / "other.bin", self.megabytes)
        fresh = make_noise(self.folder / "fresh.bin", self.megabytes)  # what the hub holds already is not sent again
        hub = self.hub.process
        self.time("upload, Xet, sink", lambda: self.upload(self.sink_url, name, fresh), self.sink)
        self.time("upload, Xet, hub", lambda: self.upload(self.hub.url, name, fresh), hub)
        self.time("upload, plain, sink", lambda: self.upload(self.sink_url, name, other, **plain), self.sink)
        self.time("upload, plain, hub", lambda: self.upload(self.hub.url, name + "p", other, **plain), hub)
        self.time("download, plain, nginx", lambda: self.download(self.nginx_url, "alice/big", **plain))
        self.time("download, plain, hub", lambda: self.download(self.hub.url, name, **plain), hub)
        self.time("download, Xet, hub", lambda: self.download(self.hub.url, name), hub)
        self.time("GET by curl, nginx", lambda: self.curl(f"{self.nginx_url}/alice/big"))
        self.time("GET by curl, hub", lambda: self.curl(f"{self.hub.url}/{name}"), hub)

    def curl(self, address: str) -> None:
        subprocess.run(["curl", "-sf", "-o", "/dev/null", f"{address}/resolve/main/noise.bin"], check=True)

    def report(self) -> str:
        pairs = [
            ("upload, Xet, hub", "upload, Xet, sink"), ("upload, plain, hub", "upload, plain, sink"),
            ("download, plain, hub", "download, plain, nginx"), ("download, Xet, hub", "download, plain, nginx"),
            ("GET by curl, hub", "GET by curl, nginx"),
        ]  # fmt: skip
        lines = [
            "| what | against | time, ratio (range) | server CPU s/GB | peak MB of a process |",
            "|---|---|---|---|---|",
        ]
        for name, other in pairs:
            ratios = [a / b for a, b in zip(self.times[name], self.times[other], strict=True)]
            cpu = statistics.median(self.cpu[name]) * 1000 / self.megabytes
            spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            lines.append(f"| {name} | {other.rpartition(', ')[2]} | {spread} | {cpu:.1f} | {self.peak[name]:.0f} |")
        return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mb", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        bench = Bench(Path(folder), asked.mb, stack)
        for number in range(asked.rounds):
            bench.run(number)
        print(bench.report())


if __name__ == "__main__":
    main()
