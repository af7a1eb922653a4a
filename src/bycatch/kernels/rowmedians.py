"""Exact medians of small windows, for blocks of pixels at once.

The windows are sorted by networks of minima and maxima: no branch, so that the
compiler works on eight pixels at a time, and no approximation (a median of
medians would be one).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bycatch.arrays import Bools, Image
from bycatch.kernels.compiled import compiled

Number = Any
"""float32 stays float32 in compiled code."""

BLOCK_PX = 32
"""Pixels of a row that are worked on at once; a fixed number, so that no pixel is left over."""
EDGE_Y, EDGE_X = 2, 8
"""Pixels beyond each edge of the image that planes have: windows never have to ask where they end,
and rows begin where the processor likes to read."""
STRIDE = BLOCK_PX + 8


def plane_shape(ny: int, nx: int) -> tuple[int, int]:
    """Return the shape of a plane for an image: whole blocks, and edges on all sides.

    Parameters
    ----------
    ny, nx : of the image, px
    """
    return ny + 2 * EDGE_Y, n_blocks(nx) * BLOCK_PX + 2 * EDGE_X


def n_blocks(nx: int) -> int:
    """Return how many blocks cover a row.

    Parameters
    ----------
    nx : pixels of a row
    """
    return -(-nx // BLOCK_PX)


@compiled
def lower(a: Number, b: Number) -> Number:
    """Return the smaller of two numbers.

    Parameters
    ----------
    a, b : numbers of one type
    """
    return a if a < b else b  # noqa: FURB136, what min() does with NaN can't be vectorised


@compiled
def upper(a: Number, b: Number) -> Number:
    """Return the larger of two numbers.

    Parameters
    ----------
    a, b : numbers of one type
    """
    return b if a < b else a  # noqa: FURB136


@compiled
def sort_two(a: Number, b: Number) -> tuple[Number, Number]:
    """Return two numbers in rising order.

    Parameters
    ----------
    a, b : numbers of one type
    """
    return lower(a, b), upper(a, b)


@compiled
def sorted3(a: Number, b: Number, c: Number) -> tuple[Number, Number, Number]:
    """Return three numbers in rising order.

    Parameters
    ----------
    a, b, c : numbers of one type
    """
    a, b = sort_two(a, b)
    b, c = sort_two(b, c)
    a, b = sort_two(a, b)
    return a, b, c


@compiled
def sorted5(
    a: Number, b: Number, c: Number, d: Number, e: float
) -> tuple[Number, Number, Number, Number, Number]:
    """Return five numbers in rising order (nine comparisons, the fewest there are).

    Parameters
    ----------
    a, b, c, d, e : numbers of one type
    """
    a, b = sort_two(a, b)
    d, e = sort_two(d, e)
    c, e = sort_two(c, e)
    c, d = sort_two(c, d)
    a, d = sort_two(a, d)
    b, e = sort_two(b, e)
    a, c = sort_two(a, c)
    b, d = sort_two(b, d)
    b, c = sort_two(b, c)
    return a, b, c, d, e


@compiled
def median3(a: Number, b: Number, c: Number) -> Number:
    """Return the median of three numbers.

    Parameters
    ----------
    a, b, c : numbers of one type
    """
    return upper(lower(a, b), lower(upper(a, b), c))


@compiled
def median5(a: Number, b: Number, c: Number, d: Number, e: Number) -> Number:
    """Return the median of five numbers: the least and the greatest of four fall out.

    Parameters
    ----------
    a, b, c, d, e : numbers of one type
    """
    a, b = sort_two(a, b)
    c, d = sort_two(c, d)
    return median3(e, upper(a, c), lower(b, d))


@compiled
def median5x5_blocks(plane: Image, stale: Bools, out: Image) -> None:
    """Write the medians of the 5 x 5 pixels around those of stale blocks.

    Parameters
    ----------
    plane, out : float32, shape of `plane_shape`
    stale : (ny, number of blocks) bool

    Notes
    -----
    With columns and then rows sorted, the number at (i, j) of a window has
    (i + 1)(j + 1) - 1 others that are not above it and (5 - i)(5 - j) - 1 not
    below it, so that all but the three diagonals around i + j = 4 lie too low
    or too high.  Of the diagonal below, only the greatest can be the median of
    the 13 left, of the one above only the least, and of the middle one only its
    own median.
    """
    p, q, r, s = STRIDE, 2 * STRIDE, 3 * STRIDE, 4 * STRIDE
    # One array with fixed strides, and loops from zero: the compiler sees that nothing overlaps.
    column = np.empty(5 * STRIDE, np.float32)
    for y in range(stale.shape[0]):
        for block in range(stale.shape[1]):
            if not stale[y, block]:
                continue
            x = EDGE_X + block * BLOCK_PX - 2
            r0, r1, r2 = plane[y, x:], plane[y + 1, x:], plane[y + 2, x:]
            r3, r4 = plane[y + 3, x:], plane[y + 4, x:]
            for i in range(STRIDE):  # columns are sorted once for the windows that share them
                column[i], column[i + p], column[i + q], column[i + r], column[i + s] = sorted5(
                    r0[i], r1[i], r2[i], r3[i], r4[i]
                )
            row = out[y + EDGE_Y, x + 2 :]
            for i in range(BLOCK_PX):
                _, _, _, a3, a4 = sorted5(
                    column[i], column[i + 1], column[i + 2], column[i + 3], column[i + 4]
                )
                j = i + p
                _, _, b2, b3, b4 = sorted5(
                    column[j], column[j + 1], column[j + 2], column[j + 3], column[j + 4]
                )
                j = i + q
                _, c1, c2, c3, _ = sorted5(
                    column[j], column[j + 1], column[j + 2], column[j + 3], column[j + 4]
                )
                j = i + r
                d0, d1, d2, _, _ = sorted5(
                    column[j], column[j + 1], column[j + 2], column[j + 3], column[j + 4]
                )
                j = i + s
                e0, e1, _, _, _ = sorted5(
                    column[j], column[j + 1], column[j + 2], column[j + 3], column[j + 4]
                )
                below = upper(upper(a3, b2), upper(c1, d0))
                above = lower(lower(b4, c3), lower(d2, e1))
                row[i] = median3(below, median5(a4, b3, c2, d1, e0), above)


@compiled
def median3x3_blocks(plane: Image, stale: Bools, out: Image) -> None:
    """Write the medians of the 3 x 3 pixels around those of stale blocks (as above).

    Parameters
    ----------
    plane, out : float32, shape of `plane_shape`
    stale : (ny, number of blocks) bool
    """
    for y in range(stale.shape[0]):
        for block in range(stale.shape[1]):
            if not stale[y, block]:
                continue
            x = EDGE_X + block * BLOCK_PX - 1
            up, here, down = plane[y + 1, x:], plane[y + 2, x:], plane[y + 3, x:]
            row = out[y + EDGE_Y, x + 1 :]
            for i in range(BLOCK_PX):
                a0, a1, a2 = sorted3(up[i], here[i], down[i])
                b0, b1, b2 = sorted3(up[i + 1], here[i + 1], down[i + 1])
                c0, c1, c2 = sorted3(up[i + 2], here[i + 2], down[i + 2])
                # Greatest of the least, median of the middle ones, least of the greatest.
                row[i] = median3(
                    upper(a0, upper(b0, c0)), median3(a1, b1, c1), lower(a2, lower(b2, c2))
                )
