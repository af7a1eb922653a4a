"""The PSF of an image: what it is before any star is seen, and how it is kept."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from bycatch import photcal
from bycatch.arrays import Floats
from bycatch.errors import UnsupportedImage
from bycatch.images.drc import DrcImage
from bycatch.kernels.psf_grid import MARGIN_STEPS, OVERSAMPLING, grid_side

RADIUS_PX = 12
"""A PSF reaches so far, native pixels: 91 to 96 % of a star's light."""
NORM_RADIUS_PX = 10.0
"""Within this radius, native pixels, a PSF has the published share of the light."""
SIGMAS_PX = np.geomspace(0.6, 40.0, 18)
CURVE_RADII_PX = np.array([1.0, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 30, 40, 60, 80, 110])
"""Native pixels, as above."""
CORE_SHARE = 0.9
"""What drizzling leaves of the published light within 1 px there, as in `simulate.image_psf`."""
BOX_VARIANCE = 1.0 / 12.0
OTHER_FILTER = {"WFC": "F606W", "HRC": "F606W"}
"""Whose curve serves a filter without one."""
WINGS_PX = 60
"""The light of the brightest stars is drawn so far, native pixels: round, as published."""
FEW_STARS = 5
"""Fewer do not define a PSF: it is the published curve, adjusted by what there is, and flagged."""

SHARE_OF_LEFT, ERROR_SHARES = 0.75, (0.02, 0.05)
"""Fits expect so much of what the PSF leaves of its stars, within limits.  Where it differs from
star to star, as in stacks (0.055 to 0.062 of the light), errors with 0.02 were half of the scatter
from 19 to 23 mag; with larger shares weights are so flat that noise counts more: all of it makes
stars of good images (0.03) scatter by 4 % more."""


@dataclass(frozen=True, eq=False)
class PsfModel:
    """The PSF of an image, on grids of four points per pixel (`kernels.psf_grid`).

    Attributes
    ----------
    grids : (K, n, n) float; light in a pixel of a star of flux 1, by distance: a mean, and how it
        changes with the terms of the place
    shape : (ny, nx) of the image
    n_stars : that it was made from
    detector_px : side of a detector pixel, pixels of the image
    wings : (m,) float; mean light of a pixel at quarters of a pixel, as published: what it has
        beyond the grids
    width_scatter : by how much the width differs from star to star, as a share
    leftover : (m,) float; 1 sigma of what it leaves of a star of flux 1, by the same radii
    """

    grids: Floats
    shape: tuple[int, int]
    n_stars: int
    detector_px: float
    wings: Floats
    width_scatter: float
    leftover: Floats

    @property
    def is_of_stars(self) -> bool:
        """True if it comes from enough stars."""
        return self.n_stars >= FEW_STARS

    @property
    def radius_px(self) -> float:
        """How far it reaches."""
        return float((self.grids.shape[1] // 2 - MARGIN_STEPS) / OVERSAMPLING)

    @property
    def error_share(self) -> float:
        """1 sigma of its error at a star, over the light, one native pixel from the middle."""
        left = np.interp(
            self.detector_px * OVERSAMPLING, np.arange(len(self.leftover)), self.leftover
        )
        light = np.interp(self.detector_px, *self.profile)
        return float(np.clip(SHARE_OF_LEFT * left / light, *ERROR_SHARES))

    def terms(self, x: ArrayLike, y: ArrayLike) -> Floats:
        """Return the factors of the grids at places, (N, K): 1, and -1 to 1 along x and y."""
        return place_terms(x, y, self.shape, len(self.grids))

    @cached_property
    def with_width(self) -> Floats:
        """The grids, and what changes with the logarithm of the width, (K + 1, n, n)."""
        away = np.arange(self.grids.shape[1]) - self.grids.shape[1] // 2
        by_y, by_x = np.gradient(self.grids[0])
        wider = -(away * by_x + away[:, np.newaxis] * by_y + 2.0 * self.grids[0])
        return np.concatenate([self.grids, wider[np.newaxis]])

    def at(self, x: float, y: float) -> Floats:
        """Return the grid of a place, (n, n)."""
        return np.asarray(np.tensordot(self.terms([x], [y])[0], self.grids, 1))

    @cached_property
    def stamp(self) -> Floats:
        """The mean PSF in pixels, for a star in the middle of one."""
        middle, reach = self.grids.shape[1] // 2, int(self.radius_px)
        points = middle + OVERSAMPLING * np.arange(-reach, reach + 1)
        return np.asarray(self.grids[0][np.ix_(points, points)])

    @cached_property
    def profile(self) -> tuple[Floats, Floats]:
        """Radii in pixels, and the mean light of a pixel there."""
        distance = distances_px(self.grids.shape[1])
        ring = np.rint(distance * OVERSAMPLING).astype(int).ravel()
        count = np.bincount(ring)
        total = np.bincount(ring, self.grids[0].ravel())
        keep = np.flatnonzero(count)
        keep = keep[keep <= self.radius_px * OVERSAMPLING]
        return keep / OVERSAMPLING, total[keep] / count[keep]

    @property
    def fwhm_px(self) -> float:
        """Full width at half maximum of the mean profile, pixels of the image."""
        radius, light = self.profile
        below = np.flatnonzero(light < 0.5 * light[0])
        if not len(below):
            return float("nan")
        k = below[0]
        share = (light[k - 1] - 0.5 * light[0]) / (light[k - 1] - light[k])
        return float(2.0 * (radius[k - 1] + share * (radius[k] - radius[k - 1])))

    def energy(self, radius_px: float) -> float:
        """Return the share of the light within a radius, of pixels by their centres."""
        return enclosed_share(self.grids[0], radius_px)


def place_terms(x: ArrayLike, y: ArrayLike, shape: tuple[int, int], n_terms: int) -> Floats:
    """Return 1, and the place along x and y from -1 to 1; (N, K) with K of 1 or 3.

    Parameters
    ----------
    x, y : (N,) float, 0-based pixel centres
    shape : (ny, nx) of the image
    n_terms : 1 or 3
    """
    u, v = (
        np.clip(2.0 * np.asarray(values, float) / max(size - 1, 1) - 1.0, -1.0, 1.0)
        for values, size in zip((x, y), shape[::-1], strict=True)
    )
    return np.column_stack([np.ones_like(u), u, v])[:, :n_terms]


def distances_px(side: int) -> Floats:
    """Return the distances of a grid's points from its middle, pixels.

    Parameters
    ----------
    side : points along a side of the grid
    """
    away = (np.arange(side) - side // 2) / OVERSAMPLING
    return np.asarray(np.hypot(away, away[:, np.newaxis]))


def enclosed_share(grid: Floats, radius_px: float) -> float:
    """Return the sum of a grid within a radius, as a share of a star's light.

    Parameters
    ----------
    grid : (n, n) float
    radius_px : px
    """
    return float(grid[distances_px(len(grid)) <= radius_px].sum()) / OVERSAMPLING**2


@dataclass(frozen=True, eq=False)
class PublishedPsf:
    """The PSF that has the published encircled energy: round, a sum of Gaussians.

    Attributes
    ----------
    sigma_px, weight : of the Gaussians, pixels of the image
    detector_px : side of a detector pixel
    energy : share of the light within `NORM_RADIUS_PX`
    """

    sigma_px: Floats
    weight: Floats
    detector_px: float
    energy: float

    def wings(self) -> Floats:
        """Return the light of a pixel at 0, 1, ... quarters of a pixel from a star of flux 1."""
        steps = WINGS_PX * OVERSAMPLING * self.detector_px + 2
        radius = np.arange(int(steps)) / OVERSAMPLING
        variance = self.sigma_px**2 + BOX_VARIANCE
        shape = np.exp(-0.5 * radius[:, None] ** 2 / variance)
        return np.asarray((self.weight / (2.0 * np.pi * variance) * shape).sum(axis=1))

    def grid(self, width: float = 1.0) -> Floats:
        """Return it on a grid, with its core wider by a factor."""
        from scipy.special import ndtr

        side = grid_side(round(RADIUS_PX * self.detector_px))
        away = (np.arange(side) - side // 2) / OVERSAMPLING
        total = np.zeros((side, side))
        for sigma, weight in zip(self.sigma_px * width, self.weight, strict=True):
            share = ndtr((away + 0.5) / sigma) - ndtr((away - 0.5) / sigma)
            total += weight * np.outer(share, share)
        return normalise(total, self)


def normalise(grid: Floats, start: PublishedPsf) -> Floats:
    """Return a grid with the published share of the light within `NORM_RADIUS_PX`.

    Parameters
    ----------
    grid : (n, n) float
    start : Published PSF of the image
    """
    return grid * (start.energy / enclosed_share(grid, NORM_RADIUS_PX * start.detector_px))


def published_psf(image: DrcImage) -> PublishedPsf:
    """Return the PSF that an image has before its stars are seen.

    Encircled energy: Bohlin (2016, AJ 152, 60).  Non-negative weights of Gaussians are fitted to
    it, with the variance of the output pixel, over which they are integrated, added to theirs.

    Parameters
    ----------
    image : DrcImage
    """
    from scipy.optimize import nnls

    meta, ratio = image.meta, image.detector_px
    try:
        curve = photcal.encircled_energy(meta.detector, meta.filter)
    except UnsupportedImage:
        curve = photcal.encircled_energy(meta.detector, OTHER_FILTER[meta.detector])
    radius = CURVE_RADII_PX * meta.native_scale_arcsec
    target = curve.at(radius)
    target[0] *= CORE_SHARE
    sigma = SIGMAS_PX * ratio
    radius_px = CURVE_RADII_PX * ratio
    rows = 1.0 - np.exp(-0.5 * radius_px[:, None] ** 2 / (sigma**2 + BOX_VARIANCE))
    weight, _ = nnls(rows, target)
    keep = weight > 0
    norm = float(curve.at(NORM_RADIUS_PX * meta.native_scale_arcsec))
    return PublishedPsf(sigma[keep], weight[keep], ratio, norm)
