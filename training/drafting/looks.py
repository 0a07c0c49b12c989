"""Looking at data costs seconds of a processor, so one person may have a few looks under way, and so many seconds of them
within ten minutes. Counted by each process of the site for itself; what is remembered from before costs nothing."""

import contextlib
import threading
import time
from collections import defaultdict
from collections.abc import Iterator

AT_ONCE = 2
WINDOW_S = 600.0
MOST_S = 150.0  # of the window


class Impatient(Exception):
    """One sentence that says how to go on."""


class Looks:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way: defaultdict[int, int] = defaultdict(int)
        self._spent: defaultdict[int, list[tuple[float, float]]] = defaultdict(list)  # (when it ended, seconds)

    @contextlib.contextmanager
    def take(self, person: int) -> Iterator[None]:
        """Raises Impatient instead of starting one look too many of `person`, a primary key (0: nobody)."""
        began = time.monotonic()
        with self._lock:
            self._forget(began - WINDOW_S)
            if self._under_way[person] >= AT_ONCE:
                raise Impatient(f"{AT_ONCE} datasets are being looked at for you already; look again in a moment.")
            if sum(seconds for _, seconds in self._spent[person]) >= MOST_S:
                raise Impatient(
                    "You have looked at a lot of data within ten minutes; wait a few minutes, then look again. "
                    "You can propose without it: the rows are checked then, too."
                )
            self._under_way[person] += 1
        try:
            yield
        finally:
            ended = time.monotonic()
            with self._lock:
                self._spent[person].append((ended, ended - began))
                self._under_way[person] -= 1
                if not self._under_way[person]:
                    del self._under_way[person]

    def _forget(self, before: float) -> None:
        for person in list(self._spent):
            kept = [look for look in self._spent[person] if look[0] > before]
            if kept:
                self._spent[person] = kept
            else:
                del self._spent[person]


looks = Looks()
