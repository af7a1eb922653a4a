"""Calibration: aperture corrections, flux densities, AB magnitudes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.table import Table

from bycatch import photcal
from bycatch.arrays import Bools, Floats
from bycatch.catalogs.catalog_columns import (
    CAT,
    FLUX_ERROR_PARTS,
    MAG_ST,
    MAG_VEGA,
    PSF_FLUXES,
    SCATTER_ERROR,
)
from bycatch.catalogs.columns import Column
from bycatch.catalogs.flags import Flag
from bycatch.catalogs.photometry_columns import RATE_ERROR_PARTS
from bycatch.catalogs.rates import net_rates
from bycatch.catalogs.sky_parts import parts_of_sky
from bycatch.catalogs.tables import floats, make_table, nearest_radius
from bycatch.display import notebook
from bycatch.images.meta import ImageMeta
from bycatch.photcal import MAG_PER_FRACTION, ZeropointAudit
from bycatch.settings import FinalizeSettings
from bycatch.stages.finalize.apcor import Corrections, corrections, published_corrections
from bycatch.stages.finalize.closure import Closure, closure
from bycatch.stages.finalize.psf_total import PsfScale, psf_columns, psf_scale
from bycatch.stages.finalize.totals import kron_columns

SCALE_RADIUS_PX = 4.0
"""Aperture whose corrected fluxes give PSF fluxes their scale, native pixels."""

COPIED = (
    "RA_GAIA_WCS", "DEC_GAIA_WCS", "GAIA_CAT_RA", "GAIA_CAT_DEC", "id", "cr_flag", "fwhm",
    "n_exp", "exptime", "mjd", "gaia_source_id", "gaia_separation", "gaia_g",
    "RA_GAIA_WCS_err", "DEC_GAIA_WCS_err", "astrom_err", "p_star", "concentration",
    "blend_share", "kron_radius", "half_light_px", "semimajor_px", "semiminor_px", "theta_deg",
    "pa_deg", "n_exp_min", "exposures", "p_cr", "n_covering", "n_seen",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class FinalizeResult:
    """The calibrated catalog (catalog_columns.CAT) and the numbers that made it.

    ``published_fractions`` and ``aperture_fractions`` are the share of a star's
    light in each aperture as published, and as used at the mean place of the
    sources; ``correction_errors`` and ``systematics`` are relative errors there.
    """

    table: Table
    radii_px: tuple[float, ...]
    aperture_fractions: tuple[float, ...]
    photflam: float
    zeropoint_ab: float
    published_fractions: tuple[float, ...] = ()
    correction_errors: tuple[float, ...] = ()
    systematics: tuple[float, ...] = ()
    zeropoint_st: float = float("nan")
    zeropoint_vega: float | None = None
    closure: Closure | None = None
    corrections: Corrections | None = None
    audit: ZeropointAudit | None = None
    psf: PsfScale | None = None

    def clean_rows(self, min_snr: float, min_psf_snr: float = 0.0) -> Bools:
        """Return which rows are sources: no likely cosmic rays, and with light of their own, (N,).

        What cannot be measured (a full core) is not held against a row.  What the PSF leaves of
        stars and galaxies is a source only if it looks like a star.  Parts of nebulae, trails and
        spikes (`parts_of_sky`) are none.

        Parameters
        ----------
        min_snr : least signal-to-noise ratio in the smallest aperture
        min_psf_snr : that of a PSF flux
        """
        flags = np.asarray(self.table["flags"])
        with np.errstate(invalid="ignore", divide="ignore"):
            has_no_light = floats(self.table, f"snr_{min(self.radii_px):g}") < min_snr
            if "flux_psf" in self.table.colnames:
                snr = floats(self.table, "flux_psf") / floats(self.table, "flux_psf_err")
                # Errors have grown with chi-square: here its root counts.
                snr *= np.sqrt(np.fmax(floats(self.table, "chi2_psf"), 1.0))
                has_no_light |= snr < min_psf_snr
        is_full = flags & int(Flag.SATURATED) > 0
        is_charge = flags & int(Flag.LIKELY_COSMIC_RAY) > 0
        remains = int(Flag.FOUND_IN_RESIDUAL | Flag.EXTENDED)
        is_remain = flags & remains == remains
        is_source = ~is_charge & ~is_remain & ~parts_of_sky(flags)
        return np.asarray(is_source & (is_full | ~has_no_light), np.bool_)

    def summary(self) -> dict[str, Any]:
        """Return the scalars for the log and the summary."""
        middle = f"{self.radii_px[len(self.radii_px) // 2]:g}"
        good = np.ma.compressed(self.table[f"snr_{middle}"])
        numbers: dict[str, Any] = {
            "n_catalog": len(self.table),
            f"n_snr5_{middle}px": int((good >= 5).sum()),
            "zeropoint_ab": self.zeropoint_ab,
        }
        if self.audit:
            numbers["zeropoint_audit_mmag"] = round(self.audit.difference_mmag, 2)
        if self.closure:
            numbers["closure"] = self.closure.metadata()
        return numbers

    def metadata(self) -> dict[str, Any]:
        """Return the calibration for the table's metadata."""
        cards: dict[str, Any] = {
            "PHOTFLAM": self.photflam,
            "ZPAB": self.zeropoint_ab,
            "ZPST": self.zeropoint_st,
            "APCOR": self._by_radius(self.aperture_fractions),
            "APCORPUB": self._by_radius(self.published_fractions),
            "APCORERR": self._by_radius(self.correction_errors),
            "ERRSYS": self._by_radius(self.systematics),
        }
        if self.corrections:
            cards["APCORSTARS"] = self.corrections.n_stars
            cards["APCORSCATTER"] = self._by_radius(tuple(self.corrections.star_scatter))
            if self.corrections.metadata():
                cards["APCORFIELD"] = self.corrections.metadata()
        if self.zeropoint_vega is not None:
            cards["ZPVEGA"] = self.zeropoint_vega
        if self.audit:
            cards["ZPAUDIT"] = self.audit.metadata()
        if self.psf:
            cards["PSFSCALE"] = self.psf.metadata()
        if self.closure:
            cards["CLOSURE"] = self.closure.metadata()
        if self.warnings():
            cards["CALNOTES"] = list(self.warnings())
        return cards

    def warnings(self) -> tuple[str, ...]:
        """Say in words what is wrong with the calibration, for the log."""
        audit = (self.audit.in_words(),) if self.audit and self.audit.is_off else ()
        return (*audit, *(self.closure.warnings() if self.closure else ()))

    @notebook.safe_repr
    def _repr_html_(self) -> str:
        r = nearest_radius(self.radii_px)
        magnitudes = (f"mag_ab_{r}", f"mag_ab_err_{r}", f"maglim_{r}")
        names = ("id", "RA_GAIA_WCS", "DEC_GAIA_WCS", *magnitudes, "p_star", "p_cr", "flags")
        rows = notebook.first_rows(self.table, names)
        return notebook.card("Catalog", self.summary(), table=rows, notes=self.warnings())

    def _by_radius(self, values: tuple[float, ...]) -> dict[str, float]:
        return {f"{r:g}": round(v, 6) for r, v in zip(self.radii_px, values, strict=False)}


def run(
    phot: Table,
    radii_px: tuple[float, ...],
    meta: ImageMeta,
    scale_arcsec: float,
    annulus_px: tuple[float, float],
    settings: FinalizeSettings | None = None,
) -> FinalizeResult:
    """Calibrate the photometry of an image.

    flux = (countrate - sky x area) / aperture fraction x PHOTFLAM, and the same
    factors for the error.  The fraction is the encircled energy of the image's
    own detector and filter at radius x pixel scale, less the starlight that the
    sky annulus takes for sky; within 0.5 arcsec times what the image's own stars
    make of it (see `bycatch.stages.finalize.apcor`), whose scatter is part of the error.

    Parameters
    ----------
    phot : table of `measure` (photometry_columns.PHOT)
    radii_px : its aperture radii
    meta : calibration of the image
    scale_arcsec : pixel scale
    annulus_px : inner and outer radius of the sky annulus
    settings : corrections to make and magnitudes to write; the defaults if None
    """
    finalize_settings = settings or FinalizeSettings()
    curve = photcal.encircled_energy(meta.detector, meta.filter)
    published_fractions = photcal.aperture_fractions(
        curve, radii_px, scale_arcsec, annulus_px if finalize_settings.annulus_correction else None
    )
    detector_px = meta.detector_px(scale_arcsec)
    if finalize_settings.empirical_apcor:
        apcor = corrections(
            phot, radii_px, published_fractions, scale_arcsec, meta.filter, detector_px
        )
    else:
        apcor = published_corrections(radii_px, scale_arcsec, meta.filter)
    factors, errors = apcor.at(floats(phot, "x"), floats(phot, "y"))
    fractions = published_fractions * factors
    systematics = photcal.systematic_fraction(meta.filter, errors)
    data: dict[str, Any] = {name: phot[name] for name in COPIED}
    data["x_center"], data["y_center"] = phot["x"], phot["y"]
    fallback = meta.zeropoint_origin == "table"
    data["flags"] = phot["flags"] | (int(Flag.FALLBACK_ZEROPOINT) if fallback else 0)
    zeropoint = photcal.ab_zeropoint(meta.photflam, meta.photplam)
    others = _other_zeropoints(meta, zeropoint)
    for k, radius in enumerate(radii_px):
        r, scatter = f"{radius:g}", float(apcor.star_scatter[k])
        data |= _calibrated_columns(phot, r, fractions[:, k], scatter, meta.photflam, zeropoint)
        data[f"err_{r}_sys"] = np.abs(data[f"flux_{r}_apcor"]) * systematics[:, k]
    data |= kron_columns(phot, meta, scale_arcsec, zeropoint)
    extra, more = _on_request(data, radii_px, zeropoint, others, finalize_settings)
    scale = None
    if "countrate_psf" in phot.colnames:
        scale = _psf_scale(phot, radii_px, fractions, detector_px)
        extra += PSF_FLUXES
        more |= psf_columns(phot, scale, meta.photflam, zeropoint)
    parts = _error_parts(phot, radii_px, fractions, meta.photflam)
    if parts:
        extra += (*FLUX_ERROR_PARTS, SCATTER_ERROR)
        parts |= {
            f"err_{r:g}_scatter": np.maximum(data[f"flux_{r:g}_apcor"], 0.0) * scatter
            for r, scatter in zip(radii_px, apcor.star_scatter, strict=True)
        }
    systematic = photcal.systematic_fraction(meta.filter, apcor.error)
    return FinalizeResult(
        table=make_table((*CAT, *extra), data | more | parts, radii_px),
        radii_px=radii_px,
        aperture_fractions=tuple((published_fractions * apcor.factor).tolist()),
        photflam=meta.photflam,
        zeropoint_ab=zeropoint,
        published_fractions=tuple(published_fractions.tolist()),
        correction_errors=tuple(apcor.error.tolist()),
        systematics=tuple(systematic.tolist()),
        zeropoint_st=photcal.st_zeropoint(meta.photflam),
        zeropoint_vega=others.get("Vega"),
        closure=closure(phot, radii_px, published_fractions, scale_arcsec, factors, detector_px),
        corrections=apcor,
        audit=photcal.zeropoint_audit(meta.detector, meta.filter, meta.photflam, meta.mjd_mid),
        psf=scale,
    )


def scale_radius_px(radii_px: tuple[float, ...], detector_px: float) -> float:
    """Return the radius of the apertures that give PSF fluxes their scale.

    Parameters
    ----------
    radii_px : of the apertures
    detector_px : side of a detector pixel, image px
    """
    return min(radii_px, key=lambda r: abs(r - SCALE_RADIUS_PX * detector_px))


def _psf_scale(
    phot: Table, radii_px: tuple[float, ...], fractions: Floats, detector_px: float
) -> PsfScale:
    """Return the scale of PSF fluxes, from the aperture nearest to 4 native pixels."""
    radius = scale_radius_px(radii_px, detector_px)
    fraction = fractions[:, radii_px.index(radius)]
    error = floats(phot, f"countrate_err_{radius:g}")
    return psf_scale(phot, net_rates(phot, radius) / fraction, error / fraction)


def _other_zeropoints(meta: ImageMeta, zeropoint_ab: float) -> dict[str, float]:
    """Return the zero points of the other magnitude systems, as far as they are known."""
    vega = photcal.vega_zeropoint(meta.detector, meta.filter, zeropoint_ab)
    zeropoints = {"ST": photcal.st_zeropoint(meta.photflam)}
    return zeropoints if vega is None else zeropoints | {"Vega": vega}


def _on_request(
    data: dict[str, Any],
    radii_px: tuple[float, ...],
    zeropoint: float,
    others: dict[str, float],
    settings: FinalizeSettings,
) -> tuple[list[Column], dict[str, Any]]:
    """Return the columns beyond catalog_columns.CAT, and their values.

    A magnitude system without a zero point (Vega for HRC) gives a column without values.
    """
    names = [f"{r:g}" for r in radii_px]
    columns: list[Column] = []
    values: dict[str, Any] = {}
    for system, column in (("ST", MAG_ST), ("Vega", MAG_VEGA)):
        if system in settings.magnitude_systems:
            columns.append(column)
            shift = others.get(system, np.nan) - zeropoint
            values |= {column.name.replace("{r}", r): data[f"mag_ab_{r}"] + shift for r in names}
    return columns, values


def _error_parts(
    phot: Table, radii_px: tuple[float, ...], fractions: Floats, photflam: float
) -> dict[str, Any]:
    """Return the parts of the errors, where the photometry has them."""
    return {
        flux.at(r).name: floats(phot, rate.at(r).name) / fraction * photflam
        for rate, flux in zip(RATE_ERROR_PARTS, FLUX_ERROR_PARTS, strict=True)
        for r, fraction in zip(radii_px, fractions.T, strict=True)
        if rate.at(r).name in phot.colnames
    }


def _calibrated_columns(
    phot: Table, r: str, fraction: Floats, scatter: float, photflam: float, zeropoint: float
) -> dict[str, Any]:
    """Return the columns of one radius.

    Of the noise and of the scatter between stars is the error; the limit is of sources that are
    too faint for the scatter to count.
    """
    rate = net_rates(phot, float(r)) / fraction
    noise = floats(phot, f"countrate_err_{r}") / fraction
    error = np.where(noise > 0, np.hypot(noise, scatter * np.maximum(rate, 0.0)), noise)
    positive = np.where(rate > 0, rate, np.nan)
    limit = floats(phot, f"limit_{r}") / fraction
    return {
        f"maglim_{r}": zeropoint - 2.5 * np.log10(np.where(limit > 0, limit, np.nan)),
        f"flux_{r}_apcor": rate * photflam,
        f"err_{r}_apcor": error * photflam,
        f"mag_ab_{r}": zeropoint - 2.5 * np.log10(positive),
        f"mag_ab_err_{r}": MAG_PER_FRACTION * error / positive,
        f"snr_{r}": np.divide(rate, error, out=np.full(len(rate), np.nan), where=error > 0),
    }
