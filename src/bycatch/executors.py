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
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol, TypeVar

from bycatch.errors import BycatchError
from bycatch.kernels import threads
from bycatch.system import memory
from bycatch.system.subprocesses import end_with

HANGUP = tuple(getattr(signal, name) for name in ("SIGHUP",) if hasattr(signal, name))
"""The signal of a terminal that is closed; Windows has none."""
DIED = "a worker process died, most likely for lack of memory"
DIED_HINT = "run again with a smaller -j; what is finished is kept"

logger = logging.getLogger("bycatch")

T = TypeVar("T")
R = TypeVar("R")


class Executor(Protocol):
    """Applies a function to items."""

    def map(
        self, function: Callable[[T], R], items: Sequence[T], lost: Callable[[T], R] | None = None
    ) -> list[R]:
        """Return the results in the order of the items.

        Parameters
        ----------
        function, items : the work
        lost : gives the result of an item whose process died; without it that stops the work
        """
        ...

    def close(self) -> None:
        """Free what the work needed; a later `map` begins anew."""
        ...


class Serial:
    """One item after the other, in this process, on so many cores; None: on all."""

    def __init__(self, n_cores: int | None = None) -> None:
        self.n_cores = n_cores

    def map(
        self,
        function: Callable[[T], R],
        items: Sequence[T],
        lost: Callable[[T], R] | None = None,  # noqa: ARG002, no process of ours can be lost
    ) -> list[R]:
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

    def map(
        self, function: Callable[[T], R], items: Sequence[T], lost: Callable[[T], R] | None = None
    ) -> list[R]:
        """Return the results in the order of the items.

        A process that dies takes the others with it. What they had not finished is done once more,
        item by item, so that only an item that kills its process is lost.
        """
        if len(items) == 1:
            # Done here, on the cores of all processes, before one has started.
            return Serial(self.n_workers).map(function, items)
        each = self.n_workers // min(self.n_workers, max(len(items), 1))
        first = self._answers(partial(_on_cores, each, function), items)
        if any(isinstance(answer, BrokenExecutor) for answer in first):
            logger.warning("a worker process died: what is left is done one by one")
        found: list[R] = []
        for item, answer in zip(items, first, strict=True):
            if isinstance(answer, BrokenExecutor):
                (answer,) = self._answers(partial(_on_cores, each, function), [item])  # noqa: PLW2901
            if isinstance(answer, BrokenExecutor):
                if lost is None:
                    raise BycatchError(DIED, hint=DIED_HINT) from answer
                answer = lost(item)  # noqa: PLW2901
            found.append(answer)
        return found

    def _answers(self, function: Callable[[T], R], items: Sequence[T]) -> list[R | BrokenExecutor]:
        """Return the results; in the place of one whose process died, the error that says so."""
        try:
            with _undisturbed():
                self._pool = pool = self._pool or _Pool(self.n_workers)
                begun = [pool.workers.submit(function, item) for item in items]
            found = [_answer(future) for future in begun]
        except BrokenExecutor as err:  # it died while there was nothing to do
            found = [err for _ in items]
        except BaseException as err:
            if self._pool and not isinstance(err, Exception):  # Ctrl-C and the like
                self._pool.terminate()
                self.close()
            raise
        if any(isinstance(answer, BrokenExecutor) for answer in found):
            self.close()  # such a pool takes no more work
        return found

    def close(self) -> None:
        """Stop the processes."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None


def _answer(future: Future[Any]) -> Any:
    try:
        return future.result()
    except BrokenExecutor as err:
        return err


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Hold signals back while processes begin: one that is left half-begun would complain."""
    came: list[tuple[Any, ...]] = []
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, *HANGUP)}
        before = {n: handler for n, handler in before.items() if callable(handler)}
    for number in before:
        signal.signal(number, lambda *args: came.append(args))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for args in came:
            before[args[0]](*args)


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
    """Forward what is logged to the parent's queue, and end with the parent."""
    memory.search_garbage_rarely()
    # These reach every process of the terminal; the parent decides what they mean.
    for number in (signal.SIGINT, *HANGUP):
        signal.signal(number, signal.SIG_IGN)
    end_with(_gone)
    logger = logging.getLogger("bycatch")
    logger.handlers = [logging.handlers.QueueHandler(queue)]
    logger.setLevel(level)
    logger.propagate = False


def _gone() -> None:
    """Wait for the end of the process that has begun this one."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()


def _on_cores(n: int, function: Callable[[T], R], item: T) -> R:
    with threads.at_most(n):
        return function(item)


def executor_for(n_workers: int | None) -> Executor:
    """Return processes for several workers; else a serial executor: None, on all cores."""
    return Processes(n_workers) if n_workers and n_workers > 1 else Serial(n_workers)
