"""Fluxes and colours of objects from what the images measured of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from bycatch.arrays import Bools, Floats, Ints
from bycatch.photcal import AB_MICROJANSKY, ABSOLUTE_SYSTEMATIC, MAG_PER_FRACTION, ee_systematic
from bycatch.stages.objects import colours as colours_of
from bycatch.stages.objects.colours import Colours, filter_fluxes, radius_by_snr
from bycatch.stages.objects.homogenised import colours as ellipse_colours
from bycatch.stages.objects.homogenised import ellipse_fluxes, in_filters
from bycatch.stages.objects.matching import matching_kernels
from bycatch.stages.objects.matrices import Matrices
from bycatch.stages.objects.model import ColourGrid, field_of
from bycatch.stages.psf.of_image import StarPsf

SHARED_WIDTH = 0.7
"""Share of the variance by which widths of stars scatter that the filters of a visit have in
common: the focus, and how it changes over the field.  It cancels in their colours (simulated
groups: those of stars of S/N 70 to 200 had pulls of 0.7 within visits, and of 1.0 across)."""
LIMIT_SIGMA = 5.0
"""Of the limits in the catalogs."""


@dataclass(frozen=True, eq=False)
class ObjectFluxes:
    """Fluxes f_nu (microjansky) of N objects in F filters, and the colours of neighbours.

    Attributes
    ----------
    radius_px : (N,) float; of the apertures of an object, the same in all filters; NaN: none
    of_psf : (N,) bool; the fluxes are those of PSF fits, not of the apertures
    flux, err : (N, F) float
    err_sys : (N, F) float; systematic error as a fraction, that of the absolute scale included
    limit : (N, F) float; 5 sigma of blank sky
    n_images : (N, F) int
    colours : of neighbouring filters
    image_flux, image_err : (N, M) float; in each image
    """

    radius_px: Floats
    of_psf: Bools
    flux: Floats
    err: Floats
    err_sys: Floats
    limit: Floats
    n_images: Ints
    colours: Colours
    image_flux: Floats
    image_err: Floats

    def colour_columns(self, filters: Sequence[str]) -> dict[str, Any]:
        """Return the columns of the colours (object_columns.COLOUR)."""
        columns: dict[str, Any] = {}
        for k, (f, g) in enumerate(pairwise(filters)):
            columns[f"colour_{f}_{g}"] = self.colours.colour[:, k]
            columns[f"colour_err_{f}_{g}"] = self.colours.err_total[:, k]
            columns[f"colour_err_sys_{f}_{g}"] = self.colours.err_sys[:, k]
            columns[f"colour_limit_{f}_{g}"] = self.colours.kind[:, k]
            columns[f"colour_of_{f}_{g}"] = self.colours.in_ellipse[:, k]
        for k, (f, g, h) in enumerate(zip(filters, filters[1:], filters[2:], strict=False)):
            columns[f"colour_cov_{f}_{g}_{h}"] = self.colours.cov[:, k]
        return columns


def object_fluxes(
    matrices: Matrices,
    is_point: Bools,
    grid: ColourGrid | None = None,
    is_struck: Bools | None = None,
) -> ObjectFluxes:
    """Return fluxes and colours: of points by the PSF, of others in one radius for all filters.

    Points that some image can not fit are measured in apertures as well.  Colours of extended
    objects are those of one ellipse on images of one PSF, where those are known for a pair of
    filters.

    Charge of cosmic rays is not light: an image that is struck at an object does not count where
    another one of its filter looks, and a filter with no other has a flux there, but no colour.

    Parameters
    ----------
    matrices : Matrices, measurements of the objects in the images
    is_point : (N,) bool; the object can't be distinguished from a point
    grid : ColourGrid, fluxes of extended objects; none without it
    is_struck : (N, M) bool; images that a cosmic ray hit at an object's place; none by default
    """
    names = [image.filter for image in matrices.images]
    number = matrices.filter_of
    common_share = np.array([ee_systematic(name) for name in names])[:, np.newaxis]
    every = _with_psf(matrices, _in_apertures(matrices, common_share))
    hits = _hits(matrices, is_struck)
    every.flux[hits.left_out] = np.nan
    means = filter_fluxes(
        every.flux,
        every.err,
        number,
        len(matrices.filters),
        shared_sys=common_share,
        own_sys=every.own_sys,
        weight_err=every.sky_err,
    )
    radius = radius_by_snr(means.without_last())
    # An image whose apertures alone serve (a full core) would be no epoch.
    fits = np.isfinite(every.flux[:, :, -1]) | ~np.isfinite(every.flux[:, :, :-1]).any(axis=2)
    of_psf: Bools = np.asarray(is_point & fits.all(axis=1) & (radius >= 0))
    layer = np.where(of_psf, len(matrices.radii_px), radius)
    at, at_err, at_sys = means.at(layer)
    sky = filter_fluxes(every.sky_err, every.sky_err, number, len(matrices.filters))
    rows = np.arange(matrices.n)
    joint = np.where(of_psf[:, np.newaxis, np.newaxis], _joint(matrices, every, at), 0.0)
    pairs = [(k, k + 1) for k in range(len(matrices.filters) - 1)]
    radii = np.array([*matrices.radii_px, np.nan])
    return ObjectFluxes(
        radii[radius],
        of_psf,
        at,
        at_err,
        np.hypot(at_sys, ABSOLUTE_SYSTEMATIC),
        sky.at(layer)[1] * LIMIT_SIGMA,
        means.n_images,
        _colours(
            matrices, colours_of.colours(at, at_err, at_sys, pairs, joint), grid, hits.left_out
        ).without(hits.spoilt[:, :-1] | hits.spoilt[:, 1:]),
        *(
            np.where(layer[:, np.newaxis] >= 0, v[rows, :, layer], np.nan)
            for v in (every.flux, every.err)
        ),
    )


class _Hits(NamedTuple):
    """Cosmic rays on objects.

    Attributes
    ----------
    left_out : (N, M) bool; images without a say, as others of the filter look there
    spoilt : (N, F) bool; filters of which all images are struck
    """

    left_out: Bools
    spoilt: Bools


def _hits(matrices: Matrices, is_struck: Bools | None) -> _Hits:
    """Return what follows where images are struck."""
    shape = (matrices.n, len(matrices.filters))
    struck = np.zeros(matrices.covered.shape, np.bool_) if is_struck is None else is_struck
    spoilt, left_out = np.zeros(shape, np.bool_), np.zeros(matrices.covered.shape, np.bool_)
    for f in range(shape[1]):
        images = matrices.filter_of == f
        is_clean = np.any((matrices.covered & ~struck)[:, images], axis=1)
        has_hit = np.any(struck[:, images], axis=1)
        spoilt[:, f] = has_hit & ~is_clean
        left_out[:, images] = struck[:, images] & np.reshape(is_clean, (-1, 1))
    return _Hits(left_out, spoilt)


class _Layers(NamedTuple):
    """Fluxes of N objects in M images, measured in L ways, (N, M, L) microjansky.

    Attributes
    ----------
    flux, err, sky_err : the last without the noise of the source's own light
    own_sys : systematic error of each image alone, as a fraction
    """

    flux: Floats
    err: Floats
    sky_err: Floats
    own_sys: Floats


def _in_apertures(matrices: Matrices, common_share: Floats) -> _Layers:
    """Return the fluxes in the apertures; ``common_share``, (M, 1), is a fraction of a filter."""
    unit = np.array([image.microjansky for image in matrices.images])[:, np.newaxis]
    flux, err = (matrices.per_radius(f"{n}_{{r}}_apcor") * unit for n in ("flux", "err"))
    sky = 10.0 ** (0.4 * (AB_MICROJANSKY - matrices.per_radius("maglim_{r}"))) / LIMIT_SIGMA
    with np.errstate(invalid="ignore", divide="ignore"):
        whole = matrices.per_radius("err_{r}_sys") * unit / np.abs(flux)
    own = np.sqrt(
        np.maximum(np.nan_to_num(whole) ** 2 - common_share**2 - ABSOLUTE_SYSTEMATIC**2, 0.0)
    )
    return _Layers(flux, err, sky, own)


def _with_psf(matrices: Matrices, apertures: _Layers) -> _Layers:
    """Return the fluxes in the apertures, and those of the PSF as the last layer."""
    shape = (matrices.n, len(matrices.images))
    flux, err, sky, own = (np.full(shape, np.nan) for _ in range(4))
    for k, image in enumerate(matrices.images):
        fits = image.psf_fluxes
        if fits is None:
            continue
        at, unit = (image.rows, k), image.microjansky
        for to, values in ((flux, fits.flux), (err, fits.err), (sky, fits.sky_err)):
            to[at] = np.where(fits.holds, values, np.nan) * unit
        of_scale = apertures.own_sys[image.rows, k, matrices.radii_px.index(fits.radius_px)]
        own[at] = np.hypot(of_scale, fits.scale_err)
    layers = (flux, err, sky, np.nan_to_num(own))
    return _Layers(
        *(
            np.concatenate([values, last[:, :, np.newaxis]], axis=2)
            for values, last in zip(apertures, layers, strict=True)
        )
    )


def _joint(matrices: Matrices, every: _Layers, flux: Floats) -> Floats:
    """Return what the relative errors of PSF fluxes in two filters have in common, (N, F, F).

    ``flux`` holds the means of the filters, (N, F).
    """
    n_filters = flux.shape[1]
    fields = np.array([field_of(image.label) for image in matrices.images])
    width_err = np.zeros((matrices.n, len(matrices.images)))
    for k, image in enumerate(matrices.images):
        if image.psf_fluxes is not None:
            width_err[image.rows, k] = image.psf_fluxes.width_err * image.microjansky
    with np.errstate(invalid="ignore", divide="ignore"):
        weight = np.nan_to_num(every.sky_err[:, :, -1] ** -2.0, posinf=0.0)
        weight *= np.isfinite(every.flux[:, :, -1]) & np.isfinite(width_err)
        joint = np.zeros((matrices.n, n_filters, n_filters))
        for name in np.unique(fields):
            share = np.zeros((matrices.n, n_filters))
            for f in range(n_filters):
                here = matrices.filter_of == f
                part = (weight * np.nan_to_num(width_err))[:, here & (fields == name)].sum(axis=1)
                share[:, f] = part / weight[:, here].sum(axis=1) / flux[:, f]
            joint += share[:, :, np.newaxis] * share[:, np.newaxis, :]
    return SHARED_WIDTH * np.nan_to_num(joint, posinf=0.0, neginf=0.0)


def _colours(
    matrices: Matrices, points: Colours, grid: ColourGrid | None, left_out: Bools
) -> Colours:
    """Return the colours of points, and in their place those of extended objects in ellipses.

    ``left_out``, (N, M), are images without a say.
    """
    stamps_of_images = [
        (k, image.stamps) for k, image in enumerate(matrices.images) if image.stamps is not None
    ]
    if grid is None or not stamps_of_images:
        return points
    psfs = _psfs(matrices, [k for k, _ in stamps_of_images])
    fluxes = ellipse_fluxes(grid.ellipses, [s for _, s in stamps_of_images], matching_kernels(psfs))
    order = [k for k, _ in stamps_of_images]
    fluxes.flux[left_out[:, order]] = np.nan
    groups = [
        [order.index(k) for k in matrices.in_filter(f) if k in order] for f in matrices.filters
    ]
    flux, err, sides = in_filters(fluxes, groups)
    colour, random = ellipse_colours(flux, err, sides)
    has_colour = np.isfinite(colour) & (random > 0) & np.isfinite(random)
    has_colour &= (flux[:, :-1] > colours_of.DETECTED_SIGMA * err[:, :-1]) & (
        flux[:, 1:] > colours_of.DETECTED_SIGMA * err[:, 1:]
    )
    systematic = np.array([ee_systematic(f) for f in matrices.filters])
    common_err = MAG_PER_FRACTION * np.hypot(systematic[:-1], systematic[1:])
    with np.errstate(invalid="ignore", divide="ignore"):
        mag_err = MAG_PER_FRACTION * np.hypot(err / flux, systematic)
    pairs = [(k, k + 1) for k in range(flux.shape[1] - 1)]
    both, neither = has_colour[:, :-1] & has_colour[:, 1:], ~has_colour[:, :-1] & ~has_colour[:, 1:]
    cov = np.where(neither, points.cov, np.nan)
    return Colours(
        np.where(has_colour, colour, points.colour),
        np.where(has_colour, random, points.err),
        np.where(has_colour, common_err, points.err_sys),
        np.where(has_colour, colours_of.MEASURED, points.kind).astype(np.int8),
        has_colour,
        np.where(both, colours_of.shared_covariance(mag_err, pairs), cov),
    )


def _psfs(matrices: Matrices, images: Sequence[int]) -> list[StarPsf | None]:
    """Return the PSFs of images; one without stars has that of another image of its filter."""
    psfs: list[StarPsf | None] = []
    for k in images:
        others = [
            matrices.images[j].psf
            for j in matrices.in_filter(matrices.images[k].filter)
            if j in images
        ]
        there = [psf for psf in (matrices.images[k].psf, *others) if psf is not None]
        psfs.append(there[0] if there else None)
    return psfs
