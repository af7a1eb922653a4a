"""The user's own lists: positions to measure, regions to leave out."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table
from astropy.wcs import WCS
from numpy.typing import NDArray

from bycatch.errors import SettingsError

Floats = NDArray[np.float64]

PIXEL_NAMES = (
    ("x", "y"),
    ("x_center", "y_center"),
    ("xcentroid", "ycentroid"),
    ("x_centroid", "y_centroid"),
    ("xcenter", "ycenter"),
)
SKY_NAMES = (
    ("ra", "dec"),
    ("ra_gaia_wcs", "dec_gaia_wcs"),
    ("raj2000", "dej2000"),
    ("alpha_j2000", "delta_j2000"),
)


@dataclass(frozen=True, eq=False)
class Positions:
    """Positions in pixels (0-based) or on the sky (degrees, frame of the aligned WCS)."""

    first: Floats
    second: Floats
    on_sky: bool

    def pixels(self, wcs: WCS) -> tuple[Floats, Floats]:
        """Return 0-based pixel positions; NaN where the sky position can't be projected."""
        if not self.on_sky or not len(self.first):
            return self.first, self.second
        x, y = wcs.all_world2pix(self.first, self.second, 0, quiet=True)
        return np.asarray(x, dtype=float), np.asarray(y, dtype=float)


def read_positions(path: Path) -> Positions:
    """Read a list of positions (ECSV, CSV, FITS, VOTable or plain columns).

    Where a table has positions on the sky and in pixels, those on the sky count: pixels are
    those of one image, and the list is for all.

    Raises
    ------
    SettingsError
        Not readable, or no pair of position columns in it.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            table = Table.read(path) if path.suffix != ".txt" else Table.read(path, format="ascii")
    except Exception as err:  # the readers raise many kinds
        raise SettingsError(
            f"--sources {path}: can't be read as a table ({err})",
            hint="give ECSV, CSV, FITS or VOTable with columns x, y or ra, dec",
        ) from err
    names = {name.lower(): name for name in table.colnames}
    for pairs, on_sky in ((SKY_NAMES, True), (PIXEL_NAMES, False)):
        for one, two in pairs:
            if one in names and two in names:
                return Positions(_values(table[names[one]]), _values(table[names[two]]), on_sky)
    raise SettingsError(
        f"--sources {path}: no position columns among {', '.join(table.colnames)}",
        hint="name them x, y (0-based pixel centres) or ra, dec (degrees)",
    )


def _values(column: Any) -> Floats:
    return np.ma.filled(np.ma.asarray(column, dtype=float), np.nan)


@dataclass(frozen=True, eq=False)
class RegionList:
    """Regions of a ds9 file, in pixels or on the sky."""

    regions: tuple[Any, ...]

    def contain(self, x: Floats, y: Floats, wcs: WCS) -> NDArray[np.bool_]:
        """Return which 0-based pixel positions lie in any of the regions."""
        from regions import PixCoord, SkyRegion

        inside = np.zeros(len(x), dtype=bool)
        known = np.isfinite(x) & np.isfinite(y)
        if not known.any():
            return inside
        points = PixCoord(x[known], y[known])
        for region in self.regions:
            shape = region.to_pixel(wcs) if isinstance(region, SkyRegion) else region
            inside[known] |= np.asarray(shape.contains(points), dtype=bool)
        return inside


def read_regions(path: Path) -> RegionList:
    """Read a ds9 region file (its pixel positions are 1-based; they come back 0-based).

    Raises
    ------
    SettingsError
        Not readable, or no region in it.
    """
    from regions import Regions

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = Regions.read(path, format="ds9")
    except Exception as err:  # the reader raises many kinds
        raise SettingsError(
            f"--exclude {path}: can't be read as ds9 regions ({err})",
            hint="save it from ds9 in ds9 format",
        ) from err
    if not len(found):
        raise SettingsError(
            f"--exclude {path}: no region in it", hint="save it from ds9 in ds9 format"
        )
    return RegionList(tuple(found))
