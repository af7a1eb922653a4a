"""The columns of the photometry, in count rates, and of the blank places (`columns.py`)."""

from __future__ import annotations

from bycatch.catalogs.columns import (
    BOOKKEEPING,
    CLASSES,
    CR_FLAG,
    FLAGS,
    FWHM,
    GAIA_MATCH,
    ID,
    PSF_FITS,
    RATE,
    SHAPES,
    SKY_ERRORS,
    SKY_POSITION,
    Column,
)

_RADII_RATES = (
    Column(
        "countrate_{r}",
        "f8",
        RATE,
        "phot.count",
        "sum in the aperture of {r} px, sky not subtracted",
        nullable=True,
    ),
    Column(
        "countrate_cr_{r}",
        "f8",
        RATE,
        "phot.count",
        "of the sum in {r} px: cosmic rays on the mask of a single exposure, beyond the core",
        nullable=True,
    ),
    Column(
        "countrate_err_{r}",
        "f8",
        RATE,
        "stat.error;phot.count",
        "1-sigma error of the sky-subtracted sum in {r} px",
        nullable=True,
    ),
)
_RADII_LIMITS = (
    Column(
        "limit_{r}",
        "f8",
        RATE,
        "phot.count;stat.min",
        "5-sigma limit of the sky-subtracted sum in {r} px at the position",
        nullable=True,
    ),
)
_RADII_AREAS = (
    Column(
        "area_{r}",
        "f8",
        "pix2",
        "phys.angArea",
        "area of the aperture of {r} px that has data",
        nullable=True,
    ),
)
PHOT: tuple[Column, ...] = (
    ID,
    Column("x", "f8", "pix", "pos.cartesian.x;instr.det", "position, 0-based pixel centres"),
    Column("y", "f8", "pix", "pos.cartesian.y;instr.det", "position, 0-based pixel centres"),
    *_RADII_RATES,
    Column(
        "countrate_rejected",
        "f8",
        RATE,
        "phot.count",
        "light on pixels that an exposure lost (rejected as cosmic rays, or bad), times the "
        "fraction of the weight lost; the errors include as much",
    ),
    Column(
        "sky_median",
        "f8",
        RATE,
        "instr.skyLevel",
        "clipped median of the annulus, per pixel",
        nullable=True,
    ),
    Column(
        "sky_std",
        "f8",
        RATE,
        "stat.stdev;instr.skyLevel",
        "clipped standard deviation of the annulus, per pixel",
        nullable=True,
    ),
    Column("n_sky", "i4", "", "meta.number", "annulus pixels left after clipping"),
    Column(
        "sky_level",
        "f8",
        RATE,
        "instr.skyLevel",
        "level far from all sources, per pixel: used for Kron fluxes and sizes, while fixed "
        "apertures use sky_median; equal to sky_median where no pixel is far from sources",
        nullable=True,
    ),
    FWHM,
    CR_FLAG,
    *CLASSES,
    Column(
        "countrate_kron",
        "f8",
        RATE,
        "phot.count",
        "sum in the ellipse of 2.5 Kron radii less sky_level; pixels of other segments take the "
        "value of those opposite",
        nullable=True,
    ),
    Column(
        "countrate_err_kron",
        "f8",
        RATE,
        "stat.error;phot.count",
        "1-sigma error of countrate_kron: photons, sky, and the error of sky_level",
        nullable=True,
    ),
    *SHAPES,
    *SKY_POSITION,
    *SKY_ERRORS,
    *GAIA_MATCH,
    *BOOKKEEPING,
    *_RADII_LIMITS,
    *_RADII_AREAS,
    FLAGS,
)
SKY: tuple[Column, ...] = (
    ID,
    Column("x", "f8", "pix", "pos.cartesian.x;instr.det", "position, 0-based pixel centres"),
    Column("y", "f8", "pix", "pos.cartesian.y;instr.det", "position, 0-based pixel centres"),
    Column("net_{r}", "f8", RATE, "phot.count", "sky-subtracted sum in {r} px", nullable=True),
    Column(
        "net_err_{r}", "f8", RATE, "stat.error;phot.count", "its 1-sigma error", nullable=True
    ),
    Column(
        "sky_median", "f8", RATE, "instr.skyLevel", "clipped median of the annulus, per pixel",
        nullable=True,
    ),
    Column(
        "sky_std", "f8", RATE, "stat.stdev;instr.skyLevel",
        "clipped standard deviation of the annulus, per pixel", nullable=True,
    ),
    Column("n_sky", "i4", "", "meta.number", "annulus pixels left after clipping"),
    Column(
        "n_exp", "i4", "", "meta.number;obs.exposure",
        "median number of exposures of the pixels within 2 px",
    ),
    Column(
        "exptime", "f8", "s", "time.duration;obs.exposure", "effective exposure time, from WHT"
    ),
)  # fmt: skip
RATE_ERROR_PARTS = (
    Column(
        "countrate_err_{r}_poisson",
        "f8",
        RATE,
        "stat.error;phot.count",
        "part of countrate_err_{r}: Poisson noise of the source's own light",
        nullable=True,
    ),
    Column(
        "countrate_err_{r}_sky",
        "f8",
        RATE,
        "stat.error;phot.count",
        "part of countrate_err_{r}: noise of the sky in the aperture, with its correlation",
        nullable=True,
    ),
    Column(
        "countrate_err_{r}_level",
        "f8",
        RATE,
        "stat.error;phot.count",
        "part of countrate_err_{r}: error of the level of the sky, times the area",
        nullable=True,
    ),
)
PSF_RATES: tuple[Column, ...] = (
    Column(
        "countrate_psf", "f8", RATE, "phot.count",
        "total light of the star from the PSF fit, on the scale of the published encircled energy",
        nullable=True,
    ),
    Column(
        "countrate_psf_err", "f8", RATE, "stat.error;phot.count",
        "1-sigma error of countrate_psf: photons, sky with its correlation, and neighbours",
        nullable=True,
    ),
    Column(
        "sky_psf", "f8", RATE, "instr.skyLevel", "sky beneath the fitted stars, per pixel",
        nullable=True,
    ),
    *PSF_FITS,
)  # fmt: skip
"""Of the photometry where `psf.enabled` is set."""
