"""Small tables as extensions of the FITS files that they belong to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.units import Unit
from numpy.typing import NDArray

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
    values = [_plain(column) for column in table.columns.values()]
    kinds = zip(table.colnames, (array.dtype for array in values), strict=True)
    rows = np.empty(len(table), list(kinds))
    for column, array in zip(table.colnames, values, strict=True):
        rows[column] = array
    hdu = fits.BinTableHDU.from_columns(rows)
    for k, column in enumerate(table.colnames, start=1):
        if table[column].unit is not None:
            hdu.header[f"TUNIT{k}"] = str(table[column].unit)
        if table[column].description:
            hdu.header[f"TCOMM{k}"] = table[column].description
    hdu.name = name
    for key, value in (meta or {}).items():
        hdu.header[key] = value
    return hdu


def _plain(column: Any) -> NDArray[Any]:
    """Return the values of a column as FITS can hold them."""
    kind = column.dtype.kind
    values = np.asarray(np.ma.filled(column, MISSING.get(kind, 0)))
    return np.array([ascii_words(word) for word in values], dtype="U") if kind == "U" else values


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
    """Return a table of an open FITS file that `table_extension` put there; None without one.

    Parameters
    ----------
    hdus : list of extensions
    name : of the extension
    """
    hdu = next((hdu for hdu in hdus[1:] if hdu.name == name), None)
    return None if hdu is None else _table(hdu)


def _table(hdu: fits.BinTableHDU) -> Table:
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
