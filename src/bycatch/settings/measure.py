"""Settings of photometry: apertures, PSF, calibration."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from bycatch.settings.limits import LEAST_CLIP_SIGMA, MOST_MAS, MOST_RADIUS_PX, MOST_SIGMA
from bycatch.settings.section import Section, setting


class MeasureSettings(Section):
    """Aperture photometry, sky, profile fit, flags, match to Gaia."""

    radii_px: tuple[Annotated[float, Field(ge=0.1, le=MOST_RADIUS_PX)], ...] = setting(
        (2.0, 4.0, 6.0, 8.0, 10.0), "radii of the apertures", "px", min_length=1, max_length=50
    )
    annulus_inner_px: float = setting(
        10.0, "inner radius of the sky annulus", "px", ge=0.1, le=MOST_RADIUS_PX
    )
    annulus_outer_px: float = setting(
        15.0, "outer radius of the sky annulus", "px", ge=0.2, le=MOST_RADIUS_PX
    )
    sky_clip_sigma: float = setting(
        3.0, "clipping of the annulus pixels", "sigma", ge=LEAST_CLIP_SIGMA, le=MOST_SIGMA
    )
    correlated_noise: bool = setting(
        True, "scale the sky noise of an aperture for the correlation that drizzling makes"
    )
    n_blank: int = setting(
        5000,
        "blank places at which the noise of apertures is measured; 0: from the drizzling "
        "parameters alone",
        ge=0,
        le=1_000_000,
    )
    error_components: bool = setting(
        False,
        "columns for the components of the errors: photons of the source, sky, level of the sky",
    )
    fwhm_radius_px: float = setting(
        5.0, "radius of the profile fit; in detector pixels", "px", ge=3, le=50
    )
    cr_radius_px: float = setting(
        2.0,
        "cr_flag: maximum distance of a pixel of the grown mask; in detector pixels",
        "px",
        ge=0,
        le=50,
    )
    gaia_n_sigma: float = setting(
        5.0,
        "maximum distance of a Gaia counterpart, in units of the errors of both positions",
        "sigma",
        gt=0,
        le=MOST_SIGMA,
    )
    gaia_min_radius_mas: float = setting(
        20.0,
        "minimum radius of the match to Gaia, however small the errors",
        "mas",
        ge=0,
        le=MOST_MAS,
    )
    gaia_radius_mas: float = setting(
        200.0,
        "maximum radius of the match to Gaia, at the epoch of the image",
        "mas",
        gt=0,
        le=MOST_MAS,
    )
    gaia_motion_mas_yr: float = setting(
        8.0,
        "error per axis of the motion of a Gaia star without a measured one",
        "mas/yr",
        ge=0,
        le=MOST_MAS,
    )

    @field_validator("radii_px")
    @classmethod
    def _increasing(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if list(value) != sorted(set(value)):
            msg = "must increase, without repeats"
            raise ValueError(msg)
        if len({f"{r:g}" for r in value}) < len(value):
            msg = "two radii would give the same column name"
            raise ValueError(msg)
        return value

    @field_validator("annulus_outer_px")
    @classmethod
    def _beyond_inner(cls, value: float, info: ValidationInfo) -> float:
        if value <= info.data.get("annulus_inner_px", 0.0):
            msg = "the outer radius of the sky annulus must be larger than the inner one"
            raise ValueError(msg)
        return value


class PsfSettings(Section):
    """PSF photometry: the PSF from the image's own stars, and all sources fitted at once."""

    enabled: bool = setting(False, "fit the PSF to all sources (the preset crowded does)")
    n_passes: int = setting(
        2, "number of searches for more stars in the residual image", ge=0, le=10
    )
    n_sigma: float = setting(
        5.0,
        "minimum signal-to-noise ratio of a star found in the residual, and of PSF fluxes in the "
        "clean catalog",
        "sigma",
        ge=2,
        le=MOST_SIGMA,
    )
    forced: bool = setting(False, "keep the positions of the detections and fit fluxes only")


class FinalizeSettings(Section):
    """Aperture correction and calibration."""

    annulus_correction: bool = setting(True, "correct for starlight in the sky annulus")
    empirical_apcor: bool = setting(
        True, "combine the published aperture corrections with those of the image's own stars"
    )
    magnitude_systems: tuple[Literal["AB", "ST", "Vega"], ...] = setting(
        ("AB",), "magnitudes in the catalog; AB is always included", max_length=3
    )
    clean_min_snr: float = setting(
        3.0,
        "rows with a lower signal-to-noise ratio in the smallest aperture are not in the clean "
        "catalog: noise peaks and pieces of halos",
        ge=0,
        le=100,
    )
