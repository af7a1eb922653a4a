"""Names for the arrays that functions take and give."""

from __future__ import annotations

from numpy import bool_, float32, float64, int64
from numpy.typing import NDArray

Floats = NDArray[float64]
Ints = NDArray[int64]
Bools = NDArray[bool_]
Image = NDArray[float32]
"""Pixels, (ny, nx)."""
