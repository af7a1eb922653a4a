"""Words of others - names of files, cards of headers - as text that can be shown anywhere."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""Return a text on one line, in characters that can be shown and encoded.

    Others are escaped, so that no name drives a terminal: a line feed becomes ``\n``, a byte of a
    file's name that is not UTF-8 ``\xff``.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(letter: str) -> str:
    number = ord(letter)
    if 0xDC80 <= number <= 0xDCFF:  # how Python keeps a byte that is not UTF-8
        return f"\\x{number - 0xDC00:02x}"
    return letter.encode("unicode_escape").decode()
