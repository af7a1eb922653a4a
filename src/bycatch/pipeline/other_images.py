"""The other images of a field, as one of them sees them: what they cover, and what they found."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bycatch.arrays import Bools, Floats
from bycatch.errors import BycatchError
from bycatch.kernels.blocks import BLOCK_PX
from bycatch.pipeline.workbench import Workbench
from bycatch.stages.measure.elsewhere import Light, light_at

if TYPE_CHECKING:
    from astropy.wcs import WCS

MAX_CR_SHARE = 0.5
"""A detection of which the cosmic-ray mask holds more than this says nothing of another image."""

logger = logging.getLogger("bycatch")


@dataclass(frozen=True, eq=False)
class OtherImageView:
    """Another image of the field, in the pixels of this one.

    Attributes
    ----------
    name : filter and root
    x, y : (M,) float; its detections that are not on its cosmic-ray mask
    covers : (N,) bool; True where it has data around a position of this image
    light : what it has at the positions of this image; None with a frame that is not known
    """

    name: str
    x: Floats
    y: Floats
    covers: Bools
    light: Light | None = None


def other_images(
    benches: Iterable[Workbench], wcs: WCS, x: Floats, y: Floats
) -> tuple[OtherImageView, ...]:
    """Return the images of a field as an image with a WCS sees them at some positions.

    One that can't be read is left out, with a line in the log.
    """
    ra, dec = wcs.all_pix2world(x, y, 0) if len(x) else (np.empty(0), np.empty(0))
    views = []
    for bench in benches:
        try:
            views.append(_view(bench, wcs, ra, dec))
        except (BycatchError, OSError) as err:
            record = bench.record
            logger.warning("%s/%s: not compared: %s", record.filter, record.root, err)
    return tuple(views)


def _view(bench: Workbench, wcs: WCS, ra: Floats, dec: Floats) -> OtherImageView:
    own = bench.frame.wcs
    x, y = np.empty(0), np.empty(0)
    has_few_rays = bench.cr_share <= MAX_CR_SHARE
    if has_few_rays.any():
        sources = bench.sources[has_few_rays]
        sky = own.all_pix2world(np.asarray(sources["x"]), np.asarray(sources["y"]), 0)
        x, y = wcs.all_world2pix(*sky, 0)
    covers = np.zeros(len(ra), dtype=bool)
    is_finite = np.isfinite(ra) & np.isfinite(dec)
    place = np.full((2, len(ra)), np.nan)
    if is_finite.any():
        place[:, is_finite] = own.all_world2pix(ra[is_finite], dec[is_finite], 0)
        covers[is_finite] = in_covered_blocks(bench.coverage, *place[:, is_finite])
    light = None
    if bench.frame.grade != "F" and covers.any():
        light = light_at(bench.pixels(), *place)
    return OtherImageView(bench.record.place, x, y, covers, light)


def in_covered_blocks(blocks: NDArray[Any], x: Floats, y: Floats) -> Bools:
    """Return whether positions lie in covered blocks."""
    column, row = (np.floor((v + 0.5) / BLOCK_PX).astype(int) for v in (x, y))
    ny, nx = blocks.shape
    inside = (column >= 0) & (column < nx) & (row >= 0) & (row < ny)
    is_inside = np.zeros(len(x), dtype=bool)
    is_inside[inside] = blocks[row[inside], column[inside]] > 0
    return is_inside
