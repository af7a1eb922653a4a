"""Maps of background and noise: clipped statistics in boxes, and a smooth surface through them.

The definitions are those of SExtractor (Bertin & Arnouts 1996, A&AS 117, 393) in
the form that photutils' Background2D gives them, so that the maps equal its own
but for the rounding of float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bycatch.arrays import Bools, Floats, Image
from bycatch.kernels.bounds import check_shapes
from bycatch.kernels.compiled import compiled
from bycatch.kernels.neighbourhood import nearest_pixel, plane
from bycatch.kernels.rowmedians import lower, upper
from bycatch.kernels.threads import ROWS_WORTH_A_THREAD, in_portions

Indices = NDArray[np.int64]

MAX_ITERATIONS = 10
MOST_BINS, LEAST_BINS, BIN_PIXELS = 1024, 64, 2
"""Bins of a box: one for so many of its pixels, within limits."""
MOST_SAMPLES, SAMPLE_PIXELS = 63, 16
"""Samples that place the bins: one for so many pixels, to a limit."""
NARROW_PX = 32
N_NEIGHBOURS = 10
NO_BOX = "no box has enough pixels for its statistics"


@dataclass(frozen=True, eq=False)
class BoxStatistics:
    """Clipped statistics of the boxes of an image, each (n_boxes_y, n_boxes_x) float32.

    Attributes
    ----------
    mode : 2.5 median - 1.5 mean; the median where the two differ by 0.3 std and more
    std : standard deviation; like the mode NaN where too few pixels are left
    """

    mode: Image
    std: Image


@dataclass(frozen=True, eq=False)
class Surface:
    """A cubic spline through the values of boxes.

    Attributes
    ----------
    mesh : (n_boxes_y, n_boxes_x) float32, the values
    coefficients : (n_boxes_y, n_boxes_x) float64, of the B-spline
    low, high : range of the boxes' values, which the surface does not leave
    box_px : (height, width) of a box
    """

    mesh: Image
    coefficients: Floats
    low: np.float32
    high: np.float32
    box_px: tuple[int, int]

    def scaled(self, step: int) -> Surface:
        """Return the surface of an image of which every ``step``-th pixel each way made this."""
        return replace(self, box_px=(self.box_px[0] * step, self.box_px[1] * step))


class SkyMaps(NamedTuple):
    """Background and noise of single pixels, and the surfaces that they come from.

    Attributes
    ----------
    background, noise : (ny, nx) float32; 0 where not valid, the noise also where the depth is 0
    background_surface, noise_surface : through the boxes; that of the noise at unit depth
    """

    background: Image
    noise: Image
    background_surface: Surface
    noise_surface: Surface


def sky_maps(
    data: Image,
    valid: Bools,
    depth2: Image,
    box_px: int,
    filter_boxes: int,
    clip_sigma: float,
    min_share: float,
) -> SkyMaps:
    """Return background and noise of single pixels.

    Parameters
    ----------
    data, valid : (ny, nx)
    depth2 : (ny, nx) float32
        What the noise falls with the square root of, in any unit: the exposure time.
        The noise is measured on the image times the root of it, since a box mixes depths
        at chip gaps and dither edges, and divided by it again pixel by pixel.
    box_px : side of the boxes
    filter_boxes : side of the median filter over the boxes, odd
    clip_sigma : clipping of a box's pixels, ten times at most
    min_share : share of a box's pixels that must be left for it to count

    Raises
    ------
    ValueError
        No box has enough pixels.
    """
    check_shapes(data, valid, depth2)
    background, noise = np.empty(data.shape, np.float32), np.empty(data.shape, np.float32)

    def rows(which: slice) -> tuple[Image, Bools, Image]:
        return data[which], valid[which], depth2[which]

    surfaces = sky_surfaces(
        rows, data.shape, box_px, filter_boxes, clip_sigma, min_share, background
    )
    write_noise(depth2, valid, surfaces[1], noise)
    return SkyMaps(background, noise, *surfaces)


def sky_surfaces(
    rows: Callable[[slice], tuple[Image, Bools, Image]],
    shape: tuple[int, ...],
    box_px: int,
    filter_boxes: int,
    clip_sigma: float,
    min_share: float,
    background: Image | None = None,
) -> tuple[Surface, Surface]:
    """Return the surfaces of background and of noise at unit depth.

    Parameters
    ----------
    rows : gives data, valid and depth2 of `sky_maps` of some rows, which need not exist as a whole;
        called twice for each of them
    shape : (ny, nx) of the image
    box_px, filter_boxes, clip_sigma, min_share : as in `sky_maps`
    background : (ny, nx) float32, written if it is given

    Raises
    ------
    ValueError
        No box has enough pixels.
    """
    ny, nx = shape
    if not ny * nx:
        raise ValueError(NO_BOX)
    box = (min(box_px, ny), min(box_px, nx))
    n_rows, n_columns = -(-ny // box[0]), -(-nx // box[1])
    n_boxes = min(n_rows, n_columns)
    size = min(filter_boxes, n_boxes - (n_boxes + 1) % 2)
    mode, std = (np.empty((n_rows, n_columns), np.float32) for _ in range(2))
    strips = [slice(row * box[0], min((row + 1) * box[0], ny)) for row in range(n_rows)]

    def level(first: int, last: int) -> None:
        for row in range(first, last):
            data, valid, _ = rows(strips[row])
            mode[row] = box_statistics(data, valid, box, clip_sigma, min_share).mode[0]

    in_portions(level, n_rows, -(-ROWS_WORTH_A_THREAD // box[0]))
    surface = surface_through(median_filtered(filled(mode), size), box)

    def scatter(first: int, last: int) -> None:
        at_common_depth, unused = (np.empty((box[0], nx), np.float32) for _ in range(2))
        for row in range(first, last):
            images = rows(strips[row])
            n = len(images[0])
            out = unused[:n] if background is None else background[strips[row]]
            write_scaled(*images, surface, strips[row].start, out, at_common_depth[:n])
            part = at_common_depth[:n], images[1]
            std[row] = box_statistics(*part, box, clip_sigma, min_share).std[0]

    in_portions(scatter, n_rows, -(-ROWS_WORTH_A_THREAD // box[0]))
    return surface, surface_through(median_filtered(filled(std), size), box)


# ---------------------------------------------------------------- statistics of boxes


def box_statistics(
    data: Image, valid: Bools, box_px: tuple[int, int], clip_sigma: float, min_share: float
) -> BoxStatistics:
    """Return clipped statistics of the valid pixels in each box.

    Parameters
    ----------
    data, valid : (ny, nx)
        What is not finite, such as a product beyond the range of float32, does not count.
    box_px : (height, width); boxes start at [0, 0], those at the far edges may be cut
    clip_sigma, min_share : as in `sky_maps`

    Notes
    -----
    A box's pixels are put in the order of the bins of a histogram.  Clipping then
    only moves two ends inwards, and the median lies in a bin of a few pixels: each
    pixel is moved once, however often the box is clipped.  All numbers are those of
    the pixels, not of the bins.
    """
    check_shapes(data, valid)
    if min(box_px) < 1:
        raise ValueError(f"boxes of {box_px[0]} x {box_px[1]} px hold no pixels")
    ny, nx = data.shape
    shape = (-(-ny // box_px[0]), -(-nx // box_px[1]))
    mode, std = np.empty(shape, np.float32), np.empty(shape, np.float32)
    n_pixels = box_px[0] * box_px[1]
    least = max(min_share, 0.0) * n_pixels
    n_bins = min(max(n_pixels // BIN_PIXELS, LEAST_BINS), MOST_BINS)
    image, mask, limit = plane(data), plane(valid, np.bool_), float(clip_sigma)

    def work(first: int, last: int) -> None:
        rows = slice(first * box_px[0], last * box_px[0])
        out = (mode[first:last], std[first:last])
        _all_boxes(image[rows], mask[rows], *box_px, n_bins, limit, least, *out)

    in_portions(work, len(mode), -(-ROWS_WORTH_A_THREAD // box_px[0]))
    return BoxStatistics(mode, std)


@compiled
def _all_boxes(
    data: Image,
    valid: Bools,
    height: int,
    width: int,
    n_bins: int,
    clip_sigma: float,
    least: float,
    mode: Image,
    std: Image,
) -> None:
    """Fill the two maps; NaN where not more than ``least`` pixels are left."""
    ny, nx = data.shape
    values = np.empty(height * width, np.float32)
    by_bin = np.empty(height * width, np.float32)
    bins = np.empty(height * width, np.uint16)
    starts = np.empty(n_bins + 1, np.uint32)
    for j in range(mode.shape[0]):
        y0, y1 = j * height, min((j + 1) * height, ny)
        for i in range(mode.shape[1]):
            n = _gather(data, valid, y0, y1, i * width, min((i + 1) * width, nx), values)
            mode[j, i], std[j, i] = np.float32(np.nan), np.float32(np.nan)
            if n > least:
                start, scale = _in_bins(values[:n], bins, starts, by_bin)
                centre, sigma, n_left = _clipped_statistics(
                    by_bin[:n], starts, start, scale, clip_sigma
                )
                if n_left > least:
                    mode[j, i], std[j, i] = np.float32(centre), np.float32(sigma)


@compiled
def _gather(data: Image, valid: Bools, y0: int, y1: int, x0: int, x1: int, values: Image) -> int:
    """Write the valid, finite pixels of a box one after the other; return how many."""
    n, width = 0, x1 - x0
    if width <= NARROW_PX:
        # Of short rows each view costs more than its pixels: one by one, without a branch, which
        # is hard to foresee; what is not to stay is written over.
        for y in range(y0, y1):
            for x in range(x0, x1):
                values[n] = data[y, x]
                n += valid[y, x] & math.isfinite(data[y, x])
        return n
    for y in range(y0, y1):
        line, is_valid, out = data[y, x0:x1], valid[y, x0:x1], values[n : n + width]
        n_valid = 0
        for x in range(width):
            n_valid += is_valid[x] & math.isfinite(line[x])
        if n_valid == width:
            # The usual case, in a form that the compiler makes a plain copy of.
            for x in range(width):
                out[x] = line[x]
        elif n_valid:
            i = 0
            for x in range(width):
                out[i] = line[x]
                i += is_valid[x] & math.isfinite(line[x])
        n += n_valid
    return n


@compiled
def _in_bins(
    values: Image, bins: NDArray[np.uint16], starts: NDArray[np.uint32], by_bin: Image
) -> tuple[np.float32, np.float32]:
    """Write the values in the order of their bins; return start and scale of these.

    The bins cover some six standard deviations about the median, judged from a few
    samples; the first and the last take what is beyond.
    """
    n, n_bins = values.size, starts.size - 1
    last = np.float32(n_bins - 1)
    step = max(n // MOST_SAMPLES, min(SAMPLE_PIXELS, n // 8), 1)
    samples = values[::step].copy()
    _sort(samples)
    middle, low, high = samples.size // 2, samples.size // 6, (5 * samples.size) // 6
    half = max(np.float32(3.0) * (samples[high] - samples[low]), np.float32(1e-30))
    start, scale = samples[middle] - half, np.float32(n_bins / 2) / half
    for k in range(n):
        bins[k] = np.uint16(_bin(values[k], start, scale, last))
    starts[:] = 0
    for k in range(n):
        starts[bins[k]] += np.uint32(1)
    total = np.uint32(0)
    for b in range(n_bins + 1):
        count = starts[b]
        starts[b] = total
        total += count
    for k in range(n):
        b = bins[k]
        by_bin[starts[b]] = values[k]
        starts[b] += np.uint32(1)
    # Each start has moved on to the next one's place.
    for b in range(n_bins, 0, -1):
        starts[b] = starts[b - 1]
    starts[0] = 0
    return start, scale


@compiled
def _bin(value: np.float32, start: np.float32, scale: np.float32, last: np.float32) -> np.int32:
    """Return the bin of a value, which never decreases with the value; the first one for NaN."""
    position = upper(np.float32(0), (value - start) * scale)
    return np.int32(lower(position, last))


@compiled
def _sort(values: Image) -> None:
    """Sort a few values in place, by insertion."""
    for i in range(1, values.size):
        value, j = values[i], i
        while j > 0 and values[j - 1] > value:
            values[j] = values[j - 1]
            j -= 1
        values[j] = value


@compiled
def _clipped_statistics(
    by_bin: Image,
    starts: NDArray[np.uint32],
    start: np.float32,
    scale: np.float32,
    clip_sigma: float,
) -> tuple[float, float, int]:
    """Return mode, standard deviation and count of clipped values in the order of their bins.

    Like astropy's SigmaClip: limits about the median, found from what earlier limits
    left, and at last applied to all values.  NaN where they leave none.
    """
    # An int64, not the literal 0, for which numba would compile all that follows once more.
    first, last = int(np.int64(0)), by_bin.size
    pivot = np.float64(by_bin[last // 2])
    total, squares = _sums(by_bin, first, last, pivot)
    median = mean = std = 0.0
    not_below, above = first, last
    for _ in range(MAX_ITERATIONS):
        n = last - first
        mean, std = total / n, _std(total, squares, n)
        median = _median(by_bin, starts, first, last)
        low, high = median - clip_sigma * std, median + clip_sigma * std
        not_below = _first_not_below(by_bin, starts, start, scale, low)
        above = _first_above(by_bin, starts, start, scale, high)
        cut_first, cut_last = max(first, not_below), min(last, above)
        if cut_first == first and cut_last == last:
            break
        total, squares = _less(
            by_bin, (first, last), (cut_first, cut_last), pivot, (total, squares)
        )
        first, last = cut_first, cut_last
        median = math.nan
        if first >= last:  # clipped at less than one sigma
            return math.nan, math.nan, 0
    if not_below != first or above != last:
        first, last = not_below, above
        median = math.nan
        total, squares = _sums(by_bin, first, last, pivot)
    n = last - first
    mean, std = total / n, _std(total, squares, n)
    if math.isnan(median):  # not that of the rest
        median = _median(by_bin, starts, first, last)
    median -= pivot
    if std == 0:
        return pivot + mean, std, n
    is_skewed = abs(mean - median) / std >= 0.3
    return pivot + (median if is_skewed else 2.5 * median - 1.5 * mean), std, n


@compiled
def _std(total: float, squares: float, n: int) -> float:
    mean = total / n
    return math.sqrt(max(squares / n - mean * mean, 0.0))


@compiled
def _less(
    values: Image,
    old: tuple[int, int],
    new: tuple[int, int],
    pivot: float,
    sums: tuple[float, float],
) -> tuple[float, float]:
    """Return the sums over a part of a range from those over the whole."""
    a, a2 = _sums(values, old[0], new[0], pivot)
    b, b2 = _sums(values, new[1], old[1], pivot)
    if a2 + b2 > 0.5 * sums[1]:
        # Most of it goes: the difference would keep too few digits.
        return _sums(values, new[0], new[1], pivot)
    return sums[0] - a - b, sums[1] - a2 - b2


@compiled
def _sums(values: Image, first: int, last: int, pivot: float) -> tuple[float, float]:
    """Return the sums of differences to a pivot, and of their squares.

    A pivot among the values keeps the digits of the variance where the sky is far from zero.
    Four sums at a time, since each addition waits for the one before.
    """
    a = b = c = d = 0.0
    a2 = b2 = c2 = d2 = 0.0
    k = first
    while k + 4 <= last:
        e, f = np.float64(values[k]) - pivot, np.float64(values[k + 1]) - pivot
        g, h = np.float64(values[k + 2]) - pivot, np.float64(values[k + 3]) - pivot
        a, b, c, d = a + e, b + f, c + g, d + h
        a2, b2, c2, d2 = a2 + e * e, b2 + f * f, c2 + g * g, d2 + h * h
        k += 4
    while k < last:
        e = np.float64(values[k]) - pivot
        a, a2 = a + e, a2 + e * e
        k += 1
    return (a + b) + (c + d), (a2 + b2) + (c2 + d2)


@compiled
def _median(by_bin: Image, starts: NDArray[np.uint32], first: int, last: int) -> float:
    """Return the median of ``ordered[first:last]``."""
    upper = (first + last) // 2
    b = _bin_at(starts, upper)
    value = np.float64(_value_of_rank(by_bin, starts, b, first, last, upper))
    if (last - first) % 2:
        return value
    lo = max(int(starts[b]), first)
    if lo == upper:
        b = _bin_at(starts, upper - 1)
        return 0.5 * (value + np.float64(_value_of_rank(by_bin, starts, b, first, last, upper - 1)))
    # What stands before it in its bin is no larger.
    below = by_bin[lo]
    for k in range(lo + 1, upper):
        below = max(below, by_bin[k])
    return 0.5 * (value + np.float64(below))


@compiled
def _bin_at(starts: NDArray[np.uint32], rank: int) -> int:
    """Return the bin that holds the value of a rank."""
    b, above = 0, starts.size - 1
    while above - b > 1:
        middle = (b + above) // 2
        if starts[middle] <= rank:
            b = middle
        else:
            above = middle
    return b


@compiled
def _value_of_rank(
    by_bin: Image, starts: NDArray[np.uint32], b: int, first: int, last: int, rank: int
) -> np.float32:
    """Return what would stand at ``rank``, in bin ``b``, if ``ordered[first:last]`` were sorted.

    What comes before it in its bin is no larger then.
    """
    lo, hi = max(int(starts[b]), first), min(int(starts[b + 1]), last) - 1
    # Hoare's selection within the bin, in place: the order within a bin is free.
    while lo < hi:
        pivot = by_bin[(lo + hi) // 2]
        i, j = lo, hi
        while i <= j:
            while by_bin[i] < pivot:
                i += 1
            while by_bin[j] > pivot:
                j -= 1
            if i <= j:
                by_bin[i], by_bin[j] = by_bin[j], by_bin[i]
                i += 1
                j -= 1
        if rank <= j:
            hi = j
        elif rank >= i:
            lo = i
        else:
            break
    value: np.float32 = by_bin[rank]
    return value


@compiled
def _first_not_below(
    by_bin: Image, starts: NDArray[np.uint32], start: np.float32, scale: np.float32, limit: float
) -> int:
    """Move the values below a limit to the start of the limit's bin; return where they end."""
    b = _bin(np.float32(limit), start, scale, np.float32(starts.size - 2))
    k = int(starts[b])
    for i in range(k, int(starts[b + 1])):
        if by_bin[i] < limit:
            by_bin[i], by_bin[k] = by_bin[k], by_bin[i]
            k += 1
    return k


@compiled
def _first_above(
    by_bin: Image, starts: NDArray[np.uint32], start: np.float32, scale: np.float32, limit: float
) -> int:
    """Move the values above a limit to the end of the limit's bin; return where they start."""
    b = _bin(np.float32(limit), start, scale, np.float32(starts.size - 2))
    k = int(starts[b])
    for i in range(k, int(starts[b + 1])):
        if by_bin[i] <= limit:
            by_bin[i], by_bin[k] = by_bin[k], by_bin[i]
            k += 1
    return k


# ---------------------------------------------------------------- from boxes to pixels


def filled(mesh: Image) -> Image:
    """Return box values with what is NaN filled from the ten nearest boxes.

    Weighted with the inverse of their distances (Shepard 1968, Proc. 23rd ACM Conf., 517).

    Parameters
    ----------
    mesh : (n_boxes_y, n_boxes_x) float, NaN where not known

    Raises
    ------
    ValueError
        All are NaN.
    """
    is_finite = np.isfinite(mesh)
    if is_finite.all():
        return mesh
    if not is_finite.any():
        raise ValueError(NO_BOX)
    from scipy.spatial import cKDTree

    distance, index = cKDTree(np.argwhere(is_finite), leafsize=10).query(
        np.argwhere(~is_finite), k=N_NEIGHBOURS
    )
    # Fewer than ten boxes: those that are missing are infinitely far.
    weight = np.asarray(1.0 / distance)
    values = mesh[is_finite].astype(np.float64)[np.minimum(index, is_finite.sum() - 1)]
    full = mesh.copy()
    full[~is_finite] = (weight * values).sum(axis=1) / weight.sum(axis=1)
    return full


def median_filtered(mesh: Image, size: int) -> Image:
    """Return the median of ``size`` x ``size`` (odd) boxes; beyond the edge there are none.

    Parameters
    ----------
    mesh : (n_boxes_y, n_boxes_x) float
    size : side of the window in boxes, odd; 1 or less returns the mesh
    """
    if size <= 1:
        return mesh
    out = np.empty_like(mesh)
    _median_filter(mesh, size // 2, out)
    return out


@compiled
def _median_filter(mesh: Image, reach: int, out: Image) -> None:
    ny, nx = mesh.shape
    for y in range(ny):
        for x in range(nx):
            near = mesh[max(y - reach, 0) : y + reach + 1, max(x - reach, 0) : x + reach + 1]
            values = near.copy().reshape(near.size)
            _sort(values)
            middle = near.size // 2
            other = middle if near.size % 2 else middle - 1
            out[y, x] = np.float32(0.5 * (np.float64(values[middle]) + np.float64(values[other])))


def surface_through(mesh: Image, box_px: tuple[int, int]) -> Surface:
    """Return the cubic spline through box values, mirrored at the edges.

    Parameters
    ----------
    mesh : (n_boxes_y, n_boxes_x) float, finite
    box_px : height and width of a box, px
    """
    from scipy.ndimage import spline_filter

    if (mesh == mesh[0, 0]).all():
        coefficients = mesh.astype(np.float64)
    else:
        coefficients = np.asarray(spline_filter(mesh, 3, output=np.float64, mode="reflect"))
    return Surface(mesh, coefficients, np.float32(mesh.min()), np.float32(mesh.max()), box_px)


def surface_map(surface: Surface, valid: Bools) -> Image:
    """Return a surface at every pixel, (ny, nx) float32; 0 where not valid.

    Parameters
    ----------
    surface : Surface
    valid : (ny, nx) bool
    """
    out, mask = np.empty(valid.shape, np.float32), plane(valid, np.bool_)

    def work(first: int, last: int) -> None:
        rows = slice(first, last)
        _write_level(mask[rows], _spline(surface, first, out[rows].shape), out[rows])

    in_portions(work, len(out), ROWS_WORTH_A_THREAD)
    return out


def surface_at(surface: Surface, shape: tuple[int, int], x: Floats, y: Floats) -> Floats:
    """Return a surface at the pixels nearest to positions, (N,); NaN off an image of ``shape``.

    Parameters
    ----------
    surface : Surface
    shape : (ny, nx) of the image
    x, y : (N,) float, 0-based pixel centres
    """
    column, row = nearest_pixel(x), nearest_pixel(y)
    on_image = (column >= 0) & (column < shape[1]) & (row >= 0) & (row < shape[0])
    column, row = column[on_image], row[on_image]
    spline = _spline(surface, 0, shape)
    level = np.zeros(len(column))
    for j in range(4):
        for i in range(4):
            weight = spline.row_weights[j, row] * spline.column_weights[i, column]
            level += weight * surface.coefficients[spline.rows[j, row], spline.columns[i, column]]
    values = np.full(len(on_image), np.nan)
    values[on_image] = np.clip(level, surface.low, surface.high)
    return values


def write_scaled(
    data: Image,
    valid: Bools,
    depth2: Image,
    surface: Surface,
    first_row: int,
    background: Image,
    at_common_depth: Image,
) -> None:
    """Write the rows of a background from ``first_row`` on, and the image at a common depth.

    Parameters
    ----------
    data, valid, depth2 : (n_rows, nx), rows of the image, its mask, and its squared depth
    surface : Surface, the background
    first_row : row of the image that the arrays start with
    background, at_common_depth : (n_rows, nx) float32, written
    """
    check_shapes(data, valid, depth2, background, at_common_depth)
    images = (plane(data), plane(valid, np.bool_), plane(depth2))
    _write_scaled(*images, _spline(surface, first_row, data.shape), background, at_common_depth)


def write_noise(depth2: Image, valid: Bools, surface: Surface, noise: Image) -> None:
    """Write a surface over the root of the depth; 0 where not valid or without depth.

    Parameters
    ----------
    depth2 : (ny, nx), squared depth
    valid : (ny, nx) bool
    surface : Surface, the noise at the common depth
    noise : (ny, nx) float32, written
    """
    check_shapes(depth2, valid, noise)
    depth, mask = plane(depth2), plane(valid, np.bool_)

    def work(first: int, last: int) -> None:
        rows = slice(first, last)
        spline = _spline(surface, first, noise[rows].shape)
        _write_noise(depth[rows], mask[rows], spline, noise[rows])

    in_portions(work, len(noise), ROWS_WORTH_A_THREAD)


class Spline(NamedTuple):
    """A surface, and the boxes and weights that each row and column of pixels takes of it."""

    rows: Indices  # (4, ny)
    row_weights: Floats
    columns: Indices  # (4, nx)
    column_weights: Floats
    spans: Indices  # where the four boxes of a column change, from 0 to nx
    coefficients: Floats
    low: np.float32
    high: np.float32


def _spline(surface: Surface, first_row: int, shape: tuple[int, ...]) -> Spline:
    """Return the spline of some rows of an image."""
    n_boxes, box = surface.coefficients.shape, surface.box_px
    rows, row_weights = _spline_weights(first_row, shape[0], box[0], n_boxes[0])
    limits = (surface.low, surface.high)
    columns = _columns(shape[1], box[1], n_boxes[1])
    return Spline(rows, row_weights, *columns, surface.coefficients, *limits)


@lru_cache(maxsize=8)
def _columns(n: int, box_px: int, n_boxes: int) -> tuple[Indices, Floats, Indices]:
    """Return what all rows of an image share: boxes and weights of its columns, and the spans."""
    columns, weights = _spline_weights(0, n, box_px, n_boxes)
    changes = np.flatnonzero((np.diff(columns, axis=1) != 0).any(axis=0)) + 1
    spans = np.unique(np.concatenate([[0], changes, [n]])).astype(np.int64)
    return columns, weights, spans


def _spline_weights(first: int, n: int, box_px: int, n_boxes: int) -> tuple[Indices, Floats]:
    """Return the (4, n) boxes that each pixel's value comes from, and their weights."""
    position = (np.arange(first, first + n) + 0.5) / box_px - 0.5
    below = np.floor(position).astype(np.int64)
    t = position - below
    weights = np.empty((4, n))
    weights[0] = (1 - t) ** 3 / 6
    weights[1] = (t * t * (t - 2) * 3 + 4) / 6
    weights[2] = ((1 - t) ** 2 * (-1 - t) * 3 + 4) / 6
    weights[3] = 1 - weights[:3].sum(axis=0)
    # Mirrored at the edges.
    index = (below + np.arange(-1, 3)[:, np.newaxis]) % (2 * n_boxes)
    return np.minimum(index, 2 * n_boxes - 1 - index), weights


@compiled
def _write_scaled(
    data: Image,
    valid: Bools,
    depth2: Image,
    spline: Spline,
    background: Image,
    at_common_depth: Image,
) -> None:
    line = np.empty(data.shape[1], np.float32)
    for y in range(data.shape[0]):
        _write_row(spline, y, line)
        values, is_valid, seconds = data[y], valid[y], depth2[y]
        to_background, scaled = background[y], at_common_depth[y]
        for x in range(line.size):
            value = line[x] if is_valid[x] else np.float32(0)
            depth = np.float32(math.sqrt(max(seconds[x], np.float32(0))))
            to_background[x] = value
            scaled[x] = (values[x] - value) * depth


@compiled
def _write_level(valid: Bools, spline: Spline, out: Image) -> None:
    for y in range(out.shape[0]):
        _write_row(spline, y, out[y])
        is_valid, line = valid[y], out[y]
        for x in range(line.size):
            line[x] = line[x] if is_valid[x] else np.float32(0)


@compiled
def _write_noise(depth2: Image, valid: Bools, spline: Spline, noise: Image) -> None:
    line = np.empty(noise.shape[1], np.float32)
    for y in range(noise.shape[0]):
        _write_row(spline, y, line)
        is_valid, depth, out = valid[y], depth2[y], noise[y]
        for x in range(line.size):
            has_noise = is_valid[x] & (depth[x] > 0)
            value = line[x] / np.float32(math.sqrt(depth[x] if has_noise else np.float32(1)))
            out[x] = value if has_noise else np.float32(0)


@compiled
def _write_row(spline: Spline, y: int, out: Image) -> None:
    """Write one row of a spline surface."""
    line = np.zeros(spline.coefficients.shape[1])
    for k in range(4):
        for i in range(line.size):
            line[i] += spline.row_weights[k, y] * spline.coefficients[spline.rows[k, y], i]
    for j in range(spline.spans.size - 1):
        # Four boxes serve all pixels from the middle of one box to that of the next.
        x, end = spline.spans[j], spline.spans[j + 1]
        a, b = line[spline.columns[0, x]], line[spline.columns[1, x]]
        c, d = line[spline.columns[2, x]], line[spline.columns[3, x]]
        # Each a line of its own: of a part of a table the compiler does not know the steps.
        w, piece = spline.column_weights, out[x:end]
        p, q, r, s = w[0, x:end], w[1, x:end], w[2, x:end], w[3, x:end]
        for i in range(piece.size):
            value = np.float32(p[i] * a + q[i] * b + r[i] * c + s[i] * d)
            piece[i] = min(max(value, spline.low), spline.high)
