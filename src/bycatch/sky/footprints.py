"""Where images lie on the sky: footprints, which of them overlap, and groups of those.

Footprints are convex: polygons of great circles, which are straight lines on any tangent plane.
Groups are named by the centre of their earliest image, so that an image that comes later
doesn't change them, and large ones are cut by a grid that is fixed to the sky.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from astropy.wcs import WCS
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import ConvexHull, QhullError, cKDTree

from bycatch.arrays import Bools, Floats, Ints
from bycatch.tangent import MAS_PER_DEG, direction, sky_of_tangent, tangent_mas, unit_vectors

LEAST_AREA_ARCMIN2 = 0.05
"""Images that share less (13 arcsec square) have next to no objects in common."""
LEAST_SHARE = 0.1
"""Of the smaller image, where that is less: cutouts."""
TILE_DEG = 0.25
MARGIN_ARCSEC = 10.0
_COLUMNS = 1 << 16
_ARCMIN2_PER_MAS2 = 1.0 / 60_000.0**2


@dataclass(frozen=True, eq=False)
class Footprint:
    """What an image covers.

    Attributes
    ----------
    name : str
        Of the image; no two of a list have the same.
    mjd : float
        When it was taken; NaN where unknown.
    ra_deg, dec_deg : (V,) float
        Corners of a convex polygon, anticlockwise on the tangent plane (RA to the right).
    """

    name: str
    mjd: float
    ra_deg: Floats
    dec_deg: Floats

    @property
    def centre(self) -> tuple[float, float]:
        """Return RA and Dec of the mean of the corners, degrees."""
        return direction(unit_vectors(self.ra_deg, self.dec_deg))

    @property
    def radius_deg(self) -> float:
        """Return the distance of the farthest corner from the centre, degrees."""
        return float(_distance_deg(self.ra_deg, self.dec_deg, *self.centre).max())

    def covers(self, ra_deg: Floats, dec_deg: Floats) -> Bools:
        """Return which positions lie within the polygon or on its edge, (N,)."""
        at = self.centre
        corners = tangent_mas(self.ra_deg, self.dec_deg, *at)
        points = tangent_mas(np.asarray(ra_deg, float), np.asarray(dec_deg, float), *at)
        inside = np.isfinite(points[:, 0])
        for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True):
            # A thousandth of a mas is what rounding does on an edge.
            inside &= _left_of(points, a, b) >= -1e-3 * np.hypot(*(b - a))
        return inside


@dataclass(frozen=True, eq=False)
class Tile:
    """Images that are worked on together, and which sky is theirs.

    Attributes
    ----------
    name : str
        Such as ``J053514.1-052323``; a tile of a cut group adds its cell.
    members : tuple of str
        Names of the images that show the cell or its margin, the earliest first.
    cell : int, optional
        The cell of the sky's grid; None where the group is not cut: all is its own.
    tile_deg : float
        Side of the cells.
    """

    name: str
    members: tuple[str, ...]
    cell: int | None
    tile_deg: float

    def owns(self, ra_deg: Floats, dec_deg: Floats) -> Bools:
        """Return which positions belong to this tile and to no other of its group, (N,)."""
        if self.cell is None:
            return np.ones(np.shape(ra_deg), np.bool_)
        return np.asarray(sky_cell(ra_deg, dec_deg, self.tile_deg) == self.cell)


def footprint_of_corners(name: str, mjd: float, ra_deg: Floats, dec_deg: Floats) -> Footprint:
    """Return the convex hull of positions.

    Raises
    ------
    ValueError
        The finite positions span no area, or half the sky.
    """
    good = np.isfinite(ra_deg) & np.isfinite(dec_deg)
    ra, dec = np.asarray(ra_deg, float)[good], np.asarray(dec_deg, float)[good]
    if ra.size < 3:
        raise ValueError(f"the footprint of {name} has {ra.size} corners")
    xy = tangent_mas(ra, dec, *direction(unit_vectors(ra, dec)))
    if not np.isfinite(xy).all():
        raise ValueError(f"the footprint of {name} spans half the sky")
    try:
        corners = ConvexHull(xy).vertices
    except QhullError:
        raise ValueError(f"the footprint of {name} has no area") from None
    return Footprint(name, mjd, ra[corners], dec[corners])


def footprint_of_blocks(
    name: str, mjd: float, blocks: Bools, wcs: WCS, block_px: int, shape: tuple[int, int]
) -> Footprint:
    """Return the hull of an image's covered blocks.

    Parameters
    ----------
    blocks : (ceil(ny / block_px), ceil(nx / block_px)) bool
    wcs : WCS
        ICRS, of the pixels.
    block_px : int
    shape : (ny, nx) of the image
        The blocks at the upper edges may be smaller.

    Raises
    ------
    ValueError
        No block is covered.
    """
    row, column = np.nonzero(blocks)
    if not row.size:
        raise ValueError(f"{name} covers no block")
    y, x = (np.concatenate([k, k + 1]) * block_px for k in (row, column))
    low, high = slice(0, row.size), slice(row.size, None)
    x, y = np.minimum(x, shape[1]) - 0.5, np.minimum(y, shape[0]) - 0.5
    corners = np.concatenate(
        [np.column_stack([x[i], y[j]]) for i in (low, high) for j in (low, high)]
    )
    hull = corners[ConvexHull(corners).vertices]
    ra, dec = wcs.all_pix2world(hull[:, 0], hull[:, 1], 0)
    return footprint_of_corners(name, mjd, ra, dec)


def shared_area_arcmin2(a: Footprint, b: Footprint) -> float:
    """Return the area that two footprints share, arcmin^2.

    Exact on the plane tangent between them, by cutting one along the edges of the other
    (Sutherland & Hodgman 1974, Comm. ACM 17, 32).
    """
    centres = np.array([a.centre, b.centre])
    if _distance_deg(*centres[:1].T, *centres[1])[0] > a.radius_deg + b.radius_deg:
        return 0.0
    at = direction(unit_vectors(*centres.T))
    polygon = tangent_mas(a.ra_deg, a.dec_deg, *at)
    edges = tangent_mas(b.ra_deg, b.dec_deg, *at)
    for start, end in zip(edges, np.roll(edges, -1, axis=0), strict=True):
        polygon = _clip(polygon, start, end)
    following = np.roll(polygon, -1, axis=0)
    twice = polygon[:, 0] * following[:, 1] - polygon[:, 1] * following[:, 0]
    return float(max(0.5 * twice.sum(), 0.0) * _ARCMIN2_PER_MAS2)


def groups(
    footprints: Sequence[Footprint], least_area_arcmin2: float = LEAST_AREA_ARCMIN2
) -> list[tuple[Footprint, ...]]:
    """Return the footprints in groups linked by shared area, the earliest image first in each.

    The groups are ordered by their earliest images; the order of the list does not matter.
    """
    if not footprints:
        return []
    by_age = sorted(footprints, key=_age)
    centres = np.array([f.centre for f in by_age])
    radius = np.array([f.radius_deg for f in by_age])
    reach = 2.0 * np.sin(np.radians(min(2.0 * radius.max(), 180.0)) / 2.0) + 1e-12
    pairs = cKDTree(unit_vectors(*centres.T)).query_pairs(reach, output_type="ndarray")
    area = [shared_area_arcmin2(footprint, footprint) for footprint in by_age]
    overlaps = [
        (i, j)
        for i, j in pairs
        if shared_area_arcmin2(by_age[i], by_age[j])
        > min(least_area_arcmin2, LEAST_SHARE * min(area[i], area[j]))
    ]
    i, j = np.array(overlaps, np.int64).reshape(-1, 2).T
    n = len(by_age)
    n_groups, label = connected_components(coo_array((np.ones(i.size), (i, j)), (n, n)), False)
    members: list[list[Footprint]] = [[] for _ in range(n_groups)]
    for footprint, k in zip(by_age, label, strict=True):
        members[k].append(footprint)
    return sorted((tuple(group) for group in members), key=lambda group: _age(group[0]))


def tiles(
    grouped: Sequence[Sequence[Footprint]],
    *,
    tile_deg: float = TILE_DEG,
    margin_arcsec: float = MARGIN_ARCSEC,
) -> list[Tile]:
    """Return the tiles of groups; a group that is not larger than a tile is one.

    Parameters
    ----------
    grouped : groups of footprints, each with the earliest image first
    tile_deg : float
        Side of a cell, and the largest diameter of a group that is not cut (times sqrt(2)).
    margin_arcsec : float
        Images that show sky so near a cell are members of its tile.
    """
    tiles_found = []
    names_in_use: set[str] = set()
    for group in grouped:
        name = _unique(sky_name(*group[0].centre), names_in_use)
        names_in_use.add(name)
        names = tuple(f.name for f in group)
        if _group_radius_deg(group) <= tile_deg / np.sqrt(2.0):
            tiles_found.append(Tile(name, names, None, tile_deg))
            continue
        inside, near = zip(*(_cells(f, tile_deg, margin_arcsec) for f in group), strict=True)
        for cell in sorted(set().union(*inside)):
            members = tuple(n for n, cells in zip(names, near, strict=True) if cell in cells)
            tiles_found.append(Tile(f"{name}_{cell}", members, cell, tile_deg))
    return tiles_found


def sky_cell(ra_deg: Floats, dec_deg: Floats, tile_deg: float = TILE_DEG) -> Ints:
    """Return the cell of each position in a grid that covers the sky, (N,) int.

    Bands of declination of about ``tile_deg``, each cut along right ascension into cells that
    are nowhere wider.  The number is 65536 times that of the band (from the south) plus that of
    the column (from RA 0).
    """
    n_bands = int(np.ceil(180.0 / tile_deg))
    height = 180.0 / n_bands
    dec = np.asarray(dec_deg, float)
    band = np.clip(np.floor((dec + 90.0) / height), 0, n_bands - 1).astype(np.int64)
    # The side of a band that is nearer to the equator is the longer one.
    edges = np.stack([band * height - 90.0, (band + 1) * height - 90.0])
    widest = np.where(edges[0] * edges[1] < 0, 0.0, np.abs(edges).min(axis=0))
    n_columns = np.maximum(np.ceil(360.0 * np.cos(np.radians(widest)) / tile_deg), 1).astype(int)
    column = np.floor((np.asarray(ra_deg, float) % 360.0) / 360.0 * n_columns).astype(np.int64)
    return np.asarray(band * _COLUMNS + np.minimum(column, n_columns - 1))


def sky_name(ra_deg: float, dec_deg: float) -> str:
    """Return a name such as J053514.1-052323: sexagesimal, cut off, not rounded (IAU)."""
    hours, dec = ra_deg % 360.0 / 15.0, abs(dec_deg)
    # What rounding in the last bits does must not show.
    tenths = int(np.floor(hours * 36000.0 + 1e-6)) % 864000
    seconds = int(np.floor(dec * 3600.0 + 1e-6))
    h, m, s = tenths // 36000, tenths // 600 % 60, tenths % 600
    sign = "-" if dec_deg < 0 and seconds else "+"
    return (
        f"J{h:02d}{m:02d}{s // 10:02d}.{s % 10}"
        f"{sign}{seconds // 3600:02d}{seconds // 60 % 60:02d}{seconds % 60:02d}"
    )


def _age(footprint: Footprint) -> tuple[bool, float, str]:
    is_undated = not np.isfinite(footprint.mjd)
    return is_undated, 0.0 if is_undated else footprint.mjd, footprint.name


def _unique(name: str, names_in_use: set[str]) -> str:
    """Return a name, with a letter (then a number) behind it where another group has it."""
    candidate, k = name, 1
    while candidate in names_in_use:
        candidate = f"{name}{chr(ord('a') + k)}" if k < 26 else f"{name}z{k}"
        k += 1
    return candidate


def _group_radius_deg(group: Sequence[Footprint]) -> float:
    ra, dec = (np.concatenate([getattr(f, name) for f in group]) for name in ("ra_deg", "dec_deg"))
    return float(_distance_deg(ra, dec, *direction(unit_vectors(ra, dec))).max())


def _cells(
    footprint: Footprint, tile_deg: float, margin_arcsec: float
) -> tuple[set[int], set[int]]:
    """Return the cells that a footprint covers in part, and those it covers or comes near."""
    at = footprint.centre
    corners = tangent_mas(footprint.ra_deg, footprint.dec_deg, *at)
    step = min(max(margin_arcsec * 1e3, 0.002 * tile_deg * MAS_PER_DEG), 0.05 * np.ptp(corners))
    low, high = corners.min(axis=0), corners.max(axis=0)
    sides = [np.arange(a, b + step, step) for a, b in zip(low, high, strict=True)]
    grid = np.stack(np.meshgrid(*sides), axis=-1).reshape(-1, 2)
    grid = grid[footprint.covers(*sky_of_tangent(grid, *at))]
    rim = [
        np.linspace(a, b, int(np.ceil(np.hypot(*(b - a)) / step)) + 1)
        for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True)
    ]
    points = np.concatenate([grid, *rim])
    angle = np.linspace(0.0, 2.0 * np.pi, 8, endpoint=False)
    around = 1e3 * margin_arcsec * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    near = (points[:, None, :] + around).reshape(-1, 2)
    inside = {int(c) for c in sky_cell(*sky_of_tangent(points, *at), tile_deg)}
    return inside, inside | {int(c) for c in sky_cell(*sky_of_tangent(near, *at), tile_deg)}


def _distance_deg(ra_deg: Floats, dec_deg: Floats, ra0_deg: float, dec0_deg: float) -> Floats:
    at = unit_vectors(np.array([ra0_deg]), np.array([dec0_deg]))[0]
    chord = np.sqrt(((unit_vectors(ra_deg, dec_deg) - at) ** 2).sum(axis=-1))
    return np.asarray(np.degrees(2.0 * np.arcsin(np.minimum(chord / 2.0, 1.0))))


def _left_of(points: Floats, a: Floats, b: Floats) -> Floats:
    """Return how far left of the line from a to b points are, times its length."""
    return np.asarray((b[0] - a[0]) * (points[:, 1] - a[1]) - (b[1] - a[1]) * (points[:, 0] - a[0]))


def _clip(polygon: Floats, a: Floats, b: Floats) -> Floats:
    """Return the part of a convex polygon left of the line from a to b."""
    if not len(polygon):
        return polygon
    left = _left_of(polygon, a, b)
    following, left_following = np.roll(polygon, -1, axis=0), np.roll(left, -1)
    corners = []
    for p, q, s, t in zip(polygon, following, left, left_following, strict=True):
        if s >= 0:
            corners.append(p)
        if (s > 0 > t) or (s < 0 < t):
            corners.append(p + s / (s - t) * (q - p))
    return np.array(corners).reshape(-1, 2)
