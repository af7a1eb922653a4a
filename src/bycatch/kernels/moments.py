"""Properties of all segments of an image: sums, moments, and windowed centroids.

The definitions are SExtractor's (Bertin & Arnouts 1996, A&AS 117, 393, and its
manual) in the form of photutils' SourceCatalog.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bycatch.arrays import Bools, Floats, Image
from bycatch.kernels.bounds import check_shapes, index_in, label_plane
from bycatch.kernels.compiled import compiled
from bycatch.kernels.growth import HALF_DIAGONAL, half_flux_radius
from bycatch.kernels.neighbourhood import plane
from bycatch.kernels.smoothing import SIGMA_PER_FWHM
from bycatch.kernels.threads import WORTH_A_THREAD, in_portions

Labels = NDArray[np.int32]
Counts = NDArray[np.int64]
Box = tuple[int, int, int, int]
Ellipse = tuple[float, float, float, float]  # semi-axes, cosine and sine of the long one's angle
Images = tuple[Image, Image, Bools, Labels]  # data, background, valid, labels

THINNEST = 1.0 / 12.0
"""Variance of a pixel about its centre: added where a segment is thinner, px^2."""
KRON_REACH, KRON_SCALE, KRON_MIN = 6.0, 2.5, 1.4
MIN_HALF_LIGHT_PX = 0.5
MAX_ITERATIONS = 16
CONVERGED_PX = 1e-4
MIN_LIMIT = 1_000_000
"""An aperture's box may have so many pixels at least, however small the image."""
FAR = 10**9


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
    median_count: Floats


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
    windows = np.empty((n_labels, 3))

    def follow(i: int, j: int) -> None:
        shapes = (a[i:j], b[i:j], theta[i:j])
        _windowed(images, i, (x[i:j], y[i:j]), shapes, area[i:j], windows[i:j])

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


# ---------------------------------------------------------------- sums over segments


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


# ---------------------------------------------------------------- windowed centroids


def wide_centroids(
    data: Image,
    background: Image,
    valid: Bools,
    labels: Labels,
    number: Counts,
    x: Floats,
    y: Floats,
    sigma_px: float,
) -> tuple[Floats, Floats]:
    """Return centroids of some segments in a Gaussian window of one width.

    Parameters
    ----------
    data, background, valid, labels : (ny, nx), as in `segment_properties`
    number : (N,) labels
    x, y : (N,) where the windows begin
    sigma_px : of the window

    Returns
    -------
    x, y : (N,) float; NaN where a window is lost
    """
    check_shapes(data, background, valid, labels)
    images = (plane(data), plane(background), plane(valid, np.bool_), plane(labels, np.int32))
    at = np.stack([np.asarray(v, dtype=np.float64) for v in (x, y)], axis=1)
    if not at.shape[0] == len(number) or not sigma_px > 0:
        raise ValueError(f"{len(number)} labels for {len(at)} positions, sigma {sigma_px}")
    _follow_all(images, np.asarray(number, dtype=np.int64), at, float(sigma_px))
    return at[:, 0], at[:, 1]


@compiled
def _follow_all(images: Images, number: Counts, at: Floats, sigma: float) -> None:
    """Move positions (N, 2) to the centroids in a window."""
    for k in range(number.size):
        if math.isfinite(at[k, 0] + at[k, 1]):
            at[k, 0], at[k, 1] = _window_centroid(images, int(number[k]), at[k, 0], at[k, 1], sigma)


@compiled
def _windowed(
    images: Images,
    first: int,
    positions: tuple[Floats, Floats],
    shapes: tuple[Floats, Floats, Floats],
    area: Counts,
    windows: Floats,
) -> None:
    """Fill half-light radii and windowed centroids, (N, 3)."""
    for k in range(area.size):
        label = first + k + 1
        windows[k] = np.nan
        x, y = positions[0][k], positions[1][k]
        a, b, theta = shapes[0][k], shapes[1][k], shapes[2][k]
        if area[k] == 0 or not math.isfinite(x + y + a + b):
            continue
        ellipse = (a, b, math.cos(theta), math.sin(theta))
        kron = KRON_SCALE * _kron_radius(images, label, x, y, ellipse)
        if not math.isfinite(kron):
            continue
        flux = _ellipse_flux(images, label, x, y, _scaled(ellipse, kron))
        radius = _half_light_radius(images, label, x, y, flux, kron * a)
        windows[k, 0] = radius
        if math.isfinite(radius):
            sigma = 2.0 * max(radius, MIN_HALF_LIGHT_PX) * SIGMA_PER_FWHM
            xw, yw = _window_centroid(images, label, x, y, sigma)
            if not _quadratic(xw - x, yw - y, ellipse) <= 1:
                xw, yw = x, y
            windows[k, 1], windows[k, 2] = xw, yw


@compiled
def _scaled(ellipse: Ellipse, scale: float) -> Ellipse:
    return scale * ellipse[0], scale * ellipse[1], ellipse[2], ellipse[3]


@compiled
def _quadratic(dx: float, dy: float, ellipse: Ellipse) -> float:
    """Return the squared elliptical radius of an offset: 1 on the ellipse."""
    a, b, cos, sin = ellipse
    along, across = (dx * cos + dy * sin) / a, (dy * cos - dx * sin) / b
    return along * along + across * across


@compiled
def _extent(ellipse: Ellipse) -> tuple[float, float]:
    """Return half the width and half the height of an ellipse."""
    a, b, cos, sin = ellipse
    return math.hypot(a * cos, b * sin), math.hypot(a * sin, b * cos)


@compiled
def _on_image(x0: float, x1: float, y0: float, y1: float, shape: tuple[int, int]) -> Box:
    """Return the part of a box that lies on the image; an empty one where it is too large.

    Its sides are whole numbers, but not integers, which they may be too large for.
    """
    if not (x1 - x0) * (y1 - y0) <= max(shape[0] * shape[1], MIN_LIMIT):
        return 0, 0, 0, 0
    left, low = index_in(x0, shape[1] + 1), index_in(y0, shape[0] + 1)
    right, high = index_in(x1, shape[1] + 1), index_in(y1, shape[0] + 1)
    return left, max(left, right), low, max(low, high)


@compiled
def _cutout(images: Images, label: int, x: float, y: float, box: Box) -> Image:
    """Return a box of data - background of which other segments are cleaned away.

    Their pixels take the value of the pixel opposite the source, or 0 where that is
    out of the box, not valid, or of another segment as well.  0 where not valid.
    """
    data, background, valid, labels = images
    x0, x1, y0, y1 = box
    pixels = np.zeros((y1 - y0, x1 - x0), np.float32)
    mirror_x, mirror_y = 2 * (int(x - x0 + 0.5) + x0), 2 * (int(y - y0 + 0.5) + y0)
    for row in range(y0, y1):
        for column in range(x0, x1):
            if not valid[row, column]:
                continue
            j, i = row, column
            if labels[j, i] != 0 and labels[j, i] != label:
                j, i = mirror_y - j, mirror_x - i
                if not (y0 <= j < y1 and x0 <= i < x1) or not valid[j, i]:
                    continue
                if labels[j, i] != 0 and labels[j, i] != label:
                    continue
            pixels[row - y0, column - x0] = data[j, i] - background[j, i]
    return pixels


@compiled
def _kron_radius(images: Images, label: int, x: float, y: float, ellipse: Ellipse) -> float:
    """Return the first-moment radius in units of the ellipse; NaN where it makes no sense."""
    width, height = _extent(_scaled(ellipse, KRON_REACH))
    box = _on_image(
        np.floor(x - width + 0.5),
        np.floor(x + width + 0.5) + 1,
        np.floor(y - height + 0.5),
        np.floor(y + height + 0.5) + 1,
        images[0].shape,
    )
    if box[0] >= box[1] or box[2] >= box[3]:
        return np.nan
    pixels = _cutout(images, label, x, y, box)
    total, first = 0.0, 0.0
    for row in range(pixels.shape[0]):
        for column in range(pixels.shape[1]):
            square = _quadratic(column + box[0] - x, row + box[2] - y, ellipse)
            if square <= KRON_REACH * KRON_REACH:
                total += pixels[row, column]
                first += pixels[row, column] * math.sqrt(square)
    if total <= 0 or first <= 0:
        return KRON_MIN
    return max(first / total, KRON_MIN) if first <= KRON_REACH * total else np.nan


@compiled
def _ellipse_flux(images: Images, label: int, x: float, y: float, ellipse: Ellipse) -> float:
    """Return the sum in an ellipse, with exact pixel overlap."""
    width, height = _extent(ellipse)
    box = _on_image(
        np.floor(x - width + 0.5),
        np.floor(x + width + 1.5),
        np.floor(y - height + 0.5),
        np.floor(y + height + 1.5),
        images[0].shape,
    )
    if box[0] >= box[1] or box[2] >= box[3]:
        return np.nan
    pixels = _cutout(images, label, x, y, box)
    # No part of a pixel is farther from its centre than half a diagonal.
    margin = HALF_DIAGONAL / ellipse[1]
    inner2, outer2 = max(1.0 - margin, 0.0) ** 2, (1.0 + margin) ** 2
    total = 0.0
    for row in range(pixels.shape[0]):
        for column in range(pixels.shape[1]):
            dx, dy = column + box[0] - x, row + box[2] - y
            square = _quadratic(dx, dy, ellipse)
            if square < inner2:
                total += pixels[row, column]
            elif square < outer2:
                total += pixels[row, column] * _ellipse_share(dx, dy, ellipse)
    return total


@compiled
def _ellipse_share(dx: float, dy: float, ellipse: Ellipse) -> float:
    """Return the area that an ellipse about the origin shares with a pixel at (dx, dy).

    Where the ellipse is a unit circle the pixel is a parallelogram; its area within
    the circle is the sum of those of the triangles between its sides and the origin.
    """
    a, b, cos, sin = ellipse
    u, v = (dx * cos + dy * sin) / a, (dy * cos - dx * sin) / b
    # Half the pixel's sides along x and along y, there.
    xu, xv, yu, yv = 0.5 * cos / a, -0.5 * sin / b, 0.5 * sin / a, 0.5 * cos / b
    area = _triangle_share(u - xu - yu, v - xv - yv, u + xu - yu, v + xv - yv)
    area += _triangle_share(u + xu - yu, v + xv - yv, u + xu + yu, v + xv + yv)
    area += _triangle_share(u + xu + yu, v + xv + yv, u - xu + yu, v - xv + yv)
    area += _triangle_share(u - xu + yu, v - xv + yv, u - xu - yu, v - xv - yv)
    return area * a * b


@compiled
def _triangle_share(x0: float, y0: float, x1: float, y1: float) -> float:
    """Return the signed area that the unit circle shares with the triangle 0, p0, p1."""
    dx, dy = x1 - x0, y1 - y0
    square = dx * dx + dy * dy
    middle = -(x0 * dx + y0 * dy) / square
    half2 = middle * middle - (x0 * x0 + y0 * y0 - 1.0) / square
    half = math.sqrt(max(half2, 0.0))
    # The part of the side, from s to t, that lies within the circle.
    s, t = max(middle - half, 0.0), min(middle + half, 1.0)
    if half2 <= 0 or s >= t:
        return _sector(x0, y0, x1, y1)
    xs, ys, xt, yt = x0 + s * dx, y0 + s * dy, x0 + t * dx, y0 + t * dy
    area = 0.5 * (xs * yt - ys * xt)
    if s > 0:
        area += _sector(x0, y0, xs, ys)
    if t < 1:
        area += _sector(xt, yt, x1, y1)
    return area


@compiled
def _sector(x0: float, y0: float, x1: float, y1: float) -> float:
    """Return the signed area of the unit circle between two directions."""
    return 0.5 * math.atan2(x0 * y1 - y0 * x1, x0 * x1 + y0 * y1)


@compiled
def _half_light_radius(
    images: Images, label: int, x: float, y: float, flux: float, max_radius: float
) -> float:
    """Return the radius of the circle with half a flux; NaN where none is found."""
    if not math.isfinite(flux) or flux == 0:
        return np.nan
    box = _on_image(
        np.floor(x - max_radius + 0.5),
        np.ceil(x + max_radius + 0.5),
        np.floor(y - max_radius + 0.5),
        np.ceil(y + max_radius + 0.5),
        images[0].shape,
    )
    if box[0] >= box[1] or box[2] >= box[3]:
        return np.nan
    pixels = _cutout(images, label, x, y, box)
    return half_flux_radius(pixels, x - box[0], y - box[2], 0.5 * flux, max_radius)


@compiled
def _window_centroid(
    images: Images, label: int, x: float, y: float, sigma: float
) -> tuple[float, float]:
    """Return the centroid in a Gaussian window that follows it; NaN where it is lost."""
    ny, nx = images[0].shape
    radius = 4.0 * sigma
    reach = int(radius + 1.5)
    size = 2 * reach + 1
    if size * size > max(ny * nx, MIN_LIMIT):
        return np.nan, np.nan
    weights = np.empty(size)
    pixels = np.empty((0, 0), np.float32)
    x_at, y_at, x0, y0 = -FAR, -FAR, 0, 0
    for _ in range(MAX_ITERATIONS):
        if not (-size < x < nx + size and -size < y < ny + size):
            return np.nan, np.nan
        if int(x + 0.5) != x_at or int(y + 0.5) != y_at:
            x_at, y_at = int(x + 0.5), int(y + 0.5)
            x0, y0 = max(0, x_at - reach), max(0, y_at - reach)
            box = (x0, min(nx, x_at + reach + 1), y0, min(ny, y_at + reach + 1))
            if box[0] >= box[1] or box[2] >= box[3]:
                return np.nan, np.nan
            pixels = _cutout(images, label, x, y, box)
        dx, dy = _windowed_offset(pixels, x - x0, y - y0, sigma, radius, weights)
        x, y = x + 2.0 * dx, y + 2.0 * dy
        if not math.sqrt(dx * dx + dy * dy) > CONVERGED_PX:
            break
    return x, y


@compiled
def _windowed_offset(
    pixels: Image, x: float, y: float, sigma: float, radius: float, weights: Floats
) -> tuple[float, float]:
    """Return the offset of the centroid, in a Gaussian window cut at a radius, from its centre."""
    for column in range(pixels.shape[1]):
        weights[column] = math.exp(-0.5 * ((column - x) / sigma) ** 2)
    total, sx, sy = 0.0, 0.0, 0.0
    for row in range(pixels.shape[0]):
        dy = row - y
        line, line_x = 0.0, 0.0
        for column in range(pixels.shape[1]):
            dx = column - x
            if dx * dx + dy * dy <= radius * radius:
                value = pixels[row, column] * weights[column]
                line += value
                line_x += value * dx
        weight = math.exp(-0.5 * (dy / sigma) ** 2)
        total += line * weight
        sx += line_x * weight
        sy += line * weight * dy
    return sx / total, sy / total
