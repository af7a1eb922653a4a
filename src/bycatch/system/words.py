"""Untrusted text - names of files, cards of headers - made printable for every product."""

from __future__ import annotations

import re
from typing import Any

FORMULA = re.compile(r"\s*[=+@＝＋－＠-]")
"""How a cell begins that a spreadsheet would take for a formula, and compute."""


def printable(text: str) -> str:
    r"""Return a text on one line, in characters that can be shown and encoded.

    Others are escaped: a line feed becomes ``\n``, a byte of a file's name that is not UTF-8
    ``\xff``.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escape(c) for c in text)


def ascii_words(text: str) -> str:
    """Return the same in the characters that a FITS card may hold."""
    return printable(text).encode("ascii", "backslashreplace").decode()


def counted(number: int, thing: str) -> str:
    """Return a number of things: '1 group', '2 groups'."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def cell_words(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula: an apostrophe comes before it.

    A number stays what it is.
    """
    if not FORMULA.match(text):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text


def all_printable(value: Any) -> Any:
    """Return nested metadata with all their words printable."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return type(value)((all_printable(k), all_printable(v)) for k, v in value.items())
    if type(value) in (list, tuple):
        return type(value)(all_printable(v) for v in value)
    return value


def _escape(letter: str) -> str:
    number = ord(letter)
    if 0xDC80 <= number <= 0xDCFF:  # how Python keeps a byte that is not UTF-8
        return f"\\x{number - 0xDC00:02x}"
    return letter.encode("unicode_escape").decode()
