"""The pixels around many positions: as rectangular arrays, and what is found in them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from bycatch.arrays import Floats
from bycatch.kernels.bounds import FAR, check_shapes, length_px
from bycatch.kernels.compiled import compiled, long
from bycatch.kernels.threads import WORTH_A_THREAD, in_portions


@dataclass(frozen=True, eq=False)
class Neighbourhood:
    """Pixels near N positions: K candidates each, in one order for all positions.

    Attributes
    ----------
    rows, columns : (N, K) int
        Pixel indices, clipped to the image.
    distance : (N, K) float
        From the position to the pixel's centre, pixels; infinite off the image.
    """

    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    distance: NDArray[np.float64]

    def take(self, image: NDArray[Any]) -> NDArray[Any]:
        """Return the (N, K) pixel values; what is off the image repeats its border."""
        return image[self.rows, self.columns]


def neighbourhood(
    shape: tuple[int, int], x: ArrayLike, y: ArrayLike, radius_px: float
) -> Neighbourhood:
    """Return all pixels whose centres can lie within a radius of each position.

    Parameters
    ----------
    shape : (ny, nx) of the image
    x, y : (N,) float
        0-based pixel centres; may be off the image, or not finite.
    radius_px : float
    """
    x, y = points(x, y)
    reach = int(np.ceil(length_px(radius_px) + 0.5))
    dy, dx = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    # Candidates of any sub-pixel position: centre of the nearest pixel plus half a diagonal.
    near = np.hypot(dx, dy) <= radius_px + np.sqrt(0.5)
    column0, row0 = nearest_pixel(x)[:, np.newaxis], nearest_pixel(y)[:, np.newaxis]
    columns, rows = column0 + dx[near], row0 + dy[near]
    ny, nx = shape
    on_image = (columns >= 0) & (columns < nx) & (rows >= 0) & (rows < ny)
    distance = np.hypot(columns - x[:, np.newaxis], rows - y[:, np.newaxis])
    return Neighbourhood(
        np.clip(rows, 0, ny - 1),
        np.clip(columns, 0, nx - 1),
        np.where(on_image, distance, np.inf),
    )


def nearest_pixel(position: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the nearest index; what is no position, or beyond any image, is far off it.

    Parameters
    ----------
    position : (N,) float, px; may not be finite
    """
    return np.rint(np.clip(np.nan_to_num(position, nan=-FAR), -FAR, FAR)).astype(np.intp)


def pixels_at(
    shape: tuple[int, int], x: ArrayLike, y: ArrayLike
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return rows and columns of the pixels nearest to positions, clipped to the image.

    Parameters
    ----------
    shape : (ny, nx)
    x, y : (N,) px; what is no number counts as 0
    """
    row, column = (
        np.clip(nearest_pixel(np.asarray(v, float)), 0, n - 1)
        for v, n in zip((y, x), shape, strict=True)
    )
    return row, column


def plane(image: NDArray[Any], dtype: DTypeLike | None = None) -> NDArray[Any]:
    """Return a view of an image (a copy, if it must be) in the form that kernels take.

    C-contiguous, native and read-only, so that each kernel is compiled for one
    kind of array.  Without a ``dtype``, float32 stays and all else becomes float64.

    Parameters
    ----------
    image : of any shape and byte order
    dtype : of the result
    """
    if dtype is None:
        dtype = np.float32 if image.dtype.newbyteorder("=") == np.float32 else np.float64
    view = np.ascontiguousarray(image, dtype=dtype).view()
    view.flags.writeable = False
    return view


def positions(values: ArrayLike) -> NDArray[np.float64]:
    """Return coordinates in the form that kernels take: (N,) float64, read-only.

    Parameters
    ----------
    values : N numbers, or one
    """
    return plane(np.atleast_1d(np.asarray(values, dtype=np.float64)), np.float64)


def points(x: ArrayLike, y: ArrayLike, *others: ArrayLike) -> tuple[Floats, ...]:
    """Return the coordinates of N positions, and other numbers of each, in the form of `positions`.

    Parameters
    ----------
    x, y : N numbers each, or one
    others : N numbers each

    Raises
    ------
    ValueError
        They are not N each.
    """
    columns = tuple(positions(values) for values in (x, y, *others))
    if columns[0].ndim != 1 or len({column.shape for column in columns}) > 1:
        shapes = ", ".join(str(column.shape) for column in columns)
        raise ValueError(f"numbers of N positions are needed, not arrays of shapes {shapes}")
    return columns


@compiled
def span(position: float, reach: float, size: int) -> tuple[int, int]:
    """Return the first pixel, and the one past the last, that a reach about a position touches.

    Nothing (0, 0) where it touches no pixel of an axis of that size, or is no number.

    Parameters
    ----------
    position : px, 0-based pixel centres
    reach : px
    size : pixels of the axis
    """
    if not (reach >= 0 and -reach - 1 < position < size + reach):
        return 0, 0
    # Cut to the axis while they are numbers: not each of them would fit an integer.
    first, last = max(position - reach, 0.0), min(position + reach, size - 1.0)
    return math.floor(first), math.ceil(last) + 1


def any_within(
    mask: NDArray[np.bool_], x: ArrayLike, y: ArrayLike, radius_px: float
) -> NDArray[np.bool_]:
    """Return whether the centre of a true pixel lies within a radius of each position.

    Parameters
    ----------
    mask : (ny, nx) bool
    x, y : (N,) float
        0-based pixel centres; false for positions off the image, or not finite.
    radius_px : float
    """
    column, row = points(x, y)
    is_near = np.zeros(len(column), dtype=np.bool_)
    _look_for(mask, True, column, row, radius_px, is_near)
    return is_near


def all_within(
    mask: NDArray[np.bool_], x: ArrayLike, y: ArrayLike, radius_px: float
) -> NDArray[np.bool_]:
    """Return whether the circle lies between pixel centres of the image, all true inside it.

    Parameters are those of `any_within`.

    Parameters
    ----------
    mask : (ny, nx) bool
    x, y : (N,) float, 0-based pixel centres
    radius_px : px
    """
    column, row = points(x, y)
    ny, nx = mask.shape
    inside = (column >= radius_px) & (column <= nx - 1 - radius_px)
    inside &= (row >= radius_px) & (row <= ny - 1 - radius_px)
    missing = np.zeros(len(column), dtype=np.bool_)
    _look_for(mask, False, column, row, radius_px, missing)
    return np.asarray(inside & ~missing)


def _look_for(
    mask: NDArray[np.bool_],
    value: bool,
    x: Floats,
    y: Floats,
    radius_px: float,
    is_near: NDArray[np.bool_],
) -> None:
    """Note at which positions there is what is sought, as `_look_within`, on all cores."""
    pixels, radius = plane(mask, np.bool_), length_px(radius_px)

    def work(i: int, j: int) -> None:
        _look_within(pixels, value, x[i:j], y[i:j], radius, is_near[i:j])

    in_portions(work, len(x), WORTH_A_THREAD)


@compiled
def _look_within(
    mask: NDArray[np.bool_],
    value: bool,
    x: Floats,
    y: Floats,
    radius: float,
    is_near: NDArray[np.bool_],
) -> None:
    ny, nx = mask.shape
    for k in range(x.size):
        row0, row1 = span(y[k], radius, ny)
        column0, column1 = span(x[k], radius, nx)
        for row in range(row0, row1):
            for column in range(column0, column1):
                # The mask first: what is sought is rare.
                if mask[row, column] == value:
                    dx, dy = column - x[k], row - y[k]
                    if dx * dx + dy * dy <= radius * radius:
                        is_near[k] = True


@dataclass(frozen=True, eq=False)
class Coverage:
    """What contributes to the pixels around N positions; 0 or NaN where no valid one is near.

    Attributes
    ----------
    n_exp : (N,) float
        Median number of exposures of the inner pixels, halves not rounded.
    n_exp_min : (N,) float
        Least number of exposures of the outer pixels.
    exptime_s : (N,) float
        Mean exposure time of the outer pixels.
    peak_rate : (N,) float
        Highest of the inner pixels; NaN where there is none.
    """

    n_exp: Floats
    n_exp_min: Floats
    exptime_s: Floats
    peak_rate: Floats


def coverage(
    planes: tuple[
        NDArray[np.floating], NDArray[np.bool_], NDArray[np.integer], NDArray[np.floating]
    ],
    x: ArrayLike,
    y: ArrayLike,
    inner_px: float,
    outer_px: float,
) -> Coverage:
    """Return exposures, exposure time and peak around positions.

    Parameters
    ----------
    planes : rates, whether they are valid, numbers of exposures, exposure times; each (ny, nx)
        Only valid pixels count.
    x, y : (N,) float
        0-based pixel centres; may be off the image, or not finite.
    inner_px, outer_px : float
        Radii within which the centre of a pixel must lie; the inner one is not the larger.
    """
    rate, valid, n_exp, exptime_s = planes
    check_shapes(rate, valid, n_exp, exptime_s)
    column, row = points(x, y)
    out = np.zeros((len(column), 4))
    images = (plane(rate), plane(valid, np.bool_), plane(n_exp, np.int16))
    seconds, radii = plane(exptime_s, np.float32), (length_px(inner_px), length_px(outer_px))

    def work(i: int, j: int) -> None:
        _coverage(*images, seconds, column[i:j], row[i:j], radii, out[i:j])

    in_portions(work, len(column), WORTH_A_THREAD)
    return Coverage(*out.T.copy())


@compiled
def _coverage(
    rate: NDArray[np.floating],
    valid: NDArray[np.bool_],
    n_exp: NDArray[np.int16],
    exptime: NDArray[np.float32],
    x: Floats,
    y: Floats,
    radii: tuple[float, float],
    out: Floats,
) -> None:
    """Fill ``out``: median and least number of exposures, mean exposure time, peak."""
    inner, outer = radii
    ny, nx = rate.shape
    side = int(2 * inner) + 3
    counts = np.empty(min(side, ny) * min(side, nx), dtype=np.int16)
    for k in range(x.size):
        row0, row1 = span(y[k], outer, ny)
        column0, column1 = span(x[k], outer, nx)
        n_inner, n_outer, seconds, top, least = long(0), 0, 0.0, -np.inf, np.int16(32767)
        for row in range(row0, row1):
            for column in range(column0, column1):
                dx, dy = column - x[k], row - y[k]
                distance2 = dx * dx + dy * dy
                if distance2 <= outer * outer and valid[row, column]:
                    n_outer += 1
                    seconds += exptime[row, column]
                    least = min(least, n_exp[row, column])
                    if distance2 <= inner * inner:
                        insert(counts, n_inner, n_exp[row, column])
                        n_inner += 1
                        top = max(top, np.float64(rate[row, column]))
        if n_inner:
            out[k, 0] = 0.5 * (counts[(n_inner - 1) // 2] + counts[n_inner // 2])
        out[k, 1] = least if n_outer else 0
        out[k, 2] = seconds / max(n_outer, 1)
        out[k, 3] = top if n_inner else np.nan


@compiled
def insert(numbers: NDArray[np.int16], n: int, value: int) -> None:
    """Insert a value into ``ordered[:n]``, which increases: for a few values the fastest sort.

    Parameters
    ----------
    numbers : (m,) int16, m above n; written
    n : values in it so far
    value : integer that fits 16 bits
    """
    while n > 0 and numbers[n - 1] > value:
        numbers[n] = numbers[n - 1]
        n -= 1
    numbers[n] = value


def bilinear(planes: NDArray[Any], x: ArrayLike, y: ArrayLike) -> Floats:
    """Return values between four pixels each; positions beyond the edge count as on it.

    Parameters
    ----------
    planes : (..., ny, nx), at least 2 x 2
    x, y : positions, of any one shape; NaN counts as 0

    Returns
    -------
    (..., shape of the positions)
    """
    ny, nx = planes.shape[-2:]
    across = np.clip(np.nan_to_num(x), 0.0, nx - 1.0)
    up = np.clip(np.nan_to_num(y), 0.0, ny - 1.0)
    column = np.minimum(across.astype(np.int64), nx - 2)
    row = np.minimum(up.astype(np.int64), ny - 2)
    u, v = across - column, up - row
    low = (1 - u) * planes[..., row, column] + u * planes[..., row, column + 1]
    high = (1 - u) * planes[..., row + 1, column] + u * planes[..., row + 1, column + 1]
    return np.asarray((1 - v) * low + v * high)
