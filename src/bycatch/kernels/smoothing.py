"""Smoothing of images with holes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SIGMA_PER_FWHM = 1.0 / (2.0 * np.sqrt(2.0 * np.log(2.0)))


def noise_correlation(pixfrac: float, scale_ratio: float) -> float:
    """Return by how much drizzling raises the noise of a sum above that of independent pixels.

    Casertano et al. (2000, AJ 120, 2747) for the square kernel and all sub-pixel phases, the
    limit for large areas: with r = pixfrac / scale_ratio (output over native pixel),
    R = r / (1 - 1/(3r)) for r >= 1 and 1 / (1 - r/3) for r <= 1.  Its inverse is
    by how much the scatter of single pixels is lowered.
    """
    r = pixfrac / scale_ratio
    return r / (1 - 1 / (3 * r)) if r >= 1 else 1 / (1 - r / 3)


def gaussian_kernel(fwhm_px: float, size_px: int) -> NDArray[np.float64]:
    """Return a normalised Gaussian sampled on ``size_px`` x ``size_px`` pixels (odd)."""
    axis = np.arange(size_px) - size_px // 2
    profile = np.exp(-0.5 * (axis / (fwhm_px * SIGMA_PER_FWHM)) ** 2)
    kernel: NDArray[np.float64] = np.outer(profile, profile)
    return np.asarray(kernel / kernel.sum())


def smoothed(
    data: NDArray[np.float32], valid: NDArray[np.bool_], kernel: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Convolve an image, averaging over valid pixels only.

    Parameters
    ----------
    data, valid : (ny, nx)
        What is not valid, or beyond the edge, has no weight.
    kernel : (k, k)
        Normalised and symmetric.

    Returns
    -------
    (ny, nx) float32
        0 where no valid pixel is within reach.
    """
    from scipy.ndimage import convolve

    weights = kernel.astype(np.float32)
    total = convolve(np.where(valid, data, np.float32(0)), weights, mode="constant")
    norm = convolve(valid.astype(np.float32), weights, mode="constant")
    return np.divide(total, norm, out=np.zeros_like(total), where=norm > 1e-6)
