"""The columns of the calibrated catalog, and those that a setting adds (`columns.py`)."""

from __future__ import annotations

from dataclasses import replace

from bycatch.catalogs.columns import (
    BOOKKEEPING,
    CLASSES,
    CR_FLAG,
    FLAGS,
    FLAM,
    FWHM,
    GAIA_MATCH,
    ID,
    PSF_FITS,
    SHAPES,
    SKY_ERRORS,
    SKY_POSITION,
    Column,
)
from bycatch.catalogs.photometry_columns import RATE_ERROR_PARTS

CAT: tuple[Column, ...] = (
    Column("x_center", "f8", "pix", "pos.cartesian.x;instr.det", "position, 0-based pixel centres"),
    Column("y_center", "f8", "pix", "pos.cartesian.y;instr.det", "position, 0-based pixel centres"),
    Column(
        "flux_{r}_apcor",
        "f8",
        FLAM,
        "phot.flux.density;em.wl",
        "flux density in the infinite aperture, measured in {r} px and corrected as for a point "
        "source: too low for sources flagged EXTENDED",
        nullable=True,
    ),
    Column(
        "err_{r}_apcor",
        "f8",
        FLAM,
        "stat.error;phot.flux.density;em.wl",
        "1-sigma error of flux_{r}_apcor: noise, and the scatter of the light of stars in {r} px",
        nullable=True,
    ),
    *SKY_POSITION,
    ID,
    CR_FLAG,
    FWHM,
    Column(
        "mag_ab_{r}",
        "f8",
        "mag",
        "phot.mag;em.opt",
        "AB magnitude of flux_{r}_apcor; missing where the flux is not positive",
        nullable=True,
    ),
    Column(
        "mag_ab_err_{r}",
        "f8",
        "mag",
        "stat.error;phot.mag;em.opt",
        "1.0857 x error / flux, statistical",
        nullable=True,
    ),
    Column("snr_{r}", "f8", "", "stat.snr", "flux / error in {r} px", nullable=True),
    Column(
        "err_{r}_sys",
        "f8",
        FLAM,
        "stat.error.sys;phot.flux.density;em.wl",
        "systematic error of flux_{r}_apcor, which does not average down and is proportional to "
        "the flux: encircled energy, aperture correction, absolute scale",
        nullable=True,
    ),
    Column(
        "maglim_{r}",
        "f8",
        "mag",
        "phot.mag;stat.min;em.opt",
        "5-sigma limiting AB magnitude of a point source in {r} px at the position",
        nullable=True,
    ),
    *CLASSES,
    Column(
        "flux_kron",
        "f8",
        FLAM,
        "phot.flux.density;em.wl",
        "flux density in the ellipse of 2.5 Kron radii (SExtractor's AUTO), not corrected for "
        "light beyond: see kron_fraction and err_kron_sys",
        nullable=True,
    ),
    Column(
        "err_kron",
        "f8",
        FLAM,
        "stat.error;phot.flux.density;em.wl",
        "1-sigma statistical error of flux_kron",
        nullable=True,
    ),
    Column(
        "err_kron_sys",
        "f8",
        FLAM,
        "stat.error.sys;phot.flux.density;em.wl",
        "systematic error of flux_kron / kron_fraction: of the calibration and, if extended, of "
        "the light beyond the ellipse, which differs by this between Sersic indices of 1 and 2.5",
        nullable=True,
    ),
    Column(
        "kron_fraction",
        "f8",
        "",
        "phot.flux;arith.ratio",
        "fraction of the light within the ellipse, so that flux_kron / kron_fraction is the "
        "total: of a point source in a circle of the same area or, if extended, of an exponential "
        "disc with this half_light_px after removing the PSF",
        nullable=True,
    ),
    Column(
        "mag_ab_kron",
        "f8",
        "mag",
        "phot.mag;em.opt",
        "AB magnitude of flux_kron; missing where the flux is not positive",
        nullable=True,
    ),
    *SHAPES,
    *BOOKKEEPING,
    *SKY_ERRORS,
    *GAIA_MATCH,
    FLAGS,
)
FLUX_ERROR_PARTS = tuple(
    replace(
        column,
        name=column.name.replace("countrate_err", "err"),
        unit=FLAM,
        ucd="stat.error;phot.flux.density;em.wl",
        meaning=column.meaning.replace("countrate_err_{r}", "err_{r}_apcor"),
    )
    for column in RATE_ERROR_PARTS
)
"""Of the table of the photometry, and of the catalog; in quadrature they give the error."""
SCATTER_ERROR = Column(
    "err_{r}_scatter",
    "f8",
    FLAM,
    "stat.error;phot.flux.density;em.wl",
    "part of err_{r}_apcor: scatter of the light in {r} px from star to star",
    nullable=True,
)
MAG_ST = Column(
    "mag_st_{r}",
    "f8",
    "mag",
    "phot.mag;em.opt",
    "ST magnitude of flux_{r}_apcor; its error is mag_ab_err_{r}",
    nullable=True,
)
MAG_VEGA = Column(
    "mag_vega_{r}",
    "f8",
    "mag",
    "phot.mag;em.opt",
    "Vega magnitude of flux_{r}_apcor; its error is mag_ab_err_{r}",
    nullable=True,
)
PSF_FLUXES: tuple[Column, ...] = (
    Column(
        "flux_psf", "f8", FLAM, "phot.flux.density;em.wl",
        "flux density of the PSF fit, scaled to the corrected apertures with the image's own "
        "stars; for point sources only",
        nullable=True,
    ),
    Column(
        "flux_psf_err", "f8", FLAM, "stat.error;phot.flux.density;em.wl",
        "1-sigma error of flux_psf: noise, neighbours, misfit, scatter of stars against apertures",
        nullable=True,
    ),
    Column(
        "mag_ab_psf", "f8", "mag", "phot.mag;em.opt",
        "AB magnitude of flux_psf; missing where the flux is not positive", nullable=True,
    ),
    Column(
        "mag_ab_psf_err", "f8", "mag", "stat.error;phot.mag;em.opt",
        "1.0857 x error / flux, statistical", nullable=True,
    ),
    *PSF_FITS,
)  # fmt: skip
"""Of the catalog, likewise."""
