"""The fit of a group of images to the reference stars: pairs, geometry, residuals."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from bycatch.arrays import Floats, Ints
from bycatch.kernels.matching import Brightness, match_one_to_one
from bycatch.kernels.tiefit import REFERENCE, Frames, Observations, fitted_frames, image_affine
from bycatch.stages.align.distortion import MOST_ERROR_SCALE, Residual, residual_of
from bycatch.stages.align.plane import Affine, Stars
from bycatch.stages.align.relative import MEDIAN_STANDARD, Group, observations, typical
from bycatch.stages.align.search import Search, catalog_of

if TYPE_CHECKING:
    from bycatch.settings import AlignSettings

_MAX_ROUNDS = 10
# A variance of this share of another makes no difference.
_NOTHING = 0.01
_PRIOR_STARS = 8.0
"""The expected errors count as much as this many stars when their scale is measured."""


@dataclass(frozen=True, eq=False)
class StarFit:
    """A fit of a group to the stars.

    Attributes
    ----------
    frames : by image, from the header's positions in the plane to the true ones
    correction : what was added to all of them
    data, fit : the fit
    star, obj : (N,) int, the pairs: rows of the stars, and numbers of the objects
    geometry : of the correction
    radius_mas : matching radius of the pairs
    star_scale : factor on the errors of the stars
    """

    frames: tuple[Affine, ...]
    correction: Affine
    data: Observations
    fit: Frames
    star: Ints
    obj: Ints
    geometry: str
    radius_mas: float
    star_scale: float


def fit_to_stars(
    group: Group, stars: Stars, search: Search, correction: Affine, settings: AlignSettings
) -> StarFit | None:
    """Pair, fit, and pair again within a radius that follows the scatter, until nothing changes.

    Parameters
    ----------
    group : Group, images that are aligned to one another
    stars : Stars in reach
    search : Search, with the objects that may be paired
    correction : Affine, the first guess
    settings : AlignSettings

    Returns
    -------
    StarFit, or None without a pair
    """
    total, radius_mas, star_scale, n_terms = correction, settings.tolerance_mas, 1.0, 3
    previous: tuple[Ints, Ints] | None = None
    best: StarFit | None = None
    original = group.frames
    frames = tuple(correction.after(frame) for frame in original)
    for _ in range(_MAX_ROUNDS):
        current_group = replace(group, frames=frames)
        star, obj = _pairs(current_group, stars, search, radius_mas, settings)
        if not star.size:
            return None
        same = previous is not None and all(
            np.array_equal(a, b) for a, b in zip(previous, (star, obj), strict=True)
        )
        previous = (star, obj)
        data = observations(
            current_group,
            stars,
            star,
            obj,
            star_scale,
            motion_mas_yr=settings.typical_motion_mas_yr,
        )
        fit, geometry = _fit_with_geometry(data, len(star), n_terms, settings)
        # What one round has found, the next has taken out: the geometry only grows.
        n_terms = len(fit.common)
        before, star_scale = star_scale, _error_scale(fit, data, star_scale)
        same = same and (abs(star_scale / before - 1.0) < 0.1 or _are_exact(data))
        moves = [Affine(*image_affine(fit, data, k)) for k in range(len(group.views))]
        frames = tuple(move.after(frame) for move, frame in zip(moves, frames, strict=True))
        total = moves[0].after(total)
        best = StarFit(frames, total, data, fit, star, obj, geometry, radius_mas, before)
        if same:
            break
        radius_mas = _next_radius_mas(fit, data, n_terms, settings)
    return best


def _are_exact(data: Observations) -> bool:
    """Return whether the errors of the stars are negligible compared with those of the images."""
    stars = data.image == REFERENCE
    return bool(np.median(data.variance[stars]) < _NOTHING * np.median(data.variance[~stars]))


def _error_scale(fit: Frames, data: Observations, scale: float) -> float:
    """Return the factor on the errors of the stars with which they agree with the residuals.

    ``scale`` is the factor that ``data`` already includes.
    """
    pairs = fit.standard[data.image == REFERENCE] * scale
    n_free = max(len(pairs) - 1.5, 0.0)
    # The median: a few outliers must not widen the errors of all others.
    scale2 = (np.median(pairs) / MEDIAN_STANDARD) ** 2 * len(pairs) / max(n_free, 1.0)
    return float(np.sqrt((n_free * scale2 + _PRIOR_STARS) / (n_free + _PRIOR_STARS)))


_GEOMETRIES = {3: "rshift", 4: "rscale", 6: "general"}


def _fit_with_geometry(
    data: Observations, n_stars: int, n_terms: int, settings: AlignSettings
) -> tuple[Frames, str]:
    """Return the fit with the widest geometry that the stars constrain, of at least ``n_terms``."""
    prior = _prior(settings)
    fit = fitted_frames(data, n_terms, prior[:n_terms])
    for wider, least in ((4, settings.min_stars_scale), (6, settings.min_stars_general)):
        if wider <= n_terms or n_stars < least:
            continue
        more = fitted_frames(data, wider, prior[:wider])
        new = slice(n_terms, wider)
        gain = more.common[new] @ np.linalg.solve(more.covariance[new, new], more.common[new])
        if gain > settings.min_evidence * (wider - n_terms):
            fit, n_terms = more, wider
    has_roll = np.sqrt(fit.covariance[2, 2]) < 0.5 * np.sqrt(prior[2]) and n_stars > 1
    return fit, _GEOMETRIES[n_terms] if has_roll else "shift"


def _next_radius_mas(
    fit: Frames, data: Observations, n_terms: int, settings: AlignSettings
) -> float:
    """Return the matching radius for the scatter of a fit, between the settings' bounds."""
    separation = np.hypot(*pair_residuals(fit, data).T)
    n_free = max(2 * separation.size - n_terms, 1)
    sigma = typical(separation) * np.sqrt(2 * separation.size / n_free)
    return float(
        np.clip(1.5 * settings.clip_sigma * sigma, settings.min_radius_mas, settings.tolerance_mas)
    )


def pair_residuals(fit: Frames, data: Observations) -> Floats:
    """Return object minus star for each pair.

    Parameters
    ----------
    fit : Frames
    data : Observations with those of the stars
    """
    stars = data.image == REFERENCE
    own = ~stars
    n = int(data.obj.max()) + 1
    out = np.empty((int(stars.sum()), 2))
    for axis in (0, 1):
        weight = np.where(own, fit.weights / data.variance[:, axis], 0.0)
        total = np.bincount(data.obj, weight, n)
        mean = np.bincount(data.obj, weight * fit.residuals[:, axis], n) / np.maximum(total, 1e-300)
        out[:, axis] = mean[data.obj[stars]] - fit.residuals[stars, axis]
    return out


def with_residual(
    group: Group, stars: Stars, search: Search, star_fit: StarFit, settings: AlignSettings
) -> tuple[StarFit, Residual]:
    """Return a fit and what it leaves; where that is a distortion, with all pairs it explains.

    A fit may have found the stars in one part of a distorted image only: stars in the other parts
    are searched for out to the tolerance.

    Parameters
    ----------
    group : Group, images that are aligned to one another
    stars : Stars in reach
    search : Search, with the objects that may be paired
    star_fit : StarFit
    settings : AlignSettings
    """
    fit_group = replace(group, frames=star_fit.frames)
    star, obj = _pairs(fit_group, stars, search, settings.tolerance_mas, settings)
    scale = min(star_fit.star_scale, MOST_ERROR_SCALE)
    motion = settings.typical_motion_mas_yr
    data = observations(fit_group, stars, star, obj, scale, motion_mas_yr=motion)
    fit = fitted_frames(
        data, len(star_fit.fit.common), _prior(settings)[: len(star_fit.fit.common)]
    )
    residual = residual_of(fit_group, data, fit, settings)
    if residual.size_mas == 0:
        return star_fit, residual
    geometry = "sip" if residual.order > 1 else star_fit.geometry
    return replace(star_fit, data=data, fit=fit, star=star, obj=obj, geometry=geometry), residual


def _pairs(
    group: Group, stars: Stars, search: Search, radius_mas: float, settings: AlignSettings
) -> tuple[Ints, Ints]:
    """Return the stars and the objects that are nearest to each other within a radius."""
    catalog = catalog_of(group)
    pool = catalog.first(np.isin(catalog.number, search.pool.number))
    star, place = match_one_to_one(
        stars.xy,
        pool.xy,
        radius_mas,
        Brightness(stars.mag, pool.mag, settings.max_mag_difference),
    )
    return star, pool.number[place]


def _prior(settings: AlignSettings) -> Floats:
    """Return the prior variances of the common terms: a roll beyond the search is excluded."""
    roll_sigma = max(np.deg2rad(settings.max_roll_deg) / 2.0 * 1000.0, 1e-9)
    return np.array([np.inf, np.inf, roll_sigma**2, np.inf, np.inf, np.inf])


def left_out_residuals(star_fit: StarFit) -> tuple[Floats, Floats]:
    """Return object minus star for each pair in a fit without it, and inverse variances.

    Parameters
    ----------
    star_fit : StarFit
    """
    stars = star_fit.data.image == REFERENCE
    apart = star_fit.fit.left_out[stars]
    is_finite = np.isfinite(apart).all(axis=1)
    return apart[is_finite], 1.0 / star_fit.data.variance[stars][is_finite]


def pair_weights(star_fit: StarFit) -> Floats:
    """Return inverse variances of the pairs, (N, 2); less for outliers.

    Parameters
    ----------
    star_fit : StarFit
    """
    stars = star_fit.data.image == REFERENCE
    return np.asarray(star_fit.fit.weights[stars, np.newaxis] / star_fit.data.variance[stars])


def weighted_rms(residuals: Floats, weights: Floats) -> Floats:
    """Return the weighted rms of each column.

    Parameters
    ----------
    residuals, weights : (N, K) float
    """
    total = np.maximum(weights.sum(axis=0), 1e-300)
    return np.asarray(np.sqrt((weights * residuals**2).sum(axis=0) / total))
