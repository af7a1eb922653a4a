"""Exposures per pixel from a context image, and coverage around positions."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bycatch.kernels.neighbourhood import nearest_pixel


def exposure_counts(context: NDArray[np.integer]) -> NDArray[np.int16]:
    """Count the bits that are set in each pixel, over all planes.

    Parameters
    ----------
    context : (ny, nx) or (n_planes, ny, nx) integer array
        Bit k of plane p: drizzled input 32 p + k contributes.  The files hold
        signed 32-bit integers, so the 32nd input makes a value negative; the
        bits are what counts.

    Returns
    -------
    (ny, nx) int16 array
        Number of inputs (chips) that contribute.  Chips of one exposure do not
        overlap, so this is the number of exposures.
    """
    planes = context if context.ndim == 3 else context[np.newaxis]
    counts = np.zeros(planes.shape[1:], dtype=np.int16)
    for plane in planes:
        bits = plane.astype(np.int64) & 0xFFFFFFFF
        counts += np.bitwise_count(bits.astype(np.uint32))
    return counts


def box_fraction(
    mask: NDArray[np.bool_], x: ArrayLike, y: ArrayLike, box_px: int
) -> NDArray[np.float64]:
    """Return the share of true pixels in a box around each position.

    Parameters
    ----------
    mask : (ny, nx) bool array
    x, y : (N,) float
        Positions, 0-based pixel centres.
    box_px : int
        Side of the box.  Pixels beyond the edge of the array count neither
        for nor against.

    Returns
    -------
    (N,) float array
        NaN where the box lies wholly off the array, or the position is not finite.
    """
    ny, nx = mask.shape
    total = np.zeros((ny + 1, nx + 1), dtype=np.int64)
    np.cumsum(np.cumsum(mask, axis=0, dtype=np.int64), axis=1, out=total[1:, 1:])
    x0, y0 = (nearest_pixel(np.asarray(p, dtype=float)) - box_px // 2 for p in (x, y))
    left, right = np.clip(x0, 0, nx), np.clip(x0 + box_px, 0, nx)
    low, high = np.clip(y0, 0, ny), np.clip(y0 + box_px, 0, ny)
    count = total[high, right] - total[low, right] - total[high, left] + total[low, left]
    area = (right - left) * (high - low)
    return np.where(area > 0, count / np.maximum(area, 1), np.nan)
