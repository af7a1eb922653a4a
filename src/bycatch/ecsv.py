"""ECSV tables: written and read as astropy does, but column by column.

astropy's writer and reader take a microsecond for each value several times over,
and a run writes and reads each table of each image.  What is not plain goes to them.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from astropy.table import Column, MaskedColumn, Table
from numpy.typing import NDArray

PLAIN = (Column, MaskedColumn)
NEEDS_QUOTES = re.compile(r'[ "\r\n]|^#|^$')
EMPTY = '""'
FIRST_LINE = "# %ECSV "
ROWS_AT_A_TIME = 2048


def write(
    table: Table,
    path: Path,
    texts: Sequence[str] | None = None,
    meta: Mapping[str, Any] | None = None,
) -> None:
    """Write a table.

    ``texts`` are its `rows`, or some of them, if they are known; ``meta`` is written in place of
    its own metadata.
    """
    told = table.meta if meta is None else meta
    if not table.colnames or not all(_is_plain(column) for column in table.columns.values()):
        table = table.copy(copy_data=False)
        table.meta = dict(told)
        table.write(path, format="ascii.ecsv", overwrite=True)
        return
    lines = rows(table) if texts is None else texts
    with path.open("wb") as stream:
        stream.write(("\n".join(_header(table, told)) + "\n").encode())
        for k in range(0, len(lines), ROWS_AT_A_TIME):
            stream.write(("\n".join(lines[k : k + ROWS_AT_A_TIME]) + "\n").encode())


def rows(table: Table) -> list[str]:
    """Return the rows of a table of plain columns as lines."""
    columns = [(np.ma.getdata(c), np.ma.getmask(c)) for c in table.columns.values()]
    lines: list[str] = []
    # The words of all columns together would take several times the memory of the lines.
    for k in range(0, len(table), ROWS_AT_A_TIME):
        some = slice(k, k + ROWS_AT_A_TIME)
        texts = [
            _texts(values[some], mask if mask is np.ma.nomask else mask[some])
            for values, mask in columns
        ]
        lines += map(" ".join, zip(*texts, strict=True))
    return lines


def read(path: Path) -> Table:
    """Read a table; whatever is wrong with it raises what astropy's reader raises."""
    try:
        plain = _plain_table(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError:  # compressed
        plain = None
    return Table.read(path, format="ascii.ecsv") if plain is None else plain


def _header(table: Table, told: Mapping[str, Any]) -> list[str]:
    """Return the lines above the rows: types, units, descriptions, metadata, and the names."""
    from astropy.table.meta import get_yaml_from_header

    columns = [line for column in table.columns.values() for line in _column_lines(column)]
    meta = [line for item in told.items() for line in _meta_lines(*item)]
    lines = ["%ECSV 1.0", "---", "datatype:", *columns]
    lines += ["meta: !!omap", *meta] if meta else []
    lines += get_yaml_from_header({"cols": [], "schema": "astropy-2.0"})[1:]
    return [*(f"# {line}" for line in lines), " ".join(map(_quoted, table.colnames))]


_known_columns: dict[tuple[str, ...], list[str]] = {}
"""How columns were written: YAML takes a millisecond for each, and every image has the same."""
_known_meta: dict[tuple[str, str], list[str]] = {}
"""How metadata were written: the tables of an image, and of all images, have most in common."""
MOST_META = 500


def _meta_lines(key: str, value: Any) -> list[str]:
    """Return an entry of the metadata."""
    from astropy.table.meta import get_yaml_from_header

    known = key, repr(value)
    if known in _known_meta:
        return _known_meta[known]
    lines = get_yaml_from_header({"cols": [], "meta": OrderedDict({key: value})})[2:]
    if len(_known_meta) >= MOST_META:
        _known_meta.clear()
    if "..." not in known[1]:  # numpy leaves out values of long arrays
        _known_meta[known] = list(lines)
    return list(lines)


def _column_lines(column: Any) -> list[str]:
    """Return the description of one column."""
    from astropy.table.meta import get_yaml_from_header

    info = column.info
    told = column.name, column.dtype.str, info.unit, info.format, info.description, info.meta
    key = (type(column).__name__, *map(repr, told))
    if key not in _known_columns:
        _known_columns[key] = get_yaml_from_header({"cols": [column]})[1:]
    return _known_columns[key]


def _is_plain(column: Any) -> bool:
    """Tell whether a column is one of numbers, truth values or words."""
    return type(column) in PLAIN and column.ndim == 1 and column.dtype.kind in "biufU"


def _texts(values: NDArray[Any], mask: Any) -> list[str]:
    """Return values as words of an ECSV file, floats with all the digits they need."""
    if values.dtype.kind == "U":
        words = {value: _quoted(value) for value in set(values.tolist())}
        texts = [words[value] for value in values.tolist()]
    elif values.dtype == np.float64:
        texts = _numbers(values)
    elif values.dtype.kind == "f":
        texts = values.astype(str).tolist()
    else:
        texts = list(map(repr, values.tolist()))
    for row in np.flatnonzero(mask).tolist():
        texts[row] = EMPTY
    return texts


def _numbers(values: NDArray[np.float64]) -> list[str]:
    """Return the words that `repr` has for floats, in a sixth of its time."""
    if not len(values):
        return []
    finite = np.isfinite(values)
    native = np.where(finite, values, 0.0)
    json = orjson.dumps(native, option=orjson.OPT_SERIALIZE_NUMPY)
    texts: list[str] = json[1:-1].decode().split(",")
    size = np.abs(native)
    # JSON knows no NaN, and writes 0.00001 and 1e-8.
    rows = np.flatnonzero(~finite | ((size > 9e-11) & (size < 1e-4)))
    for row, value in zip(rows.tolist(), values[rows].tolist(), strict=True):
        texts[row] = repr(value)
    return texts


def _quoted(value: str) -> str:
    """Return a word in quotes if it needs them; a line that begins with # would be a comment."""
    text = value.strip(" \t")
    return '"' + text.replace('"', '""') + '"' if NEEDS_QUOTES.search(text) else text


def _plain_table(text: str) -> Table | None:
    """Return the table of a text without quoted words; None if astropy must read it."""
    comments = re.match(r"(?:#[^\n]*\n)+", text)
    if comments is None or not text.startswith(FIRST_LINE):
        return None
    lines = comments[0].splitlines()[1:]
    header = _header_content("\n".join(line[2:] for line in lines))
    if header is None:
        return None
    given, meta = header.get("datatype", []), header.get("meta", {})
    names, _, body = text[comments.end() :].partition("\n")
    is_plain = all("subtype" not in column and column["datatype"] in PARSERS for column in given)
    if not is_plain or header.get("delimiter", " ") != " " or "__serialized_columns__" in meta:
        return None
    words = body.split()
    n_columns, n_rows = len(given), len(body.splitlines())
    if names.split(" ") != [column["name"] for column in given] or len(words) != n_columns * n_rows:
        return None
    if body.count('"') != 2 * words.count(EMPTY):
        return None
    columns = [_parsed(column, words[k::n_columns]) for k, column in enumerate(given)]
    return Table(columns, meta=meta, copy=False)


def _header_content(text: str) -> dict[str, Any] | None:
    """Return what a header says, by the loader in C, which takes a tenth of the time."""
    import yaml

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        pass

    def ordered(loader: Any, node: Any) -> OrderedDict[str, Any]:
        pairs = [loader.construct_mapping(item, deep=True) for item in node.value]
        return OrderedDict(pair for mapping in pairs for pair in mapping.items())

    Loader.add_constructor("tag:yaml.org,2002:omap", ordered)
    try:
        content = yaml.load(text, Loader=Loader)  # noqa: S506  # a safe loader
    except yaml.YAMLError:  # such as a unit or a time in the metadata: astropy knows them
        return None
    return content if isinstance(content, dict) else None


def _parsed(given: dict[str, Any], words: list[str]) -> Column | MaskedColumn:
    """Return a column from its description and its words."""
    kind = given["datatype"]
    parse, empty = PARSERS[kind]
    told = {key: given[key] for key in ("name", "unit", "description", "format") if key in given}
    is_complete = EMPTY not in words
    if is_complete and kind != "string":
        column = Column(np.array(_values(words, parse), dtype=kind), **told)
    elif kind != "string":
        missing = np.array([word == EMPTY for word in words], dtype=bool)
        values = np.array([empty if word == EMPTY else parse(word) for word in words], dtype=kind)
        column = MaskedColumn(values, mask=missing, **told)
    else:
        plain = words if is_complete else ["" if word == EMPTY else word for word in words]
        column = Column(np.array(plain, dtype="U"), **told)
    if "meta" in given:
        column.info.meta = given["meta"]
    return column


def _values(words: list[str], parse: Callable[[str], Any]) -> list[Any]:
    """Return the values of words; JSON's reader is the fastest one of floats, but knows no NaN."""
    if parse is float:
        with suppress(orjson.JSONDecodeError):
            return list(orjson.loads(f"[{','.join(words)}]"))
    return list(map(parse, words))


def _truth(word: str) -> bool:
    if word not in ("True", "False"):
        msg = f"'{word}' is neither True nor False"
        raise ValueError(msg)
    return word == "True"


PARSERS: dict[str, tuple[Callable[[str], Any], Any]] = {
    "bool": (_truth, False),
    "string": (str, ""),
    **dict.fromkeys(("float32", "float64"), (float, 0.0)),
    **dict.fromkeys(("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32"), (int, 0)),
}
"""How each type of ECSV that is read here is written, and what stands where it is missing."""
