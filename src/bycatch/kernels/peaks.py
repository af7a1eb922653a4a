"""Peaks among marked pixels: where they are, how wide, and which pixels belong to them."""

from __future__ import annotations

import heapq
import math

import numpy as np
from numpy.typing import NDArray

from bycatch.arrays import Bools, Floats, Image
from bycatch.kernels.bounds import check_pixels, check_shapes, length_px
from bycatch.kernels.compiled import compiled
from bycatch.kernels.neighbourhood import plane
from bycatch.kernels.smoothing import SIGMA_PER_FWHM
from bycatch.kernels.threads import ROWS_WORTH_A_THREAD, WORTH_A_THREAD, in_portions

Moments = tuple[float, float, float, float, float, float]
"""Windowed sums of 1, x, y, x^2, y^2 and xy about a centre."""
Places = NDArray[np.int64]

N_STEPS = 6
MAX_OFFSET_PX = 1.5
LEAST_MOMENT = 1e-9
LAST_ORDER = 2**31 - 1
LANES = 32
"""Numbers that the processor compares at once, and some times over."""
ZERO = np.float32(0)


def grown_by_one(mask: Bools, may_grow: Bools) -> Bools:
    """Return the pixels of a mask and their eight neighbours, where allowed.

    Parameters
    ----------
    mask, may_grow : (ny, nx) bool
    """
    check_shapes(mask, may_grow)
    out = np.zeros(may_grow.shape, bool)
    _grow_by_one(np.flatnonzero(mask), plane(may_grow, bool), out)
    return out


@compiled
def _grow_by_one(places: Places, may_grow: Bools, out: Bools) -> None:
    ny, nx = may_grow.shape
    for place in places:
        y, x = place // nx, place % nx
        for v in range(max(y - 1, 0), min(y + 2, ny)):
            for u in range(max(x - 1, 0), min(x + 2, nx)):
                out[v, u] = may_grow[v, u]


def take_sky_off(counts: Image, seconds: Image, good: Bools, sky_rate: float) -> None:
    """Take the sky off an image, in place; where it is not good it becomes 0.

    Parameters
    ----------
    counts : (ny, nx) float32, electrons, written
    seconds : (ny, nx) float32, exposure time
    good : (ny, nx) bool
    sky_rate : electrons / s per pixel
    """
    check_shapes(counts, seconds, good)
    times, mask, rate = plane(seconds, np.float32), plane(good, bool), np.float32(sky_rate)

    def work(first: int, last: int) -> None:
        rows = slice(first, last)
        _take_sky_off(counts[rows], times[rows], mask[rows], rate)

    in_portions(work, len(counts), ROWS_WORTH_A_THREAD)


@compiled
def _take_sky_off(counts: Image, seconds: Image, good: Bools, sky_rate: np.float32) -> None:
    for y in range(counts.shape[0]):
        pixels, times, mask = counts[y], seconds[y], good[y]
        for i in range(len(pixels)):
            pixels[i] = pixels[i] - sky_rate * times[i] if mask[i] else ZERO


def maxima(signal: Image, near: Bools) -> tuple[Places, Places]:
    """Return the marked pixels that none of their eight neighbours exceeds: (x, y), row by row.

    Parameters
    ----------
    signal : (ny, nx) float
    near : (ny, nx) bool, the marked pixels
    """
    check_shapes(signal, near)
    y, x = np.divmod(_maxima(plane(signal), np.flatnonzero(near)), max(signal.shape[1], 1))
    return x, y


@compiled
def _maxima(signal: Image, places: Places) -> Places:
    out, n = np.empty(len(places), np.int64), 0
    for place in places:
        out[n] = place
        n += is_maximum(signal, place // signal.shape[1], place % signal.shape[1])
    return out[:n]


@compiled
def is_maximum(signal: Image, y: int, x: int) -> bool:
    """Return whether none of the eight neighbours is brighter.

    Parameters
    ----------
    signal : (ny, nx) float
    y, x : the pixel
    """
    ny, nx = signal.shape
    for v in range(max(y - 1, 0), min(y + 2, ny)):
        for u in range(max(x - 1, 0), min(x + 2, nx)):
            if signal[v, u] > signal[y, x]:
                return False
    return True


def is_cut_off(good: Bools, x: Places, y: Places, radius_px: float) -> Bools:
    """Return whether missing pixels, or the edge of the image, lie within a radius of pixels.

    Parameters
    ----------
    good : (ny, nx) bool
    x, y : (N,) int, pixels of the image
    radius_px : px
    """
    check_pixels(x, y, good.shape)
    at = (plane(x, np.int64), plane(y, np.int64))
    return np.asarray(_is_cut_off(plane(good, bool), *at, length_px(radius_px)))


@compiled
def _is_cut_off(good: Bools, x: Places, y: Places, radius_px: float) -> Bools:
    ny, nx = good.shape
    reach = int(radius_px)
    out = np.zeros(len(x), np.bool_)
    for k in range(len(x)):
        if x[k] < reach or y[k] < reach or x[k] >= nx - reach or y[k] >= ny - reach:
            out[k] = True
            continue
        for dy in range(-reach, reach + 1):
            for dx in range(-reach, reach + 1):
                v, u = y[k] + dy, x[k] + dx
                if dx * dx + dy * dy <= radius_px**2 and v < ny and u < nx:
                    out[k] |= not good[v, u]
    return out


def minor_widths(
    signal: Image,
    variance: Image,
    x: Places,
    y: Places,
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
    """Return the radii of a ring; raise a ValueError if they are none, or in the wrong order.

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
    x: Places,
    y: Places,
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
def ring_steps(inner: float, outer: float) -> tuple[Places, Places]:
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
    image: Image, x: int, y: int, dx: Places, dy: Places, order: NDArray[np.int32]
) -> float:
    """Return the median of the pixels at steps from one; beyond the edge its pixels repeat.

    The bits of a float32, read as an integer, rise with it (below zero they
    fall, and are turned over), so that a median is found by halving the range
    of the integers, with nothing but counts of those below.

    Parameters
    ----------
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


IN_MASK, IS_WIDE, IS_NARROW, SEEN, WIDE_BASIN, NARROW_BASIN = 1, 2, 4, 8, 16, 32
"""Bits of a pixel on its way: of the mask; peak; visited; and whose it has become."""


def narrow_basins(signal: Image, near: Bools, x: Places, y: Places, narrow: Bools) -> Bools:
    """Return the pixels that a flood from the peaks downwards gives to narrow ones.

    Each connected part of the mask (diagonals included) is shared out among its
    peaks, the brightest pixels first (watershed of the negative image); a part
    without peaks belongs to none.  Among equal pixels those beside come before
    those on the diagonal, and then the first come; scikit-image's watershed can
    give pixels between equal peaks to the other one.

    Parameters
    ----------
    signal : (ny, nx) float32
    near : (ny, nx) bool
        Pixels to share out.
    x, y : (N,) int
        Pixels of the peaks, in ``near``.
    narrow : (N,) bool
    """
    check_shapes(signal, near)
    check_pixels(x, y, near.shape)
    state = with_rim(near)
    state[y + 1, x + 1] |= np.where(narrow, IS_NARROW, IS_WIDE).astype(np.uint8)
    out = np.zeros(near.shape, bool)
    _fill_narrow_basins(plane(signal, np.float32), state, x[narrow], y[narrow], out)
    return out


def with_rim(mask: Bools) -> NDArray[np.uint8]:
    """Return a mask as bits, with a rim of zeros that spares asking where the image ends.

    Parameters
    ----------
    mask : (ny, nx) bool
    """
    state = np.zeros((mask.shape[0] + 2, mask.shape[1] + 2), np.uint8)
    state[1:-1, 1:-1] = mask
    return state


@compiled
def _fill_narrow_basins(
    signal: Image, state: NDArray[np.uint8], x: Places, y: Places, out: Bools
) -> None:
    nx = signal.shape[1]
    flat, part = state.reshape(-1), np.empty(1024, np.int64)
    for k in range(len(x)):
        first = (y[k] + 1) * (nx + 2) + x[k] + 1
        if flat[first] & SEEN:
            continue
        part, n, kinds = connected_pixels(flat, nx + 2, first, part)
        if kinds & IS_WIDE:
            flood(signal, flat, part[:n])
        for place in part[:n]:
            if not kinds & IS_WIDE or flat[place] & NARROW_BASIN:
                out[place // (nx + 2) - 1, place % (nx + 2) - 1] = True


@compiled
def connected_pixels(
    state: NDArray[np.uint8], width: int, first: int, part: Places
) -> tuple[Places, int, int]:
    """Return the pixels connected with one (in ``part``), their number, and all their bits.

    Parameters
    ----------
    state : flat (ny + 2)(nx + 2) uint8, bits of the pixels with a rim; written
    width : nx + 2
    first : flat index of the pixel to start from
    part : (m,) int64, room for the result
    """
    part[0], n, n_done, kinds = first, 1, 0, 0
    state[first] |= SEEN
    while n_done < n:
        place = part[n_done]
        kinds |= state[place]
        n_done += 1
        for row in (place - width, place, place + width):
            for near in range(row - 1, row + 2):
                if state[near] & IN_MASK and not state[near] & SEEN:
                    state[near] |= SEEN
                    if n == len(part):
                        part = np.concatenate((part, part))
                    part[n] = near
                    n += 1
    return part, n, kinds


@compiled
def flood(signal: Image, state: NDArray[np.uint8], part: Places) -> None:
    """Share out a connected part among its peaks: brightest pixels first, then first come.

    Parameters
    ----------
    signal : (ny, nx) float32
    state : flat (ny + 2)(nx + 2) uint8, bits of the pixels with a rim; written
    part : (n,) int64, flat indices into the state
    """
    nx = signal.shape[1]
    width = nx + 2
    queue = [(np.float32(0), 0, 0) for _ in range(0)]
    for place in part:
        if state[place] & (IS_WIDE | IS_NARROW):
            state[place] |= NARROW_BASIN if state[place] & IS_NARROW else WIDE_BASIN
            heapq.heappush(queue, (-signal[place // width - 1, place % width - 1], 0, place))
    age = 0
    while queue:
        _, _, place = heapq.heappop(queue)
        basin = state[place] & (WIDE_BASIN | NARROW_BASIN)
        for j in range(8):
            near = place + neighbour(j, width)
            if state[near] & IN_MASK and not state[near] & (WIDE_BASIN | NARROW_BASIN):
                state[near] |= basin
                age += 1
                heapq.heappush(queue, (-signal[near // width - 1, near % width - 1], age, near))


@compiled
def neighbour(j: int, width: int) -> int:
    """Return the step to one of the eight neighbours: those beside first, then diagonals.

    Parameters
    ----------
    j : 0 to 7
    width : of a row, px
    """
    if j < 4:
        return (-width, -1, 1, width)[j]
    return (-width - 1, -width + 1, width - 1, width + 1)[j - 4]


def blurred_above(mask: Bools, weights: Floats, threshold: float, may_grow: Bools) -> Bools:
    """Return a mask grown by the pixels where its convolution passes a threshold.

    Parameters
    ----------
    mask, may_grow : (ny, nx) bool
        Beyond the edge the mask is empty; what is not allowed is left out.
    weights : (2 r + 1,)
        Factors of the convolution along one axis; it is separable.
    """
    check_shapes(mask, may_grow)
    if weights.ndim != 1 or len(weights) % 2 == 0:
        raise ValueError(f"a convolution has an odd number of factors, not {weights.shape}")
    out: Bools = plane(mask, bool) & plane(may_grow, bool)
    factors = plane(weights, np.float64)
    _add_blurred(plane(mask, bool), factors, threshold, plane(may_grow, bool), out)
    return out


@compiled
def _add_blurred(
    mask: Bools, weights: Floats, threshold: float, may_grow: Bools, out: Bools
) -> None:
    ny, nx = mask.shape
    reach = len(weights) // 2
    n = 2 * reach + 1
    sums = np.zeros((n, nx + 2 * reach))  # of the rows that are not complete, in a ring
    for y in range(ny + reach):
        if y < ny:
            here = mask[y]
            for x in range(nx):
                if here[x]:
                    for j in range(n):
                        for i in range(n):
                            sums[(y + j) % n, x + i] += weights[j] * weights[i]
        if y >= reach:  # row y - reach gets no more
            row, out_row, may_be = sums[y % n], out[y - reach], may_grow[y - reach]
            for x in range(nx):
                out_row[x] |= may_be[x] & (row[x + reach] > threshold)
        sums[y % n] = 0.0
