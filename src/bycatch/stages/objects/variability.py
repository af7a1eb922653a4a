"""Which objects vary in a filter: fluxes of several epochs, freed of their zero points.

`zeropoint_shifts` finds from stars around how far each epoch is off at each object; `variability`
then has chi2 about the mean.  How large chi2 becomes without any variation is measured from the
objects themselves: most are constant, so that errors which are too small or too large are scaled
until half of them lie below the median of chi2 and three quarters below its quartile.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree
from scipy.special import chdtrc, chdtri

from bycatch.arrays import Bools, Floats, Ints
from bycatch.photcal import MAG_PER_FRACTION
from bycatch.robust import MAD_TO_SIGMA, MEDIAN_ERROR, nan_median

RADIUS_ARCSEC, MOST_STARS, LEAST_STARS = 60.0, 30, 5
"""The nearest stars, so many within the radius, give the shift of an epoch; fewer than 5 none."""
STAR_SNR = 20.0
"""The stars used are at least so well measured in an epoch."""
NEAREST_SNR = 300
"""The scale of the errors is that of so many objects of about the same signal-to-noise ratio."""
LEAST_FOR_SCALE = 30
VARIABLE_SHARE, SHARE_WEIGHT = 0.05, 20.0
"""Share of variables before the objects are known, and for how many objects that counts."""
HIT_SHARE, HIT_WEIGHT = 0.01, 50.0
"""Share of the epochs of constant objects that charge of a cosmic ray, which no rejection found,
has made brighter, before the epochs are known, and for how many of them that counts: 0.6 % of
simulated stacks of two and three exposures, less than 0.1 % of those of four."""
HIT_SIGMA, LEAST_REST = 3.0, 0.05
"""An object is perhaps hit if one epoch is brighter than the others by so much, in errors, and
these agree with that probability or a higher one."""
BRIGHT_SNR = 50.0
"""Rejection leaves more charge on brighter stars: of four exposures, 0.8 % of the epochs of those
above this signal-to-noise ratio are hit, and none of 400 between 20 and it."""
MOST_HIT_SIGMA = 10.0
"""What rejection leaves is rarely more, in units of the error of the epoch."""
CLIP_RATE, N_CLIPS = 0.01, 4
"""Objects less likely constant than that do not count for the scale of the errors."""
N_ROUNDS = 50


@dataclass(frozen=True, eq=False)
class ZeropointShifts:
    """How far the fluxes of E epochs are off around N objects.

    Attributes
    ----------
    shift : (N, E) float
        Natural logarithm of the measured over the true flux, from stars around; 0 where too few.
    err : (N, E) float
        Its error; NaN where too few.
    n_stars : (N, E) int
    """

    shift: Floats
    err: Floats
    n_stars: Ints

    @property
    def in_mag(self) -> Floats:
        """(N, E) float; to add to magnitudes; NaN where too few stars."""
        return np.where(np.isfinite(self.err), MAG_PER_FRACTION * self.shift, np.nan)


@dataclass(frozen=True, eq=False)
class Variability:
    """What E epochs in one filter say of N objects; NaN with fewer than two epochs.

    Attributes
    ----------
    mean : (N,) float
        Weighted mean of the corrected fluxes.
    chi2 : (N,) float
        About the mean, with the errors as they are.
    dof, n_epochs : (N,) int
    err_scale : (N,) float
        By which errors must be multiplied for constant objects to be constant.
    scatter_mag : (N,) float
        Scatter beyond the scaled errors (the root of the excess variance), 0 where there is none.
    false_rate : (N,) float
        Share of constant objects that look as variable: the p-value of the scaled chi2, and of
        three and more epochs the chance that a cosmic ray has made one of them brighter.
    p_variable : (N,) float
        Probability that it varies, given how many others do.
    """

    mean: Floats
    chi2: Floats
    dof: Ints
    n_epochs: Ints
    err_scale: Floats
    scatter_mag: Floats
    false_rate: Floats
    p_variable: Floats


def zeropoint_shifts(
    flux: Floats,
    err: Floats,
    x_arcsec: Floats,
    y_arcsec: Floats,
    is_star: Bools,
) -> ZeropointShifts:
    """Return the shift of each epoch at each object, from the medians of stars around it.

    Parameters
    ----------
    flux, err : (N, E) float
        In one filter; NaN where an epoch does not cover an object.
    x_arcsec, y_arcsec : (N,) float
        On a tangent plane.
    is_star : (N,) bool
        Isolated, unsaturated points; those that vary are found and passed over.  No object is
        among the stars that give its own shift.
    """
    n_objects = len(flux)
    with np.errstate(divide="ignore", invalid="ignore"):
        good = is_star[:, None] & (flux > STAR_SNR * err) & (err > 0)
        relative = np.where(good, err / flux, np.nan)
        ln_flux = np.where(good, np.log(np.where(good, flux, 1.0)), np.nan)
    good &= (good.sum(axis=1) > 1)[:, None]
    off = _deviations(ln_flux, relative, good)
    stars = np.flatnonzero(np.isfinite(off).any(axis=1))
    nothing = np.full(flux.shape, np.nan)
    at = np.column_stack([x_arcsec, y_arcsec]).astype(float)
    has_place = np.isfinite(at).all(axis=1)
    stars = stars[has_place[stars]]
    if stars.size < LEAST_STARS or not n_objects:
        return ZeropointShifts(np.zeros(flux.shape), nothing, np.zeros(flux.shape, np.int64))
    k = min(MOST_STARS + 1, stars.size)
    distance, near = cKDTree(at[stars]).query(
        np.where(has_place[:, None], at, 0.0), k=list(range(1, k + 1))
    )
    use = (distance <= RADIUS_ARCSEC) & (stars[near] != np.arange(n_objects)[:, None])
    use &= has_place[:, None] & (np.cumsum(use, axis=1) <= MOST_STARS)
    values = np.where(use[:, :, None], off[stars][near], np.nan)
    n = np.isfinite(values).sum(axis=1)
    shift = nan_median(values, 1)
    scatter = MAD_TO_SIGMA * nan_median(np.abs(values - shift[:, None]), 1)
    # A few stars may agree by chance better than their errors allow.
    noise = nan_median(np.where(np.isfinite(values), relative[stars][near], np.nan), 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        error = MEDIAN_ERROR * np.maximum(scatter, noise) / np.sqrt(n)
    enough = n >= LEAST_STARS
    return ZeropointShifts(np.where(enough, shift, 0.0), np.where(enough, error, np.nan), n)


def variability(
    flux: Floats, err: Floats, shifts: ZeropointShifts | None = None, is_usual: Bools | None = None
) -> Variability:
    """Return how much objects vary, and how many constant ones would look the same.

    Parameters
    ----------
    flux, err : (N, E) float
        In one filter, detected or forced; NaN where an epoch does not cover an object.
    shifts : ZeropointShifts, optional
        Taken off, with their errors added.
    is_usual : (N,) bool, optional
        Objects whose errors are those of most (no blends, no edges): they give the scale of the
        errors.  By default all.
    """
    flux, err = np.asarray(flux, float), np.asarray(err, float)
    if shifts is not None:
        flux = flux * np.exp(-shifts.shift)
        err = np.hypot(err * np.exp(-shifts.shift), flux * np.nan_to_num(shifts.err))
    good = np.isfinite(flux) & (err > 0) & np.isfinite(err)
    f, w = np.where(good, flux, 0.0), np.where(good, 1.0 / np.where(good, err, 1.0) ** 2, 0.0)
    n = good.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        total = w.sum(axis=1)
        mean = (w * f).sum(axis=1) / total
        off = np.where(good, f - mean[:, None], 0.0)
        chi2 = np.where(n > 1, (w * off**2).sum(axis=1), np.nan)
        snr = mean * np.sqrt(total / n)
        scale = _clipped_scale(chi2, n - 1, snr, is_usual)
        excess = np.maximum(chi2 - (n - 1) * scale**2, 0.0) / (total - (w**2).sum(axis=1) / total)
        # Relative to the mean of the others, an epoch is off by more, and that more certainly.
        others = total[:, None] - w
        sigma = off * total[:, None] / others / np.sqrt(1.0 / w + 1.0 / others)
        sigma = np.where(good & (n > 1)[:, None], sigma / scale[:, None], 0.0)
        scatter = np.where(mean > 0, MAG_PER_FRACTION * np.sqrt(excess) / mean, np.nan)
    tells = np.ones(n.shape, np.bool_) if is_usual is None else is_usual
    false_rate = _false_rate(chi2 / scale**2, sigma, n, snr, tells)
    return Variability(
        mean, chi2, np.maximum(n - 1, 0), n, scale, np.where(n > 1, scatter, np.nan),
        false_rate, probability_of_effect(false_rate),
    )  # fmt: skip


def _false_rate(chi2: Floats, sigma: Floats, n: Ints, snr: Floats, is_usual: Bools) -> Floats:
    """Return the share of constant objects of such a chi2: by errors, or with one epoch hit.

    With three or more epochs the others show whether the brightest one alone deviates: where they
    agree, the object is one of the constant ones that a cosmic ray has hit.
    """
    by_errors = chdtrc(np.maximum(n - 1, 1), chi2)
    if not sigma.shape[1]:
        return np.asarray(by_errors)
    brightest = np.maximum(sigma.max(axis=1), 0.0)
    share_left = np.minimum(MOST_HIT_SIGMA / np.maximum(brightest, 1.0), 1.0) ** 4
    is_bright = snr > BRIGHT_SNR
    share = [_hit_share(chi2, sigma, n, is_usual & some) for some in (~is_bright, is_bright)]
    one_hit = np.where(is_bright, share[1], share[0]) * share_left * n
    one_hit *= _agreement(chi2, brightest, n)
    hit_rate = np.where((n > 2) & (brightest > 0), one_hit, 0.0)
    return np.asarray(np.minimum(by_errors + hit_rate, 1.0))


def _agreement(chi2: Floats, off: Floats, n: Ints) -> Floats:
    """Return the p-value of the epochs without the one that is ``off`` by so many errors."""
    return np.asarray(chdtrc(np.maximum(n - 2, 1), np.maximum(chi2 - off**2, 0.0)))


def _hit_share(chi2: Floats, sigma: Floats, n: Ints, some: Bools) -> float:
    """Return the share of the epochs that are hit, of some of the objects.

    Cosmic rays only brighten: what errors and variables do, they do in both directions.
    """
    tells = some & (n > 2) & np.isfinite(chi2)
    chi2, sigma, n = chi2[tells], sigma[tells], n[tells]
    farthest = sigma[np.arange(len(sigma)), np.argmax(np.abs(sigma), axis=1)]
    is_one = (np.abs(farthest) > HIT_SIGMA) & (_agreement(chi2, farthest, n) > LEAST_REST)
    n_hit = max(float(np.sign(farthest[is_one]).sum()), 0.0)
    return float((HIT_SHARE * HIT_WEIGHT + n_hit) / (HIT_WEIGHT + n.sum()))


def probability_of_effect(p_value: Floats) -> Floats:
    """Return the probability that each null hypothesis is false, from all p-values, (N,).

    They are a mixture of a uniform distribution (constant objects) and a p^(a - 1), a < 1,
    whose share and a are fitted by EM (Pounds & Morris 2003, Bioinformatics 19, 1236).
    Where fewer p-values lie than this fit has it, their own density counts (the decreasing one of
    Grenander 1956, as in fdrtool, Strimmer 2008, BMC Bioinformatics 9, 303).
    The sum of 1 - p over a selection is the number of constant objects that it is to hold.

    Parameters
    ----------
    p_value : (N,) float, 0 to 1; NaN where there is none
    """
    is_finite = np.isfinite(p_value)
    ln_p = np.log(np.maximum(np.where(is_finite, p_value, 1.0), 1e-300))
    share, a = VARIABLE_SHARE, 0.2
    varies = np.zeros(ln_p.shape)
    for _ in range(N_ROUNDS):
        density = a * np.exp((a - 1.0) * ln_p)
        varies = np.where(is_finite, share * density / (share * density + 1.0 - share), 0.0)
        share = (varies.sum() + VARIABLE_SHARE * SHARE_WEIGHT) / (is_finite.sum() + SHARE_WEIGHT)
        # A prior of one variable with ln p = -5 keeps a from 0; above 0.5 nothing is distinguished.
        a = min((varies.sum() + 1.0) / (5.0 - (varies * ln_p).sum()), 0.5)
    with np.errstate(divide="ignore"):
        by_density = 1.0 - (1.0 - share) / _decreasing_density(p_value)
    return np.where(is_finite, np.clip(by_density, 0.0, varies), np.nan)


def _decreasing_density(p_value: Floats) -> Floats:
    """Return the density of all p-values at each one, which falls everywhere; NaN stays."""
    from scipy.optimize import isotonic_regression

    rows = np.flatnonzero(np.isfinite(p_value))
    out = np.full(p_value.shape, np.nan)
    edges, of_edge, n = np.unique(
        np.clip(p_value[rows], 0.0, 1.0), return_inverse=True, return_counts=True
    )
    if not edges.size:
        return out
    width = np.maximum(np.diff(edges, prepend=0.0), 1e-300)
    steps = isotonic_regression(n / n.sum() / width, weights=width, increasing=False)
    out[rows] = steps.x[of_edge]
    return out


def _deviations(ln_flux: Floats, relative: Floats, good: Bools) -> Floats:
    """Return the deviations of stars from their means, (N, E), freed of those that vary.

    Means and the epochs' common shifts depend on each other where stars lack epochs.
    """
    w = np.where(good, 1.0 / np.where(good, relative, 1.0) ** 2, 0.0)
    value = np.where(good, ln_flux, 0.0)
    common = np.zeros(good.shape[1])
    off = np.full(good.shape, np.nan)
    for _ in range(4):
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = (w * (value - common)).sum(axis=1) / w.sum(axis=1)
        off = np.where(good, value - mean[:, None], np.nan)
        common = np.nan_to_num(nan_median(off, 0))
    with np.errstate(divide="ignore", invalid="ignore"):
        chi2 = np.where(good, w * (off - common) ** 2, 0.0).sum(axis=1) / (good.sum(axis=1) - 1)
    has_chi2 = np.isfinite(chi2) & (chi2 > 0)
    if has_chi2.any():
        off[~(chi2 <= 5.0 * np.median(chi2[has_chi2]))] = np.nan
    return off


def _clipped_scale(chi2: Floats, dof: Ints, snr: Floats, is_usual: Bools | None) -> Floats:
    """Return the factor of the errors of each object, from those that are constant with it."""
    tells = np.ones(chi2.shape, np.bool_) if is_usual is None else is_usual
    is_inlier, scale = tells, np.ones(chi2.shape)
    for _ in range(N_CLIPS):
        scale, before = _error_scale(chi2, dof, snr, is_inlier), is_inlier
        rate = chdtrc(np.maximum(dof, 1), chi2 / scale**2)
        is_inlier = tells & (rate > CLIP_RATE)
        if np.array_equal(is_inlier, before):
            break
    return scale


def _error_scale(chi2: Floats, dof: Ints, snr: Floats, is_usual: Bools | None) -> Floats:
    """Return the factor of the errors of each object, from those of about its S/N."""
    tells = np.isfinite(chi2) & np.isfinite(snr) & (dof > 0)
    if is_usual is not None:
        tells &= is_usual
    rows = np.flatnonzero(tells)
    if rows.size < LEAST_FOR_SCALE:
        return np.ones(chi2.shape)
    ln_snr = np.log(np.maximum(np.nan_to_num(snr), 0.1))
    order = rows[np.argsort(ln_snr[rows], kind="stable")]
    size = min(NEAREST_SNR, order.size)
    # One value for each block of objects, interpolated: constant within an eighth of a window.
    firsts = np.unique(np.linspace(0, order.size - size, 8 * (order.size // size) + 1).astype(int))
    at, scale = [], []
    for first in firsts:
        block = order[first : first + size]
        ratio = [_quantile_ratio(chi2[block], dof[block], share) for share in (0.5, 0.75)]
        at.append(np.median(ln_snr[block]))
        scale.append(np.sqrt(np.mean(ratio)))
    return np.asarray(np.interp(ln_snr, at, scale))


def _quantile_ratio(chi2: Floats, dof: Ints, share: float) -> float:
    """Return by what chi2 must be divided for that share to be below the share's quantile."""
    return float(np.quantile(chi2 / chdtri(dof, 1.0 - share), share))
