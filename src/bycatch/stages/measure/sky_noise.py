"""The noise of apertures, measured where the sky is blank.

Drizzling correlates pixels, so that the scatter of single pixels is not the
noise of an aperture, and with the sub-pixel phase of drizzling both change from
place to place in a single exposure.  So apertures of the same sizes are laid on blank sky,
each with its own annulus, and measured like sources.  What their fluxes scatter by,
over what uncorrelated pixels would give, is the scale of each radius; it follows a
power of the local scatter of the pixels, which shows the phase: where pixels are
smoother, neighbours are correlated more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bycatch.arrays import Floats
from bycatch.errors import UnsupportedImage
from bycatch.images.drc import DrcImage
from bycatch.kernels.skystats import SkyStats
from bycatch.photcal import encircled_energy
from bycatch.settings import MeasureSettings
from bycatch.stages.measure.blank_sky import SkyObjects

MIN_PLACES = 60
"""Fewer do not measure the noise to 10 %: then it follows from drizzling alone."""
LEAST_PLACES = 20
"""Fewer give no limit of a number of exposures."""
MIN_PLACES_SLOPE = 300
"""Fewer do not show how the scale follows the scatter of pixels."""
N_BINS = 6
SLOPE_RANGE = (-1.5, 0.5)
MIN_SLOPE_SPREAD = 0.03
"""Of the local scatter, in its logarithm: in less there is no slope to see."""
LOCAL_RANGE = (0.3, 3.0)
LIMIT_SIGMA = 5.0
PERCENTILES = (15.865, 84.135)


@dataclass(frozen=True, eq=False)
class NoiseModel:
    """How much the noise of apertures exceeds that of uncorrelated pixels.

    Attributes
    ----------
    radii_px : the R radii
    scale : (R,) at the typical scatter of the image
    slope : (R,) exponent of the local scatter over the typical one
    typical : scatter of pixels times the root of the exposure time, median; NaN if unknown
    n_places : number of blank places that it was measured at
    is_measured : False where it follows from the drizzling parameters alone
    pull : (R,) width of net sums over their errors, of each half of the places with the model
        from the other half: 1 if the errors are right, NaN where they are not measured
    """

    radii_px: tuple[float, ...]
    scale: Floats
    slope: Floats
    typical: float
    n_places: int
    is_measured: bool
    pull: Floats

    def sky_errors(self, areas: Floats, sky: SkyStats, exptime_s: ArrayLike) -> Floats:
        """Return the errors of sky in the R apertures and of its level together, (N, R) in e/s."""
        local = self._local(sky, exptime_s)[:, np.newaxis] ** self.slope
        return uncorrelated_error(areas, sky) * self.scale * local

    def sky_error_in(self, area: Floats, sky: SkyStats, exptime_s: ArrayLike) -> Floats:
        """Return the same for one aperture of any area and form per source, (N,) in e/s."""
        radius = np.sqrt(np.maximum(area, 0.0) / np.pi)
        scale = np.interp(radius, self.radii_px, self.scale)
        slope = np.interp(radius, self.radii_px, self.slope)
        local = self._local(sky, exptime_s) ** slope
        return uncorrelated_error(area[:, np.newaxis], sky)[:, 0] * scale * local

    def depth_map(
        self, exptime_s: NDArray[np.float32], radius_px: float, annulus_px: tuple[float, float]
    ) -> NDArray[np.float32]:
        """Return the net rate of 5 sigma in a radius, (ny, nx) in e/s, where the sky is typical.

        NaN without exposure.
        """
        seconds = np.asarray(exptime_s, dtype=float)
        area = np.pi * radius_px**2
        level = 1.0 + area / (np.pi * (annulus_px[1] ** 2 - annulus_px[0] ** 2))
        scale = float(np.interp(radius_px, self.radii_px, self.scale))
        with np.errstate(divide="ignore", invalid="ignore"):
            error = self.typical / np.sqrt(seconds) * scale * np.sqrt(area * level)
            own = LIMIT_SIGMA**2 / seconds
        rate = 0.5 * (own + np.sqrt(own**2 + 4.0 * LIMIT_SIGMA**2 * error**2))
        return np.where(seconds > 0, rate, np.nan).astype(np.float32)

    def _local(self, sky: SkyStats, exptime_s: ArrayLike) -> Floats:
        """Return the scatter of pixels over what is typical of their depth."""
        depth = np.sqrt(np.maximum(np.asarray(exptime_s, float), 0.0))
        local = np.clip(sky.std * depth / self.typical, *LOCAL_RANGE)
        return np.where(np.isfinite(local), local, 1.0)

    def summary(self) -> dict[str, Any]:
        """Return the scalars for the summary."""
        names = [f"{r:g}" for r in self.radii_px]
        return {
            "noise_origin": "blank sky" if self.is_measured else "drizzling parameters",
            "noise_n_places": self.n_places,
            "noise_scale": dict(zip(names, np.round(self.scale, 4).tolist(), strict=True)),
            "noise_slope": round(float(self.slope[0]), 3),
            "noise_pull": {
                name: round(float(v), 3) if np.isfinite(v) else None
                for name, v in zip(names, self.pull, strict=True)
            },
        }


def uncorrelated_error(areas: Floats, sky: SkyStats) -> Floats:
    """Return the error of sky and its level if pixels were independent, (N, R) in e/s.

    Parameters
    ----------
    areas : (N, R) float, px^2
    sky : SkyStats of N annuli
    """
    level = 1.0 + areas / np.maximum(sky.n_pixels, 1)[:, np.newaxis]
    return np.asarray(sky.std[:, np.newaxis] * np.sqrt(areas * level))


def error_parts(
    net: Floats,
    sky_errors: Floats,
    areas: Floats,
    sky: SkyStats,
    exptime_s: ArrayLike,
    photon_share: Floats | float = 1.0,
) -> tuple[Floats, Floats, Floats]:
    """Return the parts of `total_errors`: photons, sky in the aperture, its level; (N, R) each.

    What was measured on blank sky is the noise of aperture and level together; they share it as
    those of independent pixels do, as 1 to A / n_sky in variance.

    Parameters
    ----------
    net, sky_errors : (N, R) float, e/s
    areas : (N, R) float, px^2
    sky : SkyStats of N annuli
    exptime_s : (N,) float, s
    photon_share : of `photon_shares`, (R,) or one number
    """
    photons = total_errors(net, np.zeros_like(sky_errors), exptime_s, photon_share)
    ratio = areas / np.maximum(sky.n_pixels, 1)[:, np.newaxis]
    return photons, sky_errors / np.sqrt(1.0 + ratio), sky_errors * np.sqrt(ratio / (1.0 + ratio))


def noise_model(
    image: DrcImage,
    blank: SkyObjects,
    settings: MeasureSettings,
    scatter_elsewhere: Floats | None = None,
) -> NoiseModel:
    """Return the noise of apertures from blank places; with too few, from drizzling.

    Casertano et al. (2000, AJ 120, 2747, eq. A20) is that fallback; the typical scatter of pixels
    then follows from ``scatter_elsewhere``, as of the sources' annuli, times the root of the
    exposure time.

    Parameters
    ----------
    image : DrcImage
    blank : SkyObjects, blank places
    settings : MeasureSettings
    scatter_elsewhere : (M,) float, e/s times the root of s
    """
    depth = np.sqrt(blank.exposures.exptime_s)
    expected = uncorrelated_error(blank.areas, blank.sky)
    good = np.isfinite(blank.net).all(axis=1) & (expected > 0).all(axis=1) & (depth > 0)
    n = int(good.sum())
    if n < MIN_PLACES:
        theory = image.noise_correlation if settings.correlated_noise else 1.0
        scatter_values = np.asarray([] if scatter_elsewhere is None else scatter_elsewhere)
        scatter_values = scatter_values[np.isfinite(scatter_values) & (scatter_values > 0)]
        typical = float(np.median(scatter_values)) if len(scatter_values) else np.nan
        flat = np.zeros(len(settings.radii_px))
        return NoiseModel(
            settings.radii_px, flat + theory, flat, typical, n, False, np.full_like(flat, np.nan)
        )
    ratio, scatter = blank.net[good] / expected[good], blank.sky.std[good] * depth[good]
    scale, slope, typical = _fit(ratio, scatter)
    return NoiseModel(
        settings.radii_px, scale, slope, typical, n, True, _held_out_widths(ratio, scatter)
    )


def _fit(ratio: Floats, scatter: Floats) -> tuple[Floats, Floats, float]:
    """Return scale and slope of each radius, and the typical scatter.

    ``ratio`` holds net sums over the noise of uncorrelated pixels, (M, R).
    """
    n_radii = ratio.shape[1]
    typical = float(np.median(scatter))
    local = np.log(scatter / typical)
    slope = np.zeros(n_radii)
    if len(ratio) >= MIN_PLACES_SLOPE and width(local) > MIN_SLOPE_SPREAD:
        # One for all radii: that of a single one has an error of 0.3.
        slope[:] = np.mean([_slope(ratio[:, k], local) for k in range(n_radii)])
    flat = ratio / np.exp(local[:, np.newaxis] * slope)
    scale = np.array([width(flat[:, k]) for k in range(n_radii)])
    return scale, slope, typical


def _held_out_widths(ratio: Floats, scatter: Floats) -> Floats:
    """Return the widths of the pulls of each half of the places by the model of the other, (R,)."""
    pulls = np.empty_like(ratio)
    for first in (0, 1):
        half, other = slice(first, None, 2), slice(1 - first, None, 2)
        scale, slope, typical = _fit(ratio[half], scatter[half])
        local = np.clip(scatter[other] / typical, *LOCAL_RANGE)
        pulls[other] = ratio[other] / (scale * local[:, np.newaxis] ** slope)
    return np.array([width(pulls[:, k]) for k in range(ratio.shape[1])])


def width(values: Floats) -> float:
    """Return half the distance of the percentiles that enclose 68 %.

    Parameters
    ----------
    values : (N,) float, finite, N at least 1
    """
    low, high = np.percentile(values, PERCENTILES)
    return float(0.5 * (high - low))


def _slope(ratio: Floats, local: Floats) -> float:
    """Return the exponent with which the width of the ratios follows the local scatter."""
    order = np.array_split(np.argsort(local), N_BINS)
    widths = np.log([max(width(ratio[part]), 1e-9) for part in order])
    middles = np.array([np.median(local[part]) for part in order])
    exponent = np.polyfit(middles, widths, 1)[0]
    return float(np.clip(exponent, *SLOPE_RANGE))


def photon_shares(image: DrcImage, radii_px: tuple[float, ...]) -> Floats:
    """Return the variance of a star's light in circles over that of as many whole photons, (R,).

    Drizzling spreads each photon over a drop and the pixels below it, so that the edge of a circle
    counts a share c of it.  Its variance is c^2, not c: what is missing is the mean of c (1 - c)
    across the edge, half the mean distance of two draws from drop and pixel (here a Gaussian of
    their variance), times the star's light per pixel of radius.

    Parameters
    ----------
    image : DrcImage
    radii_px : R radii of the apertures, px
    """
    drop_px = image.meta.pixfrac * image.meta.native_scale_arcsec / image.scale_arcsec
    missing_px = np.sqrt((drop_px**2 + 1.0) / 6.0) / np.sqrt(2.0 * np.pi)
    try:
        curve = encircled_energy(image.meta.detector, image.meta.filter)
    except UnsupportedImage:
        return np.ones(len(radii_px))
    radius = np.array(radii_px)
    low, middle, high = (curve.at((radius + d) * image.scale_arcsec) for d in (-0.5, 0.0, 0.5))
    return np.asarray(np.clip(1.0 - missing_px * (high - low) / middle, 0.5, 1.0))


def total_errors(
    net: Floats, sky_errors: Floats, exptime_s: ArrayLike, photon_share: Floats | float = 1.0
) -> Floats:
    """Return the errors of net sums, (N, R) in e/s: Poisson noise of the light, and the sky's.

    A rate f has the Poisson variance f / t, times the `photon_shares`; leaving t out makes errors
    sqrt(t) too large.

    Parameters
    ----------
    net, sky_errors : (N, R) float, e/s
    exptime_s : (N,) float, s
    photon_share : of `photon_shares`, (R,) or one number
    """
    seconds = np.asarray(exptime_s, float)[:, np.newaxis]
    with np.errstate(divide="ignore", invalid="ignore"):
        poisson = photon_share * np.maximum(net, 0.0) / np.where(seconds > 0, seconds, np.nan)
    return np.asarray(np.sqrt(poisson + sky_errors**2))


def limits_by_exposures(blank: SkyObjects, noise: NoiseModel) -> dict[int, Floats]:
    """Return the median of `limits` of the blank places, (R,) in e/s, by number of exposures.

    Numbers that fewer than `LEAST_PLACES` have are left out.

    Parameters
    ----------
    blank : SkyObjects, blank places
    noise : NoiseModel
    """
    errors = noise.sky_errors(blank.areas, blank.sky, blank.exposures.exptime_s)
    rates, count = limits(errors, blank.exposures.exptime_s), blank.exposures.count
    numbers, places = np.unique(count[count > 0], return_counts=True)
    return {
        int(n): np.median(rates[count == n], axis=0)
        for n in numbers[places >= LEAST_PLACES].tolist()
    }


def limits(
    sky_errors: Floats,
    exptime_s: ArrayLike,
    n_sigma: float = LIMIT_SIGMA,
    photon_share: Floats | float = 1.0,
) -> Floats:
    """Return the net rates that are ``n_sigma`` times their error, (N, R) in e/s.

    The error holds the source's own Poisson noise: f = n sqrt(f / t + s^2).

    Parameters
    ----------
    sky_errors : (N, R) float, e/s
    exptime_s : (N,) float, s
    n_sigma : of the limit
    photon_share : of `photon_shares`, (R,) or one number
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        own = photon_share * n_sigma**2 / np.asarray(exptime_s, float)[:, np.newaxis]
    return np.asarray(0.5 * (own + np.sqrt(own**2 + 4.0 * n_sigma**2 * sky_errors**2)))
