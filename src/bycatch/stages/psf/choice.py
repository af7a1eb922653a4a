"""Which stars the PSF is made from."""

from __future__ import annotations

import numpy as np

from bycatch.arrays import Bools, Floats, Ints
from bycatch.robust import robust_sigma
from bycatch.stages.psf.quality import Fits
from bycatch.stages.psf.stars import Stars

MIN_SNR = 40.0
MOST_CROWDING = 0.3
"""Light of neighbours in the core over the star's own: they are subtracted, not perfectly."""
LOCUS_WIDTH = 0.06
"""Of sharpness: the stars of an image lie within this of one another, galaxies and cosmic rays do
not."""
LOCUS_RANGE = 0.3
"""Where they lie before the PSF is known."""
LOCUS_SIGMA = 3.0
MOST_STARS, CELLS = 90, 3
"""In each of 3 x 3 parts of the image the brightest are taken, as many in all."""


def psf_stars(stars: Stars, fits: Fits, shape: tuple[int, int], *, is_first: bool) -> Ints:
    """Return bright stars that are alike, and not too crowded.

    Parameters
    ----------
    stars, fits : of the image
    shape : (ny, nx)
    is_first : True if they were fitted with the published PSF: all stars may be off by some
        sharpness then
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        snr = stars.flux / fits.flux_err
    good = (snr > MIN_SNR) & stars.moves & ~fits.lost_core & ~stars.returned
    good &= fits.crowding < MOST_CROWDING
    good &= np.abs(fits.sharpness) < (LOCUS_RANGE if is_first else LOCUS_WIDTH)
    rows = np.flatnonzero(good)
    if not len(rows):
        return rows
    rows = rows[np.argsort(-stars.flux[rows], kind="stable")]
    sharpness = fits.sharpness[rows]
    middle = densest(sharpness, LOCUS_WIDTH) if is_first else float(np.median(sharpness))
    like = np.abs(sharpness - middle) < LOCUS_WIDTH
    width = robust_sigma(sharpness[like], middle) if like.any() else 0
    like &= np.abs(sharpness - middle) < max(LOCUS_SIGMA * width, 0.01)
    rows = rows[like]
    return rows[_is_among_first(stars.x[rows], stars.y[rows], shape)]


def densest(values: Floats, width: float) -> float:
    """Return the middle of the values in the window of some width that holds most of them.

    Parameters
    ----------
    values : (N,) float, N at least 1
    width : of the window, in the unit of the values
    """
    in_order = np.sort(values)
    n_within = np.searchsorted(in_order, in_order + width, side="right") - np.arange(len(in_order))
    first = int(np.argmax(n_within))
    return float(np.median(in_order[first : first + n_within[first]]))


def _is_among_first(x: Floats, y: Floats, shape: tuple[int, int]) -> Bools:
    """Return which of the stars, brightest first, are among the first of their part of the image.

    What parts with few stars leave goes to the brightest of the others.
    """
    ny, nx = shape
    cell = np.clip((CELLS * x / nx).astype(int), 0, CELLS - 1)
    cell += CELLS * np.clip((CELLS * y / ny).astype(int), 0, CELLS - 1)
    order = np.zeros(len(x), np.int64)
    for k in np.unique(cell):
        order[cell == k] = np.arange((cell == k).sum())
    rows = np.argsort(order, kind="stable")[:MOST_STARS]
    is_among = np.zeros(len(x), bool)
    is_among[rows] = True
    return is_among
