"""An image of rates in electrons, its level and scatter, and the noise to be expected."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bycatch.arrays import Bools, Floats, Image
from bycatch.kernels.bounds import check_shapes
from bycatch.kernels.compiled import compiled, long
from bycatch.kernels.large_medians import range_of_median
from bycatch.kernels.neighbourhood import plane
from bycatch.kernels.rowmedians import lower, upper
from bycatch.kernels.smoothing import count
from bycatch.kernels.threads import ROWS_WORTH_A_THREAD, in_portions

BOX_PX = 64
"""Side of the boxes in which level and scatter are measured."""
MIN_BOX_PX = 50
LOW_PERCENT, MIDDLE_PERCENT = 15.87, 50.0
N_BINS = 128
LAST_BIN = float(N_BINS)
N_SAMPLE = 64
SATURATED_REACH_PX = 3


@dataclass(frozen=True)
class NoiseModel:
    """What the variance of a pixel is made of: per second, per exposure, and of its charge.

    Attributes
    ----------
    area : area of a pixel over that of a detector pixel
    dark_rate : e/s per detector pixel
    readnoise_e : per exposure and detector pixel
    sky_rate : e/s per pixel, whole
    added_rate : the part of it that the image lacks
    typical_s : exposure time where the image has no data
    """

    area: float
    dark_rate: float
    readnoise_e: float
    sky_rate: float = 0.0
    added_rate: float = 0.0
    typical_s: float = 0.0

    def fixed(self, seconds: Image, n_exp: NDArray[np.int16]) -> Floats:
        """Return the variance without light: dark current and read noise."""
        n_reads = np.maximum(n_exp, 1)
        return np.asarray(self.area * (self.dark_rate * seconds + self.readnoise_e**2 * n_reads))

    def typical_fixed(self, seconds: Image, n_exp: NDArray[np.int16], good: Bools) -> float:
        """Return the median of it over the good pixels of an image; NaN without any."""
        check_shapes(seconds, n_exp, good)
        every = max(len(good) // N_SAMPLE, 1)
        mask = good[::every]
        sample = np.sort(self.fixed(seconds[::every][mask], n_exp[::every][mask]))
        low, high = range_of_median(sample)
        n, n_below, n_low, inside = _fixed_between(
            plane(seconds, np.float32), plane(n_exp, np.int16), plane(good, bool), self.numbers,
            low, high,
        )  # fmt: skip
        if n == 0:
            return math.nan
        ranks = np.array([(n - 1) // 2, n // 2]) - n_below - n_low
        if ranks[0] < -n_low or ranks[1] >= len(inside):  # the sample led astray
            return float(np.median(self.fixed(seconds[good], n_exp[good])))
        if len(inside):
            inside.partition(ranks.clip(0))
        first, second = (low if rank < 0 else inside[rank] for rank in ranks)
        return float(0.5 * (first + second))

    @property
    def numbers(self) -> Floats:
        """All as one array, for the kernels."""
        return np.array(
            [
                self.area * self.dark_rate,
                self.area * self.readnoise_e**2,
                self.sky_rate,
                self.added_rate,
                self.typical_s,
                self.dark_rate,
                self.readnoise_e**2,
                self.area,
            ]
        )


def level_and_scatter(values: NDArray[np.floating[Any]], good: Bools) -> tuple[float, float]:
    """Return the typical median and scatter of boxes.

    The scatter is the half width of the lower side of the distribution (median
    minus 15.87th percentile): sources and cosmic rays sit on the upper side.

    Parameters
    ----------
    values : (ny, nx), finite where good
    good : (ny, nx) bool
    """
    check_shapes(values, good)
    mask = plane(good, bool)
    pixels, least = plane(values), _least_box(mask)

    def boxes(rows: slice) -> Floats:
        return _value_boxes(pixels[rows], mask[rows], least)

    return _typical(_in_all_boxes(boxes, values.shape), values, good)


def residual_scatter(
    counts: Image, seconds: Image, n_exp: NDArray[np.int16], good: Bools, model: NoiseModel
) -> float:
    """Return the scatter of the image without its sky over the error that the model expects.

    Parameters
    ----------
    counts : (ny, nx) float32, electrons
    seconds : (ny, nx) float32, exposure time
    n_exp : (ny, nx) int16, number of exposures
    good : (ny, nx) bool
    model : NoiseModel
    """
    check_shapes(counts, seconds, n_exp, good)
    mask = plane(good, bool)
    images, least = (plane(counts), plane(seconds), plane(n_exp, np.int16), mask), _least_box(mask)

    def boxes(rows: slice) -> Floats:
        part, times, numbers, in_mask = (image[rows] for image in images)
        return _residual_boxes(part, times, numbers, in_mask, model.numbers, least)

    return _typical(_in_all_boxes(boxes, counts.shape), np.zeros(0), good)[1]


def _in_all_boxes(boxes: Callable[[slice], Floats], shape: tuple[int, ...]) -> Floats:
    """Return the two numbers of every box from those of the boxes in some rows of pixels."""
    n_y, n_x = (-(-n // BOX_PX) for n in shape)
    out = np.empty((n_y * n_x, 2))

    def work(first: int, last: int) -> None:
        out[first * n_x : last * n_x] = boxes(slice(first * BOX_PX, last * BOX_PX))

    in_portions(work, n_y, -(-ROWS_WORTH_A_THREAD // BOX_PX))
    return out


def _least_box(good: Bools) -> int:
    return min(MIN_BOX_PX, good.size // 4)


def _typical(boxes: Floats, values: NDArray[np.floating[Any]], good: Bools) -> tuple[float, float]:
    """Return the medians over the boxes of level and scatter; without boxes, of all pixels."""
    finite_boxes = boxes[np.isfinite(boxes[:, 0])]
    if len(finite_boxes):
        low, middle = finite_boxes.T
        return float(np.median(middle)), float(np.median(middle - low))
    inside = values[good] if values.size else values
    return (float(np.median(inside)) if inside.size else 0.0), 0.0


@compiled
def _fixed_between(
    seconds: Image, n_exp: NDArray[np.int16], good: Bools, model: Floats, low: float, high: float
) -> tuple[int, int, int, Floats]:
    """Return how many pixels are good, below ``low`` and at it, and the values in (low, high].

    The values are the good pixels' variances without light.
    """
    inside = np.empty(seconds.size)  # as good as free: only what is written costs
    line = np.empty(seconds.shape[1])
    n, n_below, n_low, n_inside = 0, 0, 0, 0
    per_second, per_exposure = np.float32(model[5]), model[6]
    for y in range(seconds.shape[0]):
        times, exposures, in_mask = seconds[y], n_exp[y], good[y]
        for x in range(len(line)):
            value = model[7] * (per_second * times[x] + per_exposure * max(exposures[x], 1))
            line[x] = value if in_mask[x] else np.nan  # which is in no range
        n += count(in_mask)
        for x in range(len(line)):
            n_below += line[x] < low
            n_low += line[x] == low
        for x in range(len(line)):
            inside[n_inside] = line[x]
            n_inside += (line[x] > low) & (line[x] <= high)
    return n, n_below, n_low, inside[:n_inside].copy()


@compiled
def _value_boxes(values: Image, good: Bools, least: int) -> Floats:
    """Return the two percentiles of each box; NaN where it has too few pixels."""
    ny, nx = values.shape
    n_x = -(-nx // BOX_PX)
    out = np.full((-(-ny // BOX_PX) * n_x, 2), np.nan)
    line, box, bins = working_memory()
    for k in range(len(out)):
        y0, x0 = (k // n_x) * BOX_PX, (k % n_x) * BOX_PX
        x1, n = min(x0 + BOX_PX, nx), long(0)
        for y in range(y0, min(y0 + BOX_PX, ny)):
            here = values[y, x0:x1]
            for i in range(len(here)):
                line[i] = here[i]
            n = appended(line, good[y, x0:x1], box, n)
        if n >= max(least, 1):
            out[k, 0], out[k, 1] = two_percentiles(box[:n], bins)
    return out


@compiled
def _residual_boxes(
    counts: Image, seconds: Image, n_exp: NDArray[np.int16], good: Bools, model: Floats, least: int
) -> Floats:
    """Return the same of the image without its sky, over its expected error."""
    ny, nx = counts.shape
    n_x = -(-nx // BOX_PX)
    out = np.full((-(-ny // BOX_PX) * n_x, 2), np.nan)
    line, box, bins = working_memory()
    for k in range(len(out)):
        y0, x0 = (k // n_x) * BOX_PX, (k % n_x) * BOX_PX
        x1, n = min(x0 + BOX_PX, nx), long(0)
        for y in range(y0, min(y0 + BOX_PX, ny)):
            write_residuals(counts[y, x0:x1], seconds[y, x0:x1], n_exp[y, x0:x1], model, line)
            n = appended(line, good[y, x0:x1], box, n)
        if n >= max(least, 1):
            out[k, 0], out[k, 1] = two_percentiles(box[:n], bins)
    return out


@compiled
def working_memory() -> tuple[Floats, Floats, NDArray[np.uint8]]:
    """Return room for a row of a box, for its pixels, and for the bins of these."""
    size = BOX_PX * BOX_PX
    return np.empty(BOX_PX), np.empty(size), np.empty(size, np.uint8)


@compiled
def write_residuals(
    counts: Image, seconds: Image, n_exp: NDArray[np.int16], model: Floats, line: Floats
) -> None:
    """Write a row of the image without its sky, over its expected error.

    Parameters
    ----------
    counts, seconds : (n,) float32, electrons and s
    n_exp : (n,) int16
    model : numbers of a NoiseModel
    line : (n,) float, written
    """
    sky_rate = np.float32(model[2])
    for i in range(len(counts)):
        sky = sky_rate * seconds[i]
        expected = expected_variance(counts[i], sky, seconds[i], n_exp[i], model)
        line[i] = (counts[i] - sky) / math.sqrt(expected)


@compiled
def appended(line: Floats, mask: Bools, box: Floats, n: int) -> int:
    """Append the values of a row that are used; return how many there are then.

    Parameters
    ----------
    line : (m,) float
    mask : (m,) bool
    box : (M,) float with room for m values after the first n; written
    n : values in it so far
    """
    if count(mask) == len(mask):  # as nearly always: a plain copy
        for i in range(len(mask)):
            box[n + i] = line[i]
        return n + len(mask)
    for i in range(len(mask)):
        box[n] = line[i]
        n += mask[i]
    return n


@compiled
def expected_variance(counts: Any, sky: Any, seconds: Any, n_exp: int, model: Floats) -> Any:
    """Return the variance of a pixel: its charge (at least half the sky), dark, read noise.

    Parameters
    ----------
    counts, sky : electrons
    seconds : exposure time
    n_exp : number of exposures
    model : numbers of a NoiseModel
    """
    constant = model[0] * seconds + model[1] * max(n_exp, 1)
    return upper(np.float64(counts), 0.5 * np.float64(sky)) + constant


@compiled
def two_percentiles(values: Floats, bins: NDArray[np.uint8]) -> tuple[float, float]:
    """Return the 15.87th and the 50th percentile, interpolated as numpy does.

    The values are counted into bins between two guesses; only those of the bins that
    hold the percentiles are sorted.

    Parameters
    ----------
    values : (n,)
    bins : (at least n,) uint8
        Working memory.
    """
    n = len(values)
    guess = np.sort(values[:: max(n // N_SAMPLE, 1)].copy())  # one sort to compile, not two
    start, stop = guess[len(guess) // 20], guess[(len(guess) * 13) // 20]
    scale = N_BINS / (stop - start)
    if not 0 < scale < math.inf:  # many equal values, or very few, or some that are no numbers
        in_order, none = np.sort(values), long(0)
        low_value = interpolated(in_order, LOW_PERCENT, none, n)
        return low_value, interpolated(in_order, MIDDLE_PERCENT, none, n)
    count = np.zeros(N_BINS + 3, np.int64)
    for i in range(n):
        bins[i] = np.uint8(lower(upper((values[i] - start) * scale, -1.0), LAST_BIN) + 1.0)
    for i in range(n):
        count[bins[i] + 1] += 1
    n_before = np.cumsum(count)
    first, last = bins_of(n_before, LOW_PERCENT, n)
    first_middle, last_middle = bins_of(n_before, MIDDLE_PERCENT, n)
    low, middle = np.empty(n), np.empty(n)
    n_low, n_middle = 0, 0
    for i in range(n):
        # Written always, kept only where it belongs: no branch that is hard to foresee.
        low[n_low] = middle[n_middle] = values[i]
        n_low += (bins[i] >= first) & (bins[i] <= last)
        n_middle += (bins[i] >= first_middle) & (bins[i] <= last_middle)
    return (
        interpolated(np.sort(low[:n_low]), LOW_PERCENT, n_before[first], n),
        interpolated(np.sort(middle[:n_middle]), MIDDLE_PERCENT, n_before[first_middle], n),
    )


@compiled
def bins_of(n_before: NDArray[np.int64], percent: float, n: int) -> tuple[int, int]:
    """Return the bins of the two values that a percentile lies between.

    Parameters
    ----------
    n_before : (n_bins + 1,) int, values before each bin
    percent : 0 to 100
    n : number of values
    """
    rank, first = int(percent / 100.0 * (n - 1)), 0
    while n_before[first + 1] <= rank:
        first += 1
    last = first
    while n_before[last + 1] <= min(rank + 1, n - 1):
        last += 1
    return first, last


@compiled
def interpolated(in_order: Floats, percent: float, n_before: int, n: int) -> Any:
    """Return a percentile of n values, of which sorted ones after the first few are given.

    Parameters
    ----------
    in_order : (m,) float, the values after the first ``n_before``
    percent : 0 to 100
    n_before : values that are left out
    n : number of all values
    """
    position = percent / 100.0 * (n - 1)
    rank = int(position)
    low = in_order[rank - n_before]
    high = in_order[min(rank + 1, n - 1) - n_before]
    return low + (high - low) * (position - rank)


def electrons(
    rate: Image,
    seconds: Image,
    n_exp: NDArray[np.int16],
    good: Bools,
    model: NoiseModel,
    limit_e: float,
) -> tuple[Image, Bools]:
    """Return the image with its sky in electrons, and what is saturated.

    Parameters
    ----------
    rate, seconds : (ny, nx) float32
    n_exp : (ny, nx) int16
    good : (ny, nx) bool
        Elsewhere the image is set to its sky.
    model : NoiseModel
    limit_e : float
        Charge of a saturated pixel, per exposure.

    Returns
    -------
    counts : (ny, nx) float32
    saturated : (ny, nx) bool
        Saturated pixels and those within 3 steps along rows and columns:
        bleeding columns are narrow too.
    """
    check_shapes(rate, seconds, n_exp, good)
    images = (plane(rate, np.float32), plane(seconds, np.float32), plane(n_exp, np.int16))
    counts, is_saturated = np.empty(rate.shape, np.float32), np.zeros(rate.shape, np.bool_)
    mask = plane(good, bool)

    def work(first: int, last: int) -> None:
        rows, outputs = (first, last), (counts, is_saturated)
        _electrons(*images, mask, model.numbers, limit_e, rows, outputs)

    in_portions(work, len(rate), ROWS_WORTH_A_THREAD)
    return counts, is_saturated


@compiled
def _electrons(
    rate: Image,
    seconds: Image,
    n_exp: NDArray[np.int16],
    good: Bools,
    model: Floats,
    limit_e: float,
    rows: tuple[int, int],
    outputs: tuple[Image, Bools],
) -> None:
    """Fill some rows; what is saturated can reach into others, too."""
    nx, (counts, is_saturated) = rate.shape[1], outputs
    sky_rate, sky_per_s = np.float32(model[2]), np.float32(model[3])
    outside = sky_rate * np.float32(model[4])
    for y in range(rows[0], rows[1]):
        for x in range(nx):
            counts[y, x] = (rate[y, x] + sky_per_s) * seconds[y, x] if good[y, x] else outside
        for x in range(nx):
            if counts[y, x] > limit_e and counts[y, x] > limit_e * max(n_exp[y, x], 1):
                mark_diamond(is_saturated, y, x)


@compiled
def mark_diamond(mask: Bools, y: int, x: int) -> None:
    """Mark the pixels within some steps of one.

    Parameters
    ----------
    mask : (ny, nx) bool, written
    y, x : the pixel
    """
    ny, nx = mask.shape
    reach = SATURATED_REACH_PX
    for v in range(max(y - reach, 0), min(y + reach + 1, ny)):
        half = reach - abs(v - y)
        for u in range(max(x - half, 0), min(x + half + 1, nx)):
            mask[v, u] = True


def variance_plane(
    counts: Image,
    seconds: Image,
    n_exp: NDArray[np.int16],
    good: Bools,
    model: NoiseModel,
    factor: float,
) -> Image:
    """Return the expected variance times a factor, (ny, nx) float32.

    Parameters
    ----------
    counts : (ny, nx) float32, electrons
    seconds : (ny, nx) float32, exposure time
    n_exp : (ny, nx) int16, number of exposures
    good : (ny, nx) bool
    model : NoiseModel
    factor : float
    """
    check_shapes(counts, seconds, n_exp, good)
    images = (plane(counts, np.float32), plane(seconds, np.float32), plane(n_exp, np.int16))
    mask, out = plane(good, bool), np.empty(counts.shape, np.float32)

    def work(first: int, last: int) -> None:
        rows = slice(first, last)
        part, times, numbers = (image[rows] for image in images)
        _variance_plane(part, times, numbers, mask[rows], model.numbers, factor, out[rows])

    in_portions(work, len(out), ROWS_WORTH_A_THREAD)
    return out


@compiled
def _variance_plane(
    counts: Image,
    seconds: Image,
    n_exp: NDArray[np.int16],
    good: Bools,
    model: Floats,
    factor: float,
    out: Image,
) -> None:
    sky_rate, typical_s = np.float32(model[2]), np.float32(model[4])
    for y in range(counts.shape[0]):
        for x in range(counts.shape[1]):
            time_s = seconds[y, x] if good[y, x] else typical_s
            sky = sky_rate * time_s
            expected = expected_variance(counts[y, x], sky, time_s, n_exp[y, x], model)
            out[y, x] = np.float32(expected * factor)
