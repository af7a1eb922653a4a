"""An image of rates in electrons, and the noise to be expected in it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bycatch.arrays import Bools, Floats, Image
from bycatch.kernels.bounds import check_shapes
from bycatch.kernels.compiled import compiled
from bycatch.kernels.large_medians import range_of_median
from bycatch.kernels.neighbourhood import plane
from bycatch.kernels.rowmedians import upper
from bycatch.kernels.smoothing import count
from bycatch.kernels.threads import ROWS_WORTH_A_THREAD, in_portions

N_SAMPLE = 64
"""Values, or rows, that are sorted to guess where the sought ones lie."""
SATURATED_REACH_PX = 3
ZERO = np.float32(0)


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
def expected_variance(counts: Any, sky: Any, seconds: Any, n_exp: int, model: Floats) -> Any:
    """Return the variance of a pixel: its charge (at least half the sky), dark, read noise.

    Parameters
    ----------
    counts, sky : electrons
    seconds : exposure time
    n_exp : number of exposures
    model : (8,) float; `NoiseModel.numbers`
    """
    constant = model[0] * seconds + model[1] * max(n_exp, 1)
    return upper(np.float64(counts), 0.5 * np.float64(sky)) + constant


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
