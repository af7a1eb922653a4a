"""Second moments of a source: of its segment, and under a Gaussian of its own shape."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from bycatch.arrays import Bools, Floats, Image
from bycatch.kernels.compiled import compiled
from bycatch.kernels.fastmath import fast_exp
from bycatch.kernels.moments import THINNEST
from bycatch.kernels.neighbourhood import span

Labels = NDArray[np.int32]
Images = tuple[Image, Bools, Labels]  # data, valid, labels
MAX_REACH_PX = 200.0
"""Nothing farther than this from a position is looked at (the longest Kron ellipse of a real galaxy
in a field of ACS is shorter); it bounds the time that a bled star takes."""
FIRST_WINDOW_PX = 1.5
WINDOW_REACH = 4.0
MAX_WINDOW_PX = 12.0
MAX_ITERATIONS = 60
SETTLED = 1e-5


@compiled
def is_usable(images: Images, row: int, column: int, label: int) -> bool:
    """Return whether a pixel has data and is of no other segment.

    Parameters
    ----------
    images : data, valid, labels; without labels of shape (0, 0)
    row, column : the pixel
    label : own segment
    """
    if not images[1][row, column]:
        return False
    if images[2].size == 0:
        return True
    there = images[2][row, column]
    return bool(there in (0, label))


@compiled
def segment_moments(
    images: Images, sky: float, x: float, y: float, label: int, box: NDArray[np.int64]
) -> tuple[float, float, float]:
    """Return variances xx, yy, xy of the positive pixels of a segment; NaN where it has none.

    Parameters
    ----------
    images : data, valid, labels
    sky : per pixel
    x, y : position
    label : the segment
    box : (4,) int; its columns and rows, from and to
    """
    data, valid, segments = images
    x0, x1 = max(box[0], int(x - MAX_REACH_PX)), min(box[1], int(x + MAX_REACH_PX) + 1)
    y0, y1 = max(box[2], int(y - MAX_REACH_PX)), min(box[3], int(y + MAX_REACH_PX) + 1)
    total, sx, sy, xx, yy, xy = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for row in range(y0, y1):
        for column in range(x0, x1):
            if segments[row, column] == label and valid[row, column]:
                value = data[row, column] - sky
                if value > 0:
                    # About the position: so near the barycentre no digits cancel.
                    dx, dy = column - x, row - y
                    total += value
                    sx += value * dx
                    sy += value * dy
                    xx += value * dx * dx
                    yy += value * dy * dy
                    xy += value * dx * dy
    if total <= 0:
        return np.nan, np.nan, np.nan
    sx, sy = sx / total, sy / total
    return xx / total - sx * sx, yy / total - sy * sy, xy / total - sx * sy


@compiled
def adaptive_moments(
    images: Images, sky: float, x: float, y: float, label: int, stamp: Floats, rows: Floats
) -> tuple[float, float, float]:
    """Return variances xx, yy, xy under a Gaussian weight of the same shape; NaN if none fits.

    Under a weight of its own covariance C a Gaussian has the covariance C / 2.

    Parameters
    ----------
    images : data, valid, labels
    sky : per pixel
    x, y : position
    label : own segment
    stamp : (side, side) float; working memory for the largest window, written
    rows : (4, side) float; likewise
    """
    xx = yy = FIRST_WINDOW_PX * FIRST_WINDOW_PX
    xy, reach = 0.0, 0.0
    box = (0, 0, 0, 0)
    for _ in range(MAX_ITERATIONS):
        det = xx * yy - xy * xy
        if not (xx > 0 and yy > 0 and max(xx, yy) < MAX_WINDOW_PX * MAX_WINDOW_PX):
            break
        if not det > THINNEST * THINNEST:
            # Narrower than a pixel, as a cosmic ray is: there is no more to find.
            return xx, yy, xy
        least_reach = WINDOW_REACH * math.sqrt(max(xx, yy))
        if least_reach > reach:
            reach = min(1.5 * least_reach, WINDOW_REACH * MAX_WINDOW_PX)
            box = _fill_stamp(images, sky, x, y, label, reach, stamp)
        total, new_xx, new_yy, new_xy = _weighted_sums(stamp, box, x, y, (xx, yy, xy), rows)
        if not total > 0:
            break
        new_xx, new_yy, new_xy = 2.0 * new_xx / total, 2.0 * new_yy / total, 2.0 * new_xy / total
        change = abs(new_xx - xx) + abs(new_yy - yy) + abs(new_xy - xy)
        if change < SETTLED * (xx + yy):
            return new_xx, new_yy, new_xy
        xx, yy, xy = new_xx, new_yy, new_xy
    return np.nan, np.nan, np.nan


@compiled
def _fill_stamp(
    images: Images, sky: float, x: float, y: float, label: int, reach: float, stamp: Floats
) -> tuple[int, int, int, int]:
    """Fill in the light around a position, 0 where none counts; return rows and columns of it."""
    row0, row1 = span(y, reach, images[0].shape[0])
    column0, column1 = span(x, reach, images[0].shape[1])
    for row in range(row0, row1):
        for column in range(column0, column1):
            light = 0.0
            if is_usable(images, row, column, label):
                light = images[0][row, column] - sky
            stamp[row - row0, column - column0] = light
    return row0, row1, column0, column1


@compiled
def _weighted_sums(
    stamp: Floats,
    box: tuple[int, int, int, int],
    x: float,
    y: float,
    variances: tuple[float, float, float],
    rows: Floats,
) -> tuple[float, float, float, float]:
    """Return the sum under a Gaussian of given variances xx, yy, xy, and its second moments.

    Along a row the weights are a geometric series with a ratio that is one, too.
    """
    first_row, end_row, first_column, end_column = box
    xx, yy, xy = variances
    det = xx * yy - xy * xy
    # Divided by once: a division takes as long as several pixels.
    by_yy, by_det = 1.0 / yy, 1.0 / det
    root = math.sqrt(det)
    bend = fast_exp(-yy * by_det)
    reach = WINDOW_REACH * math.sqrt(yy)
    row0 = max(math.floor(y - reach), first_row)
    row1 = min(math.ceil(y + reach) + 1, end_row)
    total, sum_xx, sum_yy, sum_xy = 0.0, 0.0, 0.0, 0.0
    # All that a row needs first: that loop does several at a time.
    for k in range(row1 - row0):
        dy = k + (row0 - y)
        room = WINDOW_REACH * WINDOW_REACH * yy - dy * dy
        middle, half = x + xy * dy * by_yy, root * math.sqrt(max(room, 0.0)) * by_yy
        first = max(np.ceil(middle - half), float(first_column))
        end = min(np.floor(middle + half) + 1.0, float(end_column))
        dx = first - x
        rows[0, k], rows[1, k] = first, end if room > 0.0 else first
        rows[2, k] = fast_exp(-0.5 * (yy * dx * dx - 2.0 * xy * dx * dy + xx * dy * dy) * by_det)
        rows[3, k] = fast_exp((xy * dy - yy * (dx + 0.5)) * by_det)
    for k in range(row1 - row0):
        line, line_x, line_xx = 0.0, 0.0, 0.0
        light, dx = stamp[row0 + k - first_row], rows[0, k] - x
        weight, ratio = rows[2, k], rows[3, k]
        for i in range(int(rows[0, k]) - first_column, int(rows[1, k]) - first_column):
            value = light[i] * weight
            line += value
            line_x += value * dx
            line_xx += value * dx * dx
            dx += 1.0
            weight *= ratio
            ratio *= bend
        dy = k + (row0 - y)
        total += line
        sum_xx += line_xx
        sum_yy += line * dy * dy
        sum_xy += line_x * dy
    return total, sum_xx, sum_yy, sum_xy
