"""Deblending of touching sources, as SExtractor and photutils do it.

The method is that of Bertin & Arnouts (1996, A&AS 117, 393, section 7), with the
definitions of photutils 3 (``deblend_sources``, mode 'exponential', 8 neighbours):

1. Each segment is cut at ``n_levels`` thresholds between its faintest and its
   brightest pixel.  Parts of at least ``n_pixels`` pixels count.  A part that falls
   apart into several at the next level, or at a later one, is replaced by these;
   those that never fall apart are the markers.
2. The segment is flooded from its markers, bright pixels first.
3. While a source has less than a share ``contrast`` of the segment's flux, the
   faintest is dissolved, and its pixels are flooded by those around it.

What makes it fast, with the same result:

- Pixels are added level by level, brightest first, to a forest of connected parts:
  one pass finds the parts of all levels, and which of them fall apart.
- A flood begins at the rims of the markers alone, and after a source is dissolved it
  runs in that source's pixels alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bycatch.kernels.bounds import MOST_LABELS, check_shapes, label_plane
from bycatch.kernels.compiled import compiled, long
from bycatch.kernels.deblend_flood import IN_PIECES, flood_segment
from bycatch.kernels.deblend_markers import number_markers
from bycatch.kernels.deblend_pixels import (
    Floats,
    Ints,
    Longs,
    Pixels,
    box_places,
    with_depths,
    workspace,
)

MANY_MARKERS = 200
"""Above this number of markers photutils tries again with equally spaced levels."""


def deblend(
    smooth: NDArray[np.floating],
    labels: NDArray[np.integer],
    n_labels: int,
    n_pixels: int,
    n_levels: int,
    contrast: float,
    in_place: bool = False,
) -> Ints:
    """Split segments into sources.

    Parameters
    ----------
    smooth : (ny, nx)
        The image that was thresholded, finite within the segments.
    labels : (ny, nx)
        0, or 1 ... ``n_labels``; each label one segment of 8-connected pixels.
    n_labels : int
        The largest label.
    n_pixels : int
        Least number of connected pixels of a source, where it first stands alone.
    n_levels : int
        Number of thresholds between a segment's faintest and brightest pixel, spaced
        exponentially, or equally where the faintest is not positive.
    contrast : float
        Least share of the segment's flux that makes a source: 0 to keep all, 1 to split none.
    in_place : bool
        The new labels may take the place of the old ones, where these are int32 and writable.

    Returns
    -------
    (ny, nx) int32
        Segments that stay whole come first, in the order of their labels; then the sources
        of those that were split, within a segment in the row order of their markers.

    Raises
    ------
    ValueError
        If an argument is out of its range, or a segment is in several pieces.

    Notes
    -----
    The labels are photutils' own, except where rounding decides: sums of fluxes are in double
    precision here (the segment's total is in single precision there), so that shares within
    some 1e-7 of ``contrast``, or of each other, may fall on the other side.
    """
    segments = label_plane(labels)
    image = np.ascontiguousarray(smooth, dtype=np.float32)
    areas = _checked_areas(image, segments, n_labels, n_pixels, n_levels, contrast)
    if contrast == 1:
        return segments if in_place else segments.copy()
    # Each of two sources needs its pixels.
    large = np.flatnonzero(areas >= 2 * n_pixels)
    first = np.full(len(areas), -1, dtype=np.int64)
    start = np.concatenate([[0], np.cumsum(areas[large])]).astype(np.int64)
    first[large] = start[:-1]
    n_sources = np.ones(len(areas), dtype=np.int64)
    source = np.zeros(start[-1], dtype=np.int32)
    if len(large):
        value, at = np.empty(len(source), np.float32), np.empty(len(source), np.int32)
        _gather(image, segments, first.copy(), value, at)
        pixels = with_depths(value, at)
        low = np.fmin.reduceat(pixels.value, start[:-1])
        high = np.fmax.reduceat(pixels.value, start[:-1])
        equal, exponential = thresholds(low, high, n_levels)
        n_sources[large] = _split_all(
            pixels, image.shape[1], start, exponential, equal, n_pixels, contrast, source
        )
    if (n_sources == IN_PIECES).any():
        message = f"segment {np.flatnonzero(n_sources == IN_PIECES)[0]} is in several pieces"
        raise ValueError(message)
    whole = (n_sources == 1) & (areas > 0)
    n_sources[(n_sources == 1) | (areas == 0)] = 0
    # A whole segment's new label, or what is added to the number of a source within its segment.
    offset = np.where(whole, np.cumsum(whole), whole.sum() + np.cumsum(n_sources) - n_sources)
    offset[0] = 0
    out = segments if in_place and segments.flags.writeable else np.zeros_like(segments)
    _relabel(segments, first, offset.astype(np.int32), source, out)
    return out


def thresholds(low: Floats, high: Floats, n_levels: int) -> tuple[Floats, Floats]:
    """Return thresholds between the faintest and the brightest pixel, both excluded.

    Parameters
    ----------
    low, high : (n,) float32
    n_levels : int

    Returns
    -------
    equal, exponential : (n, n_levels) float32
        Equally spaced, and equal in the logarithm; the latter are equally spaced, too,
        where ``low`` is not positive.

    Notes
    -----
    In single precision, operation by operation as photutils does it: a threshold's last digit
    may decide about a pixel.
    """
    low, high = low[:, None], high[:, None]
    step = np.arange(n_levels + 2, dtype=np.float32)
    with np.errstate(all="ignore"):
        equal = step * ((high - low) / np.float32(n_levels + 1)) + low
        equal[:, -1:] = high
        share = (equal - low) / (high - low)
        exponential = np.where(low > 0, low * (high / low) ** share, equal)
    inner = slice(1, -1)
    return (
        np.ascontiguousarray(equal[:, inner]),
        # Rounding must not let a level lie below the one before it.
        np.maximum.accumulate(exponential[:, inner], axis=1),
    )


def _checked_areas(
    image: Floats, segments: Ints, n_labels: int, n_pixels: int, n_levels: int, contrast: float
) -> Longs:
    """Return the number of pixels of each label, 0 for label 0."""
    check_shapes(image, segments)
    if image.size > np.iinfo(np.int32).max or n_labels > MOST_LABELS:
        message = f"{n_labels} segments on an image of {image.size} pixels are too many"
        raise ValueError(message)
    if n_pixels < 1 or n_levels < 1:
        message = f"n_pixels = {n_pixels} and n_levels = {n_levels} must be at least 1"
        raise ValueError(message)
    if not 0 <= contrast <= 1:
        message = f"contrast = {contrast} must be between 0 and 1"
        raise ValueError(message)
    areas = np.zeros(n_labels + 1, dtype=np.int64)
    if not _count(segments, areas):
        message = f"labels must be from 0 to n_labels = {n_labels}"
        raise ValueError(message)
    return areas


@compiled
def _count(labels: Ints, areas: Longs) -> bool:
    """Count the pixels of each label but 0; return whether all labels are in range."""
    for row in range(labels.shape[0]):
        for column in range(labels.shape[1]):
            label = labels[row, column]
            if label != 0:
                if label < 0 or label >= areas.size:
                    return False
                areas[label] += 1
    return True


@compiled
def _gather(image: Floats, labels: Ints, cursor: Longs, value: Floats, at: Ints) -> None:
    """List the pixels of each segment in row order; ``cursor`` is its next place, or -1."""
    ny, nx = image.shape
    for row in range(ny):
        for column in range(nx):
            label = labels[row, column]
            if label != 0 and cursor[label] >= 0:
                i = cursor[label]
                cursor[label] = i + 1
                value[i] = image[row, column]
                at[i] = row * nx + column


@compiled
def _relabel(labels: Ints, first: Longs, offset: Ints, source: Ints, out: Ints) -> None:
    """Write final labels; the sources of a segment are in row order from ``first`` on."""
    cursor = first.copy()
    for row in range(labels.shape[0]):
        for column in range(labels.shape[1]):
            label = labels[row, column]
            if label == 0:
                continue
            number = offset[label]
            if cursor[label] >= 0:
                number += source[cursor[label]]
                cursor[label] += 1
            out[row, column] = number


@compiled
def _split_all(
    pixels: Pixels,
    nx: int,
    start: Longs,
    exponential: Floats,
    equal: Floats,
    n_pixels: int,
    contrast: float,
    source: Ints,
) -> Longs:
    """Split all segments of an image with ``nx`` columns; return how many sources each has.

    Segment s has the pixels ``start[s]`` to ``start[s + 1]``; those of one that stays whole
    get the source number 0, those of others 1, 2, ...
    """
    n_segments = start.size - 1
    n_sources = np.ones(n_segments, np.int64)
    longest = long(0)
    for s in range(n_segments):
        longest = max(longest, start[s + 1] - start[s])
    work = workspace(longest)
    back = np.empty(1024, np.int32)
    for s in range(n_segments):
        begin, end = start[s], start[s + 1]
        own = Pixels(
            pixels.value[begin:end], pixels.depth[begin:end], pixels.at[begin:end], back,
            np.empty(8, np.int64),
        )  # fmt: skip
        back = box_places(own, nx, begin)
        own = Pixels(own.value, own.depth, own.at, back, own.steps)
        mine = source[begin:end]
        n = number_markers(own, begin, exponential[s], n_pixels, work, mine)
        # Levels that are equally spaced anyway need no second try.
        if n > MANY_MARKERS and _differ(exponential[s], equal[s]):
            n = number_markers(own, begin, equal[s], n_pixels, work, mine)
        if n > 1:
            n_sources[s] = flood_segment(own, begin, n, contrast, work, mine)
    return n_sources


@compiled
def _differ(a: Floats, b: Floats) -> bool:
    n_different = 0
    for k in range(a.size):
        n_different += a[k] != b[k]
    return n_different > 0
