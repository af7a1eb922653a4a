"""Colours of points: one aperture per object in all filters, and the error of the difference.

Fluxes are aperture-corrected, f_nu, and have three kinds of errors: random ones; fractions that
the images of a filter share (encircled energy, zero point), which do not average down; and
fractions of an image's own (its aperture correction), which do, but are common to all objects.
The absolute scale, which all filters share, cancels in a colour and belongs into none of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from bycatch.arrays import Bools, Floats, Ints
from bycatch.photcal import MAG_PER_FRACTION
from bycatch.robust import nan_median

DETECTED_SIGMA = 3.0
"""A flux below so many errors gives a limit of a colour."""
LIMIT_SIGMA = 3.0
"""The limit is that of a flux so many errors above what was measured (or above 0)."""
MEASURED, BLUER, REDDER, UNKNOWN = 0, -1, 1, 2
"""What a colour is: a value, an upper limit, a lower limit (magnitude of the first filter minus
that of the second), nothing."""


@dataclass(frozen=True, eq=False)
class FilterFluxes:
    """Means over the images of each of F filters, at R radii; NaN where no image covers.

    Attributes
    ----------
    flux, err : (N, F, R) float
        Weighted mean and its random error.
    err_sys : (N, F, R) float
        Systematic error as a fraction of the flux, without the absolute scale.
    chi2 : (N, F, R) float
        Of the images about the mean, with random errors and those of the images' own fractions.
    n_images : (N, F) int
    """

    flux: Floats
    err: Floats
    err_sys: Floats
    chi2: Floats
    n_images: Ints

    def without_last(self) -> FilterFluxes:
        """Return those of all radii but the last."""
        flux, err, err_sys, chi2 = (
            v[:, :, :-1] for v in (self.flux, self.err, self.err_sys, self.chi2)
        )
        return FilterFluxes(flux, err, err_sys, chi2, self.n_images)

    def at(self, radius: Ints) -> tuple[Floats, Floats, Floats]:
        """Return flux, err and err_sys, (N, F), at the radius of each object; NaN where -1."""
        row = np.arange(len(self.flux))
        none = (np.asarray(radius) < 0)[:, None]
        flux, err, err_sys = (
            np.where(none, np.nan, value[row, :, radius])
            for value in (self.flux, self.err, self.err_sys)
        )
        return flux, err, err_sys


@dataclass(frozen=True, eq=False)
class Colours:
    """Colours of N objects in P pairs of filters.

    Attributes
    ----------
    colour : (N, P) float
        AB magnitude in the first filter minus that in the second; a limit where ``kind`` says so.
    err : (N, P) float
        Random error; NaN for limits.
    err_sys : (N, P) float
        Systematic error, the same for all objects of about one aperture.
    kind : (N, P) int8
        MEASURED, BLUER (the true colour is less), REDDER (it is more) or UNKNOWN.
    in_ellipse : (N, P) bool
        Of an extended object in one ellipse, not of a point.
    cov : (N, P - 1) float
        Covariance of a colour and the next one, mag2: minus the variance of the filter that they
        share, systematic parts included; NaN where one of them is not measured, or not in the same
        way as the other.
    """

    colour: Floats
    err: Floats
    err_sys: Floats
    kind: NDArray[np.int8]
    in_ellipse: Bools
    cov: Floats

    @property
    def err_total(self) -> Floats:
        """Return the error of a colour against other instruments and models, (N, P)."""
        return np.asarray(np.hypot(self.err, self.err_sys))

    def without(self, unknown: Bools) -> Colours:
        """Return them with nothing where they are not known, (N, P)."""
        either = unknown[:, :-1] | unknown[:, 1:]
        colour, err, err_sys = (
            np.where(unknown, np.nan, v) for v in (self.colour, self.err, self.err_sys)
        )
        return Colours(
            colour,
            err,
            err_sys,
            np.where(unknown, UNKNOWN, self.kind).astype(np.int8),
            self.in_ellipse & ~unknown,
            np.where(either, np.nan, self.cov),
        )


def filter_fluxes(
    flux: Floats,
    err: Floats,
    filter_of: Ints,
    n_filters: int,
    *,
    shared_sys: Floats | float = 0.0,
    own_sys: Floats | float = 0.0,
    weight_err: Floats | None = None,
) -> FilterFluxes:
    """Return the mean flux of each filter from its images, weighted by inverse variance.

    Parameters
    ----------
    flux, err : (N, M, R) float
        Of N objects in M images within R radii; NaN where an image does not cover.
    filter_of : (M,) int
        The filter of each image, 0 to ``n_filters`` - 1.
    shared_sys, own_sys : float arrays that broadcast to (N, M, R)
        Fractions of the flux: common to the images of the filter, and of each image alone.
    weight_err : (N, M, R) float, optional
        Errors without the noise of the source's own light, for the weights: else who is high by
        chance has less weight, and the mean is low.  By default ``err``.
    """
    flux, err = np.asarray(flux, float), np.asarray(err, float)
    common_share, own = (
        np.broadcast_to(np.asarray(s, float), flux.shape) for s in (shared_sys, own_sys)
    )
    for_weight = err if weight_err is None else np.asarray(weight_err, float)
    good = np.isfinite(flux) & (err > 0) & np.isfinite(err) & (for_weight > 0)
    weight = np.where(good, 1.0 / np.where(good, for_weight, 1.0) ** 2, 0.0)
    f, e = np.where(good, flux, 0.0), np.where(good, err, 0.0)
    shape = (flux.shape[0], n_filters, flux.shape[2])
    mean, error, err_sys, chi2 = (np.full(shape, np.nan) for _ in range(4))
    n_images = np.zeros(shape[:2], np.int64)
    for k in range(n_filters):
        m = np.asarray(filter_of) == k
        w = weight[:, m]
        total = w.sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            w = w / total[:, None]
            mean[:, k] = (w * f[:, m]).sum(axis=1)
            error[:, k] = np.sqrt(((w * e[:, m]) ** 2).sum(axis=1))
            common = (w * np.nan_to_num(common_share[:, m])).sum(axis=1)
            alone = ((w * np.nan_to_num(own[:, m])) ** 2).sum(axis=1)
            err_sys[:, k] = np.sqrt(common**2 + alone)
            apart = (f[:, m] - mean[:, None, k]) ** 2
            variance = e[:, m] ** 2 + (own[:, m] * mean[:, None, k]) ** 2
            chi2[:, k] = np.where(good[:, m], apart / variance, 0.0).sum(axis=1)
        n_images[:, k] = good[:, m].any(axis=2).sum(axis=1)
    return FilterFluxes(mean, error, err_sys, np.where(np.isfinite(mean), chi2, np.nan), n_images)


def radius_by_snr(fluxes: FilterFluxes) -> Ints:
    """Return the radius at which each object's colours have the least error, (N,) int.

    The sum over the filters of (random error / flux)^2 + (systematic fraction)^2 is least.
    The flux is the median over the radii, so that the choice does not go where noise is high;
    filters in which it is below `DETECTED_SIGMA` errors do not count, unless all are.  -1 where
    no radius was measured in all filters that cover the object.

    Parameters
    ----------
    fluxes : FilterFluxes of N objects
    """
    flux, err = fluxes.flux, fluxes.err
    has_images = fluxes.n_images > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        usual = nan_median(flux, -1)
        has_signal = usual > DETECTED_SIGMA * nan_median(err, -1)
        voice = np.where(has_signal.any(axis=1, keepdims=True), has_signal, has_images)
        # Where nothing is seen, errors are compared in units of their median.
        unit = np.where(has_signal, usual, nan_median(err, -1))
        cost = (err / unit[:, :, None]) ** 2 + np.where(
            has_signal[:, :, None], fluxes.err_sys**2, 0.0
        )
    total = np.where(voice[:, :, None], cost, 0.0).sum(axis=1)
    whole = (np.isfinite(flux) | ~has_images[:, :, None]).all(axis=1) & np.isfinite(total)
    best = np.where(whole, total, np.inf).argmin(axis=1) if total.shape[1] else 0
    return np.asarray(np.where(whole.any(axis=1) & has_images.any(axis=1), best, -1), np.int64)


def colours(
    flux: Floats,
    err: Floats,
    err_sys: Floats,
    pairs: Sequence[tuple[int, int]],
    joint: Floats | None = None,
) -> Colours:
    """Return the differences of AB magnitudes of pairs of filters.

    Parameters
    ----------
    flux, err : (N, F) float
        f_nu in one unit, within the same radius in all filters, and the random error.
    err_sys : (N, F) float
        Fractions of the flux that all objects share, independent between filters.
    pairs : P pairs of filters, the bluer first
    joint : (N, F, F) float, optional
        Covariances of the relative random errors of different filters; 0 by default.
    """
    a, b = np.array(pairs, np.int64).reshape(-1, 2).T
    has_flux = np.asarray(np.isfinite(flux) & (err > 0), np.bool_)
    has_signal = np.asarray(
        has_flux & (np.nan_to_num(flux) >= DETECTED_SIGMA * np.nan_to_num(err)), np.bool_
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        highest = np.maximum(flux, 0.0) + LIMIT_SIGMA * err
        magnitude = -MAG_PER_FRACTION * np.log(np.where(has_signal, flux, highest))
        relative = np.where(has_signal, err / flux, np.nan)
    colour = magnitude[:, a] - magnitude[:, b]
    kind = np.full(colour.shape, UNKNOWN, np.int8)
    kind[has_signal[:, a] & has_signal[:, b]] = MEASURED
    kind[has_flux[:, a] & ~has_signal[:, a] & has_signal[:, b]] = REDDER
    kind[has_signal[:, a] & has_flux[:, b] & ~has_signal[:, b]] = BLUER
    systematic = MAG_PER_FRACTION * np.hypot(err_sys[:, a], err_sys[:, b])
    is_colour = kind == MEASURED
    cov = shared_covariance(MAG_PER_FRACTION * np.hypot(relative, err_sys), pairs)
    variance = relative[:, a] ** 2 + relative[:, b] ** 2
    if joint is not None:
        variance = variance - 2.0 * joint[:, a, b]
        # cov(f - g, g - h), as far as it is not the variance of g.
        cov += MAG_PER_FRACTION**2 * (
            joint[:, a[:-1], b[:-1]] + joint[:, a[1:], b[1:]] - joint[:, a[:-1], b[1:]]
        )
    return Colours(
        np.where(kind == UNKNOWN, np.nan, colour),
        MAG_PER_FRACTION * np.sqrt(variance),
        np.where(kind == UNKNOWN, np.nan, systematic),
        kind,
        np.zeros(kind.shape, np.bool_),
        np.where(is_colour[:, :-1] & is_colour[:, 1:], cov, np.nan),
    )


def shared_covariance(mag_err: Floats, pairs: Sequence[tuple[int, int]]) -> Floats:
    """Return the covariance of each pair's colour with the next one's, (N, P - 1) mag2.

    Parameters
    ----------
    mag_err : (N, F) float
        Errors of the magnitudes.
    pairs : P pairs of filters
        Where the second of one is the first of the next, its error is in both colours, with
        opposite signs; others share nothing.
    """
    columns = [
        -(mag_err[:, b] ** 2) if b == c else np.zeros(len(mag_err))
        for (_, b), (c, _) in pairwise(pairs)
    ]
    return np.stack(columns, axis=1) if columns else np.empty((len(mag_err), 0))
