"""The tables of objects: each object, each object in each image and exposure, and the images."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.table import Table
from scipy.spatial import cKDTree

from bycatch.arrays import Bools, Floats, Ints
from bycatch.catalogs.flags import Flag
from bycatch.catalogs.object_classes import POINT, REAL
from bycatch.catalogs.object_columns import (
    GROUP_IMAGES,
    IN_FILTER,
    OBJECTS,
    in_filters,
    of_colours,
)
from bycatch.catalogs.sky_parts import REAL_SHARE
from bycatch.catalogs.tables import floats, make_table
from bycatch.images.times import DAYS_PER_YEAR
from bycatch.photcal import AB_MICROJANSKY, MAG_PER_FRACTION
from bycatch.robust import robust_sigma
from bycatch.stages.objects.association import LEAST_ERROR_ARCSEC, SIZE_SHARE
from bycatch.stages.objects.epoch_table import epoch_table
from bycatch.stages.objects.epochs import epochs
from bycatch.stages.objects.evidence import object_evidence
from bycatch.stages.objects.identity import identify
from bycatch.stages.objects.light import light_of_image
from bycatch.stages.objects.likelihoods import Places
from bycatch.stages.objects.listing import MOTION_MAS_YR
from bycatch.stages.objects.matrices import Matrices
from bycatch.stages.objects.model import (
    ColourGrid,
    ImagePhotometry,
    ObjectList,
)
from bycatch.stages.objects.photometry import ObjectFluxes, object_fluxes
from bycatch.stages.objects.result import Objects
from bycatch.tangent import direction, tangent_mas, unit_vectors

if TYPE_CHECKING:
    from bycatch.settings import Settings


BRIGHT_SNR = 50.0
STRUCK_SNR = 5.0
"""An image has so much signal at least where it shows the charge of a cosmic ray."""


def tables(
    objects: ObjectList,
    photometry: Sequence[ImagePhotometry],
    settings: Settings,
    grid: ColourGrid | None = None,
    earlier: Table | None = None,
) -> Objects:
    """Return the tables of a group.

    Parameters
    ----------
    objects : the objects; those that no image covers are left out
    photometry : what each image measured; images that failed are missing
    settings : of the run
    grid : of the colours of extended objects
    earlier : the table that was there before, whose identifiers are kept
    """
    radii_px = settings.measure.radii_px
    matrices = Matrices(len(objects), photometry, radii_px)
    verdict = _evidence(objects, matrices)
    is_point: Bools = np.asarray(~(verdict["p_star"] < POINT))
    grid = None if grid is None else grid.without(is_point)
    fluxes = object_fluxes(matrices, is_point, grid, _struck(matrices, verdict["p_real"], is_point))
    light = [light_of_image(image, fluxes) for image in photometry]
    variability = epochs(objects, matrices, fluxes, light, verdict["p_star"])
    is_covered: Bools = np.asarray(matrices.covered.any(axis=1))
    old = () if earlier is None else [np.asarray(earlier[n]) for n in ("object_id", "ra", "dec")]
    name = identify(objects.ra_deg[is_covered], objects.dec_deg[is_covered], *old)
    object_id: Ints = np.zeros(matrices.n, dtype=np.int64)
    object_id[is_covered] = name.object_id
    columns = (
        verdict | variability.columns | _shape_columns(objects, matrices, grid, verdict["p_real"])
    )
    return Objects(
        _objects(objects, matrices, fluxes, columns, is_covered, object_id),
        epoch_table(objects, matrices, light, variability, object_id),
        _images(objects, matrices),
        matrices.filters,
        objects.n_cosmic_rays,
        settings.objects.min_p_real,
        name,
    )


def _objects(
    objects: ObjectList,
    matrices: Matrices,
    fluxes: ObjectFluxes,
    columns: dict[str, Any],
    is_covered: Bools,
    object_id: Ints,
) -> Table:
    """Return the table of the objects."""
    data: dict[str, Any] = {
        "object_id": object_id,
        "ra": objects.ra_deg,
        "dec": objects.dec_deg,
        "ra_err": objects.err_mas,
        "dec_err": objects.err_mas,
        "ra_dec_corr": np.where(np.isfinite(objects.err_mas), 0.0, np.nan),
        "mjd": objects.mjd,
        "origin": objects.origin,
        "list_row": objects.list_row,
        "n_images": matrices.covered.sum(axis=1),
        "n_detected": matrices.detected.sum(axis=1),
        "n_filters": (fluxes.n_images > 0).sum(axis=1),
        "position_chi2": objects.chi2_dof,
        "radius_px": fluxes.radius_px,
        "psf_flux": fluxes.of_psf,
        "flags": np.bitwise_or.reduce(matrices.flags, axis=1, initial=0),
        **_gaia_of(matrices),
        **columns,
        **_motion_columns(objects),
    }
    for k, f in enumerate(matrices.filters):
        data |= _filter_columns(matrices, k, f, fluxes)
    data |= fluxes.colour_columns(matrices.filters)
    specs = (*OBJECTS, *in_filters(IN_FILTER, matrices.filters), *of_colours(matrices.filters))
    return make_table(specs, {name: values[is_covered] for name, values in data.items()})


def _struck(matrices: Matrices, p_real: Floats, is_point: Bools) -> Bools:
    """Return which images a cosmic ray hit at an object that others show, (N, M).

    Fits of the PSF see for themselves which pixels do not belong to a star.  Without a signal the
    shape of charge means nothing.
    """
    is_charge = (matrices.flags & int(Flag.LIKELY_COSMIC_RAY)) != 0
    has_signal = np.nan_to_num(matrices.of(f"snr_{min(matrices.radii_px):g}")) > STRUCK_SNR
    is_extended = (np.nan_to_num(p_real) >= REAL) & ~is_point
    return np.asarray(is_charge & has_signal & is_extended[:, np.newaxis], np.bool_)


def _shape_columns(
    objects: ObjectList, matrices: Matrices, grid: ColourGrid | None, p_real: Floats
) -> dict[str, Any]:
    """Return sizes, the nearest neighbours, and the grades of the frames."""
    nothing = np.full(matrices.n, np.nan)
    half_light = np.stack(
        [
            image.scale_arcsec * matrices.of("half_light_px")[:, k]
            for k, image in enumerate(matrices.images)
        ]
        or [nothing],
        axis=1,
    )
    best = np.argmax(np.nan_to_num(_snr(matrices), nan=-np.inf), axis=1) if matrices.images else 0
    grades = np.array([image.grade for image in matrices.images] or [""])
    grades_of_detections = (
        np.where(matrices.detected, grades, "~")
        if matrices.images
        else np.full((matrices.n, 1), "~")
    )
    grade = np.sort(grades_of_detections, axis=1)[:, 0]
    axes = grid.ellipses if grid is not None else None
    return {
        "half_light_arcsec": half_light[np.arange(matrices.n), best],
        "semimajor_arcsec": nothing if axes is None else axes.semimajor_arcsec,
        "semiminor_arcsec": nothing if axes is None else axes.semiminor_arcsec,
        "pa_deg": nothing if axes is None else axes.pa_deg,
        "nearest_arcsec": _nearest(objects, np.nan_to_num(p_real) >= REAL),
        "grade": np.where(grade == "~", "", grade),
    }


def _snr(matrices: Matrices) -> Floats:
    """Return the signal-to-noise ratio in the middle aperture, (N, M)."""
    return matrices.of(f"snr_{matrices.radii_px[len(matrices.radii_px) // 2]:g}")


def _nearest(objects: ObjectList, real: Bools) -> Floats:
    """Return the distance of each object from the nearest other one that is real, arcsec."""
    distance = np.full(len(objects), np.nan)
    if real.sum() < 1 or len(objects) < 2:
        return distance
    at = direction(unit_vectors(objects.ra_deg, objects.dec_deg))
    xy = tangent_mas(objects.ra_deg, objects.dec_deg, *at) / 1000.0
    away, _ = cKDTree(xy[real]).query(xy, k=2)
    away = np.asarray(away)
    own = np.where(real, away[:, 1], away[:, 0])
    return np.where(np.isfinite(own), own, np.nan)


def _motion_columns(objects: ObjectList) -> dict[str, Any]:
    motion = objects.motion
    return {
        "pmra": motion.pm_mas_yr[:, 0],
        "pmdec": motion.pm_mas_yr[:, 1],
        "pmra_err": motion.pm_err_mas_yr[:, 0],
        "pmdec_err": motion.pm_err_mas_yr[:, 1],
        "parallax": motion.parallax_mas,
        "parallax_err": motion.parallax_err_mas,
        "motion_chi2": motion.chi2_dof,
    }


def _evidence(objects: ObjectList, matrices: Matrices) -> dict[str, Floats]:
    """Return what the objects are, from all images together."""
    # The smallest aperture: light of neighbours and charge nearby are in the large ones.
    r = f"{min(matrices.radii_px):g}"
    microjansky = np.array([image.microjansky for image in matrices.images])
    evidence = object_evidence(
        matrices.of("p_cr"),
        np.where(matrices.detected, matrices.of("p_star"), np.nan),
        matrices.detected,
        matrices.of(f"flux_{r}_apcor") * microjansky,
        matrices.of(f"err_{r}_apcor") * microjansky,
        matrices.of("n_exp"),
        np.array([image.pivot_angstrom for image in matrices.images]),
        rate_per_flux=np.array([image.rate_per_microjansky for image in matrices.images]),
        places=_places(objects, matrices),
    )
    is_part = _parts_of_sky(matrices, evidence.p_star >= POINT)
    p_real = np.where(is_part, REAL_SHARE * evidence.p_real, evidence.p_real)
    return {"p_real": p_real, "p_cr": evidence.p_cr, "p_star": evidence.p_star}


def _parts_of_sky(matrices: Matrices, is_point: Bools) -> Bools:
    """Return which objects most images that detect them take for parts of the sky, (N,).

    For objects without detection all images speak that cover them.  A point may be a piece of a
    spike, but no part of a nebula or trail.
    """
    shown = matrices.detected
    speaks: Bools = np.where(shown.any(axis=1, keepdims=True), shown, matrices.covered)
    of_spike = (matrices.flags & int(Flag.SPIKE_PIECE)) != 0
    n_parts = (speaks & matrices.parts_of_sky & (of_spike | ~is_point[:, None])).sum(axis=1)
    return np.asarray((n_parts > 0) & (2 * n_parts >= speaks.sum(axis=1)), np.bool_)


def _places(objects: ObjectList, matrices: Matrices) -> Places:
    """Return where the images see the objects, and how many detections lie there by chance."""
    x, y, err = (np.full((matrices.n, len(matrices.images)), np.nan) for _ in range(3))
    several: Bools = np.asarray(matrices.detected.sum(axis=1) > 1)
    at_rest: Bools = np.asarray(~np.isfinite(objects.motion.pm_mas_yr).all(axis=1))
    half_light = np.nan_to_num(matrices.of("half_light_px"))
    density = 0.0
    for k, image in enumerate(matrices.images):
        rows = image.rows
        x[rows, k], y[rows, k] = image.offsets_mas(objects)
        size_mas = 1000.0 * image.scale_arcsec * half_light[rows, k]
        years = np.nan_to_num((image.mjd - objects.mjd[rows]) / DAYS_PER_YEAR)
        parts = [
            image.own_err_mas,
            np.full(len(rows), np.hypot(image.frame_err_mas, 1000.0 * LEAST_ERROR_ARCSEC)),
            SIZE_SHARE * size_mas,
            np.where(at_rest[rows], MOTION_MAS_YR * years, 0.0),
        ]
        err[rows, k] = np.sqrt(np.sum(np.square(parts), axis=0))
        density = max(density, several[rows].sum() / max(image.area_arcsec2, 1.0))
    rays = np.array(
        [image.n_cosmic_rays / max(image.area_arcsec2, 1.0) for image in matrices.images]
    )
    return Places(x, y, err, rays, float(density))


def _images(objects: ObjectList, matrices: Matrices) -> Table:
    """Return the table of the images."""
    several = (objects.detection >= 0).sum(axis=1) > 1
    rows = []
    for k, image in enumerate(matrices.images):
        has_detection = matrices.detected[
            :, k
        ]  # not the list's: images that failed are in that, too
        rows.append(
            {
                "image": image.label,
                "filter": image.filter,
                "mjd": image.mjd,
                "exptime": image.exptime_s,
                "n_exp": image.n_exposures,
                "grade": image.grade,
                "frame_err": image.frame_err_mas,
                "n_detections": int(has_detection.sum()),
                "n_matched": int((has_detection & several).sum()),
                "residual_rms": _residual_rms(objects, image),
            }
        )
    return make_table(GROUP_IMAGES, {c.name: [row[c.name] for row in rows] for c in GROUP_IMAGES})


def _residual_rms(objects: ObjectList, image: ImagePhotometry) -> float:
    """Return the rms distance per axis of bright detections from their objects, mas."""
    dra, ddec = image.offsets_mas(objects)
    middle = image.table.colnames[[n.startswith("snr_") for n in image.table.colnames].index(True)]
    several = (objects.detection[image.rows] >= 0).sum(axis=1) > 1
    bright = (floats(image.table, middle) > BRIGHT_SNR) & several
    both = np.concatenate([dra[bright], ddec[bright]])
    both = both[np.isfinite(both)]
    return robust_sigma(both, 0.0) if len(both) else np.nan


def _gaia_of(matrices: Matrices) -> dict[str, Any]:
    """Return the Gaia star of each object: that which most images match with it."""
    star, g = np.zeros(matrices.n, dtype=np.int64), np.full(matrices.n, np.nan)
    votes: dict[tuple[int, int], int] = {}
    for image in matrices.images:
        ids = np.asarray(image.table["gaia_source_id"])
        magnitude = floats(image.table, "gaia_g")
        for row, source, mag in zip(image.rows, ids, magnitude, strict=True):
            if source:
                votes[row, source] = votes.get((row, source), 0) + 1
                if votes[row, source] > votes.get((row, star[row]), 0):
                    star[row], g[row] = source, mag
    return {"gaia_source_id": star, "gaia_g": g}


def _filter_columns(matrices: Matrices, k: int, f: str, fluxes: ObjectFluxes) -> dict[str, Any]:
    """Return the columns of a filter."""
    images = matrices.in_filter(f)
    flux, err, limit = fluxes.flux[:, k], fluxes.err[:, k], fluxes.limit[:, k]
    positive = np.where(flux > 0, flux, np.nan)
    # Microjansky of a flux density of 1: as good as the same in all images of a filter.
    unit = float(np.median([matrices.images[i].microjansky for i in images]))
    looks = matrices.covered[:, images]
    mjd = np.where(looks, np.array([matrices.images[i].mjd for i in images]), np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # all NaN where none covers
        first, last = np.nanmin(mjd, axis=1), np.nanmax(mjd, axis=1)
    return {
        f"exptime_{f}": np.nansum(matrices.of("exptime")[:, images], axis=1),
        f"first_mjd_{f}": first,
        f"last_mjd_{f}": last,
        f"n_images_{f}": matrices.covered[:, images].sum(axis=1),
        f"n_detected_{f}": matrices.detected[:, images].sum(axis=1),
        f"flags_{f}": np.bitwise_or.reduce(matrices.flags[:, images], axis=1, initial=0),
        f"flux_{f}": flux / unit,
        f"flux_err_{f}": err / unit,
        f"flux_err_sys_{f}": np.abs(flux) * fluxes.err_sys[:, k] / unit,
        f"mag_{f}": AB_MICROJANSKY - 2.5 * np.log10(positive),
        f"mag_err_{f}": MAG_PER_FRACTION * err / positive,
        f"snr_{f}": flux / err,
        f"maglim_{f}": AB_MICROJANSKY - 2.5 * np.log10(limit),
        **_best_total(matrices, f),
    }


def _best_total(matrices: Matrices, f: str) -> dict[str, Floats]:
    """Return total magnitudes in a filter, and errors, of the image that sees the objects best."""
    images, rows = matrices.in_filter(f), np.arange(matrices.n)
    flux, err, err_sys, fraction = (
        matrices.of(name)[:, images]
        for name in ("flux_kron", "err_kron", "err_kron_sys", "kron_fraction")
    )
    total = np.where(flux > 0, flux / fraction, np.nan)
    with np.errstate(invalid="ignore"):
        mag_err = MAG_PER_FRACTION * err / fraction / total
        mag_err_sys = MAG_PER_FRACTION * err_sys / total
    best = rows, np.argmin(np.where(np.isfinite(mag_err), mag_err, np.inf), axis=1)
    mag = matrices.of("mag_ab_kron")[:, images] + 2.5 * np.log10(fraction)
    return {
        f"mag_total_{f}": mag[best],
        f"mag_total_err_{f}": mag_err[best],
        f"mag_total_err_sys_{f}": mag_err_sys[best],
    }
