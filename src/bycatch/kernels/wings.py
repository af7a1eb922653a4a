"""Centres of stars from their wings, where the core is full: no model of the PSF is needed.

The star is taken as point-symmetric.  Its mean profile in rings, whatever it is, is subtracted; a
centre that is off leaves what the profile's slope predicts, and is moved until nothing of that is
left.  A pixel enters only if its mirror image does: then light that is the same on both sides, such
as spikes and the structure of the rings, moves nothing, and neither does a full core or a bleeding
column that is cut out, whatever its shape.

Not compiled: saturated stars are few, and one takes some milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bycatch.arrays import Bools, Floats, Ints
from bycatch.kernels.bounds import check_shapes, length_px
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
    def found(self) -> Bools:
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
    found = np.full((len(places), 5), np.nan)
    for k in np.flatnonzero(np.isfinite(places).all(axis=1)):
        star = _Window.around(data, usable, *places[k]).star()
        if star is not None:
            found[k] = star
    centre_x, centre_y, error, light, n_pixels = found.T
    return WingFits(centre_x, centre_y, error, light, np.nan_to_num(n_pixels).astype(np.int64))


@dataclass(frozen=True, eq=False)
class _Profile:
    """Levels of rings by the logarithm of the radius; in between, the asinh of the level is linear.

    The outermost ring is the base, and its scatter the softening: near it the level itself is.
    """

    log_radius: Floats
    level: Floats
    soft: float

    def at(self, log_radius: Floats) -> Floats:
        """Return the levels at some radii; inwards of all rings the slope goes on."""
        base = self.level[-1]
        height = np.arcsinh((self.level - base) / self.soft)
        slope = (height[1] - height[0]) / (self.log_radius[1] - self.log_radius[0])
        inwards = np.minimum(log_radius - self.log_radius[0], 0.0) * slope
        found = np.interp(log_radius, self.log_radius, height) + inwards
        return np.asarray(base + self.soft * np.sinh(np.clip(found, -50.0, 50.0)))


@dataclass(frozen=True, eq=False)
class _Window:
    """The pixels around one star: values, which ones may be used, and where to begin in them."""

    data: Floats
    usable: Bools
    corner: tuple[int, int]
    x: float
    y: float
    hole: float
    edges: Floats

    @staticmethod
    def around(
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
        corner = int(left), int(low)
        return _Window(part, good, corner, x - left, y - low, hole, np.array(edges))

    def star(self) -> tuple[float, float, float, float, int] | None:
        """Return centre, error, light and number of pixels; None where there is no centre."""
        x, y, reach = self.x, self.y, self.edges[-1]
        step, look = np.inf, None
        for iteration in range(MAX_ITERATIONS):
            look = self._look(x, y)
            move = look.move() if look else None
            if move is None:
                return None
            step = float(np.hypot(*move))
            # Pixels that come and go with the centre can make it swing: half of a step ends that.
            limit, share = (LONG_STEP_PX, 1.0) if iteration < N_LONG else (SHORT_STEP_PX, 0.5)
            move = move * min(share, limit / max(step, 1e-30))
            x, y = x + float(move[0]), y + float(move[1])
            if np.hypot(x - self.x, y - self.y) > 0.5 * reach:
                return None
            if step < (CONVERGED_PX if iteration < N_LONG else NEARLY_PX):
                break
        error = float(np.hypot(look.error_px(), step)) if look and step < MOST_PX else np.nan
        if look is None or not np.isfinite(error):
            return None
        left, low = self.corner
        return x + left, y + low, error, look.light, int(np.count_nonzero(look.weight))

    def _look(self, x: float, y: float) -> _Look | None:
        """Return what the star looks like from a centre; None where too little is left of it."""
        rows, columns = self._pairs(x, y)
        if rows.size < LEAST_PIXELS:
            return None
        dx, dy, value = columns - x, rows - y, self.data[rows, columns]
        radius = np.hypot(dx, dy)
        log_radius = np.log(radius)
        ring = np.searchsorted(self.edges, radius, side="right") - 1
        count = np.bincount(ring)
        full = np.flatnonzero(count >= LEAST_RING_PIXELS)
        if full.size < LEAST_RINGS:
            return None
        number = np.full(count.size, -1)
        number[full] = np.arange(full.size)
        keep = number[ring] >= 0
        rows, columns, dx, dy, value, radius, log_radius = (
            v[keep] for v in (rows, columns, dx, dy, value, radius, log_radius)
        )
        ring = number[ring[keep]]
        profile = _profile(value, log_radius, ring, count[full])
        rest = value - profile.at(log_radius)
        height = np.abs(profile.level - profile.level[-1])
        scatter = 1.4826 * _medians(np.abs(rest), ring, count[full])
        scatter = np.maximum(scatter, np.maximum(LEAST_SCATTER * height, 0.3 * profile.soft))[ring]
        good = np.zeros(self.data.shape, dtype=np.bool_)
        good[rows, columns] = np.abs(rest) < CLIP_SIGMA * scatter
        mirrored = good[np.rint(2 * y - rows).astype(int), np.rint(2 * x - columns).astype(int)]
        rise = profile.at(log_radius + SLOPE_STEP) - profile.at(log_radius - SLOPE_STEP)
        towards = -rise / (2 * SLOPE_STEP * radius**2)
        return _Look(
            np.stack([towards * dx, towards * dy]),
            rest,
            np.where(good[rows, columns] & mirrored, 1.0 / scatter**2, 0.0),
            np.minimum(np.arctan2(dy, dx) / np.pi % 1.0 * N_SECTORS, N_SECTORS - 1).astype(int),
            float(profile.level[0] - profile.level[-1]),
        )

    def _pairs(self, x: float, y: float) -> tuple[Ints, Ints]:
        """Return rows and columns of the usable pixels whose mirror images are usable."""
        ny, nx = self.data.shape
        across, along = np.arange(nx) - x, np.arange(ny) - y
        distance = np.hypot(across, along[:, np.newaxis])
        usable = self.usable & (distance < self.edges[-1]) & (distance >= max(self.hole, 0.5))
        rows, columns = np.nonzero(usable)
        there, above = np.rint(2 * x - columns).astype(int), np.rint(2 * y - rows).astype(int)
        inside = (there >= 0) & (there < nx) & (above >= 0) & (above < ny)
        inside[inside] = usable[above[inside], there[inside]]
        return rows[inside], columns[inside]


def _profile(value: Floats, log_radius: Floats, ring: Ints, count: Ints) -> _Profile:
    """Return the profile that leaves a median of 0 in each ring."""
    level = _medians(value, ring, count)
    last = ring == len(count) - 1
    scatter = 1.4826 * float(np.median(np.abs(value[last] - level[-1])))
    soft = max(scatter, 1e-6 * float(np.ptp(level)), 1e-30)
    found = _Profile(np.bincount(ring, log_radius) / count, level, soft)
    for _ in range(2):
        more = _medians(value - found.at(log_radius), ring, count)
        found = _Profile(found.log_radius, found.level + more, soft)
    return found


def _medians(values: Floats, ring: Ints, count: Ints) -> Floats:
    """Return the median of the values of each ring."""
    ordered = values[np.lexsort((values, ring))]
    first = np.cumsum(count) - count
    return np.asarray(0.5 * (ordered[first + (count - 1) // 2] + ordered[first + count // 2]))


@dataclass(frozen=True, eq=False)
class _Look:
    """Pixels of a star as seen from a centre.

    Attributes
    ----------
    slope : (2, n) what a move of the star along x and y adds to them
    rest : (n,) values without the profile
    weight : (n,) 0 for outliers and their mirror images
    sector : (n,) int
    light : level of the innermost ring above the outermost one
    """

    slope: Floats
    rest: Floats
    weight: Floats
    sector: Ints
    light: float

    def move(self) -> Floats | None:
        """Return the move of the centre that least squares want, (2,); None if they want none."""
        found = _solved(*(part.sum(axis=-1) for part in self._sums()))
        return found if np.isfinite(found).all() else None

    def error_px(self) -> float:
        """Return the error per axis by the jackknife: each pair of sectors is left out in turn."""
        normal, right = self._sums()
        normal = normal.sum(axis=-1, keepdims=True) - normal
        right = right.sum(axis=-1, keepdims=True) - right
        moves = np.array([_solved(normal[..., k], right[:, k]) for k in range(N_SECTORS)])
        spread = np.square(moves - moves.mean(axis=0)).sum(axis=0)
        return float(np.sqrt((N_SECTORS - 1) / N_SECTORS * spread.mean()))

    def _sums(self) -> tuple[Floats, Floats]:
        """Return the normal equations of each sector, (2, 2, S) and (2, S)."""

        def by_sector(values: Floats) -> Floats:
            return np.bincount(self.sector, self.weight * values, N_SECTORS).astype(np.float64)

        normal = np.array([[by_sector(a * b) for b in self.slope] for a in self.slope])
        return normal, np.array([by_sector(a * self.rest) for a in self.slope])


def _solved(normal: Floats, right: Floats) -> Floats:
    """Return the solution of two equations, NaN where there is none."""
    (xx, xy), (_, yy) = normal
    det = xx * yy - xy * xy
    if not det > 1e-6 * xx * yy:
        return np.full(2, np.nan)
    return np.asarray([yy * right[0] - xy * right[1], xx * right[1] - xy * right[0]] / det)
