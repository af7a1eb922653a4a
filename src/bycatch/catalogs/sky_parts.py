"""Rows that are more likely parts of nebulosity, of a trail or of a star's spike than sources.

A knot of a nebula looks like a faint galaxy.  So no row can be judged alone: where the sky of an
image has structure, and many rows lie on it, those that are not points are taken for its parts.
"""

from __future__ import annotations

import numpy as np

from bycatch.arrays import Bools, Ints
from bycatch.catalogs.flags import Flag

LEAST_NEBULOUS, NEBULOUS_SHARE = 10, 0.15
"""Rows flagged nebulous, and their share of the rows, from which on an image is nebulous: 0.6 to
0.99 in nebulae, at most 0.02 in crowds and around large galaxies (benchmarks/families.py)."""
MERGED_SHARE = 0.25
"""Share of rows with a peak that has no row of its own, from which on the structure is a crowd of
stars: the core of 47 Tuc has more than half at the preset classic, other fields 0 to 0.17."""
REAL_SHARE = 0.05
"""Share of such objects that are real, in training visits: 161 of 3,800 extended ones on nebulosity
(of pieces of spikes in the catalogs 10 of 111)."""


def is_nebulous(n_nebulous: int, n_merged: int, n_rows: int) -> bool:
    """Tell whether so many rows with the flag nebulous make an image nebulous.

    Parameters
    ----------
    n_nebulous : rows with the flag
    n_merged : rows with a peak that has no row of its own
    n_rows : all rows; likely cosmic rays count in none of these
    """
    is_crowd = n_merged >= MERGED_SHARE * n_rows
    return n_nebulous >= max(LEAST_NEBULOUS, NEBULOUS_SHARE * n_rows) and not is_crowd


def parts_of_sky(flags: Ints) -> Bools:
    """Return which rows of an image are more likely parts of its sky than sources, (N,).

    Parameters
    ----------
    flags : (N,) int
        Of the measurements of one image.
    """
    light = flags[(flags & int(Flag.LIKELY_COSMIC_RAY)) == 0]
    n_nebulous, n_merged = (
        int(np.count_nonzero(light & int(flag))) for flag in (Flag.NEBULOUS, Flag.UNLISTED_PEAK)
    )
    parts = int(Flag.TRAIL)
    if is_nebulous(n_nebulous, n_merged, len(light)):
        parts |= int(Flag.NEBULOUS | Flag.IN_LARGE_OBJECT)
    is_extended = (flags & int(Flag.EXTENDED)) != 0
    is_piece = (flags & int(Flag.SPIKE_PIECE)) != 0
    return np.asarray((((flags & parts) != 0) & is_extended) | is_piece, np.bool_)
