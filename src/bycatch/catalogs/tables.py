"""Catalogs: making them from the column registry, writing and reading them."""

from __future__ import annotations

import functools
import importlib.util
import json
import re
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from astropy.io import fits
from astropy.table import Column as TableColumn
from astropy.table import MaskedColumn, Table
from astropy.units import Unit

from bycatch.arrays import Floats
from bycatch.catalogs import ecsv
from bycatch.catalogs.columns import Column, expand
from bycatch.errors import SettingsError, UnreadableFile
from bycatch.system.disk import atomic
from bycatch.system.words import all_printable, ascii_words, cell_words, printable

SUFFIXES = {
    "ecsv": ".ecsv",
    "fits": ".fits",
    "csv": ".csv",
    "parquet": ".parquet",
    "votable": ".vot",
}


def make_table(
    columns: Iterable[Column],
    data: Mapping[str, Any],
    radii_px: Iterable[float] = (),
    meta: Mapping[str, Any] | None = None,
) -> Table:
    """Make a table of registered columns, with units, descriptions and UCDs.

    Parameters
    ----------
    columns : the table's columns; those with ``{r}`` are written out for ``radii_px``
    data : one array per column name, all of one length; exactly the registered names
    radii_px : aperture radii, pixels
    meta : metadata of the table

    Returns
    -------
    Table
        In nullable columns NaN is masked; columns without a missing value have no mask.
    """
    specs = expand(columns, radii_px)
    extra = set(data) - {c.name for c in specs}
    if extra:
        msg = f"columns that are not registered: {sorted(extra)}"
        raise KeyError(msg)
    made = [_column(spec, data[spec.name]) for spec in specs]
    return Table(made, meta=dict(meta or {}), copy=False)


def empty_table(
    columns: Iterable[Column], radii_px: Iterable[float] = (), meta: Mapping[str, Any] | None = None
) -> Table:
    """Return a table without rows that has every column: nothing found is a result, too."""
    specs = expand(columns, radii_px)
    return make_table(specs, {c.name: [] for c in specs}, meta=meta)


def floats(table: Table, name: str) -> Floats:
    """Return a column as numbers, NaN where it is masked."""
    values = np.array(table[name], dtype=np.float64)
    values[np.ma.getmask(table[name])] = np.nan  # False, which chooses none, without a mask
    return values


def write_by_suffix(table: Table, path: Path) -> None:
    """Write a table, whole or not at all, in the format of its file's suffix.

    Raises
    ------
    SettingsError
        No format has this suffix.
    """
    kinds = {suffix: kind for kind, suffix in SUFFIXES.items()}
    if path.suffix not in kinds:
        raise SettingsError(f"{path}: not a table format", hint=f"use {', '.join(kinds)}")
    with atomic(path) as partial:
        write_table(table, partial, kinds[path.suffix])


MAG_OF_RADIUS = re.compile(r"mag_ab_(\d+(?:\.\d+)?)$")
QUOTED_PX = 4.0
"""Magnitudes are quoted in the aperture nearest to this: small, and insensitive to the focus."""


def quoted_radius(table: Table) -> str:
    """Return the radius of the quoted aperture as column names write it; '' without magnitudes.

    Parameters
    ----------
    table : a catalog of ours, with columns ``mag_ab_{r}``
    """
    radii = [match[1] for name in table.colnames if (match := MAG_OF_RADIUS.match(name))]
    return nearest_radius(map(float, radii)) if radii else ""


def nearest_radius(radii_px: Iterable[float]) -> str:
    """Return the radius of the quoted aperture, of several, as column names write it.

    Parameters
    ----------
    radii_px : one or more radii, pixels
    """
    return f"{min(radii_px, key=lambda r: abs(r - QUOTED_PX)):g}"


def _column(spec: Column, values: Any) -> TableColumn | MaskedColumn:
    """Return a column of values; a masked one takes several times as long in all that follows."""
    array = np.array(np.ma.getdata(values), dtype=spec.dtype)
    if array.dtype.kind == "U" and not "".join(array.tolist()).isprintable():
        array = np.array([printable(word) for word in array.tolist()])
    mask = np.ma.getmask(values)
    if spec.nullable:
        mask = mask | ~np.isfinite(array)
    about = {"name": spec.name, "unit": _unit(spec.unit), "description": spec.meaning}
    more = {"format": spec.format or None, "meta": {"ucd": spec.ucd}, "copy": False}
    if np.any(mask):
        return MaskedColumn(array, mask=mask, **about, **more)
    return TableColumn(array, **about, **more)


@functools.cache
def _unit(name: str) -> Unit | None:
    """Return a unit by its name, cached: parsing takes a millisecond."""
    return Unit(name) if name else None


def write_table(
    table: Table,
    path: str | Path,
    kind: str = "ecsv",
    lines: Iterable[bytes] | None = None,
    meta: Mapping[str, Any] | None = None,
) -> None:
    """Write a table; ``kind`` is one of ecsv, fits, csv, parquet, votable.

    ``lines`` are those of its rows in ECSV (`ecsv.rows`), where they are known already; ``meta``
    is written in place of its own metadata.
    """
    path = Path(path)
    meta = all_printable(dict(table.meta if meta is None else meta))
    if kind not in {"ecsv", "parquet"}:  # copies are slow: the usual formats need none
        table = table.copy(copy_data=False)
        table.meta = meta
    with warnings.catch_warnings():
        # FITS headers can't hold long or nested metadata; VOTable finds 'electron' and 'erg'
        # unusual. Both write what they can.
        warnings.simplefilter("ignore")
        if kind == "ecsv":
            ecsv.write(table, path, lines, meta)
        elif kind == "csv":
            _write_csv(table, path)
        elif kind == "fits":
            _write_fits(table, path)
        elif kind == "votable":
            _write_votable(table, path)
        elif kind == "parquet":
            _write_parquet(table, path, meta)
        else:
            raise SettingsError(f"unknown table format '{kind}'", hint=f"use {', '.join(SUFFIXES)}")


def read_table(path: str | Path, names: Collection[str] | None = None) -> Table:
    """Read a table that `write_table` wrote; of ``names`` only what it has of these columns.

    Raises
    ------
    UnreadableFile
        The file is missing or damaged.
    """
    path = Path(path)
    if not path.exists():
        raise UnreadableFile(
            f"{path}: there is no such file", hint="check the path, or run the step that writes it"
        )
    kinds = {suffix: kind for kind, suffix in SUFFIXES.items()}
    kind = kinds.get(path.suffix, "ecsv")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if kind == "parquet":
                return parquet_table(path, names)
            if kind == "ecsv":
                return ecsv.read(path, names)
            table = Table.read(path, format="ascii.csv" if kind == "csv" else kind)
            return table if names is None else table[[n for n in table.colnames if n in names]]
    except Exception as err:  # the readers raise many kinds
        raise UnreadableFile(
            f"{path}: not a readable table ({err})", hint="remove it and run the step again"
        ) from err


def _write_csv(table: Table, path: Path) -> None:
    """Write text as text: no cell may be a formula to a spreadsheet."""
    _change_words(table, cell_words)
    table.write(path, format="ascii.csv", overwrite=True)


def _change_words(table: Table, change: Callable[[str], str]) -> None:
    """Change the cells of columns of text."""
    for name in [n for n in table.colnames if table[n].dtype.kind == "U"]:
        column = table[name]
        words = [change(word) for word in np.ma.getdata(column).tolist()]
        if words != column.data.tolist():
            new = MaskedColumn(words, mask=np.ma.getmaskarray(column), dtype="U")
            new.info.description, new.info.meta = column.description, column.info.meta
            table[name] = new


def _write_fits(table: Table, path: Path) -> None:
    table = _flat(table)
    table.write(path, format="fits", overwrite=True)
    # The FITS standard knows no electron, and astropy leaves out a unit that it does not know.
    with fits.open(path, mode="update") as hdus:
        header = hdus[1].header
        for k, name in enumerate(table.colnames, start=1):
            column = table[name]
            if column.unit is not None:
                header.setdefault(f"TUNIT{k}", str(column.unit))
            # As TOPCAT and STILTS write and read them.
            if column.info.description:
                header[f"TCOMM{k}"] = column.info.description
            ucd = (column.info.meta or {}).get("ucd")
            if ucd:
                header[f"TUCD{k}"] = ucd


def _flat(table: Table) -> Table:
    """Return a copy whose words a FITS file can hold."""
    flat = table.copy(copy_data=False)
    flat.meta = dict(_cards("", table.meta))
    _change_words(flat, ascii_words)
    return flat


def _cards(name: str, value: Any) -> Iterator[tuple[str, bool | int | float | str]]:
    """Return the leaves of nested metadata, named by their path; a card has 80 characters."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _cards(f"{name} {key}".strip(), item)
    elif isinstance(value, (list, tuple)) and len(str(value)) > 60 - len(name):
        for k, item in enumerate(value, start=1):
            yield from _cards(f"{name} {k}", item)
    else:
        plain = isinstance(value, (bool, int, str)) or (
            isinstance(value, float) and np.isfinite(value)
        )
        text = value if plain else str(value)
        if isinstance(text, str):
            text = ascii_words(text)[: max(8, 68 - len(name))]
        yield name, text


def _write_votable(table: Table, path: Path) -> None:
    from astropy.io.votable import from_table
    from astropy.io.votable.tree import Info

    document = from_table(table)
    first = document.get_first_table()
    for field in first.fields:
        field.ucd = (table[field.name].info.meta or {}).get("ucd")
        if field.datatype in {"char", "unicodeChar"}:
            field.arraysize = f"{field.arraysize.rstrip('*')}*"  # "1" alone is deprecated
        field.precision = _precision(table[field.name].info.format)
    first.infos.extend(Info(name=str(key), value=str(value)) for key, value in table.meta.items())
    document.to_xml(str(path))


def _precision(digits: str | None) -> str | None:
    """Return a format as VOTable has it: digits behind the point (F), or that count (E)."""
    match = re.fullmatch(r"\.(\d+)([fg])", digits or "")
    return f"{'F' if match[2] == 'f' else 'E'}{match[1]}" if match else None


def _write_parquet(table: Table, path: Path, meta: Mapping[str, Any]) -> None:
    if importlib.util.find_spec("pyarrow") is None:
        raise SettingsError("writing Parquet needs pyarrow", hint="pip install 'bycatch[parquet]'")
    from pyarrow import parquet

    with path.open("wb") as stream:  # it knows names in UTF-8 only
        parquet.write_table(arrow_table(table, meta), stream)


def arrow_table(table: Table, meta: Mapping[str, Any] | None = None) -> Any:
    """Return a table as one of Arrow: missing is null; units, descriptions and UCDs are kept.

    ``meta`` takes the place of its own metadata.
    """
    import pyarrow as pa

    # Not by astropy, which writes a mask as a column of its own.
    fields, arrays = [], []
    for name in table.colnames:
        column = table[name]
        values = np.ma.getdata(column)
        array = pa.array(
            values.astype(object) if values.dtype.kind == "U" else np.ascontiguousarray(values),
            mask=np.ma.getmaskarray(column),
        )
        about = {
            "unit": str(column.unit or ""),
            "description": str(column.description or ""),
            "ucd": (column.info.meta or {}).get("ucd", ""),
            "format": column.info.format or "",
        }
        fields.append(pa.field(name, array.type, metadata=about))
        arrays.append(array)
    header = table.meta if meta is None else meta
    about_all = {str(k): json.dumps(v, default=str) for k, v in header.items()}
    schema = pa.schema(fields, metadata=about_all)
    return pa.Table.from_arrays(arrays, schema=schema)


def parquet_table(source: Path | BinaryIO, names: Collection[str] | None = None) -> Table:
    """Read a table in Parquet; units and descriptions as `write_table` keeps them."""
    from pyarrow import parquet

    if isinstance(source, Path):
        with source.open("rb") as stream:  # it knows names in UTF-8 only
            return parquet_table(stream, names)
    file = parquet.ParquetFile(source)
    data = file.read([n for n in file.schema_arrow.names if names is None or n in names])
    about_all = data.schema.metadata or {}
    table = Table()
    for key, value in about_all.items():
        with suppress(ValueError):  # what other writers keep there
            table.meta[key.decode()] = json.loads(value)
    for field, values in zip(data.schema, data.columns, strict=True):
        about = {k.decode(): v.decode() for k, v in (field.metadata or {}).items()}
        mask = values.is_null().to_numpy(zero_copy_only=False)
        dense = values.fill_null(0) if values.null_count else values
        array = dense.to_numpy(zero_copy_only=False)
        column = MaskedColumn(
            array.astype(str) if array.dtype == object else array,
            name=field.name,
            mask=mask,
            unit=about.get("unit") or None,
            description=about.get("description", ""),
            format=about.get("format") or None,
        )
        column.info.meta = {"ucd": about.get("ucd", "")}
        table[field.name] = column
    return table
