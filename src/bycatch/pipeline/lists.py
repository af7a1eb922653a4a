"""The user's own lists: positions to measure, regions to leave out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from astropy.wcs import WCS

from bycatch.arrays import Floats
from bycatch.errors import SettingsError, UnusableData
from bycatch.user_files import regions
from bycatch.user_files.quantities import rounding_note
from bycatch.user_files.user_tables import UserTable, read_user_table

if TYPE_CHECKING:
    from bycatch.products import ImageRecord


SAME_GRID_PX = 0.01
"""Pixels are the same ones in two images whose corners agree to this."""


@dataclass(frozen=True, eq=False)
class Positions:
    """Positions in pixels (0-based) or on the sky (degrees, frame of the aligned WCS).

    Attributes
    ----------
    first, second : (N,) float; NaN where missing
    on_sky : which of both they are
    note : what was understood, where that is not plain; ''
    """

    first: Floats
    second: Floats
    on_sky: bool
    note: str = ""

    def pixels(self, wcs: WCS, own: WCS | None = None) -> tuple[Floats, Floats]:
        """Return 0-based pixel positions; NaN where the sky position can't be projected.

        ``own`` is the WCS of the image whose pixels the list has, if that is another one.
        """
        first, second = self.first, self.second
        if not len(first) or (not self.on_sky and own is None):
            return first, second
        if own is not None and not self.on_sky:
            first, second = own.all_pix2world(first, second, 0)
        x, y = wcs.all_world2pix(first, second, 0, quiet=True)
        return np.asarray(x, dtype=float), np.asarray(y, dtype=float)


def read_positions(path: Path, option: str = "--sources") -> Positions:
    """Read a list of positions, of any format that `read_user_table` knows.

    Where a table has positions on the sky and in pixels, those on the sky count: pixels are
    those of one image, and the list is for all.

    Parameters
    ----------
    path : of the list
    option : of the command line that named it, for messages

    Raises
    ------
    SettingsError
        Not readable, no pair of position columns in it, or a value that is no position.
    """
    user_table = read_user_table(path, f"{option} {path}")
    sky, pixels = user_table.sky_names(), user_table.pixel_names()
    if sky:
        note = rounding_note(user_table.table, sky, user_table.label)
        return Positions(*user_table.sky(*sky), on_sky=True, note=note)
    if pixels:
        return _in_pixels(user_table, *pixels)
    raise SettingsError(
        f"{user_table.label}: no position columns among {', '.join(user_table.table.colnames)}",
        hint="name them x, y (0-based pixel centres) or ra, dec (degrees)",
    )


def _in_pixels(user_table: UserTable, x_name: str, y_name: str, first_pixel: int) -> Positions:
    x, y = (user_table.numbers(name, "pix") - first_pixel for name in (x_name, y_name))
    note = (
        f"{user_table.label}: {x_name}, {y_name} are 1-based: 1 is subtracted"
        if first_pixel
        else ""
    )
    return Positions(x, y, on_sky=False, note=note)


def read_regions(path: Path) -> regions.RegionList:
    """Read a ds9 region file; see `bycatch.user_files.regions.read_regions`."""
    return regions.read_regions(path, f"--exclude {path}")


def image_of_list(
    path: Path, name: str | None, records: Sequence[ImageRecord], out: Path
) -> ImageRecord | None:
    """Return the image whose pixels a list has; None where it has positions on the sky.

    Parameters
    ----------
    path : the list
    name : root of the image, as the user gives it
    records : the images of the run
    out : where they lie

    Raises
    ------
    SettingsError
        No such image; or the images are of different grids, and it is not said which is meant.
    """
    if read_positions(path).on_sky:
        return None
    if name is not None:
        matches = [record for record in records if name in {record.root, record.name}]
        if len(matches) != 1:
            roots = ", ".join(sorted(record.root for record in records))
            raise SettingsError(
                f"--sources-image {name}: {len(matches)} images of this name", hint=f"of {roots}"
            )
        return matches[0]
    if not _have_one_grid(records, out):
        raise SettingsError(
            f"--sources {path}: x, y are pixels of one image, but the {len(records)} images have "
            "different grids",
            hint="give ra, dec, or name the image with --sources-image ROOT",
        )
    return records[0] if records else None


def _have_one_grid(records: Sequence[ImageRecord], out: Path) -> bool:
    """Tell whether all images have the same shape and WCS; one that can't be read is no other."""
    from bycatch.images.headers import read_headers
    from bycatch.images.wcs import celestial_wcs

    first: tuple[WCS, tuple[int, ...], Floats] | None = None
    for record in records if len(records) > 1 else ():
        try:
            path = record.image_file(out)
            headers = read_headers(path if path.exists() else Path(record.source))
            wcs = celestial_wcs(headers).wcs
        except UnusableData:
            continue
        shape = headers.shapes["SCI"][-2:]
        corners = np.array([[0, 0], [shape[1], 0], [0, shape[0]], shape[::-1]], dtype=float)
        if first is None:
            first = wcs, shape, corners
            continue
        corners_here = first[0].all_world2pix(wcs.all_pix2world(corners, 0), 0, quiet=True)
        if shape != first[1] or not np.allclose(corners_here, first[2], rtol=0, atol=SAME_GRID_PX):
            return False
    return True
