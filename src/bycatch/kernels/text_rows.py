"""Rows of text from the cells of columns, and cells in rows of text."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bycatch.kernels.compiled import compiled

Bytes = NDArray[np.uint8]
Places = NDArray[np.int64]

BLANK, NEWLINE, QUOTE = ord(" "), ord("\n"), ord('"')


def rows_of_cells(text: bytes, first: Places, end: Places) -> tuple[Bytes, Places]:
    """Return lines of cells with blanks between them, and where each line ends.

    Parameters
    ----------
    text : holds all cells, in any order
    first, end : (n_columns, n_rows) int
        Where each cell begins in the text, and where it has ended; at least one column.

    Raises
    ------
    ValueError
        A cell is not within the text.
    """
    if first.ndim != 2 or first.shape != end.shape or not len(first):
        raise ValueError(f"cells can't begin at {first.shape} and end at {end.shape} places")
    size = _size(first, end, len(text))
    if size < 0:
        raise ValueError("a cell is not within the text")
    lines, ends = np.empty(size + first.size, np.uint8), np.empty(first.shape[1], np.int64)
    _lay_out(np.frombuffer(text, np.uint8), first, end, lines, ends)
    return lines, ends


@compiled
def _size(first: Places, end: Places, length: int) -> int:
    """Return how many characters all cells have; -1 if one is not within the text."""
    size = 0
    for column in range(first.shape[0]):
        for row in range(first.shape[1]):
            if not 0 <= first[column, row] <= end[column, row] <= length:
                return -1
            size += end[column, row] - first[column, row]
    return size


@compiled
def _lay_out(text: Bytes, first: Places, end: Places, lines: Bytes, ends: Places) -> None:
    n = 0
    for row in range(first.shape[1]):
        for column in range(first.shape[0]):
            for i in range(first[column, row], end[column, row]):
                lines[n] = text[i]
                n += 1
            lines[n] = BLANK
            n += 1
        lines[n - 1] = NEWLINE
        ends[row] = n


def cells_of_rows(
    text: bytes, start: int, n_columns: int, wanted: list[int]
) -> tuple[Places, Places] | None:
    """Return where the cells of some columns are in lines with single blanks between the cells.

    A cell with blanks in it stands in quotes, a quote within it is doubled.

    Parameters
    ----------
    text : ends in the lines
    start : where they begin in it
    n_columns : cells of each line, at least one
    wanted : columns, rising

    Returns
    -------
    first, end : (len(wanted), n_rows) int, or None
        Quotes included; None where the lines are not like that.
    """
    numbers = np.array(wanted, np.int64)
    if not ((numbers >= 0) & (numbers < n_columns)).all() or (np.diff(numbers) <= 0).any():
        raise ValueError(f"columns {wanted} of {n_columns}")
    place_of_column = np.full(n_columns, -1, np.int64)
    place_of_column[numbers] = np.arange(len(numbers))
    if not 0 <= start <= len(text):
        raise ValueError(f"lines begin at {start} of {len(text)}")
    n_rows = text.count(b"\n", start) + (len(text) > start and not text.endswith(b"\n"))
    first, end = np.empty((2, len(numbers), n_rows), np.int64)
    is_plain = _find_cells(np.frombuffer(text, np.uint8), start, place_of_column, first, end)
    return (first, end) if is_plain else None


@compiled
def _find_cells(
    text: Bytes, start: int, place_of_column: Places, first: Places, end: Places
) -> bool:
    """Write the places of cells; return False where the lines have others than they should."""
    n_columns, n_rows, i = place_of_column.size, first.shape[1], start
    for row in range(n_rows):
        for column in range(n_columns):
            begin, i = i, _end_of_cell(text, i)
            is_last = column == n_columns - 1
            if i == begin:
                return False
            if i < text.size and text[i] != (NEWLINE if is_last else BLANK):
                return False
            if i >= text.size and not (is_last and row == n_rows - 1):
                return False
            place = place_of_column[column]
            if place >= 0:
                first[place, row], end[place, row] = begin, i
            i += 1
    return i >= text.size


@compiled
def _end_of_cell(text: Bytes, begin: int) -> int:
    """Return where a cell has ended; where it begins if it is not one."""
    i = begin
    if i >= text.size or text[i] != QUOTE:
        while i < text.size and text[i] > BLANK and text[i] != QUOTE:
            i += 1
        return i
    i += 1
    while i < text.size and text[i] != NEWLINE:
        if text[i] == QUOTE:
            if i + 1 >= text.size or text[i + 1] != QUOTE:
                return i + 1
            i += 1
        i += 1
    return begin
