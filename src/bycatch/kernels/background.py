"""Maps of background and noise: clipped statistics in boxes, and a smooth surface through them.

The definitions are those of SExtractor (Bertin & Arnouts 1996, A&AS 117, 393) in
the form that photutils' Background2D gives them, so that the maps equal its own
but for the rounding of float32.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from bycatch.arrays import Bools, Image
from bycatch.kernels.bounds import check_shapes
from bycatch.kernels.boxes import box_statistics
from bycatch.kernels.surfaces import (
    NO_BOX,
    Surface,
    fill_gaps,
    median_filter,
    surface_through,
    write_noise,
    write_scaled,
)
from bycatch.kernels.threads import ROWS_WORTH_A_THREAD, in_portions


class SkyMaps(NamedTuple):
    """Background and noise of single pixels, and the surfaces that they come from.

    Attributes
    ----------
    background, noise : (ny, nx) float32; 0 where not valid, the noise also where the depth is 0
    background_surface, noise_surface : through the boxes; that of the noise at unit depth
    """

    background: Image
    noise: Image
    background_surface: Surface
    noise_surface: Surface


def sky_maps(
    data: Image,
    valid: Bools,
    depth2: Image,
    box_px: int,
    filter_boxes: int,
    clip_sigma: float,
    min_share: float,
) -> SkyMaps:
    """Return background and noise of single pixels.

    Parameters
    ----------
    data, valid : (ny, nx)
    depth2 : (ny, nx) float32
        What the noise falls with the square root of, in any unit: the exposure time.
        The noise is measured on the image times the root of it, since a box mixes depths
        at chip gaps and dither edges, and divided by it again pixel by pixel.
    box_px : side of the boxes
    filter_boxes : side of the median filter over the boxes, odd
    clip_sigma : clipping of a box's pixels, ten times at most
    min_share : share of a box's pixels that must be left for it to count

    Raises
    ------
    ValueError
        No box has enough pixels.
    """
    check_shapes(data, valid, depth2)
    background, noise = np.empty(data.shape, np.float32), np.empty(data.shape, np.float32)

    def rows(which: slice) -> tuple[Image, Bools, Image]:
        return data[which], valid[which], depth2[which]

    surfaces = sky_surfaces(
        rows, data.shape, box_px, filter_boxes, clip_sigma, min_share, background
    )
    write_noise(depth2, valid, surfaces[1], noise)
    return SkyMaps(background, noise, *surfaces)


class Boxes(NamedTuple):
    """How the boxes of a sky are made (see `sky_maps`)."""

    side_px: int
    filter_boxes: int
    clip_sigma: float
    min_share: float


Rows = Callable[[slice], tuple[Image, Bools, Image]]
"""Gives data, valid and depth2 of `sky_maps` of some rows, which need not exist as a whole."""


def sky_surfaces(
    rows: Rows,
    shape: tuple[int, ...],
    box_px: int,
    filter_boxes: int,
    clip_sigma: float,
    min_share: float,
    background: Image | None = None,
) -> tuple[Surface, Surface]:
    """Return the surfaces of background and of noise at unit depth.

    Parameters
    ----------
    rows : called twice for each row of boxes
    shape : (ny, nx) of the image
    box_px, filter_boxes, clip_sigma, min_share : as in `sky_maps`
    background : (ny, nx) float32, written if it is given

    Raises
    ------
    ValueError
        No box has enough pixels.
    """
    boxes = Boxes(box_px, filter_boxes, clip_sigma, min_share)
    level = level_surface(rows, shape, boxes)
    return level, noise_surface(rows, shape, boxes, level, background)


def level_surface(rows: Rows, shape: tuple[int, ...], boxes: Boxes) -> Surface:
    """Return the surface of the background.

    Parameters
    ----------
    rows : called once for each row of boxes
    shape : (ny, nx) of the image
    boxes : Boxes

    Raises
    ------
    ValueError
        No box has enough pixels.
    """
    box, strips, mode = _box_rows(shape, boxes)

    def level(first: int, last: int) -> None:
        for row in range(first, last):
            data, valid, _ = rows(strips[row])
            mode[row] = box_statistics(data, valid, box, *boxes[2:]).mode[0]

    in_portions(level, len(strips), -(-ROWS_WORTH_A_THREAD // box[0]))
    return _smooth_surface(mode, boxes, box)


def noise_surface(
    rows: Rows,
    shape: tuple[int, ...],
    boxes: Boxes,
    level: Surface,
    background: Image | None = None,
) -> Surface:
    """Return the surface of the noise at unit depth.

    Parameters
    ----------
    rows : called once for each row of boxes
    shape : (ny, nx) of the image
    boxes : Boxes
    level : Surface of the background
    background : (ny, nx) float32, written if it is given

    Raises
    ------
    ValueError
        No box has enough pixels.
    """
    box, strips, std = _box_rows(shape, boxes)

    def scatter(first: int, last: int) -> None:
        at_common_depth, unused = (np.empty((box[0], shape[1]), np.float32) for _ in range(2))
        for row in range(first, last):
            images = rows(strips[row])
            n = len(images[0])
            out = unused[:n] if background is None else background[strips[row]]
            write_scaled(*images, level, strips[row].start, out, at_common_depth[:n])
            part = at_common_depth[:n], images[1]
            std[row] = box_statistics(*part, box, *boxes[2:]).std[0]

    in_portions(scatter, len(strips), -(-ROWS_WORTH_A_THREAD // box[0]))
    return _smooth_surface(std, boxes, box)


def _box_rows(shape: tuple[int, ...], boxes: Boxes) -> tuple[tuple[int, int], list[slice], Image]:
    """Return a box's sides, the rows of pixels of each row of boxes, and a mesh to be filled."""
    ny, nx = shape
    if not ny * nx:
        raise ValueError(NO_BOX)
    box = (min(boxes.side_px, ny), min(boxes.side_px, nx))
    strips = [slice(first, min(first + box[0], ny)) for first in range(0, ny, box[0])]
    return box, strips, np.empty((len(strips), -(-nx // box[1])), np.float32)


def _smooth_surface(mesh: Image, boxes: Boxes, box: tuple[int, int]) -> Surface:
    """Return the surface through what boxes hold, gaps filled and outliers taken away."""
    n_boxes = min(mesh.shape)
    size = min(boxes.filter_boxes, n_boxes - (n_boxes + 1) % 2)
    return surface_through(median_filter(fill_gaps(mesh), size), box)
