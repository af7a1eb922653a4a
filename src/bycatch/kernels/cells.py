"""Statistics of small cells: at one depth, clipped; and the reach of segments."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bycatch.arrays import Bools, Image
from bycatch.kernels.bounds import check_shapes, highest_label, label_plane
from bycatch.kernels.compiled import compiled
from bycatch.kernels.neighbourhood import plane
from bycatch.kernels.threads import ROWS_WORTH_A_THREAD, in_portions

MOST_GROWTH_PX = 1000


def at_one_depth(data: Image, depth2: Image, level: float, noise: float) -> Image:
    """Return an image less its level, in units of the noise of its pixels, (ny, nx) float32.

    Parameters
    ----------
    data, depth2 : (ny, nx)
        The noise falls with the square root of the second, such as the exposure time; without
        any the image is 0, or NaN where it was not finite.
    level, noise : of the image, and of a pixel where ``depth2`` is 1
    """
    check_shapes(data, depth2)
    image, depth = plane(data, np.float32), plane(depth2, np.float32)
    numbers = np.float32(level), np.float32(noise)

    def work(first: int, last: int) -> None:
        _scale(image[first:last], depth[first:last], *numbers, out[first:last])

    out = np.empty(data.shape, np.float32)
    in_portions(work, len(out), ROWS_WORTH_A_THREAD)
    return out


@compiled
def _scale(data: Image, depth2: Image, level: np.float32, noise: np.float32, out: Image) -> None:
    for y in range(data.shape[0]):
        for x in range(data.shape[1]):
            depth = np.float32(math.sqrt(max(depth2[y, x], np.float32(0)))) / noise
            out[y, x] = (data[y, x] - level) * depth


def clipped_means(
    data: Image, valid: Bools, side: int, limit: float, min_share: float
) -> tuple[Image, Bools]:
    """Return the means of square cells of pixels clipped to +- a limit, and which are known.

    Parameters
    ----------
    data, valid : (ny, nx)
        Only valid pixels count, and those that are NaN make the mean so.
    side : of the cells, which start at [0, 0]; those at the far edges are cut
    limit : what pixels are clipped to
    min_share : share of a cell's pixels that are valid where it is known

    Returns
    -------
    means, known : (ceil(ny / side), ceil(nx / side)) float32 and bool; 0 without valid pixels
    """
    check_shapes(data, valid)
    if side < 1:
        raise ValueError(f"cells of {side} px hold no pixels")
    shape = -(-data.shape[0] // side), -(-data.shape[1] // side)
    means, count = np.zeros(shape, np.float32), np.zeros(shape, np.int64)
    image, mask = plane(data, np.float32), plane(valid, np.bool_)

    def work(first: int, last: int) -> None:
        rows = slice(first * side, last * side)
        _clip_and_mean(
            image[rows], mask[rows], side, np.float32(limit), means[first:last], count[first:last]
        )

    in_portions(work, len(means), -(-ROWS_WORTH_A_THREAD // side))
    return means, count >= min_share * side**2


@compiled
def _clip_and_mean(
    data: Image,
    valid: Bools,
    side: int,
    limit: np.float32,
    means: Image,
    count: NDArray[np.int64],
) -> None:
    ny, nx = data.shape
    # Down the columns first, many at a time.
    sums, n_valid = np.empty(nx), np.empty(nx, np.int32)
    for i in range(means.shape[0]):
        sums[:], n_valid[:] = 0.0, np.int32(0)
        for y in range(i * side, min((i + 1) * side, ny)):
            _add_clipped(data[y], valid[y], limit, sums, n_valid)
        for j in range(means.shape[1]):
            total, n = 0.0, 0
            for x in range(j * side, min((j + 1) * side, nx)):
                total += sums[x]
                n += n_valid[x]
            count[i, j] += n
            means[i, j] = np.float32(total / max(n, 1))


@compiled
def _add_clipped(
    data: Image,
    valid: Bools,
    limit: np.float32,
    sums: NDArray[np.float64],
    n_valid: NDArray[np.int32],
) -> None:
    for x in range(sums.size):
        value = min(max(data[x], -limit), limit)
        sums[x] += np.float64(value if valid[x] else np.float32(0))
        n_valid[x] += np.int32(valid[x])


def grown_labels(
    labels: NDArray[np.integer[Any]], n_px: int, is_member: Bools | None = None
) -> Bools:
    """Return the pixels of segments, and those within a square of so many pixels to each side.

    Parameters
    ----------
    labels : (ny, nx) int
        0 for sky.
    n_px : int
    is_member : bool, optional
        Whether a segment counts, by its label; all do by default.
    """
    segments = plane(label_plane(labels), np.int32)
    if not 0 <= n_px <= MOST_GROWTH_PX:
        raise ValueError(f"segments can't grow by {n_px} px")
    counts = np.zeros(0, np.bool_)
    if is_member is not None:
        counts = np.zeros(highest_label(segments) + 1, np.bool_)
        counts[1:] = np.asarray(is_member, np.bool_)[1 : len(counts)]
    out = np.zeros(segments.shape, np.bool_)

    def work(first: int, last: int) -> None:
        _grow(segments, counts, n_px, first, out[first:last].view(np.uint8))

    if out.size:
        in_portions(work, len(out), ROWS_WORTH_A_THREAD)
    return out


@compiled
def _grow(
    labels: NDArray[np.int32], counts: Bools, n_px: int, first: int, out: NDArray[np.uint8]
) -> None:
    """Write the rows from ``first`` on; row r, grown along itself, is kept in row r % size.

    Without ``counts`` all segments do.
    """
    ny, nx = labels.shape
    size = 2 * n_px + 1
    wide, line = np.zeros((size, nx), np.uint8), np.zeros(nx + 2 * n_px, np.uint8)
    for row in range(first - 2 * n_px, first + len(out)):
        target = wide[(row + n_px) % size]
        target[:] = np.uint8(0)
        if 0 <= row + n_px < ny:
            if counts.size:
                for x in range(nx):
                    line[n_px + x] = np.uint8(counts[max(labels[row + n_px, x], 0)])
            else:
                for x in range(nx):
                    line[n_px + x] = np.uint8(labels[row + n_px, x] > 0)
            for k in range(size):
                _join(line[k : k + nx], target)
        if row >= first:
            for k in range(size):
                _join(wide[k], out[row - first])


@compiled
def _join(line: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
    for x in range(out.size):
        out[x] |= line[x]
