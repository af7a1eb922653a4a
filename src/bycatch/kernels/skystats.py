"""Clipped sky statistics in annuli, for many positions at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bycatch.kernels.neighbourhood import neighbourhood

CHUNK = 2000
"""Positions worked on at once: bounds the memory to some ten MB."""


@dataclass(frozen=True, eq=False)
class SkyStats:
    """Sky of N positions; median and standard deviation are NaN where no pixel is left."""

    median: NDArray[np.float64]
    std: NDArray[np.float64]
    n_pixels: NDArray[np.int64]


def annulus_stats(
    data: NDArray[np.float32],
    valid: NDArray[np.bool_],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    radii_px: tuple[float, float],
    clip_sigma: float,
) -> SkyStats:
    """Return the clipped median and standard deviation of annuli.

    Parameters
    ----------
    data, valid : (ny, nx)
    x, y : (N,) positions, 0-based pixel centres
    radii_px : inner and outer radius; a pixel counts where its centre lies between them
    clip_sigma : pixels farther than this many standard deviations from the
        median are dropped, until none is

    Returns
    -------
    SkyStats
        ``n_pixels`` are those left after the clipping.
    """
    parts = [
        _chunk_stats(data, valid, x[i : i + CHUNK], y[i : i + CHUNK], radii_px, clip_sigma)
        for i in range(0, len(x), CHUNK)
    ]
    if not parts:
        return SkyStats(np.empty(0), np.empty(0), np.empty(0, dtype=np.int64))
    median, std, count = (np.concatenate(column) for column in zip(*parts, strict=True))
    return SkyStats(median, std, count)


def _chunk_stats(
    data: NDArray[np.float32],
    valid: NDArray[np.bool_],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    radii_px: tuple[float, float],
    clip_sigma: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    inner, outer = radii_px
    near = neighbourhood((data.shape[0], data.shape[1]), x, y, outer)
    inside = (near.distance >= inner) & (near.distance <= outer) & near.take(valid)
    columns = inside.any(axis=0)
    values = np.where(inside, near.take(data), np.nan)[:, columns].astype(np.float64)
    return clipped_rows(values, clip_sigma)


def clipped_rows(
    values: NDArray[np.float64], clip_sigma: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Return clipped median, standard deviation and count of each row; NaN is ignored."""
    ordered = np.sort(values, axis=1)  # NaN last: clipping then only moves two ends inwards
    index = np.arange(ordered.shape[1])
    low = np.zeros(len(ordered), dtype=np.int64)
    high = np.isfinite(ordered).sum(axis=1)
    filled = np.nan_to_num(ordered)
    # Sums about the row's median keep the variance exact where the sky is far from zero.
    pivot = _middle(filled, low, high)
    sums = np.concatenate(
        [np.zeros((len(ordered), 1)), np.cumsum(filled - pivot[:, np.newaxis], axis=1)], axis=1
    )
    squares = np.concatenate(
        [np.zeros((len(ordered), 1)), np.cumsum((filled - pivot[:, np.newaxis]) ** 2, axis=1)],
        axis=1,
    )
    rows = np.arange(len(ordered))
    while True:
        count = np.maximum(high - low, 1)
        mean = (sums[rows, high] - sums[rows, low]) / count
        mean_square = (squares[rows, high] - squares[rows, low]) / count
        std = np.sqrt(np.maximum(mean_square - mean**2, 0.0))
        median = _middle(filled, low, high)
        bounds = (median - clip_sigma * std, median + clip_sigma * std)
        inside = (index >= low[:, np.newaxis]) & (index < high[:, np.newaxis])
        keep = inside & (filled >= bounds[0][:, np.newaxis]) & (filled <= bounds[1][:, np.newaxis])
        kept = keep.sum(axis=1)
        # Rounding of the sums must not clip a row away altogether.
        changed = (kept < high - low) & (kept > 0)
        if not changed.any():
            break
        low = np.where(changed, keep.argmax(axis=1), low)
        high = np.where(changed, low + kept, high)
    empty = high <= low
    return np.where(empty, np.nan, median), np.where(empty, np.nan, std), high - low


def _middle(
    ordered: NDArray[np.float64], low: NDArray[np.int64], high: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the median of each row's ordered values between two indices."""
    if not ordered.shape[1]:
        return np.zeros(len(ordered))
    rows, last = np.arange(len(ordered)), ordered.shape[1] - 1
    left = np.clip((low + high - 1) // 2, 0, last)
    right = np.clip((low + high) // 2, 0, last)
    middle: NDArray[np.float64] = 0.5 * (ordered[rows, left] + ordered[rows, right])
    return middle
