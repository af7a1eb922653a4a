"""Signals that end a command: Ctrl-C, SIGTERM and SIGHUP."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import Any

SIGNALS = [getattr(signal, n) for n in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, n)]
GRACE_S = 1.0
"""A further signal within this time is the same wish once more: a key pressed twice, or `timeout`,
which signals both the process and its group.  Later ones end the process at once."""


LATER_S, MOST_LATER_S = 0.05, 2.0
"""A signal that comes at a bad moment is sent again after this time; in all it waits so long."""
FRAGILE = ("numba", "llvmlite", "concurrent.futures.thread")
"""Modules that bear no exception of ours.  Compiled code of the first two calls Python: SystemError
or a segmentation fault came of it, in one of some twenty runs stopped while kernels were loaded.
The third starts a thread and only then enters it in its books: the exit waits for ever for a
thread that is missing there."""


class Stopped(BaseException):
    """The command has to end.

    Not a KeyboardInterrupt: typer and other libraries answer that one on their own.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"signal {number}")
        self.status = 128 + number


class Watch:
    """Raises `Stopped` in the main thread on a signal; ignored signals stay ignored."""

    def __init__(self) -> None:
        self.stop: Stopped | None = None
        self._since_s = self._came_s = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Watch:
        self.stop, self._came_s, self._before = None, 0.0, {}
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                before = signal.getsignal(number)
                if before not in (signal.SIG_IGN, None):  # as nohup and 'command &' want it
                    self._before[number] = before
                    signal.signal(number, self._come)
        self._unraisable, sys.unraisablehook = sys.unraisablehook, self._ignore_stopped
        return self

    def __exit__(self, *_: object) -> None:
        sys.unraisablehook = self._unraisable
        for number, before in self._before.items():
            signal.signal(number, before)

    def check(self) -> None:
        """Raise the `Stopped` that a library has swallowed, as in the middle of an import."""
        if self.stop is not None and threading.current_thread() is threading.main_thread():
            raise self.stop

    def _waits(self, number: int, frame: FrameType | None, now_s: float) -> bool:
        """Return whether a signal comes at a bad moment; it is then sent again a little later."""
        self._came_s = self._came_s or now_s
        if now_s - self._came_s > MOST_LATER_S or not _is_in_fragile_code(frame):
            return False
        later = threading.Timer(LATER_S, os.kill, (os.getpid(), number))
        later.daemon = True
        later.start()
        return True

    def _come(self, number: int, frame: FrameType | None) -> None:
        now_s = time.monotonic()
        if self.stop is None:
            if self._waits(number, frame, now_s):
                return
            self.stop, self._since_s = Stopped(number), now_s
            raise self.stop
        if now_s - self._since_s > GRACE_S:
            os._exit(128 + number)  # other processes of ours end with this one

    def _ignore_stopped(self, unraisable: Any) -> None:
        """Say nothing of a `Stopped` that came where none can be raised: `check` raises it."""
        if not isinstance(unraisable.exc_value, Stopped):
            self._unraisable(unraisable)


def _is_in_fragile_code(frame: FrameType | None) -> bool:
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if any(module == name or module.startswith(f"{name}.") for name in FRAGILE):
            return True
        frame = frame.f_back
    return False


watch = Watch()
"""The watch of this process's command."""
