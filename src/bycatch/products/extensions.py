"""Small tables as extensions of the FITS files that they belong to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.units import Unit

from bycatch.images.files import open_fits
from bycatch.system.words import ascii_words

MISSING: dict[str, Any] = {"f": np.nan, "U": ""}
"""What stands for a missing value, by the kind of the column; 0 in the others."""


def table_extension(
    table: Table, name: str, meta: Mapping[str, Any] | None = None
) -> fits.BinTableHDU:
    """Return a table as an extension: columns, units and descriptions; NaN for what is missing.

    Parameters
    ----------
    table : the table
    name : EXTNAME
    meta : cards of its header
    """
    plain = Table()
    for column in table.colnames:
        kind = table[column].dtype.kind
        values = np.ma.filled(np.ma.asarray(table[column]), MISSING.get(kind, 0))
        plain[column] = (
            np.array([ascii_words(word) for word in values], dtype="U") if kind == "U" else values
        )
    hdu = fits.table_to_hdu(plain)
    for k, column in enumerate(table.colnames, start=1):
        if table[column].unit is not None:
            hdu.header[f"TUNIT{k}"] = str(table[column].unit)
        if table[column].info.description:
            hdu.header[f"TCOMM{k}"] = table[column].info.description
    hdu.name = name
    for key, value in (meta or {}).items():
        hdu.header[key] = value
    return hdu


def read_extension(path: Path, name: str) -> Table | None:
    """Return a table that `table_extension` put into a FITS file; None where there is none.

    Raises
    ------
    UnreadableFile
        The file is damaged.
    """
    with open_fits(path) as hdus:
        return table_in(hdus, name)


def table_in(hdus: Any, name: str) -> Table | None:
    """Return a table of an open FITS file that `table_extension` put there; None without one."""
    hdu = next((hdu for hdu in hdus[1:] if hdu.name == name), None)
    if hdu is None:
        return None
    table = Table({column: _native(hdu.data[column]) for column in hdu.columns.names}, copy=False)
    for k, column in enumerate(hdu.columns, start=1):
        if column.unit:
            table[column.name].unit = Unit(column.unit, parse_strict="silent")
        table[column.name].description = hdu.header.get(f"TCOMM{k}")
    table.meta = {key: hdu.header[key] for key in ("KEY",) if key in hdu.header}
    return table


def _native(values: Any) -> Any:
    values = np.asarray(values)
    return values.astype(values.dtype.newbyteorder("="))
