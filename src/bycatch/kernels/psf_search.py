"""Stars in what is left of an image: a matched filter, with a weight for each pixel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bycatch.arrays import Floats, Image
from bycatch.kernels.compiled import compiled
from bycatch.kernels.neighbourhood import plane
from bycatch.kernels.psf_fit import Pixels, Trust, checked_pixels, residual_and_weight
from bycatch.kernels.threads import ROWS_WORTH_A_THREAD, in_portions


def matched_filter(pixels: Pixels, trust: Trust, template: Floats) -> Image:
    """Return the signal-to-noise ratio of a star at each pixel, if pixels were independent.

    Parameters
    ----------
    pixels, trust : as in `psf_fit.normal_equations`
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
    limits = Trust(float(trust.model_error), float(trust.clip_sigma))

    def work(first: int, last: int) -> None:
        _filter(images, limits, weights, first, last, out)

    in_portions(work, len(out), ROWS_WORTH_A_THREAD // 4)
    return out


@compiled
def _filter(
    pixels: Pixels, trust: Trust, template: Image, first: int, last: int, out: Image
) -> None:
    ny, nx = pixels.data.shape
    size = len(template)
    half = size // 2
    signal, power = np.zeros((size, nx), np.float32), np.zeros((size, nx), np.float32)
    top, bottom = np.empty(nx, np.float32), np.empty(nx, np.float32)
    for row in range(first - half, last + half):
        slot = row % size
        if 0 <= row < ny:
            for x in range(nx):
                r, w = residual_and_weight(pixels, trust, row, x)
                signal[slot, x], power[slot, x] = w * r, w
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
def _add(
    signal: NDArray[np.float32],
    power: NDArray[np.float32],
    weight: np.float32,
    shift: int,
    top: NDArray[np.float32],
    bottom: NDArray[np.float32],
) -> None:
    """Add a shifted line to both sums; without a sum in the loop it is done for many at a time."""
    nx = len(top)
    low, high = max(0, -shift), min(nx, nx - shift)
    square = weight * weight
    for x in range(low, high):
        top[x] += weight * signal[x + shift]
        bottom[x] += square * power[x + shift]
