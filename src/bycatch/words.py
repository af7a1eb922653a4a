"""Words of others - names of files, cards of headers - as text that every product can hold."""

from __future__ import annotations

from typing import Any


def printable(text: str) -> str:
    r"""Return a text on one line, in characters that can be shown and encoded.

    Others are escaped: a line feed becomes ``\n``, a byte of a file's name that is not UTF-8
    ``\xff``.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def ascii_words(text: str) -> str:
    """Return the same in the characters that a FITS card may hold."""
    return printable(text).encode("ascii", "backslashreplace").decode()


def all_printable(value: Any) -> Any:
    """Return nested metadata with all their words printable."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {all_printable(k): all_printable(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(all_printable(v) for v in value)
    return value


def _escaped(letter: str) -> str:
    number = ord(letter)
    if 0xDC80 <= number <= 0xDCFF:  # how Python keeps a byte that is not UTF-8
        return f"\\x{number - 0xDC00:02x}"
    return letter.encode("unicode_escape").decode()
