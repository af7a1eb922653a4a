"""How wide peaks are across their narrowest direction, by windowed moments."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from bycatch.arrays import Floats, Image, Ints
from bycatch.kernels.bounds import check_pixels, check_shapes, length_px
from bycatch.kernels.compiled import compiled
from bycatch.kernels.neighbourhood import plane
from bycatch.kernels.smoothing import SIGMA_PER_FWHM
from bycatch.kernels.threads import WORTH_A_THREAD, in_portions

Moments = tuple[float, float, float, float, float, float]
"""Windowed sums of 1, x, y, x^2, y^2 and xy about a centre."""
N_STEPS = 6
MAX_OFFSET_PX = 1.5
LEAST_MOMENT = 1e-9
LAST_ORDER = 2**31 - 1
LANES = 32
"""Numbers that the processor compares at once, and some times over."""


def minor_widths(
    signal: Image,
    variance: Image,
    x: Ints,
    y: Ints,
    window_px: float,
    ring_px: tuple[float, float],
) -> tuple[Floats, Floats]:
    """Return the FWHM of peaks across their narrowest direction, and their signal-to-noise ratio.

    Second moments under a Gaussian window that follows the centroid; the window
    is taken out as for a Gaussian profile: 1/observed = 1/true + 1/window.

    Parameters
    ----------
    signal, variance : (ny, nx) float32
        Image without its sky; squared error of a pixel.
    x, y : (N,) int
        Pixels of the peaks.
    window_px : float
        Standard deviation of the window.
    ring_px : (float, float)
        Radii of the ring whose median is the background; pixels inside of it
        have moments.

    Returns
    -------
    fwhm_px, snr : (N,) float
        FWHM is 0 where the moments are not positive, infinite where the window limits it.

    Raises
    ------
    ValueError
        A pixel is off the image, or the ring has no inside.
    """
    check_shapes(signal, variance)
    check_pixels(x, y, signal.shape)
    images = (plane(signal, np.float32), plane(variance, np.float32))
    column, row = plane(x, np.int64), plane(y, np.int64)
    radii = (float(window_px), *ring_of(ring_px))
    fwhm_px, snr = np.empty(len(column)), np.empty(len(column))

    def work(i: int, j: int) -> None:
        _minor_widths(*images, column[i:j], row[i:j], *radii, fwhm_px[i:j], snr[i:j])

    in_portions(work, len(column), WORTH_A_THREAD)
    return fwhm_px, snr


def ring_of(radii_px: tuple[float, float]) -> tuple[float, float]:
    """Return the radii of a ring; raise a ValueError if they are not valid, or in the wrong order.

    Parameters
    ----------
    radii_px : inner and outer radius, px
    """
    inner, outer = length_px(radii_px[0]), length_px(radii_px[1])
    if inner > outer:
        raise ValueError(f"a ring can't begin at {inner} px and end at {outer} px")
    return inner, outer


@compiled
def _minor_widths(
    signal: Image,
    variance: Image,
    x: Ints,
    y: Ints,
    window_px: float,
    inner: float,
    outer: float,
    fwhm_px: Floats,
    snr: Floats,
) -> None:
    reach, half = math.ceil(outer), math.ceil(inner)
    stamp = np.empty((2 * half + 1, 2 * half + 1), np.float64)
    profile = np.exp(-0.5 * (np.arange(-reach, reach + 1) / window_px) ** 2)
    across, down = np.empty(2 * reach + 1), np.empty(2 * reach + 1)
    inside = np.empty((2 * half + 1, 2 * half + 1), np.float64)
    for i in range(-half, half + 1):
        for j in range(-half, half + 1):
            inside[i + half, j + half] = math.hypot(i, j) < inner
    dx, dy = ring_steps(inner, outer)
    order = np.full((len(dx) // LANES + 1) * LANES, LAST_ORDER, np.int32)
    for k in range(len(x)):
        level = ring_median(signal, x[k], y[k], dx, dy, order)
        cut_out(signal, x[k], y[k], level, inside, stamp)
        sums = centred_moments(stamp, profile, window_px, across, down)
        fwhm_px[k] = minor_fwhm(sums, window_px)
        snr[k] = sums[0] / math.sqrt(window_noise(variance, x[k], y[k], across, down))


@compiled
def centred_moments(
    stamp: Floats, profile: Floats, window_px: float, across: Floats, down: Floats
) -> Moments:
    """Return the moments in a Gaussian window that moves to the centroid.

    Parameters
    ----------
    stamp : (n, n) light above the level, the peak in the middle
    profile : (m,) window about its centre, at whole pixels
    window_px : its sigma
    across, down : (m,) to be filled with the last window's profiles along x and y
    """
    x0, y0 = 0.0, 0.0
    for step in range(N_STEPS):
        shifted_window(profile, x0, window_px, across)
        shifted_window(profile, y0, window_px, down)
        sums = moments(stamp, across, down, x0, y0)
        if step < N_STEPS - 1 and sums[0] > 0:
            # The window halves the step of the centroid, hence the 2.
            x0 = min(max(x0 + 2 * sums[1] / sums[0], -MAX_OFFSET_PX), MAX_OFFSET_PX)
            y0 = min(max(y0 + 2 * sums[2] / sums[0], -MAX_OFFSET_PX), MAX_OFFSET_PX)
    return sums


@compiled
def ring_steps(inner: float, outer: float) -> tuple[Ints, Ints]:
    """Return the steps (dx, dy) from a pixel to those between two radii.

    Parameters
    ----------
    inner, outer : radii, px
    """
    reach = math.ceil(outer)
    dx, dy = np.empty((2, (2 * reach + 1) ** 2), np.int64)
    n = 0
    for v in range(-reach, reach + 1):
        for u in range(-reach, reach + 1):
            dx[n], dy[n] = u, v
            n += inner * inner <= u * u + v * v <= outer * outer
    return dx[:n], dy[:n]


@compiled
def ring_median(
    image: Image, x: int, y: int, dx: Ints, dy: Ints, order: NDArray[np.int32]
) -> float:
    """Return the median of the pixels at steps from one; beyond the edge its pixels repeat.

    The bits of a float32, read as an integer, rise with it (below zero they
    fall, and are turned over), so that a median is found by halving the range
    of the integers, with nothing but counts of those below.

    Parameters
    ----------
    image : (ny, nx) float32
    x, y : int
        The pixel in the middle, 0-based.
    dx, dy : (n,) int
        Steps from it, in pixels.
    order : (at least as many as steps) int32
        Working memory; ``LAST_ORDER`` behind the steps.
    """
    ny, nx = image.shape
    n, values = len(dx), order.view(np.float32)
    for i in range(n):
        values[i] = image[min(max(y + dy[i], 0), ny - 1), min(max(x + dx[i], 0), nx - 1)]
    for i in range(n):
        order[i] ^= (order[i] >> 31) & LAST_ORDER
    low, high, rank = -LAST_ORDER, LAST_ORDER, (n + 1) // 2
    while low < high:  # the least integer that has so many at or below it
        middle = (low + high) >> 1
        if n_up_to(order, middle) >= rank:
            high = middle
        else:
            low = middle + 1
    following = high
    if n % 2 == 0 and n_up_to(order, high) == rank:
        following = LAST_ORDER
        for i in range(n):
            following = min(following, order[i]) if order[i] > high else following
    order[0], order[1] = high ^ ((high >> 31) & LAST_ORDER), following
    order[1] ^= (order[1] >> 31) & LAST_ORDER
    return 0.5 * (np.float64(values[0]) + np.float64(values[1]))


@compiled
def n_up_to(order: NDArray[np.int32], limit: int) -> int:
    """Return how many numbers are not above a limit.

    Parameters
    ----------
    order : (N,) int32
    limit : integer that fits 32 bits
    """
    n, most = np.int32(0), np.int32(limit)
    for i in range(len(order)):
        n += np.int32(order[i] <= most)
    return int(n)


@compiled
def cut_out(image: Image, x: int, y: int, level: float, inside: Floats, stamp: Floats) -> None:
    """Write what the pixels around one have above a level; beyond the edge its pixels repeat.

    Parameters
    ----------
    image : (ny, nx) float
    x, y : the pixel
    level : in the unit of the image
    inside : (k, k) float, factor of each pixel
    stamp : (k, k) float, k odd, written
    """
    ny, nx = image.shape
    half = stamp.shape[0] // 2
    for i in range(stamp.shape[0]):
        row = min(max(y + i - half, 0), ny - 1)
        for j in range(stamp.shape[1]):
            value = image[row, min(max(x + j - half, 0), nx - 1)]
            stamp[i, j] = inside[i, j] * (value - level)


@compiled
def shifted_window(profile: Floats, shift: float, sigma: float, out: Floats) -> None:
    """Write a Gaussian moved off the middle: two exponentials and powers of one of them.

    Parameters
    ----------
    profile : (k,) float, the Gaussian in the middle, k odd
    shift : px
    sigma : of the Gaussian, px
    out : (k,) float, written
    """
    reach = len(profile) // 2
    factor = math.exp(shift / sigma**2)
    up, down = math.exp(-0.5 * (shift / sigma) ** 2), math.exp(-0.5 * (shift / sigma) ** 2)
    for i in range(reach + 1):
        out[reach + i], out[reach - i] = profile[reach + i] * up, profile[reach - i] * down
        up *= factor
        down /= factor


@compiled
def moments(stamp: Floats, across: Floats, down: Floats, x0: float, y0: float) -> Moments:
    """Return the windowed sums of 1, x, y, x^2, y^2 and xy about a centre.

    Parameters
    ----------
    stamp : (k, k) float, k odd
    across, down : (m,) float, windows along x and y, m at least k
    x0, y0 : centre, px from the middle of the stamp
    """
    total, sx, sy, sxx, syy, sxy = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    half, skip = stamp.shape[0] // 2, (len(across) - stamp.shape[0]) // 2
    for i in range(stamp.shape[0]):
        row, row_x, row_xx = 0.0, 0.0, 0.0
        for j in range(stamp.shape[1]):
            value, dx = stamp[i, j] * across[j + skip], j - half - x0
            row += value
            row_x += value * dx
            row_xx += value * dx * dx
        dy, weight = i - half - y0, down[i + skip]
        total += weight * row
        sx += weight * row_x
        sy += weight * row * dy
        sxx += weight * row_xx
        syy += weight * row * dy * dy
        sxy += weight * row_x * dy
    return total, sx, sy, sxx, syy, sxy


@compiled
def minor_fwhm(sums: Moments, window_px: float) -> float:
    """Return the FWHM along the minor axis of windowed moments, the window taken out.

    Parameters
    ----------
    sums : of `moments`
    window_px : sigma of the Gaussian window, px
    """
    total = sums[0] if sums[0] > 0 else math.inf
    xx, yy, xy = sums[3] / total, sums[4] / total, sums[5] / total
    minor = max(0.5 * (xx + yy) - math.hypot(0.5 * (xx - yy), xy), LEAST_MOMENT)
    if minor <= LEAST_MOMENT:
        return 0.0
    inverse = 1.0 / minor - 1.0 / window_px**2
    return math.sqrt(1.0 / inverse) / SIGMA_PER_FWHM if inverse > 0 else math.inf


@compiled
def window_noise(variance: Image, x: int, y: int, across: Floats, down: Floats) -> float:
    """Return the variance of the windowed sum; beyond the edge its pixels repeat.

    Parameters
    ----------
    variance : (ny, nx) float
    x, y : the pixel
    across, down : (k,) float, windows along x and y, k odd
    """
    ny, nx = variance.shape
    reach, total = len(across) // 2, 0.0
    for i in range(len(down)):
        row, here = min(max(y + i - reach, 0), ny - 1), 0.0
        for j in range(len(across)):
            here += across[j] ** 2 * variance[row, min(max(x + j - reach, 0), nx - 1)]
        total += down[i] ** 2 * here
    return total
