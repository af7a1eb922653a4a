"""The columns of the tables of objects: registered as those of the catalogs (`columns.py`).

``{f}`` in a name stands for a filter, ``{g}`` and ``{h}`` for the next redder
ones, ``{r}`` for a radius.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bycatch.catalogs.catalog_columns import CAT, PSF_FLUXES
from bycatch.catalogs.columns import FLAGS, FLAM, Column

OBJECT_ID = Column(
    "object_id",
    "i8",
    "",
    "meta.id;meta.main",
    "HEALPix cell (order 29, nested, ICRS) where the object was first found; it is kept when other "
    "images move its position",
)

OBJECTS: tuple[Column, ...] = (
    OBJECT_ID,
    Column("ra", "f8", "deg", "pos.eq.ra;meta.main", "right ascension in the Gaia frame, at mjd"),
    Column("dec", "f8", "deg", "pos.eq.dec;meta.main", "declination, as ra"),
    Column(
        "ra_err", "f8", "mas", "stat.error;pos.eq.ra",
        "1-sigma error of ra times cos(dec), that of the frame included", nullable=True,
    ),
    Column("dec_err", "f8", "mas", "stat.error;pos.eq.dec", "the same of dec", nullable=True),
    Column(
        "ra_dec_corr", "f8", "", "stat.correlation;pos.eq",
        "correlation of the two: 0, as errors of centres and frames are taken as round", True,
    ),
    Column("mjd", "f8", "d", "time.epoch", "mean time of the images that detected it", True),
    Column(
        "origin", "i2", "", "meta.code",
        "how it was found, as a sum: 1 in an image, 2 in the sum of all images, 4 on the user's "
        "list",
    ),
    Column(
        "list_row", "i8", "", "meta.id", "its row in the user's list, from 1; 0: not in one"
    ),
    Column("n_images", "i4", "", "meta.number;obs.image", "images that cover it"),
    Column("n_detected", "i4", "", "meta.number;obs.image", "images that detected it"),
    Column("n_filters", "i4", "", "meta.number", "filters that cover it"),
    Column(
        "position_chi2", "f8", "", "stat.fit.chi2",
        "chi-square per degree of freedom of its positions in the images; missing with one",
        nullable=True,
    ),
    Column(
        "p_real", "f8", "", "stat.probability",
        "probability that it is a star or galaxy, from all images together", nullable=True,
    ),
    Column(
        "p_cr", "f8", "", "stat.probability",
        "probability that it is a cosmic ray, likewise", nullable=True,
    ),
    Column(
        "p_star", "f8", "", "stat.probability",
        "probability that it is a point source, if it is real, likewise", nullable=True,
    ),
    Column(
        "half_light_arcsec", "f8", "arcsec", "phys.angSize",
        "radius of the circle with half of the total flux, from the image with the best S/N; not "
        "corrected for the PSF", nullable=True,
    ),
    Column(
        "semimajor_arcsec", "f8", "arcsec", "phys.angSize.smajAxis",
        "semi-major axis of the ellipse in which the colours of an extended object are "
        "measured; missing for point sources",
        nullable=True,
    ),
    Column(
        "semiminor_arcsec", "f8", "arcsec", "phys.angSize.sminAxis", "semi-minor axis of that "
        "ellipse", True
    ),
    Column(
        "pa_deg", "f8", "deg", "pos.posAng",
        "position angle of that ellipse, east of north", nullable=True,
    ),
    Column(
        "nearest_arcsec", "f8", "arcsec", "pos.angDistance",
        "distance to the nearest object with p_real above 0.5", nullable=True,
    ),
    Column(
        "grade", "U1", "", "meta.code.qual",
        "best grade of the alignment among the images that detected it; '' of none",
    ),
    Column(
        "radius_px", "f8", "pix", "phys.angSize",
        "radius of the apertures of flux_{f} and of the colours where psf_flux is False, the same "
        "in all filters: the one with the best signal-to-noise ratio".replace("{f}", "<filter>"),
        nullable=True,
    ),
    Column(
        "psf_flux", "bool", "", "meta.code",
        "True: flux_{f} and the colours come from PSF fits, scaled to the apertures; False: from "
        "apertures (extended, saturated or not fitted)".replace(
            "{f}", "<filter>"
        ),
    ),
    FLAGS,
    Column("gaia_source_id", "i8", "", "meta.id.cross", "its Gaia star; 0: none"),
    Column("gaia_g", "f8", "mag", "phot.mag;em.opt", "G of that star", nullable=True),
    Column(
        "pmra", "f8", "mas / yr", "pos.pm;pos.eq.ra",
        "proper motion in ra times cos(dec), in the Gaia frame; missing without enough epochs",
        nullable=True,
    ),
    Column("pmdec", "f8", "mas / yr", "pos.pm;pos.eq.dec", "proper motion in dec", nullable=True),
    Column("pmra_err", "f8", "mas / yr", "stat.error;pos.pm;pos.eq.ra", "error of pmra", True),
    Column("pmdec_err", "f8", "mas / yr", "stat.error;pos.pm;pos.eq.dec", "error of pmdec", True),
    Column(
        "parallax", "f8", "mas", "pos.parallax.trig",
        "parallax; missing where the epochs can't measure it", nullable=True,
    ),
    Column("parallax_err", "f8", "mas", "stat.error;pos.parallax.trig", "its error", True),
    Column(
        "motion_chi2", "f8", "", "stat.fit.chi2",
        "chi-square per degree of freedom of the motion", nullable=True,
    ),
)  # fmt: skip
"""An object, whatever the filters."""

IN_FILTER: tuple[Column, ...] = (
    Column("n_images_{f}", "i4", "", "meta.number;obs.image", "images in {f} that cover it"),
    Column("exptime_{f}", "f8", "s", "time.duration;obs.exposure", "exposure time there in {f}"),
    Column("first_mjd_{f}", "f8", "d", "time.epoch;stat.min", "first image in {f}", True),
    Column("last_mjd_{f}", "f8", "d", "time.epoch;stat.max", "last image in {f}", True),
    Column("n_detected_{f}", "i4", "", "meta.number;obs.image", "images in {f} that detected it"),
    Column(
        "flags_{f}", "i4", "", "meta.code", "bits of the flags of all its measurements in {f}",
    ),
    Column(
        "flux_{f}", "f8", FLAM, "phot.flux.density;em.opt",
        "mean flux density in {f}, from PSF fits where psf_flux is True, else in radius_px, "
        "corrected to the total light of a point source; a forced measurement where it is not "
        "detected", nullable=True,
    ),
    Column("flux_err_{f}", "f8", FLAM, "stat.error;phot.flux.density", "its random error", True),
    Column(
        "flux_err_sys_{f}", "f8", FLAM, "stat.error.sys;phot.flux.density",
        "its systematic error: encircled energy, zero point", nullable=True,
    ),
    Column(
        "mag_{f}", "f8", "mag", "phot.mag;em.opt",
        "AB magnitude of flux_{f}; missing where that is not positive", nullable=True,
    ),
    Column("mag_err_{f}", "f8", "mag", "stat.error;phot.mag", "its random error", nullable=True),
    Column("snr_{f}", "f8", "", "stat.snr", "flux_{f} over its random error", nullable=True),
    Column(
        "maglim_{f}", "f8", "mag", "phot.mag;stat.min",
        "5-sigma limiting AB magnitude of the mean in {f} at its position", nullable=True,
    ),
    Column(
        "mag_total_{f}", "f8", "mag", "phot.mag;em.opt",
        "total AB magnitude in {f}: from flux_kron / kron_fraction of the image with the best S/N",
        nullable=True,
    ),
    Column(
        "mag_total_err_{f}", "f8", "mag", "stat.error;phot.mag", "its error, statistical", True
    ),
    Column(
        "mag_total_err_sys_{f}", "f8", "mag", "stat.error.sys;phot.mag",
        "its systematic error, of the light beyond Kron's ellipse and the calibration", True,
    ),
    Column(
        "chi2_{f}", "f8", "", "stat.fit.chi2",
        "chi-square per degree of freedom of its fluxes in the images of {f} against a constant; "
        "missing with one", nullable=True,
    ),
    Column(
        "amplitude_{f}", "f8", "mag", "src.var.amplitude",
        "rms variation in {f} beyond the errors", nullable=True,
    ),
    Column(
        "p_variable_{f}", "f8", "", "stat.probability;src.var",
        "probability that it varies in {f}, given the fraction of objects that do", nullable=True,
    ),
    Column(
        "false_rate_{f}", "f8", "", "stat.probability",
        "fraction of constant objects that would look as variable, with errors scaled so that "
        "most objects are constant", nullable=True,
    ),
)  # fmt: skip
"""An object in a filter."""

COLOUR: tuple[Column, ...] = (
    Column(
        "colour_{f}_{g}", "f8", "mag", "phot.color;em.opt",
        "AB magnitude in {f} minus that in {g}: of point sources from PSF fits or in radius_px "
        "(psf_flux), of extended objects in one ellipse on images matched to one "
        "PSF", nullable=True,
    ),
    Column(
        "colour_err_{f}_{g}", "f8", "mag", "stat.error;phot.color",
        "its error, systematic parts included, without what both filters share", nullable=True,
    ),
    Column(
        "colour_err_sys_{f}_{g}", "f8", "mag", "stat.error.sys;phot.color",
        "its systematic part, common to all objects with similar apertures",
        nullable=True,
    ),
    Column(
        "colour_limit_{f}_{g}", "i2", "", "meta.code",
        "0: measured; 1: a lower limit (not detected in {f}); -1: an upper limit (not in {g}); 2: "
        "unknown",
    ),
    Column(
        "colour_of_{f}_{g}", "bool", "", "meta.code",
        "True: of an extended object, in one ellipse on images matched to one PSF; False: of a "
        "point source",
    ),
)  # fmt: skip
"""The colour of two neighbouring filters."""

COLOUR_PAIR: tuple[Column, ...] = (
    Column(
        "colour_cov_{f}_{g}_{h}", "f8", "mag2", "stat.covariance;phot.color",
        "covariance of the colours {f} - {g} and {g} - {h}: minus the variance of the magnitude in "
        "{g}, systematic parts included", nullable=True,
    ),
)  # fmt: skip
"""Two colours that share a filter."""

_MEASUREMENT_OF = (
    "flux_{r}_apcor", "err_{r}_apcor", "err_{r}_sys", "mag_ab_{r}", "mag_ab_err_{r}", "maglim_{r}",
    "flux_kron", "err_kron", "err_kron_sys", "kron_fraction", "mag_ab_kron", "fwhm",
    "n_exp", "n_exp_min", "exptime", "p_star", "flags",
)  # fmt: skip

_PSF_OF = ("flux_psf", "flux_psf_err", "mag_ab_psf", "mag_ab_psf_err", "chi2_psf")

EPOCHS: tuple[Column, ...] = (
    OBJECT_ID,
    Column("image", "U64", "", "meta.id;obs.image", "<field>/<filter>/<root> of the image"),
    Column(
        "exposure", "U32", "", "meta.id;obs.exposure",
        "root name of the exposure that the row is of; '': of the image as a whole",
    ),
    Column("filter", "U8", "", "meta.id;instr.filter", "its filter"),
    Column("mjd", "f8", "d", "time.epoch", "mean time of the exposures that cover it", True),
    Column(
        "flux", "f8", FLAM, "phot.flux.density;em.wl",
        "its flux density, measured as for its colours: from PSF fits (psf_flux of the objects) "
        "or in the aperture of radius_px", nullable=True,
    ),
    Column("flux_err", "f8", FLAM, "stat.error;phot.flux.density", "its error, statistical", True),
    Column("mag", "f8", "mag", "phot.mag;em.opt", "AB magnitude of flux", nullable=True),
    Column("mag_err", "f8", "mag", "stat.error;phot.mag", "its error, statistical", nullable=True),
    Column(
        "maglim", "f8", "mag", "phot.mag;stat.min", "5-sigma limiting AB magnitude of a point "
        "source there",
        nullable=True,
    ),
    Column(
        "detected", "bool", "", "meta.code",
        "True where this image detected it; else a forced measurement at the position of the "
        "object",
    ),
    Column(
        "source_id", "i8", "", "meta.id",
        "number of the detection in the image's own catalog; 0: none there",
    ),
    Column(
        "ccdchip", "i2", "", "meta.id;instr.det",
        "chip of the exposure, as its header numbers it; 0: the image as a whole",
    ),
    Column(
        "x", "f8", "pix", "pos.cartesian.x;instr.det",
        "where it is measured, 0-based: on the image, or on the chip of the exposure",
    ),
    Column("y", "f8", "pix", "pos.cartesian.y;instr.det", "as x"),
    Column(
        "dra", "f8", "mas", "pos.eq.ra;arith.diff",
        "its own position minus the object's at that time, times cos(dec)", nullable=True,
    ),
    Column("ddec", "f8", "mas", "pos.eq.dec;arith.diff", "the same of dec", nullable=True),
    Column("dpos_err", "f8", "mas", "stat.error", "error of the own position, per axis", True),
    Column(
        "p_cr_alone", "f8", "", "stat.probability",
        "probability that what this image detected is a cosmic ray, from this image alone",
        nullable=True,
    ),
    Column(
        "zeropoint_shift", "f8", "mag", "phot.mag;arith.diff",
        "correction to its magnitudes from constant stars nearby, which makes the images of the "
        "filter agree; used for the variability only", nullable=True,
    ),
    # Of an exposure there is one kind of light only.
    *(
        replace(column, nullable=column.nullable or column.dtype == "f8")
        for columns, names in ((CAT, _MEASUREMENT_OF), (PSF_FLUXES, _PSF_OF))
        for column in columns
        if column.name in names
    ),
)  # fmt: skip
"""An object in an image, and in the exposures of the image where they are at hand."""


def looks(image: ArrayLike, exposure: ArrayLike) -> NDArray[np.bool_]:
    """Return which rows of the epochs of an object are its light curve, (N,) bool.

    Its exposures are, and images without exposures.

    Parameters
    ----------
    image, exposure : (N,) columns of `EPOCHS`
    """
    images, exposures = (np.asarray(v).astype(str) for v in (image, exposure))
    return np.asarray((exposures != "") | ~np.isin(images, images[exposures != ""]))


GROUP_IMAGES: tuple[Column, ...] = (
    Column("image", "U64", "", "meta.id;obs.image", "<field>/<filter>/<root>"),
    Column("filter", "U8", "", "meta.id;instr.filter", "its filter"),
    Column("mjd", "f8", "d", "time.epoch", "mid-time of the exposures", nullable=True),
    Column("exptime", "f8", "s", "time.duration;obs.exposure", "exposure time"),
    Column("n_exp", "i4", "", "meta.number", "exposures"),
    Column("grade", "U1", "", "meta.code.qual", "grade of its alignment in the group"),
    Column("frame_err", "f8", "mas", "stat.error", "error of its frame, per axis", nullable=True),
    Column("n_detections", "i4", "", "meta.number", "detections used for the list of objects"),
    Column("n_matched", "i4", "", "meta.number", "detections that other images show as well"),
    Column(
        "residual_rms", "f8", "mas", "stat.stdev",
        "rms distance per axis of bright detections from their objects", nullable=True,
    ),
)  # fmt: skip
"""The images of a group."""


FORMATS = {
    "deg": ".8f",
    "mas": ".3f",
    "mas / yr": ".4f",
    "mag": ".4f",
    "mag2": ".4g",
    "d": ".6f",
    "s": ".2f",
    "pix": ".3f",
    "arcsec": ".4f",
    FLAM: ".6g",
    "": ".5g",
}
"""Digits of the columns with a unit: a tenth or less of the least error that they can have."""


def _digits(columns: tuple[Column, ...]) -> tuple[Column, ...]:
    """Return the columns with the digits of their units; whole numbers and words have none."""
    return tuple(
        replace(c, format=c.format or FORMATS[c.unit]) if c.dtype == "f8" else c for c in columns
    )


OBJECTS, IN_FILTER, COLOUR, COLOUR_PAIR, EPOCHS, GROUP_IMAGES = map(
    _digits, (OBJECTS, IN_FILTER, COLOUR, COLOUR_PAIR, EPOCHS, GROUP_IMAGES)
)


def in_filters(columns: Iterable[Column], filters: Sequence[str]) -> tuple[Column, ...]:
    """Write out the columns of each filter: ``flux_{f}`` becomes one column per filter."""
    return tuple(_for_filters(column, f) for f in filters for column in columns)


def of_colours(filters: Sequence[str]) -> tuple[Column, ...]:
    """Return the columns of the colours of neighbouring filters, from blue to red."""
    return (
        *(_for_filters(column, f, g) for f, g in pairwise(filters) for column in COLOUR),
        *(
            _for_filters(column, f, g, h)
            for f, g, h in zip(filters, filters[1:], filters[2:], strict=False)
            for column in COLOUR_PAIR
        ),
    )


def _for_filters(column: Column, f: str, g: str = "", h: str = "") -> Column:
    name, meaning = (
        v.replace("{f}", f).replace("{g}", g).replace("{h}", h)
        for v in (column.name, column.meaning)
    )
    return replace(column, name=name, meaning=meaning)
