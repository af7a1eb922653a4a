"""The point-spread function and galaxy profiles, as sums of Gaussians.

A sum of Gaussians is integrated over pixels exactly (error functions), is
convolved with another one by adding variances, and keeps its total for an
infinite aperture.  The PSF is fitted to the published encircled energy.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from bycatch import photcal
from bycatch.arrays import Floats

SPIKE_LENGTH_PX, SPIKE_WIDTH_PX = 22.0, 0.8
PROFILE_END_RE = 8.0
"""A Sersic profile is cut at this many half-light radii."""
BOX_VARIANCE = 1.0 / 12.0
"""Variance of a box of one pixel, per axis."""
_FIT_RADII_PX = np.array([1.0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 15, 20, 30, 40, 60, 110])
# The radii of the usual apertures count most; inside 2 px the table depends on the centring.
_FIT_WEIGHTS = np.array([0.15, 0.1, 0.05, 1, 0.1, 1, 0.1, 1, 0.1, 1, 0.1, 0.3, 0.05, 0.2, 0.05, 1])
# Share of the table's light within 1 px: makes stars of a drizzled FWHM of 2.0 to 2.3 px, as in
# the field.
_CORE_SHARE = 0.95


@dataclass(frozen=True)
class Local:
    """What the PSF depends on at a place.

    Attributes
    ----------
    ux, uy, vx, vy : Jacobian of the distortion there, nominal pixels per pixel
    width : factor to the PSF's width there
    focus_waves : defocus there, waves rms at 547 nm; of `AberratedPsf` only
    """

    ux: float
    uy: float
    vx: float
    vy: float
    width: float
    focus_waves: float

    @property
    def area(self) -> float:
        """Area of a detector pixel in nominal ones."""
        return self.ux * self.vy - self.uy * self.vx


class Psf(Protocol):
    """A star's light on the detector, before noise."""

    def surface_brightness(self, radius_px: Floats) -> Floats:
        """Return the mean profile per square pixel, (R,)."""
        ...

    def star(self, x: Floats, y: Floats, local: Local) -> Floats:
        """Return the light in pixels at distances x (nx,) and y (ny,) from the star, (ny, nx)."""
        ...


@dataclass(frozen=True, eq=False)
class Mixture:
    """A sum of Gaussians along the axes.

    Attributes
    ----------
    sigma_x, sigma_y : (K,) standard deviations, nominal pixels (0.05 arcsec)
    weight : (K,) shares of the total; they add up to 1
    """

    sigma_x: Floats
    sigma_y: Floats
    weight: Floats

    def surface_brightness(self, radius_px: Floats) -> Floats:
        """Return the mean profile per square pixel, (R,); spikes are taken as round."""
        variance = self.sigma_x * self.sigma_y + BOX_VARIANCE
        shape = np.exp(-0.5 * np.square(radius_px)[:, None] / variance)
        return np.asarray((self.weight / (2.0 * np.pi * variance) * shape).sum(axis=1))

    def energy(self, radius_px: Floats) -> Floats:
        """Return the share of the light within circles, (R,); for round Gaussians."""
        share = 1.0 - np.exp(-0.5 * (radius_px[:, None] / self.sigma_x) ** 2)
        return np.asarray(share @ self.weight)

    def star(self, x: Floats, y: Floats, local: Local) -> Floats:
        """Return the light in each pixel, (ny, nx), of a star of total 1 (see `Psf`)."""
        scale = local.width / np.sqrt(local.area)
        return self.stamp(x, y, scale, scale)

    def stamp(self, x: Floats, y: Floats, scale_x: float, scale_y: float) -> Floats:
        """Return the light in each pixel, (ny, nx), of a star of total 1.

        Parameters
        ----------
        x, y : (nx,), (ny,) float
            Distances of the pixel centres from the star.
        scale_x, scale_y : float
            Factors to the widths: nominal pixels to those of ``x`` and ``y``.
        """
        along_x = _box_shares(x, self.sigma_x * scale_x)
        along_y = _box_shares(y, self.sigma_y * scale_y)
        return np.asarray((along_y * self.weight) @ along_x.T)


def _box_shares(distance: Floats, sigma: Floats) -> Floats:
    """Return the share of Gaussians (K) that falls in pixels of size 1 (N), (N, K)."""
    from scipy.special import erf

    edges = np.append(distance - 0.5, distance[-1] + 0.5)
    return np.asarray(0.5 * np.diff(erf(edges[:, None] / (np.sqrt(2.0) * sigma)), axis=0))


@functools.lru_cache(maxsize=64)
def psf(filter_name: str, pixfrac: float, scale_ratio: float, spike_share: float) -> Mixture:
    """Return the PSF on the detector whose drizzled image has the published encircled energy.

    Parameters
    ----------
    filter_name : str
    pixfrac : float
        Size of a drop; drizzling smears by it.
    scale_ratio : float
        Size of an output pixel in nominal detector pixels.
    spike_share : float
        Share of the light in diffraction spikes along rows and columns.

    Returns
    -------
    Mixture
        Before the integration over detector pixels.

    Notes
    -----
    Encircled energy: Bohlin (2016, AJ 152, 60), Table 8.  Non-negative weights
    of round Gaussians are fitted to it, with the variances of the detector
    pixel, the drop and the output pixel added to theirs.
    """
    from scipy.optimize import nnls

    smear = BOX_VARIANCE * (1.0 + pixfrac**2 + scale_ratio**2)
    curve = photcal.encircled_energy("WFC", filter_name)
    target = curve.at(_FIT_RADII_PX * 0.05)
    target[0] *= _CORE_SHARE
    target -= spike_share * _spike_energy(_FIT_RADII_PX, smear)
    sigma = np.geomspace(0.6, 60.0, 50)
    rows = 1.0 - np.exp(-0.5 * _FIT_RADII_PX[:, None] ** 2 / (sigma**2 + smear))
    # The heavy last row makes the weights add up.
    rows = np.vstack([rows * _FIT_WEIGHTS[:, None], np.full(sigma.size, 100.0)])
    weight, _ = nnls(
        rows, np.append(target * _FIT_WEIGHTS, 100.0 * (1.0 - spike_share)), maxiter=5000
    )
    keep = weight > 1e-5
    total = weight[keep].sum() / (1.0 - spike_share)
    spikes = np.array([[SPIKE_LENGTH_PX, SPIKE_WIDTH_PX], [SPIKE_WIDTH_PX, SPIKE_LENGTH_PX]])
    n_spikes = 2 if spike_share > 0 else 0
    return Mixture(
        np.concatenate([sigma[keep], spikes[0, :n_spikes]]),
        np.concatenate([sigma[keep], spikes[1, :n_spikes]]),
        np.concatenate([weight[keep] / total, np.full(n_spikes, 0.5 * spike_share)]),
    )


def _spike_energy(radius_px: Floats, smear: float) -> Floats:
    """Return the share of a spike within circles, (R,), by summing over rings."""
    ring = np.linspace(0.0, radius_px.max(), 5001)
    angle = np.linspace(0.0, np.pi / 2, 181)
    long, short = SPIKE_LENGTH_PX**2 + smear, SPIKE_WIDTH_PX**2 + smear
    shape = np.cos(angle) ** 2 / long + np.sin(angle) ** 2 / short
    density = np.exp(-0.5 * ring[:, None] ** 2 * shape).mean(axis=1) / np.sqrt(long * short)
    total = np.concatenate([[0.0], np.cumsum(0.5 * np.diff(ring) * _pair_sums(density * ring))])
    return np.asarray(np.interp(radius_px, ring, total))


def _pair_sums(values: Floats) -> Floats:
    return values[1:] + values[:-1]


@functools.lru_cache(maxsize=16)
def sersic(index: float) -> tuple[Floats, Floats]:
    """Return a Sersic profile of half-light radius 1 as round Gaussians: (sigma, weight).

    The profile is cut at `PROFILE_END_RE` and its weights add up to 1 (after
    Hogg & Lang 2013, PASP 125, 719; fitted here).
    """
    from scipy.optimize import nnls
    from scipy.special import gammainc, gammaincinv

    b = gammaincinv(2.0 * index, 0.5)
    radius = np.geomspace(0.01, PROFILE_END_RE, 120)
    curve = gammainc(2.0 * index, b * radius ** (1.0 / index))
    curve = curve / curve[-1]
    sigma = np.geomspace(0.03, 4.0, 12)
    rows = 1.0 - np.exp(-0.5 * (radius[:, None] / sigma) ** 2)
    weight, _ = nnls(rows, curve, maxiter=2000)
    keep = weight > 1e-3
    # The cut takes light away, so that half of the rest lies within less than 1.
    half = np.interp(0.5, rows[:, keep] @ weight[keep] / weight[keep].sum(), radius)
    return sigma[keep] / half, weight[keep] / weight[keep].sum()


@functools.lru_cache(maxsize=64)
def compact_psf(mixture: Mixture) -> Mixture:
    """Return the PSF with fewer components, for galaxies: neighbours in width are merged."""
    sigma = np.sqrt(mixture.sigma_x * mixture.sigma_y)
    bins = np.digitize(sigma, [0.8, 1.2, 2.2, 5.0, 12.0])
    components = [
        (
            np.sqrt(np.average(sigma[bins == k] ** 2, weights=mixture.weight[bins == k])),
            mixture.weight[bins == k].sum(),
        )
        for k in np.unique(bins)
    ]
    width = np.array([m[0] for m in components])
    return Mixture(width, width, np.array([m[1] for m in components]))
