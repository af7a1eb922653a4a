"""PSF photometry as part of the measurement: what it adds to the targets, and to the table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bycatch.arrays import Ints
from bycatch.pipeline.workbench import Workbench

if TYPE_CHECKING:
    from astropy.table import Table

    from bycatch.stages.measure import Targets
    from bycatch.stages.psf import PsfResult


def fit_stars(bench: Workbench) -> PsfResult:
    """Make the PSF of an image, and fit all its sources."""
    from bycatch.kernels.exposures import box_fraction
    from bycatch.stages import psf

    sources, image = bench.sources, bench.image
    found = psf.run(
        image,
        sources["x"],
        sources["y"],
        bench.job.settings.psf,
        cr_mask=bench.cr_mask,
        segmentation=bench.segmentation,
        labels=sources["id"],
    )
    # The coverage rule holds for what the residual shows as well.
    rule = bench.job.settings.detect.at(image.detector_px)
    place = found.x[found.n_given :], found.y[found.n_given :]
    covered = box_fraction(image.valid, *place, rule.coverage_box_px) >= rule.min_coverage
    return found.take(np.concatenate([np.ones(found.n_given, bool), covered]))


def targets_of(bench: Workbench, fits: PsfResult) -> Targets:
    """Return what is to be measured: the detections, and stars that the residual shows."""
    from bycatch.images.exposures import exposure_sets
    from bycatch.stages.measure import Targets

    given, image = Targets.of(bench.sources, bench.exposure_sets), bench.image
    x, y = fits.x[fits.n_given :], fits.y[fits.n_given :]
    last = max(int(bench.segmentation.max(initial=0)), int(given.ids.max(initial=0)))
    sets = np.zeros(0, np.int64)
    if len(x):
        sets = exposure_sets(image.path, image.meta, x, y, image.ctx_path)
    return Targets(
        fits.x,
        fits.y,
        np.concatenate([given.ids, last + 1 + np.arange(len(x))]),
        np.concatenate([given.exposure_sets, sets]),
        np.concatenate([given.centre_err_px, np.full(len(x), np.nan)]),
        np.concatenate([given.may_be_piece, np.zeros(len(x), bool)]),
        fits.neighbours_rate,
        fits.columns["sky_psf"],
    )


def add_columns(table: Table, fits: PsfResult, rows: Ints) -> Table:
    """Return the table of the photometry with what the fits say of its rows, and their flags."""
    from astropy.table import hstack

    from bycatch.catalogs.columns import PSF_RATES
    from bycatch.catalogs.tables import make_table

    more = make_table(PSF_RATES, {name: values[rows] for name, values in fits.columns.items()})
    joined = hstack([table, more], join_type="exact", metadata_conflicts="silent")
    for flag, where in fits.flags.items():
        joined["flags"][where[rows]] |= int(flag)
    return joined
