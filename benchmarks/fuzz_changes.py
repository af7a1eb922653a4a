"""Random changes to a small healthy image and to tables of the user, for fuzz.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import Table
from numpy.random import Generator

SHAPE = (140, 160)
HOSTILE: tuple[Any, ...] = (
    0, -1, 1, 2, 0.5, 1e6, 1e9, 1e30, 1e-30, -1e30, 2**31, True, False, "", " ", "nan", "inf",
    "-inf", "600", "1,5", "N/A", "None", "x" * 60, "F606W", "CLEAR1L", "G800L", "POL0V", "WFC3",
    "SBC", "HRC", "COUNTS", "ELECTRONS", "ELECTRONS/S", "[old]", "../up", "a/b", "=1+1", None,
)  # fmt: skip
CARDS = (
    "EXPTIME", "TEXPTIME", "EXPSTART", "EXPEND", "FILTER1", "FILTER2", "INSTRUME", "DETECTOR",
    "TELESCOP", "PROPOSID", "PRIMESI", "TARGNAME", "NDRIZIM", "CCDGAIN", "ROOTNAME", "READNSEA",
    "ATODGNB", "D001DATA", "D002DATA", "D001DEXP", "D003DEXP", "D001OUUN", "D001PIXF", "D001WTSC",
    "WCSNAME", "BUNIT", "PHOTFLAM", "PHOTPLAM", "PHOTZPT", "PHOTMODE", "PA_V3", "DATE-OBS",
    "CTYPE1", "CTYPE2", "CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2", "CD1_1", "CD1_2", "CD2_1", "CD2_2",
    "CUNIT1", "CUNIT2", "RADESYS", "EQUINOX", "LONPOLE", "LATPOLE", "BZERO", "BSCALE", "BLANK",
    "CDELT1", "CROTA2", "PC1_1", "A_ORDER", "A_2_0", "PV2_1", "WCSAXES", "LTV1", "NEXTEND",
    "MDRIZSKY",
)  # fmt: skip


def set_card(hdus: fits.HDUList, rng: Generator) -> str:
    """Set a card that bycatch may read to a hostile value, or remove it."""
    key, value = str(rng.choice(CARDS)), HOSTILE[rng.integers(len(HOSTILE))]
    hdu = hdus[rng.choice(["PRIMARY", "SCI"])]
    before = hdus["SCI"].header.get(key, hdus["PRIMARY"].header.get(key))
    if isinstance(before, float) and rng.random() < 0.4:
        value = before * float(rng.choice([-1, 0.03, 0.3, 0.9, 1.5, 3, 30, 1e3]))
    if value is None:
        for each in hdus[:2]:
            each.header.remove(key, ignore_missing=True)
        return f"no {key}"
    hdu.header[key] = value
    return f"{hdu.name or 'PRIMARY'} {key} = {value!r}"


def other_wcs(hdus: fits.HDUList, rng: Generator) -> str:
    """Write the WCS in another form that the standard allows, not always of the same sky."""
    forms = [projection, frame, rotation, matrix, swap, arcsec, sip, shear]
    return forms[rng.integers(len(forms))](hdus["SCI"].header, rng)


def projection(cards: fits.Header, rng: Generator) -> str:
    """Name another projection; the rest stays."""
    code = str(rng.choice(["TPV", "SIN", "ZEA", "STG", "ARC", "CAR", "TNX", "AIT", "XXX"]))
    cards["CTYPE1"], cards["CTYPE2"] = f"RA---{code}", f"DEC--{code}"
    return f"projection {code}"


def frame(cards: fits.Header, rng: Generator) -> str:
    """Name another frame of the sky."""
    axes = {"GALACTIC": ("GLON-TAN", "GLAT-TAN"), "ECLIPTIC": ("ELON-TAN", "ELAT-TAN")}
    names = ["FK5", "FK4", "FK4-NO-E", "ICRS", "GAPPT", *axes]
    name, equinox = str(rng.choice(names)), float(rng.choice([1950.0, 1975.0, 2000.0, 2016.0]))
    if name in axes:
        cards["CTYPE1"], cards["CTYPE2"] = axes[name]
    else:
        cards["RADESYS"], cards["EQUINOX"] = name, equinox
    return f"frame {name} {equinox}"


def rotation(cards: fits.Header, rng: Generator) -> str:
    """Write CDELT and CROTA2."""
    scale = float(np.hypot(cards["CD1_2"], cards["CD2_2"]))
    cards["CDELT1"], cards["CDELT2"], cards["CROTA2"] = -scale, scale, float(rng.uniform(-180, 180))
    return "CROTA2" + without_cd(cards, rng)


def matrix(cards: fits.Header, rng: Generator) -> str:
    """Write PC and CDELT."""
    cards["CDELT1"], cards["CDELT2"] = 2.0, 0.5
    for i, step in ((1, 2.0), (2, 0.5)):
        for j in (1, 2):
            cards[f"PC{i}_{j}"] = cards[f"CD{i}_{j}"] / step
    return "PC" + without_cd(cards, rng)


def without_cd(cards: fits.Header, rng: Generator) -> str:
    """Remove the CD matrix, most times."""
    if rng.random() < 0.2:
        return " beside CD"
    for key in ("CD1_1", "CD1_2", "CD2_1", "CD2_2"):
        del cards[key]
    return ""


def swap(cards: fits.Header, _rng: Generator) -> str:
    """Write declination first."""
    for one, two in (
        ("CTYPE1", "CTYPE2"),
        ("CRVAL1", "CRVAL2"),
        ("CD1_1", "CD2_1"),
        ("CD1_2", "CD2_2"),
    ):
        cards[one], cards[two] = cards[two], cards[one]
    return "Dec first"


def arcsec(cards: fits.Header, _rng: Generator) -> str:
    """Write the sky in arcsec."""
    cards["CUNIT1"] = cards["CUNIT2"] = "arcsec"
    for key in ("CRVAL1", "CRVAL2", "CD1_1", "CD1_2", "CD2_1", "CD2_2"):
        cards[key] *= 3600.0
    return "arcsec"


def sip(cards: fits.Header, rng: Generator) -> str:
    """Add SIP cards, with and without a CTYPE that says so."""
    cards["A_ORDER"] = cards["B_ORDER"] = 2
    cards["A_2_0"], cards["B_0_2"] = 2e-5, -1e-5
    if rng.random() < 0.5:
        cards["CTYPE1"], cards["CTYPE2"] = "RA---TAN-SIP", "DEC--TAN-SIP"
    return "SIP"


def shear(cards: fits.Header, rng: Generator) -> str:
    """Stretch an axis."""
    factor = float(rng.choice([0.0, 0.5, 0.98, 1.02, -1.0, 3.0]))
    cards["CD1_1"] *= factor
    return f"CD1_1 * {factor:g}"


def change_pixels(hdus: fits.HDUList, rng: Generator) -> str:
    """Put hostile values into some pixels of a plane, or into all."""
    name = str(rng.choice(["SCI", "SCI", "WHT", "CTX"]))
    data = hdus[name].data
    value = float(rng.choice([np.inf, -np.inf, np.nan, 1.6e38, -1e37, 1e20, 1e-40, 0.0, -5.0, 1e6]))
    if name == "CTX":
        value = float(rng.choice([0, -1, 2**31 - 1, 255]))
    y, x = (int(rng.integers(n)) for n in SHAPE)
    size = int(rng.choice([1, 1, 5, 60, 1000]))
    if size == 1000:
        y = x = 0
    if data.dtype.kind == "f" or np.isfinite(value):
        data[..., y : y + size, x : x + size] = value
    return f"{name}[{y}, {x}] and {size} px = {value:g}"


def change_plane(hdus: fits.HDUList, rng: Generator) -> str:
    """Give a plane another type, shape or name, or leave it out."""
    name = str(rng.choice(["SCI", "WHT", "CTX"]))
    at = hdus.index_of(name)
    data = hdus[at].data
    others = {
        "cube": lambda: np.repeat(data[np.newaxis], 2, axis=0),
        "one plane": lambda: data[np.newaxis],
        "crop": lambda: data[: -int(rng.integers(1, 30))],
        "float": lambda: data.astype(str(rng.choice(["f4", "f8"]))),
        "int": lambda: np.nan_to_num(data).round().astype(str(rng.choice(["i2", "i4", "i8"]))),
    }
    kind = str(rng.choice([*others, "gone", "lower", "twice"]))
    if kind in others:
        hdus[at].data = others[kind]()
    elif kind == "gone":
        del hdus[at]
    elif kind == "lower":
        hdus[at].header["EXTNAME"] = name.lower()
    else:
        hdus.append(fits.ImageHDU(data.copy(), name=name))
    return f"{name}: {kind}"


def change_bytes(content: bytes, rng: Generator) -> tuple[bytes, str]:
    """Cut, zero or flip some bytes of a file."""
    kind = str(rng.choice(["cut", "zero tail", "flip", "insert", "garbage tail", "text"]))
    at = int(rng.integers(len(content)))
    if kind == "cut":
        return content[:at], f"cut at {at} of {len(content)}"
    if kind == "zero tail":
        return content[:at] + bytes(len(content) - at), f"zeros from {at} of {len(content)}"
    if kind == "flip":
        flipped = bytearray(content)
        for place in rng.integers(0, len(content), int(rng.choice([1, 20, 400]))):
            flipped[place] ^= 1 << int(rng.integers(8))
        return bytes(flipped), f"flipped bits about {at}"
    if kind == "insert":
        return content[:at] + b"\xff" * int(rng.integers(1, 99)) + content[at:], f"bytes in at {at}"
    if kind == "garbage tail":
        return content + rng.bytes(int(rng.integers(1, 9999))), "garbage at the end"
    return b"<html>404 not found</html>", "a page of HTML"


def change_table(stars: Table, path: Path, rng: Generator) -> str:
    """Write the stars as a table of some form, with hostile cells at times."""
    sep = str(rng.choice([",", ";", "\t", " "]))
    names = [str(rng.choice([n, n.upper(), f"gaiadr3.gaia_source.{n}"])) for n in stars.colnames]
    rows = [[str(v) for v in row] for row in stars]
    if rng.random() < 0.6:
        row, column = int(rng.integers(len(rows))), int(rng.integers(len(names)))
        values = ["", "nan", "x", "1e999", "10:20:30.5", "-91", "400", '"', "=1+1", "\0", "1,5"]
        rows[row][column] = str(rng.choice(values))
    lines = [sep.join(names), *(sep.join(row) for row in rows)]
    text = str(rng.choice(["\n", "\r\n"])).join(lines)
    encoding = str(rng.choice(["utf-8", "utf-8-sig", "utf-16", "latin-1"]))
    content = text.encode(encoding)
    told = f"{path.name} with {sep!r} in {encoding}"
    if rng.random() < 0.2:
        content, how = change_bytes(content, rng)
        told += f", {how}"
    path.write_bytes(content)
    return told


def write_regions(path: Path, rng: Generator) -> str:
    """Write a ds9 file with some shapes in some frame."""
    shapes = (
        "circle(60,60,5)", "box(60,60,9,9,30)", "ellipse(50,50,9,4,10)", "polygon(1,1,30,1,30,30)",
        "annulus(60,60,3,9)", "panda(60,60,0,90,1,3,9,1)", "line(1,1,9,9)", "point(5,5)",
        "circle(36.92,-8.47,1\")", "circle(2:27:40.8,-8:28:12,2\")", "text(5,5) # text={a}",
        "circle(",
        "-circle(60,60,2)", "vector(1,1,3,4)", "composite(1,1,0) || circle(3,3,3)", "star(3)",
    )  # fmt: skip
    frame = str(
        rng.choice(["image", "physical", "icrs", "fk5", "galactic", "linear", "amplifier", ""])
    )
    chosen = [str(s) for s in rng.choice(shapes, int(rng.integers(1, 4)))]
    path.write_text("\n".join(["# Region file format: DS9 version 4.1", frame, *chosen]) + "\n")
    return f"regions: {frame} {chosen}"
