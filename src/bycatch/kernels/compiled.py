"""The one way in which kernels are compiled.

Kernels are plain Python over scalars and arrays, compiled by numba when first
called.  The machine code is cached beside the source (or, where that can't be
written, in the user's cache folder), so that a machine compiles once; where
nothing can be written, every process compiles. The GIL is released, so that
threads run side by side.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numba.core import event as events
from numba.core.caching import NullCache

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """Return a function compiled on its first call.

    Division by zero gives inf or NaN, as in numpy; sums keep their order, so
    that results do not depend on the machine.

    Parameters
    ----------
    function : of arrays and numbers, in numba's subset of Python
    """
    # No one calls kernels by a pointer from C; without that wrapper they compile faster.
    options = {"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True}
    try:
        return cast("F", numba.njit(cache=True, **options)(function))
    except RuntimeError:  # numba finds no folder that it may write to
        return cast("F", numba.njit(**options)(function))


@compiled
def long(number: int) -> int:
    """Return a number in 64 bits.

    A count that begins with the literal 0, or one of an image's 32-bit integers,
    would let numba compile what it is given to once more, for that type.

    Parameters
    ----------
    number : an integer of any type
    """
    return int(np.int64(number))


def keeps_machine_code() -> bool:
    """Tell whether kernels are cached for the next process."""
    return not isinstance(cast("Any", long)._cache, NullCache)


_at_first: list[Callable[[], None]] = []


def at_first_compilation(call: Callable[[], None]) -> None:
    """Have a function called before this process compiles its first kernel.

    Such as to say why it is slow, and to have another process help.  The last one given counts.

    Parameters
    ----------
    call : without arguments
    """
    _at_first[:] = [call]


class FirstCall(events.Listener):  # type: ignore[misc]
    """Calls who wants to know when a process compiles its first kernel, and compiles faster.

    Reading a kernel from the cache is silent.  numba holds its lock meanwhile:
    no two threads come here at once.
    """

    def __init__(self) -> None:
        self.was_announced = False
        self.depth = 0
        self.collects = False

    def on_start(self, event: Any) -> None:
        """Take note that a function is about to be compiled."""
        home = event.data["dispatcher"].py_func.__module__
        if not self.was_announced and home.startswith("bycatch."):
            self.was_announced = True
            for call in _at_first:
                call()
        if self.depth == 0:
            # Else a tenth of the time goes into searching the compiler's objects for garbage.
            self.collects = gc.isenabled()
            gc.disable()
        self.depth += 1

    def on_end(self, event: Any) -> None:  # noqa: ARG002 (named as the base class has it)
        """Let garbage be collected again."""
        self.depth -= 1
        if self.depth == 0 and self.collects:
            gc.enable()


events.register("numba:compile", FirstCall())
