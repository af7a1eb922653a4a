"""Smoothing of images with holes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bycatch.kernels.bounds import check_shapes
from bycatch.kernels.compiled import compiled
from bycatch.kernels.neighbourhood import plane

STRETCH = 128
SIGMA_PER_FWHM = 1.0 / (2.0 * np.sqrt(2.0 * np.log(2.0)))


def noise_correlation(pixfrac: float, scale_ratio: float) -> float:
    """Return by how much drizzling raises the noise of a sum above that of independent pixels.

    Casertano et al. (2000, AJ 120, 2747) for the square kernel and all sub-pixel phases, the
    limit for large areas: with r = pixfrac / scale_ratio (output over native pixel),
    R = r / (1 - 1/(3r)) for r >= 1 and 1 / (1 - r/3) for r <= 1.  Its inverse is
    by how much the scatter of single pixels is lowered.

    Parameters
    ----------
    pixfrac : of the drop, in native pixels
    scale_ratio : output over native pixel
    """
    r = pixfrac / scale_ratio
    return r / (1 - 1 / (3 * r)) if r >= 1 else 1 / (1 - r / 3)


def gaussian_kernel(fwhm_px: float, size_px: int) -> NDArray[np.float64]:
    """Return a normalised Gaussian sampled on ``size_px`` x ``size_px`` pixels (odd).

    Parameters
    ----------
    fwhm_px : px
    size_px : side of the kernel, px, odd
    """
    axis = np.arange(size_px) - size_px // 2
    profile = np.exp(-0.5 * (axis / (fwhm_px * SIGMA_PER_FWHM)) ** 2)
    kernel: NDArray[np.float64] = np.outer(profile, profile)
    return np.asarray(kernel / kernel.sum())


def weights_of(kernel: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return a kernel in the form that compiled code takes, with the digits of float32.

    Parameters
    ----------
    kernel : (k, k) float

    Raises
    ------
    ValueError
        It is not (k, k) with k odd.
    """
    if kernel.ndim != 2 or kernel.shape[0] != kernel.shape[1] or kernel.shape[0] % 2 == 0:
        raise ValueError(f"a kernel has an odd number of pixels each way, not {kernel.shape}")
    return np.ascontiguousarray(kernel, dtype=np.float32).astype(np.float64)


def smooth_image(
    data: NDArray[np.float32], valid: NDArray[np.bool_], kernel: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Convolve an image, averaging over valid pixels only.

    Parameters
    ----------
    data, valid : (ny, nx)
        What is not valid, not finite, or beyond the edge has no weight.
    kernel : (k, k)
        Normalised and symmetric; k is odd.

    Returns
    -------
    (ny, nx) float32
        0 where no valid pixel is within reach.
    """
    check_shapes(data, valid)
    out = np.empty(data.shape, np.float32)
    weights = weights_of(kernel)
    image = np.ascontiguousarray(data, dtype=np.float32)
    _smooth(plane(image), plane(valid, np.bool_), weights, out)
    return out


@compiled
def _smooth(
    data: NDArray[np.float32],
    valid: NDArray[np.bool_],
    weights: NDArray[np.float64],
    out: NDArray[np.float32],
) -> None:
    ny, nx = data.shape
    size, reach = len(weights), len(weights) // 2
    values, has_data = window(size, nx)
    for row in range(-reach, ny):
        slot = (row + reach) % size
        values[slot], has_data[slot] = np.float32(0), np.uint8(0)
        if row + reach < ny:
            for x in range(nx):
                if valid[row + reach, x] and math.isfinite(data[row + reach, x]):
                    values[slot, x + reach] = data[row + reach, x]
                    has_data[slot, x + reach] = np.uint8(1)
        if row >= 0:
            smooth_row(values, has_data, weights, row, out[row])


@compiled
def window(size: int, nx: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Return room for as many rows as a kernel has, and for its reach beyond both ends.

    Row r of the image is kept in row r % size: what is not valid is 0 in both
    arrays, and so are rows beyond the edges.

    Parameters
    ----------
    size : rows of the kernel, odd
    nx : pixels of a row
    """
    width = nx + 2 * (size // 2)
    return np.zeros((size, width), np.float32), np.zeros((size, width), np.uint8)


@compiled
def smooth_row(
    values: NDArray[np.float32],
    has_data: NDArray[np.uint8],
    weights: NDArray[np.float64],
    row: int,
    out: NDArray[np.float32],
) -> None:
    """Write one row of the convolved image, from the rows around it in a `window`.

    In stretches, since most hold either only valid pixels or none: their norm is known.

    Parameters
    ----------
    values, has_data : (k, nx + k - 1) float32 and uint8, of `window`
    weights : (k, k) float
    row : of the image
    out : (nx,) float32, written
    """
    size, nx = len(weights), out.size
    reach = size // 2
    total, norm = np.empty(STRETCH), np.empty(STRETCH)
    whole = 0.0
    for weight in weights.flat:
        whole += weight
    for x0 in range(0, nx, STRETCH):
        n = min(STRETCH, nx - x0)
        n_with_data = 0
        for j in range(size):
            n_with_data += count(has_data[j, x0 : x0 + n + 2 * reach])
        target = out[x0 : x0 + n]
        if n_with_data == 0:
            target[:] = np.float32(0)
            continue
        complete = n_with_data == size * (n + 2 * reach)
        total[:] = 0.0
        norm[:] = whole if complete else 0.0
        for j in range(size):
            slot = (row + j - reach) % size
            for i in range(size):
                weight = weights[size - 1 - j, size - 1 - i]
                _add(total, values[slot, x0 + i : x0 + i + n], weight)
                if not complete:
                    _add(norm, has_data[slot, x0 + i : x0 + i + n], weight)
        _divide(total, norm, target)


@compiled
def count(flags: NDArray[np.uint8] | NDArray[np.bool_]) -> int:
    """Return how many flags are set.

    Parameters
    ----------
    flags : (n,) uint8 or bool
    """
    total = np.int32(0)
    for x in range(flags.size):
        total += np.int32(flags[x])
    return int(total)


@compiled
def _add(total: NDArray[np.float64], line: NDArray[Any], weight: float) -> None:
    for x in range(line.size):
        total[x] += weight * line[x]


@compiled
def _divide(
    total: NDArray[np.float64], norm: NDArray[np.float64], out: NDArray[np.float32]
) -> None:
    for x in range(out.size):
        some = norm[x] > 1e-6
        value = np.float32(total[x]) / np.float32(norm[x] if some else 1.0)
        out[x] = value if some else np.float32(0)
