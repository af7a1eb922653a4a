"""Peaks among marked pixels: where they are, and which lie too near to what is missing."""

from __future__ import annotations

import numpy as np

from bycatch.arrays import Bools, Image, Ints
from bycatch.kernels.bounds import check_pixels, check_shapes, length_px
from bycatch.kernels.compiled import compiled
from bycatch.kernels.neighbourhood import plane


def maxima(signal: Image, near: Bools) -> tuple[Ints, Ints]:
    """Return the marked pixels that none of their eight neighbours exceeds: (x, y), row by row.

    Parameters
    ----------
    signal : (ny, nx) float
    near : (ny, nx) bool, the marked pixels
    """
    check_shapes(signal, near)
    y, x = np.divmod(_maxima(plane(signal), np.flatnonzero(near)), max(signal.shape[1], 1))
    return x, y


@compiled
def _maxima(signal: Image, places: Ints) -> Ints:
    out, n = np.empty(len(places), np.int64), 0
    for place in places:
        out[n] = place
        n += is_maximum(signal, place // signal.shape[1], place % signal.shape[1])
    return out[:n]


@compiled
def is_maximum(signal: Image, y: int, x: int) -> bool:
    """Return whether none of the eight neighbours is brighter.

    Parameters
    ----------
    signal : (ny, nx) float
    y, x : the pixel
    """
    ny, nx = signal.shape
    for v in range(max(y - 1, 0), min(y + 2, ny)):
        for u in range(max(x - 1, 0), min(x + 2, nx)):
            if signal[v, u] > signal[y, x]:
                return False
    return True


def is_cut_off(good: Bools, x: Ints, y: Ints, radius_px: float) -> Bools:
    """Return whether missing pixels, or the edge of the image, lie within a radius of pixels.

    Parameters
    ----------
    good : (ny, nx) bool
    x, y : (N,) int, pixels of the image
    radius_px : px
    """
    check_pixels(x, y, good.shape)
    at = (plane(x, np.int64), plane(y, np.int64))
    return np.asarray(_is_cut_off(plane(good, bool), *at, length_px(radius_px)))


@compiled
def _is_cut_off(good: Bools, x: Ints, y: Ints, radius_px: float) -> Bools:
    ny, nx = good.shape
    reach = int(radius_px)
    out = np.zeros(len(x), np.bool_)
    for k in range(len(x)):
        if x[k] < reach or y[k] < reach or x[k] >= nx - reach or y[k] >= ny - reach:
            out[k] = True
            continue
        for dy in range(-reach, reach + 1):
            for dx in range(-reach, reach + 1):
                v, u = y[k] + dy, x[k] + dx
                if dx * dx + dy * dy <= radius_px**2 and v < ny and u < nx:
                    out[k] |= not good[v, u]
    return out
