"""PSF photometry as part of the measurement: what it adds to the targets, and to the table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bycatch.arrays import Bools, Floats, Ints
from bycatch.catalogs.flags import Flag
from bycatch.catalogs.rates import net_rates
from bycatch.catalogs.tables import floats, make_table
from bycatch.images.drc import DrcImage
from bycatch.settings import Settings

if TYPE_CHECKING:
    from astropy.table import Table

    from bycatch.stages.measure import Pixels, Targets
    from bycatch.stages.psf import PsfResult
    from bycatch.stages.psf.forced import ForcedFits
    from bycatch.stages.psf.model import PsfModel

NOT_OF_PSF = (
    Flag.SATURATED | Flag.EDGE | Flag.PARTIAL_APERTURE | Flag.HOT_PIXEL | Flag.LIKELY_COSMIC_RAY
)
"""Sources with such a flag are not used for the PSF."""
LOST_SHARE = 0.5
"""Of the light of lost pixels, by which PSF fits are off: the pixels around tell them much of it.
Forced fits of stars of S/N 20 to 200 that lost more than two errors, in stacks of training groups:
0.38 to 0.50.  Free ones of such stars that lost 3 to 10 %, in training stacks: pulls of 0.99, 0.64
with all of it, 1.38 with none.  Apertures are off by all of it."""


def fit_stars(
    image: DrcImage,
    sources: Table,
    settings: Settings,
    cr_mask: Bools | None,
    segmentation: NDArray[np.integer[Any]] | None,
) -> PsfResult:
    """Make the PSF of an image, and fit all its sources.

    Parameters
    ----------
    image : DrcImage
    sources : table of source_columns.SOURCES
    settings : of all steps
    cr_mask : (ny, nx) bool; pixels that cosmic rays may have hit
    segmentation : (ny, nx) int; which pixels are of which source
    """
    from bycatch.kernels.exposures import box_fraction
    from bycatch.stages import psf

    fits = psf.run(
        image,
        sources["x"],
        sources["y"],
        settings.psf,
        cr_mask=cr_mask,
        segmentation=segmentation,
        labels=sources["id"],
    )
    # The coverage rule holds for what the residual shows as well.
    rule = settings.detect.at(image.detector_px)
    place = fits.x[fits.n_given :], fits.y[fits.n_given :]
    is_covered = box_fraction(image.valid, *place, rule.coverage_box_px) >= rule.min_coverage
    return fits.take(np.concatenate([np.ones(fits.n_given, bool), is_covered]))


def force_stars(
    image: DrcImage,
    phot: Table,
    sky: Table,
    radius_px: float,
    cr_mask: Bools | None,
    star_level: Floats | None = None,
    model: PsfModel | None = None,
) -> ForcedFits:
    """Return the PSF fluxes at the places of a photometry.

    Parameters
    ----------
    image : DrcImage
    phot : table of photometry_columns.PHOT: places, their sky, and which of them may be stars
    sky : table of photometry_columns.SKY, the blank places
    radius_px : of the smallest aperture
    cr_mask : (ny, nx) bool; pixels that cosmic rays may have hit
    star_level : (N,) float, sky beneath the light of stars, e/s per pixel; that of the annuli by
        default
    model : the PSF of the image, if it is known
    """
    from bycatch.stages.psf import forced
    from bycatch.stages.psf.of_image import SkyAt

    names = ("x", "y", "sky_median", "sky_std")
    places, blank = (SkyAt(*(floats(t, n) for n in names)) for t in (phot, sky))
    with np.errstate(divide="ignore", invalid="ignore"):
        error = floats(phot, f"countrate_err_{radius_px:g}")
        snr = np.nan_to_num(net_rates(phot, radius_px) / error)
    snr[(np.asarray(phot["flags"]) & int(NOT_OF_PSF)) != 0] = 0.0
    if star_level is not None:
        places = places._replace(level=star_level)
    return forced.run(image, places, snr, blank, cr_mask=cr_mask, model=model)


def add_forced(phot: Table, fits: ForcedFits) -> Table:
    """Return a photometry with the PSF fluxes at its places, and the flags that they set.

    Parameters
    ----------
    phot : table of photometry_columns.PHOT
    fits : ForcedFits, row for row
    """
    no_values = np.full(len(phot), np.nan)
    columns = {
        "countrate_psf": np.where(fits.lost_core, np.nan, fits.flux),
        "countrate_psf_err": np.where(fits.lost_core, np.nan, fits.flux_err),
        "sky_psf": floats(phot, "sky_median"),
        "x_psf": floats(phot, "x"),
        "y_psf": floats(phot, "y"),
        "x_psf_err": no_values,
        "y_psf_err": no_values,
        "chi2_psf": fits.chi2,
        "sharpness_psf": fits.sharpness,
        "crowding": fits.crowding,
        "qfit": no_values,
        "n_iter": np.zeros(len(phot), np.int64),
    }
    flags = {
        Flag.PSF_OF_MODEL: np.full(len(phot), not fits.model.is_of_stars),
        Flag.PSF_MISFIT: fits.is_misfit,
    }
    return _with_columns(phot, columns, flags)


def targets_of(
    targets: Targets,
    fits: PsfResult,
    image: DrcImage,
    segmentation: NDArray[np.integer[Any]] | None,
) -> Targets:
    """Return what is to be measured: the detections, and stars that the residual shows.

    Parameters
    ----------
    targets : the detections
    fits : PsfResult of the image
    image : DrcImage
    segmentation : (ny, nx) int; the names of new rows begin after its labels
    """
    from bycatch.images.exposures import exposure_sets
    from bycatch.stages.measure import Targets

    x, y = fits.x[fits.n_given :], fits.y[fits.n_given :]
    largest = 0 if segmentation is None else int(segmentation.max(initial=0))
    last = max(largest, int(targets.ids.max(initial=0)))
    sets = np.zeros(0, np.int64)
    if len(x):
        sets = exposure_sets(image.path, image.meta, x, y, image.ctx_path)
    return Targets(
        fits.x,
        fits.y,
        np.concatenate([targets.ids, last + 1 + np.arange(len(x))]),
        np.concatenate([targets.exposure_sets, sets]),
        _place_errors(targets, fits),
        np.concatenate([targets.may_be_piece, np.zeros(len(x), bool)]),
        fits.neighbours_rate,
        np.where(fits.is_wide, np.nan, fits.columns["sky_psf"]),
        fits.is_wide,
        centroid_err_px=np.concatenate([targets.centroid_err_px, np.full(len(x), np.nan)]),
    )


def _place_errors(targets: Targets, fits: PsfResult) -> Floats:
    """Return the errors of the places: those of the fits where they have one."""
    before = np.concatenate([targets.centre_err_px, np.full(fits.n_found, np.nan)])
    return np.where(np.isfinite(fits.place_err_px), fits.place_err_px, before)


def with_places(sources: Table, fits: PsfResult) -> Table:
    """Return detections at the places of the fits where these hold, with ``psf_err_px``.

    Parameters
    ----------
    sources : table of source_columns.SOURCES
    fits : PsfResult of the image
    """
    table = sources.copy(copy_data=False)
    error = fits.place_err_px[: fits.n_given]
    for name, values in (("x", fits.x), ("y", fits.y)):
        here = values[: fits.n_given]
        table[name] = np.where(np.isfinite(error), here, np.asarray(sources[name], float))
    table["psf_err_px"] = error
    return table


def pixels_with(pixels: Pixels, fits: PsfResult | None) -> Pixels:
    """Return what is known of the pixels with the results of the fits, if there are any.

    Parameters
    ----------
    pixels : Pixels
    fits : PsfResult of the image
    """
    from dataclasses import replace

    if fits is None:
        return pixels
    return replace(pixels, star_energy=fits.star_energy, star_light=fits.star_light())


def add_columns(table: Table, fits: PsfResult, rows: Ints) -> Table:
    """Return the table of the photometry with what the fits say of its rows, and their flags.

    Parameters
    ----------
    table : of photometry_columns.PHOT
    fits : PsfResult of the image
    rows : (M,) int; of the fits, row for row of the table
    """
    columns = {name: values[rows] for name, values in fits.columns.items()}
    return _with_columns(table, columns, {flag: of[rows] for flag, of in fits.flags.items()})


def _with_columns(table: Table, columns: dict[str, Any], flags: dict[Flag, Bools]) -> Table:
    """Return a photometry with photometry_columns.PSF_RATES and some flags.

    A share of the light of lost pixels is part of the errors of fits.
    """
    from astropy.table import Table

    from bycatch.catalogs.photometry_columns import PSF_RATES

    lost = LOST_SHARE * floats(table, "countrate_rejected")
    error = np.hypot(columns["countrate_psf_err"], lost)
    more = make_table(PSF_RATES, columns | {"countrate_psf_err": error})
    # `hstack` takes twenty times as long.
    whole = Table([*table.columns.values(), *more.columns.values()], meta=table.meta)
    for flag, where in flags.items():
        whole["flags"][where] |= int(flag)
    return whole
