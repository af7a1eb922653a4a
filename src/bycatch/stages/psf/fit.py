"""All stars of an image fitted at once: fluxes and places, by repeated least squares."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial import cKDTree

from bycatch.arrays import Bools, Floats, Image, Ints
from bycatch.kernels.psf_fit import Pixels, Trust, normal_equations, tie_blocks
from bycatch.kernels.psf_grid import OVERSAMPLING, add_stars, add_wings, star_stamps
from bycatch.kernels.psf_solve import solve_stars
from bycatch.kernels.threads import ROWS_WORTH_A_THREAD, in_portions
from bycatch.stages.psf.model import PsfModel
from bycatch.stages.psf.stars import Stars

FIT_RADIUS_PX = 4.0
"""Pixels within it enter a star's equations, native pixels: 85 % of the light."""
CLIP_SIGMA = 4.0
FIRST_TRUST = Trust(0.0, 1e9)
"""Fluxes come first, from pixels without the noise of light that is not known yet."""
EARLY_TRUST = Trust(0.15, CLIP_SIGMA)
STIFFNESS_PX = 0.4
"""A step as long costs as much as one sigma: faint stars creep."""
LONGEST_STEP_PX = 0.4
FARTHEST_PX = 1.5
"""A star that goes farther from its detection, native pixels, is another: it is put back, and
stays."""
LEAST_SNR = 2.0
"""Stars below it stay where they are: there is no light to follow."""
FAINT_SHARE = 0.05
"""The light of a star is drawn as far as a pixel of it has this share of the sky noise."""
MOST_WIDTH = 0.25
SOLVED = 1e-3
SETTLED_PX, SETTLED_SIGMA = 0.01, 0.5
"""A star has settled whose last step was shorter: position, and flux over its error."""
RESTLESS_SHARE = 0.02
"""Iterations end when only so many stars have not settled: they would never."""
LEAST_ITERATIONS = 3
PAIR_MARGIN_PX = 0.5
"""Stars that do not share pixels at first, but may as they move, native pixels each."""
MORE_FLUX = 2.0
"""By which stars may brighten in one go."""
MOST_ACTIVE = 2
"""With more than one in so many stars under way all light is drawn anew; else what changes."""


def late_trust(model: PsfModel) -> Trust:
    """Return how far pixels are believed once the PSF is that of the image's stars.

    Parameters
    ----------
    model : PsfModel of the image
    """
    return Trust(model.error_share, CLIP_SIGMA)


def light_of(model: PsfModel, stars: Stars, noise: float, shape: tuple[int, int]) -> Image:
    """Return the light of all stars, (ny, nx).

    Parameters
    ----------
    model : PsfModel of the image
    stars : Stars, N of them
    noise : of a sky pixel, e/s
    shape : (ny, nx) of the image
    """
    light = wings_of(model, stars, noise, shape)
    draw(light, model, stars, noise)
    return light


def wings_of(model: PsfModel, stars: Stars, noise: float, shape: tuple[int, int]) -> Image:
    """Return the light of all stars beyond the grids of the PSF, (ny, nx).

    Parameters
    ----------
    model, stars, noise, shape : as in `light_of`
    """
    light = np.zeros(shape, np.float32)
    flux = np.maximum(stars.flux, 0.0)
    reach = reach_px(model.wings, flux, FAINT_SHARE * noise)
    add_wings(light, model.wings, stars.x, stars.y, flux, model.radius_px, reach)
    return light


def copy_image(source: Image, target: Image) -> None:
    """Copy an image into another one, in all threads there may be.

    Parameters
    ----------
    source, target : (ny, nx) float32
    """

    def copy(first: int, last: int) -> None:
        target[first:last] = source[first:last]

    in_portions(copy, len(target), ROWS_WORTH_A_THREAD)


def draw(
    light: Image,
    model: PsfModel,
    stars: Stars,
    noise: float,
    factor: float = 1.0,
    is_alone: Bools | None = None,
) -> None:
    """Add the light of stars to an image, as far as the grids of the PSF reach, in place.

    Parameters
    ----------
    light : (ny, nx) float32
    model : PsfModel of the image
    stars : Stars, N of them
    noise : of a sky pixel, e/s
    factor : -1 takes their light away
    is_alone : (N,) bool; of these only what their own equations see
    """
    flux = np.maximum(stars.flux, 0.0)
    least = FIT_RADIUS_PX * model.detector_px + 1.0
    inner = np.maximum(_inner_reach_px(model, flux, noise), least)
    if is_alone is not None:
        inner[is_alone] = least
    inner[~(flux > 0)] = 0.0
    flux *= factor
    add_stars(light, model.with_width, _terms(model, stars), stars.x, stars.y, flux, inner)


def _inner_reach_px(model: PsfModel, flux: Floats, noise: float) -> Floats:
    return np.minimum(reach_px(model.wings, flux, FAINT_SHARE * noise), model.radius_px)


def _are_alone(model: PsfModel, stars: Stars, noise: float) -> Bools:
    """Return which stars no other one sees within the grids of the PSF, wherever both may go."""
    alone = np.zeros(len(stars), bool)
    rows = np.flatnonzero(np.isfinite(stars.x) & np.isfinite(stars.y))
    if len(rows) < 2:
        return alone
    at = np.column_stack([stars.x[rows], stars.y[rows]])
    nearest = np.asarray(cKDTree(at).query(at, k=2)[0])[:, 1]
    # Fluxes may grow, too.
    reach = _inner_reach_px(model, MORE_FLUX * np.maximum(stars.flux[rows], 0.0), noise)
    alone[rows] = nearest > reach + (FIT_RADIUS_PX + 2.0 * FARTHEST_PX) * model.detector_px
    return alone


def reach_px(profile: Floats, flux: Floats, faint: float) -> Floats:
    """Return how far the light of stars counts, pixels.

    Parameters
    ----------
    profile : (n,) float; light of a pixel of a star of flux 1 at quarters of a pixel
    flux : (N,) float
    faint : light of a pixel that does not count, e/s
    """
    # From outside in, the highest so far: the profile need not fall everywhere.
    outer = np.maximum.accumulate(profile[::-1])[::-1]
    share = faint / np.maximum(flux, 1e-30)
    return np.searchsorted(-outer, -share) / OVERSAMPLING


def _terms(model: PsfModel, stars: Stars) -> Floats:
    """Return the factors of the grids of `PsfModel.with_width`."""
    return np.column_stack([model.terms(stars.x, stars.y), stars.width])


@dataclass(frozen=True, eq=False)
class Equations:
    """The equations of all stars at one moment."""

    stamps: np.ndarray
    weights: np.ndarray
    column: Ints
    row: Ints
    blocks: Floats
    gradient: Floats
    first: Ints
    second: Ints
    ties: Floats


def equations(
    pixels: Pixels,
    model: PsfModel,
    stars: Stars,
    trust: Trust,
    pairs: tuple[Ints, Ints] | None = None,
) -> Equations:
    """Return the equations of stars, with the light that they have in ``pixels``.

    Parameters
    ----------
    pixels : Pixels of the image, each (ny, nx)
    model : PsfModel of the image
    stars : Stars, N of them
    trust : Trust, when a pixel counts
    pairs : those that may share pixels, if they are known
    """
    radius = FIT_RADIUS_PX * model.detector_px
    grids, terms = model.with_width, _terms(model, stars)
    stamps, column, row = star_stamps(grids, terms, stars.x, stars.y, radius)
    stamps[:, 1:] *= np.maximum(stars.flux, 0.0).astype(np.float32)[:, None, None, None]
    blocks, gradient, weights = normal_equations(pixels, trust, stamps, column, row)
    first, second = pairs or pairs_within(stars.x, stars.y, 2.0 * radius)
    ties = tie_blocks(stamps, weights, column, row, first, second)
    return Equations(stamps, weights, column, row, blocks, gradient, first, second, ties)


def _among(pairs: tuple[Ints, Ints], active: Bools) -> tuple[Ints, Ints]:
    """Return the pairs of active stars, by their numbers among these."""
    both = active[pairs[0]] & active[pairs[1]]
    number = np.cumsum(active) - 1
    return number[pairs[0][both]], number[pairs[1][both]]


def pairs_within(x: Floats, y: Floats, radius_px: float) -> tuple[Ints, Ints]:
    """Return the pairs of stars that are so near to each other, in one order.

    Parameters
    ----------
    x, y : (N,) float, 0-based pixel centres
    radius_px : px
    """
    rows = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
    if len(rows) < 2:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    tree = cKDTree(np.column_stack([x[rows], y[rows]]))
    pairs = tree.query_pairs(radius_px, output_type="ndarray")
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    return rows[pairs[:, 0]].astype(np.int64), rows[pairs[:, 1]].astype(np.int64)


def beside(model: PsfModel, stars: Stars, which: Bools) -> Bools:
    """Return which stars are among some, or share pixels with one of them.

    Parameters
    ----------
    model : PsfModel of the image
    stars : Stars, N of them
    which : (N,) bool
    """
    first, second = pairs_within(stars.x, stars.y, 2.0 * FIT_RADIUS_PX * model.detector_px)
    return _with_partners(which, first, second)


def _with_partners(which: Bools, first: Ints, second: Ints) -> Bools:
    out = which.copy()
    out[first[which[second]]] = True
    out[second[which[first]]] = True
    return out


def fit_all(
    pixels: Pixels,
    model: PsfModel,
    stars: Stars,
    trust: Trust,
    n_iterations: int,
    noise: float,
    some: Bools | None = None,
    wings: Image | None = None,
) -> Stars:
    """Return the stars after some iterations.

    A star that has settled, as all have with which it shares pixels, rests.

    Parameters
    ----------
    pixels : of the image; its ``light``, that of the stars, is changed in place
    model : the PSF
    stars : where to begin; those without flux get theirs first
    trust : how far pixels are believed
    n_iterations : fewer if most stars settle before
    noise : typical noise of a pixel, e/s
    some : (N,) bool; stars to begin with, where ``light`` is that of all of them already
    wings : (ny, nx) float32; of `wings_of`, where ``light`` is that of all stars already
    """
    shape = pixels.data.shape[0], pixels.data.shape[1]
    if not (stars.flux != 0).any():
        stars = step_all(equations(pixels, model, stars, FIRST_TRUST), stars, model, 0)
    active, light = np.ones(len(stars), bool) if some is None else some, pixels.light
    alone = np.zeros(len(stars), bool)
    if some is None:
        alone = _are_alone(model, stars, noise)
        if wings is None:
            # Once: far out little changes as stars settle.
            wings = wings_of(model, stars, noise, shape)
            copy_image(wings, light)
            draw(light, model, stars, noise, is_alone=alone)
    widest = 2.0 * (FIT_RADIUS_PX + PAIR_MARGIN_PX) * model.detector_px
    ties = pairs_within(stars.x, stars.y, widest)
    is_whole = not alone.any()
    for k in range(n_iterations):
        before = stars.take(active)
        after = step_all(
            equations(pixels, model, before, trust, _among(ties, active)), before, model, k + 1
        )
        stars = stars.put(active, after)
        restless = stars.n_iter == 0 if some is None else (stars.n_iter == 0) & active
        is_last = k == n_iterations - 1
        is_last |= k >= LEAST_ITERATIONS - 1 and restless.sum() <= RESTLESS_SHARE * len(stars)
        if wings is not None and (
            MOST_ACTIVE * active.sum() > len(stars) or (is_last and not is_whole)
        ):
            copy_image(wings, light)
            draw(light, model, stars, noise, is_alone=None if is_last else alone)
        else:
            draw(light, model, before, noise, -1.0, alone[active])
            draw(light, model, after, noise, is_alone=alone[active])
        if is_last:
            break
        active = _with_partners(restless, *ties)
    return stars


def _place_err_px(blocks: Floats) -> Floats:
    """Return the error of a star's place per axis, if all else were known."""
    return np.asarray(1.0 / np.sqrt(0.5 * (blocks[:, 1, 1] + blocks[:, 2, 2])))


def step_all(now: Equations, stars: Stars, model: PsfModel, iteration: int) -> Stars:
    """Return the stars after one step; in iteration 0 they do not move.

    Parameters
    ----------
    now : Equations of the stars
    stars : Stars, N of them
    model : PsfModel of the image
    iteration : from 0
    """
    blocks, gradient, ties = now.blocks.copy(), now.gradient.copy(), now.ties.copy()
    power = blocks[:, 0, 0]
    bright = stars.flux * np.sqrt(power) > LEAST_SNR
    moves = stars.moves & bright & (iteration > 0)
    for p, free in ((1, moves), (2, moves), (3, bright & (iteration > 0))):
        blocks[~free, p, :] = blocks[~free, :, p] = gradient[~free, p] = 0.0
        ties[~free[now.first], p, :] = 0.0
        ties[~free[now.second], :, p] = 0.0
        blocks[~free, p, p] = 1.0
    for p in (1, 2):
        blocks[:, p, p] += 1.0 / STIFFNESS_PX**2
    blocks[:, 3, 3] += 1.0 / model.width_scatter**2
    gradient[:, 3] -= stars.width / model.width_scatter**2
    blocks[:, 0, 0] += 1e-6 * power + 1e-30
    step = solve_stars(blocks, ties, now.first, now.second, gradient, SOLVED)
    size = LONGEST_STEP_PX * model.detector_px
    length = np.hypot(step[:, 1], step[:, 2])
    shrink = np.minimum(1.0, size / np.maximum(length, 1e-30))
    x, y = stars.x + shrink * step[:, 1], stars.y + shrink * step[:, 2]
    away = np.hypot(x - stars.start_x, y - stars.start_y) > FARTHEST_PX * model.detector_px
    x, y = np.where(away, stars.start_x, x), np.where(away, stars.start_y, y)
    has_settled = length < np.maximum(SETTLED_PX, SETTLED_SIGMA * _place_err_px(blocks))
    has_settled &= np.abs(step[:, 0]) * np.sqrt(power) < SETTLED_SIGMA
    iteration_before = np.where(stars.n_iter > 0, stars.n_iter, iteration)
    return replace(
        stars,
        x=x,
        y=y,
        flux=stars.flux + step[:, 0],
        width=np.clip(stars.width + step[:, 3], -MOST_WIDTH, MOST_WIDTH),
        moves=stars.moves & ~away,
        returned=stars.returned | away,
        n_iter=np.where(has_settled & (iteration > 0), iteration_before, 0),
    )
