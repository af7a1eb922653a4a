"""What the headers of a drizzled image say: names, times, exposures, calibration.

Nothing here reads pixels.  Keywords are looked for in the SCI header first and
in PRIMARY second: drizzled products keep PHOTFLAM in SCI and EXPTIME in PRIMARY.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from astropy.io import fits

from bycatch.errors import UnreadableFile
from bycatch.images.files import opened
from bycatch.images.planes import find_plane

# In jcmdp9zjq_flc.fits[sci,1], 12440_07_acs_wfc_f606w_01_jboa07y3q_flc.fits[sci,1] and
# 19-06-i-1_flt_sci1.fits, what stands before the kind of product names the exposure.
EXPOSURE_NAME = re.compile(
    r"^(?P<name>.*?)(_(flt|flc|crj|crc))?(_sci\d+)?(_single)?\.fits", re.IGNORECASE
)
HDRTAB_COLUMNS = ("ROOTNAME", "EXPTIME", "CCDCHIP", "MDRIZSKY", "EXPSTART", "EXPEND")


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
        """Return a keyword as a number; NaN when absent or not a number."""
        try:
            return float(self.get(name, "nan"))
        except (TypeError, ValueError):
            return float("nan")

    @cached_property
    def chips(self) -> tuple[Chip, ...]:
        """The drizzled inputs in the order of their context bits, from the D00nDATA cards."""
        names = {
            int(found[1]): key
            for key in [*self.primary, *self.sci]
            if (found := re.fullmatch(r"D(\d+)DATA?", key))
        }
        skies = [_finite(row.get("MDRIZSKY")) for row in self.hdrtab]
        common_sky = self.number("MDRIZSKY")
        chips = []
        for order, number in enumerate(sorted(names)):
            data = str(self.get(names[number], ""))
            found = EXPOSURE_NAME.match(data)
            sky = skies[order] if order < len(skies) else common_sky
            name = found["name"] if found else data
            chips.append(Chip(name, self._chip_exptime_s(number), sky, self._mjd_mid(order)))
        return tuple(chips)

    def _mjd_mid(self, order: int) -> float:
        row = self.hdrtab[order] if order < len(self.hdrtab) else {}
        return 0.5 * (_finite(row.get("EXPSTART")) + _finite(row.get("EXPEND")))

    def _chip_exptime_s(self, number: int) -> float:
        # Keywords of more than eight characters are written in full, or cut.
        key = f"D{number:03d}DEXP"
        return self.number(key if self.get(key) is not None else key[:8])


def _finite(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


def read_headers(path: Path) -> Headers:
    """Read all headers of a FITS file.

    Raises
    ------
    UnreadableFile
        Not FITS, truncated, or without an image.
    """
    with opened(path) as hdus:
        return headers_of(path, hdus)


def headers_of(path: Path, hdus: fits.HDUList) -> Headers:
    """Collect the headers of an open file (see `read_headers`)."""
    sci = find_plane(hdus, "SCI")
    if sci is None:
        kinds = ", ".join(f"{h.name or 'unnamed'}" for h in hdus)
        raise UnreadableFile(
            f"{path}: no image in it (extensions: {kinds})",
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
