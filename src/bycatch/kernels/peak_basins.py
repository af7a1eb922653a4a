"""Which of the marked pixels belong to which peaks: a flood from the peaks downwards."""

from __future__ import annotations

import heapq

import numpy as np
from numpy.typing import NDArray

from bycatch.arrays import Bools, Image, Ints
from bycatch.kernels.bounds import check_pixels, check_shapes
from bycatch.kernels.compiled import compiled
from bycatch.kernels.neighbourhood import plane

IN_MASK, IS_WIDE, IS_NARROW, SEEN, WIDE_BASIN, NARROW_BASIN = 1, 2, 4, 8, 16, 32
"""Bits of a pixel on its way: of the mask; peak; visited; and whose it has become."""


def narrow_basins(signal: Image, near: Bools, x: Ints, y: Ints, narrow: Bools) -> Bools:
    """Return the pixels that a flood from the peaks downwards gives to narrow ones.

    Each connected part of the mask (diagonals included) is shared out among its
    peaks, the brightest pixels first (watershed of the negative image); a part
    without peaks belongs to none.  Among equal pixels those beside come before
    those on the diagonal, and then the first come; scikit-image's watershed can
    give pixels between equal peaks to the other one.

    Parameters
    ----------
    signal : (ny, nx) float32
    near : (ny, nx) bool
        Pixels to share out.
    x, y : (N,) int
        Pixels of the peaks, in ``near``.
    narrow : (N,) bool
    """
    check_shapes(signal, near)
    check_pixels(x, y, near.shape)
    state = with_rim(near)
    state[y + 1, x + 1] |= np.where(narrow, IS_NARROW, IS_WIDE).astype(np.uint8)
    out = np.zeros(near.shape, bool)
    _fill_narrow_basins(plane(signal, np.float32), state, x[narrow], y[narrow], out)
    return out


def with_rim(mask: Bools) -> NDArray[np.uint8]:
    """Return a mask as bits, with a rim of zeros that spares asking where the image ends.

    Parameters
    ----------
    mask : (ny, nx) bool
    """
    state = np.zeros((mask.shape[0] + 2, mask.shape[1] + 2), np.uint8)
    state[1:-1, 1:-1] = mask
    return state


@compiled
def _fill_narrow_basins(
    signal: Image, state: NDArray[np.uint8], x: Ints, y: Ints, out: Bools
) -> None:
    nx = signal.shape[1]
    flat, part = state.reshape(-1), np.empty(1024, np.int64)
    for k in range(len(x)):
        first = (y[k] + 1) * (nx + 2) + x[k] + 1
        if flat[first] & SEEN:
            continue
        part, n, kinds = connected_pixels(flat, nx + 2, first, part)
        if kinds & IS_WIDE:
            flood(signal, flat, part[:n])
        for place in part[:n]:
            if not kinds & IS_WIDE or flat[place] & NARROW_BASIN:
                out[place // (nx + 2) - 1, place % (nx + 2) - 1] = True


@compiled
def connected_pixels(
    state: NDArray[np.uint8], width: int, first: int, part: Ints
) -> tuple[Ints, int, int]:
    """Return the pixels connected with one (in ``part``), their number, and all their bits.

    Parameters
    ----------
    state : flat (ny + 2)(nx + 2) uint8, bits of the pixels with a rim; written
    width : nx + 2
    first : flat index of the pixel to start from
    part : (m,) int64, room for the result
    """
    part[0], n, n_done, kinds = first, 1, 0, 0
    state[first] |= SEEN
    while n_done < n:
        place = part[n_done]
        kinds |= state[place]
        n_done += 1
        for row in (place - width, place, place + width):
            for near in range(row - 1, row + 2):
                if state[near] & IN_MASK and not state[near] & SEEN:
                    state[near] |= SEEN
                    if n == len(part):
                        part = np.concatenate((part, part))
                    part[n] = near
                    n += 1
    return part, n, kinds


@compiled
def flood(signal: Image, state: NDArray[np.uint8], part: Ints) -> None:
    """Share out a connected part among its peaks: brightest pixels first, then first come.

    Parameters
    ----------
    signal : (ny, nx) float32
    state : flat (ny + 2)(nx + 2) uint8, bits of the pixels with a rim; written
    part : (n,) int64, flat indices into the state
    """
    nx = signal.shape[1]
    width = nx + 2
    queue = [(np.float32(0), 0, 0) for _ in range(0)]
    for place in part:
        if state[place] & (IS_WIDE | IS_NARROW):
            state[place] |= NARROW_BASIN if state[place] & IS_NARROW else WIDE_BASIN
            heapq.heappush(queue, (-signal[place // width - 1, place % width - 1], 0, place))
    age = 0
    while queue:
        _, _, place = heapq.heappop(queue)
        basin = state[place] & (WIDE_BASIN | NARROW_BASIN)
        for j in range(8):
            near = place + neighbour(j, width)
            if state[near] & IN_MASK and not state[near] & (WIDE_BASIN | NARROW_BASIN):
                state[near] |= basin
                age += 1
                heapq.heappush(queue, (-signal[near // width - 1, near % width - 1], age, near))


@compiled
def neighbour(j: int, width: int) -> int:
    """Return the step to one of the eight neighbours: those beside first, then diagonals.

    Parameters
    ----------
    j : 0 to 7
    width : of a row, px
    """
    if j < 4:
        return (-width, -1, 1, width)[j]
    return (-width - 1, -width + 1, width - 1, width + 1)[j - 4]
