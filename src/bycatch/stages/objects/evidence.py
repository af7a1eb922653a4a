"""How real an object is, and whether it is a star, from all images that cover it.

Two hypotheses are compared for each object.  *Real*: one source shines in all images, with a
broad prior of its colours, at one place.  *False*: a cosmic ray or a peak of noise where it was
detected, and nothing else in the images of other exposures; or a hot pixel, with one count rate in
all images that were not dithered against each other.  The image of the best detection d speaks by
its own probability alone; every other image j adds the likelihood of what it measured there
(`likelihoods`): the forced flux, and place and shape of what it detected itself,

    false / real = (p_cr / (1 - p_cr) + noise)_d
                   P(all j but d | false) / P(all j but d | d, real),

with the odds of noise by the signal-to-noise ratio of d, and their share from all objects.  Any
image may be struck by a cosmic ray by chance, as often as it has some within reach.  So the best
detection may be a cosmic ray with a source (or a hot pixel) beneath it, which the others show; the
object is then real.

So where nothing else covers an object, its shape decides; what is seen at one place by
independent exposures is real; and what others should show, for almost any colour, is not.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import ArrayLike

from bycatch.arrays import Bools, Floats, Ints
from bycatch.stages.objects.likelihoods import (
    Places,
    Seen,
    ln_beneath,
    ln_beside,
    ln_hot,
    ln_nothing,
    ln_source,
    seen_of,
)

NO_NOISE_SNR = 6.0
"""Above that peaks of noise are too rare to count among what others judge."""
LEAST_JUDGED = 20
"""Objects of an image that others must be able to judge before they correct its odds."""
SLOPES, SHIFTS = np.arange(0.2, 1.25, 0.1), np.arange(-4.0, 8.25, 0.25)
SLOPE_SIGMA, SHIFT_SIGMA = 0.5, 3.0
"""Of the correction, before anything is seen."""
_MOST_LOGIT = 14.0
_N_ROUNDS = 30
_FEW = 10.0
NOISE_SNR, NOISE_SNR_SIGMA, NOISE_SHARE = 2.0, 1.3, 0.1
"""S/N of noise in the smallest aperture, and its share of the detections before they are seen
(training recipes)."""
OBJECT_NOISE_SHARE, NOISE_WEIGHT = 0.02, 20.0
"""Share of noise among the objects before they are known, and for how many objects it counts."""
HOT_SHARE = 0.1
"""Share of hot pixels among false detections of a single exposure; a third of it in stacks."""
UNSEEN_ODDS = 0.05
"""By which the odds of a source are less where only the sum of the images shows it: it was chosen
for being high in all of them at once."""
STAR_CORRELATION = 0.5
"""How far the ``p_star`` of an object's images say the same (0: independent, 1: the same)."""
USUAL_SNR, USUAL_SNR_SIGMA, THRESHOLDS = 5.0, 2.0, np.arange(3.0, 12.25, 0.25)
"""Threshold of detections, before anything is seen, and those that are tried."""


@dataclass(frozen=True, eq=False)
class ObjectEvidence:
    """Probabilities of N objects; NaN where no image covers one.

    Attributes
    ----------
    p_real, p_cr, p_noise : (N,) float
        Their sum is 1.
    p_star : (N,) float
        Probability that it is a point if it is real; NaN where no image shows it.
    """

    p_real: Floats
    p_cr: Floats
    p_noise: Floats
    p_star: Floats


def object_evidence(
    p_cr: Floats,
    p_star: Floats,
    has_detection: Bools,
    flux: Floats,
    flux_err: Floats,
    n_exp: Floats,
    pivot_angstrom: Floats,
    *,
    cr_share: ArrayLike | None = None,
    rate_per_flux: ArrayLike | None = None,
    places: Places | None = None,
) -> ObjectEvidence:
    """Return what N objects are, from M images.

    Parameters
    ----------
    p_cr, p_star : (N, M) float
        Of each detection by its image alone (no other image may have had a say); else NaN.
    has_detection : (N, M) bool
    flux, flux_err : (N, M) float
        Forced flux densities f_nu, any common unit; NaN where an image does not cover an object.
    n_exp : (N, M) float
        Exposures at the object; where there are two or more, false detections are ten times rarer.
    pivot_angstrom : (M,) float
    cr_share : (M,) or (N, M) float, optional
        The share of cosmic rays that ``p_cr`` supposed before it saw the shape; by default the
        mean of ``p_cr`` of each image.
    rate_per_flux : (M,) float, optional
        Count rates of the images for a unit of flux: a hot pixel has one rate in all images that
        see it at one place.  Without it there are none.
    places : Places, optional
        Where the images see the objects.  Without them their distances say nothing.
    """
    has_flux = np.isfinite(flux) & (np.asarray(flux_err) > 0) & np.isfinite(flux_err)
    f, e = np.where(has_flux, flux, 0.0), np.where(has_flux, flux_err, 1.0)
    has_detection = np.asarray(has_detection & has_flux, np.bool_)
    is_covered = np.asarray(has_flux.any(axis=1), np.bool_)
    is_detected = np.asarray(has_detection.any(axis=1), np.bool_)
    share = _shares(p_cr, has_detection) if cr_share is None else np.asarray(cr_share, float)
    share = np.broadcast_to(np.clip(share, 1e-4, 1 - 1e-4), f.shape)
    p = np.where(np.isfinite(p_cr), p_cr, share)
    pivot = np.asarray(pivot_angstrom, float)
    data = seen_of(f, e, has_detection, p, share, n_exp, pivot, places)
    snr, row = f / e, np.arange(len(f))
    best = _best(snr, has_detection, has_flux)
    others = np.asarray(has_flux & (np.arange(f.shape[1]) != best[:, None]), np.bool_)
    is_single = np.asarray(np.nan_to_num(n_exp[row, best]) <= 1, np.bool_)
    ln_real = ln_source(data, others, best)
    ln_none = _ln_false(data, others, best, is_single, rate_per_flux)
    # Charge at home, and elsewhere nothing, or a source that it has struck.
    rare = np.log(data.source_chance) + data.ln_real
    beneath = ln_beneath(data, others, rare, ln_source)
    can_judge: Bools = np.asarray(others.any(axis=1) & (snr[row, best] > NO_NOISE_SNR))
    for_charge = ln_real - np.logaddexp(ln_none, beneath)
    at_home = _as_others_say(_logit(p[row, best]), for_charge, can_judge, best, is_single)
    charge, ln_hit = at_home - (ln_real - ln_none), at_home + beneath - ln_real
    snr = np.where(has_flux, snr, 0.0)
    together = snr.sum(axis=1) / np.sqrt(np.maximum(has_flux.sum(axis=1), 1))
    noise = _ln_noise(np.where(is_detected, snr[row, best], together), is_detected)
    noise += np.log1p(np.exp(at_home)) - (ln_real - ln_none)
    ln_other = np.logaddexp(0.0, charge) - noise
    noise += _share_logit(ln_other[is_covered], OBJECT_NOISE_SHARE, NOISE_WEIGHT)
    # What lies beside a bright source or track is in the sum, too.
    is_beside = np.isfinite(ln_beside(f, e, has_detection)).any(axis=1)
    ln_no_detection = np.where(is_beside, 2.0, 1.0) * np.log(UNSEEN_ODDS)
    charge, noise = (odds - np.where(is_detected, 0.0, ln_no_detection) for odds in (charge, noise))
    for_real = np.logaddexp(0.0, ln_hit)
    total = np.logaddexp(for_real, np.logaddexp(charge, noise))
    p_real, p_false, p_noise = (
        np.where(is_covered, np.exp(part - total), np.nan) for part in (for_real, charge, noise)
    )
    p_point = combined_p_star(p_star, has_detection)
    return ObjectEvidence(p_real, p_false, p_noise, p_point)


def _ln_false(
    data: Seen, others: Bools, best: Ints, is_single: Bools, rate_per_flux: ArrayLike | None
) -> Floats:
    """Return ln P of the other images without a source: of nothing or, by rates, a hot pixel."""
    ln_none = np.where(others, ln_nothing(data), 0.0).sum(axis=1)
    if rate_per_flux is None:
        return np.asarray(ln_none)
    share = HOT_SHARE * np.where(is_single, 1.0, 1.0 / 3.0)
    hot = _ln_hot(data, others, best, share, np.asarray(rate_per_flux, float))
    return np.asarray(np.logaddexp(np.log1p(-share) + ln_none, hot))


def _ln_hot(data: Seen, others: Bools, best: Ints, share: Floats, rate_per_flux: Floats) -> Floats:
    """Return ln P of the others for a hot pixel, at home or beneath the cosmic ray there, (N,)."""
    alike = partial(ln_hot, rate_per_flux=rate_per_flux)
    rare = np.log(share)[:, None] + np.log(data.chance) + data.ln_ray
    return np.asarray(
        np.logaddexp(
            np.log(share) + alike(data, others, best), ln_beneath(data, others, rare, alike)
        )
    )


def _as_others_say(
    logit: Floats, ln_elsewhere: Floats, tells: Bools, best: Ints, is_single: Bools
) -> Floats:
    """Return the log odds of a cosmic ray by shape, as the other images of the group correct them.

    What an image's shapes promise depends on its charge, its rejection and its sky.  Where other
    images look at the same places they show how often it is kept: slope and shift of the log odds
    that make what the others show most likely, for each image, and apart for places that a single
    exposure covers (a logistic recalibration, Platt 1999, in which the other images stand for the
    truth).  The corrected odds hold for the objects that no other image can judge, too.
    """
    corrected_logit = logit.copy()
    for image in np.unique(best):
        for single in (False, True):
            mine = (best == image) & (is_single == single)
            can_judge = mine & tells
            if can_judge.sum() < LEAST_JUDGED:
                continue
            slope, shift = _likeliest(logit[can_judge], ln_elsewhere[can_judge])
            corrected_logit[mine] = np.clip(slope * logit[mine] + shift, -_MOST_LOGIT, _MOST_LOGIT)
    return corrected_logit


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


def combined_p_star(p_star: Floats, has_detection: Bools) -> Floats:
    """Return the probability of a point from that of each image, (N,); NaN where none has one.

    The evidence (log of the odds over those of the image's mean) is added, each image's divided
    by 1 + `STAR_CORRELATION` (k - 1) of k images: an object that is compact in one filter by nature
    is so in the others.

    Parameters
    ----------
    p_star : (N, K) float, of each object in each image
    has_detection : (N, K) bool
    """
    has_p = has_detection & np.isfinite(p_star)
    share = np.broadcast_to(_shares(p_star, has_p), has_p.shape)
    n = has_p.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        gain = np.where(has_p, _logit(np.where(has_p, p_star, 0.5)) - _logit(share), 0.0)
        base = np.where(has_p, _logit(share), 0.0).sum(axis=1) / n
        logit = base + gain.sum(axis=1) / (1.0 + STAR_CORRELATION * (n - 1))
    return np.where(n > 0, 1.0 / (1.0 + np.exp(-np.clip(logit, -30, 30))), np.nan)


def _shares(p: Floats, has_p: Bools) -> Floats:
    """Return the mean probability of each image's detections, (M,), drawn to 0.5 where few."""
    has_p = has_p & np.isfinite(p)
    return np.asarray(
        (np.where(has_p, p, 0.0).sum(axis=0) + 1.0) / (has_p.sum(axis=0) + 2.0), np.float64
    )


def _best(snr: Floats, has_detection: Bools, has_flux: Bools) -> Ints:
    """Return the image of the detection of highest S/N, of any cover where there is none."""
    rank = np.where(has_flux, snr, -np.inf)
    snr_of_detections = np.where(has_detection, snr, -np.inf)
    return np.asarray(
        np.where(has_detection.any(axis=1), snr_of_detections.argmax(axis=1), rank.argmax(axis=1)),
        np.int64,
    )


def _logit(p: Floats) -> Floats:
    logit = np.log(np.maximum(p, 1e-9)) - np.log(np.maximum(1 - p, 1e-9))
    return np.asarray(np.clip(logit, -_MOST_LOGIT, _MOST_LOGIT))


def _ln_noise(snr: Floats, has_detection: Bools) -> Floats:
    """Return ln of the density of S/N of noise over that of all else, (N,).

    Peaks of noise, and pieces of halos and of galaxies, hold hardly any light of their own when a
    small aperture measures them against the sky around: their S/N scatters about `NOISE_SNR`.
    Sources and cosmic rays follow a power law a t^a / u^(1 + a) from a threshold t on, with the
    error of 1 that any S/N has.  The index is that of the objects above 1.5 t (Hill 1975, Ann.
    Statist. 3, 1163; drawn to 1 where they are few), the threshold the likeliest one for all
    detections.
    """
    seen = snr[has_detection]
    likeliest = max(THRESHOLDS, key=lambda threshold: _ln_likelihood(seen, threshold))
    return _ln_ratio(snr, seen, likeliest)


def _ln_likelihood(seen: Floats, threshold: float) -> float:
    """Return ln of the likelihood of a threshold, given the S/N of the detections."""
    ratio = _ln_ratio(seen, seen, threshold)
    logit = _share_logit(-ratio, NOISE_SHARE, _FEW)
    total = float(np.sum(np.logaddexp(logit, -ratio) - np.logaddexp(logit, 0.0)))
    return total - 0.5 * ((threshold - USUAL_SNR) / USUAL_SNR_SIGMA) ** 2


def _ln_ratio(snr: Floats, seen: Floats, threshold: float) -> Floats:
    """Return ln of the density of noise over that of sources and cosmic rays, (N,)."""
    noise = np.maximum(_normal(snr, NOISE_SNR, NOISE_SNR_SIGMA), 1e-300)
    return np.asarray(np.log(noise) - _ln_others(snr, seen, threshold))


def _normal(x: Floats, mean: Floats | float, sigma: float) -> Floats:
    density = np.exp(-0.5 * ((x - mean) / sigma) ** 2) / (np.sqrt(2 * np.pi) * sigma)
    return np.asarray(density)


def _ln_others(snr: Floats, seen: Floats, threshold: float) -> Floats:
    """Return ln of the density of the S/N of sources and cosmic rays from a threshold on, (N,)."""
    excess = np.log(seen[seen > 1.5 * threshold] / (1.5 * threshold))
    index = (excess.size + _FEW) / (excess.sum() + _FEW)
    s = np.maximum(snr, threshold)
    ln_power_law: Floats = np.log(index) + index * np.log(threshold) - (1.0 + index) * np.log(s)
    # Near the threshold, and below, the error of the S/N carries some across.
    true = threshold + np.arange(0.05, 10.0, 0.1)
    weight = 0.1 * index * threshold**index / true ** (1.0 + index)
    is_near = snr <= threshold + 4.0
    near = _normal(snr[is_near, None], true, 1.0) @ weight
    ln_power_law[is_near] = np.log(np.maximum(near, 1e-300))
    return ln_power_law


def _share_logit(ln_other: Floats, share: float, weight: float) -> float:
    """Return the log of the odds of one of two kinds, from a share before that (EM).

    ln_other : (N,) ln of the likelihood of the other kind over that of this one
    weight : for how many objects the share counts
    """
    other, begin = np.exp(np.clip(ln_other, -500, 500)), share * weight
    for _ in range(_N_ROUNDS):
        total = (1.0 / (1.0 + other * (1.0 - share) / share)).sum()
        share = (total + begin) / (other.size + weight)
    return float(np.log(share) - np.log1p(-share))
