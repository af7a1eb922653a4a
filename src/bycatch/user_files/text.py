"""Tables of text: what parts the columns, where their names are, and what is no row.

Every cell stays the word that it is; what it means is decided where it is needed, so that a
message can name the row.  astropy reads the formats that have a grammar of their own.
"""

from __future__ import annotations

import csv
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from astropy.table import Column, Table

from bycatch.errors import SettingsError
from bycatch.user_files.quantities import is_value, known_unit

SEPARATORS = ("\t", ";", ",", "|", " ")
ROWS_LOOKED_AT = 20
ROWS_AT_A_TIME = 4096
SEXTRACTOR_NAME = re.compile(r"#\s*(\d+)\s+(\S+)(?:\s+.*?)?(?:\[([^\]]*)\])?\s*$")
RULE = re.compile(r"[-=+|:;,\s]*(?:--|==)[-=+|:;,\s]*")
UNITS_IN_NAMES = ("deg", "pix", "mas / yr", "mag", "yr")
UNIT_IN_NAME = re.compile(r"(.*\S)\s*[\[(]([^\])]*)[\])]")


@dataclass(frozen=True)
class Line:
    """A line with something in it, and its number in the file."""

    number: int
    text: str


def read_text_table(text: str, label: str) -> tuple[Table, str]:
    """Return a table of words, and the kind of text that it was.

    Parameters
    ----------
    text : the content of a file
    label : what messages call it

    Raises
    ------
    SettingsError
        No line of names, or lines that are not of one table.
    """
    own = _by_astropy(text, label)
    if own is not None:
        return own
    lines = [Line(k, line) for k, line in enumerate(text.split("\n"), start=1) if line.strip()]
    comments = [line for line in lines if line.text.lstrip().startswith("#")]
    content = [line for line in lines if not line.text.lstrip().startswith("#")]
    names = _sextractor_names(comments, content, label)
    if names:
        return _table(*names, " ", label), "SExtractor"
    rules = [k for k, line in enumerate(content[:5]) if RULE.fullmatch(line.text)]
    content = [line for line in content if not RULE.fullmatch(line.text)]
    if not content and not comments:
        raise SettingsError(f"{label}: no rows of a table", hint="give names of columns and rows")
    separator = _separator(content or comments[-1:])
    column_names, units, rows = _header(
        comments, content, separator, has_rule=bool(rules), label=label
    )
    return _table(column_names, units, rows, separator, label), "text"


def _by_astropy(text: str, label: str) -> tuple[Table, str] | None:
    """Return a table in DAOPHOT's, IPAC's or the journals' format; None if it is in none."""
    formats = {
        "ascii.daophot": (r"#N\s.*\\?\s*$", "DAOPHOT"),
        "ascii.ipac": (r"\\.*=|\|.*\|\s*\n\|.*\|\s*\n\s+[^|\s]", "IPAC"),
        "ascii.mrt": (r"Byte-by-byte Description", "MRT"),
    }
    for form, (sign, kind) in formats.items():
        if not re.search(f"^{sign}", text[:20_000], flags=re.MULTILINE):
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return Table.read(text.rstrip().split("\n"), format=form), kind
        except Exception as err:  # the readers raise many kinds
            raise SettingsError(
                f"{label}: a damaged table in {kind} format ({err})", hint="write the table again"
            ) from err
    return None


def _sextractor_names(
    comments: Sequence[Line], content: Sequence[Line], label: str
) -> tuple[list[str], list[str], Sequence[Line]] | None:
    """Return names and units of the columns that SExtractor's ASCII_HEAD declares, and the rows."""
    matches = [SEXTRACTOR_NAME.match(line.text.strip()) for line in comments]
    declarations = [(int(m[1]), m[2], m[3] or "") for m in matches if m]
    places = [place for place, *_ in declarations]
    if not declarations or places[0] != 1 or places != sorted(set(places)):
        return None
    # A vector takes several columns, of which the first one is declared.
    n_last = len(content[0].text.split()) if content else places[-1]
    if n_last < places[-1] or n_last > places[-1] + 1000:
        raise SettingsError(
            f"{label}: line {content[0].number} has {n_last} values, {places[-1]} are declared",
            hint="give SExtractor's file as it was written",
        )
    names, units = [], []
    for (place, name, unit), after in zip(declarations, [*places[1:], n_last + 1], strict=True):
        vector = [name, *(f"{name}_{k}" for k in range(1, after - place))]
        names += vector
        units += [unit] * len(vector)
    return names, units, content


def _cells(line: str, separator: str) -> list[str]:
    """Return the words of one line."""
    return next(_cells_of_lines([line], separator), [])


def _cells_of_lines(lines: Sequence[str], separator: str) -> Iterator[list[str]]:
    if separator == " ":
        plain = (line.replace("\t", " ").strip() for line in lines)
        yield from csv.reader(plain, delimiter=" ", skipinitialspace=True)
        return
    if separator == "|":  # tables with frames
        lines = [line.strip().removeprefix("|").removesuffix("|") for line in lines]
    for cells in csv.reader(lines, delimiter=separator, skipinitialspace=separator != "\t"):
        yield [cell.strip() for cell in cells]


def _separator(content: Sequence[Line]) -> str:
    """Return what parts the first lines into the same number of words, more than one."""
    some = [line.text.lstrip("# ") for line in content[:ROWS_LOOKED_AT]]
    for separator in SEPARATORS:
        try:
            counts = {len(_cells(line, separator)) for line in some}
        except csv.Error:
            continue
        if len(counts) == 1 and counts.pop() > 1:
            return separator
    head = content[0].text
    return max(SEPARATORS[:-1], key=head.count) if any(s in head for s in SEPARATORS[:-1]) else " "


def _header(
    comments: Sequence[Line],
    content: Sequence[Line],
    separator: str,
    *,
    has_rule: bool,
    label: str,
) -> tuple[list[str], list[str], Sequence[Line]]:
    """Return names and units of the columns, and the lines of the rows."""
    first = _cells(content[0].text, separator) if content else []
    if content and not any(is_value(cell) for cell in first):
        names, rest = first, content[1:]
        second = _cells(rest[0].text, separator) if rest else []
        if _are_units(second, strict=not has_rule):
            return names, [*second, *[""] * (len(names) - len(second))], rest[1:]
        return names, [""] * len(names), rest
    # Names in a comment, as numpy and TOPCAT write them; those nearest to the rows.
    above = [line for line in comments if not content or line.number < content[0].number]
    units: list[str] = []
    for line in reversed(above):
        cells = _cells(line.text.strip().lstrip("# "), separator)
        if len(cells) != len(first) and content:
            continue
        if _are_units(cells, strict=True):
            units = cells
        elif len(cells) > 1 and not any(is_value(cell) for cell in cells):
            return cells, units or [""] * len(cells), content
    raise SettingsError(
        f"{label}: no line of column names above the rows",
        hint="name the columns in the first line: ra, dec (degrees) or x, y (0-based pixels)",
    )


def _are_units(cells: Sequence[str], *, strict: bool) -> bool:
    """Tell whether a line holds units: below the names, with a rule under it in VizieR's tables."""
    words = [cell for cell in cells if cell]
    if not words or any(is_value(cell) for cell in words):
        return False
    is_unit = [known_unit(cell) is not None for cell in words]
    return all(is_unit) if strict else any(is_unit)


def _table(
    names: Sequence[str], units: Sequence[str], rows: Sequence[Line], separator: str, label: str
) -> Table:
    """Return the rows as columns of words, in blocks: a list of strings takes ten times as much."""
    n = len(names)
    cells_of_rows = _of_length(
        _cells_of_lines([line.text for line in rows], separator), n, rows, label
    )
    blocks: list[list[Any]] = [[] for _ in names]
    try:
        while some := list(islice(cells_of_rows, ROWS_AT_A_TIME)):
            for block, cells in zip(blocks, zip(*some, strict=True), strict=True):
                block.append(_words(cells))
    except csv.Error as err:
        raise SettingsError(
            f"{label}: its lines can't be separated ({err})", hint="write the table again"
        ) from err
    table = Table()
    for k, (name, block) in enumerate(zip(names, blocks, strict=True)):
        plain, unit = _name_and_unit(name, units[k])
        if not plain:  # a separator at the ends of the lines
            continue
        count = sum(other.partition("#")[0] == plain for other in table.colnames)
        unique = f"{plain}#{count + 1}" if count else plain
        values = np.concatenate(block) if block else np.empty(0, dtype="S1")
        table[unique] = Column(values, unit=None, meta={"unit": unit})
    return table


def _of_length(
    rows_of_cells: Iterator[list[str]], n: int, rows: Sequence[Line], label: str
) -> Iterator[list[str]]:
    """Give rows of n words; a line that is cut or has too many is no row of this table."""
    for k, cells in enumerate(cells for cells in rows_of_cells if cells):
        if len(cells) > n and not any(cells[n:]):
            yield cells[:n]
        elif len(cells) == n:
            yield cells
        else:
            line = rows[min(k, len(rows) - 1)].number
            raise SettingsError(
                f"{label}: line {line} has {len(cells)} values for {n} columns",
                hint="is it cut, or a decimal comma, or a blank in a name?",
            )


def _words(cells: Sequence[str]) -> Any:
    words = np.array(cells, dtype="U")
    try:
        return words.astype("S")
    except UnicodeEncodeError:
        return np.strings.encode(words, "utf-8")


def _name_and_unit(name: str, unit: str) -> tuple[str, str]:
    """Return 'ra' and 'deg' of 'ra [deg]'; a bracket that holds no unit is part of the name."""
    name = name.strip().strip("\"'").strip()
    inside = UNIT_IN_NAME.fullmatch(name)
    own = known_unit(inside[2]) if inside else None
    # RA (J2000) is no power of joules.
    if inside and own is not None and any(own.is_equivalent(kind) for kind in UNITS_IN_NAMES):
        return inside[1], unit or inside[2]
    return name, unit
