"""What LAcosmic works on: planes of a strip of the image, and flags of what is out of date.

Rows are worked on in blocks of pixels (`rowmedians`).  A later iteration renews only the blocks
near pixels that were cleaned, and `Stale` says which these are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bycatch.arrays import Bools, Image, Ints
from bycatch.kernels.compiled import compiled
from bycatch.kernels.rowmedians import (
    BLOCK_PX,
    EDGE_X,
    EDGE_Y,
    n_blocks,
    plane_shape,
)

Number = Any
ZERO = np.float32(0)
LOUD_PX = 3
"""How far from a pixel above the limit the fine structure is needed, by its 7 x 7 median."""
WIDE_PX = BLOCK_PX + 2 * LOUD_PX
IMAGES = ("image", "variance", "noise", "sharp", "fine", "peak")
MASKS = ("bad", "found", "blocked")
"""Names of the working planes."""


@dataclass(frozen=True, eq=False)
class Work:
    """What is asked for: limits of seeds, of neighbours and of the contrast; how to clean; PSF."""

    limits: Image
    n_iterations: int
    cleantype: int
    psf: Image

    @property
    def reach_px(self) -> int:
        """How far away a pixel can matter."""
        return int(self.n_iterations * (self.seed_reach_px + 2))

    @property
    def plane_reach_px(self) -> int:
        """How far a pixel acts on noise, sharpness and fine structure."""
        return 2 + len(self.psf) // 2

    @property
    def seed_reach_px(self) -> int:
        """How far it acts on what is found: medians of these planes, and growth."""
        return self.plane_reach_px + 3 + 2


@dataclass(frozen=True, eq=False)
class Planes:
    """A strip of the image and what is made from it, with edges around (see `plane_shape`).

    Attributes
    ----------
    image, variance : what is cleaned; 0 beyond the edge
    noise, sharp, fine, peak : as the steps at the top call them; ``fine`` is not yet
        lowered by its median
    bad : not to be found; True beyond the edge
    found : cosmic rays
    blocked : bad or found
    ny, nx : size without the edges
    """

    image: Image
    variance: Image
    noise: Image
    sharp: Image
    fine: Image
    peak: Image
    bad: Bools
    found: Bools
    blocked: Bools
    ny: int
    nx: int

    @classmethod
    def new(cls, ny: int, nx: int) -> Planes:
        """Return empty planes."""
        shape = plane_shape(ny, nx)
        planes: dict[str, Any] = {name: np.zeros(shape, np.float32) for name in IMAGES}
        planes |= {name: np.ones(shape, bool) for name in MASKS}
        return cls(**planes, ny=ny, nx=nx)

    def pixels(self, plane: NDArray[Any]) -> NDArray[Any]:
        """Return a plane without its edges."""
        return plane[EDGE_Y : EDGE_Y + self.ny, EDGE_X : EDGE_X + self.nx]

    def of_rows(
        self, image: Image, variance: Image, bad: Bools, rows: Ints, columns: Ints
    ) -> Planes:
        """Return these planes, filled with rows and columns of an image, nothing found yet."""
        top = len(rows) + 2 * EDGE_Y
        planes: dict[str, Any] = {name: getattr(self, name)[:top] for name in IMAGES + MASKS}
        strip = Planes(**planes, ny=len(rows), nx=self.nx)
        for plane, source in ((strip.image, image), (strip.variance, variance), (strip.bad, bad)):
            plane[-EDGE_Y:] = plane[:1]  # a shorter strip than the last one
            fill(strip.pixels(plane), source, rows, columns)
        strip.found[:] = False
        strip.blocked[:] = strip.bad
        return strip


def fill(out: NDArray[Any], source: NDArray[Any], rows: Ints, columns: Ints) -> None:
    """Write rows of a source, with its columns and those mirrored.

    Parameters
    ----------
    out : (n_rows, len(columns)), written
    source : (ny, nx) of the same type
    rows, columns : (n,) int, indices into the source, with those mirrored at the edges
    """
    n_mirrored = (len(columns) - source.shape[1]) // 2
    inner = out[:, n_mirrored : n_mirrored + source.shape[1]]
    is_run = rows[-1] - rows[0] == len(rows) - 1 and rows[0] == rows.min()
    inner[:] = source[rows[0] : rows[-1] + 1] if is_run else source[rows]
    for edge in (slice(n_mirrored), slice(n_mirrored + source.shape[1], None)):
        out[:, edge] = inner[:, columns[edge]]


@dataclass(frozen=True, eq=False)
class Stale:
    """Blocks of which something must be made again, each (ny, number of blocks) bool.

    Attributes
    ----------
    planes, loud, seeds : noise and sharpness; whether they are loud; their seeds
    fine, peaks : the planes named so; they stay stale until they are needed
    is_loud : whether a pixel in a block, or within 3 columns of it, can pass the limit
    """

    planes: Bools
    loud: Bools
    seeds: Bools
    fine: Bools
    peaks: Bools
    is_loud: Bools

    @classmethod
    def new(cls, strip: Planes) -> Stale:
        """Return flags of a strip of which nothing is made."""
        return cls(*np.ones((6, strip.ny, n_blocks(strip.nx)), bool))

    def flag(self, updates: Ints, width: int, work: Work) -> None:
        """Flag what depends on pixels that have changed."""
        self.planes[:] = self.loud[:] = self.seeds[:] = False
        for flags, reach in (
            (self.planes, work.plane_reach_px),
            (self.loud, work.plane_reach_px + LOUD_PX),
            (self.seeds, work.seed_reach_px),
            (self.fine, work.plane_reach_px),
            (self.peaks, work.plane_reach_px + 2),
        ):
            flag_blocks(flags, updates, width, reach)


def within_rows(flags: Bools, reach: int) -> Bools:
    """Return flags that are set where one is in the same column, not more than so far away.

    Parameters
    ----------
    flags : (ny, n) bool
    reach : rows
    """
    out = flags.copy()
    for step in range(1, reach + 1):
        out[step:] |= flags[:-step]
        out[:-step] |= flags[step:]
    return out


@compiled
def flag_blocks(flags: Bools, places: Ints, width: int, reach: int) -> None:
    """Flag the blocks within reach of places.

    Parameters
    ----------
    flags : (ny, number of blocks) bool, added to
    places : (N,) int64, flat indices into the padded planes
    width : NX of the padded planes
    reach : px
    """
    ny, n = flags.shape
    rows = np.zeros_like(flags)
    for place in places:
        y, x = place // width - EDGE_Y, place % width - EDGE_X
        for block in range(max(x - reach, 0) // BLOCK_PX, min((x + reach) // BLOCK_PX + 1, n)):
            rows[y, block] = True
    for y in range(ny):
        for v in range(max(y - reach, 0), min(y + reach + 1, ny)):
            for block in range(n):
                flags[v, block] |= rows[y, block]
