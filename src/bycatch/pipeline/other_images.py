"""The other images of a field, as one of them sees them: what they cover, and what they found."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bycatch.arrays import Floats
from bycatch.catalogs.tables import read_table
from bycatch.errors import BycatchError
from bycatch.pipeline.frames import read_frame
from bycatch.pipeline.image import known_share
from bycatch.products import ImagePaths, ImageRecord, read_pixels

if TYPE_CHECKING:
    from astropy.table import Table
    from astropy.wcs import WCS


BLOCK_PX = 16
"""Side of the blocks of the map that says what an image covers."""
MAX_CR_SHARE = 0.5
"""A detection of which the cosmic-ray mask holds more than this says nothing of another image."""

logger = logging.getLogger("bycatch")


@dataclass(frozen=True, eq=False)
class Companion:
    """Another image of the field, in the pixels of this one.

    Attributes
    ----------
    name : filter and root
    x, y : (M,) float; its detections that are not on its cosmic-ray mask
    covers : (N,) bool; True where it has data around a position of this image
    """

    name: str
    x: Floats
    y: Floats
    covers: NDArray[np.bool_]


def covered_blocks(valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return 1 for the blocks of 16 x 16 px that have data in every pixel, else 0."""
    return _by_rows(np.logical_and, _by_rows(np.logical_and, valid).T).T.astype(np.uint8)


def block_sums(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the sums over blocks of 16 x 16 px; those at the upper edges may be smaller."""
    return _by_rows(np.add, _by_rows(np.add, plane).T).T


def _by_rows(function: np.ufunc, plane: NDArray[Any]) -> NDArray[Any]:
    """Return 16 rows each made one; row by row is a fourth of the time of `reduceat`."""
    total = plane[::BLOCK_PX].copy()
    for k in range(1, min(BLOCK_PX, len(plane))):
        rows = plane[k::BLOCK_PX]
        function(total[: len(rows)], rows, out=total[: len(rows)])
    return total


def companions(
    records: Sequence[ImageRecord], out: Path, wcs: WCS, x: Floats, y: Floats
) -> tuple[Companion, ...]:
    """Return the images of a field as an image with a WCS sees them at some positions.

    One that can't be read is left out, with a word in the log.
    """
    ra, dec = wcs.all_pix2world(x, y, 0) if len(x) else (np.empty(0), np.empty(0))
    found = []
    for record in records:
        try:
            found.append(_companion(record, record.paths(out), wcs, ra, dec))
        except (BycatchError, OSError) as err:
            logger.warning("%s/%s: not compared: %s", record.filter, record.root, err)
    return tuple(found)


def _companion(
    record: ImageRecord, paths: ImagePaths, wcs: WCS, ra: Floats, dec: Floats
) -> Companion:
    own = read_frame(paths.wcs).wcs
    blocks = read_pixels(paths.coverage)
    sources = _trusted(record, paths)
    x, y = np.empty(0), np.empty(0)
    if len(sources):
        sky = own.all_pix2world(np.asarray(sources["x"]), np.asarray(sources["y"]), 0)
        x, y = wcs.all_world2pix(*sky, 0)
    covers = np.zeros(len(ra), dtype=bool)
    known = np.isfinite(ra) & np.isfinite(dec)
    if known.any():
        covers[known] = _inside(blocks, *own.all_world2pix(ra[known], dec[known], 0))
    return Companion(f"{record.filter}/{record.root}", x, y, covers)


def _inside(blocks: NDArray[Any], x: Floats, y: Floats) -> NDArray[np.bool_]:
    """Return whether positions lie in covered blocks."""
    column, row = (np.floor((v + 0.5) / BLOCK_PX).astype(int) for v in (x, y))
    ny, nx = blocks.shape
    inside = (column >= 0) & (column < nx) & (row >= 0) & (row < ny)
    found = np.zeros(len(x), dtype=bool)
    found[inside] = blocks[row[inside], column[inside]] > 0
    return found


def _trusted(record: ImageRecord, paths: ImagePaths) -> Table:
    """Return the detections that are not on the cosmic-ray mask, where the shares are known."""
    sources = read_table(paths.product("sources"))
    share = known_share(record, paths)
    if share is None or not np.array_equal(share["id"], sources["id"]):
        return sources
    return sources[np.asarray(share["on_cr_mask"]) <= MAX_CR_SHARE]
