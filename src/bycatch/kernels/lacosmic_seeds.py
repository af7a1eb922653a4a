"""Steps 5 and 6 of LAcosmic: the seeds of cosmic rays, and the pixels around that they grow to."""

from __future__ import annotations

import numpy as np

from bycatch.arrays import Bools, Image, Ints
from bycatch.kernels.compiled import compiled
from bycatch.kernels.lacosmic_planes import Number
from bycatch.kernels.rowmedians import (
    BLOCK_PX,
    EDGE_X,
    EDGE_Y,
    upper,
)

LEAST_STRUCTURE = np.float32(0.01)


@compiled
def seeds_of(
    peak: Image,
    fine: Image,
    noise: Image,
    bad: Bools,
    stale: Bools,
    size: tuple[int, int],
    sigclip: float,
    objlim: float,
) -> Ints:
    """Return the (flat) places of peaks in stale blocks that are sharper than their structure.

    Parameters
    ----------
    peak, fine, noise : (NY, NX) float32, with the edges of `rowmedians.plane_shape`
    bad : (NY, NX) bool, with the edges of `rowmedians.plane_shape`, not to be found
    stale : (ny, number of blocks) bool
    size : (ny, nx) without the edges
    sigclip : limit of the peaks, in sigma
    objlim : limit of the contrast
    """
    out, n = np.empty(64, np.int64), 0
    for y in range(EDGE_Y, EDGE_Y + size[0]):
        for block in range(stale.shape[1]):
            x0 = EDGE_X + block * BLOCK_PX
            if not stale[y - EDGE_Y, block]:
                continue
            row, unusable = peak[y, x0:], bad[y, x0:]
            for i in range(BLOCK_PX):
                if row[i] > sigclip and not unusable[i]:
                    if n == len(out):
                        out = np.concatenate((out, out))
                    out[n] = y * peak.shape[1] + x0 + i
                    n += is_contrast(fine, noise[y, x0 + i], y, x0 + i, row[i], objlim, size)
    return out[:n]


@compiled
def is_contrast(
    fine: Image,
    sigma: Number,
    y: int,
    x: int,
    peak: Number,
    objlim: float,
    size: tuple[int, int],
) -> bool:
    """Return whether a peak is above the fine structure by more than a factor.

    The structure is what the image has above its 7 x 7 median.  The factor is
    passed if it were with 25 of the 49 in place of the median: no need to know it.

    Parameters
    ----------
    fine : (NY, NX) float32, with the edges of `rowmedians.plane_shape`, not yet lowered by its
        median
    sigma : float32, noise of the pixel
    y, x : the pixel in the padded planes
    peak : float32, of the pixel, in sigma
    objlim : limit of the contrast
    size : (ny, nx) without the edges
    """
    if not peak / LEAST_STRUCTURE > objlim:
        return False
    if min(y - EDGE_Y, size[0] + EDGE_Y - 1 - y) < 3:
        return True  # the image minus itself: there is no structure
    if min(x - EDGE_X, size[1] + EDGE_X - 1 - x) < 3:
        return True
    here = fine[y, x]
    limit = here - peak / objlim * sigma
    slack = np.float32(1e-6) * (abs(here) + abs(limit))  # what rounding can do
    low, high = limit - slack, limit + slack
    n_above, n_near = 0, 0
    flat, width = fine.reshape(-1), fine.shape[1]
    for j in range(-3, 4):
        first = (y + j) * width + x - 3
        for i in range(7):
            n_above += flat[first + i] > high
            n_near += flat[first + i] >= low
    if n_above >= 25 or n_near < 25:
        return n_above >= 25
    n_passed = 0
    for v in range(y - 3, y + 4):
        for u in range(x - 3, x + 4):
            structure = upper((here - fine[v, u]) / sigma, LEAST_STRUCTURE)
            n_passed += peak / structure > objlim
    return n_passed >= 25


@compiled
def neighbours_above(places: Ints, peak: Image, bad: Bools, limit: float) -> Ints:
    """Return those of the 3 x 3 pixels around places whose peak is above a limit, if not bad.

    Parameters
    ----------
    places : (N,) int64, flat indices into the padded planes
    peak : (NY, NX) float32, with the edges of `rowmedians.plane_shape`
    bad : (NY, NX) bool, with the edges of `rowmedians.plane_shape`, not to be found
    limit : in sigma
    """
    nx = peak.shape[1]
    peaks, unusable = peak.reshape(-1), bad.reshape(-1)
    is_listed = np.zeros(peak.size, np.bool_)
    out, n = np.empty(9 * len(places), np.int64), 0
    for place in places:
        for row in (place - nx, place, place + nx):
            for near in range(row - 1, row + 2):
                if peaks[near] > limit and not is_listed[near] and not unusable[near]:
                    is_listed[near] = True
                    out[n] = near
                    n += 1
    return out[:n]


@compiled
def mark(places: Ints, rays: Bools, mask: Bools) -> Ints:
    """Mark places; return those that were not marked before.

    Parameters
    ----------
    places : (N,) int64, flat indices into the padded planes
    rays, mask : (NY, NX) bool, with the edges of `rowmedians.plane_shape`; both are marked
    """
    flat, flat_mask = rays.reshape(-1), mask.reshape(-1)
    out, n = np.empty(len(places), np.int64), 0
    for place in places:
        if not flat[place]:
            flat[place] = flat_mask[place] = True
            out[n] = place
            n += 1
    return out[:n]
