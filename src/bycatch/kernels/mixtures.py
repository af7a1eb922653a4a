"""Which of several kinds vectors are of, each kind Gaussian with a mean and a covariance."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from bycatch.arrays import Floats
from bycatch.kernels.compiled import compiled


class Kinds(NamedTuple):
    """N vectors of K numbers, which may be of J kinds.

    Attributes
    ----------
    log : (N,) logarithm of the probability density of each vector, less K/2 log(2 pi)
    odds : (N, J) probability that it is of a kind
    pulled : (N, J, K) the inverse covariance of a kind times what the vector is off its mean
    weight : (N, K, K) the inverse covariances, weighted with the odds
    """

    log: Floats
    odds: Floats
    pulled: Floats
    weight: Floats


def kinds(
    residual: Floats, covariance: Floats, shift: Floats, wide: Floats, share: Floats
) -> Kinds:
    """Return the evidence of each vector for its kind.

    Parameters
    ----------
    residual : (N, K) vectors
    covariance : (N, K, K) of each, whatever its kind; with what a kind adds, positive definite
    shift, wide : (J, K) and (J, K, K) mean and covariance that a kind adds
    share : (J,) how frequent the kinds are

    Raises
    ------
    ValueError
        The arrays do not belong together.
    """
    (n, k), j = residual.shape, len(share)
    if (covariance.shape, shift.shape, wide.shape) != ((n, k, k), (j, k), (j, k, k)):
        raise ValueError(
            f"{residual.shape} vectors, {covariance.shape} covariances and {j} kinds of "
            f"{shift.shape} and {wide.shape} do not belong together"
        )
    out = Kinds(np.empty(n), np.empty((n, j)), np.empty((n, j, k)), np.zeros((n, k, k)))
    vectors, own, mean, extra, usual = (
        np.ascontiguousarray(v, np.float64) for v in (residual, covariance, shift, wide, share)
    )
    _tell(vectors, own, mean, extra, usual, out.log, out.odds, out.pulled, out.weight)
    return out


@compiled
def _tell(
    residual: Floats,
    covariance: Floats,
    shift: Floats,
    wide: Floats,
    share: Floats,
    log: Floats,
    odds: Floats,
    shrinkage: Floats,
    weight: Floats,
) -> None:
    (n, k), n_kinds = residual.shape, share.size
    matrix, inverse = np.empty((k, k)), np.empty((n_kinds, k, k))
    for i in range(n):
        top = -math.inf
        for j in range(n_kinds):
            for a in range(k):
                for b in range(k):
                    matrix[a, b] = covariance[i, a, b] + wide[j, a, b]
            log_det = _invert(matrix, inverse[j])
            square = 0.0
            for a in range(k):
                total = 0.0
                for b in range(k):
                    total += inverse[j, a, b] * (residual[i, b] - shift[j, b])
                shrinkage[i, j, a] = total
                square += total * (residual[i, a] - shift[j, a])
            odds[i, j] = math.log(share[j]) - 0.5 * (square + log_det)
            top = max(top, odds[i, j])
        total = 0.0
        for j in range(n_kinds):
            total += math.exp(odds[i, j] - top)
        log[i] = top + math.log(total)
        for j in range(n_kinds):
            odds[i, j] = math.exp(odds[i, j] - log[i])
            for a in range(k):
                for b in range(k):
                    weight[i, a, b] += odds[i, j] * inverse[j, a, b]


@compiled
def _invert(matrix: Floats, inverse: Floats) -> float:
    """Write the inverse of a positive definite matrix, by Cholesky; return log det.

    The matrix is overwritten.
    """
    k = len(matrix)
    log_det = 0.0
    for a in range(k):
        for b in range(a + 1):
            total = matrix[a, b]
            for c in range(b):
                total -= matrix[a, c] * matrix[b, c]
            matrix[a, b] = math.sqrt(total) if a == b else total / matrix[b, b]
        log_det += 2.0 * math.log(matrix[a, a])
    # The triangle is inverted in place, then multiplied with itself.
    for a in range(k):
        matrix[a, a] = 1.0 / matrix[a, a]
        for b in range(a):
            total = 0.0
            for c in range(b, a):
                total -= matrix[a, c] * matrix[c, b]
            matrix[a, b] = total * matrix[a, a]
    for a in range(k):
        for b in range(a + 1):
            total = 0.0
            for c in range(a, k):
                total += matrix[c, a] * matrix[c, b]
            inverse[a, b] = inverse[b, a] = total
    return log_det
