"""How work is spread: one image after the other, or images in parallel processes.

The seam for other engines: anything with this ``map`` will do.  Work items are
small and picklable (paths and settings), results come back in the order of the
items, and the work does not depend on which executor does it.
"""

from __future__ import annotations

import logging
import logging.handlers
import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from typing import Any, Protocol, TypeVar

from bycatch.errors import BycatchError

T = TypeVar("T")
R = TypeVar("R")


class Executor(Protocol):
    """Applies a function to items."""

    def map(self, function: Callable[[T], R], items: Sequence[T]) -> list[R]:
        """Return the results in the order of the items."""
        ...

    def close(self) -> None:
        """Free what the work needed; a later `map` begins anew."""
        ...


class Serial:
    """One item after the other, in this process."""

    def map(self, function: Callable[[T], R], items: Sequence[T]) -> list[R]:
        """Return the results in the order of the items."""
        return [function(item) for item in items]

    def close(self) -> None:
        """Nothing is kept."""


class Processes:
    """Items in parallel processes; what they log arrives here, in this process's handlers.

    The processes are started by the first `map` and kept for the next ones: each takes seconds to
    import what the work needs.
    """

    def __init__(self, n_workers: int) -> None:
        self.n_workers = n_workers
        self._pool: _Pool | None = None

    def map(self, function: Callable[[T], R], items: Sequence[T]) -> list[R]:
        """Return the results in the order of the items."""
        if self._pool is None:
            self._pool = _Pool(self.n_workers)
        try:
            return list(self._pool.workers.map(function, items))
        except BrokenExecutor as err:
            self.close()
            raise BycatchError(
                "a worker process died, most likely for lack of memory",
                hint="run again with a smaller -j; what is finished is kept",
            ) from err
        except KeyboardInterrupt:
            self._pool.terminate()
            self.close()
            raise

    def close(self) -> None:
        """Stop the processes."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None


class _Pool:
    """Worker processes, and the way in which their log records come here."""

    def __init__(self, n_workers: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._others = set(multiprocessing.active_children())
        root = logging.getLogger("bycatch")
        self._queue = context.Queue()
        self._listener = logging.handlers.QueueListener(self._queue, _Relay(root))
        self._listener.start()
        self.workers = ProcessPoolExecutor(
            n_workers,
            mp_context=context,
            initializer=_forward_logs,
            initargs=(self._queue, root.getEffectiveLevel()),
        )

    def terminate(self) -> None:
        """Stop the workers amid their work."""
        for worker in set(multiprocessing.active_children()) - self._others:
            worker.terminate()

    def close(self) -> None:
        """Stop the workers when their work is done."""
        self.workers.shutdown(wait=True, cancel_futures=True)
        self._listener.stop()
        self._queue.close()


class _Relay(logging.Handler):
    """Hands a worker's record to the handlers of this process."""

    def __init__(self, logger: logging.Logger) -> None:
        super().__init__()
        self.logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        self.logger.handle(record)


def _forward_logs(queue: Any, level: int) -> None:
    # Ctrl-C reaches every process of the terminal; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logger = logging.getLogger("bycatch")
    logger.handlers = [logging.handlers.QueueHandler(queue)]
    logger.setLevel(level)
    logger.propagate = False


def executor_for(n_workers: int) -> Executor:
    """Return a serial executor for one worker, else processes."""
    return Serial() if n_workers <= 1 else Processes(n_workers)


def n_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not everywhere
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
