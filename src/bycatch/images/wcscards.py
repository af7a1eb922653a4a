"""The cards of a header that make its WCS: which count, and which contradict one another.

FITS standard 4.0, section 8, and Calabretta & Greisen 2002, A&A 395, 1077.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from bycatch.arrays import Floats
from bycatch.errors import InconsistentImage, MissingKeyword, UnsupportedImage
from bycatch.images.headers import Headers

TEXT_CARD = re.compile(r"CTYPE[12]|CUNIT[12]|RADESYS|RADECSYS|WCSNAME|PS[12]_\d+|WAT[12]_\d+")
NUMBER_CARD = re.compile(
    r"(CRVAL|CRPIX|CDELT|CROTA)[12]|(CD|PC)([12]_[123]|00[12]00[12])|PV[12]_\d+"
    r"|EQUINOX|EPOCH|LONPOLE|LATPOLE|[AB]P?_(ORDER|\d_\d)"
)
SIP_CARD = re.compile(r"[AB]P?_(ORDER|DMAX|\d_\d)")
TABLE_CARD = re.compile(r"(CPDIS|CQDIS|D2IMDIS)[12]|AMD[XY]1|PLTRAH")
"""Distortions by tables or by plate constants: a drizzled image has none."""
WCS_CARD = re.compile(f"{TEXT_CARD.pattern}|{NUMBER_CARD.pattern}|{TABLE_CARD.pattern}")
NEEDED = ("CTYPE1", "CTYPE2", "CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2")
MAX_MATRIX_DIFFERENCE = 1e-7
"""Two matrices that differ by less are one: 4000 px from the reference that is 0.02 mas."""
FIRST_EQUINOX, LAST_EQUINOX = 1800, 2100
REPAIR = "repair the cards of the SCI header, or fetch the file again"


@dataclass(frozen=True, eq=False)
class WcsCards:
    """The cards that count, and notes on the others.

    Attributes
    ----------
    header : what astropy is to read: two axes, one form of the matrix
    notes : what the standard says to ignore
    doubts : what had to be guessed
    """

    header: fits.Header
    notes: tuple[str, ...]
    doubts: tuple[str, ...]


def wcs_cards(headers: Headers) -> WcsCards:
    """Collect the cards of an image's primary WCS.

    Raises
    ------
    MissingKeyword
        A card that is needed is missing, or is no number.
    InconsistentImage
        Cards that contradict one another.
    UnsupportedImage
        A distortion by tables.
    """
    path, notes, doubts = headers.path, [], []
    cards = _wcs_cards(headers.sci, path)
    if not any(key in cards for key in NEEDED) and headers.primary is not headers.sci:
        cards = _wcs_cards(headers.primary, path)
        if cards:
            doubts.append("the WCS cards are in PRIMARY, not in SCI")
    missing = [key for key in NEEDED if key not in cards]
    if missing:
        raise MissingKeyword(
            f"{path}: no celestial WCS: {', '.join(missing)} missing",
            hint=REPAIR,
        )
    for key in ("CTYPE1", "CTYPE2"):
        name = cards[key] = str(cards[key])
        if name != name.upper():
            doubts.append(f"{key} is '{name}', in lower case")
            cards[key] = name.upper()
    # First what counts: what is to be ignored may be anything.
    notes += _one_matrix(cards, path)
    doubts += _one_distortion(cards)
    if cards.get("RADESYS", cards.get("RADECSYS")) == "ICRS":
        for key in ("EQUINOX", "EPOCH"):
            cards.pop(key, None)
    _check_values(cards, path)
    header = fits.Header([("WCSAXES", 2), *cards.items()])
    shape = headers.shapes["SCI"]
    header["NAXIS1"], header["NAXIS2"] = shape[-1], shape[-2]
    return WcsCards(header, tuple(notes), tuple(doubts))


def _wcs_cards(header: fits.Header, path: Path) -> dict[str, Any]:
    """Return the cards of the primary WCS that are not empty, by their names."""
    # From these cards alone: a mosaic's header can hold 33,000 others.
    places = [(place, key) for place, key in enumerate(header) if WCS_CARD.fullmatch(key)]
    cards: dict[str, Any] = {}
    for place, key in places:
        if TABLE_CARD.fullmatch(key):
            raise UnsupportedImage(
                f"{path}: {key} says that it is distorted; a drizzled image is not",
                hint=f"drizzle it; if it is drizzled already, remove {key} and similar cards "
                f"from SCI",
            )
        try:
            value = header[place]  # not by the name, which may be there twice
        except fits.VerifyError as err:
            raise MissingKeyword(f"{path}: the card {key} can't be read", hint=REPAIR) from err
        if isinstance(value, str):
            value = value.strip()
        if value is None or isinstance(value, fits.card.Undefined) or value == "":
            continue
        if key in cards and cards[key] != value:
            raise InconsistentImage(
                f"{path}: {key} is there twice, as {cards[key]} and as {value}",
                hint=f"remove the wrong {key} from the SCI header",
            )
        cards[key] = value
    return cards


def _check_values(cards: dict[str, Any], path: Path) -> None:
    """See that numbers are numbers and texts are texts: astropy takes 0 for a CRVAL1 of 'nan'."""
    for key, value in cards.items():
        is_text = isinstance(value, str)
        if TEXT_CARD.fullmatch(key):
            good, kind = is_text, "text"
        else:
            good = isinstance(value, int | float) and not isinstance(value, bool)
            good, kind = good and bool(np.isfinite(value)), "a number"
        if not good:
            shown_value = f"'{value}'" if is_text else value
            raise MissingKeyword(f"{path}: {key} is {shown_value}, not {kind}", hint=REPAIR)
        if key in ("EQUINOX", "EPOCH") and not FIRST_EQUINOX <= value <= LAST_EQUINOX:
            raise MissingKeyword(f"{path}: {key} is {value:g}, not a year", hint=REPAIR)
    for axis in (1, 2):
        if cards[f"CTYPE{axis}"].startswith(("DEC", "GLAT", "SLAT")):
            degrees = cards.get(f"CUNIT{axis}", "deg").lower().startswith("deg")
            latitude = cards[f"CRVAL{axis}"]
            if degrees and abs(latitude) > 90:
                raise MissingKeyword(
                    f"{path}: CRVAL{axis} is {latitude:g}, beyond the pole", hint=REPAIR
                )


def _one_matrix(cards: dict[str, Any], path: Path) -> list[str]:
    """Leave one form of the linear matrix, and return notes.

    CD matrix, PC matrix with CDELT, and CDELT with CROTA exclude one another; CDELT and CROTA
    may accompany a CD matrix for old readers, and then mean nothing (FITS standard 8.2.1).
    """
    for key in [k for k in cards if re.fullmatch(r"(CD|PC)[12]_3", k)]:
        if cards.pop(key) != 0:
            raise UnsupportedImage(
                f"{path}: {key} couples the sky to a third axis",
                hint="give a two-dimensional image",
            )
    cd, pc = (_matrix(cards, form, path) for form in ("CD", "PC"))
    turns = {k: cards[k] for k in ("CROTA1", "CROTA2") if cards.get(k, 0) != 0}
    if cd is not None:
        _check_same(cd, pc, path)
        for key in [k for k in cards if k.startswith(("PC", "CDELT", "CROTA"))]:
            del cards[key]
        is_unit = pc is not None and np.array_equal(pc, np.eye(2))
        idle_cards = [*turns, *(["a PC matrix without meaning"] if is_unit else [])]
        return [f"{k} is ignored: there is a CD matrix" for k in idle_cards]
    if pc is not None and turns:
        raise InconsistentImage(
            f"{path}: {' and '.join(turns)} together with a PC matrix, which FITS forbids",
            hint="remove the wrong ones from the SCI header",
        )
    if pc is None and not ("CDELT1" in cards and "CDELT2" in cards):
        raise MissingKeyword(
            f"{path}: no matrix in its WCS: CD1_1 ... or CDELT1, CDELT2 missing", hint=REPAIR
        )
    _check_turn(cards, turns, path)
    return []


def _check_same(cd: Floats, pc: Floats | None, path: Path) -> None:
    """Check that a PC matrix agrees with a CD matrix."""
    # A unit matrix is what PC and CDELT are by default: it says nothing.
    if pc is None or np.array_equal(pc, np.eye(2)):
        return
    if not np.isfinite(cd).all():
        return  # `_check_values` says which card is no number
    if not np.allclose(cd, pc, rtol=0, atol=MAX_MATRIX_DIFFERENCE * np.abs(cd).max()):
        raise InconsistentImage(
            f"{path}: CD1_1 ... and PC1_1 ... with CDELT are two different matrices",
            hint="remove the wrong ones from the SCI header",
        )


def _check_turn(cards: dict[str, Any], turns: dict[str, Any], path: Path) -> None:
    """See that the angle is where FITS has it: at the axis of the latitude."""
    axis = 1 if cards["CTYPE1"].startswith(("DEC", "GLAT", "SLAT")) else 2
    other = f"CROTA{3 - axis}"
    if other in turns and turns[other] != turns.get(f"CROTA{axis}"):
        raise InconsistentImage(
            f"{path}: {other} is {turns[other]}, but the angle belongs in CROTA{axis}",
            hint=f"set CROTA{axis} to the angle and remove {other}",
        )


def _matrix(cards: dict[str, Any], form: str, path: Path) -> Floats | None:
    """Return the CD matrix, or PC times CDELT, absent cards by their defaults; None without any."""
    if not any(re.fullmatch(form + r"([12]_[12]|00[12]00[12])", key) for key in cards):
        return None
    other = 0.0 if form == "CD" else 1.0
    matrix = np.empty((2, 2))
    try:
        for i in (1, 2):
            step = float(cards.get(f"CDELT{i}", 1.0)) if form == "PC" else 1.0
            for j in (1, 2):
                old = cards.get(f"{form}00{i}00{j}", other if i == j else 0.0)
                matrix[i - 1, j - 1] = step * float(cards.get(f"{form}{i}_{j}", old))
    except (TypeError, ValueError) as err:
        raise MissingKeyword(
            f"{path}: {form}1_1 ... or CDELT are not numbers ({err})", hint=REPAIR
        ) from err
    return matrix


def _one_distortion(cards: dict[str, Any]) -> list[str]:
    """Leave the distortion that CTYPE names, and return doubts."""
    is_sip = all(cards[key].endswith("-SIP") for key in ("CTYPE1", "CTYPE2"))
    sip = [key for key in cards if SIP_CARD.fullmatch(key)]
    if is_sip:
        if not sip:
            return ["CTYPE1 ends with -SIP, but A_ORDER and the like are missing"]
        return ["SIP distortion (CTYPE1, A_ORDER), which drizzling takes out"]
    for key in sip:
        del cards[key]
    name = cards["CTYPE1"]
    return [f"{k} and similar cards are ignored, since CTYPE1 = {name}" for k in sip[:1]]
