"""What several epochs say of an object: its motion, and whether it varies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bycatch.arrays import Bools, Floats, Ints
from bycatch.catalogs.flags import Flag
from bycatch.stages.objects.light import Looks, looks_of_exposures
from bycatch.stages.objects.matrices import Matrices
from bycatch.stages.objects.model import ImageDetections, Motion, ObjectList, field_of
from bycatch.stages.objects.motion import fit_motions
from bycatch.stages.objects.photometry import ObjectFluxes
from bycatch.stages.objects.variability import variability, zeropoint_shifts
from bycatch.tangent import MAS_PER_DEG, direction, tangent_mas, unit_vectors

UNUSUAL = Flag.BLENDED | Flag.SATURATED | Flag.EDGE | Flag.SPIKE | Flag.HALO | Flag.PARTIAL_APERTURE
"""Objects with these flags say nothing about the quality of errors."""
PHASE_MAS = 0.5
"""Error of a star's centre that the images of one visit share, which see it at one phase of the
pixels and through the same optics: bright stars of simulated stacks differ by 0.7 mas between
visits."""
JOINED_SHARE = 0.85
"""Centres that were joined scatter by so much of their errors: those of stars that are farther off
are of cosmic rays and other stars (simulated groups, S/N 8 to 100: 0.79 to 0.90), and part of what
those of galaxies are off by all images share, so that it is no motion."""
LEAST_OWN_MAS = 0.1
"""Error of a centre without what the images of a visit share."""
STRUCK = 0.5
"""A single exposure whose shape has this p_cr says nothing of variability."""
STAR = 0.8
"""Objects of this p_star or more are used for zero points."""


def with_motions(objects: ObjectList, images: Sequence[ImageDetections]) -> ObjectList:
    """Return the list with the motions of the objects that several epochs detected.

    Images of one field share the errors of its frame and of the phase.

    Parameters
    ----------
    objects : ObjectList
    images : detections of each image
    """
    n = len(objects)
    if not n or len(images) < 2:
        return objects
    x, y, err = (np.full((n, len(images)), np.nan) for _ in range(3))
    cosine = np.cos(np.radians(objects.dec_deg))
    for k, image in enumerate(images):
        rows = np.flatnonzero(objects.detection[:, k] >= 0)
        own = objects.detection[rows, k]
        x[rows, k] = _wrap(image.ra_deg[own] - objects.ra_deg[rows]) * cosine[rows] * MAS_PER_DEG
        y[rows, k] = (image.dec_deg[own] - objects.dec_deg[rows]) * MAS_PER_DEG
        # What centres of bright stars are off by, the images of a visit share: see `PHASE_MAS`.
        own_err = image.err_mas[own] ** 2 - image.floor_mas**2
        err[rows, k] = np.maximum(JOINED_SHARE * np.sqrt(np.maximum(own_err, 0.0)), LEAST_OWN_MAS)
    fields = sorted({field_of(image.label) for image in images})
    fit = fit_motions(
        x,
        y,
        err,
        np.array([image.mjd for image in images]),
        frame_err_mas=np.hypot(
            [image.frame_err_mas for image in images],
            [max(image.floor_mas, PHASE_MAS) for image in images],
        ),
        frame_of=np.array([fields.index(field_of(image.label)) for image in images]),
        ra_deg=objects.ra_deg,
        dec_deg=objects.dec_deg,
    )
    moves = np.isfinite(fit.parameters[:, 2])
    rows = np.flatnonzero(moves)
    position = fit.parameters[rows, :2] / MAS_PER_DEG
    ra, dec = objects.ra_deg.copy(), objects.dec_deg.copy()
    ra[rows] += position[:, 0] / cosine[rows]
    dec[rows] += position[:, 1]
    with np.errstate(invalid="ignore"):
        chi2_dof = np.where(fit.dof > 0, fit.chi2 / np.maximum(fit.dof, 1), np.nan)
    motion = Motion(
        np.where(moves[:, np.newaxis], fit.parameters[:, 2:4], np.nan),
        np.where(moves[:, np.newaxis], fit.err[:, 2:4], np.nan),
        fit.parameters[:, 4],
        fit.err[:, 4],
        np.where(moves, chi2_dof, np.nan),
    )
    return replace(
        objects,
        ra_deg=ra,
        dec_deg=dec,
        err_mas=np.where(moves, np.hypot(*fit.err[:, :2].T) / np.sqrt(2.0), objects.err_mas),
        chi2_dof=np.where(moves, motion.chi2_dof, objects.chi2_dof),
        mjd=np.where(moves, fit.mjd, objects.mjd),
        motion=motion,
    )


def _wrap(degrees: Floats) -> Floats:
    """Return differences of right ascension between -180 and 180 degrees."""
    return (degrees + 180.0) % 360.0 - 180.0


@dataclass(frozen=True, eq=False)
class Epochs:
    """What the epochs of each filter say.

    Attributes
    ----------
    columns : those of object_columns.IN_FILTER
    shift_mag : (N, M) float; to add to the magnitudes of an image; NaN if not measured
    looks : of each image: the fluxes of the objects that it covers in its exposures; None where
        these are not at hand
    look_shift_mag : of each image: (K, E) float; to add to the magnitudes of its exposures
    """

    columns: dict[str, Any]
    shift_mag: Floats
    looks: Sequence[Looks | None]
    look_shift_mag: Sequence[Floats | None]


def epochs(
    objects: ObjectList,
    matrices: Matrices,
    fluxes: ObjectFluxes,
    light: Sequence[dict[str, Floats]],
    p_star: Floats,
) -> Epochs:
    """Return whether objects vary, filter by filter.

    Each exposure is an epoch where those of an image are at hand, else the image is one.  Where
    there is one of a filter, the columns are empty.

    Parameters
    ----------
    objects : ObjectList of N objects
    matrices : Matrices, measurements of the objects in the images
    fluxes : ObjectFluxes
    light : of each image, as `light_of_image` has it
    p_star : (N,) float, 0 to 1
    """
    at = direction(unit_vectors(objects.ra_deg, objects.dec_deg)) if len(objects) else (0.0, 0.0)
    x, y = tangent_mas(objects.ra_deg, objects.dec_deg, *at).T / 1000.0
    flags = np.bitwise_or.reduce(matrices.flags, axis=1, initial=0)
    usual: Bools = np.asarray((flags & int(UNUSUAL)) == 0)
    is_star: Bools = np.asarray(usual & (np.nan_to_num(p_star) >= STAR))
    # One exposure alone can't distinguish a cosmic ray on an object from a brighter object.
    is_hit = (np.nan_to_num(matrices.of("n_exp")) <= 1) & (
        np.nan_to_num(matrices.of("p_cr")) > STRUCK
    )
    image_flux = np.where(is_hit, np.nan, fluxes.image_flux)
    looks = [
        looks_of_exposures(image.exposures, own["flux"]) if image.exposures is not None else None
        for image, own in zip(matrices.images, light, strict=True)
    ]
    columns: dict[str, Any] = {}
    shift_mag = np.full((matrices.n, len(matrices.images)), np.nan)
    look_shift_mag: list[Floats | None] = [None] * len(matrices.images)
    for f in matrices.filters:
        images = matrices.in_filter(f)
        flux, err, spans = _epochs_of(matrices, images, image_flux, fluxes.image_err, looks)
        shifts = zeropoint_shifts(flux, err, x, y, is_star) if flux.shape[1] > 1 else None
        for k, span in spans.items():
            look_shift_mag[k] = shifts.in_mag[matrices.images[k].rows, span] if shifts else None
        if len(images) > 1:
            whole = image_flux[:, images], fluxes.image_err[:, images]
            own = zeropoint_shifts(*whole, x, y, is_star) if spans or shifts is None else shifts
            shift_mag[:, images] = own.in_mag
        result = variability(flux, err, shifts, usual)
        columns |= {
            f"chi2_{f}": np.where(result.dof > 0, result.chi2 / np.maximum(result.dof, 1), np.nan),
            f"amplitude_{f}": result.scatter_mag,
            f"p_variable_{f}": np.where(result.dof > 0, result.p_variable, np.nan),
            f"false_rate_{f}": np.where(result.dof > 0, result.false_rate, np.nan),
        }
    return Epochs(columns, shift_mag, looks, look_shift_mag)


def _epochs_of(
    matrices: Matrices,
    images: Ints,
    image_flux: Floats,
    image_err: Floats,
    looks: Sequence[Looks | None],
) -> tuple[Floats, Floats, dict[int, slice]]:
    """Return the fluxes of N objects in all epochs of a filter, and which those of an image are."""
    fluxes, errors = [], []
    spans: dict[int, slice] = {}
    n_epochs = 0
    for k in images.tolist():
        look, image = looks[k], matrices.images[k]
        flux, err = image_flux[:, k : k + 1], image_err[:, k : k + 1]
        if look is not None:
            flux, err = np.full((2, matrices.n, look.flux.shape[1]), np.nan)
            flux[image.rows] = np.where(look.is_spoilt, np.nan, look.flux * image.microjansky)
            err[image.rows] = look.err * image.microjansky
            spans[k] = slice(n_epochs, n_epochs + flux.shape[1])
        fluxes.append(flux)
        errors.append(err)
        n_epochs += flux.shape[1]
    return np.concatenate(fluxes, axis=1), np.concatenate(errors, axis=1), spans
