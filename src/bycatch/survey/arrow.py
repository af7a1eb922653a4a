"""Arrow tables with units, UCDs and descriptions: from products, and to astropy tables."""

from __future__ import annotations

import importlib
import json
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.table import Table
from astropy.units import Unit, UnrecognizedUnit

from bycatch.catalogs.columns import Column
from bycatch.catalogs.survey_columns import IS_DOUBLE
from bycatch.catalogs.tables import arrow_table, read_table
from bycatch.errors import SettingsError, UnreadableFile

if TYPE_CHECKING:
    import pyarrow as pa

EXTRA = "pip install 'bycatch[survey]'"


def library(name: str, what: str) -> Any:
    """Return a library of the extra ``survey``.

    Raises
    ------
    SettingsError
        It is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as err:
        package = name.split(".", maxsplit=1)[0]
        raise SettingsError(f"{what} needs {package}", hint=EXTRA) from err


def read_arrow(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a table of ours, or some of its columns.

    Raises
    ------
    UnreadableFile
        It is missing or damaged.
    """
    parquet = library("pyarrow.parquet", "a survey")
    if path.suffix != ".parquet":
        table = arrow_table(read_table(path))
        return table.select(columns) if columns else table
    try:
        with path.open("rb") as file:
            return parquet.read_table(file, columns=columns)
    except Exception as err:  # of many kinds
        raise UnreadableFile(
            f"{path}: not a readable table ({err})", hint="remove it and run the step again"
        ) from err


def arrow_names(path: Path) -> list[str]:
    """Return the names of the columns of a table of ours."""
    if path.suffix != ".parquet":
        return list(read_table(path).colnames)
    parquet = library("pyarrow.parquet", "a survey")
    with path.open("rb") as file:
        return list(parquet.read_schema(file).names)


def schema_of(columns: Sequence[Column], meta: Mapping[str, Any]) -> pa.Schema:
    """Return the schema of columns: positions and times in double, other numbers in single."""
    pa = library("pyarrow", "a survey")
    kinds = {
        "i8": pa.int64(), "i4": pa.int32(), "i2": pa.int16(), "bool": pa.bool_(),
    }  # fmt: skip
    fields = []
    for column in columns:
        kind = kinds.get(column.dtype)
        if kind is None and column.dtype.startswith("U"):
            kind = pa.string()
        elif kind is None:
            is_double = column.name in IS_DOUBLE or "mjd" in column.name
            kind = pa.float64() if is_double else pa.float32()
        about = {"unit": column.unit, "ucd": column.ucd, "description": column.meaning}
        form = getattr(column, "format", "")
        about |= {"format": form} if form else {}
        fields.append(pa.field(column.name, kind, metadata=about))
    return pa.schema(fields, metadata={key: json.dumps(value) for key, value in meta.items()})


def conform(table: pa.Table, schema: pa.Schema, values: Mapping[str, Any]) -> pa.Table:
    """Return a table in a schema: columns that it lacks are missing; ``values`` come first."""
    pa = library("pyarrow", "a survey")
    arrays = []
    for field in schema:
        if field.name in values:
            arrays.append(pa.array(values[field.name]).cast(field.type))
        elif field.name in table.column_names:
            arrays.append(table[field.name].combine_chunks().cast(field.type, safe=False))
        else:
            arrays.append(pa.nulls(len(table), field.type))
    return pa.Table.from_arrays(arrays, schema=schema)


def about_field(field: pa.Field) -> dict[str, str]:
    """Return unit, ucd and description of a column."""
    return {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}


def astropy_table(
    data: pa.Table, about: Mapping[str, Mapping[str, str]], names_to_hide: Collection[str] = ()
) -> Table:
    """Return a table of astropy: what is null is masked.

    Parameters
    ----------
    data : a table, such as the answer of a query
    about : unit, ucd and description of columns by their names
    names_to_hide : names of columns that are left out
    """
    names = [name for name in data.column_names if name not in names_to_hide]
    # All at once, and of arrays: a column that a table takes over is made a second time.
    table = Table([_numpy_of(data[name]) for name in names], names=names, copy=False)
    for name in names:
        meaning, column = about.get(name), table[name]
        if meaning is None:
            continue
        if column.dtype.kind in "iuf" and meaning["unit"]:
            column.unit = _unit(meaning["unit"])
        column.description = meaning["description"]
        column.meta = {"ucd": meaning["ucd"]}
    return table


def _numpy_of(values: Any) -> Any:
    """Return the values of a column of Arrow, masked where some are null."""
    pa = library("pyarrow", "a survey")
    kind = values.type
    if pa.types.is_dictionary(kind):
        values, kind = values.cast(kind.value_type), kind.value_type
    if pa.types.is_decimal(kind):
        values, kind = values.cast(pa.float64()), pa.float64()
    if pa.types.is_boolean(kind):
        array = np.array([bool(value) for value in values.to_pylist()], dtype=bool)
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind):
        array = (values.fill_null(0) if values.null_count else values).to_numpy()
    else:
        words = ["" if value is None else str(value) for value in values.to_pylist()]
        array = np.array(words, dtype=str)
    # Masks are slow: a column that lacks nothing has none.
    return np.ma.array(array, mask=values.is_null().to_numpy()) if values.null_count else array


@cache
def _unit(name: str) -> Any:
    """Return a unit, cached: parsing takes a millisecond."""
    try:
        return Unit(name)
    except ValueError:
        return UnrecognizedUnit(name)
