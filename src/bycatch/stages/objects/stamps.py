"""Extended objects on a common grid: what an image shows of them while its pixels are in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bycatch.arrays import Bools, Floats, Image, Ints
from bycatch.kernels.kron import ellipse_radius_px
from bycatch.kernels.stamps import MOST_HALF, north_up
from bycatch.stages.objects.matching import KERNEL_HALF
from bycatch.stages.psf.of_image import to_west

if TYPE_CHECKING:
    from astropy.wcs import WCS

HALF_STEP = 4
"""Stamps reach a multiple of it to each side, so that many have one size."""
ARCSEC_PER_DEG = 3600.0
DROP_AND_PIXEL_PX = float(np.sqrt(2.0 / 12.0))
"""Width of the noise that drizzling with whole pixels correlates: rms of a drop and of a pixel."""


@dataclass(frozen=True, eq=False)
class SkyEllipses:
    """The ellipses of N objects on the sky.

    Attributes
    ----------
    semimajor_arcsec, semiminor_arcsec : (N,) float; NaN of objects that need none
    pa_deg : (N,) float; position angle of the long axis, from north to east
    """

    semimajor_arcsec: Floats
    semiminor_arcsec: Floats
    pa_deg: Floats

    @classmethod
    def of_kron(
        cls,
        semimajor_px: Floats,
        semiminor_px: Floats,
        kron_radius: Floats,
        pa_deg: Floats,
        scale_arcsec: Floats | float,
    ) -> SkyEllipses:
        """Return the ellipses of total fluxes, 2.5 Kron radii, of the catalogs' columns."""
        radius = ellipse_radius_px(kron_radius, semimajor_px, semiminor_px)
        with np.errstate(divide="ignore", invalid="ignore"):
            root = np.sqrt(semimajor_px / semiminor_px)
            return cls(radius * root * scale_arcsec, radius / root * scale_arcsec, pa_deg)

    def where(self, mask: Bools) -> SkyEllipses:
        """Return those of some objects, NaN of the others; (N,) bool."""
        return SkyEllipses(*(np.where(mask, values, np.nan) for values in vars(self).values()))

    def half(self, step_arcsec: float) -> Ints:
        """Return how many steps stamps reach to each side, (N,); -1: none, or too large.

        The ellipse, and the reach of a kernel around it; at most 120 steps.
        """
        with np.errstate(invalid="ignore"):
            is_one = (self.semiminor_arcsec > 0) & (self.semimajor_arcsec >= self.semiminor_arcsec)
            is_one &= np.isfinite(self.semimajor_arcsec) & np.isfinite(self.pa_deg)
        steps = np.where(is_one, self.semimajor_arcsec, 0.0) / step_arcsec + 1.0 + KERNEL_HALF
        n_half_steps = np.ceil(np.minimum(steps, 2.0 * MOST_HALF) / HALF_STEP).astype(np.int64)
        half = n_half_steps * HALF_STEP
        return np.where(is_one & (half <= MOST_HALF), half, -1)


@dataclass(frozen=True, eq=False)
class Noise:
    """The noise of sums over an image's pixels.

    Attributes
    ----------
    areas_px2 : (R,) float; rising
    errors : (R,) or (K, R) float; of a sum over each area, without photon noise of the object,
        microjansky; between them, and beyond, a power law holds
    electrons_per_microjansky : scalar or (K,) float; of the photon noise of the objects
    width_px : rms of the Gaussian that correlates neighbouring pixels
    """

    areas_px2: Floats
    errors: Floats
    electrons_per_microjansky: ArrayLike
    width_px: float = DROP_AND_PIXEL_PX

    def at(self, area_px2: Floats, rows: NDArray[np.intp]) -> Floats:
        """Return the errors of sums over areas, (B,), of some of the K objects."""
        errors = np.atleast_2d(self.errors)
        log = np.log(errors[rows] if len(errors) > 1 or self.errors.ndim > 1 else errors)
        grid = np.log(self.areas_px2)
        with np.errstate(divide="ignore"):
            log_area = np.log(area_px2)
        if len(grid) == 1:
            return np.asarray(np.exp(log[:, 0] + 0.5 * (log_area - grid[0])))
        part = np.clip(np.searchsorted(grid, log_area) - 1, 0, len(grid) - 2)
        which = np.arange(len(log_area)) if len(log) > 1 else np.zeros(len(log_area), int)
        low, high = log[which, part], log[which, part + 1]
        share = (log_area - grid[part]) / (grid[part + 1] - grid[part])
        return np.asarray(np.exp(low + share * (high - low)))


@dataclass(frozen=True, eq=False)
class Stamps:
    """What an image shows of K objects, on the common grid.

    Attributes
    ----------
    rows : (K,) int; the objects, rising
    half : (K,) int; steps to each side
    values : float32; stamps one behind the other, microjansky per step, sky subtracted
    masked : uint8; likewise, 0 where the image counts, 1 without data, 2 of another segment
    step_arcsec : of the grid
    scale_arcsec : of the image
    noise : of sums over the image, of the K objects
    """

    rows: Ints
    half: Ints
    values: Image
    masked: NDArray[np.uint8]
    step_arcsec: float
    scale_arcsec: float
    noise: Noise

    def of(self, which: NDArray[np.intp]) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """Return some of the K stamps, which have one size: values and mask, (B, n, n)."""
        n = 2 * int(self.half[which[0]]) + 1
        start = np.cumsum((2 * self.half + 1) ** 2) - (2 * self.half + 1) ** 2
        at = start[which][:, np.newaxis] + np.arange(n * n)
        shape = (len(which), n, n)
        return self.values[at].reshape(shape), self.masked[at].reshape(shape)


def pixels_per_arcsec(wcs: WCS, ra_deg: Floats, dec_deg: Floats) -> Floats:
    """Return how far (x, y) move per arcsecond to the east, and to the north.

    Parameters
    ----------
    wcs : celestial
    ra_deg, dec_deg : (K,) float

    Returns
    -------
    (K, 2, 2) float
        [[dx/de, dx/dn], [dy/de, dy/dn]]; NaN where the WCS does not reach.
    """
    if not len(ra_deg):
        return np.empty((0, 2, 2))
    away = 1.0 / ARCSEC_PER_DEG
    east = away / np.cos(np.radians(dec_deg))
    x, y = wcs.all_world2pix(
        np.concatenate([ra_deg + east, ra_deg - east, ra_deg, ra_deg]),
        np.concatenate([dec_deg, dec_deg, dec_deg + away, dec_deg - away]),
        0,
        quiet=True,
    )
    offsets = np.reshape([x, y], (2, 2, 2, -1))  # x or y, towards east or north, there and back
    return np.moveaxis(0.5 * (offsets[:, :, 0] - offsets[:, :, 1]), -1, 0)


def stamps(
    sci: Image,
    good: Bools,
    segmentation: NDArray[np.int32],
    x: Floats,
    y: Floats,
    labels: ArrayLike,
    sky: Floats,
    pixel_matrix: Floats,
    *,
    rows: Ints,
    ellipses: SkyEllipses,
    noise: Noise,
    step_arcsec: float,
    scale_arcsec: float,
    microjansky: float,
) -> Stamps:
    """Return what an image shows of the extended objects that it covers.

    Each costs 5 bytes per step and image: about 10 kB for a small galaxy, 290 kB for the largest,
    whose long semi-axis is 106 steps.  Larger ones are left out: PSFs do not matter there.

    Parameters
    ----------
    sci : (ny, nx) float32, e/s
    good : (ny, nx) bool; pixels with data and without cosmic rays
    segmentation : (ny, nx) int; segments, 0 for none
    x, y : (K,) float; places of objects, 0-based pixel centres
    labels : (K,) int; their segments in this image (that on which the place lies), 0: none
    sky : (K,) float; level per pixel, e/s
    pixel_matrix : (K, 2, 2) of `pixels_per_arcsec`
    rows : (K,) int; which of the N objects they are, rising
    ellipses : of all N objects
    noise : of the K objects in this image
    step_arcsec : of the grid, the same for all images of a group
    scale_arcsec : of the image
    microjansky : f_nu of 1 e/s
    """
    half = ellipses.half(step_arcsec)[rows]
    index = np.flatnonzero(half >= 0)
    values, why_masked = north_up(
        sci, good, segmentation, x[index], y[index], np.asarray(labels)[index], sky[index],
        to_west(pixel_matrix[index]) * step_arcsec, half[index],
    )  # fmt: skip
    values *= np.float32(microjansky * (step_arcsec / scale_arcsec) ** 2)
    electrons = np.broadcast_to(noise.electrons_per_microjansky, len(rows))[index]
    errors = noise.errors[index] if noise.errors.ndim > 1 else noise.errors
    own = Noise(noise.areas_px2, errors, electrons, noise.width_px)
    return Stamps(
        np.asarray(rows)[index], half[index], values, why_masked, step_arcsec, scale_arcsec, own
    )
