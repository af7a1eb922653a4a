"""Photometry: apertures, sky, errors, profile fits, cosmic-ray flag, positions, Gaia match."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.table import Table
from astropy.wcs import WCS
from numpy.typing import ArrayLike, NDArray

from bycatch.astrometry import sky_positions
from bycatch.columns import PHOT
from bycatch.drc import DrcImage
from bycatch.flags import Flag
from bycatch.gaia import ReferenceStars
from bycatch.kernels.moffat import MoffatFits, fit_moffat
from bycatch.kernels.neighbourhood import neighbourhood
from bycatch.kernels.skystats import SkyStats, annulus_stats
from bycatch.kernels.smoothing import noise_correlation
from bycatch.settings import MeasureSettings
from bycatch.tables import make_table

Floats = NDArray[np.float64]

EXPOSURE_RADIUS_PX = 2.0
"""The number of exposures of a source is the median within this radius."""
EXPTIME_RADIUS_PX = 4.0
"""Its effective exposure time is the mean within this radius."""
MIN_SKY_PIXELS = 20
CHUNK = 4000


@dataclass(frozen=True, eq=False)
class MeasureResult:
    """Photometry of the positions (columns.PHOT), row for row.

    ``radii_px`` and ``correlation`` (the factor of the sky noise, see
    `correlation_factor`) say how it was measured.
    """

    table: Table
    radii_px: tuple[float, ...]
    correlation: float

    def summary(self) -> dict[str, Any]:
        """Return the scalars for the log and the summary."""
        fwhm = np.ma.compressed(self.table["fwhm"])
        return {
            "n_measured": len(self.table),
            "n_cosmic_ray": int((self.table["cr_flag"] == 1).sum()),
            "n_gaia": int((self.table["gaia_source_id"] != 0).sum()),
            "fwhm_median": float(np.median(fwhm)) if len(fwhm) else None,
            "noise_correlation": self.correlation,
        }


def run(
    image: DrcImage,
    x: ArrayLike,
    y: ArrayLike,
    *,
    ids: ArrayLike | None = None,
    cr_mask: NDArray[np.bool_] | None = None,
    wcs: WCS | None = None,
    reference: ReferenceStars | None = None,
    settings: MeasureSettings | None = None,
) -> MeasureResult:
    """Measure sources at given positions.

    Parameters
    ----------
    image : DrcImage
    x, y : (N,) float
        0-based pixel centres; positions off the image, or NaN, give flagged rows without values.
    ids : (N,) int, optional
        1, 2, ... by default.
    cr_mask : (ny, nx) bool, optional
        The grown cosmic-ray mask; without it no ``cr_flag`` is set.
    wcs : WCS, optional
        The aligned WCS; the header's by default.
    reference : ReferenceStars, optional
        Stars to match with.
    """
    chosen = settings or MeasureSettings()
    x, y = np.asarray(x, dtype=float).ravel(), np.asarray(y, dtype=float).ravel()
    number = np.arange(1, len(x) + 1) if ids is None else np.asarray(ids)
    frame = wcs if wcs is not None else image.wcs
    sums, areas = aperture_sums(image.sci, image.valid, *_finite(x, y), chosen.radii_px)
    annulus = (chosen.annulus_inner_px, chosen.annulus_outer_px)
    sky = annulus_stats(image.sci, image.valid, x, y, annulus, chosen.sky_clip_sigma)
    exposures = exposures_at(image, x, y)
    correlation = correlation_factor(image) if chosen.correlated_noise else 1.0
    errors = rate_errors(sums, areas, sky, exposures.exptime_s, correlation)
    fits = profile_fits(image, x, y, chosen.fwhm_radius_px)
    cr_flag = cosmic_ray_flags(x, y, exposures.count, cr_mask, chosen.cr_radius_px)
    flags = source_flags(image, x, y, areas, sky, fits, exposures, cr_flag, chosen)
    lost = areas == 0
    sums[lost], errors[lost] = np.nan, np.nan
    table = make_table(
        PHOT,
        {
            "id": number,
            "x": x,
            "y": y,
            **_per_radius("countrate_{r}", sums, chosen.radii_px),
            **_per_radius("countrate_err_{r}", errors, chosen.radii_px),
            "sky_median": sky.median,
            "sky_std": sky.std,
            "n_sky": sky.n_pixels,
            "fwhm": fits.fwhm_px,
            "cr_flag": cr_flag,
            **sky_positions(x, y, frame, image.meta.mjd_mid, reference, chosen.gaia_radius_mas),
            "n_exp": exposures.count,
            "exptime": exposures.exptime_s,
            "mjd": np.full(len(x), image.meta.mjd_mid),
            **_per_radius("area_{r}", areas, chosen.radii_px),
            "flags": flags,
        },
        chosen.radii_px,
    )
    return MeasureResult(table, chosen.radii_px, correlation)


def _per_radius(name: str, values: Floats, radii_px: tuple[float, ...]) -> dict[str, Floats]:
    return {name.replace("{r}", f"{r:g}"): values[:, k] for k, r in enumerate(radii_px)}


def _finite(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Return positions with NaN moved far off the image, where nothing is measured."""
    lost = ~(np.isfinite(x) & np.isfinite(y))
    return np.where(lost, -1e4, x), np.where(lost, -1e4, y)


def aperture_sums(
    data: NDArray[np.float32],
    valid: NDArray[np.bool_],
    x: Floats,
    y: Floats,
    radii_px: tuple[float, ...],
) -> tuple[Floats, Floats]:
    """Sum an image in circles with exact pixel overlap.

    Parameters
    ----------
    data, valid : (ny, nx)
        Only valid pixels count.
    x, y : (N,) positions, 0-based pixel centres
    radii_px : R radii

    Returns
    -------
    sums, areas : (N, R) float
        The area is that of the valid part, px^2; both are 0 where it is empty.
    """
    from photutils.aperture import CircularAperture

    sums, areas = np.zeros((len(x), len(radii_px))), np.zeros((len(x), len(radii_px)))
    if not len(x):
        return sums, areas
    image = np.where(valid, data, 0).astype(np.float64)
    weight = valid.astype(np.float64)
    for k, radius in enumerate(radii_px):
        circles = CircularAperture(np.column_stack([x, y]), radius)
        sums[:, k] = np.nan_to_num(circles.do_photometry(image)[0])
        areas[:, k] = np.nan_to_num(circles.do_photometry(weight)[0])
    return sums, areas


def correlation_factor(image: DrcImage) -> float:
    """Return the noise correlation of an image's drizzling (see the kernel)."""
    scale = image.scale_arcsec / image.meta.native_scale_arcsec
    return noise_correlation(image.meta.pixfrac, scale)


def rate_errors(
    sums: Floats, areas: Floats, sky: SkyStats, exptime_s: Floats, correlation: float = 1.0
) -> Floats:
    """Return the 1-sigma errors of sky-subtracted aperture sums, (N, R) in e/s.

    DAOPHOT's form for count rates: with net rate f, exposure time t, area A,
    sky scatter s per pixel measured in n_sky pixels, and the noise correlation R,

        var = f / t  +  R^2 A s^2 (1 + A / n_sky)

    A rate has the Poisson variance f/t; leaving t out makes errors sqrt(t) too large.
    """
    net = sums - sky.median[:, np.newaxis] * areas
    poisson = np.maximum(net, 0.0) / np.where(exptime_s > 0, exptime_s, np.nan)[:, np.newaxis]
    scatter = correlation**2 * areas * sky.std[:, np.newaxis] ** 2
    level = 1.0 + areas / np.maximum(sky.n_pixels, 1)[:, np.newaxis]
    return np.sqrt(poisson + scatter * level)


@dataclass(frozen=True, eq=False)
class Exposures:
    """Exposure bookkeeping of N positions."""

    count: NDArray[np.int64]
    exptime_s: Floats
    peak_rate: Floats
    """Highest pixel within 2 px, e/s; NaN where there is none."""


def exposures_at(image: DrcImage, x: Floats, y: Floats) -> Exposures:
    """Return median number of exposures, mean exposure time and peak around each position."""
    near = neighbourhood(image.shape, x, y, EXPTIME_RADIUS_PX)
    covered = near.take(image.valid)
    inner = covered & (near.distance <= EXPOSURE_RADIUS_PX)
    outer = covered & (near.distance <= EXPTIME_RADIUS_PX)
    number = np.where(inner, near.take(image.n_exp), np.nan)
    seconds = np.where(outer, near.take(image.exptime_map_s), 0.0).sum(axis=1)
    peak = np.where(inner, near.take(image.sci), -np.inf).max(axis=1, initial=-np.inf)
    count = _median_rows(number)
    mean_s = seconds / np.maximum(outer.sum(axis=1), 1)
    return Exposures(
        np.where(np.isfinite(count), np.floor(count), 0).astype(np.int64),
        mean_s,
        np.where(np.isfinite(peak), peak, np.nan),
    )


def _median_rows(values: Floats) -> Floats:
    """Return the median of each row without NaN; NaN for rows that have nothing else."""
    out = np.full(len(values), np.nan)
    some = np.isfinite(values).any(axis=1)
    if some.any():
        out[some] = np.nanmedian(values[some], axis=1)
    return out


def profile_fits(image: DrcImage, x: Floats, y: Floats, radius_px: float) -> MoffatFits:
    """Fit Moffat profiles to the pixels within a radius of each position."""
    parts = []
    for i in range(0, max(len(x), 1), CHUNK):
        near = neighbourhood(image.shape, x[i : i + CHUNK], y[i : i + CHUNK], radius_px)
        used = (near.distance <= radius_px) & near.take(image.valid)
        distance = np.where(used, near.distance, 0.0)
        parts.append(fit_moffat(distance, near.take(image.sci).astype(float), used))
    names = ("amplitude", "gamma_px", "alpha", "bias", "failed", "pinned")
    return MoffatFits(**{n: np.concatenate([getattr(p, n) for p in parts]) for n in names})


def cosmic_ray_flags(
    x: Floats,
    y: Floats,
    n_exp: NDArray[np.int64],
    cr_mask: NDArray[np.bool_] | None,
    radius_px: float,
) -> NDArray[np.int64]:
    """Return 1 where a single exposure looks and a masked pixel's centre lies within a radius."""
    if cr_mask is None or not len(x):
        return np.zeros(len(x), dtype=np.int64)
    near = neighbourhood((cr_mask.shape[0], cr_mask.shape[1]), x, y, radius_px)
    hit = (near.take(cr_mask) & (near.distance <= radius_px)).any(axis=1)
    return np.asarray(hit & (n_exp == 1), dtype=np.int64)


def source_flags(
    image: DrcImage,
    x: Floats,
    y: Floats,
    areas: Floats,
    sky: SkyStats,
    fits: MoffatFits,
    exposures: Exposures,
    cr_flag: NDArray[np.int64],
    settings: MeasureSettings,
) -> NDArray[np.int64]:
    """Return the flag bits of each source."""
    reach = settings.annulus_outer_px
    near_edge = ~_all_valid(image, x, y, reach)
    whole = np.pi * settings.radii_px[-1] ** 2
    full_well_rate = image.meta.saturation_rate
    conditions = {
        Flag.EDGE: near_edge,
        Flag.SINGLE_EXPOSURE: exposures.count == 1,
        Flag.COSMIC_RAY: cr_flag == 1,
        Flag.PARTIAL_APERTURE: areas[:, -1] < whole * (1 - 1e-6),
        Flag.OFF_IMAGE: areas[:, -1] == 0,
        Flag.BAD_SKY: sky.n_pixels < MIN_SKY_PIXELS,
        Flag.FIT_FAILED: fits.failed,
        Flag.FIT_PINNED: fits.pinned,
        Flag.BLENDED: _has_neighbour(x, y, settings.radii_px[-1]),
        Flag.SATURATED: np.nan_to_num(exposures.peak_rate) > full_well_rate,
        Flag.NO_EXPOSURE_MAP: np.full(len(x), not image.has_context),
    }
    flags = np.zeros(len(x), dtype=np.int64)
    for flag, true in conditions.items():
        flags[true] |= int(flag)
    return flags


def _all_valid(image: DrcImage, x: Floats, y: Floats, radius_px: float) -> NDArray[np.bool_]:
    """Return whether every pixel within a radius exists and has data."""
    good = np.zeros(len(x), dtype=bool)
    for i in range(0, len(x), CHUNK):
        near = neighbourhood(image.shape, x[i : i + CHUNK], y[i : i + CHUNK], radius_px)
        within = near.distance <= radius_px
        good[i : i + CHUNK] = (near.take(image.valid) | ~within).all(axis=1) & (
            within.sum(axis=1) >= np.pi * (radius_px - 0.75) ** 2
        )
    ny, nx = image.shape
    on_image = (x >= radius_px) & (x <= nx - 1 - radius_px)
    on_image &= (y >= radius_px) & (y <= ny - 1 - radius_px)
    return good & on_image


def _has_neighbour(x: Floats, y: Floats, radius_px: float) -> NDArray[np.bool_]:
    """Return whether another position lies within a radius."""
    from scipy.spatial import KDTree

    if len(x) < 2:
        return np.zeros(len(x), dtype=bool)
    points = np.column_stack(_finite(x, y))
    distance = np.asarray(KDTree(points).query(points, k=2)[0])
    return (distance[:, 1] <= radius_px) & np.isfinite(x) & np.isfinite(y)
