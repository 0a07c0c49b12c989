"""Giving way: of the requests of a process few compute at once (hub.site.turns), so one that waits for another program lets
others compute meanwhile. Elsewhere, as in workers and commands, nothing is held and nothing happens."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Held(Protocol):
    """What a thread holds while it computes."""

    def __enter__(self) -> object: ...

    def __exit__(self, *_: object) -> None: ...


class _Own(threading.local):
    turn: Held | None = None


own = _Own()  # of this thread; hub.site.turns writes it


@contextmanager
def giving_way() -> Iterator[None]:
    """For a wait of seconds, outside of transactions. Afterwards the turn is waited for again."""
    turn = own.turn
    if turn is None:
        yield
        return
    turn.__exit__()
    try:
        yield
    finally:
        turn.__enter__()
