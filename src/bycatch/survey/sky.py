"""The sky in HEALPix cells (nested, ICRS): partitions of tables, margins, and cones as ranges."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
from astropy_healpix import HEALPix

from bycatch.arrays import Floats, Ints
from bycatch.stages.objects.identity import ORDER, healpix_ids
from bycatch.tangent import unit_vectors

MOST_ORDER = 13
"""Of a partition: 26 arcsec; what is denser stays together."""
EDGE_ORDER = 13
"""Cells in which rows near the edge of a partition are looked for, broader than any margin."""
MOST_MARGIN_ARCSEC = 20.0
CIRCLE_POINTS = 48


class Cell(NamedTuple):
    """A HEALPix cell.

    Attributes
    ----------
    order, pixel : nested
    """

    order: int
    pixel: int

    def limits(self) -> tuple[int, int]:
        """Return the first cell of order 29 in it, and the first one after it."""
        shift = 2 * (ORDER - self.order)
        return self.pixel << shift, (self.pixel + 1) << shift

    @property
    def parent(self) -> Cell:
        """The cell that it is a quarter of."""
        return Cell(self.order - 1, self.pixel >> 2)


def cells_at(ids: Ints, order: int) -> Ints:
    """Return the cells of an order that hold cells of order 29, (N,)."""
    return np.asarray(ids >> (2 * (ORDER - order)))


def partition(counts: Mapping[int, int], most_rows: int) -> dict[Cell, int]:
    """Return the partitions of a table, and how many rows each has.

    A cell that has more rows than a partition may have is cut in four; the result depends on
    where the rows are, and not on how they came.

    Parameters
    ----------
    counts : rows in each cell of order `MOST_ORDER`
    most_rows : of a partition, unless it is of `MOST_ORDER`
    """
    levels: list[Counter[int]] = [Counter(counts)]
    for _ in range(MOST_ORDER):
        above: Counter[int] = Counter()
        for pixel, n in levels[-1].items():
            above[pixel >> 2] += n
        levels.append(above)
    partitions: dict[Cell, int] = {}
    open_cells = {Cell(0, pixel): n for pixel, n in levels[MOST_ORDER].items() if n}
    while open_cells:
        cell, n = open_cells.popitem()
        if n <= most_rows or cell.order == MOST_ORDER:
            partitions[cell] = n
            continue
        below = levels[MOST_ORDER - cell.order - 1]
        for pixel in range(4 * cell.pixel, 4 * cell.pixel + 4):
            if below[pixel]:
                open_cells[Cell(cell.order + 1, pixel)] = below[pixel]
    return dict(sorted(partitions.items(), key=lambda item: item[0].limits()))


class Partitions:
    """The partitions of a table, for looking up which one holds a position."""

    def __init__(self, cells: Iterable[Cell]) -> None:
        self.cells = sorted(cells, key=Cell.limits)
        self._first = np.array([cell.limits()[0] for cell in self.cells], dtype=np.int64)
        self._last = np.array([cell.limits()[1] for cell in self.cells], dtype=np.int64)

    def of(self, ids: Ints) -> Ints:
        """Return the number of the partition of each cell of order 29; -1: in none."""
        if not self.cells:
            return np.full(len(ids), -1, dtype=np.int64)
        k = np.searchsorted(self._first, ids, side="right") - 1
        return np.where((k >= 0) & (ids < self._last[np.maximum(k, 0)]), k, -1)

    def of_cells(self, cells: Ints, order: int) -> list[int]:
        """Return the numbers of the partitions that share sky with cells of an order."""
        shift = 2 * (ORDER - order)
        first, last = cells << shift, (cells + 1) << shift
        return [
            k
            for k, (low, high) in enumerate(zip(self._first, self._last, strict=True))
            if ((first < high) & (last > low)).any()
        ]

    def in_ranges(self, ranges: Iterable[tuple[int, int]]) -> list[tuple[Cell, int, int]]:
        """Return the parts of ranges of cells that each partition holds."""
        parts = []
        for low, high in ranges:
            for k in np.flatnonzero((self._first < high) & (self._last > low)):
                first, last = max(low, int(self._first[k])), min(high, int(self._last[k]))
                parts.append((self.cells[k], first, last))
        return parts


def margin_rows(
    ra_deg: Floats, dec_deg: Floats, own: int, partitions: Partitions, margin_arcsec: float
) -> dict[int, Ints]:
    """Return the rows of one partition that lie within a margin of other partitions.

    All that do are found; a few that are farther by a tenth of the margin are found, too.

    Parameters
    ----------
    ra_deg, dec_deg : (N,) of the rows of the partition
    own : its number in ``partitions``

    Returns
    -------
    dict
        Rows by the number of the partition in whose margin they are.
    """
    cell = partitions.cells[own]
    rows = np.arange(len(ra_deg))
    if cell.order < EDGE_ORDER:
        fine = cells_at(healpix_ids(ra_deg, dec_deg), EDGE_ORDER)
        unique, inverse = np.unique(fine, return_inverse=True)
        around = neighbours_of(unique, EDGE_ORDER)
        outside = (around >> (2 * (EDGE_ORDER - cell.order))) != cell.pixel
        rows = np.flatnonzero(outside.any(axis=0)[inverse])
    if not rows.size:
        return {}
    # A corner of another partition may enter the circle between two of its points: it is taken
    # a little larger than the margin.
    rows_of: dict[int, list[Ints]] = {}
    angle = np.linspace(0.0, 2.0 * np.pi, CIRCLE_POINTS, endpoint=False)
    radius = np.repeat([1.1 * margin_arcsec, 0.55 * margin_arcsec], CIRCLE_POINTS)
    for part in np.array_split(rows, len(rows) // 4096 + 1):
        ra, dec = _offset(ra_deg[part, None], dec_deg[part, None], radius, np.tile(angle, 2))
        there = partitions.of(healpix_ids(ra.ravel(), dec.ravel())).reshape(len(part), -1)
        for number in np.unique(there[(there >= 0) & (there != own)]).tolist():
            rows_of.setdefault(number, []).append(part[(there == number).any(axis=1)])
    return {number: np.concatenate(parts) for number, parts in rows_of.items()}


def _offset(
    ra_deg: Floats, dec_deg: Floats, radius_arcsec: Floats, angle: Floats
) -> tuple[Floats, Floats]:
    """Return positions (N, P) at P distances and directions from N, at the poles as elsewhere."""
    at = unit_vectors(ra_deg, dec_deg)
    ra, dec = np.radians(ra_deg), np.radians(dec_deg)
    east = np.stack([-np.sin(ra), np.cos(ra), np.zeros_like(ra)], axis=-1)
    north = np.stack([-np.sin(dec) * np.cos(ra), -np.sin(dec) * np.sin(ra), np.cos(dec)], axis=-1)
    r = np.radians(radius_arcsec / 3600.0)[:, None]
    turn = angle[:, None]
    to = np.cos(r) * at + np.sin(r) * (np.sin(turn) * east + np.cos(turn) * north)
    return (
        np.degrees(np.arctan2(to[..., 1], to[..., 0])) % 360.0,
        np.degrees(np.arctan2(to[..., 2], np.hypot(to[..., 0], to[..., 1]))),
    )


def cone_ranges(ra_deg: float, dec_deg: float, radius_deg: float) -> list[tuple[int, int]]:
    """Return ranges of cells of order 29 that hold all of a cone: its cell and those around."""
    order = cone_order(radius_deg)
    if order == 0:
        return [(0, 12 << (2 * ORDER))]
    centre = cells_at(healpix_ids(np.array([ra_deg % 360.0]), np.array([dec_deg])), order)
    near = neighbours_of(centre, order).ravel()
    return merged_ranges(near[near >= 0], order)


def neighbours_of(cells: Ints, order: int) -> Ints:
    """Return cells (N,) and those around them, (9, N); -1 where there is none."""
    if order == 0:
        return np.repeat(np.arange(12, dtype=np.int64)[:, None], len(cells), axis=1)
    grid = HEALPix(nside=2**order, order="nested")
    with np.errstate(invalid="ignore"):  # where three base cells meet, one neighbour is missing
        around = grid.neighbours(cells)
    return np.concatenate([around, cells[None, :]]).astype(np.int64)


def cone_order(radius_deg: float) -> int:
    """Return the order of cells of which one and its neighbours hold any cone centred in it."""
    # A cell of order k is 58.6 deg / 2^k wide, and nowhere narrower than half of that.
    return int(np.clip(np.floor(np.log2(58.6 / 2.0 / max(radius_deg, 1e-7))), 0, 24))


def merged_ranges(cells: Ints, order: int) -> list[tuple[int, int]]:
    """Return sorted cells of an order as ranges of cells of order 29."""
    cells = np.unique(np.asarray(cells, dtype=np.int64))
    breaks = np.flatnonzero(np.diff(cells) > 1) + 1
    shift = 2 * (ORDER - order)
    return [
        (int(part[0]) << shift, (int(part[-1]) + 1) << shift)
        for part in np.split(cells, breaks)
        if part.size
    ]
