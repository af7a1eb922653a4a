"""Every kernel once, on a small image: what a first run has to compile.

numba compiles one kernel at a time.  A first run compiles what it comes to, from the beginning of
the chain; ``python -m bycatch.precompile`` beside it does so from the end, so that two cores share
the work and meet in the middle: each finds in the cache what the other has done.
"""

from __future__ import annotations

import atexit
import logging
import multiprocessing
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bycatch.kernels.compiled import at_first_compilation, keeps_machine_code
from bycatch.kernels.threads import n_cores
from bycatch.system.subprocesses import end_with_parent, process_of

if TYPE_CHECKING:
    from bycatch.images.drc import DrcImage

logger = logging.getLogger("bycatch")

ALONE = "BYCATCH_COMPILE_ALONE"
"""Environment variable that keeps a process from starting a second one to compile."""
NO_FOLDER = "no folder for them can be written - set NUMBA_CACHE_DIR to one that can"
SHAPE = (560, 210)
"""So large that the sky has a mesh of boxes, and that threads share the rows."""
NOISE, EXPTIME_S = 0.01, 600.0
SIGMA_PX = 1.5
STEP_PX, FIRST_PX = 20, 25
"""The sources stand in a square grid, with a fainter one close to every second."""


def watch_first_compilation() -> None:
    """Say why this process is slow when it compiles its first kernel, and have another one help."""
    at_first_compilation(_announce)


def _announce() -> None:
    if keeps_machine_code():
        logger.info("compiling kernels, once on this machine (about half a minute)")
        compile_aside()
    else:
        logger.warning("compiling kernels (a minute or two), which can't be kept: %s", NO_FOLDER)


def compile_aside() -> None:
    """Let another process compile from the end of the chain meanwhile.

    It ends with this one at the latest.  Workers start none: their cores are taken.
    """
    is_worker = multiprocessing.parent_process() is not None
    if n_cores() < 2 or is_worker or os.environ.get(ALONE) or not sys.executable:
        return
    nothing = subprocess.DEVNULL
    with suppress(OSError):
        other = process_of("bycatch.precompile", {ALONE: "1"}, stdout=nothing, stderr=nothing)
        atexit.register(_end, other)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait()


def compile_all() -> None:
    """Measure, mask and detect the sources of a small image: the chain from its end."""
    from astropy.wcs import WCS

    from bycatch.catalogs import ecsv
    from bycatch.images.drc import DrcImage
    from bycatch.images.meta import ImageMeta
    from bycatch.kernels.exposures import exposure_counts, mask_shares
    from bycatch.kernels.lines import lines_across
    from bycatch.kernels.mixtures import kinds
    from bycatch.kernels.offset_search import find_offset
    from bycatch.kernels.pieces import rename_labels
    from bycatch.kernels.skylevel import labels_nearby
    from bycatch.kernels.surfaces import surface_map, surface_through
    from bycatch.kernels.text_rows import cells_of_rows
    from bycatch.kernels.wings import fit_wings
    from bycatch.settings import Settings
    from bycatch.stages import crmask, detect, measure

    sci, x, y = _scene()
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = ["RA---TAN", "DEC--TAN"], [150.0, 2.0]
    wcs.wcs.crpix, wcs.wcs.cdelt = [SHAPE[1] / 2, SHAPE[0] / 2], [-0.05 / 3600, 0.05 / 3600]
    meta = ImageMeta(
        root="precompile", stem="precompile", filter="F775W", detector="WFC", exptime_s=EXPTIME_S,
        n_exposures=1, photflam=1e-19, photplam=7693.0, zeropoint_origin="header",
        mjd_start=57402.0, mjd_mid=57402.01, mjd_end=57402.02, chips=(), readnoise_e=4.2,
        gain=2.0, pixfrac=1.0, native_scale_arcsec=0.05, is_cte_corrected=True, proposal="",
        target="", prime_instrument="", photmode="", rootname="precompile", wcsname="",
    )  # fmt: skip
    image = DrcImage(
        Path("precompile.fits"), meta, None, sci, np.ones(sci.shape, np.int16),
        np.full(sci.shape, np.float32(EXPTIME_S)), wcs, "exptime", True,
    )  # fmt: skip
    for plane in (image.sci, image.n_exp, image.exptime_map_s):
        plane.flags.writeable = False
    segments = _segments(x, y)
    mask = sci > 40 * NOISE
    targets, pixels = measure.Targets(x, y), measure.Pixels(mask, segments)
    measurement = measure.run(image, targets, pixels=pixels)
    ecsv.rows(measurement.table)
    cells_of_rows(b"1 2\n", 0, 2, [0, 1])
    unit = np.eye(2)[np.newaxis]
    kinds(np.zeros((1, 2)), unit, np.zeros((1, 2)), unit, np.ones(1))
    places = np.column_stack([x, y])
    find_offset(places, places, max_shift=5.0, max_roll_rad=0.0, tolerance=0.5, area=1e5)
    mask_shares(segments, mask, np.arange(1, len(x) + 1))
    crmask.run(image)
    exposure_counts(np.ones(sci.shape, np.int32))
    detection = detect.run(image, Settings.load(preset="deep").detect)
    bright = np.eye(200, dtype=np.bool_)
    labels_nearby(segments, 1.5, 2.0, 20.0)
    lines_across(bright, np.ones_like(bright))
    rename_labels(segments.copy(), np.arange(len(x) + 1))
    fit_wings(sci, image.valid, x[:1], y[:1], [1.0], [8.0])
    surface_map(surface_through(np.ones((3, 3), np.float32), (100, 100)), image.valid)
    _objects(image, x, y, segments, detection.background, detection.noise)


def _objects(
    image: DrcImage,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    segments: NDArray[np.int32],
    background: NDArray[np.float32],
    noise: NDArray[np.float32],
) -> None:
    """Join two lists, add an image to a sum, and measure some sources in ellipses and by a PSF."""
    from bycatch.stages.objects.association import Detections, associate
    from bycatch.stages.objects.combined import Combination, grid_over
    from bycatch.stages.objects.homogenised import ellipse_fluxes
    from bycatch.stages.objects.matching import matching_kernels
    from bycatch.stages.objects.stamps import Noise, SkyEllipses, pixels_per_arcsec, stamps
    from bycatch.stages.psf import forced
    from bycatch.stages.psf.of_image import SkyAt, on_sky

    n = len(x)
    one = Detections(0.05 * x, 0.05 * y, np.full(n, 0.01), 0.0, np.ones(n))
    associate([one, one])
    ra, dec = image.wcs.all_pix2world(x, y, 0)
    combination = Combination(grid_over(image.wcs, ra, dec))
    combination.add(image, image.wcs, background, noise, microjansky=1.0)
    matrix, sky = pixels_per_arcsec(image.wcs, ra, dec), np.zeros(n)
    ellipses = SkyEllipses(np.full(n, 0.3), np.full(n, 0.2), np.zeros(n))
    group_stamps = stamps(
        image.sci, image.valid, segments, x, y, np.arange(1, n + 1), sky, matrix,
        rows=np.arange(n), ellipses=ellipses, noise=Noise(np.array([1.0, 9.0]), np.ones(2), 1.0),
        step_arcsec=0.05, scale_arcsec=0.05, microjansky=1.0,
    )  # fmt: skip
    places = SkyAt(x, y, sky, np.full(n, NOISE))
    fits = forced.run(image, places, np.full(n, 100.0), SkyAt(*(values[:0] for values in places)))
    # As if it came from stars: else there is nothing to put on the sky.
    psf = on_sky(replace(fits.model, n_stars=1), matrix[0], 0.05)
    ellipse_fluxes(ellipses, [group_stamps], matching_kernels([psf]))


def _scene() -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float64]]:
    """Return an image of noise, blends and cosmic rays, and where its sources are."""
    rng = np.random.default_rng(0)
    sci = rng.normal(0.0, NOISE, SHAPE)
    rows, columns = (np.arange(FIRST_PX, n - FIRST_PX, STEP_PX, dtype=float) for n in SHAPE)
    x, y = (axis.ravel() for axis in np.meshgrid(columns + 0.3, rows - 0.2))
    for k, (column, row) in enumerate(zip(x, y, strict=True)):
        for dx, share in ((0.0, 1.0), (5.0, 0.5 * (k % 2))):
            across = np.exp(-0.5 * (np.arange(SHAPE[1]) - column - dx) ** 2 / SIGMA_PX**2)
            along = np.exp(-0.5 * (np.arange(SHAPE[0]) - row) ** 2 / SIGMA_PX**2)
            sci += 30 * NOISE * share * np.outer(along, across)
    sci[STEP_PX::STEP_PX, STEP_PX] += 100 * NOISE
    sci[:, 0] = np.nan
    return sci.astype(np.float32), x, y


def _segments(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.int32]:
    """Return a square around each position."""
    segments = np.zeros(SHAPE, np.int32)
    for k, (column, row) in enumerate(zip(x, y, strict=True), start=1):
        segments[round(row) - 3 : round(row) + 4, round(column) - 3 : round(column) + 4] = k
    return segments


if __name__ == "__main__":
    if not keeps_machine_code():
        sys.exit(f"compiled kernels can't be kept: {NO_FOLDER}")
    end_with_parent()
    os.environ[ALONE] = "1"
    compile_all()
