"""Images laid over one another: weighted sums on a grid that is not their own."""

from __future__ import annotations

import numpy as np

from bycatch.arrays import Floats, Image
from bycatch.kernels.compiled import compiled
from bycatch.kernels.neighbourhood import plane
from bycatch.kernels.threads import ROWS_WORTH_A_THREAD, in_portions

STEP_PX = 32
"""Distance of the grid points between which places are interpolated: a distortion of ACS bends by
less than 1e-3 px within it."""


def add_resampled(
    total: Image,
    weight: Image,
    sci: Image,
    inverse_variance: Image,
    x_at: Floats,
    y_at: Floats,
) -> None:
    """Add an image to weighted sums, at the places where the pixels of their grid lie in it.

    Values are interpolated between four pixels; where one of them has no weight the image adds
    nothing.

    Parameters
    ----------
    total : (NY, NX) float32; sum of values x inverse variances, changed in place
    weight : (NY, NX) float32; sum of inverse variances, changed in place
    sci, inverse_variance : (ny, nx) float32; no inverse variance, or NaN: no data
    x_at, y_at : (ceil(NY / 32) + 1, ceil(NX / 32) + 1) float; where each 32nd pixel of the grid
        lies in the image
    """
    if min(sci.shape) < 2:
        return
    pixels, known = plane(sci, np.float32), plane(inverse_variance, np.float32)

    def work(first: int, last: int) -> None:
        _add_rows(total, weight, pixels, known, x_at, y_at, first, last)

    in_portions(work, len(total), ROWS_WORTH_A_THREAD)


@compiled
def _add_rows(
    total: Image,
    weight: Image,
    sci: Image,
    inverse_variance: Image,
    x_at: Floats,
    y_at: Floats,
    first: int,
    last: int,
) -> None:
    ny, nx = sci.shape
    n_columns = total.shape[1]
    for row in range(first, last):
        j = row // STEP_PX
        t = (row - j * STEP_PX) / STEP_PX
        for column in range(n_columns):
            i = column // STEP_PX
            s = (column - i * STEP_PX) / STEP_PX
            x = (1 - t) * ((1 - s) * x_at[j, i] + s * x_at[j, i + 1]) + t * (
                (1 - s) * x_at[j + 1, i] + s * x_at[j + 1, i + 1]
            )
            y = (1 - t) * ((1 - s) * y_at[j, i] + s * y_at[j, i + 1]) + t * (
                (1 - s) * y_at[j + 1, i] + s * y_at[j + 1, i + 1]
            )
            if not (x >= 0.0 and y >= 0.0 and x < nx - 1 and y < ny - 1):  # NaN, too
                continue
            left, low = int(x), int(y)
            u, v = x - left, y - low
            value, variance = 0.0, 0.0
            lacks = False
            for dy in range(2):
                for dx in range(2):
                    share = (u if dx else 1 - u) * (v if dy else 1 - v)
                    if share == 0.0:
                        continue
                    known = inverse_variance[low + dy, left + dx]
                    pixel = sci[low + dy, left + dx]
                    if not (known > 0.0 and np.isfinite(pixel)):
                        lacks = True
                        continue
                    value += share * pixel
                    variance += share / known
            if lacks:
                continue
            total[row, column] += value / variance
            weight[row, column] += 1.0 / variance
