"""The curve of growth about a position: light within circles, and the radius of half of it."""

from __future__ import annotations

import math

import numpy as np

from bycatch.arrays import Floats, Image
from bycatch.kernels.apertures import pixel_share
from bycatch.kernels.bounds import index_in
from bycatch.kernels.compiled import compiled
from bycatch.kernels.neighbourhood import span

RINGS_PER_PX = 2
LEAST_RADIUS_PX = 0.1
NEAR_PX = 0.75
"""Light within a radius, counted by pixels' centres, reaches half the flux so near to where exact
light does, as a rule."""
MAX_STEPS, RADIUS_PRECISION_PX, FLUX_PRECISION = 60, 1e-8, 1e-8
HALF_DIAGONAL = 0.70710678118654757
"""No part of a pixel is farther from its centre."""


@compiled
def half_flux_radius(pixels: Image, x: float, y: float, half: float, longest: float) -> float:
    """Return the radius of a circle with half a flux; NaN where none is found.

    Parameters
    ----------
    pixels : (ny, nx) float32
    x, y : centre, 0-based
    half : half the flux, not 0
    longest : largest radius, pixels

    Notes
    -----
    Whole pixels show roughly where the curve of growth crosses half the flux.  Where it does not
    cross there, the largest radius shrinks until the curve crosses below it, as in photutils'
    ``fluxfrac_radius``.
    """
    rings = ring_sums(pixels, x, y, longest)
    guess = half_light_ring(rings, half) - 0.5 / RINGS_PER_PX
    low, high = max(guess - NEAR_PX, LEAST_RADIUS_PX), min(guess + NEAR_PX, longest)
    at_low = 1.0 - circle_flux(pixels, x, y, low, rings) / half
    at_high = 1.0 - circle_flux(pixels, x, y, high, rings) / half
    if not (low < high and at_low * at_high <= 0):
        low, high = LEAST_RADIUS_PX, longest
        at_low = at_high = 1.0 - circle_flux(pixels, x, y, low, rings) / half
        while high > LEAST_RADIUS_PX:
            at_high = 1.0 - circle_flux(pixels, x, y, high, rings) / half
            if at_low * at_high <= 0:
                break
            high -= 0.1 * longest
        if high <= LEAST_RADIUS_PX:
            return np.nan
    # Regula falsi, which halves the weight of an end that stays (Dowell & Jarratt 1971,
    # BIT 11, 168).
    stays = 0
    for _ in range(MAX_STEPS):
        if high - low < RADIUS_PRECISION_PX or at_low == at_high:
            break
        radius = (low * at_high - high * at_low) / (at_high - at_low)
        value = 1.0 - circle_flux(pixels, x, y, radius, rings) / half
        if abs(value) < FLUX_PRECISION:
            return radius
        if value * at_high > 0:
            high, at_high = radius, value
            at_low *= 0.5 if stays == -1 else 1.0
            stays = -1
        else:
            low, at_low = radius, value
            at_high *= 0.5 if stays == 1 else 1.0
            stays = 1
    return 0.5 * (low + high)


@compiled
def ring_sums(pixels: Image, x: float, y: float, longest: float) -> Floats:
    """Return what lies within each of many radii, of pixels whose centres do.

    Parameters
    ----------
    pixels : (ny, nx) float, without sky
    x, y : centre, 0-based pixel centres
    longest : largest radius, px
    """
    rings = np.zeros(int(RINGS_PER_PX * longest) + 2)
    for row in range(pixels.shape[0]):
        for column in range(pixels.shape[1]):
            ring = _ring(column - x, row - y)
            if ring < rings.size - 1:
                rings[ring + 1] += pixels[row, column]
    for k in range(1, rings.size):
        rings[k] += rings[k - 1]
    return rings


@compiled
def half_light_ring(rings: Floats, half: float) -> float:
    """Return the least radius of a ring within which half the flux lies, px; the largest one.

    Parameters
    ----------
    rings : (n_rings,) float, sums within growing radii (see `ring_sums`)
    half : half of the flux, in the unit of the sums
    """
    for k in range(1, rings.size):
        if rings[k] / half >= 1.0:
            return k / RINGS_PER_PX
    return rings.size / RINGS_PER_PX


@compiled
def _ring(dx: float, dy: float) -> int:
    return int(RINGS_PER_PX * math.sqrt(dx * dx + dy * dy))


@compiled
def circle_flux(pixels: Image, x: float, y: float, radius: float, rings: Floats) -> float:
    """Return the sum in a circle, with exact pixel overlap.

    What lies deep inside is summed already: only the rings along the edge are looked at.

    Parameters
    ----------
    pixels : (ny, nx) float, without sky
    x, y : centre, 0-based pixel centres
    radius : px
    rings : (n_rings,) float, of `ring_sums` for the same pixels and centre
    """
    first = index_in(RINGS_PER_PX * (radius - HALF_DIAGONAL), rings.size)
    total = float(rings[first])
    outer, inner = radius + HALF_DIAGONAL, first / RINGS_PER_PX
    row0, row1 = span(y, outer, pixels.shape[0])
    for row in range(row0, row1):
        dy = row - y
        chord = math.sqrt(max(outer * outer - dy * dy, 0.0))
        hole = math.sqrt(max(inner * inner - dy * dy, 0.0)) - 1.0
        column, end = span(x, chord, pixels.shape[1])
        while column < end:
            dx = column - x
            if abs(dx) < hole:
                # Over to the other side of what is summed already.
                column = int(x + hole) + 1
                continue
            if _ring(dx, dy) >= first:
                total += pixels[row, column] * pixel_share(abs(dx), abs(dy), radius)
            column += 1
    return total
