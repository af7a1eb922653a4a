"""The pixels of a segment as a list, and the memory that deblending works in."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bycatch.kernels.compiled import compiled

Ints = NDArray[np.int32]
Longs = NDArray[np.int64]
Floats = NDArray[np.float32]


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


def with_depths(value: Floats, at: Ints) -> Pixels:
    """Return pixels with their depths; they have no box yet.

    Parameters
    ----------
    value : (n,) float32
    at : (n,) int32, places in the flat image
    """
    # Bits of a float are in the order of its value; of a negative one, in reverse.  0 - x, not
    # -x, so that the two zeros agree.
    bits = (np.float32(0) - value).view(np.int32)
    depth = bits ^ ((bits >> np.int32(31)) & np.int32(0x7FFFFFFF))
    return Pixels(value, depth, at, np.empty(0, np.int32), np.empty(0, np.int64))


@compiled
def box_places(own: Pixels, nx: int, begin: int) -> Ints:
    """Turn places in an image into those in a box around a segment, and steps along with them.

    Return the way back, to numbers from ``begin`` on, in memory that is taken over or larger.

    Parameters
    ----------
    own : Pixels of one segment in row order; ``at`` and ``steps`` are written
    nx : columns of the image
    begin : number of its first pixel
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
def workspace(n: int) -> Work:
    """Return memory for segments of up to so many pixels.

    Parameters
    ----------
    n : number of pixels
    """
    return Work(
        np.empty(n, np.int32),
        np.empty(n, np.int32),
        np.empty((n, 6), np.int32),
        np.empty((n, 2), np.int64),
    )
