"""Properties of all segments of an image: sums, moments, and windowed centroids.

The definitions are SExtractor's (Bertin & Arnouts 1996, A&AS 117, 393, and its
manual) in the form of photutils' SourceCatalog.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bycatch.arrays import Bools, Floats, Image
from bycatch.kernels.bounds import check_shapes, label_plane
from bycatch.kernels.compiled import compiled
from bycatch.kernels.neighbourhood import plane
from bycatch.kernels.threads import WORTH_A_THREAD, in_portions
from bycatch.kernels.windows import (
    MIN_HALF_LIGHT_PX,
    SIGMA_PER_RADIUS,
    Counts,
    Labels,
    fill_windows,
)

THINNEST = 1.0 / 12.0
"""Variance of a pixel about its centre: added where a segment is thinner, px^2."""


@dataclass(frozen=True, eq=False)
class Properties:
    """Properties of segments 1 to N, arrays of length N.

    Attributes
    ----------
    x_min, x_max, y_min, y_max : int, columns and rows of the first and last pixels
    area : int, number of pixels
    flux, peak : sum and maximum of data - background; NaN without a pixel
    x_segment, y_segment : barycentre of the smoothed image in the segment
    semimajor_px, semiminor_px, theta_deg : rms lengths and the long axis' angle from +x to +y,
        from the second moments of the smoothed image
    half_light_px : radius of half the flux of the Kron ellipse; NaN where there is none
    x_window, y_window : windowed centroid; the barycentre where it leaves the ellipse of the
        second moments, NaN without a half-light radius
    sky_gain, light_gain : variance per axis of the windowed centroid, px^2, per variance of a pixel
        of sky, (e/s)^2, and times the exposure time (s) the light's own; NaN without light
    median_count : median of ``counts`` over the segment
    """

    x_min: Counts
    x_max: Counts
    y_min: Counts
    y_max: Counts
    area: Counts
    flux: Floats
    peak: Floats
    x_segment: Floats
    y_segment: Floats
    semimajor_px: Floats
    semiminor_px: Floats
    theta_deg: Floats
    half_light_px: Floats
    x_window: Floats
    y_window: Floats
    sky_gain: Floats
    light_gain: Floats
    median_count: Floats

    @property
    def sigma_window_px(self) -> Floats:
        """Sigma of the windows, (N,)."""
        radius_px = np.maximum(self.half_light_px, MIN_HALF_LIGHT_PX)
        return np.asarray(radius_px * SIGMA_PER_RADIUS)


def segment_properties(
    data: Image,
    background: Image,
    smooth: Image,
    valid: Bools,
    labels: Labels,
    n_labels: int,
    counts: NDArray[np.int16],
) -> Properties:
    """Return the properties of all segments.

    Parameters
    ----------
    data, background : (ny, nx) float32
    smooth : (ny, nx)
        The moments are its; only pixels of segments are looked at.
    valid : (ny, nx)
    labels : (ny, nx) int32
        0 for sky, else 1 to ``n_labels``.
    counts : (ny, nx) int16; less than 0 counts as 0

    Raises
    ------
    ValueError
        The shapes differ, or there are labels that are not from 0 to ``n_labels``.

    Notes
    -----
    Windowed centroids follow XWIN_IMAGE: a Gaussian window whose FWHM is the diameter
    of half the light, moved by twice the offset until it rests.  Pixels of other
    segments take the value of the pixel opposite.
    """
    check_shapes(data, background, smooth, valid, labels, counts)
    segments = plane(label_plane(labels), np.int32)
    images = (plane(data), plane(background), plane(valid, np.bool_), segments)
    boxes = segment_boxes(segments, n_labels)
    area, medians = np.zeros(n_labels, np.int64), np.empty(n_labels)
    sums, moments = np.empty((n_labels, 2)), np.empty((n_labels, 5))
    pixels, numbers = plane(smooth, np.float32), plane(counts, np.int16)

    def sum_up(i: int, j: int) -> None:
        _sums(*images, i, boxes[i:j], area[i:j], sums[i:j])
        _moments(pixels, images[2], images[3], i, boxes[i:j], moments[i:j])
        _medians(numbers, images[3], i, boxes[i:j], medians[i:j])

    in_portions(sum_up, n_labels, WORTH_A_THREAD)
    a, b, theta = _ellipses(moments[:, 2:])
    x, y = moments[:, 0].copy(), moments[:, 1].copy()
    windows = np.empty((n_labels, 5))

    def follow(i: int, j: int) -> None:
        shapes = (a[i:j], b[i:j], theta[i:j])
        fill_windows(images, i, (x[i:j], y[i:j]), shapes, area[i:j], windows[i:j])

    in_portions(follow, n_labels, WORTH_A_THREAD)
    return Properties(
        x_min=boxes[:, 0],
        x_max=boxes[:, 1] - 1,
        y_min=boxes[:, 2],
        y_max=boxes[:, 3] - 1,
        area=area,
        flux=sums[:, 0],
        peak=sums[:, 1],
        x_segment=x,
        y_segment=y,
        semimajor_px=a,
        semiminor_px=b,
        theta_deg=np.degrees(theta) % 360,
        half_light_px=windows[:, 0],
        x_window=windows[:, 1],
        y_window=windows[:, 2],
        sky_gain=windows[:, 3],
        light_gain=windows[:, 4],
        median_count=medians,
    )


def _ellipses(variances: Floats) -> tuple[Floats, Floats, Floats]:
    """Return rms lengths (px) and angles (rad) of variances (N, 3): xx, yy, xy."""
    xx, yy, xy = variances.T.copy()
    # Of values that are not negative, the determinant can only round below 0.
    thin = xx * yy - xy * xy < THINNEST**2
    while thin.any():
        xx[thin] += THINNEST
        yy[thin] += THINNEST
        thin = xx * yy - xy * xy < THINNEST**2
    mean, half = 0.5 * (xx + yy), np.hypot(0.5 * (xx - yy), xy)
    theta = 0.5 * np.arctan2(2 * xy, xx - yy)
    return np.sqrt(mean + half), np.sqrt(np.maximum(mean - half, 0)), theta


def segment_boxes(labels: Labels, n_labels: int) -> NDArray[np.int64]:
    """Return first and last (exclusive) columns, then rows, of segments 1 to ``n_labels``, (N, 4).

    Parameters
    ----------
    labels : (ny, nx) int32
    n_labels : highest label

    Raises
    ------
    ValueError
        There are other labels.
    """
    boxes = np.empty((n_labels, 4), np.int64)
    if not _boxes(labels, boxes):
        raise ValueError(f"labels must be from 0 to n_labels = {n_labels}")
    return boxes


@compiled
def _boxes(labels: Labels, boxes: NDArray[np.int64]) -> bool:
    """Fill the boxes; return whether all labels have one."""
    ny, nx = labels.shape
    boxes[:, 0], boxes[:, 1], boxes[:, 2], boxes[:, 3] = nx, 0, ny, 0
    stretch = 64
    for y in range(ny):
        for x0 in range(0, nx, stretch):
            piece = labels[y, x0 : x0 + stretch]
            some = np.int32(0)
            for i in range(piece.size):
                some |= piece[i]
            if some == 0:
                continue
            for i in range(piece.size):
                if piece[i] < 0 or piece[i] > len(boxes):
                    return False
                if piece[i] > 0:
                    k, x = piece[i] - 1, x0 + i
                    boxes[k, 0], boxes[k, 1] = min(boxes[k, 0], x), max(boxes[k, 1], x + 1)
                    boxes[k, 2], boxes[k, 3] = min(boxes[k, 2], y), max(boxes[k, 3], y + 1)
    return True


@compiled
def _sums(
    data: Image,
    background: Image,
    valid: Bools,
    labels: Labels,
    first: int,
    boxes: NDArray[np.int64],
    area: Counts,
    sums: Floats,
) -> None:
    """Fill number, sum and maximum of the valid pixels; the first label is ``first`` + 1."""
    for k in range(len(boxes)):
        label = first + k + 1
        total, peak, n = 0.0, -np.inf, 0
        for y in range(boxes[k, 2], boxes[k, 3]):
            for x in range(boxes[k, 0], boxes[k, 1]):
                if labels[y, x] == label and valid[y, x]:
                    value = float(data[y, x] - background[y, x])
                    total += value
                    peak = max(peak, value)
                    n += 1
        area[k] = n
        sums[k, 0], sums[k, 1] = (total, peak) if n else (np.nan, np.nan)


@compiled
def _moments(
    smooth: Image,
    valid: Bools,
    labels: Labels,
    first: int,
    boxes: NDArray[np.int64],
    moments: Floats,
) -> None:
    """Fill mean x and y, and the variances xx, yy, xy, of the positive pixels."""
    for k in range(len(boxes)):
        label = first + k + 1
        x0, x1, y0, y1 = boxes[k]
        total, sx, sy = 0.0, 0.0, 0.0
        for y in range(y0, y1):
            for x in range(x0, x1):
                if labels[y, x] == label and valid[y, x] and smooth[y, x] > 0:
                    value = float(smooth[y, x])
                    total += value
                    sx += value * (x - x0)
                    sy += value * (y - y0)
        sx, sy = sx / total, sy / total
        xx, yy, xy = 0.0, 0.0, 0.0
        for y in range(y0, y1):
            for x in range(x0, x1):
                if labels[y, x] == label and valid[y, x] and smooth[y, x] > 0:
                    value, dx, dy = float(smooth[y, x]), x - x0 - sx, y - y0 - sy
                    xx += value * dx * dx
                    yy += value * dy * dy
                    xy += value * dx * dy
        moments[k, 0], moments[k, 1] = x0 + sx, y0 + sy
        moments[k, 2], moments[k, 3], moments[k, 4] = xx / total, yy / total, xy / total


@compiled
def _medians(
    counts: NDArray[np.int16],
    labels: Labels,
    first: int,
    boxes: NDArray[np.int64],
    medians: Floats,
) -> None:
    """Fill the median of small numbers over each segment, from how often each occurs."""
    often = np.zeros(32768, np.int64)
    for k in range(len(boxes)):
        label = first + k + 1
        n, largest = 0, 0
        for y in range(boxes[k, 2], boxes[k, 3]):
            for x in range(boxes[k, 0], boxes[k, 1]):
                if labels[y, x] == label:
                    number = max(counts[y, x], 0)
                    often[number] += 1
                    largest = max(largest, number)
                    n += 1
        low = high = -1
        below = 0
        for value in range(largest + 1):
            below += often[value]
            often[value] = 0
            if low < 0 and below > (n - 1) // 2:
                low = value
            if high < 0 and below > n // 2:
                high = value
        medians[k] = 0.5 * (low + high) if n else np.nan
