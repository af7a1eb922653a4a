"""What is known of the light in small apertures before an image's own stars are asked.

The published curve, with its uncertainty, and three modes that the telescope and drizzling add: the
two sides of the focus, and smear.  Together they are a covariance of the logarithms of the shares
of light within radii, relative to that within 0.5 arcsec.
"""

from __future__ import annotations

import csv
import functools
from importlib import resources

import numpy as np

from bycatch.arrays import Floats

MODES = ("focus", "side", "smear")
AMPLITUDES = (1.0, 1.0, 1.0)
"""Standard deviations of the modes, whose units are 0.06 waves of defocus and a drop of a pixel."""
CURVE_ERROR = ((0.05, 0.05), (0.10, 0.02), (0.15, 0.012), (0.20, 0.01), (0.30, 0.006), (0.50, 0.0))
"""(radius in arcsec, share of the light): error of the published curve relative to 0.5 arcsec.
Bohlin (2016) and Sirianni et al. (2005, PASP 117, 1049) differ by up to 0.037 at 0.1 arcsec and by
up to 0.01 from 0.15 arcsec on."""
CURVE_LENGTH = 0.3
"""Errors of the curve are alike over this step of the logarithm of the radius."""
SCATTER = ((0.05, 0.03), (0.10, 0.010), (0.15, 0.004), (0.20, 0.003), (0.50, 0.001))
"""(radius in arcsec, share of the light): what differs from star to star of one image: where in the
pixel a star lies, and its centre.  From simulated images."""

COMMON_SCATTER = 0.004
"""What differs from star to star in all apertures alike, as a share of the light: drizzling keeps
the light of a star that is narrower than its pixels in the mean only, and the sky in its annulus
holds faint objects.  Ratios of apertures do not show it.  From simulated images: 0.2 to 0.9 %."""


def covariance(filter_name: str, radius_arcsec: Floats) -> Floats:
    """Return the prior covariance of ln(light / published light) within radii, (R, R).

    0 from 0.5 arcsec on.

    Parameters
    ----------
    filter_name : such as F606W
    radius_arcsec : (R,) float, arcsec
    """
    modes = light_modes(filter_name, radius_arcsec) * np.array(AMPLITUDES)[:, None]
    error = in_log_radius(radius_arcsec, CURVE_ERROR)
    step = np.subtract.outer(np.log(radius_arcsec), np.log(radius_arcsec))
    alike = np.exp(-0.5 * (step / CURVE_LENGTH) ** 2)
    return np.asarray(modes.T @ modes + np.outer(error, error) * alike)


def light_modes(filter_name: str, radius_arcsec: Floats) -> Floats:
    """Return the relative changes of the light within radii that the modes make, (3, R).

    Interpolated in the logarithm of the radius; 0 from 0.5 arcsec on.  Filters without modes have
    those of F606W.  HRC has those of WFC at the same radius in arcsec.

    Parameters
    ----------
    filter_name : such as F606W
    radius_arcsec : (R,) float, arcsec
    """
    radii, table = _table()
    values = table.get(filter_name, table["F606W"])
    at = np.log(radius_arcsec)
    return np.array([np.interp(at, np.log(radii), mode) for mode in values])


def in_log_radius(radius_arcsec: Floats, points: tuple[tuple[float, float], ...]) -> Floats:
    """Interpolate (radius, value) points in the logarithm of the radius.

    Parameters
    ----------
    radius_arcsec : (R,) float, arcsec
    points : pairs of radius in arcsec and value
    """
    radii, values = np.transpose(points)
    return np.asarray(np.interp(np.log(radius_arcsec), np.log(radii), values))


@functools.cache
def _table() -> tuple[Floats, dict[str, Floats]]:
    """Return the radii (arcsec) of the table of modes, and by filter the modes, (3, R)."""
    text = (resources.files("bycatch") / "data" / "focus_modes_wfc.csv").read_text("utf-8")
    rows = list(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))
    radii = [float(row["radius_arcsec"]) for row in rows if row["mode"] == MODES[0]]
    return np.array(radii), {
        name: np.array([[float(r[name]) for r in rows if r["mode"] == mode] for mode in MODES])
        / 100.0
        for name in rows[0]
        if name.startswith("F")
    }
