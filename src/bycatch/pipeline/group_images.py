"""The images of a group: searched, put aside, and measured at the objects' places."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import cKDTree

from bycatch import photcal
from bycatch.arrays import Bools, Floats, Ints
from bycatch.catalogs.object_classes import POINT
from bycatch.catalogs.tables import floats
from bycatch.images.exposures import exposure_sets
from bycatch.kernels.exposures import mask_shares
from bycatch.pipeline.group_frames import GroupFrame, label_of
from bycatch.pipeline.group_stamps import psf_and_stamps
from bycatch.pipeline.keys import quality_files
from bycatch.pipeline.other_images import in_covered_blocks
from bycatch.pipeline.quality import read_quality
from bycatch.pipeline.stored_psf import stored_psf
from bycatch.pipeline.workbench import Workbench
from bycatch.settings import MOST_SIGMA
from bycatch.sky.astrometry import CENTROID_FLOOR_PX
from bycatch.stages import detect, finalize, measure
from bycatch.stages.exposure_light import (
    light_of_exposures,
    share_of_light,
    shows_the_same,
)
from bycatch.stages.objects.model import (
    ColourGrid,
    ImageDetections,
    ImageExposures,
    ImagePhotometry,
    ObjectList,
    PsfFluxes,
)
from bycatch.stages.objects.stamps import SkyEllipses
from bycatch.stages.star_rows import add_forced, force_stars

if TYPE_CHECKING:
    from astropy.table import Table

    from bycatch.images.chips import ChipQuality
    from bycatch.images.meta import ImageMeta
    from bycatch.settings import Settings
    from bycatch.sky.gaia import ReferenceStars
    from bycatch.stages.objects.combined import Combination
    from bycatch.stages.psf.model import PsfModel

logger = logging.getLogger("bycatch")

SAME_SOURCE_PX = 1.0
"""A detection of a second search this near to one of the first is the same."""
SHAPE = ("semimajor_px", "semiminor_px", "kron_radius", "pa_deg")
SURE_CR = 0.95
"""From this p_cr on an image alone is all but sure of a cosmic ray."""
STRUCTURE = ("n_nebulous", "nebulous_percent", "large_object_percent", "n_trails")
"""What the summary of a measurement counts of the structure of the sky."""
MASK_SHARE = 0.5
"""A detection without p_cr is held for a cosmic ray where so much of it is on the mask."""


@dataclass(eq=False)
class GroupImage:
    """An image of a group.

    Attributes
    ----------
    bench : its pixels and products
    meta, scale_arcsec : of its headers
    frame : its frame in the group
    sources : the detections that go into the list (source_columns.SOURCES)
    source_ids : (N,) their numbers in the image's own catalog; 0: not in it
    ellipses : (N,) of their total fluxes there; NaN of points
    is_cosmic_ray : (N,) where the image alone is all but sure of it
    """

    bench: Workbench
    meta: ImageMeta
    scale_arcsec: float
    frame: GroupFrame
    sources: Table
    source_ids: Ints
    ellipses: SkyEllipses
    is_cosmic_ray: Bools

    @property
    def label(self) -> str:
        """``<field>/<filter>/<root>``."""
        return label_of(self.bench)

    def covers(self, ra_deg: Floats, dec_deg: Floats) -> Bools:
        """Return whether positions on the sky lie in blocks that are covered."""
        x, y = self.frame.wcs.all_world2pix(ra_deg, dec_deg, 0, quiet=True)
        is_finite = np.isfinite(x) & np.isfinite(y)
        is_inside = np.zeros(len(x), dtype=bool)
        is_inside[is_finite] = in_covered_blocks(self.bench.coverage, x[is_finite], y[is_finite])
        return is_inside


def search_image(
    bench: Workbench,
    frame: GroupFrame,
    settings: Settings,
    combination: Combination | None,
    *,
    is_alone: bool = False,
) -> GroupImage:
    """Return an image with the detections for the list; its pixels are added and put aside.

    Parameters
    ----------
    bench : the image, whose steps up to `finalize` are done
    frame : its frame in the group
    settings : of the run
    combination : the sum of the images of the group, if one is made
    is_alone : the image is the only one of its group: its pixels stay in memory
    """
    bench.read_again()
    detect_settings, image = settings.objects.detect(settings.detect), bench.image
    # A survey keeps no detections.
    has_list = detect_settings == settings.detect and bench.record.has_whole(
        bench.paths.product("sources")
    )
    sky = None
    if combination is not None or not has_list:
        sky = bench.sky(detect_settings)
    if has_list:  # the mask's file has the shares: neither segments nor mask are read for them
        sources, share = bench.sources, bench.cr_share
    else:
        detection = detect.run(image, detect_settings, sky, with_reach=False)
        sources, bench.__dict__["segmentation"] = detection.sources, detection.segmentation
        share = mask_shares(bench.segmentation, bench.cr_mask, sources["id"])
    ids, p_cr, ellipses = _in_own_catalog(bench, sources, image.scale_arcsec)
    on_mask = (share > MASK_SHARE) & (np.asarray(sources["n_exp"]) <= 1)
    if combination is not None and sky is not None:
        zeropoint = photcal.ab_zeropoint(image.meta.photflam, image.meta.photplam)
        combination.add(
            image,
            frame.wcs,
            sky.background,
            sky.noise,
            microjansky=photcal.microjansky(zeropoint),
            without=bench.cr_mask,  # in stacks, too: what the rejection has left
        )
    _ = bench.coverage  # while the pixels are in memory
    result = GroupImage(
        bench, image.meta, image.scale_arcsec, frame, sources, ids, ellipses,
        np.where(np.isfinite(p_cr), p_cr >= SURE_CR, on_mask),
    )  # fmt: skip
    if not is_alone:
        bench.put_aside()
    return result


def _in_own_catalog(
    bench: Workbench, sources: Table, scale_arcsec: float
) -> tuple[Ints, Floats, SkyEllipses]:
    """Return numbers in the image's own catalog (0: not in it), p_cr and ellipses."""
    ids, p_cr = np.zeros(len(sources), dtype=np.int64), np.full(len(sources), np.nan)
    shape = {name: np.full(len(sources), np.nan) for name in SHAPE}
    catalog = bench.catalog_with("id", "x_center", "y_center", "p_cr", "p_star", *SHAPE)
    if len(catalog) and len(sources):
        own = np.column_stack([floats(catalog, "x_center"), floats(catalog, "y_center")])
        is_finite = np.isfinite(own).all(axis=1)
        tree = cKDTree(own[is_finite])
        here = np.column_stack([floats(sources, "x"), floats(sources, "y")])
        distance, row = tree.query(here)
        near = distance <= SAME_SOURCE_PX
        row = np.flatnonzero(is_finite)[np.asarray(row)[near]]
        ids[near] = np.asarray(catalog["id"])[row]
        p_cr[near] = floats(catalog, "p_cr")[row]
        with np.errstate(invalid="ignore"):
            is_extended = floats(catalog, "p_star")[row] < POINT
        for name, values in shape.items():
            values[near] = np.where(is_extended, floats(catalog, name)[row], np.nan)
    return ids, p_cr, SkyEllipses.of_kron(**shape, scale_arcsec=scale_arcsec)


def detections_of(image: GroupImage) -> ImageDetections:
    """Return what an image shows, on the sky."""
    sources = image.sources
    x, y, flux, noise = (floats(sources, name) for name in ("x", "y", "flux", "noise"))
    ra, dec = image.frame.wcs.all_pix2world(x, y, 0) if len(x) else (np.empty(0), np.empty(0))
    size_px = np.sqrt(floats(sources, "semimajor_px") * floats(sources, "semiminor_px"))
    floor_px = image.frame.error.centroid_floor_mas / (1000.0 * image.scale_arcsec)
    floor_px = floor_px if np.isfinite(floor_px) else CENTROID_FLOOR_PX
    error_px = np.hypot(_centroid_errors_px(sources), floor_px)
    own = floats(sources, "centre_err_px")
    error_px = np.where(np.isfinite(own), own, error_px)
    scale_arcsec = image.scale_arcsec
    star_px = np.nanpercentile(size_px, 20) if len(size_px) else 0.0
    wider_px = np.sqrt(np.maximum(size_px**2 - star_px**2, 0.0))
    return ImageDetections(
        image.label,
        image.meta.filter,
        image.meta.mjd_mid,
        np.asarray(ra),
        np.asarray(dec),
        error_px * scale_arcsec * 1000.0,
        image.frame.relative_mas,
        flux / np.maximum(noise * np.sqrt(np.maximum(floats(sources, "area"), 1.0)), 1e-30),
        wider_px * scale_arcsec,
        image.is_cosmic_ray,
        image.source_ids,
        image.ellipses,
        1000.0 * floor_px * scale_arcsec,
    )


def detections_in_all(combination: Combination, settings: Settings) -> Floats:
    """Return what the sum of the images of a group shows.

    Where pixels are interpolated, their noise is lower than that of the images, but correlated: the
    threshold is in units of the noise before.

    Returns
    -------
    (K, 3) float
        Right ascension, declination (degrees), error per axis (mas).
    """
    image = combination.image()
    detect_settings = settings.objects.detect(settings.detect)
    sky = detect.sky_of(image, detect_settings)
    median_noise = float(np.median(sky.noise[sky.noise > 0]))
    n_sigma = min(detect_settings.n_sigma / min(median_noise, 1.0), MOST_SIGMA)
    detect_settings = detect_settings.replace(n_sigma=n_sigma)
    sources = detect.run(image, detect_settings, sky, with_reach=False).sources
    if not len(sources):
        return np.empty((0, 3))
    ra, dec = image.wcs.all_pix2world(floats(sources, "x"), floats(sources, "y"), 0)
    return np.column_stack([ra, dec, _centroid_errors_px(sources) * image.scale_arcsec * 1000.0])


def _centroid_errors_px(sources: Table) -> Floats:
    """Return the errors per axis of N centroids by noise, pixels.

    Without light in its window a source is known to its own width.
    """
    size_px = np.sqrt(floats(sources, "semimajor_px") * floats(sources, "semiminor_px"))
    error_px = floats(sources, "centroid_err_px")
    return np.where(np.isfinite(error_px), error_px, size_px)


def measure_objects(
    image: GroupImage,
    detections: ImageDetections,
    own: Ints,
    objects: ObjectList,
    settings: Settings,
    reference: ReferenceStars | None,
    grid: ColourGrid | None,
    *,
    is_alone: bool = False,
) -> ImagePhotometry:
    """Measure the objects that an image covers, at their places at its time.

    The code, errors and calibration are those of the image's own catalog.

    Parameters
    ----------
    image : the image
    detections : what it shows
    own : (N,) int; row of each object in that, -1 where it is not detected
    objects : the list
    settings : of the run
    reference : Gaia stars
    grid : of the colours of extended objects; None: there are none
    is_alone : the image is the only one of its group: its catalog has been measured at these places
    """
    bench = image.bench
    pixels, meta = bench.image, bench.image.meta
    ra, dec = objects.positions_at(meta.mjd_mid)
    x, y = image.frame.wcs.all_world2pix(ra, dec, 0, quiet=True) if len(ra) else (ra, dec)
    rows = np.flatnonzero(_has_data(pixels.valid, x, y))
    scale_mas = pixels.scale_arcsec * 1000.0
    chips = read_quality(quality_files(settings, bench.record), meta.readnoise_e)
    exposures = _in_exposures(image, x[rows], y[rows], chips)
    measurement, psf_fluxes, model = None, None, None
    table = _own_rows(image, own[rows]) if is_alone else None
    if table is None:
        measurement, table, psf_fluxes, model = _force_photometry(
            image, x[rows], y[rows], rows + 1, objects.err_mas[rows] / scale_mas, settings,
            measure.FieldContext(reference, chips),
        )  # fmt: skip
    own = own[rows]
    has_detection = own >= 0
    own_ra, own_dec, own_err = (np.full(len(rows), np.nan) for _ in range(3))
    own_ra[has_detection], own_dec[has_detection] = (
        detections.ra_deg[own[has_detection]],
        detections.dec_deg[own[has_detection]],
    )
    own_err[has_detection] = detections.err_mas[own[has_detection]]
    source_id = np.zeros(len(rows), dtype=np.int64)
    source_id[has_detection] = image.source_ids[own[has_detection]]
    zeropoint = photcal.ab_zeropoint(meta.photflam, meta.photplam)
    psf, stamps_of_image = None, None
    if grid is not None and measurement is not None and model is not None:
        psf, stamps_of_image = psf_and_stamps(
            pixels, image.frame.wcs, bench.cr_mask, bench.segmentation, measurement, model,
            ra_deg=ra[rows], dec_deg=dec[rows], rows=rows,
            ellipses=grid.ellipses, step_arcsec=grid.step_arcsec,
        )  # fmt: skip
    return ImagePhotometry(
        image.label,
        meta.filter,
        meta.mjd_mid,
        meta.exptime_s,
        meta.n_exposures,
        image.scale_arcsec,
        image.frame.grade,
        image.frame.error_mas,
        meta.photplam,
        photcal.microjansky(zeropoint) / meta.photflam,
        1.0 / photcal.microjansky(zeropoint),
        rows,
        table,
        own_ra,
        own_dec,
        own_err,
        source_id,
        float(np.count_nonzero(pixels.valid)) * image.scale_arcsec**2,
        int(np.count_nonzero(detections.is_cosmic_ray)),
        psf,
        stamps_of_image,
        psf_fluxes,
        exposures,
    )


def _in_exposures(
    image: GroupImage, x: Floats, y: Floats, chips: Sequence[ChipQuality]
) -> ImageExposures | None:
    """Measure positions in the exposures of an image; None where fewer than two are at hand."""
    pixels = image.bench.image
    light = light_of_exposures(pixels, x, y, chips)
    if light is None:
        return None
    is_same = shows_the_same(pixels, x, y, light)
    for name in np.array(light.exposures)[~is_same].tolist():
        logger.warning(
            "%s: exposure %s does not show the stars where the image does: its WCS is of another "
            "frame, and it is no epoch; fetch flc and drc of one processing",
            image.label, name,
        )  # fmt: skip
    light = light.take(is_same)
    if len(light.exposures) < 2:
        return None
    times = {exposure.name: exposure.mjd_mid for exposure in pixels.meta.exposures}
    places = x[:, np.newaxis] + light.dx_px, y[:, np.newaxis] + light.dy_px
    ra_deg, dec_deg = np.full((2, *light.rate.shape), np.nan)
    known = np.isfinite(light.dx_px)
    if known.any():
        ra_deg[known], dec_deg[known] = image.frame.wcs.all_pix2world(
            places[0][known], places[1][known], 0
        )
    return ImageExposures(
        light,
        np.array([times.get(name, np.nan) for name in light.exposures]),
        ra_deg,
        dec_deg,
        pixels.meta.photflam / share_of_light(pixels.meta),
    )


def _own_rows(image: GroupImage, own: Ints) -> Table | None:
    """Return detections as rows of the image's own catalog; None where it lacks one of them."""
    if not len(own) or (own < 0).any():
        return None
    catalog = image.bench.catalog
    row_of = {number: row for row, number in enumerate(catalog["id"].tolist())}
    rows = [row_of.get(number) for number in image.source_ids[own].tolist()]
    return None if None in rows else catalog[rows]


def _force_photometry(
    image: GroupImage,
    x: Floats,
    y: Floats,
    ids: Ints,
    err_px: Floats,
    settings: Settings,
    field: measure.FieldContext,
) -> tuple[measure.MeasureResult, Table, PsfFluxes, PsfModel]:
    """Measure and calibrate at positions: photometry, rows, fluxes by the PSF, and that itself."""
    bench = image.bench
    pixels, meta, measure_settings = bench.image, bench.image.meta, settings.measure
    sets = exposure_sets(pixels.path, meta, x, y, pixels.ctx_path)
    measurement = measure.run(
        pixels,
        measure.Targets(x, y, ids, sets, err_px),
        measure_settings,
        pixels=measure.Pixels(
            bench.cr_mask, bench.segmentation, frees_sky=True, structure=_known_structure(bench)
        ),
        frame=measure.SkyFrame(image.frame.wcs, image.frame.error),
        field=field,
    )
    fits = force_stars(
        pixels, measurement.table, measurement.sky, min(measure_settings.radii_px), bench.cr_mask,
        measurement.star_level, stored_psf(bench),
    )  # fmt: skip
    phot = add_forced(measurement.table, fits)
    annulus_px = (measure_settings.annulus_inner_px, measure_settings.annulus_outer_px)
    calibration = finalize.run(
        phot, measure_settings.radii_px, meta, pixels.scale_arcsec, annulus_px, settings.finalize
    )
    table, scale = calibration.table, calibration.psf
    factor, scale_err = (scale.factor, scale.error) if scale else (1.0, 0.0)
    fluxes = PsfFluxes(
        floats(table, "flux_psf"),
        floats(table, "flux_psf_err"),
        fits.sky_err * factor * meta.photflam,
        fits.width_err * factor * meta.photflam,
        ~fits.lost_core,
        scale_err,
        finalize.scale_radius_px(measure_settings.radii_px, pixels.detector_px),
    )
    return measurement, table, fluxes, fits.model


def _known_structure(bench: Workbench) -> measure.SkyStructure | None:
    """Return that the sky has no structure where the image's own measurement found none."""
    found = bench.record.stages["measure"].summary
    return measure.NO_STRUCTURE if all(found.get(name) == 0 for name in STRUCTURE) else None


def _has_data(valid: Bools, x: Floats, y: Floats) -> Bools:
    """Return whether the pixels at some positions hold data."""
    ny, nx = valid.shape
    inside = (x > -0.5) & (y > -0.5) & (x < nx - 0.5) & (y < ny - 0.5)  # not NaN either
    has_data = np.zeros(len(x), dtype=bool)
    column, row = (np.rint(v[inside]).astype(int) for v in (x, y))
    has_data[inside] = valid[row, column]
    return has_data
