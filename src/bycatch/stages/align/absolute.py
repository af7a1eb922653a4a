"""Tying a group of images to the reference stars: search, fit, odds, judgement."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from bycatch.arrays import Bools, Floats, Ints
from bycatch.kernels.matching import (
    Brightness,
    Offset,
    expected_chance_peaks,
    extent_of,
    find_offset,
    match_one_to_one,
)
from bycatch.kernels.tiefit import (
    REFERENCE,
    Frames,
    Observations,
    fitted_frames,
    image_affine,
)
from bycatch.stages.align.account import tried
from bycatch.stages.align.distortion import MOST_ERROR_SCALE, Residual, residual_of
from bycatch.stages.align.plane import IDENTITY, Affine, Stars
from bycatch.stages.align.relative import MEDIAN_STANDARD, Group, affine_of, observations, typical

if TYPE_CHECKING:
    from bycatch.settings import AlignSettings


# The first search takes this many of the brightest star-like objects per
# reference star: Gaia ends where HST detections begin, so its stars are among the
# brightest, and fewer objects make fewer chance pairs.
_BRIGHT_PER_STAR = 2
_BRIGHT_LEAST = 30
# More stars than this make the search slower and no more certain.
_SEARCH_STARS = 1000
# So unlikely that a few scrambles tell enough.
_CERTAIN = 1e-12
_FEW_SCRAMBLES = 4
_LEAST_LEFT_OUT = 4
_OUTLIER_WEIGHT = 0.1
_MAX_ROUNDS = 10
# A variance of this share of another makes no difference.
_NOTHING = 0.01
_PRIOR_STARS = 8.0
"""The expected errors count as much as this many stars when their scale is measured."""


@dataclass(frozen=True, eq=False)
class Catalog:
    """The objects of a group, brightest first."""

    number: Ints
    xy: Floats
    mag: Floats
    starlike: Bools

    def first(self, chosen: Bools, n: int | None = None) -> Catalog:
        """Return the first n of the chosen ones."""
        keep = np.flatnonzero(chosen)[:n]
        return Catalog(self.number[keep], self.xy[keep], self.mag[keep], self.starlike[keep])

    def __len__(self) -> int:
        return len(self.number)


def _catalog(group: Group) -> Catalog:
    """Return the mean position and magnitude of each object of a group."""
    n = group.n_objects
    obj = np.concatenate(group.obj)
    xy = np.concatenate([f(v.xy) for v, f in zip(group.views, group.frames, strict=True)])
    weight = 1.0 / np.concatenate([v.variance for v in group.views])
    mag = np.concatenate([v.mag for v in group.views])
    starlike = np.concatenate([v.starlike for v in group.views])
    total = np.bincount(obj, weight, n)
    mean = np.stack([np.bincount(obj, weight * c, n) for c in xy.T], axis=1) / total[:, np.newaxis]
    known = np.isfinite(mag)
    n_known = np.bincount(obj, known, n)
    mean_mag = np.bincount(obj, np.where(known, mag, 0.0), n) / np.where(n_known > 0, n_known, 1)
    mean_mag = np.where(n_known > 0, mean_mag, np.nan)
    # What two images see is no cosmic ray, whatever its shape in one of them.
    seen = np.bincount(obj, minlength=n)
    real = (np.bincount(obj, starlike, n) > 0) & ((seen > 1) | (len(group.views) == 1))
    order = np.argsort(np.nan_to_num(mean_mag, nan=np.inf), kind="stable")
    return Catalog(order, mean[order], mean_mag[order], real[order])


@dataclass(frozen=True, eq=False)
class Anchor:
    """A group's tie to Gaia: the frames in the true frame, and the evidence; or why there is none.

    Attributes
    ----------
    reason : in words
    frames : by image, from the header's positions in the plane to the true ones; None without
    correction : what was added to all of them
    data, fit : the fit
    star, linked : the pairs: rows of the stars and numbers of the objects
    odds : probability that chance would do as well
    geometry : of the correction
    residual : what the linear frames leave
    disagreement : of the pairs, beyond ``max_rms_mas``, in words; '' without
    unexplained_mas : what that adds to the error of the frame, per axis
    """

    reason: str
    frames: tuple[Affine, ...] | None = None
    correction: Affine = IDENTITY
    data: Observations | None = None
    fit: Frames | None = None
    star: Ints | None = None
    linked: Ints | None = None
    odds: float = np.nan
    geometry: str = "none"
    residual: Residual | None = None
    disagreement: str = ""
    unexplained_mas: float = 0.0

    def believed(self, n_stars: int) -> Bools:
        """Tell which of all stars have a pair that is no outlier."""
        out = np.zeros(n_stars, dtype=np.bool_)
        if self.star is not None and self.fit is not None and self.data is not None:
            weights = self.fit.weights[self.data.image == REFERENCE]
            out[self.star[weights > _OUTLIER_WEIGHT]] = True
        return out


@dataclass(frozen=True, eq=False)
class Search:
    """The offset found, and the objects that may be paired."""

    offset: Offset
    used: Catalog
    pool: Catalog
    n_tried: int
    range_arcsec: float
    range_rad: float
    stars: Stars


def anchored(group: Group, stars: Stars, known: Affine | None, settings: AlignSettings) -> Anchor:
    """Tie a group to the reference stars.

    Where another group of the field is tied already, its correction is the
    first guess, and the search is narrow: one pointing error is common to all.

    Parameters
    ----------
    group : Group, images that are tied to one another
    stars : Stars in reach
    known : correction of another group of the field, if there is one
    settings : AlignSettings
    """
    if not len(stars):
        return Anchor(stars.problem)
    reason = ""
    tries = [(IDENTITY, settings.max_shift_arcsec, settings.max_roll_deg)]
    if known is not None:
        tries.insert(0, (known, 0.5, 0.02))
    for guess, range_arcsec, range_deg in tries:
        moved = replace(group, frames=tuple(guess.after(frame) for frame in group.frames))
        search = _search(
            moved,
            stars.thinned(_SEARCH_STARS),
            len(stars),
            range_arcsec,
            float(np.deg2rad(range_deg)),
            settings,
        )
        anchor = _judged(moved, stars, search, settings)
        if anchor.frames is not None:
            return replace(anchor, correction=anchor.correction.after(guess))
        reason = anchor.reason
    return Anchor(f"{reason}; {tried(group, stars, settings)}")


def _middle(group: Group) -> Floats:
    """Return the middle of a group's images."""
    centres = [f(v.centre) for v, f in zip(group.views, group.frames, strict=True)]
    return np.asarray(np.mean(centres, axis=0))


def _area_arcsec2(group: Group) -> float:
    """Return the area of a group's images, or of the box that holds them all."""
    corners = np.concatenate([f(v.corners) for v, f in zip(group.views, group.frames, strict=True)])
    box = float(np.prod(np.ptp(corners, axis=0))) / 1e6
    return min(box, sum(view.area_arcsec2 for view in group.views))


def _search(
    group: Group,
    stars: Stars,
    n_stars: int,
    range_arcsec: float,
    range_rad: float,
    settings: AlignSettings,
) -> Search:
    """Search the offset with few good objects first, then with more."""
    catalog = _catalog(group)
    starlike = catalog.first(catalog.starlike)
    everything = catalog.first(np.ones(len(catalog), dtype=np.bool_))
    n_bright = max(_BRIGHT_LEAST, _BRIGHT_PER_STAR * n_stars)
    bright = starlike.first(np.ones(len(starlike), dtype=np.bool_), n_bright)
    best: Search | None = None
    best_key = (False, -np.inf)
    n_tried, previous = 0, -1
    for used, pool in ((bright, starlike), (starlike, starlike), (everything, everything)):
        if len(used) == previous or not len(used):
            continue
        previous = len(used)
        n_tried += 1
        offset = _offset(group, stars.xy, stars.mag, used, range_arcsec, range_rad, settings)
        # Two pairs among few detections are rarer than three among many, but no use.
        key = (offset.n_pairs >= settings.min_matches, -offset.chance)
        if best is None or key > best_key:
            best = Search(offset, used, pool, n_tried, range_arcsec, range_rad, stars)
            best_key = key
        if key[0] and offset.chance * n_tried <= settings.max_chance:
            break
    if best is None:
        offset = Offset(0.0, 0.0, 0.0, 0, 0.0, np.inf)
        return Search(offset, catalog, catalog, 1, range_arcsec, range_rad, stars)
    return replace(best, n_tried=n_tried)


def _offset(
    group: Group,
    star_xy: Floats,
    star_mag: Floats,
    used: Catalog,
    range_arcsec: float,
    range_rad: float,
    settings: AlignSettings,
) -> Offset:
    middle = _middle(group)
    return find_offset(
        (star_xy - middle) / 1000.0,
        (used.xy - middle) / 1000.0,
        max_shift=range_arcsec,
        max_roll_rad=range_rad,
        tolerance=settings.tolerance_mas / 1000.0,
        area=_area_arcsec2(group),
        brightness=Brightness(star_mag, used.mag, settings.max_mag_difference),
    )


def _judged(group: Group, stars: Stars, search: Search, settings: AlignSettings) -> Anchor:
    """Return the fit that starts from an offset, if it convinces."""
    if search.offset.n_pairs < 1:
        return Anchor("no reference star near any source")
    # The offset carries stars onto objects; the frames are moved the other way.
    correction = affine_of(search.offset, _middle(group)).inverse()
    fitted = _fitted(group, stars, search, correction, settings)
    if fitted is None:
        return Anchor("no pair of star and source agrees with one fit")
    odds = _odds(group, stars, search, fitted, settings)
    doubt = _doubt(group, fitted, odds, settings)
    if doubt:
        return Anchor(doubt)
    disagreement = _disagreement(fitted, settings)
    first = fitted
    fitted, residual = _with_residual(group, stars, search, fitted, settings)
    parts = [f"{len(fitted.star)} Gaia stars, odds of chance {odds:.1g}", disagreement]
    return Anchor(
        "; ".join(filter(None, parts)) + residual.in_words,
        fitted.frames,
        fitted.correction,
        fitted.data,
        fitted.fit,
        fitted.star,
        fitted.linked,
        odds,
        fitted.geometry,
        residual,
        disagreement,
        _unexplained_mas(first, residual, settings) if disagreement else 0.0,
    )


def _with_residual(
    group: Group, stars: Stars, search: Search, fitted: Fitted, settings: AlignSettings
) -> tuple[Fitted, Residual]:
    """Return what a fit leaves; where that is a distortion, all pairs count that it explains.

    A fit may have found the stars of one part of a distorted image alone: those of the others are
    looked for as far away as they may be.
    """
    moved = replace(group, frames=fitted.frames)
    star, linked = _paired(moved, stars, search, settings.tolerance_mas, settings)
    scale = min(fitted.star_scale, MOST_ERROR_SCALE)
    motion = settings.typical_motion_mas_yr
    data = observations(moved, stars, star, linked, scale, motion_mas_yr=motion)
    fit = fitted_frames(data, len(fitted.fit.common), _prior(settings)[: len(fitted.fit.common)])
    residual = residual_of(moved, data, fit, settings)
    if residual.size_mas == 0:
        return fitted, residual
    geometry = "sip" if residual.order > 1 else fitted.geometry
    return replace(
        fitted, data=data, fit=fit, star=star, linked=linked, geometry=geometry
    ), residual


def _paired(
    group: Group, stars: Stars, search: Search, radius_mas: float, settings: AlignSettings
) -> tuple[Ints, Ints]:
    """Return the stars and the objects that are nearest to each other within a radius."""
    catalog = _catalog(group)
    pool = catalog.first(np.isin(catalog.number, search.pool.number))
    star, place = match_one_to_one(
        stars.xy,
        pool.xy,
        radius_mas,
        Brightness(stars.mag, pool.mag, settings.max_mag_difference),
    )
    return star, pool.number[place]


def _prior(settings: AlignSettings) -> Floats:
    """Return the variances of the common numbers before: a roll beyond the search is excluded."""
    roll_sigma = max(np.deg2rad(settings.max_roll_deg) / 2.0 * 1000.0, 1e-9)
    return np.array([np.inf, np.inf, roll_sigma**2, np.inf, np.inf, np.inf])


@dataclass(frozen=True, eq=False)
class Fitted:
    """A fit of a group to the stars."""

    frames: tuple[Affine, ...]
    correction: Affine
    data: Observations
    fit: Frames
    star: Ints
    linked: Ints
    geometry: str
    radius_mas: float
    star_scale: float


def _fitted(
    group: Group, stars: Stars, search: Search, correction: Affine, settings: AlignSettings
) -> Fitted | None:
    """Pair, fit, and pair again within a radius that follows the scatter, until nothing changes."""
    total, radius_mas, star_scale, n_terms = correction, settings.tolerance_mas, 1.0, 3
    previous: tuple[Ints, Ints] | None = None
    best: Fitted | None = None
    original = group.frames
    frames = tuple(correction.after(frame) for frame in original)
    for _ in range(_MAX_ROUNDS):
        moved = replace(group, frames=frames)
        star, linked = _paired(moved, stars, search, radius_mas, settings)
        if not star.size:
            return None
        same = previous is not None and all(
            np.array_equal(a, b) for a, b in zip(previous, (star, linked), strict=True)
        )
        previous = (star, linked)
        data = observations(
            moved, stars, star, linked, star_scale, motion_mas_yr=settings.typical_motion_mas_yr
        )
        fit, geometry = _laddered(data, len(star), n_terms, settings)
        # What one round has found, the next has taken out: the geometry only grows.
        n_terms = len(fit.common)
        before, star_scale = star_scale, _error_scale(fit, data, star_scale)
        same = same and (abs(star_scale / before - 1.0) < 0.1 or _are_exact(data))
        moves = [Affine(*image_affine(fit, data, k)) for k in range(len(group.views))]
        frames = tuple(move.after(frame) for move, frame in zip(moves, frames, strict=True))
        total = moves[0].after(total)
        best = Fitted(frames, total, data, fit, star, linked, geometry, radius_mas, before)
        if same:
            break
        radius_mas = _next_radius_mas(fit, data, n_terms, settings)
    return best


def _are_exact(data: Observations) -> bool:
    """Tell whether the errors of the stars are nothing beside those of the images."""
    stars = data.image == REFERENCE
    return bool(np.median(data.variance[stars]) < _NOTHING * np.median(data.variance[~stars]))


def _error_scale(fit: Frames, data: Observations, scale: float) -> float:
    """Return by what the errors of the stars have to be multiplied, so that residuals fit them.

    ``scale`` is what they have been multiplied with already.
    """
    pairs = fit.standard[data.image == REFERENCE] * scale
    n_free = max(len(pairs) - 1.5, 0.0)
    # The median: a few outliers must not widen the errors of all others.
    measured = (np.median(pairs) / MEDIAN_STANDARD) ** 2 * len(pairs) / max(n_free, 1.0)
    return float(np.sqrt((n_free * measured + _PRIOR_STARS) / (n_free + _PRIOR_STARS)))


_GEOMETRIES = {3: "rshift", 4: "rscale", 6: "general"}


def _laddered(
    data: Observations, n_stars: int, n_terms: int, settings: AlignSettings
) -> tuple[Frames, str]:
    """Return the fit whose geometry the stars can carry, of at least ``n_terms``."""
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
    rolled = np.sqrt(fit.covariance[2, 2]) < 0.5 * np.sqrt(prior[2]) and n_stars > 1
    return fit, _GEOMETRIES[n_terms] if rolled else "shift"


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


# ---- odds and judgement ----------------------------------------------------------------------


def _odds(
    group: Group, stars: Stars, search: Search, fitted: Fitted, settings: AlignSettings
) -> float:
    """Return the probability that chance gives as many pairs in as small a radius.

    The number of alignments expected by chance follows from the density of
    pairs.  The same search with scrambled stars of the same field (shifted by
    much more than the pointing error) says what that density effectively is:
    clustering raises it.
    """
    area, limit = _area_arcsec2(group), settings.max_mag_difference
    extent = extent_of((stars.xy - _middle(group)) / 1000.0)

    def expected(n_pairs: int, density: float, radius_mas: float) -> float:
        return search.n_tried * expected_chance_peaks(
            n_pairs,
            pair_density=density,
            tolerance=radius_mas / 1000.0,
            max_shift=search.range_arcsec,
            max_roll_rad=search.range_rad,
            extent=extent,
        )

    few, used = search.stars, search.used
    searched = len(few) * len(used) * Brightness(few.mag, used.mag, limit).share() / area
    share = Brightness(stars.mag, search.pool.mag, limit).share()
    density = len(stars) * len(search.pool) * share / area
    clustering = max(search.offset.pair_density / max(searched, 1e-300), 1.0)
    n = len(fitted.star)
    certain = expected(n, density * clustering, fitted.radius_mas) < _CERTAIN
    found = _scrambled_counts(
        group, search, _FEW_SCRAMBLES if certain else settings.n_scrambles, settings
    )
    typical = round(float(np.mean(found))) if found else 0
    # The usual best count of scrambled stars is one of which about one is expected.
    while typical and expected(typical, searched * clustering, settings.tolerance_mas) < 0.5:
        clustering *= 1.1
    odds = -np.expm1(-expected(n, density * clustering, fitted.radius_mas))
    as_good = sum(count >= search.offset.n_pairs for count in found)
    return float(max(odds, (as_good + 1) / (len(found) + 1)) if as_good else odds)


def _scrambled_counts(
    group: Group, search: Search, n_scrambles: int, settings: AlignSettings
) -> list[int]:
    """Return the pairs that the same search finds with scrambled stars, for some scrambles."""
    stars = search.stars
    low, high = stars.xy.min(axis=0), stars.xy.max(axis=0)
    size = np.maximum(high - low, 1.0)
    # Farther than the search reaches, either way around.
    least = np.minimum(2.0 * search.range_arcsec * 1000.0 / size, 0.4)
    counts = []
    for k in range(n_scrambles):
        # Multiples of two irrational numbers: all over the field, and the same in every run.
        step = (np.array([0.7548776662, 0.5698402910]) * (k + 1)) % 1.0
        shift = (least + (1.0 - 2.0 * least) * step) * size
        moved = low + (stars.xy - low + shift) % size
        offset = _offset(
            group,
            moved,
            stars.mag,
            search.used,
            search.range_arcsec,
            search.range_rad,
            settings,
        )
        counts.append(offset.n_pairs)
    return counts


def _doubt(group: Group, fitted: Fitted, odds: float, settings: AlignSettings) -> str:
    """Return why a fit may be chance, or ''."""
    n = len(fitted.star)
    pairs = "1 pair" if n == 1 else f"{n} pairs"
    middle = _middle(group)
    shift_arcsec = float(np.hypot(*(fitted.correction(middle) - middle))) / 1000.0
    matrix = fitted.correction.matrix
    roll_deg = abs(float(np.rad2deg(np.arctan2(matrix[1, 0], matrix[0, 0]))))
    slack = settings.tolerance_mas / 1000.0
    reach = np.hypot(*(group.views[0].corners[0] - group.views[0].centre)) / 1000.0
    slack_deg = float(np.rad2deg(slack / reach))
    outside = shift_arcsec > settings.max_shift_arcsec + slack
    if outside or roll_deg > settings.max_roll_deg + slack_deg:
        return (
            f"a shift of {shift_arcsec:.2f} arcsec and a roll of {roll_deg:.2f} deg are too large"
        )
    if not odds <= settings.max_chance:
        return f"{pairs} may be chance: odds {odds:.1g} (allowed: {settings.max_chance:g})"
    return ""


def _disagreement(fitted: Fitted, settings: AlignSettings) -> str:
    """Return how much the pairs of a match that is no chance disagree, or ''.

    The image, or some of its positions, are off by that much: no reason to keep a header that is
    off by ten times more.
    """
    rms = weighted_rms(pair_residuals(fitted.fit, fitted.data), _pair_weights(fitted))
    good = f"(a good frame: {settings.max_rms_mas:g})"
    if rms.max() > settings.max_rms_mas:
        return f"they scatter by {rms.max():.0f} mas {good}"
    # A few precise stars can make a fit that the others deny: leaving each out in turn tells.
    enough = len(fitted.star) >= _LEAST_LEFT_OUT
    left_out = weighted_rms(*_left_out(fitted)) if enough else np.zeros(2)
    if left_out.max() > settings.max_rms_mas:
        return f"left out in turn they scatter by {left_out.max():.0f} mas {good}"
    return ""


def _unexplained_mas(fitted: Fitted, residual: Residual, settings: AlignSettings) -> float:
    """Return the error that pairs which disagree add to a frame, mas per axis.

    Where the scatter is that of a distortion, the distortion's errors hold.  Else it is not known
    what it is, and more pairs do not average it down.  Pairs are cut off at the tolerance: a
    scatter near that of places anywhere in such a circle says nothing of the stars beyond.
    """
    rms = weighted_rms(pair_residuals(fitted.fit, fitted.data), _pair_weights(fitted))
    n = 2 * len(fitted.star)
    scatter = float(rms.max()) * np.sqrt(n / max(n - len(fitted.fit.common), 1))
    if residual.size_mas > 0.5 * scatter:
        return 0.0
    anywhere = settings.tolerance_mas / 2.0
    left = 1.0 - min(scatter / anywhere, 1.0) ** 2
    return float(min(scatter / np.sqrt(max(left, 1e-6)), settings.tolerance_mas))


def _left_out(fitted: Fitted) -> tuple[Floats, Floats]:
    """Return object minus star for each pair in a fit without it, and inverse variances."""
    stars = fitted.data.image == REFERENCE
    apart = fitted.fit.left_out[stars]
    known = np.isfinite(apart).all(axis=1)
    return apart[known], 1.0 / fitted.data.variance[stars][known]


def _pair_weights(fitted: Fitted) -> Floats:
    """Return inverse variances of the pairs, less for outliers."""
    stars = fitted.data.image == REFERENCE
    return np.asarray(fitted.fit.weights[stars, np.newaxis] / fitted.data.variance[stars])


def weighted_rms(residuals: Floats, weights: Floats) -> Floats:
    """Return the weighted rms of each column.

    Parameters
    ----------
    residuals, weights : (N, K) float
    """
    total = np.maximum(weights.sum(axis=0), 1e-300)
    return np.asarray(np.sqrt((weights * residuals**2).sum(axis=0) / total))
