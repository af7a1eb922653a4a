"""Whether the pairs of a fit speak for the whole image.

The two chips of a detector, or what was drizzled from them, can be off by themselves.  An image is
cut through its middle in eight directions, as rotated images need it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bycatch.arrays import Bools, Floats

_DIRECTIONS = np.pi / 4.0 * np.arange(8)
_LEAST_EXPECTED, _MOST_FOUND = 5.0, 0.15
"""A half that lacks pairs: so many expected by the rate of the other, and this share found."""


@dataclass(frozen=True, eq=False)
class Coverage:
    """What the pairs of an image do not speak for.

    Attributes
    ----------
    reason : in words; '' if they lie on all sides of its middle
    denied : direction (2,) of the half whose stars match nothing, though those of the other half
        do; None without
    shape : (ny, nx)
    """

    reason: str
    denied: Floats | None
    shape: tuple[int, int]

    def is_denied(self, x: Floats, y: Floats) -> Bools:
        """Tell which pixels lie in the half that is denied."""
        if self.denied is None:
            return np.zeros(len(x), dtype=np.bool_)
        return np.asarray(_from_middle(x, y, self.shape) @ self.denied > 0)


def coverage_of(x: Floats, y: Floats, paired: Bools, shape: tuple[int, int]) -> Coverage:
    """Return what the pairs of an image do not speak for.

    Parameters
    ----------
    x, y : (N,) pixels of the usable stars in the image
    paired : (N,) which of them have a pair that the fit believes
    shape : (ny, nx)
    """
    at = _from_middle(x, y, shape)
    directions = np.stack([np.cos(_DIRECTIONS), np.sin(_DIRECTIONS)], axis=1)
    halves = at @ directions.T > 0
    n, k = halves.sum(axis=0), (halves & paired[:, np.newaxis]).sum(axis=0)
    there = np.roll(np.arange(len(_DIRECTIONS)), len(_DIRECTIONS) // 2)
    expected = n * k[there] / np.maximum(n[there], 1)
    missing = np.where(k <= _MOST_FOUND * expected, expected, 0.0)
    worst = int(np.argmax(missing))
    if missing[worst] >= _LEAST_EXPECTED:
        o = there[worst]
        return Coverage(
            f"{k[worst]} of {n[worst]} stars of one half of the image match, "
            f"{k[o]} of {n[o]} of the other",
            directions[worst],
            shape,
        )
    empty = bool((k == 0).any())
    return Coverage("no pair in one half of the image" if empty else "", None, shape)


def _from_middle(x: Floats, y: Floats, shape: tuple[int, int]) -> Floats:
    """Return (N, 2) positions from the middle of an image, in units of its sides."""
    ny, nx = shape
    return np.column_stack([(x + 0.5) / nx - 0.5, (y + 0.5) / ny - 0.5])
