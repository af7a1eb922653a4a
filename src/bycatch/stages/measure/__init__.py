"""Photometry: apertures, sky, errors, shapes, flags, what sources are, positions, Gaia match."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from astropy.table import Table
from astropy.wcs import WCS
from numpy.typing import NDArray

from bycatch.arrays import Bools, Floats
from bycatch.catalogs.columns import PHOT
from bycatch.catalogs.flags import Flag
from bycatch.catalogs.tables import make_table
from bycatch.images.drc import DrcImage
from bycatch.kernels.skylevel import labels_nearby
from bycatch.settings import MeasureSettings
from bycatch.sky.astrometry import expected_chance_matches, sky_positions
from bycatch.sky.gaia import ReferenceStars
from bycatch.stages.measure import (
    cosmics,
    flagging,
    halos,
    level,
    neighbours,
    rows,
    shapes,
    sky_noise,
    stellarity,
    transfer,
    trust,
    unlisted,
)
from bycatch.stages.measure.context import FieldContext, Pixels, SkyFrame, Targets
from bycatch.stages.measure.defects import (
    ChipQuality,
    Defects,
    defects,
    defects_from_quality,
)
from bycatch.stages.measure.depth import depth
from bycatch.stages.measure.elsewhere import SEEN_PX, Elsewhere, light_at, seen_elsewhere
from bycatch.stages.measure.photometry import (
    Photometry,
    aperture_sums,
    correlation_factor,
    in_rows,
    photometry,
    position_errors_px,
    rate_errors,
    without_stars,
)
from bycatch.stages.measure.result import MeasureResult

__all__ = [
    "FieldContext",
    "MeasureResult",
    "Pixels",
    "SkyFrame",
    "Targets",
    "aperture_sums",
    "correlation_factor",
    "rate_errors",
    "run",
]


NEARBY = (1.5, 2.0)
"""Factor to the size of a segment and margin (px) of what an annulus of another leaves out: wings
of stars beside an annulus reach it, but not the middle."""
SAME_STAR_PX = 10.0
"""A saturated source this near to a Gaia star is that star, detector pixels."""


def run(
    image: DrcImage,
    targets: Targets,
    settings: MeasureSettings | None = None,
    *,
    pixels: Pixels | None = None,
    frame: SkyFrame | None = None,
    field: FieldContext | None = None,
) -> MeasureResult:
    """Measure sources at given positions.

    Parameters
    ----------
    image : DrcImage
    targets : Targets
        Where to measure.
    settings : MeasureSettings, optional
    pixels : Pixels, optional
        Cosmic-ray mask and segmentation.
    frame : SkyFrame, optional
        The aligned WCS and its error; the header's WCS by default.
    field : FieldContext, optional
        Gaia stars, data quality of the exposures, other images.
    """
    chosen, pixels = settings or MeasureSettings(), pixels or Pixels()
    frame, field = frame or SkyFrame(image.wcs), field or FieldContext()
    found = photometry(image, targets.x, targets.y, chosen, _sky_labels(pixels))
    noise = rows.source_noise(image, found, pixels, chosen)
    # Errors are those of the image as it is: the photons of stars stay.
    cleaned = image
    if pixels.star_light is not None and targets.is_wide.any():
        found, cleaned = without_stars(found, image, pixels.star_light, targets.is_wide, chosen)
    far = level.sky_level(image, pixels.segmentation, pixels.cr_mask)
    levels = far.at(targets.x, targets.y)
    levels = np.where(np.isfinite(levels), levels, found.sky.median)
    total_noise = level.total_noise(noise.empty, far, noise.model, chosen.annulus_outer_px)
    shape = _shapes(image, found, levels, pixels, frame.wcs)
    if cleaned is not image:
        wide = np.flatnonzero(targets.is_wide)
        of_wide = replace(found, x=found.x[wide], y=found.y[wide])
        shape = in_rows(shape, _shapes(cleaned, of_wide, levels[wide], pixels, frame.wcs), wide)
    positions = _positions(image, found, targets, frame, field, chosen)
    radius_px = chosen.cr_radius_px * image.detector_px
    cosmic_ray = flagging.cosmic_ray_flags(found, pixels.cr_mask, radius_px)
    spoiled = _defects(image, found, field.chips)
    light = _star_light(image, found, frame.wcs, field.reference, spoiled.saturated)
    blend_share, blended, merged = _blends(image, found, pixels, spoiled.saturated, chosen)
    conditions = flagging.frame_flags(image, found, chosen) | flagging.light_flags(
        spoiled, light, blended, merged
    )
    conditions[Flag.PIECE] = targets.may_be_piece
    clean = ~(cosmic_ray | spoiled.hot_pixel | conditions[Flag.EDGE])
    in_gaia = np.asarray(positions["gaia_source_id"]) != 0
    points = _points(image, found, targets, pixels, spoiled.saturated, clean, in_gaia)
    own = light_at(image, targets.x, targets.y) if field.others else None
    radius_px = SEEN_PX * image.detector_px
    elsewhere = seen_elsewhere(targets.x, targets.y, field.others, radius_px, own)
    p_cr = _p_cr(image, found, points, elsewhere, pixels.cr_mask, spoiled.saturated, field.chips)
    conditions |= flagging.class_flags(points.p_star, p_cr, cosmic_ray)
    conditions |= flagging.total_flags(shape, points.p_star, chosen.annulus_inner_px)
    structure = trust.sky_structure(
        image,
        pixels.segmentation,
        pixels.cr_mask,
        noise.model.typical,
    )
    conditions |= flagging.structure_flags(structure, found, points.p_star, conditions)
    columns = {
        "id": targets.ids,
        "x": targets.x,
        "y": targets.y,
        **rows.flux_columns(found, noise, chosen),
        **rows.shape_columns(found, shape, levels, total_noise),
        **positions,
        **rows.exposure_columns(image, found, targets.exposure_sets),
        "cr_flag": cosmic_ray.astype(np.int64),
        "p_cr": p_cr,
        "p_star": points.p_star,
        "concentration": points.concentration.index[:, 0],
        "blend_share": blend_share,
        "n_covering": elsewhere.n_covering,
        "n_seen": elsewhere.n_seen,
        "flags": flagging.bits(conditions),
    }
    parts = rows.error_parts(found, noise, chosen)
    table = make_table((*PHOT, *parts), columns | rows.part_columns(parts, chosen), chosen.radii_px)
    limits = sky_noise.limits_by_exposures(noise.empty, noise.model)
    return MeasureResult(
        table,
        chosen.radii_px,
        found.correlation,
        points.locus,
        noise.model,
        total_noise,
        far.growth,
        rows.sky_table(noise.empty, noise.model, chosen),
        limits,
        depth(image, noise.model, limits, chosen),
        _n_gaia_chance(image, table, field.reference, chosen),
        trust.judge(
            image,
            structure,
            pixels.segmentation,
            table,
            ~conditions[Flag.LIKELY_COSMIC_RAY],
            fits_psf=pixels.star_energy is not None,
        ),
        # Cosmic rays leave the same trails, and are many in single exposures.
        transfer.transfer_of(image, pixels.segmentation, found.x, found.y, _near_rate(found)),
        pixels.star_energy is not None,
    )


def _sky_labels(pixels: Pixels) -> NDArray[np.int32] | None:
    """Return which pixels are left out of the annuli of others, if any are."""
    if pixels.segmentation is None or not pixels.frees_sky:
        return None
    return labels_nearby(pixels.segmentation, *NEARBY, level.MOST_GROWTH_PX)


def _positions(
    image: DrcImage,
    found: Photometry,
    targets: Targets,
    frame: SkyFrame,
    field: FieldContext,
    settings: MeasureSettings,
) -> dict[str, Any]:
    """Return the columns of positions on the sky and of the match with Gaia."""
    floor_mas = frame.error.centroid_floor_mas if frame.error is not None else np.nan
    floor_px = floor_mas / (1000.0 * image.scale_arcsec)
    expected = position_errors_px(found, image.detector_px, floor_px)
    expected = np.hypot(expected, np.nan_to_num(targets.hit_err_px))
    return sky_positions(
        found.x,
        found.y,
        np.where(np.isfinite(targets.centre_err_px), targets.centre_err_px, expected),
        frame.wcs,
        image.meta.mjd_mid,
        frame_error=frame.error,
        reference=field.reference,
        settings=settings,
        epoch_spread_yr=image.meta.epoch_spread_yr,
    )


def _near_rate(found: Photometry) -> Floats:
    """Return the rates in the aperture of the middle radius, (N,) e/s."""
    return found.net[:, len(found.radii_px) // 2]


def _n_gaia_chance(
    image: DrcImage, table: Table, reference: ReferenceStars | None, settings: MeasureSettings
) -> float:
    """Return how many matches with Gaia are expected by chance."""
    meta = image.meta
    return expected_chance_matches(table, meta.mjd_mid, reference, settings, meta.epoch_spread_yr)


def _blends(
    image: DrcImage,
    found: Photometry,
    pixels: Pixels,
    saturated: Bools,
    settings: MeasureSettings,
) -> tuple[Floats, Bools, Bools]:
    """Return the share of neighbours, rows or not, where it is large, and which rows hide one."""
    aperture_px = settings.radii_px[len(settings.radii_px) // 2]
    hidden = unlisted.unlisted_peaks(
        image,
        found,
        segmentation=pixels.segmentation,
        cr_mask=pixels.cr_mask,
        saturated=saturated,
        reach_px=aperture_px + unlisted.REACH_PX * image.detector_px,
    )
    n = len(found.x)
    blends = neighbours.blends(
        np.concatenate([found.x, hidden.x]),
        np.concatenate([found.y, hidden.y]),
        np.concatenate([found.net[:, 0], hidden.net_rate]),
        np.concatenate([found.fits.fwhm_px, np.full(len(hidden.x), np.nan)]),
        neighbours.star_profile(image.meta.detector, image.meta.filter, image.scale_arcsec),
        scale_arcsec=image.scale_arcsec,
        small_px=settings.radii_px[0],
        aperture_px=aperture_px,
        detector_px=image.detector_px,
    )
    rates = blends.total_rate[:n], blends.total_rate[n:]
    merged = unlisted.has_unlisted_peak(pixels.segmentation, found, hidden, *rates)
    return blends.share[:n], blends.is_blended[:n], merged


def _p_cr(
    image: DrcImage,
    found: Photometry,
    points: _Points,
    elsewhere: Elsewhere,
    cr_mask: Bools | None,
    saturated: Bools,
    chips: tuple[ChipQuality, ...],
) -> Floats:
    """Return the probability that each source is a cosmic ray."""
    return cosmics.probability(
        cosmics.evidence(
            image,
            found,
            points.concentration,
            points.locus,
            cr_mask=cr_mask,
            elsewhere=elsewhere,
            saturated=saturated,
            chips=chips,
        )
    )


def _defects(image: DrcImage, found: Photometry, chips: tuple[ChipQuality, ...]) -> Defects:
    """Return what the image shows, and what the data quality of its exposures tells."""
    shown = defects(
        image,
        found.x,
        found.y,
        found.sky.median,
        found.sky.std,
        found.exposures.count,
        found.exposures.peak_rate,
    )
    # The exposures have the header's frame, whatever the image was aligned to.
    return shown | defects_from_quality(image.wcs, found.x, found.y, chips) if chips else shown


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
    stars = halos.join_stars(known, seen, SAME_STAR_PX * image.detector_px)
    noise = found.sky.std[np.isfinite(found.sky.std)]
    typical = float(np.median(noise)) if len(noise) else np.nan
    angles = halos.spike_angles(image, stars)
    return halos.star_light(found.x, found.y, image, stars, typical, angles)


@dataclass(frozen=True, eq=False)
class _Points:
    """How concentrated the sources are, where stars are in that, and p_star."""

    concentration: stellarity.Concentration
    locus: stellarity.Locus
    p_star: Floats


def _points(
    image: DrcImage,
    found: Photometry,
    targets: Targets,
    pixels: Pixels,
    saturated: Bools,
    clean: Bools,
    in_gaia: Bools,
) -> _Points:
    """Return concentrations, the locus of stars, and p_star."""
    beneath = np.isfinite(targets.sky_rate)
    concentration = stellarity.concentration(
        image,
        found.x,
        found.y,
        np.where(beneath, targets.sky_rate, found.sky.median),
        found.sky.std,
        found.exposures.exptime_s,
        found.correlation,
        targets.neighbours_rate,
    )
    if pixels.star_energy is not None:
        expected = stellarity.expectation_of(pixels.star_energy)
    else:
        expected = stellarity.expectation(image.meta.detector, image.meta.filter)
    with np.errstate(invalid="ignore"):
        level = stellarity.FULL_SHARE * image.meta.saturation_rate
        full = saturated | (found.exposures.peak_rate > level)
    good = clean & ~full
    locus = stellarity.locus(concentration, expected, usable=good, known_star=in_gaia)
    p_star = stellarity.probability(concentration, locus, saturated=full, usable=clean)
    return _Points(concentration, locus, p_star)


def _shapes(
    image: DrcImage, found: Photometry, levels: Floats, pixels: Pixels, wcs: WCS
) -> shapes.Shapes:
    """Return sizes, orientations, and the sums in Kron's apertures."""
    return shapes.measure_shapes(
        image, found.x, found.y, levels, segmentation=pixels.segmentation, wcs=wcs
    )
