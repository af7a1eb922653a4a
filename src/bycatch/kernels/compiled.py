"""The one way in which kernels are compiled.

Kernels are plain Python over scalars and arrays, compiled by numba when first
called.  The machine code is cached beside the source (or, where that can't be
written, in the user's cache folder), so that a machine compiles once; the GIL
is released, so that threads run side by side.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
from numba.core import event as events

F = TypeVar("F", bound=Callable[..., Any])

logger = logging.getLogger("bycatch")


def compiled(function: F) -> F:
    """Return a function compiled on its first call.

    Division by zero gives inf or NaN, as in numpy; sums keep their order, so
    that results do not depend on the machine.
    """
    return cast("F", numba.njit(cache=True, nogil=True, error_model="numpy")(function))


class Announcement(events.Listener):  # type: ignore[misc]
    """Says why a process is slow when it compiles its first kernel; the cache is silent."""

    def __init__(self) -> None:
        self.was_made = False

    def on_start(self, event: Any) -> None:
        """Take note that a function is about to be compiled."""
        home = event.data["dispatcher"].py_func.__module__
        if not self.was_made and home.startswith("bycatch."):
            self.was_made = True
            logger.info("compiling kernels, once on this machine (a minute or two)")

    def on_end(self, event: Any) -> None:
        """Say nothing more."""


events.register("numba:compile", Announcement())
