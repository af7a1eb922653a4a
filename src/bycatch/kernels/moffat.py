"""Moffat profiles fitted to many sources at once."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bycatch.arrays import Floats
from bycatch.kernels.bounds import check_shapes, length_px
from bycatch.kernels.compiled import compiled, long
from bycatch.kernels.fastmath import fast_exp, fast_log
from bycatch.kernels.neighbourhood import plane, points, span
from bycatch.kernels.threads import WORTH_A_THREAD, in_portions

GAMMA_PX = (0.3, 20.0)
ALPHA = (0.5, 30.0)
"""Ranges of the fit: a core narrower than a pixel, a profile as flat as the aperture; wings from
divergent to Gaussian."""
MIN_PIXELS = 8
MAX_ITERATIONS = 100
FIRST_ALPHA = 2.5
LONGEST_STEP = 0.7
"""Of ln gamma and ln alpha, in one iteration."""
SMALL_STEP, SMALL_GAIN = 1e-5, 1e-11
"""A fit has converged when a step is as short, or gains as small a share of the cost."""
LN_GAMMA = (math.log(GAMMA_PX[0]), math.log(GAMMA_PX[1]))
LN_ALPHA = (math.log(ALPHA[0]), math.log(ALPHA[1]))
AT_BORDER = 1e-6


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


def fit_moffat_at(
    data: NDArray[np.floating],
    valid: NDArray[np.bool_],
    x: ArrayLike,
    y: ArrayLike,
    radius_px: float,
) -> MoffatFits:
    """Fit Moffat profiles to the pixels around positions by least squares.

    Parameters
    ----------
    data, valid : (ny, nx)
        Only valid pixels enter, each with the same weight.
    x, y : (N,) float
        Centres of the profiles, 0-based; not fitted.
    radius_px : float
        Pixels enter whose centre lies within it.

    Returns
    -------
    MoffatFits
        ``failed`` where fewer than 8 pixels enter, one of them is not finite, the
        profile has no maximum at the centre, or no convergence was reached; ``pinned``
        where the shape ended at the border of its range.
    """
    check_shapes(data, valid)
    column, row = points(x, y)
    params, state = np.full((len(column), 4), np.nan), np.zeros(len(column), dtype=np.int64)
    image, mask, radius = plane(data), plane(valid, np.bool_), length_px(radius_px)

    def work(i: int, j: int) -> None:
        _fit_positions(image, mask, column[i:j], row[i:j], radius, params[i:j], state[i:j])

    in_portions(work, len(column), WORTH_A_THREAD)
    return _result(params, state)


def fit_moffat(distance_px: Floats, values: Floats, mask: NDArray[np.bool_]) -> MoffatFits:
    """Fit a Moffat profile to each row of pixels, as `fit_moffat_at` does to those of an image.

    Parameters
    ----------
    distance_px, values : (N, K)
        Radius and value of each pixel.
    mask : (N, K) bool
        Pixels that enter.
    """
    check_shapes(distance_px, values, mask)
    params, state = np.full((len(mask), 4), np.nan), np.zeros(len(mask), dtype=np.int64)
    _fit_rows(
        plane(distance_px, np.float64), plane(values, np.float64), plane(mask, np.bool_),
        params, state,
    )  # fmt: skip
    return _result(params, state)


FAILED, CONVERGED, PINNED = 0, 1, 2


def _result(params: Floats, state: NDArray[np.int64]) -> MoffatFits:
    amplitude, ln_gamma, ln_alpha, bias = params.T
    return MoffatFits(
        amplitude, np.exp(ln_gamma), np.exp(ln_alpha), bias, state == FAILED, state == PINNED
    )


@compiled
def _fit_positions(
    data: NDArray[np.floating],
    valid: NDArray[np.bool_],
    x: Floats,
    y: Floats,
    radius: float,
    params: Floats,
    state: NDArray[np.int64],
) -> None:
    ny, nx = data.shape
    side = int(2 * radius) + 3
    work = np.empty((5, min(side, ny) * min(side, nx)))
    radius2, values = work[0], work[1]
    for k in range(x.size):
        row0, row1 = span(y[k], radius, ny)
        column0, column1 = span(x[k], radius, nx)
        n = long(0)
        for row in range(row0, row1):
            dy2 = (row - y[k]) ** 2
            for column in range(column0, column1):
                distance2 = (column - x[k]) ** 2 + dy2
                if distance2 <= radius * radius and valid[row, column]:
                    radius2[n], values[n] = distance2, data[row, column]
                    n += 1
        state[k] = _fit(work, n, params[k])


@compiled
def _fit_rows(
    distance: Floats,
    data: Floats,
    mask: NDArray[np.bool_],
    params: Floats,
    state: NDArray[np.int64],
) -> None:
    work = np.empty((5, mask.shape[1]))
    radius2, values = work[0], work[1]
    for k in range(mask.shape[0]):
        n = long(0)
        for i in range(mask.shape[1]):
            if mask[k, i]:
                radius2[n], values[n] = distance[k, i] ** 2, data[k, i]
                n += 1
        state[k] = _fit(work, n, params[k])


@compiled
def _fit(work: Floats, n: int, params: Floats) -> int:
    """Fit one profile; return FAILED, CONVERGED or PINNED, and fill (A, ln gamma, ln alpha, bias).

    The first two rows of ``work`` hold squared radii and values of ``n`` pixels.

    Amplitude and bias are linear: for each shape they take their best values
    (variable projection, Golub & Pereyra 1973; the Jacobian is that of Kaufman
    1975).  Levenberg-Marquardt then searches the two logarithms of the shape
    only, and does not creep along the valley in which a broad profile trades
    amplitude for bias.  The damping follows the ratio of the gain to what the
    quadratic model promised (Marquardt 1963, Fletcher 1971).
    """
    ln_gamma, hopeless = _first_gamma(work[0], work[1], n)
    if hopeless:
        return FAILED
    mean = _centre(work[1], n)
    ln_alpha, damping = math.log(FIRST_ALPHA), 1e-3
    now = _project(work, n, ln_gamma, ln_alpha)
    for narrow in (2.0, 4.0, 8.0):
        if now[0] <= 0.0:
            # No positive amplitude fits at this width: the light is in fewer pixels.
            ln_gamma = max(ln_gamma - math.log(narrow), LN_GAMMA[0])
            now = _project(work, n, ln_gamma, ln_alpha)
    if now[0] <= 0.0:
        return FAILED
    for _ in range(MAX_ITERATIONS):
        cost, slope_g, slope_a, gg, ga, aa = now[2:]
        step_g, step_a = _step(ln_gamma, ln_alpha, slope_g, slope_a, gg, ga, aa, damping)
        trial = _project(work, n, ln_gamma + step_g, ln_alpha + step_a)
        gain = cost - trial[2]
        expected_gain = -2.0 * _change(slope_g, slope_a, gg, ga, aa, step_g, step_a)
        has_converged = (
            max(abs(step_g), abs(step_a)) < SMALL_STEP or 0.0 <= gain <= SMALL_GAIN * cost
        )
        if gain >= 0.0:
            ln_gamma, ln_alpha, now = ln_gamma + step_g, ln_alpha + step_a, trial
        if has_converged or damping > 1e12:
            params[0], params[1], params[2], params[3] = now[0], ln_gamma, ln_alpha, mean + now[1]
            return PINNED if _at_border(ln_gamma, ln_alpha) else CONVERGED
        if gain > 0.75 * expected_gain:
            damping *= 0.2
        elif gain < 0.25 * expected_gain:
            damping *= 10.0
    return FAILED


@compiled
def _centre(values: Floats, n: int) -> float:
    """Subtract the mean of ``values[:n]``, and return it."""
    total = 0.0
    for i in range(n):
        total += values[i]
    for i in range(n):
        values[i] -= total / n
    return total / n


@compiled
def _first_gamma(radius2: Floats, values: Floats, n: int) -> tuple[float, bool]:
    """Return a first ln gamma, and whether there is nothing to fit."""
    if n < MIN_PIXELS:
        return 0.0, True
    farthest = 0.0
    top = -np.inf
    for i in range(n):
        farthest = max(farthest, radius2[i])
        if radius2[i] <= 1.0:
            top = max(top, values[i])
    total, n_rim = 0.0, 0
    for i in range(n):
        if radius2[i] >= 0.64 * farthest:
            total += values[i]
            n_rim += 1
    bias = total / n_rim
    if not (top > bias and math.isfinite(top)):
        return 0.0, True
    # Half the pixels above half maximum lie within the half-width: a good first width.
    n_above = 0
    for i in range(n):
        n_above += values[i] - bias > 0.5 * (top - bias)
    half_width = math.sqrt(n_above / math.pi)
    gamma = half_width / math.sqrt(2.0 ** (1.0 / FIRST_ALPHA) - 1.0)
    return math.log(min(max(gamma, 2.0 * GAMMA_PX[0]), 0.5 * GAMMA_PX[1])), False


@compiled
def _at_border(ln_gamma: float, ln_alpha: float) -> bool:
    return not (
        LN_GAMMA[0] + AT_BORDER < ln_gamma < LN_GAMMA[1] - AT_BORDER
        and LN_ALPHA[0] + AT_BORDER < ln_alpha < LN_ALPHA[1] - AT_BORDER
    )


@compiled
def _project(
    work: Floats, n: int, ln_gamma: float, ln_alpha: float
) -> tuple[float, float, float, float, float, float, float, float]:
    """Return the best amplitude and bias of a shape, the cost, its slope and its curvature.

    Slope (along ln gamma, ln alpha) and curvature (gg, ga, aa) are halved.  The
    bias is that of values whose mean is 0, as those in ``work`` must be.
    """
    radius2, values, log_base, shape, by_gamma = work[0], work[1], work[2], work[3], work[4]
    inverse_gamma2, alpha = math.exp(-2.0 * ln_gamma), math.exp(ln_alpha)
    # One array in each loop, no sums: so compilers work on several pixels at a time.
    for i in range(n):
        log_base[i] = fast_log(1.0 + radius2[i] * inverse_gamma2)
    for i in range(n):
        shape[i] = fast_exp(-alpha * log_base[i])
    for i in range(n):
        ratio = radius2[i] * inverse_gamma2
        by_gamma[i] = shape[i] * ratio / (1.0 + ratio)
    # The derivatives are A x 2 alpha x by_gamma and A x -alpha x by_alpha.
    sum_s, sum_g, sum_a, ss, sv, sg, sa = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(n):
        s, g = shape[i], by_gamma[i]
        a = s * log_base[i]
        sum_s += s
        sum_g += g
        sum_a += a
        ss += s * s
        sv += s * values[i]
        sg += s * g
        sa += s * a
    mean_s, mean_g, mean_a = sum_s / n, sum_g / n, sum_a / n
    variance = max(ss - sum_s * mean_s, 1e-300)
    amplitude = max(sv / variance, 0.0)
    tie_g, tie_a = (sg - sum_s * mean_g) / variance, (sa - sum_s * mean_a) / variance
    cost, slope_g, slope_a, gg, ga, aa = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(n):
        # What of the derivatives amplitude and bias can't make up for.
        s = shape[i] - mean_s
        g = by_gamma[i] - mean_g - tie_g * s
        a = shape[i] * log_base[i] - mean_a - tie_a * s
        residual = amplitude * s - values[i]
        cost += residual * residual
        slope_g += g * residual
        slope_a += a * residual
        gg += g * g
        ga += g * a
        aa += a * a
    k_g, k_a = 2.0 * alpha * amplitude, -alpha * amplitude
    return (
        amplitude, -amplitude * mean_s, cost,
        k_g * slope_g, k_a * slope_a, k_g * k_g * gg, k_g * k_a * ga, k_a * k_a * aa,
    )  # fmt: skip


@compiled
def _step(
    ln_gamma: float,
    ln_alpha: float,
    slope_g: float,
    slope_a: float,
    gg: float,
    ga: float,
    aa: float,
    damping: float,
) -> tuple[float, float]:
    """Return the damped Gauss-Newton step of the shape: the lowest of its model within a box.

    The box is the range of the shape, and no farther than ``LONGEST_STEP``.
    Where the step is cut at one side of it, the other parameter follows: the two
    are tied so closely that a step cut without that goes up the valley's wall.
    """
    g0, g1 = max(LN_GAMMA[0] - ln_gamma, -LONGEST_STEP), min(LN_GAMMA[1] - ln_gamma, LONGEST_STEP)
    a0, a1 = max(LN_ALPHA[0] - ln_alpha, -LONGEST_STEP), min(LN_ALPHA[1] - ln_alpha, LONGEST_STEP)
    gg, aa = gg * (1.0 + damping) + 1e-300, aa * (1.0 + damping) + 1e-300
    det = max(gg * aa - ga * ga, 1e-300)
    free_g, free_a = (ga * slope_a - aa * slope_g) / det, (ga * slope_g - gg * slope_a) / det
    if g0 <= free_g <= g1 and a0 <= free_a <= a1:
        return free_g, free_a
    first_g = min(max(free_g, g0), g1)
    first_a = min(max(-(slope_a + ga * first_g) / aa, a0), a1)
    second_a = min(max(free_a, a0), a1)
    second_g = min(max(-(slope_g + ga * second_a) / gg, g0), g1)
    first = _change(slope_g, slope_a, gg, ga, aa, first_g, first_a)
    if first < _change(slope_g, slope_a, gg, ga, aa, second_g, second_a):
        return first_g, first_a
    return second_g, second_a


@compiled
def _change(
    slope_g: float, slope_a: float, gg: float, ga: float, aa: float, step_g: float, step_a: float
) -> float:
    """Return by how much the quadratic model of half the cost changes with a step."""
    curvature = gg * step_g * step_g + 2.0 * ga * step_g * step_a + aa * step_a * step_a
    return slope_g * step_g + slope_a * step_a + 0.5 * curvature
