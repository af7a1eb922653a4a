"""Fluxes of objects in filters: one radius for all of them, means over a filter's images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bycatch.arrays import Floats, Ints
from bycatch.stages.objects.matrices import Matrices


@dataclass(frozen=True, eq=False)
class FilterFluxes:
    """Mean fluxes of N objects in a filter, f_lambda in erg / (Angstrom s cm2).

    Attributes
    ----------
    flux, err, err_sys : (N,) float; NaN where no image of the filter covers the object
    limit : (N,) float; 5 sigma where the sky is blank
    chi2_dof : (N,) float; of the images against their mean; NaN of one
    """

    flux: Floats
    err: Floats
    err_sys: Floats
    limit: Floats
    chi2_dof: Floats


def best_radius(seen: Matrices) -> Ints:
    """Return which radius gives the best signal-to-noise of all filters together, (N,).

    Of radii in which every image that covers an object measures it; else of all.
    """
    flux, err = seen.per_radius("flux_{r}_apcor"), seen.per_radius("err_{r}_apcor")
    with np.errstate(invalid="ignore", divide="ignore"):
        snr2 = np.where(err > 0, np.maximum(flux / err, 0.0) ** 2, np.nan)
    total = np.nansum(snr2, axis=1)
    lacks = np.any(np.isnan(snr2) & seen.covered[:, :, np.newaxis], axis=1)
    total[lacks & ~np.all(lacks, axis=1)[:, np.newaxis]] = -1.0
    return np.asarray(np.argmax(total, axis=1)) if len(seen.radii_px) else np.zeros(seen.n, int)


def in_filter(seen: Matrices, name: str, radius: Ints, zeropoint_ab: Floats) -> FilterFluxes:
    """Return the mean fluxes of a filter, weighted by inverse variance.

    Systematic errors are those of the calibration, which the images of a filter share: they do not
    average down.

    Parameters
    ----------
    seen : what the images measured
    name : of the filter
    radius : (N,) int; which radius of each object
    zeropoint_ab : (M,) float; AB magnitude of a flux of 1, by image
    """
    images = seen.in_filter(name)
    rows = np.arange(seen.n)[:, np.newaxis], images[np.newaxis, :], radius[:, np.newaxis]
    flux, err, sys, maglim = (
        seen.per_radius(column)[rows]
        for column in ("flux_{r}_apcor", "err_{r}_apcor", "err_{r}_sys", "maglim_{r}")
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        weight = np.where(np.isfinite(flux) & (err > 0), err**-2.0, 0.0)
        total = weight.sum(axis=1)
        total[total == 0] = np.nan
        mean = (weight * np.nan_to_num(flux)).sum(axis=1) / total
        mean_sys = (weight * np.nan_to_num(sys)).sum(axis=1) / total
        chi2 = (weight * (np.nan_to_num(flux) - mean[:, np.newaxis]) ** 2).sum(axis=1)
        count = (weight > 0).sum(axis=1)
        limits = 10.0 ** (-0.4 * (maglim - zeropoint_ab[images]))
        limit = np.nansum(limits**-2.0, axis=1) ** -0.5
    return FilterFluxes(
        mean,
        total**-0.5,
        mean_sys,
        np.where(np.isfinite(limit), limit, np.nan),
        np.where(count > 1, chi2 / np.maximum(count - 1, 1), np.nan),
    )
