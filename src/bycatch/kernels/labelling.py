"""Connected pixels above a threshold, found while the image is smoothed row by row."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bycatch.arrays import Bools, Image
from bycatch.kernels.bounds import check_shapes
from bycatch.kernels.compiled import compiled, long
from bycatch.kernels.neighbourhood import plane
from bycatch.kernels.smoothing import count, smooth_row, weights_of, window
from bycatch.kernels.threads import ROWS_WORTH_A_THREAD, in_portions

Runs = NDArray[np.int32]

ROW, START, END, PARENT = range(4)
STRETCH = 64


@dataclass(frozen=True, eq=False)
class Segments:
    """Connected pixels above a threshold.

    Attributes
    ----------
    labels : (ny, nx) int32; 0, or 1 to ``n_labels`` in the order of their first pixels
    n_labels : int
    smooth : (ny, nx) float32
        The smoothed image where it is above the threshold, else 0: what is not used is never
        written, and so takes no memory.
    """

    labels: NDArray[np.int32]
    n_labels: int
    smooth: Image


def segments_above(
    data: Image,
    background: Image,
    noise: Image,
    valid: Bools,
    kernel: NDArray[np.float64],
    n_sigma: float,
    n_pixels: int,
) -> Segments:
    """Return the 8-connected groups of pixels whose smoothed value exceeds the threshold.

    Parameters
    ----------
    data, background, noise, valid : (ny, nx)
        The threshold is ``n_sigma`` times the noise, on the smoothed difference of data and
        background.  Where that is not finite it has no weight in the smoothing.
    kernel : (k, k) float
        Normalised and symmetric, k odd; see `smoothing.smooth_image`.
    n_sigma : float
    n_pixels : least number of pixels of a group

    Notes
    -----
    Runs of pixels along rows are collected, not pixels, and joined by union-find
    (Rosenfeld & Pfaltz 1966, J. ACM 13, 471); only what is kept is painted.
    """
    check_shapes(data, background, noise, valid)
    labels, smooth = np.zeros(data.shape, np.int32), np.zeros(data.shape, np.float32)
    weights = weights_of(kernel)
    images = (plane(data), plane(background), plane(noise), plane(valid, np.bool_))
    runs_from: dict[int, Runs] = {}

    def work(first: int, last: int) -> None:
        runs_from[first] = _runs_above(*images, weights, np.float32(n_sigma), smooth, first, last)

    in_portions(work, len(data), ROWS_WORTH_A_THREAD)
    runs = join_runs([runs_from[first] for first in sorted(runs_from)])
    return Segments(labels, _write_labels(runs, n_pixels, labels), smooth)


def n_groups(mask: Bools) -> int:
    """Return the number of groups of touching pixels of a mask, diagonals included.

    Parameters
    ----------
    mask : (ny, nx) bool
    """
    pixels, runs_from = plane(mask, np.bool_), dict[int, Runs]()

    def work(first: int, last: int) -> None:
        runs_from[first] = _runs_of(pixels, first, last)

    in_portions(work, len(mask), ROWS_WORTH_A_THREAD)
    runs = join_runs([runs_from[first] for first in sorted(runs_from)])
    return int(np.count_nonzero(runs[:, PARENT] == np.arange(len(runs))))


@compiled
def _runs_of(mask: Bools, first_row: int, last_row: int) -> Runs:
    """Return the runs of a mask in some rows, as `_runs_above`."""
    nx = mask.shape[1]
    runs = np.empty((nx, 4), np.int32)
    first = second = n_runs = long(0)
    for row in range(first_row, last_row):
        if len(runs) < n_runs + nx // 2 + 1:
            runs = _longer(runs, nx)
        first, second = second, n_runs
        n_runs = _append_runs(mask[row].view(np.uint8), row, runs, n_runs)
        _join(runs, first, second, n_runs)
    return runs[:n_runs].copy()


def join_runs(parts: list[Runs]) -> Runs:
    """Return the runs of successive portions of an image as one array, joined where they meet.

    Parameters
    ----------
    parts : of each portion, top to bottom, its runs (n, 4) int32: ROW, START, END, PARENT
    """
    starts = np.cumsum([0, *map(len, parts)])
    runs = np.concatenate(parts)
    for part, start in zip(parts, starts, strict=False):
        runs[start : start + len(part), PARENT] += start
    for start in starts[1:-1]:
        if 0 < start < len(runs) and runs[start, ROW] == runs[start - 1, ROW] + 1:
            before, after = np.searchsorted(runs[:, ROW], runs[start, ROW] + np.array([-1, 1]))
            _join(runs, int(before), int(start), int(after))
    return runs


@compiled
def _runs_above(
    data: Image,
    background: Image,
    noise: Image,
    valid: Bools,
    weights: NDArray[np.float64],
    n_sigma: np.float32,
    smooth: Image,
    first_row: int,
    last_row: int,
) -> Runs:
    """Return the runs of some rows above the threshold, (n, 4) int32.

    Each has its row, first and last column (exclusive), and the index of a run of
    the same group that comes before it, or its own.
    """
    ny, nx = data.shape
    size, reach = len(weights), len(weights) // 2
    values, has_data = window(size, nx)
    line, above = np.empty(nx, np.float32), np.empty(nx, np.uint8)
    runs = np.empty((1024, 4), np.int32)
    first = second = n_runs = long(0)
    for row in range(first_row - 2 * reach, last_row):
        slot, new = (row + reach) % size, row + reach
        if 0 <= new < ny:
            inner = slice(reach, reach + nx)
            _difference(
                data[new], background[new], valid[new], values[slot, inner], has_data[slot, inner]
            )
        else:
            values[slot], has_data[slot] = np.float32(0), np.uint8(0)
        if row < first_row:
            continue
        smooth_row(values, has_data, weights, row, line)
        _compare(line, noise[row], valid[row], n_sigma, above)
        if len(runs) < n_runs + nx // 2 + 1:
            runs = _longer(runs, nx)
        first, second = second, n_runs
        n_runs = _append_runs(above, row, runs, n_runs)
        _join(runs, first, second, n_runs)
        for k in range(second, n_runs):
            for x in range(runs[k, START], runs[k, END]):
                smooth[row, x] = line[x]
    return runs[:n_runs].copy()


@compiled
def _difference(
    data: Image, background: Image, valid: Bools, values: Image, has_data: NDArray[np.uint8]
) -> None:
    for x in range(data.size):
        value = data[x] - background[x]
        has_data[x] = valid[x] & math.isfinite(value)
        values[x] = value if has_data[x] else np.float32(0)


@compiled
def _compare(
    line: Image, noise: Image, valid: Bools, n_sigma: np.float32, above: NDArray[np.uint8]
) -> None:
    for x in range(line.size):
        above[x] = np.uint8(line[x] > n_sigma * noise[x]) & np.uint8(valid[x])


@compiled
def _longer(runs: Runs, nx: int) -> Runs:
    """Return a copy with room for at least one more row of runs."""
    more = np.empty((2 * len(runs) + nx, 4), np.int32)
    for k in range(len(runs)):  # a slice would take numba longer to compile than all the rest
        for i in range(4):
            more[k, i] = runs[k, i]
    return more


@compiled
def _append_runs(above: NDArray[np.uint8], row: int, runs: Runs, n_runs: int) -> int:
    """Append the runs of a row, each a group of its own; return the new number of runs."""
    nx, x = above.size, 0
    while x < nx:
        if not above[x]:
            # Most stretches hold nothing, which a sum shows fast.
            if x + STRETCH <= nx and count(above[x : x + STRETCH]) == 0:
                x += STRETCH
                continue
            while x < nx and not above[x]:
                x += 1
            if x == nx:
                break
        start = x
        while x < nx and above[x]:
            x += 1
        runs[n_runs, ROW], runs[n_runs, START], runs[n_runs, END] = row, start, x
        runs[n_runs, PARENT] = n_runs
        n_runs += 1
    return n_runs


@compiled
def _join(runs: Runs, first: int, second: int, end: int) -> None:
    """Join the runs of a row, from ``second`` on, with those that they touch in the row before."""
    k = first
    for i in range(second, end):
        # Corners touch, too: one column more on both sides.
        while k < second and runs[k, END] < runs[i, START]:
            k += 1
        j = k
        while j < second and runs[j, START] <= runs[i, END]:
            a, b = _root(runs, i), _root(runs, j)
            # The earlier run stands for the group: its order is that of the first pixels.
            runs[max(a, b), PARENT] = min(a, b)
            j += 1


@compiled
def _root(runs: Runs, k: int) -> int:
    """Return the run that stands for the group of run ``k``, and shorten the way to it."""
    while runs[k, PARENT] != k:
        runs[k, PARENT] = runs[runs[k, PARENT], PARENT]
        k = runs[k, PARENT]
    return k


@compiled
def _write_labels(runs: Runs, n_pixels: int, labels: NDArray[np.int32]) -> int:
    """Write the labels of groups that are large enough; return how many there are."""
    n_runs = len(runs)
    sizes = np.zeros(n_runs, np.int64)
    for k in range(n_runs):
        sizes[_root(runs, k)] += runs[k, END] - runs[k, START]
    numbers = np.zeros(n_runs, np.int32)
    n_labels = 0
    for k in range(n_runs):
        root = _root(runs, k)
        if sizes[root] >= n_pixels:
            if numbers[root] == 0:
                n_labels += 1
                numbers[root] = n_labels
            labels[runs[k, ROW], runs[k, START] : runs[k, END]] = numbers[root]
    return n_labels
