"""Exposures per pixel from a context image, and coverage around positions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bycatch.kernels.bounds import check_shapes, highest_label, label_plane, length_px
from bycatch.kernels.compiled import compiled
from bycatch.kernels.neighbourhood import nearest_pixel, plane, points
from bycatch.kernels.threads import ROWS_WORTH_A_THREAD, in_portions

ROWS = 64


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

    def work(first: int, last: int) -> None:
        for bits in planes:
            # Some rows at a time: the copies stay in the processor's cache.
            for y in range(first, last, ROWS):
                strip = slice(y, min(y + ROWS, last))
                counts[strip] += np.bitwise_count(bits[strip].astype(np.uint32))

    in_portions(work, len(counts), ROWS_WORTH_A_THREAD)
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
    length_px(box_px)
    x0, y0 = (nearest_pixel(p) - box_px // 2 for p in points(x, y))
    left, right = np.clip(x0, 0, nx), np.clip(x0 + box_px, 0, nx)
    low, high = np.clip(y0, 0, ny), np.clip(y0 + box_px, 0, ny)
    order = np.argsort(y0, kind="stable")
    count = np.empty(len(order), dtype=np.int64)
    bounds = (b[order].astype(np.int64) for b in (left, right, low, high))
    count[order] = _box_counts(plane(mask, np.bool_), *bounds)
    area = (right - left) * (high - low)
    return np.where(area > 0, count / np.maximum(area, 1), np.nan)


@compiled
def _box_counts(
    mask: NDArray[np.bool_],
    left: NDArray[np.int64],
    right: NDArray[np.int64],
    low: NDArray[np.int64],
    high: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Return the number of true pixels in boxes of which neither ``low`` nor ``high`` decreases.

    The sums of the columns between two rows follow the boxes upwards, so that each row is
    added and taken off once.
    """
    columns = np.zeros(mask.shape[1], np.int32)
    counts = np.zeros(left.size, np.int64)
    first = last = 0
    for k in range(left.size):
        while last < high[k]:
            for x in range(columns.size):
                columns[x] += np.int32(mask[last, x])
            last += 1
        while first < low[k]:
            for x in range(columns.size):
                columns[x] -= np.int32(mask[first, x])
            first += 1
        for x in range(left[k], right[k]):
            counts[k] += columns[x]
    return counts


def mask_shares(
    labels: NDArray[np.integer], mask: NDArray[np.bool_], ids: ArrayLike
) -> NDArray[np.float64]:
    """Return the share of the pixels of segments that a mask holds.

    Parameters
    ----------
    labels : (ny, nx) int array
        0 is no segment.
    mask : (ny, nx) bool array
    ids : (N,) int
        Labels of the segments; one without pixels has a share of 0.

    Raises
    ------
    ValueError
        The shapes differ, or labels are absurd.
    """
    check_shapes(labels, mask)
    segments = plane(label_plane(labels), np.int32)
    n = highest_label(segments) + 1
    area, on_mask = _pixels_of_labels(segments, plane(mask, bool), n)
    rows = np.asarray(ids, dtype=np.int64)
    rows = np.where((rows > 0) & (rows < n), rows, 0)
    return np.asarray(on_mask[rows] / np.maximum(area[rows], 1))


@compiled
def _pixels_of_labels(labels: Any, mask: Any, n: int) -> Any:
    """Return the number of pixels of each label, and of those on the mask."""
    area, on_mask = np.zeros(n, np.int64), np.zeros(n, np.int64)
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            label = labels[y, x]
            if label > 0:
                area[label] += 1
                on_mask[label] += mask[y, x]
    return area, on_mask
