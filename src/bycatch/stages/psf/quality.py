"""Quality of the fits: errors, and how the stars differ from the PSF."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bycatch.arrays import Bools, Floats, Ints
from bycatch.kernels.neighbourhood import any_within
from bycatch.kernels.psf_fit import LOST, N_SUMS, Pixels, quality
from bycatch.kernels.psf_grid import N_PARTS
from bycatch.kernels.psf_solve import joint_variances
from bycatch.stages.psf.fit import LEAST_SNR, beside, equations, late_trust
from bycatch.stages.psf.model import PsfModel
from bycatch.stages.psf.stars import Stars

CORE_RADIUS_PX = 1.5
"""Of sharpness and crowding, native pixels."""


@dataclass(frozen=True, eq=False)
class Fits:
    """What the fits say of N stars; NaN where there is nothing to say.

    Attributes
    ----------
    flux_err, x_err, y_err, width_err : 1 sigma, with the correlation of pixels, and of neighbours
    chi2 : per pixel
    chi2_of_psf : what the PSF is expected to leave of it
    sharpness : residual in the core over the star's light there: positive if sharper than the PSF
    crowding : light of others in the core over the star's own
    qfit : sum of absolute residuals over the flux
    n_pixels : that entered
    lost_core : bool; a pixel of the core is full or without data
    """

    flux_err: Floats
    x_err: Floats
    y_err: Floats
    width_err: Floats
    chi2: Floats
    chi2_of_psf: Floats
    sharpness: Floats
    crowding: Floats
    qfit: Floats
    n_pixels: Ints
    lost_core: Bools

    def take(self, which: Bools | Ints) -> Fits:
        """Return those of some of the stars."""
        return Fits(*(values[which] for values in vars(self).values()))


def judge_some(
    pixels: Pixels, model: PsfModel, stars: Stars, correlation: Floats, some: Bools
) -> Fits:
    """Return errors and quality of some of the stars, row for row: nothing of the others.

    Parameters
    ----------
    pixels, model, stars, correlation : as in `judge`
    some : (N,) bool
    """
    near = beside(model, stars, some)
    fits = judge(pixels, model, stars.take(near), correlation)
    rows = np.flatnonzero(near)
    columns = []
    for values in vars(fits).values():
        empty = np.nan if values.dtype == float else 0
        full = np.full(len(stars), empty, values.dtype)
        full[rows] = values
        columns.append(full)
    return Fits(*columns)


def judge(pixels: Pixels, model: PsfModel, stars: Stars, correlation: Floats) -> Fits:
    """Return errors and quality of fits, with the stars' light in ``pixels``.

    Parameters
    ----------
    pixels : Pixels of the image, each (ny, nx)
    model : PsfModel of the image
    stars : Stars, N of them
    correlation : (2 L + 1, 2 L + 1) float, of pixels by their distance
    """
    now = equations(pixels, model, stars, late_trust(model))
    core = CORE_RADIUS_PX * model.detector_px
    flux = np.maximum(stars.flux, 0.0)
    sums = quality(
        pixels, now.stamps, now.weights, now.column, now.row, flux, stars.width, core, correlation
    )
    moves = stars.moves & (stars.flux * np.sqrt(now.blocks[:, 0, 0]) > LEAST_SNR)
    blocks = now.blocks.copy()
    blocks[:, 3, 3] += 1.0 / model.width_scatter**2
    variance = joint_variances(blocks, now.ties, now.first, now.second, moves)
    n = sums[:, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = np.arange(N_PARTS)
        factor = sums[:, N_SUMS:] / now.blocks[:, parts, parts]
        # The prior of the width is no noise of pixels.
        factor[:, 3] = np.where(factor[:, 3] > 0, 1.0, np.nan)
        errors = np.sqrt(variance * factor)
        own = sums[:, 4]
        return Fits(
            errors[:, 0],
            errors[:, 1],
            errors[:, 2],
            errors[:, 3],
            np.where(n > 0, sums[:, 1] / n, np.nan),
            np.where(n > 0, model.error_share**2 * sums[:, 6] / n, np.nan),
            np.where(own > 0, sums[:, 3] / own, np.nan),
            np.where(own > 0, np.maximum(sums[:, 5] / own - 1.0, 0.0), np.nan),
            np.where(flux > 0, sums[:, 2] / flux, np.nan),
            n.astype(np.int64),
            lies_on_lost_core(pixels, stars.x, stars.y, model.detector_px),
        )


def lies_on_lost_core(pixels: Pixels, x: Floats, y: Floats, detector_px: float) -> Bools:
    """Return which stars have a pixel in the core that is full or without data.

    Parameters
    ----------
    pixels : Pixels of the image, each (ny, nx)
    x, y : (N,) float, 0-based pixel centres
    detector_px : side of a detector pixel, image px
    """
    return any_within(pixels.state == LOST, x, y, CORE_RADIUS_PX * detector_px)
