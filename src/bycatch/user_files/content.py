"""The bytes of a file: decompressed, of a bounded size, and what kind of table they are."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

from bycatch.errors import SettingsError

MAX_BYTES = 2**30
"""A table of more than 1 GB is not one of a field; what unpacks to more is a trap."""

_COMPRESSED: dict[bytes, Callable[[Any], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ": lzma.open,
}
_OTHERS = {
    b"PK\x03\x04": "a zip archive or a spreadsheet",
    b"\xd0\xcf\x11\xe0": "a spreadsheet",
    b"\x89HDF": "an HDF5 file",
    b"\x93NUMPY": "a numpy file",
    b"SQLite": "an SQLite database",
    b"%PDF": "a PDF document",
    b"\x89PNG": "a picture",
    b"ARROW1": "an Arrow file",
}
_WORDS = {b"{": "JSON", b"[{": "JSON", b"<!doctype html": "a web page", b"<html": "a web page"}

TABLES = "give ECSV, FITS, CSV or VOTable with columns x, y or ra, dec"


def file_content(path: Path, label: str) -> bytes:
    """Return the content of a file, decompressed.

    Parameters
    ----------
    path : the file
    label : what messages call it

    Raises
    ------
    SettingsError
        It can't be read, is too large, or its compressed data are damaged.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
        for magic, open_stream in _COMPRESSED.items():
            if content.startswith(magic):
                with open_stream(BytesIO(content)) as stream:
                    content = stream.read(MAX_BYTES + 1)
    except (OSError, EOFError, ValueError, lzma.LZMAError) as err:
        raise SettingsError(f"{label}: can't be read ({err})", hint="check the path") from err
    except Exception as err:  # zlib.error of a flipped bit, and what else decompressors raise
        raise SettingsError(
            f"{label}: its compressed data are damaged ({err})", hint="get the file again"
        ) from err
    if len(content) > MAX_BYTES:
        raise SettingsError(
            f"{label}: holds more than {MAX_BYTES / 1e9:.1f} GB", hint="give the stars of the field"
        )
    return content


def kind_of(content: bytes, label: str) -> str:
    """Tell fits, parquet, votable, ecsv or text by the first bytes, which no suffix can spoil.

    Raises
    ------
    SettingsError
        Nothing in it, or something that is no table.
    """
    head = content[:2048].lstrip(b"\xef\xbb\xbf \t\r\n")
    if not head:
        raise SettingsError(f"{label}: an empty file", hint=TABLES)
    for magic, what in (_OTHERS | _WORDS).items():
        if head.lower().startswith(magic.lower()):
            raise SettingsError(
                f"{label}: {what}, not a table that can be read",
                hint=TABLES,
            )
    if head.startswith(b"SIMPLE"):
        return "fits"
    if head.startswith(b"PAR1"):
        return "parquet"
    # UTF-16 has zeros between the letters.
    letters = head.replace(b"\x00", b"").lstrip(b"\xff\xfe")
    if letters.startswith((b"<?xml", b"<VOTABLE", b"<!--", b"<vot:", b"<!DOCTYPE VOTABLE")):
        return "votable"
    return "ecsv" if re.match(rb"#\s*%ECSV", letters) else "text"


def decode_text(content: bytes, label: str, hint: str = TABLES) -> str:
    """Return text in UTF-8, UTF-16 or Latin-1, with plain line ends.

    Parameters
    ----------
    content, label : the bytes, and what messages call them
    hint : the way out if they are no text

    Raises
    ------
    SettingsError
        It is no text.
    """
    encoding = "utf-8-sig"
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16"
    elif content[1:2] == b"\x00":
        encoding = "utf-16-le"
    elif content[:1] == b"\x00":
        encoding = "utf-16-be"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    control = re.search(r"[\x00-\x08\x0e-\x1b\x7f]", text)
    if control or not text.strip():
        what = "neither text nor a known format" if control else "an empty file"
        raise SettingsError(f"{label}: {what}", hint=hint)
    return re.sub(r"\r\n?|[\x0b\x0c]", "\n", text)
