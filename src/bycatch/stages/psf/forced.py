"""PSF fluxes at given places: of all objects of a list at once, where they overlap simultaneously.

Positions are fixed, and the sky is that of the apertures, so that the two fluxes of a star differ
by the fit alone.  The drizzled PSF changes from star to star with the phase of the pixels, in
single exposures by 5 to 10 % of the light of the middle pixel, while its sum hardly does.  The
error of the PSF therefore goes with the root of a pixel's light: faint stars are fitted with the
weights of the least noise, bright ones by the sum of their pixels, less those that a cosmic ray
has hit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.spatial import cKDTree

from bycatch.arrays import Bools, Floats, Image, Ints
from bycatch.kernels.psf_fit import (
    LOST,
    N_SUMS,
    Pixels,
    Stamps,
    Trust,
    normal_equations,
    quality,
    tie_blocks,
)
from bycatch.kernels.psf_grid import add_stars, star_stamps
from bycatch.kernels.psf_solve import joint_variances, solve_stars
from bycatch.stages.psf.fit import FAINT_SHARE, SOLVED, pairs_within, reach_px
from bycatch.stages.psf.model import PsfModel
from bycatch.stages.psf.noise import photon_factor
from bycatch.stages.psf.of_image import PLAIN, SkyAt, paint, psf_of_stars
from bycatch.stages.psf.quality import CORE_RADIUS_PX, lies_on_lost_core
from bycatch.stages.psf.table import misfits

if TYPE_CHECKING:
    from bycatch.images.drc import DrcImage

RADIUS_PX = 2.5
"""Pixels within it enter the fits, native pixels.  With 3 or 4, stars of S/N 20 to 50 scatter by
10 to 40 % more in crowded stacks, and those above by 10 % less in single exposures."""
PSF_ERROR = 0.06
"""1-sigma error of the PSF in the middle pixel, as a share of it; elsewhere it goes with the root
of the light (bright stars of training seeds: 0.03 to 0.09, most in single exposures)."""
ROBUST = Trust(0.0, 3.0)
N_ITERATIONS = 3
"""The first one with all pixels that are no cosmic rays, the others without what stands out."""
MOST_CHI2 = 25.0
"""Errors grow with the root of chi-square above 1, up to that of this."""
MIN_BLANK, MOST_BLANK = 60, 600
"""Fewer blank places do not measure the noise to 10 %: then it follows from drizzling alone.  The
larger number measures it to 3 %."""
BLANK_PERCENTILES = (15.865, 84.135)


@dataclass(frozen=True, eq=False)
class ForcedFits:
    """PSF fluxes at N places; NaN where they can't be measured.

    Attributes
    ----------
    model : the PSF
    flux : (N,) e/s, with the light that the published encircled energy gives to the PSF
    flux_err : (N,) 1 sigma: photons, sky with the correlation of pixels, neighbours, what does
        not fit, and the scatter of widths from star to star
    sky_err : (N,) 1 sigma of a star without light
    width_err : (N,) part of flux_err: for the scatter of widths from star to star
    chi2 : (N,) per pixel, the error of the PSF included
    sharpness : (N,) residual in the core over the star's light there
    crowding : (N,) light of others in the core over the star's own
    lost_core : (N,) bool; a pixel of the core is full or without data
    is_misfit : (N,) bool; wider or sharper than the PSF beyond noise, or without its core
    """

    model: PsfModel
    flux: Floats
    flux_err: Floats
    sky_err: Floats
    width_err: Floats
    chi2: Floats
    sharpness: Floats
    crowding: Floats
    lost_core: Bools
    is_misfit: Bools


def run(
    image: DrcImage,
    places: SkyAt,
    snr: Floats,
    blank: SkyAt,
    *,
    cr_mask: Bools | None = None,
    model: PsfModel | None = None,
) -> ForcedFits:
    """Return the PSF fluxes at places of an image.

    Parameters
    ----------
    image : DrcImage
    places : N of them
    snr : (N,) signal-to-noise ratios in an aperture; they choose the stars of the PSF
    blank : places without sources: the scatter of PSF fluxes there is their noise
    cr_mask : (ny, nx) bool; pixels that cosmic rays may have hit: they do not count where they are
        brighter than the fit
    model : the image's PSF, if it is known
    """
    n, step = len(places.x), max(1, len(blank.x) // MOST_BLANK)
    blank = SkyAt(*(values[::step] for values in blank))
    both = SkyAt(*(np.concatenate(pair) for pair in zip(places, blank, strict=True)))
    scene = _Scene.of(image, both, cr_mask)
    psf = model or psf_of_stars(image, scene.pixels, places, snr, cr_mask)
    fits = _fit_fluxes(scene, psf, both)
    unlike = np.sqrt(np.clip(fits.chi2, 1.0, MOST_CHI2))
    usual = photon_factor(image) ** -0.5
    sky, sky_err = (
        e[:n] * _width(fits.flux[n:] / e[n:], usual)
        for e in (fits.sky_noise * unlike, fits.sky_err)
    )
    flux, _, photons, _, width_err, chi2, core, own, light = (values[:n] for values in fits)
    # Drizzling moves photons by less than the weights change: as many count as there are.
    error = np.hypot(sky, photons * usual * unlike[:n])
    with np.errstate(divide="ignore", invalid="ignore"):
        sharpness = np.where(own > 0, core / own, np.nan)
        crowding = np.where(own > 0, np.maximum(light / own - 1.0, 0.0), np.nan)
    lost_core = lies_on_lost_core(scene.pixels, places.x, places.y, image.detector_px)
    error = np.hypot(error, width_err)
    wide, sharp = misfits(flux, error, sharpness, lost_core)
    return ForcedFits(
        psf, flux, error, sky_err, width_err, chi2, sharpness, crowding, lost_core,
        wide | sharp | lost_core,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Scene:
    """The pixels around places, and what a pixel's noise is without the error of the PSF.

    Attributes
    ----------
    pixels : Pixels; without noise, so that they do not count, where no place is near
    rows, columns : (P,) int; of the pixels that are near
    noise : (P,) float32; of the sky there
    """

    pixels: Pixels
    rows: Ints
    columns: Ints
    noise: Image

    @staticmethod
    def of(image: DrcImage, places: SkyAt, cr_mask: Bools | None) -> _Scene:
        """Return the pixels within the radius of the fits."""
        shape = image.shape
        background, light, noise, photons = (np.zeros(shape, np.float32) for _ in range(4))
        state = np.full(shape, LOST, np.uint8)
        pixels = Pixels(image.sci, background, light, noise, photons, state)
        at = paint(image, pixels, places, cr_mask, RADIUS_PX * image.detector_px + 1.0)
        return _Scene(pixels, *at, pixels.noise[at])

    def with_psf_error(self, variance: Image | None) -> Pixels:
        """Return the pixels with a further variance, (ny, nx), as part of their noise."""
        at = self.rows, self.columns
        more = np.float32(0) if variance is None else np.maximum(variance[at], np.float32(0))
        self.pixels.noise[at] = np.sqrt(self.noise**2 + more)
        return self.pixels


class _Fit(NamedTuple):
    """What the fits give, (N,) each.

    Errors are those of the sky, of independent pixels; of all stars' photons; of a star without
    light; and of a width that scatters from star to star.
    """

    flux: Floats
    sky_noise: Floats
    photon_noise: Floats
    sky_err: Floats
    width_err: Floats
    chi2: Floats
    core: Floats
    own: Floats
    light: Floats


def _fit_fluxes(scene: _Scene, model: PsfModel, places: SkyAt) -> _Fit:
    """Return fluxes, and how well they fit."""
    radius = RADIUS_PX * model.detector_px
    terms = model.terms(np.nan_to_num(places.x), np.nan_to_num(places.y))
    stamps, column, row = star_stamps(model.grids, terms, places.x, places.y, radius)
    first, second = pairs_within(places.x, places.y, 2.0 * radius)
    peak = stamps[:, 0].max(axis=(1, 2)).astype(float)
    known_std = places.std[places.std > 0]
    std = float(np.median(known_std)) if len(known_std) else 0.0
    nearest_px = _nearest_px(places)
    shape = scene.pixels.data.shape
    flux, sky_power = np.zeros(len(places.x)), np.zeros(len(places.x))
    light, misfit = np.zeros(shape, np.float32), np.zeros(shape, np.float32)

    def add(to: Image, share: Floats, faint: float) -> None:
        """Draw as far as it counts for a pixel: of places that are alone in their own pixels."""
        reach = reach_px(model.wings, np.abs(share), faint)
        reach = np.where(nearest_px > reach + radius, 0.0, reach)
        reach = np.where(share != 0, np.maximum(reach, radius + 1.0), 0.0)
        add_stars(to, model.grids, terms, places.x, places.y, share, reach)

    def solve(trust: Trust) -> tuple[Floats, Floats, Stamps, Floats, Floats]:
        pixels = scene.with_psf_error(misfit)._replace(light=light)
        blocks, gradient, weights = normal_equations(pixels, trust, stamps, column, row)
        ties = tie_blocks(stamps, weights, column, row, first, second)
        by_width = blocks[:, 0, 3].copy()
        _keep_flux(blocks, gradient, ties)
        return blocks, gradient, weights, ties, by_width

    for k in range(N_ITERATIONS):
        blocks, gradient, _, ties, _ = solve(ROBUST if k else PLAIN)
        if not k:
            sky_power = blocks[:, 0, 0].copy()
        before, positive_flux = flux, np.maximum(flux, 0.0)
        flux = flux + solve_stars(blocks, ties, first, second, gradient, SOLVED)[:, 0]
        add(light, flux - before, FAINT_SHARE * std)
        change = np.maximum(flux, 0.0) ** 2 - positive_flux**2
        add(misfit, PSF_ERROR**2 * peak * change, FAINT_SHARE * std**2)
    blocks, _, weights, ties, by_width = solve(ROBUST)
    moves = np.zeros(len(flux), bool)
    variance = joint_variances(blocks, ties, first, second, moves)[:, 0]
    core = CORE_RADIUS_PX * model.detector_px
    positive_flux, one = np.maximum(flux, 0.0), np.ones((1, 1))
    judge: Any = (stamps, weights, column, row, positive_flux, np.zeros(len(flux)), core, one)
    with_error = quality(scene.pixels._replace(light=light), *judge)
    plain = quality(scene.with_psf_error(None)._replace(light=light), *judge)
    none = np.zeros(shape, np.float32)
    dark = quality(scene.pixels._replace(light=light, photons=none), *judge)
    has_power = sky_power > 0
    has_power &= plain[:, 0] > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        # Of pixels with their noise alone, weighted as they were.
        sky_noise, photon_noise = (
            np.sqrt(np.maximum(variance * part / blocks[:, 0, 0], 0.0))
            for part in (dark[:, N_SUMS], plain[:, N_SUMS] - dark[:, N_SUMS])
        )
        chi2 = with_error[:, 1] / with_error[:, 0]
        width_err = model.width_scatter * np.abs(flux * by_width) / blocks[:, 0, 0]
        columns = flux, sky_noise, photon_noise, sky_power**-0.5, width_err, chi2
    return _Fit(*(np.where(has_power, v, np.nan) for v in columns), *plain[:, 3:6].T)


def _nearest_px(places: SkyAt) -> Floats:
    """Return how far the nearest other place is, (N,); infinite where none is."""
    at = np.column_stack([places.x, places.y])
    known = np.isfinite(at).all(axis=1)
    found = np.full(len(at), np.inf)
    if known.any():
        found[known] = np.asarray(cKDTree(at[known]).query(at[known], k=2)[0])[:, 1]
    return found


def _keep_flux(blocks: Floats, gradient: Floats, ties: Floats) -> None:
    """Take all but the fluxes out of equations, in place."""
    blocks[:, 1:, :] = blocks[:, :, 1:] = ties[:, 1:, :] = ties[:, :, 1:] = 0.0
    gradient[:, 1:] = 0.0
    for part in range(1, blocks.shape[1]):
        blocks[:, part, part] = 1.0


def _width(pulls: Floats, usual: float) -> float:
    """Return by how much fluxes at blank places scatter over their errors."""
    pulls = pulls[np.isfinite(pulls)]
    if len(pulls) < MIN_BLANK:
        return usual
    return 0.5 * float(np.diff(np.percentile(pulls, BLANK_PERCENTILES))[0])
