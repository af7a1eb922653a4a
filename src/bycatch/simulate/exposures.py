"""The exposures of a simulated visit, as the flc files that the archive would hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from bycatch.arrays import Bools, Floats, Image
from bycatch.settings import SimulateSettings
from bycatch.simulate.detector import ChipDefects, noise_e
from bycatch.simulate.geometry import (
    NATIVE_SCALE_ARCSEC,
    Chip,
    Detector,
    Grid,
    detector_of,
    header_wcs,
)

MAKER = "bycatch simulate"
"""PROD_VER of simulated images."""
# Bits of the DQ arrays (ACS Data Handbook).
DQ_BAD, DQ_HOT, DQ_SATURATED, DQ_REJECTED = 4, 16, 256, 4096


@dataclass(frozen=True, eq=False)
class RawChip:
    """One chip of one exposure, before drizzling.

    Attributes
    ----------
    chip : Chip
    shift : (u, v) of the exposure, arcsec
    sci, err : (rows, columns) float32; electrons with the sky, flat-fielded, and their error
    dq : (rows, columns) int16
    """

    chip: Chip
    shift: tuple[float, float]
    sci: Image
    err: Image
    dq: NDArray[np.int16]


def raw_chip(
    settings: SimulateSettings,
    chip: Chip,
    shift: tuple[float, float],
    observed_e: Floats,
    area: Floats,
    defects: ChipDefects,
    is_masked: Bools,
) -> RawChip:
    """Return what the archive would keep of a chip.

    Parameters
    ----------
    observed_e : (rows, columns) electrons that were read, sky included
    area : (rows, columns) of the pixels on the sky: flat-fielding undoes it
    is_masked : (rows, columns) bool; pixels that drizzling takes for cosmic rays
    """
    dq = np.where(defects.hot_rate > 0, DQ_HOT, 0) + np.where(defects.dead, DQ_BAD, 0)
    dq += np.where(observed_e >= settings.full_well_e, DQ_SATURATED, 0)
    dq += np.where(is_masked, DQ_REJECTED, 0)
    error = noise_e(np.maximum(observed_e, 0.0), settings) / area
    return RawChip(
        chip,
        shift,
        (observed_e / area).astype(np.float32),
        error.astype(np.float32),
        dq.astype(np.int16),
    )


def flc_hdus(
    chips: tuple[RawChip, ...], name: str, filter_name: str, grid: Grid, settings: SimulateSettings
) -> fits.HDUList:
    """Return one exposure: SCI, ERR and DQ of either chip, with the distortion as SIP.

    Parameters
    ----------
    chips : of the exposure
    name : such as ``jsim01abq``
    filter_name : str
    grid : of the image that it is drizzled to
    settings : SimulateSettings
    """
    primary = fits.Header()
    cards: dict[str, Any] = {
        "TELESCOP": "HST", "INSTRUME": "ACS", "DETECTOR": "WFC", "ROOTNAME": name,
        "FILENAME": f"{name}_flc.fits", "FILTER1": filter_name, "FILTER2": "CLEAR2L",
        "EXPTIME": settings.exptime_s, "CCDGAIN": 2.0, "PROD_VER": MAKER,
    }  # fmt: skip
    primary.update(cards)
    hdus: list[Any] = [fits.PrimaryHDU(header=primary)]
    for number, raw in enumerate(chips, start=1):
        header = sip_header(settings, detector_of(settings), raw.chip, raw.shift, grid)
        header["BUNIT"], header["CCDCHIP"] = "ELECTRONS", raw.chip.number
        planes = {"SCI": raw.sci, "ERR": raw.err, "DQ": raw.dq}
        for plane, values in planes.items():
            hdus.append(fits.ImageHDU(values, header, name=plane, ver=number))
    return fits.HDUList(hdus)


def sip_header(
    settings: SimulateSettings,
    detector: Detector,
    chip: Chip,
    shift: tuple[float, float],
    grid: Grid,
) -> fits.Header:
    """Return the WCS of a chip (TAN-SIP), which has the same errors as that of the drizzled image.

    The distortion is a quadratic: about the pixel that looks at the tangent point it is
    exactly a matrix and the quadratic terms of SIP (Shupe et al. 2005, ASPC 347, 491).
    """
    x0, y0 = (float(v) for v in detector.from_plane(*(np.array(-s) for s in shift)))
    slopes = np.array(detector.jacobian(np.array(x0), np.array(y0))).reshape(2, 2)
    # Second differences of a quadratic: exact.
    ahead, here = detector.to_plane(*_steps(x0, y0)), detector.to_plane(np.array(x0), np.array(y0))
    offsets = np.array(ahead) - np.array(here)[:, np.newaxis]
    offsets = offsets / NATIVE_SCALE_ARCSEC - slopes @ np.array([[1, 0, 1], [0, 1, 1]])
    offsets[:, 2] -= offsets[:, 0] + offsets[:, 1]
    terms = np.linalg.solve(slopes, offsets)
    frame = header_wcs(settings, Grid(grid.shape, grid.centre, 1.0, 0.0)).wcs
    matrix = frame.cd @ slopes * NATIVE_SCALE_ARCSEC
    header = fits.Header()
    header["WCSAXES"], header["RADESYS"] = 2, "ICRS"
    header["CTYPE1"], header["CTYPE2"] = "RA---TAN-SIP", "DEC--TAN-SIP"
    header["CRPIX1"], header["CRPIX2"] = x0 + 1.0, y0 - chip.first_row + 1.0
    for i in (1, 2):
        header[f"CUNIT{i}"], header[f"CRVAL{i}"] = "deg", frame.crval[i - 1]
        for j in (1, 2):
            header[f"CD{i}_{j}"] = matrix[i - 1, j - 1]
    for axis, row in zip("AB", terms, strict=True):
        header[f"{axis}_ORDER"] = 2
        for power, value in zip(("2_0", "0_2", "1_1"), row, strict=True):
            header[f"{axis}_{power}"] = value
    return header


def _steps(x: float, y: float) -> tuple[Floats, Floats]:
    return x + np.array([1.0, 0.0, 1.0]), y + np.array([0.0, 1.0, 1.0])
