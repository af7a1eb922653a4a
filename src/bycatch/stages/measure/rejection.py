"""Light of sources that some exposures have lost: pixels rejected as cosmic rays, or bad ones.

Such a pixel has less weight than those around.  The other exposures see it at another phase of
their pixels and can't replace it: the flux of a star with S/N > 50 scatters by about the light that
the lost weight carried (0.8 to 1.5 times it where that is 1 % of the star and more, in stacks of
six training recipes; benchmarks/families.py).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bycatch.arrays import Floats
from bycatch.images.drc import DrcImage
from bycatch.kernels.neighbourhood import neighbourhood, pixels_at
from bycatch.robust import nan_median

CORE_PX = 3.0
"""Light farther out than this, detector pixels, does not count: there is little of it."""
AROUND_PX, N_AROUND = (5.0, 6.5, 8.0), 12
"""Circles, detector pixels, and places on each, whose median is the weight of a whole pixel."""
LOW_SHARE = 0.85
"""Drizzling alone makes weights scatter; a pixel below this share of those around has lost some."""


def rejected_rates(image: DrcImage, x: Floats, y: Floats, sky_rate: Floats) -> Floats:
    """Return the light that the lost weight of pixels carried, (N,) e/s; 0 where there is none.

    Parameters
    ----------
    image : DrcImage
    x, y : (N,) 0-based pixel centres, on the image or not
    sky_rate : (N,) e/s per pixel
    """
    near = neighbourhood(image.shape, x, y, CORE_PX * image.detector_px)
    at = near.rows, near.columns
    in_core = near.distance <= CORE_PX * image.detector_px
    whole = _weights_around(image, x, y)[:, np.newaxis]
    with np.errstate(invalid="ignore"):
        share = _weights(image, *at) / whole
        light = np.maximum(image.sci[at] - sky_rate[:, np.newaxis], 0.0)
        is_low = in_core & (share < LOW_SHARE) & np.isfinite(light)
    return np.asarray(np.where(is_low, light * (1.0 - share), 0.0).sum(axis=1))


def _weights(image: DrcImage, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> Floats:
    """Return the time per exposure of pixels; NaN without data.

    Where fewer exposures look, all pixels have less time, and none is lost.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        seconds = image.exptime_map_s[rows, columns] / image.n_exp[rows, columns]
    return np.where(image.valid[rows, columns] & (seconds > 0), seconds, np.nan)


def _weights_around(image: DrcImage, x: Floats, y: Floats) -> Floats:
    """Return the median time per exposure around positions, (N,); NaN where there is no data."""
    radius_px = np.repeat(AROUND_PX, N_AROUND) * image.detector_px
    angle = np.tile(np.linspace(0.0, 2.0 * np.pi, N_AROUND, endpoint=False), len(AROUND_PX))
    around_x = x[:, np.newaxis] + radius_px * np.cos(angle)
    around_y = y[:, np.newaxis] + radius_px * np.sin(angle)
    rows, columns = pixels_at(image.shape, around_x, around_y)
    return nan_median(_weights(image, rows, columns), axis=1)
