"""Steps 2 and 3 of deblending: the flood from the markers, and the end of faint sources.

Pixels enter the flood in the order (value, time of entry).  The markers enter all at
once, and between two marker pixels of the same value it is the layout of the
priority queue that decides which is the first.  Where such a tie is met the flood is
run again from all marker pixels in row order through a plain binary heap, which is what
scikit-image's ``watershed`` does.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bycatch.kernels.compiled import compiled, long
from bycatch.kernels.deblend_markers import PARENT
from bycatch.kernels.deblend_pixels import Ints, Longs, Pixels, Work

IN_PIECES = -1
"""A segment's number of sources if it is not connected."""
AGE_BITS = 32
NO_KEY = -(1 << 63)


@compiled
def flood_segment(
    own: Pixels, begin: int, n_markers: int, contrast: float, work: Work, source: Ints
) -> int:
    """Flood a segment from its markers, and dissolve sources that are too faint.

    Parameters
    ----------
    own : Pixels of the segment in its box
    begin : number of its first pixel in the list of all segments
    n_markers : number of markers
    contrast : least share of the segment's flux
    work : memory, written
    source : (n,) int32, numbers of the markers come in, those of the sources go out

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
        _put(heap, child, heap[parent, 0], heap[parent, 1])
        child = parent
    _put(heap, child, key, pixel)
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
        _put(heap, hole, heap[child, 0], heap[child, 1])
        hole = child
    _put(heap, hole, key, pixel)
    return n_heap


@compiled
def _put(heap: Longs, place: int, key: int, pixel: int) -> None:
    heap[place, 0] = key
    heap[place, 1] = pixel


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
