"""Images laid over one another: weighted sums on a grid that is not their own."""

from __future__ import annotations

import math

import numpy as np

from bycatch.arrays import Bools, Floats, Image
from bycatch.kernels.bounds import check_shapes
from bycatch.kernels.compiled import compiled
from bycatch.kernels.neighbourhood import plane
from bycatch.kernels.threads import ROWS_WORTH_A_THREAD, in_portions

STEP_PX = 32
"""Distance of the grid points between which places are interpolated: a distortion of ACS bends by
less than 1e-3 px within it."""


def flux_and_variance(
    sci: Image, background: Image, noise: Image, has_data: Bools, unit: float
) -> tuple[Image, Image]:
    """Return the flux of pixels above the background, and its variance; NaN where there is none.

    Parameters
    ----------
    sci, background, noise : (ny, nx) float32, e/s; no noise: no data
    has_data : (ny, nx) bool; pixels that count
    unit : flux of 1 e/s
    """
    check_shapes(sci, background, noise, has_data)
    planes = plane(sci), plane(background), plane(noise), plane(has_data, np.bool_)
    flux, variance = np.empty(sci.shape, np.float32), np.empty(sci.shape, np.float32)

    def work(first: int, last: int) -> None:
        rows = slice(first, last)
        data, level, sigma, counts = (array[rows] for array in planes)
        _write_flux(data, level, sigma, counts, np.float32(unit), flux[rows], variance[rows])

    in_portions(work, len(sci), ROWS_WORTH_A_THREAD)
    return flux, variance


@compiled
def _write_flux(
    sci: Image,
    background: Image,
    noise: Image,
    has_data: Bools,
    unit: np.float32,
    flux: Image,
    variance: Image,
) -> None:
    nothing = np.float32(np.nan)
    for y in range(sci.shape[0]):
        for x in range(sci.shape[1]):
            sigma = unit * noise[y, x]
            is_known = has_data[y, x] and sigma > 0
            flux[y, x] = unit * (sci[y, x] - background[y, x]) if is_known else nothing
            variance[y, x] = sigma * sigma if is_known else nothing


def add_resampled(
    total: Image, weight: Image, flux: Image, variance: Image, x_at: Floats, y_at: Floats
) -> None:
    """Add an image to weighted sums, at the places where the pixels of their grid lie in it.

    Values are interpolated between four pixels; where one of them is not known the image adds
    nothing.

    Parameters
    ----------
    total : (NY, NX) float32; sum of fluxes x inverse variances, changed in place
    weight : (NY, NX) float32; sum of inverse variances, changed in place
    flux, variance : (ny, nx) float32; NaN: no data
    x_at, y_at : (ceil(NY / 32) + 1, ceil(NX / 32) + 1) float; where each 32nd pixel of the grid
        lies in the image
    """
    check_shapes(flux, variance)
    check_shapes(total, weight)
    if min(flux.shape) < 2:
        return
    values, variances = plane(flux), plane(variance)

    def work(first: int, last: int) -> None:
        _add_rows(total, weight, values, variances, x_at, y_at, first, last)

    in_portions(work, len(total), ROWS_WORTH_A_THREAD)


@compiled
def _add_rows(
    total: Image,
    weight: Image,
    flux: Image,
    variance: Image,
    x_at: Floats,
    y_at: Floats,
    first: int,
    last: int,
) -> None:
    ny, nx = flux.shape
    row = first
    while row < last:
        j = row // STEP_PX
        end_row = min((j + 1) * STEP_PX, last)
        for i in range(-(-total.shape[1] // STEP_PX)):
            # By squares: the rows of one lie beside each other in the image, however it is turned.
            for y_row in range(row, end_row):
                t = (y_row - j * STEP_PX) / STEP_PX
                # Places change linearly along a row, from one 32nd pixel to the next.
                x0 = (1 - t) * x_at[j, i] + t * x_at[j + 1, i]
                y0 = (1 - t) * y_at[j, i] + t * y_at[j + 1, i]
                dx = ((1 - t) * x_at[j, i + 1] + t * x_at[j + 1, i + 1] - x0) / STEP_PX
                dy = ((1 - t) * y_at[j, i + 1] + t * y_at[j + 1, i + 1] - y0) / STEP_PX
                begin, end = i * STEP_PX, min((i + 1) * STEP_PX, total.shape[1])
                for column in range(begin, end):
                    x, y = x0 + (column - begin) * dx, y0 + (column - begin) * dy
                    if not (x >= 0.0 and y >= 0.0 and x < nx - 1 and y < ny - 1):  # NaN, too
                        continue
                    left, low = int(x), int(y)
                    u, v = np.float32(x - left), np.float32(y - low)
                    a, b = (1 - u) * (1 - v), u * (1 - v)
                    c, d = (1 - u) * v, u * v
                    noise2 = a * variance[low, left] + b * variance[low, left + 1]
                    noise2 += c * variance[low + 1, left] + d * variance[low + 1, left + 1]
                    value = a * flux[low, left] + b * flux[low, left + 1]
                    value += c * flux[low + 1, left] + d * flux[low + 1, left + 1]
                    if noise2 > 0 and math.isfinite(value):
                        inverse = np.float32(1) / noise2
                        total[y_row, column] += value * inverse
                        weight[y_row, column] += inverse
        row = end_row
