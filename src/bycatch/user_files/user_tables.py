"""The one reader of tables that others made: any format, any name, any unit of a position."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

from bycatch.arrays import Floats
from bycatch.catalogs import ecsv
from bycatch.catalogs.tables import parquet_table
from bycatch.errors import SettingsError
from bycatch.user_files.content import decode_text, file_content, kind_of
from bycatch.user_files.quantities import numbers, sky_positions
from bycatch.user_files.text import read_text_table
from bycatch.user_files.votables import read_votable

SKY_NAMES: tuple[tuple[str, str], ...] = (
    ("ra", "dec"),
    ("ra", "de"),
    ("ra", "decl"),
    ("ra", "declination"),
    ("ra_deg", "dec_deg"),
    ("ra_deg", "de_deg"),
    ("radeg", "decdeg"),
    ("radeg", "dedeg"),
    ("ra_degrees", "dec_degrees"),
    ("ra_hms", "dec_dms"),
    ("right_ascension", "declination"),
    ("rightascension", "declination"),
    ("r_a", "decl"),
    ("r_a", "dec"),
    ("s_ra", "s_dec"),
    ("alpha", "delta"),
    ("ra_mean", "dec_mean"),
    ("ramean", "decmean"),
    ("matchra", "matchdec"),
    ("ra_icrs", "de_icrs"),
    ("ra_icrs", "dec_icrs"),
    ("_ra_icrs", "_de_icrs"),
    ("_ra", "_de"),
    ("ra_gaia_wcs", "dec_gaia_wcs"),
    ("raj2000", "dej2000"),
    ("raj2000", "decj2000"),
    ("_raj2000", "_dej2000"),
    ("ra_j2000", "dec_j2000"),
    ("ra_j2000", "de_j2000"),
    ("alpha_j2000", "delta_j2000"),
    ("alphawin_j2000", "deltawin_j2000"),
    ("alphapsf_j2000", "deltapsf_j2000"),
    ("alphapeak_j2000", "deltapeak_j2000"),
)
"""Names of right ascension and declination, as `plain_name` has them; the first pair counts."""
PIXEL_NAMES: tuple[tuple[str, str, int], ...] = (
    ("x", "y", 0),
    ("x_center", "y_center", 0),  # HAP writes X-Center
    ("xcentroid", "ycentroid", 0),
    ("x_centroid", "y_centroid", 0),
    ("xcenter", "ycenter", 0),
    ("x_image", "y_image", 1),
    ("xwin_image", "ywin_image", 1),
    ("xpeak_image", "ypeak_image", 1),
    ("xpsf_image", "ypsf_image", 1),
)
"""Names of pixel positions, and the number that they give the first pixel."""


@dataclass(frozen=True, eq=False)
class UserTable:
    """A table of somebody's, its values as they stand in the file.

    Attributes
    ----------
    label : what messages call it
    table : the table
    kind : 'fits', 'votable', 'parquet', 'ecsv', 'text', 'SExtractor', 'DAOPHOT', 'IPAC' or 'MRT'
    """

    label: str
    table: Table
    kind: str = "ecsv"

    def find(self, *names: str) -> str | None:
        """Return the column that has one of some names; see `find_column`."""
        return find_column(self.table, names, self.label)

    def sky_names(self) -> tuple[str, str] | None:
        """Return the columns of right ascension and declination; None if there are none."""
        for ra_name, dec_name in SKY_NAMES:
            ra, dec = self.find(ra_name), self.find(dec_name)
            if ra and dec:
                return ra, dec
        return None

    def pixel_names(self) -> tuple[str, str, int] | None:
        """Return the columns of x and y, and the number of the first pixel; None without them."""
        for x_name, y_name, first in PIXEL_NAMES:
            x, y = self.find(x_name), self.find(y_name)
            if x and y:
                return x, y, 1 if self.kind == "DAOPHOT" else first
        return None

    def sky(self, ra: str, dec: str) -> tuple[Floats, Floats]:
        """Return positions on the sky, degrees; see `sky_positions`."""
        return sky_positions(self.table, ra, dec, self.label)

    def numbers(self, name: str, unit: str = "") -> Floats:
        """Return a column as numbers; see `numbers`."""
        return numbers(self.table, name, unit, self.label)


def plain_name(name: str) -> str:
    """Return a name as names are compared: in lower case, one mark between its words."""
    bare = name.partition("#")[0].strip().strip("\"'`").lower()
    return re.sub(r"[^a-z0-9]+", "_", bare).rstrip("_")


def find_column(table: Table, names: Iterable[str], label: str) -> str | None:
    """Return the column that has one of some names, the first of them that there is.

    Case does not matter, nor what stands before a dot (``gaiadr3.gaia_source.ra``).

    Raises
    ------
    SettingsError
        Two columns of the table have the same name.
    """
    plain: dict[str, list[str]] = {}
    last: dict[str, list[str]] = {}
    for name in table.colnames:
        plain.setdefault(plain_name(name), []).append(name)
        if "." in name:
            last.setdefault(plain_name(name.rpartition(".")[2]), []).append(name)
    for name in names:
        matches = plain.get(plain_name(name)) or last.get(plain_name(name)) or []
        if name in matches and f"{name}#2" not in matches:
            return name
        if len(matches) > 1:
            raise SettingsError(
                f"{label}: {' and '.join(matches)} may each be column {name}",
                hint="keep one of them",
            )
        if matches:
            return matches[0]
    return None


def read_user_table(path: Path, label: str = "") -> UserTable:
    """Read a table of whatever format, known by its content.

    ECSV, FITS (LDAC too), VOTable, Parquet, IPAC, DAOPHOT, machine-readable tables of journals,
    SExtractor's ASCII_HEAD, and columns parted by commas, semicolons, tabs, bars or blanks; in
    UTF-8, UTF-16 or Latin-1; compressed by gzip, bzip2 or xz.

    Parameters
    ----------
    path : the file
    label : what messages call it; its path by default

    Raises
    ------
    SettingsError
        It is no table, or a damaged one, or holds several with positions.
    """
    label = label or str(path)
    content = file_content(path, label)
    kind = kind_of(content, label)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd units and missing metadata do no harm
            table, kind = _read(content, kind, label)
    except SettingsError:
        raise
    except Exception as err:  # each format's reader has errors of its own
        raise SettingsError(
            f"{label}: can't be read as a table ({kind}): {type(err).__name__}: {_one_line(err)}",
            hint="give an ECSV, FITS, CSV or VOTable file",
        ) from err
    if not table.colnames:
        raise SettingsError(f"{label}: a table without columns", hint="give positions in columns")
    return UserTable(label, _flat(table), kind)


def _one_line(err: Exception) -> str:
    return " ".join(str(err).split())[:200]


def _read(content: bytes, kind: str, label: str) -> tuple[Table, str]:
    if kind == "text":
        return read_text_table(decode_text(content, label), label)
    if kind == "ecsv":
        return ecsv.from_text(decode_text(content, label)), kind
    if kind == "parquet":
        if b"table_meta_yaml" in content:
            raise SettingsError(
                f"{label}: Parquet of astropy's, of which units and masks are not read",
                hint="give ECSV, FITS, CSV or VOTable",
            )
        return parquet_table(BytesIO(content)), kind
    tables = read_votable(content).tables if kind == "votable" else _fits_tables(content)
    return _with_positions(tables, label), kind


def _fits_tables(content: bytes) -> list[tuple[str, Table]]:
    from astropy.io import fits

    tables = []
    with fits.open(BytesIO(content)) as hdus:
        for k, hdu in enumerate(hdus):
            is_table = isinstance(hdu, fits.BinTableHDU | fits.TableHDU)
            # LDAC keeps the header of the image in a table of its own.
            if is_table and not isinstance(hdu, fits.CompImageHDU) and hdu.name != "LDAC_IMHEAD":
                tables.append((hdu.name or f"extension {k}", Table.read(hdu)))
    return tables


def _with_positions(tables: list[tuple[str, Table]], label: str) -> Table:
    """Return the only table, or the only one that has positions."""
    if not tables:
        raise SettingsError(f"{label}: no table in it", hint="an image is not a list of stars")
    if len(tables) == 1:
        return tables[0][1]
    with_positions = []
    for name, table in tables:
        one = UserTable(label, table)
        if one.sky_names() or one.pixel_names():
            with_positions.append((name, table))
    if len(with_positions) != 1:
        names = ", ".join(name for name, _ in with_positions or tables)
        raise SettingsError(
            f"{label}: holds {len(tables)} tables, which one is meant? ({names})",
            hint="write the one that has the positions into a file of its own",
        )
    return with_positions[0][1]


def _flat(table: Table) -> Table:
    """Return a table in which positions of astropy's own type are columns of degrees."""
    from astropy.coordinates import SkyCoord

    if not any(isinstance(table[name], SkyCoord) for name in table.colnames):
        return table
    flat = Table(meta=table.meta)
    for name in table.colnames:
        column: Any = table[name]
        if isinstance(column, SkyCoord):
            flat[f"{name}.ra"] = np.asarray(column.icrs.ra.deg)
            flat[f"{name}.dec"] = np.asarray(column.icrs.dec.deg)
        else:
            flat[name] = column
    return flat
