"""The reader of catalogs to compare: ours, the archive's, SExtractor's, and others by columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import MaskedColumn, Table
from numpy.typing import NDArray

from bycatch.arrays import Floats
from bycatch.catalogs.tables import quoted_radius
from bycatch.errors import SettingsError, UnreadableFile
from bycatch.user_files.user_tables import UserTable, read_user_table

MISSING = -9990.0
"""Values below this stand for 'missing' in the archive's catalogs (-9999)."""
KINDS: dict[str, tuple[tuple[str, str], tuple[str, ...]]] = {
    "bycatch": (("RA_GAIA_WCS", "DEC_GAIA_WCS"), ("mag_ab_{r}",)),
    "HAP point or segment catalog": (("RA", "DEC"), ("MagAp2",)),
    "SExtractor": (("ALPHA_J2000", "DELTA_J2000"), ("MAG_AUTO", "MAG_APER")),
    "SExtractor, windowed": (("ALPHAWIN_J2000", "DELTAWIN_J2000"), ("MAG_AUTO",)),
}
"""Columns of right ascension and declination, and of magnitude, of kinds of catalogs."""
ERROR_NAMES = {
    "mag_ab_{r}": "mag_ab_err_{r}",
    "MagAp2": "MagErrAp2",
    "MAG_AUTO": "MAGERR_AUTO",
    "MAG_APER": "MAGERR_APER",
}
"""The error of the magnitude in these."""
ID_NAMES = ("id", "object_id", "number", "source_id")
MAG_NAMES = ("mag", "magnitude", "phot_g_mean_mag", "Gmag", "mag_auto", "mag_iso", "mag_best")
"""Names of the magnitude in any other table with positions on the sky."""


@dataclass(frozen=True, eq=False)
class Catalog:
    """Positions and magnitudes of a catalog, rows without a position left out.

    Attributes
    ----------
    name : file name
    ra, dec : (N,) float, degrees
    mag : (N,) float; NaN where missing
    row : (N,) int; the row of the file, from 0
    columns : names of the three columns
    mag_err : (N,) float; NaN where missing; None if the file has none
    number : (N,) identifiers of the file; None if it has none
    filter : that of the magnitudes; '' if the file does not say
    """

    name: str
    ra: Floats
    dec: Floats
    mag: Floats
    row: NDArray[np.int64]
    columns: tuple[str, str, str]
    mag_err: Floats | None = None
    number: NDArray[Any] | None = None
    filter: str = ""

    def __len__(self) -> int:
        return len(self.ra)


def read_catalog(path: str | Path, columns: Sequence[str] = ()) -> Catalog:
    """Read positions and magnitudes of a catalog.

    Parameters
    ----------
    path : a table of ours, of the archive (HAP), of SExtractor, or any other that
        `read_user_table` knows
    columns : names of right ascension, declination (degrees) and magnitude; those of the kinds that
        are known by default

    Raises
    ------
    SettingsError
        It is no table, does not have these columns, or they hold no numbers.
    UnreadableFile
        There is no such file.
    """
    path = Path(path)
    if path.is_dir():
        raise SettingsError(
            f"{path}: a folder, not a catalog", hint="compare two catalogs, or two output folders"
        )
    if not path.is_file():
        raise UnreadableFile(f"{path}: there is no such file", hint="check the path")
    user_table = read_user_table(path, path.name)
    names = _columns(user_table, tuple(columns))
    for name in names[:2]:
        _mask_missing(user_table.table, name)
    ra, dec = user_table.sky(*names[:2])
    mag = _magnitudes(user_table, names[2])
    error, number = _error_name(user_table, names[2]), user_table.find(*ID_NAMES)
    has_position = np.isfinite(ra) & np.isfinite(dec)
    return Catalog(
        path.name,
        ra[has_position],
        dec[has_position],
        mag[has_position],
        np.flatnonzero(has_position),
        names,
        None if error is None else _magnitudes(user_table, error)[has_position],
        None if number is None else np.asarray(user_table.table[number])[has_position],
        str(user_table.table.meta.get("FILTER", "")),
    )


def _magnitudes(user_table: UserTable, name: str) -> Floats:
    """Return a column of magnitudes or their errors; NaN where missing."""
    _mask_missing(user_table.table, name)
    values = user_table.numbers(name, "mag")
    return np.where(values < MISSING, np.nan, values)  # of words


def _error_name(user_table: UserTable, mag_name: str) -> str | None:
    """Return the column with the error of a magnitude; None if it is not known."""
    radius = quoted_radius(user_table.table)
    for name, error in ERROR_NAMES.items():
        if name.replace("{r}", radius).lower() == mag_name.lower():
            return user_table.find(error.replace("{r}", radius))
    return user_table.find(f"{mag_name}_err", f"{mag_name}err", f"e_{mag_name}")


def _mask_missing(table: Table, name: str) -> None:
    """Mask what stands for 'missing', and take the first of several apertures, in place."""
    column = table[name]
    if column.dtype.kind not in "iuf":
        return
    values: Any = np.ma.asarray(column, dtype=float)
    if values.ndim > 1:  # SExtractor's MAG_APER
        values = values.reshape(len(values), -1)[:, 0]
    unit, meta = column.unit, column.info.meta
    table[name] = MaskedColumn(np.ma.masked_less(values, MISSING), unit=unit, meta=meta)


def _columns(user_table: UserTable, user_names: tuple[str, ...]) -> tuple[str, str, str]:
    label, there = user_table.label, ", ".join(user_table.table.colnames)
    if user_names:
        if len(user_names) != 3:
            raise SettingsError(
                f"{label}: three columns are needed, not {len(user_names)}",
                hint=f"right ascension, declination, magnitude of {there}",
            )
        names = [user_table.find(name) for name in user_names]
        lacking = [name for name, own in zip(user_names, names, strict=True) if own is None]
        if lacking:
            raise SettingsError(
                f"{label}: no column {', '.join(lacking)}",
                hint=f"right ascension, declination, magnitude of {there}",
            )
        return (str(names[0]), str(names[1]), str(names[2]))
    kinds = [*KINDS.values(), (user_table.sky_names() or ("", ""), MAG_NAMES)]
    for (ra_name, dec_name), mag_names in kinds:
        mags = [name.replace("{r}", quoted_radius(user_table.table)) for name in mag_names]
        ra, dec, mag = user_table.find(ra_name), user_table.find(dec_name), user_table.find(*mags)
        if ra and dec and mag:
            return ra, dec, mag
    raise SettingsError(
        f"{label}: which columns hold right ascension, declination and magnitude?",
        hint=f"name the three; there are {there}",
    )
