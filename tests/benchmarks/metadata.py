"""Metadata of repositories in a hub of 100,000: `python -m tests.benchmarks.metadata [--repos N] [--seconds S] [--write]`.

Closed loop: requests for each second of the server's CPU, signed in, against a Gogs with pooled connections on PostgreSQL
that gave 459 (one repository) and 365 (a list of 20) requests a second on two cores. Its CPU was not recorded: a closed
loop keeps both cores busy, so half of that for each second of a core is taken; the whole figure is said beside it, as if
Gogs, its PostgreSQL and its client had needed one core only. Open loop: requests come at a fixed rate, whatever the answers do, and a
latency counts from when the request was due."""

import argparse
import http.client
import random
import statistics
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.benchmarks.report import Row, describe_machine, publish, read_arguments, under
from tests.benchmarks.transfers import measure
from tests.clients.running_hub import TOKENS, RunningHub, prepare_data

OPENED = 20  # repositories with git folders; the others are rows
GOGS = {"one repository": 459.0, "list of 20": 365.0}  # requests/s
CLIENTS = 4
FILL = """
import random
from hub.accounts.models import User
from hub.repos.models import Repo
owner = User.objects.get(username="bob")
rng = random.Random(1)
rows = [
    Repo(type="model", name=f"row-{number}", owner_user=owner, likes=rng.randrange(1000), downloads=rng.randrange(10**6),
         tags=["pytorch", f"language:{rng.choice(['de', 'en', 'fr'])}"], head="1" * 40, public_head="1" * 40)
    for number in range(COUNT)
]
Repo.objects.bulk_create(rows, batch_size=2000)
"""


class Client:
    """One kept connection for each thread."""

    def __init__(self, port: int) -> None:
        self.port, self.kept = port, threading.local()
        self.headers = {"Authorization": f"Bearer {TOKENS['alice']}"}

    def get(self, path: str) -> None:
        connection = getattr(self.kept, "connection", None)
        if connection is None:
            connection = self.kept.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", path, headers=self.headers)
        response = connection.getresponse()
        body = response.read()
        assert response.status == 200, body[:300]


def fill(hub: RunningHub, count: int) -> list[str]:
    """Addresses of the repositories that have files."""
    hub.run(FILL.replace("COUNT", str(count)))
    config = '{"architectures": ["LlamaForCausalLM"], "model_type": "llama"}'
    for number in range(OPENED):
        name = f"opened-{number}"
        made = hub.call("POST", "/api/repos/create", person="alice", json={"name": name, "type": "model"})
        assert made.status_code == 200, made.text
        files = {"README.md": "---\nlicense: mit\n---\n# A model\n", "config.json": config}
        lines = [
            {"key": "file", "value": {"path": path, "content": text, "encoding": "utf-8"}}
            for path, text in files.items()
        ]
        done = hub.commit(f"/api/models/alice/{name}/commit/main", *lines)
        assert done.status_code == 200, done.text
    return [f"/api/models/alice/opened-{number}" for number in range(OPENED)]


def work_per_cpu_second(hub: RunningHub, paths: list[str], seconds: float) -> float:
    client, stop, counts = Client(hub.port), time.monotonic() + seconds, [0] * CLIENTS
    before = measure(hub.process)[0]

    def ask(thread: int) -> None:
        rng = random.Random(thread)
        while time.monotonic() < stop:
            client.get(rng.choice(paths))
            counts[thread] += 1

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(ask, range(CLIENTS)))
    return sum(counts) / max(measure(hub.process)[0] - before, 0.01)


def latencies(hub: RunningHub, paths: list[str], *, rate: float, seconds: float, rng: random.Random) -> list[float]:
    """Milliseconds from when each request was due until it was answered."""
    client, due, at = Client(hub.port), [], 0.2
    while at < seconds + 0.2:
        due.append(at)
        at += rng.expovariate(rate)
    began = time.monotonic()

    def ask(moment: float) -> float:
        time.sleep(max(0.0, began + moment - time.monotonic()))
        client.get(rng.choice(paths))
        return (time.monotonic() - began - moment) * 1000

    with ThreadPoolExecutor(64) as pool:
        return list(pool.map(ask, due))


def run(*, repos: int, seconds: float, rounds: int, rate: float, rng: random.Random) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        prepare_data(Path(folder) / "data")
        hub = RunningHub(Path(folder) / "data")
        hub.start()
        try:
            return compare(hub, fill(hub, repos), seconds=seconds, rounds=rounds, rate=rate, rng=rng)
        finally:
            hub.stop()


def compare(
    hub: RunningHub, one: list[str], *, seconds: float, rounds: int, rate: float, rng: random.Random
) -> list[Row]:
    paths = {"one repository": one, "list of 20": ["/api/models?limit=20"]}
    work_per_cpu_second(hub, [*one, *paths["list of 20"]], 2.0)  # caches of both workers
    found: dict[str, list[float]] = {name: [] for name in paths}
    waits: list[list[float]] = []
    for _ in range(rounds):
        for name in rng.sample(sorted(paths), len(paths)):
            found[name].append(work_per_cpu_second(hub, paths[name], seconds))
            print(f"  {name:<20} {found[name][-1]:8.0f} requests for each CPU second", flush=True)
        waits.append(latencies(hub, one, rate=rate, seconds=seconds, rng=rng))
    rows = []
    for name, values in found.items():
        ratio = statistics.median(values) / (GOGS[name] / 2)
        ours = f"{statistics.median(values):.0f} requests/CPU s"
        peer = f"pooled Gogs, {GOGS[name]:.0f} requests/s on two cores ({ratio / 2:.2f} if it used one)"
        rows.append(Row(f"metadata, {name}, signed in", ours, peer, ratio, "at least 2.00", ratio >= 2))
    halves = [statistics.quantiles(values, n=100) for values in waits]
    offered = f"metadata at {rate:g} requests/s offered"
    rows.append(under(f"{offered}, p50", statistics.median(cuts[49] for cuts in halves), 8, "ms"))
    rows.append(under(f"{offered}, p99", statistics.median(cuts[98] for cuts in halves), 40, "ms"))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repos", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    parser.add_argument("--rate", type=float, default=200.0)
    asked = read_arguments(parser)
    machine, rng = describe_machine(), random.Random(asked.seed)
    rows = run(repos=asked.repos, seconds=asked.seconds, rounds=asked.rounds, rate=asked.rate, rng=rng)
    publish("Metadata of repositories", rows, machine=machine, write=asked.write)


if __name__ == "__main__":
    main()
