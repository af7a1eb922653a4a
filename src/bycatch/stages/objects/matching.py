"""The kernels that bring images to one PSF."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from bycatch.arrays import Floats
from bycatch.stages.psf.of_image import StarPsf, radii, taper

KERNEL_HALF = 13
"""Steps to each side of a kernel: what of it is farther out does not move 0.1 % of a star's light
over the edge of an ellipse."""
WIENER = 0.01
"""Frequencies at which a PSF has less than this share of its light are not restored."""
FIRST_RADIUS_STEPS = 2.5
"""The match is judged by the light in circles from this radius on: no ellipse is smaller."""


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
    edge = taper(radii(KERNEL_HALF), KERNEL_HALF)
    for k in numbers:
        if k == target:
            residual[k] = 0.0
            continue
        own, goal = (transform(p, n) for p in (psf_of[k].pixels, target_pixels))
        power = np.abs(own) ** 2
        quotient = goal * np.conj(own) / (power + (WIENER * np.abs(own[0, 0])) ** 2)
        kernel = _cut(fft.irfft2(quotient, (n, n)), KERNEL_HALF) * edge
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


def _cut(around_origin: Floats, half: int) -> Floats:
    image = np.roll(around_origin, (half, half), axis=(0, 1))
    return image[: 2 * half + 1, : 2 * half + 1]


def _largest_error(pixels: Floats, target: Floats) -> float:
    radius = radii(target.shape[0] // 2).ravel()
    order = np.argsort(radius, kind="stable")
    error = np.cumsum((pixels - target).ravel()[order]) / target.sum()
    return float(np.abs(error[radius[order] >= FIRST_RADIUS_STEPS]).max())
