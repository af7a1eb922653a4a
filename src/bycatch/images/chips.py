"""The chips of the exposures of an image: the flc or flt files, as far as they are at hand."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from astropy.wcs import WCS
from numpy.typing import NDArray

from bycatch.arrays import Bools, Floats, Image
from bycatch.kernels.lacosmic import lacosmic

# Bits of the DQ arrays (ACS Data Handbook).
DQ_SATURATED = 256 | 2048
DQ_HOT = 16
DQ_BAD = 4 | 128
DQ_REJECTED = 4096
"""AstroDrizzle's cosmic rays."""
SIGCLIP, SIGFRAC, OBJLIM, N_ITERATIONS = 4.0, 0.3, 3.0, 2
"""Of LAcosmic (van Dokkum 2001, PASP 113, 1420)."""


@dataclass(frozen=True, eq=False)
class ChipQuality:
    """One chip of one exposure: its data quality, and its pixels.

    Attributes
    ----------
    dq : (ny, nx) integer bits
    wcs : its WCS with distortion, sky to 0-based detector pixels
    sci : (ny, nx) float32, electrons with the sky; None where they are not known
    exptime_s : duration of the exposure; 0 where it is not known
    exposure : root name of the exposure
    number : of the chip (CCDCHIP); 0 where it is not known
    readnoise_e : of a pixel
    """

    dq: NDArray[np.integer]
    wcs: WCS
    sci: Image | None = None
    exptime_s: float = 0.0
    exposure: str = ""
    number: int = 0
    readnoise_e: float = 0.0

    @property
    def has_light(self) -> bool:
        """True where its pixels can be measured."""
        return self.sci is not None and self.exptime_s > 0

    @cached_property
    def good(self) -> Bools:
        """(ny, nx) bool; pixels that are neither bad nor full."""
        assert self.sci is not None
        return np.asarray(np.isfinite(self.sci) & (self.dq & (DQ_BAD | DQ_SATURATED) == 0))

    @property
    def light(self) -> Image:
        """(ny, nx) float32; electrons, 0 in pixels that are not good."""
        assert self.sci is not None
        return np.where(self.good, self.sci, np.float32(0)).astype(np.float32)

    @cached_property
    def rays(self) -> Bools:
        """(ny, nx) bool; pixels that LAcosmic or the drizzling takes for cosmic rays."""
        return rays_of(self.light, ~self.good, self.readnoise_e**2) | (self.dq & DQ_REJECTED > 0)

    def places(self, ra_deg: Floats, dec_deg: Floats) -> tuple[Floats, Floats, Bools]:
        """Return 0-based pixels of positions on the sky, and which of them are on the chip.

        Parameters
        ----------
        ra_deg, dec_deg : (N,) float, in the frame that the image was drizzled in; may be NaN
        """
        x, y = np.full((2, len(ra_deg)), np.nan)
        known = np.isfinite(ra_deg) & np.isfinite(dec_deg)
        if known.any():
            x[known], y[known] = self.wcs.all_world2pix(
                ra_deg[known], dec_deg[known], 0, quiet=True
            )
        ny, nx = self.dq.shape
        return x, y, (x > -0.5) & (x < nx - 0.5) & (y > -0.5) & (y < ny - 0.5)


def rays_of(sci: Image, bad: Bools, noise2: float) -> Bools:
    """Return LAcosmic's pixels of an exposure in electrons.

    Parameters
    ----------
    sci : (ny, nx) float32, electrons
    bad : (ny, nx) bool
    noise2 : variance of a pixel without light, electrons^2
    """
    variance = (np.maximum(sci, 0) + np.float32(noise2)).astype(np.float32)
    return lacosmic(
        sci, variance, bad, sigclip=SIGCLIP, sigfrac=SIGFRAC, objlim=OBJLIM,
        n_iterations=N_ITERATIONS,
    )  # fmt: skip
