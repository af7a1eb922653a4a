"""Completeness as a smooth curve of magnitude, and the magnitudes where it falls to a level.

The curve is a plateau that falls in one or two steps: the light is lost in the noise, and, in a
single exposure, faint sources are taken for cosmic rays long before. The plateau is below 1, since
bright neighbours and defects hide sources of any magnitude: a few of them among the brightest
do not decide where nine in ten are found.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bycatch.arrays import Bools, Floats

BIN_MAG = 0.1
"""The fit counts in bins: much narrower than any step."""
PLATEAU = (4.0, 2.0)
"""Mean and width of the logit of the plateau before the data speak: 0.5 to 0.9997 in 2 sigma."""
WIDTH_LN = (-1.2, 0.8)
"""The same of the logarithm of a step's width in magnitudes: 0.06 to 1.5."""
OFFSET_LN = (0.5, 1.0)
"""The same of the logarithm of what lies between two steps."""
SHARE = (0.0, 2.0)
"""The same of the logit of the first step's share."""
MOST_ERROR_MAG = 1.0
STEP = 1e-4


@dataclass(frozen=True, eq=False)
class FallingCurve:
    """A curve that falls with magnitude, and the covariance of its parameters."""

    parameters: Floats
    covariance: Floats
    mag_range: tuple[float, float]

    def at(self, mag: Floats | float) -> Floats:
        """Return the completeness at magnitudes."""
        return _curve(self.parameters, np.asarray(mag, float))

    def limit(self, level: float) -> tuple[float | None, float | None]:
        """Return where the curve falls to a level, and the 1-sigma error.

        None where it does not within the data, or where is not known to `MOST_ERROR_MAG`.
        """
        mag = _where(self.parameters, level, self.mag_range)
        if mag is None:
            return None, None
        # The level stays: dm = -(dc/dp) dp / (dc/dm).
        slope = float(self.at(mag + STEP) - self.at(mag - STEP)) / (2 * STEP)
        by_parameter = _gradient(lambda p: float(_curve(p, np.array([mag]))[0]), self.parameters)
        variance = float(by_parameter @ self.covariance @ by_parameter)
        error = float(np.sqrt(max(variance, 0.0)) / abs(slope)) if slope else np.inf
        return (mag, error) if error <= MOST_ERROR_MAG else (None, None)


def fit_curve(mag: Floats, yes: Bools) -> FallingCurve | None:
    """Fit a falling curve by maximum likelihood, with weak priors that keep it regular.

    Parameters
    ----------
    mag : (N,) float
    yes : (N,) bool

    Returns
    -------
    FallingCurve or None
        With a second step where the Bayesian information criterion asks for one; None if all
        or none are True.
    """
    n_yes = int(np.count_nonzero(yes))
    if not 0 < n_yes < len(mag):
        return None
    bins, where = np.unique(np.floor(mag / BIN_MAG), return_inverse=True)
    n = np.bincount(where).astype(float)
    k = np.bincount(where, weights=yes).astype(float)
    middle = (bins + 0.5) * BIN_MAG
    half = float(np.quantile(mag, n_yes / len(mag)))
    one = _best(middle, n, k, np.array([2.0, half, -1.2]))
    two = _best(middle, n, k, np.array([2.0, half - 0.7, -1.2, 0.0, 0.3, -1.2]))
    penalty = 0.5 * 3 * np.log(len(mag))
    parameters = two[1] if two[0] + penalty < one[0] else one[1]
    hessian = _hessian(lambda p: _cost(p, middle, n, k), parameters)
    covariance = np.asarray(np.linalg.pinv(hessian, hermitian=True), dtype=np.float64)
    return FallingCurve(parameters, covariance, (float(mag.min()), float(mag.max())))


def _best(mag: Floats, n: Floats, k: Floats, start: Floats) -> tuple[float, Floats]:
    from scipy.optimize import minimize

    minimum = minimize(_cost, start, args=(mag, n, k), method="BFGS", options={"gtol": 1e-2})
    return float(minimum.fun), np.asarray(minimum.x)


def _cost(p: Floats, mag: Floats, n: Floats, k: Floats) -> float:
    """Return minus the logarithm of likelihood and priors."""
    share = np.clip(_curve(p, mag), 1e-9, 1 - 1e-9)
    cost = -float((k * np.log(share) + (n - k) * np.log1p(-share)).sum())
    priors = [(p[0], PLATEAU), (p[2], WIDTH_LN)]
    if len(p) > 3:
        priors += [(p[3], SHARE), (p[4], OFFSET_LN), (p[5], WIDTH_LN)]
    return cost + sum(0.5 * float((v - mean) / width) ** 2 for v, (mean, width) in priors)


def _curve(p: Floats, mag: Floats) -> Floats:
    first = _logistic((p[1] - mag) / np.exp(np.clip(p[2], -6, 3)))
    if len(p) > 3:
        place = p[1] + np.exp(np.clip(p[4], -6, 3))
        second = _logistic((place - mag) / np.exp(np.clip(p[5], -6, 3)))
        share = _logistic(p[3])
        first = share * first + (1 - share) * second
    return np.asarray(_logistic(p[0]) * first)


def _logistic(x: Floats | float) -> Floats:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(x, -500, 500))))


def _where(p: Floats, level: float, mag_range: tuple[float, float]) -> float | None:
    low, high = mag_range
    if not _curve(p, np.array([low]))[0] > level > _curve(p, np.array([high]))[0]:
        return None
    for _ in range(50):
        middle = 0.5 * (low + high)
        if _curve(p, np.array([middle]))[0] > level:
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)


def _gradient(function: Callable[[Floats], float], p: Floats, step: float = STEP) -> Floats:
    steps = step * np.eye(len(p))
    return np.array([(function(p + s) - function(p - s)) / (2 * step) for s in steps])


def _hessian(function: Callable[[Floats], float], p: Floats) -> Floats:
    step = 1e-3
    rows = [
        _gradient(function, p + s, step) - _gradient(function, p - s, step)
        for s in step * np.eye(len(p))
    ]
    hessian = np.array(rows) / (2 * step)
    return np.asarray(0.5 * (hessian + hessian.T))
