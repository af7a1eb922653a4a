"""What a linear frame can't remove: a smooth field of offsets, measured by the residuals of stars.

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
"""More add nothing for a smooth field, and cost their third power."""
OUTLIERS, OUTLIER_MAS, OUTLIER_SQUARE = 0.005, 50.0, 20.0
"""Share of pairs that are wrong, their scatter per axis, and the chi square that makes one."""
_LEAST_WEIGHT = 1e-3
_FREE_MAS, _FREE_MAS_PER_ARCSEC = 1000.0, 10.0
"""Errors of linear terms of which nothing is known."""


@dataclass(frozen=True, eq=False)
class _Covariance:
    """A covariance of both axes, (W^T W)^-1 + U U^T, of which U has few columns.

    Its inverse is W^T W - R R^T (Woodbury 1950, Princeton Statistical Research Group Memo 42).

    Attributes
    ----------
    roots : (N, N) upper triangular W^T of each axis, or (2N,) both diagonals if there is no more
    shared : (2N, r) U
    weighted : (2N, r) W^T W U
    inner : (r, r) lower triangular, the Cholesky factor of 1 + U^T W^T W U
    reduced : (2N, r) R
    diagonal : (2N,) of the inverse
    log_det : log of the determinant of the covariance
    """

    roots: tuple[Floats, Floats] | Floats
    shared: Floats
    weighted: Floats
    inner: Floats
    reduced: Floats
    diagonal: Floats
    log_det: float

    def solve(self, values: Floats) -> Floats:
        """Return the inverse times values (2N,)."""
        return _times_root_square(self.roots, values) - self.reduced @ (self.reduced.T @ values)

    def change(self, common_terms: Floats, cross: Floats | None) -> Floats:
        """Return what the data change the variance of a field by elsewhere, (2M,).

        To what the field loses the error of U's coefficients is added (Rasmussen & Williams 2006,
        equation 2.42): a difference of the large variances of these would have no digits left.

        Parameters
        ----------
        common_terms : (2M, r) U there
        cross : (M, N) covariance of the field there and at the data, of either axis
        """
        loss = np.zeros(len(common_terms))
        if cross is not None and isinstance(self.roots, tuple):
            loss = np.concatenate([((cross @ root) ** 2).sum(axis=1) for root in self.roots])
            halves = np.split(self.weighted, 2)
            common_terms = common_terms - np.concatenate([cross @ half for half in halves])
        return np.asarray((np.linalg.solve(self.inner, common_terms.T) ** 2).sum(axis=0) - loss)


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
    covariance: _Covariance | None = None  # of the residuals
    solved: Floats | None = None  # (2N,) its inverse times the residuals

    @property
    def is_field(self) -> bool:
        """Whether it is a smooth or a rough field, neither a step nor nothing."""
        return self.size_mas > 0 and not self.normal.any()


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
        drift = _drift(xy_arcsec, self.prior)
        mean, square = np.zeros(2 * m), np.zeros(2 * m)
        for model in self.models:
            if model.covariance is None or model.solved is None:
                continue
            common_terms = _shared_terms(at, drift, model)
            offset = common_terms @ (model.covariance.shared.T @ model.solved)
            cross = None
            if model.is_field:
                cross = _covariance_between(at, self.xy_arcsec, model)
                offset += (model.solved.reshape(2, -1) @ cross.T).ravel()
            alone = model.size_mas**2 if model.is_field else 0.0
            variance = np.maximum(alone + model.covariance.change(common_terms, cross), 0.0)
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
    """Return the evidence for a distortion in the residuals of a linear fit.

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
    drift = _drift(xy, prior)
    data = apart.T.ravel()
    xy = xy - middle_arcsec
    candidates = _candidate_models(reach_arcsec, normals)
    solutions = [_solve(model, xy, noise.T.ravel(), drift, data) for model in candidates]
    logs = np.array([log for log, _, _ in solutions])
    weights = np.exp(logs - logs.max())
    weights /= weights.sum()
    has_weight: Bools = weights > _LEAST_WEIGHT
    total = float(weights[has_weight].sum())
    models = [
        replace(
            candidates[k],
            weight=float(weights[k]) / total,
            covariance=solutions[k][1],
            solved=solutions[k][2],
        )
        for k in np.flatnonzero(has_weight)
    ]
    real = [m for m in models if m.size_mas > 0]
    some = sum(m.weight for m in real)
    left_out = sum(
        float(weights[k]) / total * solutions[k][2] / solutions[k][1].diagonal
        for k in np.flatnonzero(has_weight)
    )
    apart_alone = np.full(residuals.shape, np.nan)
    apart_alone[::step] = np.asarray(left_out).reshape(2, -1).T
    return Distortion(
        xy_arcsec=xy,
        middle_arcsec=middle_arcsec,
        prior=prior,
        odds=float((1.0 - weights[0]) / max(weights[0], 1e-300)),
        size_mas=float(np.sqrt(sum(m.weight * m.size_mas**2 for m in models))),
        length_arcsec=sum(m.weight * m.length_arcsec for m in real) / some if real else np.nan,
        left_out=apart_alone,
        models=tuple(models),
    )


def _candidate_models(reach_arcsec: float, normals: Floats) -> list[_Model]:
    """Return the fields that are tried, the absence of any first, with their weights before."""
    no_line = np.zeros(2)
    likely = np.array(SIZES_MAS) ** -0.5
    likely /= likely.sum()
    share = LIKELY / (len(LENGTHS) * len(SMOOTHNESS))
    models = [_Model(1.0 - LIKELY - STEP, 0.0, reach_arcsec, 2, no_line)]
    for size, weight in zip(SIZES_MAS, likely.tolist(), strict=True):
        models += [
            _Model(weight * share, size, length * reach_arcsec, power, no_line)
            for length in LENGTHS
            for power in SMOOTHNESS
        ]
        models += [_Model(weight * STEP / len(normals), size, reach_arcsec, 0, n) for n in normals]
    return models


def _solve(
    model: _Model, xy_arcsec: Floats, noise: Floats, drift: Floats, data: Floats
) -> tuple[float, _Covariance, Floats]:
    """Solve the equations of a field.

    Stars that deny the others are taken for outliers, the worst first, at what that costs: a few
    of them explain the residuals as well as a distortion does, many do not.

    Returns
    -------
    log : of the likelihood times the weight
    covariance : of the residuals, outliers with their scatter
    solved : (2N,) its inverse times the residuals
    """
    n = len(xy_arcsec)
    one_axis = _covariance_between(xy_arcsec, xy_arcsec, model) if model.is_field else None
    common_terms = _shared_terms(xy_arcsec, drift, model)
    outlier = np.zeros(n, dtype=np.bool_)
    while True:
        covariance = _factor(one_axis, noise, common_terms)
        weighted_data = covariance.solve(data)
        # Squares of residuals in a fit without the star over their variances, both axes.
        square = (weighted_data**2 / covariance.diagonal).reshape(2, n).sum(axis=0)
        square[outlier] = 0.0
        new = square > max(OUTLIER_SQUARE, 0.5 * square.max())
        if not new.any() or outlier.sum() + new.sum() > 0.5 * n:
            break
        outlier |= new
        noise = noise + OUTLIER_MAS**2 * np.tile(new, 2)
    log = float(np.log(model.weight))
    log += outlier.sum() * np.log(OUTLIERS) + (~outlier).sum() * np.log(1.0 - OUTLIERS)
    return (
        log - 0.5 * covariance.log_det - 0.5 * float(data @ weighted_data),
        covariance,
        weighted_data,
    )


def _factor(one_axis: Floats | None, noise: Floats, common_terms: Floats) -> _Covariance:
    """Return the covariance of noise (2N,), a field (N, N) of either axis, and shared errors.

    The latter are (2N, r), each column an error of size 1.
    """
    from scipy.linalg.lapack import dtrtri

    roots: tuple[Floats, Floats] | Floats
    if one_axis is None:
        roots = noise**-0.5
        diagonal, log_det = 1.0 / noise, float(np.log(noise).sum())
    else:
        n = len(one_axis)
        inverses, log_det = [], 0.0
        for axis in (0, 1):
            whole = one_axis.copy()
            whole[np.diag_indices(n)] += noise[axis * n : (axis + 1) * n]
            lower = np.linalg.cholesky(whole)
            log_det += 2.0 * float(np.log(np.diag(lower)).sum())
            inverses.append(np.asarray(dtrtri(lower.T, lower=0)[0], dtype=np.float64))
        roots = (inverses[0], inverses[1])
        diagonal = np.concatenate([np.einsum("ij,ij->i", root, root) for root in roots])
    weighted_terms = _times_root_square(roots, common_terms)
    inner = np.asarray(
        np.linalg.cholesky(np.eye(common_terms.shape[1]) + common_terms.T @ weighted_terms),
        dtype=np.float64,
    )
    reduction = np.asarray(np.linalg.solve(inner, weighted_terms.T).T, dtype=np.float64)
    log_det += 2.0 * float(np.log(np.diag(inner)).sum())
    diagonal = diagonal - (reduction**2).sum(axis=1)
    return _Covariance(roots, common_terms, weighted_terms, inner, reduction, diagonal, log_det)


def _times_root_square(roots: tuple[Floats, Floats] | Floats, values: Floats) -> Floats:
    """Return W^T W times values (2N,) or (2N, r)."""
    if isinstance(roots, tuple):
        halves = np.split(values, 2)
        return np.concatenate(
            [root @ (root.T @ half) for root, half in zip(roots, halves, strict=True)]
        )
    return np.asarray((values.T * roots**2).T)


def _drift(xy_arcsec: Floats, prior: Floats) -> Floats:
    """Return (2M, n_terms): the linear terms, at their errors, of all xi, then of all eta."""
    terms = np.concatenate([common_terms(xy_arcsec, axis)[:, : len(prior)] for axis in (0, 1)])
    return np.asarray(terms * np.sqrt(prior), dtype=np.float64)


def _shared_terms(xy_arcsec: Floats, drift: Floats, model: _Model) -> Floats:
    """Return (2M, r): the drift and a step, which is one offset per axis and side.

    Positions are from the middle of the image.
    """
    if not model.normal.any():
        return drift
    side = xy_arcsec @ model.normal > 0
    sides = model.size_mas * np.stack([side, ~side], axis=1)
    return np.hstack([drift, np.kron(np.eye(2), sides)])


def _covariance_between(a_arcsec: Floats, b_arcsec: Floats, model: _Model) -> Floats:
    """Return the covariance of a smooth or rough field between positions, along one axis, mas^2."""
    apart = np.hypot(*(a_arcsec[:, np.newaxis] - b_arcsec).transpose(2, 0, 1))
    ratio = apart / model.length_arcsec
    return np.asarray(model.size_mas**2 * np.exp(-(ratio**model.power) / model.power))
