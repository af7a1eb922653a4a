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

Pixels enter the flood in the order (value, time of entry).  The markers enter all at
once, and between two marker pixels of the same value it is the layout of the
priority queue that decides which is the first.  Where such a tie is met the flood is
run again from all marker pixels in row order through a plain binary heap, which is what
scikit-image's ``watershed`` does.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bycatch.kernels.bounds import MOST_LABELS, check_shapes, label_plane
from bycatch.kernels.compiled import compiled, long

Ints = NDArray[np.int32]
Longs = NDArray[np.int64]
Floats = NDArray[np.float32]

MANY_MARKERS = 200
"""Above this number of markers photutils tries again with equally spaced levels."""

# Columns of the forest of connected parts.  All but the first two are those of a part, at its root.
PARENT = 0  # a pixel of the same part, nearer to its root; -1: not in the forest yet
FILL = 1  # at a marker's first pixel the level down to which it reaches, else 0
SIZE = 2  # number of pixels
STATE = 3  # one of those below
SEED = 4  # its first pixel when it last stood alone
HEIGHT = 5  # the level where it did
# States of a part: too small to count, never fallen apart, fallen apart.
SMALL, SINGLE, PARTED = 0, 1, 2

IN_PIECES = -1
"""A segment's number of sources if it is not connected."""
AGE_BITS = 32
NO_KEY = -(1 << 63)
# Which of the four nearest neighbours (up, left, right, down: bits 0 to 3) touch each of the eight.
TOUCHING = (0, 0, 0, 0, 0b0011, 0b0101, 0b1010, 0b1100)


class Pixels(NamedTuple):
    """Pixels in a list, and where they are in the image.

    ``at`` is a pixel's place: of all segments in the flat image, of a single one in its box,
    which has a border of one pixel.  ``back`` is the way back from a box: -1 where no pixel
    of the segment is.  ``steps`` lead from a place to its neighbours, the four nearest ones
    first (the order in which scikit-image visits them).
    ``depth`` orders the values as integers, the brightest being the smallest.
    """

    value: Floats
    depth: Ints
    at: Ints
    back: Ints
    steps: Longs


class Work(NamedTuple):
    """Memory for one segment at a time, as long as the largest one."""

    level: Ints  # how many thresholds a pixel is above; later, whether it is listed, 0 in between
    order: Ints  # pixels, brightest level first; later, a queue or a list
    forest: Ints  # (n, 6)
    heap: Longs  # (n, 2): keys and pixels


def deblended(
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
        pixels = _pixels_with_depths(value, at)
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


def _pixels_with_depths(value: Floats, at: Ints) -> Pixels:
    """Return pixels with their depths; they have no box yet."""
    # Bits of a float are in the order of its value; of a negative one, in reverse.  0 - x, not
    # -x, so that the two zeros agree.
    bits = (np.float32(0) - value).view(np.int32)
    depth = bits ^ ((bits >> np.int32(31)) & np.int32(0x7FFFFFFF))
    return Pixels(value, depth, at, np.empty(0, np.int32), np.empty(0, np.int64))


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
    work = _workspace(longest)
    back = np.empty(1024, np.int32)
    for s in range(n_segments):
        begin, end = start[s], start[s + 1]
        own = Pixels(
            pixels.value[begin:end], pixels.depth[begin:end], pixels.at[begin:end], back,
            np.empty(8, np.int64),
        )  # fmt: skip
        back = _box_places(own, nx, begin)
        own = Pixels(own.value, own.depth, own.at, back, own.steps)
        mine = source[begin:end]
        n = _mark(own, begin, exponential[s], n_pixels, work, mine)
        # Levels that are equally spaced anyway need no second try.
        if n > MANY_MARKERS and _differ(exponential[s], equal[s]):
            n = _mark(own, begin, equal[s], n_pixels, work, mine)
        if n > 1:
            n_sources[s] = _flood_segment(own, begin, n, contrast, work, mine)
    return n_sources


@compiled
def _box_places(own: Pixels, nx: int, begin: int) -> Ints:
    """Turn places in an image into those in a box around a segment, and steps along with them.

    Return the way back, to numbers from ``begin`` on, in memory that is taken over or larger.
    """
    at, steps, back = own.at, own.steps, own.back
    n = at.size
    top, bottom, left, right = at[0] // nx, at[n - 1] // nx, nx, 0
    for i in range(n):
        column = at[i] % nx
        left, right = min(left, column), max(right, column)
    width = right - left + 3
    size = (bottom - top + 3) * width
    if size > back.size:
        back = np.empty(2 * size, np.int32)
    back[:size] = -1
    for i in range(n):
        place = (at[i] // nx - top + 1) * width + at[i] % nx - left + 1
        at[i] = place
        back[place] = begin + i
    steps[0], steps[1], steps[2], steps[3] = -width, -1, 1, width
    steps[4], steps[5], steps[6], steps[7] = -width - 1, 1 - width, width - 1, width + 1
    return back


@compiled
def _differ(a: Floats, b: Floats) -> bool:
    n_different = 0
    for k in range(a.size):
        n_different += a[k] != b[k]
    return n_different > 0


@compiled
def _workspace(n: int) -> Work:
    return Work(
        np.empty(n, np.int32),
        np.empty(n, np.int32),
        np.empty((n, 6), np.int32),
        np.empty((n, 2), np.int64),
    )


# ---------------------------------------------------------------- markers


@compiled
def _mark(own: Pixels, begin: int, levels: Floats, n_pixels: int, work: Work, source: Ints) -> int:
    """Find a segment's markers: set their numbers in ``source``, and return how many there are."""
    at, back, steps = own.at, own.back, own.steps
    order, forest = work.order, work.forest
    ends = _by_level(own.value, levels, work.level, order)
    for i in range(at.size):
        forest[i, PARENT] = -1
        forest[i, FILL] = 0
    n_done = 0
    # A pixel above m thresholds belongs to the parts of the m lowest levels.
    for height in range(levels.size, 0, -1):
        newcomers = order[n_done : ends[height]]
        _join(newcomers, at, back, steps, begin, forest)
        _settle(newcomers, height, n_pixels, forest)
        n_done = ends[height]
    _part_whole(order[:n_done], forest)
    return _paint(own, begin, work, source)


@compiled
def _by_level(value: Floats, levels: Floats, level: Ints, order: Ints) -> Longs:
    """Sort pixels by level, the brightest first, in row order within a level.

    Returns
    -------
    ends : (n_levels + 1,)
        Where a level's pixels end.
    """
    n_levels = levels.size
    counts = np.zeros(n_levels + 1, np.int64)
    for i in range(value.size):
        low, high = 0, n_levels
        while low < high:
            middle = (low + high) // 2
            if levels[middle] < value[i]:
                low = middle + 1
            else:
                high = middle
        level[i] = low
        counts[low] += 1
    ends = np.zeros(n_levels + 1, np.int64)
    total = 0
    for height in range(n_levels, -1, -1):
        ends[height] = total
        total += counts[height]
    for i in range(value.size):
        height = level[i]
        order[ends[height]] = i
        ends[height] += 1
    return ends


@compiled
def _root(forest: Ints, i: int) -> int:
    """Return the first pixel of a part, halving the way to it for the next time."""
    while forest[i, PARENT] != i:
        forest[i, PARENT] = forest[forest[i, PARENT], PARENT]
        i = long(forest[i, PARENT])
    return i


@compiled
def _join(newcomers: Ints, at: Ints, back: Ints, steps: Longs, begin: int, forest: Ints) -> None:
    """Add pixels to the forest, and join the parts that they connect."""
    for i in newcomers:
        forest[i, PARENT] = i
        forest[i, SIZE] = 1
        forest[i, STATE] = SMALL
        here = long(i)
        neighbours = 0
        for m in range(8):
            # A corner is joined already if a pixel beside it is.
            if neighbours & TOUCHING[m]:
                continue
            k = back[at[i] + steps[m]] - begin
            if k < 0 or k >= at.size or forest[k, PARENT] < 0:
                continue
            neighbours |= 1 << m
            other = _root(forest, k)
            if other != here:
                here = _merge(here, other, forest)


@compiled
def _merge(a: int, b: int, forest: Ints) -> int:
    """Join two parts; return the root of both, which is their first pixel."""
    root, other = min(a, b), max(a, b)
    forest[other, PARENT] = root
    forest[root, SIZE] += forest[other, SIZE]
    if forest[root, STATE] == SMALL:
        forest[root, STATE] = forest[other, STATE]
        forest[root, SEED] = forest[other, SEED]
        forest[root, HEIGHT] = forest[other, HEIGHT]
    elif forest[other, STATE] != SMALL:
        # Both were large enough one level up, where they stood apart.
        _keep(root, forest)
        _keep(other, forest)
        forest[root, STATE] = PARTED
    return root


@compiled
def _keep(root: int, forest: Ints) -> None:
    """Make a part a marker as it was where it last stood alone, if it is a single source."""
    if forest[root, STATE] == SINGLE:
        forest[forest[root, SEED], FILL] = forest[root, HEIGHT]


@compiled
def _settle(newcomers: Ints, height: int, n_pixels: int, forest: Ints) -> None:
    """Note how the parts with added pixels stand when their level is complete."""
    for i in newcomers:
        root = _root(forest, long(i))
        if forest[root, STATE] == SMALL and forest[root, SIZE] >= n_pixels:
            forest[root, STATE] = SINGLE
        if forest[root, STATE] == SINGLE:
            forest[root, SEED] = root
            forest[root, HEIGHT] = height


@compiled
def _part_whole(members: Ints, forest: Ints) -> None:
    """Part the segment itself into what stands above its lowest level."""
    n_parts = 0
    for i in members:
        n_parts += forest[i, PARENT] == i and forest[i, STATE] != SMALL
    if n_parts > 1:
        for i in members:
            if forest[i, PARENT] == i:
                _keep(long(i), forest)


@compiled
def _paint(own: Pixels, begin: int, work: Work, source: Ints) -> int:
    """Give numbers to the markers, in the row order of their first pixels; return how many."""
    at, back, steps = own.at, own.back, own.steps
    level, queue, forest = work.level, work.order, work.forest
    source[:] = 0
    number = 0
    for first in range(source.size):
        height = forest[first, FILL]
        if height == 0:
            continue
        number += 1
        source[first] = number
        queue[0], n_queue = first, 1
        while n_queue > 0:
            n_queue -= 1
            i = queue[n_queue]
            for step in steps:
                k = back[at[i] + step] - begin
                if 0 <= k < source.size and source[k] == 0 and level[k] >= height:
                    source[k] = number
                    queue[n_queue] = k
                    n_queue += 1
    return number


# ---------------------------------------------------------------- flood


@compiled
def _flood_segment(
    own: Pixels, begin: int, n_markers: int, contrast: float, work: Work, source: Ints
) -> int:
    """Flood a segment from its markers, and dissolve sources that are too faint.

    Returns
    -------
    int
        The number of sources left, numbered from 1 on in the order of the markers (and 0 if
        it is one), or IN_PIECES.
    """
    n = source.size
    n_dry = long(0)
    for i in range(n):
        work.level[i] = 0
        if source[i] == 0:
            work.order[n_dry] = i
            n_dry += 1
    if not _flood(own, begin, n_dry, work, source):
        return IN_PIECES
    alive = _bright(own, begin, n_markers, contrast, work, source)
    number, n_alive = np.zeros(n_markers + 1, np.int32), 0
    for k in range(1, n_markers + 1):
        if alive[k]:
            n_alive += 1
            number[k] = n_alive
    if n_alive == 1:
        number[:] = 0
    for i in range(n):
        source[i] = number[source[i]]
    return n_alive


@compiled
def _flood(own: Pixels, begin: int, n_dry: int, work: Work, source: Ints) -> bool:
    """Give each dry pixel (the first of ``work.order``) to a source; return whether all got one.

    All other pixels of the segment belong to sources.
    """
    dry, heap, depth = work.order[:n_dry], work.heap, own.depth
    n_heap = _rim(own, begin, dry, work, source)
    for stop_at_tie in (True, False):
        if _spread(own, begin, n_heap, heap, source, stop_at_tie):
            break
        for i in dry:
            source[i] = 0
        n_heap = long(0)
        for k in range(source.size):
            if source[k] > 0:
                n_heap = _push(heap, n_heap, long(depth[k]) << AGE_BITS, k)
    n_unreached = 0
    for i in dry:
        n_unreached += source[i] == 0
    return n_unreached == 0


@compiled
def _rim(own: Pixels, begin: int, dry: Ints, work: Work, source: Ints) -> int:
    """Fill the heap with the pixels of sources that touch dry ones; return its size."""
    at, back, steps, depth = own.at, own.back, own.steps, own.depth
    heap, is_in_heap = work.heap, work.level
    n_heap = long(0)
    for i in dry:
        for step in steps:
            k = back[at[i] + step] - begin
            if 0 <= k < source.size and source[k] > 0 and is_in_heap[k] == 0:
                is_in_heap[k] = 1
                n_heap = _push(heap, n_heap, long(depth[k]) << AGE_BITS, k)
    for k in range(n_heap):
        is_in_heap[heap[k, 1]] = 0
    return n_heap


@compiled
def _spread(
    own: Pixels, begin: int, n_heap: int, heap: Longs, source: Ints, stop_at_tie: bool
) -> bool:
    """Flood from the pixels in the heap; at a tie between them return False, if asked to.

    A key holds a pixel's depth, or the flood's where that is deeper, and the pixel's age.
    """
    at, back, steps, depth = own.at, own.back, own.steps, own.depth
    age = 0
    last = NO_KEY
    while n_heap > 0:
        key, i = heap[0, 0], heap[0, 1]
        if stop_at_tie and key == last:
            return False
        n_heap = _pop(heap, n_heap)
        for step in steps:
            k = back[at[i] + step] - begin
            if k < 0 or k >= source.size or source[k] != 0:
                continue
            source[k] = source[i]
            age += 1
            level = max(key >> AGE_BITS, long(depth[k]))
            n_heap = _push(heap, n_heap, (level << AGE_BITS) + age, k)
            # Of two equal pixels one must have spread for their order to matter.
            last = key
    return True


@compiled
def _push(heap: Longs, n_heap: int, key: int, pixel: int) -> int:
    """Add to the heap; return its new size."""
    child = n_heap
    while child > 0:
        parent = (child - 1) // 2
        if key >= heap[parent, 0]:
            break
        heap[child, 0] = heap[parent, 0]
        heap[child, 1] = heap[parent, 1]
        child = parent
    heap[child, 0] = key
    heap[child, 1] = pixel
    return n_heap + 1


@compiled
def _pop(heap: Longs, n_heap: int) -> int:
    """Take the first from the heap; return its new size."""
    n_heap -= 1
    key, pixel = heap[n_heap, 0], heap[n_heap, 1]
    hole = 0
    while True:
        child = 2 * hole + 1
        if child >= n_heap:
            break
        if child + 1 < n_heap and heap[child + 1, 0] < heap[child, 0]:
            child += 1
        if heap[child, 0] >= key:
            break
        heap[hole, 0] = heap[child, 0]
        heap[hole, 1] = heap[child, 1]
        hole = child
    heap[hole, 0] = key
    heap[hole, 1] = pixel
    return n_heap


# ---------------------------------------------------------------- contrast


@compiled
def _bright(
    own: Pixels, begin: int, n_markers: int, contrast: float, work: Work, source: Ints
) -> NDArray[np.bool_]:
    """Dissolve the faintest source until all have their share of the segment's flux.

    One at a time, since several faint ones may together be bright enough.

    Returns
    -------
    (n_markers + 1,) bool
        Which sources are left.
    """
    flux = np.zeros(n_markers + 1)
    alive = np.ones(n_markers + 1, np.bool_)
    alive[0] = False
    # The pixels of each source as a chain.
    head, chain = np.full(n_markers + 1, -1, np.int32), work.forest[:, PARENT]
    for i in range(source.size):
        flux[source[i]] += own.value[i]
        chain[i] = head[source[i]]
        head[source[i]] = i
    total = 0.0
    for i in range(source.size):
        total += own.value[i]
    n_alive = n_markers
    while n_alive > 1:
        faintest = _faintest(flux, alive, total, contrast)
        if faintest == 0:
            break
        n_dry = long(0)
        i = head[faintest]
        while i >= 0:
            work.order[n_dry] = i
            source[i] = 0
            n_dry += 1
            i = chain[i]
        alive[faintest] = False
        n_alive -= 1
        if not _flood(own, begin, n_dry, work, source):
            break
        for j in range(n_dry):
            i = work.order[j]
            flux[source[i]] += own.value[i]
            chain[i] = head[source[i]]
            head[source[i]] = i
    return alive


@compiled
def _faintest(
    flux: NDArray[np.float64], alive: NDArray[np.bool_], total: float, contrast: float
) -> int:
    """Return the source of the least share, or 0 if all have enough."""
    faintest, least = 0, np.inf
    for k in range(1, flux.size):
        if alive[k] and flux[k] / total < least:
            faintest, least = k, flux[k] / total
    return faintest if least < contrast else 0
