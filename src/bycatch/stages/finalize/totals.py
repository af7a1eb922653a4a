"""Total fluxes: calibrated, with the light beyond their ellipses as far as it is known."""

from __future__ import annotations

import numpy as np
from astropy.table import Table
from numpy.typing import ArrayLike

from bycatch import photcal
from bycatch.arrays import Floats
from bycatch.catalogs.tables import floats
from bycatch.images.meta import ImageMeta
from bycatch.kernels.kron import ellipse_radius_px

SERSIC_INDEX = 1.0
"""Of the profile that says what lies beyond an ellipse: most faint galaxies are discs."""
SERSIC_SPREAD = (1.0, 2.5)
"""What lies beyond differs by the systematic error between these: discs with more or less of a
bulge."""
LEAST_REACH = 2.2
"""The radius of an ellipse over that of half its light counts as this at least (a disc's has 3):
less is noise, and what lies beyond would have no bound."""
RADII = np.geomspace(0.05, 30.0, 300)
"""Radii of apertures for which it is worked out, in half-light radii."""


def kron_columns(
    phot: Table, meta: ImageMeta, scale_arcsec: float, zeropoint: float
) -> dict[str, Floats]:
    """Return the columns of the Kron aperture.

    Parameters
    ----------
    phot : table of `measure` (photometry_columns.PHOT)
    meta : calibration of the image
    scale_arcsec : pixel scale
    zeropoint : AB magnitude of 1 e/s
    """
    rate, flux = floats(phot, "countrate_kron"), floats(phot, "countrate_kron") * meta.photflam
    shape = (floats(phot, name) for name in ("kron_radius", "semimajor_px", "semiminor_px"))
    radius_px = ellipse_radius_px(*shape)
    has_radius = radius_px > 0
    within = np.full(len(phot), np.nan)
    curve = photcal.encircled_energy(meta.detector, meta.filter)
    within[has_radius] = curve.at(radius_px[has_radius] * scale_arcsec)
    # The wings of a point are those of the PSF, which the curve holds.
    p_extended = 1.0 - np.nan_to_num(floats(phot, "p_star"), nan=0.0)
    psf_px = curve.half_light_arcsec / scale_arcsec
    half_px = np.sqrt(np.maximum(floats(phot, "half_light_px") ** 2 - psf_px**2, 0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        reach = np.maximum(radius_px / half_px, LEAST_REACH)
    fraction = within / (1.0 + p_extended * light_beyond(reach, SERSIC_INDEX))
    least, most = (light_beyond(reach, index) for index in SERSIC_SPREAD)
    beyond = p_extended * (most - least)
    # No aperture correction was made: that of the encircled energy and of the scale remain.
    calibration = photcal.systematic_fraction(meta.filter, np.zeros(len(phot)))
    return {
        "flux_kron": flux,
        "err_kron": floats(phot, "countrate_err_kron") * meta.photflam,
        "err_kron_sys": np.abs(flux) / fraction * np.hypot(calibration, beyond),
        "mag_ab_kron": zeropoint - 2.5 * np.log10(np.where(rate > 0, rate, np.nan)),
        "kron_fraction": fraction,
    }


def light_beyond(radii: ArrayLike, index: float) -> Floats:
    """Return the light of a Sersic profile beyond an aperture, over that within.

    Parameters
    ----------
    radii : (N,)
        Radius of the aperture over that of half the light within it, which is known of a source,
        while the true half-light radius is not.
    index : Sersic index

    Notes
    -----
    A share P(2n, b r^(1/n)) of the light lies within r half-light radii (Graham & Driver 2005,
    PASA 22, 118, section 2.1), P the regularized incomplete gamma function, and P(2n, b) = 1/2.
    """
    from scipy.special import gammainc, gammaincinv

    b = gammaincinv(2.0 * index, 0.5)
    within = gammainc(2.0 * index, b * RADII ** (1.0 / index))
    half = (gammaincinv(2.0 * index, 0.5 * within) / b) ** index
    ratio = np.asarray(radii, dtype=float)
    share = np.interp(ratio, RADII / half, 1.0 / within - 1.0)
    return np.where(np.isnan(ratio), np.nan, share)
