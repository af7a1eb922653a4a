"""The plane that touches the sky at a point: positions and offsets there, in mas."""

from __future__ import annotations

import numpy as np

from bycatch.arrays import Floats

MAS_PER_DEG = 3_600_000.0
SAME_PLACE_DEG = 0.25
"""Images of a visit whose centres are farther apart have nothing to do with one another."""


def tangent_mas(ra_deg: Floats, dec_deg: Floats, ra0_deg: float, dec0_deg: float) -> Floats:
    """Project onto the plane tangent at a point; (N, 2) in mas, NaN on the far hemisphere."""
    d_ra, dec, dec0 = np.radians(ra_deg - ra0_deg), np.radians(dec_deg), np.radians(dec0_deg)
    cosine = np.sin(dec0) * np.sin(dec) + np.cos(dec0) * np.cos(dec) * np.cos(d_ra)
    scale = np.degrees(1.0 / np.where(cosine > 0, cosine, np.nan)) * MAS_PER_DEG
    xi = scale * np.cos(dec) * np.sin(d_ra)
    eta = scale * (np.cos(dec0) * np.sin(dec) - np.sin(dec0) * np.cos(dec) * np.cos(d_ra))
    return np.column_stack([xi, eta])


def unit_vectors(ra_deg: Floats, dec_deg: Floats) -> Floats:
    """Return directions as unit vectors, (N, 3)."""
    ra, dec = np.radians(ra_deg), np.radians(dec_deg)
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)


def direction(vectors: Floats) -> tuple[float, float]:
    """Return right ascension and declination of the mean of unit vectors (N, 3), degrees."""
    x, y, z = vectors.mean(axis=0)
    ra, dec = np.degrees(np.arctan2(y, x)), np.degrees(np.arctan2(z, np.hypot(x, y)))
    return float(ra % 360.0), float(dec)


def clusters(ra_deg: Floats, dec_deg: Floats, reach_deg: float) -> list[list[int]]:
    """Return positions on the sky in groups, the largest first, each in its order.

    Members of a group are linked by steps of no more than ``reach_deg``.
    """
    at = unit_vectors(ra_deg, dec_deg)
    near = at @ at.T >= np.cos(np.radians(reach_deg))
    groups: list[list[int]] = []
    for k in range(len(at)):
        near_groups = [g for g in groups if near[k, g].any()]
        groups = [g for g in groups if g not in near_groups]
        groups.append(sorted([k, *(i for g in near_groups for i in g)]))
    return sorted(groups, key=lambda g: (-len(g), g[0]))


def sky_of_tangent(xy_mas: Floats, ra0_deg: float, dec0_deg: float) -> tuple[Floats, Floats]:
    """Return right ascension and declination of points of the plane tangent at a point, deg."""
    xi, eta = np.radians(np.asarray(xy_mas, dtype=float).T / MAS_PER_DEG)
    dec0 = np.radians(dec0_deg)
    depth = np.cos(dec0) - eta * np.sin(dec0)
    ra = ra0_deg + np.degrees(np.arctan2(xi, depth))
    dec = np.arctan2(np.sin(dec0) + eta * np.cos(dec0), np.hypot(xi, depth))
    return ra % 360.0, np.degrees(dec)
