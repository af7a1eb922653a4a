"""Least squares of many stars that share their pixels: normal equations, and how well they fit.

Each star has four numbers: flux, x, y, and by how much the PSF is wider than elsewhere.  Its
equations come from the pixels near it; those of stars that share pixels are tied by a block of
their own.  `psf_solve` solves the system.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bycatch.arrays import Floats, Image, Ints
from bycatch.kernels.bounds import check_shapes, length_px
from bycatch.kernels.compiled import compiled
from bycatch.kernels.neighbourhood import plane, points
from bycatch.kernels.psf_grid import N_PARTS
from bycatch.kernels.threads import WORTH_A_THREAD, in_portions

Stamps = NDArray[np.float32]
SQUARE = (N_PARTS, N_PARTS)


class Pixels(NamedTuple):
    """What is known of the pixels of an image, (ny, nx) each.

    Attributes
    ----------
    data : float32; electrons per second
    background : float32
    light : float32; of all stars, as they are fitted so far
    noise : float32; of the sky, 1 sigma; pixels without are not used
    photons : float32; variance of light of 1 e/s
    state : uint8; USABLE, LOST, or HIT: perhaps by a cosmic ray
    """

    data: Image
    background: Image
    light: Image
    noise: Image
    photons: Image
    state: NDArray[np.uint8]


USABLE, LOST, HIT = 0, 1, 2
HIT_SIGMA = 2.5
"""A pixel on the cosmic-ray mask does not count if it is so far above the model: masks may lie on
stars."""


N_SUMS = 7
"""Of `quality`, before its variances."""


class Trust(NamedTuple):
    """How far pixels are believed.

    Attributes
    ----------
    model_error : of the light of stars, as a share of it
    clip_sigma : pixels farther off than this lose weight, with the square of their distance
    """

    model_error: float
    clip_sigma: float


def checked_pixels(pixels: Pixels) -> Pixels:
    """Return pixels in the form that kernels take; raise a ValueError if shapes differ.

    Parameters
    ----------
    pixels : Pixels, each (ny, nx)
    """
    check_shapes(*pixels)
    images = (plane(image, np.float32) for image in pixels[:-1])
    data, background, light, noise, photons = images
    state = plane(pixels.state, np.uint8)
    return Pixels(data, background, light, noise, photons, state)


def normal_equations(
    pixels: Pixels, trust: Trust, stamps: Stamps, column: Ints, row: Ints
) -> tuple[Floats, Floats, Stamps]:
    """Return each star's own equations.

    Parameters
    ----------
    pixels, trust : of the image
    stamps, column, row : of `psf_grid.star_stamps`, derivatives times flux

    Returns
    -------
    blocks : (N, 4, 4) float; sums of weight times products of the stamps
    gradient : (N, 4) float; sums of weight times stamp times residual
    weights : (N, s, s) float32; of the stamps' pixels
    """
    _check_stamps(stamps, column, row)
    blocks, gradient = np.zeros((len(stamps), N_PARTS, N_PARTS)), np.zeros((len(stamps), N_PARTS))
    weights = np.zeros((len(stamps), *stamps.shape[2:]), np.float32)
    images = checked_pixels(pixels)
    limits = Trust(float(trust.model_error), float(trust.clip_sigma))

    def work(i: int, j: int) -> None:
        part = (stamps[i:j], column[i:j], row[i:j])
        _own_equations(images, limits, *part, blocks[i:j], gradient[i:j], weights[i:j])

    in_portions(work, len(stamps), WORTH_A_THREAD)
    return blocks, gradient, weights


def _check_stamps(stamps: Stamps, column: Ints, row: Ints) -> None:
    n = len(stamps)
    if stamps.ndim != 4 or stamps.shape[1] != N_PARTS or stamps.shape[2] != stamps.shape[3]:
        raise ValueError(f"stamps are (N, 4, s, s), not {stamps.shape}")
    if not stamps.flags.c_contiguous or stamps.dtype != np.float32:
        raise ValueError("stamps are contiguous arrays of float32")
    for corner in (column, row):
        if corner.shape != (n,) or corner.dtype != np.int64:
            raise ValueError(f"{n} stamps have corners of {n} int64, not {corner.shape}")


@compiled
def noise_variance(pixels: Pixels, i: int, j: int) -> float:
    """Return the variance of a pixel: sky, and the photons of the stars.

    Parameters
    ----------
    pixels : Pixels of the image, each (ny, nx)
    i, j : row and column of the pixel
    """
    sky = np.float64(pixels.noise[i, j])
    light = max(np.float64(pixels.light[i, j]), 0.0)
    return sky * sky + light * np.float64(pixels.photons[i, j])


@compiled
def residual_and_weight(pixels: Pixels, trust: Trust, i: int, j: int) -> tuple[float, float]:
    """Return what a pixel has beyond the model, and its weight; 0 where it does not count.

    Parameters
    ----------
    pixels : Pixels of the image, each (ny, nx)
    trust : Trust, when a pixel counts
    i, j : row and column of the pixel
    """
    state = pixels.state[i, j]
    if state == LOST or not pixels.noise[i, j] > 0:
        return 0.0, 0.0
    light = np.float64(pixels.light[i, j])
    residual = np.float64(pixels.data[i, j]) - np.float64(pixels.background[i, j]) - light
    # Divided once: a division takes as long as all the rest.
    power = 1.0 / (noise_variance(pixels, i, j) + (trust.model_error * light) ** 2)
    off2 = residual * residual * power
    if not off2 < np.inf or (state == HIT and residual > 0 and off2 > HIT_SIGMA**2):
        return 0.0, 0.0
    clip2 = trust.clip_sigma * trust.clip_sigma
    return residual, power if off2 <= clip2 else clip2 / (residual * residual)


@compiled
def _own_equations(
    pixels: Pixels,
    trust: Trust,
    stamps: Stamps,
    column: Ints,
    row: Ints,
    blocks: Floats,
    gradient: Floats,
    weights: Stamps,
) -> None:
    ny, nx = pixels.data.shape
    size = stamps.shape[2]
    for k in range(len(stamps)):
        if not (-size < row[k] < ny and -size < column[k] < nx):
            continue
        # Sums by name, which stay in the processor: arrays of them cost as much as the rest.
        ga = gx = gy = gw = 0.0
        aa = ax = ay = aw = xx = xy = xw = yy = yw = ww = 0.0
        for v in range(max(-row[k], 0), min(size, ny - row[k])):
            for u in range(max(-column[k], 0), min(size, nx - column[k])):
                a = np.float64(stamps[k, 0, v, u])
                if a == 0:
                    continue
                r, w = residual_and_weight(pixels, trust, row[k] + v, column[k] + u)
                weights[k, v, u] = w
                x, y = np.float64(stamps[k, 1, v, u]), np.float64(stamps[k, 2, v, u])
                wide = np.float64(stamps[k, 3, v, u])
                wa, wx, wy, ws = w * a, w * x, w * y, w * wide
                ga, gx, gy, gw = ga + wa * r, gx + wx * r, gy + wy * r, gw + ws * r
                aa, ax, ay, aw = aa + wa * a, ax + wx * a, ay + wy * a, aw + ws * a
                xx, xy, xw = xx + wx * x, xy + wy * x, xw + ws * x
                yy, yw, ww = yy + wy * y, yw + ws * y, ww + ws * wide
        gradient[k, 0], gradient[k, 1], gradient[k, 2], gradient[k, 3] = ga, gx, gy, gw
        _fill_symmetric(blocks[k], 0, (aa, ax, ay, aw))
        _fill_symmetric(blocks[k], 1, (ax, xx, xy, xw))
        _fill_symmetric(blocks[k], 2, (ay, xy, yy, yw))
        _fill_symmetric(blocks[k], 3, (aw, xw, yw, ww))


@compiled
def _fill_symmetric(block: Floats, p: int, values: tuple[float, float, float, float]) -> None:
    """Fill a row of a block, and the column that mirrors it."""
    for q in range(N_PARTS):
        block[p, q] = block[q, p] = values[q]


def tie_blocks(
    stamps: Stamps, weights: Stamps, column: Ints, row: Ints, first: Ints, second: Ints
) -> Floats:
    """Return what ties pairs of stars: sums of weight times products of their stamps.

    Parameters
    ----------
    stamps, column, row : as in `normal_equations`
    weights : as that returns them
    first, second : (M,) int; the stars of each pair

    Returns
    -------
    (M, 4, 4) float; rows are those of the first star
    """
    _check_stamps(stamps, column, row)
    if weights.shape != (len(stamps), *stamps.shape[2:]):
        raise ValueError(f"weights {weights.shape} are not of stamps {stamps.shape}")
    pairs = checked_pairs(first, second, len(stamps))
    out = np.zeros((len(pairs[0]), N_PARTS, N_PARTS))

    def work(i: int, j: int) -> None:
        _ties(stamps, weights, column, row, pairs[0][i:j], pairs[1][i:j], out[i:j])

    in_portions(work, len(out), WORTH_A_THREAD)
    return out


def checked_pairs(first: Ints, second: Ints, n: int) -> tuple[Ints, Ints]:
    """Return pairs in the form that kernels take; raise a ValueError if one is no pair of stars.

    Parameters
    ----------
    first, second : (P,) int, indices of the stars
    n : number of stars
    """
    a, b = (np.ascontiguousarray(part, dtype=np.int64) for part in (first, second))
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"{a.shape} and {b.shape} stars are no pairs")
    if len(a) and not (min(a.min(), b.min()) >= 0 and max(a.max(), b.max()) < n):
        raise ValueError(f"pairs name stars that are not among {n}")
    return a, b


@compiled
def _ties(
    stamps: Stamps,
    weights: Stamps,
    column: Ints,
    row: Ints,
    first: Ints,
    second: Ints,
    out: Floats,
) -> None:
    size = stamps.shape[2]
    for m in range(len(first)):
        i, j = first[m], second[m]
        right, down = column[j] - column[i], row[j] - row[i]
        if abs(right) >= size or abs(down) >= size:
            continue
        for p in range(N_PARTS):
            to_light = to_x = to_y = to_width = 0.0
            for v in range(max(down, 0), size + min(down, 0)):
                for u in range(max(right, 0), size + min(right, 0)):
                    product = np.float64(weights[i, v, u]) * stamps[i, p, v, u]
                    to_light += product * stamps[j, 0, v - down, u - right]
                    to_x += product * stamps[j, 1, v - down, u - right]
                    to_y += product * stamps[j, 2, v - down, u - right]
                    to_width += product * stamps[j, 3, v - down, u - right]
            out[m, p, 0], out[m, p, 1] = to_light, to_x
            out[m, p, 2], out[m, p, 3] = to_y, to_width


def quality(
    pixels: Pixels,
    stamps: Stamps,
    weights: Stamps,
    column: Ints,
    row: Ints,
    flux: Floats,
    width: Floats,
    core_px: float,
    correlation: Floats,
) -> Floats:
    """Return how well stars are fitted, and the noise of their equations.

    Parameters
    ----------
    pixels, stamps, weights, column, row : as in `normal_equations`
    flux, width : (N,) float
        Light, and the logarithm of the width against the PSF's.
    core_px : radius of the core, from the middle of the light
    correlation : (2 L + 1, 2 L + 1) float; of pixels, by their distance

    Returns
    -------
    (N, 11) float
        Number of pixels; sum of squared residuals over noise; of absolute residuals; in the core
        what there is beyond a star of the PSF's width, own light, and all stars' light; sum of
        squared light over noise; variances of the four sums of `normal_equations`' gradient with
        correlated noise.
    """
    _check_stamps(stamps, column, row)
    rho = plane(correlation, np.float64)
    if rho.ndim != 2 or rho.shape[0] != rho.shape[1] or rho.shape[0] % 2 == 0:
        raise ValueError(f"correlations are (2 L + 1, 2 L + 1), not {rho.shape}")
    if len(flux) != len(stamps) or weights.shape != (len(stamps), *stamps.shape[2:]):
        raise ValueError(f"{len(flux)} fluxes, weights {weights.shape}, stamps {stamps.shape}")
    out = np.zeros((len(stamps), N_SUMS + N_PARTS))
    images, (light, wider) = checked_pixels(pixels), points(flux, width)
    core = length_px(core_px)

    def work(i: int, j: int) -> None:
        part = (stamps[i:j], weights[i:j], column[i:j], row[i:j], light[i:j])
        _quality(images, *part, wider[i:j], (core, rho), out[i:j])

    in_portions(work, len(stamps), WORTH_A_THREAD)
    return out


@compiled
def _quality(
    pixels: Pixels,
    stamps: Stamps,
    weights: Stamps,
    column: Ints,
    row: Ints,
    flux: Floats,
    width: Floats,
    core_and_correlation: tuple[float, Floats],
    out: Floats,
) -> None:
    core, rho = core_and_correlation
    ny, nx = pixels.data.shape
    size, lag = stamps.shape[2], len(rho) // 2
    weighted_stamps = np.zeros((N_PARTS, size, size))
    for k in range(len(stamps)):
        if not (-size < row[k] < ny and -size < column[k] < nx):
            continue
        weighted_stamps[:] = 0.0
        x, y = _middle(stamps[k, 0])
        for v in range(max(-row[k], 0), min(size, ny - row[k])):
            for u in range(max(-column[k], 0), min(size, nx - column[k])):
                w, a = np.float64(weights[k, v, u]), np.float64(stamps[k, 0, v, u])
                if not w > 0.0:
                    continue
                i, j = row[k] + v, column[k] + u
                light = np.float64(pixels.light[i, j])
                r = np.float64(pixels.data[i, j]) - np.float64(pixels.background[i, j]) - light
                variance = noise_variance(pixels, i, j)
                out[k, 0] += 1.0
                out[k, 1] += r * r / variance
                out[k, 2] += abs(r)
                out[k, 6] += light * light / variance
                if (u - x) ** 2 + (v - y) ** 2 <= core * core:
                    # The stamp's part of the width is times flux already.
                    out[k, 3] += r + width[k] * stamps[k, 3, v, u]
                    out[k, 4] += flux[k] * a
                    out[k, 5] += light
                for p in range(N_PARTS):
                    weighted_stamps[p, v, u] = w * np.sqrt(variance) * stamps[k, p, v, u]
        _variances_of_sums(weighted_stamps, rho, lag, out[k, N_SUMS:])


@compiled
def _middle(light: Image) -> tuple[float, float]:
    """Return the barycentre of the squared light."""
    mass, mass_x, mass_y = 1e-300, 0.0, 0.0
    for v in range(light.shape[0]):
        for u in range(light.shape[1]):
            a = np.float64(light[v, u]) ** 2
            mass, mass_x, mass_y = mass + a, mass_x + a * u, mass_y + a * v
    return mass_x / mass, mass_y / mass


@compiled
def _variances_of_sums(values: Floats, rho: Floats, lag: int, out: Floats) -> None:
    """Write the variances of four sums of values times noise of variance 1 and that correlation."""
    size = values.shape[1]
    for dv in range(lag + 1):
        for du in range(-lag, lag + 1):
            # Distances the other way have the same products.
            both = rho[lag + dv, lag + du] + rho[lag - dv, lag - du]
            if dv == 0 and du <= 0:
                if du < 0:
                    continue
                both = rho[lag, lag]
            first, last = max(-du, 0), min(size, size - du)
            # Side by side: each sum alone waits for itself.
            a = b = c = d = 0.0
            for v in range(size - dv):
                for u in range(first, last):
                    a += values[0, v, u] * values[0, v + dv, u + du]
                    b += values[1, v, u] * values[1, v + dv, u + du]
                    c += values[2, v, u] * values[2, v + dv, u + du]
                    d += values[3, v, u] * values[3, v + dv, u + du]
            out[0] += both * a
            out[1] += both * b
            out[2] += both * c
            out[3] += both * d
