"""Signals while processes start, and in running processes."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

HANGUP = tuple(getattr(signal, name) for name in ("SIGHUP",) if hasattr(signal, name))
"""The signal of a terminal that is closed; Windows has none."""
TERMINAL = (signal.SIGINT, *HANGUP)
"""These reach every process of a terminal; the one that began the work decides what they mean."""


@contextmanager
def hold_signals() -> Iterator[None]:
    """Hold signals back, here and in processes that begin meanwhile.

    A half-started process would complain, and a young one that a Ctrl-C reaches
    would show where it was.  It begins with the terminal's signals blocked, until `leave_terminal`.
    """
    came: list[tuple[Any, ...]] = []
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        before = {n: signal.getsignal(n) for n in (signal.SIGTERM, *TERMINAL)}
        before = {n: handler for n, handler in before.items() if callable(handler)}
    for number in before:
        signal.signal(number, lambda *args: came.append(args))
    try:
        with _block_signals():
            yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for args in came:
            before[args[0]](*args)


@contextmanager
def _block_signals() -> Iterator[None]:
    """Block the terminal's signals in this thread and in what it begins."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    from multiprocessing import resource_tracker  # not for Windows

    # It is started with the first process, and would unblock them.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, TERMINAL)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def leave_terminal() -> None:
    """Ignore the terminal's signals in this process, and end by SIGTERM."""
    for number in TERMINAL:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, TERMINAL)
