"""Data quality and pixels of the exposures of an image, where flc or flt files are available."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bycatch.arrays import Image
from bycatch.errors import UnreadableFile
from bycatch.products import is_plain_name

if TYPE_CHECKING:
    from astropy.io import fits

    from bycatch.images.chips import ChipQuality

KINDS = ("flc", "flt")
"""In the order of preference: flc is corrected for charge-transfer losses."""
ELECTRONS = {"ELECTRONS", "ELECTRON", "E-"}
"""Units of SCI that pixels are compared in."""


def exposure_files(exposures: Iterable[str], folders: Iterable[Path]) -> list[Path]:
    """Return the files of exposures that lie in one of the folders, each exposure once.

    Parameters
    ----------
    exposures : names as in `headers.Chip.exposure`, such as jcmdp9zjq; may repeat
    folders : a folder that the user gives, and that of the drizzled image itself
    """
    places = list(folders)
    names = [f"{kind}.fits{suffix}" for kind in KINDS for suffix in ("", ".gz", ".fz")]
    files = []
    for exposure in dict.fromkeys(exposures):
        if not is_plain_name(exposure):  # a header says it
            continue
        paths = [folder / f"{exposure}_{name}" for folder in places for name in names]
        files += [path for path in paths if os.path.isfile(path)][:1]  # noqa: PTH113, any length
    return files


def read_quality(paths: Iterable[Path], readnoise_e: float = 0.0) -> tuple[ChipQuality, ...]:
    """Read DQ, SCI and WCS, with all its distortion, of every chip of some exposures.

    SCI counts where it is in electrons, and EXPTIME is there.

    Parameters
    ----------
    paths : as of `exposure_files`
    readnoise_e : of a pixel, as the drizzled image has it

    Raises
    ------
    UnreadableFile
        Not FITS, damaged, or without DQ.
    """
    from bycatch.images.files import open_fits

    chips: list[ChipQuality] = []
    for path in paths:
        with open_fits(path) as hdus:
            chips += _chips_of(hdus, path, readnoise_e)
    return tuple(chips)


def _chips_of(hdus: fits.HDUList, path: Path, readnoise_e: float) -> list[ChipQuality]:
    """Return the chips of one open file."""
    from astropy.wcs import WCS

    from bycatch.images.chips import ChipQuality
    from bycatch.images.planes import data_of, name_of

    quality = {
        hdu.ver: np.nan_to_num(data_of(hdu, path)).astype(
            np.int32
        )  # NaN: BLANK, which says nothing
        for hdu in hdus
        if name_of(hdu) == "DQ" and hdu.data is not None
    }
    chips = [
        # The look-up tables of the distortion are extensions of the same file.
        ChipQuality(
            quality[hdu.ver],
            WCS(hdu.header, hdus),
            _electrons(hdu, quality[hdu.ver].shape, path),
            _seconds(hdus),
            path.name.rsplit("_", 1)[0],
            _whole_number(hdu.header.get("CCDCHIP")),
            readnoise_e,
        )
        for hdu in hdus
        if name_of(hdu) == "SCI" and hdu.ver in quality
    ]
    if not chips:
        raise UnreadableFile(f"{path}: no DQ in it", hint="give calibrated exposures (flc or flt)")
    return chips


def _electrons(hdu: fits.ImageHDU, shape: tuple[int, ...], path: Path) -> Image | None:
    """Return the pixels of a chip; None where they are in another unit, or of another shape."""
    from bycatch.images.planes import data_of

    unit = str(hdu.header.get("BUNIT", "")).strip().upper()
    if unit not in ELECTRONS or hdu.data is None or hdu.data.shape != shape:
        return None
    return np.asarray(data_of(hdu, path), dtype=np.float32)


def _seconds(hdus: fits.HDUList) -> float:
    """Return the duration of an exposure; 0 where the header does not say it."""
    value = hdus[0].header.get("EXPTIME", 0.0)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and 0 < value < math.inf else 0.0


def _whole_number(value: object) -> int:
    """Return a number of a header; 0 where it is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
