"""The PSF of an image where all its sources have a place: of its stars, and as the sky shows it.

Forced fits and the colours of extended objects share it.  On the common grid of a group it is the
mean of stars in all phases of the pixels, resampled as galaxies are: what interpolation takes from
them it takes from the PSF.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bycatch.arrays import Bools, Floats, Ints
from bycatch.kernels.neighbourhood import neighbourhood
from bycatch.kernels.psf_fit import HIT, LOST, USABLE, Pixels, Trust
from bycatch.kernels.psf_grid import add_wings
from bycatch.kernels.stamps import north_up
from bycatch.stages.psf.build import first_model, psf_from, with_scatter
from bycatch.stages.psf.choice import MIN_SNR, psf_stars
from bycatch.stages.psf.fit import EARLY_TRUST, beside, draw, equations, late_trust, step_all
from bycatch.stages.psf.model import NORM_RADIUS_PX, PsfModel, published_psf
from bycatch.stages.psf.noise import photon_factor
from bycatch.stages.psf.quality import judge
from bycatch.stages.psf.stars import Stars

if TYPE_CHECKING:
    from bycatch.images.drc import DrcImage

MOST_CANDIDATES = 120
"""The PSF is made from the best of so many of the brightest objects."""
N_STEPS, FIRST_STARS = 3, 30
"""They are fitted with the published PSF, in so many steps; then with that of so many of them."""
PLAIN = Trust(0.0, 1e9)
PSF_HALF = 15
"""Steps to each side of a star on the sky."""
TAPER_STEPS = 4.0
"""A PSF on the sky, and a kernel, end smoothly over so many steps."""
PHASES = 4
"""Of the pixels, per axis, that a PSF on the sky is the mean of."""
APART_PX = 8
"""Between the stars of these, beyond what each needs."""


class SkyAt(NamedTuple):
    """Places and the sky around them, (N,) each.

    Attributes
    ----------
    x, y : 0-based pixel centres
    level, std : of the sky, per pixel, e/s
    """

    x: Floats
    y: Floats
    level: Floats
    std: Floats


def paint(
    image: DrcImage, pixels: Pixels, places: SkyAt, cr_mask: Bools | None, radius_px: float
) -> tuple[Ints, Ints]:
    """Fill in what is known of the pixels near places, in place; return which they are.

    Parameters
    ----------
    image : DrcImage
    pixels : of the image, written; LOST where nothing is known
    places : with the sky around them
    cr_mask : (ny, nx) bool; pixels that cosmic rays may have hit
    radius_px : px
    """
    has_sky = np.isfinite(places.level) & (places.std > 0)
    near = neighbourhood(image.shape, places.x[has_sky], places.y[has_sky], radius_px)
    inside = near.distance <= radius_px
    at = near.rows[inside], near.columns[inside]
    level, std = (
        np.broadcast_to(values[has_sky][:, np.newaxis], inside.shape)[inside]
        for values in (places.level, places.std)
    )
    seconds = image.exptime_map_s[at]
    with np.errstate(invalid="ignore", divide="ignore"):
        usable = image.valid[at] & (seconds > 0)
        usable &= ~(image.sci[at] > image.meta.full_rate)
        pixels.photons[at] = np.where(usable, photon_factor(image) / seconds, 0.0)
    pixels.background[at], pixels.noise[at] = level, std
    is_hit = usable & cr_mask[at] if cr_mask is not None else np.zeros(len(usable), bool)
    pixels.state[at] = np.where(usable, np.where(is_hit, HIT, USABLE), LOST)
    return at


def psf_of_stars(
    image: DrcImage, pixels: Pixels, places: SkyAt, snr: Floats, cr_mask: Bools | None
) -> PsfModel:
    """Return the PSF of the brightest stars, which are fitted with their neighbours.

    Parameters
    ----------
    image : DrcImage
    pixels : of the image, with what is known near the places (`paint`); written around the stars
    places : N of them
    snr : (N,) signal-to-noise ratios in an aperture; they choose the stars
    cr_mask : (ny, nx) bool; pixels that cosmic rays may have hit
    """
    start = published_psf(image)
    model = first_model(start, image.shape)
    has_sky = np.isfinite(places.x) & np.isfinite(places.y) & (places.std > 0)
    rank = np.argsort(-np.where(has_sky, np.nan_to_num(snr), 0.0), kind="stable")[:MOST_CANDIDATES]
    bright = np.zeros(len(snr), bool)
    bright[rank] = has_sky[rank] & (snr[rank] > MIN_SNR)
    if not bright.any():
        return model
    around = SkyAt(*(values[bright] for values in places))
    paint(image, pixels, around, cr_mask, NORM_RADIUS_PX * image.detector_px + 1.0)
    stars = Stars.at(places.x, places.y, has_sky, (places.x, places.y))
    stars = stars.take(has_sky & beside(model, stars, bright))
    noise, excess = float(np.median(places.std[bright])), photon_factor(image) ** -0.5
    stars = step_all(equations(pixels, model, stars, PLAIN), stars, model, 0)
    for k in range(2):
        trust = late_trust(model) if k else EARLY_TRUST
        light = np.zeros(image.shape, np.float32)
        draw(light, model, stars, noise)
        lit = pixels._replace(light=light)
        for step in range(N_STEPS):
            before = stars
            stars = step_all(equations(lit, model, before, trust), before, model, step + 1)
            draw(light, model, before, noise, -1.0)
            draw(light, model, stars, noise)
        fits = judge(lit, model, stars, np.ones((1, 1)))
        rows = psf_stars(stars, fits, image.shape, is_first=k == 0)
        rows = rows[: len(rows) if k else FIRST_STARS]  # the brightest
        model = psf_from(lit, stars.places(rows), model, start, excess)
        model = with_scatter(model, lit, stars.places(rows), fits.width_err[rows])
    return model


@dataclass(frozen=True, eq=False)
class StarPsf:
    """The PSF of an image, as its stars show it on the common grid.

    Attributes
    ----------
    pixels : (n, n) float; rows go north, columns west; its sum is the share of a star's light
        within its radius
    step_arcsec : of the grid
    n_stars : that it was made from
    """

    pixels: Floats
    step_arcsec: float
    n_stars: int

    @property
    def equivalent_fwhm_arcsec(self) -> float:
        """FWHM of the Gaussian with the same noise-equivalent area, (sum P)^2 / sum P^2."""
        area = self.pixels.sum() ** 2 / (self.pixels**2).sum()
        return float(np.sqrt(8.0 * np.log(2.0) * area / (4.0 * np.pi)) * self.step_arcsec)


def on_sky(
    model: PsfModel, pixels_per_arcsec: Floats, step_arcsec: float, *, share: float = 1.0
) -> StarPsf | None:
    """Return a PSF on the common grid of a group; None if it is made from no star.

    Parameters
    ----------
    model : PsfModel of the image
    pixels_per_arcsec : (2, 2) float, for steps to the east and the north
    step_arcsec : of the grid
    share : share of a star's light within 13 steps, from its encircled energy
    """
    matrix = to_west(pixels_per_arcsec) * step_arcsec
    if not model.n_stars or not np.isfinite(matrix).all():
        return None
    side = 2 * int(np.ceil(np.abs(matrix).sum(axis=1).max() * PSF_HALF)) + 1 + APART_PX
    phase = np.arange(PHASES) / PHASES
    middle = side // 2 + side * np.arange(PHASES) + phase
    x, y = (np.ravel(v) for v in np.meshgrid(middle, middle))
    n = len(x)
    stars = Stars.at(x, y, np.zeros(n, bool), (x, y))
    stars.flux[:] = 1.0
    shape = (PHASES * side, PHASES * side)
    # Of one place, the middle of the image, for all of them.
    mean = replace(model, grids=model.grids[:1])
    light = np.zeros(shape, np.float32)
    draw(light, mean, stars, 0.0)
    # No farther than the stamp: not onto the next star.
    add_wings(light, mean.wings, x, y, stars.flux, mean.radius_px, np.full(n, 0.5 * side))
    values, _ = north_up(
        light, np.ones(shape, bool), np.zeros(shape, np.int32), x, y, np.zeros(n, np.int64),
        np.zeros(n), np.broadcast_to(matrix, (n, 2, 2)), np.full(n, PSF_HALF),
    )  # fmt: skip
    pixels = values.reshape(n, 2 * PSF_HALF + 1, -1).mean(axis=0, dtype=float)
    pixels *= taper(radii(PSF_HALF), PSF_HALF)
    return StarPsf(pixels * (share / pixels.sum()), step_arcsec, model.n_stars)


def to_west(pixels_per_arcsec: Floats) -> Floats:
    """Return what a step to the west, not the east, moves in x and y; (K, 2, 2).

    Parameters
    ----------
    pixels_per_arcsec : (K, 2, 2) float, for steps to the east and the north
    """
    return np.asarray(pixels_per_arcsec * np.array([-1.0, 1.0]))


def radii(half: int) -> Floats:
    """Return the distances of steps from the middle of a stamp.

    Parameters
    ----------
    half : steps from the middle to the edge
    """
    away = np.arange(-half, half + 1, dtype=float)
    return np.asarray(np.hypot(away, away[:, np.newaxis]))


def taper(radius: Floats, half: int) -> Floats:
    """Return 1 inside, 0 from a radius of ``half`` + 1 on, half a cosine between.

    Parameters
    ----------
    radius : (n, n) float, steps
    half : steps from the middle to the edge
    """
    inwards = np.clip((half + 1.0 - radius) / TAPER_STEPS, 0.0, 1.0)
    return np.asarray(0.5 - 0.5 * np.cos(np.pi * inwards))
