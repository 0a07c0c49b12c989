"""A second process, and threads that begin together, on the database and data folder of the running test."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

PRELUDE = """\
import os
from django.conf import settings
settings.DATABASES["default"]["NAME"] = os.environ["TEST_DATABASE"]
import django
django.setup()
"""


def start_beside(code: str, *arguments: str) -> "subprocess.Popen[str]":
    """`python -c code` with Django set up on the database of this test; needs a transactional test."""
    from django.conf import settings
    from django.db import connection

    environment = os.environ | {
        "DATA_DIR": str(settings.DATA_DIR),
        "TEST_DATABASE": str(connection.settings_dict["NAME"]),
        "DJANGO_SETTINGS_MODULE": "hub.site.settings",
        "CELERY_BROKER_URL": "memory://",
    }
    return subprocess.Popen(
        [sys.executable, "-c", PRELUDE + code, *arguments],
        env=environment,
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_beside(code: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    process = start_beside(code, *arguments)
    out, err = process.communicate(timeout=60)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def run_command(*words: str) -> "subprocess.CompletedProcess[str]":
    """A management command in a process of its own, while this one goes on using the database."""
    return run_beside(
        "import sys; from django.core.management import execute_from_command_line as go; go(sys.argv)", *words
    )


def at_once(*tasks: Callable[[], Any]) -> list[Any]:
    """Run the tasks in threads that begin together; results in order, where a task raised its exception."""
    results: list[Any] = [None] * len(tasks)
    barrier = threading.Barrier(len(tasks))

    def run(number: int, task: Callable[[], Any]) -> None:
        from django.db import connections

        try:
            barrier.wait(timeout=30)
            results[number] = task()
        except Exception as problem:
            results[number] = problem
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(tasks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    return results
