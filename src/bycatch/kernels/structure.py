"""Structure of the sky at the scale of apertures: cells of a few pixels against one another."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bycatch.arrays import Floats, Image
from bycatch.kernels.surfaces import Surface, fill_gaps, surface_through

LEAST_DIFFERENCES = 30
"""Fewer do not measure a scatter to a quarter."""


def at_cells(image: Image, cell_px: int) -> Image:
    """Return the pixels in the middle of the cells of a smooth map, one for each cell.

    Parameters
    ----------
    image : (ny, nx) float
    cell_px : side of a cell, px
    """
    ny, nx = image.shape
    rows = np.minimum(np.arange(0, ny, cell_px) + cell_px // 2, ny - 1)
    columns = np.minimum(np.arange(0, nx, cell_px) + cell_px // 2, nx - 1)
    return image[np.ix_(rows, columns)]


def most_in_window(which: NDArray[np.bool_], side: int) -> int:
    """Return the largest number of cells that any square of ``side`` cells holds.

    Parameters
    ----------
    which : (n_cells_y, n_cells_x) bool
    side : of the square, in cells
    """
    if not which.any():
        return 0
    sums = np.zeros((which.shape[0] + 1, which.shape[1] + 1), np.int64)
    sums[1:, 1:] = which.cumsum(axis=0).cumsum(axis=1)
    height, width = (min(side, n) for n in which.shape)
    counts = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width]
    return int((counts + sums[:-height, :-width]).max())


def local_scatter(cells: Image, lag: int, step: int, margin: int) -> Floats:
    """Return what cells differ by from the mean of those on either side, block by block.

    Along both axes; the median of the absolute differences, scaled to the standard deviation of a
    cell if all were independent and Gaussian.  A linear slope makes no difference, a few cells with
    sources neither.

    Parameters
    ----------
    cells : (ny, nx) float; NaN where unknown
    lag : how far away the two cells are
    step : side of the blocks, in cells
    margin : how many cells beyond its own a block takes in

    Returns
    -------
    scatter : (ceil(ny / step), ceil(nx / step)) float; NaN where too few cells are known
    """
    ny, nx = cells.shape
    rows, columns = -(-ny // step), -(-nx // step)
    side = step + 2 * margin
    canvas = np.full((2, rows * step + 2 * margin, columns * step + 2 * margin), np.nan)
    inside = canvas[:, margin : margin + ny, margin : margin + nx]
    values = np.where(np.isfinite(cells), cells, np.nan).astype(np.float64)
    if ny > 2 * lag:
        inside[0, lag:-lag] = values[lag:-lag] - 0.5 * (values[2 * lag :] + values[: -2 * lag])
    if nx > 2 * lag:
        across = values[:, lag:-lag] - 0.5 * (values[:, 2 * lag :] + values[:, : -2 * lag])
        inside[1, :, lag:-lag] = across
    windows = np.lib.stride_tricks.sliding_window_view(np.abs(canvas), (side, side), axis=(1, 2))
    blocks = windows[:, ::step, ::step].transpose(1, 2, 0, 3, 4).reshape(rows, columns, -1)
    n_finite = np.isfinite(blocks).sum(axis=2)
    enough = n_finite >= LEAST_DIFFERENCES
    scatter = np.full((rows, columns), np.nan)
    # NaN comes last.
    in_order, n = np.sort(blocks[enough], axis=1), n_finite[enough][:, np.newaxis]
    low, high = (np.take_along_axis(in_order, k, axis=1)[:, 0] for k in ((n - 1) // 2, n // 2))
    # 1.4826 for Gaussians; a difference has 1.5 times the variance of a cell.
    scatter[enough] = 1.4826 / np.sqrt(1.5) * (0.5 * (low + high))
    return scatter


def surface_of_blocks(values: Floats, block_px: int) -> Surface | None:
    """Return a smooth surface through the values of blocks; None where none is known.

    Parameters
    ----------
    values : (n_blocks_y, n_blocks_x) float, NaN where not known
    block_px : side of a block, px
    """
    if not np.isfinite(values).any():
        return None
    return surface_through(fill_gaps(values.astype(np.float32)), (block_px, block_px))
