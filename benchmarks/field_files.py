"""Many small fields for benchmarks: one is made, the others are copies under other names and skies.

Each field is a program and visit of its own, with three images of 256 px of the same 16 stars:
F775W and F606W of two exposures, F475W of one.  The fields lie all over the sky, and one table of
reference stars covers them all.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table, vstack
from astropy.wcs import WCS

from bycatch.testing.scene import drc_hdus, make_scene, moffat, star_table

IMAGES = (("F775W", 2, 1.0), ("F606W", 2, 0.8), ("F475W", 1, 10.0))
"""Filter, exposures, and brightness of the stars: a single exposure needs many pixels of each."""
SIZE_PX, N_STARS = 256, 16
EXPTIME_S, NOISE = 500.0, 0.008
RATES = (30.0, 60.0)
"""Of the stars, e/s: none is saturated, all are good for the alignment."""
DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
FIRST = b"jabc01"
"""How the names of the first field's exposures begin."""
OFFSET_ARCSEC = 0.15
"""Of the stars, from where the headers have them: the alignment has something to find."""


@dataclass(frozen=True)
class Fields:
    """Files of many fields: the folder of the images, and the table of their stars."""

    raw: Path
    gaia: Path
    names: tuple[str, ...]


def field_name(number: int) -> str:
    """Return ``<program>_<visit>`` of a field: 000_01, 001_01, ..."""
    digits = (DIGITS[number // 36**k % 36] for k in (2, 1, 0))
    return "".join(digits) + "_01"


def centre_deg(number: int) -> tuple[float, float]:
    """Return right ascension and declination of a field; no two are near one another."""
    golden = (np.sqrt(5.0) - 1) / 2
    sin_dec = 0.9 * (2 * ((number * np.sqrt(2.0)) % 1) - 1)
    return float(360 * ((number * golden) % 1)), float(np.degrees(np.arcsin(sin_dec)))


def write_fields(folder: Path, n: int) -> Fields:
    """Write the images of ``n`` fields below ``folder``, and the table of their stars."""
    raw, gaia = folder / "raw", folder / "gaia.csv"
    raw.mkdir(parents=True)
    first = _first_field()
    x, y, rate = _stars()
    tables = []
    for number in range(n):
        ra_deg, dec_deg = centre_deg(number)
        start = f"j{field_name(number).replace('_', '')}"
        for k, content in enumerate(first, start=1):
            path = raw / f"{start}0{k}0_drc.fits"
            path.write_bytes(_moved(content, start.encode(), ra_deg, dec_deg))
        tables.append(_star_table(x, y, rate, ra_deg, dec_deg, 1000 * (number + 1)))
    vstack(tables).write(gaia)
    return Fields(raw, gaia, tuple(field_name(number) for number in range(n)))


def first_fields(fields: Fields, n: int, folder: Path) -> Fields:
    """Return the first ``n`` of some fields, as links in a folder of their own."""
    raw, gaia, names = folder / "raw", folder / "gaia.csv", fields.names[:n]
    raw.mkdir(parents=True)
    for name in names:
        for path in fields.raw.glob(f"j{name.replace('_', '')}*"):
            (raw / path.name).hardlink_to(path)
    Table.read(fields.gaia)[: n * N_STARS].write(gaia)
    return Fields(raw, gaia, names)


def _stars() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return positions of the stars and their rates in F775W, e/s."""
    scene, _ = make_scene((SIZE_PX, SIZE_PX), N_STARS)
    return scene.x, scene.y, np.geomspace(*RATES, N_STARS)


def _first_field() -> list[bytes]:
    """Return the files of the first field."""
    shape = (SIZE_PX, SIZE_PX)
    stars = sum(rate * moffat(shape, x, y) for x, y, rate in zip(*_stars(), strict=True))
    rng = np.random.default_rng(1)
    found = []
    for k, (name, n_exposures, brightness) in enumerate(IMAGES, start=1):
        sci = brightness * stars + rng.normal(0, NOISE, shape)
        root = f"{FIRST.decode()}0{k}0"
        hdus = drc_hdus(
            sci.astype(np.float32),
            n_exposures=n_exposures,
            exptime_s=EXPTIME_S * n_exposures,
            filters=(name, "CLEAR2L"),
            primary={"ROOTNAME": root, "FILENAME": f"{root}_drc.fits", "ASN_ID": root},
        )
        stream = io.BytesIO()
        hdus.writeto(stream)
        found.append(stream.getvalue())
    return found


def _moved(content: bytes, start: bytes, ra_deg: float, dec_deg: float) -> bytes:
    """Return a file of the first field as that of another one."""
    content = content.replace(FIRST, start)
    for name, value in ((b"CRVAL1", ra_deg), (b"CRVAL2", dec_deg)):
        card = fits.Card(name.decode(), value).image.encode()
        content = re.sub(name + rb"  = .{70}", card, content, flags=re.DOTALL)
    return content


def _star_table(
    x: np.ndarray, y: np.ndarray, rate: np.ndarray, ra_deg: float, dec_deg: float, first_id: int
) -> Table:
    header = drc_hdus(np.zeros((SIZE_PX, SIZE_PX), np.float32))["SCI"].header
    header["CRVAL1"], header["CRVAL2"] = ra_deg, dec_deg
    ra, dec = WCS(header).all_pix2world(x, y, 0)
    mag = 22.5 - 2.5 * np.log10(rate)
    shifted = dec + OFFSET_ARCSEC / 3600
    return star_table(ra, shifted, mag, motion_error_mas_yr=0.1, first_id=first_id)
