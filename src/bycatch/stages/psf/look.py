"""What shows how well the PSF fits: what it leaves of its own stars, and a piece of the image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bycatch.arrays import Image, Ints
from bycatch.images.drc import DrcImage
from bycatch.kernels.psf_fit import Pixels
from bycatch.stages.psf.stars import Stars

REGIONS = 3
"""The image is cut into so many parts each way."""
STAMP_REACH_PX = 8
"""Of the residual of a star, native pixels."""
PIECE_PX = 121
"""Side of the piece of the image that is shown, pixels."""


@dataclass(frozen=True, eq=False)
class PsfLook:
    """What the PSF leaves.

    Attributes
    ----------
    n_stars : (3, 3) int; stars that the PSF was made from, by parts of the image
    left : (3, 3, s, s) float32; mean residual per pixel of a star of flux 1, the star in
        the middle; 0 without stars
    x, y : first pixel of the piece, 0-based
    piece, rest : (c, c) float32, e/s; the piece with the most stars, as it is, and without stars
        and sky
    """

    n_stars: Ints
    left: Image
    x: int
    y: int
    piece: Image
    rest: Image


def look_at(image: DrcImage, pixels: Pixels, stars: Stars, psf_rows: Ints) -> PsfLook:
    """Return what the PSF leaves of its stars, and where the image has the most stars.

    Parameters
    ----------
    image : DrcImage
    pixels : Pixels of the image, each (ny, nx), with the light of all stars
    stars : Stars, N of them
    psf_rows : (S,) int; those that the PSF was made from
    """
    ny, nx = image.shape
    reach = round(STAMP_REACH_PX * image.detector_px)
    side = 2 * reach + 1
    count = np.zeros((REGIONS, REGIONS), np.int64)
    residuals = np.zeros((REGIONS, REGIONS, side, side))
    for k in psf_rows:
        x, y = round(float(stars.x[k])), round(float(stars.y[k]))
        if not (reach <= x < nx - reach and reach <= y < ny - reach):
            continue
        stamp = _rest(image, pixels, np.s_[y - reach : y + reach + 1, x - reach : x + reach + 1])
        i, j = min(REGIONS * y // ny, REGIONS - 1), min(REGIONS * x // nx, REGIONS - 1)
        count[i, j] += 1
        residuals[i, j] += np.nan_to_num(stamp) / stars.flux[k]
    residuals /= np.maximum(count, 1)[:, :, np.newaxis, np.newaxis]
    x, y = _busiest(stars, image)
    part = np.s_[y : y + PIECE_PX, x : x + PIECE_PX]
    rest = _rest(image, pixels, part)
    return PsfLook(count, residuals.astype(np.float32), x, y, image.sci[part].copy(), rest)


def _rest(image: DrcImage, pixels: Pixels, part: tuple[slice, slice]) -> Image:
    """Return a part of the image without sky and stars; NaN where there are no data."""
    rest = pixels.data[part] - pixels.background[part] - pixels.light[part]
    rest[~image.valid[part]] = np.nan
    return rest


def _busiest(stars: Stars, image: DrcImage) -> tuple[int, int]:
    """Return the first pixel of the piece that has the most stars."""
    ny, nx = image.shape
    is_star = np.isfinite(stars.x) & np.isfinite(stars.y) & (stars.flux > 0)
    edges = [np.arange(0, max(size - PIECE_PX, 0) + PIECE_PX + 1, PIECE_PX) for size in (ny, nx)]
    n, _, _ = np.histogram2d(stars.y[is_star], stars.x[is_star], bins=edges)
    row, column = divmod(int(np.argmax(n)), n.shape[1])
    return (
        min(column * PIECE_PX, max(nx - PIECE_PX, 0)),
        min(row * PIECE_PX, max(ny - PIECE_PX, 0)),
    )
