"""Shapes in the plane of an image, and which points they hold.

Lengths are pixels, angles degrees, anticlockwise from the x axis; a border belongs to its shape.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from bycatch.arrays import Bools, Floats

Lengths = Sequence[tuple[float, ...]]


def _along_axes(dx: Floats, dy: Floats, angle_deg: float) -> tuple[Floats, Floats]:
    """Return offsets along the axes of a shape that is turned."""
    cosine, sine = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    return dx * cosine + dy * sine, dy * cosine - dx * sine


def in_ellipse(dx: Floats, dy: Floats, semi_axes: tuple[float, ...], angle_deg: float) -> Bools:
    """Return whether offsets from the centre lie in an ellipse of two semi-axes."""
    a, b = semi_axes
    if a <= 0 or b <= 0:
        return np.zeros(len(dx), dtype=bool)
    u, v = _along_axes(dx, dy, angle_deg)
    return np.asarray((u / a) ** 2 + (v / b) ** 2 <= 1.0)


def in_box(dx: Floats, dy: Floats, sides: tuple[float, ...], angle_deg: float) -> Bools:
    """Return whether offsets from the centre lie in a box of a width and a height."""
    u, v = _along_axes(dx, dy, angle_deg)
    width, height = sides
    return np.asarray((np.abs(u) <= width / 2) & (np.abs(v) <= height / 2))


def in_ring(
    inside: Callable[[Floats, Floats, tuple[float, ...], float], Bools],
    offsets: tuple[Floats, Floats],
    sizes: Lengths,
    angle_deg: float,
) -> Bools:
    """Return whether offsets lie between the smallest and the largest of concentric shapes."""
    dx, dy = offsets
    is_inside = inside(dx, dy, max(sizes), angle_deg)
    return is_inside if len(sizes) == 1 else is_inside & ~inside(dx, dy, min(sizes), angle_deg)


def in_wedge(dx: Floats, dy: Floats, start_deg: float, stop_deg: float) -> Bools:
    """Return whether offsets point between two angles, anticlockwise; all where both are one."""
    width = (stop_deg - start_deg) % 360.0
    if width == 0.0:
        return np.full(len(dx), stop_deg != start_deg)
    return np.asarray((np.degrees(np.arctan2(dy, dx)) - start_deg) % 360.0 <= width)


def in_polygon(x: Floats, y: Floats, corners_x: Floats, corners_y: Floats) -> Bools:
    """Return whether points lie in a polygon, by the number of its sides to the right of them."""
    is_inside = np.zeros(len(x), dtype=bool)
    for x0, y0, x1, y1 in zip(
        corners_x, corners_y, np.roll(corners_x, -1), np.roll(corners_y, -1), strict=True
    ):
        if y0 != y1:
            is_crossing = (y0 > y) != (y1 > y)
            is_inside ^= is_crossing & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return is_inside
