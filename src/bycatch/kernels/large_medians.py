"""Medians of many numbers: exactly, without sorting them all and without copies of all."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bycatch.arrays import Bools
from bycatch.kernels.compiled import compiled
from bycatch.kernels.neighbourhood import plane

Values = NDArray[np.floating[Any]]

SAMPLE = 20_000
"""Numbers that bracket the sought one."""
LEAST_SAMPLE = 1000
CHUNK = 1024
"""Numbers that are worked on at once."""
HALF_SHARE = 0.02
"""Half width of the range that is looked into, as a share of all numbers: 5.6 sigma of the sample,
so that it nearly always holds the sought one."""


def neighbours_in_order(values: Values, mask: Bools, k: int) -> tuple[float, float]:
    """Return the k-th smallest (from 0) of the values that are used, and the next one.

    Parameters
    ----------
    values : any shape, C-contiguous
    mask : same shape, bool
        Where it is True, values must not be NaN.
    k : int
        Below the number of used values; the last one is its own next.

    Raises
    ------
    ValueError
        There are not so many values, or the shapes differ.
    """
    if values.shape != mask.shape:
        raise ValueError(f"values of shape {values.shape}, of which {mask.shape} are used")
    flat, flat_mask = plane(values.reshape(-1)), plane(mask.reshape(-1), bool)
    n = int(np.count_nonzero(flat_mask))
    if not 0 <= k < n:
        raise ValueError(f"of {n} values none has {k} before it")
    following = min(k + 1, n - 1)
    step = max(flat.size // SAMPLE, 1) | 1  # odd, so that it meets all columns
    sample = np.sort(flat[::step][flat_mask[::step]])
    if len(sample) >= min(n, LEAST_SAMPLE):
        last = len(sample) - 1
        low = sample[max(int((k / n - HALF_SHARE) * last), 0)]
        high = sample[min(int((k / n + HALF_SHARE) * last) + 1, last)]
        n_below, n_low, inside = numbers_between(flat, flat_mask, low, high)
        first, second = k - n_below - n_low, following - n_below - n_low
        if -n_low <= first and second < len(inside):
            if second >= 0:
                inside.partition(sorted({max(first, 0), second}))
            return (
                float(inside[first] if first >= 0 else low),
                float(inside[second] if second >= 0 else low),
            )
    partition = np.partition(flat[flat_mask], sorted({k, following}))  # the sample led astray
    return float(partition[k]), float(partition[following])


def lower_median(values: Values, mask: Bools) -> float:
    """Return the median of the values that are used; the lower of two middle ones.

    Parameters
    ----------
    values : (N,) float
    mask : (N,) bool
    """
    n = int(np.count_nonzero(mask))
    return neighbours_in_order(values, mask, (n - 1) // 2)[0] if n else float("nan")


def median(values: Values, mask: Bools) -> float:
    """Return the median of the values that are used, as numpy does.

    Parameters
    ----------
    values : (N,) float
    mask : (N,) bool
    """
    n = int(np.count_nonzero(mask))
    if n == 0:
        return float("nan")
    low, high = neighbours_in_order(values, mask, (n - 1) // 2)
    return low if n % 2 else 0.5 * (low + high)


def range_of_median(sample: Values) -> tuple[float, float]:
    """Return numbers between which the median of many lies, given a sorted sample of them.

    Parameters
    ----------
    sample : (n,) float, sorted
    """
    last = len(sample) - 1
    if last < 0:
        return -np.inf, np.inf
    low = sample[max(int((0.5 - 2 * HALF_SHARE) * last), 0)]
    return float(low), float(sample[min(int((0.5 + 2 * HALF_SHARE) * last) + 1, last)])


@compiled
def numbers_between(
    values: Values, mask: Bools, low: float, high: float
) -> tuple[int, int, Values]:
    """Return how many used values lie below ``low`` and at it, and those in (low, high].

    Parameters
    ----------
    values : (N,) float
    mask : (N,) bool
    low, high : in the unit of the values
    """
    inside = np.empty(len(values), values.dtype)  # as good as free: only what is written costs
    n_below, n_low, n = 0, 0, 0
    for start in range(0, len(values), CHUNK):
        some, in_mask = values[start : start + CHUNK], mask[start : start + CHUNK]
        for i in range(len(some)):
            n_below += in_mask[i] & (some[i] < low)
            n_low += in_mask[i] & (some[i] == low)
        for i in range(len(some)):
            # Written always, kept only where it belongs: no branch that is hard to foresee.
            inside[n] = some[i]
            n += (some[i] > low) & (some[i] <= high) & in_mask[i]
    return n_below, n_low, inside[:n].copy()
