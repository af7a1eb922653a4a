"""Masks that are grown by their neighbours, or as far as a convolution carries them."""

from __future__ import annotations

import numpy as np

from bycatch.arrays import Bools, Floats, Ints
from bycatch.kernels.bounds import check_shapes
from bycatch.kernels.compiled import compiled
from bycatch.kernels.neighbourhood import plane


def grow_by_one(mask: Bools, may_grow: Bools) -> Bools:
    """Return the pixels of a mask and their eight neighbours, where allowed.

    Parameters
    ----------
    mask, may_grow : (ny, nx) bool
    """
    check_shapes(mask, may_grow)
    out = np.zeros(may_grow.shape, bool)
    _grow(np.flatnonzero(mask), plane(may_grow, bool), out)
    return out


@compiled
def _grow(places: Ints, may_grow: Bools, out: Bools) -> None:
    ny, nx = may_grow.shape
    for place in places:
        y, x = place // nx, place % nx
        for v in range(max(y - 1, 0), min(y + 2, ny)):
            for u in range(max(x - 1, 0), min(x + 2, nx)):
                out[v, u] = may_grow[v, u]


def grow_by_blur(mask: Bools, weights: Floats, threshold: float, may_grow: Bools) -> Bools:
    """Return a mask grown by the pixels where its convolution passes a threshold.

    Parameters
    ----------
    mask, may_grow : (ny, nx) bool
        Beyond the edge the mask is empty; what is not allowed is left out.
    weights : (2 r + 1,)
        Factors of the convolution along one axis; it is separable.
    threshold : float
        Value of the convolved mask above which a pixel is added.
    """
    check_shapes(mask, may_grow)
    if weights.ndim != 1 or len(weights) % 2 == 0:
        raise ValueError(f"a convolution has an odd number of factors, not {weights.shape}")
    out: Bools = plane(mask, bool) & plane(may_grow, bool)
    factors = plane(weights, np.float64)
    _add_blurred(plane(mask, bool), factors, threshold, plane(may_grow, bool), out)
    return out


@compiled
def _add_blurred(
    mask: Bools, weights: Floats, threshold: float, may_grow: Bools, out: Bools
) -> None:
    ny, nx = mask.shape
    reach = len(weights) // 2
    n = 2 * reach + 1
    sums = np.zeros((n, nx + 2 * reach))  # of the rows that are not complete, in a ring
    for y in range(ny + reach):
        if y < ny:
            here = mask[y]
            for x in range(nx):
                if here[x]:
                    for j in range(n):
                        for i in range(n):
                            sums[(y + j) % n, x + i] += weights[j] * weights[i]
        if y >= reach:  # row y - reach gets no more
            row, out_row, may_be = sums[y % n], out[y - reach], may_grow[y - reach]
            for x in range(nx):
                out_row[x] |= may_be[x] & (row[x + reach] > threshold)
        sums[y % n] = 0.0
