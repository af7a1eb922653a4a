"""From the pixels of an image to greys for looking at."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bycatch.arrays import Floats

BELOW_SIGMA, LINEAR_SIGMA = 3.0, 10.0
"""Where the greys begin below the sky's median, and their linear range."""
ASINH_REACH = 25.0
"""Linear ranges between white and black: linear in the sky, logarithmic above."""
ROWS = 32
"""Rows that are worked on at a time: they stay in the processor's cache."""


def block_means(image: Any, block_px: int) -> Floats:
    """Return the means of square blocks, NaN for blocks without any value.

    Parameters
    ----------
    image : (ny, nx), NaN where there are no data; an array, or what gives ``image[ys, xs]``
    block_px : side of the blocks, pixels; those at the upper and right edge can be smaller
    """
    height = block_px * max(1, ROWS // block_px)
    strips = (image[y : y + height, :] for y in range(0, image.shape[0], height))
    return np.concatenate([_strip_means(strip, block_px) for strip in strips])


def _strip_means(strip: NDArray[Any], block_px: int) -> Floats:
    ny, nx = strip.shape
    value = np.zeros((ny + -ny % block_px, nx + -nx % block_px))
    has_data = np.zeros(value.shape, np.int32)
    has_data[:ny, :nx] = np.isfinite(strip)
    value[:ny, :nx] = np.where(has_data[:ny, :nx], strip, 0.0)
    count, total = _block_sums(has_data, block_px), _block_sums(value, block_px)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _block_sums(values: NDArray[Any], block_px: int) -> NDArray[Any]:
    """Return the sums of blocks: additions of strided parts take half the time of `reduceat`."""
    rows = sum(values[k::block_px] for k in range(1, block_px)) + values[::block_px]
    sums: NDArray[Any] = sum(rows[:, k::block_px] for k in range(1, block_px)) + rows[:, ::block_px]
    return sums


def grey_levels(image: NDArray[Any]) -> Floats:
    """Return an image between 0 (below the sky) and 1 (brightest); NaN stays.

    White is 3 sigma below the median, where sigma is from the darker half of the pixels, which are
    sky where most are; asinh of ranges of 10 sigma from there on.
    """
    is_finite = np.isfinite(image)
    if not is_finite.any():
        return np.full(image.shape, np.nan)
    dark, sky = np.percentile(image[is_finite], (15.87, 50))
    sigma = float(sky - dark) or float(image[is_finite].std())  # an image without noise
    span = max(LINEAR_SIGMA * sigma, 1e-12)
    above = (image - (sky - BELOW_SIGMA * sigma)) / span
    levels = np.arcsinh(np.clip(above, 0, ASINH_REACH)) / np.arcsinh(ASINH_REACH)
    return np.asarray(levels, np.float64)
