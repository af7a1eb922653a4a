"""Pairing two lists of positions one to one.

Plain arrays only.  Positions are ``(n, 2)`` arrays of (x, y) in a plane; every
length of a call is in the same unit (the callers use arcseconds).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from bycatch.arrays import Floats, Ints
from bycatch.kernels.compiled import compiled

FAR_OUT = 10.0
TOO_FAR = 1e150
"""The square of a larger number overflows."""


@dataclass(frozen=True, eq=False)
class Brightness:
    """Magnitudes of two lists; a pair of very different ones is no pair.

    Attributes
    ----------
    a, b : (n,) and (m,) float; NaN where unknown: such a position pairs with any
    limit_mag : largest difference of a pair
    """

    a: Floats
    b: Floats
    limit_mag: float

    def agree(self, ia: Ints, ib: Ints) -> npt.NDArray[np.bool_]:
        """Return which of the given pairs are possible."""
        return ~(np.abs(self.a[ia] - self.b[ib]) > self.limit_mag)

    def share(self) -> float:
        """Return the share of all n times m pairs that are possible."""
        if not (self.a.size and self.b.size):
            return 1.0
        finite_b = np.sort(self.b[np.isfinite(self.b)])
        n_unknown = self.b.size - finite_b.size
        a = self.a[np.isfinite(self.a)]
        inside = np.searchsorted(finite_b, a + self.limit_mag, "right") - np.searchsorted(
            finite_b, a - self.limit_mag, "left"
        )
        n_possible = inside.sum() + a.size * n_unknown + (self.a.size - a.size) * self.b.size
        return float(n_possible) / (self.a.size * self.b.size)


def match_one_to_one(
    a_xy: Floats, b_xy: Floats, radius: float, brightness: Brightness | None = None
) -> tuple[Ints, Ints]:
    """Pair two lists one to one, closest pairs first.

    Parameters
    ----------
    a_xy, b_xy : (n, 2) and (m, 2) arrays
        Positions; rows that are not finite, or farther than any, stay alone.
    radius : float
        Largest separation of a pair (included).
    brightness : Brightness, optional
        Magnitudes that a pair must share.

    Returns
    -------
    ia, ib : integer arrays of equal length
        Indices of the pairs, ordered by ``ia``.  Among equal separations the lower
        indices win, so that the result does not depend on the order of the search.
    """
    ia, ib, separation = pairs_within(a_xy, b_xy, radius, brightness)
    return closest_first(ia, ib, separation)


def closest_first(ia: Ints, ib: Ints, separation: Floats) -> tuple[Ints, Ints]:
    """Return the pairs that remain when the closest is taken first, ordered by ``ia``.

    Parameters
    ----------
    ia, ib : (N,) int, indices into both lists, 0 or more
    separation : (N,) float, in any unit

    Raises
    ------
    ValueError
        An index is negative, or the arrays differ in length.
    """
    if not len(ia) == len(ib) == len(separation) or (len(ia) and min(ia.min(), ib.min()) < 0):
        raise ValueError("pairs are indices from 0 on, as many of both lists as separations")
    order = np.lexsort((ib, ia, separation))
    ia, ib = np.asarray(ia, np.int64)[order], np.asarray(ib, np.int64)[order]
    is_closest = np.zeros(len(ia), np.bool_)
    if len(ia):
        _take_closest(
            ia, ib, np.zeros(ia.max() + 1, np.bool_), np.zeros(ib.max() + 1, np.bool_), is_closest
        )
    ia, ib = ia[is_closest], ib[is_closest]
    by_a = np.argsort(ia)
    return ia[by_a], ib[by_a]


@compiled
def _take_closest(
    ia: Ints,
    ib: Ints,
    taken_a: npt.NDArray[np.bool_],
    taken_b: npt.NDArray[np.bool_],
    is_closest: npt.NDArray[np.bool_],
) -> None:
    """Mark the pairs, closest first, whose members are both free when their turn comes."""
    for k in range(len(ia)):
        if not (taken_a[ia[k]] or taken_b[ib[k]]):
            taken_a[ia[k]] = taken_b[ib[k]] = is_closest[k] = True


def pairs_within(
    a_xy: Floats, b_xy: Floats, radius: float, brightness: Brightness | None = None
) -> tuple[Ints, Ints, Floats]:
    """Return all pairs closer than a radius: indices and separations.

    Parameters
    ----------
    a_xy : (N, 2) float
    b_xy : (M, 2) float, in the same unit
    radius : in that unit
    brightness : which pairs are possible; all without it
    """
    good_a, good_b = within_reach(a_xy), within_reach(b_xy)
    if not (good_a.size and good_b.size and radius >= 0):
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
    pairs = cKDTree(a_xy[good_a]).sparse_distance_matrix(
        cKDTree(b_xy[good_b]), radius, output_type="ndarray"
    )
    ia, ib = good_a[pairs["i"]], good_b[pairs["j"]]
    separation = np.asarray(pairs["v"], dtype=np.float64)
    if brightness is not None:
        possible = brightness.agree(ia, ib)
        ia, ib, separation = ia[possible], ib[possible], separation[possible]
    order = np.lexsort((ib, ia))
    return ia[order], ib[order], separation[order]


def within_reach(xy: Floats) -> Ints:
    """Return which positions have distances to others.

    Parameters
    ----------
    xy : (n, 2)
    """
    return np.flatnonzero((np.abs(xy) < TOO_FAR).all(axis=1))
