"""Clipped statistics of the pixels in each box of an image.

The definitions are those of SExtractor (Bertin & Arnouts 1996, A&AS 117, 393) in
the form that photutils' Background2D gives them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bycatch.arrays import Bools, Image
from bycatch.kernels.bounds import check_shapes
from bycatch.kernels.compiled import compiled
from bycatch.kernels.neighbourhood import plane
from bycatch.kernels.rowmedians import lower, upper
from bycatch.kernels.threads import ROWS_WORTH_A_THREAD, in_portions

MAX_ITERATIONS = 10
MOST_BINS, LEAST_BINS, BIN_PIXELS = 1024, 64, 2
"""Bins of a box: one for so many of its pixels, within limits."""
MOST_SAMPLES, SAMPLE_PIXELS = 63, 16
"""Samples that place the bins: one for so many pixels, to a limit."""
NARROW_PX = 32


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
    insertion_sort(samples)
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
def insertion_sort(values: Image) -> None:
    """Sort a few values in place, by insertion.

    Parameters
    ----------
    values : (N,) float32
    """
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
        not_below = _end_of_low(by_bin, starts, start, scale, low, False)
        above = _end_of_low(by_bin, starts, start, scale, high, True)
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
def _end_of_low(
    by_bin: Image,
    starts: NDArray[np.uint32],
    start: np.float32,
    scale: np.float32,
    limit: float,
    with_limit: bool,
) -> int:
    """Move what is below a limit, or at it, to the start of the limit's bin; return its end."""
    b = _bin(np.float32(limit), start, scale, np.float32(starts.size - 2))
    k = int(starts[b])
    for i in range(k, int(starts[b + 1])):
        if by_bin[i] < limit or (with_limit and by_bin[i] == limit):
            by_bin[i], by_bin[k] = by_bin[k], by_bin[i]
            k += 1
    return k
