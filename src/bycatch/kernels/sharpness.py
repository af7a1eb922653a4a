"""How sharp sources are: what their brightest pixels and moments say, and masked light."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bycatch.arrays import Floats
from bycatch.kernels.bounds import check_shapes, index_in, length_px
from bycatch.kernels.compiled import compiled
from bycatch.kernels.neighbourhood import plane, points
from bycatch.kernels.peak_widths import (
    LANES,
    LAST_ORDER,
    centred_moments,
    cut_out,
    minor_fwhm,
    ring_median,
    ring_of,
    ring_steps,
)
from bycatch.kernels.threads import WORTH_A_THREAD, in_portions

N_VALUES = 9
MINOR, MAJOR, FLUX, NOISE, BOX, MASKED, PEAK_X, PEAK_Y, LEVEL = range(N_VALUES)
"""Columns of `sharpness`."""


def sharpness(
    image: NDArray[np.float32],
    ray_mask: NDArray[np.bool_],
    x: ArrayLike,
    y: ArrayLike,
    *,
    window_px: float,
    ring_px: tuple[float, float],
    search_px: float,
    box_px: int,
) -> Floats:
    """Measure the brightest pixel near each position and what surrounds it.

    Parameters
    ----------
    image : (ny, nx) float32
        What is NaN counts as 0.
    ray_mask : (ny, nx) bool
        A mask, as that of cosmic rays.
    x, y : (N,) float
        0-based pixel centres.
    window_px : float
        Standard deviation of the Gaussian window of the moments.
    ring_px : (float, float)
        Radii of the ring whose median is the background.
    search_px : float
        The brightest pixel within so much of the position is the peak.
    box_px : int
        Side of the box that the light of one detector pixel fills.

    Returns
    -------
    (N, 9) float
        FWHM across the narrowest and the widest direction (window taken out; 0 where
        the moments are not positive, infinite where the window limits it), sum under the
        window, the root of the sum of its squared weights, share of the light within 2 px that
        the brightest box with the peak holds, share of the positive light of those
        pixels that is marked, the peak's column and row, and the ring's median.  NaN off the
        image.
    """
    check_shapes(image, ray_mask)
    column, row = points(x, y)
    out = np.full((len(column), N_VALUES), np.nan)
    pixels, mask = plane(image, np.float32), plane(ray_mask, np.bool_)
    window, search = float(window_px), length_px(search_px)
    ring, box = ring_of(ring_px), int(length_px(box_px))

    def work(i: int, j: int) -> None:
        at = (column[i:j], row[i:j])
        _sharpness(pixels, mask, *at, window, ring, search, box, out[i:j])

    in_portions(work, len(column), WORTH_A_THREAD)
    return out


@compiled
def _sharpness(
    image: NDArray[np.float32],
    ray_mask: NDArray[np.bool_],
    x: Floats,
    y: Floats,
    window_px: float,
    ring_px: tuple[float, float],
    search_px: float,
    box_px: int,
    out: Floats,
) -> None:
    ny, nx = image.shape
    inner, outer = ring_px
    # Room for the box and the pixels within 2 px, too, where pixels are so coarse that the ring
    # lies among them; for these there is no light beyond its inner radius.
    half = max(math.ceil(inner), box_px, 2)
    reach = max(math.ceil(outer), half)
    stamp = np.empty((2 * half + 1, 2 * half + 1), np.float64)
    inside = np.empty((2 * half + 1, 2 * half + 1), np.float64)
    for i in range(-half, half + 1):
        for j in range(-half, half + 1):
            inside[i + half, j + half] = math.hypot(i, j) < inner
    profile = np.exp(-0.5 * (np.arange(-reach, reach + 1) / window_px) ** 2)
    across, down = np.empty(2 * reach + 1), np.empty(2 * reach + 1)
    dx, dy = ring_steps(inner, outer)
    far = max(half, reach)
    near = np.empty((2 * far + 1, 2 * far + 1), np.float32)
    order = np.full((len(dx) // LANES + 1) * LANES, LAST_ORDER, np.int32)
    for k in range(len(x)):
        # Not so written, NaN would pass.
        if not (-0.5 <= x[k] < nx - 0.5 and -0.5 <= y[k] < ny - 0.5):
            continue
        column, row = brightest_near(image, x[k], y[k], search_px)
        copy_around(image, column, row, near)
        level = ring_median(near, far, far, dx, dy, order)
        cut_out(near, far, far, level, inside, stamp)
        sums = centred_moments(stamp, profile, window_px, across, down)
        out[k, MINOR] = minor_fwhm(sums, window_px)
        out[k, MAJOR] = major_fwhm(sums, window_px)
        out[k, FLUX] = sums[0]
        squares = 0.0, 0.0
        for i in range(len(across)):
            squares = squares[0] + across[i] * across[i], squares[1] + down[i] * down[i]
        out[k, NOISE] = math.sqrt(squares[0] * squares[1])
        out[k, BOX] = box_share(stamp, box_px)
        out[k, MASKED] = marked_share(stamp, ray_mask, column, row)
        out[k, PEAK_X], out[k, PEAK_Y], out[k, LEVEL] = column, row, level


@compiled
def brightest_near(
    image: NDArray[np.float32], x: float, y: float, radius_px: float
) -> tuple[int, int]:
    """Return (x, y) of the brightest pixel whose centre lies within a radius.

    Parameters
    ----------
    image : (ny, nx) float32
    x, y : position, 0-based pixel centres
    radius_px : px
    """
    ny, nx = image.shape
    column, row = index_in(x + 0.5, nx), index_in(y + 0.5, ny)
    best_x, best_y = column, row
    reach = math.ceil(radius_px)
    for v in range(max(row - reach, 0), min(row + reach + 1, ny)):
        for u in range(max(column - reach, 0), min(column + reach + 1, nx)):
            is_near = math.hypot(u - x, v - y) <= radius_px
            if is_near and light(image[v, u]) > light(image[best_y, best_x]):
                best_x, best_y = u, v
    return best_x, best_y


@compiled
def light(value: np.float32) -> np.float32:
    """Return a pixel's value; 0 where there are no data.

    Parameters
    ----------
    value : float32, of a pixel
    """
    return value if math.isfinite(value) else np.float32(0)


@compiled
def copy_around(image: NDArray[np.float32], x: int, y: int, near: NDArray[np.float32]) -> None:
    """Copy the pixels around one; beyond the edge pixels repeat.

    Parameters
    ----------
    image : (ny, nx) float32
    x, y : the pixel
    near : (k, k) float32, k odd, written
    """
    ny, nx = image.shape
    far = near.shape[0] // 2
    for i in range(near.shape[0]):
        row = min(max(y + i - far, 0), ny - 1)
        for j in range(near.shape[1]):
            near[i, j] = light(image[row, min(max(x + j - far, 0), nx - 1)])


@compiled
def major_fwhm(sums: tuple[float, float, float, float, float, float], window_px: float) -> float:
    """Return the FWHM along the major axis: the minor one of moments turned by a right angle.

    Parameters
    ----------
    sums : of `peak_widths.moments`
    window_px : sigma of the Gaussian window, px
    """
    total, xx, yy, xy = sums[0], sums[3], sums[4], sums[5]
    # (xx + yy) - minor = major: a round profile with the major variance has it as its minor.
    major = 0.5 * (xx + yy) + math.hypot(0.5 * (xx - yy), xy)
    return minor_fwhm((total, 0.0, 0.0, major, major, 0.0), window_px)


@compiled
def box_share(stamp: Floats, box_px: int) -> float:
    """Return the share of the light about the middle that the best box with the middle holds.

    Parameters
    ----------
    stamp : (k, k) float, k odd, at least 2 box_px + 1
    box_px : side of the box, px
    """
    middle = stamp.shape[0] // 2
    best = -math.inf
    for i in range(middle - box_px + 1, middle + 1):
        for j in range(middle - box_px + 1, middle + 1):
            best = max(best, box_sum(stamp, i, j, box_px))
    total = box_sum(stamp, middle - box_px, middle - box_px, 2 * box_px + 1)
    return best / total if total > 0 else math.inf


@compiled
def box_sum(stamp: Floats, row: int, column: int, side: int) -> float:
    """Return the sum of a square box that begins at a pixel.

    Parameters
    ----------
    stamp : (k, k) float
    row, column : the first pixel of the box
    side : px
    """
    total = 0.0
    for i in range(row, row + side):
        for j in range(column, column + side):
            total += stamp[i, j]
    return total


@compiled
def marked_share(stamp: Floats, ray_mask: NDArray[np.bool_], x: int, y: int) -> float:
    """Return the share of the positive light within 2 px that lies on marked pixels.

    Parameters
    ----------
    stamp : (k, k) float, k odd, at least 5
    ray_mask : (ny, nx) bool, of the image
    x, y : pixel of the image in the middle of the stamp
    """
    ny, nx = ray_mask.shape
    middle = stamp.shape[0] // 2
    on, total = 0.0, 0.0
    for i in range(-2, 3):
        for j in range(-2, 3):
            light = stamp[middle + i, middle + j]
            if i * i + j * j <= 5 and light > 0 and 0 <= y + i < ny and 0 <= x + j < nx:
                total += light
                on += light if ray_mask[y + i, x + j] else 0.0
    return on / total if total > 0 else 0.0
