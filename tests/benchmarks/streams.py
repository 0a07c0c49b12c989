"""Many downloads at once behind nginx: `python -m tests.benchmarks.streams [--mb N] [--streams N] [--write]`.

The stretches of one large file, as the Xet client asks for them, by 16 readers at once: from a hub that hands them to nginx
(ACCEL_REDIRECT_PREFIX, docs/operating.md), and stretches of the same sizes of a plain file from nginx alone. What counts is
the CPU that all processes of the servers use."""

import argparse
import http.client
import os
import random
import shutil
import statistics
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import requests

from tests.benchmarks.report import Row, describe_machine, interleave, publish, read_arguments
from tests.benchmarks.transfers import NGINX_HEAD, make_noise, measure
from tests.clients.running_hub import RunningHub, find_free_port, prepare_data
from tests.clients.stock_client import Machine

NAME = "alice/streams"
BUFFER = bytearray(1024 * 1024)  # what was read is not looked at; the threads may share it
CONF = (
    NGINX_HEAD
    + """    location /stored/ {{ internal; alias {xorbs}/; }}
    location = /plain {{ alias {file}; }}
    location / {{
      proxy_pass http://127.0.0.1:{hub};
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_request_buffering off; proxy_max_temp_file_size 0; client_max_body_size 0;
    }}
  }}
}}
"""
)
Stretch = tuple[str, int, int]  # path and query, first byte, last byte


class Streams:
    def __init__(self, folder: Path, stack: ExitStack, *, megabytes: int, streams: int) -> None:
        self.streams = streams
        self.file = make_noise(folder / "noise.bin", megabytes)
        prepare_data(folder / "data")
        self.hub = RunningHub(folder / "data", ACCEL_REDIRECT_PREFIX="/stored")
        self.hub.start()
        stack.callback(self.hub.stop)
        self.port = find_free_port()
        self.nginx = self.start_nginx(folder / "nginx", stack)
        machine = Machine(folder / "machine", self.hub.url, "alice")
        machine.hf("upload", NAME, str(self.file), "noise.bin")

    def start_nginx(self, folder: Path, stack: ExitStack) -> "subprocess.Popen[bytes]":
        folder.mkdir()
        xorbs = self.hub.data_dir / "store" / "xorbs"
        text = CONF.format(folder=folder, port=self.port, xorbs=xorbs, file=self.file, hub=self.hub.port)
        (folder / "conf").write_text(text)
        process = subprocess.Popen(["nginx", "-c", str(folder / "conf")], start_new_session=True)
        stack.callback(lambda: (os.killpg(process.pid, 9), process.wait()))
        time.sleep(1)
        return process

    def plan(self) -> list[Stretch]:
        """What the Xet client would ask for, through nginx."""
        address = f"http://127.0.0.1:{self.port}"
        (entry,) = [
            item for item in self.ask(f"{address}/api/models/{NAME}/tree/main").json() if item["path"] == "noise.bin"
        ]
        token = self.ask(f"{address}/api/models/{NAME}/xet-read-token/main").json()["accessToken"]
        found = self.hub.call(
            "GET", f"{address}/xet/v1/reconstructions/{entry['xetHash']}", headers={"Authorization": f"Bearer {token}"}
        ).json()["fetch_info"]
        stretches = []
        for piece in (piece for pieces in found.values() for piece in pieces):
            parts = urlsplit(piece["url"])
            stretches.append((f"{parts.path}?{parts.query}", piece["url_range"]["start"], piece["url_range"]["end"]))
        return stretches

    def ask(self, address: str) -> requests.Response:
        return self.hub.call("GET", address, person="alice")

    def cpu_per_gb(self, stretches: list[Stretch]) -> float:
        """CPU seconds of nginx and the hub for each GB that the readers got."""
        before = measure(self.nginx)[0] + measure(self.hub.process)[0]
        with ThreadPoolExecutor(self.streams) as pool:
            sizes = list(pool.map(lambda _: self.read_all(stretches), range(self.streams)))
        used = measure(self.nginx)[0] + measure(self.hub.process)[0] - before
        return used / (sum(sizes) / 1e9)

    def read_all(self, stretches: list[Stretch]) -> int:
        connection, total = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120), 0
        for address, start, end in stretches:
            connection.request("GET", address, headers={"Range": f"bytes={start}-{end}"})
            answer = connection.getresponse()
            assert answer.status == 206 and answer.headers["Content-Length"] == str(end - start + 1), answer.status
            while count := answer.readinto(BUFFER):
                total += count
        connection.close()
        return total


def run(*, megabytes: int, streams: int, rounds: int, rng: random.Random) -> list[Row]:
    what = f"server CPU of {streams} downloads at once behind nginx"
    if not shutil.which("nginx"):
        return [Row(what, "nginx is not installed")]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        os.chmod(folder, 0o755)
        bench = Streams(Path(folder), stack, megabytes=megabytes, streams=streams)
        stretches = bench.plan()
        size = bench.file.stat().st_size
        plain = [("/plain", start, min(end, size - 1)) for _, start, end in stretches]
        acts = {
            "X-Accel": lambda: bench.cpu_per_gb(stretches),
            "nginx alone": lambda: bench.cpu_per_gb(plain),
        }
        for act in acts.values():  # caches of both workers
            act()
        found = {name: statistics.median(values) for name, values in interleave(acts, rounds, rng).items()}
        ours, peer = found["X-Accel"], max(found["nginx alone"], 0.001)
        peer_text = f"{peer:.2f} s/GB, nginx, sendfile"
        return [Row(what, f"{ours:.2f} s/GB", peer_text, ours / peer, "at most 2.00", ours / peer <= 2)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mb", type=int, default=250)
    parser.add_argument("--streams", type=int, default=16)
    asked = read_arguments(parser)
    machine, rng = describe_machine(), random.Random(asked.seed)
    rows = run(megabytes=asked.mb, streams=asked.streams, rounds=asked.rounds, rng=rng)
    publish("Many downloads behind nginx", rows, machine=machine, write=asked.write)


if __name__ == "__main__":
    main()
