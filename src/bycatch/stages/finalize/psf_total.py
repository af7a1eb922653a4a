"""Fluxes of PSF fits on the scale of the corrected apertures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.table import Table

from bycatch.arrays import Floats
from bycatch.catalogs.catalog_columns import PSF_FLUXES
from bycatch.catalogs.flags import Flag
from bycatch.catalogs.tables import floats
from bycatch.photcal import MAG_PER_FRACTION
from bycatch.robust import robust_sigma
from bycatch.stages.finalize.closure import excess_scatter

MIN_SNR = 50.0
MOST_CROWDING = 0.03
"""Light of neighbours, in the core and in the aperture, of stars that give the scale."""
PRIOR_SIGMA = 0.02
"""By which the scale may be off: the PSF has the published light within 0.5 arcsec already."""
MEDIAN_ERROR = 1.25
BAD = int(
    Flag.EDGE | Flag.PARTIAL_APERTURE | Flag.BAD_SKY | Flag.SATURATED | Flag.PSF_MISFIT
    | Flag.EXTENDED | Flag.BLENDED | Flag.UNLISTED_PEAK | Flag.LIKELY_COSMIC_RAY | Flag.HALO
    | Flag.CORE_REJECTED
)  # fmt: skip


@dataclass(frozen=True)
class PsfScale:
    """What takes rates of PSF fits to total rates.

    Attributes
    ----------
    factor, error : and its 1-sigma error
    scatter : of stars about it, beyond their noise, as a share
    n_stars : that give it; without any it is 1
    """

    factor: float
    error: float
    scatter: float
    n_stars: int

    def metadata(self) -> dict[str, Any]:
        """Return the numbers for a table's metadata."""
        numbers = (self.factor, self.error, self.scatter)
        names = ("factor", "error", "scatter")
        numbers_by_name = {name: round(v, 5) for name, v in zip(names, numbers, strict=True)}
        return numbers_by_name | {"n_stars": self.n_stars}


def psf_scale(phot: Table, total: Floats, total_err: Floats) -> PsfScale:
    """Return the scale of PSF fluxes.

    Parameters
    ----------
    phot : table of the photometry with photometry_columns.PSF_RATES
    total, total_err : (N,) corrected rates in the aperture, and their noise
    """
    rate, error = floats(phot, "countrate_psf"), floats(phot, "countrate_psf_err")
    with np.errstate(divide="ignore", invalid="ignore"):
        good = (rate / error > MIN_SNR) & (total / total_err > MIN_SNR)
        good &= np.asarray(phot["flags"]) & BAD == 0
        good &= floats(phot, "crowding") < MOST_CROWDING
        good &= floats(phot, "blend_share") < MOST_CROWDING
        good &= floats(phot, "p_star") > 0.5
    n = int(good.sum())
    if not n:
        return PsfScale(1.0, PRIOR_SIGMA, 0.0, 0)
    offset = np.log(total[good] / rate[good])
    noise = np.hypot(total_err[good] / total[good], error[good] / rate[good])
    middle = float(np.median(offset))
    width = robust_sigma(offset, middle)
    # In the worse half of the stars it drowns in noise.
    best = noise <= np.median(noise)
    scatter = excess_scatter((offset - middle)[best], noise[best])
    own = MEDIAN_ERROR * float(np.hypot(max(width, scatter), np.median(noise))) / np.sqrt(n)
    weight = PRIOR_SIGMA**2 / (PRIOR_SIGMA**2 + own**2)
    return PsfScale(float(np.exp(weight * middle)), float(own * np.sqrt(weight)), scatter, n)


def psf_columns(
    phot: Table, scale: PsfScale, photflam: float, zeropoint: float
) -> Mapping[str, Any]:
    """Return the columns of catalog_columns.PSF_FLUXES.

    Parameters
    ----------
    phot : photometry table of N sources
    scale : PsfScale of the image
    photflam : erg / cm2 / Angstrom / electron
    zeropoint : AB magnitude of 1 e/s
    """
    rate = floats(phot, "countrate_psf") * scale.factor
    noise = floats(phot, "countrate_psf_err") * scale.factor
    # Half of the scatter against apertures is theirs.
    error = np.hypot(noise, scale.scatter / np.sqrt(2.0) * np.maximum(rate, 0.0))
    positive = np.where(rate > 0, rate, np.nan)
    columns = {
        "flux_psf": rate * photflam,
        "flux_psf_err": error * photflam,
        "mag_ab_psf": zeropoint - 2.5 * np.log10(positive),
        "mag_ab_psf_err": MAG_PER_FRACTION * error / positive,
    }
    return columns | {c.name: phot[c.name] for c in PSF_FLUXES if c.name not in columns}
