"""How work is spread: one image after the other, or images in parallel processes.

The seam for other engines: anything with this ``map`` will do.  Work items are
small and picklable (paths and settings), results come back in the order of the
items, and the work does not depend on which executor does it.  Cores that have no
process of their own go to the kernels, as threads (`bycatch.kernels.threads`).
"""

from __future__ import annotations

import logging
import logging.handlers
import multiprocessing
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from functools import partial
from typing import Any, Protocol, TypeVar

from bycatch import memory
from bycatch.errors import BycatchError
from bycatch.kernels import threads

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
    """One item after the other, in this process, on so many cores; None: on all."""

    def __init__(self, n_cores: int | None = None) -> None:
        self.n_cores = n_cores

    def map(self, function: Callable[[T], R], items: Sequence[T]) -> list[R]:
        """Return the results in the order of the items."""
        with threads.at_most(self.n_cores):
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
        if len(items) == 1:
            # Done here, on the cores of all processes, before one has started.
            return Serial(self.n_workers).map(function, items)
        if self._pool is None:
            self._pool = _Pool(self.n_workers)
        each = self.n_workers // min(self.n_workers, max(len(items), 1))
        try:
            return list(self._pool.workers.map(partial(_on_cores, each, function), items))
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
            initializer=_begin_worker,
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


def _begin_worker(queue: Any, level: int) -> None:
    """Forward what is logged to the parent's queue."""
    memory.search_garbage_rarely()
    # Ctrl-C reaches every process of the terminal; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logger = logging.getLogger("bycatch")
    logger.handlers = [logging.handlers.QueueHandler(queue)]
    logger.setLevel(level)
    logger.propagate = False


def _on_cores(n: int, function: Callable[[T], R], item: T) -> R:
    with threads.at_most(n):
        return function(item)


def executor_for(n_workers: int | None) -> Executor:
    """Return processes for several workers; else a serial executor: None, on all cores."""
    return Processes(n_workers) if n_workers and n_workers > 1 else Serial(n_workers)
