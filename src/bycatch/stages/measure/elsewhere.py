"""What the other images of a field see at the places of sources."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from bycatch.arrays import Bools, Floats, Ints

SEEN_PX = 1.5
"""Two images see the same source if their positions differ by no more, detector pixels."""


class OtherImage(Protocol):
    """Another image of the field, in the pixels of this one.

    Attributes
    ----------
    x, y : (M,) float; its detections
    covers : (N,) bool; True where it has data around a position of this image
    """

    @property
    def x(self) -> Floats:
        """Columns of its detections."""
        ...

    @property
    def y(self) -> Floats:
        """Rows of its detections."""
        ...

    @property
    def covers(self) -> Bools:
        """Where it has data, of the positions of this image."""
        ...


@dataclass(frozen=True, eq=False)
class Elsewhere:
    """What other images of the field see at N positions.

    Attributes
    ----------
    n_covering : (N,) int; images that look
    n_seen : (N,) int; of these, the ones that have a detection there
    chance : of an unrelated detection of an image there
    """

    n_covering: Ints
    n_seen: Ints
    chance: float


def seen_elsewhere(
    x: ArrayLike, y: ArrayLike, others: Sequence[OtherImage], radius_px: float = SEEN_PX
) -> Elsewhere:
    """Count the other images that cover positions, and those that have a detection there.

    Parameters
    ----------
    x, y : (N,) float
        Positions in this image.
    others : sequence of OtherImage
        In its pixels.
    radius_px : float
    """
    from scipy.spatial import KDTree

    places = np.column_stack([np.asarray(x, float).ravel(), np.asarray(y, float).ravel()])
    finite = np.isfinite(places).all(axis=1)
    covering, seen = np.zeros((2, len(places)), dtype=np.int64)
    expected, n_covers = 0.0, 0
    for other in others:
        points = np.column_stack([other.x, other.y])
        points = points[np.isfinite(points).all(axis=1)]
        covers = np.asarray(other.covers, dtype=bool) & finite
        covering += covers
        if not len(points) or not covers.any():
            continue
        near = np.zeros(len(places), dtype=bool)
        near[finite] = KDTree(points).query(places[finite], distance_upper_bound=radius_px)[0] < (
            radius_px
        )
        seen += near & covers
        area = max(float(np.prod(np.ptp(points, axis=0))), 1.0)
        expected += len(points) * np.pi * radius_px**2 / max(area, np.pi * radius_px**2)
        n_covers += 1
    chance = 1.0 - np.exp(-expected / n_covers) if n_covers and len(places) else 0.0
    return Elsewhere(covering, seen, float(chance))
