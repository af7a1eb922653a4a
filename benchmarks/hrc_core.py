"""The light of a star within one pixel of ACS/HRC, which no table holds: `python FILE > table`.

Bohlin (2016) begins at 2 px of HRC (0.05 arcsec).  Here the innermost value is computed: the
diffraction pattern of HST's aperture in seven wavelengths across the band, the detector pixel, and
a Gaussian for all else (charge diffusion, jitter, focus), as wide as makes the ratio of the light
within 2 and 4 px that of the table.  The table ``data/ee_core_hrc.csv`` holds the result.

Its test is what drizzled stars look like: with the drop and the output pixel, the concentrations
of F606W come out as 1.25 mag (1 to 3 px) and 0.44 mag (2 to 4 px).  The stars of a real frame of
47 Tuc have 1.23 and 0.44.
"""

from __future__ import annotations

import csv
from importlib import resources

import numpy as np
from scipy.ndimage import gaussian_filter, uniform_filter
from scipy.optimize import brentq
from scipy.special import j1

from bycatch.arrays import Floats

DIAMETER_M, OBSCURATION = 2.4, 0.33
ARCSEC = 206_264.8
STEP_ARCSEC, N_STEPS = 0.0025, 801
BAND = (0.91, 0.94, 0.97, 1.0, 1.03, 1.06, 1.09)
"""Wavelengths of a band over its pivot."""
PIVOT_NM = {
    "F435W": 431.1, "F475W": 477.6, "F502N": 502.3, "F555W": 535.6, "F550M": 558.0, "F606W": 588.8,
    "F625W": 629.5, "F658N": 658.4, "F660N": 660.0, "F775W": 766.5, "F814W": 811.5, "F892N": 915.0,
    "F850LP": 914.5,
}  # fmt: skip
PIXEL_ARCSEC = 0.025
AXIS = (np.arange(N_STEPS) - N_STEPS // 2) * STEP_ARCSEC
RADIUS = np.hypot(*np.meshgrid(AXIS, AXIS))


def diffraction(pivot_nm: float) -> Floats:
    """Return the pattern of an annular aperture (Born & Wolf, section 8.6), summed over a band."""
    total = np.zeros_like(RADIUS)
    for wavelength_m in pivot_nm * 1e-9 * np.array(BAND):
        u = np.maximum(np.pi * DIAMETER_M * RADIUS / ARCSEC / wavelength_m, 1e-9)
        inner = OBSCURATION * u
        amplitude = 2 * j1(u) / u - OBSCURATION**2 * 2 * j1(inner) / inner
        total += (amplitude / wavelength_m) ** 2
    return total


def within(profile: Floats, radius_arcsec: float) -> float:
    """Return the light within a radius."""
    return float(profile[radius_arcsec >= RADIUS].sum())


def pixel(profile: Floats) -> Floats:
    """Return a profile spread over a pixel."""
    return np.asarray(uniform_filter(profile, round(PIXEL_ARCSEC / STEP_ARCSEC)))


def star(pivot_nm: float, two_over_four: float) -> Floats:
    """Return a star as the detector sees it, with the ratio of the light within 2 and 4 px."""
    sharp = pixel(diffraction(pivot_nm))

    def off(sigma_arcsec: float) -> float:
        profile = gaussian_filter(sharp, sigma_arcsec / STEP_ARCSEC)
        return within(profile, 2 * PIXEL_ARCSEC) / within(profile, 4 * PIXEL_ARCSEC) - two_over_four

    sigma = brentq(off, 0.0005, 0.06, xtol=1e-5)
    return np.asarray(gaussian_filter(sharp, sigma / STEP_ARCSEC))


def main() -> None:
    """Print the table."""
    text = (resources.files("bycatch") / "data/ee_bohlin2016_hrc.csv").read_text(encoding="utf-8")
    first, second = list(csv.DictReader(text.splitlines()))[:2]
    shares, remarks = {}, []
    for name, pivot_nm in PIVOT_NM.items():
        profile = star(pivot_nm, float(first[name]) / float(second[name]))
        ratio = within(profile, PIXEL_ARCSEC) / within(profile, 2 * PIXEL_ARCSEC)
        shares[name] = ratio * float(first[name])
        light = [within(pixel(pixel(profile)), n * PIXEL_ARCSEC) for n in (1, 2, 3, 4)]
        pairs = [2.5 * np.log10(light[k + 2] / light[k]) for k in (0, 1)]
        remarks.append(
            f"# {name} drizzled: {pairs[0]:.3f} mag (1 to 3 px), {pairs[1]:.3f} (2 to 4)"
        )
    print("# Light of a star within 1 px of ACS/HRC, computed by benchmarks/hrc_core.py.")
    print("\n".join(remarks))
    print(",".join(["radius_px", "radius_arcsec", *shares]))
    print(",".join(["1.0", "0.025", *(f"{share:.3f}" for share in shares.values())]))


if __name__ == "__main__":
    main()
