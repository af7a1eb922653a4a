"""Runs of deviating pixels along columns: bad columns of the detector, seen from a source."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bycatch.arrays import Floats
from bycatch.kernels.bounds import FAR, length_px
from bycatch.kernels.compiled import compiled
from bycatch.kernels.neighbourhood import plane, points, positions
from bycatch.kernels.threads import WORTH_A_THREAD, in_portions

CLIP_SIGMA = 4.0
LEAST_KNOWN = 0.75
"""Share of a stretch that must have data."""
N_BESIDE, STEP_BESIDE = 12, 2
"""Columns to either side that a column is compared with, and how far apart they lie."""
LEAST_BESIDE = 20
"""Neighbouring stretches that measure how much columns deviate here by chance."""
BESIDE_SIGMA = 3.0
"""Mean deviation of the four stretches, in units of the scatter of stretches beside."""
MAD_TO_SIGMA = 1.4826


def column_runs(
    sci: NDArray[np.float32],
    gap_px: int,
    x: ArrayLike,
    y: ArrayLike,
    noise: ArrayLike,
    slopes: ArrayLike,
    n_sigma: float,
    core_px: int,
    reach_px: int,
) -> NDArray[np.bool_]:
    """Return which positions have a column that deviates above and below them.

    Four stretches of a column, an inner and an outer one upwards and downwards, must
    deviate to the same side; the outer ones at least half as much as the inner ones.
    In a crowd many columns deviate: the mean of the four must be 3 times the scatter of such
    stretches of the columns beside as well.  Nothing is found where fewer than 20 of these have
    data.

    Parameters
    ----------
    sci : (ny, nx) float32
        NaN where there are no data.
    gap_px : int
        A column is a pair of the image's columns, between which drizzling divides it: its contrast
        is their mean minus that of the pairs this far to both sides.
    x, y : (N,) float
        0-based pixel centres; columns up to 2 px away are tried.  False where not finite.
    noise : (N,) float
        Scatter of the contrast; nothing is found where it is not positive.
    slopes : (T,) float
        Steps in x per step in y of a column.
    n_sigma : float
        Least deviation of a stretch.  Neighbours along a column are correlated by drizzling: a
        mean over n pixels has the error ``noise * sqrt(2 / n)``.
    core_px, reach_px : int
        Steps from the position to the first pixel of a stretch and to its end.
    """
    column, row, scatter = points(x, y, noise)
    steps = positions(slopes)
    if not (np.abs(steps) < FAR).all():
        raise ValueError(f"slopes of columns must be finite, not {steps}")
    is_on_run = np.zeros(len(column), dtype=np.bool_)
    gap = int(length_px(gap_px))
    pixels = plane(sci, np.float32)
    stretches = (int(length_px(core_px)), int(length_px(reach_px)))

    def work(i: int, j: int) -> None:
        at = (column[i:j], row[i:j], scatter[i:j])
        _column_runs(pixels, gap, *at, steps, float(n_sigma), stretches, is_on_run[i:j])

    in_portions(work, len(column), WORTH_A_THREAD)
    return is_on_run


@compiled
def _column_runs(
    sci: NDArray[np.float32],
    gap: int,
    x: Floats,
    y: Floats,
    noise: Floats,
    slopes: Floats,
    n_sigma: float,
    stretches: tuple[int, int],
    is_on_run: NDArray[np.bool_],
) -> None:
    for k in range(x.size):
        if not (abs(x[k]) < FAR and abs(y[k]) < FAR and noise[k] > 0):
            continue
        column, row = round(x[k]), round(y[k])
        for slope in slopes:
            for offset in range(-2, 3):
                if not is_on_run[k]:
                    is_on_run[k] = _is_run(
                        sci, gap, column + offset, row, noise[k], slope, n_sigma, stretches
                    )


@compiled
def _is_run(
    sci: NDArray[np.float32],
    gap: int,
    column: int,
    row: int,
    noise: float,
    slope: float,
    n_sigma: float,
    stretches: tuple[int, int],
) -> bool:
    """Tell whether one column deviates; most do not in their first stretch, and cost no more."""
    core, reach = stretches
    middle = (core + reach + 1) // 2
    sign = total = 0.0
    for side in (1, -1):
        near = _deviation(sci, gap, column, row, noise, slope, side, core, middle)
        if sign == 0.0:
            sign = 1.0 if near > 0 else -1.0
        if not sign * near > n_sigma:
            return False
        far = _deviation(sci, gap, column, row, noise, slope, side, middle, reach)
        if not (sign * far > n_sigma and sign * far > 0.5 * sign * near):
            return False
        total = total + near + far
    beside = _scatter_beside(sci, gap, column, row, noise, slope, stretches)
    return bool(0.25 * sign * total > BESIDE_SIGMA * beside)


@compiled
def _scatter_beside(
    sci: NDArray[np.float32],
    gap: int,
    column: int,
    row: int,
    noise: float,
    slope: float,
    stretches: tuple[int, int],
) -> float:
    """Return the robust scatter of the stretches of the columns beside; NaN where few are known."""
    core, reach = stretches
    middle = (core + reach + 1) // 2
    sizes, n = np.empty(8 * N_BESIDE), 0
    for k in range(N_BESIDE):
        # A column reaches into the contrast of those up to one gap and a pixel beside.
        away = 2 * gap + 1 + STEP_BESIDE * k
        for beside in (column - away, column + away):
            for side in (1, -1):
                near = _deviation(sci, gap, beside, row, noise, slope, side, core, middle)
                far = _deviation(sci, gap, beside, row, noise, slope, side, middle, reach)
                for value in (near, far):
                    if math.isfinite(value):
                        sizes[n] = abs(value)
                        n += 1
    if n < LEAST_BESIDE:
        return math.nan
    return float(MAD_TO_SIGMA * np.median(sizes[:n]))


@compiled
def _contrast(line: NDArray[np.float32], column: int, gap: int) -> float:
    """Return the mean of a pixel and the next minus that of the pairs beside them."""
    own = np.float64(line[column]) + line[column + 1]
    left = np.float64(line[column - gap]) + line[column - gap + 1]
    right = np.float64(line[column + gap]) + line[column + gap + 1]
    return float(0.5 * own - 0.25 * (left + right))


@compiled
def _deviation(
    sci: NDArray[np.float32],
    gap: int,
    column: int,
    row: int,
    noise: float,
    slope: float,
    side: int,
    first: int,
    end: int,
) -> float:
    """Return the clipped mean of a stretch in units of its error; NaN where data are missing."""
    ny, nx = sci.shape
    total, n = 0.0, 0
    for step in range(first, end):
        at_row = row + side * step
        at_column = column + math.floor(slope * side * step + 0.5)
        if 0 <= at_row < ny and gap <= at_column < nx - gap - 1:
            value = _contrast(sci[at_row], at_column, gap) / noise
            if math.isfinite(value):
                total += min(max(value, -CLIP_SIGMA), CLIP_SIGMA)
                n += 1
    if n == 0 or n < LEAST_KNOWN * (end - first):
        return math.nan
    return total / math.sqrt(2.0 * n)
