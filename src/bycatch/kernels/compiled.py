"""The one way in which kernels are compiled.

Kernels are plain Python over scalars and arrays, compiled by numba when first
called.  The machine code is cached beside the source (or, where that can't be
written, in the user's cache folder), so that a machine compiles once; the GIL
is released, so that threads run side by side.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """Return a function compiled on its first call.

    Division by zero gives inf or NaN, as in numpy; sums keep their order, so
    that results do not depend on the machine.
    """
    return cast("F", numba.njit(cache=True, nogil=True, error_model="numpy")(function))
