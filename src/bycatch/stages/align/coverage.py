"""Whether the pairs of a fit speak for the whole image.

The two chips of a detector, or what was drizzled from them, can be off by themselves.  An image is
cut through its middle in eight directions, as rotated images need it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb

import numpy as np

from bycatch.arrays import Bools, Floats

_DIRECTIONS = np.pi / 4.0 * np.arange(8)
_LEAST_CHANCE, _MOST_FOUND = 1e-3, 0.15
"""A half is denied if so few pairs are less likely, and at most this share of the other's rate."""


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


def coverage_of(x: Floats, y: Floats, has_pair: Bools, shape: tuple[int, int]) -> Coverage:
    """Return what the pairs of an image do not speak for.

    Parameters
    ----------
    x, y : (N,) pixels of the usable stars in the image
    has_pair : (N,) which of them have a pair that the fit believes
    shape : (ny, nx)
    """
    at = _from_middle(x, y, shape)
    directions = np.stack([np.cos(_DIRECTIONS), np.sin(_DIRECTIONS)], axis=1)
    halves = at @ directions.T > 0
    n, k = halves.sum(axis=0), (halves & has_pair[:, np.newaxis]).sum(axis=0)
    n_all, k_all = len(x), int(has_pair.sum())
    few = k * (n_all - n) <= _MOST_FOUND * n * (k_all - k)
    chance = [_chance(int(k[h]), int(n[h]), k_all, n_all) if few[h] else 1.0 for h in range(len(k))]
    worst = int(np.argmin(chance))
    if chance[worst] < _LEAST_CHANCE:
        return Coverage(
            f"{k[worst]} of {n[worst]} stars of one half of the image match, "
            f"{k_all - k[worst]} of {n_all - n[worst]} of the other",
            directions[worst],
            shape,
        )
    empty = bool((k == 0).any())
    return Coverage("no pair in one half of the image" if empty else "", None, shape)


def _chance(k: int, n: int, k_all: int, n_all: int) -> float:
    """Return how likely it is that at most k of k_all pairs fall on n of n_all stars."""
    ways = sum(comb(n, i) * comb(n_all - n, k_all - i) for i in range(min(k, k_all) + 1))
    return ways / comb(n_all, k_all)


def _from_middle(x: Floats, y: Floats, shape: tuple[int, int]) -> Floats:
    """Return (N, 2) positions from the middle of an image, in units of its sides."""
    ny, nx = shape
    return np.column_stack([(x + 0.5) / nx - 0.5, (y + 0.5) / ny - 0.5])
