"""Which detections of several images are one object: at most one of an image, by likelihood.

Detections nearer than a reach, and than their errors allow, are candidates.  Chains of candidates
are split into groups so that the total likelihood is a (local) maximum: the Bayes factors of
Budavari & Szalay (2008, ApJ 679, 301) with the density of sources around each detection, and the
number of images that show one, see `bycatch.kernels.association`.  Neither the order of the images
nor that of their rows has a say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree
from scipy.special import betaln

from bycatch.arrays import Floats, Ints
from bycatch.kernels.association import likeliest_groups, pair_gain

REACH_ARCSEC = 0.5
"""No two detections farther apart make one object by themselves."""
SIZE_SHARE = 0.05
"""How far centres of an extended object differ between filters, as a share of its size."""
LEAST_ERROR_ARCSEC = 0.002
"""Centres of drizzled images are not better than that, whatever photon noise says."""
MOST_SIGMA = 7.0
UNRESOLVED_ARCSEC = 0.1
"""About the FWHM of HST's stars: nearer than that no image shows two sources, and centres of blends
differ between images by more than their errors say.  Of extended ones, whose centre an edge or a
knot moves, this or half of their size."""
MOST_UNRESOLVED_ARCSEC = 0.3
N_NEIGHBOURS = 5
"""The local density is that within the distance of so many neighbours in the same image."""
DENSITY_RANGE = (3e-4, 50.0)
"""Per square arcsec: one source per arcmin2, and as many as HST separates."""


@dataclass(frozen=True, eq=False)
class Detections:
    """What one image of a group shows.

    Attributes
    ----------
    x_arcsec, y_arcsec : (N,) float
        On the tangent plane of the group; NaN rows belong to no object.
    err_arcsec : (N,) float
        Error of a centre per axis; where it is not valid, the largest of the image is taken.
    frame_err_arcsec : float
        Error of the image's frame relative to the group's, per axis, shared by its rows.
    weight : (N,) float
        The larger (such as S/N) goes first where the likelihoods are equal.
    size_arcsec : (N,) float, optional
        Half-light radii, 0 of points: the centres of extended objects differ between filters.
    """

    x_arcsec: Floats
    y_arcsec: Floats
    err_arcsec: Floats
    frame_err_arcsec: float
    weight: Floats
    size_arcsec: Floats | None = None


@dataclass(frozen=True, eq=False)
class Association:
    """Objects 0 to N - 1, ordered by x, then y.

    Attributes
    ----------
    object_of : (M) arrays of int, one of an image
        The object of each detection; -1 where it has no position.
    detection : (N, M) int
        The row of each object in each image, -1 where it was not detected.
    x_arcsec, y_arcsec : (N,) float
        Means, weighted by inverse variance.
    err_arcsec : (N,) float
        Their error per axis, the frames' errors included.
    chi2_dof : (N,) float
        Of the positions about the mean, per degree of freedom (2 k - 2 of k detections); NaN of
        single detections.
    n_images : (N,) int
    """

    object_of: tuple[Ints, ...]
    detection: Ints
    x_arcsec: Floats
    y_arcsec: Floats
    err_arcsec: Floats
    chi2_dof: Floats
    n_images: Ints


@dataclass(frozen=True, eq=False)
class _Rows:
    """Detections of all images with a position, in an order that only they determine."""

    xy: Floats
    variance: Floats
    ln_density: Floats
    weight: Floats
    size: Floats
    image: Ints
    row: Ints


def associate(
    images: Sequence[Detections],
) -> Association:
    """Return the objects that the detections of some images are.

    Parameters
    ----------
    images : sequence of Detections, one of an image
    """
    rows = _in_order(images)
    prior = _ln_prior(len(images))
    pairs = _candidates(rows, float(prior[2] - 2 * prior[1]))
    group = likeliest_groups(rows.xy, rows.variance, rows.ln_density, rows.image, pairs, prior)
    group = _with_close_groups(rows, group)
    return _association(images, rows, group)


def _in_order(images: Sequence[Detections]) -> _Rows:
    parts = []
    for m, image in enumerate(images):
        xy = np.column_stack([image.x_arcsec, image.y_arcsec]).astype(float)
        row = np.flatnonzero(np.isfinite(xy).all(axis=1))
        err = _known_errors(np.asarray(image.err_arcsec, float))
        variance = np.maximum(err, LEAST_ERROR_ARCSEC) ** 2 + image.frame_err_arcsec**2
        size = np.zeros(len(xy)) if image.size_arcsec is None else np.nan_to_num(image.size_arcsec)
        variance = variance + (SIZE_SHARE * size) ** 2
        weight = np.nan_to_num(np.asarray(image.weight, float))
        parts.append(
            (
                xy[row], variance[row], _ln_density(xy[row]), weight[row], size[row],
                np.full(row.size, m), row,
            )
        )  # fmt: skip
    if not parts:
        return _Rows(np.empty((0, 2)), *np.empty((4, 0)), *np.empty((2, 0), np.int64))
    xy, variance, ln_density, weight, size, image_of, row = (
        np.concatenate([part[k] for part in parts]) for k in range(7)
    )
    order = np.lexsort((variance, xy[:, 1], xy[:, 0], -weight))
    return _Rows(
        xy[order],
        variance[order],
        ln_density[order],
        weight[order],
        size[order],
        image_of[order],
        row[order],
    )


def _known_errors(err: Floats) -> Floats:
    has_error = np.isfinite(err) & (err >= 0)
    largest = err[has_error].max() if has_error.any() else REACH_ARCSEC / 5.0
    return np.where(has_error, err, largest)


def _ln_density(xy: Floats) -> Floats:
    """Return ln of the density of others around each of an image's sources, per arcsec2."""
    least, most = DENSITY_RANGE
    if len(xy) < 2:
        return np.full(len(xy), np.log(least))
    n = min(N_NEIGHBOURS, len(xy) - 1)
    distance = np.asarray(cKDTree(xy).query(xy, k=[n + 1])[0])[:, 0]
    with np.errstate(divide="ignore"):
        return np.log(np.clip(n / (np.pi * distance**2), least, most))


def _ln_prior(n_images: int) -> Floats:
    """Return ln of the probability that a source shows in given k of the images, k from 0 on.

    Of its chance to show in one nothing is known: it is anything from 0 to 1.  So that two
    sources, of which one shows in just the images that lack the other, are improbable: without
    this half of the detections of a source in 40 images and the other half would make two.
    Images that do not cover the place count as well; then less is said than could be.
    """
    k = np.arange(max(n_images, 2) + 1)
    return np.asarray(betaln(k + 1.0, k[-1] - k + 1.0))


def _candidates(rows: _Rows, ln_odds: float) -> tuple[Ints, Ints]:
    """Return the pairs of different images that are one rather than two, the likeliest first."""
    none = np.empty(0, np.int64)
    if len(rows.xy) < 2:
        return none, none
    reach = min(REACH_ARCSEC, MOST_SIGMA * float(np.sqrt(2.0 * rows.variance.max())))
    pairs = cKDTree(rows.xy).query_pairs(reach, output_type="ndarray").astype(np.int64)
    ia, ib = pairs.min(axis=1), pairs.max(axis=1)
    apart = rows.image[ia] != rows.image[ib]
    ia, ib = ia[apart], ib[apart]
    variance = rows.variance[ia] + rows.variance[ib]
    distance2 = ((rows.xy[ia] - rows.xy[ib]) ** 2).sum(axis=1)
    near = distance2 <= MOST_SIGMA**2 * variance
    ia, ib, variance, distance2 = ia[near], ib[near], variance[near], distance2[near]
    gain = pair_gain(distance2, variance, 0.5 * (rows.ln_density[ia] + rows.ln_density[ib]))
    likely = gain + ln_odds > 0
    ia, ib, gain = ia[likely], ib[likely], gain[likely]
    order = np.lexsort((ib, ia, -gain))
    return ia[order], ib[order]


def _with_close_groups(rows: _Rows, group: Ints) -> Ints:
    """Return the groups, with those that no image can resolve joined, the nearest first."""
    number, of = np.unique(group, return_inverse=True)
    n, w = len(number), 1.0 / rows.variance
    if n < 2:
        return group
    total = np.bincount(of, w, n)
    mean = np.column_stack([np.bincount(of, w * rows.xy[:, k], n) / total for k in range(2)])
    size = np.zeros(n)
    np.maximum.at(size, of, rows.size)
    reach = np.clip(0.5 * size, UNRESOLVED_ARCSEC, MOST_UNRESOLVED_ARCSEC)
    pairs = cKDTree(mean).query_pairs(float(reach.max()), output_type="ndarray")
    distance2 = ((mean[pairs[:, 0]] - mean[pairs[:, 1]]) ** 2).sum(axis=1)
    near = distance2 <= np.maximum(reach[pairs[:, 0]], reach[pairs[:, 1]]) ** 2
    pairs, distance2 = pairs[near], distance2[near]
    if not len(pairs):
        return group
    images: dict[int, set[int]] = {k: set() for k in np.unique(pairs).tolist()}
    for k, image in zip(of.tolist(), rows.image.tolist(), strict=True):
        if k in images:
            images[k].add(image)
    first_of = np.arange(n)
    order = np.lexsort((mean[pairs[:, 0], 1], mean[pairs[:, 0], 0], distance2))
    for a, b in pairs[order].tolist():
        here, there = int(first_of[a]), int(first_of[b])
        if here != there and not images[here] & images[there]:
            images[here] |= images[there]
            first_of[first_of == there] = here
    return np.asarray(number[first_of[of]], dtype=np.int64)


def _association(images: Sequence[Detections], rows: _Rows, group: Ints) -> Association:
    # The sums are over members in the order of the rows, so that not even a bit depends on it.
    number, of = np.unique(group, return_inverse=True)
    n = len(number)
    w = 1.0 / rows.variance
    total = np.bincount(of, w, n)
    mean = np.column_stack([np.bincount(of, w * rows.xy[:, k], n) / total for k in range(2)])
    distance2 = ((rows.xy - mean[of]) ** 2).sum(axis=1)
    chi2 = np.bincount(of, w * distance2, n)
    n_images = np.bincount(of, minlength=n)
    rank = np.empty(n, np.int64)
    order = np.lexsort((mean[:, 1], mean[:, 0]))
    rank[order] = np.arange(n)
    detection = np.full((n, len(images)), -1)
    detection[rank[of], rows.image] = rows.row
    object_of = [np.full(len(image.x_arcsec), -1) for image in images]
    for m, numbers in enumerate(object_of):
        own = rows.image == m
        numbers[rows.row[own]] = rank[of[own]]
    with np.errstate(divide="ignore", invalid="ignore"):
        chi2_dof = np.where(n_images > 1, chi2 / (2.0 * n_images - 2.0), np.nan)
    return Association(
        tuple(object_of), detection, mean[order, 0], mean[order, 1], 1.0 / np.sqrt(total)[order],
        chi2_dof[order], n_images[order],
    )  # fmt: skip
