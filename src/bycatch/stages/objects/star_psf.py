"""The PSF of an image from its own stars, and the kernels that bring images to one PSF."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft

from bycatch.arrays import Bools, Floats, Image
from bycatch.kernels.stamps import north_up

PSF_HALF = 15
"""Steps to each side of a star."""
CORE_STEPS = 4.0
"""Radius in which stars are brought to one brightness."""
LEAST_CORE_SHARE = 0.9
"""Of the core of a star that is good must have data: less has no brightness to go by."""
TAPER_STEPS = 4.0
"""A PSF, and a kernel, end smoothly over so many steps."""
CLIP_SIGMA = 4.0
MAD_TO_SIGMA = 1.4826
DIFFERENCE = 0.03
"""Of the PSF in a pixel: stars differ by as much over a field, and by their centres."""
FLOOR = 5e-5
"""Of all light in a pixel: such differences are not clipped."""
MOST_WEIGHT = 3.0
"""A star has no more weight than so many of the median brightness."""
FEW_STARS = 5
"""A PSF of fewer has no protection from a neighbour or a cosmic ray that nothing masks."""
KERNEL_HALF = 13
"""Steps to each side of a kernel: what of it is farther out does not move 0.1 % of a star's light
over the edge of an ellipse."""
WIENER = 0.01
"""Frequencies at which a PSF has less than this share of its light are not restored."""
FIRST_RADIUS_STEPS = 2.5
"""The match is judged by the light in circles from this radius on: no ellipse is smaller."""


@dataclass(frozen=True, eq=False)
class StarPsf:
    """The PSF of an image, as its stars show it on the common grid.

    Attributes
    ----------
    pixels : (n, n) float; rows go north, columns west; its sum is the share of a star's light
        within its radius
    step_arcsec : of the grid
    n_stars : that it was made from
    """

    pixels: Floats
    step_arcsec: float
    n_stars: int

    @property
    def of_few(self) -> bool:
        """True if it is made from fewer than 5 stars: no sure ground."""
        return self.n_stars < FEW_STARS

    @property
    def equivalent_fwhm_arcsec(self) -> float:
        """FWHM of the Gaussian with the same noise-equivalent area, (sum P)^2 / sum P^2."""
        area = self.pixels.sum() ** 2 / (self.pixels**2).sum()
        return float(np.sqrt(8.0 * np.log(2.0) * area / (4.0 * np.pi)) * self.step_arcsec)


def star_psf(
    sci: Image,
    good: Bools,
    x: Floats,
    y: Floats,
    sky: Floats,
    pixels_per_arcsec: Floats,
    step_arcsec: float,
    *,
    segmentation: NDArray[np.int32] | None = None,
    labels: ArrayLike | None = None,
    share: float = 1.0,
    half: int = PSF_HALF,
) -> StarPsf | None:
    """Return the mean of an image's stars on the common grid; None without a star that serves.

    Parameters
    ----------
    sci : (ny, nx) float32, e/s
    good : (ny, nx) bool; pixels with data and without cosmic rays
    x, y : (S,) float; 0-based pixel centres of bright, isolated, unsaturated stars
    sky : (S,) float; level at each, e/s
    pixels_per_arcsec : (S, 2, 2) of `grid.pixels_per_arcsec`
    step_arcsec : of the grid that all images of the group share
    segmentation : (ny, nx) int; other segments than a star's own are left out
    labels : (S,) int; the stars' own
    share : share of a star's light within ``half`` - 2 steps, from its encircled energy
    half : steps to each side

    Notes
    -----
    A mean weighted by brightness, without pixels that stand out from the median of the stars (of
    three or more).
    """
    if not len(x):
        return None
    labels = np.zeros(len(x), int) if labels is None else np.asarray(labels)
    segments = np.zeros(sci.shape, np.int32) if segmentation is None else segmentation
    values, why_masked = north_up(
        sci, good, segments, x, y, labels, sky, to_west(pixels_per_arcsec) * step_arcsec,
        np.full(len(x), half),
    )  # fmt: skip
    n = 2 * half + 1
    light = values.reshape(-1, n, n).astype(float)
    counts = why_masked.reshape(light.shape) == 0
    radius = radii(half)
    core = radius <= CORE_STEPS
    brightness = np.where(core & counts, light, 0.0).sum(axis=(1, 2))
    is_useful = (counts & core).sum(axis=(1, 2)) >= LEAST_CORE_SHARE * core.sum()
    is_useful &= brightness > 0
    is_useful &= counts[:, half - 1 : half + 2, half - 1 : half + 2].all(axis=(1, 2))
    if not is_useful.any():
        return None
    light, counts, brightness = light[is_useful], counts[is_useful], brightness[is_useful]
    light /= brightness[:, np.newaxis, np.newaxis]
    if len(light) > 2:  # of two, either may be wrong
        counts &= ~_outliers(light, counts)
    weight = np.minimum(brightness, MOST_WEIGHT * np.median(brightness))
    weights = weight[:, np.newaxis, np.newaxis] * counts
    total = weights.sum(axis=0)
    mean = np.divide((weights * light).sum(axis=0), total, where=total > 0, out=np.zeros((n, n)))
    mean *= _taper(radius, half)
    if not mean.sum() > 0:
        return None
    return StarPsf(mean * (share / mean.sum()), step_arcsec, len(light))


def to_west(pixels_per_arcsec: Floats) -> Floats:
    """Return what a step to the west, not the east, moves in x and y; (K, 2, 2).

    Parameters
    ----------
    pixels_per_arcsec : (K, 2, 2) float, for steps to the east and the north
    """
    return np.asarray(pixels_per_arcsec * np.array([-1.0, 1.0]))


def _outliers(light: Floats, counts: Bools) -> Bools:
    """Return which pixels stand out from those of the other stars, (S, n, n)."""
    stamps = np.where(counts, light, np.nan)
    stamps[:, ~counts.any(axis=0)] = 0.0
    middle = np.nanmedian(stamps, axis=0)
    sigma = MAD_TO_SIGMA * np.nanmedian(np.abs(stamps - middle), axis=0)
    room = CLIP_SIGMA * np.hypot(sigma, DIFFERENCE * np.abs(middle)) + FLOOR
    return np.asarray(np.abs(light - middle) > room)


@dataclass(frozen=True, eq=False)
class Matching:
    """What brings images to one PSF.

    Attributes
    ----------
    kernels : (M, n, n) float; that of each image, n = 27; rows go north, columns west
    target : the image with the broadest PSF, whose PSF all get; -1: there is none to match
    residual : (M,) float; of a star at the middle of a circle, the largest error of the share
        of its light, over all circles; NaN of images without a PSF, which are left as they are
    """

    kernels: Floats
    target: int
    residual: Floats


def matching_kernels(psfs: Sequence[StarPsf | None]) -> Matching:
    """Return the kernels that bring each image to the broadest PSF among them.

    The quotient of the transforms, where the PSF has power (after Wiener), cut to 27 x 27 steps.

    Parameters
    ----------
    psfs : StarPsf of each image; None where it is not known

    Raises
    ------
    ValueError
        The PSFs are not on one grid.
    """
    side = 2 * KERNEL_HALF + 1
    kernels = np.zeros((len(psfs), side, side))
    kernels[:, KERNEL_HALF, KERNEL_HALF] = 1.0
    residual = np.full(len(psfs), np.nan)
    numbers = [k for k, psf in enumerate(psfs) if psf is not None]
    if not numbers:
        return Matching(kernels, -1, residual)
    psf_of = {k: psf for k, psf in enumerate(psfs) if psf is not None}
    if len({(psf.pixels.shape, psf.step_arcsec) for psf in psf_of.values()}) > 1:
        raise ValueError("PSFs on different grids can not be matched")
    target = max(numbers, key=lambda k: (psf_of[k].equivalent_fwhm_arcsec, -k))
    target_pixels = psf_of[target].pixels
    n = fft.next_fast_len(target_pixels.shape[0] + 2 * KERNEL_HALF, real=True)
    taper = _taper(radii(KERNEL_HALF), KERNEL_HALF)
    for k in numbers:
        if k == target:
            residual[k] = 0.0
            continue
        own, goal = (transform(p, n) for p in (psf_of[k].pixels, target_pixels))
        power = np.abs(own) ** 2
        quotient = goal * np.conj(own) / (power + (WIENER * np.abs(own[0, 0])) ** 2)
        kernel = _cut(fft.irfft2(quotient, (n, n)), KERNEL_HALF) * taper
        kernels[k] = kernel * (target_pixels.sum() / psf_of[k].pixels.sum() / kernel.sum())
        result = _cut(
            fft.irfft2(own * transform(kernels[k], n), (n, n)), target_pixels.shape[0] // 2
        )
        residual[k] = _largest_error(result, target_pixels)
    return Matching(kernels, target, residual)


def transform(stamp: NDArray[np.floating], n: int) -> NDArray[np.complexfloating]:
    """Return the Fourier transform of a stamp around the origin, on n x n steps.

    Parameters
    ----------
    stamp : (k, k) float, k odd, at most n
    n : side of the result, steps
    """
    half = stamp.shape[0] // 2
    canvas = np.zeros((n, n), stamp.dtype)
    canvas[: stamp.shape[0], : stamp.shape[1]] = stamp
    return np.asarray(fft.rfft2(np.roll(canvas, (-half, -half), axis=(0, 1))))


def radii(half: int) -> Floats:
    """Return the distances of steps from the middle of a stamp.

    Parameters
    ----------
    half : steps from the middle to the edge
    """
    away = np.arange(-half, half + 1, dtype=float)
    return np.asarray(np.hypot(away, away[:, np.newaxis]))


def _cut(around_origin: Floats, half: int) -> Floats:
    image = np.roll(around_origin, (half, half), axis=(0, 1))
    return image[: 2 * half + 1, : 2 * half + 1]


def _taper(radius: Floats, half: int) -> Floats:
    """Return 1 inside, 0 from a radius of ``half`` + 1 on, half a cosine between."""
    inwards = np.clip((half + 1.0 - radius) / TAPER_STEPS, 0.0, 1.0)
    return np.asarray(0.5 - 0.5 * np.cos(np.pi * inwards))


def _largest_error(pixels: Floats, target: Floats) -> float:
    radius = radii(target.shape[0] // 2).ravel()
    order = np.argsort(radius, kind="stable")
    error = np.cumsum((pixels - target).ravel()[order]) / target.sum()
    return float(np.abs(error[radius[order] >= FIRST_RADIUS_STEPS]).max())
