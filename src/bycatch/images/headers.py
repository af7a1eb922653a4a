"""What the headers of a drizzled image say: names, times, exposures, calibration.

Nothing here reads pixels.  Keywords are looked for in the SCI header first and
in PRIMARY second: drizzled products keep PHOTFLAM in SCI and EXPTIME in PRIMARY.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from bycatch.errors import UnreadableFile
from bycatch.images.files import open_fits
from bycatch.images.kinds import require_drizzled
from bycatch.images.planes import find_plane

# In jcmdp9zjq_flc.fits[sci,1], 12440_07_acs_wfc_f606w_01_jboa07y3q_flc.fits[sci,1] and
# 19-06-i-1_flt_sci1.fits, what stands before the kind of product names the exposure.
EXPOSURE_NAME = re.compile(
    r"^(?P<name>.*?)(_(flt|flc|crj|crc))?(_sci\d+)?(_single)?\.fits", re.IGNORECASE
)
HDRTAB_COLUMNS = ("ROOTNAME", "EXPTIME", "CCDCHIP", "MDRIZSKY", "EXPSTART", "EXPEND",
                  "PCTECORR")  # fmt: skip
PLAUSIBLE: dict[str, tuple[float, float]] = {
    "EXPTIME": (0.1, 1e7),  # s; the deepest mosaics have some 2e6
    "TEXPTIME": (0.1, 1e7),
    "DnnnDEXP": (0.1, 1e5),  # one input, which may be a stack of exposures itself
    "EXPSTART": (52330.0, 73050.0),  # d; ACS was installed in March 2002; 2058
    "EXPEND": (52330.0, 73050.0),
    "PHOTFLAM": (1e-21, 1e-15),  # all filters of all ACS detectors: 7e-20 to 1e-16
    "PHOTPLAM": (1000.0, 12000.0),  # Angstrom
    "PHOTZPT": (-30.0, -10.0),
    "NDRIZIM": (1.0, 30000.0),
    "READNSEx": (1.0, 12.0),  # e; ACS: 3.75 to 5.65
    "ATODGNx": (0.2, 20.0),  # e/DN; ACS: 1, 2, 4, 8
    "DnnnPIXF": (1e-3, 1.5),
    "DnnnWTSC": (1e-12, 1e15),
    "DnnnSCAL": (1e-3, 10.0),  # arcsec per pixel; older programs wrote a ratio
    "DnnnISCL": (1e-3, 10.0),
    "MDRIZSKY": (-1e3, 1e6),  # e per pixel
    "PA_V3": (-360.0, 720.0),  # deg
}
"""Least and largest value that each numeric keyword can have; others are not used."""
NO_VALUE = ("", "N/A", "NONE", "INDEF", "UNKNOWN", "NOT APPLICABLE", "MULTIPLE", "-999")
"""How headers write that a keyword has no value (and 0, where it is not plausible)."""


@dataclass(frozen=True)
class Chip:
    """One drizzled input: a chip of an exposure, and one bit of the context image."""

    exposure: str
    exptime_s: float
    mdrizsky_e: float
    """Sky that drizzling subtracted from it, in electrons; NaN if unknown."""
    mjd_mid: float = float("nan")
    """Middle of the exposure; NaN if the file does not say."""


@dataclass(frozen=True)
class Exposure:
    """One exposure, of all its chips."""

    name: str
    exptime_s: float
    mjd_mid: float


@dataclass(frozen=True)
class Headers:
    """The headers of one file and the shapes of its planes."""

    path: Path
    primary: fits.Header
    sci: fits.Header
    shapes: dict[str, tuple[int, ...]]
    hdrtab: tuple[dict[str, Any], ...] = ()

    def get(self, name: str, default: Any = None) -> Any:
        """Return a keyword from SCI, else from PRIMARY, else ``default``; blank means absent."""
        for header in (self.sci, self.primary):
            try:
                value = header.get(name)
            except fits.VerifyError:  # a card that can't be read says nothing
                continue
            if value is not None and not isinstance(value, fits.card.Undefined) and value != "":
                return value.strip() if isinstance(value, str) else value
        return default

    def number(self, name: str) -> float:
        """Return a keyword as a number; NaN when absent, not a number, or not plausible.

        A number in quotes counts; a logical value does not.  SCI comes before PRIMARY.
        """
        values = (number_in(header, name) for header in (self.sci, self.primary))
        return next((value for value in values if math.isfinite(value)), math.nan)

    def doubtful(self) -> list[str]:
        """Return the cards, in words, whose values are no plausible numbers and are not used."""
        names = [n for n in PLAUSIBLE if not n.startswith("Dnnn") and not n.endswith("x")]
        names += [f"{n}{amp}" for n in ("READNSE", "ATODGN") for amp in "ABCD"]
        names += ["D001PIXF", "D001WTSC", "D001DEXP"]
        cards_in_words = []
        for name in names:
            for cards in (self.sci, self.primary):
                value = _value_in(cards, name)
                is_given = value != 0 and str(value).strip().upper() not in NO_VALUE
                if value is not None and is_given and math.isnan(number_in(cards, name)):
                    cards_in_words.append(f"{name} = {value}")
        return list(dict.fromkeys(cards_in_words))

    @property
    def cte_corrections(self) -> tuple[str, ...]:
        """What PCTECORR says, of the file and of each exposure in HDRTAB; empty if nowhere."""
        values = [self.get("PCTECORR", ""), *(row.get("PCTECORR", "") for row in self.hdrtab)]
        words = (str(value).strip().upper() for value in values)
        return tuple(dict.fromkeys(word for word in words if word not in NO_VALUE))

    @cached_property
    def chip_numbers(self) -> dict[int, str]:
        """The DnnnDATA cards, by number."""
        return {
            int(match[1]): key
            for key in [*self.primary, *self.sci]
            if (match := re.fullmatch(r"D(\d+)DATA?", key))
        }

    @cached_property
    def chips(self) -> tuple[Chip, ...]:
        """The drizzled inputs in the order of their context bits, from the DnnnDATA cards.

        Empty where the cards have gaps: the bit of each is then unknown.
        """
        names = self.chip_numbers
        if sorted(names) != list(range(1, len(names) + 1)):
            return ()
        skies = [plausible("MDRIZSKY", row.get("MDRIZSKY")) for row in self.hdrtab]
        common_sky = self.number("MDRIZSKY")
        chips = []
        for order, number in enumerate(sorted(names)):
            data = str(self.get(names[number], ""))
            match = EXPOSURE_NAME.match(data)
            sky = skies[order] if order < len(skies) else common_sky
            name = match["name"] if match else data
            chips.append(Chip(name, self._chip_exptime_s(number), sky, self._mjd_mid(order)))
        return tuple(chips)

    def _mjd_mid(self, order: int) -> float:
        row = self.hdrtab[order] if order < len(self.hdrtab) else {}
        return 0.5 * (
            plausible("EXPSTART", row.get("EXPSTART")) + plausible("EXPEND", row.get("EXPEND"))
        )

    def _chip_exptime_s(self, number: int) -> float:
        # Keywords of more than eight characters are written in full, or cut.
        key = f"D{number:03d}DEXP"
        return self.number(key if self.get(key) is not None else key[:8])


def number_in(header: fits.Header, name: str) -> float:
    """Return a keyword of one header as a plausible number, else NaN."""
    return plausible(name, _value_in(header, name))


def plausible(name: str, value: Any) -> float:
    """Return a value as a number if it is one that the keyword can have, else NaN."""
    low, high = PLAUSIBLE[_generic_keyword(name)]
    # A logical is a number to Python.
    if value is None or isinstance(value, bool | np.bool_ | fits.card.Undefined):
        return math.nan
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan
    return number if low <= number <= high else math.nan


def _generic_keyword(name: str) -> str:
    name = re.sub(r"^(READNSE|ATODGN)[A-D]$", r"\1x", name)
    match = re.match(r"^D\d+(DEXP|PIXF|WTSC|SCAL|ISCL|DEX|DE|D)$", name)
    if match is None:
        return name
    return "Dnnn" + ("DEXP" if match[1].startswith("D") else match[1])


def _value_in(header: fits.Header, name: str) -> Any:
    try:
        return header.get(name)
    except fits.VerifyError:  # a card that can't be read says nothing
        return None


def read_headers(path: Path) -> Headers:
    """Read all headers of a FITS file.

    Raises
    ------
    UnreadableFile
        Not FITS, truncated, or without an image.
    UnsupportedImage
        Not a drizzled direct image of ACS (see `kinds`).
    """
    with open_fits(path) as hdus:
        return headers_of(path, hdus)


def headers_of(path: Path, hdus: fits.HDUList) -> Headers:
    """Collect the headers of an open file (see `read_headers`)."""
    require_drizzled(path, hdus)
    sci = find_plane(hdus, "SCI")
    if sci is None:
        raise UnreadableFile(
            f"{path}: no two-dimensional image in it",
            hint="give a drizzled image (drc or drz) with a SCI extension",
        )
    shapes = {
        name: tuple(plane.shape)
        for name in ("SCI", "WHT", "CTX")
        if (plane := find_plane(hdus, name)) is not None
    }
    return Headers(path, hdus[0].header, sci.header, shapes, _hdrtab_rows(hdus))


def _hdrtab_rows(hdus: fits.HDUList) -> tuple[dict[str, Any], ...]:
    for hdu in hdus:
        if hdu.name == "HDRTAB" and isinstance(hdu, fits.BinTableHDU):
            names = [n for n in HDRTAB_COLUMNS if n in hdu.columns.names]
            return tuple(
                dict(zip(names, row, strict=True))
                for row in zip(*(hdu.data[n] for n in names), strict=True)
            )
    return ()
