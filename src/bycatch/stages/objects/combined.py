"""The detection image of a group: all its images together, as signal over noise.

Each image is weighted by its information on a source of flat spectrum (constant f_nu): the sum of
f_nu over its variance, divided by the root of the sum of the inverse variances.  For such a source
no other linear sum of the images has a better signal-to-noise, and the noise of the sum is
Gaussian of unit width where that of the images is, so that detection's threshold keeps its
meaning.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from astropy.wcs import WCS
from numpy.typing import NDArray

from bycatch.arrays import Bools, Floats, Image
from bycatch.images.drc import DrcImage
from bycatch.kernels.resample import STEP_PX, add_resampled, flux_and_variance

MOST_PIXELS = 10**8
"""A grid of more is not made: its planes would take more than a gigabyte."""


@dataclass(frozen=True)
class Grid:
    """The pixels that the images of a group are brought to.

    Attributes
    ----------
    wcs : a tangent plane
    shape : (ny, nx)
    """

    wcs: WCS
    shape: tuple[int, int]


def grid_over(wcs: WCS, ra_deg: Floats, dec_deg: Floats) -> Grid:
    """Return the pixels of an image, continued over some positions (the corners of all images).

    The image itself then needs no interpolation, and others of its visit no more than a shift.

    Parameters
    ----------
    wcs : of the image; distortions beyond its tangent plane are left out
    ra_deg, dec_deg : (N,) float

    Raises
    ------
    ValueError
        The grid would have more than 10^8 pixels.
    """
    plane = WCS(naxis=2)
    plane.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    plane.wcs.crval, plane.wcs.crpix = wcs.wcs.crval, wcs.wcs.crpix
    plane.wcs.cd = wcs.pixel_scale_matrix
    x, y = plane.all_world2pix(ra_deg, dec_deg, 0)
    first = np.floor([x.min(), y.min()])
    nx, ny = (int(np.ceil(v.max() - low)) + 1 for v, low in zip((x, y), first, strict=True))
    if nx * ny > MOST_PIXELS:
        msg = f"a grid of {nx} x {ny} pixels is too large"
        raise ValueError(msg)
    plane.wcs.crpix = wcs.wcs.crpix - first
    plane.wcs.set()
    return Grid(plane, (ny, nx))


class Combination:
    """The images of a group, added one by one.

    Parameters
    ----------
    grid : where they are added
    """

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self._total = np.zeros(grid.shape, np.float32)
        self._weight = np.zeros(grid.shape, np.float32)
        self._first: DrcImage | None = None
        self.n_images = 0

    def add(
        self,
        image: DrcImage,
        wcs: WCS,
        background: Image,
        noise: Image,
        *,
        microjansky: float,
        without: Bools | None = None,
    ) -> None:
        """Add an image.

        Parameters
        ----------
        image : its rates
        wcs : the aligned one
        background, noise : (ny, nx) of `detect`, e/s
        microjansky : f_nu of 1 e/s
        without : (ny, nx) bool; pixels that are left out, such as cosmic rays of single exposures
        """
        has_data = image.valid if without is None else image.valid & ~without
        # In microjansky: sums of f_nu over its variance.
        flux, variance = flux_and_variance(image.sci, background, noise, has_data, microjansky)
        add_resampled(self._total, self._weight, flux, variance, *self._places_in(wcs))
        self._first = self._first or image
        self.n_images += 1

    def image(self) -> DrcImage:
        """Return the sum as an image that detection takes: signal over noise, uniformly deep.

        It takes over the planes of the sum; nothing can be added to it afterwards.

        Raises
        ------
        ValueError
            Nothing was added.
        """
        if self._first is None:
            raise ValueError("no image was added")
        total, weight = self._total, self._weight
        has_data = weight > 0
        n = max(2, self.n_images)  # rules of single exposures don't hold for a sum
        np.sqrt(weight, out=weight)
        with np.errstate(invalid="ignore"):
            sci = np.divide(total, weight, out=total)  # NaN: nothing
        exptime_map_s = np.multiply(has_data, np.float32(n), out=weight)
        meta = replace(
            self._first.meta,
            root="combined",
            stem="combined",
            n_exposures=n,
            exptime_s=float(n),
            chips=(),
            notes=(),
        )
        n_exp: NDArray[np.int16] = np.multiply(has_data, n, dtype=np.int16)
        return DrcImage(
            path=Path("combined"),
            meta=meta,
            wht_path=None,
            sci=sci,
            n_exp=n_exp,
            exptime_map_s=exptime_map_s,
            wcs=self.grid.wcs,
            wht_type="exptime",
            has_context=True,
        )

    def _places_in(self, wcs: WCS) -> tuple[Floats, Floats]:
        """Return where each 32nd pixel of the grid lies in an image."""
        ny, nx = self.grid.shape
        rows = np.arange(0, ny + STEP_PX, STEP_PX, dtype=float)
        columns = np.arange(0, nx + STEP_PX, STEP_PX, dtype=float)
        x, y = np.meshgrid(columns, rows)
        ra, dec = self.grid.wcs.all_pix2world(x.ravel(), y.ravel(), 0)
        xy = wcs.all_world2pix(ra, dec, 0, quiet=True)
        places = [np.ascontiguousarray(np.reshape(v, x.shape)) for v in xy]
        return places[0], places[1]
