"""The list of objects: what the images show, what only all of them show, what the user asks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.spatial import cKDTree

from bycatch.arrays import Bools, Floats, Ints
from bycatch.images.times import DAYS_PER_YEAR
from bycatch.stages.objects.association import Detections, associate
from bycatch.stages.objects.epochs import with_motions
from bycatch.stages.objects.model import (
    ORIGIN_COMBINED,
    ORIGIN_IMAGE,
    ORIGIN_USER,
    ImageDetections,
    Motion,
    ObjectList,
)
from bycatch.stages.objects.stamps import SkyEllipses
from bycatch.tangent import direction, sky_of_tangent, tangent_mas, unit_vectors

SAME_ARCSEC = 0.15
"""A position of the sum of the images, or of the user's, this near to an object is that object:
about the FWHM of a drizzled star."""

MOTION_MAS_YR = 10.0
"""What stars may move per axis between the epochs of their detections: faint ones of the halo do
3 to 10 mas a year."""

COLOUR_SHARE = 0.6
"""Of the axes of the ellipse of the total flux (2.5 Kron radii): most of the light, and a third of
the noise of the sky.  On images of one PSF a colour is right in any ellipse."""
BLENDED_SHARE = 0.2
"""The same where that ellipse holds much of others (flag total_blended).  In training stacks
colours of such galaxies at S/N 20 to 200 scattered by 3.1 times their errors in the usual ellipse,
2.1 times in this one: halos of stars 2 to 3 arcsec away have colours of their own."""
LEAST_AXIS_ARCSEC = 0.125
"""Smaller ellipses know nothing of a match of the PSFs."""

Covers = Callable[[Floats, Floats], Bools]
"""Tells of positions on the sky (degrees) whether an image covers them."""


def list_of(
    images: Sequence[ImageDetections],
    covers: Sequence[Covers],
    combined: Floats | None = None,
    user: Floats | None = None,
) -> ObjectList:
    """Return the objects of a group.

    Detections of one object are joined (`association.associate`).  A detection that its image takes
    for a cosmic ray, and that no other image shows although one covers its place, is left out.

    Parameters
    ----------
    images : what each of them shows
    covers : of each image
    combined : (K, 3) float; right ascension, declination (degrees) and error (mas) of the
        detections on the sum of the images
    user : (K, 2) float; positions of the user's, degrees
    """
    lists = [v for v in (combined, user) if v is not None and len(v)]
    everything = [np.column_stack([i.ra_deg, i.dec_deg]) for i in images]
    everything += [v[:, :2] for v in lists]
    points = np.concatenate([np.empty((0, 2)), *everything])
    points = points[np.isfinite(points).all(axis=1)]
    centre = direction(unit_vectors(*points.T)) if len(points) else (0.0, 0.0)
    objects = _objects_in_images(images, covers, centre)
    if combined is not None:
        objects = _with_positions(objects, combined[:, :2], combined[:, 2], ORIGIN_COMBINED, centre)
    if user is not None:
        objects = _with_positions(objects, user, np.zeros(len(user)), ORIGIN_USER, centre)
    return objects


def ellipses_of(objects: ObjectList, images: Sequence[ImageDetections]) -> SkyEllipses:
    """Return the ellipse of each extended object's colours: of the image that sees it best.

    NaN of objects that are points there, or that no image detected.

    Parameters
    ----------
    objects : ObjectList of N objects
    images : detections of each image
    """
    n = len(objects)
    axes = np.full((3, n), np.nan)
    best, is_blended = np.full(n, -np.inf), np.zeros(n, dtype=bool)
    for k, image in enumerate(images):
        rows = np.flatnonzero(objects.detection[:, k] >= 0)
        own = objects.detection[rows, k]
        is_blended[rows] |= image.is_blended[own]
        better = np.nan_to_num(image.snr[own]) > best[rows]
        rows, own = rows[better], own[better]
        best[rows] = np.nan_to_num(image.snr[own])
        shape = image.ellipses
        for part, values in enumerate(
            (shape.semimajor_arcsec, shape.semiminor_arcsec, shape.pa_deg)
        ):
            axes[part, rows] = values[own]
    axes[:2] *= np.where(is_blended, BLENDED_SHARE, COLOUR_SHARE)
    axes[:2] = np.where(np.isfinite(axes[:2]), np.maximum(axes[:2], LEAST_AXIS_ARCSEC), np.nan)
    return SkyEllipses(*axes)


def _objects_in_images(
    images: Sequence[ImageDetections], covers: Sequence[Covers], centre: tuple[float, float]
) -> ObjectList:
    if not images:
        return _only(np.empty(0), np.empty(0), np.empty(0), 0, 0)
    epochs = [image.mjd for image in images if np.isfinite(image.mjd)]
    middle = float(np.mean(epochs)) if epochs else np.nan
    detections = [_on_plane(image, centre, middle) for image in images]
    association = associate(detections)
    detection = np.asarray(association.detection, dtype=np.int64).reshape(-1, len(images))
    has_detection = detection >= 0
    xy_mas = 1000.0 * np.column_stack([association.x_arcsec, association.y_arcsec])
    ra, dec = sky_of_tangent(xy_mas, *centre)
    is_source = ~_are_cosmic_rays(images, covers, detection, ra, dec)
    mjd = np.array([image.mjd for image in images])
    with np.errstate(invalid="ignore"):
        mean_mjd = (has_detection * np.nan_to_num(mjd)).sum(axis=1) / has_detection.sum(axis=1)
    n = len(ra)
    objects = ObjectList(
        ra,
        dec,
        1000.0 * np.asarray(association.err_arcsec),
        np.asarray(association.chi2_dof),
        mean_mjd,
        np.full(n, ORIGIN_IMAGE),
        detection,
        np.zeros(n, dtype=np.int64),
        Motion.none(n),
        int((~is_source).sum()),
    )
    return with_motions(objects.take(is_source), images)


def _on_plane(image: ImageDetections, centre: tuple[float, float], mjd: float) -> Detections:
    years = np.nan_to_num(abs(image.mjd - mjd) / DAYS_PER_YEAR)
    xy = tangent_mas(image.ra_deg, image.dec_deg, *centre) / 1000.0
    return Detections(
        xy[:, 0],
        xy[:, 1],
        np.hypot(image.err_mas, MOTION_MAS_YR * years) / 1000.0,
        image.frame_err_mas / 1000.0,
        np.nan_to_num(image.snr),
        image.size_arcsec,
    )


def _are_cosmic_rays(
    images: Sequence[ImageDetections],
    covers: Sequence[Covers],
    detection: Ints,
    ra: Floats,
    dec: Floats,
) -> Bools:
    """Return which objects are a cosmic ray of one image that another one would show."""
    has_detection = detection >= 0
    suspect = np.zeros(len(detection), dtype=bool)
    for m, image in enumerate(images):
        alone = has_detection[:, m] & (has_detection.sum(axis=1) == 1)
        alone[alone] = image.is_cosmic_ray[detection[alone, m]]
        for other, covers_sky in enumerate(covers):
            if other != m and alone.any():
                rows = np.flatnonzero(alone & ~suspect)
                suspect[rows] |= covers_sky(ra[rows], dec[rows])
    return suspect


def _with_positions(
    objects: ObjectList, sky: Floats, err_mas: Floats, origin: int, centre: tuple[float, float]
) -> ObjectList:
    """Add positions to the list, and their origin to the objects that are there already."""
    good = np.isfinite(sky).all(axis=1)
    sky, err_mas, list_row = sky[good], err_mas[good], np.flatnonzero(good) + 1
    if not len(sky):
        return objects
    new: Bools = np.ones(len(sky), dtype=bool)
    if len(objects):
        tree = cKDTree(tangent_mas(objects.ra_deg, objects.dec_deg, *centre))
        nearest = tree.query(tangent_mas(sky[:, 0], sky[:, 1], *centre))
        distance, row = (np.asarray(v) for v in nearest)
        new = distance > 1000.0 * SAME_ARCSEC
        if origin == ORIGIN_USER:  # two rows of a list are two objects: the nearer one is this
            at = np.flatnonzero(~new)[np.argsort(distance[~new], kind="stable")]
            new[np.delete(at, np.unique(row[at], return_index=True)[1])] = True
        objects.origin[np.unique(row[~new])] |= origin
        if origin == ORIGIN_USER:
            objects.list_row[row[~new]] = list_row[~new]
    ra, dec = sky[new].T
    more = _only(ra, dec, err_mas[new], origin, objects.detection.shape[1])
    if origin == ORIGIN_USER:
        more.list_row[:] = list_row[new]
    return objects.and_of(more)


def _only(ra: Floats, dec: Floats, err_mas: Floats, origin: int, n_images: int) -> ObjectList:
    """Return objects that no image detected."""
    n = len(ra)
    return ObjectList(
        ra,
        dec,
        err_mas,
        np.full(n, np.nan),
        np.full(n, np.nan),
        np.full(n, origin),
        np.full((n, n_images), -1),
        np.zeros(n, dtype=np.int64),
        Motion.none(n),
    )
