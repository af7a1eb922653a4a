"""Peaks of an image from which its smooth light is taken: the cores of close sources."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from bycatch.arrays import Bools, Floats
from bycatch.kernels.bounds import check_shapes, length_px
from bycatch.kernels.compiled import compiled
from bycatch.kernels.neighbourhood import plane
from bycatch.kernels.peaks import is_maximum
from bycatch.kernels.threads import ROWS_WORTH_A_THREAD, in_portions

TRUNCATED = 3.0
"""Gaussians end at so many sigma."""
LEAST_CURVATURE = 1e-30
FAINTEST = 1e-12


def sharp_peaks(
    sci: NDArray[np.float32], valid: Bools, inner_px: float, outer_px: float, least: float
) -> tuple[Floats, Floats, Floats]:
    """Return the maxima of an image smoothed a little less the image smoothed much.

    The difference of two Gaussians is a matched filter that is blind to smooth light: a peak shows
    where the image itself has but a shoulder.

    Parameters
    ----------
    sci : (ny, nx) float32
    valid : (ny, nx) bool
        Other pixels count as 0; peaks lie on valid ones.
    inner_px, outer_px : float
        Widths of the Gaussians (sigma), the first less than the second.
    least : float
        Value that a peak exceeds.

    Returns
    -------
    x, y : (N,) float
        Of the peaks, row by row, by parabolas through the neighbouring pixels.
    height : (N,) float
        Value of the difference there.
    """
    check_shapes(sci, valid)
    if not 0 < length_px(inner_px) < length_px(outer_px):
        raise ValueError(f"{inner_px} and {outer_px} px are no widths of two Gaussians")
    ny, nx = sci.shape
    margin = math.ceil(TRUNCATED * outer_px) + 2
    parts: dict[int, NDArray[np.float64]] = {}

    def work(first: int, end: int) -> None:
        low, high = max(first - margin, 0), min(end + margin, ny)
        known = valid[low:high] & np.isfinite(sci[low:high])
        light = np.where(known, sci[low:high], np.float32(0)).astype(np.float32)
        sharp = gaussian_filter(light, inner_px, mode="constant", truncate=TRUNCATED)
        sharp -= gaussian_filter(light, outer_px, mode="constant", truncate=TRUNCATED)
        rows = first - low, end - low, low
        found = _peaks(
            plane(sharp, np.float32), plane(known, np.bool_), *rows, max(least, FAINTEST)
        )
        parts[first] = found

    if ny and nx:
        in_portions(work, ny, ROWS_WORTH_A_THREAD)
    joined = [parts[first] for first in sorted(parts)] or [np.empty((3, 0))]
    x, y, height = np.concatenate(joined, axis=1)
    return x, y, height


def response(inner_px: float, outer_px: float) -> float:
    """Return the noise of the difference for independent pixels of noise 1."""
    side = 2 * (math.ceil(TRUNCATED * outer_px) + 1) + 1
    point = np.zeros((side, side))
    point[side // 2, side // 2] = 1.0
    kernel = gaussian_filter(point, inner_px, truncate=TRUNCATED)
    kernel -= gaussian_filter(point, outer_px, truncate=TRUNCATED)
    return float(np.sqrt(np.sum(kernel**2)))


@compiled
def _peaks(
    sharp: NDArray[np.float32], valid: Bools, first: int, end: int, low: int, least: float
) -> NDArray[np.float64]:
    """Return (3, N): x, y, height of the peaks in some rows; the first row is ``low``."""
    ny, nx = sharp.shape
    out, n = np.empty((3, 256)), 0
    for row in range(first, end):
        for column in range(nx):
            if not (sharp[row, column] > least and valid[row, column]):
                continue
            if not is_maximum(sharp, row, column):
                continue
            # Of equal neighbours the first one is the peak.
            if column > 0 and sharp[row, column - 1] == sharp[row, column]:
                continue
            if row > 0 and sharp[row - 1, column] == sharp[row, column]:
                continue
            if n == out.shape[1]:
                out = np.concatenate((out, np.empty((3, n))), axis=1)
            height = np.float64(sharp[row, column])
            out[0, n], out[1, n], out[2, n] = column, row + low, height
            if 0 < column < nx - 1:
                out[0, n] += _top(sharp[row, column - 1], height, sharp[row, column + 1])
            if 0 < row < ny - 1:
                out[1, n] += _top(sharp[row - 1, column], height, sharp[row + 1, column])
            n += 1
    return out[:, :n].copy()


@compiled
def _top(before: float, here: float, after: float) -> float:
    """Return where the parabola through three values has its top, from the middle one."""
    curvature = 2.0 * here - before - after
    if not curvature > LEAST_CURVATURE:
        return 0.0
    return min(max(0.5 * (after - before) / curvature, -0.5), 0.5)
