"""Maps of background and noise: clipped statistics in boxes, and a smooth surface through them.

The definitions are those of SExtractor (Bertin & Arnouts 1996, A&AS 117, 393) in
the form that photutils' Background2D gives them, so that the maps equal its own
but for the rounding of float32.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bycatch.arrays import Bools, Image
from bycatch.kernels.bounds import check_shapes
from bycatch.kernels.boxes import box_statistics
from bycatch.kernels.surfaces import (
    NO_BOX,
    Surface,
    filled,
    median_filtered,
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
    if not data.size:
        raise ValueError(NO_BOX)
    ny, nx = data.shape
    box = (min(box_px, ny), min(box_px, nx))
    n_boxes = min(-(-ny // box[0]), -(-nx // box[1]))
    size = min(filter_boxes, n_boxes - (n_boxes + 1) % 2)
    boxes = box_statistics(data, valid, box, clip_sigma, min_share)
    surface = surface_through(median_filtered(filled(boxes.mode), size), box)
    background, noise = np.empty((ny, nx), np.float32), np.empty((ny, nx), np.float32)
    std = np.empty_like(boxes.std)

    def work(first: int, last: int) -> None:
        at_common_depth = np.empty((box[0], nx), np.float32)
        for row in range(first, last):
            strip = slice(row * box[0], min((row + 1) * box[0], ny))
            images = (data[strip], valid[strip], depth2[strip])
            part = at_common_depth[: len(images[0])]
            write_scaled(*images, surface, strip.start, background[strip], part)
            std[row] = box_statistics(part, valid[strip], box, clip_sigma, min_share).std[0]

    in_portions(work, len(std), -(-ROWS_WORTH_A_THREAD // box[0]))
    of_noise = surface_through(median_filtered(filled(std), size), box)
    write_noise(depth2, valid, of_noise, noise)
    return SkyMaps(background, noise, surface, of_noise)
