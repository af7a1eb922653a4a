"""Centres of stars that cosmic rays have hit.

The profile of the image's own stars is fitted to what may be a star, and charge is left out of its
centroid (kernels/star_hits.py).  A cosmic ray alone has no such profile and keeps its centroid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bycatch.arrays import Floats, Image, Ints
from bycatch.images.drc import DrcImage
from bycatch.kernels.moments import Properties
from bycatch.kernels.neighbourhood import Neighbourhood, bilinear, neighbourhood, pixels_at
from bycatch.kernels.star_hits import HitCentres, Profile, hit_centres
from bycatch.stages.detect.centres import WIDE_PX

CORE_PX, CORE_SIGMA = 2.0, 4.0
"""The median of the pixels within this radius is that far above the sky where a star may be."""
FWHMS_PX, ALPHAS = (1.75, 1.95, 2.15, 2.4, 2.7), (2.2, 3.0, 4.0)
"""Profiles that are tried on the brightest sources, detector pixels: all pairs."""
N_BRIGHT = 40
MOST_REST, MOST_CHARGE = 2.5, 1.5
"""A star is there if the pixels that are no charge agree with its profile, and charge does not
exceed its light by more: so say 35 of 7397 cosmic rays in single exposures of 1100 s
(benchmarks/families.py, "thick", seed 1)."""
FAR_PX, ASYMMETRY_PX, LEAST_ASYMMETRY = 0.1, 4, 0.2
"""A source is moved farther than the first (detector pixels) only if this share of its light within
the second is not symmetric about its centroid: inclined galaxies are, a star beside charge is not
(0.22 to 1.1 of stars so moved in training visits; benchmarks/families.py, "silicon", 1 to 3)."""
NOISE_SHARE = 0.96
"""Mean of the absolute difference of two pixels, one of them interpolated, over their noise."""
ERROR_PX = 0.01
"""Error per axis, detector pixels, by the square of `HitCentres.chi`: charge on the core can't be
told from light."""


@dataclass(frozen=True, eq=False)
class Centres:
    """Positions of N sources.

    Attributes
    ----------
    x, y : (N,) float
    error_px : (N,) float, per axis; NaN where no charge was left out
    """

    x: Floats
    y: Floats
    error_px: Floats


def without_charge(
    image: DrcImage,
    background: Image,
    noise: Floats,
    labels: NDArray[np.int32],
    properties: Properties,
    at: tuple[Floats, Floats],
) -> Centres:
    """Return positions with those of stars that cosmic rays have hit moved to the stars.

    Parameters
    ----------
    image : DrcImage
    background : (ny, nx) e/s
    noise : (N,) e/s of a pixel at each source
    labels : (ny, nx) segments
    properties : of the segments
    at : (N,) x and (N,) y so far
    """
    centres = Centres(at[0].copy(), at[1].copy(), np.full(len(noise), np.nan))
    x, y = at
    core = _core_rates(image, background, x, y)
    is_full = properties.peak > image.meta.full_rate
    with np.errstate(invalid="ignore"):
        candidates = np.flatnonzero((core > CORE_SIGMA * noise) & ~is_full)
    if not candidates.size:
        return centres
    at_pixels = pixels_at(image.shape, x[candidates], y[candidates])
    exptime_s = image.exptime_map_s[at_pixels].astype(float)

    def fits(which: Ints, profile: Profile) -> HitCentres:
        rows = candidates[which]
        return hit_centres(
            (image.sci, background, image.valid, labels),
            rows + 1,
            x[rows],
            y[rows],
            noise[rows],
            exptime_s[which],
            window_px=WIDE_PX * image.detector_px,
            profile=profile,
        )

    bright = np.argsort(-core[candidates], kind="stable")[:N_BRIGHT]
    scale = image.detector_px
    profiles = [Profile(fwhm * scale, alpha, scale) for fwhm in FWHMS_PX for alpha in ALPHAS]
    best = max(profiles, key=lambda profile: _n_stars(fits(bright, profile)))
    fit = fits(np.arange(len(candidates)), best)
    with np.errstate(invalid="ignore"):
        is_hit = (fit.n_hit > 0) & (fit.rest < MOST_REST) & (fit.charge < MOST_CHARGE)
    far = np.flatnonzero(is_hit)
    move_px = np.hypot(fit.x - x[candidates], fit.y - y[candidates])[far]
    far = far[move_px > FAR_PX * scale]
    rows = candidates[far]
    asymmetry = _asymmetries(image, background, noise[rows], x[rows], y[rows])
    is_hit[far] = asymmetry > LEAST_ASYMMETRY
    rows = candidates[is_hit]
    centres.x[rows], centres.y[rows] = fit.x[is_hit], fit.y[is_hit]
    centres.error_px[rows] = ERROR_PX * scale * fit.chi[is_hit] ** 2
    return centres


def _asymmetries(image: DrcImage, background: Image, noise: Floats, x: Floats, y: Floats) -> Floats:
    """Return the share of the light that is not symmetric about positions, (N,)."""
    radius = ASYMMETRY_PX * image.detector_px
    near = neighbourhood(image.shape, x, y, radius)
    light = _light(image, background, near)
    column, row = 2.0 * x[:, np.newaxis] - near.columns, 2.0 * y[:, np.newaxis] - near.rows
    opposite = _interpolated(image, background, column, row)
    counts = (near.distance <= radius) & np.isfinite(light) & np.isfinite(opposite)
    difference = np.where(counts, np.abs(light - opposite), 0.0).sum(axis=1)
    total = np.where(counts, light, 0.0).sum(axis=1)
    by_noise = NOISE_SHARE * noise * counts.sum(axis=1)
    return np.asarray((difference - by_noise) / np.maximum(total, 1e-30), float)


def _interpolated(image: DrcImage, background: Image, x: Floats, y: Floats) -> Floats:
    """Return the light above the sky at positions; NaN off the image."""
    ny, nx = image.shape
    is_inside = (x >= 0) & (x < nx - 1) & (y >= 0) & (y < ny - 1)
    light = bilinear(image.sci, x, y) - bilinear(background, x, y)
    return np.where(is_inside, light, np.nan)


def _core_rates(image: DrcImage, background: Image, x: Floats, y: Floats) -> Floats:
    """Return the median of the pixels at each position above the sky, (N,) e/s."""
    near = neighbourhood(image.shape, x, y, CORE_PX * image.detector_px)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.median(_light(image, background, near), axis=1), float)


def _light(image: DrcImage, background: Image, near: Neighbourhood) -> Image:
    """Return the pixels near positions above the sky, (N, K) e/s."""
    return np.asarray(near.take(image.sci) - near.take(background))


def _n_stars(fits: HitCentres) -> float:
    """Return how many sources a profile fits, each by the odds of its residuals."""
    return float(np.exp(-0.5 * fits.chi[np.isfinite(fits.chi)] ** 2).sum())
