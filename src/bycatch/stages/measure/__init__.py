"""Photometry: apertures, sky, errors, shapes, flags, what sources are, positions, Gaia match."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.table import Table
from astropy.wcs import WCS
from numpy.typing import NDArray

from bycatch.arrays import Bools, Floats, Ints
from bycatch.catalogs.columns import PHOT, RATE_ERROR_PARTS, SKY, Column
from bycatch.catalogs.flags import Flag
from bycatch.catalogs.tables import make_table
from bycatch.display import notebook
from bycatch.images.drc import DrcImage
from bycatch.images.exposures import mean_mjd
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
from bycatch.stages.measure.depth import Depth, depth
from bycatch.stages.measure.elsewhere import SEEN_PX, Elsewhere, light_at, seen_elsewhere
from bycatch.stages.measure.photometry import (
    Photometry,
    aperture_sums,
    correlation_factor,
    photometry,
    position_errors_px,
    rate_errors,
)

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
    total_noise: level.TotalNoise
    sky_growth: float
    """Factor by which segments have grown where the sky of total fluxes was measured."""
    sky: Table
    """The blank places (columns.SKY)."""
    limits: dict[int, Floats]
    """Rates of 5 sigma in each radius where the sky is blank, (R,) in e/s, by exposures."""
    depth: Depth
    """The same as AB magnitudes, and a map of them."""
    n_gaia_chance: float
    """Number of matches with Gaia that are expected by chance."""
    trust: trust.Trust
    """What stands against the catalog as a whole."""
    transfer: transfer.Transfer
    """What is lost of the charge on its way to the readout."""
    has_psf: bool = False
    """True where the image's PSF says what stars look like."""

    def warnings(self) -> list[str]:
        """Return in words what of the catalog is not to be trusted, and what helps."""
        return [*self.trust.warnings(), *self.transfer.warnings()]

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
            **self.total_noise.summary(),
            "sky_growth": self.sky_growth,
            "locus_concentration": [round(float(v), 4) for v in self.locus.index],
            "locus_n_stars": self.locus.n_stars,
            "locus_origin": self._locus_origin(),
            "n_gaia_chance": self.n_gaia_chance,
            "depth_mag": self.depth.median_mag,
            "limit_mag": self.depth.limits_mag,
            **self.trust.summary(),
            **self.transfer.summary(),
            "trust_notes": self.warnings(),
        }

    def _locus_origin(self) -> str:
        if self.locus.is_measured:
            return "stars"
        return "PSF" if self.has_psf else "published curve"

    @notebook.never_raising
    def _repr_html_(self) -> str:
        middle = f"countrate_{self.radii_px[len(self.radii_px) // 2]:g}"
        names = ("id", "x", "y", middle, "sky_median", "fwhm", "p_star", "p_cr", "flags")
        rows = notebook.first_rows(self.table, names)
        return notebook.card("Photometry", self.summary(), table=rows)


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
    noise = _noise(image, found, pixels, chosen)
    far = level.sky_level(image, pixels.segmentation, pixels.cr_mask)
    levels = far.at(targets.x, targets.y)
    levels = np.where(np.isfinite(levels), levels, found.sky.median)
    total_noise = level.total_noise(noise.empty, far, noise.model, chosen.annulus_outer_px)
    shape = _shapes(image, found, levels, pixels, frame.wcs)
    positions = _positions(image, found, targets.centre_err_px, frame, field, chosen)
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
        **_flux_columns(found, noise, chosen),
        **_shape_columns(found, shape, levels, total_noise),
        **positions,
        **_exposure_columns(image, found, targets.exposure_sets),
        "cr_flag": cosmic_ray.astype(np.int64),
        "p_cr": p_cr,
        "p_star": points.p_star,
        "concentration": points.concentration.index[:, 0],
        "blend_share": blend_share,
        "n_covering": elsewhere.n_covering,
        "n_seen": elsewhere.n_seen,
        "flags": flagging.bits(conditions),
    }
    parts = _error_parts(found, noise, chosen)
    table = make_table((*PHOT, *parts), columns | _part_columns(parts, chosen), chosen.radii_px)
    limits = sky_noise.limits_by_exposures(noise.empty, noise.model)
    return MeasureResult(
        table,
        chosen.radii_px,
        found.correlation,
        points.locus,
        noise.model,
        total_noise,
        far.growth,
        _sky_table(noise.empty, noise.model, chosen),
        limits,
        depth(image, noise.model, limits, chosen),
        _n_gaia_chance(image, table, field.reference, chosen),
        trust.judged(
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


@dataclass(frozen=True, eq=False)
class _Noise:
    """The noise of the image, and what it makes of the targets' errors.

    Attributes
    ----------
    model, empty : of the image, and the blank places that it was measured in
    sky_errors, errors, limits : (N, R) float, e/s
    photon_share : (R,) float
    """

    model: sky_noise.NoiseModel
    empty: sky_noise.SkyObjects
    sky_errors: Floats
    errors: Floats
    limits: Floats
    photon_share: Floats


def _noise(image: DrcImage, found: Photometry, pixels: Pixels, settings: MeasureSettings) -> _Noise:
    seconds = found.exposures.exptime_s
    empty = _sky_objects(image, pixels.segmentation, pixels.cr_mask, settings)
    scatter = found.sky.std * np.sqrt(seconds)
    model = sky_noise.noise_model(image, empty, settings, scatter)
    sky_errors = model.sky_errors(found.areas, found.sky, seconds)
    share = sky_noise.photon_shares(image, settings.radii_px)
    errors = sky_noise.total_errors(found.net, sky_errors, seconds, share)
    limits = sky_noise.limits(sky_errors, seconds, photon_share=share)
    return _Noise(model, empty, sky_errors, errors, limits, share)


def _positions(
    image: DrcImage,
    found: Photometry,
    centre_err_px: Floats,
    frame: SkyFrame,
    field: FieldContext,
    settings: MeasureSettings,
) -> dict[str, Any]:
    """Return the columns of positions on the sky and of the match with Gaia."""
    floor_mas = frame.error.centroid_floor_mas if frame.error is not None else np.nan
    floor_px = floor_mas / (1000.0 * image.scale_arcsec)
    expected = position_errors_px(found, image.detector_px, floor_px)
    return sky_positions(
        found.x,
        found.y,
        np.where(np.isfinite(centre_err_px), centre_err_px, expected),
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


def _flux_columns(found: Photometry, noise: _Noise, settings: MeasureSettings) -> dict[str, Any]:
    """Return sums, errors, limits and areas of the apertures, and the sky around them."""
    lost, radii_px = found.areas == 0, settings.radii_px
    return {
        **_per_radius("countrate_{r}", np.where(lost, np.nan, found.sums), radii_px),
        **_per_radius("countrate_err_{r}", np.where(lost, np.nan, noise.errors), radii_px),
        **_per_radius("limit_{r}", np.where(lost, np.nan, noise.limits), radii_px),
        **_per_radius("area_{r}", found.areas, radii_px),
        "sky_median": found.sky.median,
        "sky_std": found.sky.std,
        "n_sky": found.sky.n_pixels,
        "fwhm": found.fits.fwhm_px,
    }


def _exposure_columns(image: DrcImage, found: Photometry, sets: Ints) -> dict[str, Any]:
    """Return which exposures look at the sources, for how long, and when."""
    return {
        "n_exp": found.exposures.count,
        "n_exp_min": found.exposures.least,
        "exposures": sets,
        "exptime": found.exposures.exptime_s,
        "mjd": mean_mjd(sets, image.meta.exposures, image.meta.mjd_mid),
    }


def _per_radius(name: str, values: Floats, radii_px: tuple[float, ...]) -> dict[str, Floats]:
    return {name.replace("{r}", f"{r:g}"): values[:, k] for k, r in enumerate(radii_px)}


def _error_parts(
    found: Photometry, noise: _Noise, settings: MeasureSettings
) -> dict[Column, Floats]:
    """Return the parts of the errors with their columns, where they are wanted."""
    if not settings.error_components:
        return {}
    parts = sky_noise.error_parts(
        found.net,
        noise.sky_errors,
        found.areas,
        found.sky,
        found.exposures.exptime_s,
        noise.photon_share,
    )
    blanked = (np.where(found.areas == 0, np.nan, part) for part in parts)
    return dict(zip(RATE_ERROR_PARTS, blanked, strict=True))


def _part_columns(parts: dict[Column, Floats], settings: MeasureSettings) -> dict[str, Floats]:
    return {
        name: value
        for column, values in parts.items()
        for name, value in _per_radius(column.name, values, settings.radii_px).items()
    }


def _sky_objects(
    image: DrcImage,
    segmentation: NDArray[np.integer[Any]] | None,
    cr_mask: Bools | None,
    settings: MeasureSettings,
) -> sky_noise.SkyObjects:
    """Measure places without sources and cosmic rays; none if the sources are not known."""
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
    stars = halos.joined(known, seen, SAME_STAR_PX * image.detector_px)
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
    """Return the concentrations, where the image's stars are, and p_star."""
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
    good = clean & ~saturated
    locus = stellarity.locus(concentration, expected, usable=good, known_star=in_gaia)
    p_star = stellarity.probability(concentration, locus, saturated=saturated, usable=clean)
    return _Points(concentration, locus, p_star)


def _shapes(
    image: DrcImage, found: Photometry, levels: Floats, pixels: Pixels, wcs: WCS
) -> shapes.Shapes:
    """Return sizes, orientations, and the sums in Kron's apertures."""
    return shapes.measured(
        image, found.x, found.y, levels, segmentation=pixels.segmentation, wcs=wcs
    )


def _shape_columns(
    found: Photometry, shape: shapes.Shapes, levels: Floats, noise: level.TotalNoise
) -> dict[str, Floats]:
    """Return sizes, orientations, and the flux in Kron's aperture with its error and sky."""
    seconds = found.exposures.exptime_s
    sky_error = noise.sky_error_in(shape.kron_area_px2, seconds)
    error = sky_noise.total_errors(
        shape.kron_rate[:, np.newaxis], sky_error[:, np.newaxis], seconds
    )
    return {
        "sky_level": levels,
        "countrate_kron": shape.kron_rate,
        "countrate_err_kron": error[:, 0],
        "kron_radius": shape.kron_radius,
        "half_light_px": shape.half_light_px,
        "semimajor_px": shape.semimajor_px,
        "semiminor_px": shape.semiminor_px,
        "theta_deg": shape.theta_deg,
        "pa_deg": shape.pa_deg,
    }
