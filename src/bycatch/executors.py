"""How work is spread: one image after the other, or images in parallel processes.

The seam for other engines: anything with this ``map`` will do.  Work items are
small and picklable (paths and settings), results come back in the order of the
items, and the work does not depend on which executor does it.
"""

from __future__ import annotations

import logging
import logging.handlers
import multiprocessing
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


class Serial:
    """One item after the other, in this process."""

    def map(self, function: Callable[[T], R], items: Sequence[T]) -> list[R]:
        """Return the results in the order of the items."""
        return [function(item) for item in items]


class Processes:
    """Items in parallel processes; what they log arrives here, in this process's handlers."""

    def __init__(self, n_workers: int) -> None:
        self.n_workers = n_workers

    def map(self, function: Callable[[T], R], items: Sequence[T]) -> list[R]:
        """Return the results in the order of the items."""
        context = multiprocessing.get_context("spawn")
        others = set(multiprocessing.active_children())
        root = logging.getLogger("bycatch")
        queue = context.Queue()
        listener = logging.handlers.QueueListener(queue, _Relay(root))
        listener.start()
        pool = ProcessPoolExecutor(
            min(self.n_workers, max(len(items), 1)),
            mp_context=context,
            initializer=_forward_logs,
            initargs=(queue, root.getEffectiveLevel()),
        )
        try:
            return list(pool.map(function, items))
        except BrokenExecutor as err:
            raise BycatchError(
                "a worker process died, most likely for lack of memory",
                hint="run again with a smaller -j; what is finished is kept",
            ) from err
        except KeyboardInterrupt:
            for worker in set(multiprocessing.active_children()) - others:
                worker.terminate()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            listener.stop()
            queue.close()


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
