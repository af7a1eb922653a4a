"""Calibration: aperture corrections, flux densities, AB magnitudes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from bycatch import photcal
from bycatch.columns import CAT
from bycatch.flags import Flag
from bycatch.headers import ImageMeta
from bycatch.settings import FinalizeSettings
from bycatch.tables import make_table

MAG_PER_FRACTION = 2.5 / np.log(10.0)
COPIED = (
    "RA_GAIA_WCS", "DEC_GAIA_WCS", "GAIA_CAT_RA", "GAIA_CAT_DEC", "id", "cr_flag", "fwhm",
    "n_exp", "exptime", "mjd", "gaia_source_id", "gaia_separation", "gaia_g",
    "RA_GAIA_WCS_err", "DEC_GAIA_WCS_err", "astrom_err", "p_star", "concentration",
    "blend_share", "kron_radius", "half_light_px", "semimajor_px", "semiminor_px", "theta_deg",
    "pa_deg", "n_exp_min", "exposures",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class FinalizeResult:
    """The calibrated catalog (columns.CAT) and the numbers that made it."""

    table: Table
    radii_px: tuple[float, ...]
    aperture_fractions: tuple[float, ...]
    photflam: float
    zeropoint_ab: float

    def summary(self) -> dict[str, Any]:
        """Return the scalars for the log and the summary."""
        middle = f"{self.radii_px[len(self.radii_px) // 2]:g}"
        good = np.ma.compressed(self.table[f"snr_{middle}"])
        return {
            "n_catalog": len(self.table),
            f"n_snr5_{middle}px": int((good >= 5).sum()),
            "zeropoint_ab": self.zeropoint_ab,
        }

    def metadata(self) -> dict[str, Any]:
        """Return the calibration for the table's metadata."""
        names = [f"{r:g}" for r in self.radii_px]
        return {
            "PHOTFLAM": self.photflam,
            "ZPAB": self.zeropoint_ab,
            "APCOR": dict(zip(names, (round(f, 6) for f in self.aperture_fractions), strict=True)),
        }


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
    sky annulus takes for sky.

    Parameters
    ----------
    phot : table of `measure` (columns.PHOT)
    radii_px : its aperture radii
    meta : calibration of the image
    scale_arcsec : pixel scale
    annulus_px : inner and outer radius of the sky annulus
    """
    chosen = settings or FinalizeSettings()
    curve = photcal.encircled_energy(meta.detector, meta.filter)
    fractions = photcal.aperture_fractions(
        curve, radii_px, scale_arcsec, annulus_px if chosen.annulus_correction else None
    )
    data: dict[str, Any] = {name: phot[name] for name in COPIED}
    data["x_center"], data["y_center"] = phot["x"], phot["y"]
    fallback = meta.zeropoint_origin == "table"
    data["flags"] = phot["flags"] | (int(Flag.FALLBACK_ZEROPOINT) if fallback else 0)
    zeropoint = photcal.ab_zeropoint(meta.photflam, meta.photplam)
    for radius, fraction in zip(radii_px, fractions, strict=True):
        data |= _calibrated(phot, f"{radius:g}", float(fraction), meta.photflam, zeropoint)
    data |= _kron(phot, meta.photflam, zeropoint)
    return FinalizeResult(
        make_table(CAT, data, radii_px),
        radii_px,
        tuple(float(f) for f in fractions),
        meta.photflam,
        zeropoint,
    )


def _calibrated(
    phot: Table, r: str, fraction: float, photflam: float, zeropoint: float
) -> dict[str, Any]:
    """Return the columns of one radius."""
    net = _filled(phot, f"countrate_{r}") - _filled(phot, "sky_median") * _filled(phot, f"area_{r}")
    rate = net / fraction
    error = _filled(phot, f"countrate_err_{r}") / fraction
    positive = np.where(rate > 0, rate, np.nan)
    return {
        f"flux_{r}_apcor": rate * photflam,
        f"err_{r}_apcor": error * photflam,
        f"mag_ab_{r}": zeropoint - 2.5 * np.log10(positive),
        f"mag_ab_err_{r}": MAG_PER_FRACTION * error / positive,
        f"snr_{r}": np.divide(rate, error, out=np.full(len(rate), np.nan), where=error > 0),
    }


def _kron(phot: Table, photflam: float, zeropoint: float) -> dict[str, Any]:
    """Return the columns of the Kron aperture."""
    rate = _filled(phot, "countrate_kron")
    return {
        "flux_kron": rate * photflam,
        "err_kron": _filled(phot, "countrate_err_kron") * photflam,
        "mag_ab_kron": zeropoint - 2.5 * np.log10(np.where(rate > 0, rate, np.nan)),
    }


def _filled(table: Table, name: str) -> NDArray[np.float64]:
    return np.ma.filled(np.ma.asarray(table[name], dtype=float), np.nan)
