"""Where bright sources are: a window so wide that the phase of the pixels does not matter.

The core of a star is about as wide as a detector pixel.  A window of its own width weighs the few
pixels of the core by where they happen to lie: the centroid is off by 0.02 px in a single exposure
of the published PSF and by 0.05 of a sharp one, however bright the star is (benchmarks/families.py,
"points" and "silicon").  What a wide window adds in noise does not matter for bright ones.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bycatch.arrays import Floats, Image, Ints
from bycatch.images.drc import DrcImage
from bycatch.kernels.moments import Properties
from bycatch.kernels.neighbourhood import pixels_at
from bycatch.kernels.windows import wide_centroids
from bycatch.sky.astrometry import photon_variance_px2

WIDE_PX = 1.6
"""Sigma of the window, detector pixels: 0.013 px are left of the 0.02, at 1.3 px 0.017; wider ones
gain little and see more of the neighbours."""
BRIGHT_PX = 0.02
"""The wide window is for sources whose photon noise leaves this error (S/N of about 50)."""
_MOST_MOVE_PX = 0.3


def bright_centres(
    image: DrcImage,
    background: Image,
    noise: Floats,
    labels: NDArray[np.int32],
    properties: Properties,
    at: tuple[Floats, Floats],
) -> tuple[Floats, Floats]:
    """Return positions with those of bright sources moved to their centroids in the wide window.

    Parameters
    ----------
    image : DrcImage
    background : (ny, nx) e/s
    noise : (N,) e/s of a pixel at each source
    labels : (ny, nx) segments
    properties : their properties
    at : (N,) x and (N,) y so far
    """
    x, y = at[0].copy(), at[1].copy()
    wide_px = WIDE_PX * image.detector_px
    size_px = np.hypot(properties.semimajor_px, properties.semiminor_px) / np.sqrt(2.0)
    seconds: Any = image.exptime_map_s[pixels_at(image.shape, x, y)]
    error2 = photon_variance_px2(properties.flux, noise, np.maximum(size_px, wide_px), seconds)
    bright = np.flatnonzero(
        (error2 < (BRIGHT_PX * image.detector_px) ** 2)
        & (properties.sigma_window_px < wide_px)
        & (properties.flux > 0)
    )
    new_x, new_y = wide_centroids(
        image.sci, background, image.valid, labels, bright + 1, x[bright], y[bright], wide_px
    )
    # A wide window that drifts away has a neighbour in it.
    move_px = np.hypot(new_x - x[bright], new_y - y[bright])
    is_close = move_px <= _MOST_MOVE_PX * image.detector_px
    x[bright[is_close]], y[bright[is_close]] = new_x[is_close], new_y[is_close]
    return x, y


def noise_errors_px(
    image: DrcImage, properties: Properties, at: tuple[Ints, Ints], noise: Floats
) -> Floats:
    """Return what the noise of sky and light adds to the errors of windowed centroids per axis, px.

    Parameters
    ----------
    image : DrcImage
    properties : of N segments
    at : (N,) rows and (N,) columns of the pixels of their centroids
    noise : (N,) e/s of a pixel of sky there
    """
    correlation = window_correlation(properties.sigma_window_px, image.noise_correlation)
    with np.errstate(divide="ignore", invalid="ignore"):
        light = properties.light_gain / image.exptime_map_s[at]
    return np.sqrt(correlation * properties.sky_gain * noise**2 + light)


def window_correlation(sigma_px: Floats, correlation: float) -> Floats:
    """Return by how much drizzling raises the variance of a centroid in a Gaussian window.

    Only neighbours are correlated, by (R - 1) / 2 for a noise correlation R of large areas; the
    weights of a centroid along x are the window's along y, and its slope along x.

    Parameters
    ----------
    sigma_px : (N,) of the windows
    correlation : R, of large areas (`noise_correlation`)
    """
    near = (correlation - 1.0) * np.exp(-0.25 / sigma_px**2)
    return np.asarray((1.0 + near) * (1.0 + near * (1.0 - 0.5 / sigma_px**2)))
