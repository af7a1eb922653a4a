"""Peaks of an image from which its smooth light is taken: the cores of close sources."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from bycatch.arrays import Bools, Floats, Image
from bycatch.kernels.bounds import check_shapes, length_px
from bycatch.kernels.compiled import compiled
from bycatch.kernels.neighbourhood import plane
from bycatch.kernels.peaks import is_maximum
from bycatch.kernels.threads import ROWS_WORTH_A_THREAD, in_portions

TRUNCATED = 3.0
"""Gaussians end at so many sigma."""
LEAST_CURVATURE = 1e-30
FAINTEST = 1e-12
BAND_ROWS = 128
"""So many rows of the difference are in memory at a time."""
STRETCH = 512


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
    light, has_data = plane(sci, np.float32), plane(valid, np.bool_)
    weights = _weights(inner_px), _weights(outer_px)
    parts: dict[int, NDArray[np.float64]] = {}

    def work(first: int, end: int) -> None:
        for row in range(first, end, BAND_ROWS):
            last = min(row + BAND_ROWS, end)
            low, high = max(row - 1, 0), min(last + 1, ny)
            sharp = np.empty((high - low, nx), np.float32)
            _write_difference(light, has_data, low, *weights, sharp)
            images = sharp, light[low:high], has_data[low:high]
            parts[row] = _peaks(*images, row - low, last - low, low, max(least, FAINTEST))

    if ny and nx:
        in_portions(work, ny, ROWS_WORTH_A_THREAD)
    bands = [parts[first] for first in sorted(parts)] or [np.empty((3, 0))]
    x, y, height = np.concatenate(bands, axis=1)
    return x, y, height


def _weights(sigma_px: float) -> Floats:
    """Return one half of a Gaussian, from its middle outwards, as `gaussian_filter` has it."""
    reach = int(TRUNCATED * sigma_px + 0.5)
    profile = np.exp(-0.5 / sigma_px**2 * np.arange(-reach, reach + 1) ** 2)
    return np.asarray((profile / profile.sum())[reach:])


@compiled
def _write_difference(
    sci: Image, valid: Bools, first: int, inner: Floats, outer: Floats, out: Image
) -> None:
    """Write the rows of the difference of two Gaussians from ``first`` on.

    Sums have the order of `scipy.ndimage.gaussian_filter`, and the same bits.
    """
    ny, nx = sci.shape
    reach = len(outer) - 1
    size = 2 * reach + 1
    # Row r of the image is kept in row r % size.
    light = np.zeros((size, nx), np.float32)
    near, far = np.zeros(nx + 2 * reach, np.float32), np.zeros(nx + 2 * reach, np.float32)
    total = np.empty(STRETCH)
    for row in range(first - 2 * reach, first + len(out)):
        line = light[(row + reach) % size]
        line[:] = np.float32(0)
        if 0 <= row + reach < ny:
            _take(sci[row + reach], valid[row + reach], line)
        if row < first:
            continue
        for x in range(0, nx, STRETCH):
            end = min(x + STRETCH, nx)
            _add_rows(light, row, x, end, inner, total)
            _store(total, near[reach + x : reach + end])
            _add_rows(light, row, x, end, outer, total)
            _store(total, far[reach + x : reach + end])
        target = out[row - first]
        for x in range(0, nx, STRETCH):
            end = min(x + STRETCH, nx)
            _add_columns(near, reach + x, reach + end, inner, total)
            _store(total, target[x:end])
            _add_columns(far, reach + x, reach + end, outer, total)
            _subtract(total, target[x:end])


@compiled
def _take(sci: Image, valid: Bools, line: Image) -> None:
    for x in range(line.size):
        has_data = valid[x] and math.isfinite(sci[x])
        line[x] = sci[x] if has_data else np.float32(0)


@compiled
def _add_rows(light: Image, row: int, x: int, end: int, half: Floats, total: Floats) -> None:
    """Write the sums down the columns; both sides of a Gaussian have the same weight."""
    size = light.shape[0]
    _multiply(light[row % size, x:end], half[0], total)
    for j in range(len(half) - 1, 0, -1):
        _add(light[(row - j) % size, x:end], light[(row + j) % size, x:end], half[j], total)


@compiled
def _add_columns(line: Image, x: int, end: int, half: Floats, total: Floats) -> None:
    _multiply(line[x:end], half[0], total)
    for j in range(len(half) - 1, 0, -1):
        _add(line[x - j : end - j], line[x + j : end + j], half[j], total)


@compiled
def _multiply(line: Image, weight: float, total: Floats) -> None:
    for x in range(line.size):
        total[x] = np.float64(line[x]) * weight


@compiled
def _add(before: Image, after: Image, weight: float, total: Floats) -> None:
    for x in range(before.size):
        total[x] += (np.float64(before[x]) + np.float64(after[x])) * weight


@compiled
def _store(total: Floats, out: Image) -> None:
    for x in range(out.size):
        out[x] = np.float32(total[x])


@compiled
def _subtract(total: Floats, out: Image) -> None:
    for x in range(out.size):
        out[x] -= np.float32(total[x])


def response(inner_px: float, outer_px: float) -> float:
    """Return the noise of the difference for independent pixels of noise 1.

    Parameters
    ----------
    inner_px, outer_px : sigmas of the two Gaussians, px
    """
    side = 2 * (math.ceil(TRUNCATED * outer_px) + 1) + 1
    point = np.zeros((side, side))
    point[side // 2, side // 2] = 1.0
    kernel = gaussian_filter(point, inner_px, truncate=TRUNCATED)
    kernel -= gaussian_filter(point, outer_px, truncate=TRUNCATED)
    return float(np.sqrt(np.sum(kernel**2)))


@compiled
def _peaks(
    sharp: Image, sci: Image, valid: Bools, first: int, end: int, low: int, least: float
) -> NDArray[np.float64]:
    """Return (3, N): x, y, height of the peaks in some rows; the first row is ``low``."""
    ny, nx = sharp.shape
    out, n = np.empty((3, 256)), 0
    for row in range(first, end):
        for column in range(nx):
            if not (sharp[row, column] > least and valid[row, column]):
                continue
            if not math.isfinite(sci[row, column]):
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
