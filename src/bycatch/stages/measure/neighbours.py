"""Blends: how much of the light in a source's aperture is that of its neighbours.

The apertures of close sources hold one another's light.  With a profile for
each source the total lights follow from the aperture sums as the solution of a
linear system, and with them the share of each neighbour in each aperture.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bycatch.arrays import Floats, Ints
from bycatch.errors import UnsupportedImage
from bycatch.photcal import EncircledEnergy, encircled_energy

BLEND_LIMIT = 0.10
"""Share from which a source counts as blended."""
REACH_ARCSEC = 1.25
"""How far beyond the aperture a neighbour may be: light from farther away is smooth over an
aperture and its sky annulus, which takes it away."""
STAR_FWHM_PX = 2.16
"""FWHM of stars in drizzled images, detector pixels (published catalogs of ACS/WFC: 0.102 to 0.113
arcsec; the real HRC frame of 47 Tuc: 2.3)."""
MAX_STRETCH = 4.0
"""Widest profile, in units of the star's: broader fits have followed a neighbour."""
UNKNOWN_FILTER = "F606W"
"""Its encircled energy stands in for filters that the table lacks; blends need no more."""
N_ROUNDS = 30


@dataclass(frozen=True, eq=False)
class RadialProfile:
    """A point source of total 1 as a function of radius, and what off-centre circles hold of it.

    Attributes
    ----------
    radius_px : (R,) increasing from 0
    energy : (R,) light within the radius; ends at 1
    """

    radius_px: Floats
    energy: Floats

    @staticmethod
    def of(curve: EncircledEnergy, scale_arcsec: float) -> RadialProfile:
        """Return the profile of an encircled-energy curve, in pixels of ``scale_arcsec``."""
        radius = np.concatenate([[0.0], np.geomspace(0.05, 1.0, 240)]) * curve.radius_arcsec[-1]
        radius = np.unique(np.concatenate([radius, np.linspace(0.0, 2.0, 400)]))
        return RadialProfile(radius / scale_arcsec, curve.at(radius))

    def within(self, radius_px: ArrayLike) -> Floats:
        """Return the light within a centred circle."""
        return np.asarray(np.interp(np.asarray(radius_px, float), self.radius_px, self.energy))

    def in_circles(self, aperture_px: float, distance_px: Floats) -> Floats:
        """Return the light of the source in circles whose centres are some way off.

        Ring by ring: of a ring of radius r, a circle of radius R at distance d holds
        the share acos((d^2 + r^2 - R^2) / (2 d r)) / pi.

        Parameters
        ----------
        aperture_px : float
            R, above 0.
        distance_px : (N,) float
            d.
        """
        light = np.diff(self.energy)
        ring = 0.5 * (self.radius_px[1:] + self.radius_px[:-1])
        distance = np.maximum(np.asarray(distance_px, float), 1e-6)[:, None]
        cosine = (distance**2 + ring**2 - aperture_px**2) / (2.0 * distance * ring)
        return np.asarray((np.arccos(np.clip(cosine, -1.0, 1.0)) / np.pi) @ light)


@dataclass(frozen=True, eq=False)
class Blends:
    """What neighbours do to N sources.

    Attributes
    ----------
    share : (N,) of the light in the aperture, that of the neighbours, 0 to 1; NaN off the image
    total_rate : (N,) light of the source itself, e/s, all of it
    """

    share: Floats
    total_rate: Floats

    @property
    def is_blended(self) -> NDArray[np.bool_]:
        """True where the neighbours' share exceeds a tenth."""
        return np.nan_to_num(self.share) > BLEND_LIMIT


def star_profile(detector: str, filter_name: str, scale_arcsec: float) -> RadialProfile:
    """Return the profile of a star in a filter (Bohlin 2016, AJ 152, 60), in pixels.

    Parameters
    ----------
    detector : WFC or HRC
    filter_name : such as F606W
    scale_arcsec : arcsec per pixel
    """
    try:
        curve = encircled_energy(detector, filter_name)
    except UnsupportedImage:
        curve = encircled_energy(detector, UNKNOWN_FILTER)
    return RadialProfile.of(curve, scale_arcsec)


def blends(
    x: ArrayLike,
    y: ArrayLike,
    net_rate: ArrayLike,
    fwhm_px: ArrayLike,
    profile: RadialProfile,
    *,
    scale_arcsec: float,
    small_px: float,
    aperture_px: float,
    detector_px: float = 1.0,
) -> Blends:
    """Tell how much of the light in each aperture comes from other sources.

    Parameters
    ----------
    x, y : (N,) float
        0-based pixel centres of all sources; those not finite take no part.
    net_rate : (N,) float
        Sky-subtracted sums within ``small_px``, e/s; NaN counts as 0.
    fwhm_px : (N,) float
        Measured widths; NaN: that of a star.
    profile : RadialProfile
        Of a star, in the same pixels.
    scale_arcsec : float
        Pixel scale.
    small_px, aperture_px : float
        The aperture of ``net_rate`` (small: neighbours weigh little there), and the one that is
        asked about.
    detector_px : float
        Side of a detector pixel, pixels: the width of stars scales with it.

    Notes
    -----
    Sums s = P f: P holds the light of source j within ``small_px`` of source i, f
    the total lights.  A source broader than a star has the star's profile stretched
    to its FWHM.  The solution is found by Gauss-Seidel-like rounds that keep every
    light at 0 or above; a few suffice, as the diagonal dominates.
    """
    from scipy.sparse import csr_array

    columns, rows = np.asarray(x, float).ravel(), np.asarray(y, float).ravel()
    n = len(columns)
    is_finite = np.isfinite(columns) & np.isfinite(rows)
    sums = np.maximum(np.nan_to_num(np.asarray(net_rate, float).ravel()), 0.0)
    star_px = STAR_FWHM_PX * detector_px
    stretch = np.nan_to_num(np.asarray(fwhm_px, float).ravel() / star_px, nan=1.0)
    # In steps: sources of one width share a table of shares.
    stretch = np.exp2(np.rint(4 * np.log2(np.clip(stretch, 1.0, MAX_STRETCH))) / 4)
    target, source, distance = _pairs(
        columns, rows, is_finite, REACH_ARCSEC / scale_arcsec + aperture_px
    )
    near = _light_in(profile, small_px, distance, stretch[source])
    own = profile.within(small_px / stretch)
    total = _total_rates(csr_array((near, (target, source)), shape=(n, n)), own, sums)
    share_in = _light_in(profile, aperture_px, distance, stretch[source])
    others = np.bincount(target, share_in * total[source], minlength=n)
    mine = total * profile.within(aperture_px / stretch)
    share = np.divide(others, others + mine, out=np.zeros(n), where=others > 0)
    share[~is_finite], total[~is_finite] = np.nan, np.nan
    return Blends(share, total)


def _pairs(
    x: Floats, y: Floats, is_finite: NDArray[np.bool_], reach_px: float
) -> tuple[Ints, Ints, Floats]:
    """Return rows of pairs, both ways, and their distances."""
    from scipy.spatial import KDTree

    rows = np.flatnonzero(is_finite)
    if len(rows) < 2:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
    points = np.column_stack([x[rows], y[rows]])
    one, other = KDTree(points).query_pairs(reach_px, output_type="ndarray").T
    distance = np.hypot(*(points[one] - points[other]).T)
    target = rows[np.concatenate([one, other])]
    source = rows[np.concatenate([other, one])]
    return target, source, np.concatenate([distance, distance])


def _light_in(
    profile: RadialProfile, aperture_px: float, distance: Floats, stretch: Floats
) -> Floats:
    """Return the light of stretched profiles in circles at distances, (N,)."""
    out = np.zeros(len(distance))
    if not len(distance):
        return out
    grid = np.linspace(0.0, float(distance.max()), 257)
    for factor in np.unique(stretch):
        has_stretch = stretch == factor
        table = profile.in_circles(aperture_px / factor, grid / factor)
        out[has_stretch] = np.interp(distance[has_stretch], grid, table)
    return out


def _total_rates(near: object, own: Floats, sums: Floats) -> Floats:
    """Return lights >= 0 that explain the sums: own * light + near @ light = sums."""
    light = sums / own
    for _ in range(N_ROUNDS):
        # Half-way, so that close pairs do not take turns.
        target = np.maximum(sums - near @ light, 0.0) / own  # type: ignore[operator]
        light = 0.5 * (light + target)
    return np.asarray(light)
