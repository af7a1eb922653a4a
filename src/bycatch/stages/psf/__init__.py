"""PSF photometry: the PSF of an image from its own stars, and all its sources fitted with it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bycatch.arrays import Bools, Floats, Image, Ints
from bycatch.catalogs.flags import Flag
from bycatch.images.drc import DrcImage
from bycatch.kernels.psf_fit import Pixels
from bycatch.settings import PsfSettings
from bycatch.stages.psf import noise as noises
from bycatch.stages.psf.build import first_model, psf_from, with_scatter
from bycatch.stages.psf.choice import psf_stars
from bycatch.stages.psf.fit import (
    EARLY_TRUST,
    beside,
    copy_image,
    draw,
    fit_all,
    late_trust,
    light_of,
    pairs_within,
    wings_of,
)
from bycatch.stages.psf.look import look_at
from bycatch.stages.psf.model import WINGS_PX, PsfModel, published_psf
from bycatch.stages.psf.quality import Fits, judge, judge_some, lies_on_lost_core
from bycatch.stages.psf.result import PsfResult
from bycatch.stages.psf.search import new_places, on_peaks, with_doubt
from bycatch.stages.psf.stars import Stars
from bycatch.stages.psf.table import (
    RADII_PX,
    columns_of,
    flags_of,
    light_within,
    misfits,
    neighbours_light,
    places_of,
    star_energy,
)

__all__ = ["PsfModel", "PsfResult", "run"]

FIRST_ITERATIONS, BETWEEN_ITERATIONS, LAST_ITERATIONS = 3, 2, 8
BRIGHT_SNR = 8.0
"""Of sky noise alone: fainter stars show neither the PSF nor that they are extended."""
BRIGHTEST_SNR = 32.0
"""Likewise: fainter ones are not among those that the PSF is made from (`choice.MIN_SNR`)."""
LEAST_ROUNDS = 2
"""The PSF is made again with neighbours subtracted by itself."""
EXTENDED_SHARPNESS, EXTENDED_SNR = -0.15, 10.0
"""A source this much flatter than the PSF, and this bright, is no star; nor is its residual."""
WIDE_SHARPNESS = 0.3
"""One this much flatter, beyond noise, is measured as a galaxy; blends of stars are less flat."""
SAME_FWHM = 0.6
"""A new star that a fit brings as near to another is part of that."""
SHARPEST, SHARPEST_SIGMA = 0.35, 3.0
"""A new star sharper than this, and than noise makes it, is a cosmic ray."""
FLATTEST, FLATTEST_SIGMA = 0.12, 2.0
"""One as flat is a piece of a spike, or of a galaxy."""


def run(
    image: DrcImage,
    x: ArrayLike,
    y: ArrayLike,
    settings: PsfSettings | None = None,
    *,
    cr_mask: Bools | None = None,
    segmentation: NDArray[np.integer[Any]] | None = None,
    labels: ArrayLike | None = None,
) -> PsfResult:
    """Make the PSF of an image, and fit all its sources with it.

    Parameters
    ----------
    image : DrcImage
    x, y : (N,) float; the sources, 0-based pixel centres
    settings : PsfSettings, optional
    cr_mask : (ny, nx) bool; pixels that cosmic rays may have hit
    segmentation, labels : (ny, nx) int and (N,) int; which pixels are of which source: none are
        looked for within those that are no stars
    """
    psf_settings = settings or PsfSettings()
    start = published_psf(image)
    pixels = noises.first_pixels(image, cr_mask)
    noise = noises.typical_noise(pixels)
    positions = np.asarray(x, float).ravel(), np.asarray(y, float).ravel()
    begin = positions if psf_settings.forced else on_peaks(pixels, *positions, image.detector_px)
    stars = _unfitted_stars(
        pixels, begin, positions, image.detector_px, moves=not psf_settings.forced
    )
    model = first_model(start, image.shape)
    stars = fit_all(pixels, model, stars, EARLY_TRUST, FIRST_ITERATIONS, noise)
    psf_rows = np.empty(0, np.int64)
    n_given = len(stars)
    noises.put_sky(image, pixels, coarse=True)
    rho, fits = noises.correlation(image, pixels), None
    n_rounds = max(LEAST_ROUNDS, psf_settings.n_passes)
    for k in range(n_rounds):
        is_last = k == n_rounds - 1
        bright = _are_bright(stars, model, noise, for_psf=is_last or segmentation is None)
        if k < psf_settings.n_passes:
            # At first two stars in one segment look like a galaxy.
            of_galaxies = _galaxy_pixels(stars, fits, n_given, segmentation, labels)
            stars = _with_new_stars(
                pixels, model, stars, noise, rho, psf_settings.n_sigma, of_galaxies,
                image.detector_px,
            )  # fmt: skip
            is_told = np.arange(len(stars)) >= n_given
            is_told[: len(bright)] |= bright
            fits = judge_some(pixels, model, stars, rho, is_told)
            keep = _holds(stars, fits, model, psf_settings.n_sigma, n_given)
            draw(pixels.light, model, stars.take(~keep), noise, -1.0)
            stars, fits = stars.take(keep), fits.take(keep)
        else:
            fits = judge_some(pixels, model, stars, rho, bright)
        psf_rows = psf_stars(stars, fits, image.shape, is_first=k == 0)
        model = psf_from(pixels, stars.places(psf_rows), model, start, noises.noise_of_sums(rho))
        if not is_last:
            trust = EARLY_TRUST if k == 0 else late_trust(model)
            stars = fit_all(pixels, model, stars, trust, BETWEEN_ITERATIONS, noise)
        else:
            stars, wings = _with_psf_stars_fit(pixels, model, stars, psf_rows, noise)
        width_err = judge(pixels, model, stars.take(psf_rows), rho).width_err
        model = with_scatter(model, pixels, stars.places(psf_rows), width_err)
        if not is_last:
            rho = noises.correlation(image, pixels)
    noises.put_sky(image, pixels)
    stars = fit_all(pixels, model, stars, late_trust(model), LAST_ITERATIONS, noise, wings=wings)
    rho = noises.correlation(image, pixels)
    return _result(image, pixels, model, stars, psf_rows, n_given, rho, noise)


def _result(
    image: DrcImage,
    pixels: Pixels,
    model: PsfModel,
    stars: Stars,
    psf_rows: Ints,
    n_given: int,
    rho: Floats,
    noise: float,
) -> PsfResult:
    """Return what the fits of all stars give: columns, flags, places, light beside."""
    fits = judge(pixels, model, stars, rho)
    flags = flags_of(stars, fits, model, n_given)
    x, y, error = places_of(stars, fits, flags[Flag.PSF_MISFIT], image.detector_px)
    wide, lone = _kinds(stars, fits, n_given)
    near = neighbours_light(image, pixels, stars, model, x, y)
    near[wide] = _light_beside(image, model, stars.take(lone), noise, x[wide], y[wide])
    return PsfResult(
        model=model,
        stars=stars,
        fits=fits,
        n_given=n_given,
        psf_rows=psf_rows,
        look=look_at(image, pixels, stars, psf_rows),
        columns=columns_of(stars, fits, pixels, psf_rows),
        flags=flags,
        x=x,
        y=y,
        place_err_px=error,
        neighbours_rate=near,
        star_energy=star_energy(model),
        correlation=noises.noise_of_sums(rho),
        is_wide=wide,
        is_lone=lone,
        noise=noise,
    )


def _are_bright(stars: Stars, model: PsfModel, noise: float, *, for_psf: bool) -> Bools:
    """Return which stars can show the PSF, or also that they are extended."""
    least_snr = BRIGHTEST_SNR if for_psf else BRIGHT_SNR
    return np.asarray(stars.flux > least_snr * noise / np.sqrt((model.stamp**2).sum()))


def _light_beside(
    image: DrcImage, model: PsfModel, lone: Stars, noise: float, x: Floats, y: Floats
) -> Floats:
    """Return the light of stars within wide sources: fits say nothing of their own light."""
    if not len(x):
        return np.zeros((0, len(RADII_PX)))
    from scipy.spatial import cKDTree

    # Of stars that reach one of them.
    reach = (WINGS_PX + max(RADII_PX)) * model.detector_px
    has_place = np.isfinite(lone.x) & np.isfinite(lone.y)
    lone = lone.take(has_place)
    good = np.isfinite(x) & np.isfinite(y)
    distance, _ = cKDTree(np.column_stack([x[good], y[good]])).query(
        np.column_stack([lone.x, lone.y]), distance_upper_bound=reach
    )
    near = lone.take(np.isfinite(distance))
    return light_within(light_of(model, near, noise, image.shape), image, model, x, y)


def _unfitted_stars(
    pixels: Pixels,
    begin: tuple[Floats, Floats],
    positions: tuple[Floats, Floats],
    detector_px: float,
    *,
    moves: bool,
) -> Stars:
    """Return stars that are not fitted; those with a full core stay where they are."""
    full = lies_on_lost_core(pixels, *begin, detector_px)
    return Stars.at(*begin, ~full & moves, positions)


def _with_new_stars(
    pixels: Pixels,
    model: PsfModel,
    stars: Stars,
    noise: float,
    rho: Floats,
    n_sigma: float,
    of_galaxies: Bools | None,
    detector_px: float,
) -> Stars:
    """Return stars and those that the residual shows, fitted as far as they touch one another."""
    doubtful = with_doubt(pixels, model, stars, noise)
    places = new_places(doubtful, model, rho, n_sigma, (stars.x, stars.y), of_galaxies)
    both = stars.join(_unfitted_stars(pixels, places, places, detector_px, moves=True))
    some = beside(model, both, np.arange(len(both)) >= len(stars))
    return _fit_some(pixels, model, both, noise, some)


def _with_psf_stars_fit(
    pixels: Pixels, model: PsfModel, stars: Stars, psf_rows: Ints, noise: float
) -> tuple[Stars, Image]:
    """Return stars, those that the PSF is made from fitted with it, and the light of all wings.

    The others have their turn later.
    """
    wings = wings_of(model, stars, noise, (pixels.data.shape[0], pixels.data.shape[1]))
    copy_image(wings, pixels.light)
    draw(pixels.light, model, stars, noise)
    some = beside(model, stars, np.isin(np.arange(len(stars)), psf_rows))
    return _fit_some(pixels, model, stars, noise, some), wings


def _fit_some(pixels: Pixels, model: PsfModel, stars: Stars, noise: float, some: Bools) -> Stars:
    return fit_all(pixels, model, stars, late_trust(model), BETWEEN_ITERATIONS, noise, some)


def _galaxy_pixels(
    stars: Stars,
    fits: Fits | None,
    n_given: int,
    segmentation: NDArray[np.integer[Any]] | None,
    labels: ArrayLike | None,
) -> Bools | None:
    """Return the pixels of sources that are no stars."""
    if segmentation is None or labels is None or fits is None:
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        snr = stars.flux[:n_given] / fits.flux_err[:n_given]
    is_galaxy = (fits.sharpness[:n_given] < EXTENDED_SHARPNESS) & (snr > EXTENDED_SNR)
    return np.asarray(
        _is_label_among(np.asarray(labels)[:n_given][is_galaxy], segmentation)[segmentation]
    )


def _is_label_among(names: Ints, segmentation: NDArray[np.integer[Any]]) -> Bools:
    """Return which labels of segments are among names; 0 is not a label."""
    table = np.zeros(int(segmentation.max(initial=0)) + 1, bool)
    table[names] = True
    table[0] = False
    return table


def _kinds(
    stars: Stars,
    fits: Fits,
    n_given: int,
) -> tuple[Bools, Bools]:
    """Return which sources are wide, and which are stars; what the residual shows may be pieces."""
    wide, sharp = misfits(stars.flux, fits.flux_err, fits.sharpness, fits.lost_core)
    wide &= fits.sharpness < -WIDE_SHARPNESS
    return wide, ~(wide | sharp) & (np.arange(len(stars)) < n_given)


def _holds(stars: Stars, fits: Fits, model: PsfModel, n_sigma: float, n_given: int) -> Bools:
    """Return which stars remain: all given ones, and new ones that their fit makes likely."""
    with np.errstate(divide="ignore", invalid="ignore"):
        snr = stars.flux / fits.flux_err
    good = (snr > n_sigma) & ~stars.returned
    room = 1.0 / np.maximum(snr, 1.0)
    good &= fits.sharpness < SHARPEST + SHARPEST_SIGMA * room
    good &= fits.sharpness > -(FLATTEST + FLATTEST_SIGMA * room)
    good &= ~_beside_brighter(stars, SAME_FWHM * model.fwhm_px)
    good[:n_given] = True
    return good


def _beside_brighter(stars: Stars, radius_px: float) -> Bools:
    first, second = pairs_within(stars.x, stars.y, radius_px)
    fainter = np.where(stars.flux[first] < stars.flux[second], first, second)
    out = np.zeros(len(stars), bool)
    out[fainter] = True
    return out
