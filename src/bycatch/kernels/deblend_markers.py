"""Step 1 of deblending: the markers, which are the parts that stand apart at some level.

Pixels are added level by level, brightest first, to a forest of connected parts.
"""

from __future__ import annotations

import numpy as np

from bycatch.kernels.compiled import compiled, long
from bycatch.kernels.deblend_pixels import Floats, Ints, Longs, Pixels, Work

# Columns of the forest of connected parts.  All but the first two are those of a part, at its root.
PARENT = 0  # a pixel of the same part, nearer to its root; -1: not in the forest yet
FILL = 1  # at a marker's first pixel the level down to which it reaches, else 0
SIZE = 2  # number of pixels
STATE = 3  # one of those below
SEED = 4  # its first pixel when it last stood alone
HEIGHT = 5  # the level where it did
# States of a part: too small to count, never fallen apart, fallen apart.
SMALL, SINGLE, PARTED = 0, 1, 2
# Which of the four nearest neighbours (up, left, right, down: bits 0 to 3) touch each of the eight.
TOUCHING = (0, 0, 0, 0, 0b0011, 0b0101, 0b1010, 0b1100)


@compiled
def number_markers(
    own: Pixels, begin: int, levels: Floats, n_pixels: int, work: Work, source: Ints
) -> int:
    """Find a segment's markers: set their numbers in ``source``, and return how many there are.

    Parameters
    ----------
    own : Pixels of the segment in its box
    begin : number of its first pixel in the list of all segments
    levels : (n_levels,) float32, the thresholds
    n_pixels : least number of pixels of a marker
    work : memory, written
    source : (n,) int32, written: from 1 on, 0 between the markers
    """
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
