"""The first `./manage.py up` of a person: a community is there, and its proposal gets ready for review without help.
Slow: a real model of 135 million parameters is trained."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from hub.site.bootstrap import processes
from hub.site.bootstrap.requirements import CHECKOUT
from hub.site.bootstrap.setup_progress import read_json
from hub.site.demo.line import clean_environment, free_port
from hub.site.demo.people import ADA, ASSISTANT, ORGANIZATION

pytestmark = pytest.mark.slow
SITE_S = 180
SEEDING_S = 300  # with the weights fetched and converted
CHECKS_S = 1500  # some minutes on two cores of one's own
STOP_S = 20


class Visit:
    """`./manage.py up` in a terminal, and a browser beside it."""

    def __init__(self, folder: Path) -> None:
        self.data_dir, self.terminal = folder / "data", folder / "terminal.log"
        self.address = f"http://127.0.0.1:{free_port()}"
        command = [sys.executable, "manage.py", "up", "--port", self.address.rpartition(":")[2]]
        with self.terminal.open("w") as output:
            self.process = subprocess.Popen(
                [*command, "--data-dir", str(self.data_dir)],
                cwd=CHECKOUT,
                env=clean_environment(),
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.browser = requests.Session()
        self.browser.trust_env = False  # no proxy knows this machine

    def wait_for(self, condition: Callable[[], Any], limit_s: float, what: str) -> Any:
        deadline = time.monotonic() + limit_s
        while not (found := condition()):
            assert self.process.poll() is None, self.terminal.read_text()
            assert time.monotonic() < deadline, (
                f"{what} did not come within {limit_s:.0f} s; {self.terminal.read_text()}"
            )
            time.sleep(1)
        return found

    def opens(self) -> bool:
        try:
            return self.browser.get(self.address, timeout=10).status_code == 200
        except requests.RequestException:
            return False

    def sign_in(self, name: str) -> None:
        """With the password that the terminal printed."""
        [row] = [line.split() for line in self.terminal.read_text().splitlines() if line.split()[:1] == [name]]
        self.browser.get(f"{self.address}/login", timeout=30)
        fields = {"username": name, "password": row[row.index("password") + 1]}
        fields["csrfmiddlewaretoken"] = self.browser.cookies["model_commons_csrf"]
        answer = self.browser.post(f"{self.address}/login", data=fields, timeout=30, allow_redirects=False)
        assert answer.status_code == 302, answer.text

    def read(self, path: str) -> Any:
        """JSON of an address, None while it is not there."""
        answer = self.browser.get(f"{self.address}/{path}", timeout=60)
        if answer.status_code == 404:
            return None
        assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text[:500]}"
        return answer.json()


@pytest.fixture
def visit(tmp_path: Path) -> Iterator[Visit]:
    visit = Visit(tmp_path)
    yield visit
    if visit.process.poll() is None:
        visit.process.send_signal(signal.SIGINT)
        visit.process.wait(STOP_S)


def test_the_demo_proposal_gets_ready_for_review_with_no_help(visit: Visit) -> None:
    visit.wait_for(visit.opens, SITE_S, "The first page")
    visit.wait_for(lambda: "password" in visit.terminal.read_text(), SEEDING_S, "How to sign in")
    visit.sign_in(ADA.name)
    pulls = f"api/v1/repos/models/{ORGANIZATION}/{ASSISTANT}/pulls"
    [proposal] = visit.wait_for(lambda: visit.read(pulls), SEEDING_S, "The proposal")
    address = f"{pulls}/{proposal['number']}"
    pull = visit.wait_for(lambda: ready_for_review(visit.read(address)), CHECKS_S, "The end of the checks")
    assert {check["name"] for check in pull["checks"]} >= {"prepare", "train", "evaluate", "screen"}
    lock = visit.read(f"{ORGANIZATION}/{ASSISTANT}/resolve/{pull['candidate']}/recipe.lock")
    assert lock["endpoint"] == visit.address  # so that its inputs can be fetched as the page says

    everything = {visit.process.pid, *processes.descendants(visit.process.pid)}
    assert set((read_json(visit.data_dir / "hub.json") or {})["children"].values()) < everything
    visit.process.send_signal(signal.SIGINT)
    assert visit.process.wait(STOP_S) == 0
    assert not everything & set(processes._parents())


def ready_for_review(pull: dict[str, Any]) -> dict[str, Any] | None:
    """The pull request when it needs nothing but an approval. A check that will not pass by itself ends the test."""
    for check in pull["checks"]:
        stuck = check["state"] in ("failed", "cancelled", "held")
        assert not stuck, f"The check {check['name']!r} is {check['state']}: {check['summary']} {json.dumps(pull)}"
    waiting = [check for check in pull["checks"] if check["state"] != "passed"]
    blocked = [reason for reason in pull["unmet"] if "approval" not in reason]
    return None if waiting or blocked or not pull["checks"] else pull
