"""What PSF fits are in the table of the photometry."""

from __future__ import annotations

from typing import Any

import numpy as np

from bycatch.arrays import Bools, Floats, Image, Ints
from bycatch.catalogs.flags import Flag
from bycatch.images.drc import DrcImage
from bycatch.kernels.apertures import circle_sums
from bycatch.kernels.neighbourhood import pixels_at
from bycatch.kernels.psf_fit import Pixels
from bycatch.stages.psf.model import PsfModel
from bycatch.stages.psf.quality import Fits
from bycatch.stages.psf.stars import Stars

RADII_PX = (1.0, 2.0, 3.0, 4.0)
"""Circles in which the light of neighbours is given, native pixels: those of concentrations."""
MISFIT_SHARPNESS, MISFIT_SIGMA = 0.12, 3.0
"""A source whose sharpness is farther from 0, and farther than noise takes it, is no star."""

USUAL_CHI2 = 1.25
"""Above it something else lies there, mostly a star too near to be seen.  Its light shifts the
flux: errors grow as chi-square does (with its root, pulls of stars of chi-square 2 to 6 were 1.2
to 2.4 wide)."""


def columns_of(stars: Stars, fits: Fits, pixels: Pixels, psf_rows: Ints) -> dict[str, Any]:
    """Return the columns of photometry_columns.PSF_RATES.

    Parameters
    ----------
    stars : Stars, N of them
    fits : Fits of the stars
    pixels : Pixels of the image, each (ny, nx)
    psf_rows : (S,) int; those that the PSF was made from
    """
    # The wings of a full star give its flux to some tens of per cent only.
    has_fit = np.isfinite(fits.flux_err) & (fits.n_pixels > 0) & ~fits.lost_core
    sky: Any = pixels.background[pixels_at(pixels.background.shape, stars.x, stars.y)]
    chi2 = _chi2(fits, psf_rows)
    unlike = np.fmax(chi2 / USUAL_CHI2, 1.0)
    values = {
        "countrate_psf": stars.flux,
        "countrate_psf_err": fits.flux_err * unlike,
        "sky_psf": sky,
        "x_psf": stars.x,
        "y_psf": stars.y,
        "x_psf_err": fits.x_err * unlike,
        "y_psf_err": fits.y_err * unlike,
        "chi2_psf": chi2,
        "sharpness_psf": fits.sharpness,
        "crowding": fits.crowding,
        "qfit": fits.qfit,
    }
    lacking = {name: np.where(has_fit, value, np.nan) for name, value in values.items()}
    return lacking | {"n_iter": stars.n_iter}


def _chi2(fits: Fits, psf_rows: Ints) -> Floats:
    """Return chi-square in units of what noise, and the PSF of its own stars, leave of a star."""
    with np.errstate(divide="ignore", invalid="ignore"):
        share = (fits.chi2 - 1.0)[psf_rows] / fits.chi2_of_psf[psf_rows]
        share = share[np.isfinite(share)]
        left = max(float(np.median(share)), 0.0) if share.size else 1.0
        return fits.chi2 / (1.0 + left * fits.chi2_of_psf)


def misfits(
    flux: Floats, flux_err: Floats, sharpness: Floats, lost_core: Bools
) -> tuple[Bools, Bools]:
    """Return which sources are wider than the PSF, and which sharper, beyond what noise makes.

    Parameters
    ----------
    flux, flux_err, sharpness : (N,) float, of their fits
    lost_core : (N,) bool; of these the fit says nothing
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        room = MISFIT_SHARPNESS + MISFIT_SIGMA * flux_err / flux
        bright = (flux > 0) & ~lost_core
        return bright & (sharpness < -room), bright & (sharpness > room)


def flags_of(stars: Stars, fits: Fits, model: PsfModel, n_given: int) -> dict[Flag, Bools]:
    """Return the flags that the fits set.

    Parameters
    ----------
    stars : Stars, N of them
    fits : Fits of the stars
    model : PsfModel of the image
    n_given : number of stars of the list, the first ones
    """
    n = len(stars)
    wide, sharp = misfits(stars.flux, fits.flux_err, fits.sharpness, fits.lost_core)
    return {
        Flag.FOUND_IN_RESIDUAL: np.arange(n) >= n_given,
        Flag.PSF_OF_MODEL: np.full(n, not model.is_of_stars),
        Flag.PSF_MISFIT: wide | sharp | fits.lost_core | stars.returned,
    }


MOVED_PX = 0.5
"""A star that its fit puts so far from its detection, native pixels, was the centre of a blend."""
PLACE_SNR = 7.0
"""From here on the place of the fit is better than the centre of light."""
PLACE_FLOOR_PX = 0.005
"""Error of the brightest stars' places, native pixels: what the PSF lacks."""


def places_of(
    stars: Stars, fits: Fits, misfit: Bools, detector_px: float
) -> tuple[Floats, Floats, Floats]:
    """Return where sources are: by their fits where these hold, else where they were found.

    Parameters
    ----------
    stars : Stars, N of them
    fits : Fits of the stars
    misfit : (N,) bool
    detector_px : side of a detector pixel, image px

    Returns
    -------
    x, y, error : (N,) float, px; the error per axis is NaN where the place is not that of the fit,
        or is that of a part of a blend that noise moves
    """
    away = np.hypot(stars.x - stars.found_x, stars.y - stars.found_y) > MOVED_PX * detector_px
    error = np.sqrt(0.5 * (fits.x_err**2 + fits.y_err**2))
    with np.errstate(divide="ignore", invalid="ignore"):
        holds = ~misfit & np.isfinite(error) & (stars.flux / fits.flux_err > PLACE_SNR)
    has_fit_place = (away & ~misfit) | holds
    return (
        np.where(has_fit_place, stars.x, stars.found_x),
        np.where(has_fit_place, stars.y, stars.found_y),
        np.where(holds, np.hypot(error, PLACE_FLOOR_PX * detector_px), np.nan),
    )


def neighbours_light(
    image: DrcImage, pixels: Pixels, stars: Stars, model: PsfModel, x: Floats, y: Floats
) -> Floats:
    """Return the light that is not a star's own in circles around places, (N, 4) in e/s.

    Of the star itself the mean light of the PSF in the circle is left, whatever its sub-pixel
    phase.

    Parameters
    ----------
    image : DrcImage
    pixels : Pixels of the image, each (ny, nx)
    stars : Stars, N of them
    model : PsfModel of the image
    x, y : (N,) float, 0-based pixel centres
    """
    sums = light_within(pixels.light, image, model, x, y)
    own = np.maximum(stars.flux, 0.0)[:, np.newaxis] * star_energy(model)
    return np.asarray(sums - own)


def light_within(light: Image, image: DrcImage, model: PsfModel, x: Floats, y: Floats) -> Floats:
    """Return the sums of light in circles around places, (N, 4) in e/s.

    Parameters
    ----------
    light : (ny, nx) float32, e/s
    image : DrcImage
    model : PsfModel of the image
    x, y : (N,) float, 0-based pixel centres
    """
    radii = tuple(radius * model.detector_px for radius in RADII_PX)
    return np.asarray(circle_sums(light, image.valid, x, y, radii)[0])


def star_energy(model: PsfModel) -> Floats:
    """Return the share of a star's light in those circles, (4,).

    Parameters
    ----------
    model : PsfModel of the image
    """
    return np.array([model.energy(radius * model.detector_px) for radius in RADII_PX])
