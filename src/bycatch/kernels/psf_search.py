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
    signal, power = np.zeros((size, nx), np.float32), np.zeros((size, nx), np.float32)
    top, bottom = np.empty(nx, np.float32), np.empty(nx, np.float32)
    for row in range(first - half, last + half):
        slot = row % size
        if 0 <= row < ny:
            _weigh(pixels, row, signal[slot], power[slot])
        else:
            signal[slot], power[slot] = np.float32(0), np.float32(0)
        middle = row - half
        if middle < first:
            continue
        top[:], bottom[:] = np.float32(0), np.float32(0)
        for v in range(size):
            line = (middle - half + v) % size
            for u in range(size):
                _add(signal[line], power[line], template[v, u], u - half, top, bottom)
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
def _add(
    signal: Line,
    power: Line,
    weight: np.float32,
    shift: int,
    top: Line,
    bottom: Line,
) -> None:
    """Add a shifted line to both sums; without a sum in the loop it is done for many at a time."""
    nx = len(top)
    low, n = max(0, -shift), nx - abs(shift)
    square = weight * weight
    from_signal = signal[low + shift : low + shift + n]
    from_power = power[low + shift : low + shift + n]
    to_top, to_bottom = top[low : low + n], bottom[low : low + n]
    for x in range(n):
        to_top[x] += weight * from_signal[x]
        to_bottom[x] += square * from_power[x]
