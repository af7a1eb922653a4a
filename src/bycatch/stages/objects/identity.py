"""Identifiers of objects: from the place where an object was first found, and kept from then on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy import units
from astropy_healpix import HEALPix
from scipy.spatial import cKDTree

from bycatch.arrays import Bools, Floats, Ints
from bycatch.tangent import direction, tangent_mas, unit_vectors

ORDER = 29
"""Of HEALPix (Gorski et al. 2005, ApJ 622, 759): cells of 0.4 mas, and 62 bits."""
SAME_MAS = 100.0
"""An object of an earlier table this near is the same one, the nearest first."""


@dataclass(frozen=True, eq=False)
class Identity:
    """What N objects are called.

    Attributes
    ----------
    object_id : (N,) int64, each once
    merged : earlier identifiers that are no more, and that of the object which lies there now
    split : identifiers that are new beside an object that keeps an earlier one, and that one
    """

    object_id: Ints
    merged: dict[int, int]
    split: dict[int, int]


def identify(
    ra_deg: Floats,
    dec_deg: Floats,
    earlier_id: Ints | None = None,
    earlier_ra_deg: Floats | None = None,
    earlier_dec_deg: Floats | None = None,
) -> Identity:
    """Return identifiers; those of an earlier table are kept by the objects that are still there.

    Parameters
    ----------
    ra_deg, dec_deg : (N,) float
    earlier_id, earlier_ra_deg, earlier_dec_deg : (K,), optional
        Of an earlier table.
    """
    ids = healpix_ids(ra_deg, dec_deg)
    has_name: Bools = np.zeros(len(ids), dtype=bool)
    heir_of: dict[int, int] = {}
    origin_of: dict[int, int] = {}
    if earlier_id is None or earlier_ra_deg is None or earlier_dec_deg is None:
        return Identity(_distinct(ids, has_name), heir_of, origin_of)
    here, there = _pairs(ra_deg, dec_deg, earlier_ra_deg, earlier_dec_deg)
    pairs = [(int(row), int(earlier_id[old])) for row, old in zip(here, there, strict=True)]
    names_in_use: set[int] = set()
    for row, name in pairs:  # the nearest first
        if not has_name[row] and name not in names_in_use:
            ids[row], has_name[row] = name, True
            names_in_use.add(name)
    for row, name in pairs:
        if has_name[row] and name not in names_in_use:
            heir_of.setdefault(name, int(ids[row]))
        elif not has_name[row] and name in names_in_use:
            origin_of.setdefault(row, name)
    ids = _distinct(ids, has_name)
    return Identity(ids, heir_of, {int(ids[row]): name for row, name in origin_of.items()})


def healpix_ids(ra_deg: Floats, dec_deg: Floats) -> Ints:
    """Return the cells of positions, (N,) int64.

    Parameters
    ----------
    ra_deg, dec_deg : (N,) float, ICRS
    """
    if not len(ra_deg):
        return np.empty(0, dtype=np.int64)
    grid = HEALPix(nside=2**ORDER, order="nested")
    return np.asarray(
        grid.lonlat_to_healpix(ra_deg * units.deg, dec_deg * units.deg), dtype=np.int64
    )


def _pairs(ra: Floats, dec: Floats, old_ra: Floats, old_dec: Floats) -> tuple[Ints, Ints]:
    """Return the pairs of new and old objects that lie close together, the nearest first."""
    if not len(ra) or not len(old_ra):
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    at = direction(unit_vectors(ra, dec))
    new, old = tangent_mas(ra, dec, *at), tangent_mas(old_ra, old_dec, *at)
    is_finite = np.isfinite(old).all(axis=1)
    places = np.flatnonzero(is_finite)
    if not len(places):
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    near = cKDTree(new).sparse_distance_matrix(
        cKDTree(old[is_finite]), SAME_MAS, output_type="ndarray"
    )
    order = np.lexsort((near["j"], near["i"], near["v"]))
    return near["i"][order].astype(np.int64), places[near["j"][order]].astype(np.int64)


def _distinct(ids: Ints, has_name: Bools) -> Ints:
    """Return identifiers of which each is there once: those that are kept stay as they are."""
    unique_ids = ids.copy()
    ids_in_use = set(unique_ids[has_name].tolist())
    for row in np.flatnonzero(~has_name):
        while int(unique_ids[row]) in ids_in_use:
            unique_ids[row] += 1
        ids_in_use.add(int(unique_ids[row]))
    return unique_ids
