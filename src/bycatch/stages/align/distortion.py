"""What the linear frames of a group leave: how large it is, and what can be taken out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bycatch.arrays import Floats
from bycatch.kernels.distortion import Distortion, distortion
from bycatch.kernels.tiefit import REFERENCE, Frames, Observations, common_terms, common_variance
from bycatch.stages.align.plane import IDENTITY, Affine

if TYPE_CHECKING:
    from bycatch.settings import AlignSettings
    from bycatch.stages.align.relative import Group


MOST_ERROR_SCALE = 2.0
"""Gaia's errors are not off by more: what stars scatter beyond that is the frame's."""
ORDERS = (2, 3, 4, 5)
_LINEAR_ODDS, _BENT_ODDS = 1.0, 1000.0
"""Odds of a distortion from which it changes the linear terms, and is taken out."""
_LEAST_GAIN, _ENOUGH = 0.8, 1.05
"""A polynomial must make the error this much smaller; one of less order may be this much worse."""
_SAME_PLACE = 0.05
_GRID = 13


@dataclass(frozen=True, eq=False)
class Bend:
    """A polynomial map of the plane, common to the images of a group.

    Attributes
    ----------
    order : of the polynomial, at least 2
    middle, unit : mas; positions less the middle, over the unit, are its variables
    coefficients : (n_powers, 2) of what is added, mas
    """

    order: int
    middle: Floats
    unit: float
    coefficients: Floats

    def __call__(self, xy: Floats) -> Floats:
        """Return positions (N, 2) mapped."""
        powers = _powers((xy - self.middle) / self.unit, self.order)
        return np.asarray(xy + powers @ self.coefficients)


@dataclass(frozen=True, eq=False)
class Residual:
    """What the linear frames of a group leave, and what is added to them.

    Attributes
    ----------
    fit : the linear fit
    field : the offsets of the stars
    move : what is added, in the plane: the part of the offsets that a WCS can hold
    size_mas, length_arcsec : of the distortion, 0 and NaN where there is no evidence of one
    left_out : (N, 2) object minus star for each pair in a fit without it, mas; None where the
        linear fit's own hold
    """

    fit: Frames
    field: Distortion
    move: Affine | Bend
    size_mas: float
    length_arcsec: float
    left_out: Floats | None = None

    @property
    def order(self) -> int:
        """The order of the polynomial that is added, 1 if none is."""
        return self.move.order if isinstance(self.move, Bend) else 1

    @property
    def in_words(self) -> str:
        """What it adds to the reason of a grade."""
        if not self.size_mas:
            return ""
        what = f"a distortion of {self.size_mas:.0f} mas"
        return f"; {what} is removed (SIP)" if self.order > 1 else f"; {what} is left"

    def variance(self, xy: Floats) -> Floats:
        """Return the variances (N, 2), mas^2, of positions in the plane once it is added."""
        offset, variance = self.field.at(xy / 1000.0)
        return np.asarray(variance + (offset - (self.move(xy) - xy)) ** 2)

    def extra_variance(self, xy: Floats) -> Floats:
        """Return what the covariance of the linear fit lacks of it."""
        return np.maximum(self.variance(xy) - common_variance(self.fit, xy / 1000.0), 0.0)


def residual_of(group: Group, data: Observations, fit: Frames, settings: AlignSettings) -> Residual:
    """Return what the fit of a group to its stars leaves.

    Parameters
    ----------
    group : Group
    data : Observations of the group and the stars
    fit : Frames, the linear fit
    settings : AlignSettings
    """
    stars = data.image == REFERENCE
    apart, variance = _pairs(data, fit)
    roll_sigma = np.deg2rad(settings.max_roll_deg) / 2.0 * 1000.0
    n_terms = len(fit.common)
    prior = np.full(n_terms, np.inf)
    prior[2] = max(roll_sigma, 1e-9) ** 2
    reach = max(float(np.hypot(*(v.corners[0] - v.centre))) for v in group.views) / 1000.0
    middle = data.centres.mean(axis=0) / 1000.0
    field = distortion(
        data.xy[stars] / 1000.0, apart, variance, prior, reach, middle, _normals(group)
    )
    if not field.odds >= _LINEAR_ODDS:
        return Residual(fit, field, IDENTITY, 0.0, np.nan)
    grid = _grid(group, data, reach)
    offset, variance = field.at(grid / 1000.0)
    linear = _linear(grid, offset, n_terms)
    move: Affine | Bend = linear
    if field.odds >= _BENT_ODDS and stars.sum() >= settings.min_stars_distortion:
        move = _best_bend(grid, offset, variance, linear)
    left_out = _left_out(field, move, data.xy[stars]) if isinstance(move, Bend) else None
    return Residual(fit, field, move, field.size_mas, field.length_arcsec, left_out)


def _normals(group: Group) -> Floats:
    """Return (4, 2) normals of the lines along which two chips may meet: as coverage.py cuts."""
    a, b, _, d = group.frames[0](group.views[0].corners)
    x, y = ((side - a) / np.hypot(*(side - a)) for side in (b, d))
    return np.stack([x, y, (x + y) / np.sqrt(2.0), (x - y) / np.sqrt(2.0)])


def _pairs(data: Observations, fit: Frames) -> tuple[Floats, Floats]:
    """Return star minus object (N, 2), mas, in the frames as they are, and its variance."""
    stars = data.image == REFERENCE
    here, n = data.obj[stars], int(data.obj.max()) + 1
    apart, variance = np.empty((len(here), 2)), np.empty((len(here), 2))
    # An image that denies the others of an object counts less, a star that denies the fit does not.
    best = np.zeros(n)
    np.maximum.at(best, data.obj, np.where(stars, 0.0, fit.weights))
    trust = fit.weights / np.maximum(best, 1e-300)[data.obj]
    for axis in (0, 1):
        weight = np.where(stars, 0.0, trust / data.variance[:, axis])
        total = np.maximum(np.bincount(data.obj, weight, n), 1e-300)
        mean = np.bincount(data.obj, weight * data.xy[:, axis], n) / total
        apart[:, axis] = data.xy[stars, axis] - mean[here]
        variance[:, axis] = 1.0 / total[here] + data.variance[stars, axis]
    return apart, variance


def _grid(group: Group, data: Observations, reach_arcsec: float) -> Floats:
    """Return positions all over the images of a group, those of one place once."""
    places: list[Floats] = []
    points = []
    share = np.linspace(0.0, 1.0, _GRID)
    s, t = (v.ravel()[:, np.newaxis] for v in np.meshgrid(share, share))
    for k, (view, frame) in enumerate(zip(group.views, group.frames, strict=True)):
        if any(np.hypot(*(data.centres[k] - p)) < _SAME_PLACE * reach_arcsec * 1e3 for p in places):
            continue
        places.append(data.centres[k])
        a, b, c, d = frame(view.corners)
        points.append((1 - t) * ((1 - s) * a + s * b) + t * ((1 - s) * d + s * c))
    return np.concatenate(points)


def _linear(grid: Floats, offset: Floats, n_terms: int) -> Affine:
    """Return the map of a fit's terms that is nearest to offsets on a grid."""
    terms = np.concatenate([common_terms(grid / 1000.0, axis)[:, :n_terms] for axis in (0, 1)])
    coefficients = np.zeros(6)
    coefficients[:n_terms] = np.linalg.lstsq(terms, offset.T.ravel(), rcond=None)[0]
    xi, eta, roll, scale, skew, shear = coefficients
    matrix = np.array([[scale + skew, shear - roll], [shear + roll, scale - skew]]) / 1000.0
    return Affine(np.eye(2) + matrix, np.array([xi, eta]))


def _best_bend(grid: Floats, offset: Floats, variance: Floats, linear: Affine) -> Affine | Bend:
    """Return the polynomial of least order that leaves hardly more than any does, if it helps."""
    middle = grid.mean(axis=0)
    unit = float(np.abs(grid - middle).max())
    candidates: list[tuple[float, Bend]] = []
    for order in ORDERS:
        powers = _powers((grid - middle) / unit, order)
        coefficients = np.linalg.lstsq(powers, offset, rcond=None)[0]
        bend = Bend(order, middle, unit, np.asarray(coefficients, dtype=np.float64))
        candidates.append((_error_mas(bend, grid, offset, variance), bend))
    least = min(error for error, _ in candidates)
    error, bend = next((e, b) for e, b in candidates if e <= _ENOUGH * least)
    return bend if error < _LEAST_GAIN * _error_mas(linear, grid, offset, variance) else linear


def _error_mas(move: Affine | Bend, grid: Floats, offset: Floats, variance: Floats) -> float:
    """Return the rms error per axis that is left once a map is applied."""
    return float(np.sqrt(np.mean(variance + (offset - (move(grid) - grid)) ** 2)))


def _left_out(field: Distortion, bend: Bend, xy: Floats) -> Floats:
    """Return object minus star for each pair, as the others predict it; NaN if unknown."""
    is_finite = np.isfinite(field.left_out).all(axis=1)
    out = np.full(xy.shape, np.nan)
    distortion = field.at(xy[is_finite] / 1000.0)[0] - (bend(xy[is_finite]) - xy[is_finite])
    out[is_finite] = -field.left_out[is_finite] - distortion
    return out


def _powers(xy: Floats, order: int) -> Floats:
    """Return the products of powers of positions (N, 2) up to an order."""
    x, y = xy.T
    return np.stack(
        [x**p * y ** (n - p) for n in range(order + 1) for p in range(n, -1, -1)], axis=1
    )
