"""How faint a star detection finds: more than its light's S/N, since enough pixels must show it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bycatch import photcal
from bycatch.arrays import Floats, Image
from bycatch.errors import UnsupportedImage
from bycatch.images.drc import DrcImage
from bycatch.kernels.smoothing import gaussian_kernel, smooth_image
from bycatch.photcal import EncircledEnergy
from bycatch.robust import robust_sigma
from bycatch.settings import PRESETS, DetectSettings

Labels = NDArray[np.int32]

HALF_PX = 30
"""The profile of a star reaches so far: no minimum area is larger."""
SHELL_PX = 0.1
PHASES_PX = ((0.0, 0.0), (0.5, 0.0), (0.5, 0.5), (0.25, 0.25))
"""Places of a star's centre on its pixel."""
FAINTEST, BRIGHTEST = 1.0, 1e7
"""Range of the rates of a star that are searched, in units of the noise of a pixel."""
LN_RATE_PRECISION = 1e-5
BLOCK_PX, BLOCKS = 96, 4
"""The noise of the smoothed image comes from so many blocks a side, of so many pixels."""


def reach(
    image: DrcImage, background: Image, noise: Image, labels: Labels, settings: DetectSettings
) -> dict[str, float]:
    """Return the AB magnitude at which half of the stars are found, of these settings and presets.

    A star is found where the pixels of its smoothed profile that exceed the threshold, given the
    noise of the smoothed image, are as many as the minimum area on average. Neighbours, cosmic
    rays and what the coverage rule leaves out take more.

    Parameters
    ----------
    image : DrcImage
    background, noise : (ny, nx) of an unsmoothed sky pixel, e/s
    labels : (ny, nx) int32, 0 where nothing was found
    settings : of the detection, in pixels of the image

    Returns
    -------
    dict
        'settings' and the name of each preset; empty without a known encircled energy.
    """
    try:
        curve = photcal.encircled_energy(image.meta.detector, image.meta.filter)
        zeropoint = photcal.ab_zeropoint(image.meta.photflam, image.meta.photplam)
    except UnsupportedImage:  # finalize says so
        return {}
    typical, smooth_noise = _noise_of(image, background, noise, labels, settings)
    if not typical > 0:
        return {}
    profiles = star_profiles(curve, image.scale_arcsec, settings)
    single = image.meta.n_exposures == 1
    presets = {n: DetectSettings(**v.get("detect", {})) for n, v in PRESETS.items()}
    settings_of_presets = {n: one.at(image.detector_px) for n, one in presets.items()}
    magnitudes = {}
    rates: dict[tuple[float, int], float] = {}  # most presets have the same limits
    for name, one in ({"settings": settings} | settings_of_presets).items():
        limits = one.n_sigma, one.n_pixels_single if single else one.n_pixels
        if limits not in rates:
            rates[limits] = half_found_rate(profiles, smooth_noise, *limits)
        rate = rates[limits]
        if np.isfinite(rate):
            magnitudes[name] = round(float(zeropoint - 2.5 * np.log10(rate * typical)), 2)
    return magnitudes


def _noise_of(
    image: DrcImage, background: Image, noise: Image, labels: Labels, settings: DetectSettings
) -> tuple[float, float]:
    """Return the median noise of a sky pixel, and that of the smoothed image in units of it.

    From blocks on a grid: the noise of drizzled pixels is correlated, so the kernel is not enough.
    """
    kernel = gaussian_kernel(settings.kernel_fwhm_px, settings.kernel_size_px)
    ny, nx = image.shape
    levels, ratios = [], []
    for y in np.unique(np.linspace(0, max(ny - BLOCK_PX, 0), BLOCKS).astype(int)):
        for x in np.unique(np.linspace(0, max(nx - BLOCK_PX, 0), BLOCKS).astype(int)):
            block = np.s_[y : y + BLOCK_PX, x : x + BLOCK_PX]
            valid, sigma = image.valid[block], noise[block]
            sky = valid & (labels[block] == 0) & (sigma > 0)
            if not sky.any():
                continue
            light = np.where(valid, image.sci[block] - background[block], 0).astype(np.float32)
            levels.append(sigma[sky])
            ratios.append(smooth_image(light, valid, kernel)[sky] / sigma[sky])
    if not levels:
        return float("nan"), float("nan")
    ratio = np.concatenate(ratios)
    return float(np.median(np.concatenate(levels))), robust_sigma(ratio)


def star_profiles(curve: EncircledEnergy, scale_arcsec: float, settings: DetectSettings) -> Floats:
    """Return the smoothed light of a star of total 1 in each pixel, (phases, pixels).

    Parameters
    ----------
    curve : EncircledEnergy of the filter
    scale_arcsec : arcsec per pixel
    settings : DetectSettings in pixels of the image
    """
    edges = np.arange(0.0, HALF_PX + 3.0, SHELL_PX)
    light = np.diff(curve.at(edges * scale_arcsec)) / np.diff(np.pi * edges**2)
    middles = 0.5 * (edges[1:] + edges[:-1])
    kernel = gaussian_kernel(settings.kernel_fwhm_px, settings.kernel_size_px)
    reach_px = kernel.shape[0] // 2
    axis = np.arange(-HALF_PX - reach_px, HALF_PX + reach_px + 1.0)
    n = 2 * HALF_PX + 1
    profiles = []
    for dx, dy in PHASES_PX:
        radius = np.hypot(axis - dx, axis[:, np.newaxis] - dy)
        pixels = np.interp(radius, middles, light, right=0.0)
        smooth = sum(
            kernel[j, i] * pixels[j : j + n, i : i + n]
            for j in range(kernel.shape[0])
            for i in range(kernel.shape[1])
        )
        profiles.append(np.ravel(smooth))
    return np.array(profiles)


def half_found_rate(profiles: Floats, smooth_noise: float, n_sigma: float, n_pixels: int) -> float:
    """Return the total rate of a star of which half are found, in units of the noise of a pixel.

    Parameters
    ----------
    profiles : (P, N) smoothed light of a star of total 1 in each pixel, for each phase
    smooth_noise : noise of the smoothed image, in units of that of a pixel
    n_sigma : threshold, in units of the noise of a pixel
    n_pixels : least area

    Returns
    -------
    float
        NaN if no star has so many pixels.
    """
    from scipy.optimize import brentq
    from scipy.special import ndtr

    if n_pixels > profiles.shape[1] / 4:
        return float("nan")

    def surplus(ln_rate: float) -> float:
        """Return how many more pixels than the least area exceed the threshold on average."""
        excess = (np.exp(ln_rate) * profiles - n_sigma) / max(smooth_noise, 1e-6)
        return float(ndtr(excess).sum(axis=1).mean()) - n_pixels

    low, high = np.log(FAINTEST), np.log(BRIGHTEST)
    if surplus(low) >= 0:
        return FAINTEST
    if surplus(high) <= 0:
        return BRIGHTEST
    return float(np.exp(brentq(surplus, low, high, xtol=LN_RATE_PRECISION)))
