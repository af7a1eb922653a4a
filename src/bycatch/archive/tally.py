"""Progress of a fetch: files, bytes and remaining time."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable

from bycatch.archive.model import FetchedFile, State

WINDOW_S = 30.0
"""The pace is that of the last so many seconds."""


class Tally:
    """Counts of a fetch; threads may use it at the same time.

    Parameters
    ----------
    clock : monotonic seconds
    changed : called when a file is over
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        changed: Callable[[Tally], None] = lambda _: None,
    ) -> None:
        self.clock, self.changed = clock, changed
        self.n_files = self.n_over = self.n_lost = 0
        self.n_bytes = self.n_came = 0
        self._expected: dict[str, int] = {}
        self._past: deque[tuple[float, int]] = deque()
        self._lock = threading.Lock()

    def begin(self, files: Iterable[FetchedFile]) -> None:
        """Note what is to be fetched."""
        self._expected = {file.product.place: file.product.n_bytes or 0 for file in files}
        self.n_files, self.n_bytes = len(self._expected), sum(self._expected.values())
        self._past.append((self.clock(), 0))

    def came(self, n_bytes: int) -> None:
        """Count bytes downloaded or wasted."""
        with self._lock:
            self.n_came = max(self.n_came + n_bytes, 0)
            now = self.clock()
            if not self._past or now - self._past[-1][0] > 0.25:
                self._past.append((now, self.n_came))
                while len(self._past) > 2 and now - self._past[1][0] > WINDOW_S:
                    self._past.popleft()

    def over(self, file: FetchedFile) -> None:
        """Record that a file is finished."""
        with self._lock:
            self.n_over += 1
            self.n_lost += file.state == State.FAILED
            if file.state in {State.LEFT_OUT, State.FAILED}:  # its bytes will not come
                self.n_bytes -= self._expected.get(file.product.place, 0)
        self.changed(self)

    @property
    def share(self) -> float:
        """Fraction of the bytes downloaded; of the files, where sizes are unknown."""
        if self.n_over >= self.n_files:
            return 1.0
        by_files = self.n_over / self.n_files
        return min(self.n_came / self.n_bytes, 1.0) if self.n_bytes > 0 else by_files

    @property
    def bytes_per_s(self) -> float:
        """Rate over the last half minute."""
        with self._lock:
            if not self._past:
                return 0.0
            since, before = self._past[0]
            seconds = self.clock() - since
            return max(self.n_came - before, 0) / seconds if seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Estimated remaining time; None while unknown."""
        pace = self.bytes_per_s
        return max(self.n_bytes - self.n_came, 0) / pace if pace > 0 else None
