"""The pixels of an image as the fits take them: sky, noise, and how pixels are correlated."""

from __future__ import annotations

import numpy as np

from bycatch.arrays import Bools, Floats, Image
from bycatch.images.drc import DrcImage
from bycatch.kernels.background import sky_maps
from bycatch.kernels.peaks import grown_by_one
from bycatch.kernels.psf_fit import HIT, LOST, USABLE, Pixels
from bycatch.kernels.smoothing import noise_correlation

BOX_PX = 32
"""Side of the boxes of sky and noise, native pixels."""
FILTER_BOXES = 3
CLIP_SIGMA = 3.0
MIN_SHARE = 0.25
FULL_SHARE = 0.8
"""A pixel above this share of the saturation rate does not count, nor do its eight neighbours."""
COARSE_STEP, LEAST_SIDE_PX = 2, 128
"""A coarse sky takes every second pixel each way, of images that are large enough."""
LAG_PX = 2.0
"""Farthest correlation of pixels that drizzling makes, native pixels."""
MOST_LAG = 6
TILE_PX, TILES = 192, 5
QUIET_SIGMA, FAINT = 3.0, 0.3
"""Pixels for the correlation: within so many sigma, with star light below this share of the
noise."""
LEAST_PIXELS = 5000


def first_pixels(image: DrcImage, cr_mask: Bools | None) -> Pixels:
    """Return the pixels of an image without any star fitted.

    Parameters
    ----------
    image : DrcImage
    cr_mask : (ny, nx) bool, the grown mask
    """
    valid = image.valid
    state = np.where(valid, np.uint8(USABLE), np.uint8(LOST))
    if cr_mask is not None:
        state[cr_mask & valid] = HIT
    with np.errstate(invalid="ignore"):
        full = valid & (image.sci > FULL_SHARE * image.meta.saturation_rate)
    if full.any():
        state[grown_by_one(full, valid)] = LOST
    data = np.where(valid, image.sci, np.float32(0))
    photons = np.zeros(image.shape, np.float32)
    factor = np.float32(photon_factor(image))
    np.divide(factor, image.exptime_map_s, out=photons, where=image.exptime_map_s > 0)
    none = np.zeros(image.shape, np.float32)
    return with_sky(image, Pixels(data, none, none, none, photons, state), coarse=True)


def photon_factor(image: DrcImage) -> float:
    """Return the variance of a pixel's photons over their number: drizzling spreads each.

    Parameters
    ----------
    image : DrcImage
    """
    ratio = image.scale_arcsec / image.meta.native_scale_arcsec
    return noise_correlation(image.meta.pixfrac, ratio) ** -2


def with_sky(image: DrcImage, pixels: Pixels, *, coarse: bool = False) -> Pixels:
    """Return the pixels with the sky of what the stars leave.

    Parameters
    ----------
    image : DrcImage
    pixels : Pixels of the image, each (ny, nx)
    coarse : from a quarter of the pixels, while the stars are not known well
    """
    step = COARSE_STEP if coarse and min(image.shape) >= COARSE_STEP * LEAST_SIDE_PX else 1
    part = np.s_[::step, ::step]
    state = pixels.state[part]
    good = state == USABLE
    box = max(8, round(BOX_PX * image.detector_px / step))
    share = MIN_SHARE if np.count_nonzero(good) >= MIN_SHARE * good.size else 0.0
    background, noise, *_ = sky_maps(
        pixels.data[part] - pixels.light[part],
        good,
        np.ascontiguousarray(image.exptime_map_s[part]),
        box,
        FILTER_BOXES,
        CLIP_SIGMA,
        share,
    )
    # Sky and noise also where pixels of cosmic rays are: they may count after all.
    _carry_over((background, noise), state == HIT)
    if step > 1:
        ny, nx = image.shape
        background, noise = (
            np.repeat(np.repeat(plane, step, axis=1), step, axis=0)[:ny, :nx]
            for plane in (background, noise)
        )
        noise[pixels.state == LOST] = 0.0
    return pixels._replace(background=background, noise=noise)


def _carry_over(planes: tuple[Image, ...], is_hit: Bools) -> None:
    """Give hit pixels of maps the values of the nearest pixels to the left, in place."""
    rows, columns = np.nonzero(is_hit)
    if not len(rows):
        return
    begins = np.ones(len(rows), bool)
    begins[1:] = (rows[1:] != rows[:-1]) | (columns[1:] != columns[:-1] + 1)
    first, last = columns[begins], columns[np.append(begins[1:], True)]
    # At the left edge there is none: those to the right.
    source = np.where(first > 0, first - 1, np.minimum(last + 1, is_hit.shape[1] - 1))
    source = source[np.cumsum(begins) - 1]
    for plane in planes:
        plane[rows, columns] = plane[rows, source]


def typical_noise(pixels: Pixels) -> float:
    """Return the median noise of a sky pixel, e/s; 0 without any.

    Parameters
    ----------
    pixels : Pixels of the image, each (ny, nx)
    """
    some = pixels.noise[::7, ::7]
    some = some[some > 0]
    return float(np.median(some)) if len(some) else 0.0


def correlation(image: DrcImage, pixels: Pixels) -> Floats:
    """Return the correlation of pixels by their distance, (2 L + 1, 2 L + 1): 1 in the middle.

    From what the stars leave in tiles all over the image; where stars are everywhere, from the
    drizzling parameters, as if the tie were the overlap of drops.

    Parameters
    ----------
    image : DrcImage
    pixels : Pixels of the image, each (ny, nx)
    """
    lag = min(max(1, round(LAG_PX * image.detector_px)), MOST_LAG)
    side = 2 * lag + 1
    sums, count = np.zeros((side, side)), np.zeros((side, side))
    ny, nx = pixels.data.shape
    tile = min(TILE_PX, ny, nx)
    for top in np.unique(np.linspace(0, ny - tile, TILES).astype(int)):
        for left in np.unique(np.linspace(0, nx - tile, TILES).astype(int)):
            part = np.s_[top : top + tile, left : left + tile]
            noise, light = pixels.noise[part], pixels.light[part]
            with np.errstate(divide="ignore", invalid="ignore"):
                z = (pixels.data[part] - pixels.background[part] - light) / noise
            quiet = (pixels.state[part] == USABLE) & (noise > 0) & (light < FAINT * noise)
            quiet &= np.abs(z) < QUIET_SIGMA
            if not quiet.any():
                continue
            flat = np.where(quiet, z - z[quiet].mean(), 0.0).astype(float)
            _add_products(flat, quiet, lag, sums, count)
    if count[lag, lag] < LEAST_PIXELS:
        return _of_drops(image, lag)
    rho = sums / np.maximum(count, 1)
    rho /= rho[lag, lag]
    rho = 0.5 * (rho + rho[::-1, ::-1])
    return np.asarray(np.clip(rho, -1.0, 1.0))


def _add_products(z: Floats, quiet: Bools, lag: int, sums: Floats, count: Floats) -> None:
    """Add sums and numbers of products of pixels at all distances; half of them mirror the rest."""
    n, m = z.shape
    for dy in range(lag + 1):
        for dx in range(-lag, lag + 1):
            if dy == 0 and dx < 0:
                continue
            a = np.s_[0 : n - dy, max(0, -dx) : m - max(0, dx)]
            b = np.s_[dy:n, max(0, dx) : m - max(0, -dx)]
            total, number = float((z[a] * z[b]).sum()), int((quiet[a] & quiet[b]).sum())
            for sign in {1, -1} if (dy or dx) else {1}:
                sums[lag + sign * dy, lag + sign * dx] += total
                count[lag + sign * dy, lag + sign * dx] += number


def _of_drops(image: DrcImage, lag: int) -> Floats:
    """Return the correlation that sums to the noise of large areas, falling with the distance."""
    ratio = image.scale_arcsec / image.meta.native_scale_arcsec
    target = noise_correlation(image.meta.pixfrac, ratio) ** 2
    away = np.arange(-lag, lag + 1, dtype=float)
    widths = np.linspace(0.05, 3.0, 200)
    shapes = [np.exp(-0.5 * (away / width) ** 2) for width in widths]
    sums = [float(shape.sum() ** 2) for shape in shapes]
    shape = shapes[int(np.argmin(np.abs(np.array(sums) - target)))]
    return np.outer(shape, shape)


def noise_of_sums(rho: Floats) -> float:
    """Return by how much the noise of large sums exceeds that of independent pixels.

    Parameters
    ----------
    rho : (2 L + 1, 2 L + 1) float, of `correlation`
    """
    return float(np.sqrt(max(rho.sum(), 1.0)))
