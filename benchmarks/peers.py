"""What other programs find on the same pixels: source-extractor, photutils and astroscrappy."""

from __future__ import annotations

import subprocess
import tempfile
import warnings
from functools import cache
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table
from common import source_extractor
from numpy.typing import NDArray

from bycatch.images.drc import DrcImage, read_drc
from bycatch.settings import Settings
from bycatch.stages.detect import sky_maps

SIGMA = 5.0
FIT_PX, GROUP_PX = 5, 6.0
OPTIONS = {
    "PARAMETERS_NAME": "columns.param", "FILTER_NAME": "filter.conv", "CATALOG_NAME": "out.cat",
    "CATALOG_TYPE": "ASCII_HEAD", "DETECT_MINAREA": "7", "DETECT_THRESH": "2",
    "ANALYSIS_THRESH": "2", "WEIGHT_TYPE": "MAP_WEIGHT", "WEIGHT_IMAGE": "weight.fits",
    "BACK_SIZE": "64", "DEBLEND_NTHRESH": "32", "DEBLEND_MINCONT": "0.005",
    "VERBOSE_TYPE": "QUIET",
}  # fmt: skip


@cache
def sextractor(pixels: Path) -> Table | None:
    """Return source-extractor's catalog of a drc file, its weights used; None without it.

    Thresholds and deblending are those of the preset deep.  x and y are 0-based.
    """
    program = source_extractor()
    if program is None:
        return None
    with tempfile.TemporaryDirectory() as folder, fits.open(pixels) as hdus:
        here = Path(folder)
        sci = np.asarray(hdus[1].data, dtype=np.float32)
        fits.writeto(here / "image.fits", np.nan_to_num(sci))
        weight = np.where(np.isfinite(sci), hdus[2].data, 0).astype(np.float32)
        fits.writeto(here / "weight.fits", weight)
        (here / "columns.param").write_text("X_IMAGE\nY_IMAGE\nFLUX_AUTO\nFLUXERR_AUTO\nFLAGS\n")
        (here / "filter.conv").write_text("CONV NORM\n1 2 1\n2 4 2\n1 2 1\n")
        (here / "empty.sex").write_text("")
        words = [word for name, value in OPTIONS.items() for word in (f"-{name}", value)]
        subprocess.run([program, "image.fits", "-c", "empty.sex", *words], cwd=here, check=True)
        table = Table.read(here / "out.cat", format="ascii.sextractor")
    table["x"], table["y"] = (np.asarray(table[f"{axis}_IMAGE"]) - 1.0 for axis in "XY")
    return table


@cache
def psf_photometry(pixels: Path, fwhm_px: float) -> Table:
    """Return photutils' PSF photometry: two passes, a Gaussian of the stars' FWHM.

    Its columns x_fit and y_fit are 0-based; flux_fit is in e/s.
    """
    from photutils.detection import DAOStarFinder
    from photutils.psf import CircularGaussianPRF, IterativePSFPhotometry, SourceGrouper

    image = read_drc(pixels)
    level, noise = sky_maps(image, Settings.load(preset="deep").detect)
    data = np.where(image.valid, image.sci - level, 0.0).astype(float)
    error = np.where(image.valid, noise, np.median(noise[image.valid])).astype(float)
    model = CircularGaussianPRF(fwhm=fwhm_px)
    model.fwhm.fixed = True
    finder = DAOStarFinder(SIGMA * float(np.median(error)), fwhm_px)
    fit = IterativePSFPhotometry(
        model, (FIT_PX, FIT_PX), finder, grouper=SourceGrouper(GROUP_PX), mode="new",
        maxiters=2, aperture_radius=3,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = fit(data, error=error, mask=~image.valid)
    return found if found is not None else Table({"x_fit": [], "y_fit": [], "flux_fit": []})


def astroscrappy_mask(pixels: Path) -> NDArray[np.bool_]:
    """Return astroscrappy's cosmic-ray mask of a drc file, with its own defaults in electrons."""
    import astroscrappy

    image: DrcImage = read_drc(pixels)
    electrons = np.where(image.valid, image.sci * image.exptime_map_s, 0.0).astype(np.float32)
    mask, _ = astroscrappy.detect_cosmics(
        np.ascontiguousarray(electrons), np.ascontiguousarray(~image.valid), gain=1.0,
        readnoise=4.2, satlevel=np.inf,
    )  # fmt: skip
    return np.asarray(mask, dtype=bool)
