"""Photometry: apertures, sky, errors, shapes, flags, what sources are, positions, Gaia match."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.table import Table
from astropy.wcs import WCS
from numpy.typing import ArrayLike, NDArray

from bycatch.arrays import Bools, Floats
from bycatch.catalogs.columns import PHOT, RATE_ERROR_PARTS, SKY, Column
from bycatch.catalogs.flags import Flag
from bycatch.catalogs.tables import make_table
from bycatch.display import notebook
from bycatch.images.drc import DrcImage
from bycatch.images.exposures import mean_mjd
from bycatch.settings import MeasureSettings
from bycatch.sky.astrometry import FrameError, sky_positions
from bycatch.sky.gaia import ReferenceStars
from bycatch.stages.measure import (
    cosmics,
    flagging,
    halos,
    neighbours,
    shapes,
    sky_noise,
    stellarity,
)
from bycatch.stages.measure.defects import (
    Blemishes,
    ChipQuality,
    blemishes,
    blemishes_from_quality,
)
from bycatch.stages.measure.photometry import (
    Photometry,
    aperture_sums,
    correlation_factor,
    photometry,
    position_errors_px,
    rate_errors,
)

__all__ = ["MeasureResult", "aperture_sums", "correlation_factor", "rate_errors", "run"]


SAME_STAR_PX = 10.0
"""A saturated source this near to a Gaia star is that star."""


@dataclass(frozen=True, eq=False)
class MeasureResult:
    """Photometry of the positions (columns.PHOT), row for row.

    ``radii_px`` and ``correlation`` (the factor of the sky noise, see
    `correlation_factor`) say how it was measured; ``locus`` where the image's stars are
    in concentration.
    """

    table: Table
    radii_px: tuple[float, ...]
    correlation: float
    locus: stellarity.Locus
    noise: sky_noise.NoiseModel
    sky: Table
    """The blank places (columns.SKY)."""
    limits: dict[int, Floats]
    """Rates of 5 sigma in each radius where the sky is blank, (R,) in e/s, by exposures."""

    def summary(self) -> dict[str, Any]:
        """Return the scalars for the log and the summary."""
        fwhm = np.ma.compressed(self.table["fwhm"])
        p_star = np.ma.compressed(self.table["p_star"])
        return {
            "n_measured": len(self.table),
            "n_cosmic_ray": int((self.table["cr_flag"] == 1).sum()),
            "n_likely_cosmic_ray": int(
                np.sum(np.asarray(self.table["flags"]) & int(Flag.LIKELY_COSMIC_RAY) > 0)
            ),
            "n_gaia": int((self.table["gaia_source_id"] != 0).sum()),
            "n_point": int((p_star >= flagging.EXTENDED_BELOW).sum()),
            "fwhm_median": float(np.median(fwhm)) if len(fwhm) else None,
            "noise_correlation": self.correlation,
            **self.noise.summary(),
            "locus_concentration": [round(float(v), 4) for v in self.locus.index],
            "locus_n_stars": self.locus.n_stars,
        }

    @notebook.never_raising
    def _repr_html_(self) -> str:
        middle = f"countrate_{self.radii_px[len(self.radii_px) // 2]:g}"
        names = ("id", "x", "y", middle, "sky_median", "fwhm", "p_star", "p_cr", "flags")
        rows = notebook.first_rows(self.table, names)
        return notebook.card("Photometry", self.summary(), table=rows)


def run(
    image: DrcImage,
    x: ArrayLike,
    y: ArrayLike,
    *,
    ids: ArrayLike | None = None,
    cr_mask: Bools | None = None,
    segmentation: NDArray[np.integer[Any]] | None = None,
    wcs: WCS | None = None,
    frame_error: FrameError | None = None,
    reference: ReferenceStars | None = None,
    exposure_sets: NDArray[np.int64] | None = None,
    chips: tuple[ChipQuality, ...] = (),
    others: Sequence[cosmics.OtherImage] = (),
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
    segmentation : (ny, nx) int, optional
        Shapes leave out the pixels of other segments; without it neighbours count.  It also says
        where the sky is blank; without it the noise follows from the drizzling parameters.
    wcs : WCS, optional
        The aligned WCS; the header's by default.
    frame_error : FrameError, optional
        The error of that WCS.
    reference : ReferenceStars, optional
        Stars to match with, and whose light reaches far.
    exposure_sets : (N,) int, optional
        Which exposures look (`bycatch.images.exposures.exposure_sets`).
    chips : tuple of ChipQuality
        Data quality of the exposures, as far as it is known.
    others : sequence of OtherImage
        The field's other images, in the pixels of this one: light is seen there, too.
    """
    chosen = settings or MeasureSettings()
    x, y = np.asarray(x, dtype=float).ravel(), np.asarray(y, dtype=float).ravel()
    number = np.arange(1, len(x) + 1) if ids is None else np.asarray(ids)
    sets = np.zeros(len(x), np.int64) if exposure_sets is None else np.asarray(exposure_sets)
    frame = wcs if wcs is not None else image.wcs
    found = photometry(image, x, y, chosen)
    empty = _sky_objects(image, segmentation, cr_mask, chosen)
    scatter = found.sky.std * np.sqrt(found.exposures.exptime_s)
    noise = sky_noise.noise_model(image, empty, chosen, scatter)
    sky_errors = noise.sky_errors(found.areas, found.sky, found.exposures.exptime_s)
    share = sky_noise.photon_shares(image, chosen.radii_px)
    errors = sky_noise.total_errors(found.net, sky_errors, found.exposures.exptime_s, share)
    limits = sky_noise.limits(sky_errors, found.exposures.exptime_s, photon_share=share)
    positions = sky_positions(
        x,
        y,
        position_errors_px(found),
        frame,
        image.meta.mjd_mid,
        frame_error=frame_error,
        reference=reference,
        settings=chosen,
        epoch_spread_yr=image.meta.epoch_spread_yr,
    )
    cosmic_ray = flagging.cosmic_ray_flags(found, cr_mask, chosen.cr_radius_px)
    spoiled = _blemishes(image, found, chips)
    light = _star_light(image, found, frame, reference, spoiled.saturated)
    blends = neighbours.blends(
        x,
        y,
        found.net[:, 0],
        found.fits.fwhm_px,
        neighbours.star_profile(image.meta.detector, image.meta.filter, image.scale_arcsec),
        scale_arcsec=image.scale_arcsec,
        small_px=chosen.radii_px[0],
        aperture_px=chosen.radii_px[len(chosen.radii_px) // 2],
    )
    conditions = flagging.frame_flags(image, found, chosen) | flagging.light_flags(
        spoiled, light, blends.is_blended
    )
    clean = ~(cosmic_ray | spoiled.hot_pixel | conditions[Flag.EDGE])
    in_gaia = np.asarray(positions["gaia_source_id"]) != 0
    concentration, locus, p_star = _points(image, found, spoiled.saturated, clean, in_gaia)
    elsewhere = cosmics.seen_elsewhere(x, y, others)
    p_cr = cosmics.probability(
        cosmics.evidence(
            image,
            found,
            concentration,
            locus,
            cr_mask=cr_mask,
            elsewhere=elsewhere,
            saturated=spoiled.saturated,
        )
    )
    conditions |= flagging.class_flags(p_star, p_cr, cosmic_ray)
    lost = found.areas == 0
    parts = _error_parts(found, sky_errors, share, lost) if chosen.error_components else {}
    table = make_table(
        (*PHOT, *parts),
        {
            "id": number,
            "x": x,
            "y": y,
            **_per_radius("countrate_{r}", np.where(lost, np.nan, found.sums), chosen.radii_px),
            **_per_radius("countrate_err_{r}", np.where(lost, np.nan, errors), chosen.radii_px),
            "sky_median": found.sky.median,
            "sky_std": found.sky.std,
            "n_sky": found.sky.n_pixels,
            "fwhm": found.fits.fwhm_px,
            "cr_flag": cosmic_ray.astype(np.int64),
            "p_cr": p_cr,
            "p_star": p_star,
            "concentration": concentration.index[:, 0],
            "blend_share": blends.share,
            **_shape_columns(image, found, noise, segmentation, frame),
            **positions,
            "n_exp": found.exposures.count,
            "n_exp_min": found.exposures.least,
            "n_covering": elsewhere.n_covering,
            "n_seen": elsewhere.n_seen,
            "exposures": sets,
            "exptime": found.exposures.exptime_s,
            "mjd": mean_mjd(sets, image.meta.exposures, image.meta.mjd_mid),
            **_per_radius("limit_{r}", np.where(lost, np.nan, limits), chosen.radii_px),
            **_per_radius("area_{r}", found.areas, chosen.radii_px),
            "flags": flagging.bits(conditions),
            **{
                name: value
                for column, values in parts.items()
                for name, value in _per_radius(column.name, values, chosen.radii_px).items()
            },
        },
        chosen.radii_px,
    )
    return MeasureResult(
        table,
        chosen.radii_px,
        found.correlation,
        locus,
        noise,
        _sky_table(empty, noise, chosen),
        sky_noise.limits_by_exposures(empty, noise),
    )


def _per_radius(name: str, values: Floats, radii_px: tuple[float, ...]) -> dict[str, Floats]:
    return {name.replace("{r}", f"{r:g}"): values[:, k] for k, r in enumerate(radii_px)}


def _error_parts(
    found: Photometry, sky_errors: Floats, share: Floats, lost: Bools
) -> dict[Column, Floats]:
    """Return the parts of the errors with their columns."""
    parts = sky_noise.error_parts(
        found.net, sky_errors, found.areas, found.sky, found.exposures.exptime_s, share
    )
    blanked = (np.where(lost, np.nan, part) for part in parts)
    return dict(zip(RATE_ERROR_PARTS, blanked, strict=True))


def _sky_objects(
    image: DrcImage,
    segmentation: NDArray[np.integer[Any]] | None,
    cr_mask: Bools | None,
    settings: MeasureSettings,
) -> sky_noise.SkyObjects:
    """Measure places without sources and cosmic rays; none where nobody says where sources are."""
    if segmentation is None:
        return sky_noise.sky_objects(image, np.empty(0), np.empty(0), settings)
    occupied = segmentation > 0
    if cr_mask is not None:
        occupied |= cr_mask
    return sky_noise.blank_sky(image, occupied, settings)


def _sky_table(
    empty: sky_noise.SkyObjects, noise: sky_noise.NoiseModel, settings: MeasureSettings
) -> Table:
    """Return the table of the blank places."""
    errors = noise.sky_errors(empty.areas, empty.sky, empty.exposures.exptime_s)
    return make_table(
        SKY,
        {
            "id": np.arange(1, len(empty.x) + 1),
            "x": empty.x,
            "y": empty.y,
            **_per_radius("net_{r}", empty.net, settings.radii_px),
            **_per_radius("net_err_{r}", errors, settings.radii_px),
            "sky_median": empty.sky.median,
            "sky_std": empty.sky.std,
            "n_sky": empty.sky.n_pixels,
            "n_exp": empty.exposures.count,
            "exptime": empty.exposures.exptime_s,
        },
        settings.radii_px,
    )


def _blemishes(image: DrcImage, found: Photometry, chips: tuple[ChipQuality, ...]) -> Blemishes:
    """Return what the image shows, and what the data quality of its exposures tells."""
    shown = blemishes(
        image,
        found.x,
        found.y,
        found.sky.median,
        found.sky.std,
        found.exposures.count,
        found.exposures.peak_rate,
    )
    # The exposures have the header's frame, whatever the image was aligned to.
    return shown | blemishes_from_quality(image.wcs, found.x, found.y, chips) if chips else shown


def _star_light(
    image: DrcImage,
    found: Photometry,
    wcs: WCS,
    reference: ReferenceStars | None,
    saturated: Bools,
) -> halos.StarLight:
    """Return which sources lie in the halos and on the spikes of bright stars."""
    known = halos.gaia_stars(reference, image, wcs)
    seen = halos.saturated_stars(found.x, found.y, found.net[:, -1], saturated)
    stars = halos.joined(known, seen, SAME_STAR_PX)
    noise = found.sky.std[np.isfinite(found.sky.std)]
    typical = float(np.median(noise)) if len(noise) else np.nan
    angles = halos.spike_angles(image, stars)
    return halos.star_light(found.x, found.y, image, stars, typical, angles)


def _points(
    image: DrcImage, found: Photometry, saturated: Bools, clean: Bools, in_gaia: Bools
) -> tuple[stellarity.Concentration, stellarity.Locus, Floats]:
    """Return the concentrations, where the image's stars are, and p_star."""
    concentration = stellarity.concentration(
        image,
        found.x,
        found.y,
        found.sky.median,
        found.sky.std,
        found.exposures.exptime_s,
        found.correlation,
    )
    expected = stellarity.expectation(image.meta.detector, image.meta.filter)
    good = clean & ~saturated
    locus = stellarity.locus(concentration, expected, usable=good, known_star=in_gaia)
    p_star = stellarity.probability(concentration, locus, saturated=saturated, usable=clean)
    return concentration, locus, p_star


def _shape_columns(
    image: DrcImage,
    found: Photometry,
    noise: sky_noise.NoiseModel,
    segmentation: NDArray[np.integer[Any]] | None,
    wcs: WCS,
) -> dict[str, Floats]:
    """Return sizes, orientations, and the flux in Kron's aperture with its error."""
    shape = shapes.measured(
        image, found.x, found.y, found.sky.median, segmentation=segmentation, wcs=wcs
    )
    seconds = found.exposures.exptime_s
    sky_error = noise.sky_error_in(shape.kron_area_px2, found.sky, seconds)
    error = sky_noise.total_errors(
        shape.kron_rate[:, np.newaxis], sky_error[:, np.newaxis], seconds
    )
    return {
        "countrate_kron": shape.kron_rate,
        "countrate_err_kron": error[:, 0],
        "kron_radius": shape.kron_radius,
        "half_light_px": shape.half_light_px,
        "semimajor_px": shape.semimajor_px,
        "semiminor_px": shape.semiminor_px,
        "theta_deg": shape.theta_deg,
        "pa_deg": shape.pa_deg,
    }
