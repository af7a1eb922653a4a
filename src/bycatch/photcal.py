"""Photometric calibration: encircled energy, aperture corrections, zero points.

Tables in ``data/``:

- ``ee_bohlin2016_wfc.csv``, ``ee_bohlin2016_hrc.csv``: encircled energy of hot
  stars, Bohlin (2016, AJ 152, 60), Tables 8 and 9.  The infinite aperture of
  the ACS calibration, to which PHOTFLAM refers, has a radius of 5.5 arcsec.
- ``zeropoints_wfc_2016-04-01.csv``: zero points of ACS/WFC on 2016-04-01 from
  STScI's ACS zero-point calculator, as printed in the acstools documentation.
"""

from __future__ import annotations

import csv
import functools
from dataclasses import dataclass
from importlib import resources

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bycatch.errors import UnsupportedImage

INFINITE_ARCSEC = 5.5
"""Radius of the ACS infinite aperture (Bohlin 2016)."""
ZEROPOINT_DATE = "2016-04-01"
ZEROPOINT_TOLERANCE = 0.03
"""Header and table agree within this: the sensitivity fell by 0.061 %/yr since 2009 and by 1-3 %
at the change of temperature in 2006 (ACS ISR 2016-03, 2007-02)."""
EE_SYSTEMATIC = 0.01
"""Systematic error of the published encircled energy at r >= 0.15 arcsec: the differences between
Bohlin (2016) and Sirianni et al. (2005, PASP 117, 1049) for all filters but the two reddest."""
EE_SYSTEMATIC_RED = 0.025
"""The same for F850LP and F892N, where it depends on the spectrum of the source."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Zeropoint:
    """Bundled zero point of a filter."""

    photflam: float
    photplam: float
    vega_minus_ab: float


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
        tabulated radius a Gaussian core that meets the table is used.
        """
        from scipy.interpolate import PchipInterpolator

        radius = np.asarray(radius_arcsec, dtype=float)
        inner, first = self.radius_arcsec[0], self.fraction[0]
        curve = PchipInterpolator(np.log(self.radius_arcsec), self.fraction)
        clipped = np.clip(radius, inner, self.radius_arcsec[-1])
        core = 1.0 - (1.0 - first) ** ((radius / inner) ** 2)
        return np.where(radius < inner, core, np.minimum(curve(np.log(clipped)), 1.0))

    def annulus_share(self, inner_arcsec: float, outer_arcsec: float) -> float:
        """Return the share of the light per square arcsec that the sky annulus measures.

        The sky is a median, so it is the surface brightness at the radius that
        halves the area of the annulus, not the mean over it.
        """
        middle = np.sqrt(0.5 * (inner_arcsec**2 + outer_arcsec**2))
        step = 0.02 * middle
        low, high = self.at([middle - step, middle + step])
        return float((high - low) / (np.pi * ((middle + step) ** 2 - (middle - step) ** 2)))


@functools.cache
def encircled_energy(detector: str, filter_name: str) -> EncircledEnergy:
    """Return the published encircled-energy curve of a detector (WFC or HRC) and filter.

    Raises
    ------
    UnsupportedImage
        The table does not hold the filter.
    """
    rows = _rows(f"ee_bohlin2016_{detector.lower()}.csv")
    if filter_name not in rows[0]:
        known = ", ".join(k for k in rows[0] if k.startswith("F"))
        raise UnsupportedImage(
            f"no encircled-energy curve for {detector} {filter_name}",
            hint=f"the table (Bohlin 2016) holds {known}",
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


def st_zeropoint(photflam: float) -> float:
    """Return the STMAG zero point for count rates in e/s: -2.5 log10(PHOTFLAM) - 21.10."""
    return float(-2.5 * np.log10(photflam) - 21.10)


def ab_zeropoint(photflam: float, photplam: float) -> float:
    """Return the AB zero point for count rates in e/s (Sirianni et al. 2005, section 10)."""
    return float(st_zeropoint(photflam) - 5.0 * np.log10(photplam) + 18.6921)


@functools.cache
def _rows(name: str) -> list[dict[str, str]]:
    text = (resources.files("bycatch") / "data" / name).read_text(encoding="utf-8")
    return list(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))
