"""What a column is, and the columns that several tables have.

A column has a name, type, unit, UCD and meaning.  The columns of each kind of table are registered
in a module beside this one (``*_columns.py``): tables, empty tables and the reference documentation
are made from them, and no column is described anywhere else.  ``{r}`` in a name stands for an
aperture radius in pixels, written with ``%g``.
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
        "1-sigma error of RA_GAIA_WCS times cos(Dec): that of the frame and that of the centroid "
        "(or of the centre of a saturated star's wings); missing for listed positions without "
        "positive flux",
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
        "minimum number of exposures of the pixels within 4 px",
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
        "which exposures cover the source: bit k stands for exposure k + 1 of EXPOSURES in the "
        "metadata; 0: unknown",
    ),
    Column(
        "mjd",
        "f8",
        "d",
        "time.epoch",
        "mean time of the exposures that cover the source (MJD), weighted by exposure time; the "
        "image's mid-time where they are unknown",
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
        "image's stars; also low for sources sharper than stars; missing where it can't be "
        "measured",
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
        "fraction of the light in the middle aperture that comes from other sources in the catalog",
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
        "SExtractor's FLUX_RADIUS); not corrected for the PSF",
        nullable=True,
    ),
    Column(
        "semimajor_px",
        "f8",
        "pix",
        "phys.angSize.smajAxis",
        "rms length of the second moments (photutils' semimajor_sigma, SExtractor's A_IMAGE); not "
        "corrected for the PSF",
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
        "angle of the major axis from +x towards +y, -90 to 90",
        nullable=True,
    ),
    Column(
        "pa_deg",
        "f8",
        "deg",
        "pos.posAng",
        "position angle of the major axis on the sky, east of north, 0 to 180",
        nullable=True,
    ),
)
PSF_FITS = (
    Column(
        "x_psf", "f8", "pix", "pos.cartesian.x;instr.det",
        "position of the PSF fit, 0-based pixel centres", nullable=True,
    ),
    Column(
        "y_psf", "f8", "pix", "pos.cartesian.y;instr.det", "the same along y", nullable=True
    ),
    Column(
        "x_psf_err", "f8", "pix", "stat.error;pos.cartesian.x;instr.det",
        "1-sigma error of x_psf; missing where the position was held fixed", nullable=True,
    ),
    Column(
        "y_psf_err", "f8", "pix", "stat.error;pos.cartesian.y;instr.det",
        "1-sigma error of y_psf", nullable=True,
    ),
    Column(
        "chi2_psf", "f8", "", "stat.fit.chi2",
        "mean squared residual of the PSF fit within 4 native px, over that of noise and of what "
        "the PSF leaves of its own stars",
        nullable=True,
    ),
    Column(
        "sharpness_psf", "f8", "", "src.morph.param",
        "light in the core (1.5 native px) beyond that of the fitted PSF, as a fraction of it: 0 "
        "for stars, negative for extended sources, positive for cosmic rays",
        nullable=True,
    ),
    Column(
        "crowding", "f8", "", "phot.count;arith.ratio",
        "light of other stars in the core, divided by that of the star itself, both as fitted",
        nullable=True,
    ),
    Column(
        "qfit", "f8", "", "stat.fit.residual",
        "sum of absolute residuals within 4 native px over the flux: 0 for a perfect fit",
        nullable=True,
    ),
    Column(
        "n_iter", "i4", "", "meta.number",
        "iterations of the last round until the fit converged; 0: it did not converge",
    ),
)  # fmt: skip


def expand(columns: Iterable[Column], radii_px: Iterable[float] = ()) -> tuple[Column, ...]:
    """Write out the per-radius columns: ``flux_{r}_apcor`` becomes one column per radius."""
    radii = tuple(radii_px)
    return tuple(
        c for column in columns for c in (map(column.at, radii) if column.per_radius else [column])
    )
