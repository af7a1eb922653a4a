"""PSFs on oversampled grids, put on the pixels of an image at any place.

A grid holds what a pixel gets of a star of flux 1, by the distance of the pixel's centre from the
star: the pixel itself, and what drizzling does, are part of it (the "effective PSF" of Anderson &
King 2000, PASP 112, 1360).  Between the points of a grid cubic convolution is used (Keys 1981, IEEE
ASSP 29, 1153).  The PSF at a place is a sum of grids, with factors of that place.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bycatch.arrays import Floats, Image, Ints
from bycatch.kernels.bounds import length_px
from bycatch.kernels.compiled import compiled, long
from bycatch.kernels.neighbourhood import plane, points, span
from bycatch.kernels.threads import ROWS_WORTH_A_THREAD, WORTH_A_THREAD, in_portions

OVERSAMPLING = 4
"""Points of a grid per pixel."""
Grids = NDArray[np.float32]
N_PARTS = 4
"""Of a stamp: light, and how it changes with x, y and width."""
MARGIN_STEPS = 3
"""Points of a grid beyond the largest radius: the reach of the interpolation."""
LEAST_BAND_ROWS = ROWS_WORTH_A_THREAD // 8


def grid_side(radius_px: int) -> int:
    """Return the points along a side of a grid that serves so large a radius.

    Parameters
    ----------
    radius_px : px, a whole number
    """
    return 2 * (OVERSAMPLING * radius_px + MARGIN_STEPS) + 1


def largest_radius_px(grids: Floats | Grids) -> float:
    """Return the radius that grids serve.

    Parameters
    ----------
    grids : (K, n, n) float

    Raises
    ------
    ValueError
        They are not (K, n, n) with n odd and large enough for one pixel.
    """
    if grids.ndim != 3 or grids.shape[1] != grids.shape[2] or grids.shape[1] % 2 == 0:
        raise ValueError(f"grids are (K, n, n) with n odd, not {grids.shape}")
    radius = float((grids.shape[1] // 2 - MARGIN_STEPS) / OVERSAMPLING)
    if radius < 1 or grids.shape[0] < 1:
        raise ValueError(f"grids of shape {grids.shape} hold no star")
    return radius


def checked_terms(grids: Floats, terms: ArrayLike, n: int) -> tuple[Grids, Grids]:
    """Return grids and factors in the form that kernels take; raise a ValueError if they differ.

    In single precision, of which a pixel of the image has no more: eight points at a time.

    Parameters
    ----------
    grids : (K, n, n) float
    terms : (N, K) float, factors of the grids for each star
    n : number of stars
    """
    largest_radius_px(grids)
    factors = plane(np.asarray(terms, dtype=np.float64), np.float64)
    if factors.shape != (n, len(grids)):
        raise ValueError(f"{n} stars on {len(grids)} grids have factors ({n}, {len(grids)})")
    return plane(grids, np.float32), plane(factors, np.float32)


def add_stars(
    image: Image,
    grids: Floats,
    terms: ArrayLike,
    x: ArrayLike,
    y: ArrayLike,
    flux: ArrayLike,
    radius_px: ArrayLike,
) -> None:
    """Add stars to an image, in place.

    Parameters
    ----------
    image : (ny, nx) float32, C-contiguous
    grids : (K, n, n) float
    terms : (N, K) float; the factors of each star
    x, y : (N,) float; 0-based pixel centres, on the image or off it; those not finite add nothing
    flux : (N,) float
    radius_px : (N,) float; pixels farther from the star are left alone.  What the grids do not
        reach is, too.
    """
    column, row, light, reach = points(x, y, flux, radius_px)
    psf, factors = checked_terms(grids, terms, len(column))
    if image.dtype != np.float32 or not image.flags.c_contiguous or image.ndim != 2:
        raise ValueError("stars are added to a contiguous image of float32")
    good = np.isfinite(column) & np.isfinite(row) & np.isfinite(light) & (reach > 0)
    good &= np.isfinite(factors).all(axis=1)
    order = np.flatnonzero(good)
    order = order[np.argsort(row[order], kind="stable")]
    if not len(order):
        return
    columns, rows, fluxes = column[order], row[order], light[order]
    radius = np.minimum(reach[order], largest_radius_px(psf))
    factors = factors[order]
    widest = float(radius.max())

    def work(first: int, last: int) -> None:
        i = int(np.searchsorted(rows, first - widest - 1.0))
        j = int(np.searchsorted(rows, last + widest + 1.0))
        part = (columns[i:j], rows[i:j], fluxes[i:j], radius[i:j])
        _add_to_rows(image, first, last, psf, factors[i:j], *part)

    in_portions(work, len(image), LEAST_BAND_ROWS)


def cubic_weights(place: Floats) -> tuple[Ints, Floats]:
    """Return the first of the four points around places on an axis, and their weights, (N, 4).

    Parameters
    ----------
    place : (N,) float, in steps of the grid
    """
    before = np.floor(place)
    return before.astype(np.int64) - 1, np.stack(_taps(place - before), axis=-1)


def _taps(t: Any) -> tuple[Any, Any, Any, Any]:
    """Return the weights of the four points around a place, a share t between the middle two."""
    return (
        ((-0.5 * t + 1.0) * t - 0.5) * t,
        (1.5 * t - 2.5) * t * t + 1.0,
        ((-1.5 * t + 2.0) * t + 0.5) * t,
        (0.5 * t - 0.5) * t * t,
    )


taps = compiled(_taps)


@compiled
def slopes(t: float) -> tuple[float, float, float, float]:
    """Return the derivatives of `taps`.

    Parameters
    ----------
    t : 0 to 1, from the second point to the third
    """
    return (
        (-1.5 * t + 2.0) * t - 0.5,
        (4.5 * t - 5.0) * t,
        (-4.5 * t + 4.0) * t + 0.5,
        (1.5 * t - 1.0) * t,
    )


@compiled
def grid_place(distance_px: float, side: int) -> tuple[int, float]:
    """Return the point of a grid before a distance from the star, and the share beyond it.

    Parameters
    ----------
    distance_px : px, along one axis
    side : points along a side of the grid
    """
    place = side // 2 + distance_px * OVERSAMPLING
    first = math.floor(place)
    return int(first), place - first


@compiled
def blend_rows(
    grids: Grids,
    factors: Grids,
    row: int,
    weights: tuple[float, float, float, float],
    first: int,
    n: int,
    out: Grids,
) -> None:
    """Write n points of the PSF's row between grid rows ``row`` and ``row`` + 1.

    Parameters
    ----------
    grids : (K, n, n) float32
    factors : (K,) float32
    row : of the grids
    weights : of the four rows around
    first : column of the first point
    n : number of points
    out : (m,) float32, m at least n, written
    """
    out[:n] = np.float32(0)
    for k in range(len(factors)):
        a, b = grids[k, row - 1, first : first + n], grids[k, row, first : first + n]
        c, d = grids[k, row + 1, first : first + n], grids[k, row + 2, first : first + n]
        p, q = factors[k] * np.float32(weights[0]), factors[k] * np.float32(weights[1])
        r, s = factors[k] * np.float32(weights[2]), factors[k] * np.float32(weights[3])
        for j in range(n):
            out[j] += (p * a[j] + q * b[j]) + (r * c[j] + s * d[j])


@compiled
def across(line: Grids, at: int, weights: tuple[float, float, float, float]) -> float:
    """Return the value between the points ``at`` + 1 and ``at`` + 2 of a row.

    Parameters
    ----------
    line : (m,) float32, points of a row
    at : index of the first of four points
    weights : of the four points
    """
    total = weights[0] * line[at] + weights[1] * line[at + 1]
    return float(total + weights[2] * line[at + 2] + weights[3] * line[at + 3])


@compiled
def _add_to_rows(
    image: Image,
    first: int,
    last: int,
    grids: Grids,
    terms: Grids,
    x: Floats,
    y: Floats,
    flux: Floats,
    radius: Floats,
) -> None:
    """Add stars to some rows of an image, star by star in the order given."""
    ny, nx = image.shape
    side = grids.shape[1]
    line = np.empty(side, np.float32)
    for k in range(len(x)):
        row0, row1 = span(y[k], radius[k], ny)
        column0, column1 = span(x[k], radius[k], nx)
        # `span` goes to the next whole pixels: these may lie beyond the radius.
        while column0 < column1 and x[k] - column0 > radius[k]:
            column0 += 1
        while column0 < column1 and column1 - 1 - x[k] > radius[k]:
            column1 -= 1
        if column0 >= column1:
            continue
        start, t = grid_place(column0 - x[k], side)
        weights = taps(t)
        n = OVERSAMPLING * (column1 - column0 - 1) + 4
        for row in range(max(row0, first), min(row1, last)):
            dy = row - y[k]
            if abs(dy) > radius[k]:
                continue
            half2 = radius[k] * radius[k] - dy * dy
            grid_row, share = grid_place(dy, side)
            blend_rows(grids, terms[k], grid_row, taps(share), start - 1, n, line)
            for column in range(column0, column1):
                dx = column - x[k]
                if dx * dx <= half2:
                    light = across(line, OVERSAMPLING * (column - column0), weights)
                    image[row, column] += np.float32(flux[k] * light)


def add_wings(
    image: Image,
    profile: Floats,
    x: ArrayLike,
    y: ArrayLike,
    flux: ArrayLike,
    inner_px: float,
    outer_px: ArrayLike,
) -> None:
    """Add round light beyond a radius to an image, in place.

    Parameters
    ----------
    image : (ny, nx) float32, C-contiguous
    profile : (n,) float; light of a pixel of a star of flux 1 at 0, 1, ... quarters of a pixel
    x, y, flux : (N,) float; as in `add_stars`
    inner_px : pixels nearer than this are left alone
    outer_px : (N,) float; so are those farther than this
    """
    columns = points(x, y, flux, outer_px)
    light = plane(np.asarray(profile), np.float64)
    if image.dtype != np.float32 or not image.flags.c_contiguous or light.ndim != 1:
        raise ValueError("wings are a profile, added to a contiguous image of float32")
    good = np.isfinite(np.stack(columns)).all(axis=0) & (columns[3] > length_px(inner_px))
    column, row, fluxes, outer = (plane(values[good], np.float64) for values in columns)
    if not good.any() or len(light) < 2:
        return

    def work(first: int, last: int) -> None:
        _add_wings(image, first, last, light, column, row, fluxes, inner_px, outer)

    in_portions(work, len(image), LEAST_BAND_ROWS)


@compiled
def _add_wings(
    image: Image,
    first: int,
    last: int,
    profile: Floats,
    x: Floats,
    y: Floats,
    flux: Floats,
    inner: float,
    outer: Floats,
) -> None:
    ny, nx = image.shape
    for k in range(len(x)):
        # Beyond its last point a profile has nothing.
        reach = min(outer[k], (len(profile) - 1.001) / OVERSAMPLING)
        row0, row1 = span(y[k], reach, ny)
        column0, column1 = span(x[k], reach, nx)
        for row in range(max(row0, first), min(row1, last)):
            dy2 = (row - y[k]) ** 2
            if dy2 > reach * reach:
                continue
            half = math.sqrt(reach * reach - dy2)
            begin = max(column0, long(math.ceil(x[k] - half)))
            end = min(column1, long(math.floor(x[k] + half)) + 1)
            if dy2 <= inner * inner:
                half = math.sqrt(inner * inner - dy2)
                left, right = long(math.ceil(x[k] - half)), long(math.floor(x[k] + half)) + 1
                _add_wing(image[row], begin, min(left, end), profile, x[k], dy2, flux[k])
                begin = max(begin, right)
            _add_wing(image[row], begin, end, profile, x[k], dy2, flux[k])


@compiled
def _add_wing(
    line: Grids, begin: int, end: int, profile: Floats, x: float, dy2: float, flux: float
) -> None:
    """Add a star's profile to a piece of a row."""
    for column in range(begin, end):
        place = OVERSAMPLING * math.sqrt(dy2 + (column - x) ** 2)
        at = int(place)
        share = place - at
        value = profile[at] * (1.0 - share) + profile[at + 1] * share
        line[column] += np.float32(flux * value)


def star_stamps(
    grids: Floats, terms: ArrayLike, x: ArrayLike, y: ArrayLike, radius_px: float
) -> tuple[NDArray[np.float32], Ints, Ints]:
    """Return the pixels of stars of flux 1, and how they change as the stars move.

    Parameters
    ----------
    grids, terms, x, y : as in `add_stars`
    radius_px : of the pixels that are not 0

    Returns
    -------
    stamps : (N, 4, s, s) float32
        Light, and its derivatives by the star's x and y, and by the logarithm of the PSF's width;
        0 of a star that is nowhere.
    column, row : (N,) int
        The stamps' first pixels; far off any image for a star that is nowhere.
    """
    places = points(x, y)
    psf, factors = checked_terms(grids, terms, len(places[0]))
    radius = min(length_px(radius_px), largest_radius_px(psf))
    half = int(radius + 0.5)
    stamps = np.zeros((len(places[0]), N_PARTS, 2 * half + 1, 2 * half + 1), np.float32)
    column, row = (nearest(values) - half for values in places)

    def work(i: int, j: int) -> None:
        at = (places[0][i:j] - column[i:j], places[1][i:j] - row[i:j])
        _fill_stamps(psf, factors[i:j], *at, radius, stamps[i:j])

    in_portions(work, len(column), WORTH_A_THREAD)
    return stamps, column, row


def nearest(position: Floats) -> Ints:
    """Return the nearest pixel; what is no position is far off any image.

    Parameters
    ----------
    position : (N,) float, px; may not be finite
    """
    far = 1 << 40
    some = np.nan_to_num(position, nan=-far, posinf=far, neginf=-far)
    return np.asarray(np.rint(np.clip(some, -far, far)).astype(np.int64))


@compiled
def _fill_stamps(
    grids: Grids, terms: Grids, x: Floats, y: Floats, radius: float, stamps: Any
) -> None:
    """Fill stamps; x and y count from their first pixels."""
    side, size = grids.shape[1], stamps.shape[2]
    light, tilt = np.empty(side, np.float32), np.empty(side, np.float32)
    half = size // 2
    for k in range(len(x)):
        if not (abs(x[k] - half) <= 0.5 and abs(y[k] - half) <= 0.5):
            continue
        column0, column1 = long(0), long(size)
        while column0 < column1 and x[k] - column0 > radius:
            column0 += 1
        while column0 < column1 and column1 - 1 - x[k] > radius:
            column1 -= 1
        start, t = grid_place(column0 - x[k], side)
        along, along_slope = taps(t), slopes(t)
        n = OVERSAMPLING * (column1 - column0 - 1) + 4
        for row in range(size):
            dy = row - y[k]
            if abs(dy) > radius:
                continue
            grid_row, share = grid_place(dy, side)
            blend_rows(grids, terms[k], grid_row, taps(share), start - 1, n, light)
            blend_rows(grids, terms[k], grid_row, slopes(share), start - 1, n, tilt)
            for column in range(column0, column1):
                dx = column - x[k]
                if dx * dx + dy * dy <= radius * radius:
                    at = OVERSAMPLING * (column - column0)
                    value = across(light, at, along)
                    by_x = -OVERSAMPLING * across(light, at, along_slope)
                    by_y = -OVERSAMPLING * across(tilt, at, along)
                    stamps[k, 0, row, column] = value
                    stamps[k, 1, row, column], stamps[k, 2, row, column] = by_x, by_y
                    stamps[k, 3, row, column] = dx * by_x + dy * by_y - 2.0 * value
