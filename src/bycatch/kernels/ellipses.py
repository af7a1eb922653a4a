"""Ellipses: their extent, elliptical radii, and the area that they share with a pixel."""

from __future__ import annotations

import math

from bycatch.kernels.compiled import compiled

Ellipse = tuple[float, float, float, float]
"""Semi-axes, and cosine and sine of the major axis' angle."""


@compiled
def scale_ellipse(ellipse: Ellipse, scale: float) -> Ellipse:
    """Return an ellipse of the same form, larger by a factor.

    Parameters
    ----------
    ellipse : Ellipse
    scale : factor
    """
    return scale * ellipse[0], scale * ellipse[1], ellipse[2], ellipse[3]


@compiled
def radius_squared(dx: float, dy: float, ellipse: Ellipse) -> float:
    """Return the squared elliptical radius of an offset: 1 on the ellipse.

    Parameters
    ----------
    dx, dy : offset from the centre
    ellipse : Ellipse
    """
    a, b, cos, sin = ellipse
    along, across = (dx * cos + dy * sin) / a, (dy * cos - dx * sin) / b
    return along * along + across * across


@compiled
def extent(ellipse: Ellipse) -> tuple[float, float]:
    """Return half the width and half the height of an ellipse.

    Parameters
    ----------
    ellipse : Ellipse
    """
    a, b, cos, sin = ellipse
    return math.hypot(a * cos, b * sin), math.hypot(a * sin, b * cos)


@compiled
def pixel_share(dx: float, dy: float, ellipse: Ellipse) -> float:
    """Return the area that an ellipse about the origin shares with a pixel at (dx, dy).

    Where the ellipse is a unit circle the pixel is a parallelogram; its area within
    the circle is the sum of those of the triangles between its sides and the origin.

    Parameters
    ----------
    dx, dy : offset of the pixel's centre
    ellipse : Ellipse
    """
    a, b, cos, sin = ellipse
    u, v = (dx * cos + dy * sin) / a, (dy * cos - dx * sin) / b
    # Half the pixel's sides along x and along y, there.
    xu, xv, yu, yv = 0.5 * cos / a, -0.5 * sin / b, 0.5 * sin / a, 0.5 * cos / b
    area = _triangle_share(u - xu - yu, v - xv - yv, u + xu - yu, v + xv - yv)
    area += _triangle_share(u + xu - yu, v + xv - yv, u + xu + yu, v + xv + yv)
    area += _triangle_share(u + xu + yu, v + xv + yv, u - xu + yu, v - xv + yv)
    area += _triangle_share(u - xu + yu, v - xv + yv, u - xu - yu, v - xv - yv)
    return area * a * b


@compiled
def _triangle_share(x0: float, y0: float, x1: float, y1: float) -> float:
    """Return the signed area that the unit circle shares with the triangle 0, p0, p1."""
    dx, dy = x1 - x0, y1 - y0
    square = dx * dx + dy * dy
    middle = -(x0 * dx + y0 * dy) / square
    half2 = middle * middle - (x0 * x0 + y0 * y0 - 1.0) / square
    half = math.sqrt(max(half2, 0.0))
    # The part of the side, from s to t, that lies within the circle.
    s, t = max(middle - half, 0.0), min(middle + half, 1.0)
    if half2 <= 0 or s >= t:
        return _sector(x0, y0, x1, y1)
    xs, ys, xt, yt = x0 + s * dx, y0 + s * dy, x0 + t * dx, y0 + t * dy
    area = 0.5 * (xs * yt - ys * xt)
    if s > 0:
        area += _sector(x0, y0, xs, ys)
    if t < 1:
        area += _sector(xt, yt, x1, y1)
    return area


@compiled
def _sector(x0: float, y0: float, x1: float, y1: float) -> float:
    """Return the signed area of the unit circle between two directions."""
    return 0.5 * math.atan2(x0 * y1 - y0 * x1, x0 * x1 + y0 * y1)
