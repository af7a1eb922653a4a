"""ECSV tables: written and read as astropy does, but column by column.

astropy's writer and reader take a microsecond for each value several times over,
and a run writes and reads each table of each image.  What is not plain goes to them.
"""

from __future__ import annotations

import functools
import re
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson
from astropy.table import Column, MaskedColumn, Table
from numpy.typing import NDArray

from bycatch.kernels.text_rows import cells_of_rows, rows_of_cells

PLAIN = (Column, MaskedColumn)
NEEDS_QUOTES = re.compile(r'[ "\r\n]|^#|^$')
EMPTY = '""'
NOTHING = b"0"
"""What is read in place of an empty cell."""
FIRST_LINE = b"# %ECSV "
ROWS_AT_A_TIME = 2048
POWERS_OF_TEN = np.longdouble(10.0) ** np.arange(400)
"""Those up to 27 are exact: words are as short as they can be."""


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of a table as the lines of a file, in parts of `ROWS_AT_A_TIME`.

    Attributes
    ----------
    parts : of each part the UTF-8 bytes of its lines, uint8, and where each line ends in them
    """

    parts: tuple[tuple[NDArray[np.uint8], NDArray[np.int64]], ...]

    def lines(self, rows: NDArray[np.bool_] | None = None) -> Iterator[bytes]:
        """Give the lines of some rows, (N,) bool, part by part; of all by default."""
        for k, (lines, end) in enumerate(self.parts):
            if rows is None:
                yield lines.tobytes()
                continue
            some = np.asarray(rows[k * ROWS_AT_A_TIME :][: len(end)])
            yield lines[np.repeat(some, np.diff(end, prepend=0))].tobytes()


def write(
    table: Table,
    path: Path,
    lines: Iterable[bytes] | None = None,
    meta: Mapping[str, Any] | None = None,
) -> None:
    """Write a table.

    ``lines`` are those of its `rows`, or of some of them, if they are known; ``meta`` is written in
    place of its own metadata.
    """
    header = table.meta if meta is None else meta
    if not table.colnames or not all(_is_plain(column) for column in table.columns.values()):
        table = table.copy(copy_data=False)
        table.meta = dict(header)
        table.write(path, format="ascii.ecsv", overwrite=True)
        return
    body = rows(table).lines() if lines is None else lines
    with path.open("wb") as stream:
        stream.write(("\n".join(_header(table, header)) + "\n").encode())
        stream.writelines(body)


def rows(table: Table) -> Rows:
    """Return the rows of a table of plain columns, of which there is one at least."""
    columns = [
        (round_to_format(np.asarray(c), c.format), np.ma.getmask(c)) for c in table.columns.values()
    ]
    parts = []
    # The cells of all rows together would take several times the memory of the lines.
    for k in range(0, len(table), ROWS_AT_A_TIME):
        some = slice(k, k + ROWS_AT_A_TIME)
        cells = [
            _cells(values[some], mask if mask is np.ma.nomask else mask[some])
            for values, mask in columns
        ]
        place = np.cumsum([0, *(len(c.text) for c in cells)])[:-1, np.newaxis]
        part = rows_of_cells(
            b"".join(c.text for c in cells),
            np.array([c.first for c in cells]) + place,
            np.array([c.end for c in cells]) + place,
        )
        parts.append(part)
    return Rows(tuple(parts))


def round_to_format(values: NDArray[Any], digits: Any) -> NDArray[Any]:
    """Return floats rounded to a format: ``.4f``, 4 digits behind the point; ``.4g``, 4 that count.

    Whatever else the format is, the values are returned as they are.
    """
    match = re.fullmatch(r"\.(\d+)([fg])", digits) if isinstance(digits, str) else None
    if match is None or values.dtype != np.float64 or not len(values):
        return values
    n = int(match[1])
    if match[2] == "f":
        return np.round(values, n)
    size = np.abs(values)
    plain = np.isfinite(values) & (size > 0)
    powers = n - 1 - np.floor(np.log10(size, out=np.zeros_like(size), where=plain))
    scale = POWERS_OF_TEN[np.abs(powers).astype(int)]
    with np.errstate(invalid="ignore"):
        shortened = np.rint(values * scale) / scale
    large = np.flatnonzero(powers < 0)
    shortened[large] = np.rint(values[large] / scale[large]) * scale[large]
    return np.where(plain, shortened, values).astype(np.float64)


def read(path: Path, names: Collection[str] | None = None) -> Table:
    """Read a table; whatever is wrong with it raises what astropy's reader raises.

    Of ``names`` only what the table has of these columns.
    """
    text = path.read_bytes()
    if b"\r" in text:
        text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    with suppress(UnicodeDecodeError):
        plain = _plain_table(text, names)
        if plain is not None:
            return plain
    table = Table.read(path, format="ascii.ecsv")
    return table if names is None else table[[n for n in table.colnames if n in names]]


def from_text(text: str) -> Table:
    """Return the table that a text is, with lines that end in a plain newline."""
    plain = _plain_table(text.encode())
    return Table.read(text.split("\n"), format="ascii.ecsv") if plain is None else plain


def _header(table: Table, header: Mapping[str, Any]) -> list[str]:
    """Return the lines above the rows: types, units, descriptions, metadata, and the names."""
    columns = [line for column in table.columns.values() for line in _column_lines(column)]
    meta = [line for item in header.items() for line in _meta_lines(*item)]
    lines = ["%ECSV 1.0", "---", "datatype:", *columns]
    lines += ["meta: !!omap", *meta] if meta else []
    lines += ["schema: astropy-2.0"]
    return [*(f"# {line}" for line in lines), " ".join(map(_quote, table.colnames))]


_known_columns: dict[tuple[str, ...], list[str]] = {}
"""How columns were written: YAML takes a millisecond for each, and every image has the same."""
_known_meta: dict[tuple[str, str], list[str]] = {}
"""How metadata were written: the tables of an image, and of all images, have most in common."""
MOST_META = 500


def _meta_lines(key: str, value: Any) -> list[str]:
    """Return an entry of the metadata."""
    from astropy.table.meta import get_yaml_from_header

    key_and_value = key, repr(value)
    if key_and_value in _known_meta:
        return _known_meta[key_and_value]
    lines = get_yaml_from_header({"cols": [], "meta": OrderedDict({key: value})})[2:]
    if len(_known_meta) >= MOST_META:
        _known_meta.clear()
    if "..." not in key_and_value[1]:  # numpy leaves out values of long arrays
        _known_meta[key_and_value] = list(lines)
    return list(lines)


def _column_lines(column: Any) -> list[str]:
    """Return the description of one column."""
    from astropy.table.meta import get_yaml_from_header

    # A unit's hash is that of all that are equal to it, such as 1000 m and km.
    about = column.dtype.str, str(column.unit), column.format, column.description, str(column.meta)
    key = (column.name, *about)
    if key not in _known_columns:
        _known_columns[key] = get_yaml_from_header({"cols": [column]})[1:]
    return _known_columns[key]


def _is_plain(column: Any) -> bool:
    """Tell whether a column is one of numbers, truth values or words."""
    return type(column) in PLAIN and column.ndim == 1 and column.dtype.kind in "biufU"


class Cells(NamedTuple):
    """The cells of a column: a text that holds them, and where each begins and has ended in it."""

    text: bytes
    first: NDArray[np.int64]
    end: NDArray[np.int64]


def _cells(values: NDArray[Any], mask: Any) -> Cells:
    """Return the cells of a column, floats with all the digits they need, two quotes if masked."""
    kind = values.dtype.kind
    if kind in "iu" or values.dtype == np.float64:
        cells = _number_cells(values)
    elif kind == "U":
        # Few words are different ones.
        words, number = np.unique(values, return_inverse=True)
        cells = _word_cells(np.array([_quote(word).encode() for word in words.tolist()]), number)
    else:
        cells = _plain_cells(values)
    if mask is not np.ma.nomask:
        cells.first[mask], cells.end[mask] = len(cells.text), len(cells.text) + len(EMPTY)
        cells = cells._replace(text=cells.text + EMPTY.encode())
    return cells


def _number_cells(values: NDArray[Any]) -> Cells:
    """Return the words that `repr` has for numbers, by JSON's writer."""
    odd = np.empty(0, np.int64)
    if values.dtype.kind == "f":
        finite, size = np.isfinite(values), np.abs(values)
        # JSON knows no NaN, and writes 0.00001 and 1e-8.
        odd = np.flatnonzero(~finite | ((size > 9e-11) & (size < 1e-4)))
        native = np.where(finite, values, 0.0)
    else:
        native = np.ascontiguousarray(values, values.dtype.newbyteorder("="))
    text = orjson.dumps(native, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1] + b","
    end = np.flatnonzero(np.frombuffer(text, np.uint8) == ord(","))
    first = np.append(0, end[:-1] + 1)
    if len(odd):
        other = _plain_cells(values[odd])
        first[odd], end[odd] = other.first + len(text), other.end + len(text)
        text += other.text
    return Cells(text, first, end)


def _plain_cells(values: NDArray[Any]) -> Cells:
    """Return the words that numpy has for numbers or truth values."""
    return _word_cells(values.astype("U").astype("S"), np.arange(len(values)))


def _word_cells(words: NDArray[np.bytes_], number: NDArray[np.int64]) -> Cells:
    """Return cells that hold the words of given numbers."""
    first = words.dtype.itemsize * np.arange(len(words))
    return Cells(words.tobytes(), first[number], (first + np.strings.str_len(words))[number])


def _quote(value: str) -> str:
    """Return a word in quotes if it needs them; a line that begins with # would be a comment."""
    text = value.strip(" \t")
    return '"' + text.replace('"', '""') + '"' if NEEDS_QUOTES.search(text) else text


def _plain_table(text: bytes, names: Collection[str] | None = None) -> Table | None:
    """Return the table of a text; None if astropy must read it."""
    comments = re.match(rb"(?:#[^\n]*\n)+", text)
    if comments is None or not text.startswith(FIRST_LINE):
        return None
    lines = comments[0].decode().splitlines()[1:]
    header = _header_content("\n".join(line[2:] for line in lines))
    if header is None:
        return None
    columns_meta, meta = header.get("datatype", []), header.get("meta", {})
    start = text.find(b"\n", comments.end()) + 1 or len(text)
    first_row = text[comments.end() : start].decode().removesuffix("\n")
    is_plain = all(
        "subtype" not in column and column["datatype"] in PARSERS for column in columns_meta
    )
    if not is_plain or header.get("delimiter", " ") != " " or "__serialized_columns__" in meta:
        return None
    if first_row.split(" ") != [column["name"] for column in columns_meta]:
        return None
    wanted = [
        k for k, column in enumerate(columns_meta) if names is None or column["name"] in names
    ]
    places = cells_of_rows(text, start, len(columns_meta), wanted)
    if places is None:
        return None
    columns = [
        _parse_column(columns_meta[k], text, *place)
        for k, *place in zip(wanted, *places, strict=True)
    ]
    return Table(columns, meta=meta, copy=False)


COLUMNS = re.compile(r"^datatype:\n(?:[- ] .*\n)+", re.MULTILINE)
"""The part of a header that describes the columns."""


def _header_content(text: str) -> dict[str, Any] | None:
    """Return what a header says."""
    columns = COLUMNS.search(text)
    if columns is None:
        return _yaml_content(text)
    about, rest = _column_content(columns[0]), _yaml_content(COLUMNS.sub("", text, count=1))
    return None if about is None or rest is None else about | rest


@functools.lru_cache(maxsize=50)
def _column_content(text: str) -> dict[str, Any] | None:
    """Return what a header says of the columns, which many tables have in common."""
    return _yaml_content(text)


def _yaml_content(text: str) -> dict[str, Any] | None:
    """Return what a text says, by the loader in C, which takes a tenth of the time."""
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


def _parse_column(
    spec: dict[str, Any], text: bytes, first: NDArray[np.int64], end: NDArray[np.int64]
) -> Column | MaskedColumn:
    """Return a column from its description and its cells."""
    kind = spec["datatype"]
    missing: NDArray[np.bool_] = end - first == len(EMPTY)
    missing[missing] = np.frombuffer(text, np.uint8)[first[missing]] == ord('"')
    lines = rows_of_cells(text, first[np.newaxis], end[np.newaxis])[0].tobytes()
    if missing.any() and kind != "string":
        lines = lines.replace(EMPTY.encode(), NOTHING)
    if b'"' in lines:
        words = [_unquote(word) for word in lines.decode().split("\n")[:-1]]
        missing |= [not word for word in words]
        lines = "".join(f"{word or NOTHING.decode()}\n" for word in words).encode()
    values = PARSERS[kind](lines)
    about = {key: spec[key] for key in ("name", "unit", "description", "format") if key in spec}
    data = np.where(missing, "", values) if kind == "string" else _of_kind(values, kind)
    column = MaskedColumn(data, mask=missing, **about) if missing.any() else Column(data, **about)
    if "meta" in spec:
        column.info.meta = spec["meta"]
    return column


def _of_kind(values: NDArray[Any], kind: str) -> NDArray[Any]:
    """Return values as numbers of a kind that can hold them."""
    numbers = values.astype(kind)
    if values.dtype.kind == "i" and (numbers != values).any():
        raise ValueError(f"there are numbers that are no {kind}")
    return numbers


def _unquote(word: str) -> str:
    return word[1:-1].replace('""', '"').strip(" \t") if word[0] == '"' else word


def _numbers(lines: bytes, kind: Any) -> NDArray[Any]:
    """Return the numbers in lines; JSON's reader is the fastest one, but knows no NaN."""
    with suppress(orjson.JSONDecodeError):
        numbers = np.array(orjson.loads(b"[" + lines[:-1].replace(b"\n", b",") + b"]"))
        if numbers.dtype == kind:
            return numbers
    return np.array(lines.split(), "S").astype(kind)


def _floats(lines: bytes) -> NDArray[Any]:
    return _numbers(lines, np.float64)


def _integers(lines: bytes) -> NDArray[Any]:
    return _numbers(lines, np.int64)


def _truths(lines: bytes) -> NDArray[Any]:
    words = np.array(lines.split(), "S")
    if not np.isin(words, [b"True", b"False", NOTHING]).all():
        raise ValueError("a truth value is neither True nor False")
    return np.asarray(words == b"True")


def _words(lines: bytes) -> NDArray[Any]:
    return np.array(lines.decode().split("\n")[:-1], dtype="U")


PARSERS: dict[str, Callable[[bytes], NDArray[Any]]] = {
    "bool": _truths,
    "string": _words,
    **dict.fromkeys(("float32", "float64"), _floats),
    **dict.fromkeys(("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32"), _integers),
}
"""How each type of ECSV that is read here is read, from its cells, a line each."""
