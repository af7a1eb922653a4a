"""Small images around positions, north up whatever the image's grid; and ellipses on them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bycatch.arrays import Bools, Floats, Image
from bycatch.kernels.bounds import FAR, check_shapes, label_plane
from bycatch.kernels.compiled import compiled
from bycatch.kernels.neighbourhood import plane, points
from bycatch.kernels.threads import WORTH_A_THREAD, in_portions

Images = tuple[Image, Bools, NDArray[np.int32]]  # data, valid, labels

MOST_HALF = 120
"""Stamps reach no more steps to each side."""
MASKED_SHARE = 0.25
"""A step is masked where the four pixels around it that count for nothing have so much weight in
it, interpolated linearly."""
MARGIN_PX = 6
"""Around a stamp: what the end of a row does to a spline has shrunk to 4e-4 there."""
WIDEST = 8.0
"""A stamp of more pixels than so many times its steps, along a side, is left empty."""
NO_DATA, OTHERS = 1, 2
"""Why a step is masked."""
NEAR_PX = 2
"""A pixel whose opposite does not count either takes a mean of those so near."""
POLE = math.sqrt(3.0) - 2.0
"""Of the recursive filter whose cubic B-splines go through the pixels (Unser 1999, IEEE Signal
Processing Magazine 16, 22)."""
SUBSTEPS = 5
"""Per axis, in steps that the edge of an ellipse cuts."""


def north_up(
    sci: Image,
    good: Bools,
    labels: NDArray[np.int32],
    x: ArrayLike,
    y: ArrayLike,
    own_label: ArrayLike,
    sky: ArrayLike,
    pixels_per_step: Floats,
    half: ArrayLike,
) -> tuple[Image, NDArray[np.uint8]]:
    """Resample an image around positions by cubic splines.

    Pixels that do not count (not good, not finite, of another segment) take the value of what is
    opposite, or a mean of those around where that does not count either, before splines are laid
    through them.

    Parameters
    ----------
    sci : (ny, nx) float32
    good : (ny, nx) bool
    labels : (ny, nx) int; segments, 0 for none
    x, y : (K,) float; 0-based pixel centres
    own_label : (K,) int; the segment of each position
    sky : (K,) float; what is subtracted from each pixel
    pixels_per_step : (K, 2, 2) float; how far (x, y) move with one step to the west, and to the
        north: [[dx/dw, dx/dn], [dy/dw, dy/dn]]
    half : (K,) int, 0 to 120; steps to each side

    Returns
    -------
    values : float32; stamps of 2 half + 1 rows (to the north) of as many steps (to the west), one
        behind the other; 0 where there is nothing
    masked : uint8, likewise; 0 where pixels count, else 1 (no data) or 2 (of another segment)
    """
    check_shapes(sci, good, labels)
    column, row, level = points(x, y, sky)
    matrix = np.ascontiguousarray(pixels_per_step, dtype=np.float64)
    reach = np.ascontiguousarray(half, dtype=np.int64)
    own = np.ascontiguousarray(own_label, dtype=np.int64)
    n = len(column)
    if matrix.shape != (n, 2, 2) or reach.shape != (n,) or own.shape != (n,):
        raise ValueError(f"{matrix.shape}, {reach.shape}, {own.shape} are not of {n} positions")
    if n and (reach.min() < 0 or reach.max() > MOST_HALF):
        raise ValueError(f"stamps of {reach.min()} to {reach.max()} steps a side")
    start = np.concatenate([[0], np.cumsum((2 * reach + 1) ** 2)])
    values, why_masked = np.zeros(start[-1], np.float32), np.full(start[-1], NO_DATA, np.uint8)
    images = plane(sci, np.float32), plane(good, np.bool_), plane(label_plane(labels), np.int32)

    def work(i: int, j: int) -> None:
        _north_up(
            images, column[i:j], row[i:j], own[i:j], level[i:j], matrix[i:j], reach[i:j],
            start[i:j], (values, why_masked),
        )  # fmt: skip

    in_portions(work, n, WORTH_A_THREAD)
    return values, why_masked


@compiled
def _north_up(
    images: Images,
    x: Floats,
    y: Floats,
    own: NDArray[np.int64],
    sky: Floats,
    matrix: Floats,
    half: NDArray[np.int64],
    start: NDArray[np.int64],
    stamps: tuple[Image, NDArray[np.uint8]],
) -> None:
    values, why_masked = stamps
    for k in range(x.size):
        h = half[k]
        xw, xn, yw, yn = matrix[k, 0, 0], matrix[k, 0, 1], matrix[k, 1, 0], matrix[k, 1, 1]
        reach_x, reach_y = (abs(xw) + abs(xn)) * h, (abs(yw) + abs(yn)) * h
        most = WIDEST * (h + 1)
        if not (abs(x[k]) < FAR and abs(y[k]) < FAR and reach_x < most and reach_y < most):
            continue  # NaN, too
        if not math.isfinite(sky[k]):
            continue
        column0 = math.floor(x[k] - reach_x) - MARGIN_PX
        row0 = math.floor(y[k] - reach_y) - MARGIN_PX
        width = math.ceil(x[k] + reach_x) + MARGIN_PX + 1 - column0
        height = math.ceil(y[k] + reach_y) + MARGIN_PX + 1 - row0
        cutout = np.zeros((height, width))
        kind = np.full((height, width), NO_DATA, np.uint8)
        lacks = _fill(images, x[k], y[k], own[k], sky[k], (column0, row0), cutout, kind)
        if lacks:
            # The pixel nearest to the place opposite will do for splines to be laid through all;
            # they then give the value at the place itself.
            splines = cutout.copy()
            _to_splines(splines)
            _fill_from(splines, kind, x[k] - column0, y[k] - row0, cutout)
        _to_splines(cutout)
        at = start[k]
        for j in range(2 * h + 1):
            n = float(j - h)
            for i in range(2 * h + 1):
                w = float(i - h)
                cx = x[k] + xw * w + xn * n - column0
                cy = y[k] + yw * w + yn * n - row0
                left, low = math.floor(cx), math.floor(cy)
                if 1 <= left < width - 2 and 1 <= low < height - 2:
                    u, v = cx - left, cy - low
                    values[at] = _value(cutout, u, v, left, low)
                    why_masked[at] = _lacking(kind, u, v, left, low) if lacks else 0
                at += 1


@compiled
def _fill(
    images: Images,
    x: float,
    y: float,
    own: int,
    sky: float,
    corner: tuple[int, int],
    cutout: Floats,
    kind: NDArray[np.uint8],
) -> bool:
    """Fill in the pixels that count, and others from opposite; return whether there are others."""
    sci, good, labels = images
    column0, row0 = corner
    ny, nx = sci.shape
    height, width = cutout.shape
    all_count = True
    for j in range(height):
        row = row0 + j
        for i in range(width):
            column = column0 + i
            if row < 0 or column < 0 or row >= ny or column >= nx:
                all_count = False
                continue
            label = labels[row, column]
            value = sci[row, column]
            if not (good[row, column] and math.isfinite(value)):
                all_count = False
            elif label in (0, own):
                cutout[j, i] = value - sky
                kind[j, i] = 0
            else:
                kind[j, i] = OTHERS
                all_count = False
    if all_count:
        return False
    across, along = round(2.0 * (x - column0)), round(2.0 * (y - row0))
    for j in range(height):
        for i in range(width):
            if kind[j, i]:
                b, a = along - j, across - i
                if 0 <= b < height and 0 <= a < width and kind[b, a] == 0:
                    cutout[j, i] = cutout[b, a]
                else:
                    cutout[j, i] = _around(cutout, kind, j, i)
    return True


@compiled
def _around(cutout: Floats, kind: NDArray[np.uint8], j: int, i: int) -> float:
    """Return the mean of the pixels near one, the nearest the most; 0 if none counts."""
    height, width = cutout.shape
    total, weights = 0.0, 0.0
    for b in range(max(j - NEAR_PX, 0), min(j + NEAR_PX + 1, height)):
        for a in range(max(i - NEAR_PX, 0), min(i + NEAR_PX + 1, width)):
            if kind[b, a] == 0:
                square = float((b - j) * (b - j) + (a - i) * (a - i))
                total += cutout[b, a] / (square * square)
                weights += 1.0 / (square * square)
    return total / weights if weights > 0.0 else 0.0


@compiled
def _fill_from(
    splines: Floats, kind: NDArray[np.uint8], x: float, y: float, pixels: Floats
) -> None:
    """Fill in what is opposite of the pixels that do not count, from splines."""
    height, width = pixels.shape
    for j in range(height):
        cy = 2.0 * y - j
        low = math.floor(cy)
        if not 1 <= low < height - 2:
            continue
        for i in range(width):
            if kind[j, i] == 0:
                continue
            cx = 2.0 * x - i
            left = math.floor(cx)
            if 1 <= left < width - 2:
                u, v = cx - left, cy - low
                if _lacking(kind, u, v, left, low) == 0:
                    pixels[j, i] = _value(splines, u, v, left, low)


@compiled
def _to_splines(cutout: Floats) -> None:
    """Turn pixels into the coefficients of the cubic B-splines that go through them, in place."""
    height, width = cutout.shape
    ends = 1.0 / (1.0 - POLE)
    for j in range(height):
        line = cutout[j]
        line[0] *= ends
        for i in range(1, width):
            line[i] += POLE * line[i - 1]
        line[width - 1] *= -POLE * ends
        for i in range(width - 2, -1, -1):
            line[i] = POLE * (line[i + 1] - line[i])
    for i in range(width):
        cutout[0, i] *= ends
    for j in range(1, height):
        for i in range(width):
            cutout[j, i] += POLE * cutout[j - 1, i]
    for i in range(width):
        cutout[height - 1, i] *= -POLE * ends
    for j in range(height - 2, -1, -1):
        for i in range(width):
            cutout[j, i] = POLE * (cutout[j + 1, i] - cutout[j, i])


@compiled
def _lacking(kind: NDArray[np.uint8], u: float, v: float, left: int, low: int) -> int:
    """Return why a place between four pixels is masked; 0: it is not."""
    no_data, others = 0.0, 0.0
    for j in range(2):
        for i in range(2):
            why = kind[low + j, left + i]
            if why:
                share = (u if i else 1.0 - u) * (v if j else 1.0 - v)
                if why == OTHERS:
                    others += share
                else:
                    no_data += share
    if no_data + others > MASKED_SHARE:
        return OTHERS if others > no_data else NO_DATA
    return 0


@compiled
def _value(cutout: Floats, u: float, v: float, left: int, low: int) -> float:
    """Return the value of the splines between four pixels."""
    u0, u1, u2, u3 = _weights(u)
    v0, v1, v2, v3 = _weights(v)
    value = v0 * _along(cutout, low - 1, left - 1, u0, u1, u2, u3)
    value += v1 * _along(cutout, low, left - 1, u0, u1, u2, u3)
    value += v2 * _along(cutout, low + 1, left - 1, u0, u1, u2, u3)
    value += v3 * _along(cutout, low + 2, left - 1, u0, u1, u2, u3)
    return value


@compiled
def _along(
    cutout: Floats, row: int, first: int, u0: float, u1: float, u2: float, u3: float
) -> float:
    """Return the weighted sum of four pixels of a row."""
    total = u0 * cutout[row, first] + u1 * cutout[row, first + 1]
    total += u2 * cutout[row, first + 2] + u3 * cutout[row, first + 3]
    return float(total)


@compiled
def _weights(u: float) -> tuple[float, float, float, float]:
    """Return six times the four cubic B-splines at a place between two pixels.

    Six is the gain of the filter, which `_to_splines` leaves out.
    """
    rest = 1.0 - u
    square, cube = u * u, u * u * u
    return (
        rest * rest * rest,
        4.0 - 6.0 * square + 3.0 * cube,
        1.0 + 3.0 * (u + square - cube),
        cube,
    )


def ellipses_north_up(
    semimajor: ArrayLike, semiminor: ArrayLike, pa_rad: ArrayLike, half: int
) -> Image:
    """Return how much of each step lies in ellipses around the middle.

    Parameters
    ----------
    semimajor, semiminor : (K,) float, steps
    pa_rad : (K,) float; position angles of the long axis, from north to east
    half : 0 to 120; steps to each side

    Returns
    -------
    (K, 2 half + 1, 2 half + 1) float32
        Rows go north, columns west; 0 of what is no ellipse.
    """
    if not 0 <= half <= MOST_HALF:
        raise ValueError(f"stamps of {half} steps a side")
    a, b, angle = points(semimajor, semiminor, pa_rad)
    shares = np.zeros((len(a), 2 * half + 1, 2 * half + 1), np.float32)

    def work(i: int, j: int) -> None:
        _ellipses(a[i:j], b[i:j], angle[i:j], shares[i:j])

    in_portions(work, len(a), WORTH_A_THREAD)
    return shares


@compiled
def _ellipses(a: Floats, b: Floats, angle: Floats, shares: NDArray[np.float32]) -> None:
    n = shares.shape[1]
    half = n // 2
    for k in range(a.size):
        if not (0.0 < b[k] <= a[k] < FAR and abs(angle[k]) < FAR):
            continue
        cosine, sine = math.cos(angle[k]), math.sin(angle[k])
        for j in range(n):
            for i in range(n):
                north, east = float(j - half), float(half - i)
                u = (north * cosine + east * sine) / a[k]
                v = (east * cosine - north * sine) / b[k]
                radius = math.sqrt(u * u + v * v)
                # No part of a step is farther from its middle than half a diagonal.
                if (radius - 1.0) * b[k] > 0.71:
                    continue
                if (1.0 - radius) * b[k] > 0.71:
                    shares[k, j, i] = 1.0
                    continue
                inside = 0
                for q in range(SUBSTEPS):
                    dn = north + (q + 0.5) / SUBSTEPS - 0.5
                    for p in range(SUBSTEPS):
                        de = east + (p + 0.5) / SUBSTEPS - 0.5
                        u = (dn * cosine + de * sine) / a[k]
                        v = (de * cosine - dn * sine) / b[k]
                        if u * u + v * v <= 1.0:
                            inside += 1
                shares[k, j, i] = inside / (SUBSTEPS * SUBSTEPS)
