"""Clipped sky statistics in annuli, for many positions at once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bycatch.arrays import Floats
from bycatch.kernels.bounds import check_shapes, length_px
from bycatch.kernels.compiled import compiled, long
from bycatch.kernels.neighbourhood import plane, points, span
from bycatch.kernels.threads import WORTH_A_THREAD, in_portions

LEAST_FREE = 0.25
"""Share of an annulus that must be free of other sources for these to be left out."""


@dataclass(frozen=True, eq=False)
class SkyStats:
    """Sky of N positions; median and standard deviation are NaN where no pixel is left."""

    median: NDArray[np.float64]
    std: NDArray[np.float64]
    n_pixels: NDArray[np.int64]


def annulus_stats(
    data: NDArray[np.floating],
    valid: NDArray[np.bool_],
    x: ArrayLike,
    y: ArrayLike,
    radii_px: tuple[float, float],
    clip_sigma: float,
    labels: NDArray[np.integer[Any]] | None = None,
) -> SkyStats:
    """Return the clipped median and standard deviation of annuli.

    Parameters
    ----------
    data, valid : (ny, nx)
    x, y : (N,) positions, 0-based pixel centres
    radii_px : inner and outer radius; a pixel counts where its centre lies between them
    clip_sigma : pixels farther than this many standard deviations from the
        median are dropped, until none is
    labels : (ny, nx) int, optional
        Pixels that have a label do not count, unless it is that of the pixel at the position; where
        less than `LEAST_FREE` of the annulus is left so, all do.

    Returns
    -------
    SkyStats
        ``n_pixels`` are those left after the clipping.
    """
    check_shapes(data, valid)
    column, row = points(x, y)
    out = np.full((len(column), 3), [np.nan, np.nan, 0.0])
    image, mask, limit = plane(data), plane(valid, np.bool_), float(clip_sigma)
    if labels is not None:
        check_shapes(data, labels)
    label_image = plane(np.empty((0, 0)) if labels is None else labels, np.int32)
    radii = (length_px(radii_px[0]), length_px(radii_px[1]))

    def work(i: int, j: int) -> None:
        _annulus_stats(image, mask, label_image, column[i:j], row[i:j], radii, limit, out[i:j])

    in_portions(work, len(column), WORTH_A_THREAD)
    return SkyStats(out[:, 0], out[:, 1], out[:, 2].astype(np.int64))


def clipped_rows(values: Floats, clip_sigma: float) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Return clipped median, standard deviation and count of each row.

    Only finite values count.  The clipping is that of `annulus_stats`.

    Parameters
    ----------
    values : (N, M) float
    clip_sigma : limit, in standard deviations
    """
    out = np.full((len(values), 3), [np.nan, np.nan, 0.0])
    _clipped_rows(plane(values, np.float64), float(clip_sigma), out)
    return out[:, 0], out[:, 1], out[:, 2].astype(np.int64)


@compiled
def _annulus_stats(
    data: NDArray[np.floating],
    valid: NDArray[np.bool_],
    labels: NDArray[np.int32],
    x: Floats,
    y: Floats,
    radii: tuple[float, float],
    clip_sigma: float,
    out: Floats,
) -> None:
    """Fill rows of ``out`` with median, standard deviation and count; ``labels`` may be empty."""
    ny, nx = data.shape
    inner, outer = radii
    side = int(2 * outer) + 3
    values = np.empty(min(side, ny) * min(side, nx), dtype=data.dtype)
    others = np.empty(values.size if labels.size else 0, dtype=data.dtype)
    for k in range(x.size):
        row0, row1 = span(y[k], outer, ny)
        column0, column1 = span(x[k], outer, nx)
        n = n_all = long(0)
        own = _label_at(labels, x[k], y[k])
        for row in range(row0, row1):
            dy2 = (row - y[k]) ** 2
            for column in range(column0, column1):
                distance2 = (column - x[k]) ** 2 + dy2
                if inner * inner <= distance2 <= outer * outer and valid[row, column]:
                    value = data[row, column]
                    if math.isfinite(value):
                        n_all += 1
                        if labels.size and labels[row, column] not in (0, own):
                            others[n_all - n - 1] = value
                            continue
                        values[n] = value
                        n += 1
        if n < LEAST_FREE * n_all:
            values[n:n_all] = others[: n_all - n]
            n = n_all
        if n:
            out[k, 0], out[k, 1], out[k, 2] = clip(values, n, clip_sigma)


@compiled
def _label_at(labels: NDArray[np.int32], x: float, y: float) -> int:
    """Return the label at a position, 0 off the image."""
    ny, nx = labels.shape
    if not (-0.5 <= x < nx - 0.5 and -0.5 <= y < ny - 0.5):
        return 0
    # Half a pixel added to what is a hair below a pixel's edge gives the edge: the next pixel.
    return long(labels[min(int(y + 0.5), ny - 1), min(int(x + 0.5), nx - 1)])


@compiled
def _clipped_rows(rows: Floats, clip_sigma: float, out: Floats) -> None:
    values = np.empty(rows.shape[1])
    for k in range(rows.shape[0]):
        n = long(0)
        for value in rows[k]:
            if math.isfinite(value):
                values[n] = value
                n += 1
        if n:
            out[k, 0], out[k, 1], out[k, 2] = clip(values, n, clip_sigma)


@compiled
def clip(values: NDArray[np.floating], n: int, clip_sigma: float) -> tuple[float, float, int]:
    """Return median, standard deviation and number of what clipping leaves of ``values[:n]``.

    What is farther from the median than ``clip_sigma`` standard deviations is
    dropped, until nothing is.  The values lose their order; ``n`` is at least 1.

    Parameters
    ----------
    values : (m,) float, m at least n, all finite; reordered
    n : values to use
    clip_sigma : limit, in standard deviations
    """
    while True:
        median = middle(values, n)
        # Sums about the median keep the variance exact where the sky is far from zero.
        total, squares = 0.0, 0.0
        for i in range(n):
            offset = values[i] - median
            total += offset
            squares += offset * offset
        mean = total / n
        std = math.sqrt(max(squares / n - mean * mean, 0.0))
        low, high = median - clip_sigma * std, median + clip_sigma * std
        n_inside = 0
        for i in range(n):
            value = values[i]
            values[n_inside] = value
            n_inside += low <= value <= high
        # Rounding of the sums must not clip everything away.
        if n_inside in (n, 0):
            return median, std, n
        n = n_inside


@compiled
def middle(values: NDArray[np.floating], n: int) -> float:
    """Return the median of ``values[:n]``, which lose their order.

    Parameters
    ----------
    values : (m,) float, m at least n; reordered
    n : values to use, at least 1
    """
    k = (n - 1) // 2
    lower: float = np.float64(select(values, n, k))
    if n % 2:
        return lower
    # What follows the k-th is not below it: the next one is the smallest of that.
    upper: float = values[k + 1]
    for i in range(k + 2, n):
        upper = min(upper, values[i])
    return 0.5 * (lower + upper)


@compiled
def select(values: NDArray[np.floating], n: int, k: int) -> float:
    """Return the k-th smallest of ``values[:n]``, with the smaller before it (Hoare's FIND).

    The parting has no branches, which can't be predicted, and takes the value at k
    for the pivot: in the next round of a clipping that is nearly the k-th already.

    Parameters
    ----------
    values : (m,) float, m at least n; reordered
    n : values to use
    k : 0 to n - 1
    """
    first, stop = 0, n
    while True:
        pivot: float = values[k]
        # Below the pivot, equal to it, above it.
        below = first
        for i in range(first, stop):
            value = values[i]
            values[i] = values[below]
            values[below] = value
            below += value < pivot
        above = below
        for i in range(below, stop):
            value = values[i]
            values[i] = values[above]
            values[above] = value
            above += value <= pivot
        if k < below:
            stop = below
        elif k < above:
            return pivot
        else:
            first = above
