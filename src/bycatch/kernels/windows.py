"""Sizes and centroids in windows around segments: Kron ellipses, half-light radii, XWIN_IMAGE.

Pixels of other segments take the value of the pixel opposite.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from bycatch.arrays import Bools, Floats, Image
from bycatch.kernels.bounds import check_shapes, index_in
from bycatch.kernels.compiled import compiled
from bycatch.kernels.ellipses import Ellipse, extent, pixel_share, radius_squared, scale_ellipse
from bycatch.kernels.growth import HALF_DIAGONAL, half_flux_radius
from bycatch.kernels.neighbourhood import plane
from bycatch.kernels.smoothing import SIGMA_PER_FWHM

Labels = NDArray[np.int32]
Counts = NDArray[np.int64]
Box = tuple[int, int, int, int]
Images = tuple[Image, Image, Bools, Labels]
"""Data, background, valid, labels."""

KRON_REACH, KRON_SCALE, KRON_MIN = 6.0, 2.5, 1.4
MIN_HALF_LIGHT_PX = 0.5
SIGMA_PER_RADIUS = 2.0 * SIGMA_PER_FWHM
"""The FWHM of a window is the diameter of half the light."""
MAX_ITERATIONS = 16
CONVERGED_PX = 1e-4
LEAST_SLOPE = 0.25
"""Noise may make a profile flat; one as wide as the window has 0.5."""
MIN_LIMIT = 1_000_000
"""An aperture's box may have at least this many pixels, however small the image."""
FAR = 10**9


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
def fill_windows(
    images: Images,
    first: int,
    positions: tuple[Floats, Floats],
    shapes: tuple[Floats, Floats, Floats],
    area: Counts,
    windows: Floats,
) -> None:
    """Fill half-light radii and windowed centroids of labels ``first`` + 1 to ``first`` + N.

    Parameters
    ----------
    images : data, background, valid, labels
    first : labels before these
    positions : x and y, (N,)
    shapes : semi-axes (px) and angle (rad) of the second moments, (N,)
    area : (N,) number of pixels
    windows : (N, 5), output: half-light radius, x, y, and the gains of `_window_gains`
    """
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
        flux = _ellipse_flux(images, label, x, y, scale_ellipse(ellipse, kron))
        radius = _half_light_radius(images, label, x, y, flux, kron * a)
        windows[k, 0] = radius
        if math.isfinite(radius):
            sigma = max(radius, MIN_HALF_LIGHT_PX) * SIGMA_PER_RADIUS
            xw, yw = _window_centroid(images, label, x, y, sigma)
            if not radius_squared(xw - x, yw - y, ellipse) <= 1:
                xw, yw = x, y
            windows[k, 1], windows[k, 2] = xw, yw
            windows[k, 3], windows[k, 4] = _window_gains(images, label, xw, yw, sigma)


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
def _cutout_around(
    images: Images, label: int, x: float, y: float, reach: int
) -> tuple[Image, int, int]:
    """Return the cutout up to a number of pixels around a position, with its first column and row.

    It has no pixels where that is off the image.
    """
    ny, nx = images[0].shape
    x_at, y_at = int(x + 0.5), int(y + 0.5)
    x0, y0 = max(0, x_at - reach), max(0, y_at - reach)
    x1, y1 = min(nx, x_at + reach + 1), min(ny, y_at + reach + 1)
    return _cutout(images, label, x, y, (x0, max(x0, x1), y0, max(y0, y1))), x0, y0


@compiled
def _kron_radius(images: Images, label: int, x: float, y: float, ellipse: Ellipse) -> float:
    """Return the first-moment radius in units of the ellipse; NaN where it makes no sense."""
    width, height = extent(scale_ellipse(ellipse, KRON_REACH))
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
            square = radius_squared(column + box[0] - x, row + box[2] - y, ellipse)
            if square <= KRON_REACH * KRON_REACH:
                total += pixels[row, column]
                first += pixels[row, column] * math.sqrt(square)
    if total <= 0 or first <= 0:
        return KRON_MIN
    return max(first / total, KRON_MIN) if first <= KRON_REACH * total else np.nan


@compiled
def _ellipse_flux(images: Images, label: int, x: float, y: float, ellipse: Ellipse) -> float:
    """Return the sum in an ellipse, with exact pixel overlap."""
    width, height = extent(ellipse)
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
            square = radius_squared(dx, dy, ellipse)
            if square < inner2:
                total += pixels[row, column]
            elif square < outer2:
                total += pixels[row, column] * pixel_share(dx, dy, ellipse)
    return total


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
            pixels, x0, y0 = _cutout_around(images, label, x, y, reach)
            if pixels.size == 0:
                return np.nan, np.nan
        dx, dy = windowed_offset(pixels, x - x0, y - y0, sigma, radius, weights)
        x, y = x + 2.0 * dx, y + 2.0 * dy
        if not math.sqrt(dx * dx + dy * dy) > CONVERGED_PX:
            break
    return x, y


@compiled
def _window_gains(
    images: Images, label: int, x: float, y: float, sigma: float
) -> tuple[float, float]:
    """Return what noise of sky and of light makes of the variance of a windowed centroid.

    Both are per axis, in px^2: the first times the variance of a pixel of sky, the second over the
    exposure time.

    The centroid rests where the sum of w I d is 0, with the window w, the light I, and the
    distance d from it along an axis.  A pixel with an error e moves it by w d e / S, where
    S = sum of w I (1 - d^2 / sigma^2); SExtractor's ERRX2WIN has half the sum of w I for S, as of
    a Gaussian as wide as the window.  NaN without light in the window.
    """
    radius = 4.0 * sigma
    pixels, x0, y0 = _cutout_around(images, label, x, y, int(radius + 1.5))
    weights = np.empty(pixels.shape[1])
    for column in range(pixels.shape[1]):
        weights[column] = math.exp(-0.5 * ((column + x0 - x) / sigma) ** 2)
    total, spread, sky, light = 0.0, 0.0, 0.0, 0.0
    for row in range(pixels.shape[0]):
        of_row = math.exp(-0.5 * ((row + y0 - y) / sigma) ** 2)
        for column in range(pixels.shape[1]):
            square = (column + x0 - x) ** 2 + (row + y0 - y) ** 2
            if square > radius * radius:
                continue
            weight = of_row * weights[column]
            value = weight * pixels[row, column]
            total += value
            spread += value * square
            sky += weight * weight * square
            light += weight * value * square
    if not total > 0:
        return np.nan, np.nan
    # Both axes together: each has half of the squares.
    slope = max(total - 0.5 * spread / (sigma * sigma), LEAST_SLOPE * total)
    return 0.5 * sky / (slope * slope), 0.5 * max(light, 0.0) / (slope * slope)


@compiled
def windowed_offset(
    pixels: Image, x: float, y: float, sigma: float, radius: float, weights: Floats
) -> tuple[float, float]:
    """Return the offset of the centroid, in a Gaussian window cut at a radius, from its centre.

    Parameters
    ----------
    pixels : (n, n) light above the background
    x, y : centre of the window, in pixels of the cutout
    sigma, radius : of the window, px
    weights : (m,) room for the window's weights, m at least n
    """
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
