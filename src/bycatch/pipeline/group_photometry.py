"""The images of a group: photometry at the positions of the objects."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bycatch import photcal
from bycatch.arrays import Bools, Floats, Ints
from bycatch.catalogs.tables import floats
from bycatch.images.exposures import exposure_sets
from bycatch.pipeline.group_images import GroupImage
from bycatch.pipeline.group_stamps import psf_and_stamps
from bycatch.pipeline.keys import quality_files
from bycatch.pipeline.quality import read_quality
from bycatch.pipeline.stored_psf import stored_psf
from bycatch.pipeline.workbench import Workbench
from bycatch.stages import finalize, measure
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
from bycatch.stages.star_rows import add_forced, force_stars

if TYPE_CHECKING:
    from astropy.table import Table

    from bycatch.images.chips import ChipQuality
    from bycatch.settings import Settings
    from bycatch.sky.gaia import ReferenceStars
    from bycatch.stages.psf.model import PsfModel

logger = logging.getLogger("bycatch")

STRUCTURE = ("n_nebulous", "nebulous_percent", "large_object_percent", "n_trails")
"""What the summary of a measurement counts of the structure of the sky."""


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
            "%s: exposure %s does not show the stars where the image does: its WCS is in another "
            "frame, and it is not used as an epoch; fetch flc and drc files of the same processing",
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
