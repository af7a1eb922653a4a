"""Stars in the residual image: a matched filter, with a weight for each pixel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bycatch.arrays import Floats, Image
from bycatch.kernels.compiled import compiled
from bycatch.kernels.neighbourhood import plane
from bycatch.kernels.psf_fit import HIT, HIT_SIGMA, LOST, Pixels, checked_pixels
from bycatch.kernels.threads import ROWS_WORTH_A_THREAD, in_portions

Line = NDArray[np.float32]
GROUP = 5
"""Pixels of a row of the template that are added at once."""


def matched_filter(pixels: Pixels, template: Floats) -> Image:
    """Return the signal-to-noise ratio of a star at each pixel, if pixels were independent.

    Parameters
    ----------
    pixels : of the image
    template : (s, s) float; light of a star in the middle, s odd

    Returns
    -------
    (ny, nx) float32
        sum(P w r) / sqrt(sum(P^2 w)) for residuals r of weight w: the flux of a star there by least
        squares, over its error.
    """
    images = checked_pixels(pixels)
    if template.ndim != 2 or template.shape[0] != template.shape[1] or len(template) % 2 == 0:
        raise ValueError(f"a template has an odd number of pixels each way, not {template.shape}")
    weights = plane(template, np.float32)
    out = np.zeros(pixels.data.shape, np.float32)

    def work(first: int, last: int) -> None:
        _filter(images, weights, first, last, out)

    in_portions(work, len(out), ROWS_WORTH_A_THREAD // 4)
    return out


@compiled
def _filter(pixels: Pixels, template: Image, first: int, last: int, out: Image) -> None:
    ny, nx = pixels.data.shape
    size = len(template)
    half = size // 2
    # Lines with a margin of zeros, and weights that fill a whole number of groups.
    n_taps = GROUP * ((size + GROUP - 1) // GROUP)
    weights, squares = np.zeros((size, n_taps), np.float32), np.zeros((size, n_taps), np.float32)
    weights[:, :size], squares[:, :size] = template, template * template
    signal = np.zeros((size, nx + n_taps), np.float32)
    power = np.zeros((size, nx + n_taps), np.float32)
    top, bottom = np.empty(nx, np.float32), np.empty(nx, np.float32)
    for row in range(first - half, last + half):
        slot = row % size
        if 0 <= row < ny:
            _weigh(pixels, row, signal[slot, half:], power[slot, half:])
        else:
            signal[slot], power[slot] = np.float32(0), np.float32(0)
        middle = row - half
        if middle < first:
            continue
        top[:], bottom[:] = np.float32(0), np.float32(0)
        for v in range(size):
            line = (middle - half + v) % size
            for u in range(0, n_taps, GROUP):
                _add_group(signal[line, u:], weights[v, u:], top)
                _add_group(power[line, u:], squares[v, u:], bottom)
        for x in range(nx):
            if bottom[x] > 0:
                out[middle, x] = top[x] / np.sqrt(bottom[x])


@compiled
def _weigh(pixels: Pixels, row: int, signal: Line, power: Line) -> None:
    """Write a row's residuals by their weights, and the weights.

    As `psf_fit.residual_and_weight`, in single precision and without a branch: for many pixels at a
    time.
    """
    data, background, light = pixels.data[row], pixels.background[row], pixels.light[row]
    noise, photons, state = pixels.noise[row], pixels.photons[row], pixels.state[row]
    zero, hit2 = np.float32(0), np.float32(HIT_SIGMA * HIT_SIGMA)
    for x in range(len(data)):
        rest = data[x] - background[x] - light[x]
        own = max(zero, light[x])
        variance = noise[x] * noise[x] + own * photons[x]
        square = rest * rest
        is_hit = (state[x] == HIT) & (rest > zero) & (square > hit2 * variance)
        good = (state[x] != LOST) & (noise[x] > zero) & (variance > zero) & ~is_hit
        good &= square < np.float32(np.inf)
        weight = np.float32(1) / (variance if good else np.float32(1))
        signal[x] = rest * weight if good else zero
        power[x] = weight if good else zero


@compiled
def _add_group(line: Line, weights: Line, out: Line) -> None:
    """Add a line shifted by 0 to 4 pixels, each with its weight: many pixels at a time."""
    n = len(out)
    a, b, c, d, e = line[:n], line[1 : n + 1], line[2 : n + 2], line[3 : n + 3], line[4 : n + 4]
    p, q, r, s, t = weights[0], weights[1], weights[2], weights[3], weights[4]
    for x in range(n):
        out[x] += (p * a[x] + q * b[x]) + (r * c[x] + s * d[x]) + t * e[x]
