"""Stars that may hold other light, or be none: where prior times likelihood is highest.

Each star is of one of five kinds: clean, with a little, some or much other light in its apertures,
or no star.  What kind is not known but by its odds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bycatch.arrays import Floats
from bycatch.kernels.mixtures import kinds

OTHER_LIGHT = (0.01, 0.05, 0.25)
"""Other light in the reference aperture, as shares of the star's: spread evenly, give or take."""
NO_STAR = 0.15
"""Sources that are no stars have any excess of this order, alike in all apertures, and a third of
it that is not."""
SHARES = (0.8, 0.05, 0.05, 0.05, 0.05)
"""Usual shares: clean stars, those with other light, and sources that are not stars."""
SHARE_STARS = 8.0
"""The usual shares count as much as so many stars."""
N_ROUNDS, TOLERANCE = 60, 3e-5
SCATTER_STARS = 4.0
"""The usual scatter counts as much as that of so many stars without noise."""


@dataclass(frozen=True, eq=False)
class Stars:
    """Good stars: N of them, K radii inside the reference.

    Attributes
    ----------
    excess : (N, K) logarithm of the flux in each aperture over that in the reference
    noise : (N, K, K) its covariance
    terms : (N, 5) terms of the field
    outer : (K,) share of the reference aperture's area outside of each aperture
    """

    excess: Floats
    noise: Floats
    terms: Floats
    outer: Floats


@dataclass(frozen=True, eq=False)
class Maximum:
    """Where prior times likelihood is highest: the logarithm, and its curvature."""

    parameters: Floats
    scatter: Floats
    height: float
    precision: Floats


def maximum(stars: Stars, design: Floats, before: Floats, usual: Floats, start: Floats) -> Maximum:
    """Climb by expectation and maximization.

    Dempster, Laird & Rubin (1977, J. R. Stat. Soc. B 39, 1).  The curvature is that of the
    likelihood without knowledge of what each star is (Louis 1982, J. R. Stat. Soc. B 44, 226).

    Parameters
    ----------
    stars : N of them
    design : (N, K, P) from the parameters to the excess of a clean star
    before : (P, P) covariance of the parameters' prior, about 0
    usual : (K,) usual scatter between stars
    start : (P,) parameters to start from
    """
    n = len(stars.excess)
    log_det = np.linalg.slogdet(before)[1]
    information = np.linalg.inv(before)
    shift, wide = _kinds(stars.outer)
    parameters, scatter, share = start, usual, np.array(SHARES)
    for _ in range(N_ROUNDS):
        mixture = kinds(
            stars.excess - design @ parameters,
            stars.noise + np.diag(scatter**2),
            shift,
            wide,
            share,
        )
        odds = mixture.odds
        score = mixture.pulled @ design
        weighted_design = (mixture.weight @ design).reshape(-1, len(parameters))
        precision = information + design.reshape(-1, len(parameters)).T @ weighted_design
        slope = np.einsum("ij,ijp->p", odds, score) - information @ parameters
        height = mixture.log.sum() - 0.5 * (parameters @ information @ parameters + log_det)
        step = np.linalg.solve(precision, slope)
        wider = _scatter(
            stars, stars.excess - design @ (parameters + step), odds[:, 0], scatter, usual
        )
        if max(np.abs(step).max(), np.abs(wider - scatter).max()) < TOLERANCE:
            break
        parameters, scatter = parameters + step, wider
        share = (SHARE_STARS * np.array(SHARES) + odds.sum(axis=0)) / (SHARE_STARS + n)
    mean = np.einsum("ij,ijp->ip", odds, score)
    weighted_score = (odds[:, :, None] * score).reshape(-1, len(parameters))
    kind_uncertainty = weighted_score.T @ score.reshape(-1, len(parameters)) - mean.T @ mean
    information_left = precision - kind_uncertainty
    if np.linalg.eigvalsh(information_left)[0] > 0:
        precision = information_left
    return Maximum(parameters, scatter, float(height), precision)


def _kinds(outer: Floats) -> tuple[Floats, Floats]:
    """Return the mean (J, K) and covariance (J, K, K) of what each kind adds to the excess."""
    k = len(outer)
    common_light = np.minimum(outer[:, None], outer[None, :])
    shift = [np.zeros(k), *(-light * outer for light in OTHER_LIGHT), np.zeros(k)]
    wide = [np.zeros((k, k)), *(light**2 * common_light for light in OTHER_LIGHT)]
    wide.append(NO_STAR**2 * (np.ones((k, k)) + np.eye(k) / 9.0))
    return np.array(shift), np.array(wide)


def _scatter(
    stars: Stars, residual: Floats, clean: Floats, before: Floats, usual: Floats
) -> Floats:
    """Return the scatter between clean stars, (K,): theirs and the usual one.

    Parameters
    ----------
    residual : (N, K)
    clean : (N,) probability that a star is
    before : (K,) the scatter before
    """
    noise = np.diagonal(stars.noise, axis1=1, axis2=2)
    # A star whose noise is larger than the scatter says little about it.
    trust = clean[:, None] * (before**2 / (before**2 + noise)) ** 2
    excess = (trust * (residual**2 - noise)).sum(axis=0)
    square = (SCATTER_STARS * usual**2 + excess) / (SCATTER_STARS + trust.sum(axis=0))
    return np.asarray(np.sqrt(np.maximum(square, (0.1 * usual) ** 2)))
