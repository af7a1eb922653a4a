"""Whether a FITS file is whole: all extensions to their last bytes, with the sums they state.

The bytes are looked at without astropy, which takes zeros or nothing in place of an extension for
the end of the file.
"""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from math import prod
from pathlib import Path
from typing import BinaryIO

import numpy as np

from bycatch.errors import UnreadableFile

RECORD = 2880
TAPE_RECORD = 10 * RECORD
"""Fewer zeros than this after the last extension are padding: old tools fill records of a tape."""
PIECE = 1 << 20
"""Bytes that are summed at a time: they stay in the processor's cache."""
CARD = 80
MOST_AXES = 999
"""That the standard allows."""
ALL_ONES = 0xFFFFFFFF
GZIP_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True)
class Unit:
    """A header and its data: PRIMARY or an extension.  Places are bytes from the file's start."""

    header: bytes
    start: int
    data: int
    """Where the data begin."""
    number: int

    @cached_property
    def cards(self) -> dict[str, str]:
        """Keywords and their values as text, without quotes and comments; the first of a name."""
        cards: dict[str, str] = {}
        for at in range(0, len(self.header), CARD):
            card = self.header[at : at + CARD].decode("latin-1")
            if card[8:10] == "= ":
                value = card[10:].lstrip()
                end = value.split("'")[1] if value[:1] == "'" else value.split("/")[0]
                cards.setdefault(card[:8].rstrip(), end.strip())
        return cards

    def number_of(self, name: str, default: int = 0) -> int:
        """Return a whole number; the default where there is none."""
        try:
            return int(self.cards.get(name, ""))
        except ValueError:
            return default

    @property
    def name(self) -> str:
        """How messages call it."""
        extname = self.cards.get("EXTNAME", "").upper()
        return extname or (f"extension {self.number}" if self.number else "PRIMARY")

    @property
    def axes(self) -> list[int]:
        """Lengths of its axes."""
        n_axes = min(self.number_of("NAXIS"), MOST_AXES)
        return [self.number_of(f"NAXIS{k + 1}") for k in range(n_axes)]

    @property
    def stop(self) -> int:
        """Where the next unit begins."""
        n_items = self.number_of("PCOUNT") + prod(self.axes) if self.axes else 0
        n_bytes = abs(self.number_of("BITPIX")) // 8 * self.number_of("GCOUNT", 1) * n_items
        return self.data + -(-max(n_bytes, 0) // RECORD) * RECORD


def refuse_if_cut(path: Path, file: BinaryIO) -> list[Unit]:
    """Return the units of a file.

    Raises
    ------
    UnreadableFile
        The file ends early, holds zeros or something else in place of an extension, or has fewer
        extensions than its PRIMARY counts (NEXTEND; a copied header of an image that is now in
        PRIMARY itself does not count).
    """
    units: list[Unit] = []
    size = file.seek(0, os.SEEK_END)
    fault, at = "", 0
    while at < size and not fault:
        unit = _unit_at(file, at, len(units))
        if unit is None:
            fault = _of_other_bytes(file, at, size, units)
            break
        units.append(unit)
        at = unit.stop
        if at > size:
            fault = f"ends after {_mb(size)} of {_mb(at)} MB, within its {unit.name}"
    fault = "; ".join(part for part in (fault, _missing_extensions(units)) if part)
    if fault or not units:
        raise UnreadableFile(f"{path}: {fault or 'empty'}", hint=WAY_OUT)
    return units


WAY_OUT = "fetch the file again; if it is as it should be, --set input.verify=false reads it"


def _unit_at(file: BinaryIO, at: int, number: int) -> Unit | None:
    """Return the unit that begins somewhere; None if there is no whole header."""
    start, records = at, list[bytes]()
    while len(record := _read(file, at, RECORD)) == RECORD:
        if not records and not record.startswith(b"XTENSION" if number else b"SIMPLE  "):
            return None
        records.append(record)
        at += RECORD
        if any(record[k : k + 8] == b"END     " for k in range(0, RECORD, CARD)):
            return Unit(b"".join(records), start, at, number)
    return None


def _of_other_bytes(file: BinaryIO, at: int, size: int, units: list[Unit]) -> str:
    """Say what is wrong with bytes that are no unit; '' for padding."""
    if not units:
        return "not FITS, or cut within its first header"
    rest, after = size - at, f"after its {units[-1].name}"
    if not any(_read(file, k, PIECE).strip(b"\0") for k in range(at, size, PIECE)):
        return "" if rest < TAPE_RECORD else f"holds {_mb(rest)} MB of zeros {after}: not complete"
    if _read(file, at, 8) == b"XTENSION":
        return f"ends after {_mb(size)} MB, within the header of an extension {after}"
    return f"damaged: {rest} bytes {after} belong to no extension"


def _missing_extensions(units: list[Unit]) -> str:
    if not units or units[0].axes:
        return ""
    n_extensions, there = units[0].number_of("NEXTEND"), units[1:]
    if len(there) >= n_extensions:
        return ""
    names = ", ".join(unit.name for unit in there) or "none"
    return f"extensions are missing: NEXTEND is {n_extensions}, {len(there)} are there ({names})"


def refuse_if_altered(path: Path, file: BinaryIO, units: list[Unit]) -> None:
    """Compare each unit with the sums in its header (DATASUM, CHECKSUM), where it has some.

    Raises
    ------
    UnreadableFile
        A sum differs, or the table of the drizzled inputs ends in zeros.
    """
    for unit in units:
        fault = _wrong_sum(file, unit) or _zeros_in_table(file, unit)
        if fault:
            raise UnreadableFile(f"{path}: {fault}", hint=WAY_OUT)


def _wrong_sum(file: BinaryIO, unit: Unit) -> str:
    datasum, checksum = (unit.cards.get(name, "") for name in ("DATASUM", "CHECKSUM"))
    is_stated = datasum.isdigit()
    if not is_stated and not checksum.strip("0"):
        return ""
    total = _sum(file, unit.data, unit.stop)
    if is_stated and (total - int(datasum)) % ALL_ONES:
        return f"damaged or changed: the data of its {unit.name} do not match DATASUM"
    if checksum.strip("0") and (total + _sum(file, unit.start, unit.data)) % ALL_ONES:
        return f"damaged, or changed: header and data of its {unit.name} do not match CHECKSUM"
    return ""


def _sum(file: BinaryIO, at: int, stop: int) -> int:
    """Return the ones'-complement sum of 32-bit words (FITS standard 4.0, appendix J)."""
    total = 0
    for k in range(at, stop, PIECE):
        words = np.frombuffer(_read(file, k, min(PIECE, stop - k)), dtype=">u4")
        total += int(words.astype(np.uint32).sum(dtype=np.uint64))
    return total % ALL_ONES


def _zeros_in_table(file: BinaryIO, unit: Unit) -> str:
    if unit.name != "HDRTAB" or len(unit.axes) != 2 or not all(unit.axes):
        return ""
    width, n_rows = unit.axes
    last = _read(file, unit.data + width * (n_rows - 1), width)
    return "" if last.strip(b"\0") else "damaged: its HDRTAB ends in zeros"


def unpack(path: Path, file: BinaryIO) -> BytesIO:
    """Return the content of a gzip file, which may have several members and zeros after the last.

    Raises
    ------
    UnreadableFile
        It ends early, its content differs from the sum in its trailer, or something follows it.
    """
    content, fault = BytesIO(), ""
    unpack, piece = zlib.decompressobj(zlib.MAX_WBITS | 16), file.read(PIECE)
    try:
        while piece:
            content.write(unpack.decompress(piece))  # checks sum and length at the end of a member
            piece = unpack.unused_data
            if unpack.eof:
                piece = piece.lstrip(b"\0") or _next_bytes(file)
                unpack = zlib.decompressobj(zlib.MAX_WBITS | 16) if piece else unpack
            else:
                piece = file.read(PIECE)
    except zlib.error as err:
        fault = f"damaged: not a valid gzip file ({err})"
    if not fault and not unpack.eof:
        fault = f"damaged: the gzip file ends early, {_mb(content.tell())} MB could be unpacked"
    if fault:
        raise UnreadableFile(f"{path}: {fault}{_extensions_in_words(content)}")
    content.seek(0)
    return content


def _next_bytes(file: BinaryIO) -> bytes:
    """Return what follows, zeros passed over."""
    while piece := file.read(PIECE):
        if rest := piece.lstrip(b"\0"):
            return rest
    return b""


def _extensions_in_words(content: BytesIO) -> str:
    """Return which extensions an incomplete content holds, in words."""
    at, size, names = 0, content.tell(), list[str]()
    while unit := _unit_at(content, at, len(names)):
        share = "" if unit.stop <= size else " in part"
        names.append(unit.name + share)
        at = unit.stop
    return f", {', '.join(names)}" if names else ""


def _read(file: BinaryIO, at: int, n_bytes: int) -> bytes:
    """Return up to so many bytes from a place in the file."""
    file.seek(at)
    return file.read(n_bytes)


def _mb(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:.3g}" if n_bytes < 1e5 else f"{n_bytes / 1e6:.1f}"
