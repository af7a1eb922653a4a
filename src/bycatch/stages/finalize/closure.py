"""Do a star's fluxes agree in every aperture?  Tested with the image's own stars.

The published encircled energy is that of sharp, well-focused, undrizzled
images.  The telescope's focus changes with every orbit, and drizzling and
centring take light from the smallest apertures.  Light lost there is found in
larger ones: the ratio of a star's corrected flux in a small aperture to that
in the reference aperture of 0.5 arcsec is 1 if the correction is right.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.table import Table

from bycatch.arrays import Bools, Floats
from bycatch.catalogs.flags import Flag
from bycatch.catalogs.rates import net_rates
from bycatch.catalogs.tables import floats
from bycatch.robust import MAD_TO_SIGMA, robust_sigma

REFERENCE_ARCSEC = 0.5
"""Radius that holds nine tenths of the light whatever the focus; the published curve goes on."""
SPOILED = (
    Flag.EDGE | Flag.COSMIC_RAY | Flag.PARTIAL_APERTURE | Flag.OFF_IMAGE | Flag.BAD_SKY
    | Flag.FIT_FAILED | Flag.FIT_PINNED | Flag.BLENDED | Flag.SATURATED | Flag.EXTENDED
    | Flag.SPIKE | Flag.HALO | Flag.HOT_PIXEL | Flag.BAD_COLUMN | Flag.LIKELY_COSMIC_RAY
    | Flag.UNLISTED_PEAK | Flag.NEBULOUS | Flag.IN_LARGE_OBJECT | Flag.TRAIL | Flag.PIECE
    | Flag.FOUND_IN_RESIDUAL | Flag.PSF_MISFIT | Flag.CORE_REJECTED | Flag.SPIKE_PIECE
)  # fmt: skip
MAX_ERROR = 0.03
"""Largest relative error of the flux in the reference aperture."""
MAX_NEIGHBOUR_SHARE = 0.003
"""Largest share of light of known neighbours, of a star's own light."""
NEIGHBOUR_MARGIN_PX = 4.0
"""Neighbours reach this far into the aperture from outside, detector pixels."""
LEAST_SIGMA = 1e-9
"""Stars all alike and without noise would divide by zero."""
STAR_SIGMA = 0.01
"""Scatter between stars that has nothing to do with noise; it keeps one star from deciding."""
FEW = 8
"""So many stars have a scatter; of fewer it may be small by chance."""
FEWEST = 5
"""Fewer good stars check nothing."""
FWHM_WIDTHS = 4.0
MIN_FWHM_WIDTH = 0.05
"""Stars lie within so many robust widths of the median FWHM, a width being at least this share."""
MAX_FAILURE, FAILURE_SIGMA = 0.01, 3.0
"""An aperture does not close where the difference exceeds both."""


@dataclass(frozen=True, eq=False)
class Closure:
    """Fluxes in the apertures, divided by that in the reference aperture; (R,) each.

    ``deviation`` is the median ratio less 1, with the published correction, and
    ``remaining`` that with the correction in use; NaN with fewer than 5 stars,
    which show nothing.  ``error`` is that of ``remaining``, ``scatter`` that
    between the stars which noise does not explain.
    """

    radii_px: tuple[float, ...]
    reference_px: float
    n_stars: int
    deviation: Floats
    remaining: Floats
    error: Floats
    scatter: Floats

    @property
    def is_checked(self) -> Bools:
        """True for the radii that enough stars compare with the reference."""
        others = np.array(self.radii_px) != self.reference_px
        return np.asarray(np.isfinite(self.deviation) & others)

    @property
    def fails(self) -> Bools:
        """True for the radii that do not close; False where nothing was checked."""
        rest = np.abs(self.remaining)
        return np.asarray((rest > MAX_FAILURE) & (rest > FAILURE_SIGMA * self.error))

    def warnings(self) -> tuple[str, ...]:
        """Say in words what does not close."""
        return tuple(
            f"aperture corrections do not close: in {self.radii_px[k]:g} px stars have "
            f"{100 * self.remaining[k]:+.1f} +- {100 * self.error[k]:.1f} % of their flux in "
            f"{self.reference_px:g} px ({self.n_stars} stars)"
            for k in np.flatnonzero(self.fails)
        )

    def metadata(self) -> dict[str, Any]:
        """Return the result per radius for a table's metadata; percent, None if not checked."""
        return {
            "reference_px": self.reference_px,
            "n_stars": self.n_stars,
            "percent": {
                f"{r:g}": {
                    "published": _percent(self.deviation[k]),
                    "used": _percent(self.remaining[k]),
                    "error": _percent(self.error[k]),
                    "scatter": _percent(self.scatter[k]),
                    "closes": not bool(self.fails[k]) if self.is_checked[k] else None,
                }
                for k, r in enumerate(self.radii_px)
            },
        }


def closure(
    phot: Table,
    radii_px: tuple[float, ...],
    fractions: Floats,
    scale_arcsec: float,
    factors: Floats | None = None,
    detector_px: float = 1.0,
) -> Closure:
    """Compare the fluxes of good stars in all apertures with those in the reference aperture.

    Parameters
    ----------
    phot : table of `measure` (photometry_columns.PHOT)
    radii_px : its aperture radii
    fractions : (R,) float
        Published share of a star's light in each, after the subtraction of the sky.
    scale_arcsec : float
        Pixel scale.
    factors : (N, R) float, optional
        What the shares in use are of the published ones.
    detector_px : float
        Side of a detector pixel, pixels.
    """
    reference = reference_index(radii_px, scale_arcsec)
    n_radii, smallest = len(radii_px), int(np.argmin(radii_px))
    flux, error, good = star_fluxes(phot, radii_px, fractions, reference, detector_px)
    n_stars = int(good.sum())
    flux, error = flux[good], error[good]
    factor = np.ones_like(flux) if factors is None else factors[good]
    deviation, remaining, errors, scatter = (np.full(n_radii, np.nan) for _ in range(4))
    for k in range(n_radii if n_stars >= FEWEST else 0):
        if k == reference:
            deviation[k] = remaining[k] = errors[k] = scatter[k] = 0.0
            continue
        deviation[k], _, _ = _typical(flux, error, k, reference, smallest)
        remaining[k], errors[k], scatter[k] = _typical(
            flux / factor, error / factor, k, reference, smallest
        )
    return Closure(radii_px, radii_px[reference], n_stars, deviation, remaining, errors, scatter)


def reference_index(radii_px: tuple[float, ...], scale_arcsec: float) -> int:
    """Return which radius is the reference: the largest up to 0.5 arcsec, or the smallest.

    Parameters
    ----------
    radii_px : R radii of the apertures, px
    scale_arcsec : arcsec per pixel
    """
    radius = np.array(radii_px) * scale_arcsec
    small = np.flatnonzero(radius <= REFERENCE_ARCSEC * 1.001)
    return int(small[np.argmax(radius[small])]) if len(small) else int(np.argmin(radius))


def star_fluxes(
    phot: Table,
    radii_px: tuple[float, ...],
    fractions: Floats,
    reference: int,
    detector_px: float,
) -> tuple[Floats, Floats, Bools]:
    """Return the rows' corrected rates and their errors, (N, R) in e/s, and which are good stars.

    Parameters
    ----------
    phot, radii_px, fractions, detector_px : as in `closure`
    reference : index of the reference radius
    """
    flux = np.column_stack([net_rates(phot, r) for r in radii_px]) / fractions
    error = np.column_stack([floats(phot, f"countrate_err_{r:g}") for r in radii_px]) / fractions
    margin_px = NEIGHBOUR_MARGIN_PX * detector_px
    return flux, error, good_stars(phot, flux, error, radii_px, reference, margin_px)


def good_stars(
    phot: Table,
    flux: Floats,
    error: Floats,
    radii_px: tuple[float, ...],
    reference: int,
    margin_px: float = NEIGHBOUR_MARGIN_PX,
) -> Bools:
    """Return which rows are bright, clean, isolated points.

    The brightness that decides is that in the smallest aperture: a star is not
    chosen, and not given weight, because noise or a neighbour added to the
    reference aperture.

    Parameters
    ----------
    phot : photometry table of N sources
    flux, error : (N, R) float, e/s
    radii_px : R radii of the apertures, px
    reference : index of the reference radius
    margin_px : px beyond the reference aperture that are free of neighbours
    """
    smallest = int(np.argmin(radii_px))
    bright = flux[:, smallest] * MAX_ERROR > error[:, reference]
    good = bright & np.isfinite(flux).all(axis=1) & np.isfinite(error).all(axis=1)
    good &= (np.asarray(phot["flags"]) & int(SPOILED)) == 0
    good &= np.asarray(phot["cr_flag"]) == 0
    for name, low in (("p_star", 0.5), ("p_cr", None)):
        if name in phot.colnames:
            value = floats(phot, name)
            good &= ~(value < low) if low is not None else ~(value > 0.5)
    good &= _are_isolated(phot, flux[:, smallest], radii_px[reference] + margin_px)
    fwhm = floats(phot, "fwhm")
    known = fwhm[good & (fwhm > 0)]
    if not len(known):
        return good
    middle = float(np.median(known))
    width = max(robust_sigma(known, middle), MIN_FWHM_WIDTH * middle)
    return np.asarray(good & (np.abs(fwhm - middle) < FWHM_WIDTHS * width))


def _are_isolated(phot: Table, flux: Floats, reach_px: float) -> Bools:
    """Return which sources have little light of other rows within reach."""
    from scipy.spatial import KDTree

    places = np.column_stack([floats(phot, "x"), floats(phot, "y")])
    is_isolated = np.zeros(len(phot), dtype=bool)
    rows = np.flatnonzero(np.isfinite(places).all(axis=1))
    if len(rows) == 0:
        return is_isolated
    light = np.nan_to_num(np.maximum(flux[rows], 0.0))
    one, other = KDTree(places[rows]).query_pairs(reach_px, output_type="ndarray").T
    n = len(rows)
    others = np.bincount(one, light[other], n) + np.bincount(other, light[one], n)
    is_isolated[rows] = others < MAX_NEIGHBOUR_SHARE * light
    return is_isolated


def _typical(
    flux: Floats, error: Floats, k: int, reference: int, smallest: int
) -> tuple[float, float, float]:
    """Return the weighted median ratio less 1, its error, and the scatter beyond the noise."""
    ratio = flux[:, k] / flux[:, reference] - 1.0
    # The small aperture lies in the large one: what is left is the noise of the ring.
    noise = np.sqrt(np.maximum(error[:, reference] ** 2 - error[:, k] ** 2, 0.0))
    noise = noise / flux[:, smallest]
    weight = 1.0 / (noise**2 + STAR_SIGMA**2)
    middle = weighted_median(ratio, weight)
    scatter = excess_scatter(ratio - middle, noise)
    # The scatter of a handful may be small by chance.
    sigma = np.hypot(noise, scatter if len(ratio) >= FEW else max(scatter, STAR_SIGMA))
    sigma = np.maximum(sigma, LEAST_SIGMA)
    # A weighted median's variance: sum of w^2 / (2 sum of w p(0))^2, p being Gaussian.
    error = np.sqrt(0.5 * np.pi * np.sum(weight**2)) / np.sum(weight / sigma)
    return middle, float(error), scatter


def excess_scatter(residual: Floats, noise: Floats) -> float:
    """Return the scatter that makes, with the noise, the residuals of robust width 1; at least 0.

    Halving an interval: the scaled width falls as the scatter grows.

    Parameters
    ----------
    residual, noise : (N,) float, in one unit
    """

    def width(scatter: float) -> float:
        sigma = np.maximum(np.hypot(noise, scatter), 1e-12)
        return robust_sigma(residual / sigma, 0.0)

    low, high = 0.0, MAD_TO_SIGMA * float(np.max(np.abs(residual)))
    if width(low) <= 1.0:
        return 0.0
    for _ in range(40):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if width(middle) > 1.0 else (low, middle)
    return high


def weighted_median(values: Floats, weights: Floats) -> float:
    """Return where half of the weight lies on either side; NaN for nothing.

    Parameters
    ----------
    values, weights : (N,) float
    """
    if len(values) == 0:
        return float("nan")
    order = np.argsort(values)
    share = np.cumsum(weights[order]) - 0.5 * weights[order]
    return float(np.interp(0.5 * weights.sum(), share, values[order]))


def _percent(share: float) -> float | None:
    return round(100.0 * float(share), 3) if np.isfinite(share) else None
