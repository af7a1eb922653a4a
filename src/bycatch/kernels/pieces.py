"""Where deblended sources touch, and how the light of each is spread about its peak."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bycatch.arrays import Floats, Image, Ints
from bycatch.kernels.bounds import check_shapes, label_plane
from bycatch.kernels.compiled import compiled
from bycatch.kernels.neighbourhood import plane

Labels = NDArray[np.int32]

FLUX, PEAK, PEAK_X, PEAK_Y, SUM_X, SUM_Y, SUM_XX, SUM_YY, SUM_XY = range(9)

USUAL_PAIRS = 32
"""Room for so many pairs of pixels across borders per label; more take a second pass."""
STRETCH = 64


@dataclass(frozen=True, eq=False)
class Contacts:
    """Sources that touch others.

    Attributes
    ----------
    first, second : (K,) labels of pairs that touch, first < second
    saddle : (K,) height of the pass between them: the highest of the pixels at the border, each
        taken with its lower neighbour beyond it
    flux, peak : (N + 1,) sum and maximum by label, the first of which is not used; 0 of labels
        that touch none
    peak_x, peak_y : (N + 1,) int, its pixel
    xx, yy, xy : (N + 1,) second moments about the peak, px^2
    """

    first: Ints
    second: Ints
    saddle: Floats
    flux: Floats
    peak: Floats
    peak_x: Ints
    peak_y: Ints
    xx: Floats
    yy: Floats
    xy: Floats


def contacts(smooth: Image, labels: Labels, n_labels: int) -> Contacts:
    """Return which sources touch, and their moments.

    Parameters
    ----------
    smooth : (ny, nx) float
        Background subtracted; counts where it is finite and positive.
    labels : (ny, nx) int
        0, or 1 to ``n_labels``; larger ones and negative ones count as 0.
    n_labels : int
    """
    image, segments = plane(smooth), label_plane(labels)
    check_shapes(image, segments)
    size = max(n_labels, 0) + 1
    room = USUAL_PAIRS * size
    while True:
        pairs, heights = np.empty((room, 2), np.int32), np.empty(room)
        n_pairs = _borders(image, segments, size - 1, pairs, heights)
        if n_pairs <= room:
            break
        room = n_pairs
    pairs, heights = pairs[:n_pairs], heights[:n_pairs]
    # The highest of each pair of labels comes last.
    order = np.lexsort((heights, pairs[:, 1], pairs[:, 0]))
    pairs, heights = pairs[order], heights[order]
    last = np.ones(n_pairs, bool)
    last[:-1] = (pairs[1:] != pairs[:-1]).any(axis=1)
    first, second = pairs[last].astype(np.int64).T
    is_wanted = np.zeros(size, bool)
    is_wanted[first] = is_wanted[second] = True
    sums = np.zeros((size, 9))
    _sums(image, segments, is_wanted, sums)
    flux = sums[:, FLUX]
    x, y = sums[:, PEAK_X], sums[:, PEAK_Y]
    with np.errstate(divide="ignore", invalid="ignore"):
        mean_x, mean_y = sums[:, SUM_X] / flux, sums[:, SUM_Y] / flux
        xx = sums[:, SUM_XX] / flux - 2 * x * mean_x + x * x
        yy = sums[:, SUM_YY] / flux - 2 * y * mean_y + y * y
        xy = sums[:, SUM_XY] / flux - x * mean_y - y * mean_x + x * y
    return Contacts(
        first,
        second,
        heights[last],
        flux,
        sums[:, PEAK],
        x.astype(np.int64),
        y.astype(np.int64),
        *(np.nan_to_num(moment) for moment in (xx, yy, xy)),
    )


def rename_labels(labels: Labels, names: NDArray[np.integer]) -> Labels:
    """Give other names to labels, in place.

    Parameters
    ----------
    labels : (ny, nx) int32, writable; 0, or an index of ``names``
    names : (N + 1,) int
    """
    _rename(labels, np.ascontiguousarray(names, np.int32))
    return labels


@compiled
def _borders(image: Image, labels: Labels, n_labels: int, pairs: Labels, heights: Floats) -> int:
    """List the pairs of pixels across borders as long as there is room; return their number."""
    ny, nx = labels.shape
    n = 0
    for row in range(ny):
        for start in range(0, nx, STRETCH):
            end = min(start + STRETCH, nx)
            if _is_empty(labels[row, start:end]):
                continue
            for column in range(start, end):
                own = labels[row, column]
                if own <= 0 or own > n_labels:
                    continue
                # To the right, and the three below.
                for step in range(4):
                    line = row + (step > 0)
                    beside = column + 1 if step == 0 else column + step - 2
                    if line >= ny or beside < 0 or beside >= nx:
                        continue
                    other = labels[line, beside]
                    if other <= 0 or other > n_labels or other == own:
                        continue
                    if n < heights.size:
                        pairs[n, 0], pairs[n, 1] = min(own, other), max(own, other)
                        height = min(image[row, column], image[line, beside])
                        heights[n] = height if np.isfinite(height) else 0.0
                    n += 1
    return n


@compiled
def _is_empty(labels: Labels) -> bool:
    """Tell whether some pixels of a row are all sky, which takes less time than to look at each."""
    some = np.int32(0)
    for k in range(labels.size):
        some |= labels[k]
    return bool(some == 0)


@compiled
def _sums(
    image: Image, labels: Labels, is_wanted: NDArray[np.bool_], sums: NDArray[np.float64]
) -> None:
    """Add up the moments of the labels that are wanted, about the origin."""
    ny, nx = labels.shape
    for row in range(ny):
        for start in range(0, nx, STRETCH):
            end = min(start + STRETCH, nx)
            if _is_empty(labels[row, start:end]):
                continue
            for column in range(start, end):
                k = labels[row, column]
                if k <= 0 or k >= is_wanted.size or not is_wanted[k]:
                    continue
                value = float(image[row, column])
                if not (np.isfinite(value) and value > 0):
                    continue
                sums[k, FLUX] += value
                if value > sums[k, PEAK]:
                    sums[k, PEAK], sums[k, PEAK_X], sums[k, PEAK_Y] = value, column, row
                sums[k, SUM_X] += value * column
                sums[k, SUM_Y] += value * row
                sums[k, SUM_XX] += value * column * column
                sums[k, SUM_YY] += value * row * row
                sums[k, SUM_XY] += value * column * row


@compiled
def _rename(labels: Labels, names: Labels) -> None:
    ny, nx = labels.shape
    for row in range(ny):
        for column in range(nx):
            k = labels[row, column]
            if 0 < k < names.size:
                labels[row, column] = names[k]
