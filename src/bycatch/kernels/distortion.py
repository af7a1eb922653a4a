"""What a linear frame can't remove: a smooth field of offsets, told by the residuals of stars.

Residuals are the sum of an error of the frame's linear terms, a Gaussian random field of rms
size s that is correlated over a length L, and the errors of the stars (kriging with a drift:
Matheron 1973, Adv. Appl. Prob. 5, 439; Rasmussen & Williams 2006, *Gaussian Processes for Machine
Learning*, sections 2.2 and 2.7).  No s and L is chosen: each counts by its marginal likelihood and
what is likely before, and so does the absence of any distortion.  Far from all stars the field is
known to s and no better; stars that share one error do not average it down.  Beside smooth fields
and rough ones there are steps: each side of a line has an offset of its own, as two chips have.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from bycatch.arrays import Bools, Floats
from bycatch.kernels.tiefit import common_terms

SIZES_MAS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
"""The rms sizes per axis that are tried; as likely beforehand as 1 / sqrt(size)."""
LENGTHS = (0.1, 0.2, 0.4, 0.8)
"""The correlation lengths, as shares of the reach; all as likely."""
SMOOTHNESS = (2, 1)
"""Powers of the distance: exp(-r^2 / 2 L^2) is smooth, exp(-r / L) is rough."""
LIKELY, STEP = 0.25, 0.15
"""How likely a distortion and a step of 1 mas or more are before anything is known of an image."""
MOST_STARS = 100
"""More do not tell more of a smooth field, and cost their third power."""
OUTLIERS, OUTLIER_MAS, OUTLIER_SQUARE = 0.005, 50.0, 20.0
"""Share of pairs that are wrong, their scatter per axis, and the chi square that makes one."""
_LEAST_WEIGHT = 1e-3
_FREE_MAS, _FREE_MAS_PER_ARCSEC = 1000.0, 10.0
"""Errors of linear terms of which nothing is known."""


@dataclass(frozen=True, eq=False)
class _Model:
    """A field of one size and length: its weight, and the solved equations of the residuals.

    A step has the ``normal`` (2,) of its line, which goes through the middle.
    """

    weight: float
    size_mas: float
    length_arcsec: float
    power: int
    normal: Floats
    inverse: Floats  # (2N, 2N)
    solved: Floats  # (2N,)


@dataclass(frozen=True, eq=False)
class Distortion:
    """The offsets that have to be added to positions, and how well they are known.

    Attributes
    ----------
    xy_arcsec : (N, 2) the stars that were taken, from the middle of the image
    middle_arcsec : (2,)
    prior : (n_terms,) variances of the linear terms, mas^2 and (mas per arcsec)^2
    odds : of a distortion against none
    size_mas : its rms size per axis; 0 is part of the mean
    length_arcsec : mean correlation length of those that are likely; NaN without any
    left_out : (N, 2) residuals, mas, each by the others alone; NaN for those that were not taken
    """

    xy_arcsec: Floats
    middle_arcsec: Floats
    prior: Floats
    odds: float
    size_mas: float
    length_arcsec: float
    left_out: Floats
    models: tuple[_Model, ...]

    def at(self, xy_arcsec: Floats) -> tuple[Floats, Floats]:
        """Return the offsets (M, 2), mas, at positions (M, 2), and their variances (M, 2)."""
        m = len(xy_arcsec)
        at = xy_arcsec - self.middle_arcsec
        terms = _drift(xy_arcsec, len(self.prior))
        own = _drift(self.xy_arcsec + self.middle_arcsec, len(self.prior))
        shared = (terms * self.prior) @ own.T
        alone = np.einsum("ij,j,ij->i", terms, self.prior, terms)
        mean, square = np.zeros(2 * m), np.zeros(2 * m)
        for model in self.models:
            cross = shared + _both(_correlated(at, self.xy_arcsec, model))
            offset = cross @ model.solved
            known = np.einsum("ij,ij->i", cross @ model.inverse, cross)
            variance = np.maximum(alone + model.size_mas**2 - known, 0.0)
            mean += model.weight * offset
            square += model.weight * (variance + offset**2)
        shape = (2, m)
        return mean.reshape(shape).T, np.maximum(square - mean**2, 0.0).reshape(shape).T


def distortion(
    xy_arcsec: Floats,
    residuals: Floats,
    variance: Floats,
    prior: Floats,
    reach_arcsec: float,
    middle_arcsec: Floats,
    normals: Floats,
) -> Distortion:
    """Return what the residuals of a linear fit tell of a distortion.

    Parameters
    ----------
    xy_arcsec : (N, 2) positions of the stars; of more than MOST_STARS about that many are taken
    residuals : (N, 2) mas, star minus object: what has to be added to the frame
    variance : (N, 2) mas^2, expected; larger for an outlier
    prior : (n_terms,) variances of the fit's linear terms, as in `tiefit.fitted_frames`
    reach_arcsec : half of the diagonal of an image
    middle_arcsec : (2,) of the image
    normals : (K, 2) of the lines through it along which there may be a step
    """
    step = -(-len(xy_arcsec) // MOST_STARS)
    xy, apart, noise = (values[::step] for values in (xy_arcsec, residuals, variance))
    free = np.array([_FREE_MAS, _FREE_MAS, *[_FREE_MAS_PER_ARCSEC] * 4])[: len(prior)] ** 2
    prior = np.minimum(prior, free)
    terms = _drift(xy, len(prior))
    fixed = np.diag(noise.T.ravel()) + (terms * prior) @ terms.T
    data = apart.T.ravel()
    xy = xy - middle_arcsec
    found = [_solved(model, xy, fixed, data) for model in _tried(reach_arcsec, normals)]
    logs = np.array([log for log, _ in found])
    weights = np.exp(logs - logs.max())
    weights /= weights.sum()
    kept: Bools = weights > _LEAST_WEIGHT
    total = float(weights[kept].sum())
    solved = [replace(found[k][1], weight=float(weights[k]) / total) for k in np.flatnonzero(kept)]
    real = [m for m in solved if m.size_mas > 0]
    some = sum(m.weight for m in real)
    left_out = sum(m.weight * m.solved / np.diag(m.inverse) for m in solved)
    apart_alone = np.full(residuals.shape, np.nan)
    apart_alone[::step] = np.asarray(left_out).reshape(2, -1).T
    return Distortion(
        xy_arcsec=xy,
        middle_arcsec=middle_arcsec,
        prior=prior,
        odds=float((1.0 - weights[0]) / max(weights[0], 1e-300)),
        size_mas=float(np.sqrt(sum(m.weight * m.size_mas**2 for m in solved))),
        length_arcsec=sum(m.weight * m.length_arcsec for m in real) / some if real else np.nan,
        left_out=apart_alone,
        models=tuple(solved),
    )


def _tried(reach_arcsec: float, normals: Floats) -> list[_Model]:
    """Return the fields that are tried, the absence of any first, with their weights before."""
    nothing, no_line = np.empty((0, 0)), np.zeros(2)
    likely = np.array(SIZES_MAS) ** -0.5
    likely /= likely.sum()
    share = LIKELY / (len(LENGTHS) * len(SMOOTHNESS))
    models = [_Model(1.0 - LIKELY - STEP, 0.0, reach_arcsec, 2, no_line, nothing, nothing)]
    for size, weight in zip(SIZES_MAS, likely.tolist(), strict=True):
        models += [
            _Model(weight * share, size, length * reach_arcsec, power, no_line, nothing, nothing)
            for length in LENGTHS
            for power in SMOOTHNESS
        ]
        models += [
            _Model(weight * STEP / len(normals), size, reach_arcsec, 0, n, nothing, nothing)
            for n in normals
        ]
    return models


def _solved(model: _Model, xy_arcsec: Floats, fixed: Floats, data: Floats) -> tuple[float, _Model]:
    """Solve the equations of a field; return the log of its likelihood times its weight, too.

    Stars that deny the others are taken for outliers, the worst first, at what that costs: a few
    of them explain the residuals as well as a distortion does, many do not.
    """
    covariance = fixed + _both(_correlated(xy_arcsec, xy_arcsec, model))
    n = len(xy_arcsec)
    log = float(np.log(model.weight))
    outlier = np.zeros(n, dtype=np.bool_)
    while True:
        factor = np.linalg.cholesky(covariance)
        inverse = np.asarray(np.linalg.inv(covariance), dtype=np.float64)
        solved = inverse @ data
        # Squares of residuals in a fit without the star over their variances, both axes.
        square = (solved**2 / np.diag(inverse)).reshape(2, n).sum(axis=0)
        square[outlier] = 0.0
        new = square > max(OUTLIER_SQUARE, 0.5 * square.max())
        if not new.any() or outlier.sum() + new.sum() > 0.5 * n:
            break
        outlier |= new
        covariance[np.diag_indices(2 * n)] += OUTLIER_MAS**2 * np.tile(new, 2)
    log += outlier.sum() * np.log(OUTLIERS) + (~outlier).sum() * np.log(1.0 - OUTLIERS)
    log += -np.log(np.diag(factor)).sum() - 0.5 * data @ solved
    return log, replace(model, inverse=inverse, solved=solved)


def _drift(xy_arcsec: Floats, n_terms: int) -> Floats:
    """Return (2M, n_terms): the linear terms of all xi, then of all eta."""
    return np.concatenate([common_terms(xy_arcsec, axis)[:, :n_terms] for axis in (0, 1)])


def _correlated(a_arcsec: Floats, b_arcsec: Floats, model: _Model) -> Floats:
    """Return the covariance of the field between positions, along one axis, mas^2.

    Positions are from the middle of the image.
    """
    if model.normal.any():
        same = (a_arcsec @ model.normal > 0)[:, np.newaxis] == (b_arcsec @ model.normal > 0)
        return np.asarray(model.size_mas**2 * same, dtype=np.float64)
    apart = np.hypot(*(a_arcsec[:, np.newaxis] - b_arcsec).transpose(2, 0, 1))
    ratio = apart / model.length_arcsec
    return np.asarray(model.size_mas**2 * np.exp(-(ratio**model.power) / model.power))


def _both(one_axis: Floats) -> Floats:
    """Return the covariance of both axes, which are independent of each other."""
    return np.asarray(np.kron(np.eye(2), one_axis), dtype=np.float64)
