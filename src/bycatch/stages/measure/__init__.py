"""Photometry: apertures, sky, errors, shapes, flags, what sources are, positions, Gaia match."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from astropy.table import Table
from astropy.wcs import WCS
from numpy.typing import NDArray

from bycatch.arrays import Bools, Floats
from bycatch.catalogs.flags import Flag
from bycatch.catalogs.photometry_columns import PHOT
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
from bycatch.stages.measure.annuli import Annuli, bright_sources, sky_of_sources
from bycatch.stages.measure.context import FieldContext, SkyFrame, Targets
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
    in_rows,
    photometry,
    position_errors_px,
    rate_errors,
    without_stars,
)
from bycatch.stages.measure.pixels import Pixels
from bycatch.stages.measure.result import MeasureResult
from bycatch.stages.measure.trust import NO_STRUCTURE, SkyStructure

__all__ = [
    "NO_STRUCTURE",
    "FieldContext",
    "MeasureResult",
    "Pixels",
    "SkyFrame",
    "SkyStructure",
    "Targets",
    "aperture_sums",
    "rate_errors",
    "run",
]


NEARBY = (1.5, 2.0)
"""Factor to the size of a segment and margin (px) of what an annulus of another leaves out: wings
of stars beside an annulus reach it, but not the middle."""
FLAT_SHARE = 0.5
"""Of the full well, in the brightest pixel: a core less concentrated than stars' was full."""
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
    measure_settings, pixels = settings or MeasureSettings(), pixels or Pixels()
    frame, field = frame or SkyFrame(image.wcs), field or FieldContext()
    annuli = Annuli.of(image, measure_settings, _sky_labels(pixels))
    phot = photometry(image, targets.x, targets.y, measure_settings, pixels, annuli.labels)
    star_level = phot.sky.median
    if pixels.frees_sky:
        sources = bright_sources(image, phot)
        annuli = annuli.without_wings(sources, phot.sky.std)
        sky, star_level = sky_of_sources(annuli, sources, phot.sky)
        phot = replace(phot, sky=sky)
    noise = rows.source_noise(image, phot, pixels, measure_settings, annuli)
    # Errors are those of the image as it is: the photons of stars stay.
    clean_image = image
    if pixels.star_light is not None and targets.is_wide.any():
        phot, clean_image = without_stars(
            phot, image, pixels.star_light, targets.is_wide, measure_settings, pixels
        )
    far = level.sky_level(image, pixels.segmentation, pixels.cr_mask)
    levels = far.at(targets.x, targets.y)
    levels = np.where(np.isfinite(levels), levels, phot.sky.median)
    total_noise = level.total_noise(
        noise.empty, far, noise.model, measure_settings.annulus_outer_px
    )
    shape = _shapes(image, phot, levels, pixels, frame.wcs)
    if clean_image is not image:
        wide = np.flatnonzero(targets.is_wide)
        of_wide = replace(phot, x=phot.x[wide], y=phot.y[wide])
        shape = in_rows(shape, _shapes(clean_image, of_wide, levels[wide], pixels, frame.wcs), wide)
    positions = _positions(image, phot, targets, frame, field, measure_settings)
    radius_px = measure_settings.cr_radius_px * image.detector_px
    cosmic_ray = flagging.cosmic_ray_flags(phot, pixels.cr_mask, radius_px)
    flaws = _defects(image, phot, field.chips)
    light = _star_light(image, phot, frame.wcs, field.reference, flaws.saturated)
    blend_share, is_blended, has_peak = _blends(
        image, phot, pixels, flaws.saturated, measure_settings
    )
    conditions = flagging.frame_flags(image, phot, measure_settings) | flagging.light_flags(
        flaws, light, is_blended, has_peak
    )
    conditions[Flag.PIECE] = targets.may_be_piece
    clean = ~(cosmic_ray | flaws.hot_pixel | conditions[Flag.EDGE])
    in_gaia = np.asarray(positions["gaia_source_id"]) != 0
    points = _points(image, phot, targets, pixels, flaws.saturated, clean, in_gaia)
    # Where dithers spread a full pixel over its neighbours, the core is flat, but none of it full.
    may_be_full = phot.exposures.peak_rate > FLAT_SHARE * image.meta.saturation_rate
    is_flat = stellarity.is_flat(points.concentration, points.locus)
    conditions[Flag.SATURATED] |= may_be_full & is_flat
    own = light_at(image, targets.x, targets.y) if field.others else None
    radius_px = SEEN_PX * image.detector_px
    elsewhere = seen_elsewhere(targets.x, targets.y, field.others, radius_px, own)
    p_cr = _p_cr(image, phot, points, elsewhere, pixels.cr_mask, flaws.saturated, field.chips)
    conditions |= flagging.class_flags(points.p_star, p_cr, cosmic_ray)
    conditions |= flagging.total_flags(shape, points.p_star, measure_settings.annulus_inner_px)
    structure = pixels.structure or trust.sky_structure(
        image, pixels.segmentation, pixels.cr_mask, noise.model.typical
    )
    conditions |= flagging.structure_flags(structure, phot, points.p_star, conditions)
    columns = {
        "id": targets.ids,
        "x": targets.x,
        "y": targets.y,
        **rows.flux_columns(phot, noise, measure_settings),
        **rows.shape_columns(phot, shape, levels, total_noise),
        **positions,
        **rows.exposure_columns(image, phot, targets.exposure_sets),
        "cr_flag": cosmic_ray.astype(np.int64),
        "p_cr": p_cr,
        "p_star": points.p_star,
        "concentration": points.concentration.index[:, 0],
        "blend_share": blend_share,
        "n_covering": elsewhere.n_covering,
        "n_seen": elsewhere.n_seen,
        "flags": flagging.bits(conditions),
    }
    parts = rows.error_parts(phot, noise, measure_settings)
    table = make_table(
        (*PHOT, *parts),
        columns | rows.part_columns(parts, measure_settings),
        measure_settings.radii_px,
    )
    limits = sky_noise.limits_by_exposures(noise.empty, noise.model)
    return MeasureResult(
        table,
        measure_settings.radii_px,
        phot.correlation,
        points.locus,
        noise.model,
        total_noise,
        far.growth,
        rows.sky_table(noise.empty, noise.model, measure_settings),
        limits,
        depth(image, noise.model, limits, measure_settings),
        _n_gaia_chance(image, table, field.reference, measure_settings),
        trust.judge(
            image,
            structure,
            pixels.segmentation,
            table,
            ~conditions[Flag.LIKELY_COSMIC_RAY],
            fits_psf=pixels.star_energy is not None,
        ),
        # Cosmic rays leave the same trails, and are many in single exposures.
        transfer.transfer_of(image, pixels.segmentation, phot.x, phot.y, _near_rate(phot)),
        pixels.star_energy is not None,
        star_level,
    )


def _sky_labels(pixels: Pixels) -> NDArray[np.int32] | None:
    """Return which pixels are left out of the annuli of others, if any are."""
    if pixels.segmentation is None or not pixels.frees_sky:
        return None
    return labels_nearby(pixels.segmentation, *NEARBY, level.MOST_GROWTH_PX)


def _positions(
    image: DrcImage,
    phot: Photometry,
    targets: Targets,
    frame: SkyFrame,
    field: FieldContext,
    settings: MeasureSettings,
) -> dict[str, Any]:
    """Return the columns of positions on the sky and of the match with Gaia."""
    floor_mas = frame.error.centroid_floor_mas if frame.error is not None else np.nan
    floor_px = floor_mas / (1000.0 * image.scale_arcsec)
    expected = position_errors_px(phot, targets.centroid_err_px, image.detector_px, floor_px)
    return sky_positions(
        phot.x,
        phot.y,
        np.where(np.isfinite(targets.centre_err_px), targets.centre_err_px, expected),
        frame.wcs,
        image.meta.mjd_mid,
        frame_error=frame.error,
        reference=field.reference,
        settings=settings,
        epoch_spread_yr=image.meta.epoch_spread_yr,
    )


def _near_rate(phot: Photometry) -> Floats:
    """Return the rates in the aperture of the middle radius, (N,) e/s."""
    return phot.net[:, len(phot.radii_px) // 2]


def _n_gaia_chance(
    image: DrcImage, table: Table, reference: ReferenceStars | None, settings: MeasureSettings
) -> float:
    """Return how many matches with Gaia are expected by chance."""
    meta = image.meta
    return expected_chance_matches(table, meta.mjd_mid, reference, settings, meta.epoch_spread_yr)


def _blends(
    image: DrcImage,
    phot: Photometry,
    pixels: Pixels,
    is_saturated: Bools,
    settings: MeasureSettings,
) -> tuple[Floats, Bools, Bools]:
    """Return the share of neighbours, rows or not, where it is large, and which rows hide one."""
    aperture_px = settings.radii_px[len(settings.radii_px) // 2]
    peaks = unlisted.unlisted_peaks(
        image,
        phot,
        segmentation=pixels.segmentation,
        cr_mask=pixels.cr_mask,
        is_saturated=is_saturated,
        reach_px=aperture_px + unlisted.REACH_PX * image.detector_px,
    )
    n = len(phot.x)
    blends = neighbours.blends(
        np.concatenate([phot.x, peaks.x]),
        np.concatenate([phot.y, peaks.y]),
        np.concatenate([phot.net[:, 0], peaks.net_rate]),
        np.concatenate([phot.fits.fwhm_px, np.full(len(peaks.x), np.nan)]),
        neighbours.star_profile(image.meta.detector, image.meta.filter, image.scale_arcsec),
        scale_arcsec=image.scale_arcsec,
        small_px=settings.radii_px[0],
        aperture_px=aperture_px,
        detector_px=image.detector_px,
    )
    rates = blends.total_rate[:n], blends.total_rate[n:]
    has_peak = unlisted.has_unlisted_peak(pixels.segmentation, phot, peaks, *rates)
    return blends.share[:n], blends.is_blended[:n], has_peak


def _p_cr(
    image: DrcImage,
    phot: Photometry,
    points: _Points,
    elsewhere: Elsewhere,
    cr_mask: Bools | None,
    is_saturated: Bools,
    chips: tuple[ChipQuality, ...],
) -> Floats:
    """Return the probability that each source is a cosmic ray."""
    return cosmics.probability(
        cosmics.evidence(
            image,
            phot,
            points.concentration,
            points.locus,
            cr_mask=cr_mask,
            elsewhere=elsewhere,
            is_saturated=is_saturated,
            chips=chips,
        )
    )


def _defects(image: DrcImage, phot: Photometry, chips: tuple[ChipQuality, ...]) -> Defects:
    """Return what the image shows, and the data quality of its exposures."""
    of_image = defects(
        image,
        phot.x,
        phot.y,
        phot.sky.median,
        phot.sky.std,
        phot.exposures.count,
        phot.exposures.peak_rate,
    )
    # The exposures have the header's frame, whatever the image was aligned to.
    return of_image | defects_from_quality(image.wcs, phot.x, phot.y, chips) if chips else of_image


def _star_light(
    image: DrcImage,
    phot: Photometry,
    wcs: WCS,
    reference: ReferenceStars | None,
    is_saturated: Bools,
) -> halos.StarLight:
    """Return which sources lie in the halos and on the spikes of bright stars."""
    of_gaia = halos.gaia_stars(reference, image, wcs)
    of_image = halos.saturated_stars(phot.x, phot.y, phot.net[:, -1], is_saturated)
    stars = halos.join_stars(of_gaia, of_image, SAME_STAR_PX * image.detector_px)
    noise = phot.sky.std[np.isfinite(phot.sky.std)]
    typical = float(np.median(noise)) if len(noise) else np.nan
    angles = halos.spike_angles(image, stars)
    return halos.star_light(phot.x, phot.y, image, stars, typical, angles)


@dataclass(frozen=True, eq=False)
class _Points:
    """How concentrated the sources are, where stars are in that, and p_star."""

    concentration: stellarity.Concentration
    locus: stellarity.Locus
    p_star: Floats


def _points(
    image: DrcImage,
    phot: Photometry,
    targets: Targets,
    pixels: Pixels,
    is_saturated: Bools,
    clean: Bools,
    in_gaia: Bools,
) -> _Points:
    """Return concentrations, the locus of stars, and p_star."""
    beneath = np.isfinite(targets.sky_rate)
    concentration = stellarity.concentration(
        image,
        phot.x,
        phot.y,
        np.where(beneath, targets.sky_rate, phot.sky.median),
        phot.sky.std,
        phot.exposures.exptime_s,
        phot.correlation,
        targets.neighbours_rate,
    )
    if pixels.star_energy is not None:
        expected = stellarity.expectation_of(pixels.star_energy)
    else:
        expected = stellarity.expectation(image.meta.detector, image.meta.filter)
    with np.errstate(invalid="ignore"):
        full = is_saturated | (phot.exposures.peak_rate > image.meta.full_rate)
    good = clean & ~full
    locus = stellarity.locus(concentration, expected, usable=good, known_star=in_gaia)
    p_star = stellarity.probability(concentration, locus, is_saturated=full, usable=clean)
    return _Points(concentration, locus, p_star)


def _shapes(
    image: DrcImage, phot: Photometry, levels: Floats, pixels: Pixels, wcs: WCS
) -> shapes.Shapes:
    """Return sizes, orientations, and the sums in Kron's apertures."""
    return shapes.measure_shapes(
        image, phot.x, phot.y, levels, segmentation=pixels.segmentation, wcs=wcs
    )
