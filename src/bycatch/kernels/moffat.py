"""Moffat profiles fitted to many sources at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

GAMMA_PX = (0.3, 20.0)
ALPHA = (0.5, 30.0)
"""Ranges of the fit: a core narrower than a pixel, a profile as flat as the aperture; wings from
divergent to Gaussian."""
MAX_ITERATIONS = 100
LOWER = np.array([0.0, np.log(GAMMA_PX[0]), np.log(ALPHA[0]), -np.inf])
UPPER = np.array([np.inf, np.log(GAMMA_PX[1]), np.log(ALPHA[1]), np.inf])


@dataclass(frozen=True, eq=False)
class MoffatFits:
    """Results for N profiles; a failed fit holds NaN.

    The profile is ``bias + amplitude * (1 + (r / gamma_px)**2) ** -alpha``.
    """

    amplitude: Floats
    gamma_px: Floats
    alpha: Floats
    bias: Floats
    failed: NDArray[np.bool_]
    pinned: NDArray[np.bool_]

    @property
    def fwhm_px(self) -> Floats:
        """Full width at half maximum, pixels."""
        return 2.0 * self.gamma_px * np.sqrt(2.0 ** (1.0 / self.alpha) - 1.0)


def fit_moffat(distance_px: Floats, values: Floats, used: NDArray[np.bool_]) -> MoffatFits:
    """Fit a Moffat profile to each row by least squares (Levenberg-Marquardt).

    Parameters
    ----------
    distance_px, values : (N, K)
        Radius and value of each pixel; every pixel has the same weight.
    used : (N, K) bool
        Pixels that enter.

    Returns
    -------
    MoffatFits
        ``failed`` where fewer than 8 pixels enter, the profile has no maximum
        at the centre, or no convergence was reached; ``pinned`` where the
        shape ended at the border of its range.
    """
    radius2 = np.where(used, distance_px, 0.0) ** 2
    data = np.where(used, values, 0.0)
    weight = used.astype(float)
    params, hopeless = _start(distance_px, data, used)
    cost = _cost(params, radius2, data, weight)
    damping = np.full(len(data), 1e-2)
    converged = np.zeros(len(data), dtype=bool)
    for _ in range(MAX_ITERATIONS):
        active = np.flatnonzero(~(converged | hopeless))
        if not active.size:
            break
        trial, step = _step(
            params[active], radius2[active], data[active], weight[active], damping[active]
        )
        trial_cost = _cost(trial, radius2[active], data[active], weight[active])
        better = trial_cost <= cost[active]
        settled = (np.abs(step) < 1e-6).all(axis=1) | (
            better & (cost[active] - trial_cost <= 1e-12 * cost[active])
        )
        params[active] = np.where(better[:, np.newaxis], trial, params[active])
        cost[active] = np.where(better, trial_cost, cost[active])
        damping[active] *= np.where(better, 0.2, 8.0)
        converged[active] = settled | (damping[active] > 1e12)
    return _result(params, converged & ~hopeless)


def _start(
    distance_px: Floats, data: Floats, used: NDArray[np.bool_]
) -> tuple[Floats, NDArray[np.bool_]]:
    """Return starting parameters (amplitude, ln gamma, ln alpha, bias) and the hopeless rows."""
    far = np.where(used, distance_px, -np.inf)
    rim = used & (far >= 0.8 * far.max(axis=1, keepdims=True, initial=0.0))
    bias = (data * rim).sum(axis=1) / np.maximum(rim.sum(axis=1), 1)
    core = used & (distance_px <= 1.0)
    top = np.where(core, data, -np.inf).max(axis=1, initial=-np.inf)
    amplitude = np.where(np.isfinite(top), top - bias, 0.0)
    hopeless = (used.sum(axis=1) < 8) | ~(amplitude > 0)
    # Half the pixels above half maximum lie within the half-width: a good first width.
    above = used & (data - bias[:, np.newaxis] > 0.5 * amplitude[:, np.newaxis])
    half_width = np.sqrt(np.maximum(above.sum(axis=1), 1) / np.pi)
    alpha = np.full(len(data), 2.5)
    gamma = np.clip(half_width / np.sqrt(2.0 ** (1 / 2.5) - 1.0), GAMMA_PX[0] * 2, GAMMA_PX[1] / 2)
    params = np.stack([amplitude, np.log(gamma), np.log(alpha), bias], axis=1)
    return np.where(hopeless[:, np.newaxis], 0.0, params), hopeless


def _model(params: Floats, radius2: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Return shape, log of its base, r^2/gamma^2 and alpha, all broadcast to (N, K)."""
    gamma2 = np.exp(2.0 * params[:, 1:2])
    alpha = np.exp(params[:, 2:3])
    scaled = radius2 / gamma2
    log_base = np.log1p(scaled)
    return np.exp(-alpha * log_base), log_base, scaled, alpha


def _cost(params: Floats, radius2: Floats, data: Floats, weight: Floats) -> Floats:
    shape, *_ = _model(params, radius2)
    residual = (params[:, 0:1] * shape + params[:, 3:4] - data) * weight
    cost: Floats = np.einsum("nk,nk->n", residual, residual)
    return cost


def _step(
    params: Floats, radius2: Floats, data: Floats, weight: Floats, damping: Floats
) -> tuple[Floats, Floats]:
    """Return the damped Gauss-Newton trial and the step of its shape.

    Amplitude and bias are linear: they are not damped, and the trial holds their best values for
    its shape (variable projection; Golub & Pereyra 1973).  Otherwise the search creeps along the
    valley in which a broad profile trades amplitude for bias.
    """
    shape, log_base, scaled, alpha = _model(params, radius2)
    amplitude = params[:, 0:1]
    jacobian = (
        np.stack(
            [
                shape,
                amplitude * 2.0 * alpha * shape * scaled / (1.0 + scaled),
                -amplitude * alpha * log_base * shape,
                np.ones_like(shape),
            ],
            axis=2,
        )
        * weight[:, :, np.newaxis]
    )
    residual = (amplitude * shape + params[:, 3:4] - data) * weight
    normal = np.einsum("nkp,nkq->npq", jacobian, jacobian)
    gradient = np.einsum("nkp,nk->np", jacobian, residual)
    # A shape parameter that sits at its border and is pushed outwards stays there, so that the
    # others converge as if it were fixed.
    free = ~(
        ((params <= LOWER + 1e-12) & (gradient > 0)) | ((params >= UPPER - 1e-12) & (gradient < 0))
    )
    gradient = np.where(free, gradient, 0.0)
    normal = normal * free[:, :, np.newaxis] * free[:, np.newaxis, :]
    # In units of each parameter's own curvature: amplitudes and shapes differ by many decades.
    scale = np.sqrt(np.einsum("npp->np", normal)) + 1e-150
    system = normal / (scale[:, :, np.newaxis] * scale[:, np.newaxis, :])
    ridge = 1e-12 + damping[:, np.newaxis] * [0.0, 1.0, 1.0, 0.0] + ~free
    system += ridge[:, :, np.newaxis] * np.eye(4)
    delta = -np.linalg.solve(system, (gradient / scale)[:, :, np.newaxis])[:, :, 0] / scale
    trial = params + np.clip(delta, [-np.inf, -0.7, -0.7, -np.inf], [np.inf, 0.7, 0.7, np.inf])
    trial = np.clip(trial, LOWER, UPPER)
    trial[:, 0], trial[:, 3] = _best_level(trial, radius2, data, weight)
    return trial, (trial - params)[:, 1:3]


def _best_level(
    params: Floats, radius2: Floats, data: Floats, weight: Floats
) -> tuple[Floats, Floats]:
    """Return the least-squares amplitude (at least 0) and bias for given shapes."""
    shape = _model(params, radius2)[0] * weight
    n = weight.sum(axis=1)
    centred = (shape - (shape.sum(axis=1) / n)[:, np.newaxis]) * weight
    variance = np.einsum("nk,nk->n", centred, centred)
    slope = np.einsum("nk,nk->n", centred, data) / np.maximum(variance, 1e-300)
    amplitude = np.maximum(slope, 0.0)
    return amplitude, (data.sum(axis=1) - amplitude * shape.sum(axis=1)) / n


def _result(params: Floats, good: NDArray[np.bool_]) -> MoffatFits:
    amplitude, ln_gamma, ln_alpha, bias = np.where(good[:, np.newaxis], params, np.nan).T
    good = good & (np.nan_to_num(amplitude, nan=-1.0) > 0)
    border = np.zeros_like(good)
    for value, limits in ((ln_gamma, GAMMA_PX), (ln_alpha, ALPHA)):
        border |= np.isclose(value, np.log(limits[0]), atol=1e-6)
        border |= np.isclose(value, np.log(limits[1]), atol=1e-6)
    blank = np.where(good, 1.0, np.nan)
    return MoffatFits(
        amplitude * blank,
        np.exp(ln_gamma) * blank,
        np.exp(ln_alpha) * blank,
        bias * blank,
        ~good,
        border & good,
    )
