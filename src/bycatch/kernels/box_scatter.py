"""Level and scatter of an image, as the medians over its boxes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bycatch.arrays import Bools, Floats, Image
from bycatch.kernels.bounds import check_shapes
from bycatch.kernels.compiled import compiled, long
from bycatch.kernels.neighbourhood import plane
from bycatch.kernels.noise_image import N_SAMPLE, NoiseModel, expected_variance
from bycatch.kernels.rowmedians import lower, upper
from bycatch.kernels.smoothing import count
from bycatch.kernels.threads import ROWS_WORTH_A_THREAD, in_portions

BOX_PX = 64
"""Side of the boxes in which level and scatter are measured."""
MIN_BOX_PX = 50
LOW_PERCENT, MIDDLE_PERCENT = 15.87, 50.0
N_BINS = 128
LAST_BIN = float(N_BINS)


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
    no_times, no_counts = np.empty((0, 0), np.float32), np.empty((0, 0), np.int16)
    boxes = _in_all_boxes(values, no_times, no_counts, good, model=np.empty(0))
    return _typical(boxes, values, good)


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
    boxes = _in_all_boxes(counts, seconds, n_exp, good, model.numbers)
    return _typical(boxes, np.zeros(0), good)[1]


def _in_all_boxes(
    values: NDArray[np.floating[Any]],
    seconds: Image,
    n_exp: NDArray[np.int16],
    good: Bools,
    model: Floats,
) -> Floats:
    """Return the two percentiles of every box, (n, 2); of residuals if there is a model."""
    images = plane(values), plane(seconds), plane(n_exp, np.int16), plane(good, bool)
    n_y, n_x = (-(-n // BOX_PX) for n in values.shape)
    out, least = np.empty((n_y * n_x, 2)), max(min(MIN_BOX_PX, good.size // 4), 1)

    def work(first: int, last: int) -> None:
        rows = slice(first * BOX_PX, last * BOX_PX)
        pixels, times, numbers, mask = (image[rows] for image in images)
        part = out[first * n_x : last * n_x]
        _box_percentiles(pixels, times, numbers, mask, model, least, part)

    in_portions(work, n_y, -(-ROWS_WORTH_A_THREAD // BOX_PX))
    return out


def _typical(boxes: Floats, values: NDArray[np.floating[Any]], good: Bools) -> tuple[float, float]:
    """Return the medians over the boxes of level and scatter; without boxes, of all pixels."""
    finite_boxes = boxes[np.isfinite(boxes[:, 0])]
    if len(finite_boxes):
        low, middle = finite_boxes.T
        return float(np.median(middle)), float(np.median(middle - low))
    inside = values[good] if values.size else values
    return (float(np.median(inside)) if inside.size else 0.0), 0.0


@compiled
def _box_percentiles(
    values: Image,
    seconds: Image,
    n_exp: NDArray[np.int16],
    good: Bools,
    model: Floats,
    least: int,
    out: Floats,
) -> None:
    """Write the two percentiles of each box; NaN where it has too few pixels.

    They are those of the values or, with a model, of the image without its sky over its error.
    """
    ny, nx = values.shape
    n_x = -(-nx // BOX_PX)
    line, box, bins = working_memory()
    for k in range(len(out)):
        y0, x0 = (k // n_x) * BOX_PX, (k % n_x) * BOX_PX
        x1, n = min(x0 + BOX_PX, nx), long(0)
        for y in range(y0, min(y0 + BOX_PX, ny)):
            here = values[y, x0:x1]
            if len(model):
                write_residuals(here, seconds[y, x0:x1], n_exp[y, x0:x1], model, line)
            else:
                for i in range(len(here)):
                    line[i] = here[i]
            n = append(line, good[y, x0:x1], box, n)
        out[k] = np.nan
        if n >= least:
            out[k, 0], out[k, 1] = two_percentiles(box[:n], bins)


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
    model : (8,) float; `NoiseModel.numbers`
    line : (n,) float, written
    """
    sky_rate = np.float32(model[2])
    for i in range(len(counts)):
        sky = sky_rate * seconds[i]
        expected = expected_variance(counts[i], sky, seconds[i], n_exp[i], model)
        line[i] = (counts[i] - sky) / math.sqrt(expected)


@compiled
def append(line: Floats, mask: Bools, box: Floats, n: int) -> int:
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
        low_value = interpolate(in_order, LOW_PERCENT, none, n)
        return low_value, interpolate(in_order, MIDDLE_PERCENT, none, n)
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
        interpolate(np.sort(low[:n_low]), LOW_PERCENT, n_before[first], n),
        interpolate(np.sort(middle[:n_middle]), MIDDLE_PERCENT, n_before[first_middle], n),
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
def interpolate(in_order: Floats, percent: float, n_before: int, n: int) -> Any:
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
