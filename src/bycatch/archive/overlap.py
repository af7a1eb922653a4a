"""Which fields may overlap on the sky, as far as a listing shows."""

from __future__ import annotations

import math
from collections.abc import Iterable

from bycatch.archive.model import Product

APART_DEG = 0.12
"""Centres of images farther from one another than this have nothing in common: WFC's diagonal is
0.08 degrees, and what was dithered reaches somewhat farther."""


def groups_on_sky(products: Iterable[Product]) -> list[list[str]]:
    """Return the fields in groups whose images may overlap, by the listed positions.

    Parameters
    ----------
    products : as listed
    """
    import numpy as np
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    products = list(products)
    fields = sorted({product.field for product in products})
    if not fields:
        return []
    number = {field: k for k, field in enumerate(fields)}
    places = [
        (number[product.field], product.ra_deg, product.dec_deg)
        for product in products
        if product.ra_deg is not None and product.dec_deg is not None
    ]
    pairs = np.zeros((0, 2), dtype=int)
    if places:
        of_field, ra_deg, dec_deg = (np.array(column) for column in zip(*places, strict=True))
        ra, dec = np.radians(ra_deg), np.radians(dec_deg)
        at = np.column_stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])
        chord = 2 * math.sin(math.radians(APART_DEG) / 2)
        pairs = of_field[cKDTree(at).query_pairs(chord, output_type="ndarray")]
    ones, n = np.ones(len(pairs)), len(fields)
    _, label = connected_components(coo_array((ones, (pairs[:, 0], pairs[:, 1])), (n, n)), False)
    groups: dict[int, list[str]] = {}
    for k, field in enumerate(fields):
        groups.setdefault(int(label[k]), []).append(field)
    return list(groups.values())
