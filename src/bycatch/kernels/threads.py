"""Kernels on several cores: work on many rows or positions, portion by portion, in threads.

Kernels release Python's lock, and portions write to places of their own, so that results do not
depend on the number of threads.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

PORTIONS_PER_THREAD = 4
"""More portions than threads: some take longer than others."""
WORTH_A_THREAD = 100
"""Sources to measure; fewer take less time than a thread needs to wake up."""
ROWS_WORTH_A_THREAD = 256
"""Rows of pixels, likewise."""

_limit: int | None = None
_pools: dict[tuple[int, int], ThreadPoolExecutor] = {}
_lock = threading.Lock()
_here = threading.local()


def n_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not everywhere
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def n_threads() -> int:
    """Return how many threads kernels may use: all cores, unless limited."""
    return n_cores() if _limit is None else min(_limit, n_cores())


def limit_threads(n: int | None) -> None:
    """Let kernels use so many threads at most from now on, in this process; None: all cores.

    Parameters
    ----------
    n : number of threads, at least 1; None: all cores
    """
    global _limit  # noqa: PLW0603, one number for the process, as it has one set of cores
    _limit = None if n is None else max(n, 1)


@contextmanager
def at_most(n: int | None) -> Iterator[None]:
    """Let kernels use so many threads at most, for a while; None: all cores.

    Parameters
    ----------
    n : number of threads, at least 1; None: all cores
    """
    before = _limit
    limit_threads(n)
    try:
        yield
    finally:
        limit_threads(before)


def in_portions(work: Callable[[int, int], Any], n: int, least: int) -> None:
    """Call ``work(first, last)`` for portions that make up 0 to ``n``, in all threads there may be.

    Parameters
    ----------
    work : releases Python's lock and writes to places of its portion alone; what it splits is not
        spread once more
    n : how many rows or positions there are
    least : fewer are not worth a thread of their own
    """
    count = min(n_threads() * PORTIONS_PER_THREAD, n // max(least, 1))
    if n_threads() == 1 or count < 2 or getattr(_here, "is_portion", False):
        work(0, n)
        return
    bounds = [n * k // count for k in range(count + 1)]
    waiting = [_pool().submit(work, first, last) for first, last in pairwise(bounds)]
    for future in waiting:
        future.result()


def in_background(function: Callable[..., Any], *args: Any) -> Future[Any]:
    """Start a call in a thread of its own, if there are cores; else do it before returning.

    It may split its own work: it does not take a thread of theirs.

    Parameters
    ----------
    function : the work
    args : its arguments
    """
    if n_threads() > 1:
        pool = ThreadPoolExecutor(1)
        future = pool.submit(function, *args)
        pool.shutdown(wait=False)
        return future
    result: Future[Any] = Future()
    try:
        result.set_result(function(*args))
    except BaseException as err:  # noqa: BLE001, it is raised where the result is asked for
        result.set_exception(err)
    return result


def _pool() -> ThreadPoolExecutor:
    """Return the threads of this process: a forked one has none of its parent's."""
    key = (os.getpid(), n_threads())
    with _lock:
        if key not in _pools:
            _pools[key] = ThreadPoolExecutor(key[1], "kernels", _mark)
        return _pools[key]


def _mark() -> None:
    _here.is_portion = True
