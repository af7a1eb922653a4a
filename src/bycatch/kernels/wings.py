"""Centres of stars from their wings, where the core is full: no model of the PSF is needed.

The star is taken as point-symmetric.  Its mean profile in rings, whatever it is, is subtracted; a
centre that is off leaves what the profile's slope predicts, and is moved until nothing of that is
left.  A pixel enters only if its mirror image does: then light that is the same on both sides, such
as spikes and the structure of the rings, moves nothing, and neither does a full core or a bleeding
column that is cut out, whatever its shape.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bycatch.arrays import Bools, Floats, Ints
from bycatch.kernels.bounds import check_shapes, length_px
from bycatch.kernels.compiled import compiled, long
from bycatch.kernels.neighbourhood import points

N_SECTORS = 12
"""Pairs of opposite sectors that are left out in turn, for the error."""
RING_GROWTH = 0.12
"""Rings are a pixel wide, or this share of their radius."""
LEAST_RING_PIXELS, LEAST_RINGS, LEAST_PIXELS = 8, 3, 40
CLIP_SIGMA = 4.0
LEAST_SCATTER = 0.02
"""A pixel is known no better than to this share of the profile: rings are not round."""
MAX_ITERATIONS = 25
LONG_STEP_PX, SHORT_STEP_PX, N_LONG = 1.0, 0.3, 6
"""Longest steps, in the first iterations and then."""
CONVERGED_PX, NEARLY_PX, MOST_PX = 2e-3, 1e-2, 5e-2
"""A fit ends with a step as short; after `N_LONG` steps the second will do, as pixels that come and
go may keep it from the first; at the end the third, and the step is part of the error."""
SLOPE_STEP = 0.02
"""Of the logarithm of the radius."""


@dataclass(frozen=True, eq=False)
class WingFits:
    """Centres of N stars; where a fit failed all numbers are NaN.

    Attributes
    ----------
    x, y : (N,) 0-based pixel centres
    err_px : (N,) 1-sigma error per axis (rms of both) from the scatter between sectors
    light : (N,) level of the innermost ring that has pixels, above the outermost one
    n_pixels : (N,) int, pixels that entered
    """

    x: Floats
    y: Floats
    err_px: Floats
    light: Floats
    n_pixels: Ints

    @property
    def has_centre(self) -> Bools:
        """True where there is a centre."""
        return np.isfinite(self.x)


def fit_wings(
    data: NDArray[np.floating],
    usable: NDArray[np.bool_],
    x: ArrayLike,
    y: ArrayLike,
    hole_px: ArrayLike,
    reach_px: ArrayLike,
) -> WingFits:
    """Find the centres of stars from the pixels between two radii.

    Parameters
    ----------
    data, usable : (ny, nx)
        Pixels that are full, bled or missing are not usable.
    x, y : (N,) float
        Where to begin, 0-based; a few pixels off do no harm.
    hole_px, reach_px : (N,) float
        Pixels enter whose distance from the centre lies between these.

    Raises
    ------
    ValueError
        The arrays do not belong together.
    """
    check_shapes(data, usable)
    places = np.column_stack(points(x, y, hole_px, reach_px))
    fits = np.full((len(places), 5), np.nan)
    for k in np.flatnonzero(np.isfinite(places).all(axis=1)):
        x_start, y_start, hole, reach = places[k]
        window = _window(data, usable, x_start, y_start, hole, reach)
        fits[k] = _star(window) + np.array([*window.corner, 0.0, 0.0, 0.0])
    centre_x, centre_y, error, light, n_pixels = fits.T
    return WingFits(centre_x, centre_y, error, light, np.nan_to_num(n_pixels).astype(np.int64))


class _Window(NamedTuple):
    """The pixels around one star: values, which ones may be used, and where to begin in them."""

    data: Floats
    usable: Bools
    corner: tuple[float, float]
    x: float
    y: float
    hole: float
    edges: Floats


def _window(
    data: NDArray[np.floating], usable: Bools, x: float, y: float, hole: float, reach: float
) -> _Window:
    """Cut the window out of an image; it has room for a centre that moves."""
    edges = [0.0]
    while edges[-1] < length_px(reach):
        edges.append(edges[-1] + max(1.0, RING_GROWTH * edges[-1]))
    half = 1.5 * edges[-1] + 1.0
    (left, right), (low, high) = (
        np.clip((int(c - half), int(c + half) + 2), 0, n)
        for c, n in zip((x, y), data.shape[::-1], strict=True)
    )
    part = data[low:high, left:right].astype(np.float64)
    good = usable[low:high, left:right] & np.isfinite(part)
    corner = float(left), float(low)
    return _Window(part, good, corner, x - left, y - low, float(hole), np.array(edges))


@compiled
def _star(window: _Window) -> Floats:
    """Return x, y, error, light and number of pixels of a star; NaN where there is no centre."""
    out = np.full(5, np.nan)
    x, y, reach = window.x, window.y, window.edges[-1]
    look, sums, step = _look(window, x, y), np.zeros((N_SECTORS, 5)), math.inf
    for iteration in range(MAX_ITERATIONS):
        look = _look(window, x, y)
        if look.n == 0:
            return out
        sums = _sector_sums(look)
        move_x, move_y = _centre_step(_total(sums))
        if not (math.isfinite(move_x) and math.isfinite(move_y)):
            return out
        step = math.hypot(move_x, move_y)
        # Pixels that come and go with the centre can make it swing: half of a step ends that.
        is_early = iteration < N_LONG
        limit, share = (LONG_STEP_PX, 1.0) if is_early else (SHORT_STEP_PX, 0.5)
        share = min(share, limit / max(step, 1e-30))
        x, y = x + share * move_x, y + share * move_y
        if math.hypot(x - window.x, y - window.y) > 0.5 * reach:
            return out
        if step < (CONVERGED_PX if is_early else NEARLY_PX):
            break
    error = math.hypot(_jackknife(sums), step)
    n_pixels = 0.0
    for weight in look.weight:
        n_pixels += weight != 0
    if not (step < MOST_PX and math.isfinite(error)):
        return out
    out[0], out[1], out[2], out[3], out[4] = x, y, error, look.light, n_pixels
    return out


class _Look(NamedTuple):
    """The n pixels of a star as seen from a centre; none where too little is left of it.

    Attributes
    ----------
    slope_x, slope_y : (n,) what a move of the star along x and y adds to them
    rest : (n,) values without the profile
    weight : (n,) 0 for outliers and their mirror images
    sector : (n,) int
    light : level of the innermost ring above the outermost one
    """

    n: int
    slope_x: Floats
    slope_y: Floats
    rest: Floats
    weight: Floats
    sector: Ints
    light: float


@compiled
def _look(window: _Window, x: float, y: float) -> _Look:
    """Return what a star looks like from a centre."""
    none = np.empty(0)
    nothing = _Look(0, none, none, none, none, np.empty(0, np.int64), 0.0)
    rows, columns = _pairs(window, x, y)
    if rows.size < LEAST_PIXELS:
        return nothing
    # Only full rings count; `number` is that of a ring among them.
    ring, count = np.empty(rows.size, np.int64), np.zeros(window.edges.size, np.int64)
    for k in range(rows.size):
        ring[k] = _ring(window.edges, math.hypot(columns[k] - x, rows[k] - y))
        count[ring[k]] += 1
    number, n_rings = np.full(count.size, -1), 0
    for j in range(count.size):
        if count[j] >= LEAST_RING_PIXELS:
            number[j], count[n_rings] = n_rings, count[j]
            n_rings += 1
    if n_rings < LEAST_RINGS:
        return nothing
    count, n = count[:n_rings].copy(), 0
    for k in range(rows.size):
        if number[ring[k]] >= 0:
            rows[n], columns[n], ring[n] = rows[k], columns[k], number[ring[k]]
            n += 1
    rows, columns, ring = rows[:n], columns[:n], ring[:n]
    value, log_radius = np.empty(n), np.empty(n)
    for k in range(n):
        value[k] = window.data[rows[k], columns[k]]
        log_radius[k] = math.log(math.hypot(columns[k] - x, rows[k] - y))
    profile = _profile(value, log_radius, ring, count)
    rest = _less_profile(value, profile, log_radius)
    scatter = 1.4826 * _medians(np.abs(rest), ring, count)
    base = profile.level[-1]
    for j in range(scatter.size):
        height = abs(profile.level[j] - base)
        scatter[j] = max(scatter[j], LEAST_SCATTER * height, 0.3 * profile.soft)
    good = np.zeros(window.data.shape, np.bool_)
    for k in range(n):
        good[rows[k], columns[k]] = abs(rest[k]) < CLIP_SIGMA * scatter[ring[k]]
    weight, sector = np.zeros(n), np.empty(n, np.int64)
    slope_x, slope_y = np.empty(n), np.empty(n)
    for k in range(n):
        row, column = int(np.rint(2 * y - rows[k])), int(np.rint(2 * x - columns[k]))
        if good[rows[k], columns[k]] and good[row, column]:
            weight[k] = 1.0 / scatter[ring[k]] ** 2
        dx, dy, log_r = columns[k] - x, rows[k] - y, log_radius[k]
        turn = math.atan2(dy, dx) / math.pi % 1.0
        sector[k] = min(int(turn * N_SECTORS), N_SECTORS - 1)
        rise = _at(profile, log_r + SLOPE_STEP) - _at(profile, log_r - SLOPE_STEP)
        towards = -rise / (2 * SLOPE_STEP * (dx * dx + dy * dy))
        slope_x[k], slope_y[k] = towards * dx, towards * dy
    return _Look(n, slope_x, slope_y, rest, weight, sector, profile.level[0] - base)


@compiled
def _ring(edges: Floats, radius: float) -> int:
    """Return between which edges a radius lies."""
    ring = long(0)
    while ring < edges.size - 1 and edges[ring + 1] <= radius:
        ring += 1
    return ring


@compiled
def _pairs(window: _Window, x: float, y: float) -> tuple[Ints, Ints]:
    """Return rows and columns of the usable pixels whose mirror images are usable."""
    ny, nx = window.data.shape
    near, far = max(window.hole, 0.5), window.edges[-1]
    usable = np.zeros((ny, nx), np.bool_)
    for row in range(ny):
        for column in range(nx):
            distance = math.hypot(column - x, row - y)
            usable[row, column] = window.usable[row, column] and near <= distance < far
    rows, columns = np.empty(ny * nx, np.int64), np.empty(ny * nx, np.int64)
    n = 0
    for row in range(ny):
        for column in range(nx):
            if usable[row, column]:
                there, above = int(np.rint(2 * x - column)), int(np.rint(2 * y - row))
                inside = 0 <= there < nx and 0 <= above < ny
                if inside and usable[above, there]:
                    rows[n], columns[n] = row, column
                    n += 1
    return rows[:n].copy(), columns[:n].copy()


class _Profile(NamedTuple):
    """Levels of rings by the logarithm of the radius; in between, the asinh of the level is linear.

    The outermost ring is the base, and its scatter the softening: near it the level itself is.
    """

    log_radius: Floats
    level: Floats
    height: Floats
    soft: float


@compiled
def _at(profile: _Profile, log_radius: float) -> float:
    """Return the level at a radius; inwards of all rings the slope goes on, outwards the level."""
    radii, height = profile.log_radius, profile.height
    j = long(0)
    while j < radii.size - 2 and radii[j + 1] <= log_radius:
        j += 1
    slope = (height[j + 1] - height[j]) / (radii[j + 1] - radii[j])
    height_at = height[j] + slope * (min(log_radius, radii[-1]) - radii[j])
    return float(profile.level[-1] + profile.soft * math.sinh(min(max(height_at, -50.0), 50.0)))


@compiled
def _less_profile(value: Floats, profile: _Profile, log_radius: Floats) -> Floats:
    rest = np.empty(value.size)
    for k in range(value.size):
        rest[k] = value[k] - _at(profile, log_radius[k])
    return rest


@compiled
def _profile(value: Floats, log_radius: Floats, ring: Ints, count: Ints) -> _Profile:
    """Return the profile that leaves a median of 0 in each ring."""
    level = _medians(value, ring, count)
    # Of the last ring: the others' are not needed, but cost little.
    scatter = 1.4826 * _medians(np.abs(value - level[-1]), ring, count)[-1]
    lowest = highest = level[0]
    for one in level:
        lowest, highest = min(lowest, one), max(highest, one)
    soft = max(scatter, 1e-6 * (highest - lowest), 1e-30)
    mean = np.zeros(count.size)
    for k in range(value.size):
        mean[ring[k]] += log_radius[k]
    profile = _with_heights(mean / count, level, soft)
    for _ in range(2):
        more = _medians(_less_profile(value, profile, log_radius), ring, count)
        profile = _with_heights(profile.log_radius, profile.level + more, soft)
    return profile


@compiled
def _with_heights(log_radius: Floats, level: Floats, soft: float) -> _Profile:
    height = np.empty(level.size)
    for j in range(level.size):
        height[j] = math.asinh((level[j] - level[-1]) / soft)
    return _Profile(log_radius, level, height, soft)


@compiled
def _medians(values: Floats, ring: Ints, count: Ints) -> Floats:
    """Return the median of the values of each ring."""
    in_order, place = np.empty(values.size), np.cumsum(count) - count
    first = place.copy()
    for k in range(values.size):
        # By insertion: a ring has some tens of pixels.
        j, start = place[ring[k]], first[ring[k]]
        while j > start and in_order[j - 1] > values[k]:
            in_order[j] = in_order[j - 1]
            j -= 1
        in_order[j] = values[k]
        place[ring[k]] += 1
    out = np.empty(count.size)
    for j in range(count.size):
        middle = first[j] + count[j] // 2
        out[j] = 0.5 * (in_order[first[j] + (count[j] - 1) // 2] + in_order[middle])
    return out


@compiled
def _sector_sums(look: _Look) -> Floats:
    """Return the normal equations of each sector, (S, 5): xx, xy, yy; x, y of the right side."""
    sums = np.zeros((N_SECTORS, 5))
    for k in range(look.n):
        a, b, weight = look.slope_x[k], look.slope_y[k], look.weight[k]
        own = sums[look.sector[k]]
        own[0] += weight * a * a
        own[1] += weight * a * b
        own[2] += weight * b * b
        own[3] += weight * a * look.rest[k]
        own[4] += weight * b * look.rest[k]
    return sums


@compiled
def _centre_step(sums: Floats) -> tuple[float, float]:
    """Return the move of the centre that least squares want, NaN where there is none."""
    xx, xy, yy, x, y = sums[0], sums[1], sums[2], sums[3], sums[4]
    det = xx * yy - xy * xy
    if not det > 1e-6 * xx * yy:
        return math.nan, math.nan
    return (yy * x - xy * y) / det, (xx * y - xy * x) / det


@compiled
def _jackknife(sums: Floats) -> float:
    """Return the error per axis: each pair of sectors is left out in turn."""
    total, moves = _total(sums), np.empty((N_SECTORS, 2))
    middle_x = middle_y = scatter2 = 0.0
    for k in range(N_SECTORS):
        moves[k, 0], moves[k, 1] = _centre_step(total - sums[k])
        middle_x += moves[k, 0] / N_SECTORS
        middle_y += moves[k, 1] / N_SECTORS
    for k in range(N_SECTORS):
        scatter2 += 0.5 * ((moves[k, 0] - middle_x) ** 2 + (moves[k, 1] - middle_y) ** 2)
    return math.sqrt((N_SECTORS - 1) / N_SECTORS * scatter2)


@compiled
def _total(sums: Floats) -> Floats:
    total = np.zeros(5)
    for own in sums:
        total += own
    return total
