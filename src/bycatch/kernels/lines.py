"""Straight lines across an image: found in cells (Hough 1962, US patent 3069654), then traced."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bycatch.arrays import Bools, Floats, Image, Ints
from bycatch.kernels.bounds import check_shapes
from bycatch.kernels.compiled import compiled

MOST_BRIGHT = 0.1
"""Where more of the cells are bright, lines mean nothing."""
LEAST_SAMPLES, N_PARTS, LEAST_PARTS, LEAST_SHARE = 40, 8, 6, 0.6
"""A line has so many cells at least; of its eighths so many have so large a share of bright cells.
Spikes, bleeding and chains of sources don't reach across."""
SIDE_CELLS, MOST_BESIDE = 5, 0.3
"""The share of bright cells so far to either side: a line is narrow."""
MOST_LINES = 10
REACH_PX, CHUNK_PX = 24, 64


@dataclass(frozen=True)
class Line:
    """Points (x, y) with x cos(angle) + y sin(angle) = offset."""

    angle_rad: float
    offset: float

    def along(self, x: Floats, y: Floats) -> Floats:
        """Return where points are along the line."""
        return np.asarray(y * np.cos(self.angle_rad) - x * np.sin(self.angle_rad))

    def across(self, x: Floats, y: Floats) -> Floats:
        """Return how far points are from the line, with a sign."""
        return np.asarray(x * np.cos(self.angle_rad) + y * np.sin(self.angle_rad) - self.offset)

    def at(self, along: Floats, across: Floats | float = 0.0) -> tuple[Floats, Floats]:
        """Return x, y of what lies along and across."""
        cos, sin = np.cos(self.angle_rad), np.sin(self.angle_rad)
        far = self.offset + np.asarray(across)
        return far * cos - along * sin, far * sin + along * cos


@dataclass(frozen=True, eq=False)
class Trace:
    """A line as the pixels show it: a little bent, and so wide.

    Attributes
    ----------
    line : the straight line
    bend : coefficients of its centre across, highest power first, of ``along / 1000``
    half_width_px : float
    """

    line: Line
    bend: Floats
    half_width_px: float

    def holds(self, x: Floats, y: Floats, margin_px: float) -> Bools:
        """Return which points lie on it."""
        centre = np.polyval(self.bend, self.line.along(x, y) / 1000.0)
        off = np.abs(self.line.across(x, y) - centre)
        return np.asarray(off <= self.half_width_px + margin_px)


def lines_across(bright: Bools, has_data: Bools) -> list[Line]:
    """Return the narrow straight lines of bright cells that cross an image.

    Parameters
    ----------
    bright, has_data : (ny, nx) bool; cells that are not known count neither way

    Returns
    -------
    lines in cells, the fullest first
    """
    check_shapes(bright, has_data)
    cells_left = bright & has_data
    if cells_left.sum() < LEAST_SAMPLES // 2 or cells_left.sum() > MOST_BRIGHT * max(
        has_data.sum(), 1
    ):
        return []
    ny, nx = bright.shape
    reach = int(np.ceil(np.hypot(ny, nx)))
    # Between two angles the ends of a line are half a cell off.
    angles = np.arange(0.0, np.pi, 2.0 / reach)
    cos, sin = np.cos(angles), np.sin(angles)
    lines: list[Line] = []
    for _ in range(MOST_LINES):
        y, x = (np.ascontiguousarray(v) for v in np.nonzero(cells_left))
        votes = np.zeros((len(angles), 2 * reach + 2), np.int32)
        _vote(x, y, cos, sin, reach, votes)
        # A line between two rows of cells shares its votes among them.
        pairs = votes[:, 1:] + votes[:, :-1]
        best = None
        for _ in range(20):
            k, at = divmod(int(pairs.argmax()), pairs.shape[1])
            if pairs[k, at] < LEAST_SAMPLES // 2:
                break
            line = Line(float(angles[k]), float(at) + 0.5 - reach)
            if _crosses(line, bright, has_data):
                best = line
                break
            pairs[max(k - 3, 0) : k + 4, max(at - 2, 0) : at + 3] = 0
        if best is None:
            break
        lines.append(best)
        rows, columns = np.mgrid[:ny, :nx]
        cells_left &= np.abs(best.across(columns, rows)) > 3
    return lines


@compiled
def _vote(x: Ints, y: Ints, cos: Floats, sin: Floats, reach: int, votes: NDArray[np.int32]) -> None:
    """Count the cells at each angle and offset; no offset is larger than ``reach``."""
    for k in range(cos.size):
        for i in range(x.size):
            votes[k, int(np.rint(x[i] * cos[k] + y[i] * sin[k])) + reach] += np.int32(1)


def _crosses(line: Line, bright: Bools, has_data: Bools) -> bool:
    """Tell whether a line is bright all along and dark on both sides."""
    reach = float(np.hypot(*bright.shape))
    along = np.arange(-reach, reach + 1.0)
    on, is_on_image = _sample_line(line, along, (-1.0, 0.0, 1.0), bright, has_data)
    if is_on_image.sum() < LEAST_SAMPLES:
        return False
    parts = np.array_split(on[is_on_image], N_PARTS)
    if sum(part.mean() >= LEAST_SHARE for part in parts) < LEAST_PARTS:
        return False
    for side in (-SIDE_CELLS, SIDE_CELLS):
        beside, there = _sample_line(line, along, (float(side),), bright, has_data)
        if there.any() and beside[there].mean() > MOST_BESIDE:
            return False
    return True


def _sample_line(
    line: Line, along: Floats, across: tuple[float, ...], bright: Bools, has_data: Bools
) -> tuple[Bools, Bools]:
    """Return where along a line any of the cells across is bright, and where the first is known."""
    ny, nx = bright.shape
    on = np.zeros(len(along), dtype=bool)
    is_on_image = np.zeros(len(along), dtype=bool)
    for off in across:
        x, y = (np.rint(v).astype(np.int64) for v in line.at(along, off))
        inside = (x >= 0) & (x < nx) & (y >= 0) & (y < ny)
        row, column = np.where(inside, y, 0), np.where(inside, x, 0)
        here = inside & has_data[row, column]
        is_on_image |= here
        on |= here & bright[row, column]
    return on, is_on_image


def trace(line: Line, image: Image, valid: NDArray[np.bool_], noise: float) -> Trace | None:
    """Return centre and width of a line in pixels, None where no light shows it.

    Medians along chunks of the line, so that sources and cosmic rays on it count little.

    Parameters
    ----------
    line : in pixels
    image, valid : (ny, nx)
    noise : of a pixel
    """
    check_shapes(image, valid)
    ny, nx = image.shape
    if not image.size:
        return None
    reach = float(np.hypot(ny, nx))
    across = np.arange(-REACH_PX, REACH_PX + 1.0)
    centres, places, profiles = [], [], []
    for start in np.arange(-reach, reach, CHUNK_PX):
        along = np.arange(start, start + CHUNK_PX, 1.0)[:, None]
        x, y = (np.rint(v).astype(np.int64) for v in line.at(along, across[None, :]))
        inside = (x >= 0) & (x < nx) & (y >= 0) & (y < ny)
        row, column = np.where(inside, y, 0), np.where(inside, x, 0)
        inside &= valid[row, column] & np.isfinite(image[row, column])
        whole = inside.all(axis=1)
        if whole.sum() < CHUNK_PX // 2:
            continue
        profile = np.median(image[row[whole], column[whole]].astype(float), axis=0)
        profile -= np.median(np.concatenate([profile[:6], profile[-6:]]))
        if profile.max() < noise:
            continue
        light = np.where(profile > 0.5 * profile.max(), profile, 0.0)
        centres.append(float((light * across).sum() / light.sum()))
        places.append(start + CHUNK_PX / 2)
        profiles.append(profile)
    if len(centres) < 3:
        return None
    bend = _robust_fit(np.array(places) / 1000.0, np.array(centres))
    middles = np.polyval(bend, np.array(places) / 1000.0)
    straight = [np.interp(across, across - m, p) for m, p in zip(middles, profiles, strict=True)]
    above = np.median(straight, axis=0) > 0.5 * noise
    # From the middle outwards, to where the first side ends.
    right = int(np.argmin(np.append(above[REACH_PX:], False)))
    left = int(np.argmin(np.append(above[REACH_PX::-1], False)))
    return Trace(line, bend, float(max(left, right, 1)))


def _robust_fit(place: Floats, centre: Floats) -> Floats:
    """Return a parabola (a straight line through few points) without what strays from it."""
    good = np.ones(len(place), dtype=bool)
    degree = 2 if len(place) >= 6 else 1
    for _ in range(3):
        bend = np.polyfit(place[good], centre[good], degree)
        off = np.abs(centre - np.polyval(bend, place))
        good = off <= max(3.0 * float(np.median(off)), 1.0)
    return np.asarray(bend)
