"""The PSF from the stars of an image.

What stars have beyond the published PSF is looked for on the grid, all stars at once, by least
squares with a prior: a smooth deviation, a few tenths of the PSF without other evidence, and
a fifth of that for its change over the field.  So each star counts as much as its noise allows, and
few stars change little.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter

from bycatch.arrays import Bools, Floats, Ints
from bycatch.kernels.psf_fit import LOST, Pixels
from bycatch.kernels.psf_grid import OVERSAMPLING, cubic_weights, star_stamps
from bycatch.robust import robust_sigma
from bycatch.stages.psf.model import (
    FEW_STARS,
    NORM_RADIUS_PX,
    PsfModel,
    PublishedPsf,
    distances_px,
    enclosed_share,
    normalise,
    place_terms,
)

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

SMOOTH_PX = 0.45
"""Deviations are smooth over this (sigma), native pixels: the pixel and the drop have blurred
them."""
CORE_DEVIATION, WING_DEVIATION, WING_PX = 0.15, 0.6, 4.0
"""Prior deviation from the published PSF, as a share of it: in the middle, and from a radius of
native pixels on, where it is rings and spikes."""
FIELD_SHARE = 0.2
"""Prior change over the field, as a share of that."""
WIDTH_DEVIATION = 0.2
"""Prior deviation of the width."""
WIDTH_STEP = 0.05
STAR_ERROR, OTHERS_ERROR = 0.02, 0.1
"""Of a star's own light, by which one star differs from the next; of its neighbours'."""
CLIP_SIGMA, CLIP_ERROR = 4.0, 0.15
LINEAR_STARS = 12
"""Fewer show no change over the field."""
TAPER_PX = 2.0
FIRST_LEFTOVER, LEAST_LEFTOVER = 0.15, 0.03
"""Of a star's light in a pixel, what the published PSF leaves in the core (twice as much in the
wings), and what any PSF leaves."""
FIRST_WIDTH_SCATTER, WIDTH_SCATTER_RANGE = 0.04, (0.005, 0.08)
"""By which the width differs from star to star: focus over the field, phases of drizzling."""
CHI2_MEDIAN = 0.455
"""Of one degree of freedom."""
LEAST_RING_PIXELS = 20
N_STEPS, TOLERANCE = 20, 3e-3


class Places(NamedTuple):
    """Stars: 0-based pixel centres, fluxes, and widths (logarithms), (N,) each."""

    x: Floats
    y: Floats
    flux: Floats
    width: Floats


@dataclass(frozen=True, eq=False)
class _Samples:
    """Pixels of stars: what they hold beyond the start, its error, where on the grid, whose."""

    value: Floats
    error: Floats
    matrix: csr_matrix
    terms: Floats


def psf_from(
    pixels: Pixels, stars: Places, before: PsfModel, start: PublishedPsf, correlation: float
) -> PsfModel:
    """Return the PSF that the stars of an image show.

    Parameters
    ----------
    pixels : of the image, with the light of all its stars
    stars : that the PSF is made from
    before : the PSF that they were fitted with
    start : the PSF without stars
    correlation : by how much the noise of sums exceeds that of independent pixels
    """
    first = start.grid()
    if not len(stars.x):
        return first_model(start, before.shape)
    n_terms = 3 if len(stars.x) >= LINEAR_STARS else 1
    samples = _samples(pixels, stars, before, first, n_terms, correlation)
    prior = _Prior.of(first, start, before.detector_px)
    grids = _solve(samples, prior, n_terms)
    grids[0] += first
    grids = _without_shift(grids, first)
    norm_px = NORM_RADIUS_PX * before.detector_px
    grids[0] = normalise(grids[0], start)
    for k in range(1, n_terms):
        grids[k] -= grids[0] * (
            enclosed_share(grids[k], norm_px) / enclosed_share(grids[0], norm_px)
        )
    return replace(before, grids=grids, n_stars=len(stars.x))


def first_model(start: PublishedPsf, shape: tuple[int, int]) -> PsfModel:
    """Return the PSF of an image before its stars are seen.

    Parameters
    ----------
    start : Published PSF of the image
    shape : (ny, nx) of the image
    """
    wings = start.wings()
    radius = np.arange(len(wings)) / (OVERSAMPLING * start.detector_px)
    leftover = wings * FIRST_LEFTOVER * (1.0 + np.minimum(radius / WING_PX, 1.0))
    beyond = radius > NORM_RADIUS_PX
    leftover[beyond] = wings[beyond]
    grids = start.grid()[np.newaxis]
    return PsfModel(grids, shape, 0, start.detector_px, wings, FIRST_WIDTH_SCATTER, leftover)


def with_scatter(model: PsfModel, pixels: Pixels, stars: Places, width_err: Floats) -> PsfModel:
    """Return the PSF with what it leaves of stars, and how their widths scatter.

    Parameters
    ----------
    model : that the stars were fitted with
    pixels : with the light of all stars
    stars : that the PSF was made from
    width_err : (S,) float; of their widths, with the scatter that was expected
    """
    if len(stars.x) < FEW_STARS:
        return model
    # One round of EM; medians, for a few among them are no stars.
    has_error = np.isfinite(width_err)
    if not has_error.any():
        return model
    square = np.median(stars.width[has_error] ** 2) / CHI2_MEDIAN
    scatter = np.sqrt(square + np.median(width_err[has_error] ** 2))
    leftover = np.maximum(_leftover(model, pixels, stars), LEAST_LEFTOVER * model.wings)
    beyond = np.arange(len(leftover)) > NORM_RADIUS_PX * model.detector_px * OVERSAMPLING
    leftover[beyond] = model.wings[beyond]
    limits = WIDTH_SCATTER_RANGE
    return replace(model, width_scatter=float(np.clip(scatter, *limits)), leftover=leftover)


def _leftover(model: PsfModel, pixels: Pixels, stars: Places) -> Floats:
    """Return 1 sigma of the residual of a star of flux 1 beyond noise, at quarters of a pixel."""
    radius = NORM_RADIUS_PX * model.detector_px
    size = 2 * int(radius) + 1
    column, row = (np.rint(v).astype(np.int64) - size // 2 for v in (stars.x, stars.y))
    at, inside = _on_image(column, row, size, pixels.data.shape)
    rest = (pixels.data[at] - pixels.background[at] - pixels.light[at]).astype(float)
    noise2 = pixels.noise[at].astype(float) ** 2
    noise2 += np.maximum(pixels.light[at], 0.0) * pixels.photons[at]
    good = inside & (pixels.state[at] != LOST) & (noise2 > 0)
    distance = np.hypot(at[1] - stars.x[:, None, None], at[0] - stars.y[:, None, None])
    ring = np.rint(distance / model.detector_px).astype(int)
    middle, rms = [], []
    flux = np.broadcast_to(stars.flux[:, None, None], ring.shape)
    for k in range(int(NORM_RADIUS_PX) + 1):
        which = good & (ring == k)
        if which.sum() < LEAST_RING_PIXELS:
            continue
        square = robust_sigma(rest[which] / flux[which], 0.0) ** 2
        middle.append(k * model.detector_px)
        rms.append(np.sqrt(max(square - np.median(noise2[which] / flux[which] ** 2), 0.0)))
    if not middle:
        return model.leftover.copy()
    places = np.arange(len(model.wings)) / OVERSAMPLING
    return np.asarray(np.interp(places, middle, rms))


def _samples(
    pixels: Pixels,
    stars: Places,
    before: PsfModel,
    first: Floats,
    n_terms: int,
    correlation: float,
) -> _Samples:
    radius = NORM_RADIUS_PX * before.detector_px
    terms = np.column_stack([before.terms(stars.x, stars.y), stars.width])
    own, column, row = star_stamps(before.with_width, terms, stars.x, stars.y, radius)
    base = star_stamps(first[np.newaxis], terms[:, :1], stars.x, stars.y, radius)[0][:, 0]
    flux = stars.flux[:, None, None]
    light = flux * own[:, 0]
    at, inside = _on_image(column, row, own.shape[2], pixels.data.shape)
    residual = (pixels.data[at] - pixels.background[at] - pixels.light[at]).astype(float)
    all_light = np.maximum(pixels.light[at].astype(float), 0.0)
    noise2 = pixels.noise[at].astype(float) ** 2 + all_light * pixels.photons[at]
    others = np.maximum(all_light - light, 0.0)
    rough2 = noise2 + (CLIP_ERROR * light) ** 2 + (OTHERS_ERROR * others) ** 2
    good = inside & (own[:, 0] != 0) & (pixels.state[at] != LOST) & (pixels.noise[at] > 0)
    good &= (residual**2 < CLIP_SIGMA**2 * rough2) & np.isfinite(residual)
    error = np.sqrt(
        correlation**2 * noise2 + (STAR_ERROR * light) ** 2 + (OTHERS_ERROR * others) ** 2
    )
    # What a star's own width makes is no part of the PSF, but for what follows the place.
    places = place_terms(stars.x, stars.y, before.shape, n_terms)
    trend = places @ np.linalg.lstsq(places, stars.width, rcond=None)[0]
    value = residual + light - flux * ((stars.width - trend)[:, None, None] * own[:, 3] + base)
    star = np.broadcast_to(np.arange(len(flux))[:, None, None], good.shape)[good]
    dx, dy = at[1][good] - stars.x[star], at[0][good] - stars.y[star]
    matrix = _interpolation(dx, dy, len(first), stars.flux[star])
    return _Samples(value[good], error[good], matrix, places[star])


def _on_image(
    column: Ints, row: Ints, size: int, shape: tuple[int, ...]
) -> tuple[tuple[Ints, Ints], Bools]:
    """Return the pixels of stamps, cut to the image, and which of them lie on it."""
    away = np.arange(size)
    columns = np.broadcast_to(column[:, None, None] + away, (len(column), size, size))
    rows = np.broadcast_to(row[:, None, None] + away[:, None], columns.shape)
    inside = (columns >= 0) & (columns < shape[1]) & (rows >= 0) & (rows < shape[0])
    return (np.clip(rows, 0, shape[0] - 1), np.clip(columns, 0, shape[1] - 1)), inside


def _interpolation(dx: Floats, dy: Floats, side: int, flux: Floats) -> csr_matrix:
    """Return the matrix that takes a grid to pixels at distances from stars."""
    from scipy.sparse import csr_matrix

    (row, down), (column, right) = (
        cubic_weights(side // 2 + distance * OVERSAMPLING) for distance in (dy, dx)
    )
    points = (row[:, None] + np.arange(4))[:, :, None] * side
    points = points + (column[:, None] + np.arange(4))[:, None, :]
    values = flux[:, None, None] * down[:, :, None] * right[:, None, :]
    starts = np.arange(0, 16 * len(dx) + 1, 16)
    return csr_matrix((values.ravel(), points.ravel(), starts), shape=(len(dx), side * side))


@dataclass(frozen=True, eq=False)
class _Prior:
    """What deviations are likely: their size on the grid, their smoothness, and the width."""

    size: Floats
    width: Floats
    smooth_steps: float

    @staticmethod
    def of(first: Floats, start: PublishedPsf, detector_px: float) -> _Prior:
        radius = distances_px(len(first)) / detector_px
        wing = np.minimum(radius / WING_PX, 1.0)
        size = first * (CORE_DEVIATION + (WING_DEVIATION - CORE_DEVIATION) * wing)
        size *= np.clip((NORM_RADIUS_PX - radius) / TAPER_PX, 0.0, 1.0)
        width = (start.grid(1.0 + WIDTH_STEP) - first) * (WIDTH_DEVIATION / WIDTH_STEP)
        steps = SMOOTH_PX * detector_px * OVERSAMPLING
        # Smoothed noise of variance 1 has the variance of 1 / (4 pi sigma^2) points.
        return _Prior(size * (2.0 * np.sqrt(np.pi) * steps), width, steps)

    def deviation(self, white: Floats, width: float, share: float) -> Floats:
        """Return the deviation that numbers of variance 1 stand for."""
        smooth = gaussian_filter(white, self.smooth_steps, mode="constant", truncate=3.0)
        return np.asarray(share * self.size * smooth + share * width * self.width)

    def adjoint(self, grid: Floats, share: float) -> tuple[Floats, float]:
        """Return the transpose of `deviation` applied to a grid."""
        white = gaussian_filter(
            share * self.size * grid, self.smooth_steps, mode="constant", truncate=3.0
        )
        return white, share * float((self.width * grid).sum())


def _solve(samples: _Samples, prior: _Prior, n_terms: int) -> Floats:
    """Return the likeliest deviations, (K, n, n), by conjugate gradients."""
    side = len(prior.size)
    shares = [1.0, *[FIELD_SHARE] * (n_terms - 1)]
    n = side * side + 1
    terms, transpose = samples.terms, samples.matrix.T.tocsr()

    def grids_of(white: Floats) -> Floats:
        parts = white.reshape(n_terms, n)
        return np.stack(
            [
                prior.deviation(part[:-1].reshape(side, side), float(part[-1]), share)
                for part, share in zip(parts, shares, strict=True)
            ]
        )

    # All terms at once: the matrix is larger than what they are multiplied with.
    scaled_terms = terms / samples.error[:, np.newaxis]

    def forward(white: Floats) -> Floats:
        grids = np.ascontiguousarray(grids_of(white).reshape(n_terms, -1).T)
        return np.asarray((scaled_terms * (samples.matrix @ grids)).sum(axis=1))

    def backward(weighted: Floats) -> Floats:
        out = np.empty((n_terms, n))
        grids = transpose @ (scaled_terms * weighted[:, np.newaxis])
        for k, share in enumerate(shares):
            white, width = prior.adjoint(grids[:, k].reshape(side, side), share)
            out[k, :-1], out[k, -1] = white.ravel(), width
        return out.ravel()

    rest = backward(samples.value / samples.error)
    solution, way, now = np.zeros_like(rest), rest.copy(), _dot(rest, rest)
    goal = TOLERANCE**2 * now
    for _ in range(N_STEPS):
        if not now > goal:
            break
        product = way + backward(forward(way))
        step = now / _dot(way, product)
        solution += step * way
        rest -= step * product
        before, now = now, _dot(rest, rest)
        way = rest + (now / before) * way
    return grids_of(solution)


def _dot(a: Floats, b: Floats) -> float:
    """Return the product of two vectors; without BLAS, whose threads wait for one another."""
    return float(np.sum(a * b))


def _without_shift(grids: Floats, first: Floats) -> Floats:
    """Return grids without what is a shift of the star: that is part of its position."""
    slopes = np.gradient(grids[0])
    window = first / first.max()
    normal = np.array([[(window * a * b).sum() for b in slopes] for a in slopes])
    out = grids.copy()
    for k in range(len(grids)):
        beyond = grids[k] - first if k == 0 else grids[k]
        # The part of the deviation that is odd, as a shift is.
        odd = 0.5 * (beyond - beyond[::-1, ::-1])
        shift = np.linalg.solve(normal, [(window * a * odd).sum() for a in slopes])
        out[k] -= shift[0] * slopes[0] + shift[1] * slopes[1]
    return out
