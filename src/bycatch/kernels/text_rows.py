"""Rows of text from the cells of columns."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bycatch.kernels.compiled import compiled

Bytes = NDArray[np.uint8]
Places = NDArray[np.int64]

BLANK, NEWLINE = ord(" "), ord("\n")


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
