"""How real an object is, and whether it is a star, from all images that cover it.

Two hypotheses are compared for each object.  *Real*: one source shines in all images, with a
broad prior of its colours.  *False*: a cosmic ray or a peak of noise where it was detected, and
nothing else in the images of other exposures; or a hot pixel, with one count rate in all images
that were not dithered against each other.  The image of the best detection d speaks by its own
probability alone; every other image j adds the likelihood of its forced flux,

    false / real = (p_cr / (1 - p_cr) + noise)_d
                   P(f_j, all j but d | false) / P(f_j, all j but d | f_d, real),

with the odds of noise by the signal-to-noise ratio of d, and their share from all objects.

So where nothing else covers an object, its shape decides; what is seen at one place by
independent exposures is real; and what others should show, for almost any colour, is not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from bycatch.arrays import Bools, Floats, Ints

BLUEST_SLOPE, BEYOND_BLUEST = -2.5, 0.02
"""No continuum is bluer than the Rayleigh-Jeans law (f_nu as the frequency squared): a source that
is has lines, and is rare."""
NO_NOISE_SNR = 6.0
"""Above that peaks of noise are too rare to count among what others judge."""
MOST_UNSEEN_SNR, BESIDE_SHARE = 10.0, 0.05
"""An image that does not detect an object, though there is so much light at its place, may show the
light of a neighbour or of a cosmic ray beside it, of whatever brightness."""
LEAST_JUDGED = 20
"""Objects of an image that others must be able to judge before they correct its odds."""
SLOPES, SHIFTS = np.arange(0.2, 1.25, 0.1), np.arange(-4.0, 8.25, 0.25)
SLOPE_SIGMA, SHIFT_SIGMA = 0.5, 3.0
"""Of the correction, before anything is seen."""
_MOST_LOGIT = 14.0
_N_ROUNDS = 30
_FEW = 10.0
_USUAL_SNR = 4.0
_NODES, _NODE_WEIGHTS = np.polynomial.hermite_e.hermegauss(7)
_NODE_WEIGHTS = _NODE_WEIGHTS / _NODE_WEIGHTS.sum()
_FLUX_NODES, _FLUX_WEIGHTS = np.polynomial.hermite_e.hermegauss(3)
_FLUX_WEIGHTS = _FLUX_WEIGHTS / _FLUX_WEIGHTS.sum()


@dataclass(frozen=True)
class Prior:
    """What is known before of sources, cosmic rays and noise.

    Attributes
    ----------
    slope_mean, slope_sigma : float
        Of the power of wavelength that a source's f_nu follows (0: flat; blue stars have -2, red
        dwarfs 6).
    wide_share, wide_sigma : float
        Sources of unusual colour: their share, and the scatter of their slopes.
    scatter, scatter_per_ln : float
        Natural logarithm of flux about the power law, in one filter (variability, blends) and
        per unit of ln wavelength.
    dropout_share, flare_share : float
        Sources without any light blueward of the image that shows them best, or in no other.
    noise_share, noise_weight : float
        Share of noise among the objects before they are known, and for how many objects it counts.
    chance : float
        Expected number of false detections of a single-exposure image within an object's reach.
    outlier_share, outlier_sigma : float
        Forced fluxes whose errors are larger than said, and by how much: light of neighbours.
    odd_share : float
        Sources whose shape says nothing in any image.
    unseen_odds : float
        By which the odds of a source are less where only the sum of the images shows it: it was
        chosen for being high in all of them at once.
    hot_share, hot_scatter : float
        Share of hot pixels among false detections of a single exposure (a third of it in stacks),
        and by how much, relatively, their rates differ between images.
    star_correlation : float
        How far the ``p_star`` of an object's images say the same (0: independent, 1: the same).
    """

    slope_mean: float = 1.0
    slope_sigma: float = 1.7
    wide_share: float = 0.2
    wide_sigma: float = 4.0
    scatter: float = 0.15
    scatter_per_ln: float = 0.4
    dropout_share: float = 0.005
    flare_share: float = 0.001
    noise_share: float = 0.02
    noise_weight: float = 20.0
    chance: float = 0.005
    outlier_share: float = 0.05
    outlier_sigma: float = 3.0
    odd_share: float = 0.1
    unseen_odds: float = 0.05
    hot_share: float = 0.03
    hot_scatter: float = 0.15
    star_correlation: float = 0.5


@dataclass(frozen=True, eq=False)
class ObjectEvidence:
    """Probabilities of N objects; NaN where no image covers one.

    Attributes
    ----------
    p_real, p_cr, p_noise : (N,) float
        Their sum is 1.
    p_star : (N,) float
        Probability that it is a point if it is real; NaN where no image tells.
    best : (N,) int
        The image of the best detection, -1 where no image covers the object.
    ln_elsewhere : (N,) float
        ln P(all other fluxes | real) - ln P(... | false): above 0 where they speak for the object.
    """

    p_real: Floats
    p_cr: Floats
    p_noise: Floats
    p_star: Floats
    best: Ints
    ln_elsewhere: Floats


def object_evidence(
    p_cr: Floats,
    p_star: Floats,
    detected: Bools,
    flux: Floats,
    flux_err: Floats,
    n_exp: Floats,
    pivot_angstrom: Floats,
    *,
    looks: ArrayLike | None = None,
    cr_share: ArrayLike | None = None,
    rate_per_flux: ArrayLike | None = None,
    prior: Prior | None = None,
) -> ObjectEvidence:
    """Return what N objects are, from M images.

    Parameters
    ----------
    p_cr, p_star : (N, M) float
        Of each detection by its image alone (no other image may have had a say); else NaN.
    detected : (N, M) bool
    flux, flux_err : (N, M) float
        Forced flux densities f_nu, any common unit; NaN where an image does not cover an object.
    n_exp : (N, M) float
        Exposures at the object; where there are two or more, false detections are ten times rarer.
    pivot_angstrom : (M,) float
    looks : (M,) int, optional
        Images with the same number share exposures, thus cosmic rays; by default none do.
    cr_share : (M,) or (N, M) float, optional
        The share of cosmic rays that ``p_cr`` supposed before it saw the shape; by default the
        mean of ``p_cr`` of each image.
    rate_per_flux : (M,) float, optional
        Count rates of the images for a unit of flux: a hot pixel has one rate in all images that
        see it at one place.  Without it there are none.
    prior : Prior, optional
    """
    prior = prior or Prior()
    covered = np.isfinite(flux) & (np.asarray(flux_err) > 0) & np.isfinite(flux_err)
    f, e = np.where(covered, flux, 0.0), np.where(covered, flux_err, 1.0)
    detected = np.asarray(detected & covered, np.bool_)
    is_covered = np.asarray(covered.any(axis=1), np.bool_)
    is_detected = np.asarray(detected.any(axis=1), np.bool_)
    beside = _ln_beside(f, e, detected)
    share = _shares(p_cr, detected) if cr_share is None else np.asarray(cr_share, float)
    share = np.broadcast_to(np.clip(share, 1e-4, 1 - 1e-4), f.shape)
    p = np.where(np.isfinite(p_cr), p_cr, share)
    best = _best(f / e, detected, covered)
    row = np.arange(len(f))
    look = np.arange(f.shape[1]) if looks is None else np.asarray(looks)
    others = covered & (look != look[best][:, None])
    ln_cr = np.clip(_logit(p) - _logit(share), -_MOST_LOGIT, _MOST_LOGIT)
    ln_false = np.logaddexp(_ln_false(f, e, detected & others, ln_cr, n_exp, prior), beside)
    # Of real sources some look like charge by nature, in all images.
    odd = prior.odd_share
    ln_shape = np.where(detected & others, np.log(odd + (1 - odd) * (1 - p) / (1 - share)), 0.0)
    ln_real = _ln_real(f, e, others, best, np.asarray(pivot_angstrom, float), beside, prior)
    is_single = np.nan_to_num(n_exp[row, best]) <= 1
    ln_none = np.where(others, ln_false, 0.0).sum(axis=1)
    if rate_per_flux is not None:
        share_hot = prior.hot_share * np.where(is_single, 1.0, 1.0 / 3.0)
        ln_hot = _ln_hot(f, e, others, best, np.asarray(rate_per_flux, float), prior)
        ln_hot += np.where(detected & others, ln_cr, 0.0).sum(axis=1)
        ln_none = np.logaddexp(np.log1p(-share_hot) + ln_none, np.log(share_hot) + ln_hot)
    ln_elsewhere = ln_real + ln_shape.sum(axis=1) - ln_none
    judged: Bools = np.asarray(others.any(axis=1) & ((f / e)[row, best] > NO_NOISE_SNR))
    at_home = _as_others_say(_logit(p[row, best]), ln_elsewhere, judged, best, is_single)
    charge = at_home - ln_elsewhere
    noise = _ln_noise((f / e)[row, best], is_detected)
    noise += np.log1p(np.exp(at_home)) - ln_elsewhere
    noise += _noise_logit(np.logaddexp(0.0, charge) - noise, is_covered, prior)
    # What lies beside a bright source or track is in the sum, too.
    unseen = np.where(np.isfinite(beside).any(axis=1), 2.0, 1.0) * np.log(prior.unseen_odds)
    charge, noise = (odds - np.where(is_detected, 0.0, unseen) for odds in (charge, noise))
    against = np.stack([charge, noise])
    total = np.logaddexp(0.0, np.logaddexp(*against))
    none = ~is_covered
    p_real, p_false, p_noise = (
        np.where(none, np.nan, np.exp(part - total)) for part in (0.0, *against)
    )
    return ObjectEvidence(
        p_real, p_false, p_noise, combined_p_star(p_star, detected, prior.star_correlation),
        np.where(none, -1, best), np.where(none, np.nan, ln_elsewhere),
    )  # fmt: skip


def _as_others_say(
    logit: Floats, ln_elsewhere: Floats, tells: Bools, best: Ints, is_single: Bools
) -> Floats:
    """Return the log odds of a cosmic ray by shape, as the other images of the group correct them.

    What an image's shapes promise depends on its charge, its rejection and its sky.  Where other
    images look at the same places they tell how often it is kept: slope and shift of the log odds
    that make what the others show most likely, for each image, and apart for places that a single
    exposure covers (a logistic recalibration, Platt 1999, in which the other images stand for the
    truth).  The corrected odds hold for the objects that no other image can judge, too.
    """
    found = logit.copy()
    for image in np.unique(best):
        for single in (False, True):
            mine = (best == image) & (is_single == single)
            judged = mine & tells
            if judged.sum() < LEAST_JUDGED:
                continue
            slope, shift = _likeliest(logit[judged], ln_elsewhere[judged])
            found[mine] = np.clip(slope * logit[mine] + shift, -_MOST_LOGIT, _MOST_LOGIT)
    return found


def _likeliest(logit: Floats, ln_elsewhere: Floats) -> tuple[float, float]:
    """Return slope and shift of the log odds of false to true that explain the others best."""
    for_real = np.clip(ln_elsewhere, -30.0, 30.0)
    best, likeliest = (1.0, 0.0), -np.inf
    for slope in SLOPES:
        for shift in SHIFTS:
            odds = slope * logit + shift
            total = np.sum(np.logaddexp(odds, for_real) - np.logaddexp(odds, 0.0))
            total -= 0.5 * ((slope - 1.0) / SLOPE_SIGMA) ** 2 + 0.5 * (shift / SHIFT_SIGMA) ** 2
            if total > likeliest:
                best, likeliest = (float(slope), float(shift)), total
    return best


def combined_p_star(p_star: Floats, detected: Bools, correlation: float) -> Floats:
    """Return the probability of a point from that of each image, (N,); NaN where none tells.

    The evidence (log of the odds over those of the image's mean) is added, each image's divided
    by 1 + correlation (k - 1) of k images: an object that is compact in one filter by nature
    is so in the others.

    Parameters
    ----------
    p_star : (N, K) float, of each object in each image
    detected : (N, K) bool
    correlation : between the images, 0 to 1
    """
    known = detected & np.isfinite(p_star)
    share = np.broadcast_to(_shares(p_star, known), known.shape)
    n = known.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        gain = np.where(known, _logit(np.where(known, p_star, 0.5)) - _logit(share), 0.0)
        base = np.where(known, _logit(share), 0.0).sum(axis=1) / n
        logit = base + gain.sum(axis=1) / (1.0 + correlation * (n - 1))
    return np.where(n > 0, 1.0 / (1.0 + np.exp(-np.clip(logit, -30, 30))), np.nan)


def _shares(p: Floats, known: Bools) -> Floats:
    """Return the mean probability of each image's detections, (M,), drawn to 0.5 where few."""
    known = known & np.isfinite(p)
    return np.asarray(
        (np.where(known, p, 0.0).sum(axis=0) + 1.0) / (known.sum(axis=0) + 2.0), np.float64
    )


def _best(snr: Floats, detected: Bools, covered: Bools) -> Ints:
    """Return the image of the detection of highest S/N, of any cover where there is none."""
    rank = np.where(covered, snr, -np.inf)
    seen = np.where(detected, snr, -np.inf)
    return np.asarray(
        np.where(detected.any(axis=1), seen.argmax(axis=1), rank.argmax(axis=1)), np.int64
    )


def _logit(p: Floats) -> Floats:
    logit = np.log(np.maximum(p, 1e-9)) - np.log(np.maximum(1 - p, 1e-9))
    return np.asarray(np.clip(logit, -_MOST_LOGIT, _MOST_LOGIT))


def _ln_normal(f: Floats, mean: Floats | float, e: Floats, prior: Prior) -> Floats:
    """Return ln of the density of fluxes about a mean, of which some err by more than said."""
    half = 0.5 * ((f - mean) / e) ** 2
    good = np.log1p(-prior.outlier_share) - half
    bad = np.log(prior.outlier_share / prior.outlier_sigma) - half / prior.outlier_sigma**2
    return np.asarray(np.logaddexp(good, bad) - np.log(np.sqrt(2 * np.pi) * e))


def _ln_false(
    f: Floats, e: Floats, detected: Bools, ln_cr: Floats, n_exp: Floats, prior: Prior
) -> Floats:
    """Return ln P of each image's flux where the object is none, (N, M)."""
    empty = _ln_normal(f, 0.0, e, prior)
    # By chance a false detection of its own, of any flux over a factor of 1000.
    rare = np.where(np.nan_to_num(n_exp) > 1, 0.1, 1.0) * prior.chance
    any_flux = -np.log(np.log(1e3) * np.maximum(f, e))
    chance = np.log(rare) + np.logaddexp(any_flux + ln_cr, empty)
    return np.where(detected, chance, empty)


def _ln_beside(f: Floats, e: Floats, detected: Bools) -> Floats:
    """Return ln P of bright light of something beside, where nothing is detected, (N, M)."""
    is_bright = ~detected & (f > MOST_UNSEEN_SNR * e)
    with np.errstate(divide="ignore", invalid="ignore"):
        any_flux = np.log(BESIDE_SHARE) - np.log(np.log(1e3) * f)
    return np.where(is_bright, any_flux, -np.inf)


def _ln_hot(
    f: Floats, e: Floats, others: Bools, best: Ints, rate_per_flux: Floats, prior: Prior
) -> Floats:
    """Return ln P of the other images' fluxes for a hot pixel: one rate in all of them, (N,)."""
    row = np.arange(len(f))
    same = rate_per_flux[best][:, None] / rate_per_flux[None, :]
    expected = f[row, best][:, None] * same
    error = np.sqrt(
        e**2 + (e[row, best][:, None] * same) ** 2 + (prior.hot_scatter * expected) ** 2
    )
    ln_p = np.where(others, _ln_normal(f, expected, error, prior), 0.0)
    return np.asarray(ln_p.sum(axis=1))


def _ln_noise(snr: Floats, detected: Bools) -> Floats:
    """Return ln of the density of S/N of noise peaks over that of all else, (N,).

    Above the threshold t, which the faintest detections show, peaks of noise have the density
    s exp(-(s^2 - t^2) / 2) (extrema of a Gaussian field), sources and cosmic rays a power law
    a t^a / s^(1 + a), whose index is that of the objects above 1.5 t (Hill 1975, Ann. Statist. 3,
    1163; drawn to 1 where they are few).
    """
    n = int(detected.sum())
    faintest = float(np.percentile(snr[detected], 2)) if n else 0.0
    threshold = max((n * faintest + 2 * _FEW * _USUAL_SNR) / (n + 2 * _FEW), 1.0)
    s = np.maximum(snr, threshold)
    excess = np.log(s[s > 1.5 * threshold] / (1.5 * threshold))
    index = (excess.size + _FEW) / (excess.sum() + _FEW)
    ln_other = np.log(index) + index * np.log(threshold) - (1.0 + index) * np.log(s)
    return np.asarray(np.log(s) - 0.5 * (s**2 - threshold**2) - ln_other)


def _noise_logit(ln_other: Floats, covered: Bools, prior: Prior) -> float:
    """Return the log of the odds of noise among objects, from their likelihoods (EM).

    ln_other : (N,) ln of the likelihood of all else over that of noise
    """
    share, other = prior.noise_share, np.clip(ln_other[covered], -500, 500)
    for _ in range(_N_ROUNDS):
        p_noise = 1.0 / (1.0 + np.exp(other) * (1.0 - share) / share)
        begin = prior.noise_share * prior.noise_weight
        share = (p_noise.sum() + begin) / (other.size + prior.noise_weight)
    return float(np.log(share) - np.log1p(-share))


def _ln_real(
    f: Floats, e: Floats, others: Bools, best: Ints, pivot: Floats, beside: Floats, prior: Prior
) -> Floats:
    """Return ln P of the other images' fluxes for one source of any colour, (N,)."""
    row = np.arange(len(f))
    ln_ratio = np.log(pivot[None, :] / pivot[best][:, None])
    empty = np.where(others, np.logaddexp(_ln_normal(f, 0.0, e, prior), beside), 0.0)
    bluer = others & (ln_ratio < -0.02)
    f_best, e_best = f[row, best], e[row, best]
    slopes, weights = _slopes(prior)
    usual, dropouts = [], []
    for node, node_weight in zip(_FLUX_NODES, _FLUX_WEIGHTS, strict=True):
        true = np.maximum(f_best + node * e_best, 0.3 * e_best)
        for slope, weight in zip(slopes, weights, strict=True):
            ln_p = _ln_power_law(f, e, np.log(true)[:, None] + slope * ln_ratio, ln_ratio, prior)
            ln_p = np.where(others, np.logaddexp(ln_p, beside), 0.0)
            ln_weight = np.log(weight * node_weight)
            usual.append(ln_weight + ln_p.sum(axis=1))
            dropouts.append(ln_weight + np.where(bluer, empty, ln_p).sum(axis=1))
    rest = 1.0 - prior.dropout_share - prior.flare_share
    parts = [
        np.log(rest) + np.logaddexp.reduce(usual),
        np.log(prior.dropout_share) + np.logaddexp.reduce(dropouts),
        np.log(prior.flare_share) + empty.sum(axis=1),
    ]
    return np.asarray(np.logaddexp.reduce(parts))


def _slopes(prior: Prior) -> tuple[Floats, Floats]:
    slopes = np.arange(-6.0, 11.0) + prior.slope_mean
    density = [
        share / sigma * np.exp(-0.5 * ((slopes - prior.slope_mean) / sigma) ** 2)
        for share, sigma in (
            (1.0 - prior.wide_share, prior.slope_sigma), (prior.wide_share, prior.wide_sigma),
        )
    ]  # fmt: skip
    weights = np.sum(density, axis=0)
    weights[slopes < BLUEST_SLOPE] *= BEYOND_BLUEST
    return slopes, weights / weights.sum()


def _ln_power_law(f: Floats, e: Floats, ln_flux: Floats, ln_ratio: Floats, prior: Prior) -> Floats:
    """Return ln P of fluxes that scatter about the given logarithms, (N, M)."""
    scatter = prior.scatter + prior.scatter_per_ln * np.abs(ln_ratio)
    flux = np.exp(np.clip(ln_flux, -600, 600))
    total = np.zeros_like(f)
    for node, weight in zip(_NODES, _NODE_WEIGHTS, strict=True):
        true = flux * np.exp(node * scatter)
        # Half a step between nodes is smeared, so that precise fluxes don't fall between.
        variance = e**2 + (0.5 * scatter * true) ** 2
        half = -0.5 * (f - true) ** 2 / variance
        good = (1.0 - prior.outlier_share) * np.exp(half)
        bad = prior.outlier_share / prior.outlier_sigma * np.exp(half / prior.outlier_sigma**2)
        total += weight * (good + bad) / np.sqrt(2 * np.pi * variance)
    return np.asarray(np.log(np.maximum(total, 1e-300)))
