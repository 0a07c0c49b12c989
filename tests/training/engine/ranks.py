"""Two ranks of one run on this machine, as torchrun would start them, forked from a process that has loaded torch once."""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import sys
from pathlib import Path
from typing import Any

from tests.training.engine.tiny_models import Bench


def run_ranks(bench: Bench, out: str, *more: str, count: int = 2) -> tuple[list[int], list[list[dict[str, Any]]]]:
    """Exit codes and events of each rank."""
    forks = multiprocessing.get_context("forkserver")
    forks.set_forkserver_preload(["tests.training.engine.ranks_loaded"])
    said = [bench.folder / f"{out}.rank{rank}.jsonl" for rank in range(count)]
    port = str(find_free_port())
    ranks = [
        forks.Process(target=run_rank, args=(rank, count, port, bench.arguments(out, *more), said[rank]), daemon=True)
        for rank in range(count)
    ]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(timeout=120)
    waiting = [process for process in ranks if process.exitcode is None]
    for process in waiting:
        process.kill()
    assert not waiting, "a rank waits for ever"
    events = [[json.loads(line) for line in path.read_text().splitlines()] for path in said]
    return [process.exitcode or 0 for process in ranks], events


def run_rank(rank: int, count: int, port: str, arguments: list[str], said: Path) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "ENGINE_THREADS": "1"}
    from training.engine import events, run

    sys.stdout = said.open("w", encoding="utf-8")
    sys.exit(events.report_failures(lambda: run.main(arguments)))


def find_free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])
