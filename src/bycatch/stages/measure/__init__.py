"""Photometry: apertures, sky, errors, profile fits, cosmic-ray flag, positions, Gaia match."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.table import Table
from astropy.wcs import WCS
from numpy.typing import ArrayLike, NDArray

from bycatch.astrometry import FrameError, centroid_errors_px, sky_positions
from bycatch.columns import PHOT
from bycatch.drc import DrcImage
from bycatch.flags import Flag
from bycatch.gaia import ReferenceStars
from bycatch.kernels.apertures import circle_sums
from bycatch.kernels.moffat import MoffatFits, fit_moffat_at
from bycatch.kernels.neighbourhood import all_within, any_within, coverage
from bycatch.kernels.skystats import SkyStats, annulus_stats
from bycatch.kernels.smoothing import SIGMA_PER_FWHM, noise_correlation
from bycatch.settings import MeasureSettings
from bycatch.tables import make_table

Floats = NDArray[np.float64]

EXPOSURE_RADIUS_PX = 2.0
"""The number of exposures of a source is the median within this radius."""
EXPTIME_RADIUS_PX = 4.0
"""Its effective exposure time is the mean within this radius."""
CENTROID_RADIUS_PX = 4.0
"""The flux in the aperture nearest to this one tells the error of a centroid."""
MIN_SKY_PIXELS = 20


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
    frame_error: FrameError | None = None,
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
    frame_error : FrameError, optional
        The error of that WCS.
    reference : ReferenceStars, optional
        Stars to match with.
    """
    chosen = settings or MeasureSettings()
    x, y = np.asarray(x, dtype=float).ravel(), np.asarray(y, dtype=float).ravel()
    number = np.arange(1, len(x) + 1) if ids is None else np.asarray(ids)
    frame = wcs if wcs is not None else image.wcs
    sums, areas = aperture_sums(image.sci, image.valid, x, y, chosen.radii_px)
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
            **sky_positions(
                x,
                y,
                position_errors_px(sums, areas, sky, fits, exposures, chosen.radii_px),
                frame,
                image.meta.mjd_mid,
                frame_error=frame_error,
                reference=reference,
                settings=chosen,
            ),
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
    x, y : (N,) positions, 0-based pixel centres; may be off the image, or not finite
    radii_px : R radii

    Returns
    -------
    sums, areas : (N, R) float
        The area is that of the valid part, px^2; both are 0 where it is empty.
    """
    return circle_sums(data, valid, x, y, radii_px)


def position_errors_px(
    sums: Floats,
    areas: Floats,
    sky: SkyStats,
    fits: MoffatFits,
    exposures: Exposures,
    radii_px: tuple[float, ...],
) -> Floats:
    """Return the errors of the centroids per axis, pixels; NaN where the flux is not positive."""
    k = int(np.argmin(np.abs(np.asarray(radii_px) - CENTROID_RADIUS_PX)))
    net = sums[:, k] - sky.median * areas[:, k]
    errors = centroid_errors_px(net, sky.std, fits.fwhm_px * SIGMA_PER_FWHM, exposures.exptime_s)
    return np.where(net > 0, errors, np.nan)


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
    """Median number within 2 px, halves rounded up: 1 says that it is exactly 1."""
    exptime_s: Floats
    """Mean within 4 px."""
    peak_rate: Floats
    """Highest pixel within 2 px, e/s; NaN where there is none."""


def exposures_at(image: DrcImage, x: Floats, y: Floats) -> Exposures:
    """Return median number of exposures, mean exposure time and peak around each position."""
    planes = (image.sci, image.valid, image.n_exp, image.exptime_map_s)
    near = coverage(planes, x, y, EXPOSURE_RADIUS_PX, EXPTIME_RADIUS_PX)
    # Up: where half the pixels have a second exposure, the source is not in a single one.
    return Exposures(np.ceil(near.n_exp).astype(np.int64), near.exptime_s, near.peak_rate)


def profile_fits(image: DrcImage, x: Floats, y: Floats, radius_px: float) -> MoffatFits:
    """Fit Moffat profiles to the pixels within a radius of each position."""
    return fit_moffat_at(image.sci, image.valid, x, y, radius_px)


def cosmic_ray_flags(
    x: Floats,
    y: Floats,
    n_exp: NDArray[np.int64],
    cr_mask: NDArray[np.bool_] | None,
    radius_px: float,
) -> NDArray[np.int64]:
    """Return 1 where a single exposure looks and a masked pixel's centre lies within a radius."""
    if cr_mask is None:
        return np.zeros(len(x), dtype=np.int64)
    hit = any_within(cr_mask, x, y, radius_px)
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
    near_edge = ~all_within(image.valid, x, y, reach)
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


def _has_neighbour(x: Floats, y: Floats, radius_px: float) -> NDArray[np.bool_]:
    """Return whether another position lies within a radius."""
    from scipy.spatial import KDTree

    near = np.zeros(len(x), dtype=bool)
    known = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
    if len(known) >= 2:
        points = np.column_stack([x[known], y[known]])
        near[known] = np.asarray(KDTree(points).query(points, k=2)[0])[:, 1] <= radius_px
    return near
