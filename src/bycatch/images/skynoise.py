"""The noise of an image, from blocks of its pixels, and what an exposure time makes it be."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bycatch.arrays import Floats, Image
from bycatch.images.meta import NATIVE_SCALE_ARCSEC, ImageMeta
from bycatch.images.weights import DARK_RATE
from bycatch.kernels.smoothing import noise_correlation

BLOCK_PX, BLOCKS_PER_SIDE = 24, 12
"""The sample: up to 144 blocks evenly over the image, 83,000 pixels."""
LEAST_BLOCKS = 9
"""Fewer blocks of valid pixels are not enough."""
MOSTLY_VALID = 0.8
"""Share of valid pixels in blocks of an image that has holes everywhere."""
LARGEST_VALUE = 1e30
"""What is larger is no pixel value: squares must fit into the floats."""
MAX_SPREAD = 2.5
"""Median over 10th percentile of the variances of the blocks: 1.1 to 1.4 in blank fields, 11 in
the core of 47 Tuc.  Above this the scatter is of stars: it is an upper limit of the noise."""
MIN_WHITENESS = 0.85
"""Variance of pixels that just share no light over that of distant ones: 1 for noise, less where
unresolved stars or smoothing make neighbours alike."""
MAX_TAIL = 2.3
"""80th percentile over median of differences: 1.9 for Gaussian noise (real images: 1.88 to 1.96),
2 to 4 where stars make them."""
SKY_RATES = (0.01, 0.05, 0.3)
"""Least, typical and largest sky, e/s per WFC pixel, if the file does not state it (facts of the
ACS Instrument Handbook: 0.02 to 0.17 in the broad bands)."""


@dataclass(frozen=True, eq=False)
class Sample:
    """Blocks of valid pixels, and the noise in them.

    Attributes
    ----------
    wht : (N, BLOCK_PX, BLOCK_PX) float32, or None
    counts : (N, BLOCK_PX, BLOCK_PX) exposures of each pixel, or None
    variance : (N,) of pixels that share no light
    level : (N,) median
    bright : a value that ten pixels exceed
    is_noise : False where stars or smoothing make the scatter
    """

    wht: Image | None
    counts: NDArray[np.int16] | None
    variance: Floats
    level: Floats
    bright: float
    is_noise: bool

    def __len__(self) -> int:
        return len(self.variance)


def sample_of(
    sci: Image, wht: Image | None, counts: NDArray[np.int16] | str, drop_px: float
) -> Sample:
    """Return a sample of an image.

    Parameters
    ----------
    sci, wht : (ny, nx), as the file holds them
    counts : (ny, nx) exposures, or why they are unknown
    drop_px : side of a drizzled drop: pixels that are further apart by one share no light
    """
    pixels = _blocks(sci)
    weights = None if wht is None else _blocks(wht)
    exposures = _blocks(counts) if isinstance(counts, np.ndarray) else None
    valid = np.abs(pixels) < LARGEST_VALUE  # False for NaN
    valid &= (pixels != 0) if weights is None else ((weights > 0) & np.isfinite(weights))
    whole = valid.all(axis=(1, 2))
    if whole.sum() < LEAST_BLOCKS:  # holes everywhere: blocks that are mostly valid
        whole = valid.mean(axis=(1, 2)) >= MOSTLY_VALID
        pixels = np.where(valid, pixels, np.nan)
        weights = None if weights is None else _fill_invalid(weights, valid)
    pixels = pixels[whole].astype(np.float32)
    near = math.ceil(0.95 + drop_px)
    variance, tail = _variance(pixels, near)
    far, _ = _variance(pixels, 2 * near + 2)
    return Sample(
        wht=None if weights is None else weights[whole],
        counts=None if exposures is None else exposures[whole],
        variance=variance,
        level=_median(pixels).astype(np.float64),
        bright=float(np.partition(np.nan_to_num(pixels), -10, axis=None)[-10])
        if pixels.size
        else 0.0,
        is_noise=_is_noise(variance, far, tail),
    )


def _blocks(plane: NDArray[Any]) -> NDArray[Any]:
    """Return blocks evenly over a plane, (N, BLOCK_PX, BLOCK_PX); none if it is smaller."""
    ys, xs = (
        np.linspace(0, n - BLOCK_PX, min(BLOCKS_PER_SIDE, n // BLOCK_PX)).astype(int)
        for n in plane.shape
    )
    blocks = [plane[y : y + BLOCK_PX, x : x + BLOCK_PX] for y in ys for x in xs]
    return np.stack(blocks) if blocks else np.empty((0, BLOCK_PX, BLOCK_PX), plane.dtype)


def _variance(pixels: Image, lag_px: int) -> tuple[Floats, Floats]:
    """Return the variance in each block, and the 80th percentile over the median (the tail).

    Both of the differences of pixels along a row.
    """
    if not len(pixels):
        return np.empty(0), np.empty(0)
    lag_px = min(lag_px, BLOCK_PX // 2)
    difference = np.abs(pixels[:, :, lag_px:] - pixels[:, :, :-lag_px])
    percentile = np.nanpercentile if np.isnan(difference).any() else np.percentile
    middle, high = percentile(difference, [50, 80], axis=(1, 2)).astype(np.float64)
    return np.asarray((1.4826 * middle) ** 2 / 2.0), np.asarray(high / middle)


def _median(blocks: Image) -> Image:
    if not len(blocks):
        return np.empty(0, np.float32)
    median = np.nanmedian if np.isnan(blocks).any() else np.median
    return np.asarray(median(blocks, axis=(1, 2)))


def _fill_invalid(weights: Image, valid: NDArray[np.bool_]) -> Image:
    """Return weights with those of invalid pixels replaced by the largest of their block."""
    valid_weights = np.where(valid, weights, np.float32(0))
    return np.where(valid, weights, valid_weights.max(axis=(1, 2), keepdims=True))


def _is_noise(near: Floats, far: Floats, tail: Floats) -> bool:
    if len(near) < LEAST_BLOCKS or not (near > 0).all() or np.median(tail) > MAX_TAIL:
        return False
    is_even = np.median(near) <= MAX_SPREAD * np.percentile(near, 10)
    return bool(is_even and np.median(near) >= MIN_WHITENESS * np.median(far))


@dataclass(frozen=True)
class NoiseRatio:
    """Measured over expected variance: for a sky in between, and for its extremes.

    ``least`` is for the brightest sky that there may be, ``most`` for the faintest.
    """

    least: float
    typical: float
    most: float
    estimate: float
    """By which factor the exposure times must be changed for a ratio of 1 (typical sky)."""


def noise_ratio(
    sample: Sample, meta: ImageMeta, scale_arcsec: float, per_unit: float, seconds: Floats
) -> NoiseRatio:
    """Compare the noise of a sample with the one that is expected.

    The variance of a pixel's rate is (sky + dark) / t + readnoise^2 / (t x duration of one
    exposure) per native pixel, lowered by drizzling as `noise_correlation` says.

    Parameters
    ----------
    sample : Sample
    meta : with the exposure time that is tried
    scale_arcsec : of the image
    per_unit : e/s of one unit of the pixels
    seconds : (N,) effective exposure time of each block
    """
    ratio = scale_arcsec / meta.native_scale_arcsec
    correlation = noise_correlation(meta.pixfrac, ratio)
    per_native_px = (correlation / ratio) ** 2 * per_unit**2 * sample.variance
    level = np.maximum(sample.level * per_unit / ratio**2, 0.0)
    readout = meta.readnoise_e**2 / meta.exptime_per_exposure_s
    # Weights of almost nothing are no time at all.
    seconds = np.maximum(seconds, 1e-3)
    ratios = []
    for sky in _skies(meta, float(np.median(level))):
        variance = (level + sky + DARK_RATE + readout) / seconds
        ratios.append(float(np.median(per_native_px / variance)))
    faint, typical, bright = ratios
    # With the number of exposures as it is, their durations change with the time:
    # t^2 v - t sky - n readnoise^2 = 0.
    sky_rate = float(np.median(level)) + _skies(meta, float(np.median(level)))[1] + DARK_RATE
    t, v = float(np.median(seconds)), float(np.median(per_native_px))
    n = t / meta.exptime_per_exposure_s
    if not v > 0:
        return NoiseRatio(bright, typical, faint, math.nan)
    root = math.sqrt(sky_rate**2 + 4.0 * v * n * meta.readnoise_e**2)
    return NoiseRatio(bright, typical, faint, (sky_rate + root) / (2.0 * v) / t)


def _skies(meta: ImageMeta, level: float) -> tuple[float, float, float]:
    """Return the sky that is missing from the pixels: least, typical and largest, e/s."""
    subtracted_sky = meta.subtracted_sky_rate
    if subtracted_sky > 0:
        rest = 0.0 if level > 0.5 * subtracted_sky else subtracted_sky
        return rest, rest, rest
    area = (meta.native_scale_arcsec / NATIVE_SCALE_ARCSEC["WFC"]) ** 2
    low, middle, high = (area * sky for sky in SKY_RATES)
    return (0.0, 0.0, high) if level > middle else (low, middle, high)
