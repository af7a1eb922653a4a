"""Fits of a given profile to pixels of which some may hold charge."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from bycatch.arrays import Floats, Image
from bycatch.kernels.bounds import index_in
from bycatch.kernels.compiled import compiled

Shape = tuple[Floats, float, float, float]
"""A profile by the square of the radius, the square of its gamma (px^2), its alpha, and the side of
a detector pixel (px)."""
PROFILE_ERROR = 0.15
"""Error of the profile in a pixel, as a share of its value: stars at different phases of the pixels
and places in the field differ by that."""
FIT_PX = 4.0
"""Pixels within this radius are fitted."""
CORE_SHARE = 0.1
"""The core is where the profile is above this share of its peak."""
SOFT_SIGMA = 3.0
"""A pixel that is farther above the profile weighs less by the square of it: what is far above
does not draw the fit at all."""
LONGEST_STEP_PX, FARTHEST_PX = 0.5, 4.0
"""Of one iteration, and of all from where they begin; detector pixels."""
N_ITERATIONS, SMALL_STEP_PX = 15, 1e-3
STEPS = 16.0
"""Of a tabulated profile, by px^2: linear between them, which is right to 0.002 of the peak."""
OUT, OWN, HIT = 0, 1, 2
"""States of a pixel: no data or of another segment; the source's; charge."""


@compiled
def share_at(table: Floats, radius2: float) -> float:
    """Return a profile at the square of a radius, over its peak.

    Parameters
    ----------
    table : (n,) float; the profile in steps of 1 / `STEPS` px^2
    radius2 : px^2
    """
    place = radius2 * STEPS
    k = index_in(place, table.size - 1)
    return float(table[k] + min(place - k, 1.0) * (table[k + 1] - table[k]))


@compiled
def variance_at(model: float, noise: float, seconds: float) -> float:
    """Return what a pixel may be off from the profile.

    Parameters
    ----------
    model : the profile there, e/s
    noise : of a pixel of sky, e/s
    seconds : exposure time
    """
    return noise * noise + model / seconds + (PROFILE_ERROR * model) ** 2


@compiled
def fit_profile(
    pixels: Image,
    state: NDArray[np.int8],
    x: float,
    y: float,
    noise: float,
    seconds: float,
    profile: Shape,
) -> tuple[float, float, float]:
    """Return centre and peak of the profile that fits; a peak of 0 where none does.

    Gauss-Newton with weights that fall where pixels are above the profile.

    Parameters
    ----------
    pixels : (n, n) float32, e/s without sky
    state : (n, n) int8; OUT, OWN or HIT
    x, y : where to begin
    noise : of a pixel of sky, e/s
    seconds : exposure time
    profile : as in `Shape`
    """
    radius, n = FIT_PX * profile[3], pixels.shape[0]
    amplitude = _first_amplitude(pixels, state, x, y, profile)
    if not amplitude > 0:
        amplitude = noise
    for _ in range(N_ITERATIONS):
        step_a, step_x, step_y = _gauss_newton_step(
            pixels, state, x, y, amplitude, noise, seconds, profile
        )
        if math.isnan(step_a):
            return x, y, 0.0
        longest = max(abs(step_x), abs(step_y)) / (LONGEST_STEP_PX * profile[3])
        if longest > 1.0:
            step_x, step_y = step_x / longest, step_y / longest
        amplitude = max(amplitude + step_a, 0.3 * amplitude)
        x, y = x + step_x, y + step_y
        if not (radius <= x <= n - radius and radius <= y <= n - radius):
            return x, y, 0.0
        if max(abs(step_x), abs(step_y)) < SMALL_STEP_PX:
            break
    return x, y, amplitude


@compiled
def _gauss_newton_step(
    pixels: Image,
    state: NDArray[np.int8],
    x: float,
    y: float,
    amplitude: float,
    noise: float,
    seconds: float,
    profile: Shape,
) -> tuple[float, float, float]:
    """Return the steps of peak and centre; NaN where the pixels do not determine them."""
    g2, radius, n = profile[1], FIT_PX * profile[3], pixels.shape[0]
    aa = ax = ay = xx = xy = yy = ga = gx = gy = 0.0
    for j in range(int(y - radius), min(int(y + radius) + 2, n)):
        dy = j - y
        for i in range(int(x - radius), min(int(x + radius) + 2, n)):
            dx = i - x
            r2 = dx * dx + dy * dy
            if state[j, i] != OWN or r2 > radius * radius:
                continue
            share = share_at(profile[0], r2)
            model = amplitude * share
            rest = pixels[j, i] - model
            variance = variance_at(model, noise, seconds)
            above = rest / math.sqrt(variance)
            weight = 1.0 / variance
            if above > SOFT_SIGMA:
                weight *= (SOFT_SIGMA / above) ** 2
            slope = 2.0 * profile[2] * model / (g2 + r2)
            sx, sy = slope * dx, slope * dy
            aa += weight * share * share
            ax += weight * share * sx
            ay += weight * share * sy
            xx += weight * sx * sx
            xy += weight * sx * sy
            yy += weight * sy * sy
            ga += weight * share * rest
            gx += weight * sx * rest
            gy += weight * sy * rest
    # Cramer's rule for three unknowns.
    c0, c1, c2 = xx * yy - xy * xy, ax * yy - xy * ay, ax * xy - xx * ay
    det = aa * c0 - ax * c1 + ay * c2
    if not det > 0:
        return math.nan, math.nan, math.nan
    step_a = (ga * c0 - ax * (gx * yy - xy * gy) + ay * (gx * xy - xx * gy)) / det
    step_x = (aa * (gx * yy - xy * gy) - ga * c1 + ay * (ax * gy - gx * ay)) / det
    step_y = (aa * (xx * gy - gx * xy) - ax * (ax * gy - gx * ay) + ga * c2) / det
    return step_a, step_x, step_y


@compiled
def _first_amplitude(
    pixels: Image, state: NDArray[np.int8], x: float, y: float, profile: Shape
) -> float:
    """Return the median of pixels over the profile, of those in the core."""
    g2, n = profile[1], pixels.shape[0]
    found, core2 = np.empty(n * n), g2 * (CORE_SHARE ** (-1.0 / profile[2]) - 1.0)
    m = 0
    for j in range(n):
        for i in range(n):
            r2 = (i - x) ** 2 + (j - y) ** 2
            if state[j, i] == OWN and r2 < core2:
                found[m] = pixels[j, i] / share_at(profile[0], r2)
                m += 1
    return float(np.median(found[:m])) if m else 0.0
