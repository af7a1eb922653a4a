"""Steps 1 to 4 of LAcosmic: noise, sharpness, fine structure and peaks, block by block."""

from __future__ import annotations

import numpy as np

from bycatch.arrays import Bools, Image
from bycatch.kernels.compiled import compiled
from bycatch.kernels.lacosmic_planes import (
    LOUD_PX,
    WIDE_PX,
    ZERO,
    Number,
    Planes,
    Stale,
    within_rows,
)
from bycatch.kernels.rowmedians import (
    BLOCK_PX,
    EDGE_X,
    EDGE_Y,
    median3x3_blocks,
    median5x5_blocks,
    upper,
)

ONE, FOUR, TWO, QUARTER = np.float32(1), np.float32(4), np.float32(2), np.float32(0.25)
LEAST_VARIANCE = np.float32(1e-5)


def renew(strip: Planes, stale: Stale, psf: Image, sigclip: float) -> None:
    """Write noise, sharpness, fine structure and peaks of stale blocks that matter.

    Parameters
    ----------
    strip : Planes, written
    stale : Stale, updated
    psf : (k, k) float32, k odd; empty for the median in its place
    sigclip : limit of the peaks, in sigma
    """
    size = (strip.ny, strip.nx)
    median5x5_blocks(strip.variance, stale.planes, strip.noise)
    sharpness_blocks(strip.image, strip.variance, stale.planes, size, strip.noise, strip.sharp)
    loud_blocks(strip.sharp, stale.loud, np.float32(sigclip), stale.is_loud)
    blocks = stale.fine & within_rows(stale.is_loud, LOUD_PX)
    if psf.size:
        weights = np.zeros_like(strip.noise)
        strip.pixels(weights)[:] = ONE / strip.pixels(strip.noise) / strip.pixels(strip.noise)
        signal = np.zeros_like(strip.noise)
        strip.pixels(signal)[:] = (
            strip.pixels(strip.image) / strip.pixels(strip.noise) / strip.pixels(strip.noise)
        )
        matched_blocks(signal, weights, psf, blocks, size, strip.fine)
    else:
        median3x3_blocks(strip.image, blocks, strip.fine)
        copy_border(strip.image, size, strip.fine)
    stale.fine[blocks] = False
    blocks = stale.peaks & within_rows(stale.is_loud, 1)
    median5x5_blocks(strip.sharp, blocks, strip.peak)
    peak_blocks(strip.sharp, blocks, size, strip.peak)
    stale.peaks[blocks] = False


@compiled
def loud_blocks(sharp: Image, stale: Bools, sigclip: np.float32, is_loud: Bools) -> None:
    """Write of stale blocks whether the sharpness passes a limit in or closely beside them.

    Parameters
    ----------
    sharp : (NY, NX) float32, with the edges of `rowmedians.plane_shape`
    stale : (ny, number of blocks) bool
    sigclip : limit of the sharpness, in sigma
    is_loud : (ny, number of blocks) bool, written
    """
    for y in range(stale.shape[0]):
        for block in range(stale.shape[1]):
            if stale[y, block]:
                row = sharp[y + EDGE_Y, EDGE_X + block * BLOCK_PX - LOUD_PX :]
                n_loud = np.int32(0)
                for i in range(WIDE_PX):  # without a branch
                    n_loud += np.int32(row[i] > sigclip)
                is_loud[y, block] = n_loud > 0


@compiled
def sharpness_blocks(
    image: Image, variance: Image, stale: Bools, size: tuple[int, int], noise: Image, sharp: Image
) -> None:
    """Write the sharpness of stale blocks, and make noise of what holds medians of the variance.

    Parameters
    ----------
    image, variance : (NY, NX) float32, with the edges of `rowmedians.plane_shape`
    stale : (ny, number of blocks) bool
    size : (ny, nx) without the edges
    noise : (NY, NX) float32, with the edges of `rowmedians.plane_shape`; medians of the variance
        come in, sigma goes out
    sharp : (NY, NX) float32, with the edges of `rowmedians.plane_shape`, written
    """
    ny, nx = size
    for y in range(ny):
        for block in range(stale.shape[1]):
            if not stale[y, block]:
                continue
            x = EDGE_X + block * BLOCK_PX
            up, down = image[y + EDGE_Y - 1, x:], image[y + EDGE_Y + 1, x:]
            around = image[y + EDGE_Y, x - 1 :]
            sigma, row = noise[y + EDGE_Y, x:], sharp[y + EDGE_Y, x:]
            input_variance = variance[y + EDGE_Y, x:]
            if y < 2 or y >= ny - 2:
                for i in range(BLOCK_PX):
                    sigma[i] = input_variance[i]
            elif block == 0:
                sigma[0], sigma[1] = input_variance[0], input_variance[1]
            for i in range(max(nx - 2 - block * BLOCK_PX, 0), BLOCK_PX):
                sigma[i] = input_variance[i]
            for i in range(BLOCK_PX):
                sigma[i] = np.sqrt(upper(sigma[i], LEAST_VARIANCE))
                row[i] = laplacian(around[i + 1], around[i], around[i + 2], up[i], down[i]) / (
                    TWO * sigma[i]
                )
            for i in range(min(max(nx - block * BLOCK_PX, 0), BLOCK_PX), BLOCK_PX):
                row[i] = ZERO


@compiled
def laplacian(centre: Number, left: Number, right: Number, up: Number, down: Number) -> Number:
    """Return the mean of the positive parts of the four quarters' Laplacians.

    Each is 2 x centre minus two neighbours; the operations are those of the
    convolution of the split image, in its order, so that rounding is the same.

    Parameters
    ----------
    centre, left, right, up, down : float32, a pixel and its four neighbours
    """
    four = FOUR * centre
    start, other = four - centre, four - right
    quarters = upper(((start - left) - centre) - up, ZERO)
    quarters += upper(((start - left) - down) - centre, ZERO)
    quarters += upper(((other - centre) - down) - centre, ZERO)
    quarters += upper(((other - centre) - centre) - up, ZERO)
    return quarters * QUARTER


@compiled
def peak_blocks(sharp: Image, stale: Bools, size: tuple[int, int], peak: Image) -> None:
    """Turn medians of the sharpness into peaks; within 2 px of the edge they are zero.

    Parameters
    ----------
    sharp : (NY, NX) float32, with the edges of `rowmedians.plane_shape`
    stale : (ny, number of blocks) bool
    size : (ny, nx) without the edges
    peak : (NY, NX) float32, with the edges of `rowmedians.plane_shape`; medians of the sharpness
        come in, peaks go out
    """
    ny, nx = size
    for y in range(ny):
        for block in range(stale.shape[1]):
            if not stale[y, block]:
                continue
            x = EDGE_X + block * BLOCK_PX
            top, row = sharp[y + EDGE_Y, x:], peak[y + EDGE_Y, x:]
            for i in range(BLOCK_PX):
                row[i] = top[i] - row[i]
        if y < 2 or y >= ny - 2:
            peak[y + EDGE_Y] = ZERO
        else:
            peak[y + EDGE_Y, : EDGE_X + min(2, nx)] = ZERO
            peak[y + EDGE_Y, EDGE_X + max(nx - 2, 0) :] = ZERO


@compiled
def copy_border(image: Image, size: tuple[int, int], out: Image) -> None:
    """Copy the outermost pixels, which 3 x 3 medians leave as they are.

    Parameters
    ----------
    image, out : (NY, NX) float32, with the edges of `rowmedians.plane_shape`
    size : (ny, nx) without the edges
    """
    last_y, last_x = EDGE_Y + size[0] - 1, EDGE_X + size[1] - 1
    for x in range(EDGE_X, last_x + 1):
        out[EDGE_Y, x], out[last_y, x] = image[EDGE_Y, x], image[last_y, x]
    for y in range(EDGE_Y, last_y + 1):
        out[y, EDGE_X], out[y, last_x] = image[y, EDGE_X], image[y, last_x]


@compiled
def matched_blocks(
    signal: Image, weights: Image, psf: Image, stale: Bools, size: tuple[int, int], out: Image
) -> None:
    """Write the weighted means under the PSF of stale blocks.

    Parameters
    ----------
    signal, weights : (NY, NX) float32, with the edges of `rowmedians.plane_shape`, image over
        variance and inverse variance
    psf : (k, k) float32, k odd
    stale : (ny, number of blocks) bool
    size : (ny, nx) without the edges
    out : (NY, NX) float32, with the edges of `rowmedians.plane_shape`, written
    """
    ny, nx = size
    reach_y, reach_x = psf.shape[0] // 2, psf.shape[1] // 2
    for y in range(ny):
        for x in range(nx):
            if not stale[y, x // BLOCK_PX]:
                continue
            total, norm = ZERO, ZERO
            for v in range(max(y - reach_y, 0), min(y + reach_y + 1, ny)):
                for u in range(max(x - reach_x, 0), min(x + reach_x + 1, nx)):
                    factor = psf[reach_y + y - v, reach_x + x - u]
                    total += factor * signal[v + EDGE_Y, u + EDGE_X]
                    norm += factor * weights[v + EDGE_Y, u + EDGE_X]
            out[y + EDGE_Y, x + EDGE_X] = total / norm
