"""Tables for CDS and journals: fixed columns, a description byte by byte, ReadMe and MRT.

The standard is that of CDS (https://vizier.cds.unistra.fr/doc/catstd.htx); numbers have the digits
that `digits.py` gives them.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bycatch.survey.digits import FEW, format_of
from bycatch.system.disk import Batch
from bycatch.system.words import ascii_words

if TYPE_CHECKING:
    from astropy.table import Table

    from bycatch.survey.release import Content

LABELS = {"ra": "RAdeg", "dec": "DEdeg"}
"""Names that CDS has for some columns."""
UNITS = {
    "erg / (Angstrom s cm2)": "10mW/m2/nm",
    "mas / yr": "mas/yr",
    "arcmin2": "arcmin2",
}
MEANING = {
    "objects": "Stars and galaxies",
    "epochs": "Each object in each image and exposure",
    "images": "The images",
}
LINE = "-" * 80
WIDTH = 80


@dataclass(frozen=True)
class TextColumn:
    """A column as text.

    Attributes
    ----------
    label, form, unit, meaning : as the description has them
    cells : of one width; blank where missing
    """

    label: str
    form: str
    unit: str
    meaning: str
    cells: list[str]


def write(content: Content, batch: Batch) -> None:
    """Write the tables, the ReadMe that describes them, and each as a table for journals."""
    columns_and_lines = {}
    for name, table in content.tables.items():
        columns = text_columns(table, content.formats[name])
        lines = data_lines(columns)
        path = batch.folder / f"{name}.dat"
        batch.partial(path).write_text("".join(f"{line}\n" for line in lines), encoding="ascii")
        columns_and_lines[name] = (columns, lines)
        mrt = batch.partial(batch.folder / f"{name}_mrt.txt")
        mrt.write_text(_mrt(content, name, columns, lines), encoding="ascii")
    batch.partial(batch.folder / "ReadMe").write_text(
        _readme(content, columns_and_lines), encoding="ascii"
    )


def text_columns(table: Table, formats: dict[str, str]) -> list[TextColumn]:
    """Return the columns of a table as text; those that are missing everywhere are left out."""
    columns = []
    for name in table.colnames:
        column = table[name]
        mask = np.ma.getmaskarray(column)
        if len(table) and mask.all():
            continue
        values = np.ma.getdata(column)
        unit = UNITS.get(str(column.unit), str(column.unit)) if column.unit else "---"
        form_of_survey = formats.get(name) or format_of(name, str(column.unit or ""))
        form, cells = _cells(values, mask, form_of_survey)
        meaning = ascii_words(str(column.description or name)).replace("\n", " ")
        if mask.any():
            meaning = f"? {meaning}"
        columns.append(TextColumn(LABELS.get(name, name), form, unit, meaning, cells))
    return columns


def _cells(values: Any, mask: Any, form: str) -> tuple[str, list[str]]:
    """Return the Fortran format and the cells of a column."""
    kind = values.dtype.kind
    if kind == "b":
        values, kind = values.astype(int), "i"
    if kind in "iu":
        words = [str(int(value)) for value in values]
    elif kind == "f":
        finite = np.isfinite(values)
        mask = mask | ~finite
        digits = _fixed_format(values[finite & ~mask], form)
        words = [f"{value:{digits}}" for value in values]
    else:
        words = [ascii_words(str(value)) for value in values]
        mask = mask | (np.char.str_len(values.astype(str)) == 0)
    words = ["" if is_missing else word for word, is_missing in zip(words, mask, strict=True)]
    width = max(map(len, words), default=1) or 1
    if kind in "iu":
        return f"I{width}", [word.rjust(width) for word in words]
    if kind == "f":
        letter = "E" if digits.endswith("e") else "F"
        return f"{letter}{width}.{digits[1:-1]}", [word.rjust(width) for word in words]
    return f"A{width}", [word.ljust(width) for word in words]


def _fixed_format(values: Any, form: str) -> str:
    """Return a format of a fixed number of decimals: the standard has no other."""
    if form[-1] in "fe":
        return form
    digits = int(form[1:-1] or FEW[1:-1])
    size = np.abs(values[values != 0])
    if not len(size) or (size.max() < 1e6 and size.min() > 1e-4):
        largest = int(np.floor(np.log10(size.max()))) if len(size) else 0
        return f".{max(digits - 1 - largest, 1)}f"
    return f".{digits - 1}e"


def data_lines(columns: Sequence[TextColumn]) -> list[str]:
    """Return the rows of the table."""
    return [" ".join(cells) for cells in zip(*(c.cells for c in columns), strict=True)]


def bytes_of(columns: Sequence[TextColumn]) -> list[str]:
    """Return the description, byte by byte."""
    lines = [LINE, "   Bytes Format Units      Label                Explanations", LINE]
    start = 1
    for column in columns:
        width = int(column.form[1:].split(".")[0])
        end = start + width - 1
        where = f"{start:4d}-{end:4d}" if width > 1 else f"     {start:4d}"
        head = f"{where} {column.form:<6} {column.unit:<10} {column.label:<20} "
        room = max(WIDTH - len(head), 24)
        text = textwrap.wrap(column.meaning, room) or [""]
        lines.append(head + text[0])
        lines += [" " * len(head) + more for more in text[1:]]
        start = end + 2
    return [*lines, LINE]


def _head(content: Content) -> list[str]:
    title = f"{content.release.title}: photometry of HST/ACS images"
    return [title, "(authors: fill in before it is sent)"]


def _mrt(content: Content, name: str, columns: list[TextColumn], lines: list[str]) -> str:
    title, authors = _head(content)
    head = [
        f"Title: {title}",
        f"Authors: {authors}",
        f"Table: {MEANING[name]}",
        "=" * 80,
        f"Byte-by-byte Description of file: {name}_mrt.txt",
        *bytes_of(columns),
    ]
    return "\n".join([*head, *lines]) + "\n"


def _readme(
    content: Content, columns_and_lines: dict[str, tuple[list[TextColumn], list[str]]]
) -> str:
    title, authors = _head(content)
    numbers = content.notes.summary
    lines = [
        f"{'(catalog)':<20}{title}",
        "=" * 80,
        title,
        f"    {authors}",
        "=" * 80,
        "Keywords: photometry ; surveys ; catalogs",
        "",
        "Description:",
        *_paragraph(
            f"{len(content.tables['objects'])} objects in {numbers['n_images']} images of HST/ACS, "
            f"filters {', '.join(content.filters)}. Positions are ICRS at the time of the images, "
            f"magnitudes AB. Made by {content.notes.creator} on {content.notes.made[:10]}; "
            "methods.txt says how."
        ),
        "",
        "File Summary:",
        LINE,
        f" {'FileName':<14}{'Lrecl':>7}{'Records':>10}   Explanations",
        LINE,
        f" {'ReadMe':<14}{80:>7}{'.':>10}   This file",
    ]
    for name, (_, rows) in columns_and_lines.items():
        length = max(map(len, rows), default=0)
        lines.append(f" {name + '.dat':<14}{length:>7}{len(rows):>10}   {MEANING[name]}")
    lines += [LINE, ""]
    for name, (columns, _) in columns_and_lines.items():
        lines += [f"Byte-by-byte Description of file: {name}.dat", *bytes_of(columns), ""]
    return "\n".join([*lines, "=" * 80, f"(End){content.notes.creator:>75}"]) + "\n"


def _paragraph(text: str) -> list[str]:
    return [f"    {line}" for line in textwrap.wrap(ascii_words(text), 76)]
