"""The pixels of an image as the fits take them: sky, noise, and how pixels are correlated."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bycatch.arrays import Bools, Floats, Image
from bycatch.images.drc import DrcImage
from bycatch.kernels.background import Boxes, Rows, level_surface, noise_surface
from bycatch.kernels.mask_growth import grow_by_one
from bycatch.kernels.psf_fit import HIT, LOST, USABLE, Pixels
from bycatch.kernels.surfaces import write_level, write_noise
from bycatch.kernels.threads import ROWS_WORTH_A_THREAD, in_portions

BOX_PX = 32
"""Side of the boxes of sky and noise, native pixels."""
FILTER_BOXES = 3
CLIP_SIGMA = 3.0
MIN_SHARE = 0.25
COARSE_STEP, LEAST_SIDE_PX = 2, 128
"""A coarse sky takes every second pixel each way, of images that are large enough."""
STRIP_ROWS = 32
"""Of images that are worked on at once."""
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
    data, photons = (np.empty(image.shape, np.float32) for _ in range(2))
    state = np.empty(image.shape, np.uint8)
    full = np.empty(image.shape, bool)
    factor, brightest = np.float32(photon_factor(image)), image.meta.full_rate

    def fill(first: int, last: int) -> None:
        rows = slice(first, last)
        good, seconds = valid[rows], image.exptime_map_s[rows]
        state[rows] = np.where(good, np.uint8(USABLE), np.uint8(LOST))
        if cr_mask is not None:
            state[rows][cr_mask[rows] & good] = HIT
        data[rows] = np.where(good, image.sci[rows], np.float32(0))
        np.greater(data[rows], brightest, out=full[rows])
        photons[rows] = 0.0
        np.divide(factor, seconds, out=photons[rows], where=seconds > 0)

    by_strips(fill, image.shape[0])
    if full.any():
        state[grow_by_one(full, valid)] = LOST
    background, noise = (np.empty(image.shape, np.float32) for _ in range(2))
    light = np.zeros(image.shape, np.float32)
    pixels = Pixels(data, background, light, noise, photons, state)
    put_sky(image, pixels, coarse=True)
    return pixels


def by_strips(work: Callable[[int, int], None], n_rows: int) -> None:
    """Call ``work(first, last)`` for strips of rows that a core's own memory holds, in all threads.

    Parameters
    ----------
    work : writes to its rows alone
    n_rows : of the image
    """

    def some(first: int, last: int) -> None:
        for row in range(first, last, STRIP_ROWS):
            work(row, min(row + STRIP_ROWS, last))

    in_portions(some, n_rows, ROWS_WORTH_A_THREAD)


def photon_factor(image: DrcImage) -> float:
    """Return the variance of a pixel's photons over their number: drizzling spreads each.

    Parameters
    ----------
    image : DrcImage
    """
    return image.noise_correlation**-2


def put_sky(image: DrcImage, pixels: Pixels, *, coarse: bool = False) -> None:
    """Write the sky of what the stars leave, and its noise, to the pixels.

    Parameters
    ----------
    image : DrcImage
    pixels : Pixels of the image, each (ny, nx)
    coarse : the sky, too, from a quarter of the pixels, while the stars are not known well
    """
    noise_step = COARSE_STEP if min(image.shape) >= COARSE_STEP * LEAST_SIDE_PX else 1
    level_step = noise_step if coarse else 1
    side = max(8, round(BOX_PX * image.detector_px / noise_step))
    n_good = np.count_nonzero(pixels.state[::noise_step, ::noise_step] == USABLE)
    min_share = MIN_SHARE if n_good * noise_step**2 >= MIN_SHARE * pixels.state.size else 0.0

    def sky_pixels(step: int) -> tuple[Rows, tuple[int, int], Boxes]:
        """Return every step-th pixel each way without stars, their shape, and their boxes."""

        def rows(which: slice) -> tuple[Image, Bools, Image]:
            part = np.s_[which.start * step : which.stop * step : step, ::step]
            seconds = np.ascontiguousarray(image.exptime_map_s[part])
            return pixels.data[part] - pixels.light[part], pixels.state[part] == USABLE, seconds

        ny, nx = (-(-size // step) for size in image.shape)
        return rows, (ny, nx), Boxes(side * noise_step // step, FILTER_BOXES, CLIP_SIGMA, min_share)

    level = level_surface(*sky_pixels(level_step)).enlarge(level_step)
    # Of a quarter of the pixels the noise is known to some per cent, as it need be.
    scatter = noise_surface(*sky_pixels(noise_step), level.reduce(noise_step)).enlarge(noise_step)
    # Sky and noise also where pixels of cosmic rays are: they may count after all.
    has_data = pixels.state != LOST
    write_level(level, has_data, pixels.background)
    write_noise(image.exptime_map_s, has_data, scatter, pixels.noise)


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
    target = image.noise_correlation**2
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
