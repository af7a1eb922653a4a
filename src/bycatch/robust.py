"""Medians and scatters that a few outliers do not change."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bycatch.arrays import Floats

MAD_TO_SIGMA = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""
MEDIAN_ERROR = 1.2533
"""Error of a median over that of a mean."""


def robust_sigma(values: NDArray[Any], middle: float | None = None) -> float:
    """Return the median absolute deviation of values, as the sigma of a normal distribution.

    Parameters
    ----------
    values : finite numbers, at least one
    middle : that they deviate from; by default their median
    """
    centre = np.median(values) if middle is None else middle
    return MAD_TO_SIGMA * float(np.median(np.abs(values - centre)))


def nan_median(values: Floats, axis: int) -> Floats:
    """Return medians of the finite values along an axis; NaN where there are none.

    As `numpy.nanmedian`, but faster by far along short axes, and without warnings.

    Parameters
    ----------
    values : numbers and NaN
    axis : of the values
    """
    in_order = np.sort(values, axis=axis)  # NaN last
    n = np.isfinite(values).sum(axis=axis, keepdims=True)
    low, high = np.maximum((n - 1) // 2, 0), np.minimum(n // 2, max(values.shape[axis] - 1, 0))
    middle = [np.take_along_axis(in_order, k, axis) for k in (low, high)]
    return np.where(n > 0, 0.5 * (middle[0] + middle[1]), np.nan).squeeze(axis)
