"""The registry of catalog columns: name, type, unit, UCD, meaning and owner.

Tables, empty tables, and the reference documentation are made from it; no
column is described anywhere else.  ``{r}`` in a name stands for an aperture
radius in pixels, written with ``%g``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

MISSING_GAIA = -999.0
"""What GAIA_CAT_RA and GAIA_CAT_DEC hold where there is no match (for readers of older tables)."""
FLAM = "erg / (Angstrom s cm2)"
RATE = "electron / s"


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    name: str
    dtype: str
    unit: str
    ucd: str
    meaning: str
    nullable: bool = False
    format: str = ""
    """Digits that mean something, as of `format`: ``.4f`` or ``.6g``; '': all that there are."""

    def at(self, radius_px: float) -> Column:
        """Return the column of one aperture radius."""
        text = f"{radius_px:g}"
        return replace(
            self, name=self.name.replace("{r}", text), meaning=self.meaning.replace("{r}", text)
        )

    @property
    def per_radius(self) -> bool:
        """True for a column that exists once per aperture radius."""
        return "{r}" in self.name


ID = Column("id", "i8", "", "meta.id;meta.main", "number of the source in this image, from 1")
FLAGS = Column("flags", "i4", "", "meta.code", "bits of the flags; 0: no problem")
CR_FLAG = Column(
    "cr_flag",
    "i2",
    "",
    "meta.code.qual",
    "1: single exposure here and a pixel of the grown cosmic-ray mask nearby",
)
FWHM = Column(
    "fwhm",
    "f8",
    "pix",
    "phys.angSize",
    "FWHM of a Moffat profile fitted to the pixels around the position; missing if the fit failed",
    nullable=True,
)
SKY_POSITION = (
    Column(
        "RA_GAIA_WCS",
        "f8",
        "deg",
        "pos.eq.ra;meta.main",
        "right ascension from the image's WCS, in the Gaia frame at the epoch of observation "
        "where the metadata say that it is aligned, else in the header's frame",
        nullable=True,
    ),
    Column(
        "DEC_GAIA_WCS",
        "f8",
        "deg",
        "pos.eq.dec;meta.main",
        "declination, as RA_GAIA_WCS",
        nullable=True,
    ),
    Column(
        "GAIA_CAT_RA",
        "f8",
        "deg",
        "pos.eq.ra",
        "right ascension of the Gaia match as the Gaia catalog gives it, at the catalog's own "
        "epoch (2016.0), not moved to the observation; -999: no match",
    ),
    Column(
        "GAIA_CAT_DEC",
        "f8",
        "deg",
        "pos.eq.dec",
        "declination of the Gaia match at the catalog's epoch; -999: no match",
    ),
)
SKY_ERRORS = (
    Column(
        "RA_GAIA_WCS_err",
        "f8",
        "mas",
        "stat.error;pos.eq.ra",
        "1-sigma error of RA_GAIA_WCS times cos(Dec): that of the frame and that of a centroid of "
        "this brightness, or of the centre of a saturated star's wings; missing where the flux is "
        "not positive",
        nullable=True,
    ),
    Column(
        "DEC_GAIA_WCS_err",
        "f8",
        "mas",
        "stat.error;pos.eq.dec",
        "1-sigma error of DEC_GAIA_WCS, as RA_GAIA_WCS_err",
        nullable=True,
    ),
    Column(
        "astrom_err",
        "f8",
        "mas",
        "stat.error;pos.eq",
        "1-sigma error per axis of the image's frame at the position: common to its neighbours",
        nullable=True,
    ),
)
GAIA_MATCH = (
    Column("gaia_source_id", "i8", "", "meta.id.cross", "Gaia source_id; 0: no match"),
    Column(
        "gaia_separation",
        "f8",
        "mas",
        "pos.angDistance",
        "distance from the Gaia star, moved to the epoch of observation",
        nullable=True,
    ),
    Column("gaia_g", "f8", "mag", "phot.mag;em.opt", "Gaia G magnitude", nullable=True),
)
BOOKKEEPING = (
    Column(
        "n_exp",
        "i4",
        "",
        "meta.number;obs.exposure",
        "median number of exposures of the pixels within 2 px, halves rounded up",
    ),
    Column(
        "exptime",
        "f8",
        "s",
        "time.duration;obs.exposure",
        "effective exposure time: mean within 4 px, from WHT",
    ),
    Column(
        "n_exp_min",
        "i4",
        "",
        "meta.number;stat.min;obs.exposure",
        "least number of exposures of the pixels within 4 px",
    ),
    Column(
        "n_covering",
        "i4",
        "",
        "meta.number",
        "number of other images of the field that cover the position",
    ),
    Column("n_seen", "i4", "", "meta.number", "number of these that have a detection there"),
    Column(
        "exposures",
        "i8",
        "",
        "meta.code;obs.exposure",
        "which exposures look: bit k is that of number k + 1 in the metadata's EXPOSURES; "
        "0: the file does not say",
    ),
    Column(
        "mjd",
        "f8",
        "d",
        "time.epoch",
        "mean time of the exposures that look (MJD), weighted by their durations; the image's "
        "mid-time where the file does not name them",
        nullable=True,
    ),
)
CLASSES = (
    Column(
        "p_cr",
        "f8",
        "",
        "stat.probability",
        "probability that the source is a cosmic ray or a hot pixel: from its sharpness against "
        "the image's stars, its light on the cosmic-ray mask, and the field's other images",
        nullable=True,
    ),
    Column(
        "p_star",
        "f8",
        "",
        "stat.probability;src.class.starGalaxy",
        "probability that a real source is a point, from its concentrations against those of the "
        "image's stars; low for what is sharper than stars, too; missing where not measurable",
        nullable=True,
    ),
    Column(
        "concentration",
        "f8",
        "mag",
        "src.morph.param",
        "magnitude within 1 px minus that within 3 px (native pixels)",
        nullable=True,
    ),
    Column(
        "blend_share",
        "f8",
        "",
        "phot.count;arith.ratio",
        "share of the light in the middle aperture that comes from other sources of the list",
        nullable=True,
    ),
)
SHAPES = (
    Column(
        "kron_radius",
        "f8",
        "",
        "phys.angSize",
        "Kron's first-moment radius, in units of the ellipse of the second moments, 1.4 to 6 "
        "(photutils' kron_radius, after SExtractor)",
        nullable=True,
    ),
    Column(
        "half_light_px",
        "f8",
        "pix",
        "phys.angSize",
        "radius of the circle with half of the Kron flux (photutils' fluxfrac_radius(0.5), "
        "SExtractor's FLUX_RADIUS); holds the PSF",
        nullable=True,
    ),
    Column(
        "semimajor_px",
        "f8",
        "pix",
        "phys.angSize.smajAxis",
        "rms length of the second moments (photutils' semimajor_sigma, SExtractor's A_IMAGE); "
        "holds the PSF",
        nullable=True,
    ),
    Column(
        "semiminor_px",
        "f8",
        "pix",
        "phys.angSize.sminAxis",
        "rms width, likewise (semiminor_sigma, B_IMAGE)",
        nullable=True,
    ),
    Column(
        "theta_deg",
        "f8",
        "deg",
        "pos.posAng;instr.det",
        "angle of the long axis from +x towards +y, -90 to 90",
        nullable=True,
    ),
    Column(
        "pa_deg",
        "f8",
        "deg",
        "pos.posAng",
        "position angle of the long axis on the sky, east of north, 0 to 180",
        nullable=True,
    ),
)

SOURCES: tuple[Column, ...] = (
    ID,
    Column(
        "x",
        "f8",
        "pix",
        "pos.cartesian.x;instr.det",
        "windowed centroid, 0-based; of a saturated star the centre of its wings",
    ),
    Column("y", "f8", "pix", "pos.cartesian.y;instr.det", "the same along y"),
    Column(
        "centre_err_px",
        "f8",
        "pix",
        "stat.error;pos.cartesian;instr.det",
        "1-sigma error per axis of x and y where they come from the wings of a saturated star; "
        "missing: a centroid",
        nullable=True,
    ),
    Column(
        "centre_shared_err_px",
        "f8",
        "pix",
        "stat.error.sys;pos.cartesian;instr.det",
        "the part of centre_err_px that all such stars of the image share: how far wings are off "
        "from cores",
        nullable=True,
    ),
    Column(
        "hit_err_px",
        "f8",
        "pix",
        "stat.error;pos.cartesian;instr.det",
        "1-sigma error per axis that a cosmic ray beside or on a star adds to x and y, which leave "
        "its charge out; missing: none was found",
        nullable=True,
    ),
    Column("x_segment", "f8", "pix", "pos.cartesian.x;instr.det", "barycentre of the segment"),
    Column("y_segment", "f8", "pix", "pos.cartesian.y;instr.det", "barycentre of the segment"),
    Column("x_min", "i8", "pix", "pos.cartesian.x;stat.min", "first column of the segment"),
    Column("x_max", "i8", "pix", "pos.cartesian.x;stat.max", "last column of the segment"),
    Column("y_min", "i8", "pix", "pos.cartesian.y;stat.min", "first row of the segment"),
    Column("y_max", "i8", "pix", "pos.cartesian.y;stat.max", "last row of the segment"),
    Column("area", "i8", "pix2", "phys.angArea", "number of pixels of the segment"),
    Column("flux", "f8", RATE, "phot.count", "sum over the segment, background subtracted"),
    Column("peak", "f8", RATE, "phot.count;stat.max", "highest pixel, background subtracted"),
    Column("semimajor_px", "f8", "pix", "phys.angSize.smajAxis", "rms length, second moments"),
    Column("semiminor_px", "f8", "pix", "phys.angSize.sminAxis", "rms width, second moments"),
    Column("theta_deg", "f8", "deg", "pos.posAng", "angle of the long axis from +x towards +y"),
    Column("ellipticity", "f8", "", "src.ellipticity", "1 - width / length"),
    Column("background", "f8", RATE, "phot.count;instr.background", "background at the position"),
    Column(
        "noise",
        "f8",
        RATE,
        "stat.stdev;instr.background",
        "standard deviation of unsmoothed sky pixels at the position",
    ),
    Column("n_exp", "i4", "", "meta.number;obs.exposure", "median exposures of its pixels"),
    Column(
        "piece_of",
        "i8",
        "",
        "meta.id.assoc",
        "id of the larger source that it may be a piece of, such as a galaxy of which it may be a "
        "knot; 0: of none",
    ),
    Column(
        "coverage",
        "f8",
        "",
        "stat.value;obs.field",
        "share of pixels with data in the box of the coverage rule",
    ),
)
CR_SHARE: tuple[Column, ...] = (
    ID,
    Column(
        "on_cr_mask",
        "f8",
        "",
        "stat.value",
        "share of the segment's pixels on the grown cosmic-ray mask",
    ),
)
REASON = Column("reason", "U200", "", "meta.note", "reason of the removal")
REMOVED = (*SOURCES, REASON)
EXCLUDED = (
    ID,
    Column("x", "f8", "pix", "pos.cartesian.x;instr.det", "position, 0-based pixel centres"),
    Column("y", "f8", "pix", "pos.cartesian.y;instr.det", "position, 0-based pixel centres"),
    REASON,
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
        "sky-subtracted sum in {r} px that is 5 times its error at the position",
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
        "level far from all sources, per pixel: that of Kron fluxes and sizes, while fixed "
        "apertures have sky_median; that of the annulus where no pixel is far from sources",
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

CAT: tuple[Column, ...] = (
    Column("x_center", "f8", "pix", "pos.cartesian.x;instr.det", "position, 0-based pixel centres"),
    Column("y_center", "f8", "pix", "pos.cartesian.y;instr.det", "position, 0-based pixel centres"),
    Column(
        "flux_{r}_apcor",
        "f8",
        FLAM,
        "phot.flux.density;em.wl",
        "flux density in the infinite aperture, measured in {r} px and corrected as for a point "
        "source: too low for sources with the flag EXTENDED",
        nullable=True,
    ),
    Column(
        "err_{r}_apcor",
        "f8",
        FLAM,
        "stat.error;phot.flux.density;em.wl",
        "1-sigma error of flux_{r}_apcor: noise, and the scatter of stars' light in {r} px",
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
        "error of flux_{r}_apcor that does not average down, a fraction of the flux: encircled "
        "energy, aperture correction, absolute scale",
        nullable=True,
    ),
    Column(
        "maglim_{r}",
        "f8",
        "mag",
        "phot.mag;stat.min;em.opt",
        "AB magnitude of a point source of 5 sigma in {r} px at the position",
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
        "share of the light within the ellipse, so that flux_kron / kron_fraction is the total: "
        "of a point source in a circle as large, and, if extended, of an exponential "
        "disc with this half-light radius, without the PSF's",
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

_PSF_FITS = (
    Column(
        "x_psf", "f8", "pix", "pos.cartesian.x;instr.det",
        "position of the PSF fit, 0-based pixel centres", nullable=True,
    ),
    Column(
        "y_psf", "f8", "pix", "pos.cartesian.y;instr.det", "the same along y", nullable=True
    ),
    Column(
        "x_psf_err", "f8", "pix", "stat.error;pos.cartesian.x;instr.det",
        "1-sigma error of x_psf; missing where the position was kept", nullable=True,
    ),
    Column(
        "y_psf_err", "f8", "pix", "stat.error;pos.cartesian.y;instr.det",
        "1-sigma error of y_psf", nullable=True,
    ),
    Column(
        "chi2_psf", "f8", "", "stat.fit.chi2",
        "squared residuals of the PSF fit over their noise, mean of the pixels within 4 native px",
        nullable=True,
    ),
    Column(
        "sharpness_psf", "f8", "", "src.morph.param",
        "light in the core (1.5 native px) beyond that of the fitted PSF, as a share of it: 0 for "
        "stars, negative for extended sources, positive for cosmic rays",
        nullable=True,
    ),
    Column(
        "crowding", "f8", "", "phot.count;arith.ratio",
        "light of other stars in the core over the star's own, both as fitted", nullable=True,
    ),
    Column(
        "qfit", "f8", "", "stat.fit.residual",
        "sum of absolute residuals within 4 native px over the flux: 0 for a perfect fit",
        nullable=True,
    ),
    Column(
        "n_iter", "i4", "", "meta.number",
        "iterations of the last round after which the fit had settled; 0: it had not",
    ),
)  # fmt: skip
PSF_RATES: tuple[Column, ...] = (
    Column(
        "countrate_psf", "f8", RATE, "phot.count",
        "light of the star by the PSF fit, all of it as the published encircled energy has it",
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
    *_PSF_FITS,
)  # fmt: skip
"""Of the photometry where `psf.enabled` is set."""
PSF_FLUXES: tuple[Column, ...] = (
    Column(
        "flux_psf", "f8", FLAM, "phot.flux.density;em.wl",
        "flux density of the PSF fit, brought to the scale of the corrected apertures by the "
        "image's own stars; for points only",
        nullable=True,
    ),
    Column(
        "flux_psf_err", "f8", FLAM, "stat.error;phot.flux.density;em.wl",
        "1-sigma error of flux_psf: noise, neighbours, and the scatter of stars against apertures",
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
    *_PSF_FITS,
)  # fmt: skip
"""Of the catalog, likewise."""

REFERENCE: tuple[Column, ...] = (
    Column("source_id", "i8", "", "meta.id;meta.main", "Gaia source identifier"),
    Column("ra", "f8", "deg", "pos.eq.ra;meta.main", "right ascension (ICRS) at ref_epoch"),
    Column("dec", "f8", "deg", "pos.eq.dec;meta.main", "declination (ICRS) at ref_epoch"),
    Column("ra_error", "f8", "mas", "stat.error;pos.eq.ra", "error of ra, times cos(dec)"),
    Column("dec_error", "f8", "mas", "stat.error;pos.eq.dec", "error of dec"),
    Column("pmra", "f8", "mas / yr", "pos.pm;pos.eq.ra", "proper motion in ra, times cos(dec)"),
    Column("pmdec", "f8", "mas / yr", "pos.pm;pos.eq.dec", "proper motion in dec"),
    Column("pmra_error", "f8", "mas / yr", "stat.error;pos.pm;pos.eq.ra", "error of pmra"),
    Column("pmdec_error", "f8", "mas / yr", "stat.error;pos.pm;pos.eq.dec", "error of pmdec"),
    Column("parallax", "f8", "mas", "pos.parallax.trig", "parallax"),
    Column(
        "parallax_error", "f8", "mas", "stat.error;pos.parallax.trig", "error of the parallax"
    ),
    Column("ref_epoch", "f8", "yr", "time.epoch", "epoch of ra and dec (Julian year)"),
    Column("phot_g_mean_mag", "f8", "mag", "phot.mag;em.opt", "mean G magnitude (Vega)"),
    Column("ruwe", "f8", "", "stat.error", "renormalised unit weight error of the astrometry"),
    Column(
        "duplicated_source", "f8", "", "meta.code.status",
        "1: Gaia found it twice; its data may be mixed up",
    ),
)  # fmt: skip
"""Reference stars, by the names of the Gaia archive; what is missing is NaN."""

INJECT: tuple[Column, ...] = (
    Column("id", "i8", "", "meta.id;meta.main", "number of the artificial source, from 1"),
    Column("x", "f8", "pix", "pos.cartesian.x;instr.det", "true position, 0-based pixel centres"),
    Column("y", "f8", "pix", "pos.cartesian.y;instr.det", "true position, 0-based pixel centres"),
    Column("kind", "U8", "", "src.class", "star or galaxy"),
    Column("mag", "f8", "mag", "phot.mag;em.opt", "true total AB magnitude"),
    Column("re_arcsec", "f8", "arcsec", "phys.angSize", "half-light radius; 0 for a star"),
    Column("axis_ratio", "f8", "", "src.ellipticity", "minor over major axis"),
    Column("n_exp", "i4", "", "meta.number", "number of exposures at its place"),
    Column(
        "mag_expected", "f8", "mag", "phot.mag;em.opt",
        "AB magnitude that the catalog's aperture and correction give it without noise and "
        "neighbours: fainter than the true one for galaxies",
    ),
    Column("outcome", "U10", "", "meta.code", "kept, cosmic ray, blended or lost"),
    Column("found", "bool", "", "meta.code", "detected: kept, or called a cosmic ray"),
    Column("kept", "bool", "", "meta.code", "detected, and not called a cosmic ray"),
    Column("called_cr", "bool", "", "meta.code.qual", "detected, but called a cosmic ray"),
    Column("saturated", "bool", "", "meta.code.qual", "its peak is above the full well"),
    Column(
        "mag_measured", "f8", "mag", "phot.mag;em.opt", "AB magnitude of the catalog", nullable=True
    ),
    Column(
        "mag_err", "f8", "mag", "stat.error;phot.mag;em.opt", "its error, statistical",
        nullable=True,
    ),
    Column(
        "offset_px", "f8", "pix", "pos.angDistance", "detected minus true position", nullable=True
    ),
    Column("fwhm", "f8", "pix", "phys.angSize", "FWHM in the catalog", nullable=True),
    Column(
        "p_cr", "f8", "", "stat.probability", "p_cr of the catalog, if it has one", nullable=True
    ),
    Column(
        "p_star", "f8", "", "stat.probability", "p_star of the catalog, if it has one",
        nullable=True,
    ),
)  # fmt: skip

COMPLETENESS: tuple[Column, ...] = (
    Column("kind", "U8", "", "src.class", "star or galaxy"),
    Column("re_arcsec", "f8", "arcsec", "phys.angSize", "half-light radius; 0 for stars"),
    Column("n_exp", "i4", "", "meta.number", "number of exposures there; 0: all places"),
    Column("mag_low", "f8", "mag", "phot.mag;stat.min", "bright end of the bin, true magnitude"),
    Column("mag_high", "f8", "mag", "phot.mag;stat.max", "faint end of the bin"),
    Column("n", "i4", "", "meta.number", "artificial sources"),
    Column("n_found", "i4", "", "meta.number", "of them detected"),
    Column("n_kept", "i4", "", "meta.number", "of them detected and not called a cosmic ray"),
    Column("found", "f8", "", "stat.probability", "completeness of the detection"),
    Column(
        "found_low", "f8", "", "stat.probability;stat.min",
        "lower end of its 68 % interval (Wilson)",
    ),
    Column("found_high", "f8", "", "stat.probability;stat.max", "upper end"),
    Column("kept", "f8", "", "stat.probability", "completeness without those called cosmic rays"),
    Column(
        "kept_low", "f8", "", "stat.probability;stat.min",
        "lower end of its 68 % interval (Wilson)",
    ),
    Column("kept_high", "f8", "", "stat.probability;stat.max", "upper end"),
    Column(
        "called_cr", "f8", "", "stat.probability",
        "share of the detected that is called a cosmic ray; missing where nothing is detected",
        nullable=True,
    ),
    Column(
        "mag_bias", "f8", "mag", "phot.mag;arith.diff;stat.median",
        "median of measured minus expected magnitude of the kept ones", nullable=True,
    ),
    Column(
        "mag_scatter", "f8", "mag", "stat.stdev;phot.mag;arith.diff",
        "1.4826 x median absolute deviation of the same", nullable=True,
    ),
)  # fmt: skip

PURITY: tuple[Column, ...] = (
    Column("mag_low", "f8", "mag", "phot.mag;stat.min", "bright end of the bin, catalog magnitude"),
    Column("mag_high", "f8", "mag", "phot.mag;stat.max", "faint end of the bin"),
    Column("n", "i4", "", "meta.number", "detections"),
    Column("n_kept", "i4", "", "meta.number", "of them not called a cosmic ray"),
    Column("n_negative", "i4", "", "meta.number", "detections in the negative image"),
    Column(
        "n_cosmic_ray", "f8", "", "meta.number",
        "cosmic rays that are expected among n_kept: the sum of their p_cr",
    ),
    Column(
        "false_share", "f8", "", "stat.probability",
        "(n_negative + n_cosmic_ray) / n_kept, at most 1: noise and cosmic rays in the catalog",
        nullable=True,
    ),
)  # fmt: skip


def expand(columns: Iterable[Column], radii_px: Iterable[float] = ()) -> tuple[Column, ...]:
    """Write out the per-radius columns: ``flux_{r}_apcor`` becomes one column per radius."""
    radii = tuple(radii_px)
    return tuple(
        c for column in columns for c in (map(column.at, radii) if column.per_radius else [column])
    )
