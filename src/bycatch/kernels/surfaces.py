"""A smooth surface through the values of boxes, and what it is at the pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bycatch.arrays import Bools, Floats, Image
from bycatch.kernels.bounds import check_shapes
from bycatch.kernels.boxes import insertion_sort
from bycatch.kernels.compiled import compiled
from bycatch.kernels.neighbourhood import nearest_pixel, plane
from bycatch.kernels.threads import ROWS_WORTH_A_THREAD, in_portions, n_threads

Indices = NDArray[np.int64]

N_NEIGHBOURS = 10
NO_BOX = "no box has enough pixels for its statistics"


@dataclass(frozen=True, eq=False)
class Surface:
    """A cubic spline through the values of boxes.

    Attributes
    ----------
    mesh : (n_boxes_y, n_boxes_x) float32, the values
    coefficients : (n_boxes_y, n_boxes_x) float64, of the B-spline
    low, high : range of the boxes' values, which the surface does not leave
    box_px : (height, width) of a box
    """

    mesh: Image
    coefficients: Floats
    low: np.float32
    high: np.float32
    box_px: tuple[int, int]

    def enlarge(self, step: int) -> Surface:
        """Return the surface of an image of which every ``step``-th pixel each way made this."""
        return replace(self, box_px=(self.box_px[0] * step, self.box_px[1] * step))

    def reduce(self, step: int) -> Surface:
        """Return the surface of every ``step``-th pixel each way, a divisor of the boxes' sides."""
        return replace(self, box_px=(self.box_px[0] // step, self.box_px[1] // step))


def fill_gaps(mesh: Image, wanted: Bools | None = None) -> Image:
    """Return box values with what is NaN filled from the ten nearest boxes.

    Weighted with the inverse of their distances (Shepard 1968, Proc. 23rd ACM Conf., 517).

    Parameters
    ----------
    mesh : (n_boxes_y, n_boxes_x) float, NaN where not known
    wanted : (n_boxes_y, n_boxes_x) bool; boxes that are filled, the others stay; by default all

    Raises
    ------
    ValueError
        All are NaN.
    """
    is_finite = np.isfinite(mesh)
    if is_finite.all():
        return mesh
    if not is_finite.any():
        raise ValueError(NO_BOX)
    from scipy.spatial import cKDTree

    to_fill = ~is_finite if wanted is None else ~is_finite & wanted
    distance, index = cKDTree(np.argwhere(is_finite), leafsize=10).query(
        np.argwhere(to_fill), k=N_NEIGHBOURS, workers=n_threads()
    )
    # Fewer than ten boxes: those that are missing are infinitely far.
    weight = np.asarray(1.0 / distance)
    values = mesh[is_finite].astype(np.float64)[np.minimum(index, is_finite.sum() - 1)]
    full = mesh.copy()
    full[to_fill] = (weight * values).sum(axis=1) / weight.sum(axis=1)
    return full


def median_filter(mesh: Image, size: int) -> Image:
    """Return the median of ``size`` x ``size`` (odd) boxes; beyond the edge there are none.

    Parameters
    ----------
    mesh : (n_boxes_y, n_boxes_x) float
    size : side of the window in boxes, odd; 1 or less returns the mesh
    """
    if size <= 1:
        return mesh
    out = np.empty_like(mesh)
    _median_filter(mesh, size // 2, out)
    return out


@compiled
def _median_filter(mesh: Image, reach: int, out: Image) -> None:
    ny, nx = mesh.shape
    for y in range(ny):
        for x in range(nx):
            near = mesh[max(y - reach, 0) : y + reach + 1, max(x - reach, 0) : x + reach + 1]
            values = near.copy().reshape(near.size)
            insertion_sort(values)
            middle = near.size // 2
            other = middle if near.size % 2 else middle - 1
            out[y, x] = np.float32(0.5 * (np.float64(values[middle]) + np.float64(values[other])))


def surface_through(mesh: Image, box_px: tuple[int, int]) -> Surface:
    """Return the cubic spline through box values, mirrored at the edges.

    Parameters
    ----------
    mesh : (n_boxes_y, n_boxes_x) float, finite
    box_px : height and width of a box, px
    """
    from scipy.ndimage import spline_filter

    if (mesh == mesh[0, 0]).all():
        coefficients = mesh.astype(np.float64)
    else:
        coefficients = np.asarray(spline_filter(mesh, 3, output=np.float64, mode="reflect"))
    return Surface(mesh, coefficients, np.float32(mesh.min()), np.float32(mesh.max()), box_px)


def surface_map(surface: Surface, valid: Bools) -> Image:
    """Return a surface at every pixel, (ny, nx) float32; 0 where not valid.

    Parameters
    ----------
    surface : Surface
    valid : (ny, nx) bool
    """
    out = np.empty(valid.shape, np.float32)
    write_level(surface, valid, out)
    return out


def write_level(surface: Surface, valid: Bools, out: Image) -> None:
    """Write a surface at every pixel; 0 where not valid.

    Parameters
    ----------
    surface : Surface
    valid : (ny, nx) bool
    out : (ny, nx) float32, written
    """
    check_shapes(valid, out)
    mask = plane(valid, np.bool_)

    def work(first: int, last: int) -> None:
        rows = slice(first, last)
        _write_level(mask[rows], _spline(surface, first, out[rows].shape), out[rows])

    in_portions(work, len(out), ROWS_WORTH_A_THREAD)


def surface_at(surface: Surface, shape: tuple[int, int], x: Floats, y: Floats) -> Floats:
    """Return a surface at the pixels nearest to positions, (N,); NaN off an image of ``shape``.

    Parameters
    ----------
    surface : Surface
    shape : (ny, nx) of the image
    x, y : (N,) float, 0-based pixel centres
    """
    column, row = nearest_pixel(x), nearest_pixel(y)
    on_image = (column >= 0) & (column < shape[1]) & (row >= 0) & (row < shape[0])
    column, row = column[on_image], row[on_image]
    spline = _spline(surface, 0, shape)
    level = np.zeros(len(column))
    for j in range(4):
        for i in range(4):
            weight = spline.row_weights[j, row] * spline.column_weights[i, column]
            level += weight * surface.coefficients[spline.rows[j, row], spline.columns[i, column]]
    values = np.full(len(on_image), np.nan)
    values[on_image] = np.clip(level, surface.low, surface.high)
    return values


def write_scaled(
    data: Image,
    valid: Bools,
    depth2: Image,
    surface: Surface,
    first_row: int,
    background: Image,
    at_common_depth: Image,
) -> None:
    """Write the rows of a background from ``first_row`` on, and the image at a common depth.

    Parameters
    ----------
    data, valid, depth2 : (n_rows, nx), rows of the image, its mask, and its squared depth
    surface : Surface, the background
    first_row : row of the image that the arrays start with
    background, at_common_depth : (n_rows, nx) float32, written
    """
    check_shapes(data, valid, depth2, background, at_common_depth)
    images = (plane(data), plane(valid, np.bool_), plane(depth2))
    _write_scaled(*images, _spline(surface, first_row, data.shape), background, at_common_depth)


def write_noise(depth2: Image, valid: Bools, surface: Surface, noise: Image) -> None:
    """Write a surface over the root of the depth; 0 where not valid or without depth.

    Parameters
    ----------
    depth2 : (ny, nx), squared depth
    valid : (ny, nx) bool
    surface : Surface, the noise at the common depth
    noise : (ny, nx) float32, written
    """
    check_shapes(depth2, valid, noise)
    depth, mask = plane(depth2), plane(valid, np.bool_)

    def work(first: int, last: int) -> None:
        rows = slice(first, last)
        spline = _spline(surface, first, noise[rows].shape)
        _write_noise(depth[rows], mask[rows], spline, noise[rows])

    in_portions(work, len(noise), ROWS_WORTH_A_THREAD)


class Spline(NamedTuple):
    """A surface, and the boxes and weights that each row and column of pixels takes of it."""

    rows: Indices  # (4, ny)
    row_weights: Floats
    columns: Indices  # (4, nx)
    column_weights: Floats
    spans: Indices  # where the four boxes of a column change, from 0 to nx
    coefficients: Floats
    low: np.float32
    high: np.float32


def _spline(surface: Surface, first_row: int, shape: tuple[int, ...]) -> Spline:
    """Return the spline of some rows of an image."""
    n_boxes, box = surface.coefficients.shape, surface.box_px
    rows, row_weights = _spline_weights(first_row, shape[0], box[0], n_boxes[0])
    limits = (surface.low, surface.high)
    columns = _columns(shape[1], box[1], n_boxes[1])
    return Spline(rows, row_weights, *columns, surface.coefficients, *limits)


@lru_cache(maxsize=8)
def _columns(n: int, box_px: int, n_boxes: int) -> tuple[Indices, Floats, Indices]:
    """Return what all rows of an image share: boxes and weights of its columns, and the spans."""
    columns, weights = _spline_weights(0, n, box_px, n_boxes)
    changes = np.flatnonzero((np.diff(columns, axis=1) != 0).any(axis=0)) + 1
    spans = np.unique(np.concatenate([[0], changes, [n]])).astype(np.int64)
    return columns, weights, spans


def _spline_weights(first: int, n: int, box_px: int, n_boxes: int) -> tuple[Indices, Floats]:
    """Return the (4, n) boxes that each pixel's value comes from, and their weights."""
    position = (np.arange(first, first + n) + 0.5) / box_px - 0.5
    below = np.floor(position).astype(np.int64)
    t = position - below
    weights = np.empty((4, n))
    weights[0] = (1 - t) ** 3 / 6
    weights[1] = (t * t * (t - 2) * 3 + 4) / 6
    weights[2] = ((1 - t) ** 2 * (-1 - t) * 3 + 4) / 6
    weights[3] = 1 - weights[:3].sum(axis=0)
    # Mirrored at the edges.
    index = (below + np.arange(-1, 3)[:, np.newaxis]) % (2 * n_boxes)
    return np.minimum(index, 2 * n_boxes - 1 - index), weights


@compiled
def _write_scaled(
    data: Image,
    valid: Bools,
    depth2: Image,
    spline: Spline,
    background: Image,
    at_common_depth: Image,
) -> None:
    line = np.empty(data.shape[1], np.float32)
    for y in range(data.shape[0]):
        _write_row(spline, y, line)
        values, is_valid, seconds = data[y], valid[y], depth2[y]
        to_background, scaled = background[y], at_common_depth[y]
        for x in range(line.size):
            value = line[x] if is_valid[x] else np.float32(0)
            depth = np.float32(math.sqrt(max(seconds[x], np.float32(0))))
            to_background[x] = value
            scaled[x] = (values[x] - value) * depth


@compiled
def _write_level(valid: Bools, spline: Spline, out: Image) -> None:
    for y in range(out.shape[0]):
        _write_row(spline, y, out[y])
        is_valid, line = valid[y], out[y]
        for x in range(line.size):
            line[x] = line[x] if is_valid[x] else np.float32(0)


@compiled
def _write_noise(depth2: Image, valid: Bools, spline: Spline, noise: Image) -> None:
    line = np.empty(noise.shape[1], np.float32)
    for y in range(noise.shape[0]):
        _write_row(spline, y, line)
        is_valid, depth, out = valid[y], depth2[y], noise[y]
        for x in range(line.size):
            has_noise = is_valid[x] & (depth[x] > 0)
            value = line[x] / np.float32(math.sqrt(depth[x] if has_noise else np.float32(1)))
            out[x] = value if has_noise else np.float32(0)


@compiled
def _write_row(spline: Spline, y: int, out: Image) -> None:
    """Write one row of a spline surface."""
    line = np.zeros(spline.coefficients.shape[1])
    for k in range(4):
        for i in range(line.size):
            line[i] += spline.row_weights[k, y] * spline.coefficients[spline.rows[k, y], i]
    for j in range(spline.spans.size - 1):
        # Four boxes serve all pixels from the middle of one box to that of the next.
        x, end = spline.spans[j], spline.spans[j + 1]
        a, b = line[spline.columns[0, x]], line[spline.columns[1, x]]
        c, d = line[spline.columns[2, x]], line[spline.columns[3, x]]
        # Each a line of its own: of a part of a table the compiler does not know the steps.
        w, piece = spline.column_weights, out[x:end]
        p, q, r, s = w[0, x:end], w[1, x:end], w[2, x:end], w[3, x:end]
        for i in range(piece.size):
            value = np.float32(p[i] * a + q[i] * b + r[i] * c + s[i] * d)
            piece[i] = min(max(value, spline.low), spline.high)
