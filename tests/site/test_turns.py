"""Few requests of a process compute at once; who waits for another program is none of them."""

import threading
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from hub.common import waiting
from hub.site.turns import take_turns


class Turn:
    is_held = True

    def __enter__(self) -> None:
        self.is_held = True

    def __exit__(self, *_: object) -> None:
        self.is_held = False


def test_who_waits_for_another_program_lets_others_compute() -> None:
    has_come = threading.Event()

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/quick":
            has_come.set()
            return [b"quick"]
        with waiting.giving_way():
            return [b"met" if has_come.wait(5) else b"alone"]

    call = take_turns(application, turns=1, downloads=1)
    answers: list[Any] = []
    slow = threading.Thread(target=lambda: answers.append(call({"PATH_INFO": "/slow", "wsgi.input": None}, None)))
    slow.start()
    assert call({"PATH_INFO": "/quick", "wsgi.input": None}, None) == [b"quick"]
    slow.join()
    assert answers == [[b"met"]]
    assert call({"PATH_INFO": "/quick", "wsgi.input": None}, None) == [b"quick"]  # the turn was given back once


def test_a_look_at_data_holds_no_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four looks of 25 seconds by one person kept everybody else waiting."""
    from training.drafting import previews

    turn = Turn()
    held: list[bool] = []

    def run(*_: Any, **__: Any) -> CompletedProcess[str]:
        held.append(turn.is_held)
        return CompletedProcess([], 0, stdout='{}\n{"rows": 3}\n')

    monkeypatch.setattr(previews.subprocess, "run", run)
    monkeypatch.setattr(waiting.own, "turn", turn)
    assert previews.run_program(tmp_path, {}) == {"rows": 3}
    assert (held, turn.is_held) == ([False], True)


@pytest.mark.django_db
def test_a_push_holds_no_turn_while_git_unpacks_it(alice: Any, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pack of half a megabyte unfolds to hundreds, and git may take half an hour for it."""
    from hub.storage.errors import TooLarge
    from hub.storage.git.packets import FLUSH, format_packet
    from hub.storage.git.quarantine import Quarantine
    from tests.hub.scenes import make_repo

    make_repo(alice.user, "tides")
    turn = Turn()
    held: list[bool] = []

    def unpack(*_: Any, **__: Any) -> None:
        held.append(turn.is_held)
        raise TooLarge("Enough.")

    monkeypatch.setattr(Quarantine, "unpack", unpack)
    monkeypatch.setattr(waiting.own, "turn", turn)
    command = f"{'0' * 40} {'a' * 40} refs/heads/b\0report-status".encode()
    answer = client.post(
        "/datasets/alice/tides.git/git-receive-pack",
        format_packet(command) + FLUSH + b"PACK",
        content_type="application/x-git-receive-pack-request",
        HTTP_AUTHORIZATION=f"Bearer {alice.token}",
    )
    assert answer.status_code == 200 and b"Enough." in answer.content
    assert (held, turn.is_held) == ([False], True)
