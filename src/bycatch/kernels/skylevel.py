"""The level of the sky far from all sources: a smooth surface through boxes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bycatch.arrays import Bools, Image
from bycatch.kernels.bounds import check_shapes, highest_label, label_plane
from bycatch.kernels.boxes import box_statistics
from bycatch.kernels.compiled import compiled
from bycatch.kernels.moments import segment_boxes
from bycatch.kernels.neighbourhood import plane
from bycatch.kernels.surfaces import Surface, fill_gaps, median_filter, surface_through

FILTER_BOXES = 3


def grown_segments(
    labels: NDArray[np.integer[Any]], factor: float, margin_px: float, most_px: float
) -> Bools:
    """Return the pixels of segments and of ellipses about them, (ny, nx) bool.

    Parameters
    ----------
    labels : (ny, nx) int
        0 for sky.
    factor, margin_px : the semi-axes of an ellipse are those of the box around the segment, times
        ``factor``, plus ``margin_px``
    most_px : what they grow by at most
    """
    segments = plane(label_plane(labels), np.int32)
    near = segments > 0
    _grow(near, segments, factor, margin_px, most_px)
    return near


def labels_nearby(
    labels: NDArray[np.integer[Any]], factor: float, margin_px: float, most_px: float
) -> NDArray[np.int32]:
    """Return the labels of segments, and of the ellipses about them, (ny, nx); 0 for sky.

    The ellipses are those of `grown_segments`.  A pixel of a segment has that one's label; where
    ellipses overlap it is the lowest.

    Parameters
    ----------
    labels : (ny, nx) int
        0 for sky.
    factor, margin_px, most_px : as in `grown_segments`
    """
    segments = plane(label_plane(labels), np.int32)
    near = segments.copy()
    _grow(near, segments, factor, margin_px, most_px)
    return near


def _grow(
    near: NDArray[Any],
    segments: NDArray[np.int32],
    factor: float,
    margin_px: float,
    most_px: float,
) -> None:
    """Add the ellipses about segments to a mask or to labels, in place."""
    boxes = segment_boxes(segments, highest_label(segments))
    _paint_ellipses(near, boxes, max(float(factor), 1.0), float(margin_px), float(most_px))


@compiled
def _paint_ellipses(
    near: NDArray[Any], boxes: NDArray[np.int64], factor: float, margin_px: float, most_px: float
) -> None:
    """Write the labels of boxes, from 1 on, where centres of pixels without one lie in ellipses.

    In a mask, any label is True.  An empty box has no ellipse.
    """
    ny, nx = near.shape
    for k in range(len(boxes)):
        x0, x1, y0, y1 = boxes[k]
        if x0 >= x1 or y0 >= y1:
            continue
        wide, high = 0.5 * (x1 - x0), 0.5 * (y1 - y0)
        x, y = x0 + wide - 0.5, y0 + high - 0.5
        wide += min((factor - 1.0) * wide + margin_px, most_px)
        high += min((factor - 1.0) * high + margin_px, most_px)
        for row in range(max(int(np.ceil(y - high)), 0), min(int(y + high) + 1, ny)):
            dy = (row - y) / high
            half = wide * np.sqrt(max(1.0 - dy * dy, 0.0))
            first, last = max(int(np.ceil(x - half)), 0), min(int(x + half) + 1, nx)
            for column in range(first, last):
                if near[row, column] == 0:
                    near[row, column] = k + 1


def free_boxes(free: Bools, box_px: int, min_share: float) -> Bools:
    """Return which boxes have more than a share of free pixels, (n_boxes_y, n_boxes_x).

    Boxes that the far edges cut are no smaller than the others in this.

    Parameters
    ----------
    free : (ny, nx) bool
    box_px : side of a box, px, at least 1
    min_share : 0 to 1
    """
    if box_px < 1:
        raise ValueError(f"boxes of {box_px} px hold no pixels")
    ny, nx = free.shape
    sums = np.zeros((-(-ny // box_px), -(-nx // box_px)), np.int64)
    _count(plane(free, np.bool_), int(box_px), sums)
    return np.asarray(sums > min_share * box_px**2)


@compiled
def _count(free: Bools, box_px: int, sums: NDArray[np.int64]) -> None:
    for y in range(free.shape[0]):
        for i in range(sums.shape[1]):
            n = 0
            for pixel in free[y, i * box_px : min((i + 1) * box_px, free.shape[1])]:
                n += pixel
            sums[y // box_px, i] += n


def level_surface(
    data: Image, free: Bools, box_px: int, clip_sigma: float, min_share: float
) -> Surface:
    """Return the surface of the level through free pixels (see `surface_at`).

    Parameters
    ----------
    data, free : (ny, nx)
        Only free pixels count.
    box_px, clip_sigma, min_share : as in `bycatch.kernels.background.sky_maps`, whose statistics
        and surface these are

    Raises
    ------
    ValueError
        No box has enough free pixels.
    """
    check_shapes(data, free)
    box = (min(box_px, data.shape[0]), min(box_px, data.shape[1]))
    mesh = fill_gaps(box_statistics(data, free, box, clip_sigma, min_share).mode)
    size = min(FILTER_BOXES, min(mesh.shape) - (min(mesh.shape) + 1) % 2)
    return surface_through(median_filter(mesh, size), box)
