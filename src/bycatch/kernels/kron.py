"""Shapes and total fluxes at given positions: second moments, Kron ellipses, half-light radii.

The definitions are SExtractor's (Bertin & Arnouts 1996, A&AS 117, 393; Kron 1980,
ApJS 43, 305) in the form of photutils' SourceCatalog with ``aperture_mask_method='correct'``
and ``kron_params=(2.5, 1.4, 0.0)``, but for opposite pixels that are both of other segments.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bycatch.arrays import Bools, Floats
from bycatch.kernels.bounds import check_shapes, highest_label, label_plane
from bycatch.kernels.compiled import compiled
from bycatch.kernels.ellipses import Ellipse, extent, pixel_share, radius_squared, scale_ellipse
from bycatch.kernels.growth import HALF_DIAGONAL, half_flux_radius
from bycatch.kernels.kron_moments import (
    MAX_REACH_PX,
    MAX_WINDOW_PX,
    WINDOW_REACH,
    Images,
    Labels,
    adaptive_moments,
    is_usable,
    segment_moments,
)
from bycatch.kernels.moments import THINNEST, segment_boxes
from bycatch.kernels.neighbourhood import nearest_pixel, plane, points, span
from bycatch.kernels.threads import WORTH_A_THREAD, in_portions
from bycatch.kernels.windows import KRON_MIN, KRON_REACH, KRON_SCALE

N_VALUES = 8


@dataclass(frozen=True, eq=False)
class KronShapes:
    """Shapes of N positions; NaN where there is none.

    Attributes
    ----------
    semimajor_px, semiminor_px : rms lengths of the second moments
    theta_rad : angle of the major axis from +x towards +y, -pi/2 to pi/2
    kron_radius : first-moment radius in units of the ellipse, 1.4 to 6
    flux : sum in the ellipse of 2.5 Kron radii
    area_px2 : what of that ellipse was summed
    half_light_px : radius of the circle with half that flux
    others_px2 : what of that ellipse is of other segments, summed or not
    windowed : bool, the moments are those of a window, not of a segment
    cut : bool, the ellipse reached the greatest size and was made to fit
    """

    semimajor_px: Floats
    semiminor_px: Floats
    theta_rad: Floats
    kron_radius: Floats
    flux: Floats
    area_px2: Floats
    half_light_px: Floats
    others_px2: Floats
    windowed: NDArray[np.bool_]
    cut: NDArray[np.bool_]


def ellipse_radius_px(kron_radius: ArrayLike, a_px: ArrayLike, b_px: ArrayLike) -> Floats:
    """Return the radii of circles as large as Kron ellipses, (N,).

    Parameters
    ----------
    kron_radius, a_px, b_px : (N,) as `KronShapes` has them
    """
    kron, a, b = (np.asarray(v, dtype=float) for v in (kron_radius, a_px, b_px))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.minimum(KRON_SCALE * kron, MAX_REACH_PX / a) * np.sqrt(a * b))


def kron_shapes(
    data: NDArray[np.floating],
    valid: NDArray[np.bool_],
    sky: ArrayLike,
    x: ArrayLike,
    y: ArrayLike,
    segmentation: NDArray[np.integer[Any]] | None = None,
    labels: ArrayLike | None = None,
) -> KronShapes:
    """Measure shapes and total fluxes at positions.

    Parameters
    ----------
    data, valid : (ny, nx)
        Only valid pixels count.
    sky : (N,) or a number
        Level per pixel, subtracted.
    x, y : (N,) float
        0-based pixel centres; may be off the image, or not finite.
    segmentation : (ny, nx) int, optional
        Pixels of other segments than a position's own take the value of the pixel opposite the
        position, or, if that is of another segment as well, the lower one of the two; they are left
        out where there is none.
    labels : (N,) int, optional
        Segment of each position; where it is 0, or there is no such one, it is the segment
        that the position lies on, if any.

    Notes
    -----
    With a segment the moments are those of its pixels that exceed the sky, about
    their own barycentre; the ellipse is then laid around the position.  Without one
    they are adaptive: weighted with a Gaussian whose covariance is made to be that of
    the source (Bernstein & Jarvis 2002, AJ 123, 583, section 3), which weights noise
    and neighbours down.  They equal the unweighted moments of a Gaussian source, and
    are less than those of one with wings.
    """
    check_shapes(data, valid)
    column, row = points(x, y)
    n = len(column)
    level = plane(np.broadcast_to(np.asarray(sky, dtype=np.float64), n), np.float64)
    own, segments, boxes = _segments(segmentation, labels, data.shape, column, row)
    images = (plane(data, np.float32), plane(valid, np.bool_), segments)
    values, marks = np.full((n, N_VALUES), np.nan), np.zeros((n, 2), np.bool_)

    def work(i: int, j: int) -> None:
        at = (level[i:j], column[i:j], row[i:j], own[i:j])
        _measure(images, *at, boxes, values[i:j], marks[i:j])

    in_portions(work, n, WORTH_A_THREAD)
    return KronShapes(*values.T.copy(), *marks.T.copy())


def _segments(
    segmentation: NDArray[np.integer[Any]] | None,
    labels: ArrayLike | None,
    shape: tuple[int, ...],
    x: Floats,
    y: Floats,
) -> tuple[NDArray[np.int64], Labels, NDArray[np.int64]]:
    """Return labels, segmentation and boxes; an empty segmentation where none is given."""
    n = len(x)
    if segmentation is None:
        nothing = plane(np.zeros((0, 0), np.int32), np.int32)
        return np.zeros(n, np.int64), nothing, np.empty((0, 4), np.int64)
    if segmentation.shape != shape:
        msg = f"the segmentation is {segmentation.shape}, the image {shape}"
        raise ValueError(msg)
    own = np.zeros(n, np.int64) if labels is None else np.array(labels, np.int64).ravel()
    if len(own) != n:
        msg = f"{len(own)} labels for {n} positions"
        raise ValueError(msg)
    segments = plane(label_plane(segmentation), np.int32)
    boxes = segment_boxes(segments, highest_label(segments))
    column, row = nearest_pixel(x), nearest_pixel(y)
    is_foreign = (own <= 0) | (own > len(boxes))
    on_image = (column >= 0) & (column < shape[1]) & (row >= 0) & (row < shape[0])
    own[is_foreign] = 0
    is_foreign &= on_image
    own[is_foreign] = segments[row[is_foreign], column[is_foreign]]
    return own, segments, boxes


@compiled
def _measure(
    images: Images,
    sky: Floats,
    x: Floats,
    y: Floats,
    labels: NDArray[np.int64],
    boxes: NDArray[np.int64],
    values: Floats,
    marks: Bools,
) -> None:
    """Fill (N, 8) values and whether windowed, whether cut."""
    data = images[0]
    side = 2 * int(WINDOW_REACH * MAX_WINDOW_PX) + 3
    stamp, rows = np.empty((side, side)), np.empty((4, side))
    for k in range(x.size):
        # Where the position's own pixel is off the image there is nothing to measure.
        if not (-0.5 <= x[k] < data.shape[1] - 0.5 and -0.5 <= y[k] < data.shape[0] - 0.5):
            continue
        if not math.isfinite(sky[k]):
            continue
        moments = (np.nan, np.nan, np.nan)
        if labels[k] > 0:
            moments = segment_moments(images, sky[k], x[k], y[k], labels[k], boxes[labels[k] - 1])
        if not math.isfinite(moments[0]):
            marks[k, 0] = True
            moments = adaptive_moments(images, sky[k], x[k], y[k], labels[k], stamp, rows)
        a, b, theta = _axes(moments[0], moments[1], moments[2])
        if not (math.isfinite(a) and b > 0):
            continue
        ellipse = (a, b, math.cos(theta), math.sin(theta))
        values[k, 0], values[k, 1], values[k, 2] = a, b, theta
        kron = _kron_radius(images, sky[k], x[k], y[k], labels[k], ellipse)
        values[k, 3] = kron
        if not math.isfinite(kron):
            continue
        scale = KRON_SCALE * kron
        if scale * a > MAX_REACH_PX:
            scale, marks[k, 1] = MAX_REACH_PX / a, True
        _total(images, sky[k], x[k], y[k], labels[k], scale_ellipse(ellipse, scale), values[k])


@compiled
def _axes(xx: float, yy: float, xy: float) -> tuple[float, float, float]:
    """Return rms lengths (px) and angle (rad); variances of a thin source grow by a pixel's.

    NaN where it is longer than what is looked at: light that cancels gives any moments, and to
    let variances grow to the size of such ones may take for ever.
    """
    if not abs(xy) < 2.0 * MAX_REACH_PX * MAX_REACH_PX:
        return np.nan, np.nan, np.nan
    while xx * yy - xy * xy < THINNEST * THINNEST:
        xx += THINNEST
        yy += THINNEST
    mean, half = 0.5 * (xx + yy), math.hypot(0.5 * (xx - yy), xy)
    theta = 0.5 * math.atan2(2.0 * xy, xx - yy)
    return math.sqrt(mean + half), math.sqrt(max(mean - half, 0.0)), theta


@compiled
def _without_others(images: Images, row: int, column: int, label: int, x: float, y: float) -> float:
    """Return what a pixel of another segment would hold without it; NaN if unknown.

    A source is as bright on the other side.  If that is of another segment, too, the fainter of
    the two pixels is the better guess (as for the templates of SDSS' deblender): so a galaxy that
    deblending has cut into pieces keeps its light.
    """
    if images[2].size == 0 or not images[1][row, column]:
        return np.nan
    ny, nx = images[0].shape
    far_row, far_column = 2 * int(y + 0.5) - row, 2 * int(x + 0.5) - column
    if not (0 <= far_row < ny and 0 <= far_column < nx) or not images[1][far_row, far_column]:
        return np.nan
    opposite = float(images[0][far_row, far_column])
    if is_usable(images, far_row, far_column, label):
        return opposite
    return min(opposite, float(images[0][row, column]))


@compiled
def _kron_radius(
    images: Images, sky: float, x: float, y: float, label: int, ellipse: Ellipse
) -> float:
    """Return the first-moment radius in units of the ellipse; NaN beyond where it is measured."""
    ny, nx = images[0].shape
    width, height = extent(scale_ellipse(ellipse, KRON_REACH))
    row0, row1 = span(y, min(height, MAX_REACH_PX), ny)
    column0, column1 = span(x, min(width, MAX_REACH_PX), nx)
    total, first = 0.0, 0.0
    for row in range(row0, row1):
        for column in range(column0, column1):
            square = radius_squared(column - x, row - y, ellipse)
            if square > KRON_REACH * KRON_REACH:
                continue
            if is_usable(images, row, column, label):
                value = images[0][row, column] - sky
            else:
                value = _without_others(images, row, column, label, x, y) - sky
            if math.isfinite(value):
                total += value
                first += value * math.sqrt(square)
    if total <= 0 or first <= 0:
        return KRON_MIN
    return max(first / total, KRON_MIN) if first <= KRON_REACH * total else np.nan


@compiled
def _total(
    images: Images, sky: float, x: float, y: float, label: int, ellipse: Ellipse, values: Floats
) -> None:
    """Fill flux and area of an ellipse, the radius of half that flux, and others' part of it."""
    ny, nx = images[0].shape
    longest = ellipse[0]
    row0, row1 = span(y, longest, ny)
    column0, column1 = span(x, longest, nx)
    pixels = np.zeros((row1 - row0, column1 - column0), np.float32)
    # No part of a pixel is farther from its centre than half a diagonal.
    margin = HALF_DIAGONAL / ellipse[1]
    inner2, outer2 = max(1.0 - margin, 0.0) ** 2, (1.0 + margin) ** 2
    flux, area, others = 0.0, 0.0, 0.0
    for row in range(row0, row1):
        dy = row - y
        for column in range(column0, column1):
            own = is_usable(images, row, column, label)
            if own:
                value = images[0][row, column] - sky
            else:
                value = _without_others(images, row, column, label, x, y) - sky
            counts = math.isfinite(value)
            if counts:
                pixels[row - row0, column - column0] = value
            square = radius_squared(column - x, dy, ellipse)
            if square < outer2 and images[1][row, column]:
                share = 1.0 if square < inner2 else pixel_share(column - x, dy, ellipse)
                if counts:
                    flux += share * value
                    area += share
                if not own:
                    others += share
    values[4], values[5], values[7] = flux, area, others
    if flux != 0:
        values[6] = half_flux_radius(pixels, x - column0, y - row0, 0.5 * flux, longest)
