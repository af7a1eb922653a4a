"""What masked pixels around positions have in excess of the rings on which they lie."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bycatch.arrays import Bools, Floats, Image
from bycatch.kernels.apertures import pixel_share
from bycatch.kernels.bounds import check_shapes, label_plane, length_px
from bycatch.kernels.compiled import compiled
from bycatch.kernels.neighbourhood import pixels_at, plane, points, span
from bycatch.kernels.threads import WORTH_A_THREAD, in_portions

Images = tuple[Image, Bools, Bools, NDArray[np.int32]]  # data, valid, mask, labels

MIN_RING_PIXELS = 3
"""A ring with fewer pixels that are not masked takes those beside it as well."""


def ring_excess(
    data: NDArray[np.floating],
    valid: NDArray[np.bool_],
    mask: NDArray[np.bool_],
    x: ArrayLike,
    y: ArrayLike,
    radii_px: Sequence[float],
    core_px: float,
    segmentation: NDArray[np.integer[Any]] | None = None,
) -> Floats:
    """Return what masked pixels add to circles beyond the mean of their rings.

    A ring is a pixel wide and centred on the position.  Its mean is that of its pixels that are
    valid, not masked, and not of other segments.  Where a ring and those beside it have too few,
    nothing is known, and its masked pixels count as they are.

    Parameters
    ----------
    data, valid, mask : (ny, nx)
        Only valid pixels count.
    x, y : (N,) float
        0-based pixel centres; may be off the image, or not finite.
    radii_px : R radii, larger than 0
    core_px : pixels whose centres are nearer than this are never in excess, px
    segmentation : (ny, nx) int, optional

    Returns
    -------
    excess : (N, R) float, in units of the data times px^2
    """
    check_shapes(data, valid, mask)
    radii = np.array([length_px(radius) for radius in radii_px], dtype=np.float64)
    column, row = points(x, y)
    excess = np.zeros((len(column), len(radii)))
    if not (len(radii) and data.size):
        return excess
    labels = np.zeros(data.shape, np.int32) if segmentation is None else segmentation
    check_shapes(data, labels)
    segments, core = label_plane(labels), length_px(core_px)
    images = (plane(data, np.float32), plane(valid, np.bool_), plane(mask, np.bool_), segments)
    own = segments[pixels_at(data.shape, column, row)]

    def work(i: int, j: int) -> None:
        at = column[i:j], row[i:j], own[i:j]
        _ring_excess(images, *at, radii, core, excess[i:j])

    in_portions(work, len(column), WORTH_A_THREAD)
    return excess


@compiled
def _ring_excess(
    images: Images,
    x: Floats,
    y: Floats,
    own: NDArray[np.int32],
    radii: Floats,
    core: float,
    excess: Floats,
) -> None:
    """Fill (N, R) excesses."""
    data, valid, mask, labels = images
    ny, nx = data.shape
    largest = np.max(radii)
    n_rings = int(min(largest, float(ny + nx))) + 4
    counts, totals = np.zeros(n_rings), np.zeros(n_rings)
    for k in range(x.size):
        row0, row1 = span(y[k], largest, ny)
        column0, column1 = span(x[k], largest, nx)
        if row0 >= row1 or column0 >= column1 or not mask[row0:row1, column0:column1].any():
            continue
        counts[:] = 0.0
        totals[:] = 0.0
        for row in range(row0, row1):
            for column in range(column0, column1):
                ring = int(math.hypot(column - x[k], row - y[k]) + 0.5)
                is_good = valid[row, column] and not mask[row, column]
                label = labels[row, column]
                if ring < n_rings and is_good and (label == 0 or label == own[k]):
                    counts[ring] += 1.0
                    totals[ring] += data[row, column]
        for row in range(row0, row1):
            for column in range(column0, column1):
                if not (valid[row, column] and mask[row, column]):
                    continue
                dx, dy = abs(column - x[k]), abs(row - y[k])
                away = math.hypot(dx, dy)
                ring = int(away + 0.5)
                if away < core or ring >= n_rings - 1:
                    continue
                first, stop = ring, ring + 1
                if counts[ring] < MIN_RING_PIXELS:
                    first, stop = max(ring - 1, 0), ring + 2
                count = np.sum(counts[first:stop])
                if count < MIN_RING_PIXELS:
                    continue
                beyond = data[row, column] - np.sum(totals[first:stop]) / count
                for r in range(radii.size):
                    excess[k, r] += pixel_share(dx, dy, radii[r]) * beyond
