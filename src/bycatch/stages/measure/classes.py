"""What the sources are, and what is wrong with them: probabilities and flags."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy.wcs import WCS

from bycatch.arrays import Bools, Floats
from bycatch.catalogs.flags import Flag
from bycatch.images.chips import ChipQuality
from bycatch.images.drc import DrcImage
from bycatch.settings import MeasureSettings
from bycatch.sky.gaia import ReferenceStars
from bycatch.stages.measure import (
    cosmic_evidence,
    cosmics,
    flagging,
    halos,
    neighbours,
    stellarity,
    unlisted,
)
from bycatch.stages.measure.context import FieldContext, Targets
from bycatch.stages.measure.defects import Defects, defects, defects_from_quality
from bycatch.stages.measure.elsewhere import SEEN_PX, Elsewhere, light_at, seen_elsewhere
from bycatch.stages.measure.photometry import Photometry
from bycatch.stages.measure.pixels import Pixels

FLAT_SHARE = 0.5
"""Of the full well, in the brightest pixel: a core less concentrated than stars' was full."""
SAME_STAR_PX = 10.0
"""A saturated source this near to a Gaia star is that star, detector pixels."""


@dataclass(frozen=True, eq=False)
class Classes:
    """What N sources are.

    Attributes
    ----------
    p_star, p_cr : (N,) float
    concentration : (N,) float
    locus : where stars are in that
    blend_share : (N,) float
    elsewhere : what the other images of the field see
    is_cosmic_ray : (N,) bool; on the cosmic-ray mask
    conditions : (N,) bool of each flag
    """

    p_star: Floats
    p_cr: Floats
    concentration: Floats
    locus: stellarity.Locus
    blend_share: Floats
    elsewhere: Elsewhere
    is_cosmic_ray: Bools
    conditions: dict[Flag, Bools]


def classify(
    image: DrcImage,
    phot: Photometry,
    targets: Targets,
    pixels: Pixels,
    field: FieldContext,
    wcs: WCS,
    in_gaia: Bools,
    settings: MeasureSettings,
) -> Classes:
    """Return what the sources are, and the flags that do not need their shapes.

    Parameters
    ----------
    image : DrcImage
    phot : Photometry
        Of the N targets.
    targets : Targets
    pixels : Pixels
    field : FieldContext
    wcs : WCS
        Aligned.
    in_gaia : (N,) bool
    settings : MeasureSettings
    """
    radius_px = settings.cr_radius_px * image.detector_px
    cosmic_ray = flagging.cosmic_ray_flags(phot, pixels.cr_mask, radius_px)
    flaws = _defects(image, phot, field.chips)
    light = _star_light(image, phot, wcs, field.reference, flaws.saturated)
    blend_share, is_blended, has_peak = _blends(image, phot, pixels, flaws.saturated, settings)
    conditions = flagging.frame_flags(image, phot, settings)
    conditions |= flagging.light_flags(flaws, light, is_blended, has_peak)
    conditions[Flag.PIECE] = targets.may_be_piece
    clean = ~(cosmic_ray | flaws.hot_pixel | conditions[Flag.EDGE])
    points = _points(image, phot, targets, pixels, flaws.saturated, clean, in_gaia)
    conditions[Flag.SPIKE_PIECE] = flagging.is_spike_piece(phot, light, points.p_star)
    # Where dithers spread a full pixel over its neighbours, the core is flat, but none of it full.
    may_be_full = phot.exposures.peak_rate > FLAT_SHARE * image.meta.saturation_rate
    conditions[Flag.SATURATED] |= may_be_full & stellarity.is_flat(
        points.concentration, points.locus
    )
    own = light_at(image, targets.x, targets.y) if field.others else None
    seen_px = SEEN_PX * image.detector_px
    elsewhere = seen_elsewhere(targets.x, targets.y, field.others, seen_px, own)
    p_cr = _p_cr(image, phot, points, elsewhere, pixels.cr_mask, flaws.saturated, field.chips)
    conditions |= flagging.class_flags(points.p_star, p_cr, cosmic_ray)
    return Classes(
        points.p_star, p_cr, points.concentration.index[:, 0], points.locus, blend_share,
        elsewhere, cosmic_ray, conditions,
    )  # fmt: skip


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
        cosmic_evidence.evidence(
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
