"""Sums in circular apertures with exact pixel overlap, for many positions at once."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bycatch.arrays import Floats
from bycatch.kernels.bounds import check_shapes, length_px
from bycatch.kernels.compiled import compiled
from bycatch.kernels.neighbourhood import plane, points, span
from bycatch.kernels.threads import WORTH_A_THREAD, in_portions


def circle_sums(
    data: NDArray[np.floating],
    valid: NDArray[np.bool_],
    x: ArrayLike,
    y: ArrayLike,
    radii_px: Sequence[float],
) -> tuple[Floats, Floats]:
    """Sum an image in circles with exact pixel overlap.

    Parameters
    ----------
    data, valid : (ny, nx)
        Only valid pixels count.
    x, y : (N,) float
        0-based pixel centres; may be off the image, or not finite.
    radii_px : R radii, larger than 0

    Returns
    -------
    sums, areas : (N, R) float
        The area is that of the valid part, px^2; both are 0 where it is empty.
    """
    check_shapes(data, valid)
    radii = np.array([length_px(radius) for radius in radii_px], dtype=np.float64)
    column, row = points(x, y)
    sums, areas = np.zeros((len(column), len(radii))), np.zeros((len(column), len(radii)))
    order = np.argsort(radii)
    if len(radii):
        image, mask, rising = plane(data), plane(valid, np.bool_), radii[order]

        def work(i: int, j: int) -> None:
            _circle_sums(image, mask, column[i:j], row[i:j], rising, sums[i:j], areas[i:j])

        in_portions(work, len(column), WORTH_A_THREAD)
    back = np.argsort(order)
    return sums[:, back], areas[:, back]


@compiled
def _circle_sums(
    data: NDArray[np.floating],
    valid: NDArray[np.bool_],
    x: Floats,
    y: Floats,
    radii: Floats,
    sums: Floats,
    areas: Floats,
) -> None:
    """Fill (N, R) sums and areas; the radii increase."""
    ny, nx = data.shape
    n_radii = radii.size
    largest = radii[n_radii - 1]
    whole = np.zeros((2, n_radii))
    for k in range(x.size):
        row0, row1 = span(y[k], largest, ny)
        column0, column1 = span(x[k], largest, nx)
        whole[:] = 0.0
        for row in range(row0, row1 if column0 < column1 else row0):
            dy, pixels, good = abs(row - y[k]), data[row], valid[row]
            # Pixels that lie whole in one circle do so in all that are larger.
            start, stop = 0, 0
            for r in range(n_radii):
                touched0, touched1, whole0, whole1 = row_runs(x[k], dy, radii[r], column0, column1)
                if touched0 < whole0:
                    total, area = _cut_sum(pixels, good, x[k], dy, radii[r], touched0, whole0)
                    sums[k, r] += total
                    areas[k, r] += area
                if whole1 < touched1:
                    total, area = _cut_sum(pixels, good, x[k], dy, radii[r], whole1, touched1)
                    sums[k, r] += total
                    areas[k, r] += area
                if start == stop:
                    start, stop = whole0, whole0
                for column in range(whole0, start):
                    if good[column]:
                        whole[0, r] += pixels[column]
                        whole[1, r] += 1.0
                for column in range(stop, whole1):
                    if good[column]:
                        whole[0, r] += pixels[column]
                        whole[1, r] += 1.0
                start, stop = whole0, whole1
        total, area = 0.0, 0.0
        for r in range(n_radii):
            total += whole[0, r]
            area += whole[1, r]
            sums[k, r] += total
            areas[k, r] += area


@compiled
def _cut_sum(
    pixels: NDArray[np.floating],
    good: NDArray[np.bool_],
    x: float,
    dy: float,
    radius: float,
    first: int,
    stop: int,
) -> tuple[float, float]:
    """Return sum and area of what a circle has of some columns of a row."""
    total, area = 0.0, 0.0
    for column in range(first, stop):
        if good[column]:
            share = pixel_share(abs(column - x), dy, radius)
            total += share * pixels[column]
            area += share
    return total, area


@compiled
def row_runs(
    x: float, dy: float, radius: float, first: int, stop: int
) -> tuple[int, int, int, int]:
    """Return which columns of a row a circle touches, and which of them lie in it as a whole.

    Both as a first index and the one past the last, within ``first`` and ``stop``.

    Parameters
    ----------
    x : column of the circle's centre, px
    dy : distance of the row from the centre, px, 0 or more
    radius : px
    first, stop : first column, and the one past the last
    """
    square = radius * radius
    low = max(dy - 0.5, 0.0)
    if low >= radius:
        return 0, 0, 0, 0
    reach = math.sqrt(square - low * low) + 0.5
    touched0 = min(max(math.ceil(x - reach), first), stop)
    touched1 = min(max(math.floor(x + reach) + 1, touched0), stop)
    rest = square - (dy + 0.5) * (dy + 0.5)
    if rest <= 0.25:
        return touched0, touched1, touched0, touched0
    reach = math.sqrt(rest) - 0.5
    whole0 = min(max(math.ceil(x - reach), touched0), touched1)
    whole1 = min(max(math.floor(x + reach) + 1, whole0), touched1)
    return touched0, touched1, whole0, whole1


@compiled
def pixel_share(dx: float, dy: float, radius: float) -> float:
    """Return the area that a circle about the origin shares with a unit pixel centred at (dx, dy).

    ``dx`` and ``dy`` are not negative.  A pixel that straddles an axis is folded
    on it, so that all areas lie in the first quadrant, where the circle falls.

    Parameters
    ----------
    dx, dy : of the pixel's centre from the circle's, px, 0 or more
    radius : px
    """
    x0, x1, y0, y1 = dx - 0.5, dx + 0.5, dy - 0.5, dy + 0.5
    left, low = max(x0, 0.0), max(y0, 0.0)
    area = _quadrant_share(left, x1, low, y1, radius)
    if x0 < 0:
        area += _quadrant_share(0.0, -x0, low, y1, radius)
    if y0 < 0:
        area += _quadrant_share(left, x1, 0.0, -y0, radius)
        if x0 < 0:
            area += _quadrant_share(0.0, -x0, 0.0, -y0, radius)
    return area


@compiled
def _quadrant_share(x0: float, x1: float, y0: float, y1: float, radius: float) -> float:
    """Return the area of a circle within a rectangle of the first quadrant."""
    square = radius * radius
    if x0 * x0 + y0 * y0 >= square:
        return 0.0
    if x1 * x1 + y1 * y1 <= square:
        return (x1 - x0) * (y1 - y0)
    # The arc enters at (xa, ya), through the top or the left side, and leaves at (xb, yb),
    # through the right side or the bottom.  Without branches: which it is can't be predicted.
    xa = math.sqrt(max(x0 * x0, square - y1 * y1))
    ya = math.sqrt(min(y1 * y1, square - x0 * x0))
    xb = math.sqrt(min(x1 * x1, square - y0 * y0))
    yb = math.sqrt(max(y0 * y0, square - x1 * x1))
    # A rectangle left of the arc, a trapezoid under its chord, and what lies beyond the chord.
    below = (xa - x0) * (y1 - y0) + (xb - xa) * (0.5 * (ya + yb) - y0)
    chord2 = (xb - xa) * (xb - xa) + (yb - ya) * (yb - ya)
    return below + square * _segment(0.25 * chord2 / square)


@compiled
def _segment(sine2: float) -> float:
    """Return the area between a chord of the unit circle and its arc.

    ``sine2`` is the square of the sine of half the angle that the chord subtends.
    """
    sine = math.sqrt(sine2)
    if sine2 < 0.04:
        # The series of the form below, in which digits would cancel; to 1e-14.
        series = 77 / 2560 + sine2 * (429 / 17408)
        for coefficient in (63 / 1664, 35 / 704, 5 / 72, 3 / 28, 1 / 5, 2 / 3):
            series = coefficient + sine2 * series
        return sine * sine2 * series
    return math.asin(min(sine, 1.0)) - sine * math.sqrt(max(1.0 - sine2, 0.0))
