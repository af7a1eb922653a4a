"""Positions at a reference epoch, proper motions and parallaxes, by weighted least squares.

Positions are offsets east and north of a point near each object, x = x0 + mu (t - t0) + parallax
times the factors of the Earth's place (as the five parameters of Gaia: Lindegren et al. 2012,
A&A 538, A78).  Images whose frames were tied together share a frame error; an object has all of
them, so that its errors are those of its motion on the sky, not only relative to its neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import chdtrc

from bycatch.arrays import Bools, Floats, Ints
from bycatch.images.times import DAYS_PER_YEAR
from bycatch.sky.gaia import MJD_J2000, parallax_shift

LEAST_EPOCHS, LEAST_SPAN_YR = 2, 1.0
"""Fewer epochs, or a shorter time between the first and the last, give a mean position only."""
EPOCH_GAP_DAYS = 1.0
"""Images taken within a day are one epoch."""
MOST_PARALLAX_ERR_MAS = 1.0
"""The parallax is fitted where it can be measured so well, and where that does not cost the motion
more than a factor of `MOST_COST` in its error.  Elsewhere it is taken for 0."""
MOST_COST = 1.5
OUTLIER_CHANCE, OUTLIER_CHI2 = 1e-3, 16.0
"""An image is left out where a fit with it is less likely than that by chance, and where chi2
falls by more than this without it."""
_NO_WEIGHT = 1e12
_N = 5


@dataclass(frozen=True, eq=False)
class Motions:
    """Astrometric solutions of N objects, in mas and years; NaN where there is none.

    Attributes
    ----------
    mjd : (N,) float
        Reference epoch of the position.
    parameters : (N, 5) float
        x, y at the epoch (mas), mu_x, mu_y (mas/yr), parallax (mas); NaN where not fitted.
    covariance : (N, 5, 5) float
    chi2 : (N,) float
    dof : (N,) int
    n_images, n_epochs : (N,) int
        That the fit has used; epochs are more than a day apart.
    outlier : (N,) int
        The image that was left out, -1 for none.
    """

    mjd: Floats
    parameters: Floats
    covariance: Floats
    chi2: Floats
    dof: Ints
    n_images: Ints
    n_epochs: Ints
    outlier: Ints

    @property
    def err(self) -> Floats:
        """Return the errors of the five parameters, (N, 5)."""
        return np.sqrt(np.diagonal(self.covariance, axis1=1, axis2=2))

    def at(self, mjd: float) -> Floats:
        """Return positions at a time, (N, 2) mas; without parallax, and without motion if none."""
        years = (mjd - self.mjd) / DAYS_PER_YEAR
        return self.parameters[:, :2] + np.nan_to_num(self.parameters[:, 2:4]) * years[:, None]


@dataclass(frozen=True, eq=False)
class _Data:
    """Positions and what is needed to fit them: (N, M) each, factors (2, N, M)."""

    xy: Floats
    err: Floats
    used: Bools
    mjd: Floats
    frame: Floats
    factors: Floats | None


def fit_motions(
    x_mas: Floats,
    y_mas: Floats,
    err_mas: Floats,
    mjd: Floats,
    *,
    frame_err_mas: ArrayLike = 0.0,
    frame_of: ArrayLike | None = None,
    reference_mjd: float | None = None,
    ra_deg: Floats | None = None,
    dec_deg: Floats | None = None,
) -> Motions:
    """Fit the positions of N objects in M images.

    Parameters
    ----------
    x_mas, y_mas : (N, M) float
        Offsets east and north, of a point near each object; NaN where an image has none.
    err_mas : (N, M) float
        Error of a centre per axis.
    mjd : (M,) float
        Times of the images; those of NaN are ignored.
    frame_err_mas : (M,) float
        Error of each image's frame per axis, the same for all its objects.
    frame_of : (M,) int, optional
        Images with the same number have one frame, and its error in common; by default each has
        its own.
    reference_mjd : float, optional
        By default that of each object at which position and motion are independent.
    ra_deg, dec_deg : (N,) float, optional
        Where the objects are; without them no parallax is fitted.
    """
    data = _data(x_mas, y_mas, err_mas, mjd, frame_err_mas, frame_of, ra_deg, dec_deg)
    fit = _solve(data, data.used, reference_mjd)
    outlier = _outliers(data, fit, reference_mjd)
    if not (outlier >= 0).any():
        return fit
    mask = data.used & (np.arange(data.mjd.size) != outlier[:, None])
    again = _solve(data, mask, reference_mjd)
    again.outlier[:] = outlier
    return again


def _data(
    x: Floats,
    y: Floats,
    err: Floats,
    mjd: Floats,
    frame_err: ArrayLike,
    frame_of: ArrayLike | None,
    ra: Floats | None,
    dec: Floats | None,
) -> _Data:
    xy, err, mjd = np.stack([x, y]).astype(float), np.asarray(err, float), np.asarray(mjd, float)
    is_good = np.isfinite(xy).all(axis=0) & (err > 0) & np.isfinite(err) & np.isfinite(mjd)
    frame_err = np.broadcast_to(np.nan_to_num(np.asarray(frame_err, float)), mjd.shape)
    label = np.arange(mjd.size) if frame_of is None else np.asarray(frame_of)
    frame_covariance = np.where(label[:, None] == label, frame_err[:, None] * frame_err, 0.0)
    factors = None
    if ra is not None and dec is not None and is_good.size:
        year = 2000.0 + (mjd - MJD_J2000) / DAYS_PER_YEAR
        factors = np.zeros(xy.shape)
        for k in np.flatnonzero(np.isfinite(year)):
            factors[:, :, k] = parallax_shift(ra, dec, float(year[k]))
    return _Data(
        np.where(is_good, xy, 0.0), np.where(is_good, err, 1.0), np.asarray(is_good, np.bool_),
        np.nan_to_num(mjd), frame_covariance, factors,
    )  # fmt: skip


def _solve(data: _Data, mask: Bools, reference_mjd: float | None) -> Motions:
    n, m = mask.shape
    n_images = mask.sum(axis=1)
    n_epochs, span = _epochs(data.mjd, mask)
    weight = _weights(data, mask)
    total = weight.sum(axis=2)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean_mjd = (total * data.mjd).sum(axis=1) / total.sum(axis=1)
    moves = (n_epochs >= LEAST_EPOCHS) & (span >= LEAST_SPAN_YR)
    epoch = mean_mjd if reference_mjd is None else np.where(moves, reference_mjd, mean_mjd)
    t = (data.mjd - np.nan_to_num(epoch)[:, None]) / DAYS_PER_YEAR
    design = np.zeros((2, n, m, _N))
    design[0, :, :, 0] = design[1, :, :, 1] = 1.0
    design[0, :, :, 2] = design[1, :, :, 3] = t
    if data.factors is not None:
        design[..., 4] = data.factors
    free = np.zeros((n, _N), np.bool_)
    free[:, :2] = (n_images > 0)[:, None]
    free[:, 2:4] = moves[:, None]
    normal = np.einsum("anip,nij,anjq->npq", design, weight, design, optimize=True)
    if data.factors is not None:
        free[:, 4] = _parallax_matters(normal, free, n_images)
    covariance = _inverse(normal, free)
    right = np.einsum("anip,nij,anj->np", design, weight, data.xy, optimize=True)
    value = np.einsum("npq,nq->np", covariance, right)
    residual = data.xy - np.einsum("anip,np->ani", design, value)
    chi2 = np.einsum("ani,nij,anj->n", residual, weight, residual, optimize=True)
    dof = np.maximum(2 * n_images - free.sum(axis=1), 0)
    both = free[:, :, None] & free[:, None, :]
    return Motions(
        np.where(n_images > 0, epoch, np.nan), np.where(free, value, np.nan),
        np.where(both, covariance, np.nan), np.where(n_images > 0, chi2, np.nan), dof,
        n_images, n_epochs, np.full(n, -1),
    )  # fmt: skip


def _weights(data: _Data, mask: Bools) -> Floats:
    """Return the inverse covariances of the images, (N, M, M); 0 for those not used."""
    covariance = np.broadcast_to(data.frame, (*mask.shape, mask.shape[1])).copy()
    both = mask[:, :, None] & mask[:, None, :]
    covariance[~both] = 0.0
    own = np.arange(mask.shape[1])
    covariance[:, own, own] += np.where(mask, data.err**2, _NO_WEIGHT)
    weight = np.linalg.inv(covariance)
    weight[~both] = 0.0
    return np.asarray(weight)


def _inverse(normal: Floats, free: Bools) -> Floats:
    """Return the inverses of matrices (N, 5, 5) in their free rows and columns, 0 elsewhere."""
    both = free[:, :, None] & free[:, None, :]
    matrix = np.where(both, normal, 0.0)
    # In units of the diagonal: what is degenerate but for rounding is nearly singular.
    diagonal = np.where(free, np.diagonal(normal, axis1=1, axis2=2), 1.0)
    scale = 1.0 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    matrix = matrix * scale[:, :, None] * scale[:, None, :] + np.eye(_N) * ~free[:, None, :]
    matrix += 1e-13 * np.eye(_N)
    return np.where(both, np.linalg.inv(matrix) * scale[:, :, None] * scale[:, None, :], 0.0)


def _parallax_matters(normal: Floats, free: Bools, n_images: Ints) -> Bools:
    """Return for which objects a parallax is worth fitting, from the design alone."""
    all_free = free.copy()
    all_free[:, 4] = True
    possible = free[:, 2] & (2 * n_images > _N) & (normal[:, 4, 4] > 0)
    all_free[~possible] = free[~possible]
    before, after = _inverse(normal, free), _inverse(normal, all_free)
    good = after[:, 4, 4] <= MOST_PARALLAX_ERR_MAS**2
    cost = np.stack([after[:, k, k] <= MOST_COST**2 * before[:, k, k] for k in (2, 3)])
    return np.asarray(possible & good & cost.all(axis=0), np.bool_)


def _epochs(mjd: Floats, mask: Bools) -> tuple[Ints, Floats]:
    """Return how many epochs each object has, and the years from the first to the last."""
    order = np.argsort(mjd, kind="stable")
    t, here = mjd[order], mask[:, order]
    last = np.where(here, t, -np.inf)
    before = np.maximum.accumulate(last, axis=1) if last.shape[1] else last
    begins = here.copy()
    begins[:, 1:] &= t[1:] - before[:, :-1] > EPOCH_GAP_DAYS
    first = np.where(here, t, np.inf).min(axis=1, initial=np.inf)
    span = last.max(axis=1, initial=-np.inf) - first
    n_epochs = begins.sum(axis=1)
    return n_epochs, np.where(n_epochs > 0, span, 0.0) / DAYS_PER_YEAR


def _outliers(data: _Data, fit: Motions, reference_mjd: float | None) -> Ints:
    """Return the image without which an object's positions agree, -1 where there is none."""
    outlier = np.full(len(fit.chi2), -1)
    unlikely = chdtrc(np.maximum(fit.dof, 1), fit.chi2) < OUTLIER_CHANCE
    # Without an image enough must be left to contradict: else any of them could be the wrong one.
    suspects = np.flatnonzero(unlikely & (fit.dof >= 4) & (fit.n_images >= 3))
    if not suspects.size:
        return outlier
    factors = None if data.factors is None else data.factors[:, suspects]
    part = _Data(
        data.xy[:, suspects], data.err[suspects], data.used[suspects], data.mjd, data.frame, factors
    )
    least = np.full(suspects.size, np.inf)
    for k in range(data.mjd.size):
        mask = part.used.copy()
        mask[:, k] = False
        trial = _solve(part, mask, reference_mjd)
        same_model = np.isfinite(trial.parameters[:, 2]) == np.isfinite(fit.parameters[suspects, 2])
        better = part.used[:, k] & same_model & (trial.dof >= 2) & (trial.chi2 < least)
        least[better] = trial.chi2[better]
        outlier[suspects[better]] = k
    not_enough = fit.chi2[suspects] - least < OUTLIER_CHI2
    outlier[suspects[not_enough]] = -1
    return outlier
