"""Photometric calibration: encircled energy, aperture corrections, zero points.

Tables in ``data/``:

- ``ee_bohlin2016_wfc.csv``, ``ee_bohlin2016_hrc.csv``: encircled energy of hot
  stars, Bohlin (2016, AJ 152, 60), Tables 8 and 9.  The infinite aperture of
  the ACS calibration, to which PHOTFLAM refers, has a radius of 5.5 arcsec.
- ``ee_core_hrc.csv``: the same within one pixel of HRC, where Table 9 begins at two; computed by
  ``benchmarks/hrc_core.py`` from the diffraction pattern and the light within two and four.
- ``zeropoints_wfc_2016-04-01.csv``: zero points of ACS/WFC on 2016-04-01 from
  STScI's ACS zero-point calculator, as printed in the acstools documentation.
- ``photflam_history_f435w.csv``: PHOTFLAM of F435W at five dates, same source;
  what `expected_photflam` says of other dates is tested with it.
"""

from __future__ import annotations

import csv
import functools
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from bycatch.arrays import Floats
from bycatch.errors import SettingsError, UnsupportedImage

INFINITE_ARCSEC = 5.5
"""Radius of the ACS infinite aperture (Bohlin 2016)."""
ZEROPOINT_DATE = "2016-04-01"
ZEROPOINT_MJD = 57479.0
TOLERANCE_MMAG = 4.0
"""Values of one calibration at other dates follow the known loss to 1 mmag; calibrations of
different years differ by 6 to 14 mmag."""
OLD_TOLERANCE_MMAG = 15.0
ZEROPOINT_TOLERANCE = 0.03
"""Header and table agree within this: the sensitivity fell by 0.061 %/yr since 2009 and by 1-3 %
at the change of temperature in 2006 (ACS ISR 2016-03, 2007-02)."""
EE_SYSTEMATIC = 0.01
"""Systematic error of the published encircled energy at r >= 0.15 arcsec: the differences between
Bohlin (2016) and Sirianni et al. (2005, PASP 117, 1049) for all filters but the two reddest."""
EE_SYSTEMATIC_RED = 0.025
"""The same for F850LP and F892N, where it depends on the spectrum of the source."""
AB_MICROJANSKY = 23.9
"""AB magnitude of 1 microjansky (Oke & Gunn 1983, ApJ 266, 713)."""
MAG_PER_FRACTION = 2.5 / np.log(10.0)
"""Magnitudes of a small relative difference of fluxes."""
ABSOLUTE_SYSTEMATIC = 0.01
"""Error of the absolute flux scale (Bohlin 2016)."""
LOSS_PER_YEAR = 0.00061
"""Loss of sensitivity since 2009, as a fraction per year, in all filters (ACS ISR 2016-03)."""
COOLING_MJD = 53920.0
"""2006-07-04: the CCDs went from -77 C to -81 C, and less sensitive (ACS ISR 2007-02)."""
REPAIR_MJD = 54967.0
"""2009-05-16: WFC works again, after the failure of January 2007."""
COOLING_LOSS_MAG = ((4330.0, 0.026), (6312.0, 0.011), (9032.0, 0.024))
"""(pivot wavelength in Angstrom, magnitudes): what was lost on that day (ACS ISR 2007-02)."""


@dataclass(frozen=True)
class Zeropoint:
    """Bundled zero point of a filter."""

    photflam: float
    photplam: float
    vega_minus_ab: float


@dataclass(frozen=True)
class ZeropointAudit:
    """A PHOTFLAM in use other than the one expected at the date of the observation."""

    used: float
    expected: float
    tolerance_mmag: float

    @property
    def difference_mmag(self) -> float:
        """Magnitudes with the used value, less those with the expected one, in 0.001 mag."""
        return float(-2500.0 * np.log10(self.used / self.expected))

    @property
    def is_off(self) -> bool:
        """True where the difference is more than reductions of one epoch differ by."""
        return abs(self.difference_mmag) > self.tolerance_mmag

    def in_words(self) -> str:
        """Return one sentence."""
        percent = 100.0 * (self.used / self.expected - 1.0)
        verdict = "agrees with"
        if self.is_off:
            # What is known only errs on this side: older calibrations were too low.
            blame = "comes from an outdated calibration: it " if self.difference_mmag > 0 else ""
            verdict = f"{blame}differs from"
        return (
            f"PHOTFLAM {self.used:.5g} {verdict} the {self.expected:.5g} expected at the date of "
            f"the observation ({percent:+.2f} %: magnitudes {abs(self.difference_mmag):.0f} mmag "
            f"too {'faint' if self.difference_mmag > 0 else 'bright'})"
        )

    def metadata(self) -> dict[str, Any]:
        """Return the numbers for a table's metadata."""
        return {
            "header": self.used,
            "expected": float(f"{self.expected:.6g}"),
            "mmag": round(self.difference_mmag, 2),
            "tolerance_mmag": self.tolerance_mmag,
            "outdated": self.is_off,
        }


@dataclass(frozen=True, eq=False)
class EncircledEnergy:
    """Share of a point source's light within a radius, for one detector and filter."""

    detector: str
    filter: str
    radius_arcsec: Floats
    fraction: Floats

    def at(self, radius_arcsec: ArrayLike) -> Floats:
        """Interpolate at any radius (arcsec); 0 at the centre, 1 from 5.5 arcsec on.

        Monotone cubic interpolation (PCHIP) in the logarithm of the radius: the
        curve is smooth there from the core to the wings.  Inside the innermost
        tabulated radius, one pixel of the detector, a Gaussian core that meets
        the table is used.
        """
        radius = np.asarray(radius_arcsec, dtype=float)
        inner, first = self.radius_arcsec[0], self.fraction[0]
        clipped_radius = np.clip(radius, inner, self.radius_arcsec[-1])
        curve = monotone_cubic(np.log(self.radius_arcsec), self.fraction, np.log(clipped_radius))
        core = 1.0 - (1.0 - first) ** ((radius / inner) ** 2)
        return np.where(radius < inner, core, np.minimum(curve, 1.0))

    @property
    def half_light_arcsec(self) -> float:
        """Return the radius of half the light."""
        radius = np.geomspace(0.01, 1.0, 200)
        return float(np.interp(0.5, self.at(radius), radius))

    def annulus_share(self, inner_arcsec: float, outer_arcsec: float) -> float:
        """Return the share of the light per square arcsec that the sky annulus measures.

        The sky is a median, so it is the surface brightness at the radius that
        halves the area of the annulus, not the mean over it.
        """
        middle = np.sqrt(0.5 * (inner_arcsec**2 + outer_arcsec**2))
        step = 0.02 * middle
        low, high = self.at([middle - step, middle + step])
        return float((high - low) / (np.pi * ((middle + step) ** 2 - (middle - step) ** 2)))


def monotone_cubic(x: Floats, y: Floats, at: Floats) -> Floats:
    """Interpolate by cubics that do not overshoot (PCHIP).

    Slopes are the weighted harmonic means of Fritsch & Butland (1984, SIAM J. Sci. Stat. Comput. 5,
    300), those at the ends of three points, as in scipy's PchipInterpolator, whose import takes
    half a second.

    Parameters
    ----------
    x, y : (N,) float
        ``x`` rising, N of 3 or more.
    at : float array within the range of ``x``
    """
    h, d = np.diff(x), np.diff(y) / np.diff(x)
    near, far = 2 * h[1:] + h[:-1], h[1:] + 2 * h[:-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        middle = (near + far) / (near / d[:-1] + far / d[1:])
    slope = np.empty_like(y)
    slope[1:-1] = np.where(d[:-1] * d[1:] > 0, middle, 0.0)
    slope[0] = _end_slope(h[0], h[1], d[0], d[1])
    slope[-1] = _end_slope(h[-1], h[-2], d[-1], d[-2])
    k = np.clip(np.searchsorted(x, at, side="right") - 1, 0, len(h) - 1)
    t = (at - x[k]) / h[k]
    return np.asarray(
        y[k] * (1 + 2 * t) * (1 - t) ** 2
        + h[k] * slope[k] * t * (1 - t) ** 2
        + y[k + 1] * t**2 * (3 - 2 * t)
        + h[k] * slope[k + 1] * t**2 * (t - 1)
    )


def _end_slope(h0: float, h1: float, d0: float, d1: float) -> float:
    """Return the slope at an end, of the same sign as the first difference and not too steep."""
    slope = ((2 * h0 + h1) * d0 - h0 * d1) / (h0 + h1)
    if slope * d0 <= 0:
        return 0.0
    return 3 * d0 if d0 * d1 < 0 and abs(slope) > abs(3 * d0) else slope


@functools.cache
def encircled_energy(detector: str, filter_name: str) -> EncircledEnergy:
    """Return the published encircled-energy curve of a detector (WFC or HRC) and filter.

    Raises
    ------
    UnsupportedImage
        The table does not hold the filter.
    """
    rows = _rows(f"ee_bohlin2016_{detector.lower()}.csv")
    if detector == "HRC":
        rows = [*_rows("ee_core_hrc.csv"), *rows]
    if filter_name not in rows[0]:
        filters = ", ".join(k for k in rows[0] if k.startswith("F"))
        raise UnsupportedImage(
            f"no encircled-energy curve for {detector} {filter_name}",
            hint=f"the table (Bohlin 2016) holds {filters}",
        )
    radius = [float(row["radius_arcsec"]) for row in rows]
    fraction = [float(row[filter_name]) for row in rows]
    if radius[-1] < INFINITE_ARCSEC:
        radius.append(INFINITE_ARCSEC)
        fraction.append(1.0)
    return EncircledEnergy(detector, filter_name, np.array(radius), np.array(fraction))


def aperture_fractions(
    curve: EncircledEnergy,
    radii_px: ArrayLike,
    scale_arcsec: float,
    annulus_px: tuple[float, float] | None = None,
) -> Floats:
    """Return the share of a star's light that background-subtracted apertures hold.

    Parameters
    ----------
    curve : EncircledEnergy
    radii_px : (R,) float
        Aperture radii, pixels of ``scale_arcsec``; the curve is looked up in arcsec.
    scale_arcsec : float
        Pixel scale, arcsec per pixel.
    annulus_px : (inner, outer), optional
        The sky annulus.  Starlight in it is taken for sky and subtracted from
        the aperture; the fraction is lowered by that.

    Returns
    -------
    (R,) float
        Divide a net count rate by this to get the rate in the infinite aperture.
    """
    radius = np.asarray(radii_px, dtype=float) * scale_arcsec
    fraction = curve.at(radius)
    if annulus_px is None:
        return fraction
    inner, outer = (r * scale_arcsec for r in annulus_px)
    return fraction - np.pi * radius**2 * curve.annulus_share(inner, outer)


def ee_systematic(filter_name: str) -> float:
    """Return the systematic error of the encircled energy, as a fraction of the flux."""
    return EE_SYSTEMATIC_RED if filter_name in ("F850LP", "F892N") else EE_SYSTEMATIC


def systematic_fraction(filter_name: str, correction_error: Floats) -> Floats:
    """Return the errors of corrected fluxes that do not average down, as fractions of the flux.

    The quadratic sum of the errors of the encircled energy, of the aperture
    correction and of the absolute flux scale.

    Parameters
    ----------
    filter_name : str
    correction_error : float
        Relative errors of the aperture corrections.
    """
    constant = ee_systematic(filter_name) ** 2 + ABSOLUTE_SYSTEMATIC**2
    return np.asarray(np.sqrt(np.square(correction_error) + constant))


@functools.cache
def bundled_zeropoint(detector: str, filter_name: str) -> Zeropoint | None:
    """Return the bundled zero point, or None: HRC and unknown filters have none."""
    if detector != "WFC":
        return None
    for row in _rows(f"zeropoints_wfc_{ZEROPOINT_DATE}.csv"):
        if row["filter"] == filter_name:
            return Zeropoint(
                float(row["PHOTFLAM"]), float(row["PHOTPLAM"]), float(row["vega_minus_ab"])
            )
    return None


@functools.cache
def filters_with_zeropoints() -> tuple[str, ...]:
    """Return the filters of WFC that have a bundled zero point."""
    return tuple(row["filter"] for row in _rows(f"zeropoints_wfc_{ZEROPOINT_DATE}.csv"))


def st_zeropoint(photflam: float) -> float:
    """Return the STMAG zero point for count rates in e/s: -2.5 log10(PHOTFLAM) - 21.10."""
    return float(-2.5 * np.log10(photflam) - 21.10)


def microjansky(magnitude_ab: float) -> float:
    """Return the f_nu of an AB magnitude, microjansky."""
    return float(10.0 ** (0.4 * (AB_MICROJANSKY - magnitude_ab)))


def ab_zeropoint(photflam: float, photplam: float) -> float:
    """Return the AB zero point for count rates in e/s (Sirianni et al. 2005, section 10)."""
    return float(st_zeropoint(photflam) - 5.0 * np.log10(photplam) + 18.6921)


def vega_zeropoint(detector: str, filter_name: str, zeropoint_ab: float) -> float | None:
    """Return the Vega zero point that belongs to an AB one; None where the table has none."""
    table = bundled_zeropoint(detector, filter_name)
    return None if table is None else zeropoint_ab + table.vega_minus_ab


def vega_minus_ab(filter_name: str) -> float:
    """Return the Vega zero point of a filter of ACS/WFC minus its AB one: m_Vega - m_AB of a star.

    Raises
    ------
    SettingsError
        The table has no such filter.
    """
    table = bundled_zeropoint("WFC", filter_name)
    if table is None:
        raise SettingsError(
            f"the Vega zero point of {filter_name} is not known", hint="give AB magnitudes"
        )
    return table.vega_minus_ab


def extinction(filter_name: str) -> float:
    """Return A_F / E(B-V) of a filter of ACS.

    Schlafly & Finkbeiner 2011 (ApJ 737, 103), Table 6, R_V = 3.1; E(B-V) is that of the maps of
    Schlegel, Finkbeiner & Davis (1998), which the coefficients correct.

    Raises
    ------
    SettingsError
        The table has no such filter.
    """
    for row in _rows("extinction_schlafly2011_wfc.csv"):
        if row["filter"] == filter_name:
            return float(row["coefficient"])
    raise SettingsError(
        f"the extinction in {filter_name} is not known", hint="redden the magnitudes in the table"
    )


def expected_photflam(detector: str, filter_name: str, mjd: float) -> float | None:
    """Return PHOTFLAM at a date, from the bundled value and the known loss of sensitivity.

    0.061 % per year since the repair of 2009 (ACS ISR 2016-03).  Between the
    cooling of July 2006 and the repair the value of the repair is taken, and
    before, a sensitivity that is better by what the cooling cost (ACS ISR
    2007-02, interpolated in the wavelength).  None for filters without a
    bundled value, for HRC, and for unknown dates.
    """
    table = bundled_zeropoint(detector, filter_name)
    if table is None or not np.isfinite(mjd):
        return None
    years = (max(mjd, REPAIR_MJD) - ZEROPOINT_MJD) / 365.25
    photflam = table.photflam * (1.0 + LOSS_PER_YEAR * years)
    if mjd < COOLING_MJD:
        wavelength, loss = np.transpose(COOLING_LOSS_MAG)
        photflam *= 10.0 ** (-0.4 * np.interp(table.photplam, wavelength, loss))
    return float(photflam)


def zeropoint_audit(
    detector: str, filter_name: str, photflam: float, mjd: float
) -> ZeropointAudit | None:
    """Compare a PHOTFLAM with the one that is expected; None where none is known.

    Values since 2009 are held to 4 mmag, older ones, which are known less
    well, to 15 mmag.
    """
    expected = expected_photflam(detector, filter_name, mjd)
    if expected is None:
        return None
    tolerance = TOLERANCE_MMAG if mjd >= REPAIR_MJD else OLD_TOLERANCE_MMAG
    return ZeropointAudit(photflam, expected, tolerance)


@functools.cache
def _rows(name: str) -> list[dict[str, str]]:
    text = (resources.files("bycatch") / "data" / name).read_text(encoding="utf-8")
    return list(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))
