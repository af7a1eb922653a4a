"""Light or charge: small patterns fitted to the pixels about each source's brightest one.

Stars and small galaxies, at all phases of detector and output pixels, are patterns of light;
single pixels, pairs, corners and tracks are patterns of charge.  Each pattern is fitted with
an amplitude and a level (linear least squares); what is compared is the mean likelihood
of all patterns of light with that of all patterns of charge.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bycatch.arrays import Bools, Floats, Ints
from bycatch.kernels.smoothing import SIGMA_PER_FWHM

REACH_PX = 3.0
"""Radius of the pixels that are fitted, detector pixels."""
NATIVE = 4
"""Detector pixels on either side of the middle one that patterns are made on."""
PHASES = (-1 / 3, 0.0, 1 / 3)
"""Of output against detector pixels."""
STAR_PHASES = (-0.4, -0.2, 0.0, 0.2, 0.4)
"""Of stars against detector pixels."""
WING_SHARE, WING_RATIO = 0.13, 2.4
"""Of a star's light in a second Gaussian, and its width: the profile within 3 px."""
GALAXY_PX = ((0.6, 0.6), (1.0, 1.0), (1.7, 1.7), (1.4, 0.3))
"""Sigmas of galaxies along both axes, detector pixels."""
MODEL_ERROR = 0.08
"""Patterns are no better than that, as a share of each pixel's light."""
INDEPENDENT = 0.5
"""Share of the pixels that count as independent: drizzling makes neighbours alike."""
LEAST_VARIANCE, NO_DATA = 1e-12, 1e6
LEAST_LOG = -30.0
CHUNK = 256

Stamps = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Patterns:
    """Patterns on the pixels of a stamp.

    Attributes
    ----------
    dx, dy : (P,) int; the stamp's pixels, from the middle one
    values : (T, P) float32; normalized to a sum of squares of 1
    is_charge : (T,) bool
    """

    dx: Ints
    dy: Ints
    values: Stamps
    is_charge: Bools


@dataclass(frozen=True, eq=False)
class Fits:
    """What the patterns say of N sources.

    Attributes
    ----------
    charge : (N,) log of the likelihood of charge over that of light
    misfit : (N,) reduced chi-square of the best pattern of light
    best : (N,) int; number of the best pattern of light
    gain : (N,) by how much it lowers chi-square
    """

    charge: Floats
    misfit: Floats
    best: Ints
    gain: Floats


def charges() -> list[Floats]:
    """Return the patterns that charge leaves in detector pixels, (2 NATIVE + 1)^2 each."""
    grids = []

    def add(*pixels: tuple[int, int, float]) -> None:
        grid = np.zeros((2 * NATIVE + 1, 2 * NATIVE + 1))
        for x, y, charge in pixels:
            grid[NATIVE + y, NATIVE + x] += charge
        grids.append(grid)

    beside, across = ((1, 0), (-1, 0), (0, 1), (0, -1)), ((1, 1), (-1, 1), (1, -1), (-1, -1))
    add((0, 0, 1.0))
    add((0, 0, 1.0), *((*step, 0.15) for step in beside))
    for x, y in beside:
        for share in (0.4, 0.9):
            add((0, 0, 1.0), (x, y, share))
        add((0, 0, 1.0), (x, y, 0.7), (2 * x, 2 * y, 0.4))
        add((0, 0, 1.0), (x, y, 0.9), (2 * x, 2 * y, 0.9), (3 * x, 3 * y, 0.8))
    for x, y in across:
        add((0, 0, 1.0), (x, y, 0.7))
        add((0, 0, 1.0), (x, 0, 0.5), (0, y, 0.5), (x, y, 0.3))
        add((0, 0, 1.0), (x, 0, 0.5), (0, y, 0.5))
        add((0, 0, 1.0), (x, y, 0.8), (2 * x, 2 * y, 0.6))
        add((0, 0, 1.0), (x, 0, 0.6), (2 * x, y, 0.6), (3 * x, y, 0.5))
        add((0, 0, 1.0), (0, y, 0.6), (x, 2 * y, 0.6), (x, 3 * y, 0.5))
    for x, y in ((1, 0), (0, 1), (1, 1), (1, -1)):
        add((0, 0, 1.0), (x, y, 0.6), (-x, -y, 0.6))
        add((0, 0, 1.0), *((k * x, k * y, 0.9) for k in (-3, -2, -1, 1, 2, 3)))
    return grids


def profile(sigma_px: tuple[float, float], angle: float, x: float, y: float) -> Floats:
    """Return a star of two Gaussians at (x, y) in detector pixels; sigmas include the pixel.

    Parameters
    ----------
    sigma_px : along both axes, detector px
    angle : of the first axis from +x, rad
    x, y : centre, detector px from the middle
    """
    v, u = np.mgrid[-NATIVE : NATIVE + 1, -NATIVE : NATIVE + 1].astype(float)
    u, v = u - x, v - y
    along, beside = u * np.cos(angle) + v * np.sin(angle), v * np.cos(angle) - u * np.sin(angle)
    a, b = sigma_px
    total = np.zeros_like(u)
    for share, ratio in ((1 - WING_SHARE, 1.0), (WING_SHARE, WING_RATIO)):
        radius2 = (along / (a * ratio)) ** 2 + (beside / (b * ratio)) ** 2
        total += share * np.exp(-0.5 * radius2) / (a * b * ratio**2)
    return np.asarray(total)


def drizzled(
    pattern: Floats, phase: tuple[float, float], native_px: float, pixfrac: float, half: int
) -> Floats:
    """Return what drizzling makes of detector pixels, (2 half + 1)^2 output pixels.

    Parameters
    ----------
    pattern : (P, P) float, detector pixels
    phase : (x, y) of the detector pixel's centre from the output pixel's, detector px
    native_px : side of a detector pixel, output px
    pixfrac : of the drop, in detector pixels
    half : output px
    """
    rows = [_overlaps(p, native_px, pixfrac, half) for p in phase]
    total = rows[1] @ pattern @ rows[0].T
    weight = np.outer(rows[1].sum(axis=1), rows[0].sum(axis=1))
    return np.asarray(total / np.maximum(weight, 1e-6))


def _overlaps(phase: float, native_px: float, pixfrac: float, half: int) -> Floats:
    """Return how much of each output pixel the drop of each detector pixel covers."""
    out = np.arange(-half, half + 1)[:, np.newaxis]
    drop = (np.arange(-NATIVE, NATIVE + 1) + phase)[np.newaxis] * native_px
    reach = 0.5 * native_px * pixfrac
    low, high = np.maximum(out - 0.5, drop - reach), np.minimum(out + 0.5, drop + reach)
    return np.asarray(np.maximum(high - low, 0.0), float)


@lru_cache(maxsize=16)
def patterns(star_fwhm_px: float, native_px: float, pixfrac: float) -> Patterns:
    """Return the patterns of an image.

    Parameters
    ----------
    star_fwhm_px : FWHM of its stars as the moments have it, detector pixels
    native_px : size of a detector pixel in pixels of the image
    pixfrac : size of a drop in detector pixels
    """
    half = int(np.ceil(REACH_PX * native_px))
    dy, dx = np.mgrid[-half : half + 1, -half : half + 1]
    in_reach = np.hypot(dx, dy) <= REACH_PX * native_px
    # Drizzling adds about the variance of one more pixel.
    core = max(star_fwhm_px * SIGMA_PER_FWHM, 0.75) ** 2 - 1 / 6
    # A drop that lies in one output pixel at any phase is that pixel.
    phases = PHASES if native_px * (pixfrac + 2 / 3) > 1 else (0.0,)
    values: list[Floats] = []
    is_charge: list[bool] = []

    def add(pattern: Floats, *, charge: bool) -> None:
        for px in phases:
            for py in phases:
                image = drizzled(pattern, (px, py), native_px, pixfrac, half)[in_reach]
                values.append(np.asarray(image / np.sqrt(np.sum(image**2))))
                is_charge.append(charge)

    for x in STAR_PHASES:
        for y in STAR_PHASES:
            add(profile((np.sqrt(core), np.sqrt(core)), 0.0, x, y), charge=False)
    for a, b in GALAXY_PX:
        for angle in (0.0,) if a == b else np.arange(4) * np.pi / 4:
            wide = np.sqrt(core + a**2), np.sqrt(core + b**2)
            add(profile(wide, angle, 0.0, 0.0), charge=False)
    for pattern in charges():
        add(pattern, charge=True)
    values_and_kinds = np.array(values, np.float32), np.array(is_charge)
    return Patterns(dx[in_reach], dy[in_reach], *values_and_kinds)


def stamps(image: NDArray[Any], x: Ints, y: Ints, dx: Ints, dy: Ints) -> NDArray[Any]:
    """Return the pixels at steps from some, (N, P); beyond the edge pixels repeat.

    Parameters
    ----------
    image : (ny, nx)
    x, y : (N,) int, pixels
    dx, dy : (P,) int, steps, px
    """
    ny, nx = image.shape
    rows = np.clip(y[:, np.newaxis] + dy, 0, ny - 1)
    columns = np.clip(x[:, np.newaxis] + dx, 0, nx - 1)
    return np.asarray(image[rows, columns])


def with_errors(
    light: NDArray[np.floating], sky2: Floats, seconds: Floats | float
) -> tuple[Stamps, Stamps]:
    """Return stamps without missing pixels, and their squared errors, (N, P) float32.

    Parameters
    ----------
    light : (N, P) float
        Above the sky; NaN where there are no data.
    sky2 : (N, 1) float
        Squared scatter of the sky per pixel.
    seconds : (N, 1) float
        Exposure time, where light is a rate; 1 where it is in electrons.
    """
    has_data = np.isfinite(light)
    light = np.where(has_data, light, 0.0)
    signal = np.maximum(light, 0.0)
    variance = sky2 + LEAST_VARIANCE + signal / seconds + (MODEL_ERROR * signal) ** 2
    variance = np.where(has_data, variance, NO_DATA * (sky2 + LEAST_VARIANCE))
    return light.astype(np.float32), variance.astype(np.float32)


def fit_patterns(light: Stamps, variance: Stamps, templates: Patterns) -> Fits:
    """Fit all patterns to stamps.

    Parameters
    ----------
    light, variance : (N, P) float32
        Pixels of the stamps and their squared errors.
    templates : Patterns
    """
    n = len(light)
    charge, misfit, best = np.zeros(n), np.zeros(n), np.zeros(n, np.int64)
    gain_of_best = np.zeros(n)
    t, t2 = templates.values.T, templates.values.T**2
    n_light = int((~templates.is_charge).sum())
    for first in range(0, n, CHUNK):
        rows = slice(first, first + CHUNK)
        w = 1.0 / variance[rows]
        total = w.sum(axis=1, keepdims=True)
        d = light[rows] - (w * light[rows]).sum(axis=1, keepdims=True) / total
        # In place: the arrays are (CHUNK, T), and memory takes as long as the sums.
        square, gain, level = w @ t2, (w * d) @ t, w @ t
        level *= level
        level /= total
        square -= level
        np.maximum(square, 1e-6 * total, out=square)
        np.maximum(gain, 0.0, out=gain)
        gain *= gain
        gain /= square
        half = np.float32(0.5 * INDEPENDENT) * gain
        charge[rows] = _log_mean(half[:, n_light:]) - _log_mean(half[:, :n_light])
        best[rows] = np.argmax(gain[:, :n_light], axis=1)
        gain_of_best[rows] = gain[:, :n_light].max(axis=1)
        misfit[rows] = ((w * d * d).sum(axis=1) - gain_of_best[rows]) / (d.shape[1] - 2)
    return Fits(charge, misfit, best, gain_of_best)


def gain_of(light: Stamps, variance: Stamps, pattern: Stamps) -> Floats:
    """Return by how much chi-square falls with a pattern of each stamp's own, (N, P).

    Parameters
    ----------
    light, variance : (N, P) float, e/s and its square
    pattern : (N, P) float, in any unit
    """
    w = 1.0 / variance
    total = w.sum(axis=1)
    product = (w * light * pattern).sum(axis=1) - (w * light).sum(axis=1) * (w * pattern).sum(
        axis=1
    ) / total
    square = (w * pattern**2).sum(axis=1) - (w * pattern).sum(axis=1) ** 2 / total
    gain = np.zeros(len(light))
    fits = square > 1e-6 * total
    gain[fits] = np.maximum(product[fits], 0.0) ** 2 / square[fits]
    return gain


def _log_mean(values: Stamps) -> Floats:
    """Return the log of the mean of exponentials along the second axis."""
    most = values.max(axis=1)
    # Below that nothing is added, and numbers so small would be slow.
    above = np.maximum(values - most[:, np.newaxis], np.float32(LEAST_LOG))
    return np.asarray(most + np.log(np.exp(above, out=above).mean(axis=1)), float)
