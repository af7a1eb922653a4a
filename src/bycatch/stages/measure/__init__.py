"""Photometry: apertures, sky, errors, shapes, flags, what sources are, positions, Gaia match."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from astropy.table import Table
from astropy.wcs import WCS
from numpy.typing import NDArray

from bycatch.arrays import Bools, Floats, Ints
from bycatch.catalogs.flags import Flag
from bycatch.catalogs.photometry_columns import PHOT
from bycatch.catalogs.sky_parts import parts_of_sky
from bycatch.catalogs.tables import make_table
from bycatch.images.drc import DrcImage
from bycatch.kernels.skylevel import labels_nearby
from bycatch.kernels.threads import in_background
from bycatch.settings import MeasureSettings
from bycatch.sky.astrometry import expected_chance_matches, sky_positions
from bycatch.sky.gaia import ReferenceStars
from bycatch.stages.measure import (
    flagging,
    level,
    rows,
    shapes,
    sky_noise,
    transfer,
    trust,
)
from bycatch.stages.measure.annuli import Annuli, bright_sources, sky_of_sources
from bycatch.stages.measure.classes import Classes, classify
from bycatch.stages.measure.context import FieldContext, SkyFrame, Targets
from bycatch.stages.measure.depth import depth
from bycatch.stages.measure.photometry import (
    Photometry,
    aperture_sums,
    in_rows,
    photometry,
    position_errors_px,
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
    "run",
]


NEARBY = (1.5, 2.0)
"""Factor to the size of a segment and margin (px) of what an annulus of another leaves out: wings
of stars beside an annulus reach it, but not the middle."""


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
    masks = pixels.segmentation, pixels.cr_mask
    # What needs the image alone runs beside the rest, of which not all is spread over the cores.
    far_later = in_background(level.sky_level, image, *masks)
    sums = _sums(image, targets, measure_settings, pixels)
    phot, noise, far = sums.phot, sums.noise, far_later.result()

    def look_for_structure() -> SkyStructure:
        typical = noise.model.typical
        return pixels.structure or trust.sky_structure(image, *masks, typical)

    structure_later = in_background(look_for_structure)
    levels = far.at(targets.x, targets.y)
    levels = np.where(np.isfinite(levels), levels, phot.sky.median)
    total_noise = level.total_noise(
        noise.empty, far, noise.model, measure_settings.annulus_outer_px
    )
    shape = _shapes(image, sums, targets, levels, pixels, frame.wcs)
    positions = _positions(image, phot, targets, frame, field, measure_settings)
    in_gaia = np.asarray(positions["gaia_source_id"]) != 0
    classes = classify(image, phot, targets, pixels, field, frame.wcs, in_gaia, measure_settings)
    structure = structure_later.result()
    conditions = _all_conditions(classes, shape, structure, phot, measure_settings)
    table = _table(
        {
            "id": targets.ids,
            "x": targets.x,
            "y": targets.y,
            **rows.flux_columns(phot, noise, measure_settings),
            **rows.shape_columns(phot, shape, levels, total_noise),
            **positions,
            **rows.exposure_columns(image, phot, targets.exposure_sets),
            **_class_columns(classes),
            "flags": flagging.bits(conditions),
        },
        rows.error_parts(phot, noise, measure_settings),
        measure_settings,
    )
    limits = sky_noise.limits_by_exposures(noise.empty, noise.model)
    return MeasureResult(
        table=table,
        radii_px=measure_settings.radii_px,
        correlation=phot.correlation,
        locus=classes.locus,
        noise=noise.model,
        total_noise=total_noise,
        sky_growth=far.growth,
        sky=rows.sky_table(noise.empty, noise.model, measure_settings),
        limits=limits,
        depth=depth(image, noise.model, limits, measure_settings),
        n_gaia_chance=_n_gaia_chance(image, table, field.reference, measure_settings),
        trust=trust.judge(
            image,
            structure,
            pixels.segmentation,
            table,
            ~conditions[Flag.LIKELY_COSMIC_RAY],
            n_isolated=classes.locus.n_stars,
            fits_psf=pixels.star_energy is not None,
        ),
        transfer=_transfer(image, phot, pixels, np.asarray(table["flags"])),
        has_psf=pixels.star_energy is not None,
        star_level=sums.star_level,
    )


@dataclass(frozen=True, eq=False)
class _Sums:
    """The sums in apertures, and their noise.

    Attributes
    ----------
    star_level : (N,) e/s per pixel; the sky beneath stars
    clean_image : without the stars beside wide sources; the image itself where there are none
    """

    phot: Photometry
    noise: rows.SourceNoise
    star_level: Floats
    clean_image: DrcImage


def _sums(image: DrcImage, targets: Targets, settings: MeasureSettings, pixels: Pixels) -> _Sums:
    """Measure the apertures and the sky around them."""
    annuli = Annuli.of(image, settings, _sky_labels(pixels))
    phot = photometry(image, targets.x, targets.y, settings, pixels, annuli.labels)
    star_level = phot.sky.median
    if pixels.frees_sky:
        sources = bright_sources(image, phot)
        annuli = annuli.without_wings(sources, phot.sky.std)
        sky, star_level = sky_of_sources(annuli, sources, phot.sky)
        phot = replace(phot, sky=sky)
    noise = rows.source_noise(image, phot, pixels, settings, annuli)
    # Errors are those of the image as it is: the photons of stars stay.
    clean_image = image
    if pixels.star_light is not None and targets.is_wide.any():
        phot, clean_image = without_stars(
            phot, image, pixels.star_light, targets.is_wide, settings, pixels
        )
    return _Sums(phot, noise, star_level, clean_image)


def _all_conditions(
    classes: Classes,
    shape: shapes.Shapes,
    structure: SkyStructure,
    phot: Photometry,
    settings: MeasureSettings,
) -> dict[Flag, Bools]:
    """Return the conditions of all flags."""
    conditions = classes.conditions | flagging.total_flags(
        shape, classes.p_star, settings.annulus_inner_px
    )
    return conditions | flagging.structure_flags(structure, phot, classes.p_star, conditions)


def _class_columns(classes: Classes) -> dict[str, Any]:
    return {
        "cr_flag": classes.is_cosmic_ray.astype(np.int64),
        "p_cr": classes.p_cr,
        "p_star": classes.p_star,
        "concentration": classes.concentration,
        "blend_share": classes.blend_share,
        "n_covering": classes.elsewhere.n_covering,
        "n_seen": classes.elsewhere.n_seen,
    }


def _table(columns: dict[str, Any], parts: Any, settings: MeasureSettings) -> Table:
    """Return the table of the measurement, with the parts of errors that are asked for."""
    more = rows.part_columns(parts, settings)
    return make_table((*PHOT, *parts), columns | more, settings.radii_px)


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


def _transfer(image: DrcImage, phot: Photometry, pixels: Pixels, flags: Ints) -> transfer.Transfer:
    """Return the loss of charge transfer that the trails of all sources show.

    Cosmic rays leave the same trails, and are many in single exposures; knots of nebulae have
    slopes of their own.
    """
    which = ~parts_of_sky(flags)
    rate = _near_rate(phot)
    return transfer.transfer_of(
        image, pixels.segmentation, phot.x[which], phot.y[which], rate[which]
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


def _shapes(
    image: DrcImage, sums: _Sums, targets: Targets, levels: Floats, pixels: Pixels, wcs: WCS
) -> shapes.Shapes:
    """Return sizes, orientations, and the sums in Kron's apertures."""

    def measure(from_image: DrcImage, which: Any) -> shapes.Shapes:
        x, y = sums.phot.x[which], sums.phot.y[which]
        return shapes.measure_shapes(
            from_image, x, y, levels[which], segmentation=pixels.segmentation, wcs=wcs
        )

    of_all = measure(image, slice(None))
    if sums.clean_image is image:
        return of_all
    wide = np.flatnonzero(targets.is_wide)
    return in_rows(of_all, measure(sums.clean_image, wide), wide)
