"""Stars that show once those known are subtracted."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bycatch.arrays import Bools, Floats, Ints
from bycatch.kernels.neighbourhood import any_within
from bycatch.kernels.peaks import maxima
from bycatch.kernels.psf_fit import LOST, USABLE, Pixels
from bycatch.kernels.psf_grid import add_wings
from bycatch.kernels.psf_search import matched_filter
from bycatch.stages.psf.fit import reach_px
from bycatch.stages.psf.model import PsfModel
from bycatch.stages.psf.noise import by_strips
from bycatch.stages.psf.stars import Stars

TEMPLATE_RADIUS_PX = 2.0
"""Of the matched filter, native pixels."""
FAINT_SHARE = 0.1
"""What a star leaves counts as far as it has this share of the sky noise."""
PEAK_PX, OFF_PX, PEAK_SIGMA = 2.0, 0.75, 4.0
"""A peak so near to a position, native pixels, and so far off it; and brighter than the pixel there
by so many times the noise."""
FULL_PX = 4.0
"""Around a full pixel nothing is looked for, native pixels."""
NEAREST_FWHM = 0.7
"""A peak as near to a known star is what the fit has left of that one."""


def new_places(
    pixels: Pixels,
    model: PsfModel,
    correlation: Floats,
    n_sigma: float,
    places: tuple[Floats, Floats],
    is_forbidden: Bools | None,
) -> tuple[Floats, Floats]:
    """Return where the residual has stars that are not known yet.

    Parameters
    ----------
    pixels : with the light of the known stars, and doubts of it (`with_doubt`)
    model : the PSF
    correlation : of pixels
    n_sigma : least signal-to-noise ratio
    places : x and y of the known stars
    is_forbidden : (ny, nx) bool; pixels of what is no star
    """
    template = template_of(model)
    signal = matched_filter(pixels, template)
    is_above = signal > n_sigma * filter_noise(template, correlation)
    if is_forbidden is not None:
        is_above &= ~is_forbidden
    x, y = _parabola_tops(signal, *maxima(signal, is_above))
    near = NEAREST_FWHM * model.fwhm_px
    is_known = _is_near(x, y, places, near)
    is_known |= any_within(pixels.state == LOST, x, y, FULL_PX * model.detector_px)
    return x[~is_known], y[~is_known]


def on_peaks(pixels: Pixels, x: Floats, y: Floats, detector_px: float) -> tuple[Floats, Floats]:
    """Return the brightest pixel near each position that lies off it; other positions as they are.

    The centre of light of two stars is on neither: a star put there leaves nothing that looks like
    two.

    Parameters
    ----------
    pixels : Pixels of the image, each (ny, nx)
    x, y : (N,) float, 0-based pixel centres
    detector_px : side of a detector pixel, image px
    """
    if not len(x):
        return x, y
    reach = round(PEAK_PX * detector_px)
    ny, nx = pixels.data.shape
    good = np.isfinite(x) & np.isfinite(y)
    column, row = (np.rint(np.where(good, v, -1e6)).astype(np.int64) for v in (x, y))
    away = np.arange(-reach, reach + 1)
    columns = column[:, None, None] + away
    rows = row[:, None, None] + away[:, None]
    inside = (columns >= 0) & (columns < nx) & (rows >= 0) & (rows < ny)
    at = (np.clip(rows, 0, ny - 1), np.clip(columns, 0, nx - 1))
    values = np.where(inside & (pixels.state[at] == USABLE), pixels.data[at], -np.inf)
    best = np.argmax(values.reshape(len(x), -1), axis=1)
    peak_x, peak_y = column + best % len(away) - reach, row + best // len(away) - reach
    top = values.reshape(len(x), -1)[np.arange(len(x)), best]
    centre = values[:, reach, reach]
    noise = pixels.noise[np.clip(row, 0, ny - 1), np.clip(column, 0, nx - 1)]
    is_off = np.hypot(peak_x - x, peak_y - y) > OFF_PX * detector_px
    # Noise alone makes a pixel beside the brightest one of a faint source.
    is_off &= np.isfinite(top) & (top > np.maximum(centre, 0.0) + PEAK_SIGMA * noise)
    return np.where(is_off, peak_x, x), np.where(is_off, peak_y, y)


def with_doubt(pixels: Pixels, model: PsfModel, stars: Stars, noise: float) -> Pixels:
    """Return pixels whose noise holds what the PSF leaves of stars.

    Parameters
    ----------
    pixels : Pixels of the image, each (ny, nx)
    model : PsfModel of the image
    stars : Stars, N of them
    noise : of a sky pixel, e/s
    """
    doubt = np.zeros_like(pixels.noise)
    flux = np.maximum(stars.flux, 0.0)
    reach = reach_px(model.leftover, flux, FAINT_SHARE * noise)
    add_wings(doubt, model.leftover, stars.x, stars.y, flux, 0.0, reach)

    def add_noise(first: int, last: int) -> None:
        rows, noise = doubt[first:last], pixels.noise[first:last]
        rows *= rows
        rows += noise * noise
        np.sqrt(rows, out=rows)

    by_strips(add_noise, len(doubt))
    return pixels._replace(noise=doubt)


def template_of(model: PsfModel) -> Floats:
    """Return the middle of the mean PSF.

    Parameters
    ----------
    model : PsfModel of the image
    """
    stamp = model.stamp
    middle, reach = len(stamp) // 2, round(TEMPLATE_RADIUS_PX * model.detector_px)
    part = np.s_[middle - reach : middle + reach + 1]
    return np.asarray(stamp[part, part])


def filter_noise(template: Floats, correlation: Floats) -> float:
    """Return the noise of the filter over that with independent pixels.

    Parameters
    ----------
    template : (k, k) float, k odd
    correlation : (2 L + 1, 2 L + 1) float, of pixels by their distance
    """
    lag = len(correlation) // 2
    total = 0.0
    size = len(template)
    for dy in range(-lag, lag + 1):
        for dx in range(-lag, lag + 1):
            a = template[max(0, dy) : size + min(0, dy), max(0, dx) : size + min(0, dx)]
            b = template[max(0, -dy) : size + min(0, -dy), max(0, -dx) : size + min(0, -dx)]
            total += correlation[dy + lag, dx + lag] * float((a * b).sum())
    return float(np.sqrt(max(total / float((template**2).sum()), 1.0)))


def _parabola_tops(signal: NDArray[np.float32], x: Ints, y: Ints) -> tuple[Floats, Floats]:
    """Return the tops of parabolas through the peaks and their neighbours."""
    ny, nx = signal.shape
    out: list[Floats] = []
    for axis, (at, size) in enumerate(((x, nx), (y, ny))):
        low, high = np.clip(at - 1, 0, size - 1), np.clip(at + 1, 0, size - 1)
        before = signal[y, low] if axis == 0 else signal[low, x]
        after = signal[y, high] if axis == 0 else signal[high, x]
        bend = 2.0 * signal[y, x] - before - after
        with np.errstate(divide="ignore", invalid="ignore"):
            shift = np.where(bend > 0, 0.5 * (after - before) / bend, 0.0)
        out.append(np.asarray(at + np.clip(shift, -0.5, 0.5), dtype=float))
    return out[0], out[1]


def _is_near(x: Floats, y: Floats, places: tuple[Floats, Floats], radius_px: float) -> Bools:
    from scipy.spatial import cKDTree

    good = np.isfinite(places[0]) & np.isfinite(places[1])
    if not good.any() or not len(x):
        return np.zeros(len(x), bool)
    tree = cKDTree(np.column_stack([places[0][good], places[1][good]]))
    distance, _ = tree.query(np.column_stack([x, y]), distance_upper_bound=radius_px)
    return np.isfinite(distance)
