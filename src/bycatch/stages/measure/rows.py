"""Columns of the table of an image: fluxes with errors, shapes, exposures; and of blank places."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from bycatch.arrays import Bools, Floats, Ints
from bycatch.catalogs.columns import Column
from bycatch.catalogs.photometry_columns import RATE_ERROR_PARTS, SKY
from bycatch.catalogs.tables import make_table
from bycatch.images.drc import DrcImage
from bycatch.images.exposures import mean_mjd
from bycatch.settings import MeasureSettings
from bycatch.stages.measure import blank_sky, level, shapes, sky_noise
from bycatch.stages.measure.annuli import Annuli
from bycatch.stages.measure.photometry import Photometry
from bycatch.stages.measure.pixels import Pixels


@dataclass(frozen=True, eq=False)
class SourceNoise:
    """The noise of the image, and the errors of its sources.

    Attributes
    ----------
    model, empty : of the image, and the blank places that it was measured in
    sky_errors, errors, limits : (N, R) float, e/s
    photon_share : (R,) float
    """

    model: sky_noise.NoiseModel
    empty: blank_sky.SkyObjects
    sky_errors: Floats
    errors: Floats
    limits: Floats
    photon_share: Floats


def source_noise(
    image: DrcImage,
    phot: Photometry,
    pixels: Pixels,
    settings: MeasureSettings,
    annuli: Annuli,
) -> SourceNoise:
    """Return the noise of an image, and the errors and limits of its sources.

    Parameters
    ----------
    image : DrcImage
    phot : Photometry
    pixels : Pixels
    settings : MeasureSettings
    annuli : how the sky is measured
    """
    seconds = phot.exposures.exptime_s
    empty = _sky_objects(image, pixels.segmentation, pixels.cr_mask, settings, annuli)
    scatter = phot.sky.std * np.sqrt(seconds)
    model = sky_noise.noise_model(image, empty, settings, scatter)
    sky_errors = model.sky_errors(phot.areas, phot.sky, seconds)
    share = sky_noise.photon_shares(image, settings.radii_px)
    errors = sky_noise.total_errors(phot.net, sky_errors, seconds, share)
    errors = np.hypot(errors, phot.rejected[:, np.newaxis])
    limits = sky_noise.limits(sky_errors, seconds, photon_share=share)
    return SourceNoise(model, empty, sky_errors, errors, limits, share)


def flux_columns(phot: Photometry, noise: SourceNoise, settings: MeasureSettings) -> dict[str, Any]:
    """Return sums, errors, limits and areas of the apertures, and the sky around them.

    Parameters
    ----------
    phot : Photometry
    noise : SourceNoise
    settings : MeasureSettings
    """
    is_off, radii_px = phot.areas == 0, settings.radii_px
    return {
        **_per_radius("countrate_{r}", np.where(is_off, np.nan, phot.sums), radii_px),
        **_per_radius("countrate_cr_{r}", np.where(is_off, np.nan, phot.charge), radii_px),
        **_per_radius("countrate_err_{r}", np.where(is_off, np.nan, noise.errors), radii_px),
        "countrate_rejected": phot.rejected,
        **_per_radius("limit_{r}", np.where(is_off, np.nan, noise.limits), radii_px),
        **_per_radius("area_{r}", phot.areas, radii_px),
        "sky_median": phot.sky.median,
        "sky_std": phot.sky.std,
        "n_sky": phot.sky.n_pixels,
        "fwhm": phot.fits.fwhm_px,
    }


def exposure_columns(image: DrcImage, phot: Photometry, sets: Ints) -> dict[str, Any]:
    """Return which exposures cover the sources, for how long, and when.

    Parameters
    ----------
    image : DrcImage
    phot : Photometry
    sets : (N,) int, sets of exposures
    """
    return {
        "n_exp": phot.exposures.count,
        "n_exp_min": phot.exposures.least,
        "exposures": sets,
        "exptime": phot.exposures.exptime_s,
        "mjd": mean_mjd(sets, image.meta.exposures, image.meta.mjd_mid),
    }


def _per_radius(name: str, values: Floats, radii_px: tuple[float, ...]) -> dict[str, Floats]:
    return {name.replace("{r}", f"{r:g}"): values[:, k] for k, r in enumerate(radii_px)}


def error_parts(
    phot: Photometry, noise: SourceNoise, settings: MeasureSettings
) -> dict[Column, Floats]:
    """Return the components of the errors by column; empty unless they are switched on.

    Parameters
    ----------
    phot : Photometry
    noise : SourceNoise
    settings : MeasureSettings
    """
    if not settings.error_components:
        return {}
    parts = sky_noise.error_parts(
        phot.net,
        noise.sky_errors,
        phot.areas,
        phot.sky,
        phot.exposures.exptime_s,
        noise.photon_share,
    )
    finite_parts = (np.where(phot.areas == 0, np.nan, part) for part in parts)
    return dict(zip(RATE_ERROR_PARTS, finite_parts, strict=True))


def part_columns(parts: dict[Column, Floats], settings: MeasureSettings) -> dict[str, Floats]:
    """Return components of the errors by name of column and radius.

    Parameters
    ----------
    parts : (N, R) float by column, of `error_parts`
    settings : MeasureSettings
    """
    return {
        name: value
        for column, values in parts.items()
        for name, value in _per_radius(column.name, values, settings.radii_px).items()
    }


def shape_columns(
    phot: Photometry, shape: shapes.Shapes, levels: Floats, noise: level.TotalNoise
) -> dict[str, Floats]:
    """Return sizes, orientations, and the flux in Kron's aperture with its error and sky.

    Parameters
    ----------
    phot : Photometry
    shape : Shapes
    levels : (N,) float, sky beneath the sources
    noise : TotalNoise
    """
    seconds = phot.exposures.exptime_s
    sky_error = noise.sky_error_in(shape.kron_area_px2, seconds)
    error = sky_noise.total_errors(
        shape.kron_rate[:, np.newaxis], sky_error[:, np.newaxis], seconds
    )
    return {
        "sky_level": levels,
        "countrate_kron": shape.kron_rate,
        "countrate_err_kron": np.hypot(error[:, 0], phot.rejected),
        "kron_radius": shape.kron_radius,
        "half_light_px": shape.half_light_px,
        "semimajor_px": shape.semimajor_px,
        "semiminor_px": shape.semiminor_px,
        "theta_deg": shape.theta_deg,
        "pa_deg": shape.pa_deg,
    }


def _sky_objects(
    image: DrcImage,
    segmentation: NDArray[np.integer[Any]] | None,
    cr_mask: Bools | None,
    settings: MeasureSettings,
    annuli: Annuli,
) -> blank_sky.SkyObjects:
    """Measure places without sources and cosmic rays; none if the sources are not known."""
    if segmentation is None:
        return blank_sky.sky_objects(image, np.empty(0), np.empty(0), settings)
    has_light = segmentation > 0
    if cr_mask is not None:
        has_light |= cr_mask
    return blank_sky.blank_sky(image, has_light, settings, annuli=annuli)


def sky_table(
    empty: blank_sky.SkyObjects, noise: sky_noise.NoiseModel, settings: MeasureSettings
) -> Table:
    """Return the table of the blank places (photometry_columns.SKY).

    Parameters
    ----------
    empty : SkyObjects, the blank places
    noise : NoiseModel
    settings : MeasureSettings
    """
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
